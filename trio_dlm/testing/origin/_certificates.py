"""A certificate for the time of one test, and the authority that vouches for it.

Rules that hold here:

- nothing is written anywhere, and nobody trusts the authority who was not given it;
- trustme is imported here only, and when a certificate is wanted.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, final

__all__ = ["Certificate", "make_certificate"]


@final
@dataclass(frozen=True)
class Certificate:
    """What both sides of a connection need.

    Attributes:
        server_context: for the server.
        ca_pem: the certificate of the authority.
    """

    server_context: ssl.SSLContext = field(repr=False)
    ca_pem: bytes = field(repr=False)

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority, and nobody else."""
        return ssl.create_default_context(cadata=self.ca_pem.decode("ascii"))


def make_certificate(*names: str) -> Certificate:
    """Make a certificate for *names*, which are names of hosts or addresses."""
    try:
        import trustme
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "tls=True makes a certificate with trustme, which is not installed: install trio-dlm[testing], "
            "or pass an ssl.SSLContext of your own",
            name="trustme",
        ) from exc
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Its type names a library that need not be installed.
    certificate: Any = authority.issue_cert(*names)
    certificate.configure_cert(context)
    return Certificate(context, authority.cert_pem.bytes())

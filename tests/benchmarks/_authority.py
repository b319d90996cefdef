"""The certificate of a server that only a benchmark trusts."""

from __future__ import annotations

from pathlib import Path

import trustme

__all__ = ["make_certificate"]


def make_certificate(place: Path) -> tuple[Path, Path]:
    """Make chain and key of a server at 127.0.0.1 in *place*, and ``ca.pem``, the authority to trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    server = authority.issue_cert("127.0.0.1")
    chain, key = place / "chain.pem", place / "key.pem"
    for blob in server.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    server.private_key_pem.write_to_path(str(key))
    return chain, key

"""What a client of our own can be told.

Rules that hold here:

- a client that the user brings was told by the user: these do not touch it;
- nothing of a proxy's user info is shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final
from urllib.parse import urlsplit

__all__ = ["DEFAULT_SETTINGS", "ClientSettings"]

_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


@final
@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a client of our own goes out.

    Attributes:
        proxy: the URL of the proxy for every request (``http``, ``https``, ``socks5``, ``socks5h``), user info and all;
            None leaves it to the environment.
        http2: speak HTTP/2 where the server does.  Needs the package ``h2``.
        ca_file: the certificates of the authorities to trust, and of nobody else, in PEM; None leaves it to
            ``SSL_CERT_FILE`` and to what is trusted anyway.
    """

    proxy: str | None = field(default=None, repr=False)
    http2: bool = False
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if self.proxy is not None:
            _check_proxy(self.proxy)
        if not isinstance(self.http2, bool):
            raise TypeError(f"http2 is True or False, got {self.http2!r}")
        if self.ca_file is not None:
            if not isinstance(self.ca_file, (str, os.PathLike)):
                raise TypeError(f"ca_file is a path or None, got {self.ca_file!r}")
            object.__setattr__(self, "ca_file", Path(self.ca_file))


def _check_proxy(proxy: object) -> None:
    if not isinstance(proxy, str):
        raise TypeError(f"proxy is a URL or None, got {type(proxy).__name__}")
    try:
        parts = urlsplit(proxy)
        is_proxy = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy:
        # Not shown: what cannot be read may have a password anywhere.
        raise ValueError(f"proxy is a URL such as http://proxy.example:3128, of {', '.join(_PROXY_SCHEMES)}")


DEFAULT_SETTINGS: Final = ClientSettings()

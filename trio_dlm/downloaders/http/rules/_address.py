"""Where a request goes: an http or https URL in the one form in which it is sent, and what of it is a secret.

Rules that hold here:

- a URL is read once, here, and put together again from checked pieces, so that the name that is shown, the origin that
  decides about credentials and the host that is connected to cannot be three different readings of one text;
- user info and fragment are taken out: the first becomes an Authorization header for its own origin, the second is
  never sent (RFC 9110 section 7.1);
- what is shown is :attr:`Address.shown`, which holds no secret.

Source:
    RFC 3986 for the grammar and for references, RFC 5891 and UTS 46 for host names beyond ASCII, RFC 7617 for user info
    as Basic credentials.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple, final
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit

import idna

from ...._errors import InvalidUrlError
from ...._urls import check_url, redact_url

__all__ = ["Address", "Origin", "parse_address", "parse_reference", "shorten"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# What may stand in a path and a query (RFC 3986 section 3.3, 3.4), "%" for what is encoded already; quote() encodes the
# rest.
_KEPT_IN_PATH: Final = "/%:@!$&'()*+,;=~-._"
_KEPT_IN_QUERY: Final = _KEPT_IN_PATH + "?"

# Letters, digits and hyphens (RFC 1123 section 2.1), and the underscore, which no host should have and some do.
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_MAX_HOST_LENGTH: Final = 253

# A server must not fill a log with the address that it redirects to.
_MAX_SHOWN: Final = 300

_ADVICE: Final = "pass an address such as https://example.org/file.iso"


class Origin(NamedTuple):
    """Who is asked: what credentials are bound to (RFC 9110 section 4.3.1)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@final
@dataclass(frozen=True, slots=True)
class Address:
    """One http or https URL, checked and normalised.

    Attributes:
        origin: scheme, lower-case ASCII host and port.
        target: path and query as they are sent, ASCII.
        basic: the user info as the value of an Authorization header, or None if there was none.
    """

    origin: Origin
    target: str
    basic: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """What is sent: absolute, without user info and fragment, possibly with a secret in its query."""
        scheme, host, port = self.origin
        netloc = f"[{host}]" if ":" in host else host
        if port != _DEFAULT_PORTS[scheme]:
            netloc += f":{port}"
        return f"{scheme}://{netloc}{self.target}"

    @property
    def shown(self) -> str:
        """The URL for messages and logs."""
        return shorten(redact_url(self.url))

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.origin.scheme == "https"

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"


def shorten(text: str) -> str:
    """Return *text*, its end replaced by ``…`` if it is too long for a message."""
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def parse_address(url: str) -> Address:
    """Read the URL that a user gave.

    Raises:
        InvalidUrlError: not http or https, no host, a host or port that cannot be one.
    """
    check_url(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        # Python's own text may repeat the user info.
        raise _invalid(url, "its host cannot be read") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise _invalid(
            url, f"the scheme is {shorten(parts.scheme)!r}, not http or https" if parts.scheme else "it has no scheme"
        )
    return Address(
        Origin(parts.scheme, _host(url, parts), _port(url, parts)),
        _target(parts),
        _basic(parts),
    )


def parse_reference(base: Address, location: str) -> Address:
    """Resolve what a server wrote into a Location header, relative to the *base* that it was asked for.

    Bytes that no URL may hold are encoded, as browsers and curl do; user info is dropped: credentials that a server
    hands out are not the user's.

    Args:
        base: the address that answered.
        location: the header's value, its bytes decoded as Latin-1.

    Raises:
        InvalidUrlError: as :func:`parse_address`.
    """
    try:
        text = location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        text = location
    text = check_url(text.strip(" \t").replace(" ", "%20"))
    try:
        joined = urljoin(base.url, text)
    except ValueError:
        raise _invalid(text, "its host cannot be read") from None
    found = parse_address(joined)
    return Address(found.origin, found.target)


def _target(parts: SplitResult) -> str:
    target = quote(parts.path, safe=_KEPT_IN_PATH) or "/"
    return f"{target}?{quote(parts.query, safe=_KEPT_IN_QUERY)}" if parts.query else target


def _host(url: str, parts: SplitResult) -> str:
    # A backslash is a slash to browsers and a letter to RFC 3986: two readings, two hosts.
    if "\\" in parts.netloc:
        raise _invalid(url, "its host holds a backslash")
    host = parts.hostname
    if not host:
        raise _invalid(url, "it names no host")
    if "[" in parts.netloc.rpartition("@")[2]:
        if "%" in host:
            raise _invalid(url, "its host is an IPv6 address with a zone, which is not supported")
        try:
            return IPv6Address(host).compressed
        except AddressValueError as exc:
            raise _invalid(url, f"its host is no IPv6 address: {exc}") from None
    # Before it is encoded, which takes time.
    if len(host) <= _MAX_HOST_LENGTH and not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except UnicodeError as exc:
            raise _invalid(url, f"its host name is not allowed: {exc}") from None
    labels = host.removesuffix(".").split(".")
    if len(host) > _MAX_HOST_LENGTH or not all(map(_LABEL.fullmatch, labels)):
        raise _invalid(url, f"{shorten(host)!r} cannot be a host name")
    return host


def _port(url: str, parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise _invalid(url, "its port is not a number from 1 to 65535")
    return _DEFAULT_PORTS[parts.scheme] if port is None else port


def _basic(parts: SplitResult) -> str | None:
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at or userinfo in ("", ":"):
        return None
    name, _, password = userinfo.partition(":")
    # Bytes, since the encoding of a password is the server's affair (RFC 7617 section 2).
    pair = unquote_to_bytes(name) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(pair).decode("ascii")


# What comes before the last "@" of a text that names no host, and may be meant as user info.
_BEFORE_AT: Final = re.compile(r"^[^?#]*@")


def _invalid(url: str, problem: str) -> InvalidUrlError:
    shown = redact_url(url)
    if "//" not in url or ":///" in url:
        shown = _BEFORE_AT.sub("…@", shown)
    return InvalidUrlError(url=shorten(shown), problem=problem, advice=_ADVICE)

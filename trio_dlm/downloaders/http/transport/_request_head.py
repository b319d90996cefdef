"""What a request says, and its bytes before the body.

Rules that hold here:

- nothing is sent that a server could take for more than one request: no line end, no NUL, no space in a name;
- what is sent is what was asked for: no header is added or changed.

Source:
    RFC 9112 sections 3 and 5; RFC 9110 sections 5.1, 5.5 and 9.1.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from ._problems import LocalProtocolError

__all__ = ["Origin", "WireRequest", "encode_head", "framing_of"]

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(rb"[\x21-\xff]+")
# All but control characters; a tab is white space (RFC 9110 section 5.5).
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a connection is made to, and as whom it has to prove itself.

    Attributes:
        is_secure: over TLS.
        host: a name or an address.
        port: its number.
        server_name: what its certificate has to name, and the handshake asks for; empty for the host.
    """

    is_secure: bool
    host: str
    port: int
    server_name: str = ""


@final
@dataclass(frozen=True, slots=True)
class WireRequest:
    """One request, ready to be sent.

    Attributes:
        origin: to whom.
        method: upper case.
        target: path and query, as they are sent.
        fields: the header, Host and what frames the body included.
        body: what follows; a sequence can be sent again, an iterator cannot.
    """

    origin: Origin
    method: bytes
    target: bytes
    fields: Sequence[tuple[bytes, bytes]]
    body: Sequence[bytes] | AsyncIterable[bytes] = ()

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again if nothing came back (RFC 9110 section 9.2.2), and can be."""
        return self.method in _IDEMPOTENT and isinstance(self.body, Sequence)


_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


def encode_head(request: WireRequest) -> bytes:
    """Return the request line and the header.

    Raises:
        LocalProtocolError: it cannot be sent.
    """
    if not _TOKEN.fullmatch(request.method):
        raise LocalProtocolError(f"a method is a word of letters, got {request.method!r}")
    if request.method == b"CONNECT":
        raise LocalProtocolError("CONNECT asks for a tunnel, which is no request with a reply")
    if not _TARGET.fullmatch(request.target):
        raise LocalProtocolError(f"a target has no spaces or control characters, got {request.target!r}")
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target)]
    for name, value in request.fields:
        if not _TOKEN.fullmatch(name):
            raise LocalProtocolError(f"a header's name is a word, got {name!r}")
        if not _VALUE.fullmatch(value):
            raise LocalProtocolError(f"a value of the header {name.decode()!r} has control characters in it")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def framing_of(fields: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return how many bytes the body of a request with the header *fields* has; None if it is sent in chunks.

    Raises:
        LocalProtocolError: the header contradicts itself.
    """
    lengths = {value for name, value in fields if name.lower() == b"content-length"}
    codings = [value.lower() for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or lengths):
        raise LocalProtocolError("a body is framed by one Content-Length or by 'Transfer-Encoding: chunked'")
    if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
        raise LocalProtocolError(f"a Content-Length is one number, got {sorted(lengths)}")
    if codings:
        return None
    return int(lengths.pop()) if lengths else 0

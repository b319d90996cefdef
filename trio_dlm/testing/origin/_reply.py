"""What a correct server says to a request: the measure of all faults, and what most of them are variations of.

Rules that hold here:

- the reply to a request depends on the request and the resource only; its Date is trio's clock, counted from a fixed
  day, so that it advances as time does there;
- a reply that carries no file carries a few words instead, so that whoever saves them as the file is found out;
- a connection is kept unless the client asks for its end (RFC 9112 section 9.3).

Source:
    RFC 9110 sections 13 (conditions, and their order in 13.2.2) and 14 (ranges).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from typing import Final, TypeAlias, final

from ._acts import Act, Close, Send, Wait
from ._request import Request
from ._resource import Resource

__all__ = [
    "Reply",
    "honest_reply",
    "http_date",
    "in_pieces",
    "interim_head",
    "knows_http_1_1",
    "note",
    "part_reply",
    "selected_range",
    "whole_reply",
]

# 2025-01-01: later than any version of a resource, so that its dates are strong validators (RFC 9110 section 8.8.2.2).
_CLOCK_BEGAN: Final = 1_735_689_600

# As much as a server writes at once.
_CHUNK_BYTES: Final = 65_536

# The words change from one Python to the next, and replies should not.
_PHRASES: Final = {
    100: "Continue",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    410: "Gone",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    425: "Too Early",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# The statuses whose replies have no content, whatever their header says (RFC 9112 section 6.3).
_WITHOUT_CONTENT: Final = frozenset({204, 304})

# Longer numbers than this are not read as ranges: Python refuses to convert very long ones.
_RANGE: Final = re.compile(r"bytes=(?:([0-9]{1,999})-([0-9]{0,999})|-([0-9]{1,999}))", re.IGNORECASE)
_TAG: Final = re.compile(r'(?:W/)?"[^"]*"')

_Field: TypeAlias = tuple[str, str]


@final
@dataclass(frozen=True, slots=True)
class Reply:
    """A reply before it is sent.

    Attributes:
        status: three digits.
        phrase: the words after it.
        fields: the header, in its order.
        body: what the header describes.
        has_content: whether the body follows the header; it does not in a reply to HEAD, nor in a 204 or 304.
    """

    status: int
    phrase: str
    fields: tuple[_Field, ...]
    body: bytes = field(default=b"", repr=False)
    has_content: bool = True

    def head(self, *, version: str = "HTTP/1.1") -> bytes:
        """Return status line and header up to and with the empty line."""
        lines = [f"{version} {self.status} {self.phrase}", *(f"{name}: {value}" for name, value in self.fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    @property
    def content(self) -> bytes:
        """The bytes that follow the header."""
        return self.body if self.has_content else b""

    @property
    def closes(self) -> bool:
        """Whether the connection ends with it."""
        return ("Connection", "close") in self.fields

    def value(self, name: str) -> str | None:
        """Return the first value of the field *name*, spelled as here, or None."""
        return next((value for each, value in self.fields if each == name), None)

    def without(self, *names: str) -> Reply:
        """Return this reply without the fields *names*."""
        return dataclasses.replace(self, fields=tuple(each for each in self.fields if each[0] not in names))

    def saying(self, *fields: _Field) -> Reply:
        """Return this reply with *fields*, each instead of those that have its name."""
        rest = self.without(*(name for name, _ in fields)).fields
        return dataclasses.replace(self, fields=(*rest, *fields))

    def carrying(self, body: bytes) -> Reply:
        """Return this reply with another body, and its length."""
        return dataclasses.replace(self.saying(("Content-Length", str(len(body)))), body=body)

    def acts(self, *, chunk_bytes: int = _CHUNK_BYTES, gap_s: float = 0.0) -> Iterator[Act]:
        """Encode it: the header in one piece, the body in pieces of *chunk_bytes* with *gap_s* before each."""
        yield Send(self.head())
        yield from in_pieces(self.content, chunk_bytes=chunk_bytes, gap_s=gap_s)
        yield from self.end()

    def end(self) -> Iterator[Act]:
        """Close the connection if that was said."""
        if self.closes:
            yield Close()


def in_pieces(data: bytes, *, chunk_bytes: int, gap_s: float) -> Iterator[Act]:
    """Send *data* in pieces of *chunk_bytes* with *gap_s* before each."""
    for start in range(0, len(data), chunk_bytes):
        if gap_s:
            yield Wait(gap_s)
        yield Send(data[start : start + chunk_bytes])


def honest_reply(request: Request, resource: Resource) -> Reply:
    """Return what a correct server says: 200 or 206, or 304, 405, 412 or 416 where that is the answer.

    Several ranges at once are ignored, as a server may (RFC 9110 section 14.2).
    """
    if request.method not in ("GET", "HEAD"):
        return note(request, 405, ("Allow", "GET, HEAD"))
    if _is_refused(request, resource):
        return note(request, 412)
    if _is_known(request, resource):
        return _made(request, 304, *_validators(resource))
    asked = _asked_range(request, resource)
    if asked is None:
        fields = (*_validators(resource), ("Accept-Ranges", "bytes"), ("Content-Type", "application/octet-stream"))
        return _made(request, 200, *fields, body=resource.body)
    if asked == _NOWHERE:
        return note(request, 416, ("Content-Range", f"bytes */{len(resource.body)}"))
    return part_reply(request, resource, *asked)


def whole_reply(request: Request, resource: Resource) -> Reply:
    """Return what a correct server says that ignores Range."""
    headers = tuple((name, value) for name, value in request.headers if name != "range")
    return honest_reply(dataclasses.replace(request, headers=headers), resource)


def part_reply(request: Request, resource: Resource, first: int, last: int) -> Reply:
    """Return a 206 with the bytes from *first* to *last*, both counted in (RFC 9110 section 15.3.7)."""
    fields = (
        *_validators(resource),
        ("Accept-Ranges", "bytes"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Range", f"bytes {first}-{last}/{len(resource.body)}"),
    )
    return _made(request, 206, *fields, body=resource.body[first : last + 1])


def selected_range(request: Request, resource: Resource) -> tuple[int, int] | None:
    """Return first and last byte of the range that a correct server sends, or None if it sends none."""
    if honest_reply(request, resource).status != 206:
        return None
    return _asked_range(request, resource)


def note(request: Request, status: int, *fields: _Field) -> Reply:
    """Return a reply that carries a few words and no file."""
    words = f"{status} {_PHRASES.get(status, 'Status')}\n".encode("ascii")
    return _made(request, status, *fields, ("Content-Type", "text/plain"), body=words)


def interim_head(status: int) -> bytes:
    """Return an informational reply: a header, after which the reply itself is to come (RFC 9110 section 15.2)."""
    return Reply(status, _PHRASES.get(status, "Status"), (), has_content=False).head()


def http_date(request: Request, *, after_s: float = 0.0) -> str:
    """Return the date of the reply to *request*, or of some seconds after it (RFC 9110 section 5.6.7)."""
    return formatdate(_CLOCK_BEGAN + math.floor(request.at_s + after_s), usegmt=True)


def knows_http_1_1(request: Request) -> bool:
    """Whether the client may be sent chunks and informational replies (RFC 9110 section 15.2, RFC 9112 section 6.1)."""
    return not request.raw.partition(b"\r\n")[0].endswith(b"HTTP/1.0")


def _made(request: Request, status: int, *fields: _Field, body: bytes = b"") -> Reply:
    has_length = status not in _WITHOUT_CONTENT
    options = [item.strip().lower() for item in (request.header("connection") or "").split(",")]
    return Reply(
        status,
        _PHRASES.get(status, "Status"),
        (
            ("Date", http_date(request)),
            *fields,
            *([("Content-Length", str(len(body)))] if has_length else []),
            *([("Connection", "close")] if "close" in options or not knows_http_1_1(request) else []),
        ),
        body,
        has_content=has_length and request.method != "HEAD",
    )


def _validators(resource: Resource) -> list[_Field]:
    shown = [("ETag", resource.etag), ("Last-Modified", resource.last_modified)]
    return [(name, value) for name, value in shown if value is not None]


# Conditions.


def _is_refused(request: Request, resource: Resource) -> bool:
    """Whether the client wants another version than this (RFC 9110 sections 13.1.1 and 13.1.4)."""
    wanted = request.header("if-match")
    if wanted is not None:
        # Strong comparison: a weak tag is equal to none.
        tags = [tag for tag in _TAG.findall(wanted) if not tag.startswith("W/")]
        return wanted != "*" and resource.etag not in tags
    since, modified = _date(request.header("if-unmodified-since")), _date(resource.last_modified)
    return since is not None and modified is not None and modified > since


def _is_known(request: Request, resource: Resource) -> bool:
    """Whether the client has this version already (RFC 9110 sections 13.1.2 and 13.1.3)."""
    known = request.header("if-none-match")
    if known is not None:
        # Weak comparison: what stands before the quotes is left out.
        tags = [tag.removeprefix("W/") for tag in _TAG.findall(known)]
        return known == "*" or (resource.etag or "").removeprefix("W/") in tags
    since, modified = _date(request.header("if-modified-since")), _date(resource.last_modified)
    return since is not None and modified is not None and modified <= since


def _is_same(condition: str, resource: Resource) -> bool:
    """Whether If-Range names this version: the same strong tag, or the very date (RFC 9110 section 13.1.5)."""
    if condition.startswith("W/"):
        return False
    return condition == (resource.etag if condition.startswith('"') else resource.last_modified)


def _date(value: str | None) -> datetime | None:
    """Read a date; one that cannot be read, or has no zone, is as good as absent."""
    try:
        read = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return read if read.tzinfo is not None else None


# Ranges.

_NOWHERE: Final = (-1, -1)


def _asked_range(request: Request, resource: Resource) -> tuple[int, int] | None:
    """Return the range to send, None for the whole, or :data:`_NOWHERE` (RFC 9110 sections 14.1.2 and 14.2)."""
    found = _RANGE.fullmatch(request.header("range") or "")
    condition = request.header("if-range")
    if request.method != "GET" or not found or not (condition is None or _is_same(condition, resource)):
        return None
    size = len(resource.body)
    if found[3]:
        count = int(found[3])
        if not count:
            return _NOWHERE
        # All of nothing: a range of no bytes cannot be written down.
        return (max(0, size - count), size - 1) if size else None
    first = int(found[1])
    last = int(found[2]) if found[2] else max(first, size - 1)
    if last < first:
        return None
    return (first, min(last, size - 1)) if first < size else _NOWHERE

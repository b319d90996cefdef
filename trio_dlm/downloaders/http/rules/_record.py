"""What ``NAME.part.json`` says: whose part ``NAME.part`` is, of which version its bytes are, and which of them exist.

The record is a list of lines, each of them proving itself: eight hex digits of a CRC-32, a space, what is recorded, the
end of the line.  First comes a header in JSON, perhaps more than one, the last of which counts; then a line for every
range of bytes that was written, ``start stop``.

Rules that hold here:

- bytes go in and bytes come out; who writes them is another room's business;
- a record is read up to the first line that is not right, and what follows is as good as not there: whatever was torn
  or damaged, a range that nobody recorded is never believed;
- a range is bound to its header (its check sum begins with that of the header), and a header behind a range is not
  right: no range is ever read as one of another version;
- a record of a format that is not known here is no record.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, final
from zlib import crc32

from ._spans import Spans
from ._version import NO_VERSION, Validator, Version

__all__ = ["MOST_BYTES", "Header", "Record", "decode", "encode_header", "encode_span", "seed_of", "seems_ours"]

_T = TypeVar("_T")

_FORMAT: Final = 1
# Every header begins so, which tells a record that was torn at once from somebody else's file.
_OPENING: Final = b'{"trio_dlm": '

# More than this is no record of ours: two headers with URLs of 64 KiB, each character of them escaped, and the ranges
# that are listed before they are put together.
MOST_BYTES: Final = 1024 * 1024

_DIGITS: Final = re.compile(rb"[0-9a-f]*")
# Nineteen digits hold every offset that a file system knows.
_SPAN: Final = re.compile(rb"([0-9]{1,19}) ([0-9]{1,19})")


@final
@dataclass(frozen=True, slots=True)
class Header:
    """What holds for a part as a whole.

    Attributes:
        source: the URL that its user gave, without user info and fragment.
        checksum: the digest that the user asked for, as ``"sha256:00ab…"``, or None.
        mode: the permissions that the file is to have in the end, or None if they were not noted.
        version: what its bytes are.
    """

    source: str
    checksum: str | None = None
    mode: int | None = None
    version: Version = NO_VERSION

    @property
    def is_provable(self) -> bool:
        """Whether somebody can tell later that bytes that are fetched then belong to those that are there."""
        # A server's digest would tell in the end only, and may be what is wrong; the user's decides.
        return self.version.validator is not None or self.checksum is not None


@final
@dataclass(frozen=True, slots=True)
class Record:
    """What was read.

    Attributes:
        header: the last one.
        held: the ranges behind it.
        seed: what the check sums of further ranges begin with.
        header_bytes: how far the headers reach.
        size_bytes: how far what is right reaches.
    """

    header: Header
    held: Spans
    seed: int
    header_bytes: int
    size_bytes: int


def encode_header(header: Header) -> bytes:
    """Return the line that says *header*."""
    version = header.version
    facts = {
        "trio_dlm": _FORMAT,
        "source": header.source,
        "checksum": header.checksum,
        "mode": header.mode,
        "validator": version.validator and [version.validator.kind, version.validator.text],
        "total": version.total,
        "digests": version.digests,
        "coding": version.coding,
        "origin": version.origin,
    }
    return _line(json.dumps(facts).encode("ascii"), 0)


def encode_span(start: int, stop: int, seed: int) -> bytes:
    """Return the line that says that the bytes from *start* to *stop* are there, for the header with this *seed*."""
    return _line(b"%d %d" % (start, stop), seed)


def seed_of(header_line: bytes) -> int:
    """Return what the check sums of the ranges behind a header begin with."""
    return int(header_line[:8], 16)


def decode(raw: bytes) -> Record | None:
    """Read a record, or return None if there is not even a header."""
    header: Header | None = None
    seed = at = header_bytes = 0
    spans: list[tuple[int, int]] = []
    while (end := raw.find(b"\n", at) + 1) > 0:
        line = raw[at:end]
        payload = line[9:-1]
        if payload.startswith(b"{"):
            following = None if spans or line != _line(payload, 0) else _read_header(payload)
            if following is None:
                break
            header, seed, header_bytes = following, seed_of(line), end
        else:
            span = None if header is None or line != _line(payload, seed) else _read_span(payload, header.version.total)
            if span is None:
                break
            spans.append(span)
        at = end
    return None if header is None else Record(header, Spans(tuple(spans)), seed, header_bytes, at)


def seems_ours(raw: bytes) -> bool:
    """Whether *raw* is the beginning of a record, or could have become one: nothing at all, or a torn first line."""
    return _DIGITS.fullmatch(raw[:8]) is not None and (b" " + _OPENING).startswith(raw[8 : 9 + len(_OPENING)])


def _line(payload: bytes, seed: int) -> bytes:
    return b"%08x %b\n" % (crc32(payload, seed), payload)


def _read_header(payload: bytes) -> Header | None:
    """Return what a header says.  Its check sum was right, but it may be of another program, or of a later format."""
    try:
        facts = cast("dict[str, Any]", json.loads(payload))
        if facts["trio_dlm"] != _FORMAT:
            return None
        return Header(
            source=_as(str, facts["source"]),
            checksum=None if facts["checksum"] is None else _as(str, facts["checksum"]),
            mode=_read_number(facts["mode"]),
            version=Version(
                validator=_read_validator(facts["validator"]),
                total=_read_number(facts["total"]),
                digests=_read_texts(facts["digests"]),
                coding=_as(str, facts["coding"]),
                origin=_as(str, facts["origin"]),
            ),
        )
    except (KeyError, RecursionError, TypeError, ValueError):
        return None


def _read_validator(fact: Any) -> Validator | None:
    if fact is None:
        return None
    kind, text = fact
    if kind not in ("etag", "date"):
        raise ValueError(f"a validator of kind {kind!r}")
    return Validator(kind, _as(str, text))


def _read_texts(fact: object) -> tuple[str, ...]:
    if not isinstance(fact, list):
        raise TypeError(f"{fact!r} is no list")
    return tuple(_as(str, each) for each in cast("list[object]", fact))


def _as(kind: type[_T], fact: object) -> _T:
    if not isinstance(fact, kind):
        raise TypeError(f"{fact!r} is no {kind.__name__}")
    return fact


def _read_number(fact: object) -> int | None:
    if fact is None:
        return None
    if isinstance(fact, bool) or not isinstance(fact, int) or fact < 0:
        raise ValueError(f"{fact!r} is no number from 0 up")
    return fact


def _read_span(payload: bytes, total: int | None) -> tuple[int, int] | None:
    match = _SPAN.fullmatch(payload)
    if match is None:
        return None
    start, stop = int(match[1]), int(match[2])
    return (start, stop) if start < stop and (total is None or stop <= total) else None

"""From the bytes of a reply to its header and its framing, by llhttp.

Rules that hold here:

- a reply is read in one way only: what two readers could take for two things (two lengths, a length with chunks, any
  coding but chunks, a bare CR, another version) is refused;
- a bare LF as the end of a line is taken in the header, as RFC 9112 section 2.2 allows; no other leniency, and none in
  a body: llhttp would take the CR behind a chunk for its last byte, where the size of the chunk is one too large;
- the header has a limit of bytes and of fields, and there is an end to informational replies;
- one parser for one reply, so that nothing of an earlier one is left in it;
- no callback raises: llhttp would wrap it.  What they find is raised after the call.

Source:
    RFC 9112 sections 2.2, 4, 6.1, 6.3, 7; RFC 9110 sections 6.4.1, 8.6, 15.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, final

import httptools

from ._problems import MalformedReplyError

__all__ = ["Framing", "Head", "ReplyParser"]

# Of the whole header, and of its lines.
MOST_HEAD_BYTES: Final = 64 * 1024
MOST_FIELDS: Final = 256

# Replies of 1xx before the real one.
MOST_INFORMATIONAL: Final = 20

# How much of what is no reply is shown.
_SHOWN_BYTES: Final = 40

_VERSIONS: Final = frozenset({"1.0", "1.1"})


@final
class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    """There is no body."""
    LENGTH = "length"
    """Content-Length says how many bytes there are."""
    CHUNKED = "chunked"
    """It comes in chunks, the last of which is empty."""
    CLOSE = "close"
    """It ends with the connection."""


@final
@dataclass(frozen=True, slots=True)
class Head:
    """What a server said before the body.

    Attributes:
        status: three digits.
        phrase: the words after it.
        version: ``"1.0"`` or ``"1.1"``.
        fields: the header, names as they came.
        framing: how the end of the body is known.
        length: how many bytes it has, where Content-Length says so.
        keep_alive: the connection can be used again when the body has ended.
    """

    status: int
    phrase: bytes
    version: str
    fields: tuple[tuple[bytes, bytes], ...]
    framing: Framing
    length: int | None
    keep_alive: bool


@final
class ReplyParser:
    """Reads one reply.

    Args:
        is_head: it is to a HEAD request, so that there is no body whatever the header says.

    Attributes:
        head: of the reply, once it is complete.
        pieces: what came of the body and was not taken yet.
        trailers: the fields behind a body in chunks.
        is_done: the reply has ended.
        has_surplus: more came behind its end.
    """

    __slots__ = (
        "_fed_bytes",
        "_fields",
        "_informational",
        "_is_head",
        "_is_informational",
        "_parser",
        "_phrase",
        "_problem",
        "_problem_is_behind",
        "_start",
        "has_surplus",
        "head",
        "is_done",
        "pieces",
        "trailers",
    )

    def __init__(self, *, is_head: bool = False) -> None:
        self._is_head = is_head
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._fields: list[tuple[bytes, bytes]] = []
        self._phrase = b""
        self._fed_bytes = 0
        self._start = b""
        self._informational = 0
        self._is_informational = False
        self._problem: MalformedReplyError | None = None
        self._problem_is_behind = False
        self.head: Head | None = None
        self.pieces: list[bytes] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.is_done = False
        self.has_surplus = False

    @property
    def is_whole(self) -> bool:
        """Whether the message has come to its end, and nothing is wrong with it."""
        return self.is_done and self._problem is None

    def check(self) -> None:
        """Say what was wrong behind the header, when all that was right was taken.

        Raises:
            MalformedReplyError: the body is not framed as it has to be.
        """
        if self._problem is not None:
            raise self._problem

    def feed(self, data: bytes | memoryview) -> None:
        """Take more bytes.  What is wrong behind the header is kept for :meth:`check`.

        Raises:
            MalformedReplyError: they cannot be the reply's, or could mean two things.
        """
        if self.is_done:
            self.has_surplus = self.has_surplus or bool(data)
            return
        if not self._fed_bytes:
            self._start = bytes(data[:_SHOWN_BYTES])
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse("the server switches to another protocol, which nobody asked for")
        except httptools.HttpParserError as exc:
            # Behind the end of a complete message it is about what follows.
            if not self.is_done:
                self._refuse(f"{_words_of(exc)}, in {self._start!r}" if self.head is None else _words_of(exc))
            self.has_surplus = True
        if self.head is None:
            self._fed_bytes += len(data)
            if self._fed_bytes > MOST_HEAD_BYTES:
                self._refuse(f"the header is larger than {MOST_HEAD_BYTES} bytes", is_oversized=True)
        if self._problem is not None and not self._problem_is_behind:
            raise self._problem
        if self.head is not None and self.head.framing is Framing.NONE:
            self.has_surplus = self.has_surplus or bool(self.pieces)
            self.pieces.clear()
            self.is_done = True

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self.head is not None:
            self.has_surplus = True
            return
        self._fields = []
        self._phrase = b""
        self._is_informational = False

    def on_status(self, phrase: bytes) -> None:
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:
            self.trailers.append((name, value))
        else:
            self._fields.append((name, value))
        if len(self._fields) + len(self.trailers) > MOST_FIELDS:
            self._refuse(f"the header has more than {MOST_FIELDS} fields", is_oversized=True)

    def on_headers_complete(self) -> None:
        if self.head is not None:
            return
        status: int = self._parser.get_status_code()
        if sum(len(name) + len(value) + 4 for name, value in self._fields) > MOST_HEAD_BYTES:
            self._refuse(f"the header is larger than {MOST_HEAD_BYTES} bytes", is_oversized=True)
        if status == 101:
            self._refuse("the server switches to another protocol, which nobody asked for")
        elif status < 100:
            self._refuse(f"the status is {status:03}, not 100 or more")
        elif status < 200:
            self._is_informational = True
            self._informational += 1
            if self._informational > MOST_INFORMATIONAL:
                self._refuse(f"there are more than {MOST_INFORMATIONAL} informational replies")
        else:
            self.head = self._complete(status)
            self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=False)

    def on_body(self, data: bytes) -> None:
        if self.head is not None and not self.is_done:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self._is_informational:
            # Its bytes are none of the reply's.
            self._fed_bytes = 0
        elif self.head is not None:
            self.is_done = True

    def _complete(self, status: int) -> Head:
        version: str = self._parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(f"the version is HTTP/{version}, not 1.0 or 1.1")
        lengths = {value.strip(b" \t") for name, value in self._fields if name.lower() == b"content-length"}
        codings = [value for name, value in self._fields if name.lower() == b"transfer-encoding"]
        length: int | None = None
        framing = Framing.CLOSE
        if codings:
            if [value.strip(b" \t").lower() for value in codings] != [b"chunked"] or version != "1.1":
                self._refuse(f"Transfer-Encoding is {b', '.join(codings)!r}, not just 'chunked'")
            if lengths:
                self._refuse("there are a Content-Length and a Transfer-Encoding")
            framing = Framing.CHUNKED
        elif lengths:
            (first, *others) = lengths
            if others or not first.isdigit() or len(first) > 18:
                self._refuse(f"Content-Length is {b', '.join(sorted(lengths))!r}, not one number")
            else:
                length, framing = int(first), Framing.LENGTH
        if self._is_head or status in (204, 304) or length == 0:
            framing = Framing.NONE
        return Head(
            status=status,
            phrase=self._phrase,
            version=version,
            fields=tuple(self._fields),
            framing=framing,
            length=length,
            # Only here: llhttp forgets it with the end of the message.
            keep_alive=bool(self._parser.should_keep_alive()) and framing is not Framing.CLOSE,
        )

    def _refuse(self, problem: str, *, is_oversized: bool = False) -> None:
        if self._problem is None:
            self._problem = MalformedReplyError(problem, is_oversized=is_oversized)
            self._problem_is_behind = self.head is not None


def _words_of(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[0].lower() + text[1:] if text else "it cannot be read"

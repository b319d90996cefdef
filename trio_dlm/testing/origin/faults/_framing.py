"""Where the body ends: lengths, chunks and the end of the connection, right and wrong.

Rules that hold here:

- the bytes of the body are the right ones; what is wrong is what is said about their number, or that some are missing;
- a reply whose end is in doubt ends with the connection, so that a client that reads to the end is not kept waiting.

Source:
    RFC 9112 sections 6 (lengths), 7 (chunks), 8 (incomplete messages) and 9.8 (the end of a TLS connection).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from .._acts import Act, Close, Send
from .._fault import Spelled
from .._reply import Reply, honest_reply, knows_http_1_1
from .._request import Request
from .._resource import Resource

__all__ = [
    "ChunkSizeWrong",
    "ChunkedCut",
    "ChunkedJunk",
    "ChunkedWithLength",
    "CutUntilClose",
    "JunkLength",
    "LengthTooLong",
    "LengthTooShort",
    "ServeChunked",
    "ServeUntilClose",
    "TwoLengths",
]

_LAST_CHUNK: Final = b"0\r\n\r\n"


# Lengths.


@final
@dataclass(frozen=True, slots=True, repr=False)
class LengthTooLong(Spelled):
    """The connection ends before the promised length is reached, although the body is whole (RFC 9112 section 8).

    Attributes:
        by: how many bytes too many are promised.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Promise more than there is."""
        reply = honest_reply(request, resource)
        return _until_close(reply.saying(("Content-Length", str(len(reply.body) + self.by))))


@final
@dataclass(frozen=True, slots=True, repr=False)
class LengthTooShort(Spelled):
    """The promised length is too small, so that the body seems to end early: nothing but a digest or a range tells.

    Attributes:
        by: how many bytes too few are promised.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Promise less than there is."""
        reply = honest_reply(request, resource)
        return _until_close(reply.saying(("Content-Length", str(max(0, len(reply.body) - self.by)))))


@final
@dataclass(frozen=True, slots=True, repr=False)
class TwoLengths(Spelled):
    """Two lengths that differ: the framing is invalid, and the reply must be thrown away (RFC 9112 section 6.3).

    Attributes:
        by: how much the first is too small.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Promise two lengths, the right one second."""
        reply = honest_reply(request, resource)
        lengths = [max(0, len(reply.body) - self.by), len(reply.body)]
        return _until_close(reply.saying(*(("Content-Length", str(length)) for length in lengths)))


@final
@dataclass(frozen=True, slots=True, repr=False)
class JunkLength(Spelled):
    """A length that is no number of bytes: the framing is invalid (RFC 9110 section 8.6).

    Attributes:
        text: what stands there.
    """

    text: str = "junk"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Promise nonsense."""
        return _until_close(honest_reply(request, resource).saying(("Content-Length", self.text)))


@final
@dataclass(frozen=True, slots=True, repr=False)
class ServeUntilClose(Spelled):
    """A body without a length, as of old: it ends with the connection (RFC 9112 section 6.3).

    Attributes:
        clean: whether a TLS connection ends with close_notify, without which the body is incomplete (section 9.8).
    """

    clean: bool = True

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and close."""
        return _until_close(_endless(honest_reply(request, resource)), clean=self.clean)


@final
@dataclass(frozen=True, slots=True, repr=False)
class CutUntilClose(Spelled):
    """A body without a length breaks off: without TLS this is its end like any other.

    Attributes:
        byte: where the connection ends.
        clean: whether a TLS connection ends with close_notify; without, the client can tell (RFC 9112 section 9.8).
    """

    byte: int = 0
    clean: bool = True

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve up to the byte, and close."""
        reply = _endless(honest_reply(request, resource))
        yield Send(reply.head() + reply.content[: self.byte])
        yield Close(clean=self.clean)


# Chunks.


@final
@dataclass(frozen=True, slots=True, repr=False)
class ServeChunked(Spelled):
    """No fault: the body in chunks (RFC 9112 section 7.1), or with its length for a client that does not know them.

    Attributes:
        chunk_bytes: the size of each but the last.
        extras: whether there are chunk extensions and a trailer, which the client may ignore.
    """

    chunk_bytes: int = 1000
    extras: bool = False

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve in chunks."""
        reply = honest_reply(request, resource)
        if not knows_http_1_1(request):
            yield from reply.acts()
            return
        chunks = _chunks(reply, self.chunk_bytes, extension=b";at=once" if self.extras else b"")
        last = b"0;at=last\r\nServer-Timing: done\r\n\r\n" if self.extras else _LAST_CHUNK
        yield _sent(_chunked(reply), *chunks, last)
        yield from reply.end()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChunkedCut(Spelled):
    """The connection ends between two chunks: without the last chunk the body is incomplete (RFC 9112 section 8).

    Attributes:
        chunks: how many come.
        chunk_bytes: the size of each.
    """

    chunks: int = 0
    chunk_bytes: int = 1000

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve some chunks, and close."""
        reply = honest_reply(request, resource)
        yield _sent(_chunked(reply), *_chunks(reply, self.chunk_bytes)[: self.chunks])
        yield Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChunkedJunk(Spelled):
    """Where the size of a chunk should stand there is something else (RFC 9112 section 7.1).

    Attributes:
        chunks: how many right ones come before.
        chunk_bytes: the size of each.
        text: what stands there.
    """

    chunks: int = 0
    chunk_bytes: int = 1000
    text: str = "junk"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve some chunks, then nonsense."""
        reply = honest_reply(request, resource)
        chunks = _chunks(reply, self.chunk_bytes)[: self.chunks]
        yield _sent(_chunked(reply), *chunks, self.text.encode("latin-1") + b"\r\n", _LAST_CHUNK)
        yield Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChunkSizeWrong(Spelled):
    """A chunk is longer or shorter than its size says (RFC 9112 section 7.1): framing is taken for bytes of the file.

    Attributes:
        by: how much the size is too large, or too small if negative.
        quarter: which chunk of four, counted from 0; None if the body is one chunk.
    """

    by: int = 1
    quarter: int | None = None

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve one chunk under a wrong size."""
        reply = honest_reply(request, resource)
        if self.quarter is None:
            before, wrong, after = b"", reply.body, b""
        else:
            step = len(reply.body) // 4
            start, stop = step * self.quarter, step * (self.quarter + 1)
            before, wrong, after = reply.body[:start], reply.body[start:stop], reply.body[stop:]
        size = max(1, len(wrong) + self.by)
        yield _sent(
            _chunked(reply),
            *_chunks(reply.carrying(before), 1000),
            b"%x\r\n%b\r\n" % (size, wrong),
            *_chunks(reply.carrying(after), 1000),
            _LAST_CHUNK,
        )
        yield Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChunkedWithLength(Spelled):
    """Chunks and a length at once, by which replies are smuggled: the chunks count, if any does (RFC 9112 section 6.3).

    Attributes:
        by: how much the length is smaller than that of the body.
    """

    by: int = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve in chunks, and promise a length too."""
        reply = honest_reply(request, resource)
        length = ("Content-Length", str(max(0, len(reply.body) - self.by)))
        yield _sent(_chunked(reply).saying(length), *_chunks(reply, 1000), _LAST_CHUNK)
        yield Close()


def _until_close(reply: Reply, *, clean: bool = True) -> Iterator[Act]:
    yield _sent(reply, reply.content)
    yield Close(clean=clean)


def _endless(reply: Reply) -> Reply:
    return reply.without("Content-Length").saying(("Connection", "close"))


def _chunked(reply: Reply) -> Reply:
    return reply.without("Content-Length").saying(("Transfer-Encoding", "chunked"))


def _chunks(reply: Reply, size: int, *, extension: bytes = b"") -> list[bytes]:
    """Return the body's chunks but the last one."""
    pieces = (reply.body[start : start + size] for start in range(0, len(reply.body), size))
    return [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]


def _sent(reply: Reply, *content: bytes) -> Send:
    """Send header and content together; only the header where the reply has none."""
    return Send(b"".join([reply.head(), *(content if reply.has_content else ())]))

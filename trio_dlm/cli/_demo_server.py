"""A small HTTP/1.1 server on a loopback port, with files that nobody has to store and faults that it has on purpose.

Rules that hold here:

- a file is its name and version: every block of it is computed from these and the block's number, so that anybody can
  compute the digest as well;
- each connection has its own rate, since a demonstration that is over at once shows nothing;
- a fault that passes happens once, to the first request for its file;
- it serves GET, one request after the other on a connection, and single ranges of files with strong validators: it is
  no web server.

Source:
    RFC 9112 for the framing of requests and replies, RFC 9110 sections 13.1.5 and 14 for If-Range and ranges.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, final

import httptools
import trio

__all__ = ["Answer", "DemoServer", "Fault", "Offer", "content_of", "open_server", "sha256_of"]

BLOCK_BYTES: Final = 16 * 1024

# What is sent at a time takes no longer than this, since a client measures within milliseconds whether a further
# connection pays.
PIECE_S: Final = 0.01

# A client that sends half a request must not keep its handler for ever.
_REQUEST_S: Final = 10.0

# What a server that is busy asks for: the shortest wait that can be asked for, and long enough to be seen.
RETRY_AFTER_S: Final = 1

_RANGE: Final = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})?")


class Fault(enum.Enum):
    """What is wrong with a file that the server offers."""

    NONE = enum.auto()
    MISSING = enum.auto()
    """404."""
    STALL = enum.auto()
    """Nothing comes any more after half of what was promised."""
    WRONG = enum.auto()
    """What comes is another file."""
    BREAK = enum.auto()
    """Passes: the connection is closed after half of what was promised."""
    BUSY = enum.auto()
    """Passes: 503, with the wish to be asked again in a second."""
    CHANGE = enum.auto()
    """Passes: the connection is closed after half of what was promised, and afterwards there is another version."""


_PASSING: Final = frozenset({Fault.BREAK, Fault.BUSY, Fault.CHANGE})


@final
@dataclass(frozen=True, slots=True)
class Offer:
    """A file of the server.

    Attributes:
        name: what it is called.
        size_bytes: how long it is.
        rate_bytes_per_s: how fast it comes over one connection.
        fault: what is wrong with it.
        connections: over how many it is to be fetched at most.
    """

    name: str
    size_bytes: int
    rate_bytes_per_s: int
    fault: Fault = Fault.NONE
    connections: int = 1

    @property
    def final_version(self) -> int:
        """The version that the server has in the end."""
        return 2 if self.fault is Fault.CHANGE else 1

    @property
    def checksum(self) -> str:
        """The digest that the file is said to have, as ``"sha256:…"``."""
        return sha256_of(self.name, self.size_bytes, self.final_version)


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got: the status, the version of the file, and from which byte on."""

    status: int
    version: int = 1
    start: int = 0


@final
@dataclass(slots=True)
class DemoServer:
    """The server, while it runs.

    Attributes:
        address: what the paths are below, as in ``http://127.0.0.1:1234``.
        answers: what the requests for each file got, by its name.
        peaks: over how many connections each file was sent at the same time, at most.
    """

    offers: Mapping[str, Offer]
    address: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])
    peaks: dict[str, int] = field(default_factory=dict[str, int])
    _sending: dict[str, int] = field(default_factory=dict[str, int])

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection until either side closes it."""
        try:
            while (request := await _read_request(stream)) is not None:
                offer = self.offers.get(request.target.removeprefix("/"))
                if offer is None:
                    await stream.send_all(_head("404 Not Found"))
                elif not await self._answer(stream, offer, request):
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError, httptools.HttpParserError):
            # The client went away, or is none.
            return

    async def _answer(self, stream: trio.SocketStream, offer: Offer, request: _Request) -> bool:
        """Answer one request; returns whether the connection can be used again."""
        answers = self.answers.setdefault(offer.name, [])
        fault = Fault.NONE if offer.fault in _PASSING and answers else offer.fault
        if fault in (Fault.MISSING, Fault.BUSY):
            missing = fault is Fault.MISSING
            answers.append(Answer(404 if missing else 503))
            await stream.send_all(
                _head("404 Not Found")
                if missing
                else _head("503 Service Unavailable", headers=(f"Retry-After: {RETRY_AFTER_S}",))
            )
            return True
        version = 1 if fault is Fault.CHANGE else offer.final_version
        etag = f'"{offer.name}-{version}"'
        wanted = request.range_of(offer.size_bytes, etag)
        answers.append(Answer(200 if wanted is None else 206, version, 0 if wanted is None else wanted.start))
        self._sending[offer.name] = self._sending.get(offer.name, 0) + 1
        self.peaks[offer.name] = max(self.peaks.get(offer.name, 0), self._sending[offer.name])
        try:
            return await _send_file(stream, offer, version, etag, wanted, fault)
        finally:
            self._sending[offer.name] -= 1


def content_of(name: str, size_bytes: int, version: int = 1, *, start: int = 0) -> Iterator[bytes]:
    """Yield the content of a file in blocks, from *start* on."""
    for begin in range(start - start % BLOCK_BYTES, size_bytes, BLOCK_BYTES):
        seed = f"{name}\n{version}\n{begin // BLOCK_BYTES}".encode()
        block = hashlib.shake_128(seed).digest(min(BLOCK_BYTES, size_bytes - begin))
        yield block[max(start - begin, 0) :]


def sha256_of(name: str, size_bytes: int, version: int = 1) -> str:
    """Return the digest of a file as ``"sha256:…"``."""
    digest = hashlib.sha256()
    for block in content_of(name, size_bytes, version):
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"


@asynccontextmanager
async def open_server(*offers: Offer) -> AsyncGenerator[DemoServer]:
    """Serve *offers*, each below its name.  Leaving the block closes every connection."""
    server = DemoServer({offer.name: offer for offer in offers})
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        )
        host, port = listeners[0].socket.getsockname()[:2]
        server.address = f"http://{host}:{port}"
        yield server
        nursery.cancel_scope.cancel(reason="the demonstration is over")


@final
class _Request:
    """What the parser makes of the bytes of one request."""

    def __init__(self) -> None:
        self.target = ""
        self.headers: dict[str, str] = {}
        self.is_complete = False

    def on_url(self, part: bytes) -> None:
        self.target += part.decode("ascii", "replace")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self.is_complete = True

    def range_of(self, size_bytes: int, etag: str) -> range | None:
        """Return the bytes that are asked for of a file so long, or None for all of it."""
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        if match is None or self.headers.get("if-range", etag) != etag:
            return None
        start, end = int(match[1]), size_bytes if match[2] is None else min(int(match[2]) + 1, size_bytes)
        # A range that does not exist may be ignored as well as refused (RFC 9110 section 14.2).
        return range(start, end) if start < end else None


async def _read_request(stream: trio.SocketStream) -> _Request | None:
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    with trio.move_on_after(_REQUEST_S):
        while data := await stream.receive_some():
            parser.feed_data(data)
            if request.is_complete:
                return request
    return None


async def _send_file(
    stream: trio.SocketStream, offer: Offer, version: int, etag: str, wanted: range | None, fault: Fault
) -> bool:
    """Send what is *wanted* as fast as it is meant to come; returns whether the connection can be used again."""
    headers = (f"ETag: {etag}", "Accept-Ranges: bytes")
    if wanted is None:
        wanted = range(offer.size_bytes)
        await stream.send_all(_head("200 OK", len(wanted), headers))
    else:
        content_range = f"Content-Range: bytes {wanted.start}-{wanted.stop - 1}/{offer.size_bytes}"
        await stream.send_all(_head("206 Partial Content", len(wanted), (*headers, content_range)))
    began = trio.current_time()
    sent = 0
    piece_bytes = max(1, round(offer.rate_bytes_per_s * PIECE_S))
    name = f"another {offer.name}" if fault is Fault.WRONG else offer.name
    for block in content_of(name, wanted.stop, version, start=wanted.start):
        if sent >= len(wanted) // 2 and fault in (Fault.STALL, Fault.BREAK, Fault.CHANGE):
            if fault is Fault.STALL:
                await trio.sleep_forever()
            return False
        for begin in range(0, len(block), piece_bytes):
            piece = block[begin : begin + piece_bytes]
            await stream.send_all(piece)
            sent += len(piece)
            await trio.sleep_until(began + sent / offer.rate_bytes_per_s)
    return True


def _head(status: str, length: int = 0, headers: tuple[str, ...] = ()) -> bytes:
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/octet-stream", f"Content-Length: {length}", *headers)
    return "\r\n".join((*lines, "", "")).encode("ascii")

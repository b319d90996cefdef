"""A small HTTP/1.1 server on a loopback port, with files that nobody has to store and faults that it has on purpose.

Rules that hold here:

- a file is its name: every block of it is computed from the name and the block's number, so that anybody can compute
  the digest as well;
- each connection has its own rate, since a demonstration that is over at once shows nothing;
- it serves GET, one request after the other on a connection, and knows no ranges: it is no web server.

Source:
    RFC 9112 for the framing of requests and replies.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import httptools
import trio

__all__ = ["Fault", "Offer", "content_of", "open_server", "sha256_of"]

BLOCK_BYTES: Final = 16 * 1024

# A client that sends half a request must not keep its handler for ever.
_REQUEST_S: Final = 10.0


class Fault(enum.Enum):
    """What is wrong with a file that the server offers."""

    NONE = enum.auto()
    MISSING = enum.auto()
    """404."""
    SHORT = enum.auto()
    """The connection is closed after half of what was promised."""
    STALL = enum.auto()
    """Nothing comes any more after half of what was promised."""


@final
@dataclass(frozen=True, slots=True)
class Offer:
    """A file of the server: its name, how long it is, how fast it comes, and what is wrong with it."""

    name: str
    size_bytes: int
    rate_bytes_per_s: int
    fault: Fault = Fault.NONE


def content_of(name: str, size_bytes: int) -> Iterator[bytes]:
    """Yield the content of a file in blocks."""
    for number, start in enumerate(range(0, size_bytes, BLOCK_BYTES)):
        length = min(BLOCK_BYTES, size_bytes - start)
        yield hashlib.shake_128(f"{name}\n{number}".encode()).digest(length)


def sha256_of(name: str, size_bytes: int) -> str:
    """Return the digest of a file as ``"sha256:…"``."""
    digest = hashlib.sha256()
    for block in content_of(name, size_bytes):
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"


@asynccontextmanager
async def open_server(offers: Mapping[str, Offer]) -> AsyncGenerator[str]:
    """Serve *offers*, by their paths, and give the address that the paths are below, as in ``http://127.0.0.1:1234``.

    Leaving the block closes every connection.
    """
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, partial(_serve, offers), 0, host="127.0.0.1")
        )
        host, port = listeners[0].socket.getsockname()[:2]
        yield f"http://{host}:{port}"
        nursery.cancel_scope.cancel(reason="the demonstration is over")


@final
class _Request:
    """What the parser makes of the bytes of one request."""

    def __init__(self) -> None:
        self.target = ""
        self.is_complete = False

    def on_url(self, part: bytes) -> None:
        self.target += part.decode("ascii", "replace")

    def on_message_complete(self) -> None:
        self.is_complete = True


async def _serve(offers: Mapping[str, Offer], stream: trio.SocketStream) -> None:
    """Answer the requests of one connection until either side closes it."""
    try:
        while (request := await _read_request(stream)) is not None:
            offer = offers.get(request.target)
            if offer is None or offer.fault is Fault.MISSING:
                await stream.send_all(_head("404 Not Found", 0))
            elif not await _send_file(stream, offer):
                return
    except (trio.BrokenResourceError, trio.ClosedResourceError, httptools.HttpParserError):
        # The client went away, or is none.
        return


async def _read_request(stream: trio.SocketStream) -> _Request | None:
    request = _Request()
    parser = httptools.HttpRequestParser(request)
    with trio.move_on_after(_REQUEST_S):
        while data := await stream.receive_some():
            parser.feed_data(data)
            if request.is_complete:
                return request
    return None


async def _send_file(stream: trio.SocketStream, offer: Offer) -> bool:
    """Send *offer* as fast as it is meant to come; returns whether the connection can be used again."""
    await stream.send_all(_head("200 OK", offer.size_bytes))
    began = trio.current_time()
    sent = 0
    for block in content_of(offer.name, offer.size_bytes):
        if offer.fault is not Fault.NONE and sent >= offer.size_bytes // 2:
            if offer.fault is Fault.STALL:
                await trio.sleep_forever()
            return False
        await stream.send_all(block)
        sent += len(block)
        await trio.sleep_until(began + sent / offer.rate_bytes_per_s)
    return True


def _head(status: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n".encode(
        "ascii"
    )

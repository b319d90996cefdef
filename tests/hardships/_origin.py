"""An origin that gives its files slowly, and counts every byte of theirs that it hands to its sockets.

Rules that hold here:

- what counts is what was handed to a socket, whether or not somebody ever read it.  On a loopback without a throttle
  these would be the buffers of the kernel above all, several MiB for each connection: therefore the throttle, a small
  send buffer, and small pieces;
- there is a rate of all connections together, and one that none of them may exceed: whoever wants the whole of the
  first needs several where the second is a part of it;
- every file has a strong ETag and takes ranges, unless its :class:`Framing` says otherwise.
"""

from __future__ import annotations

import enum
import hashlib
import math
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, cast, final

import trio

from trio_dlm.testing.origin import Close, Connection, Origin, Reply, Request, Resource, honest_reply, open_origin

__all__ = ["MIB", "RATE_BYTES_PER_S", "CountingOrigin", "Framing", "make_body", "open_counting_origin"]

MIB: Final = 1024 * 1024

# Of all connections together: a fast line, and so slow that whoever reads without a pause leaves the buffers empty.
RATE_BYTES_PER_S: Final = 25 * MIB

_PIECE_BYTES: Final = 16 * 1024
# The kernel doubles it.
_SEND_BUFFER_BYTES: Final = 16 * 1024
# For how long the origin may be held up and make up for it: trio wakes nobody more exactly than to a millisecond.
_SLACK_S: Final = 0.02


class Framing(enum.Enum):
    """How the end of a whole file is told; what is asked for by a range from the middle has its length in any case."""

    LENGTH = "with its length"
    CHUNKED = "chunked"
    CLOSED = "ended by the close"


def make_body(size_bytes: int, *, seed: int = 0) -> bytes:
    """Make bytes of which none can stand in for others."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size_bytes)


@final
class CountingOrigin:
    """The origin; made by :func:`open_counting_origin`.

    Attributes:
        origin: the requests that came, and what else an origin knows.
        given_bytes: how many bytes of files were handed over so far.
    """

    def __init__(self, origin: Origin, rate_bytes_per_s: float, connections: int) -> None:
        self.origin = origin
        self.given_bytes = 0
        self._pace = _Pace(rate_bytes_per_s)
        self._connection_bytes_per_s = rate_bytes_per_s / connections
        self._changed = trio.Event()

    def serve(self, path: str, body: bytes, framing: Framing = Framing.LENGTH, *, has_validator: bool = True) -> str:
        """Have a file at *path*, and return its address."""
        # A slice of it is no copy.
        resource = Resource(cast("bytes", memoryview(body)), validators="strong" if has_validator else "none")

        async def script(connection: Connection, request: Request) -> None:
            reply = honest_reply(request, resource)
            # The file has to come from its beginning, or with a 206.
            content_range = reply.value("Content-Range") or "bytes 0-"
            if framing is not Framing.LENGTH and content_range.startswith("bytes 0-"):
                await self._give_unknown(connection, request, resource, framing)
                return
            await connection.send(reply.head())
            await self._give(connection, reply.content)
            await connection.perform(reply.end())

        return self.origin.on(path, script)

    async def wait_given(self, count: float) -> None:
        """Wait until *count* bytes were handed over."""
        await trio.lowlevel.checkpoint()
        while self.given_bytes < count:
            await self._changed.wait()

    async def _give_unknown(
        self, connection: Connection, request: Request, resource: Resource, framing: Framing
    ) -> None:
        chunked = framing is Framing.CHUNKED
        fields = [("Date", "Wed, 01 Jan 2025 00:00:00 GMT"), ("Accept-Ranges", "bytes")]
        if resource.etag is not None:
            fields.append(("ETag", resource.etag))
        fields.append(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close"))
        await connection.send(Reply(200, "OK", tuple(fields)).head())
        await self._give(connection, resource.body, chunked=chunked)
        if chunked:
            await connection.send(b"0\r\n\r\n")
        else:
            await connection.perform([Close()])

    async def _give(self, connection: Connection, body: bytes, *, chunked: bool = False) -> None:
        connection._transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        own_pace = _Pace(self._connection_bytes_per_s)
        for start in range(0, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            await own_pace.wait(len(piece))
            await self._pace.wait(len(piece))
            # Before, so that a piece of which the client took a part only counts as a whole.
            self.given_bytes += len(piece)
            self._changed.set()
            self._changed = trio.Event()
            await connection.send(*([b"%x\r\n" % len(piece), piece, b"\r\n"] if chunked else [piece]))


@final
class _Pace:
    """Whose turn comes when so many bytes may be given in a second."""

    def __init__(self, rate_bytes_per_s: float) -> None:
        self._rate_bytes_per_s = rate_bytes_per_s
        self._next_at = -math.inf

    async def wait(self, count: int) -> None:
        """Wait until the next *count* bytes may be given."""
        self._next_at = max(self._next_at, trio.current_time() - _SLACK_S) + count / self._rate_bytes_per_s
        await trio.sleep_until(self._next_at)


@asynccontextmanager
async def open_counting_origin(
    *, rate_bytes_per_s: float = RATE_BYTES_PER_S, connections: int = 1
) -> AsyncGenerator[CountingOrigin]:
    """Have an origin until the block ends; it has no file yet.

    Args:
        rate_bytes_per_s: of all connections together.
        connections: how many it takes to get that.
    """
    async with open_origin() as origin:
        yield CountingOrigin(origin, rate_bytes_per_s, connections)

"""The origin's end of one connection, as a script sees it.

Rules that hold here:

- nothing is parsed but where a request ends, and nothing is sent that was not given;
- while the origin says nothing it listens, so that it learns at once when the client goes away;
- a client that went away is ``BrokenResourceError``, whatever was being done but waiting for that.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never, final

import trio

from ..world._socket import RESET_ON_CLOSE
from ._acts import Act, Close, Hold, Reset, Send, Wait
from ._request import Request

__all__ = ["Connection"]

_END_OF_HEADER = b"\r\n\r\n"


@final
class Connection:
    """One connection.

    Attributes:
        number: how many connections were made before it.
        is_open: whether another request may come on it.
    """

    def __init__(self, stream: trio.abc.Stream, transport: trio.SocketStream, number: int) -> None:
        self.number = number
        self.is_open = True
        self._stream = stream
        self._transport = transport
        self._buffer = bytearray()

    async def read_request(self) -> Request | None:
        """Wait for a request; None when the client has closed.

        A body is read and forgotten if its length is told.
        """
        while _END_OF_HEADER not in self._buffer:
            if not await self._read_on():
                return None
        raw, _, rest = bytes(self._buffer).partition(_END_OF_HEADER)
        is_secure = isinstance(self._stream, trio.SSLStream)
        request = Request.parse(raw, connection=self.number, at_s=trio.current_time(), is_secure=is_secure)
        length = request.header("content-length") or ""
        body_bytes = int(length) if length.isdecimal() else 0
        self._buffer = bytearray(rest)
        while len(self._buffer) < body_bytes:
            if not await self._read_on():
                return None
        del self._buffer[:body_bytes]
        return request

    async def perform(self, acts: Iterable[Act]) -> None:
        """Do one act after the other, until one of them ends the connection."""
        for act in acts:
            match act:
                case Send(data):
                    await self.send(data)
                case Wait(seconds):
                    await self.wait(seconds)
                case Close(clean):
                    await self.close(clean=clean)
                case Reset():
                    await self.reset()
                case Hold():
                    await self.wait_closed()
                case _:
                    assert_never(act)
            if not self.is_open:
                return

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are; waits while the client does not read."""
        for piece in pieces:
            await self._stream.send_all(piece)

    async def wait(self, seconds: float) -> None:
        """Say nothing for so many seconds of trio's clock, or until the client goes away."""
        with trio.move_on_after(seconds):
            while await self._read_on():
                pass
            raise trio.BrokenResourceError("the client went away while the origin waited")

    async def wait_closed(self) -> None:
        """Say nothing more until the client closes."""
        self.is_open = False
        with suppress(trio.BrokenResourceError):
            while await self._read_on():
                pass

    async def close(self, *, clean: bool = True) -> None:
        """Close.

        Args:
            clean: over TLS, say so first by close_notify (RFC 9112 section 9.8).
        """
        self.is_open = False
        await (self._stream if clean else self._transport).aclose()

    async def reset(self) -> None:
        """Break the connection: the client gets a reset."""
        self.is_open = False
        self._transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await self._transport.aclose()

    async def _read_on(self) -> bool:
        received = await self._stream.receive_some()
        self._buffer += received
        return bool(received)

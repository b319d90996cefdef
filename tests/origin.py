"""A server on a real socket that says exactly the bytes that a test wants, when it wants them.

Rules that hold here:

- no HTTP library: a script sends raw bytes, so that it can lie as no library would;
- every request is kept as it came, and every connection is counted until the client has closed it;
- loopback only; with ``tls`` the certificate is made when the test runs.

Use it as ``async with open_origin() as origin``, put scripts under paths with :meth:`Origin.on` or whole replies with
:meth:`Origin.reply`, and ask for ``origin.url("/path")``.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio

__all__ = ["Connection", "Origin", "Request", "head", "open_origin", "reply"]

# A client that does not close its connection in this time has forgotten it.
_CLOSED_WITHIN_S: Final = 5.0


@dataclass(frozen=True)
class Request:
    """One request: its target, its header with names in lower case, and all its bytes."""

    target: str
    headers: dict[str, str]
    raw: bytes = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> Request:
        """Read a request without a body."""
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return cls(first.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}, raw)


class Connection:
    """The server's end of one connection, as a script sees it."""

    def __init__(self, stream: trio.abc.Stream, sock: trio.socket.SocketType) -> None:
        self._stream = stream
        self._socket = sock
        self._buffer = b""
        self.is_open = True

    async def read_request(self) -> Request | None:
        """Wait for a request; None when the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            received = await self._stream.receive_some()
            if not received:
                return None
            self._buffer += received
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return Request.parse(raw)

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            await self._stream.send_all(piece)

    async def close(self) -> None:
        """Close cleanly: FIN without TLS, close_notify is not sent."""
        self.is_open = False
        await self._stream.aclose()

    async def reset(self) -> None:
        """Break the connection: the client gets a reset."""
        self.is_open = False
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        await trio.lowlevel.checkpoint()

    async def wait_closed(self) -> None:
        """Say nothing until the client closes."""
        self.is_open = False
        while await self._stream.receive_some():
            pass


Script: TypeAlias = Callable[[Connection, Request], Awaitable[None]]


def head(*lines: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    """Return a header block."""
    return "\r\n".join([f"{version} {status}", *lines, "", ""]).encode("latin-1")


def reply(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return a whole reply with its length."""
    return head(f"Content-Length: {len(body)}", *lines, status=status) + body


class Origin:
    """A server, made by :func:`open_origin`."""

    def __init__(self, scheme: str, port: int, host: str) -> None:
        self.scheme = scheme
        self.port = port
        self.host = host
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self._scripts: dict[str, Script] = {}
        self._changed = trio.Event()

    def url(self, path: str = "/", *, userinfo: str = "") -> str:
        """Return the address of *path* here."""
        at = f"{userinfo}@" if userinfo else ""
        return f"{self.scheme}://{at}{self.host}:{self.port}{path}"

    def on(self, path: str, script: Script) -> None:
        """Answer requests for *path* by running *script*; the connection is kept if the script leaves it open."""
        self._scripts[path] = script

    def reply(self, path: str, *pieces: bytes, close: bool = False) -> str:
        """Answer requests for *path* with *pieces*, and return its address."""

        async def script(connection: Connection, _: Request) -> None:
            await connection.send(*pieces)
            if close:
                await connection.close()

        self.on(path, script)
        return self.url(path)

    async def wait_requests(self, count: int) -> None:
        """Wait until *count* requests have come."""
        with trio.fail_after(_CLOSED_WITHIN_S):
            while len(self.requests) < count:
                await self._changed.wait()

    async def wait_connections(self, count: int) -> None:
        """Wait until *count* connections have been made."""
        with trio.fail_after(_CLOSED_WITHIN_S):
            while self.connections < count:
                await self._changed.wait()

    async def wait_no_connections(self) -> None:
        """Wait until the client has closed every connection; fail if it does not."""
        with trio.fail_after(_CLOSED_WITHIN_S):
            while self.open_connections:
                await self._changed.wait()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def serve(self, stream: trio.abc.Stream, sock: trio.socket.SocketType) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open_connections += 1
        self._change()
        try:
            connection = Connection(stream, sock)
            while connection.is_open and (request := await connection.read_request()) is not None:
                self.requests.append(request)
                self._change()
                script = self._scripts.get(request.target.partition("?")[0])
                if script is None:
                    await connection.send(reply(b"", status="404 Not Found"))
                else:
                    await script(connection, request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The client went away, or the script closed while it was being read.
            pass
        finally:
            with trio.move_on_after(1, shield=True):
                await stream.aclose()
            self.open_connections -= 1
            self._change()


@asynccontextmanager
async def open_origin(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncGenerator[Origin, None]:
    """Listen on a free port of loopback until the block ends.

    Args:
        tls: serve https with this context.
        host: the name in the addresses that it gives; ``localhost`` makes another origin of the same machine.
    """
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listener.socket.getsockname()[1]
        origin = Origin("http" if tls is None else "https", port, host)

        async def handle(stream: trio.SocketStream) -> None:
            wrapped: trio.abc.Stream = stream
            if tls is not None:
                wrapped = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await origin.serve(wrapped, stream.socket)

        await nursery.start(trio.serve_listeners, handle, [listener])
        yield origin
        nursery.cancel_scope.cancel(reason="the test is over")

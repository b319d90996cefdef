"""A connected socket, as the rooms above use it: tried without waiting, waited for, closed.

Rules that hold here:

- a socket of the system's is used as it is, without trio's layers: a try costs one call of the system;
- whatever else trio gives as a socket (a network in memory, for tests) is used through its own methods, and can neither
  be tried nor moved to a thread;
- whoever waits for a socket that is closed is told.

Source:
    trio's documentation of ``notify_closing``.
"""

from __future__ import annotations

import socket
from typing import Any, ClassVar, Protocol, final

import trio

__all__ = ["SystemWire", "TrioWire", "Wire", "wire_of"]


class Wire(Protocol):
    """A connected socket."""

    can_try: ClassVar[bool]
    """Whether :meth:`try_receive` does anything, on the loop and in a thread."""

    def try_receive(self, into: memoryview) -> int | None:
        """Receive what is there, and return how much it is: None if nothing is there yet, 0 at the end."""
        ...

    async def wait_readable(self) -> None:
        """Wait until there is something to receive, or the end."""
        ...

    async def receive(self, into: memoryview) -> int:
        """Receive, waiting if nothing is there; 0 at the end."""
        ...

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of *data*."""
        ...

    def close(self) -> None:
        """Close it.  Again, it does nothing."""
        ...

    def get_address(self, *, of_peer: bool) -> Any:
        """Return an address, as the socket has it; None if it has none any more."""
        ...

    @property
    def socket(self) -> Any:
        """What it is made of."""
        ...


def wire_of(stream: trio.SocketStream) -> Wire:
    """Return the wire that *stream* has; the stream is not to be used any more."""
    given = stream.socket
    family, kind, proto = given.family, given.type, given.proto
    try:
        descriptor = given.detach()
    except NotImplementedError:
        # It is none of the system's, so there is no descriptor to give away.
        return TrioWire(given)
    plain = socket.socket(family, kind, proto, fileno=descriptor)
    plain.setblocking(False)
    return SystemWire(plain)


@final
class SystemWire:
    """A socket of the system's."""

    __slots__ = ("socket",)

    can_try: ClassVar[bool] = True

    def __init__(self, plain: socket.socket) -> None:
        self.socket = plain

    def try_receive(self, into: memoryview) -> int | None:
        try:
            return self.socket.recv_into(into)
        except (BlockingIOError, InterruptedError):
            return None

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self.socket)

    async def receive(self, into: memoryview) -> int:
        while (size := self.try_receive(into)) is None:
            await trio.lowlevel.wait_readable(self.socket)
        return size

    async def send(self, data: bytes | memoryview) -> None:
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += self.socket.send(view[sent:])
                except (BlockingIOError, InterruptedError):
                    await trio.lowlevel.wait_writable(self.socket)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    def get_address(self, *, of_peer: bool) -> Any:
        try:
            return self.socket.getpeername() if of_peer else self.socket.getsockname()
        except OSError:
            return None


@final
class TrioWire:
    """A socket that only trio's methods know."""

    __slots__ = ("socket",)

    can_try: ClassVar[bool] = False

    def __init__(self, given: trio.socket.SocketType) -> None:
        self.socket = given

    def try_receive(self, into: memoryview) -> int | None:  # noqa: ARG002  (nothing can be tried)
        return None

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self, into: memoryview) -> int:
        # Not received into it: others may use the same buffer before this is told that there is something in it.
        data = await self.socket.recv(len(into))
        into[: len(data)] = data
        return len(data)

    async def send(self, data: bytes | memoryview) -> None:
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                sent += await self.socket.send(view[sent:])

    def close(self) -> None:
        self.socket.close()

    def get_address(self, *, of_peer: bool) -> Any:
        try:
            return self.socket.getpeername() if of_peer else self.socket.getsockname()
        except OSError:
            return None

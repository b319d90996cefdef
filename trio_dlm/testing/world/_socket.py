"""A stream socket in memory, which trio's own streams and listeners take for one of trio's.

Rules that hold here:

- what the kernel would do it does in the same step: a connect finds its listener or is refused at once, and an end, a
  reset and an error are seen by the other side as soon as that runs;
- a connection ends as on Linux: a reset is told once, by a call or as ``SO_ERROR``, and what is over has no other side;
- checkpoints are where trio's sockets have them; a task that waits on a socket which another task closes gets
  ``ClosedResourceError``, and a second one that waits for the same gets ``BusyResourceError``;
- a socket that is closed with bytes unread, or with ``SO_LINGER`` of zero seconds, resets the connection;
- options are kept and mean nothing, ``SO_LINGER``, ``SO_ACCEPTCONN`` and ``SO_ERROR`` aside; datagrams, control
  messages and UNIX addresses are refused, or not implemented.

Source:
    RFC 9293 section 3.6.1 for the reset of a socket that is closed with bytes unread.
"""

from __future__ import annotations

import errno
import operator
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeAlias, TypeVar, final, overload

import trio

from ._wire import Side

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer

__all__ = ["RESET_ON_CLOSE", "Address", "MemorySocket", "Ports", "make_pair"]

_T = TypeVar("_T")

Address: TypeAlias = tuple[str, int]

# The value of SO_LINGER with which a close becomes a reset: switched on, with zero seconds.
RESET_ON_CLOSE: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

_WILDCARDS: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104

# Addresses set aside for documentation (RFC 5737, RFC 3849), which nobody has.
_CLIENTS: Final = {socket.AF_INET: "198.51.100.1", socket.AF_INET6: "2001:db8::1"}

# The first of the ports that RFC 6335 leaves to whoever wants one.
_FIRST_FREE_PORT: Final = 49_152

# No process has so many files open, so that a poll of the number finds nothing instead of somebody else's file.
_FIRST_FILENO: Final = 1_000_000


def _fail(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


@final
class Ports:
    """What the sockets of one network share: who listens where, and how many are open.

    Attributes:
        listeners: under address and port.
        dropped: addresses that never answer.
        clients: open sockets that the program made, listeners aside.
        servers: open sockets that a listener made.
        peak_clients: most *clients* at a time.
        connections: how many were made.
    """

    def __init__(self) -> None:
        self.listeners: dict[Address, MemorySocket] = {}
        self.dropped: set[Address] = set()
        self.clients = 0
        self.servers = 0
        self.peak_clients = 0
        self.connections = 0
        self._port = count(_FIRST_FREE_PORT)
        self._fileno = count(_FIRST_FILENO)

    def take_port(self) -> int:
        """Return a port that nobody has."""
        return next(self._port)

    def take_fileno(self) -> int:
        """Return the number of a file that nobody has."""
        return next(self._fileno)

    def count_client(self, change: int) -> None:
        """Write down that a socket of the program was opened, closed, or became a listener."""
        self.clients += change
        self.peak_clients = max(self.peak_clients, self.clients)

    def find_listener(self, family: socket.AddressFamily, address: Address) -> MemorySocket:
        """Return who listens at *address*.

        Raises:
            ConnectionRefusedError: nobody does.
            BlockingIOError: nobody ever answers there.
        """
        if address in self.dropped:
            _fail(errno.EINPROGRESS)
        everywhere = (_WILDCARDS[family], address[1])
        found = self.listeners.get(address) or self.listeners.get(everywhere)
        return _fail(errno.ECONNREFUSED) if found is None else found


@final
class MemorySocket(trio.socket.SocketType):
    """One end of a connection, or a listener; made by a network's factory and by a listener."""

    def __init__(
        self, ports: Ports, family: socket.AddressFamily = socket.AF_INET, *, peer: MemorySocket | None = None
    ) -> None:
        super().__init__()
        self._ports = ports
        self._family = family
        self._number = ports.take_fileno()
        self._options: dict[tuple[int, int], int | bytes] = {}
        self._is_closed = False
        self._did_shutdown = False
        self._local: Address | None = None
        self._remote: Address | None = None
        # Its side of the connection, once there is one.
        self._side: Side | None = None
        # Connections that nobody has accepted, once it listens.
        self._waiting: deque[MemorySocket] | None = None
        self._acceptors = trio.lowlevel.ParkingLot()
        self._callers = trio.lowlevel.ParkingLot()
        self._is_accepted = peer is not None
        if peer is None:
            ports.count_client(1)
        else:
            ports.servers += 1
            self._join(peer)

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "listening" if self._waiting is not None else "open"
        return f"<MemorySocket {state} local={self._local} remote={self._remote}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What it is.

    @property
    def family(self) -> socket.AddressFamily:
        """Of its addresses."""
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        """A stream."""
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """TCP, as far as anybody can tell."""
        return socket.IPPROTO_TCP

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802
        """Whether this side has said that nothing more comes."""
        return self._did_shutdown

    @property
    def _sock(self) -> MemorySocket:
        # anyio asks the socket below trio's for its addresses, and this one has none below it.
        return self

    def fileno(self) -> int:
        """Return a number that is no file's, or -1 once it is closed."""
        return -1 if self._is_closed else self._number

    def get_inheritable(self) -> bool:
        """Say that no child process gets it."""
        return False

    def getsockname(self) -> Any:
        """Return its own address."""
        self._require_open()
        return self._as_tuple(self._local or (_WILDCARDS[self._family], 0))

    def getpeername(self) -> Any:
        """Return the address of the other side."""
        self._require_open()
        is_over = self._side is not None and self._side.is_over
        return _fail(errno.ENOTCONN) if self._remote is None or is_over else self._as_tuple(self._remote)

    @overload
    def getsockopt(self, level: int, optname: int) -> int: ...

    @overload
    def getsockopt(self, level: int, optname: int, buflen: int) -> bytes: ...

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> int | bytes:
        """Return what was set, or zero; of ``SO_ERROR`` the error that nobody was told yet."""
        self._require_open()
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return int(self._waiting is not None)
        found = self._options.get((level, optname), 0)
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_ERROR):
            found = 0 if self._side is None else self._side.take_error()
        if buflen is None or isinstance(found, bytes):
            return found
        return struct.pack("i", found)[:buflen]

    @overload
    def setsockopt(self, level: int, optname: int, value: int | Buffer) -> None: ...

    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int) -> None: ...

    def setsockopt(self, level: int, optname: int, value: int | Buffer | None, optlen: int | None = None) -> None:
        """Keep *value*."""
        self._require_open()
        if value is None:
            self._options[level, optname] = bytes(optlen or 0)
        else:
            self._options[level, optname] = value if isinstance(value, int) else bytes(value)

    # How it gets an address and another side.

    async def bind(self, address: Any) -> None:
        """Take an address; port 0 is one that nobody has."""
        self._require_open()
        if self._local is not None:
            _fail(errno.EINVAL)
        host, port = await self._resolve(address)
        await trio.lowlevel.checkpoint()
        self._local = (host, port or self._ports.take_port())

    def listen(self, backlog: int = 128) -> None:  # noqa: ARG002
        """Become a listener; *backlog* is not looked at, and nobody is turned away."""
        self._require_open()
        if self._side is not None:
            _fail(errno.EINVAL)
        if self._waiting is not None:
            return
        address = self._local or (_WILDCARDS[self._family], self._ports.take_port())
        if address in self._ports.listeners:
            _fail(errno.EADDRINUSE)
        self._local = address
        self._ports.listeners[address] = self
        self._ports.count_client(-1)
        self._waiting = deque()

    async def accept(self) -> tuple[MemorySocket, Any]:
        """Wait for a connection."""
        accepted = await self._do(self._take_waiting, self._acceptors)
        assert accepted._remote is not None
        # Not by getpeername: who called may have gone already, and Linux gives the address all the same.
        return accepted, self._as_tuple(accepted._remote)

    async def connect(self, address: Any) -> None:
        """Connect, or be refused.  A socket whose connect is cancelled is closed, as one of trio's is."""
        try:
            target = await self._resolve(address)
            await self._do(lambda: self._reach(target), self._callers)
        except trio.Cancelled:
            self.close()
            raise

    def _take_waiting(self) -> MemorySocket:
        if self._waiting is None:
            _fail(errno.EINVAL)
        return self._waiting.popleft() if self._waiting else _fail(errno.EAGAIN)

    def _reach(self, target: Address) -> None:
        if self._side is not None:
            _fail(errno.EISCONN)
        listener = self._ports.find_listener(self._family, target)
        assert listener._waiting is not None
        self._remote = target
        self._local = self._local or (_CLIENTS[self._family], self._ports.take_port())
        listener._waiting.append(MemorySocket(self._ports, self._family, peer=self))
        listener._acceptors.unpark()
        self._ports.connections += 1

    def _join(self, peer: MemorySocket) -> None:
        self._side = Side()
        peer._side = self._side.other
        self._local, self._remote = peer._remote, peer._local

    async def _resolve(self, address: Any) -> Address:
        host, port = address[:2]
        host = host or _WILDCARDS[self._family]
        try:
            ip_address(host)
        except ValueError:
            found = await trio.socket.getaddrinfo(host, port, self._family, self.type)
            host = str(found[0][4][0])
        return host, int(port)

    def _as_tuple(self, address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
        return address if self._family == socket.AF_INET else (*address, 0, 0)

    # What goes through it.

    async def send(self, data: Buffer, flags: int = 0, /) -> int:
        """Send as much as there is room for, and return how many bytes that were; wait if there is none."""
        self._refuse_flags(flags)
        with memoryview(data) as view, view.cast("B") as octets:
            return await self._do(lambda: self._connected().write(octets), lambda: self._connected().writers)

    async def recv(self, buflen: int, flags: int = 0, /) -> bytes:
        """Wait for bytes, and return at most *buflen* of them; ``b""`` is the end."""
        self._refuse_flags(flags & ~socket.MSG_PEEK)
        peek = bool(flags & socket.MSG_PEEK)
        buflen = operator.index(buflen)
        if not buflen:
            # Python does not even ask the kernel then, whatever the socket is.
            await trio.lowlevel.checkpoint()
            return b""
        return await self._do(lambda: self._connected().read(buflen, peek=peek), lambda: self._connected().readers)

    async def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """Wait for bytes, and put them into *buffer*."""
        with memoryview(buffer) as view, view.cast("B") as octets:
            found = await self.recv(nbytes or len(octets), flags)
            octets[: len(found)] = found
        return len(found)

    async def wait_writable(self) -> None:
        """Wait until a send would not block."""
        await self._do(self._require_room, lambda: self._connected().writers)

    def is_readable(self) -> bool:
        """Whether a receive, or an accept, would not block."""
        self._require_open()
        if self._waiting is not None:
            return bool(self._waiting)
        return self._side is not None and self._side.is_readable

    def shutdown(self, flag: int) -> None:
        """Say that nothing more is sent, or read."""
        self._require_open()
        side = self._connected()
        if flag in (socket.SHUT_RD, socket.SHUT_RDWR):
            side.shut()
        if flag in (socket.SHUT_WR, socket.SHUT_RDWR):
            side.end()
            self._did_shutdown = True

    def close(self) -> None:
        """Close, and wake every task that waits here; no checkpoint.  A second time it does nothing."""
        if self._is_closed:
            return
        reset = self._options.get((socket.SOL_SOCKET, socket.SO_LINGER)) == RESET_ON_CLOSE
        self._is_closed = True
        if self._waiting is not None:
            assert self._local is not None
            del self._ports.listeners[self._local]
            for each in self._waiting:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                each.close()
        elif self._is_accepted:
            self._ports.servers -= 1
        else:
            self._ports.count_client(-1)
        if self._side is not None:
            if reset:
                self._side.reset()
            self._side.close()
        self._acceptors.unpark_all()
        self._callers.unpark_all()

    async def _do(
        self, attempt: Callable[[], _T], lot: trio.lowlevel.ParkingLot | Callable[[], trio.lowlevel.ParkingLot]
    ) -> _T:
        # As trio's sockets do it: an error that is there at once comes at once, and never without a checkpoint.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._require_open()
            value = attempt()
        except BlockingIOError:
            pass
        except OSError:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return value
        while True:
            place = lot() if callable(lot) else lot
            if place:
                raise trio.BusyResourceError("another task waits for the same on this socket")
            await place.park()
            if self._is_closed:
                raise trio.ClosedResourceError("another task closed this socket")
            try:
                return attempt()
            except BlockingIOError:
                # Another task of this side was faster.
                continue

    def _connected(self) -> Side:
        return _fail(errno.ENOTCONN) if self._side is None else self._side

    def _require_room(self) -> None:
        if not self._connected().is_writable:
            _fail(errno.EAGAIN)

    def _require_open(self) -> None:
        if self._is_closed:
            _fail(errno.EBADF)

    def _refuse_flags(self, flags: int) -> None:
        if flags:
            _fail(errno.EOPNOTSUPP)


def make_pair(ports: Ports, address: Address = ("192.0.2.1", 80)) -> tuple[MemorySocket, MemorySocket]:
    """Return the client's and the server's end of a connection, to an address that need not exist."""
    client = MemorySocket(ports)
    client._remote = address
    client._local = (_CLIENTS[socket.AF_INET], ports.take_port())
    ports.connections += 1
    return client, MemorySocket(ports, peer=client)

"""A network in memory below trio, for code that does not know of it.

Rules that hold here:

- only trio's public hooks are used, and they hold for one run of trio: whatever in it calls ``trio.open_tcp_stream``
  or ``trio.socket`` meets this network, HTTP clients included, and no socket of the machine is opened;
- there is no delay but what a test puts there, so that a virtual clock moves only when somebody waits;
- a name that was not given is unknown, a port where nobody listens refuses.

It must not know what is spoken over it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from itertools import count
from typing import Any, Final, TypeAlias, final

import trio

from ._socket import Address, MemorySocket, Ports, make_pair

__all__ = ["MemoryNetwork", "current_network", "memory_network", "open_memory_pair"]

_Handler: TypeAlias = Callable[[trio.SocketStream], Awaitable[object]]

# Set aside for documentation (RFC 5737), so that no name gets the address of somebody.
_NET: Final = "203.0.113."

_current: Final[trio.lowlevel.RunVar[MemoryNetwork | None]] = trio.lowlevel.RunVar("trio_dlm memory network", None)


@final
class MemoryNetwork:
    """Names, listeners and sockets, installed by :func:`memory_network`.

    A name that is only listened at gets an address that is set aside for documentation, which counts as private.  Where
    it has to count as public, give it another by :meth:`add_name` before.
    """

    def __init__(self) -> None:
        self._ports = Ports()
        self._names: dict[str, tuple[str, ...]] = {"localhost": ("127.0.0.1",)}
        self._next = count(1)

    def __repr__(self) -> str:
        return f"<MemoryNetwork names={sorted(self._names)} open_client_sockets={self.open_client_sockets}>"

    @property
    def open_client_sockets(self) -> int:
        """How many sockets the program has open, listeners and their side of connections not counted.

        Not 0 after everything was closed: one was forgotten.
        """
        return self._ports.clients

    @property
    def peak_client_sockets(self) -> int:
        """The most that there were at a time."""
        return self._ports.peak_clients

    @property
    def open_server_sockets(self) -> int:
        """How many sockets that listeners made are open."""
        return self._ports.servers

    @property
    def connections(self) -> int:
        """How many connections have been made."""
        return self._ports.connections

    def add_name(self, host: str, *addresses: str) -> tuple[str, ...]:
        """Let *host* have these addresses of version 4 or 6, or one of its own; return what it has.

        A name keeps its address if none is given.
        """
        key = host.lower()
        if addresses:
            self._names[key] = tuple(ip_address(each).compressed for each in addresses)
        return self._names.setdefault(key, (f"{_NET}{next(self._next)}",))

    def listen(self, host: str, port: int, handler: _Handler, *, nursery: trio.Nursery) -> None:
        """Answer connections to *host*, a name or an address, by ``handler(stream)`` in tasks of *nursery*.

        From when it returns; until the nursery is cancelled.  The stream is closed when its handler returns, and what
        a handler raises comes out of the nursery.
        """
        for address in self._addresses(host):
            family = _family_of(address)
            listener = MemorySocket(self._ports, family)
            listener._local = (address, port)
            listener.listen()
            serve = partial(trio.serve_listeners, handler_nursery=nursery)
            nursery.start_soon(serve, handler, [trio.SocketListener(listener)])

    def drop(self, host: str, port: int) -> None:
        """Let connects to *host* and *port* wait for ever, as behind a firewall that says nothing."""
        self._ports.dropped.update((address, port) for address in self._addresses(host))

    def _addresses(self, host: str) -> tuple[str, ...]:
        try:
            return (ip_address(host).compressed,)
        except ValueError:
            return self.add_name(host)

    @contextmanager
    def _installed(self) -> Generator[None]:
        factory = trio.socket.set_custom_socket_factory(_Factory(self._ports))
        resolver = trio.socket.set_custom_hostname_resolver(_Resolver(self._names))
        outer = _current.get()
        _current.set(self)
        try:
            yield
        finally:
            _current.set(outer)
            trio.socket.set_custom_hostname_resolver(resolver)
            trio.socket.set_custom_socket_factory(factory)


@contextmanager
def memory_network() -> Generator[MemoryNetwork]:
    """Put a network in memory below this run of trio until the block ends; what was there before comes back then.

    Sockets that are open at the end stay usable, and are nobody's business any more.
    """
    network = MemoryNetwork()
    with network._installed():
        yield network


def current_network() -> MemoryNetwork | None:
    """Return the network in memory of this run of trio, if it has one."""
    return _current.get()


def open_memory_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Return the client's and the server's end of a connection in memory; no network is needed for it."""
    client, server = make_pair(Ports())
    return trio.SocketStream(client), trio.SocketStream(server)


@final
class _Factory(trio.abc.SocketFactory):
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,  # noqa: A002
        proto: int = 0,  # noqa: ARG002
    ) -> MemorySocket:
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        if type != socket.SOCK_STREAM:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return MemorySocket(self._ports, socket.AddressFamily(family))


@final
class _Resolver(trio.abc.HostnameResolver):
    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self._names = names

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002, ARG002
        proto: int = 0,  # noqa: ARG002
        flags: int = 0,  # noqa: ARG002
    ) -> list[Any]:
        await trio.lowlevel.checkpoint()
        name = (host or b"").decode("ascii").lower().rstrip(".")
        found = [each for each in self._names.get(name, ()) if family in (0, _family_of(each))]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"{name!r} is no name in this network")
        return [
            (_family_of(each), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _sockaddr(each, int(port or 0)))
            for each in found
        ]

    async def getnameinfo(
        self,
        sockaddr: tuple[str, int] | tuple[str, int, int, int],
        flags: int,  # noqa: ARG002
    ) -> tuple[str, str]:
        await trio.lowlevel.checkpoint()
        host, port = sockaddr[:2]
        names = (name for name, addresses in self._names.items() if host in addresses)
        return next(names, host), str(port)


def _family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _sockaddr(address: str, port: int) -> Address | tuple[str, int, int, int]:
    return (address, port, 0, 0) if ":" in address else (address, port)

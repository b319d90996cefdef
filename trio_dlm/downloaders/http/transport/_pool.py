"""Connections that wait for another request, and the one safe retry when such a one was closed meanwhile.

Rules that hold here:

- the work for a request does not grow with the number of connections: each origin has a stack of its own, the last one
  used on top;
- a connection from the stack is looked at before it is used: whatever has come meanwhile, it is closed.  What comes
  after that cannot be told from a quick reply, so a server that sends more than it was asked for deceives about its
  own files, which it could do anyway;
- a request is sent a second time only if it may be repeated, went over a kept connection, and not a byte came back;
- there is no task in the background: what is too old is closed when somebody comes.

Source:
    RFC 9112 sections 9.3 and 9.3.1.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

from ..rules._destinations import AnyAddress
from ._connecting import Trace, connect
from ._connection import Connection
from ._problems import ReadError, RemoteProtocolError, WriteError
from ._request_head import Origin, WireRequest

__all__ = ["Pool"]

DEFAULT_MAX_IDLE: Final = 32
DEFAULT_IDLE_S: Final = 15.0

# Each takes a descriptor, of which a process has a thousand or so.
MAX_IDLE_IN_ALL: Final = 100


@final
class Pool:
    """The connections of one client.

    Args:
        make_context: makes what TLS is made with, when it is needed first.
        max_idle: how many connections wait for each origin.
        idle_s: for how long.
        allow_address: whether an address may be connected to; None allows all.
    """

    def __init__(
        self,
        make_context: Callable[[], Awaitable[ssl.SSLContext]],
        *,
        max_idle: int = DEFAULT_MAX_IDLE,
        idle_s: float = DEFAULT_IDLE_S,
        allow_address: Callable[[AnyAddress], bool] | None = None,
    ) -> None:
        self._allow_address = allow_address
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None
        self._making = trio.Lock()
        self._idle: dict[Origin, deque[Connection]] = {}
        # All of them, the one that waits longest first.
        self._origins: dict[Connection, Origin] = {}
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._is_closed = False

    async def send(self, request: WireRequest, trace: Trace, *, may_keep: bool = True) -> Connection:
        """Send *request* over a connection, and return that when the header of the reply has come.

        It has to be given back with :meth:`release`.  Cancelling it closes the connection.

        Args:
            request: what to send.
            trace: is told how far it is.
            may_keep: use a connection that was kept, if there is one.

        Raises:
            WireError: there is no reply; the class says why.
        """
        connection = self._take(request.origin) if may_keep else None
        if connection is not None:
            try:
                await self._try(connection, request, trace)
            except (ReadError, WriteError, RemoteProtocolError):
                if connection.has_answered or not request.is_repeatable:
                    raise
            else:
                return connection
        if request.origin.is_secure:
            await self.prepare()
        connection = Connection(await connect(request.origin, self._context, trace, self._allow_address))
        await self._try(connection, request, trace)
        return connection

    async def prepare(self) -> None:
        """Make what TLS is made with, if that was not done yet."""
        if self._context is None:
            async with self._making:
                if self._context is None:
                    self._context = await self._make_context()

    async def _try(self, connection: Connection, request: WireRequest, trace: Trace) -> None:
        try:
            await connection.request(request, trace)
        except BaseException:
            connection.close()
            raise

    def _take(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        oldest = trio.current_time() - self._idle_s
        while idle:
            connection = idle[-1]
            self._forget(connection)
            if connection.idle_since >= oldest and connection.link.is_usable():
                return connection
            connection.close()
        return None

    def release(self, origin: Origin, connection: Connection, *, may_keep: bool = True) -> None:
        """Keep *connection* for another request to *origin*, or close it if it cannot be used again."""
        may_keep = may_keep and not self._is_closed and self._max_idle > 0
        if not may_keep or not connection.is_reusable or not connection.link.can_move:
            connection.close()
            return
        connection.idle_since = now = trio.current_time()
        idle = self._idle.setdefault(origin, deque())
        idle.append(connection)
        self._origins[connection] = origin
        if len(idle) > self._max_idle:
            self._drop(idle[0])
        # Of all origins: who asks thousands of hosts comes back to few of them.
        while len(self._origins) > MAX_IDLE_IN_ALL or self._oldest().idle_since < now - self._idle_s:
            self._drop(self._oldest())

    def _oldest(self) -> Connection:
        return next(iter(self._origins))

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        origin = self._origins.pop(connection)
        idle = self._idle[origin]
        idle.remove(connection)
        if not idle:
            del self._idle[origin]

    def close(self) -> None:
        """Close what waits, and keep nothing any more."""
        self._is_closed = True
        for connection in tuple(self._origins):
            self._drop(connection)

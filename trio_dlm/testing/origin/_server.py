"""A server that answers as a plan or a script has it, over any connection of trio's.

Rules that hold here:

- no HTTP library: what is sent are the bytes of the plan or of the script, so that it can lie as no library would;
- every request is kept as it came, and every connection is counted until the client has closed it;
- nothing outlives the block of the face that opened it, and what a test waits for here has a limit;
- what a script or a plan raises comes out of that block, since it is a mistake of the test; that a client went away
  is none.

It must not know whether it is reached in memory or over sockets of the machine.
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

import trio

from ._connection import Connection
from ._fault import Fault
from ._raw import reply
from ._request import Request
from ._resource import Resource, Validators

if TYPE_CHECKING:
    from ._certificates import Certificate

__all__ = ["Origin", "Plan", "Script"]

# Longer than any time limit that a download has by default, which with a virtual clock costs nothing.
_PATIENCE_S: Final = 60.0

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Script: TypeAlias = Callable[[Connection, Request], Awaitable[object]]

_Connector: TypeAlias = Callable[["Origin"], Awaitable[trio.SocketStream]]


class Plan(Protocol):
    """What an origin does with each request."""

    @property
    def validators(self) -> Validators:
        """What the resource says about its version."""
        ...

    @property
    def max_connections(self) -> float | None:
        """How many connections it has at a time; one more is closed at once.  None for any number."""
        ...

    def for_request(self, number: int) -> Fault:
        """Return what is done with request *number*, counted from 0 over all connections."""
        ...


@final
class Origin:
    """A server, made by ``open_memory_origin`` and ``open_origin``.

    Attributes:
        plan: what it does with requests for which there is no script; without a plan those get a 404.
        resource: the file that it has.
        requests: as they came, on all connections.
        connections: how many were made, those included that were closed at once.
        refused_connections: how many were closed at once, as the plan's ``max_connections`` demands.
        open_connections: how many the client has not closed yet.
        peak_connections: the most that were open at a time.
    """

    def __init__(
        self,
        plan: Plan | None,
        body: bytes,
        *,
        host: str,
        port: int,
        connector: _Connector,
        context: ssl.SSLContext | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self.plan = plan
        self.resource = Resource(body, validators="strong" if plan is None else plan.validators)
        self.scheme = "http" if context is None else "https"
        self.host = host
        self.port = port
        self.requests: list[Request] = []
        self.connections = 0
        self.refused_connections = 0
        self.open_connections = 0
        self.peak_connections = 0
        self._connector = connector
        self._context = context
        self._certificate = certificate
        self._scripts: dict[str, Script] = {}
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<Origin {self.url('/')} requests={len(self.requests)} open_connections={self.open_connections}>"

    def url(self, path: str = "/file.bin", *, userinfo: str = "", query: str = "") -> str:
        """Return the address of *path* here."""
        at = f"{userinfo}@" if userinfo else ""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{at}{self.host}{port}{path}{query and f'?{query}'}"

    async def connect(self) -> trio.abc.Stream:
        """Connect to it, and return the client's end; with ``tls=True`` that is one that trusts it."""
        transport = await self._connector(self)
        if self._certificate is None:
            return transport
        return trio.SSLStream(transport, self.client_context(), server_hostname=self.host)

    # What it answers.

    def on(self, path: str, script: Script) -> str:
        """Answer requests for *path* by ``await script(connection, request)``, and return its address.

        A connection that the script leaves open waits for the next request.
        """
        self._scripts[path] = script
        return self.url(path)

    def reply(self, path: str, *pieces: bytes, close: bool = False) -> str:
        """Answer requests for *path* with *pieces*, and return its address.

        Args:
            path: without a query.
            pieces: sent one after the other.
            close: close the connection then, without close_notify.
        """

        async def script(connection: Connection, _: Request) -> None:
            await connection.send(*pieces)
            if close:
                await connection.close(clean=False)

        return self.on(path, script)

    # What a test waits for.

    async def wait_requests(self, count: int, *, limit_s: float = _PATIENCE_S) -> None:
        """Wait until *count* requests have come; ``trio.TooSlowError`` if they do not."""
        await self._wait(lambda: len(self.requests) >= count, f"{count} requests", limit_s)

    async def wait_connections(self, count: int, *, limit_s: float = _PATIENCE_S) -> None:
        """Wait until *count* connections have been made; ``trio.TooSlowError`` if they are not."""
        await self._wait(lambda: self.connections >= count, f"{count} connections", limit_s)

    async def wait_no_connections(self, *, limit_s: float = _PATIENCE_S) -> None:
        """Wait until the client has closed every connection; ``trio.TooSlowError`` if it does not."""
        await self._wait(lambda: not self.open_connections, "no open connection", limit_s)

    async def _wait(self, condition: Callable[[], bool], expected: str, limit_s: float) -> None:
        with trio.move_on_after(limit_s):
            await trio.lowlevel.checkpoint()
            while not condition():
                await self._changed.wait()
        if condition():
            return
        raise trio.TooSlowError(
            f"expected {expected} within {limit_s:g} s, got {len(self.requests)} requests and {self.connections} "
            f"connections, of which {self.open_connections} are open"
        )

    # Who may trust it.

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the authority that vouches for it, if ``tls=True`` made one."""
        return self._require_certificate().ca_pem

    def ca_file(self, path: str | Path) -> Path:
        """Write :attr:`ca_pem` to *path*, for ``SSL_CERT_FILE`` and its like, and return it."""
        target = Path(path)
        target.write_bytes(self.ca_pem)
        return target

    def client_context(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this origin, and nobody else."""
        return self._require_certificate().client_context()

    def _require_certificate(self) -> Certificate:
        if self._certificate is None:
            raise RuntimeError("this origin made no certificate: open it with tls=True")
        return self._certificate

    # What the faces call.

    async def serve(self, transport: trio.SocketStream) -> None:
        """Serve one connection until it is closed, by whom it may be."""
        number = self.connections
        self.connections += 1
        limit = None if self.plan is None else self.plan.max_connections
        if limit is not None and self.open_connections >= limit:
            self.refused_connections += 1
            self._change()
            await transport.aclose()
            return
        self.open_connections += 1
        self.peak_connections = max(self.peak_connections, self.open_connections)
        self._change()
        stream: trio.abc.Stream = transport
        if self._context is not None:
            stream = trio.SSLStream(transport, self._context, server_side=True)
        connection = Connection(stream, transport, number)
        try:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._answer_all(connection)
        finally:
            transport.socket.close()
            self.open_connections -= 1
            self._change()

    async def _answer_all(self, connection: Connection) -> None:
        while connection.is_open:
            request = await connection.read_request()
            if request is None:
                return
            request = dataclasses.replace(request, number=len(self.requests))
            self.requests.append(request)
            self._change()
            script = self._scripts.get(request.path)
            if script is not None:
                await script(connection, request)
            elif self.plan is not None:
                await connection.perform(self.plan.for_request(request.number).answer(request, self.resource))
            else:
                await connection.send(reply(b"", status="404 Not Found"))

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

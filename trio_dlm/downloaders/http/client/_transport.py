"""Our connections as a transport, for clients of httpx and httpx2.

Rules that hold here:

- what goes in and out is of the library that the request is of; its classes are found there, and not imported;
- each of the library's limits of time is one deadline, which moves from phase to phase;
- a connection goes back to its pool or is closed when the reply is, whatever became of it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Final, Self, final

import trio

from ..rules._destinations import AnyAddress
from ..transport._connection import Connection
from ..transport._pool import DEFAULT_IDLE_S, DEFAULT_MAX_IDLE, Pool
from ..transport._problems import WireError
from ..transport._request_head import Origin, WireRequest
from ._client import AnyAsyncTransport
from ._own import load_library

__all__ = ["TrioTransport"]

_PORTS: Final = {"http": 80, "https": 443}

# What the library has no class of its own for.
_CALLED: Final = {"MalformedReplyError": "RemoteProtocolError", "TruncatedError": "RemoteProtocolError"}


@final
class TrioTransport(AnyAsyncTransport):
    """HTTP/1.1 on trio, for ``AsyncClient(transport=…)`` of httpx and of httpx2.

    Fewer layers than the library's own, and large reads from TLS, so that it costs a fraction of the processor time.
    Replies are read as strictly as RFC 9112 asks for, and an end of TLS without close_notify is taken for what it is.
    No proxies and no HTTP/2: clients that want those take the library's own transport.

    An async context manager; ``AsyncClient`` enters and leaves the one that it is given.

    Args:
        verify: how servers prove who they are: a context, or True for what the library trusts.
        max_connections: at most so many at a time, waiting ones not counted; None for any number.
        max_idle_connections: how many wait for further requests, for each origin.
        idle_expiry_s: for how long.
        allow_address: whether an address that a name has may be connected to; None allows all.  What was looked at is
            what is connected to.
        head_timeout_s: how long the whole header may take to come, however it trickles; None leaves it to the client's
            ``read`` timeout, which is then for the whole of it.

    Raises:
        TypeError, ValueError: an argument is wrong.

    Source:
        RFC 9112; httpx's documentation of custom transports.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool = True,
        max_connections: int | None = None,
        max_idle_connections: int = DEFAULT_MAX_IDLE,
        idle_expiry_s: float = DEFAULT_IDLE_S,
        allow_address: Callable[[AnyAddress], bool] | None = None,
        head_timeout_s: float | None = None,
    ) -> None:
        if not isinstance(verify, ssl.SSLContext) and verify is not True:
            raise TypeError(f"verify is an ssl.SSLContext or True, got {verify!r}")
        if max_connections is not None and max_connections < 1:
            raise ValueError(f"max_connections is a number from 1 up, or None, got {max_connections!r}")
        self._verify = verify
        self._room = None if max_connections is None else trio.Semaphore(max_connections)
        self._head_timeout_s = math.inf if head_timeout_s is None else head_timeout_s
        self._pool = Pool(
            self._make_context, max_idle=max_idle_connections, idle_s=idle_expiry_s, allow_address=allow_address
        )

    async def _make_context(self) -> ssl.SSLContext:
        if isinstance(self._verify, ssl.SSLContext):
            return self._verify
        context: ssl.SSLContext = await trio.to_thread.run_sync(
            lambda: load_library().create_ssl_context(), limiter=trio.CapacityLimiter(1)
        )
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections that wait.  Those in use are closed with their replies.  Not a checkpoint."""
        self._pool.close()

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request*, and return the response when its header has come.

        Cancelling it closes the connection.

        Raises:
            httpx.TransportError: there is no reply; the subclasses are those of the library.
        """
        library = sys.modules[type(request).__module__.partition(".")[0]]
        phases = _Phases(library, request, self._head_timeout_s)
        with _mapped(library, request):
            wire_request = _wire_request(library, request)
        await self._take_room(phases)
        try:
            connection = await self._send(library, request, wire_request, phases)
        except BaseException:
            self._give_room()
            raise
        reply = _Reply(self, library, request, wire_request.origin, connection, phases.limit("read"))
        head = connection.head
        return library.Response(
            head.status,
            headers=list(head.fields),
            stream=_stream_class(library)(reply),
            extensions={
                "http_version": f"HTTP/{head.version}".encode(),
                "reason_phrase": head.phrase,
                "network_stream": connection.link,
                "server_addr": connection.link.get_extra_info("server_addr"),
            },
        )

    async def _send(self, library: Any, request: Any, wire_request: WireRequest, phases: _Phases) -> Connection:
        with _mapped(library, request), phases.scope:
            return await self._pool.send(wire_request, phases.trace)
        raise phases.timeout()

    async def _take_room(self, phases: _Phases) -> None:
        if self._room is None:
            return
        with trio.move_on_after(phases.limit("pool")):
            await self._room.acquire()
            return
        raise phases.error("PoolTimeout", "all connections are in use")

    def _give_room(self) -> None:
        if self._room is not None:
            self._room.release()

    def release(self, origin: Origin, connection: Connection) -> None:
        """Take a connection back whose reply is over."""
        self._pool.release(origin, connection)
        self._give_room()


@final
class _Reply:
    """The body of one reply, for the library's stream."""

    def __init__(
        self,
        transport: TrioTransport,
        library: Any,
        request: Any,
        origin: Origin,
        connection: Connection,
        read_timeout_s: float,
    ) -> None:
        self._transport: TrioTransport | None = transport
        self._library = library
        self._request = request
        self._origin = origin
        self._connection = connection
        self._timeout_s = read_timeout_s

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        data = await self._read()
        if not data:
            raise StopAsyncIteration
        return data

    async def _read(self) -> bytes:
        with (
            _mapped(self._library, self._request),
            trio.CancelScope(deadline=trio.current_time() + self._timeout_s),
        ):
            return await self._connection.read()
        raise self._library.ReadTimeout(f"nothing of the body came for {self._timeout_s:g} s", request=self._request)

    def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.release(self._origin, self._connection)


@functools.cache
def _stream_class(library: Any) -> Any:
    """Return a class that *library* takes for a stream of its own."""

    class Stream(library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, reply: _Reply) -> None:
            self._reply = reply

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._reply

        async def aclose(self) -> None:
            self._reply.close()

    return Stream


@final
class _Phases:
    """The limits of time of one request, and in which one it is."""

    def __init__(self, library: Any, request: Any, head_timeout_s: float) -> None:
        self._library = library
        self._request = request
        self._limits: Mapping[str, float | None] = request.extensions.get("timeout") or {}
        self._head_timeout_s = head_timeout_s
        self._trace = request.extensions.get("trace")
        self._phase = "connect"
        self._seconds = math.inf
        self.scope = trio.CancelScope()

    def limit(self, name: str) -> float:
        """Return the library's limit called *name*, in seconds."""
        seconds = self._limits.get(name)
        return math.inf if seconds is None else seconds

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Begin another phase where *event* is the beginning of one, and pass it on."""
        match event.partition(".")[2]:
            case "connect_tcp.started":
                self._begin("connect", self.limit("connect"))
            case "send_request_headers.started":
                self._begin("write", self.limit("write"))
            case "receive_response_headers.started":
                self._begin("read", min(self.limit("read"), self._head_timeout_s))
            case _:
                pass
        if self._trace is not None:
            await self._trace(event, info)

    def _begin(self, phase: str, seconds: float) -> None:
        self._phase, self._seconds = phase, seconds
        self.scope.deadline = trio.current_time() + seconds

    def timeout(self) -> Exception:
        """Say which limit was reached."""
        what = {"connect": "there was no connection", "write": "the request was not taken", "read": "no header came"}
        return self.error(f"{self._phase.capitalize()}Timeout", f"{what[self._phase]} within {self._seconds:g} s")

    def error(self, name: str, text: str) -> Exception:
        """Return an exception of the library's."""
        error: Exception = getattr(self._library, name)(text, request=self._request)
        return error


@contextlib.contextmanager
def _mapped(library: Any, request: Any) -> Generator[None, None, None]:
    try:
        yield
    except WireError as exc:
        name = type(exc).__name__
        raise getattr(library, _CALLED.get(name, name))(str(exc), request=request) from exc


def _wire_request(library: Any, request: Any) -> WireRequest:
    url = request.url
    if url.scheme not in _PORTS:
        raise library.UnsupportedProtocol(f"the scheme is {url.scheme!r}, not http or https", request=request)
    try:
        body: Any = (request.content,) if request.content else ()
    except library.RequestNotRead:
        body = request.stream
    origin = Origin(
        url.scheme == "https",
        url.raw_host.decode("ascii"),
        url.port or _PORTS[url.scheme],
        request.extensions.get("sni_hostname") or "",
    )
    return WireRequest(origin, request.method.encode("ascii"), url.raw_path, request.headers.raw, body)

"""A manager in a web application: its life, its snapshots as JSON, and a stream of server-sent events.

Rules that hold here:

- plain ASGI, and anyio for what waits: no framework is imported, and no event loop is preferred;
- the manager's block is left in the task that entered it, which is neither the server's nor a request's;
- what strangers get to see of a download has no path, no address of an inner network and no secret in it;
- a signal is only listened to: whoever was to be told of it is told.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, Unpack, cast, final

import anyio
import anyio.abc
import anyio.lowlevel

from ._block import open_manager
from ._manager import DownloadManager
from ._plan import Backend, Failures, LaneOf, OnExit, Setup
from ._records import TaskSnapshot
from .downloaders._protocol import Downloader, DownloaderFunction
from .formatting import format_name

if TYPE_CHECKING:
    from ._events import Subscription

__all__ = ["SHUTDOWN_SIGNALS", "EventStream", "Lifespan", "ManagerArguments", "manager_lifespan", "snapshot_as_json"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
"""What Starlette and FastAPI take as ``lifespan=``: from the application to what is entered around its life."""

# What uvicorn and hypercorn end at.
SHUTDOWN_SIGNALS: Final[Collection[signal.Signals]] = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)

# Shorter than the patience of the proxies in front (nginx and the load balancers of the clouds: a minute of silence),
# and what the HTML standard suggests: "every 15 seconds or so".
_KEEP_ALIVE_S: Final = 15.0
_KEEP_ALIVE: Final = b": still there\n\n"


class ManagerArguments(TypedDict, total=False):
    """The keyword arguments of :func:`trio_dlm.open_manager`."""

    directory: str | os.PathLike[str]
    downloader: Downloader[Any] | DownloaderFunction[Any] | None
    max_pending: float | None
    lane_of: LaneOf | None
    max_per_lane: float | None
    keep_finished: float
    rate_limit_bytes_per_s: float
    on_exit: OnExit
    failures: Failures
    setup: Setup | None
    backend: Backend


def manager_lifespan(
    max_concurrent: float = 5,
    *,
    state_key: str = "manager",
    around: Lifespan | None = None,
    close_on: Collection[int] = SHUTDOWN_SIGNALS,
    **arguments: Unpack[ManagerArguments],
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Make a lifespan that opens a manager when the application starts and closes it when the application ends.

    ``Starlette(lifespan=manager_lifespan(5, directory="downloads"))``, and FastAPI likewise; in a request the manager
    is ``request.state.manager``, elsewhere ``app.state.manager``.  What it returns can also be entered in a lifespan
    of your own, ``async with manager_lifespan(…)(app) as state:``, and may be entered again after it was left, as
    tests do.

    Two defaults are not those of ``open_manager``.  ``failures="keep"``: nobody could catch what leaves the block
    when the server ends, and it would turn an orderly end into a failed one; failures stay on their tasks and in the
    log.  ``on_exit="cancel"``: whoever stops a service waits for seconds, not for downloads; what has arrived stays in
    part files, from which the same request goes on.

    A server that is told to end waits for open responses first, and tells the application only then.  A stream of
    events that ends with its download would wait for the server, and the server for it.  So the manager closes as
    soon as one of the signals *close_on* arrives: new downloads are refused with :class:`ManagerClosedError`, the
    others end as ``on_exit`` says, and with them the streams.  The server's own handler is called as if nothing were
    between.  A signal that is ignored, or that nobody handles, is left alone; so is every signal outside of the main
    thread.

    Args:
        max_concurrent: how many downloads run at once.
        state_key: the name of the manager in the state, for an application with several.
        around: a lifespan of your own.  It is entered first and left last, so that downloads can use what it opens;
            what it yields is in the state too.
        close_on: the signals at which the manager closes at once; ``()`` for none.
        **arguments: those of :func:`trio_dlm.open_manager`.

    Raises:
        TypeError, ValueError: an argument is wrong.  Found when this is called, not when the server starts.
    """
    arguments.setdefault("failures", "keep")
    arguments.setdefault("on_exit", "cancel")
    open_manager(max_concurrent, **arguments)  # checks them; this block is never entered
    if around is not None and not callable(around):
        raise TypeError(f"around is a lifespan, a function of the application, got {around!r}")
    numbers = tuple(map(signal.Signals, close_on))

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            outer = None if around is None else await stack.enter_async_context(around(app))
            block = open_manager(max_concurrent, **arguments)
            manager = await stack.enter_async_context(_hold_open(block, numbers))
            stack.enter_context(_set_on(getattr(app, "state", None), state_key, manager))
            yield {**(outer or {}), state_key: manager}

    return lifespan


def snapshot_as_json(snapshot: TaskSnapshot) -> dict[str, Any]:
    """Return what a stranger may know of a download, as what becomes a JSON object.

    The keys are always the same, with None where there is nothing to say: ``id``, ``url`` (without its secrets),
    ``name`` (of the file, without its directory), ``status``, ``phase``, ``received_bytes``, ``total_bytes``,
    ``fraction``, ``rate_bytes_per_s``, ``eta_s``, ``retries``, ``attempts``, ``size_bytes`` and ``checksum`` once
    completed, ``error`` (the class of what went wrong, such as ``"HttpStatusError"``), ``created_at``, ``started_at``
    and ``finished_at`` (ISO 8601, UTC).

    The text of an error is left out, since it names addresses and paths of your network and machine.  For people whom
    you trust: ``snapshot_as_json(snapshot) | {"reason": snapshot.reason}``.
    """
    progress, result = snapshot.progress, snapshot.result
    return {
        "id": snapshot.correlation_id,
        "url": snapshot.url,
        "name": format_name(snapshot, 255),
        "status": snapshot.status.value,
        "phase": progress.phase.value,
        "received_bytes": progress.received_bytes,
        "total_bytes": progress.total_bytes,
        "fraction": _rounded(progress.fraction, 4),
        "rate_bytes_per_s": _rounded(progress.rate_bytes_per_s, 1),
        "eta_s": _rounded(progress.eta_s, 1),
        "retries": progress.retries,
        "attempts": snapshot.attempts,
        "size_bytes": None if result is None else result.size_bytes,
        "checksum": None if result is None else result.checksum,
        "error": None if snapshot.error is None else type(snapshot.error).__name__,
        "created_at": _as_text(snapshot.created_at),
        "started_at": _as_text(snapshot.started_at),
        "finished_at": _as_text(snapshot.finished_at),
    }


@final
class EventStream:
    """A response that sends the snapshots of a subscription as server-sent events, for ``EventSource`` in a browser.

    An ASGI application, which a route of Starlette may return in place of a ``Response``::

        return EventStream(manager.events(tasks=task, min_interval_s=1))

    Each event has the snapshot as JSON for its data and ``snapshot.sequence`` for its id.  The stream ends with the
    subscription: after the last of its downloads has ended, or when the manager has closed.  It ends too when the
    client goes away, and the subscription is left then.  In silence a comment is sent from time to time: proxies give
    up silent connections, and some servers notice only when they write that nobody listens.

    A browser asks again when a stream has ended, and tells the last id that it saw.  Answer 204 to that once there is
    nothing more to tell.
    """

    def __init__(
        self,
        events: Subscription,
        *,
        as_json: Callable[[TaskSnapshot], object] = snapshot_as_json,
        keep_alive_s: float = _KEEP_ALIVE_S,
    ) -> None:
        """Send *events*, which is entered and left by the response.

        Args:
            events: a subscription that has not been entered.
            as_json: makes of a snapshot what becomes the data of an event.
            keep_alive_s: how many seconds of silence there are at most; ``math.inf`` for any number.

        Raises:
            TypeError, ValueError: *keep_alive_s* is not a positive number.
        """
        if isinstance(keep_alive_s, bool) or not isinstance(keep_alive_s, (int, float)):
            raise TypeError(f"keep_alive_s is a number of seconds, got {keep_alive_s!r}")
        if math.isnan(keep_alive_s) or keep_alive_s <= 0:
            raise ValueError(f"keep_alive_s is a positive number of seconds, got {keep_alive_s!r}")
        self._events = events
        self._as_json = as_json
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Raises:
            RuntimeError: the subscription was entered before: every request needs one of its own.
        """
        async with _open_group() as group:
            group.start_soon(_cancel_when_gone, receive, group.cancel_scope)
            # A server of ASGI 2.4 tells by OSError that nobody listens; the others swallow what is sent.
            with suppress(OSError):
                await self._answer(scope, send)
            group.cancel_scope.cancel()

    async def _answer(self, scope: Scope, send: Send) -> None:
        async with self._events as events:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            while scope.get("method") != "HEAD":
                snapshot = None
                with anyio.move_on_after(self._keep_alive_s) as waiting:
                    snapshot = await anext(events, None)
                if waiting.cancelled_caught:
                    data = _KEEP_ALIVE
                elif snapshot is None:
                    break
                else:
                    data = self._encode(snapshot)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _encode(self, snapshot: TaskSnapshot) -> bytes:
        # JSON without line breaks, all of it ASCII: one line of data, whatever the names of files are.
        return f"id: {snapshot.sequence}\ndata: {json.dumps(self._as_json(snapshot))}\n\n".encode("ascii")


# The second keeps events of one user from another; the third keeps nginx from collecting them.
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    # Before it says so there may be what is left of the request's body.
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


@asynccontextmanager
async def _hold_open(
    block: AbstractAsyncContextManager[DownloadManager], numbers: Collection[signal.Signals]
) -> AsyncGenerator[DownloadManager]:
    """Keep the manager open in a task of its own, until this is left or one of the signals arrives.

    An exception of the body cancels that task, and so all downloads.
    """
    closing = anyio.Event()

    async def hold(*, task_status: anyio.abc.TaskStatus[DownloadManager]) -> None:
        async with block as manager:
            task_status.started(manager)
            await closing.wait()

    async with _open_group() as group:
        manager: DownloadManager = await group.start(hold)
        with _called_on(numbers, closing.set):
            yield manager
        closing.set()


@asynccontextmanager
async def _open_group() -> AsyncGenerator[anyio.abc.TaskGroup]:
    """Open a task group out of which one exception comes bare, as out of the manager's block."""
    try:
        async with anyio.create_task_group() as group:
            yield group
        return
    except BaseExceptionGroup as exc:
        first, *others = cast("tuple[BaseException, ...]", exc.exceptions)
        if others:
            raise
        alone = first
    # Here the group is not its context: each would hold the other.
    raise alone


@contextmanager
def _called_on(numbers: Collection[signal.Signals], action: Callable[[], object]) -> Generator[None]:
    """Have the event loop call *action* when one of the signals arrives, before its handler is called."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    # SIG_IGN and SIG_DFL are left as they are: a service does not begin to survive SIGTERM by opening a manager.
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    call_soon = _find_call_soon()
    came: set[int] = set()

    def handle(number: int, frame: FrameType | None) -> None:
        # The loop may have gone, if another handler has been put over this one and calls it still.
        with suppress(RuntimeError):
            call_soon(action)
        # trio's own handler for Ctrl-C raises KeyboardInterrupt in the code of this frame, which may be any request's.
        # Without a frame it is the main task that ends, which is the server.  Whoever presses a second time may mean
        # code that never ends.
        handlers[signal.Signals(number)](number, frame if number in came else None)
        came.add(number)

    for number in handlers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            # What somebody has put there since is theirs.
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)


def _find_call_soon() -> Callable[[Callable[[], object]], object]:
    """Return what a signal handler may call to have something called by the event loop."""
    token: Any = anyio.lowlevel.current_token()
    # A token of anyio before 4.11 is the loop's own.
    native = getattr(token, "native_token", token)
    # `run_sync_soon` is trio's.
    return cast(
        "Callable[[Callable[[], object]], object]",
        getattr(native, "run_sync_soon", None) or native.call_soon_threadsafe,
    )


@contextmanager
def _set_on(state: object, name: str, manager: DownloadManager) -> Generator[None]:
    """Let ``state.name`` be *manager*, where there is a state: one that the application has, not a request."""
    if state is None:
        yield
        return
    setattr(state, name, manager)
    try:
        yield
    finally:
        if getattr(state, name, None) is manager:
            delattr(state, name)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _as_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")

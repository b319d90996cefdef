"""The block that a manager lives in: how it is entered, and what happens when it is left.

Rules that hold here:

- arguments are checked when ``open_manager`` is called, the surroundings when the block is entered;
- leaving closes the door first; then the downloads go on to their end, or are cancelled; then the nursery ends, and
  only after that the downloader and what ``setup`` gave;
- an exception of the body leaves alone and bare; a crash of a download leaves as trio lets it, in a group;
- failures that nobody asked for leave only when nothing else does.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, Unpack, cast, final, get_args

import trio

from ._engine import CANCELLED, CLOSED, Engine
from ._errors import UnsupportedBackendError
from ._manager import DownloadManager, LaneOf, make_manager
from ._options import DownloadOptions, FileOptionsFields, check_rate
from ._records import DownloadResult
from ._schedule import check_limit
from .downloaders._protocol import Downloader, DownloaderFunction, as_function

__all__ = ["Backend", "Failures", "OnExit", "download", "open_manager"]

OnExit: TypeAlias = Literal["wait", "cancel"]
Failures: TypeAlias = Literal["raise", "keep"]
Backend: TypeAlias = Literal["auto", "trio", "asyncio"]
Setup: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]


def open_manager(
    max_concurrent: float = 5,
    *,
    directory: str | os.PathLike[str] = ".",
    downloader: Downloader[Any] | DownloaderFunction[Any] | None = None,
    max_pending: float | None = None,
    lane_of: LaneOf | None = None,
    max_per_lane: float | None = None,
    keep_finished: float = 1000,
    rate_limit_bytes_per_s: float = math.inf,
    on_exit: OnExit = "wait",
    failures: Failures = "raise",
    setup: Setup | None = None,
    backend: Backend = "auto",
) -> AbstractAsyncContextManager[DownloadManager]:
    """Open a download manager, in an ``async with`` statement; this is the only way to get one.

    When the block ends no task, socket or open file of a download is left.  Entering and leaving are checkpoints;
    leaving waits for the downloads, as *on_exit* says.  The block must be left in the trio task that entered it.

    Args:
        max_concurrent: how many downloads run at once: an int from 0 up, or ``math.inf``.
        directory: where files go; made absolute when the block is entered, created when the first file is.
        downloader: who fetches, where a request names nobody else; None means an :class:`HttpDownloader`.  One that
            is an async context manager is entered and left with the block.
        max_pending: how many downloads may be queued before ``submit`` waits: an int from 1 up; None means any number.
        lane_of: finds the lane of a request that names none; what it raises comes out of ``submit``.
        max_per_lane: how many downloads of one lane run at once; None means any number.
        keep_finished: how many ended downloads ``get_task`` remembers.
        rate_limit_bytes_per_s: what all downloads together may receive in a second; they share it equally.
        on_exit: what a body that ends normally means for the downloads that have not: ``"wait"`` lets the queue run
            empty, ``"cancel"`` cancels all.  Paused ones are cancelled either way, and a body that raises cancels all.
        failures: ``"raise"`` lets failures that nobody asked for leave the block as :class:`UncollectedFailuresError`,
            if the body ended normally; ``"keep"`` leaves them on their tasks.
        setup: makes an async context manager that is entered before the first download and left after the last; what it
            gives is ``job.resources``.
        backend: ``"auto"`` takes the library that runs when the block is entered.  At present that must be trio.

    Raises:
        TypeError, ValueError: an argument is wrong.
        UnsupportedBackendError: on entering, where no trio loop runs.
    """
    if downloader is not None:
        as_function(downloader)
    if lane_of is not None and not callable(lane_of):
        raise TypeError(f"lane_of is a function of a DownloadRequest, got {lane_of!r}")
    if setup is not None and not callable(setup):
        raise TypeError(f"setup is a function that makes an async context manager, got {setup!r}")
    DownloadOptions(directory=directory)  # checks it; the current directory counts when the block is entered
    _check_choice("on_exit", on_exit, OnExit)
    _check_choice("failures", failures, Failures)
    _check_choice("backend", backend, Backend)
    return _Block(
        _Plan(
            max_concurrent=check_limit("max_concurrent", max_concurrent),
            max_pending=math.inf if max_pending is None else check_limit("max_pending", max_pending, least=1),
            max_per_lane=math.inf if max_per_lane is None else check_limit("max_per_lane", max_per_lane),
            keep_finished=check_limit("keep_finished", keep_finished),
            rate_limit_bytes_per_s=check_rate("rate_limit_bytes_per_s", rate_limit_bytes_per_s),
            directory=directory,
            downloader=downloader,
            lane_of=lane_of,
            on_exit=on_exit,
            failures=failures,
            setup=setup,
            backend=backend,
        )
    )


async def download(
    url: str,
    directory: str | os.PathLike[str] = ".",
    *,
    options: DownloadOptions | None = None,
    **fields: Unpack[FileOptionsFields],
) -> DownloadResult:
    """Download one file, and return what was saved: one call, no manager to open.

    Args:
        url: an http or https address.
        directory: where the file goes.
        options: what is asked of the download.
        **fields: single options, laid over *options*; see :class:`DownloadOptions`.

    Raises:
        DownloadFailedError: it failed; ``__cause__`` is the reason.
        InvalidUrlError, InvalidNameError, TypeError, ValueError: an argument is wrong.
    """
    async with open_manager(directory=directory) as manager:
        return await manager.download(url, options=options, **fields)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The checked arguments of ``open_manager``."""

    max_concurrent: float
    max_pending: float
    max_per_lane: float
    keep_finished: float
    rate_limit_bytes_per_s: float
    directory: str | os.PathLike[str]
    downloader: Downloader[Any] | DownloaderFunction[Any] | None
    lane_of: LaneOf | None
    on_exit: OnExit
    failures: Failures
    setup: Setup | None
    backend: Backend


@final
class _Block:
    """What ``open_manager`` returns; finds out where it runs when it is entered."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._inner: AbstractAsyncContextManager[DownloadManager] | None = None

    async def __aenter__(self) -> DownloadManager:
        if self._inner is not None:
            raise RuntimeError("a manager's block is entered once; call open_manager() again for another")
        _check_backend(self._plan.backend)
        await trio.lowlevel.checkpoint()
        self._inner = _run_block(self._plan)
        return await self._inner.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._inner is not None
        # Waiting for downloads is what leaving is; the wait has no limit of its own (law 1).
        return await self._inner.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102


@asynccontextmanager
async def _run_block(plan: _Plan) -> AsyncGenerator[DownloadManager]:
    async with AsyncExitStack() as stack:
        directory = Path(os.path.abspath(plan.directory))  # noqa: ASYNC240  (asks for the current directory only)
        resources = await stack.enter_async_context(plan.setup()) if plan.setup is not None else None
        downloader = plan.downloader if plan.downloader is not None else _default_downloader()
        if hasattr(downloader, "__aenter__"):
            await stack.enter_async_context(cast("AbstractAsyncContextManager[object]", downloader))
        engine = Engine(
            max_concurrent=plan.max_concurrent,
            max_per_lane=plan.max_per_lane,
            max_pending=plan.max_pending,
            keep_finished=plan.keep_finished,
            rate_limit_bytes_per_s=plan.rate_limit_bytes_per_s,
            directory=directory,
            resources=resources,
        )
        leaving: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                engine.nursery = nursery
                try:
                    yield make_manager(engine, downloader=downloader, lane_of=plan.lane_of)
                except BaseException as exc:  # noqa: ASYNC103, BLE001  (raised again below, beyond the nursery)
                    leaving.append(exc)
                try:
                    await _end_all(engine, plan.on_exit, leaving)
                except BaseException as exc:  # noqa: ASYNC103, BLE001  (likewise)
                    leaving.append(exc)
        except BaseException as exc:  # noqa: ASYNC103, BLE001  (likewise)
            leaving.append(exc)
        finally:
            engine.close()
        if leaving:
            raise _outcome_of(leaving, engine.failures.total)
        if engine.failures.total and plan.failures == "raise":
            raise engine.failures.as_error()


async def _end_all(engine: Engine, on_exit: OnExit, leaving: list[BaseException]) -> None:
    """Bring every download to its end, or on its way there: the nursery waits for what still runs."""
    if leaving:
        engine.stop_all(_reason_of(leaving[0]))
    elif on_exit == "cancel":
        engine.stop_all(CLOSED)
        await trio.lowlevel.checkpoint()
    else:
        try:
            await engine.drain()
        except BaseException as exc:
            engine.stop_all(_reason_of(exc))
            raise


def _reason_of(leaving: BaseException) -> str:
    return CANCELLED if isinstance(leaving, trio.Cancelled) else f"{CLOSED} by {type(leaving).__name__}"


def _outcome_of(leaving: list[BaseException], uncollected: int) -> BaseException:
    """Return what leaves the block: the one exception as it is, or several in a group.

    ``Cancelled`` gives way to anything else, since the scope that it belongs to may be the nursery's, which is gone.
    """
    others = [exc for exc in leaving if not _is_only_cancelled(exc)]
    if not others:
        return leaving[0]
    exc = others[0]
    if len(others) > 1:
        exc = BaseExceptionGroup(
            "what left the manager's block", [member for each in others for member in _members(each)]
        )
    if uncollected:
        exc.add_note(f"trio_dlm: downloads that failed besides, and nobody asked how they ended: {uncollected}")
    return exc


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    return cast("BaseExceptionGroup[BaseException]", exc).exceptions if isinstance(exc, BaseExceptionGroup) else (exc,)


def _is_only_cancelled(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc).split(trio.Cancelled)[1] is None
    return isinstance(exc, trio.Cancelled)


def _default_downloader() -> Downloader[DownloadResult]:
    # Imported late: a program that brings its own downloader does not pay for an HTTP client.
    from .downloaders.http import HttpDownloader

    return HttpDownloader()


def _check_backend(backend: Backend) -> None:
    if backend == "asyncio":
        raise UnsupportedBackendError(
            found='backend="asyncio"', advice="the asyncio backend does not exist yet; use trio"
        )
    if not trio.lowlevel.in_trio_task():
        raise UnsupportedBackendError(found=_running_library(), advice="enter the block inside trio.run(…)")


def _running_library() -> str:
    # Only for the message of an error; the core has nothing to do with asyncio.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return "no running loop"
    return "a running asyncio loop"


def _check_choice(name: str, value: object, choices: object) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name} is {' or '.join(map(repr, allowed))}, got {value!r}")

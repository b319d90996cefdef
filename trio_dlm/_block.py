"""How a manager is opened: what may be asked for, and where it runs.

Rules that hold here:

- arguments are checked when ``open_manager`` is called, the surroundings when the block is entered;
- which library runs is found out when the block is entered, and known nowhere else: on trio the manager lives in the
  run that is there, on asyncio in a trio run of its own, in a thread.
"""

from __future__ import annotations

import math
import os
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Unpack, final, get_args

import trio

from ._errors import UnsupportedBackendError
from ._manager import DownloadManager
from ._options import DownloadOptions, FileOptionsFields, check_rate
from ._plan import Backend, Failures, LaneOf, OnExit, Plan, Setup
from ._records import DownloadResult
from ._schedule import check_limit
from ._trio_block import run_block
from .downloaders._protocol import Downloader, DownloaderFunction, as_function

__all__ = ["download", "open_manager"]


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
    leaving waits for the downloads, as *on_exit* says.  On trio the block must be left in the task that entered it.

    On asyncio (stock or uvloop) all is the same, but downloads run in a trio run of the manager's own, in a thread:
    *downloader*, *setup* and what they give are for trio or anyio, and so are the downloaders of requests, unless
    :func:`asyncio_downloader` marks them.

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
        backend: ``"auto"`` takes what runs when the block is entered; ``"trio"`` and ``"asyncio"`` demand it.

    Raises:
        TypeError, ValueError: an argument is wrong.
        UnsupportedBackendError: on entering, where neither library runs, or not the one that *backend* names.
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
        Plan(
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
class _Block:
    """What ``open_manager`` returns; finds out where it runs when it is entered."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._inner: AbstractAsyncContextManager[DownloadManager] | None = None

    if not TYPE_CHECKING:  # A type checker sees by itself that this is no manager.

        def __getattr__(self, name: str) -> object:
            if not hasattr(DownloadManager, name):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(
                f"open_manager() gives a block and no manager, so {name!r} is not there yet; write "
                f"`async with open_manager(…) as manager:` and use what it gives"
            )

    async def __aenter__(self) -> DownloadManager:
        if self._inner is not None:
            raise RuntimeError("a manager's block is entered once; call open_manager() again for another")
        if _find_backend(self._plan.backend) == "trio":
            await trio.lowlevel.checkpoint()
            inner: AbstractAsyncContextManager[DownloadManager] = run_block(self._plan)
        else:
            # Imported late: a program on trio has nothing to do with asyncio.
            from ._asyncio import AsyncioBlock

            inner = AsyncioBlock(self._plan)
        self._inner = inner
        return await inner.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._inner is not None
        # Waiting for downloads is what leaving is; the wait has no limit of its own (law 1).
        return await self._inner.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102


def _find_backend(asked: Backend) -> Literal["trio", "asyncio"]:
    """Return the library that runs here.

    Raises:
        UnsupportedBackendError: none does, or another than was asked for.
    """
    if trio.lowlevel.in_trio_task():
        found: Literal["trio", "asyncio"] = "trio"
    elif _asyncio_runs():
        found = "asyncio"
    else:
        raise UnsupportedBackendError(asked=asked, found="no running loop")
    if asked not in ("auto", found):
        raise UnsupportedBackendError(asked=asked, found=f"a running {found} loop")
    return found


def _asyncio_runs() -> bool:
    # Imported late: a program on trio has nothing to do with asyncio.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_choice(name: str, value: object, choices: object) -> None:
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name} is {' or '.join(map(repr, allowed))}, got {value!r}")

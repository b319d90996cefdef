"""The block of a manager on asyncio: how the trio run beside it is begun and ended.

Rules that hold here:

- entering returns when the trio side is ready, or raises what kept it from that; who is cancelled meanwhile leaves no
  thread behind;
- leaving waits for the end of the trio run, whatever happens to the task that leaves: a cancel in between turns a wait
  for the downloads into a cancel of them, and is raised when all is over;
- no cancel scope is held across the body, so the block may be left in another task than the one that entered it;
- when the trio run ends before the body does, the body is cancelled, as by :class:`asyncio.TaskGroup`;
- on a loop that is closed nothing can be awaited: then the trio run is only told.
"""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import cast, final

from .._failures import add_hint
from .._leaving import CANCELLED, CLOSED, outcome_of
from .._manager import DownloadManager, make_manager
from .._plan import Plan
from .._trio_block import default_downloader
from ..downloaders._protocol import AsyncioDownloader
from ._crossing import Crossing
from ._host_runs import HostRuns
from ._loop import HostLoop, wait_shielded, wait_until_cancelled
from ._mirror import Mirror
from ._side import TrioSide
from ._thread import TrioThread

__all__ = ["AsyncioBlock"]


@final
class AsyncioBlock:
    """What ``open_manager`` enters and leaves where asyncio runs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._host = AsyncExitStack()
        """What of the downloader belongs to the host's loop."""
        self._mirror: Mirror
        self._side: TrioSide
        self._crossing: Crossing
        self._thread: TrioThread
        self._loop: asyncio.AbstractEventLoop
        self._opened: asyncio.Future[None]
        self._finished: asyncio.Future[None]
        self._crash: BaseException | None = None
        self._body: asyncio.Task[object] | None = None
        self._body_was_cancelled = False
        self._is_leaving = False

    async def __aenter__(self) -> DownloadManager:
        manager = await self._build()
        self._thread.start()
        cancelled = await wait_until_cancelled(self._opened)
        if cancelled is not None or self._finished.done():
            self._is_leaving = True
            self._stop(CANCELLED)
            await self._end(cancelled)
            assert cancelled is not None, "a run that ends before it is open has something to say"
            raise cancelled
        self._body = asyncio.current_task()
        return manager

    async def _build(self) -> DownloadManager:
        """Make both sides, and enter what of the downloader belongs to this one."""
        loop = self._loop = asyncio.get_running_loop()
        self._opened, self._finished = loop.create_future(), loop.create_future()
        directory = Path(os.path.abspath(self._plan.directory))  # noqa: ASYNC240  (asks for the current directory only)
        crossing = self._crossing = Crossing(loop, self._fail)
        host_runs = HostRuns(loop, crossing)
        mirror = self._mirror = Mirror(self._plan, directory, HostLoop(loop), crossing, host_runs)
        downloader = default_downloader() if self._plan.downloader is None else self._plan.downloader
        manager = make_manager(mirror, downloader=downloader, lane_of=self._plan.lane_of)
        if isinstance(downloader, AsyncioDownloader):
            if hasattr(downloader.downloader, "__aenter__"):
                await self._host.enter_async_context(cast("AbstractAsyncContextManager[object]", downloader.downloader))
            downloader = mirror.as_function(downloader)
        # Who comes in, what is remembered and what failed unasked is this side's business, and so is when to leave.
        plan = replace(
            self._plan,
            directory=directory,
            downloader=downloader,
            max_pending=math.inf,
            lane_of=None,
            keep_finished=0,
            on_exit="wait",
            failures="keep",
        )
        side = self._side = mirror.side = TrioSide(
            plan, crossing, host_runs, opened=lambda: _set(self._opened), tell=mirror.apply
        )
        self._thread = TrioThread(side.run, crossing, finished=self._on_finished, host_gone=side.host_gone)
        return manager

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._is_leaving = True
        if self._loop.is_closed():
            # A generator or coroutine that is thrown away after the loop.  Nothing can be awaited any more.
            self._crossing.to_trio(self._side.host_gone)
            return None
        if self._body_was_cancelled and self._body is not None:
            others = self._body.uncancel()
            if isinstance(exc, asyncio.CancelledError) and not others:
                # It was ours, for the crash that leaves below.
                exc = None
        self._mirror.close_door()
        if isinstance(exc, asyncio.CancelledError):
            self._stop(CANCELLED)
        elif exc is not None:
            self._crossing.to_trio(self._side.leave_by, exc)
        elif self._plan.on_exit == "cancel":
            self._stop(CLOSED)
        else:
            self._crossing.to_trio(self._side.leave)
        return await self._end(exc)

    async def _end(self, exc: BaseException | None) -> bool | None:
        """Wait for the end of the trio run, and raise what leaves the block, or let *exc* leave."""
        traceback = None if exc is None else exc.__traceback__
        was_over = self._finished.done()
        cancelled = await wait_until_cancelled(self._finished)
        if cancelled is not None:
            self._stop(CANCELLED)
            cancelled = await wait_shielded(self._finished) or cancelled
        # It has said its last word, and takes some microseconds to end.
        self._thread.join()
        leaving: list[BaseException | None] = [self._crash, cancelled]
        if exc is not None and (was_over or isinstance(exc, asyncio.CancelledError)):
            leaving.insert(0, exc)
        # Otherwise it went through the block of the trio side, and what came out there is what leaves.
        return await self._leave([each for each in leaving if each is not None], exc, traceback)

    async def _leave(
        self, leaving: list[BaseException], exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            await self._host.__aexit__(None if exc is None else type(exc), exc, traceback)
        except BaseException as raised:  # noqa: ASYNC103, BLE001  (leaves below)
            if raised is not exc:
                leaving.append(raised)
        failures = self._mirror.failures
        if leaving:
            outcome = outcome_of(leaving, failures.total, asyncio.CancelledError)
            if exc is not None and outcome is exc:
                # Without the frames of the other side.
                exc.__traceback__ = traceback
                return None
            raise outcome
        if exc is None and failures.total and self._plan.failures == "raise":
            raise failures.as_error()
        return True

    def _stop(self, reason: str) -> None:
        self._crossing.to_trio(self._side.stop, reason)

    def _fail(self, exc: BaseException) -> None:
        """A report could not be taken in: nothing here can be trusted any more."""
        if self._crash is None:
            self._crash = exc
        self._stop(f"the manager crashed: {exc!r}")

    def _on_finished(self, crash: BaseException | None) -> None:
        """The trio run has ended; called on the host's loop."""
        if self._crash is None:
            self._crash = crash
        if isinstance(crash, Exception) and not self._opened.done():
            # What setup or the downloader raised when it was entered.
            add_hint(crash)
        try:
            self._mirror.close(self._crash)
        finally:
            _set(self._finished)
            _set(self._opened)
            if not self._is_leaving and self._body is not None and not self._body.done():
                self._body_was_cancelled = True
                self._body.cancel()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

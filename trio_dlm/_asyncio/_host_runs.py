"""Downloaders that run on the host's loop, each awaited by the trio task that stands for its download.

Rules that hold here:

- a cancel in trio becomes one cancel of the asyncio task, and the trio side waits until that task has really ended, so
  law 5 holds for it as for any other;
- an asyncio cancellation stays on its side: one that nobody asked for is an error of the downloader;
- what the job reports is copied to the trio side now and then, and in the end; what it takes of a rate limit is taken
  there;
- when the host's loop is gone, no code of these can run any more, and nobody waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar, copy_context
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn, cast, final

import trio

from .._meter import ProgressMeter
from .._records import DownloadResult
from ..downloaders._protocol import AsyncioDownloader, DownloaderFunction, DownloadJob
from ._crossing import Crossing
from ._host_rate import HostRateLimit

__all__ = ["RUNNING", "HostRuns"]

# The runs of a manager that the calling asyncio code belongs to, and the download.
RUNNING: Final[ContextVar[tuple[object, str] | None]] = ContextVar("trio_dlm.running", default=None)

# Between two copies of a progress on its way to trio, where it is told on at half the pace.
REPORT_EVERY_S: Final = 0.05


@final
class HostRuns:
    """The runs of one manager on its host's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, crossing: Crossing) -> None:
        self._loop = loop
        self._crossing = crossing
        self._waiting: dict[_HostRun, None] = {}
        self._is_gone = False
        self._tracebacks: dict[str, TracebackType | None] = {}
        self.clock: Callable[[], float]
        """Tells trio's time in any thread."""

    def as_function(self, marked: AsyncioDownloader[Any]) -> DownloaderFunction[Any]:
        """Return what runs in trio in its place."""
        return partial(self._run, marked.function)

    async def _run(self, function: DownloaderFunction[Any], job: DownloadJob) -> DownloadResult:
        run = _HostRun(self._loop, self._crossing, function, job, self.clock, runs=self)
        if self._is_gone:
            # There is nothing left that could run it, and everything is being cancelled.
            await trio.sleep_forever()
        self._waiting[run] = None
        try:
            return await run.wait(copy_context(), lambda: self._is_gone)
        finally:
            del self._waiting[run]

    def keep_traceback(self, correlation_id: str, raised: BaseException) -> None:
        """Remember where *raised* came from, without our own frame; called on the host's loop."""
        traceback = raised.__traceback__
        self._tracebacks[correlation_id] = None if traceback is None else traceback.tb_next

    def restore_traceback(self, correlation_id: str, error: BaseException) -> None:
        """Take the frames off *error* that it went through on its way to the manager, which tell nobody anything."""
        if correlation_id in self._tracebacks:
            error.__traceback__ = self._tracebacks.pop(correlation_id)

    def give_up(self) -> None:
        """The host's loop is gone; called in trio."""
        self._is_gone = True
        for run in list(self._waiting):
            run.give_up()


@final
class _HostRun:
    """One run: the asyncio task on one side, the trio task that waits for it on the other."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        crossing: Crossing,
        function: DownloaderFunction[Any],
        job: DownloadJob,
        clock: Callable[[], float],
        runs: HostRuns,
    ) -> None:
        self._loop = loop
        self._crossing = crossing
        self._function = function
        self._job = job
        self._clock = clock
        self._runs = runs
        # Of trio.
        self._sleeper: trio.lowlevel.Task | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None
        self._result: DownloadResult | None = None
        self._raised: BaseException | None = None
        # Of asyncio.
        self._task: asyncio.Task[DownloadResult] | None = None
        self._is_cancelled = False
        self._host_job: DownloadJob
        self._timer: asyncio.TimerHandle | None = None

    # In trio.

    async def wait(self, context: Context, is_gone: Callable[[], bool]) -> DownloadResult:
        """Run on the host's loop, and return or raise what came of it."""

        def abort(raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
            if is_gone():
                self._sleeper = None
                return trio.lowlevel.Abort.SUCCEEDED
            self._raise_cancel = raise_cancel
            self._crossing.to_host(self._cancel)
            return trio.lowlevel.Abort.FAILED

        # Looked at here, since it is made when it is first looked at.
        _ = self._job.rate_limit
        self._sleeper = trio.lowlevel.current_task()
        self._crossing.to_host(self._start, context, self._job.progress.copy(self._clock))
        await trio.lowlevel.wait_task_rescheduled(abort)
        if isinstance(self._raised, asyncio.CancelledError):
            if self._raise_cancel is not None:
                self._raise_cancel()
            raise RuntimeError(  # noqa: TRY004  (nobody passed a wrong type)
                "the downloader's asyncio task was cancelled, but not by the manager"
            ) from self._raised
        if self._raised is not None:
            raise self._raised
        return cast("DownloadResult", self._result)

    def give_up(self) -> None:
        """Nobody will tell the end; one that is being cancelled need not wait for it."""
        if self._raise_cancel is not None:
            self._end(None, asyncio.CancelledError(), can_resume=self._job.can_resume)

    def _end(self, result: DownloadResult | None, raised: BaseException | None, *, can_resume: bool) -> None:
        """The asyncio task has ended so, or will never tell."""
        if self._sleeper is not None:
            self._result, self._raised = result, raised
            self._job.can_resume = can_resume
            sleeper, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(sleeper)

    def _adopt(self, meter: ProgressMeter) -> None:
        self._job.progress.adopt(meter)

    # On the host's loop.

    def _start(self, context: Context, meter: ProgressMeter) -> None:
        context.run(RUNNING.set, (self._runs, self._job.correlation_id))
        progress = ProgressMeter(self._clock, self._report_soon)
        progress.adopt(meter)
        job = self._job
        self._host_job = DownloadJob(
            request=job.request,
            directory=job.directory,
            correlation_id=job.correlation_id,
            attempt=job.attempt,
            progress=progress,
            resources=job.resources,
            can_resume=job.can_resume,
            rate_limit=lambda: HostRateLimit(self._loop, self._crossing, job),
        )
        self._task = self._loop.create_task(
            _run(self._function, self._host_job), name=f"download {job.correlation_id}", context=context
        )
        self._task.add_done_callback(self._done)
        if self._is_cancelled:
            self._task.cancel()

    def _cancel(self) -> None:
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _report_soon(self) -> None:
        if self._timer is None and self._task is not None:
            self._timer = self._loop.call_later(REPORT_EVERY_S, self._report)

    def _report(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._crossing.to_trio(self._adopt, self._host_job.progress.copy(self._clock))

    def _done(self, task: asyncio.Task[DownloadResult]) -> None:
        self._report()
        self._host_job.progress.disconnect()
        result: DownloadResult | None = None
        raised: BaseException | None
        if task.cancelled():
            raised = asyncio.CancelledError()
        elif (raised := task.exception()) is None:
            result = task.result()
        elif isinstance(raised, BaseExceptionGroup):
            raised = _without_cancelled(cast("BaseExceptionGroup[BaseException]", raised))
        if isinstance(raised, Exception):
            self._runs.keep_traceback(self._job.correlation_id, raised)
        self._crossing.to_trio(
            partial(self._end, result, raised, can_resume=self._host_job.can_resume),
        )


async def _run(function: Callable[[DownloadJob], Awaitable[DownloadResult]], job: DownloadJob) -> DownloadResult:
    return await function(job)


def _without_cancelled(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what else is in *group*, or one cancellation for all if that is all there is."""
    cancelled, others = group.split(asyncio.CancelledError)
    if cancelled is None:
        return group
    return asyncio.CancelledError() if others is None else others

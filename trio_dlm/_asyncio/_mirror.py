"""What a manager on asyncio looks at and asks: a mirror of the engine that lives in trio.

Rules that hold here:

- it is written on the host's loop only: by the caller who asks for something, and by reports, in their order;
- what is decided here (ids, room, the door, PENDING) is seen at once, what is decided in trio when its report comes;
- a report that left before the last ``resume`` was known there says nothing new, unless it is the end;
- nothing of trio is touched: what is asked for crosses, and names a download by its id.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, NoReturn, final

from .._download import Download
from .._engine import check_thread
from .._errors import ManagerClosedError, ManagerCrashedError
from .._events import EventHub
from .._failures import FailureLedger, in_short
from .._leaving import CLOSED
from .._log import log_failure
from .._options import check_rate
from .._plan import Plan
from .._records import ManagerStats
from .._registry import Registry
from .._status import DownloadStatus, check_transition
from .._task import DownloadTask
from ..downloaders._protocol import DownloaderFunction, as_function, needs_asyncio
from ._crossing import Crossing
from ._host_runs import RUNNING, HostRuns
from ._line import Line
from ._loop import HostLoop
from ._reports import Report
from ._side import TrioSide
from ._tally import Tally

__all__ = ["Mirror"]


@final
class Mirror:
    """The state of one manager as the host knows it; stands where :class:`trio_dlm._engine.Engine` stands on trio."""

    def __init__(self, plan: Plan, directory: Path, loop: HostLoop, crossing: Crossing, host_runs: HostRuns) -> None:
        self.loop = loop
        self.registry = Registry(keep_finished=plan.keep_finished)
        self.failures = FailureLedger()
        self.hub = EventHub(loop, given=self.failures.strike)
        self.queueing: set[str] = set()
        self.max_pending = plan.max_pending
        self.directory = directory
        self.side: TrioSide
        """The other side; what of it is called there crosses."""
        self._crossing = crossing
        self._host_runs = host_runs
        self._tally = Tally(max_concurrent=plan.max_concurrent, max_per_lane=plan.max_per_lane)
        self._line = Line(loop)
        self._rate = plan.rate_limit_bytes_per_s
        self._rates: dict[Download, float | None] = {}
        self._thread = threading.get_ident()
        self._door_open = True
        self._changes = 0
        self._idle = loop.make_lot()

    # Coming in.

    @property
    def has_room(self) -> bool:
        """Whether a new download may be queued now, ahead of nobody."""
        return not len(self._line) and (self._tally.pending < self.max_pending or self._room() > 0)

    @property
    def waiting(self) -> int:
        """How many stand in line for room."""
        return len(self._line)

    def check_thread(self, action: str) -> None:
        """Refuse *action* to a caller in another thread than that of the loop, or on another loop of the thread."""
        check_thread(self._thread, action)
        self.loop.check_here()

    def check_door(self, action: str) -> None:
        """Refuse *action* to a caller in another thread, and to everybody when the block is being left."""
        self.check_thread(action)
        if not self._door_open:
            raise ManagerClosedError(action=action)

    def as_function(self, downloader: object) -> DownloaderFunction[Any]:
        """Return the async function that runs a job in trio."""
        if needs_asyncio(downloader):
            return self._host_runs.as_function(downloader)
        return as_function(downloader)

    def queue(self, task: DownloadTask[Any]) -> None:
        """Take a new download in, for which there is room."""
        download = task._download
        # First, since it calls code of the lane's (__hash__, __eq__), which may raise.
        self._tally.enter(download, DownloadStatus.PENDING)
        self.registry.add(task)
        self._send(download)
        self._changed(download)
        self.step()

    def _send(self, download: Download) -> None:
        """Let the trio side have its own record of *download*."""
        download.is_admitted = True
        assert download.context is not None
        twin = Download(
            download.request,
            download.function,
            download.context,
            correlation_id=download.correlation_id,
            lane=download.lane,
            # Batches are known on this side only.
            parent_id=None,
            retry_of=download.retry_of,
        )
        twin.resumes = download.resumes
        self._crossing.to_trio(self.side.submit, twin)
        if download in self._rates:
            self._crossing.to_trio(self.side.set_rate_limit, download.correlation_id, self._rates[download])

    async def submit(self, task: DownloadTask[Any]) -> None:
        """Queue *task* now or once there is room.  Always a checkpoint; who is cancelled has queued nothing."""
        with self.registry.reservation() as hold:
            hold(task.correlation_id)
            await self.loop.checkpoint()
            self.check_door("submit")
            if not self.has_room:
                await self._line.wait(task, self._room)
            self.queue(task)

    async def wait_for_room(self, task: DownloadTask[Any]) -> None:
        """Stand in line until *task* was queued, or ended or was paused before its turn came."""
        if await self._line.wait(task, self._room):
            self.queue(task)

    def _room(self) -> float:
        return self.max_pending - self._tally.queued

    def step(self) -> None:
        """Let those go on for whom there is room, and those who wait for nothing to be left."""
        if self._line:
            self._line.call(self._room())
        if self.is_idle:
            self._idle.unpark_all()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is running, queued, or on its way into the queue."""
        return not (self._tally.active or self._tally.pending or self.queueing)

    # What may be asked of a download.

    def cancel(self, download: Download, reason: str | None) -> None:
        """Ask *download* to end as CANCELLED; nothing happens if it has ended."""
        if download.status.is_final:
            return
        if download.is_admitted:
            self._crossing.to_trio(self.side.cancel, download.correlation_id, reason)
        else:
            self._cancel_here(download, reason)
            self.step()

    def _cancel_here(self, download: Download, reason: str | None) -> None:
        """One of a batch whose turn to be queued had not come: the trio side knows nothing of it."""
        download.reason = reason
        self._line.leave(download.correlation_id)
        if download.status is DownloadStatus.PAUSED:
            self._tally.leave(download, DownloadStatus.PAUSED)
        self._tally.enter(download, DownloadStatus.CANCELLED)
        self._end(download, DownloadStatus.CANCELLED)

    def pause(self, download: Download, reason: str | None) -> Callable[[], bool]:
        """Ask *download* to become PAUSED, and return what is true once that was decided, one way or the other."""
        if download.status.is_final:
            return lambda: True
        if not download.is_admitted:
            if download.status is DownloadStatus.PENDING:
                self._pause_here(download, reason)
            return lambda: True
        asked: list[int] = []

        def is_decided() -> bool:
            if download.status.is_final:
                return True
            return bool(asked) and (download.status is not DownloadStatus.DOWNLOADING or download.attempts != asked[0])

        def tell(run: int) -> None:
            asked.append(run)
            _wake_stoppers(download)

        self._crossing.to_trio(self.side.pause, download.correlation_id, reason, tell)
        return is_decided

    def _pause_here(self, download: Download, reason: str | None) -> None:
        if not self._door_open:
            self._cancel_here(download, CLOSED)
            return
        self._line.leave(download.correlation_id)
        download.reason = reason
        self._tally.enter(download, DownloadStatus.PAUSED)
        self._set_status(download, DownloadStatus.PAUSED)
        self.step()

    def resume(self, download: Download) -> bool:
        """Queue a PAUSED download at the tail of its lane; False if it is not PAUSED."""
        self.check_door("resume")
        if download.status is not DownloadStatus.PAUSED:
            return False
        self._tally.leave(download, DownloadStatus.PAUSED)
        download.resumes += 1
        download.reason = None
        is_admitted = download.is_admitted
        if is_admitted or download.parent_id not in self.queueing:
            self._tally.enter(download, DownloadStatus.PENDING)
            if is_admitted:
                self._crossing.to_trio(self.side.resume, download.correlation_id)
            else:
                self._send(download)
        self._set_status(download, DownloadStatus.PENDING)
        self.step()
        return True

    async def cancel_each(self, downloads: Iterable[Download], reason: str | None) -> None:
        """Ask all of *downloads* to end."""
        admitted: list[str] = []
        for download in downloads:
            if download.is_admitted:
                admitted.append(download.correlation_id)
            else:
                self.cancel(download, reason)
        # In one step there: nothing of it is started in the place of what is cancelled first.
        self._crossing.to_trio(self.side.cancel_each, admitted, reason)

    def get_rate_limit(self, download: Download) -> float | None:
        """Return how fast *download* may receive, if it has a limit of its own."""
        if download in self._rates:
            return self._rates[download]
        return download.request.options.rate_limit_bytes_per_s

    def set_rate_limit(self, download: Download, bytes_per_s: float | None) -> None:
        """Limit *download*, from now on."""
        if bytes_per_s is not None:
            check_rate("rate_limit_bytes_per_s", bytes_per_s)
        self._rates[download] = bytes_per_s
        if download.is_admitted:
            self._crossing.to_trio(self.side.set_rate_limit, download.correlation_id, bytes_per_s)

    # Who asks.

    def runs_me(self, download: Download | None = None) -> bool:
        """Whether the calling code belongs to the present run of *download*, or of any."""
        running = RUNNING.get()
        if running is None or running[0] is not self._host_runs:
            return False
        task = self.registry.find(running[1])
        if task is None or task.status is not DownloadStatus.DOWNLOADING:
            return False
        return download is None or task._download is download

    async def stop_myself(self, download: Download, verb: str) -> NoReturn:
        """End the calling code, which belongs to *download* and has just asked for that by *verb*."""
        raise asyncio.CancelledError(f"download {download.correlation_id} called {verb}() on itself")

    async def wait_idle(self) -> None:
        """Wait until nothing is pending or running."""
        await self.loop.checkpoint()
        while not self.is_idle:
            await self._idle.park()

    # Limits and figures.

    @property
    def max_concurrent(self) -> float:
        """How many downloads may run at once."""
        return self._tally.max_concurrent

    @max_concurrent.setter
    def max_concurrent(self, limit: float) -> None:
        self._tally.max_concurrent = limit
        self._crossing.to_trio(self.side.set_max_concurrent, limit)

    @property
    def max_per_lane(self) -> float:
        """How many downloads of one lane may run at once."""
        return self._tally.max_per_lane

    @max_per_lane.setter
    def max_per_lane(self, limit: float) -> None:
        self._tally.max_per_lane = limit
        self._crossing.to_trio(self.side.set_max_per_lane, limit)

    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Limit one lane; None goes back to ``max_per_lane``."""
        if limit is None:
            self._tally.lane_limits.pop(lane, None)
        else:
            self._tally.lane_limits[lane] = limit
        self._crossing.to_trio(self.side.set_lane_limit, lane, limit)

    @property
    def rate_limit_bytes_per_s(self) -> float:
        """What all downloads together may receive in a second."""
        return self._rate

    @rate_limit_bytes_per_s.setter
    def rate_limit_bytes_per_s(self, bytes_per_s: float) -> None:
        self._rate = bytes_per_s
        self._crossing.to_trio(self.side.set_rate, bytes_per_s)

    def read_stats(self) -> ManagerStats:
        """Return the figures of this moment."""
        return self._tally.read()

    # What is reported.

    def apply(self, report: Report) -> None:
        """Know what the trio side knows."""
        task = self.registry.find(report.correlation_id)
        if task is None:
            return
        download = task._download
        status, before = report.status, download.status
        if report.resumes < download.resumes and not status.is_final:
            return
        if isinstance(report.error, ManagerCrashedError):
            # In trio the door closed in the same step.
            self.close_door()
        download.asked = report.asked
        download.attempts = report.attempts
        download.can_resume = report.can_resume
        download.started_s = report.started_s
        download.reason = report.reason
        download.error = report.error
        download.result = report.result
        download.meter = report.meter
        if status is before:
            self._changed(download)
            return
        self._tally.leave(download, before)
        self._tally.enter(download, status)
        if status.is_final:
            download.finished_s = report.finished_s
            self._end(download, status)
            if download.error is not None:
                self._host_runs.restore_traceback(download.correlation_id, download.error)
                log_failure(download, download.error)
        else:
            self._set_status(download, status)
            if status is DownloadStatus.PAUSED:
                _wake_stoppers(download)
        self.step()

    def _end(self, download: Download, status: DownloadStatus) -> None:
        if download.finished_s is None:
            download.finished_s = time.time()
        download.drop_run()
        self._rates.pop(download, None)
        if status is DownloadStatus.FAILED:
            self.failures.enter(download)
        self._set_status(download, status)
        self.registry.end(download.correlation_id)
        if download.askers:
            download.askers.unpark_all()
        _wake_stoppers(download)

    def _set_status(self, download: Download, status: DownloadStatus) -> None:
        check_transition(download.status, status)
        download.status = status
        self._changed(download)

    def _changed(self, download: Download) -> None:
        self._changes += 1
        download.sequence = self._changes
        if not self.hub.quiet:
            self.hub.note(download)

    # The end.

    def close_door(self) -> None:
        """From now on nothing new comes in, and waiting submits are turned away."""
        self._door_open = False
        self._line.close()

    def close(self, crash: BaseException | None) -> None:
        """The trio side has ended: what it has not told the end of ended by *crash*, or was never queued there."""
        self.close_door()
        for task in list(self.registry.live):
            download = task._download
            if not download.is_admitted:
                self._cancel_here(download, CLOSED)
                continue
            # Code of the lane's (__hash__, __eq__), which may be what the manager crashed by.
            with contextlib.suppress(Exception):
                self._tally.leave(download, download.status)
                self._tally.enter(download, DownloadStatus.FAILED)
            download.error = ManagerCrashedError(crash=in_short(crash), is_culprit=False)
            download.error.__cause__ = crash
            download.reason = str(download.error)
            if download.status is not DownloadStatus.DOWNLOADING:
                download.status = DownloadStatus.DOWNLOADING
            self._end(download, DownloadStatus.FAILED)
        self.queueing.clear()
        self.step()
        self.hub.close()


def _wake_stoppers(download: Download) -> None:
    if download.stoppers:
        download.stoppers.unpark_all()

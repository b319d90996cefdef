"""The heart of a manager: every change of state is one synchronous step in here.

Rules that hold here:

- nothing that changes a download awaits, so every caller sees all of a change or none of it; Ctrl-C is held off
  meanwhile, as in trio's own objects;
- after everything that can change the answer to "who starts next?" :meth:`Engine.step` asks it again;
- tokens are given back in the same step that writes the next status;
- whoever calls (a task handle, the manager, a run that ended, the block that is being left) decides nothing.

What may be asked of a download from outside is :meth:`cancel`, :meth:`pause`, :meth:`resume`; what a run reports is
:meth:`run_ended`; what ends the whole is :meth:`drain` and :meth:`stop_all`.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

import trio

from ._admission import WaitingLine
from ._errors import ManagerClosedError, ManagerCrashedError
from ._events import EventHub
from ._failures import FailureLedger, add_hint, clear_frames, in_short, in_words
from ._leaving import CANCELLED, CLOSED
from ._log import log_change, log_failure, log_held_back
from ._meter import ProgressMeter
from ._outcome import Asked, Ending, Outcome, status_after
from ._rate import RateLimit, Throttle
from ._records import ManagerStats
from ._registry import Registry
from ._run import run_download
from ._schedule import Schedule
from ._status import DownloadStatus, check_transition
from ._trio_loop import TRIO_LOOP
from .downloaders._protocol import as_trio_function

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from pathlib import Path

    from ._download import Download
    from ._records import DownloadResult
    from ._task import DownloadTask
    from .downloaders._protocol import DownloaderFunction

__all__ = ["Engine", "check_thread"]

# Cancelling a queued download takes some microseconds.  After this many the other tasks of the program get a turn.
BATCH: Final = 1000


@final
class Engine:
    """The state of one manager."""

    def __init__(
        self,
        *,
        max_concurrent: float,
        max_per_lane: float,
        max_pending: float,
        keep_finished: float,
        rate_limit_bytes_per_s: float,
        directory: Path,
        resources: Any,
    ) -> None:
        self.schedule = Schedule(max_concurrent=max_concurrent, max_per_lane=max_per_lane)
        self.registry = Registry(keep_finished=keep_finished)
        self.failures = FailureLedger()
        self.loop = TRIO_LOOP
        self.hub = EventHub(self.loop, given=self.failures.strike)
        self.line = WaitingLine()
        self.max_pending = max_pending
        self.throttle = Throttle(rate_limit_bytes_per_s)
        self.directory = directory
        self.resources = resources
        self.nursery: trio.Nursery
        """Where downloads run; set when the block is entered."""
        self.crash: BaseException | None = None
        self.tell_failure: Callable[[Download, Exception], object] = log_failure
        self.door_open = True
        self.queueing: set[str] = set()
        """Parent ids of the batches that are being queued."""
        self._thread = threading.get_ident()
        self._halted = False
        self._close_reason = CLOSED
        self._changes = 0
        self._paused = 0
        self._ended = dict.fromkeys(DownloadStatus, 0)
        self._arrived_bytes = 0
        self._idle = trio.lowlevel.ParkingLot()
        self._all_ended = trio.lowlevel.ParkingLot()
        self._warned_of_zero = False

    # Coming in.

    @property
    def has_room(self) -> bool:
        """Whether a new download may be queued now, ahead of nobody: the step leaves no room while somebody waits."""
        return self.schedule.pending < self.max_pending

    @property
    def waiting(self) -> int:
        """How many stand in line for room."""
        return len(self.line)

    def as_function(self, downloader: object) -> DownloaderFunction[Any]:
        """Return the async function that runs a job; raises TypeError for what cannot run in trio."""
        return as_trio_function(downloader)

    def check_thread(self, action: str) -> None:
        """Refuse *action* to a caller in another thread.

        Raises:
            RuntimeError: the caller is in one.
        """
        check_thread(self._thread, action)

    def check_door(self, action: str) -> None:
        """Refuse *action* when the block is being left.

        Raises:
            ManagerClosedError: it is.
            RuntimeError: the caller is in another thread.
        """
        check_thread(self._thread, action)
        if not self.door_open:
            raise ManagerClosedError(action=action)

    @trio.lowlevel.enable_ki_protection
    def queue(self, task: DownloadTask[Any]) -> None:
        """Take a new download in, and start what may start."""
        self._take_in(task)
        self.step()

    @trio.lowlevel.enable_ki_protection
    async def submit(self, task: DownloadTask[Any]) -> None:
        """Queue *task* now, or once there is room.  A checkpoint; who is cancelled has queued nothing."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.has_room:
            self.queue(task)
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            with self.registry.reservation() as hold:
                hold(task.correlation_id)
                await self.line.wait(task)

    @trio.lowlevel.enable_ki_protection
    async def wait_for_room(self, task: DownloadTask[Any]) -> None:
        """Stand in line until *task* was queued, or ended or was paused before its turn came."""
        await self.line.wait(task)

    def _take_in(self, task: DownloadTask[Any]) -> None:
        download = task._download
        # First, since it calls code of the lane's (__hash__, __eq__), which may raise.
        self.schedule.put(download)
        download.is_admitted = True
        self.registry.add(task)
        self._changed(download)

    # The one step.

    @trio.lowlevel.enable_ki_protection
    def step(self) -> None:
        """Start everything that may start now, and admit everybody for whom that makes room."""
        while not self._halted:
            if (download := self.schedule.grant()) is not None:
                self._start(download)
            elif self.line and self.has_room:
                self._take_in(self.line.admit())
            else:
                break
        if self.is_idle:
            self._idle.unpark_all()

    @trio.lowlevel.enable_ki_protection
    def limits_changed(self) -> None:
        """A limit was set, or begins to matter since the block is being left: start what may start now."""
        self.step()
        if not (self.door_open or self._halted or self._warned_of_zero) and (held := self.schedule.held_back):
            self._warned_of_zero = True
            log_held_back(held)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is running, queued, or on its way into the queue."""
        return not (self.schedule.active or self.schedule.pending or self.queueing)

    def _start(self, download: Download) -> None:
        assert download.context is not None, "an ended download is never granted a slot"
        if download.meter is not None:
            download.meter.open_run(keep_received=download.can_resume)
        download.scope = trio.CancelScope()
        download.asked = Asked.NOTHING
        download.attempts += 1
        if download.started_s is None:
            download.started_s = time.time()
        self._set_status(download, DownloadStatus.DOWNLOADING)
        # A copy of the copy that submit took: start_soon makes it from the context that it is called in.
        download.context.run(self._spawn, download)

    def _spawn(self, download: Download) -> None:
        self.nursery.start_soon(run_download, self, download, name=download.correlation_id)

    # What may be asked.

    @trio.lowlevel.enable_ki_protection
    def cancel(self, download: Download, reason: str | None, asked: Asked = Asked.CANCEL) -> None:
        """Ask *download* to end as CANCELLED.  A queued or paused one does so here and now."""
        if download.status is DownloadStatus.DOWNLOADING:
            if download.asked in (Asked.NOTHING, Asked.PAUSE):
                self._ask(download, asked, reason)
        elif not download.status.is_final:
            if download.status is DownloadStatus.PENDING:
                self._unqueue(download)
            else:
                self._paused -= 1
            download.reason = reason
            self._end(download, DownloadStatus.CANCELLED)
            self.step()

    @trio.lowlevel.enable_ki_protection
    def pause(self, download: Download, reason: str | None) -> Callable[[], bool]:
        """Ask *download* to become PAUSED, or, once the door is closed and nothing could resume it, CANCELLED.

        Returns:
            What is true once it no longer runs, or runs again.
        """
        run = download.attempts
        if not self.door_open:
            self.cancel(download, self._close_reason, Asked.CLOSE)
        elif download.status is DownloadStatus.PENDING:
            self._unqueue(download)
            download.reason = reason
            self._paused += 1
            self._set_status(download, DownloadStatus.PAUSED)
            self.step()
        elif download.status is DownloadStatus.DOWNLOADING and download.asked is Asked.NOTHING:
            self._ask(download, Asked.PAUSE, reason)
        return lambda: download.status is not DownloadStatus.DOWNLOADING or download.attempts != run

    @trio.lowlevel.enable_ki_protection
    def resume(self, download: Download) -> bool:
        """Queue a PAUSED download at the tail of its lane; False if it is not PAUSED."""
        self.check_door("resume")
        if download.status is not DownloadStatus.PAUSED:
            return False
        self._paused -= 1
        download.resumes += 1
        download.reason = None
        # One of a batch whose turn had not come waits for it again: it may not overtake those who wait for room.
        if download.is_admitted or download.parent_id not in self.queueing:
            download.is_admitted = True
            self.schedule.put(download)
        self._set_status(download, DownloadStatus.PENDING)
        self.step()
        return True

    def _unqueue(self, download: Download) -> None:
        if download.ticket is not None:
            self.schedule.withdraw(download)
        else:
            # One of a batch that is still being queued: its turn has not come, or it stands in line for room.
            self.line.leave(download.correlation_id)

    @trio.lowlevel.enable_ki_protection
    def open_meter(self, download: Download) -> ProgressMeter:
        """Make the counters of a download whose code asks for them for the first time."""
        if download.meter is None:
            download.meter = ProgressMeter(trio.current_time, partial(self._progressed, download))
            download.meter.open_run(keep_received=False)
        return download.meter

    @trio.lowlevel.enable_ki_protection
    def open_rate_limit(self, download: Download) -> RateLimit:
        """Make the limit of a download of which somebody asks for the first time how fast it may receive."""
        if download.rate_limit is None:
            options = download.request.options
            download.rate_limit = RateLimit(
                options.rate_limit_bytes_per_s,
                shared=self.throttle,
                is_given="rate_limit_bytes_per_s" in options.given,
            )
        return download.rate_limit

    def get_rate_limit(self, download: Download) -> float | None:
        """Return how fast *download* may receive, if it has a limit of its own."""
        limit = download.rate_limit
        return download.request.options.rate_limit_bytes_per_s if limit is None else limit.bytes_per_s

    def set_rate_limit(self, download: Download, bytes_per_s: float | None) -> None:
        """Limit *download*, from now on."""
        self.open_rate_limit(download).bytes_per_s = bytes_per_s

    def _ask(self, download: Download, asked: Asked, reason: str | None) -> None:
        assert download.scope is not None
        download.asked = asked
        download.reason = reason
        self._changed(download)
        download.scope.cancel(reason=reason or f"trio_dlm: {asked.name.lower()} of download {download.correlation_id}")

    # What a run reports.

    def run_ended(
        self, download: Download, outcome: Outcome, result: DownloadResult | None, *, can_resume: bool
    ) -> None:
        """The code of *download* has ended, like this: write the status that follows, and free its slot."""
        if outcome.rest is not None:
            self._let_go_on(outcome)
        status = self._status_after(download, outcome)
        self.schedule.release(download)
        if (meter := download.meter) is not None:
            self._arrived_bytes += meter.arrived_bytes
            meter.close_run()
            if not (can_resume or status.is_final):
                meter.forget()
        download.scope = download.runner = None
        download.can_resume = can_resume
        if status is DownloadStatus.PAUSED:
            self._paused += 1
            self._set_status(download, status)
            _wake_stoppers(download)
        else:
            self._write_end(download, status, outcome, result)
            self._end(download, status)
        self.step()
        # Last: a handler that raises finds the manager in order.
        if download.error is not None:
            self.tell_failure(download, download.error)
            clear_frames(download.error)

    def _let_go_on(self, outcome: Outcome) -> None:
        """What no download may swallow goes on out of its run, and with it the whole block ends."""
        if outcome.ending is Ending.CRASH:
            if self.crash is None:
                self.crash = outcome.rest
            self.stop_all(f"the manager crashed: {in_short(outcome.rest)}")
        else:
            self.stop_all(CANCELLED)

    def _status_after(self, download: Download, outcome: Outcome) -> DownloadStatus:
        if download.asked is Asked.PAUSE and not self.door_open:
            # Nothing could resume it any more.
            download.asked, download.reason = Asked.CLOSE, self._close_reason
        if self.crash is not None and outcome.ending is Ending.STOPPED and download.asked is not Asked.CANCEL:
            # In flight when another download crashed.
            return DownloadStatus.FAILED
        return status_after(outcome.ending, download.asked)

    def _write_end(
        self, download: Download, status: DownloadStatus, outcome: Outcome, result: DownloadResult | None
    ) -> None:
        if status is DownloadStatus.COMPLETED:
            assert result is not None
            download.result, download.reason = result, None
            if download.meter is not None:
                download.meter.settle(size_bytes=result.size_bytes)
        elif status is DownloadStatus.FAILED:
            download.error = self._as_crash_error(outcome) if outcome.error is None else outcome.error
            download.reason = in_words(download.error, download.url)
            add_hint(download.error)
        elif download.asked is Asked.NOTHING:
            download.reason = self._close_reason

    def _end(self, download: Download, status: DownloadStatus) -> None:
        download.finished_s = time.time()
        download.drop_run()
        self._ended[status] += 1
        if status is DownloadStatus.FAILED:
            self.failures.enter(download)
        self._set_status(download, status)
        self.registry.end(download.correlation_id)
        if download.askers:
            self.failures.strike(download)
            download.askers.unpark_all()
        _wake_stoppers(download)
        if not self.registry.live_count:
            self._all_ended.unpark_all()

    def _as_crash_error(self, outcome: Outcome) -> ManagerCrashedError:
        is_culprit = outcome.ending is Ending.CRASH
        crash = outcome.rest if is_culprit else self.crash
        error = ManagerCrashedError(crash=in_short(crash), is_culprit=is_culprit)
        error.__cause__ = crash
        return error

    # What ends the whole.

    @trio.lowlevel.enable_ki_protection
    def close_door(self) -> None:
        """From now on nothing new comes in, and waiting submits are turned away."""
        self.door_open = False
        self.line.close()

    @trio.lowlevel.enable_ki_protection
    def stop_all(self, reason: str) -> None:
        """Start nothing any more, and ask every download to end, in a task of its own.

        Of its own, since the body of the block may be shielded and waiting for a download that could never start.  The
        first reason stays: what comes after it is a consequence.
        """
        if not self._halted:
            self._halted = True
            self._close_reason = reason
            self.close_door()
            self.schedule.halt()
            self.nursery.start_soon(self._cancel_live, name="trio_dlm: cancel all downloads")

    @trio.lowlevel.enable_ki_protection
    async def _cancel_live(self) -> None:
        await self.cancel_each([task._download for task in self.registry.live], self._close_reason, Asked.CLOSE)

    @trio.lowlevel.enable_ki_protection
    async def drain(self) -> None:
        """Let the queue run empty: paused downloads are cancelled, the others go on.  Returns when all have ended."""
        self.close_door()
        paused = [task._download for task in self.registry.live if task.status is DownloadStatus.PAUSED]
        await self.cancel_each(paused, self._close_reason, Asked.CLOSE)
        self.limits_changed()
        await self.wait_all_ended()

    @trio.lowlevel.enable_ki_protection
    async def cancel_each(self, downloads: Iterable[Download], reason: str | None, asked: Asked = Asked.CANCEL) -> None:
        """Ask all of *downloads* to end.  With very many, the program's other tasks get their turns in between."""
        for index, download in enumerate(downloads, start=1):
            self.cancel(download, reason, asked)
            if index % BATCH == 0:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()

    async def wait_all_ended(self) -> None:
        """Wait until no download is left that has not ended."""
        if self.registry.live_count:
            await self._all_ended.park()
        else:
            await trio.lowlevel.checkpoint()

    def runs_me(self, download: Download | None = None) -> bool:
        """Whether the calling code belongs to the present run of *download*, or of any: its task, or one below it."""
        task = trio.lowlevel.current_task()
        while (nursery := task.parent_nursery) is not None:
            if nursery is self.nursery if download is None else task is download.runner:
                return True
            task = nursery.parent_task
        return False

    async def stop_myself(self, download: Download, verb: str) -> NoReturn:
        """End the calling code, which belongs to *download* and has just asked for that by *verb*.

        Raises:
            Cancelled: as asked.
            RuntimeError: there is a shield in between.
        """
        await trio.lowlevel.checkpoint()
        # Nothing arrived, although the scope around this code is cancelled.
        raise RuntimeError(
            f"download {download.correlation_id} calls {verb}() on itself under its own shield, where the wait for its "
            f"end could only deadlock; the request stands and takes effect when the shield ends"
        )

    async def wait_idle(self) -> None:
        """Wait until nothing is pending or running."""
        await trio.lowlevel.checkpoint()
        while not self.is_idle:
            await self._idle.park()

    def close(self) -> None:
        """The block was left."""
        self._halted = True
        self.close_door()
        self.hub.close()

    # Limits and figures.

    @property
    def max_concurrent(self) -> float:
        """How many downloads may run at once."""
        return self.schedule.max_concurrent

    @max_concurrent.setter
    def max_concurrent(self, limit: float) -> None:
        self.schedule.max_concurrent = limit
        self.limits_changed()

    @property
    def max_per_lane(self) -> float:
        """How many downloads of one lane may run at once."""
        return self.schedule.max_per_lane

    @max_per_lane.setter
    def max_per_lane(self, limit: float) -> None:
        self.schedule.max_per_lane = limit
        self.limits_changed()

    @property
    def rate_limit_bytes_per_s(self) -> float:
        """What all downloads together may receive in a second."""
        return self.throttle.bytes_per_s

    @rate_limit_bytes_per_s.setter
    def rate_limit_bytes_per_s(self, bytes_per_s: float) -> None:
        self.throttle.bytes_per_s = bytes_per_s

    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Limit one lane; None goes back to ``max_per_lane``."""
        self.schedule.set_lane_limit(lane, limit)
        self.limits_changed()

    def read_stats(self) -> ManagerStats:
        """Return the figures of this moment."""
        schedule = self.schedule
        meters = [download.meter for download in schedule.running if download.meter is not None]
        return ManagerStats(
            active=schedule.active,
            pending=schedule.pending,
            paused=self._paused,
            max_concurrent=schedule.max_concurrent,
            available_slots=schedule.available_slots,
            completed=self._ended[DownloadStatus.COMPLETED],
            failed=self._ended[DownloadStatus.FAILED],
            cancelled=self._ended[DownloadStatus.CANCELLED],
            bytes_received=self._arrived_bytes + sum(meter.arrived_bytes for meter in meters),
            rate_bytes_per_s=sum(meter.rate_bytes_per_s for meter in meters),
            lanes=schedule.read_lanes(),
        )

    # Telling.

    def _set_status(self, download: Download, status: DownloadStatus) -> None:
        check_transition(download.status, status)
        download.status = status
        self._changed(download)

    def _changed(self, download: Download) -> None:
        self._changes += 1
        download.sequence = self._changes
        if not self.hub.quiet:
            self.hub.note(download)
        log_change(download)

    @trio.lowlevel.enable_ki_protection
    def _progressed(self, download: Download) -> None:
        self._changes += 1
        download.sequence = self._changes
        if not self.hub.quiet:
            self.hub.note(download)


def check_thread(home: int, action: str) -> None:
    """Refuse *action* to a caller in another thread than *home*."""
    if threading.get_ident() != home:
        raise RuntimeError(
            f"cannot {action} from another thread than that of the manager's loop; nothing was done: hand the call "
            f"over with asyncio.run_coroutine_threadsafe(…), anyio.from_thread.run_sync(…) or "
            f"trio.from_thread.run_sync(…); a downloader that calls its manager on asyncio is marked by "
            f"trio_dlm.asyncio_downloader(…)"
        )


def _wake_stoppers(download: Download) -> None:
    if download.stoppers:
        download.stoppers.unpark_all()

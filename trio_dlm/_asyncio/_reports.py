"""What the trio side tells of its downloads, and how often.

Rules that hold here:

- a change of status, and of what was asked, crosses at once and in order; progress at most ten times a second for each
  download, the latest always;
- what the host decided itself (PENDING) is not told back to it;
- a report is made whole in trio and never changes: the meter in it is a copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import trio

from .._download import Download
from .._engine import Engine
from .._meter import ProgressMeter
from .._outcome import Asked
from .._records import DownloadResult
from .._status import DownloadStatus

__all__ = ["Outbox", "Report"]

# Between two reports of progress of one download.  People do not read faster, and each costs both threads some ten
# microseconds.
PROGRESS_EVERY_S: Final = 0.1


@final
@dataclass(frozen=True, slots=True)
class Report:
    """One download, as the trio side sees it."""

    correlation_id: str
    status: DownloadStatus
    asked: Asked
    attempts: int
    resumes: int
    can_resume: bool
    started_s: float | None
    finished_s: float | None
    reason: str | None
    error: Exception | None
    result: DownloadResult | None
    meter: ProgressMeter | None


@final
class Outbox:
    """Watches the downloads of an engine, and sends reports; it stands where a reader of events stands."""

    def __init__(self, engine: Engine, send: Callable[[Report], object]) -> None:
        self._engine = engine
        self._send = send
        # Both clocks run at the same pace, and this one may be read in every thread.
        offset_s = trio.current_time() - time.perf_counter()
        self.clock: Final[Callable[[], float]] = lambda: time.perf_counter() + offset_s
        # Of those that run: what was last told of them, and when.
        self._told: dict[Download, tuple[Asked, int, float]] = {}
        self._late: dict[Download, None] = {}
        self._is_late = trio.lowlevel.ParkingLot()

    def note(self, download: Download) -> None:
        """*download* has changed."""
        status = download.status
        if status is DownloadStatus.DOWNLOADING:
            told = self._told.get(download)
            if told is not None and told[:2] == (download.asked, download.attempts):
                if download in self._late:
                    return
                if trio.current_time() - told[2] < PROGRESS_EVERY_S:
                    self._late[download] = None
                    self._is_late.unpark_all()
                    return
            self._told[download] = (download.asked, download.attempts, trio.current_time())
        else:
            self._told.pop(download, None)
            self._late.pop(download, None)
            if status is DownloadStatus.PENDING:
                return
            # From here on the host answers for it.
            self._engine.failures.strike(download)
        self._send(self._report(download))

    def wake(self) -> None:
        """Nothing: this is what a reader does when the manager closes."""

    async def tell_late(self) -> None:
        """Send the progress that was held back, in its time; runs as long as the engine does."""
        while True:
            if not self._late:
                await self._is_late.park()
            await trio.sleep(PROGRESS_EVERY_S)
            now = trio.current_time()
            for download in self._late:
                self._told[download] = (download.asked, download.attempts, now)
                self._send(self._report(download))
            self._late.clear()

    def _report(self, download: Download) -> Report:
        return Report(
            download.correlation_id,
            download.status,
            download.asked,
            download.attempts,
            download.resumes,
            download.can_resume,
            download.started_s,
            download.finished_s,
            download.reason,
            download.error,
            download.result,
            None if download.meter is None else download.meter.copy(self.clock),
        )

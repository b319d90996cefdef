"""The handle of one download.

Rules that hold here:

- a handle only looks and asks: what is decided is decided by the engine, in one synchronous step, followed by one
  await;
- cancelling a wait never touches the download; cancelling the caller of ``cancel()`` or ``pause()`` does not undo it;
- a download that awaits its own end would wait for ever, so that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar, cast, final

from ._download import as_utc
from ._errors import DownloadCancelledError, NotFinishedError
from ._failures import failure_of
from ._records import DownloadRequest, DownloadResult, Progress, TaskSnapshot
from ._status import DownloadStatus

if TYPE_CHECKING:
    from ._core import Core
    from ._download import Download
    from ._manager import DownloadManager

__all__ = ["DownloadTask", "make_task"]

ResultT_co = TypeVar("ResultT_co", bound=DownloadResult, covariant=True)


@final
class DownloadTask(Generic[ResultT_co]):
    """One download of a manager: what it is, how it is, and what can be asked of it.

    Made by :meth:`DownloadManager.submit`; it stays valid after the download and after the manager.  The attributes
    are live, cheap and synchronous.  Keep it or not: the download does not depend on it.
    """

    __slots__ = ("__weakref__", "_download", "_manager")
    _download: Download
    _manager: DownloadManager

    def __init__(self) -> None:
        raise TypeError("a DownloadTask is made by manager.submit(…)")

    @property
    def correlation_id(self) -> str:
        """What names this download in logs, errors, snapshots and by-id calls."""
        return self._download.correlation_id

    @property
    def url(self) -> str:
        """The address, without its secrets."""
        return self._download.url

    @property
    def request(self) -> DownloadRequest:
        """What was submitted, the options laid over each other; its ``url`` has the secrets, its repr has not."""
        return self._download.request

    @property
    def status(self) -> DownloadStatus:
        """Where it is in its life."""
        return self._download.status

    @property
    def progress(self) -> Progress:
        """How far it is; costs a few microseconds."""
        return self._download.read_progress()

    @property
    def lane(self) -> Hashable:
        """The lane that it waits and runs in; None is the default one."""
        return self._download.lane

    @property
    def parent_id(self) -> str | None:
        """The id of the batch that it belongs to, if any."""
        return self._download.parent_id

    @property
    def retry_of(self) -> str | None:
        """The id of the download that this one repeats, if any."""
        return self._download.retry_of

    @property
    def rate_limit_bytes_per_s(self) -> float | None:
        """How fast it may receive, beside the manager's limit for all; None: no limit of its own.

        Set it at any time.  It stays set through pause and resume, and wins over the request and over the downloader's
        own options; :meth:`retry` begins with the request's.

        Raises:
            TypeError, ValueError: when it is set, to something that is not a positive number or None.
        """
        return self._engine.get_rate_limit(self._download)

    @rate_limit_bytes_per_s.setter
    def rate_limit_bytes_per_s(self, limit: float | None) -> None:
        self._engine.check_thread("set rate_limit_bytes_per_s")
        self._engine.set_rate_limit(self._download, limit)

    @property
    def attempts(self) -> int:
        """How often it was started: 0 while it has never run, 2 after a pause and a resume.

        Retries within a run are in ``progress.retries``.
        """
        return self._download.attempts

    @property
    def reason(self) -> str | None:
        """Why it failed, or was cancelled or paused, in words."""
        return self._download.reason

    @property
    def error(self) -> Exception | None:
        """What came out of the downloader, if it FAILED.  Looking at it does not count as asking: use :meth:`wait`."""
        return self._download.error

    @property
    def created_at(self) -> datetime:
        """When it was submitted."""
        return as_utc(self._download.created_s)

    @property
    def started_at(self) -> datetime | None:
        """When its first run started."""
        started_s = self._download.started_s
        return None if started_s is None else as_utc(started_s)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        finished_s = self._download.finished_s
        return None if finished_s is None else as_utc(finished_s)

    def snapshot(self) -> TaskSnapshot:
        """Return all of this as one frozen record."""
        return self._download.snapshot()

    async def wait(self) -> DownloadStatus:
        """Wait for the end, however it ends, and return the final status.

        A checkpoint even if it has already ended.  Cancelling this wait does not cancel the download.  A FAILED that
        was returned counts as asked for.

        Raises:
            RuntimeError: called by the download itself.
        """
        download = self._download
        self._engine.check_thread("wait")
        if download.status.is_final:
            await self._engine.loop.checkpoint()
        else:
            self._refuse_to_wait_for_itself()
            if download.askers is None:
                download.askers = self._engine.loop.make_lot()
            await download.askers.park()
        return self._tell_end()

    async def _wait_end(self) -> None:
        """Wait for the end without asking how it ended.  A checkpoint unless it has ended."""
        if not self.status.is_final:
            self._refuse_to_wait_for_itself()
            await self._wait_until(lambda: self.status.is_final)

    def _tell_end(self) -> DownloadStatus:
        self._engine.failures.strike(self._download)
        return self.status

    def _refuse_to_wait_for_itself(self) -> None:
        if self._engine.runs_me(self._download):
            raise RuntimeError(f"download {self.correlation_id} waits for its own end, which could never come")

    async def result(self) -> ResultT_co:
        """Wait until the file is complete and verified, and return what was saved.

        A checkpoint even if it has already ended.  Cancelling this wait does not cancel the download.

        Raises:
            DownloadFailedError: it failed; ``__cause__`` is what came out of the downloader.
            DownloadCancelledError: somebody cancelled it, or the manager's block was left.
            RuntimeError: called by the download itself.
        """
        await self.wait()
        download = self._download
        if download.status is DownloadStatus.FAILED:
            raise failure_of(download)
        if download.status is DownloadStatus.CANCELLED:
            raise DownloadCancelledError(
                correlation_id=download.correlation_id, url=download.url, reason=download.reason
            )
        return cast("ResultT_co", download.result)

    async def cancel(self, reason: str | None = None) -> bool:
        """Cancel the download; when this returns, no code of it runs, its slot is free and its status is final (law 5).

        A checkpoint.  Cancelling the caller does not undo it.  A downloader that shields itself delays the return by
        its shield.  A second cancel keeps the first reason.

        Called by the download itself this requests the cancel and raises ``Cancelled`` at once.

        Returns:
            True if and only if it had not ended when this was called and is CANCELLED now.

        Raises:
            RuntimeError: called by the download itself under its own shield, where waiting for the end could only
                deadlock.  The request stands.
        """
        download = self._download
        self._engine.check_thread("cancel")
        if download.status.is_final:
            await self._engine.loop.checkpoint()
            return False
        runs_me = self._engine.runs_me(download)
        self._engine.cancel(download, reason)
        if runs_me:
            await self._engine.stop_myself(download, "cancel")
        await self._wait_until(lambda: download.status.is_final)
        return download.status is DownloadStatus.CANCELLED

    async def pause(self, reason: str | None = None) -> bool:
        """Take the download out of the queue, or stop its run and free its slot.

        What was fetched is kept if the downloader can go on from it.  A checkpoint; cancelling the caller does not
        undo it.  Called by the download itself this requests the pause and raises ``Cancelled`` at once.  While the
        manager's block is being left nothing could resume it, so it is cancelled instead.

        Returns:
            True if it is PAUSED now; False if it ended instead, or was resumed by somebody before this could return.

        Raises:
            RuntimeError: called by the download itself under its own shield; the request stands.
        """
        download = self._download
        self._engine.check_thread("pause")
        runs_me = self._engine.runs_me(download)
        is_decided = self._engine.pause(download, reason)
        if runs_me:
            await self._engine.stop_myself(download, "pause")
        await self._wait_until(is_decided)
        return download.status is DownloadStatus.PAUSED

    def resume(self) -> bool:
        """Queue a PAUSED download again, at the tail of its lane.  Synchronous, and never refused for a full queue.

        Returns:
            True if it is queued or running now; False if it was not PAUSED.

        Raises:
            ManagerClosedError: the manager's block is being left.
        """
        return self._engine.resume(self._download)

    def retry(self) -> DownloadTask[ResultT_co]:
        """Submit the same request as a new download in the same lane, ``retry_of`` set.  Synchronous.

        Raises:
            NotFinishedError: it has not ended.
            QueueFullError: ``max_pending`` is reached.
            ManagerClosedError: the manager's block is being left.
        """
        if not self.status.is_final:
            raise NotFinishedError(correlation_id=self.correlation_id, status=self.status.value)
        return cast("DownloadTask[ResultT_co]", self._manager._retry(self._download))

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for the end of the present run, or of as many as it takes.  A checkpoint."""
        loop, download = self._engine.loop, self._download
        await loop.checkpoint()
        while not done():
            if download.stoppers is None:
                download.stoppers = loop.make_lot()
            await download.stoppers.park()

    @property
    def _engine(self) -> Core:
        return self._manager._engine

    def __repr__(self) -> str:
        return f"<DownloadTask {self.correlation_id} {self.status.value} {self.url}>"


def make_task(download: Download, manager: DownloadManager) -> DownloadTask[DownloadResult]:
    """Make the handle of *download*."""
    task = cast("DownloadTask[DownloadResult]", object.__new__(DownloadTask))
    task._download = download
    task._manager = manager
    return task

"""Several downloads that were submitted together.

Rules that hold here:

- a batch is a fixed sequence of tasks under one parent id; the id names no download;
- it holds no state of its own: every answer is computed from its tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, final, overload

from ._loop import Loop
from ._records import DownloadResult, Progress
from ._status import DownloadPhase, DownloadStatus
from ._task import DownloadTask

__all__ = ["DownloadBatch"]


@final
class DownloadBatch(Sequence[DownloadTask[DownloadResult]]):
    """The tasks of one :meth:`DownloadManager.submit_many`, in the order of the requests."""

    __slots__ = ("_loop", "_parent_id", "_tasks")

    def __init__(self, parent_id: str, tasks: Sequence[DownloadTask[Any]], loop: Loop) -> None:
        self._loop = loop
        self._parent_id = parent_id
        self._tasks = tuple(tasks)

    @property
    def parent_id(self) -> str:
        """What names the batch in :meth:`DownloadManager.cancel` and :meth:`DownloadManager.events`."""
        return self._parent_id

    @overload
    def __getitem__(self, index: int) -> DownloadTask[DownloadResult]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[DownloadTask[DownloadResult], ...]: ...
    def __getitem__(
        self, index: int | slice
    ) -> DownloadTask[DownloadResult] | tuple[DownloadTask[DownloadResult], ...]:
        return self._tasks[index]

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[DownloadTask[DownloadResult]]:
        return iter(self._tasks)

    @property
    def progress(self) -> Progress:
        """All of them added up: the total is None while that of one to come is unknown, the ETA is that of all."""
        parts = [(task, task.progress) for task in self._tasks]
        # Of what failed or was cancelled nothing more will come.
        totals = [part.received_bytes if task.status.is_final else part.total_bytes for task, part in parts]
        known = [total for total in totals if total is not None]
        received = sum(part.received_bytes for _, part in parts)
        running = [task for task in self._tasks if task.status is DownloadStatus.DOWNLOADING]
        rate = sum(task.progress.rate_bytes_per_s for task in running)
        total = sum(known) if len(known) == len(totals) else None
        eta: float | None = None
        if total is not None and running:
            left = max(0, total - received)
            eta = 0.0 if not left else left / rate if rate > 0 else None
        return Progress(
            received_bytes=received,
            total_bytes=total,
            rate_bytes_per_s=rate,
            eta_s=eta,
            phase=self._phase(running),
            retries=sum(part.retries for _, part in parts),
        )

    async def cancel(self, reason: str | None = None) -> bool:
        """Cancel all that have not ended, and wait for the end of each.  A checkpoint.

        Returns:
            True if at least one of them had not ended and is CANCELLED now.
        """
        open_tasks = [task for task in self._tasks if not task.status.is_final]
        if open_tasks:
            downloads = [task._download for task in open_tasks]
            await open_tasks[0]._engine.cancel_each(downloads, reason)
        await self._loop.checkpoint()
        for task in open_tasks:
            if not task.status.is_final:
                await task.cancel(reason)
        return any(task.status is DownloadStatus.CANCELLED for task in open_tasks)

    async def wait(self) -> tuple[DownloadStatus, ...]:
        """Wait for the end of all, and return how they ended.  A checkpoint; cancelling it touches no download."""
        await self._loop.checkpoint()
        for task in self._tasks:
            await task._wait_end()
        # Only now has anybody been told: a wait that was cancelled half-way has asked for no failure.
        return tuple([task._tell_end() for task in self._tasks])

    def _phase(self, running: Sequence[object]) -> DownloadPhase:
        if running:
            return DownloadPhase.TRANSFERRING
        if all(task.status.is_final for task in self._tasks):
            return DownloadPhase.ENDED
        return DownloadPhase.WAITING

    def __repr__(self) -> str:
        return f"<DownloadBatch {self._parent_id} of {len(self._tasks)}>"

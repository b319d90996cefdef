"""Downloads that do what the test tells them, wherever they run: in the test's loop, or in trio in another thread.

Rules that hold here:

- whoever waits, a test for its downloads or a download for its test, waits for a condition, and is woken across threads
  when something has changed; nothing here sleeps;
- a stage counts for itself which bodies run: a test never asks the manager whether the manager is right;
- a shield has a limit, so that a test that fails with a cleanup held does not hang.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Final, TypeAlias, final

import anyio
import anyio.lowlevel
import trio

from tests.fakes import instant, saved, url
from trio_dlm import DownloadJob, DownloadManager, DownloadResult, DownloadStatus, DownloadTask

__all__ = ["Bell", "Stage", "agrees", "instant", "reached", "received", "saved", "status_of", "url"]

Act: TypeAlias = Callable[[DownloadJob], "DownloadResult | None"]
"""What a download does when it is told to: raise, return its result, or None to go on waiting."""

# Longer than a test may take, so that only a test that has failed already gets here.
HELD_S: Final = 60.0


@final
class Bell:
    """Wakes everybody who waits for a condition, in whatever loop and thread they wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sleepers: list[Callable[[], object]] = []

    def ring(self) -> None:
        """Something has changed: let everybody look again.  From any thread."""
        with self._lock:
            sleepers, self._sleepers = self._sleepers, []
        for wake in sleepers:
            # The loop of one who was cancelled may be gone.
            with suppress(RuntimeError):
                wake()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* is true.  A checkpoint."""
        await anyio.lowlevel.checkpoint()
        post = _find_post()
        while True:
            changed = anyio.Event()
            with self._lock:
                self._sleepers.append(lambda wake=changed.set: post(wake))  # type: ignore[misc]
            # Only now, since it may have become true before anybody was there to be woken.
            if condition():
                return
            await changed.wait()


def _find_post() -> Callable[[Callable[[], object]], object]:
    """Return what has a function called in the loop that runs here, from any thread."""
    if trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe


@final
class _Part:
    """What one download is told."""

    def __init__(self) -> None:
        self.post: Callable[[Callable[[], object]], object] | None = None
        self.acts: deque[Act] = deque()
        self.can_resume = False
        self.held = False
        self.at_the_end: Act | None = None


@final
class Stage:
    """A downloader whose every download waits for what the test tells it, and that writes down who runs.

    Attributes:
        begun: the names of the downloads in the order in which their code began, once for every run.
        running: those whose code runs.
        stopping: those that were cancelled, in the order in which they learned of it.
        over: those whose code ended, in this order.
        peak: the most that ran at a time.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running: list[str] = []
        self.stopping: list[str] = []
        self.over: list[str] = []
        self.peak = 0
        self._bell = Bell()
        self._parts: dict[str, _Part] = {}

    async def download(self, job: DownloadJob) -> DownloadResult:
        name = job.url.rsplit("/")[-1]
        part = self._part(name)
        part.post = _find_post()
        job.can_resume = part.can_resume
        self.begun.append(name)
        self.running.append(name)
        self.peak = max(self.peak, len(self.running))
        self._bell.ring()
        try:
            return await self._play(name, part, job)
        finally:
            part.post = None
            self.running.remove(name)
            self.over.append(name)
            self._bell.ring()

    async def _play(self, name: str, part: _Part, job: DownloadJob) -> DownloadResult:
        try:
            while True:
                await self._bell.until(lambda: part.acts)
                result = part.acts.popleft()(job)
                self._bell.ring()
                if result is not None:
                    return result
        except anyio.get_cancelled_exc_class():
            self.stopping.append(name)
            self._bell.ring()
            with anyio.move_on_after(HELD_S, shield=True):
                await self._bell.until(lambda: not part.held)
            result = None if part.at_the_end is None else part.at_the_end(job)
            if result is None:
                raise
            return result

    def _part(self, name: str) -> _Part:
        return self._parts.setdefault(name, _Part())

    # What the test tells a download.

    def tell(self, name: str, act: Act) -> None:
        """Have the download *name* do this, next.

        One that runs hears of it in its own loop, after everything that was asked of the manager before.
        """
        part = self._part(name)

        def deliver() -> None:
            part.acts.append(act)
            self._bell.ring()

        if part.post is None:
            deliver()
        else:
            part.post(deliver)

    def finish(self, *names: str) -> None:
        for name in names:
            self.tell(name, lambda job: saved(job, job.progress.received_bytes))

    def fail(self, name: str, error: BaseException | None = None) -> None:
        self.tell(name, _raising(OSError(f"{name} broke") if error is None else error))

    def advance(self, name: str, size_bytes: int) -> None:
        """Have *size_bytes* more arrive."""
        self.tell(name, lambda job: job.progress.advance(size_bytes))

    def when_cancelled(self, name: str, act: Act) -> None:
        """Have *name* do this once it was cancelled, instead of letting the cancel pass."""
        self._part(name).at_the_end = act

    def keep(self, *names: str) -> None:
        """Let the next run of *names* go on from where they were paused."""
        for name in names:
            self._part(name).can_resume = True

    def hold(self, *names: str) -> None:
        """Let *names*, once cancelled, clean up under a shield until :meth:`let_go`."""
        for name in names:
            self._part(name).held = True

    def let_go(self, *names: str) -> None:
        for name in names:
            self._part(name).held = False
        self._bell.ring()

    # What the test waits for.

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition*, which looks at the lists above, is true."""
        await self._bell.until(condition)

    async def has_begun(self, *names: str) -> None:
        """Wait until the code of all of *names* has begun."""
        await self.until(lambda: set(names) <= set(self.begun))

    async def is_stopping(self, *names: str) -> None:
        """Wait until all of *names* have learned that they are cancelled."""
        await self.until(lambda: set(names) <= set(self.stopping))


def _raising(error: BaseException) -> Act:
    def act(_: DownloadJob) -> None:
        raise error

    return act


async def reached(manager: DownloadManager, task: DownloadTask[Any], status: DownloadStatus) -> None:
    """Wait until *task* has *status*; no end, since whoever sees a failure has asked for it."""
    async with manager.events(tasks=[task]) as events:
        async for snapshot in events:
            if snapshot.status is status:
                break
    assert task.status is status


async def received(manager: DownloadManager, task: DownloadTask[Any], size_bytes: int) -> None:
    """Wait until *task* shows that at least *size_bytes* have arrived."""
    async with manager.events(tasks=[task]) as events:
        async for snapshot in events:
            if snapshot.progress.received_bytes >= size_bytes:
                break
    assert task.progress.received_bytes >= size_bytes


def status_of(*tasks: DownloadTask[Any]) -> list[str]:
    return [task.status.value for task in tasks]


def agrees(manager: DownloadManager, *tasks: DownloadTask[Any]) -> bool:
    """Whether the figures of *manager* are those of *tasks*, which are all that it ever had."""
    stats = manager.get_stats()
    counted = dict.fromkeys(DownloadStatus, 0)
    lanes: dict[Hashable, list[int]] = {}
    for task in tasks:
        counted[task.status] += 1
        if task.status in (DownloadStatus.PENDING, DownloadStatus.DOWNLOADING):
            lanes.setdefault(task.lane, [0, 0])[task.status is DownloadStatus.DOWNLOADING] += 1
    assert {
        DownloadStatus.PENDING: stats.pending,
        DownloadStatus.DOWNLOADING: stats.active,
        DownloadStatus.PAUSED: stats.paused,
        DownloadStatus.COMPLETED: stats.completed,
        DownloadStatus.FAILED: stats.failed,
        DownloadStatus.CANCELLED: stats.cancelled,
    } == counted
    assert {lane: [each.pending, each.active] for lane, each in stats.lanes.items()} == lanes
    assert stats.max_concurrent == manager.max_concurrent
    assert stats.available_slots == max(0, stats.max_concurrent - stats.active)
    return True

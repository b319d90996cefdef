"""Downloaders without a network, and ways to look at a manager that the manager does not take part in.

Rules that hold here:

- a fake counts for itself which bodies run: a test never asks the manager whether the manager is right;
- a body waits at its gate until the test opens it, so nothing here sleeps for luck; seconds are virtual;
- one name is the only place that touches a private name of trio: :func:`run_shuffled`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final, Self, cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_dlm import (
    DownloadJob,
    DownloadManager,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    TaskSnapshot,
)
from trio_dlm._download import Download
from trio_dlm._engine import Engine
from trio_dlm._events import Subscription

__all__ = [
    "FakeDownloader",
    "Gate",
    "Resource",
    "StatusLog",
    "Steps",
    "drain",
    "instant",
    "make_download",
    "run_in_virtual_time",
    "run_shuffled",
    "saved",
    "settle",
    "url",
]

# No test waits as long for something that will come.
DOOMSDAY_S: Final = 1_000_000.0

settle = wait_all_tasks_blocked


def url(name: object) -> str:
    """Return an address that nobody opens."""
    return f"https://example.org/{name}"


def saved(job: DownloadJob, size_bytes: int = 0) -> DownloadResult:
    """Return what a downloader returns, though nothing was written."""
    return DownloadResult(path=Path(job.directory, job.url.rsplit("/")[-1]), size_bytes=size_bytes)


def queue(manager: DownloadManager, *names: str, lane: Hashable = None) -> list[DownloadTask[DownloadResult]]:
    """Submit the downloads *names*, whose ids are their names, in one step."""
    return [manager.submit_nowait(url(name), lane=lane, correlation_id=name) for name in names]


def queue_one(manager: DownloadManager, name: str, lane: Hashable = None) -> DownloadTask[DownloadResult]:
    (task,) = queue(manager, name, lane=lane)
    return task


async def instant(job: DownloadJob) -> DownloadResult:
    """Return a result without waiting for anything."""
    return saved(job)


def make_download(name: str = "a", lane: Hashable = None) -> Download:
    """Make a download that no manager has."""
    request = DownloadRequest(url(name))
    return Download(request, instant, copy_context(), correlation_id=name, lane=lane, parent_id=None, retry_of=None)


class Gate:
    """What the downloads of one URL do: they wait, and go through once the gate is open."""

    def __init__(self) -> None:
        self.shield_s = 0.0
        self.can_resume = False
        self.job: DownloadJob | None = None
        self._opened = trio.Event()
        self._error: BaseException | None = None
        self._when_cancelled: Callable[[], BaseException | None] | None = None

    def open(self, error: BaseException | None = None) -> None:
        self._error = error
        self._opened.set()

    def when_cancelled(self, error: BaseException | None) -> None:
        """Swallow the cancel that comes, and raise *error* instead, or return a result."""
        self._when_cancelled = lambda: error

    async def pass_through(self) -> None:
        try:
            await self._opened.wait()
        except trio.Cancelled:
            if self._when_cancelled is None:
                raise
            self._error = self._when_cancelled()
        finally:
            if self.shield_s:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.shield_s)
        if self._error is not None:
            raise self._error


class FakeDownloader:
    """A downloader whose every download waits at the gate of its URL."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.peak = 0
        self.begun: list[str] = []
        self.over: list[str] = []
        self._gates: dict[str, Gate] = {}

    def gate(self, name: object) -> Gate:
        return self._gates.setdefault(url(name), Gate())

    async def download(self, job: DownloadJob) -> DownloadResult:
        name = job.url.rsplit("/")[-1]
        gate = self.gate(name)
        gate.job = job
        job.can_resume = gate.can_resume
        self.begun.append(name)
        self.running.append(name)
        self.peak = max(self.peak, len(self.running))
        try:
            await gate.pass_through()
            return saved(job, job.progress.received_bytes)
        finally:
            self.running.remove(name)
            self.over.append(name)

    def finish(self, *names: object) -> None:
        for name in names:
            self.gate(name).open()

    def fail(self, name: object, error: BaseException | None = None) -> None:
        self.gate(name).open(OSError(f"{name} broke") if error is None else error)

    def shield(self, name: object, seconds: float) -> None:
        self.gate(name).shield_s = seconds

    def grant(self, name: object, size_bytes: int) -> None:
        job = self.gate(name).job
        assert job is not None, "no download of this URL has started"
        job.progress.advance(size_bytes)


class Resource:
    """An async context manager that writes down when it was entered and left, and with what."""

    def __init__(self, name: str, diary: list[str], *, fails_on: str | None = None) -> None:
        self._name = name
        self._diary = diary
        self._fails_on = fails_on

    async def __aenter__(self) -> str:
        await trio.lowlevel.checkpoint()
        self._diary.append(f"{self._name} entered")
        if self._fails_on == "enter":
            raise OSError(f"{self._name} cannot be entered")
        return self._name

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        self._diary.append(f"{self._name} left" if exc is None else f"{self._name} left by {type(exc).__name__}")
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        if self._fails_on == "exit":
            raise OSError(f"{self._name} cannot be left")


class Steps(trio.abc.Instrument):
    """Counts how often the trio task of this name gets its turn."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task.name == self._name

    def __enter__(self) -> Self:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        trio.lowlevel.remove_instrument(self)


class StatusLog:
    """Every status that a download of *manager* had, in the order of the steps and with nothing merged.

    A reader of events may be given several steps as one; this stands in the same place and keeps them apart.
    """

    def __init__(self, manager: DownloadManager) -> None:
        self.entries: list[tuple[str, DownloadStatus]] = []
        self._present: dict[str, DownloadStatus] = {}
        manager._engine.hub.attach(cast("Subscription", self), None)

    def note(self, download: Download) -> None:
        if self._present.get(download.correlation_id) is not download.status:
            self._present[download.correlation_id] = download.status
            self.entries.append((download.correlation_id, download.status))

    def wake(self) -> None:
        """Nobody sleeps here."""

    def ids(self, status: DownloadStatus) -> list[str]:
        return [correlation_id for correlation_id, entered in self.entries if entered is status]

    def of(self, task: DownloadTask[Any]) -> list[DownloadStatus]:
        return [status for correlation_id, status in self.entries if correlation_id == task.correlation_id]


async def drain(subscription: Subscription) -> list[TaskSnapshot]:
    """Return what *subscription* delivers until every task of the program waits for something."""
    got: list[TaskSnapshot] = []

    async def collect() -> None:
        # Not a comprehension: what came before the cancel has to be there after it.
        async for snapshot in subscription:
            got.append(snapshot)  # noqa: PERF401

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        await settle()
        nursery.cancel_scope.cancel(reason="nothing more comes by itself")
    return got


def run_in_virtual_time(
    program: Callable[[], Awaitable[object]], *, clock: object = None, instruments: Sequence[trio.abc.Instrument] = ()
) -> None:
    """Run *program* on a clock that jumps to the next deadline as soon as every task waits.

    A program in which nobody can go on any more jumps to the deadline of all, and fails instead of hanging.
    """

    async def main() -> None:
        with trio.fail_after(DOOMSDAY_S):
            await program()

    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)


def run_shuffled(program: Callable[[], Awaitable[object]], seed: int) -> None:
    """Run *program* in virtual time, with the order of the tasks within a tick drawn from *seed*.

    Under pytest-trio trio shuffles every tick by this generator.
    """
    runner = trio._core._run
    assert runner._ALLOW_DETERMINISTIC_SCHEDULING, "trio shuffles by something else than its seed"
    runner._r.seed(seed)
    run_in_virtual_time(program)


def engine_of(manager: DownloadManager) -> Engine:
    """Return what runs the downloads of a manager on trio."""
    return cast("Engine", manager._engine)

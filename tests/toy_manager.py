"""A small download manager that is not ours, three bugs that can be planted in it, and the adapter that drives it.

Rules that hold here:

- it is what somebody writes in an afternoon: a queue, a limit, a nursery, one cancel scope for each download.  It knows
  nothing of the harness but that its downloads are async functions;
- a bug is one that somebody could make, and is planted by name;
- the adapter is what the documentation shows: all that is needed to put another manager under the machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Final, Literal, TypeAlias

import trio

from trio_dlm import DownloadStatus
from trio_dlm.testing._scripted import ScriptedDownloader
from trio_dlm.testing.machine._recorder import Saw

__all__ = ["Bug", "ToyAdapter", "ToyJob", "ToyManager", "open_toy", "open_toy_for"]

Bug: TypeAlias = Literal["none", "lifo", "off by one", "leaked slot"]
State: TypeAlias = Literal["waiting", "running", "done", "broken", "stopped"]

FINAL: Final = frozenset({"done", "broken", "stopped"})


class ToyJob:
    """One download."""

    def __init__(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self.function = function
        self.state: State = "waiting"
        self.scope = trio.CancelScope()
        self.ended = trio.Event()


class ToyManager:
    """Runs downloads in *nursery*, *limit* at a time, first come first served."""

    def __init__(self, nursery: trio.Nursery, limit: int, bug: Bug = "none") -> None:
        self.jobs: dict[str, ToyJob] = {}
        self.on_change: Callable[[ToyJob], None] = lambda _job: None
        self._nursery = nursery
        self._free = limit
        self._bug = bug
        self._queue: deque[ToyJob] = deque()

    def add(self, name: str, function: Callable[[], Awaitable[None]]) -> ToyJob:
        job = self.jobs[name] = ToyJob(name, function)
        self._queue.append(job)
        self._set(job, "waiting")
        self._start_some()
        return job

    async def stop(self, job: ToyJob) -> bool:
        if job.state in FINAL:
            await trio.lowlevel.checkpoint()
            return False
        if job.state == "waiting":
            self._queue.remove(job)
            self._set(job, "stopped")
            if self._bug == "off by one":
                # It frees a slot that it never had.
                self._free += 1
            self._start_some()
            await trio.lowlevel.checkpoint()
            return True
        job.scope.cancel(reason="stopped")
        await job.ended.wait()
        return job.state == "stopped"

    def _start_some(self) -> None:
        while self._queue and self._free > 0:
            newest_first = self._bug == "lifo" and len(self._queue) >= 3
            job = self._queue.pop() if newest_first else self._queue.popleft()
            self._free -= 1
            self._set(job, "running")
            self._nursery.start_soon(self._run, job)

    async def _run(self, job: ToyJob) -> None:
        state: State = "stopped"
        with job.scope:
            try:
                await job.function()
                state = "done"
            except Exception:
                state = "broken"
        # Whoever cancelled it was to give the slot back, and does not if it was too late.
        leaks = self._bug == "leaked slot" and job.scope.cancel_called and not job.scope.cancelled_caught
        self._free += not leaks
        self._set(job, state)
        self._start_some()

    def _set(self, job: ToyJob, state: State) -> None:
        job.state = state
        self.on_change(job)
        if state in FINAL:
            job.ended.set()


@asynccontextmanager
async def open_toy(limit: int, bug: Bug = "none") -> AsyncIterator[ToyManager]:
    async with trio.open_nursery() as nursery:
        yield ToyManager(nursery, limit, bug)


# The adapter.

STATUSES: Final = {
    "waiting": DownloadStatus.PENDING,
    "running": DownloadStatus.DOWNLOADING,
    "done": DownloadStatus.COMPLETED,
    "broken": DownloadStatus.FAILED,
    "stopped": DownloadStatus.CANCELLED,
}


class ToyAdapter:
    """What the machine calls, in the words of the toy."""

    def __init__(self, toy: ToyManager, downloader: ScriptedDownloader) -> None:
        self._toy = toy
        self._downloader = downloader

    def submit(self, name: str) -> None:
        self._toy.add(name, partial(self._downloader.run, name))

    async def cancel(self, name: str) -> bool:
        return await self._toy.stop(self._toy.jobs[name])

    def status(self, name: str) -> DownloadStatus:
        return STATUSES[self._toy.jobs[name].state]

    @contextmanager
    def watching(self, saw: Saw) -> Generator[None]:
        self._toy.on_change = lambda job: saw(job.name, STATUSES[job.state])
        yield


def open_toy_for(
    bug: Bug, adapter: type[ToyAdapter] = ToyAdapter
) -> Callable[..., AbstractAsyncContextManager[ToyAdapter]]:
    """Make the factory of a toy with *bug* for ``check_manager``."""

    @asynccontextmanager
    async def open_adapter(limit: int, *, downloader: ScriptedDownloader) -> AsyncIterator[ToyAdapter]:
        async with open_toy(limit, bug) as toy:
            yield adapter(toy, downloader)

    return open_adapter

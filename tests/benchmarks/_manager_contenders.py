"""The managers that are compared: ours, what trio gives for nothing, and what people write on asyncio.

Rules that hold here:

- every contender gets the same URLs, runs the same no-op for each (it lets the others run once, as the shortest of
  real downloads would), and is timed from the first submit until all have
  ended, its own opening and closing included;
- a *steady* caller lets the others run after every submit, so that hardly anything queues up; a *burst* submits all at
  once;
- nobody is weakened: no logging, no needless lock, no awaits that its author would not have written.
"""

from __future__ import annotations

import asyncio
import enum
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

import trio_dlm

__all__ = ["CONTENDERS", "Pace", "make_urls"]


class Pace(enum.Enum):
    """How the caller submits."""

    STEADY = "steady"
    BURST = "burst"


def make_urls(count: int) -> list[str]:
    """Make distinct URLs of 62 characters, a common length for a release file."""
    return [f"https://downloads.example.org/pool/main/package-{n:07d}.tar.gz" for n in range(count)]


# Ours.

_SAVED: Final = trio_dlm.DownloadResult(path=Path("/nowhere"), size_bytes=0)


async def _download_nothing(_job: trio_dlm.DownloadJob) -> trio_dlm.DownloadResult:
    await trio.lowlevel.checkpoint()
    return _SAVED


def run_trio_dlm(urls: Sequence[str], slots: int, pace: Pace) -> float:
    """Return the CPU seconds that the manager needs for all *urls*."""

    async def run() -> float:
        start = time.process_time()
        async with trio_dlm.open_manager(slots, downloader=_download_nothing) as manager:
            if pace is Pace.STEADY:
                for url in urls:
                    await manager.submit(url)
            else:
                for url in urls:
                    manager.submit_nowait(url)
        return time.process_time() - start

    return trio.run(run)


# What trio gives for nothing: no ids, no states, no cancel of one, no order, no results.


async def _fetch_nothing(_url: str) -> None:
    await trio.lowlevel.checkpoint()


def run_bare_trio(urls: Sequence[str], slots: int, pace: Pace) -> float:
    """Return the CPU seconds that a nursery and a limiter need for all *urls*."""

    async def fetch(url: str, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            await _fetch_nothing(url)

    async def run() -> float:
        start = time.process_time()
        limiter = trio.CapacityLimiter(slots)
        async with trio.open_nursery() as nursery:
            for url in urls:
                nursery.start_soon(fetch, url, limiter)
                if pace is Pace.STEADY:
                    await trio.lowlevel.checkpoint()
        return time.process_time() - start

    return trio.run(run)


# What the promises of a manager cost in trio before anybody manages: a slot that is borrowed for the download before
# its task exists, the submitter's context, and a cancel scope for each.


def run_scoped_trio(urls: Sequence[str], slots: int, pace: Pace) -> float:
    """Return the CPU seconds for all *urls* with a context, a cancel scope and a slot for each, and nothing else."""

    async def fetch(url: str, limiter: trio.CapacityLimiter) -> None:
        with trio.CancelScope():
            await _fetch_nothing(url)
        limiter.release_on_behalf_of(url)

    async def run() -> float:
        start = time.process_time()
        limiter = trio.CapacityLimiter(slots)
        async with trio.open_nursery() as nursery:
            for url in urls:
                await limiter.acquire_on_behalf_of(url)
                copy_context().run(nursery.start_soon, fetch, url, limiter)
                if pace is Pace.STEADY:
                    await trio.lowlevel.checkpoint()
        return time.process_time() - start

    return trio.run(run)


# What people write on asyncio.


async def _fetch_nothing_on_asyncio(_url: str) -> None:
    await asyncio.sleep(0)


@dataclass
class _Job:
    job_id: str
    url: str
    status: str = "queued"
    error: Exception | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None


class _UsualManager:
    """The usual kind: a dict of jobs with status strings, a queue, a dispatcher with a semaphore, and callbacks."""

    def __init__(self, fetch: Callable[[str], Awaitable[None]], slots: int) -> None:
        self.jobs: dict[str, _Job] = {}
        self.callbacks: list[Callable[[_Job], None]] = []
        self.completed = 0
        self.failed = 0
        self._fetch = fetch
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._semaphore = asyncio.Semaphore(slots)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._dispatcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._dispatcher = asyncio.create_task(self._dispatch())

    async def submit(self, url: str) -> str:
        job = _Job(uuid.uuid4().hex, url, created_at=time.time())
        self.jobs[job.job_id] = job
        await self._queue.put(job)
        return job.job_id

    async def stop(self) -> None:
        await self._queue.join()
        assert self._dispatcher is not None
        self._dispatcher.cancel()
        await asyncio.gather(self._dispatcher, return_exceptions=True)

    async def _dispatch(self) -> None:
        while True:
            job = await self._queue.get()
            await self._semaphore.acquire()
            self._running[job.job_id] = asyncio.create_task(self._run(job))

    async def _run(self, job: _Job) -> None:
        job.status = "downloading"
        job.started_at = time.time()
        try:
            await self._fetch(job.url)
        except asyncio.CancelledError:
            job.status = "cancelled"
            raise
        except Exception as exc:
            job.status = "failed"
            job.error = exc
            self.failed += 1
        else:
            job.status = "completed"
            self.completed += 1
        finally:
            job.finished_at = time.time()
            self._running.pop(job.job_id, None)
            self._semaphore.release()
            self._queue.task_done()
            for callback in self.callbacks:
                callback(job)


def run_usual_asyncio(urls: Sequence[str], slots: int, pace: Pace) -> float:
    """Return the CPU seconds that the usual asyncio manager needs for all *urls*."""
    ended: dict[str, int] = {}

    def count(job: _Job) -> None:
        ended[job.status] = ended.get(job.status, 0) + 1

    async def run() -> float:
        start = time.process_time()
        manager = _UsualManager(_fetch_nothing_on_asyncio, slots)
        manager.callbacks.append(count)
        manager.start()
        for url in urls:
            await manager.submit(url)
            if pace is Pace.STEADY:
                # An unbounded queue never makes its caller wait.
                await asyncio.sleep(0)
        await manager.stop()
        return time.process_time() - start

    cpu_s = asyncio.run(run())
    assert ended == {"completed": len(urls)}
    return cpu_s


CONTENDERS: Final[dict[str, Callable[[Sequence[str], int, Pace], float]]] = {
    "trio_dlm": run_trio_dlm,
    "bare trio": run_bare_trio,
    "scoped trio": run_scoped_trio,
    "usual asyncio": run_usual_asyncio,
}

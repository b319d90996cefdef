"""1200 downloads for each seed: cancelled, waited for with a timeout or to the end, under limits that change."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import anyio
import trio

from tests.embedding.program import expect_failures, our_threads, run, say
from tests.fakes import saved, url
from trio_dlm import (
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadResult,
    DownloadTask,
    asyncio_downloader,
    open_manager,
)

USERS: Final = 8
DOWNLOADS_EACH: Final = 150

running: Counter[str] = Counter()


async def in_trio(job: DownloadJob) -> DownloadResult:
    running["trio"] += 1
    try:
        for _ in range(random.randrange(3)):
            await trio.sleep(random.random() * 0.003)
            job.progress.advance(1)
        if random.random() < 0.1:
            raise ValueError(job.url)
        return saved(job, job.progress.received_bytes)
    finally:
        running["trio"] -= 1


@asyncio_downloader
async def in_the_loop(job: DownloadJob) -> DownloadResult:
    running["loop"] += 1
    try:
        await asyncio.sleep(random.random() * 0.003)
        job.progress.advance(1)
        if random.random() < 0.1:
            raise OSError(job.url)
        return saved(job, 1)
    finally:
        running["loop"] -= 1


async def use(manager: DownloadManager, user: int, tasks: list[DownloadTask[Any]]) -> None:
    for number in range(DOWNLOADS_EACH):
        name = f"{user}-{number}"
        task = await manager.submit(url(name), downloader=random.choice((in_trio, in_trio, in_the_loop)))
        tasks.append(task)
        chance = random.random()
        if chance < 0.3:
            await asyncio.sleep(random.random() * 0.002)
            was_final = task.status.is_final
            cancelled = await task.cancel()
            assert task.status.is_final
            assert cancelled is (not was_final and task.status.value == "cancelled")
        elif chance < 0.4:
            with anyio.move_on_after(random.random() * 0.003), suppress(DownloadFailedError):
                await task.result()
        elif chance < 0.8:
            with suppress(DownloadFailedError):
                assert (await task.result()).path.name == name
        if chance > 0.97:
            manager.max_concurrent = random.randrange(1, 8)


async def main() -> None:
    tasks: list[DownloadTask[Any]] = []
    finals: Counter[str] = Counter()
    sequences: dict[str, int] = {}
    ready = asyncio.Event()

    async def watch(manager: DownloadManager) -> None:
        async with manager.events() as events:
            ready.set()
            async for snapshot in events:
                assert snapshot.sequence > sequences.get(snapshot.correlation_id, 0)
                assert finals[snapshot.correlation_id] == 0
                sequences[snapshot.correlation_id] = snapshot.sequence
                finals[snapshot.correlation_id] += snapshot.status.is_final

    async with asyncio.TaskGroup() as around:
        async with open_manager(5, downloader=in_trio, failures="keep") as manager:
            around.create_task(watch(manager))
            await ready.wait()
            async with asyncio.TaskGroup() as users:
                for user in range(USERS):
                    users.create_task(use(manager, user, tasks))
            manager.max_concurrent = 5
    stats = manager.get_stats()
    assert (stats.active, stats.pending, stats.paused) == (0, 0, 0)
    ended = Counter(task.status.value for task in tasks)
    assert ended == {"completed": stats.completed, "failed": stats.failed, "cancelled": stats.cancelled}
    assert set(finals.values()) == {1}
    assert set(finals) == {task.correlation_id for task in tasks}
    assert not any(running.values())
    assert our_threads() == []
    say(f"seed {seed}: {len(tasks)} ended, none runs")


expect_failures()
for seed in map(int, itertools.islice(sys.argv, 2, None)):
    random.seed(seed)
    run(main)

"""Waits and events of many downloads at once: what a wait has told, a reader has been told before."""

from __future__ import annotations

import asyncio
import itertools
import random

import anyio
import pytest

from tests.conformance.backends import on_asyncio, on_every_backend
from tests.embedding.process import Ended, in_each_loop, run_program
from tests.fakes import saved, url
from trio_dlm import DownloadJob, DownloadManager, DownloadResult, DownloadStatus, TaskSnapshot, open_manager

# What the reader of one download needs to be given what is there: a step for each change that was not merged.
A_FEW = 10


async def jittery(job: DownloadJob) -> DownloadResult:
    # In trio, in whatever thread: how long it takes makes the storm, and nobody waits for it.
    for _ in range(random.randrange(4)):
        job.progress.advance(1)
        await anyio.sleep(random.random() * 0.001)
    if random.random() < 0.2:
        raise ValueError(job.url)
    return saved(job)


async def follow(manager: DownloadManager, name: str) -> None:
    """Wait for a download and read its events beside that."""
    seen: list[TaskSnapshot] = []
    task = await manager.submit(url(name))

    async def read() -> None:
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                assert task.status is snapshot.status or not snapshot.status.is_final
                seen.append(snapshot)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.lowlevel.checkpoint()
        if random.random() < 0.3:
            await task.cancel()
        status = await task.wait()
        for _ in range(A_FEW):
            await anyio.lowlevel.checkpoint()
        assert [snapshot.status for snapshot in seen if snapshot.status.is_final] == [status]
        assert seen[-1].status is status
    assert all(one.sequence < other.sequence for one, other in itertools.pairwise(seen))


@pytest.mark.parametrize("seed", range(3))
@on_every_backend
async def test_when_a_wait_returns_the_final_event_is_there_and_nothing_comes_after_it(seed: int) -> None:
    random.seed(seed)
    async with open_manager(5, downloader=jittery) as manager:
        async with anyio.create_task_group() as group:
            for number in range(80):
                group.start_soon(follow, manager, str(number))


@on_asyncio(because="it is about steps of asyncio's loop")
async def test_everybody_who_waits_for_a_download_is_told_in_the_step_in_which_its_status_changes() -> None:
    told: list[DownloadStatus] = []

    async with open_manager(5, downloader=jittery, failures="keep") as manager:
        tasks = [await manager.submit(url(number)) for number in range(100)]
        for task in tasks:
            waiting = asyncio.ensure_future(task.wait())
            while not waiting.done():
                if task.status.is_final:
                    # One step to be woken, one to look.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    assert waiting.done()
                await asyncio.sleep(0)
            told.append(waiting.result())
    assert len(told) == 100
    assert all(status.is_final for status in told)


@in_each_loop
def test_a_storm_of_submits_cancels_timeouts_and_new_limits_loses_nothing(loop: str) -> None:
    ended = run_program("storm", loop, "0", "1", "2", "3")
    assert ended == Ended(
        code=0, host=[f"seed {seed}: 1200 ended, none runs" for seed in range(4)], downloads=[], err=""
    )

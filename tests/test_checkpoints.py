"""Every public async function of the manager is a checkpoint on every path, the fast one too.

A checkpoint lets other tasks run, and lets a cancel in.  Both are looked at: trio counts them for each task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import assert_checkpoints

from tests.fakes import FakeDownloader, instant, queue, queue_one, settle, url
from trio_dlm import DownloadFailedError, DownloadManager, DownloadResult, DownloadTask, open_manager

pytestmark = pytest.mark.virtual_time

Task = DownloadTask[DownloadResult]
Call = Callable[[Task], Awaitable[object]]

calls_of_a_task: dict[str, Call] = {
    "wait": lambda task: task.wait(),
    "cancel": lambda task: task.cancel(),
    "pause": lambda task: task.pause(),
    "manager.cancel": lambda task: task._manager.cancel(task.correlation_id),
    "manager.pause": lambda task: task._manager.pause(task.correlation_id),
    "manager.wait_idle": lambda task: task._manager.wait_idle(),
}


@pytest.mark.parametrize("call", calls_of_a_task.values(), ids=calls_of_a_task)
@pytest.mark.parametrize("state", ["pending", "granted", "downloading", "paused", "completed", "failed", "cancelled"])
async def test_calls_on_a_download_in_any_state(state: str, call: Call) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, failures="keep", on_exit="cancel") as manager:
        if state == "pending":
            manager.max_concurrent = 0
        task = queue_one(manager, "a")
        if state == "paused":
            await task.pause()
        elif state == "cancelled":
            await task.cancel()
        elif state == "completed":
            fake.finish("a")
            await task.wait()
        elif state == "failed":
            fake.fail("a")
            await task.wait()
        elif state == "downloading":
            await settle()
        async with trio.open_nursery() as nursery:
            # What would wait for the end gets one.
            nursery.start_soon(end_after_a_second, manager, fake, task)
            with assert_checkpoints():
                await call(task)


async def end_after_a_second(manager: DownloadManager, fake: FakeDownloader, task: Task) -> None:
    await trio.sleep(1)
    fake.finish("a")
    manager.max_concurrent = 1
    if not task.status.is_final:
        task.resume()


@pytest.mark.parametrize("end", ["completed", "failed"])
async def test_result_of_an_ended_download(end: str) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        task = queue_one(manager, "a")
        if end == "completed":
            fake.finish("a")
        else:
            fake.fail("a")
        await task.wait()
        with assert_checkpoints():
            try:
                await task.result()
            except DownloadFailedError:
                assert end == "failed"


async def test_submit_with_room_and_without() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        for name in "ab":
            with assert_checkpoints():
                await manager.submit(url(name))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(finish_after_a_second, fake)
            with assert_checkpoints():
                await manager.submit(url("c"))


async def finish_after_a_second(fake: FakeDownloader) -> None:
    await trio.sleep(1)
    fake.finish(*"abc")


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_the_calls_of_a_batch(count: int) -> None:
    async with open_manager(1, downloader=instant) as manager:
        with assert_checkpoints():
            batch = await manager.submit_many([url(n) for n in range(count)], parent_id="p")
        with assert_checkpoints():
            await batch.cancel()
        with assert_checkpoints():
            await batch.wait()
        if count:
            with assert_checkpoints():
                await manager.cancel("p")


async def test_download() -> None:
    async with open_manager(1, downloader=instant) as manager:
        with assert_checkpoints():
            await manager.download(url("a"))


async def test_wait_idle_of_an_idle_manager() -> None:
    async with open_manager(1, downloader=instant) as manager:
        with assert_checkpoints():
            await manager.wait_idle()


async def test_reading_events_that_are_there_and_at_the_end() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        tasks = queue(manager, "a")
        events = manager.events(tasks=tasks)
        with assert_checkpoints():
            await events.__aenter__()
        with assert_checkpoints():
            await events.__anext__()
        fake.finish("a")
        await tasks[0].wait()
        with assert_checkpoints():
            await events.__anext__()
        with assert_checkpoints(), pytest.raises(StopAsyncIteration):
            await events.__anext__()
        await events.__aexit__(None, None, None)


@pytest.mark.parametrize("call", calls_of_a_task.values(), ids=calls_of_a_task)
async def test_a_caller_that_is_cancelled_already_gets_no_answer_from_any_of_them(call: Call) -> None:
    async with open_manager(1, downloader=instant) as manager:
        task = await manager.submit(url("a"))
        await task.wait()
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await call(task)
        assert scope.cancelled_caught

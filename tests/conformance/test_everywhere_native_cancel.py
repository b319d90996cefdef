"""asyncio's own ways to cancel, on asyncio's loops: they mean what an asyncio programmer expects of them.

trio has one way, the scope, and test_everywhere_outer_cancel.py is about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from tests.conformance.backends import on_asyncio
from tests.conformance.downloaders import Stage, agrees, instant, reached, status_of, url
from trio_dlm import DownloadResult, DownloadStatus, DownloadTask, UnknownTaskError, open_manager

native = on_asyncio(because="asyncio cancels tasks by an exception that is thrown in once; trio has no such call")


async def turns(count: int) -> None:
    """Let the loop go round *count* times."""
    for _ in range(count):
        await asyncio.sleep(0)


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@native
async def test_a_cancelled_task_ends_its_block_whole_and_is_cancelled() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def user() -> None:
        async with open_manager(1, downloader=stage) as manager:
            tasks.extend([await manager.submit(url(name)) for name in "ab"])
            await asyncio.get_running_loop().create_future()

    running = asyncio.create_task(user())
    await stage.has_begun("a")
    running.cancel("my words")
    with pytest.raises(asyncio.CancelledError) as caught:
        await running
    assert caught.value.args == ("my words",)
    assert running.cancelled()
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert {task.reason for task in tasks} == {"the manager's block was cancelled"}
    assert (stage.begun, stage.over) == (["a"], ["a"])


@pytest.mark.parametrize("on_exit", ["wait", "cancel"])
@native
async def test_cancelled_twice_while_it_leaves_it_still_leaves_nothing_behind(on_exit: Any) -> None:
    stage = Stage()
    stage.hold("a")

    async def user() -> None:
        async with open_manager(downloader=stage, on_exit=on_exit) as manager:
            await manager.submit(url("a"))
            await stage.has_begun("a")

    running = asyncio.create_task(user())
    await stage.has_begun("a")
    running.cancel("first")
    await stage.is_stopping("a")
    for _ in range(3):
        running.cancel("again")
        await turns(5)
        assert not running.done()
        assert stage.running == ["a"]
    stage.let_go("a")
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stage.running == []


@native
async def test_a_block_that_waits_for_its_downloads_cancels_them_when_it_is_cancelled() -> None:
    stage = Stage()
    leaving = asyncio.Event()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def user() -> None:
        async with open_manager(1, downloader=stage) as manager:
            tasks.extend([await manager.submit(url(name)) for name in "ab"])
            leaving.set()

    running = asyncio.create_task(user())
    await leaving.wait()
    await stage.has_begun("a")
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert status_of(*tasks) == ["cancelled", "cancelled"]


@native
async def test_an_exception_of_the_body_and_a_cancel_while_it_leaves() -> None:
    stage = Stage()
    stage.hold("a")

    async def user() -> None:
        async with open_manager(downloader=stage) as manager:
            await manager.submit(url("a"))
            await stage.has_begun("a")
            raise KeyError("mine")

    running = asyncio.create_task(user())
    await stage.is_stopping("a")
    running.cancel()
    await turns(5)
    assert not running.done()
    stage.let_go("a")
    # As in trio: an error wins over the cancel, or the cancel carries it.
    with pytest.raises((KeyError, asyncio.CancelledError)) as caught:
        await running
    assert isinstance(caught.value, KeyError) or isinstance(caught.value.__context__, KeyError)
    assert stage.running == []


@native
async def test_asyncio_timeout_ends_the_block_and_is_a_timeout() -> None:
    stage = Stage()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600) as limit:
            async with open_manager(downloader=stage) as manager:
                task = await manager.submit(url("a"))
                await stage.has_begun("a")
                limit.reschedule(asyncio.get_running_loop().time())
                await task.wait()
    assert cancelling() == 0
    assert status_of(task) == ["cancelled"]
    assert stage.over == ["a"]


@native
async def test_asyncio_timeout_around_a_wait_touches_no_download() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        for wait in (task.wait, task.result):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wait(), 0.001)
        assert cancelling() == 0
        await reached(manager, task, DownloadStatus.DOWNLOADING)
        stage.finish("a")
        assert await asyncio.wait_for(task.wait(), 30) is DownloadStatus.COMPLETED


@native
async def test_a_failing_sibling_in_a_task_group_ends_the_block() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def user() -> None:
        async with open_manager(downloader=stage) as manager:
            tasks.append(await manager.submit(url("a")))
            await tasks[0].wait()

    async def sibling() -> None:
        await stage.has_begun("a")
        raise RuntimeError("the sibling broke")

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(user())
            group.create_task(sibling())
    assert [repr(each) for each in caught.value.exceptions] == ["RuntimeError('the sibling broke')"]
    assert status_of(*tasks) == ["cancelled"]


@native
async def test_a_task_group_around_the_body_is_ended_by_a_failing_sibling_too() -> None:
    stage = Stage()
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:

            async def sibling() -> None:
                await stage.has_begun("a")
                raise RuntimeError("the sibling broke")

            group.create_task(sibling())
            async with open_manager(downloader=stage) as manager:
                task = await manager.submit(url("a"))
                await task.wait()
    assert [repr(each) for each in caught.value.exceptions] == ["RuntimeError('the sibling broke')"]
    assert status_of(task) == ["cancelled"]
    assert cancelling() == 0


@native
async def test_tasks_of_a_task_group_use_the_manager_of_their_parent() -> None:
    async with open_manager(2, downloader=instant) as manager, asyncio.TaskGroup() as group:
        fetching = [group.create_task(manager.download(url(name))) for name in "abcdef"]
    assert [task.result().path.name for task in fetching] == list("abcdef")


@native
async def test_waits_can_be_gathered_and_raced() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        a, b = await manager.submit(url("a")), await manager.submit(url("b"))
        waits = [asyncio.create_task(a.wait()), asyncio.create_task(b.wait())]
        stage.finish("a")
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert (done, pending) == ({waits[0]}, {waits[1]})
        waits[1].cancel()
        stage.finish("b")
        assert tuple(await asyncio.gather(a.wait(), b.wait())) == (DownloadStatus.COMPLETED,) * 2


@native
async def test_a_submit_that_is_cancelled_while_it_waits_has_queued_nothing() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        queued = manager.submit_nowait(url("b"))
        waiting = asyncio.create_task(manager.submit(url("c"), correlation_id="c"))
        await turns(5)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(UnknownTaskError):
            manager.get_task("c")
        assert agrees(manager, running, queued)
        stage.finish("a", "b")


@pytest.mark.parametrize("count", range(8))
@native
async def test_a_submit_that_is_cancelled_has_queued_nothing_or_was_not_cancelled(count: int) -> None:
    """Wherever in the call the cancel strikes."""
    async with open_manager(downloader=instant) as manager:
        submitting = asyncio.create_task(manager.submit(url("c"), correlation_id="c"))
        await turns(count)
        submitting.cancel()
        try:
            task = await submitting
        except asyncio.CancelledError:
            with pytest.raises(UnknownTaskError):
                manager.get_task("c")
            assert agrees(manager)
        else:
            assert manager.get_task("c") is task


@native
async def test_cancelling_the_caller_of_download_cancels_the_download_and_awaits_its_end() -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(downloader=stage) as manager:
        calling = asyncio.create_task(manager.download(url("a"), correlation_id="a"))
        await stage.has_begun("a")
        calling.cancel()
        await stage.is_stopping("a")
        calling.cancel()
        await turns(5)
        assert not calling.done()
        stage.let_go("a")
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert status_of(manager.get_task("a")) == ["cancelled"]
        assert manager.get_task("a").reason == "the caller of download() was cancelled"


@native
async def test_cancelling_submit_many_awaits_the_end_of_what_it_queued() -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        calling = asyncio.create_task(manager.submit_many(map(url, "abcd"), parent_id="p"))
        await stage.has_begun("a")
        await turns(5)
        calling.cancel()
        await stage.is_stopping("a")
        calling.cancel()
        await turns(5)
        assert not calling.done()
        stage.let_go("a")
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert manager.get_stats().cancelled == 4
        assert stage.running == []


CALLS: dict[str, Callable[[DownloadTask[Any]], Coroutine[Any, Any, object]]] = {
    "cancel": lambda task: task.cancel("mine"),
    "pause": lambda task: task.pause("mine"),
}


@pytest.mark.parametrize("call", CALLS)
@native
async def test_cancelling_who_stops_a_download_does_not_undo_it(call: str) -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        calling = asyncio.create_task(CALLS[call](task))
        await stage.is_stopping("a")
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        stage.let_go("a")
        await manager.wait_idle()
        assert task.status is (DownloadStatus.CANCELLED if call == "cancel" else DownloadStatus.PAUSED)
        assert task.reason == "mine"


@native
async def test_a_reader_that_is_cancelled_natively_can_go_on() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await reached(manager, task, DownloadStatus.DOWNLOADING)
        async with manager.events(tasks=[task]) as events:
            await anext(events)
            for _ in range(3):
                reading = asyncio.ensure_future(anext(events))
                await turns(3)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            stage.finish("a")
            assert [snapshot.status async for snapshot in events] == [DownloadStatus.COMPLETED]


@native
async def test_the_block_may_be_left_in_another_task_than_entered() -> None:
    """As frameworks do that call one hook at their start and another at their end."""
    block = open_manager(downloader=instant)
    manager = await asyncio.create_task(block.__aenter__())
    task = await manager.submit(url("a"))
    await asyncio.create_task(block.__aexit__(None, None, None))
    assert status_of(task) == ["completed"]


@native
async def test_anyio_and_native_cancels_at_once_end_the_block_once() -> None:
    stage = Stage()

    async def user() -> None:
        with anyio.CancelScope() as scope:
            async with open_manager(downloader=stage) as manager:
                await manager.submit(url("a"))
                await stage.has_begun("a")
                scope.cancel()
                await anyio.sleep_forever()

    running = asyncio.create_task(user())
    await stage.has_begun("a")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stage.running == []


@native
async def test_a_cancel_that_the_body_swallows_leaves_the_manager_as_it_was() -> None:
    stage = Stage()

    async def user() -> DownloadStatus:
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            try:
                await task.wait()
            except asyncio.CancelledError:
                stage.finish("a")
            return await task.wait()

    running = asyncio.create_task(user())
    await stage.has_begun("a")
    running.cancel()
    assert await running is DownloadStatus.COMPLETED

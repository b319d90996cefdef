"""Leaving the block in asyncio: whoever cancels and however often, the downloads have ended when it is over."""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.lowlevel
import pytest

from tests.conformance.backends import on_asyncio, on_every_backend
from tests.conformance.downloaders import Stage, saved, status_of
from tests.embedding.program import our_threads
from tests.fakes import Resource, instant, url
from trio_dlm import DownloadManager, DownloadResult, DownloadStatus, DownloadTask, ManagerClosedError, open_manager

in_asyncio = on_asyncio(because="it is about native cancelling, or tasks that trio would not allow")

Tasks = list[DownloadTask[DownloadResult]]


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def stay(stage: Stage, tasks: Tasks) -> None:
    """Be in the block, with a download that runs and one that is queued, until cancelled."""
    async with open_manager(1, downloader=stage) as manager:
        tasks += [await manager.submit(url("a")), await manager.submit(url("b"))]
        await stage.has_begun("a")
        await asyncio.Event().wait()


@in_asyncio
async def test_a_cancelled_body_is_cancelled_after_its_downloads_have_ended() -> None:
    stage, tasks = Stage(), Tasks()
    host = asyncio.create_task(stay(stage, tasks))
    await stage.has_begun("a")
    host.cancel("by the test")
    with pytest.raises(asyncio.CancelledError) as caught:
        await host
    assert caught.value.args == ("by the test",)
    assert stage.over == ["a"]
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert our_threads() == []


@in_asyncio
async def test_a_second_cancel_while_a_cleanup_is_waited_for_changes_nothing() -> None:
    stage, tasks = Stage(), Tasks()
    stage.hold("a")
    host = asyncio.create_task(stay(stage, tasks))
    await stage.has_begun("a")
    host.cancel()
    await stage.is_stopping("a")
    for _ in range(3):
        host.cancel()
        await steps(20)
        assert not host.done()
    stage.let_go("a")
    with pytest.raises(asyncio.CancelledError):
        await host
    assert stage.over == ["a"]
    assert our_threads() == []


@in_asyncio
async def test_a_cancel_at_any_step_of_a_leaving_that_waits_cancels_what_is_left() -> None:
    for count in range(21):
        stage, tasks = Stage(), Tasks()

        async def leave(stage: Stage, tasks: Tasks) -> None:
            async with open_manager(1, downloader=stage) as manager:
                tasks += [await manager.submit(url("a")), await manager.submit(url("b"))]
                await stage.has_begun("a")

        host = asyncio.create_task(leave(stage, tasks))
        await stage.has_begun("a")
        await steps(count)
        host.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host
        assert stage.over == ["a"]
        assert status_of(*tasks) == ["cancelled"] * len(tasks)
        assert our_threads() == []


@in_asyncio
async def test_a_cancel_while_the_downloads_finish_anyway_is_not_lost() -> None:
    stage, tasks = Stage(), Tasks()
    stage.hold("a")
    stage.when_cancelled("a", saved)

    async def leave() -> None:
        async with open_manager(1, downloader=stage) as manager:
            tasks.append(await manager.submit(url("a")))
            await stage.has_begun("a")

    host = asyncio.create_task(leave())
    await stage.has_begun("a")
    host.cancel()
    await stage.is_stopping("a")
    stage.let_go("a")
    with pytest.raises(asyncio.CancelledError):
        await host
    assert status_of(*tasks) == ["completed"]


@in_asyncio
async def test_a_timeout_around_the_block_is_a_timeout_and_leaves_no_cancel_behind() -> None:
    stage, tasks = Stage(), Tasks()
    stage.hold("a")

    async def let_go() -> None:
        await stage.is_stopping("a")
        stage.let_go("a")

    helper = asyncio.create_task(let_go())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            async with open_manager(1, downloader=stage) as manager:
                tasks.append(await manager.submit(url("a")))
                await stage.has_begun("a")
                limit.reschedule(0.0)
                await asyncio.Event().wait()
    await helper
    assert cancelling() == 0
    assert stage.over == ["a"]
    await asyncio.sleep(0)


@in_asyncio
async def test_a_sibling_that_fails_in_a_task_group_cancels_the_block_and_only_its_error_comes_out() -> None:
    stage, tasks = Stage(), Tasks()

    async def fail() -> None:
        await stage.has_begun("a")
        raise ValueError("sibling")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="sibling")):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await stay(stage, tasks)
    assert stage.over == ["a"]
    assert cancelling() == 0


@in_asyncio
async def test_a_block_can_be_left_in_another_task_than_it_was_entered_in() -> None:
    block = open_manager(2, downloader=instant)
    manager = await asyncio.create_task(block.__aenter__())
    task = await manager.submit(url("a"))
    assert await task.wait() is DownloadStatus.COMPLETED
    await asyncio.create_task(block.__aexit__(None, None, None))
    assert our_threads() == []


@in_asyncio
async def test_a_block_that_is_left_in_another_task_can_be_cancelled_there() -> None:
    stage = Stage()
    stage.hold("a")
    block = open_manager(2, downloader=stage)
    manager = await asyncio.create_task(block.__aenter__())
    task = await manager.submit(url("a"))
    await stage.has_begun("a")
    leaving = asyncio.create_task(block.__aexit__(None, None, None))
    await steps(20)
    leaving.cancel()
    await stage.is_stopping("a")
    stage.let_go("a")
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert task.status is DownloadStatus.CANCELLED
    assert our_threads() == []


@in_asyncio
async def test_the_task_that_entered_can_end_before_the_block_is_left() -> None:
    stage = Stage()
    block = open_manager(2, downloader=stage)
    manager = await asyncio.create_task(block.__aenter__())
    task = await manager.submit(url("a"))
    await stage.has_begun("a")
    stage.finish("a")
    await block.__aexit__(None, None, None)
    assert task.status is DownloadStatus.COMPLETED


@in_asyncio
async def test_leaving_needs_none_of_the_threads_of_the_host() -> None:
    stage, go_on = Stage(), threading.Event()
    loop = asyncio.get_running_loop()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    busy = loop.run_in_executor(None, go_on.wait, 30.0)
    try:
        async with open_manager(1, downloader=stage, on_exit="cancel") as manager:
            await manager.submit(url("a"))
            await stage.has_begun("a")
        assert not busy.done()
    finally:
        go_on.set()
    assert await busy
    assert our_threads() == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that start at once are new in Python 3.12")
def test_tasks_that_start_at_once_use_a_manager_like_any_other() -> None:
    stage, tasks = Stage(), Tasks()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        host = asyncio.create_task(stay(stage, tasks))
        await stage.has_begun("a")
        stage.finish("a")
        await asyncio.create_task(tasks[0].result())
        await stage.has_begun("b")
        host.cancel()
        with pytest.raises(asyncio.CancelledError):
            await host

    # Not every uvloop knows of them.
    asyncio.run(main())
    assert status_of(*tasks) == ["completed", "cancelled"]
    assert our_threads() == []


@on_every_backend
async def test_what_setup_raises_on_leaving_leaves_bare_after_the_downloads_have_ended() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match="resource cannot be left"):
        async with open_manager(
            2, downloader=instant, setup=lambda: Resource("resource", diary, fails_on="exit")
        ) as manager:
            task = await manager.submit(url("a"))
    assert task.status is DownloadStatus.COMPLETED
    assert diary == ["resource entered", "resource left"]
    assert our_threads() == []


@on_every_backend
async def test_an_exception_of_the_body_leaves_bare_and_is_the_same_object() -> None:
    stage = Stage()
    raised = KeyError("body")
    with pytest.raises(KeyError) as caught:
        async with open_manager(2, downloader=stage) as manager:
            await manager.submit(url("a"))
            await stage.has_begun("a")
            raise raised
    assert caught.value is raised
    assert stage.over == ["a"]
    assert our_threads() == []


@on_every_backend
async def test_a_scope_that_is_cancelled_while_the_block_is_left_cancels_what_is_waited_for() -> None:
    stage, tasks = Stage(), Tasks()
    stage.hold("a")

    async def cancel() -> None:
        await stage.has_begun("a")
        with pytest.raises(ManagerClosedError):
            while True:
                managers[0].submit_nowait(url("b"))
                await anyio.lowlevel.checkpoint()
        scope.cancel()
        await stage.is_stopping("a")
        stage.let_go("a")

    managers: list[DownloadManager] = []
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(cancel)
            async with open_manager(1, downloader=stage) as manager:
                managers.append(manager)
                tasks.append(await manager.submit(url("a")))
                await stage.has_begun("a")
    assert scope.cancelled_caught
    assert stage.over == ["a"]
    assert status_of(*tasks) == ["cancelled"]
    assert our_threads() == []


class Watched(selectors.DefaultSelector):
    """Counts how often the loop looks without a pause, once it is told to, and says when it goes to sleep."""

    # A loop that does nothing else comes to this in a moment; one that waits never does.
    MANY = 2000

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.before_sleep: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.before_sleep is not None:
            self.looks += 1
            if timeout != 0 or self.looks == self.MANY:
                call, self.before_sleep = self.before_sleep, None
                call()
        return super().select(timeout)


def test_waiting_for_a_cleanup_under_a_cancelled_anyio_scope_keeps_nobody_busy() -> None:
    selector = Watched()
    stage = Stage()
    stage.hold("a")

    async def main() -> None:
        async def watch() -> None:
            await stage.is_stopping("a")
            selector.before_sleep = lambda: stage.let_go("a")

        watching = asyncio.create_task(watch())
        with anyio.CancelScope() as scope:
            async with open_manager(1, downloader=stage) as manager:
                await manager.submit(url("a"))
                await stage.has_begun("a")
                scope.cancel()
                await anyio.sleep_forever()
        await watching
        assert scope.cancelled_caught

    # This loop, since it lets others see when it sleeps.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())
    assert stage.over == ["a"]
    assert selector.looks < Watched.MANY

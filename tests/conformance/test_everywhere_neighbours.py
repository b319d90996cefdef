"""A manager beside the other things of a program, on every backend: it changes nothing for them."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio
import trio

from tests.conformance.backends import Backend, letting_others_run, on_every_backend, threads_of_the_library
from tests.conformance.downloaders import Stage, instant, saved, status_of, url
from trio_dlm import DownloadJob, DownloadResult, open_manager


@on_every_backend
async def test_the_program_goes_on_in_its_own_library(backend: Backend) -> None:
    async def count() -> AsyncGenerator[int, None]:
        for number in range(3):
            await anyio.lowlevel.checkpoint()
            yield number

    async with open_manager(downloader=instant) as manager:
        task = await manager.submit(url("a"))
        assert sniffio.current_async_library() == backend.library
        assert trio.lowlevel.in_trio_task() is (backend.library == "trio")
        assert anyio.get_cancelled_exc_class() is backend.cancelled
        assert await anyio.to_thread.run_sync(lambda: 5) == 5
        assert [number async for number in count()] == [0, 1, 2]
        await task.wait()
        assert sniffio.current_async_library() == backend.library
    assert sniffio.current_async_library() == backend.library


@on_every_backend
async def test_downloads_run_in_trio_whatever_the_program_runs_in() -> None:
    seen: list[object] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(sniffio.current_async_library())
        seen.append(trio.lowlevel.in_trio_task())
        with trio.move_on_after(60):
            await trio.lowlevel.checkpoint()
        limiter = anyio.CapacityLimiter(1)
        async with limiter, anyio.create_task_group() as group:
            group.start_soon(trio.lowlevel.checkpoint)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0):
                await anyio.sleep_forever()
        assert await trio.to_thread.run_sync(lambda: 5) == 5
        return saved(job)

    async with open_manager(downloader=look) as manager:
        await manager.download(url("a"))
    assert seen == ["trio", True]


@on_every_backend
async def test_one_thread_at_most_serves_a_manager_and_it_ends_with_the_block(backend: Backend) -> None:
    before = threading.active_count()
    async with open_manager(downloader=instant) as manager:
        await manager.download(url("a"))
        if backend.library == "trio":
            assert threading.active_count() == before
        else:
            assert len(threads_of_the_library()) == 1
    assert threads_of_the_library() == []


@on_every_backend
async def test_managers_on_a_stack_end_in_its_order() -> None:
    stages = [Stage(), Stage(), Stage()]
    async with AsyncExitStack() as stack:
        managers = [
            await stack.enter_async_context(open_manager(downloader=stage, on_exit="cancel")) for stage in stages
        ]
        tasks = [await manager.submit(url("a")) for manager in managers]
        for stage in stages:
            await stage.has_begun("a")
    assert status_of(*tasks) == ["cancelled"] * 3


@on_every_backend
async def test_managers_of_several_tasks_do_not_meet() -> None:
    async def work(name: str) -> None:
        async with open_manager(1, downloader=instant) as manager:
            for number in range(5):
                result = await manager.download(url(f"{name}{number}"), correlation_id=str(number))
                assert result.path.name == f"{name}{number}"

    async with anyio.create_task_group() as group:
        for name in "abcd":
            group.start_soon(work, name)


@on_every_backend
async def test_a_manager_inside_a_downloader_of_another(backend: Backend) -> None:
    async def outer(job: DownloadJob) -> DownloadResult:
        async with open_manager(downloader=instant) as inner:
            return await inner.download(url("inner"))

    for downloader in (outer, backend.on_host(outer)):
        async with open_manager(downloader=downloader) as manager:
            assert (await manager.download(url("outer"))).path.name == "inner"


@on_every_backend
async def test_other_tasks_get_their_turns_while_very_much_is_submitted_and_cancelled() -> None:
    turns = 0
    ended = False

    async def count() -> None:
        nonlocal turns
        while not ended:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        async with open_manager(0, downloader=instant, on_exit="cancel") as manager:
            batch = await manager.submit_many(url(number) for number in range(3000))
            assert turns > 1
            before = turns
            await batch.cancel()
            assert turns > before
        ended = True
    assert {task.status.value for task in batch} == {"cancelled"}


@on_every_backend
async def test_every_public_call_that_waits_lets_others_run() -> None:
    """Also where the answer is there already."""
    async with open_manager(downloader=instant) as manager:
        task = await manager.submit(url("a"))
        batch = await manager.submit_many([url("b")])
        await batch.wait()
        await task.wait()
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "submit": lambda: manager.submit(url("c")),
            "submit_many": lambda: manager.submit_many([url("c")]),
            "download": lambda: manager.download(url("c")),
            "wait": task.wait,
            "result": task.result,
            "cancel": task.cancel,
            "pause": task.pause,
            "batch.wait": batch.wait,
            "batch.cancel": batch.cancel,
            "wait_idle": manager.wait_idle,
        }
        for call in calls.values():
            with letting_others_run():
                await call()
        with letting_others_run():
            events = await manager.events(tasks=[task]).__aenter__()
        with letting_others_run():
            await anext(events)
        with letting_others_run(), pytest.raises(StopAsyncIteration):
            await anext(events)
        await events.__aexit__(None, None, None)
        block = open_manager(downloader=instant)
        with letting_others_run():
            await block.__aenter__()
        with letting_others_run():
            await block.__aexit__(None, None, None)

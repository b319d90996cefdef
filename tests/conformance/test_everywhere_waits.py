"""Who waits and is cancelled, on every backend: the download goes on, and nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import pytest

from tests.conformance.backends import Backend, on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, saved, url
from trio_dlm import (
    DownloadBatch,
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    UncollectedFailuresError,
    open_manager,
)


async def next_event(manager: DownloadManager) -> None:
    async with manager.events() as events:
        async for _ in events:
            pass


WAITS: dict[str, Callable[[DownloadManager, DownloadTask[Any], DownloadBatch], Coroutine[Any, Any, object]]] = {
    "task.wait": lambda manager, task, batch: task.wait(),
    "task.result": lambda manager, task, batch: task.result(),
    "batch.wait": lambda manager, task, batch: batch.wait(),
    "manager.wait_idle": lambda manager, task, batch: manager.wait_idle(),
    "events": lambda manager, task, batch: next_event(manager),
}


@pytest.mark.parametrize("name", WAITS)
@on_every_backend
async def test_cancelling_a_wait_never_touches_the_download(name: str) -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        batch = await manager.submit_many([url("a"), url("b")])
        await stage.has_begun("a", "b")
        async with anyio.create_task_group() as group:
            group.start_soon(WAITS[name], manager, batch[0], batch)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.move_on_after(0) as scope:
            await WAITS[name](manager, batch[0], batch)
        assert scope.cancelled_caught
        assert [task.status for task in batch] == [DownloadStatus.DOWNLOADING] * 2
        assert stage.stopping == []
        stage.finish("a", "b")
        assert await batch.wait() == (DownloadStatus.COMPLETED, DownloadStatus.COMPLETED)
        await manager.wait_idle()


@pytest.mark.parametrize("name", ["task.wait", "task.result", "batch.wait", "manager.wait_idle"])
@on_every_backend
async def test_a_wait_for_what_is_there_already_can_be_cancelled_too(name: str) -> None:
    async with open_manager(downloader=instant) as manager:
        batch = await manager.submit_many([url("a"), url("b")])
        await batch.wait()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await WAITS[name](manager, batch[0], batch)
        assert scope.cancelled_caught


@on_every_backend
async def test_every_other_call_that_waits_can_be_cancelled_on_every_path() -> None:
    async with open_manager(downloader=instant) as manager:
        batch = await manager.submit_many([url("a")])
        (task,) = batch
        await task.wait()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: manager.submit_many([url("b")]),
            task.cancel,
            task.pause,
            batch.cancel,
            lambda: manager.cancel(task),
            lambda: manager.cancel(batch.parent_id),
            lambda: manager.pause(task),
            lambda: next_event(manager),
        ]
        for index, call in enumerate(calls):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await call()
            assert scope.cancelled_caught, index
        assert agrees(manager, task)


@on_every_backend
async def test_a_cancelled_wait_has_asked_for_no_failure() -> None:
    stage = Stage()
    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            async with anyio.create_task_group() as group:
                group.start_soon(task.wait)
                group.start_soon(task.result)
                await stage.has_begun("a")
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
            stage.fail("a")
    assert caught.value.total == 1


@on_every_backend
async def test_one_cancelled_wait_among_several_leaves_the_others_alone() -> None:
    stage = Stage()
    got: list[DownloadStatus] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))

        async def wait() -> None:
            got.append(await task.wait())

        async with anyio.create_task_group() as staying:
            staying.start_soon(wait)
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(wait)
                await stage.has_begun("a")
                await anyio.wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
            assert got == []
            stage.finish("a")
        assert got == [DownloadStatus.COMPLETED]


@on_every_backend
async def test_wait_idle_waits_for_what_is_queued_and_what_runs_but_not_for_what_is_paused() -> None:
    stage = Stage()
    idle: list[bool] = []
    async with open_manager(1, downloader=stage) as manager:
        await manager.wait_idle()
        running = await manager.submit(url("a"))
        await manager.submit(url("b"))
        await stage.has_begun("a")

        async def wait() -> None:
            await manager.wait_idle()
            idle.append(True)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            assert await running.pause() is True
            await stage.has_begun("b")
            assert idle == []
            stage.finish("b")
        assert idle == [True]
        assert running.status is DownloadStatus.PAUSED
        stats = manager.get_stats()
        assert (stats.active, stats.pending, stats.paused) == (0, 0, 1)


@on_every_backend
async def test_wait_idle_sees_what_was_submitted_just_before() -> None:
    stage = Stage()
    async with open_manager(math.inf, downloader=stage) as manager:
        for round_number in range(5):
            name = f"{round_number}"
            task = manager.submit_nowait(url(name))
            stage.finish(name)
            await manager.wait_idle()
            assert task.status is DownloadStatus.COMPLETED


@on_every_backend
async def test_a_download_cannot_wait_for_itself_nor_for_all(backend: Backend) -> None:
    refusals: list[str] = []

    async with open_manager(downloader=instant) as manager:

        async def wait_for_me(job: DownloadJob) -> DownloadResult:
            task = manager.get_task(job.correlation_id)
            for wait in (task.wait, task.result, manager.wait_idle):
                try:
                    await wait()
                except RuntimeError as exc:
                    refusals.append(str(exc))
            raise OSError("done")

        with pytest.raises(DownloadFailedError, match="done"):
            await manager.download(url("a"), downloader=backend.on_host(wait_for_me), correlation_id="me")
    assert refusals == [
        "download me waits for its own end, which could never come",
        "download me waits for its own end, which could never come",
        "wait_idle() was called by a download of this manager, so it could never become true",
    ]


@pytest.mark.parametrize("call", ["cancel", "pause"])
@on_every_backend
async def test_a_download_that_stops_itself_is_cancelled_at_once(backend: Backend, call: str) -> None:
    seen: list[type[BaseException]] = []

    async with open_manager(downloader=instant) as manager:

        async def stop_me(job: DownloadJob) -> DownloadResult:
            task = manager.get_task(job.correlation_id)
            try:
                await getattr(task, call)("by myself")
            except BaseException as exc:
                seen.append(type(exc))
                raise
            return saved(job)

        task = await manager.submit(url("a"), downloader=backend.on_host(stop_me))
        await manager.wait_idle()
        assert seen == [backend.cancelled]
        assert task.reason == "by myself"
        assert task.status is (DownloadStatus.CANCELLED if call == "cancel" else DownloadStatus.PAUSED)

"""The block inside other scopes and groups, on every backend: cancelled from outside it ends whole."""

from __future__ import annotations

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.conformance.backends import Backend, on_every_backend
from tests.conformance.downloaders import Stage, instant, status_of, url
from trio_dlm import DownloadJob, DownloadManager, DownloadResult, DownloadTask, UncollectedFailuresError, open_manager

CANCELLED = "the manager's block was cancelled"


@on_every_backend
async def test_a_cancelled_body_cancels_every_download_with_it() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def block() -> None:
        async with open_manager(1, downloader=stage) as manager:
            tasks.extend([await manager.submit(url(name)) for name in "ab"])
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await stage.has_begun("a")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert {task.reason for task in tasks} == {CANCELLED}
    assert (stage.begun, stage.over) == (["a"], ["a"])


@on_every_backend
async def test_a_deadline_of_the_body_is_the_deadline_of_its_downloads() -> None:
    stage = Stage()
    with pytest.raises(TimeoutError):
        with anyio.fail_after(3600) as scope:
            async with open_manager(downloader=stage) as manager:
                task = await manager.submit(url("a"))
                await stage.has_begun("a")
                scope.deadline = anyio.current_time()
                await task.wait()
    assert status_of(task) == ["cancelled"]
    assert stage.over == ["a"]


@on_every_backend
async def test_a_scope_inside_the_body_touches_no_download() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        with anyio.move_on_after(0) as scope:
            await task.wait()
        assert scope.cancelled_caught
        stage.finish("a")
    assert status_of(task) == ["completed"]


@on_every_backend
async def test_the_block_waits_for_cleanup_also_when_it_is_cancelled() -> None:
    stage = Stage()
    stage.hold("a")
    left = False

    async def block() -> None:
        nonlocal left
        try:
            async with open_manager(downloader=stage) as manager:
                await manager.submit(url("a"))
                await anyio.sleep_forever()
        finally:
            left = True
            assert stage.running == []

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await stage.has_begun("a")
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await stage.is_stopping("a")
            assert not left
            stage.let_go("a")
    assert left


@on_every_backend
async def test_a_block_that_waits_for_its_downloads_can_be_cancelled() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def block() -> None:
        async with open_manager(1, downloader=stage) as manager:
            tasks.extend([await manager.submit(url(name)) for name in "ab"])

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await stage.has_begun("a")
        await anyio.wait_all_tasks_blocked()
        assert stage.running == ["a"]
        group.cancel_scope.cancel()
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert stage.begun == ["a"]


@on_every_backend
async def test_a_failing_sibling_ends_the_block_and_nothing_of_the_block_is_added_to_its_error() -> None:
    stage = Stage()
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as group:

            async def sibling() -> None:
                await stage.has_begun("a")
                raise RuntimeError("the sibling broke")

            group.start_soon(sibling)
            async with open_manager(downloader=stage) as manager:
                task = await manager.submit(url("a"))
                await anyio.sleep_forever()
    assert [repr(each) for each in caught.value.exceptions] == ["RuntimeError('the sibling broke')"]
    assert status_of(task) == ["cancelled"]


@on_every_backend
async def test_a_manager_serves_the_tasks_of_a_group_inside_its_block() -> None:
    async with open_manager(2, downloader=instant) as manager, anyio.create_task_group() as group:
        names: list[str] = []

        async def fetch(name: str) -> None:
            names.append((await manager.download(url(name))).path.name)

        for name in "abcdef":
            group.start_soon(fetch, name)
    assert sorted(names) == list("abcdef")


@on_every_backend
async def test_a_group_inside_the_block_that_fails_leaves_as_it_is() -> None:
    stage = Stage()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            await stage.has_begun("a")
            async with anyio.create_task_group() as group:

                async def sibling() -> None:
                    raise RuntimeError("the sibling broke")

                group.start_soon(sibling)
                group.start_soon(task.wait)
    assert [repr(each) for each in caught.value.exceptions] == ["RuntimeError('the sibling broke')"]
    assert status_of(task) == ["cancelled"]


@on_every_backend
async def test_what_leaves_a_cancelled_block_is_the_cancel_itself(backend: Backend) -> None:
    stage = Stage()
    seen: list[type[BaseException]] = []

    async def block() -> None:
        try:
            async with open_manager(downloader=stage) as manager:
                await manager.submit(url("a"))
                await manager.submit(url("b"), downloader=fail)
                await stage.has_begun("a")
                await manager.get_task(manager.submit_nowait(url("c")).correlation_id).wait()
        except BaseException as exc:
            seen.append(type(exc))
            raise

    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("nobody asks for this one")

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await stage.has_begun("a", "c")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert seen == [backend.cancelled]


@on_every_backend
async def test_a_shielded_body_is_left_in_peace() -> None:
    stage = Stage()
    with anyio.CancelScope() as outer:
        with anyio.CancelScope(shield=True):
            async with open_manager(downloader=stage) as manager:
                task = await manager.submit(url("a"))
                await stage.has_begun("a")
                outer.cancel()
                stage.finish("a")
                await task.wait()
        assert status_of(task) == ["completed"]
        await anyio.lowlevel.checkpoint()
        pytest.fail("the scope was cancelled")
    assert outer.cancelled_caught


@on_every_backend
async def test_entering_can_be_cancelled_and_leaves_nothing() -> None:
    entered = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with open_manager():
            entered = True
    assert scope.cancelled_caught
    assert not entered


@on_every_backend
async def test_cancelled_downloads_of_a_cancelled_block_are_no_failures() -> None:
    stage = Stage()
    with anyio.CancelScope() as scope:
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            await stage.has_begun("a")
            scope.cancel()
    assert status_of(task) == ["cancelled"]


@on_every_backend
async def test_uncollected_failures_give_way_to_the_cancel() -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("no")

    with anyio.CancelScope() as scope:
        async with open_manager(downloader=fail) as manager:
            task = await manager.submit(url("a"))
            await manager.wait_idle()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert status_of(task) == ["failed"]


@on_every_backend
async def test_scopes_around_a_manager_in_another_task_group_stay_balanced() -> None:
    """A manager is handed out by a task of its own, as frameworks do that keep one for their whole life."""
    stage = Stage()

    async def serve(*, task_status: anyio.abc.TaskStatus[DownloadManager]) -> None:
        async with open_manager(downloader=stage) as manager:
            task_status.started(manager)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        manager = await group.start(serve)
        task = await manager.submit(url("a"))
        stage.finish("a")
        await task.wait()
        running = await manager.submit(url("b"))
        await stage.has_begun("b")
        group.cancel_scope.cancel()
    assert status_of(task, running) == ["completed", "cancelled"]


@on_every_backend
async def test_the_end_of_a_block_in_an_outer_group_is_wrapped_only_by_that_group() -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("no")

    async def block() -> None:
        async with open_manager(downloader=fail) as manager:
            await manager.submit(url("a"))

    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as group:
            group.start_soon(block)
    assert [type(each) for each in caught.value.exceptions] == [UncollectedFailuresError]

"""Cancelling downloads, on every backend (law 5): when it returns, it is over."""

from __future__ import annotations

import anyio
import pytest

from tests.conformance.backends import Backend, on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, saved, status_of, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    UnknownTaskError,
    open_manager,
)


@on_every_backend
async def test_a_cancelled_download_runs_no_code_and_has_freed_its_slot_when_cancel_returns() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        assert await task.cancel("enough") is True
        assert stage.running == []
        assert task.status is DownloadStatus.CANCELLED
        assert task.reason == "enough"
        assert manager.get_stats().available_slots == 1
        assert task.finished_at is not None
        assert agrees(manager, task)


@on_every_backend
async def test_cancel_waits_for_the_cleanup_of_the_downloader() -> None:
    stage = Stage()
    stage.hold("a")
    returned: list[bool] = []
    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        behind = await manager.submit(url("b"))
        await stage.has_begun("a")

        async def cancel() -> None:
            returned.append(await manager.cancel(task.correlation_id, "enough"))
            assert stage.running in ([], ["b"])
            assert task.status is DownloadStatus.CANCELLED

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await stage.is_stopping("a")
            # Asked to stop is not stopped: it has its slot still, and nobody else starts.
            assert task.status is DownloadStatus.DOWNLOADING
            assert (returned, stage.running) == ([], ["a"])
            async with manager.events(tasks=[task]) as events:
                async for snapshot in events:
                    if snapshot.progress.phase is DownloadPhase.STOPPING:
                        break
            assert task.progress.phase is DownloadPhase.STOPPING
            assert task.reason == "enough"
            assert behind.status is DownloadStatus.PENDING
            stage.let_go("a")
        assert returned == [True]
        await stage.has_begun("b")
        stage.finish("b")


@on_every_backend
async def test_a_queued_download_that_is_cancelled_never_runs() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        running = await manager.submit(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        queued = await manager.submit(url("b"))
        assert await queued.cancel("changed my mind") is True
        assert (queued.status, queued.attempts) == (DownloadStatus.CANCELLED, 0)
        assert (queued.started_at, queued.reason) == (None, "changed my mind")
        assert agrees(manager, running, queued)
        stage.finish("a")
    assert stage.begun == ["a"]


@on_every_backend
async def test_a_paused_download_can_be_cancelled() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        assert await task.pause() is True
        assert await task.cancel() is True
        assert task.status is DownloadStatus.CANCELLED
        assert agrees(manager, task)


@on_every_backend
async def test_what_has_ended_cannot_be_cancelled() -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("no")

    async with open_manager(downloader=instant) as manager:
        completed = await manager.submit(url("a"))
        failed = await manager.submit(url("b"), downloader=fail)
        cancelled = await manager.submit(url("c"), downloader=Stage())
        for task in (completed, failed):
            await task.wait()
        await cancelled.cancel("first")
        for task in (completed, failed, cancelled):
            assert await task.cancel("second") is False
            assert await manager.cancel(task) is False
        assert status_of(completed, failed, cancelled) == ["completed", "failed", "cancelled"]
        assert (completed.reason, cancelled.reason) == (None, "first")


@on_every_backend
async def test_a_second_cancel_keeps_the_first_reason_and_both_are_told_true() -> None:
    stage = Stage()
    stage.hold("a")
    told: list[bool] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")

        async def cancel(reason: str) -> None:
            told.append(await task.cancel(reason))

        async with anyio.create_task_group() as group:
            group.start_soon(cancel, "first")
            await stage.is_stopping("a")
            group.start_soon(cancel, "second")
            await anyio.wait_all_tasks_blocked()
            stage.let_go("a")
        assert told == [True, True]
        assert task.reason == "first"


@on_every_backend
async def test_a_reference_is_a_handle_or_an_id_that_this_manager_knows() -> None:
    stage = Stage()
    async with open_manager(0, downloader=stage) as manager, open_manager(0, downloader=stage) as other:
        by_id = await manager.submit(url("a"), correlation_id="a")
        by_handle = await manager.submit(url("b"))
        foreign = await other.submit(url("c"))
        assert await manager.cancel("a") is True
        assert await manager.cancel(by_handle, "why") is True
        assert status_of(by_id, by_handle) == ["cancelled", "cancelled"]
        for call in (manager.cancel, manager.pause):
            with pytest.raises(UnknownTaskError, match="'nobody' is known"):
                await call("nobody")
            with pytest.raises(UnknownTaskError, match="it belongs to another manager"):
                await call(foreign)
        for call_nowait in (manager.resume, manager.retry):
            with pytest.raises(UnknownTaskError, match="'nobody' is known"):
                call_nowait("nobody")
            with pytest.raises(UnknownTaskError, match="it belongs to another manager"):
                call_nowait(foreign)
        assert await foreign.cancel() is True
    assert stage.begun == []


@on_every_backend
async def test_an_error_or_a_result_wins_over_the_cancel() -> None:
    stage = Stage()
    stage.when_cancelled("result", saved)

    def fail(job: DownloadJob) -> None:
        raise OSError("the cleanup broke")

    stage.when_cancelled("error", fail)
    async with open_manager(downloader=stage) as manager:
        with_result = await manager.submit(url("result"))
        with_error = await manager.submit(url("error"))
        await stage.has_begun("result", "error")
        assert await with_result.cancel() is False
        assert await with_error.cancel() is False
        assert status_of(with_result, with_error) == ["completed", "failed"]
        assert (await with_result.result()).path.name == "result"
        with pytest.raises(DownloadFailedError, match="the cleanup broke") as caught:
            await with_error.result()
        assert type(caught.value.__cause__) is OSError
        assert agrees(manager, with_result, with_error)


@on_every_backend
async def test_cancelling_who_cancels_does_not_undo_it() -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        async with anyio.create_task_group() as group:
            group.start_soon(task.cancel, "first")
            await stage.is_stopping("a")
            group.cancel_scope.cancel()
        # The group is over, and the download is not.
        assert task.status is DownloadStatus.DOWNLOADING
        stage.let_go("a")
        assert await task.wait() is DownloadStatus.CANCELLED
        assert task.reason == "first"


@on_every_backend
async def test_cancelling_who_called_download_cancels_the_download_and_awaits_its_end() -> None:
    stage = Stage()
    stage.hold("a")
    over = False
    async with open_manager(downloader=stage) as manager:

        async def call() -> None:
            nonlocal over
            try:
                await manager.download(url("a"), correlation_id="a")
            finally:
                over = True
                assert stage.running == []

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await stage.has_begun("a")
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await stage.is_stopping("a")
                assert not over
                stage.let_go("a")
        assert over
        task = manager.get_task("a")
        assert task.status is DownloadStatus.CANCELLED
        assert task.reason == "the caller of download() was cancelled"


@on_every_backend
async def test_what_is_raised_to_a_cancelled_waiter_is_what_its_own_library_raises(backend: Backend) -> None:
    stage = Stage()
    seen: list[BaseException] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))

        async def ask() -> None:
            try:
                await task.result()
            except BaseException as exc:
                seen.append(exc)
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await stage.has_begun("a")
            group.cancel_scope.cancel()
        assert [type(exc) for exc in seen] == [backend.cancelled]
        # And to one who only asks what became of a cancelled download, an error of the library.
        await task.cancel()
        with pytest.raises(DownloadCancelledError):
            await task.result()


@on_every_backend
async def test_cancelling_frees_the_slot_for_the_next_in_the_queue() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        tasks = [await manager.submit(url(name)) for name in "abc"]
        for index, name in enumerate("abc"):
            await stage.has_begun(name)
            assert stage.running == [name]
            await reached(manager, tasks[index], DownloadStatus.DOWNLOADING)
            assert await tasks[index].cancel() is True
    assert stage.peak == 1

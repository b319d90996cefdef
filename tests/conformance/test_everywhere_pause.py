"""Pausing, resuming and repeating downloads, on every backend."""

from __future__ import annotations

import anyio
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, received, saved, status_of, url
from trio_dlm import (
    DownloadFailedError,
    DownloadJob,
    DownloadPhase,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    NotFinishedError,
    QueueFullError,
    open_manager,
)

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED


@on_every_backend
async def test_a_paused_download_has_stopped_and_freed_its_slot_when_pause_returns() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        behind = await manager.submit(url("b"))
        await stage.has_begun("a")
        assert await task.pause("lunch") is True
        assert "a" not in stage.running
        assert (task.status, task.reason, task.finished_at) == (PAUSED, "lunch", None)
        assert task.progress.phase is DownloadPhase.WAITING
        await stage.has_begun("b")
        await reached(manager, behind, DOWNLOADING)
        assert agrees(manager, task, behind)
        stage.finish("b")
        await behind.wait()
        assert task.resume() is True
        assert task.reason is None
        await stage.until(lambda: stage.begun == ["a", "b", "a"])
        await reached(manager, task, DOWNLOADING)
        assert task.attempts == 2
        stage.finish("a")
        assert await task.wait() is DownloadStatus.COMPLETED


@on_every_backend
async def test_pause_waits_for_the_cleanup_of_the_downloader() -> None:
    stage = Stage()
    stage.hold("a")
    returned: list[bool] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")

        async def pause() -> None:
            returned.append(await manager.pause(task))
            assert stage.running == []

        async with anyio.create_task_group() as group:
            group.start_soon(pause)
            await stage.is_stopping("a")
            assert (returned, task.status) == ([], DOWNLOADING)
            # Nothing to resume yet.
            assert task.resume() is False
            stage.let_go("a")
        assert returned == [True]
        assert await task.cancel() is True


@on_every_backend
async def test_what_was_received_is_kept_if_the_downloader_can_go_on_from_it() -> None:
    stage = Stage()
    stage.keep("kept")
    seen: list[tuple[int, bool, int]] = []

    def look(job: DownloadJob) -> DownloadResult:
        seen.append((job.attempt, job.can_resume, job.progress.received_bytes))
        return saved(job, job.progress.received_bytes)

    async with open_manager(downloader=stage) as manager:
        kept = await manager.submit(url("kept"))
        lost = await manager.submit(url("lost"))
        for task, name in ((kept, "kept"), (lost, "lost")):
            await stage.has_begun(name)
            stage.advance(name, 7)
            await received(manager, task, 7)
            assert await task.pause() is True
        assert kept.progress.received_bytes == 7
        assert lost.progress.received_bytes == 0
        for task, name in ((kept, "kept"), (lost, "lost")):
            stage.tell(name, look)
            assert task.resume() is True
            await task.wait()
    assert seen == [(2, True, 7), (2, False, 0)]


@on_every_backend
async def test_a_queued_download_that_is_paused_leaves_the_queue_and_rejoins_it_at_its_end() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        tasks = [await manager.submit(url(name), correlation_id=name) for name in "abc"]
        await stage.has_begun("a")
        assert await manager.pause("b", "later") is True
        assert (tasks[1].status, tasks[1].attempts, tasks[1].reason) == (PAUSED, 0, "later")
        assert manager.resume("b") is True
        assert tasks[1].status is PENDING
        assert manager.resume("b") is False
        assert await manager.pause("b") is True
        assert manager.resume(tasks[1]) is True
        stage.finish("a", "b", "c")
    assert stage.begun == ["a", "c", "b"]


@on_every_backend
async def test_pausing_what_has_ended_or_is_paused_says_what_it_is() -> None:
    async with open_manager(downloader=instant) as manager:
        ended = await manager.submit(url("a"))
        await ended.wait()
        assert await ended.pause() is False
        assert ended.resume() is False
        manager.max_concurrent = 0
        paused = await manager.submit(url("b"))
        assert await paused.pause("first") is True
        assert await paused.pause("second") is True
        assert paused.reason == "first"
    assert status_of(ended, paused) == ["completed", "cancelled"]


@on_every_backend
async def test_a_result_or_an_error_wins_over_the_pause() -> None:
    stage = Stage()
    stage.when_cancelled("result", saved)

    def fail(job: DownloadJob) -> None:
        raise OSError("the cleanup broke")

    stage.when_cancelled("error", fail)
    async with open_manager(downloader=stage) as manager:
        tasks = [await manager.submit(url(name)) for name in ("result", "error")]
        await stage.has_begun("result", "error")
        assert await tasks[0].pause() is False
        assert await tasks[1].pause() is False
        assert [await task.wait() for task in tasks] == [DownloadStatus.COMPLETED, DownloadStatus.FAILED]


@on_every_backend
async def test_a_cancel_wins_over_a_pause_that_is_under_way() -> None:
    stage = Stage()
    stage.hold("a")
    told: dict[str, bool] = {}
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")

        async def pause() -> None:
            told["pause"] = await task.pause("lunch")

        async def cancel() -> None:
            told["cancel"] = await task.cancel("enough")

        async with anyio.create_task_group() as group:
            group.start_soon(pause)
            await stage.is_stopping("a")
            group.start_soon(cancel)
            await anyio.wait_all_tasks_blocked()
            stage.let_go("a")
        assert told == {"pause": False, "cancel": True}
        assert (task.status, task.reason) == (DownloadStatus.CANCELLED, "enough")


@on_every_backend
async def test_cancelling_who_pauses_does_not_undo_it() -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        async with anyio.create_task_group() as group:
            group.start_soon(task.pause)
            await stage.is_stopping("a")
            group.cancel_scope.cancel()
        assert task.status is DOWNLOADING
        stage.let_go("a")
        await reached(manager, task, PAUSED)
        assert await task.cancel() is True


@on_every_backend
async def test_resume_is_not_refused_by_a_full_queue_and_holds_back_who_submits() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DOWNLOADING)
        paused = manager.submit_nowait(url("b"))
        assert await paused.pause() is True
        queued = await manager.submit(url("c"))
        assert paused.resume() is True
        assert manager.get_stats().pending == 2
        with pytest.raises(QueueFullError):
            manager.submit_nowait(url("d"))
        stage.finish("a", "b", "c")
        assert await queued.wait() is DownloadStatus.COMPLETED
    assert stage.begun == ["a", "c", "b"]


@on_every_backend
async def test_a_wait_outlasts_pause_and_resume() -> None:
    stage = Stage()
    statuses: list[DownloadStatus] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")

        async def wait() -> None:
            statuses.append(await task.wait())

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            assert await task.pause() is True
            await manager.wait_idle()
            assert statuses == []
            assert task.resume() is True
            stage.finish("a")
        assert statuses == [DownloadStatus.COMPLETED]


@on_every_backend
async def test_repeating_makes_a_new_download_of_the_same_request() -> None:
    attempts: list[str] = []

    async def fail_once(job: DownloadJob) -> DownloadResult:
        attempts.append(job.correlation_id)
        if len(attempts) == 1:
            raise OSError("not today")
        return saved(job)

    async with open_manager(downloader=instant) as manager:
        first = await manager.submit(url("a"), downloader=fail_once, lane="x", correlation_id="first", retries=2)
        with pytest.raises(DownloadFailedError):
            await first.result()
        second = first.retry()
        assert (second.retry_of, second.lane, second.url) == ("first", "x", first.url)
        assert second.correlation_id != "first"
        assert second.request == DownloadRequest(
            url("a"), options=first.request.options, downloader=fail_once, lane="x"
        )
        assert await second.wait() is DownloadStatus.COMPLETED
        assert first.status is DownloadStatus.FAILED
        third = manager.retry(second)
        assert manager.retry("first").retry_of == "first"
        assert third.retry_of == second.correlation_id
        await manager.wait_idle()
    assert len(attempts) == 4


@on_every_backend
async def test_what_has_not_ended_cannot_be_repeated() -> None:
    async with open_manager(0, downloader=instant, max_pending=1, on_exit="cancel") as manager:
        task = await manager.submit(url("a"), correlation_id="mine")
        for call in (task.retry, lambda: manager.retry("mine")):
            with pytest.raises(NotFinishedError, match="download mine is pending, and only an ended one") as early:
                call()
            assert (early.value.correlation_id, early.value.status) == ("mine", "pending")
        await task.cancel()
        await manager.submit(url("b"))
        with pytest.raises(QueueFullError):
            task.retry()

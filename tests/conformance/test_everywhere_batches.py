"""Several downloads under one parent id, on every backend."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import anyio
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, received, saved, status_of, url
from trio_dlm import (
    DownloadJob,
    DownloadPhase,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DuplicateTaskError,
    InvalidUrlError,
    QueueFullError,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)


@on_every_backend
async def test_a_batch_is_the_sequence_of_its_tasks() -> None:
    async with open_manager(downloader=instant) as manager:
        batch = await manager.submit_many(
            [url("a"), DownloadRequest(url("b"), lane="own", correlation_id="b"), url("c")], lane="x", parent_id="p"
        )
        assert isinstance(batch, Sequence)
        assert (batch.parent_id, len(batch)) == ("p", 3)
        assert [task.url for task in batch] == [url("a"), url("b"), url("c")]
        assert [task.lane for task in batch] == ["x", "own", "x"]
        assert {task.parent_id for task in batch} == {"p"}
        assert batch[1].correlation_id == "b"
        assert batch[1:] == (batch[1], batch[2])
        assert batch[-1] in batch
        assert manager.get_task(batch[0].correlation_id) is batch[0]
        assert repr(batch) == "<DownloadBatch p of 3>"
        assert await batch.wait() == (DownloadStatus.COMPLETED,) * 3


@on_every_backend
async def test_an_empty_batch_is_over_at_once() -> None:
    async with open_manager(downloader=instant) as manager:
        batch = await manager.submit_many([])
        assert len(batch) == 0
        assert await batch.wait() == ()
        assert await batch.cancel() is False


@on_every_backend
async def test_the_parent_id_is_no_download_but_can_be_cancelled_and_watched() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        batch = await manager.submit_many([url("a"), url("b")], parent_id="p")
        with pytest.raises(UnknownTaskError, match="it is the parent id of a batch"):
            manager.get_task("p")
        with pytest.raises(UnknownTaskError, match="it is the parent id of a batch"):
            await manager.pause("p")
        await stage.has_begun("a")
        async with manager.events(tasks="p") as events:
            assert await manager.cancel("p", "enough") is True
            final = [snapshot async for snapshot in events if snapshot.status.is_final]
        assert [snapshot.parent_id for snapshot in final] == ["p", "p"]
        assert status_of(*batch) == ["cancelled", "cancelled"]
        assert [task.reason for task in batch] == ["enough", "enough"]
        assert await manager.cancel("p") is False
        assert await manager.cancel(batch) is False
    assert stage.begun == ["a"]


@on_every_backend
async def test_cancelling_a_batch_waits_for_the_end_of_each() -> None:
    stage = Stage()
    stage.hold("b")
    told: list[bool] = []
    async with open_manager(2, downloader=stage) as manager:
        batch = await manager.submit_many(map(url, "abc"))
        await stage.has_begun("a", "b")

        async def cancel() -> None:
            told.append(await batch.cancel())
            assert stage.running == []

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await stage.is_stopping("a", "b")
            await batch[2].wait()
            assert told == []
            stage.let_go("b")
        assert told == [True]
        assert status_of(*batch) == ["cancelled"] * 3
        assert agrees(manager, *batch)


@on_every_backend
async def test_cancelling_a_batch_says_whether_it_cancelled_any() -> None:
    stage = Stage()
    stage.when_cancelled("a", saved)
    async with open_manager(downloader=stage) as manager:
        batch = await manager.submit_many([url("a")])
        await stage.has_begun("a")
        assert await batch.cancel() is False
        assert status_of(*batch) == ["completed"]


@on_every_backend
async def test_the_progress_of_a_batch_is_that_of_its_downloads_added_up() -> None:
    stage = Stage()

    def begin(job: DownloadJob) -> None:
        job.progress.begin(0, 100)

    async with open_manager(downloader=stage) as manager:
        batch = await manager.submit_many(map(url, "ab"))
        assert batch.progress.total_bytes is None
        for task, name in zip(batch, "ab", strict=True):
            stage.tell(name, begin)
            stage.advance(name, 30)
            await received(manager, task, 30)
        progress = batch.progress
        assert (progress.received_bytes, progress.total_bytes, progress.fraction) == (60, 200, 0.3)
        assert progress.phase is DownloadPhase.TRANSFERRING
        stage.finish("a")
        await batch[0].wait()
        now = batch.progress
        assert (now.received_bytes, now.total_bytes) == (60, 130)
        stage.finish("b")
        await batch.wait()
        assert (batch.progress.received_bytes, batch.progress.fraction) == (60, 1.0)
        assert batch.progress.phase is DownloadPhase.ENDED


@on_every_backend
async def test_all_are_checked_before_the_first_is_queued() -> None:
    drawn: list[str] = []

    def requests() -> Iterator[str]:
        for name in ("good", "not good"):
            drawn.append(name)
            yield url(name)

    async with open_manager(downloader=instant) as manager:
        with pytest.raises(InvalidUrlError):
            await manager.submit_many(requests(), parent_id="p")
        twins = [DownloadRequest(url(name), correlation_id="twin") for name in "ab"]
        with pytest.raises(DuplicateTaskError, match="'twin'"):
            await manager.submit_many(twins)
        with pytest.raises(DuplicateTaskError, match="'q'"):
            await manager.submit_many([DownloadRequest(url("a"), correlation_id="q")], parent_id="q")
        assert agrees(manager)
        # What was refused holds no id.
        batch = await manager.submit_many([twins[0]], parent_id="p")
        await batch.wait()
        with pytest.raises(DuplicateTaskError):
            await manager.submit_many([url("a")], parent_id="p")
        assert agrees(manager, *batch)
    assert drawn == ["good", "not good"]


@on_every_backend
async def test_a_batch_waits_for_room_and_keeps_its_place() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        first = manager.submit_nowait(url("first"))
        await reached(manager, first, DownloadStatus.DOWNLOADING)

        async with anyio.create_task_group() as group:
            group.start_soon(manager.submit_many, [url(name) for name in "abc"])
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(QueueFullError):
                manager.submit_nowait(url("late"))
            assert manager.get_stats().pending == 1
            stage.finish("first", "a", "b", "c")
    assert stage.begun == ["first", "a", "b", "c"]


@on_every_backend
async def test_a_cancelled_submit_many_has_cancelled_all_and_awaited_their_end() -> None:
    stage = Stage()
    stage.hold("a")
    over = False
    async with open_manager(1, downloader=stage, max_pending=1) as manager:

        async def submit() -> None:
            nonlocal over
            try:
                await manager.submit_many(map(url, "abcd"), parent_id="p")
            finally:
                over = True
                assert stage.running == []

        async with anyio.create_task_group() as group:
            group.start_soon(submit)
            await stage.has_begun("a")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await stage.is_stopping("a")
                assert not over
                stage.let_go("a")
        assert over
        async with manager.events(tasks="p") as events:
            ended = [snapshot async for snapshot in events]
        assert [snapshot.status for snapshot in ended] == [DownloadStatus.CANCELLED] * 4
        assert {snapshot.reason for snapshot in ended} == {"submit_many was interrupted"}
    assert stage.begun == ["a"]


@on_every_backend
async def test_a_submit_many_by_one_who_is_cancelled_already_queues_nothing() -> None:
    async with open_manager(downloader=instant) as manager:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.submit_many([url("a")], parent_id="p")
        assert scope.cancelled_caught
        assert agrees(manager)
        await manager.submit_many([url("a")], parent_id="p")


@on_every_backend
async def test_waiting_for_a_batch_asks_for_its_failures() -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("no")

    async with open_manager(downloader=fail) as manager:
        batch = await manager.submit_many(map(url, "ab"))
        assert await batch.wait() == (DownloadStatus.FAILED, DownloadStatus.FAILED)
    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(downloader=fail) as manager:
            batch = await manager.submit_many(map(url, "ab"))
            await batch[0].wait()
    assert caught.value.total == 1


@on_every_backend
async def test_a_batch_outlives_the_block() -> None:
    async with open_manager(downloader=instant) as manager:
        batch = await manager.submit_many(map(url, "ab"))
    assert await batch.wait() == (DownloadStatus.COMPLETED,) * 2
    assert await batch.cancel() is False
    assert batch.progress.phase is DownloadPhase.ENDED


@on_every_backend
async def test_several_batches_are_queued_side_by_side_without_mixing_their_tasks() -> None:
    async with open_manager(2, downloader=instant, max_pending=2) as manager:
        async with anyio.create_task_group() as group:
            for parent in "pqr":
                requests = [DownloadRequest(url(n), correlation_id=f"{parent}{n}") for n in range(10)]
                group.start_soon(functools.partial(manager.submit_many, requests, parent_id=parent))
        await manager.wait_idle()
        for parent in "pqr":
            async with manager.events(tasks=parent) as events:
                ids = [snapshot.correlation_id async for snapshot in events if snapshot.status.is_final]
            assert sorted(ids) == [f"{parent}{n}" for n in range(10)]
        assert manager.get_stats().completed == 30

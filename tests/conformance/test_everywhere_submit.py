"""Submitting, on every backend: what a new download is, what is refused, and who waits for room in a full queue."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Hashable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, saved, status_of, url
from trio_dlm import (
    DownloadJob,
    DownloadOptions,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DuplicateTaskError,
    InvalidUrlError,
    ManagerClosedError,
    QueueFullError,
    UnknownTaskError,
    open_manager,
)

# What a new download is.


@on_every_backend
async def test_a_submitted_download_is_known_from_then_on_and_runs_to_its_end() -> None:
    async with open_manager(downloader=instant) as manager:
        task = await manager.submit("https://user:secret@example.org/a")
        assert re.fullmatch("[0-9a-f]{8}", task.correlation_id)
        assert manager.get_task(task.correlation_id) is task
        assert task.url == "https://example.org/a"
        assert task.request == DownloadRequest("https://user:secret@example.org/a")
        assert (task.lane, task.parent_id, task.retry_of) == (None, None, None)
        assert await task.wait() is DownloadStatus.COMPLETED
        assert (task.status, task.attempts, task.reason, task.error) == (DownloadStatus.COMPLETED, 1, None, None)
        assert task.started_at is not None
        assert task.finished_at is not None
        assert task.created_at <= task.started_at <= task.finished_at
        assert task.created_at.utcoffset() == timedelta(0)
        assert repr(task) == f"<DownloadTask {task.correlation_id} completed https://example.org/a>"
        assert manager.get_task(task.correlation_id) is task


@on_every_backend
async def test_a_download_that_has_not_started_has_no_times_but_that_of_its_making() -> None:
    async with open_manager(0, downloader=instant, on_exit="cancel") as manager:
        task = manager.submit_nowait(url("a"))
        assert (task.status, task.attempts) == (DownloadStatus.PENDING, 0)
        assert (task.started_at, task.finished_at) == (None, None)
        assert repr(manager) == "<DownloadManager 0 of 0 running, 1 pending>"


@on_every_backend
async def test_a_snapshot_says_what_the_task_says() -> None:
    async with open_manager(downloader=instant, failures="keep") as manager:
        task = await manager.submit(url("a"), lane="x", correlation_id="a")
        await task.wait()
        snapshot = task.snapshot()
        for name in (
            "correlation_id",
            "url",
            "status",
            "progress",
            "lane",
            "parent_id",
            "retry_of",
            "attempts",
            "reason",
            "error",
            "created_at",
            "started_at",
            "finished_at",
        ):
            assert getattr(snapshot, name) == getattr(task, name), name
        assert snapshot.result == await task.result()


@on_every_backend
async def test_an_id_of_the_callers_own_is_unique_among_what_is_remembered() -> None:
    async with open_manager(downloader=instant, keep_finished=1) as manager:
        first = await manager.submit(url("a"), correlation_id="mine")
        with pytest.raises(DuplicateTaskError, match="'mine' belongs to another download"):
            await manager.submit(url("b"), correlation_id="mine")
        await first.wait()
        with pytest.raises(DuplicateTaskError):
            manager.submit_nowait(url("b"), correlation_id="mine")
        await manager.download(url("c"))
        # Forgotten now, since one ended after it; the handle stays good.
        with pytest.raises(UnknownTaskError, match="'mine'"):
            manager.get_task("mine")
        assert first.status is DownloadStatus.COMPLETED
        second = await manager.submit(url("b"), correlation_id="mine")
        assert manager.get_task("mine") is second


@on_every_backend
async def test_a_field_wins_over_options_and_those_over_the_manager(tmp_path: Path) -> None:
    seen: list[DownloadJob] = []

    async def note(job: DownloadJob) -> DownloadResult:
        seen.append(job)
        return saved(job)

    async with open_manager(directory=tmp_path / "manager", downloader=note) as manager:
        options = DownloadOptions(directory=tmp_path / "options", retries=3)
        await manager.download(url("a"))
        await manager.download(url("b"), options=options)
        task = await manager.submit(url("c"), options=options, directory=tmp_path / "field")
        await task.wait()
        await manager.submit_nowait(url("d"), options=options).wait()
    assert [job.directory.name for job in seen] == ["manager", "options", "field", "options"]
    assert task.request.options.retries == 3
    assert [job.url for job in seen] == [url("a"), url("b"), url("c"), url("d")]


@on_every_backend
async def test_the_directory_is_that_of_the_moment_in_which_the_block_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager_to_be = open_manager(directory="here", downloader=instant)
    monkeypatch.chdir(tmp_path)
    async with manager_to_be as manager:
        monkeypatch.chdir("/")
        assert manager.directory == tmp_path / "here"
        assert (await manager.download(url("a"))).path == tmp_path / "here" / "a"


@on_every_backend
async def test_a_directory_is_any_path_like_object(tmp_path: Path) -> None:
    class Place(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(tmp_path / "b")

    async with open_manager(directory=anyio.Path(tmp_path), downloader=instant) as manager:
        assert manager.directory == tmp_path
        assert type(manager.directory) is type(tmp_path)
        assert (await manager.download(url("a"), directory=Place())).path == tmp_path / "b" / "a"
        assert (await manager.download(url("a"), directory=anyio.Path(tmp_path, "c"))).path == tmp_path / "c" / "a"


# Who downloads.


class Method:
    async def download(self, job: DownloadJob) -> DownloadResult:
        return saved(job)


class CallableObject:
    async def __call__(self, job: DownloadJob) -> DownloadResult:
        return saved(job)


async def with_more(extra: str, job: DownloadJob) -> DownloadResult:
    return saved(job)


@pytest.mark.parametrize(
    "downloader",
    [instant, Method(), Method().download, CallableObject(), functools.partial(with_more, "extra")],
    ids=["function", "object", "bound method", "callable object", "partial"],
)
@on_every_backend
async def test_a_downloader_is_an_object_with_an_async_method_or_an_async_function(downloader: Any) -> None:
    async with open_manager(downloader=downloader) as manager:
        assert (await manager.download(url("a"))).path.name == "a"


@on_every_backend
async def test_a_request_may_bring_its_downloader_and_gets_its_kind_of_result_back() -> None:
    class More(DownloadResult):
        __slots__ = ()

    async def fetch(job: DownloadJob) -> More:
        return More(path=Path("/there"), size_bytes=7)

    async with open_manager(downloader=instant) as manager:
        task = await manager.submit(url("a"), downloader=fetch)
        result = await task.result()
        assert type(result) is More
        assert await task.result() is result
        assert await manager.download(url("a"), downloader=fetch) == result


@on_every_backend
async def test_a_downloader_may_refuse_a_request_when_it_is_submitted() -> None:
    class Choosy(Method):
        def check_request(self, request: DownloadRequest) -> None:
            if not request.url.startswith("https:"):
                raise InvalidUrlError(url=request.url, problem="odd scheme", advice="use https")

    async with open_manager(downloader=Choosy()) as manager:
        with pytest.raises(InvalidUrlError, match="odd scheme"):
            await manager.submit("gopher://example.org/")
        with pytest.raises(InvalidUrlError, match="odd scheme"):
            await manager.submit_many([url("a"), "gopher://example.org/"])
        assert agrees(manager)


# Lanes, as far as submit finds them.


@on_every_backend
async def test_lane_of_finds_the_lane_of_a_request_that_names_none() -> None:
    async with open_manager(downloader=instant, lane_of=lambda request: request.url[-1]) as manager:
        found = await manager.submit(url("a"))
        named = await manager.submit(url("a"), lane="named")
        assert (found.lane, named.lane) == ("a", "named")
        await manager.download(url("a"), lane=7, correlation_id="mine")
        assert manager.get_task("mine").lane == 7


@on_every_backend
async def test_an_error_of_lane_of_comes_out_of_submit_and_nothing_is_queued() -> None:
    def lane_of(request: DownloadRequest) -> Hashable:
        raise LookupError("no lane for " + request.url)

    async with open_manager(downloader=instant, lane_of=lane_of) as manager:
        with pytest.raises(LookupError, match=r"^no lane for https://example.org/a$"):
            await manager.submit(url("a"), correlation_id="a")
        with pytest.raises(LookupError, match="no lane for"):
            manager.submit_nowait(url("a"), correlation_id="a")
        with pytest.raises(LookupError, match="no lane for"):
            await manager.submit_many([url("a")])
        with pytest.raises(UnknownTaskError):
            manager.get_task("a")
        assert agrees(manager)


# Room in the queue.


@on_every_backend
async def test_a_full_queue_refuses_who_does_not_wait() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=2) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        waiting = [manager.submit_nowait(url(name)) for name in "bc"]
        with pytest.raises(
            QueueFullError, match=r"the queue holds max_pending=2 downloads; nothing was queued"
        ) as full:
            manager.submit_nowait(url("d"))
        assert (full.value.max_pending, full.value.waiting) == (2, 0)
        assert agrees(manager, running, *waiting)
        stage.finish("a", "b", "c")
    assert stage.begun == ["a", "b", "c"]


@on_every_backend
async def test_a_download_for_which_a_slot_is_free_takes_no_room_in_the_queue() -> None:
    stage = Stage()
    async with open_manager(2, downloader=stage, max_pending=1) as manager:
        tasks = [manager.submit_nowait(url(name)) for name in "abc"]
        with pytest.raises(QueueFullError):
            manager.submit_nowait(url("d"))
        assert agrees(manager, *tasks)
        stage.finish("a", "b", "c")
    assert sorted(stage.begun[:2]) == ["a", "b"]
    assert stage.begun[2:] == ["c"]


@on_every_backend
async def test_a_free_slot_that_a_lane_may_not_use_makes_no_room_in_the_queue() -> None:
    stage = Stage()
    async with open_manager(3, downloader=stage, max_pending=1, max_per_lane=1) as manager:
        tasks = [manager.submit_nowait(url(name), lane="one") for name in "ab"]
        with pytest.raises(QueueFullError):
            manager.submit_nowait(url("c"), lane="one")
        # There is a slot for another lane, but the queue has no place to wait for it.
        with pytest.raises(QueueFullError):
            manager.submit_nowait(url("d"), lane="two")
        assert agrees(manager, *tasks)
        stage.finish("a", "b")
    assert stage.begun == ["a", "b"]


@on_every_backend
async def test_submits_that_wait_for_room_are_admitted_in_the_order_of_their_coming() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        manager.submit_nowait(url("b"))
        async with anyio.create_task_group() as group:
            for count, name in enumerate("cde"):
                group.start_soon(manager.submit, url(name))
                await anyio.wait_all_tasks_blocked()
                # Nobody overtakes those who wait.
                with pytest.raises(QueueFullError, match=f"and {count + 1} submits wait") as full:
                    manager.submit_nowait(url("z"))
                assert full.value.waiting == count + 1
            stage.finish("a", "b", "c", "d", "e")
    assert stage.begun == ["a", "b", "c", "d", "e"]


@on_every_backend
async def test_a_submit_that_was_cancelled_while_it_waited_has_queued_nothing() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        queued = manager.submit_nowait(url("b"))
        async with anyio.create_task_group() as group:
            group.start_soon(functools.partial(manager.submit, url("c"), correlation_id="c"))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with pytest.raises(UnknownTaskError):
            manager.get_task("c")
        assert agrees(manager, running, queued)
        stage.finish("a", "b")
        # The id is free, and so is the place in the line.
        again = await manager.submit(url("c"), correlation_id="c")
        stage.finish("c")
        await again.wait()
    assert stage.begun == ["a", "b", "c"]


@on_every_backend
async def test_a_submit_by_one_who_is_cancelled_already_queues_nothing() -> None:
    async with open_manager(downloader=instant) as manager:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.submit(url("a"), correlation_id="a")
        assert scope.cancelled_caught
        with pytest.raises(UnknownTaskError):
            manager.get_task("a")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await manager.download(url("a"), correlation_id="a")
        assert scope.cancelled_caught
        assert agrees(manager)


@on_every_backend
async def test_leaving_the_block_turns_away_who_waits_for_room() -> None:
    stage = Stage()
    turned_away: list[ManagerClosedError] = []

    async with anyio.create_task_group() as group:
        async with open_manager(1, downloader=stage, max_pending=1) as manager:
            running = manager.submit_nowait(url("a"))
            await reached(manager, running, DownloadStatus.DOWNLOADING)
            queued = manager.submit_nowait(url("b"))

            async def wait_for_room() -> None:
                with pytest.raises(ManagerClosedError, match="cannot submit: the manager's block is being left") as no:
                    await manager.submit(url("c"))
                turned_away.append(no.value)
                stage.finish("a", "b")

            group.start_soon(wait_for_room)
            await anyio.wait_all_tasks_blocked()
    assert [error.action for error in turned_away] == ["submit"]
    assert status_of(running, queued) == ["completed", "completed"]


@on_every_backend
async def test_after_the_block_nothing_is_taken_in_and_everything_can_be_read() -> None:
    async with open_manager(downloader=instant) as manager:
        task = await manager.submit(url("a"), correlation_id="a")
    for refused in (manager.submit_nowait, manager.retry):
        with pytest.raises(ManagerClosedError):
            refused("a")
    with pytest.raises(ManagerClosedError):
        task.retry()
    with pytest.raises(ManagerClosedError):
        task.resume()
    with pytest.raises(ManagerClosedError):
        manager.resume("a")
    for call in (manager.submit, manager.download):
        with pytest.raises(ManagerClosedError, match="cannot submit"):
            await call(url("b"))
    with pytest.raises(ManagerClosedError):
        await manager.submit_many([url("b")])
    assert manager.get_task("a") is task
    assert agrees(manager, task)
    assert await task.wait() is DownloadStatus.COMPLETED
    assert (await task.result()).path.name == "a"
    assert await task.cancel() is False
    assert await manager.cancel("a") is False
    assert await manager.pause("a") is False
    await manager.wait_idle()
    async with manager.events() as events:
        assert [snapshot async for snapshot in events] == []
    async with manager.events(tasks=["a"]) as events:
        assert [snapshot.status async for snapshot in events] == [DownloadStatus.COMPLETED]

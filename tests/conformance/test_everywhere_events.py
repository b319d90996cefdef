"""Watching downloads, on every backend: what a reader is given, in which order, and when it ends."""

from __future__ import annotations

import anyio
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, instant, reached, saved, url
from trio_dlm import (
    DownloadJob,
    DownloadManager,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    Subscription,
    TaskSnapshot,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)
from trio_dlm._status import TRANSITIONS

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED

# Longer than any test: whatever is held back for it does not come.
NEVER_S = 3600.0


async def read_all(events: Subscription) -> list[TaskSnapshot]:
    return [snapshot async for snapshot in events]


async def fail(job: DownloadJob) -> DownloadResult:
    raise OSError("no")


@on_every_backend
async def test_a_reader_of_some_ends_after_the_last_of_them_has_ended() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        tasks = [await manager.submit(url(name), correlation_id=name) for name in "abc"]
        async with manager.events(tasks=[tasks[0], "b"]) as events:
            stage.finish("b", "a")
            snapshots = await read_all(events)
        assert tasks[2].status in (PENDING, DOWNLOADING)
        stage.finish("c")
    assert {snapshot.correlation_id for snapshot in snapshots} == {"a", "b"}
    assert sorted(snapshot.correlation_id for snapshot in snapshots if snapshot.status is COMPLETED) == ["a", "b"]
    assert snapshots[-1].status is COMPLETED


@on_every_backend
async def test_a_reader_of_all_ends_when_the_manager_has_closed() -> None:
    snapshots: list[TaskSnapshot] = []
    stage = Stage()

    async with anyio.create_task_group() as group:
        async with open_manager(downloader=stage) as manager:

            async def watch(ready: anyio.Event) -> None:
                async with manager.events() as events:
                    ready.set()
                    snapshots.extend([snapshot async for snapshot in events])

            ready = anyio.Event()
            group.start_soon(watch, ready)
            await ready.wait()
            for name in "ab":
                await manager.submit(url(name), correlation_id=name)
            stage.finish("a", "b")
    ended = [snapshot.correlation_id for snapshot in snapshots if snapshot.status.is_final]
    assert sorted(ended) == ["a", "b"]


@on_every_backend
async def test_it_begins_with_what_has_not_ended_and_with_what_was_named() -> None:
    async with open_manager(downloader=instant, failures="keep") as manager:
        ended = await manager.submit(url("a"), correlation_id="a")
        await ended.wait()
        manager.max_concurrent = 0
        for name in "bcd":
            await manager.submit(url(name), correlation_id=name)
        await manager.pause("c")
        async with manager.events() as events:
            first = [await anext(events) for _ in range(3)]
        assert [(each.correlation_id, each.status) for each in first] == [("b", PENDING), ("c", PAUSED), ("d", PENDING)]
        async with manager.events(tasks=["d", ended, "d"]) as events:
            first = [await anext(events) for _ in range(2)]
        assert [(each.correlation_id, each.status) for each in first] == [("d", PENDING), ("a", COMPLETED)]
        async with manager.events(tasks=ended) as events:
            assert [snapshot.status for snapshot in await read_all(events)] == [COMPLETED]
        async with manager.events(tasks="a") as events:
            assert [snapshot.correlation_id for snapshot in await read_all(events)] == ["a"]
        async with manager.events(tasks=[]) as events:
            assert await read_all(events) == []
        for name in "bcd":
            await manager.cancel(name)


@on_every_backend
async def test_who_reads_along_sees_every_state_of_a_download_that_waits_in_each() -> None:
    stage = Stage()
    async with open_manager(0, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        async with manager.events(tasks=[task]) as events:
            statuses = [(await anext(events)).status]

            async def until(status: DownloadStatus) -> None:
                while statuses[-1] is not status:
                    statuses.append((await anext(events)).status)

            manager.max_concurrent = 1
            await until(DOWNLOADING)
            assert await task.pause() is True
            await until(PAUSED)
            manager.max_concurrent = 0
            assert task.resume() is True
            await until(PENDING)
            manager.max_concurrent = 1
            await until(DOWNLOADING)
            stage.finish("a")
            await until(COMPLETED)
            assert [snapshot async for snapshot in events] == []
    merged = [status for status, before in zip(statuses, [None, *statuses], strict=False) if status is not before]
    assert merged == [PENDING, DOWNLOADING, PAUSED, PENDING, DOWNLOADING, COMPLETED]


@on_every_backend
async def test_the_sequence_rises_and_states_follow_each_other_as_the_life_cycle_has_it() -> None:
    snapshots: list[TaskSnapshot] = []
    async with open_manager(2, downloader=instant) as manager:
        batch = await manager.submit_many(url(number) for number in range(30))
        async with manager.events(tasks=batch) as events:
            async for snapshot in events:
                snapshots.append(snapshot)
                # What a reader was given is never newer than what the handle says.
                assert manager.get_task(snapshot.correlation_id).snapshot().sequence >= snapshot.sequence
    last: dict[str, TaskSnapshot] = {}
    for snapshot in snapshots:
        before = last.get(snapshot.correlation_id)
        if before is not None:
            assert before.sequence < snapshot.sequence
            assert not before.status.is_final
            assert snapshot.status is before.status or can_come_to(before.status, snapshot.status)
        last[snapshot.correlation_id] = snapshot
    assert [each.status for each in last.values()] == [COMPLETED] * 30


def can_come_to(before: DownloadStatus, after: DownloadStatus) -> bool:
    """Whether *after* can follow *before*, states in between merged."""
    seen: set[DownloadStatus] = set()
    todo = [before]
    while todo:
        for status in TRANSITIONS[todo.pop()] - seen:
            seen.add(status)
            todo.append(status)
    return after in seen


@on_every_backend
async def test_every_final_state_is_delivered_once_with_its_result_its_error_or_its_reason() -> None:
    async with open_manager(3, downloader=instant) as manager:
        stage = Stage()
        tasks: list[DownloadTask[DownloadResult]] = [
            await manager.submit(url("a"), correlation_id="completed"),
            await manager.submit(url("b"), correlation_id="failed", downloader=fail),
            await manager.submit(url("c"), correlation_id="cancelled", downloader=stage),
        ]
        async with manager.events(tasks=tasks) as events:
            await tasks[2].cancel("enough")
            final = {each.correlation_id: each for each in await read_all(events) if each.status.is_final}
        assert len(final) == 3
        assert final["completed"].result == await tasks[0].result()
        assert final["failed"].error is tasks[1].error
        assert final["failed"].reason == "OSError: no"
        assert (final["cancelled"].reason, final["cancelled"].error) == ("enough", None)
        for task in tasks:
            assert final[task.correlation_id] == task.snapshot()


@on_every_backend
async def test_a_reader_that_sleeps_is_given_the_latest_state_and_no_backlog() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        async with manager.events(tasks=[task]) as events:
            for _ in range(100):
                stage.advance("a", 1)
            stage.finish("a")
            await task.wait()
            snapshots = await read_all(events)
    assert [snapshot.status for snapshot in snapshots] == [COMPLETED]
    assert snapshots[0].progress.received_bytes == 100


@on_every_backend
async def test_no_snapshot_comes_after_wait_that_is_older_than_the_end() -> None:
    async with open_manager(4, downloader=instant) as manager:
        for _ in range(20):
            batch = await manager.submit_many(url(name) for name in "abcd")
            async with manager.events(tasks=batch) as events:
                for task in batch:
                    assert await task.wait() is COMPLETED
                assert [snapshot.status for snapshot in await read_all(events)] == [COMPLETED] * 4


@on_every_backend
async def test_progress_arrives_also_when_nothing_follows_it() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        async with manager.events(tasks=[task]) as events:
            received = 0
            for size in (1, 10, 100):
                stage.advance("a", size)
                received += size
                async for snapshot in events:
                    if snapshot.progress.received_bytes == received:
                        break
                assert snapshot.progress.phase is DownloadPhase.TRANSFERRING
                assert task.progress.received_bytes == received
                assert manager.get_stats().bytes_received == received
        stage.finish("a")


@on_every_backend
async def test_an_interval_holds_back_everything_but_the_end() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await reached(manager, task, DOWNLOADING)
        async with manager.events(tasks=[task], min_interval_s=NEVER_S) as events:
            assert (await anext(events)).status is DOWNLOADING
            async with manager.events(tasks=[task]) as quick:
                stage.advance("a", 5)
                async for snapshot in quick:
                    if snapshot.progress.received_bytes == 5:
                        break
            stage.finish("a")
            (last,) = await read_all(events)
    assert (last.status, last.progress.received_bytes) == (COMPLETED, 5)


@on_every_backend
async def test_the_interval_is_for_each_download_by_itself() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        async with manager.events(min_interval_s=NEVER_S) as events:
            for name in "abc":
                await manager.submit(url(name), correlation_id=name)
                assert (await anext(events)).correlation_id == name
            stage.finish("a", "b", "c")
            ended = [await anext(events) for _ in range(3)]
    assert sorted(snapshot.correlation_id for snapshot in ended) == ["a", "b", "c"]
    assert [snapshot.status for snapshot in ended] == [COMPLETED] * 3


@on_every_backend
async def test_what_an_interval_held_back_comes_when_it_is_over() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await reached(manager, task, DOWNLOADING)
        async with manager.events(tasks=[task], min_interval_s=0.01) as events:
            await anext(events)
            stage.advance("a", 5)
            async for snapshot in events:
                if snapshot.progress.received_bytes == 5:
                    break
        stage.finish("a")


@on_every_backend
async def test_cancelling_a_reader_loses_nothing() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await reached(manager, task, DOWNLOADING)
        async with manager.events(tasks=[task]) as events:
            await anext(events)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def read() -> None:
                        async for _ in events:
                            pass

                    group.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            stage.advance("a", 5)
            stage.finish("a")
            await task.wait()
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anext(events)
            assert scope.cancelled_caught
            (last,) = await read_all(events)
    assert (last.status, last.progress.received_bytes) == (COMPLETED, 5)


@on_every_backend
async def test_two_tasks_cannot_share_a_subscription() -> None:
    stage = Stage()
    async with open_manager(0, downloader=stage, on_exit="cancel") as manager:
        async with manager.events() as events, anyio.create_task_group() as group:

            async def read() -> None:
                async for _ in events:
                    pass

            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="two tasks iterate one subscription: the events would be split"):
                await anext(events)
            group.cancel_scope.cancel()


@on_every_backend
async def test_a_subscription_is_entered_once_and_before_it_is_read() -> None:
    async with open_manager(downloader=instant) as manager:
        events = manager.events()
        with pytest.raises(RuntimeError, match=r"^events\(\) is a context manager: `async with"):
            await anext(events)
        async with events:
            assert aiter(events) is events
        with pytest.raises(RuntimeError, match="a subscription is entered once; call events"):
            async with events:
                pass
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@on_every_backend
async def test_leaving_a_subscription_ends_its_reader() -> None:
    async with open_manager(0, downloader=instant) as manager:
        ended = anyio.Event()
        async with anyio.create_task_group() as group:
            async with manager.events() as events:

                async def read() -> None:
                    async for _ in events:
                        pass
                    ended.set()

                group.start_soon(read)
                await anyio.wait_all_tasks_blocked()
            await ended.wait()


@on_every_backend
async def test_a_failure_that_a_reader_was_given_was_asked_for() -> None:
    async with open_manager(downloader=fail) as manager:
        task = await manager.submit(url("a"))
        async with manager.events(tasks=[task]) as events:
            statuses = [snapshot.status async for snapshot in events]
        assert statuses[-1] is FAILED


@on_every_backend
async def test_a_failure_that_no_reader_has_taken_was_not_asked_for() -> None:
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(downloader=fail) as manager, manager.events() as _:
            await manager.submit(url("a"))
            await manager.wait_idle()


@on_every_backend
async def test_who_is_named_must_be_known() -> None:
    async with open_manager(downloader=instant) as manager:
        with pytest.raises(UnknownTaskError, match="'nobody' is known"):
            manager.events(tasks=["nobody"])


@on_every_backend
async def test_many_readers_are_each_given_everything() -> None:
    seen: list[list[str]] = [[] for _ in range(5)]

    async def read(manager: DownloadManager, ready: anyio.Event, mine: list[str]) -> None:
        async with manager.events() as events:
            ready.set()
            mine.extend([snapshot.correlation_id async for snapshot in events if snapshot.status.is_final])

    async def note(job: DownloadJob) -> DownloadResult:
        job.progress.advance(1)
        return saved(job, 1)

    async with anyio.create_task_group() as group:
        async with open_manager(3, downloader=note) as manager:
            for mine in seen:
                ready = anyio.Event()
                group.start_soon(read, manager, ready, mine)
                await ready.wait()
            batch = await manager.submit_many(url(number) for number in range(20))
    ids = sorted(task.correlation_id for task in batch)
    assert [sorted(mine) for mine in seen] == [ids] * 5

"""A cancel that meets the very thing that was waited for, on every backend: it took place or it did not.

Each test moves the cancel through the turns of the loop around the moment in which the wait ends.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, url
from trio_dlm import (
    DownloadJob,
    DownloadResult,
    DownloadStatus,
    TaskSnapshot,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)

TURNS = pytest.mark.parametrize("turns", range(8))


async def let_turns_pass(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Caller:
    """A task that makes one call, and can be cancelled as its library does it natively."""

    def __init__(self, call: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.was_cancelled = False
        self.answer: object = None
        self._call = call
        self._cancel: Callable[[], object] | None = None
        self._is_unwanted = False

    async def run(self) -> None:
        if trio.lowlevel.in_trio_task():
            with trio.CancelScope() as scope:
                self._cancels_by(scope.cancel)
                self.answer = await self._call()
            self.was_cancelled = scope.cancelled_caught
        else:
            running = asyncio.create_task(self._call())
            self._cancels_by(running.cancel)
            await asyncio.wait([running])
            self.was_cancelled = running.cancelled()
            self.answer = None if self.was_cancelled else running.result()

    def _cancels_by(self, cancel: Callable[[], object]) -> None:
        self._cancel = cancel
        if self._is_unwanted:
            cancel()

    def cancel(self) -> None:
        self._is_unwanted = True
        if self._cancel is not None:
            self._cancel()


@TURNS
@on_every_backend
async def test_a_cancelled_submit_has_queued_nothing_and_one_that_queued_was_not_cancelled(turns: int) -> None:
    async with open_manager(downloader=instant) as manager:
        caller = Caller(functools.partial(manager.submit, url("c"), correlation_id="c"))
        async with anyio.create_task_group() as group:
            group.start_soon(caller.run)
            await let_turns_pass(turns)
            caller.cancel()
        if caller.was_cancelled:
            with pytest.raises(UnknownTaskError):
                manager.get_task("c")
            assert agrees(manager)
        else:
            assert manager.get_task("c") is caller.answer


@TURNS
@on_every_backend
async def test_a_submit_is_admitted_or_cancelled_and_its_place_goes_to_the_next(turns: int) -> None:
    stage = Stage()
    stage.finish("b", "c", "d")
    async with open_manager(1, downloader=stage, max_pending=1) as manager:
        running = manager.submit_nowait(url("a"))
        await reached(manager, running, DownloadStatus.DOWNLOADING)
        queued = manager.submit_nowait(url("b"))
        caller = Caller(functools.partial(manager.submit, url("c"), correlation_id="c"))
        follower = Caller(functools.partial(manager.submit, url("d"), correlation_id="d"))
        async with anyio.create_task_group() as group:
            for each in (caller, follower):
                group.start_soon(each.run)
                await anyio.wait_all_tasks_blocked()
            stage.finish("a")
            await running.wait()
            await let_turns_pass(turns)
            caller.cancel()
        tasks = [running, queued, manager.get_task("d")]
        if caller.was_cancelled:
            with pytest.raises(UnknownTaskError):
                manager.get_task("c")
        else:
            tasks.append(manager.get_task("c"))
            assert caller.answer is tasks[-1]
        await manager.wait_idle()
        assert agrees(manager, *tasks)
    assert stage.begun == (["a", "b", "d"] if caller.was_cancelled else ["a", "b", "c", "d"])


@TURNS
@on_every_backend
async def test_who_was_cancelled_was_not_told_of_a_failure(turns: int) -> None:
    stage = Stage()
    callers: list[Caller] = []
    uncollected = 0
    try:
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            callers.append(Caller(task.wait))
            async with anyio.create_task_group() as group:
                group.start_soon(callers[0].run)
                await stage.has_begun("a")
                await anyio.wait_all_tasks_blocked()
                stage.fail("a")
                await stage.until(lambda: stage.over)
                await let_turns_pass(turns)
                callers[0].cancel()
    except UncollectedFailuresError as exc:
        uncollected = exc.total
    if not callers[0].was_cancelled:
        assert callers[0].answer is DownloadStatus.FAILED
        assert uncollected == 0
    # One whose failure was there in the moment of the cancel may count as asked for: somebody waited for it.


@TURNS
@on_every_backend
async def test_a_reader_loses_no_snapshot_by_a_cancel(turns: int) -> None:
    stage = Stage()
    seen: list[TaskSnapshot] = []
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await reached(manager, task, DownloadStatus.DOWNLOADING)
        async with manager.events(tasks=[task]) as events:
            await anext(events)

            async def read() -> TaskSnapshot:
                return await anext(events)

            caller = Caller(read)
            async with anyio.create_task_group() as group:
                group.start_soon(caller.run)
                await anyio.wait_all_tasks_blocked()
                stage.finish("a")
                await stage.until(lambda: stage.over)
                await let_turns_pass(turns)
                caller.cancel()
            if isinstance(caller.answer, TaskSnapshot):
                seen.append(caller.answer)
            seen.extend([snapshot async for snapshot in events])
    assert [snapshot.status for snapshot in seen] == [DownloadStatus.COMPLETED]


@TURNS
@on_every_backend
async def test_a_cancelled_download_call_has_ended_its_download(turns: int) -> None:
    ended: list[str] = []

    async def fetch(job: DownloadJob) -> DownloadResult:
        try:
            await let_turns_pass(3)
            return await instant(job)
        finally:
            ended.append(job.correlation_id)

    async with open_manager(downloader=fetch) as manager:
        caller = Caller(functools.partial(manager.download, url("a"), correlation_id="a"))
        async with anyio.create_task_group() as group:
            group.start_soon(caller.run)
            await let_turns_pass(turns)
            caller.cancel()
        try:
            task = manager.get_task("a")
        except UnknownTaskError:
            assert caller.was_cancelled
            assert ended == []
        else:
            assert task.status.is_final
            if not caller.was_cancelled:
                assert task.status is DownloadStatus.COMPLETED


@TURNS
@on_every_backend
async def test_a_cancelled_submit_many_leaves_nothing_running(turns: int) -> None:
    stage = Stage()
    async with open_manager(2, downloader=stage, max_pending=2) as manager:
        caller = Caller(functools.partial(manager.submit_many, [url(name) for name in "abcdef"]))
        async with anyio.create_task_group() as group:
            group.start_soon(caller.run)
            await let_turns_pass(turns)
            caller.cancel()
        assert caller.was_cancelled
        assert stage.running == []
        stats = manager.get_stats()
        assert (stats.active, stats.pending, stats.paused) == (0, 0, 0)


@TURNS
@on_every_backend
async def test_entering_the_block_is_cancelled_or_done(turns: int) -> None:
    async def live() -> str:
        async with open_manager(downloader=instant) as manager:
            await manager.download(url("a"))
        return "lived"

    caller = Caller(live)
    async with anyio.create_task_group() as group:
        group.start_soon(caller.run)
        await let_turns_pass(turns)
        caller.cancel()
    assert caller.was_cancelled or caller.answer == "lived"


@TURNS
@on_every_backend
async def test_of_pause_resume_and_cancel_in_quick_succession_the_last_word_counts(turns: int) -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        caller = Caller(task.pause)
        async with anyio.create_task_group() as group:
            group.start_soon(caller.run)
            await let_turns_pass(turns)
            task.resume()
            assert await task.cancel("enough") is True
        assert (task.status, task.reason) == (DownloadStatus.CANCELLED, "enough")
        assert stage.running == []
        assert agrees(manager, task)

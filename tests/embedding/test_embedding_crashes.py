"""What ends the trio side while the host is in the block: the body is cancelled, and the reason leaves the block.

The cases that asyncio itself would turn into the end of the loop are in ``test_embedding_interrupted.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from tests.conformance.backends import Backend, on_asyncio, on_every_backend
from tests.conformance.downloaders import Stage, status_of
from tests.embedding.program import our_threads
from tests.fakes import instant, url
from trio_dlm import (
    DownloadFailedError,
    DownloadManager,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    ManagerClosedError,
    ManagerCrashedError,
    open_manager,
)

in_asyncio = on_asyncio(because="it is about native cancelling")

Tasks = list[DownloadTask[DownloadResult]]


class Meltdown(BaseException):
    """No Exception, so no download may keep it."""


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@on_every_backend
async def test_a_crash_while_the_body_sleeps_cancels_the_body_and_leaves_in_a_group(backend: Backend) -> None:
    stage, tasks = Stage(), Tasks()
    crash = Meltdown("core")
    seen: list[type[BaseException]] = []
    with pytest.RaisesGroup(Meltdown) as caught:
        async with open_manager(2, downloader=stage) as manager:
            tasks += [await manager.submit(url(name)) for name in "abc"]
            await stage.has_begun("a", "b")
            stage.fail("a", crash)
            try:
                await anyio.sleep_forever()
            except BaseException as exc:
                seen.append(type(exc))
                raise
    assert caught.value.exceptions == (crash,)
    assert seen == [backend.cancelled]
    assert status_of(*tasks) == ["failed", "failed", "cancelled"]
    culprit, victim = tasks[0].error, tasks[1].error
    assert isinstance(culprit, ManagerCrashedError)
    assert culprit.is_culprit
    assert isinstance(victim, ManagerCrashedError)
    assert not victim.is_culprit
    assert stage.running == []
    assert our_threads() == []


async def live(stage: Stage, tasks: Tasks, managers: list[DownloadManager], names: Sequence[str]) -> None:
    """Be in a block that crashes, after having submitted *names*."""
    with pytest.RaisesGroup(Meltdown):
        async with open_manager(1, downloader=stage) as manager:
            managers.append(manager)
            tasks += [manager.submit_nowait(url(name)) for name in names]
            await anyio.sleep_forever()


@on_every_backend
async def test_to_whoever_learns_of_a_crash_the_door_is_closed() -> None:
    stage, tasks, managers = Stage(), Tasks(), list[DownloadManager]()
    async with anyio.create_task_group() as group:
        group.start_soon(live, stage, tasks, managers, "ab")
        await stage.has_begun("a")
        stage.fail("a", Meltdown("core"))
        assert await tasks[0].wait() is DownloadStatus.FAILED
        with pytest.raises(ManagerClosedError):
            managers[0].submit_nowait(url("c"))
        with pytest.raises(ManagerClosedError):
            await managers[0].submit(url("c"))
        with pytest.raises(DownloadFailedError) as caught:
            await tasks[0].result()
        assert isinstance(caught.value.__cause__, ManagerCrashedError)
        assert await tasks[1].wait() is DownloadStatus.CANCELLED


@in_asyncio
async def test_a_crash_leaves_no_cancel_behind_in_the_task_that_was_in_the_block() -> None:
    stage = Stage()
    with pytest.RaisesGroup(Meltdown):
        async with open_manager(2, downloader=stage) as manager:
            await manager.submit(url("a"))
            stage.fail("a", Meltdown("core"))
            await asyncio.Event().wait()
    assert cancelling() == 0
    await asyncio.sleep(0)


@in_asyncio
async def test_a_body_that_swallows_the_cancel_of_a_crash_does_not_swallow_the_crash() -> None:
    stage = Stage()
    with pytest.RaisesGroup(Meltdown):
        async with open_manager(2, downloader=stage) as manager:
            task = await manager.submit(url("a"))
            stage.fail("a", Meltdown("core"))
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            assert await task.wait() is DownloadStatus.FAILED
            with pytest.raises(ManagerClosedError):
                manager.submit_nowait(url("b"))
    assert cancelling() == 0


@in_asyncio
async def test_a_cancel_from_outside_that_meets_a_crash_ends_the_block() -> None:
    stage = Stage()
    stage.hold("b")

    async def stay() -> None:
        async with open_manager(2, downloader=stage) as manager:
            await manager.submit(url("a"))
            await manager.submit(url("b"))
            await stage.has_begun("a", "b")
            await asyncio.Event().wait()

    host = asyncio.create_task(stay())
    await stage.has_begun("a", "b")
    stage.fail("a", Meltdown("core"))
    await stage.is_stopping("b")
    host.cancel()
    stage.let_go("b")
    (ended,) = await asyncio.gather(host, return_exceptions=True)
    assert isinstance(ended, (asyncio.CancelledError, BaseExceptionGroup))
    assert stage.running == []
    assert our_threads() == []


@on_every_backend
async def test_a_crash_while_the_block_is_being_left_leaves_in_a_group() -> None:
    stage, tasks = Stage(), Tasks()
    with pytest.RaisesGroup(Meltdown):
        async with open_manager(2, downloader=stage) as manager:
            tasks += [await manager.submit(url("a")), await manager.submit(url("b"))]
            await stage.has_begun("a", "b")
            stage.fail("a", Meltdown("core"))
    assert status_of(*tasks) == ["failed", "failed"]
    assert our_threads() == []


@on_every_backend
async def test_a_crash_in_a_crowd_of_waiters_wakes_every_one_of_them() -> None:
    stage, tasks, managers = Stage(), Tasks(), list[DownloadManager]()
    ended: list[str] = []

    async def wait(task: DownloadTask[DownloadResult]) -> None:
        ended.append((await task.wait()).value)

    async with anyio.create_task_group() as group:
        group.start_soon(live, stage, tasks, managers, [str(number) for number in range(50)])
        await stage.has_begun("0")
        for task in tasks:
            group.start_soon(wait, task)
        await anyio.lowlevel.checkpoint()
        stage.fail("0", Meltdown("core"))
    assert sorted(ended) == [*["cancelled"] * 49, "failed"]


@on_every_backend
async def test_events_end_after_a_crash_with_the_final_states() -> None:
    stage, tasks, managers = Stage(), Tasks(), list[DownloadManager]()
    async with anyio.create_task_group() as group:
        group.start_soon(live, stage, tasks, managers, "ab")
        await stage.has_begun("a")
        async with managers[0].events(tasks=tasks) as named, managers[0].events() as everything:
            stage.fail("a", Meltdown("core"))
            for events in (named, everything):
                finals = [snapshot.status.value async for snapshot in events if snapshot.status.is_final]
                assert sorted(finals) == ["cancelled", "failed"]


class Moody:
    """A lane that can be hashed so often and then raises."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __hash__(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise ValueError("moody")
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("times", range(8))
@on_every_backend
async def test_a_lane_whose_hash_raises_later_hangs_nobody_and_is_heard_of(times: int) -> None:
    stage, heard = Stage(), False
    try:
        async with open_manager(2, downloader=stage) as manager:
            stage.finish("a")
            try:
                task = await manager.submit(url("a"), lane=Moody(times))
                heard = await task.wait() is DownloadStatus.COMPLETED
            except ValueError:
                heard = True
                await manager.download(url("b"), downloader=instant)
    except BaseException as exc:
        if "moody" not in repr(exc):
            raise
        heard = True
    assert heard
    assert our_threads() == []

"""The figures of a manager, on every backend: they always say what the statuses of its downloads say."""

from __future__ import annotations

import math
from types import MappingProxyType

import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, reached, received, url
from trio_dlm import DownloadFailedError, DownloadStatus, LaneStats, ManagerStats, open_manager

DOWNLOADING = DownloadStatus.DOWNLOADING


@on_every_backend
async def test_a_new_manager_has_done_nothing() -> None:
    async with open_manager(3) as manager:
        assert manager.get_stats() == ManagerStats(
            active=0,
            pending=0,
            paused=0,
            max_concurrent=3,
            available_slots=3,
            completed=0,
            failed=0,
            cancelled=0,
            bytes_received=0,
            rate_bytes_per_s=0.0,
            lanes=MappingProxyType({}),
        )
        manager.max_concurrent = math.inf
        assert manager.get_stats().available_slots == math.inf


@on_every_backend
async def test_figures_and_statuses_agree_after_every_call() -> None:
    stage = Stage()
    async with open_manager(2, downloader=stage, max_per_lane=2) as manager:
        assert agrees(manager)
        a = manager.submit_nowait(url("a"))
        assert agrees(manager, a)
        b = await manager.submit(url("b"), lane="x")
        assert agrees(manager, a, b)
        c, d = batch = await manager.submit_many([url("c"), url("d")], lane="x")
        tasks = (a, b, c, d)
        assert agrees(manager, *tasks)
        await stage.has_begun("a", "b")
        assert agrees(manager, *tasks)
        await a.pause()
        assert agrees(manager, *tasks)
        await reached(manager, c, DOWNLOADING)
        assert agrees(manager, *tasks)
        manager.max_concurrent = 0
        assert agrees(manager, *tasks)
        a.resume()
        assert agrees(manager, *tasks)
        manager.set_lane_limit("x", 1)
        assert agrees(manager, *tasks)
        await b.cancel()
        assert agrees(manager, *tasks)
        stage.fail("c")
        with pytest.raises(DownloadFailedError):
            await c.result()
        assert agrees(manager, *tasks)
        manager.max_concurrent = 5
        assert agrees(manager, *tasks)
        stage.finish("a", "d")
        await a.wait()
        assert agrees(manager, *tasks)
        await batch.wait()
        assert agrees(manager, *tasks)
        e = c.retry()
        assert agrees(manager, *tasks, e)
        await e.cancel()
        assert agrees(manager, *tasks, e)
    assert agrees(manager, *tasks, e)


@on_every_backend
async def test_what_ended_is_counted_also_when_it_was_forgotten() -> None:
    stage = Stage()
    async with open_manager(downloader=stage, keep_finished=0, failures="keep") as manager:
        tasks = [await manager.submit(url(name)) for name in "abc"]
        await stage.has_begun("a", "b", "c")
        stage.finish("a")
        stage.fail("b")
        await tasks[2].cancel()
        await manager.wait_idle()
        stats = manager.get_stats()
        assert (stats.completed, stats.failed, stats.cancelled) == (1, 1, 1)
        assert agrees(manager, *tasks)


@on_every_backend
async def test_bytes_count_for_what_failed_as_well() -> None:
    stage = Stage()
    async with open_manager(downloader=stage, failures="keep") as manager:
        tasks = [await manager.submit(url(name)) for name in "ab"]
        for task, name in zip(tasks, "ab", strict=True):
            await stage.has_begun(name)
            stage.advance(name, 10)
            await received(manager, task, 10)
        assert manager.get_stats().bytes_received == 20
        assert manager.get_stats().rate_bytes_per_s > 0
        stage.fail("a")
        stage.finish("b")
        for task in tasks:
            await task.wait()
        assert manager.get_stats().bytes_received == 20
        assert manager.get_stats().rate_bytes_per_s == 0


@on_every_backend
async def test_only_lanes_with_something_queued_or_running_are_shown() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        manager.set_lane_limit("unused", 3)
        first = await manager.submit(url("a"), lane=("any", "hashable"))
        await reached(manager, first, DOWNLOADING)
        second = await manager.submit(url("b"))
        assert dict(manager.get_stats().lanes) == {
            ("any", "hashable"): LaneStats(pending=0, active=1, limit=math.inf),
            None: LaneStats(pending=1, active=0, limit=math.inf),
        }
        stage.finish("a")
        await first.wait()
        await reached(manager, second, DOWNLOADING)
        assert list(manager.get_stats().lanes) == [None]
        stage.finish("b")
    assert dict(manager.get_stats().lanes) == {}


@on_every_backend
async def test_statistics_are_a_record_of_their_moment() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        before = manager.get_stats()
        task = await manager.submit(url("a"))
        stage.finish("a")
        await task.wait()
        assert (before.completed, manager.get_stats().completed) == (0, 1)

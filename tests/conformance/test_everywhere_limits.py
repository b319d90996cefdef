"""Lanes and limits, on every backend (laws 2 and 3): who runs at once, and who is next."""

from __future__ import annotations

import math

import anyio.lowlevel
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, reached, saved, status_of, url
from trio_dlm import DownloadJob, DownloadResult, DownloadStatus, LaneStats, open_manager

DOWNLOADING = DownloadStatus.DOWNLOADING


@on_every_backend
async def test_no_more_run_at_once_than_the_limit_says() -> None:
    running = peak = 0

    async def count(job: DownloadJob) -> DownloadResult:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        # Until as many were seen as there may be; then some more, for one that is too many.
        while peak < 3:
            await anyio.lowlevel.checkpoint()
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        running -= 1
        return saved(job)

    async with open_manager(3, downloader=count) as manager:
        batch = await manager.submit_many(url(number) for number in range(40))
        await batch.wait()
    assert (running, peak) == (0, 3)


@on_every_backend
async def test_downloads_of_one_lane_start_in_the_order_in_which_they_were_queued() -> None:
    order: list[str] = []

    async def note(job: DownloadJob) -> DownloadResult:
        order.append(job.correlation_id)
        return saved(job)

    ids = [f"{number:02}" for number in range(30)]
    async with open_manager(1, downloader=note) as manager:
        for number, each in enumerate(ids):
            if number % 2:
                manager.submit_nowait(url(each), correlation_id=each)
            else:
                await manager.submit(url(each), correlation_id=each)
    assert order == ids


@on_every_backend
async def test_the_limit_can_be_raised_while_downloads_wait() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        tasks = [await manager.submit(url(name)) for name in "abcd"]
        await stage.has_begun("a")
        manager.max_concurrent = 3
        assert manager.max_concurrent == 3
        assert manager.get_stats().max_concurrent == 3
        await stage.has_begun("a", "b", "c")
        await reached(manager, tasks[2], DOWNLOADING)
        assert sorted(stage.running) == ["a", "b", "c"]
        assert agrees(manager, *tasks)
        assert tasks[3].status is DownloadStatus.PENDING
        manager.max_concurrent = math.inf
        await stage.has_begun("d")
        stage.finish(*"abcd")
    assert status_of(*tasks) == ["completed"] * 4


@on_every_backend
async def test_lowering_the_limit_interrupts_nobody_and_starts_nobody() -> None:
    stage = Stage()
    async with open_manager(3, downloader=stage) as manager:
        tasks = [await manager.submit(url(name)) for name in "abcde"]
        await stage.has_begun(*"abc")
        await reached(manager, tasks[2], DOWNLOADING)
        manager.max_concurrent = 1
        assert manager.get_stats().available_slots == 0
        stage.finish("a", "b")
        for task in tasks[:2]:
            await task.wait()
        assert stage.running == ["c"]
        assert stage.stopping == []
        stage.finish("c")
        await stage.has_begun("d")
        assert stage.running == ["d"]
        stage.finish("d", "e")
    assert stage.begun[3:] == ["d", "e"]


@on_every_backend
async def test_a_limit_of_zero_starts_nothing_and_raising_it_does() -> None:
    stage = Stage()
    async with open_manager(0, downloader=stage) as manager:
        tasks = [await manager.submit(url(name)) for name in "ab"]
        assert await tasks[1].pause() is True
        assert tasks[1].resume() is True
        assert agrees(manager, *tasks)
        assert status_of(*tasks) == ["pending", "pending"]
        assert stage.begun == []
        manager.max_concurrent = 1
        stage.finish("a", "b")
        await manager.wait_idle()
    assert stage.begun == ["a", "b"]


@on_every_backend
async def test_limits_and_submits_take_effect_in_the_order_in_which_they_were_made() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        manager.max_concurrent = 0
        held = manager.submit_nowait(url("a"))
        manager.set_lane_limit("x", 0)
        other = manager.submit_nowait(url("b"), lane="x")
        manager.max_concurrent = 2
        await stage.has_begun("a")
        # A round trip: whatever would start has started.
        assert await held.pause() is True
        assert stage.begun == ["a"]
        manager.set_lane_limit("x", None)
        stage.finish("b")
        assert await other.wait() is DownloadStatus.COMPLETED
    assert stage.begun == ["a", "b"]


@on_every_backend
async def test_a_lane_has_the_limit_of_all_lanes_or_one_of_its_own() -> None:
    stage = Stage()
    async with open_manager(10, downloader=stage, max_per_lane=1) as manager:
        assert manager.max_per_lane == 1
        manager.set_lane_limit("wide", 2)
        names = ["w1", "w2", "w3", "n1", "n2"]
        tasks = [await manager.submit(url(name), lane={"w": "wide", "n": "narrow"}[name[0]]) for name in names]
        await stage.has_begun("w1", "w2", "n1")
        for task in (tasks[0], tasks[1], tasks[3]):
            await reached(manager, task, DOWNLOADING)
        assert agrees(manager, *tasks)
        assert dict(manager.get_stats().lanes) == {
            "wide": LaneStats(pending=1, active=2, limit=2),
            "narrow": LaneStats(pending=1, active=1, limit=1),
        }
        manager.max_per_lane = 2
        assert manager.max_per_lane == 2
        assert manager.get_stats().lanes["narrow"].limit == 2
        await stage.has_begun("n2")
        manager.set_lane_limit("wide", None)
        assert manager.get_stats().lanes["wide"].limit == 2
        manager.set_lane_limit("wide", 3)
        await stage.has_begun("w3")
        stage.finish(*names)
    assert stage.peak == 5


@on_every_backend
async def test_lanes_take_turns_so_that_a_long_one_delays_a_new_one_by_one_start() -> None:
    order: list[str] = []

    async def note(job: DownloadJob) -> DownloadResult:
        order.append(job.correlation_id)
        return saved(job)

    async with open_manager(0, downloader=note) as manager:
        for lane, count in (("a", 5), ("b", 2), ("c", 1)):
            for number in range(count):
                await manager.submit(url("x"), lane=lane, correlation_id=f"{lane}{number}")
        manager.max_concurrent = 1
    assert order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


@on_every_backend
async def test_a_limit_of_a_lane_is_remembered_while_the_manager_lives() -> None:
    async with open_manager(downloader=instant, on_exit="cancel") as manager:
        manager.set_lane_limit("x", 0)
        first = await manager.submit(url("a"), lane="x")
        await first.cancel()
        assert "x" not in manager.get_stats().lanes
        second = await manager.submit(url("a"), lane="x")
        assert manager.get_stats().lanes["x"] == LaneStats(pending=1, active=0, limit=0)
        assert second.status is DownloadStatus.PENDING


@on_every_backend
async def test_rate_limits_can_be_read_and_set_at_any_time() -> None:
    seen: list[float | None] = []
    stage = Stage()
    async with open_manager(downloader=stage, rate_limit_bytes_per_s=1000) as manager:
        assert manager.rate_limit_bytes_per_s == 1000
        manager.rate_limit_bytes_per_s = math.inf
        assert manager.rate_limit_bytes_per_s == math.inf
        task = await manager.submit(url("a"), rate_limit_bytes_per_s=500)
        assert task.rate_limit_bytes_per_s == 500
        task.rate_limit_bytes_per_s = 250
        assert task.rate_limit_bytes_per_s == 250
        await (await manager.submit(url("between"), downloader=instant)).wait()

        def look(job: DownloadJob) -> None:
            seen.append(job.rate_limit.bytes_per_s)

        stage.tell("a", look)
        await stage.until(lambda: seen)
        task.rate_limit_bytes_per_s = None
        assert task.rate_limit_bytes_per_s is None
        # What starts after a limit was set finds it set.
        plain = await manager.submit(url("b"))
        assert plain.rate_limit_bytes_per_s is None
        await stage.has_begun("b")
        stage.tell("a", look)
        await stage.until(lambda: len(seen) == 2)
        stage.finish("a", "b")
    assert seen == [250, None]


@on_every_backend
async def test_a_limit_of_the_rate_holds_back_a_downloader_that_asks() -> None:
    taken: list[int] = []

    async def ask(job: DownloadJob) -> DownloadResult:
        while sum(taken) < 4000:
            taken.append(await job.rate_limit.take(4000))
        return saved(job)

    stage = Stage()
    async with open_manager(downloader=ask, rate_limit_bytes_per_s=1) as manager:
        task = await manager.submit(url("a"))
        other = await manager.submit(url("b"), downloader=stage)
        await stage.has_begun("b")
        assert sum(taken) < 4000
        # Who waits is served at the new rate.
        manager.rate_limit_bytes_per_s = math.inf
        assert await task.wait() is DownloadStatus.COMPLETED
        stage.finish("b")
        await other.wait()
    assert sum(taken) >= 4000


@pytest.mark.parametrize("limit", [1, 4])
@on_every_backend
async def test_statuses_never_show_more_running_than_the_limit(limit: int) -> None:
    async with open_manager(limit, downloader=instant) as manager:
        batch = await manager.submit_many(url(number) for number in range(50))
        async with manager.events(tasks=batch) as events:
            async for _ in events:
                assert manager.get_stats().active <= limit
                assert agrees(manager, *batch)

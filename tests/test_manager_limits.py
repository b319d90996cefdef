"""Limits that change while downloads run: the manager's, a lane's, and zero."""

from __future__ import annotations

import logging
import math

import pytest
import trio

from tests.fakes import FakeDownloader, engine_of, queue, queue_one, settle
from trio_dlm import DownloadManager, DownloadStatus, open_manager

pytestmark = pytest.mark.virtual_time


async def test_raising_the_limit_starts_what_waits_at_once_and_in_order() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        tasks = queue(manager, *"abcde")
        manager.max_concurrent = 3
        assert [task.status for task in tasks] == [DownloadStatus.DOWNLOADING] * 3 + [DownloadStatus.PENDING] * 2
        assert manager.max_concurrent == 3
        fake.finish(*"abcde")


async def test_lowering_the_limit_interrupts_nobody_and_holds_back_until_enough_have_ended() -> None:
    fake = FakeDownloader()
    async with open_manager(3, downloader=fake) as manager:
        queue(manager, *"abcdef")
        await settle()
        manager.max_concurrent = 1
        await settle()
        assert fake.running.__len__() == 3
        stats = manager.get_stats()
        assert (stats.active, stats.available_slots, stats.max_concurrent) == (3, 0, 1)
        fake.finish("a")
        await settle()
        fake.finish("b")
        await settle()
        assert fake.running == ["c"]
        fake.finish("c")
        await settle()
        assert fake.running == ["d"]
        fake.finish(*"def")


async def test_zero_starts_nothing_new_and_leaves_the_running_alone() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        manager.max_concurrent = 0
        fake.finish("a")
        assert await a.wait() is DownloadStatus.COMPLETED
        await settle()
        assert b.status is DownloadStatus.PENDING
        manager.max_concurrent = math.inf
        fake.finish("b")


async def test_a_manager_may_be_opened_with_zero() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        assert a.status is DownloadStatus.PENDING
        manager.max_concurrent = 1
        fake.finish("a")


async def test_max_per_lane_is_live() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        assert manager.max_per_lane == math.inf
        manager.max_per_lane = 1
        queue(manager, *"abc", lane="x")
        queue(manager, *"ABC", lane="y")
        await settle()
        assert sorted(fake.running) == ["A", "a"]
        manager.max_per_lane = 2
        await settle()
        assert sorted(fake.running) == ["A", "B", "a", "b"]
        manager.max_per_lane = 0
        fake.finish(*"abAB")
        await settle()
        assert fake.running == []
        manager.max_per_lane = math.inf
        assert manager.max_per_lane == math.inf
        fake.finish(*"cC")


async def test_a_lane_limit_is_live_and_wins_over_max_per_lane_until_it_is_taken_away() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, max_per_lane=1) as manager:
        queue(manager, *"abcd", lane="x")
        queue(manager, *"AB", lane="y")
        manager.set_lane_limit("x", 3)
        await settle()
        assert sorted(fake.running) == ["A", "a", "b", "c"]
        manager.set_lane_limit("x", None)
        fake.finish(*"ab")
        await settle()
        assert sorted(fake.running) == ["A", "c"]
        fake.finish(*"cdAB")


async def test_a_lane_limit_is_remembered_while_the_lane_is_not_in_use() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        manager.set_lane_limit("x", 1)
        for name in "ab":
            first, second = queue(manager, f"{name}1", f"{name}2", lane="x")
            await settle()
            assert fake.running == [f"{name}1"]
            fake.finish(f"{name}1", f"{name}2")
            await first.wait()
            await second.wait()
            assert not manager.get_stats().lanes


async def test_the_default_lane_can_have_a_limit_too() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        manager.set_lane_limit(None, 1)
        queue(manager, "a", "b")
        await settle()
        assert fake.running == ["a"]
        fake.finish("a", "b")


async def test_a_limit_changed_by_a_running_download_counts() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        queue(manager, *"abc")

        async def widen() -> None:
            await trio.sleep(1)
            manager.max_concurrent = 2
            await settle()
            assert sorted(fake.running) == ["a", "b"]
            fake.finish(*"abc")

        nursery.start_soon(widen)


@pytest.mark.parametrize("value", [True, 1.0, 2.5, math.nan, -math.inf, "3", None], ids=repr)
async def test_what_is_no_limit_is_refused_and_changes_nothing(value: object) -> None:
    async with open_manager(2, downloader=FakeDownloader(), max_per_lane=3) as manager:
        with pytest.raises(TypeError, match=r"^max_concurrent is an int or math\.inf, got "):
            manager.max_concurrent = value  # type: ignore[assignment]
        with pytest.raises(TypeError, match=r"^max_per_lane is an int or math\.inf, got "):
            manager.max_per_lane = value  # type: ignore[assignment]
        if value is not None:
            with pytest.raises(TypeError, match=r"^the limit of a lane is an int or math\.inf, got "):
                manager.set_lane_limit("x", value)  # type: ignore[arg-type]
        assert (manager.max_concurrent, manager.max_per_lane) == (2, 3)


async def test_a_negative_limit_is_refused_and_changes_nothing() -> None:
    async with open_manager(2, downloader=FakeDownloader(), max_per_lane=3) as manager:
        with pytest.raises(ValueError, match=r"^max_concurrent is 0 or more, got -1$"):
            manager.max_concurrent = -1
        with pytest.raises(ValueError, match=r"^max_per_lane is 0 or more, got -1$"):
            manager.max_per_lane = -1
        with pytest.raises(ValueError, match=r"^the limit of a lane is 0 or more, got -1$"):
            manager.set_lane_limit("x", -1)
        assert (manager.max_concurrent, manager.max_per_lane) == (2, 3)


async def test_an_unhashable_lane_has_no_limit() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(TypeError, match=r"^a lane is hashable, got \[\]$"):
            manager.set_lane_limit([], 1)  # type: ignore[arg-type]


# A limit of zero when the block ends.


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def leave_held_back(manager: DownloadManager, limit: str) -> None:
    """Set *limit* once the block is left and has said what it has to say."""
    await trio.sleep(10)
    if limit == "max_concurrent":
        manager.max_concurrent = 1
    else:
        manager.set_lane_limit("x", None)


@pytest.mark.parametrize("limit", ["max_concurrent", "lane"])
async def test_one_warning_says_that_a_limit_of_zero_holds_back_what_is_pending(
    limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeDownloader()
    fake.finish(*"abc")
    async with trio.open_nursery() as nursery:
        async with open_manager(2, downloader=fake) as manager:
            if limit == "max_concurrent":
                manager.max_concurrent = 0
            else:
                manager.set_lane_limit("x", 0)
            tasks = queue(manager, *"abc", lane="x")
            nursery.start_soon(leave_held_back, manager, limit)
        assert all(task.status is DownloadStatus.COMPLETED for task in tasks)
    (warning,) = warnings_of(caplog)
    assert warning == (
        "the manager's block is being left, and a limit of 0 holds back 3 queued downloads: "
        "raise max_concurrent or the lane's limit, or cancel them"
    )


async def test_the_warning_comes_though_another_download_still_runs(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            _, b = queue(manager, "a", "b")
            manager.max_concurrent = 0

            async def go_on() -> None:
                await settle()
                assert len(warnings_of(caplog)) == 1
                fake.finish("a")
                await settle()
                await b.cancel()

            nursery.start_soon(go_on)
    assert len(warnings_of(caplog)) == 1


async def test_the_warning_comes_once_and_at_once_though_another_lane_is_busy(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(5, downloader=fake) as manager:
            manager.set_lane_limit("z", 0)
            a, b = queue(manager, "a", "b", lane="z")
            queue(manager, "c")

            async def go_on() -> None:
                await settle()
                assert len(warnings_of(caplog)) == 1
                manager.set_lane_limit("z", 0)
                manager.max_per_lane = 0
                fake.finish("c")
                await settle()
                await a.cancel()
                await b.cancel()

            nursery.start_soon(go_on)
    (warning,) = warnings_of(caplog)
    assert "a limit of 0 holds back 2 queued downloads" in warning


@pytest.mark.parametrize("limit", ["max_concurrent", "max_per_lane", "lane"])
async def test_a_limit_that_becomes_zero_while_the_block_is_being_left_is_warned_of(
    limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            _, b = queue(manager, "a", "b", lane="x")

            async def go_on() -> None:
                await settle()
                assert warnings_of(caplog) == []
                if limit == "lane":
                    manager.set_lane_limit("x", 0)
                else:
                    setattr(manager, limit, 0)
                assert len(warnings_of(caplog)) == 1
                fake.finish("a")
                await settle()
                assert b.status is DownloadStatus.PENDING
                await b.cancel()

            nursery.start_soon(go_on)
    assert len(warnings_of(caplog)) == 1


async def test_no_warning_if_the_block_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        await a.cancel()
    assert warnings_of(caplog) == []


async def test_no_warning_if_a_limit_becomes_zero_while_the_block_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async with open_manager(1, downloader=FakeDownloader(), on_exit="cancel") as manager:
        queue(manager, "a", "b")
        manager.max_concurrent = 0
    assert warnings_of(caplog) == []


async def test_no_warning_if_a_limit_becomes_zero_when_everything_is_being_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_manager(1, downloader=FakeDownloader(), on_exit="cancel") as manager:
        queue(manager, "a", "b")
        engine_of(manager).stop_all("enough")
        manager.max_concurrent = 0
    assert warnings_of(caplog) == []


async def test_no_warning_if_leaving_cancels(caplog: pytest.LogCaptureFixture) -> None:
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        queue_one(manager, "a")
    assert warnings_of(caplog) == []


async def test_no_warning_if_only_paused_ones_are_left(caplog: pytest.LogCaptureFixture) -> None:
    async with open_manager(0, downloader=FakeDownloader()) as manager:
        a = queue_one(manager, "a")
        await a.pause()
    assert warnings_of(caplog) == []

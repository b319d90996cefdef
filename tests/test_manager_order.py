"""Laws 2 and 3 on a running manager: downloads start in the order of their queueing, and lanes take turns."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, queue, queue_one, settle, url
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult, DownloadStatus, open_manager

pytestmark = pytest.mark.virtual_time


async def finish_in_turn(fake: FakeDownloader, names: str) -> str:
    """Finish the downloads one after the other, as they run; return the order in which bodies began."""
    for name in names:
        await settle()
        fake.finish(name)
    await settle()
    return "".join(fake.begun)


async def test_a_download_starts_in_the_step_that_queues_it_if_there_is_a_slot() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        first, second = queue(manager, "a", "b")
        # Nothing ran in between: a granted slot and the status are one fact.
        assert first.status is DownloadStatus.DOWNLOADING
        assert second.status is DownloadStatus.PENDING
        assert manager.get_stats().active == 1
        assert fake.begun == []
        fake.finish("a", "b")


async def test_the_next_starts_in_the_step_in_which_the_one_before_ends() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        log = StatusLog(manager)
        queue(manager, "a", "b")
        fake.finish("a", "b")
        await manager.wait_idle()
        a, b = ("a", DownloadStatus.COMPLETED), ("b", DownloadStatus.DOWNLOADING)
        assert log.entries.index(b) == log.entries.index(a) + 1


async def test_one_lane_is_first_come_first_served() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        queue(manager, *"abcdefgh")
        assert await finish_in_turn(fake, "abcdefgh") == "abcdefgh"


async def test_the_order_of_starts_is_the_order_of_queueing_also_with_many_slots() -> None:
    fake = FakeDownloader()
    names = [str(n) for n in range(30)]
    async with open_manager(4, downloader=fake) as manager:
        log = StatusLog(manager)
        queue(manager, *names)
        fake.finish(*names)
        await manager.wait_idle()
        assert log.ids(DownloadStatus.DOWNLOADING) == names
        assert log.ids(DownloadStatus.PENDING) == names
    assert fake.peak == 4


async def test_submits_that_wait_for_room_start_in_the_order_of_their_coming() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        log = StatusLog(manager)

        async def submit_waiting(name: str) -> None:
            await manager.submit(url(name), correlation_id=name)

        for name in "abcdefg":
            nursery.start_soon(submit_waiting, name)
            await settle()
        fake.finish(*"abcdefg")
        await manager.wait_idle()
        assert log.ids(DownloadStatus.DOWNLOADING) == [*"abcdefg"]


async def test_a_resumed_download_goes_to_the_tail_of_its_lane() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        _, b, *_ = queue(manager, *"abcd")
        await b.pause()
        b.resume()
        assert await finish_in_turn(fake, "acdb") == "acdb"


async def test_one_that_was_paused_while_running_goes_to_the_tail_too() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, *_ = queue(manager, *"abc")
        await settle()
        await a.pause()
        assert a.resume()
        assert a.status is DownloadStatus.PENDING
        assert await finish_in_turn(fake, "bca") == "abca"
        assert a.attempts == 2


async def test_a_retry_goes_to_the_tail_of_its_lane() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        log = StatusLog(manager)
        a, *_ = queue(manager, "a", "b", "c")
        await a.cancel()
        again = a.retry()
        fake.finish(*"abc")
        await manager.wait_idle()
        assert log.ids(DownloadStatus.DOWNLOADING)[1:] == ["b", "c", again.correlation_id]


async def test_cancelled_and_paused_ones_keep_no_place_and_the_others_keep_theirs() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        _, b, c, *_ = queue(manager, *"abcdef")
        await b.cancel()
        await c.pause()
        assert await finish_in_turn(fake, "adef") == "adef"
        await c.cancel()


async def test_lanes_take_turns() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        queue(manager, *"abc", lane="lower")
        queue(manager, *"ABC", lane="upper")
        queue(manager, "1", lane="digit")
        # "a" started when it was alone, and its lane got in line again with "b", before the others came.
        assert await finish_in_turn(fake, "abA1cBC") == "abA1cBC"


async def test_a_lane_with_a_thousand_entries_delays_a_new_lane_by_one_start() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        queue(manager, *[f"many{n}" for n in range(1000)], lane="many")
        queue(manager, "new", lane="new")
        await finish_in_turn(fake, "")
        fake.finish("many0", "many1")
        await settle()
        assert fake.begun == ["many0", "many1", "new"]


async def test_a_lane_at_its_limit_keeps_its_turn_until_it_may_start() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        manager.set_lane_limit("x", 1)
        queue(manager, *"ab", lane="x")
        queue(manager, *"ABCD", lane="y")
        await finish_in_turn(fake, "AB")
        assert set(fake.running) == {"a", "C"}
        fake.finish("a")
        await settle()
        # One slot got free, and the turn of x is older than that of y.
        assert set(fake.running) == {"b", "C"}
        fake.finish(*"bCD")


async def test_a_full_lane_does_not_hold_back_the_others() -> None:
    fake = FakeDownloader()
    async with open_manager(3, downloader=fake, max_per_lane=1) as manager:
        queue(manager, *"abc", lane="x")
        queue(manager, *"A", lane="y")
        queue(manager, *"1", lane="z")
        await settle()
        assert sorted(fake.running) == ["1", "A", "a"]
        fake.finish(*"abcA1")


async def test_a_lane_is_any_hashable_and_equal_ones_are_one_lane() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, max_per_lane=1) as manager:
        queue(manager, "a", lane=("host", 80))
        queue(manager, "b", lane=("host", 80))
        queue(manager, "c", lane=frozenset({1}))
        queue(manager, "d", lane=0)
        queue(manager, "e", lane=False)
        await settle()
        # False equals 0, and so is the same lane.
        assert sorted(fake.running) == ["a", "c", "d"]
        assert set(manager.get_stats().lanes) == {("host", 80), frozenset({1}), 0}
        fake.finish(*"abcde")


async def test_downloads_without_a_lane_share_one() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, max_per_lane=1) as manager:
        task, _ = queue(manager, "a", "b")
        await settle()
        assert task.lane is None
        assert fake.running == ["a"]
        assert set(manager.get_stats().lanes) == {None}
        fake.finish(*"ab")


async def test_lane_of_finds_the_lane_and_an_explicit_lane_wins_over_it() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, lane_of=lambda request: request.url[-1]) as manager:
        a, b = queue(manager, "a", "b")
        c = queue_one(manager, "c", lane="mine")
        assert (a.lane, b.lane, c.lane) == ("a", "b", "mine")
        assert set(manager.get_stats().lanes) == {"a", "b", "mine"}
        manager.max_concurrent = math.inf
        fake.finish(*"abc")


async def test_lane_of_may_leave_a_request_in_the_default_lane() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, lane_of=lambda request: None) as manager:
        assert queue_one(manager, "a").lane is None
        fake.finish("a")


async def test_a_retry_stays_in_the_lane_of_the_first_try() -> None:
    fake = FakeDownloader()
    lanes: Iterator[str] = iter(["first", "second"])
    async with open_manager(downloader=fake, lane_of=lambda request: next(lanes)) as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        assert a.retry().lane == "first"
        fake.finish("a")


async def test_a_retry_stays_in_the_default_lane_without_asking_for_a_lane_again() -> None:
    fake = FakeDownloader()
    asked: list[str] = []

    def lane_of(request: DownloadRequest) -> str | None:
        asked.append(request.url)
        return None if len(asked) == 1 else "another"

    async with open_manager(downloader=fake, lane_of=lane_of) as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        assert a.retry().lane is None
        fake.finish("a")
    assert asked == [url("a")]


# Law 2: counted by the downloader itself.


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_no_more_bodies_run_than_slots_exist(limit: int) -> None:
    running = peak = 0

    async def count(job: DownloadJob) -> DownloadResult:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await trio.sleep(1)
        running -= 1
        return DownloadResult(path=job.directory, size_bytes=0)

    async with open_manager(limit, downloader=count) as manager:
        await manager.submit_many([url(n) for n in range(20)])
        await manager.wait_idle()
        assert trio.current_time() >= 20 / limit
    assert peak == limit


async def test_infinity_starts_everything_at_once() -> None:
    fake = FakeDownloader()
    names = [str(n) for n in range(50)]
    async with open_manager(math.inf, downloader=fake) as manager:
        queue(manager, *names)
        await settle()
        assert len(fake.running) == 50
        fake.finish(*names)


async def test_a_slot_is_not_free_before_the_last_line_of_the_download_has_run() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        fake.shield("a", 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.cancel)
            await trio.sleep(9)
            assert fake.running == ["a"]
            assert (a.status, b.status) == (DownloadStatus.DOWNLOADING, DownloadStatus.PENDING)
            assert manager.get_stats().active == 1
            await trio.sleep(2)
            assert fake.running == ["b"]
        assert (a.status, b.status) == (DownloadStatus.CANCELLED, DownloadStatus.DOWNLOADING)
        fake.finish("b")

"""Admission to a full queue: first come, first admitted, and a cancelled submit has queued nothing."""

from __future__ import annotations

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, queue, queue_one, saved, settle, url
from trio_dlm import (
    DownloadJob,
    DownloadManager,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DuplicateTaskError,
    ManagerClosedError,
    QueueFullError,
    UnknownTaskError,
    open_manager,
)

pytestmark = pytest.mark.virtual_time


async def submit(manager: DownloadManager, name: str) -> None:
    await manager.submit(url(name), correlation_id=name)


async def line_up(nursery: trio.Nursery, manager: DownloadManager, names: str) -> None:
    for name in names:
        nursery.start_soon(submit, manager, name)
        await settle()


async def test_submit_waits_only_while_max_pending_downloads_are_queued() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=2) as manager, trio.open_nursery() as nursery:
        # The running one does not count.
        await submit(manager, "a")
        await submit(manager, "b")
        await submit(manager, "c")
        nursery.start_soon(submit, manager, "d")
        await settle()
        assert manager.get_stats().pending == 2
        with pytest.raises(UnknownTaskError):
            manager.get_task("d")
        fake.finish("a")
        await settle()
        assert manager.get_task("d").status is DownloadStatus.PENDING
        fake.finish(*"bcd")


async def test_without_max_pending_submit_never_waits_for_room() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        for n in range(300):
            with trio.fail_after(0.5):
                await manager.submit(url(n))
        assert manager.get_stats().pending == 300


async def test_paused_downloads_do_not_count() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        _, b = queue(manager, "a", "b")
        await b.pause()
        queue_one(manager, "c")
        with pytest.raises(QueueFullError):
            queue_one(manager, "d")
        fake.finish("a", "c")


@pytest.mark.parametrize(
    "room", ["finish", "cancel running", "cancel pending", "pause running", "pause pending", "limit"]
)
async def test_whatever_makes_room_admits_the_first_of_the_line(room: str) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1, on_exit="cancel") as manager:
        async with trio.open_nursery() as nursery:
            a, b = queue(manager, "a", "b")
            await line_up(nursery, manager, "cd")
            if room == "finish":
                fake.finish("a")
            elif room.startswith("cancel"):
                await (a if room.endswith("running") else b).cancel()
            elif room.startswith("pause"):
                await (a if room.endswith("running") else b).pause()
            else:
                manager.max_concurrent = 2
            await settle()
            assert manager.get_task("c").status is DownloadStatus.PENDING
            with pytest.raises(UnknownTaskError):
                manager.get_task("d")
            nursery.cancel_scope.cancel(reason="seen enough")


async def test_the_step_that_makes_room_queues_the_first_waiter_itself() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        _, b = queue(manager, "a", "b")
        await line_up(nursery, manager, "c")
        log = StatusLog(manager)
        fake.finish(*"abc")
        await b.wait()
        # "c" was queued before anybody could run.
        assert log.entries[:3] == [
            ("a", DownloadStatus.COMPLETED),
            ("b", DownloadStatus.DOWNLOADING),
            ("c", DownloadStatus.PENDING),
        ]


async def test_everybody_for_whom_there_is_room_is_admitted_in_one_step() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        queue(manager, "a", "b")
        await line_up(nursery, manager, "cdefg")
        manager.max_concurrent = 4
        assert [manager.get_task(name).status.value for name in "bcde"] == ["downloading"] * 3 + ["pending"]
        fake.finish(*"abcdefg")


async def test_admission_is_first_come_first_served() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        log = StatusLog(manager)
        await line_up(nursery, manager, "abcdefghij")
        fake.finish(*"abcdefghij")
        await manager.wait_idle()
        await settle()
        assert log.ids(DownloadStatus.PENDING) == [*"abcdefghij"]
        assert log.ids(DownloadStatus.DOWNLOADING) == [*"abcdefghij"]


async def test_submit_nowait_is_refused_when_the_queue_is_full() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        queue(manager, "a", "b")
        with pytest.raises(QueueFullError) as caught:
            queue_one(manager, "c")
        assert str(caught.value) == (
            "the queue holds max_pending=1 downloads; nothing was queued: "
            "await manager.submit(…) to wait for room, or raise max_pending"
        )
        assert (caught.value.max_pending, caught.value.waiting) == (1, 0)
        with pytest.raises(UnknownTaskError):
            manager.get_task("c")
        fake.finish("a", "b")


async def test_submit_nowait_does_not_overtake_those_who_wait() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        queue(manager, "a", "b")
        await line_up(nursery, manager, "cd")
        with pytest.raises(
            QueueFullError, match=r"^the queue holds max_pending=1 downloads and 2 submits wait; "
        ) as caught:
            queue_one(manager, "e")
        assert caught.value.waiting == 2
        fake.finish(*"abcd")


async def test_a_cancelled_submit_has_queued_nothing_and_its_place_is_the_next_ones() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        queue(manager, "a", "b")
        with trio.move_on_after(1) as scope:
            await submit(manager, "c")
        assert scope.cancelled_caught
        await line_up(nursery, manager, "d")
        fake.finish(*"abd")
        await manager.wait_idle()
        await settle()
        assert fake.begun == ["a", "b", "d"]
        with pytest.raises(UnknownTaskError):
            manager.get_task("c")


async def test_a_submit_whose_caller_is_cancelled_already_queues_nothing_although_there_is_room() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await submit(manager, "a")
        assert scope.cancelled_caught
        assert manager.get_stats().active == 0
        with pytest.raises(UnknownTaskError):
            manager.get_task("a")


async def test_an_id_in_the_line_is_taken_and_free_again_when_its_submit_is_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        queue(manager, "a", "b")
        async with trio.open_nursery() as nursery:
            await line_up(nursery, manager, "c")
            with pytest.raises(DuplicateTaskError):
                await submit(manager, "c")
            nursery.cancel_scope.cancel(reason="a test")
        async with trio.open_nursery() as nursery:
            await line_up(nursery, manager, "c")
            fake.finish(*"abc")


@pytest.mark.parametrize("on_exit", ["wait", "cancel"])
async def test_those_who_wait_are_turned_away_when_the_block_is_left(on_exit: str) -> None:
    fake = FakeDownloader()
    refused: list[str] = []
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake, max_pending=1, on_exit=on_exit) as manager:  # type: ignore[arg-type]
            queue(manager, "a", "b")

            async def submit_late(name: str) -> None:
                with pytest.raises(ManagerClosedError, match=r"^cannot submit: the manager's block is being left"):
                    await submit(manager, name)
                refused.append(name)

            for name in "cd":
                nursery.start_soon(submit_late, name)
                await settle()
            fake.finish("a", "b")
    assert sorted(refused) == ["c", "d"]
    assert set(fake.begun) <= {"a", "b"}


async def test_everything_is_checked_before_submit_waits() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        queue(manager, "a", "b")
        with trio.fail_after(0.5):
            with pytest.raises(TypeError):
                await manager.submit(url("c"), timeout_s="long")  # type: ignore[call-overload]
            with pytest.raises(ValueError, match="it is empty"):
                await manager.submit("")
            with pytest.raises(DuplicateTaskError):
                await submit(manager, "a")
        fake.finish("a", "b")


async def test_submit_many_waits_for_room_like_submit() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=2) as manager, trio.open_nursery() as nursery:
        log = StatusLog(manager)
        batches: list[int] = []

        async def submit_batch() -> None:
            requests = [DownloadRequest(url(name), correlation_id=name) for name in "abcde"]
            batches.append(len(await manager.submit_many(requests)))

        nursery.start_soon(submit_batch)
        await settle()
        await line_up(nursery, manager, "fg")
        assert batches == []
        fake.finish(*"abcdefg")
        await settle()
        assert batches == [5]
        # A batch stands in the line with one download at a time.
        assert log.ids(DownloadStatus.PENDING) == [*"abcdfge"]


async def test_a_running_download_may_wait_for_room_while_others_make_it() -> None:
    fake = FakeDownloader()
    manager: DownloadManager

    async def crawl(job: DownloadJob) -> DownloadResult:
        await submit(manager, "found")
        return saved(job)

    async with open_manager(2, downloader=fake, max_pending=1) as manager:
        queue(manager, "a")
        crawler = manager.submit_nowait(url("crawler"), downloader=crawl)
        queue(manager, "b")
        await settle()
        assert crawler.status is DownloadStatus.DOWNLOADING
        fake.finish("a", "b", "found")
        await crawler.result()
        await manager.wait_idle()
    assert fake.begun == ["a", "b", "found"]

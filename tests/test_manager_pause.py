"""Pause and resume: a slot is freed, what can be gone on from is kept, and the way back is the tail of the lane."""

from __future__ import annotations

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, queue, queue_one, saved, settle, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadJob,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    ManagerClosedError,
    NotFinishedError,
    QueueFullError,
    UnknownTaskError,
    open_manager,
)

pytestmark = pytest.mark.virtual_time

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED


async def test_a_paused_download_has_freed_its_slot_and_runs_no_code_when_pause_returns() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        assert await a.pause("lunch") is True
        assert (a.status, a.reason) == (PAUSED, "lunch")
        assert a.progress.phase is DownloadPhase.WAITING
        assert a.finished_at is None
        assert "a" not in fake.running
        assert b.status is DOWNLOADING
        assert manager.get_stats().paused == 1
        fake.finish("b")
        await b.wait()
        await a.cancel()


async def test_a_pending_download_is_taken_out_of_the_queue() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        _, b, c = queue(manager, *"abc")
        assert await b.pause("later") is True
        assert (b.status, b.reason, b.attempts) == (PAUSED, "later", 0)
        assert (manager.get_stats().pending, manager.get_stats().paused) == (1, 1)
        fake.finish("a")
        await settle()
        assert c.status is DOWNLOADING
        fake.finish("c")
        await c.wait()
        assert b.status is PAUSED


async def test_pausing_a_paused_download_is_true_and_keeps_the_first_reason() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.pause("first")
        before = a.snapshot()
        assert await a.pause("second") is True
        assert a.snapshot() == before


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
async def test_pausing_an_ended_download_is_false_and_changes_nothing(end: str) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        if end == "finish":
            fake.finish("a")
        elif end == "fail":
            fake.fail("a")
        else:
            await a.cancel()
        await a.wait()
        before = a.snapshot()
        assert await a.pause() is False
        assert a.resume() is False
        assert a.snapshot() == before


async def test_two_pauses_at_once_keep_the_first_reason_and_both_are_true() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 3)
        answers: list[bool] = []

        async def pause(reason: str) -> None:
            answers.append(await a.pause(reason))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pause, "first")
            await settle()
            assert a.progress.phase is DownloadPhase.STOPPING
            assert a.status is DOWNLOADING
            nursery.start_soon(pause, "second")
        assert answers == [True, True]
        assert a.reason == "first"


async def test_a_result_that_comes_despite_the_pause_completes_and_pause_is_false() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.gate("a").when_cancelled(None)
        assert await a.pause("lunch") is False
        assert (a.status, a.reason) == (COMPLETED, None)


async def test_an_error_that_comes_despite_the_pause_fails_and_pause_is_false() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.gate("a").when_cancelled(OSError("disk full"))
        assert await a.pause("lunch") is False
        assert await a.wait() is FAILED
        assert a.reason == "OSError: disk full"


async def test_a_shielding_downloader_delays_pause_by_exactly_its_shield() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 7)
        began = trio.current_time()
        assert await a.pause() is True
        assert trio.current_time() - began == 7


async def test_cancelling_the_caller_of_pause_does_not_undo_it() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 7)
        with trio.move_on_after(1) as scope:
            await a.pause()
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert a.status is PAUSED


# What is kept.


async def test_a_pause_keeps_what_was_downloaded_if_the_downloader_can_go_on_from_it() -> None:
    fake = FakeDownloader()
    fake.gate("a").can_resume = True
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        job = fake.gate("a").job
        assert job is not None
        assert job.attempt == 1
        job.progress.begin(0, 100)
        fake.grant("a", 40)
        await a.pause()
        assert (a.progress.received_bytes, a.progress.total_bytes) == (40, 100)
        a.resume()
        await settle()
        job = fake.gate("a").job
        assert job is not None
        assert job.attempt == 2
        # What the last run left is still counted while this one connects.
        assert (a.progress.received_bytes, a.progress.total_bytes) == (40, 100)
        fake.grant("a", 60)
        fake.finish("a")
        assert (await a.result()).size_bytes == 100
        assert a.attempts == 2
        assert manager.get_stats().bytes_received == 100


async def test_a_later_run_is_told_that_it_can_go_on() -> None:
    told: list[bool] = []

    async def download(job: DownloadJob) -> DownloadResult:
        told.append(job.can_resume)
        job.can_resume = True
        if job.attempt == 1:
            await trio.sleep_forever()
        return saved(job)

    async with open_manager(downloader=download) as manager:
        a = queue_one(manager, "a")
        await settle()
        await a.pause()
        a.resume()
        await a.result()
    assert told == [False, True]


async def test_a_pause_forgets_what_nobody_can_go_on_from() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        job = fake.gate("a").job
        assert job is not None
        job.progress.begin(0, 100)
        fake.grant("a", 40)
        await a.pause()
        assert (a.progress.received_bytes, a.progress.total_bytes) == (0, None)
        # They did arrive.
        assert manager.get_stats().bytes_received == 40
        a.resume()
        await settle()
        fake.grant("a", 100)
        fake.finish("a")
        assert (await a.result()).size_bytes == 100
        assert manager.get_stats().bytes_received == 140


async def test_the_first_start_is_remembered_and_every_run_is_counted() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert a.attempts == 1
        first = a.started_at
        assert first is not None
        await a.pause()
        a.resume()
        assert a.attempts == 2
        assert a.started_at == first
        fake.finish("a")


# The way back.


async def test_resume_queues_synchronously_and_starts_if_there_is_a_slot() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.pause("lunch")
        assert a.resume() is True
        assert a.status is DOWNLOADING
        assert a.reason is None
        assert manager.get_stats().paused == 0
        fake.finish("a")


async def test_resume_goes_through_pending_also_when_it_starts_at_once() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.pause()
        log = StatusLog(manager)
        a.resume()
        assert log.of(a) == [PENDING, DOWNLOADING]
        fake.finish("a")


async def test_resuming_what_is_not_paused_is_false_and_changes_nothing() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        before = (a.snapshot(), b.snapshot())
        assert a.resume() is False
        assert b.resume() is False
        assert (a.snapshot(), b.snapshot()) == before
        fake.finish("a", "b")


async def test_resume_is_never_refused_for_a_full_queue_and_holds_back_new_submits() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=2) as manager:
        _, b, c = queue(manager, *"abc")
        await b.pause()
        await c.pause()
        queue(manager, "d", "e")
        assert b.resume() is True
        assert c.resume() is True
        assert manager.get_stats().pending == 4
        # Two have to go before there is room again.
        for name in "ad":
            fake.finish(name)
            await settle()
            with pytest.raises(QueueFullError):
                manager.submit_nowait(url("f"))
        fake.finish("e")
        await settle()
        assert manager.get_stats().pending == 1
        f = queue_one(manager, "f")
        fake.finish("b", "c", "f")
        await f.wait()


async def test_pause_and_resume_again_and_again_is_one_download() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        log = StatusLog(manager)
        a = queue_one(manager, "a")
        for _ in range(50):
            await a.pause()
            a.resume()
        fake.finish("a")
        assert await a.wait() is COMPLETED
        assert a.attempts == 51
        assert log.of(a).count(COMPLETED) == 1


async def test_the_calls_by_id_are_those_of_the_handle() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert await manager.pause("a", "by id") is True
        assert (a.status, a.reason) == (PAUSED, "by id")
        assert manager.resume("a") is True
        fake.finish("a")
        await a.wait()
        assert manager.retry("a").retry_of == "a"
        for call in (manager.resume, manager.retry):
            with pytest.raises(UnknownTaskError):
                call("zzz")
        with pytest.raises(UnknownTaskError):
            await manager.pause("zzz")


# Retry.


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
async def test_a_retry_is_a_new_download_of_the_same_request(end: str) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = await manager.submit(url("a"), lane="x", filename="f", max_bytes=7)
        if end == "finish":
            fake.finish("a")
        elif end == "fail":
            fake.fail("a")
        else:
            await a.cancel()
        before = (await a.wait(), a.snapshot())
        fake.finish("a")
        again = a.retry()
        assert again.correlation_id != a.correlation_id
        assert (again.retry_of, again.lane, again.parent_id) == (a.correlation_id, "x", None)
        assert again.request.url == a.request.url
        assert again.request.options == a.request.options
        assert again.attempts == 1
        assert await again.wait() is COMPLETED
        assert (await a.wait(), a.snapshot()) == before


async def test_a_retry_uses_the_downloader_of_the_first_try() -> None:
    default, own = FakeDownloader(), FakeDownloader()
    async with open_manager(downloader=default) as manager:
        a = manager.submit_nowait(url("a"), downloader=own)
        own.finish("a")
        await a.wait()
        await a.retry().wait()
    assert own.begun == ["a", "a"]
    assert default.begun == []


@pytest.mark.parametrize("state", ["pending", "downloading", "paused"])
async def test_a_download_that_has_not_ended_cannot_be_retried(state: str) -> None:
    fake = FakeDownloader()
    async with open_manager(0 if state == "pending" else 1, downloader=fake, on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        if state == "paused":
            await a.pause()
        with pytest.raises(
            NotFinishedError, match=rf"^download a is {state}, and only an ended one can be retried"
        ) as caught:
            a.retry()
        assert (caught.value.correlation_id, caught.value.status) == ("a", state)
        assert manager.get_stats().pending + manager.get_stats().active + manager.get_stats().paused == 1


async def test_a_retry_into_a_full_queue_is_refused() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1, on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        queue(manager, "b", "c")
        with pytest.raises(QueueFullError):
            a.retry()


async def test_a_forgotten_download_can_be_retried_by_its_handle() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, keep_finished=0) as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        again = a.retry()
        assert again.retry_of == "a"
        fake.finish("a")


async def test_a_retry_of_a_retry_names_the_one_before_it() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        second = a.retry()
        await second.cancel()
        third = second.retry()
        assert third.retry_of == second.correlation_id
        fake.finish("a")


# At the end of the block.


async def test_a_paused_download_is_cancelled_when_the_block_ends() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        await a.pause("lunch")
        await b.pause()
    assert a.status is b.status is CANCELLED
    assert a.reason == "the manager's block was left"
    with pytest.raises(DownloadCancelledError):
        await a.result()


async def test_a_pause_that_is_being_carried_out_when_the_block_ends_becomes_a_cancel() -> None:
    fake = FakeDownloader()
    answers: list[bool] = []
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            a = queue_one(manager, "a")
            await settle()
            fake.shield("a", 5)

            async def pause() -> None:
                answers.append(await a.pause("lunch"))

            nursery.start_soon(pause)
            await settle()
    assert (a.status, a.reason) == (CANCELLED, "the manager's block was left")
    assert answers == [False]


async def test_a_pause_while_the_block_is_being_left_is_a_cancel() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")

            async def pause_late() -> None:
                await settle()
                assert await a.pause("lunch") is False
                assert (a.status, a.reason) == (CANCELLED, "the manager's block was left")
                assert await b.pause() is False
                assert b.status is CANCELLED

            nursery.start_soon(pause_late)


async def test_resume_and_retry_are_refused_while_the_block_is_being_left() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")
            await b.cancel()

            async def ask_late() -> None:
                await settle()
                with pytest.raises(ManagerClosedError, match=r"^cannot resume: the manager's block is being left; "):
                    a.resume()
                with pytest.raises(ManagerClosedError, match=r"^cannot retry: the manager's block is being left; "):
                    b.retry()
                fake.finish("a")

            nursery.start_soon(ask_late)
    assert a.status is COMPLETED

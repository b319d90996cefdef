"""The handle of one download: what it shows, what it waits for, and that looking costs nothing and changes nothing."""

from __future__ import annotations

import math
import weakref
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from tests.fakes import FakeDownloader, queue, queue_one, saved, settle, url
from trio_dlm import (
    DownloadJob,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    DownloadTimeoutError,
    Progress,
    open_manager,
)

pytestmark = pytest.mark.virtual_time


async def test_a_handle_shows_what_was_submitted() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        task = await manager.submit("https://joe:pw@example.org/a", lane="x", correlation_id="id", filename="f")
        assert (task.correlation_id, task.lane, task.parent_id, task.retry_of) == ("id", "x", None, None)
        assert task.url == "https://example.org/a"
        assert task.request.url == "https://joe:pw@example.org/a"
        assert task.request.options.filename == "f"
        assert (task.status, task.attempts, task.reason, task.error) == (DownloadStatus.PENDING, 0, None, None)
        assert (task.started_at, task.finished_at) == (None, None)
        assert task.progress == Progress(phase=DownloadPhase.WAITING)
        assert repr(task) == "<DownloadTask id pending https://example.org/a>"


async def test_times_are_aware_utc_and_in_order() -> None:
    fake = FakeDownloader()
    began = datetime.now(UTC)
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        assert began <= a.created_at <= datetime.now(UTC)
        assert a.created_at.tzinfo is UTC
        assert a.started_at is not None
        assert b.started_at is None
        fake.finish("a", "b")
        await b.wait()
    for task in (a, b):
        assert task.started_at is not None
        assert task.finished_at is not None
        assert began <= task.created_at <= task.started_at <= task.finished_at <= datetime.now(UTC)
        assert task.started_at.tzinfo is task.finished_at.tzinfo is UTC


async def test_a_snapshot_says_all_that_the_handle_says() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = await manager.submit(url("a"), lane="x")
        for step in ("running", "ended"):
            snapshot = a.snapshot()
            for name in (
                "correlation_id", "url", "status", "progress", "lane", "parent_id", "retry_of", "attempts",
                "reason", "error", "created_at", "started_at", "finished_at",
            ):  # fmt: skip
                assert getattr(snapshot, name) == getattr(a, name), name
            if step == "running":
                assert snapshot.result is None
                fake.finish("a")
                await a.wait()
            else:
                assert snapshot.result == await a.result()


async def test_progress_is_live() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert a.progress.phase is DownloadPhase.CONNECTING
        await settle()
        job = fake.gate("a").job
        assert job is not None
        job.progress.begin(0, 1000)
        for n in range(1, 6):
            await trio.sleep(1)
            fake.grant("a", 100)
            progress = a.progress
            assert (progress.received_bytes, progress.total_bytes, progress.fraction) == (100 * n, 1000, n / 10)
            assert progress.rate_bytes_per_s == pytest.approx(100)
            assert progress.eta_s == pytest.approx(10 - n)
            assert progress.phase is DownloadPhase.TRANSFERRING
        job.progress.retries = 2
        assert a.progress.retries == 2
        assert a.attempts == 1
        fake.grant("a", 500)
        fake.finish("a")
        await a.wait()
        progress = a.progress
        assert (progress.phase, progress.received_bytes, progress.total_bytes) == (DownloadPhase.ENDED, 1000, 1000)


async def test_a_completed_download_shows_the_size_of_its_result_whatever_was_reported() -> None:
    async def download(job: DownloadJob) -> DownloadResult:
        job.progress.advance(7)
        return saved(job, 1000)

    async with open_manager(downloader=download) as manager:
        a = await manager.submit(url("a"))
        await a.wait()
        assert (a.progress.received_bytes, a.progress.total_bytes, a.progress.fraction) == (1000, 1000, 1.0)
        # What arrived is another matter.
        assert manager.get_stats().bytes_received == 7


@pytest.mark.parametrize("looked_before", [True, False])
@pytest.mark.parametrize("end", ["cancel", "finish", "fail"])
async def test_no_progress_follows_an_end(end: str, looked_before: bool) -> None:
    job: DownloadJob
    opened = trio.Event()

    async def download(given: DownloadJob) -> DownloadResult:
        nonlocal job
        job = given
        if looked_before:
            job.progress.begin(0, 10)
        await opened.wait()
        if end == "fail":
            raise OSError("disk full")
        return saved(job, 10)

    async with open_manager(downloader=download, failures="keep") as manager:
        a = queue_one(manager, "a")
        await settle()
        if end == "cancel":
            await a.cancel()
        opened.set()
        await manager.wait_idle()
        before = a.snapshot()
        job.progress.advance(100)
        job.progress.phase = DownloadPhase.MERGING
        job.progress.total_bytes = 5
        assert a.snapshot() == before
        assert manager.get_stats().bytes_received == 0


async def test_a_paused_download_reports_no_progress_either() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        await a.pause()
        before = a.snapshot()
        fake.grant("a", 100)
        assert a.snapshot() == before
        assert manager.get_stats().bytes_received == 0


async def test_an_ended_download_holds_nothing_of_its_run() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        fake.finish("a")
        await a.wait()
        await b.cancel()
        for task in (a, b):
            kept = task._download
            assert (kept.context, kept.scope, kept.runner, kept.ticket) == (None,) * 4


async def test_a_queued_download_is_small() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        kept = queue_one(manager, "a")._download
        assert (kept.meter, kept.scope, kept.runner, kept.askers, kept.stoppers) == (None,) * 5
        tasks = trio.lowlevel.current_statistics().tasks_living
        queue(manager, *map(str, range(100)))
        # No task either.
        assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_wait_returns_the_final_status_whichever_it_is() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        a, b, c = queue(manager, *"abc")
        fake.finish("a")
        fake.fail("b")
        await c.cancel()
        expected = [DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED]
        assert [await task.wait() for task in (a, b, c)] == expected
        # And again.
        assert [await task.wait() for task in (a, b, c)] == expected


async def test_many_may_wait_for_one_download() -> None:
    fake = FakeDownloader()
    got: list[object] = []
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")

        async def wait(call: Any) -> None:
            got.append(await call())

        for call in (a.wait, a.wait, a.result, a.result):
            nursery.start_soon(wait, call)
        await settle()
        fake.finish("a")
    assert got.count(DownloadStatus.COMPLETED) == 2
    assert sum(isinstance(each, DownloadResult) for each in got) == 2


async def test_wait_passes_over_a_pause() -> None:
    fake = FakeDownloader()
    got: list[DownloadStatus] = []
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")

        async def wait() -> None:
            got.append(await a.wait())

        nursery.start_soon(wait)
        await settle()
        await a.pause()
        await settle()
        assert got == []
        a.resume()
        fake.finish("a")
    assert got == [DownloadStatus.COMPLETED]


async def test_result_is_what_the_downloader_returned_itself() -> None:
    class Song(DownloadResult):
        title: str = "untitled"

    async def download(job: DownloadJob) -> Song:
        return Song(path=job.directory / "song", size_bytes=3)

    async with open_manager(downloader=FakeDownloader()) as manager:
        task: DownloadTask[Song] = await manager.submit(url("a"), downloader=download)
        result = await task.result()
        assert result.title == "untitled"
        assert await task.result() is result


async def test_a_download_can_wait_for_another() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        a = queue_one(manager, "a")

        async def after(job: DownloadJob) -> DownloadResult:
            return await a.result()

        b = await manager.submit(url("b"), downloader=after)
        await settle()
        fake.finish("a")
        assert await b.result() is await a.result()


@pytest.mark.parametrize("value", [None, 7, "path", {"path": "x"}, object], ids=repr)
async def test_what_is_no_result_fails_the_download(value: object) -> None:
    async def download(job: DownloadJob) -> Any:
        return value

    async with open_manager(downloader=download) as manager:
        a = await manager.submit(url("a"))
        assert await a.wait() is DownloadStatus.FAILED
        assert isinstance(a.error, TypeError)
        assert a.reason == f"TypeError: the downloader returned {value!r}, expected a DownloadResult"


async def test_total_timeout_limits_one_run_and_says_what_it_waited_for() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        blocker = queue_one(manager, "blocker")
        a = await manager.submit(url("a"), total_timeout_s=10)
        # Time in the queue does not count.
        await trio.sleep(100)
        assert a.status is DownloadStatus.PENDING
        fake.finish("blocker")
        await blocker.wait()
        began = trio.current_time()
        await trio.sleep(6)
        await a.pause()
        await trio.sleep(100)
        a.resume()
        # Neither does an earlier run.
        began = trio.current_time()
        assert await a.wait() is DownloadStatus.FAILED
        assert trio.current_time() - began == 10
        error = a.error
        assert isinstance(error, DownloadTimeoutError)
        assert (error.waited_for, error.limit_s, error.option) == ("end of the download", 10, "total_timeout_s")
        assert str(error) == (
            f"{url('a')}: no end of the download within 10 s; the attempt was given up: "
            f"raise total_timeout_s if that is expected"
        )
        assert fake.running == []


async def test_a_run_within_its_total_timeout_completes() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = await manager.submit(url("a"), total_timeout_s=10)
        b = await manager.submit(url("b"), total_timeout_s=math.inf)
        await trio.sleep(9)
        fake.finish("a")
        assert await a.wait() is DownloadStatus.COMPLETED
        await trio.sleep(1000)
        fake.finish("b")
        assert await b.wait() is DownloadStatus.COMPLETED


async def test_a_cancel_wins_over_a_timeout_that_comes_while_it_is_carried_out() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = await manager.submit(url("a"), total_timeout_s=10)
        await settle()
        fake.shield("a", 20)
        assert await a.cancel() is True


async def test_a_result_that_comes_after_the_timeout_is_a_result() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = await manager.submit(url("a"), total_timeout_s=10)
        await settle()
        fake.gate("a").when_cancelled(None)
        assert await a.wait() is DownloadStatus.COMPLETED


async def test_nobody_makes_a_handle_by_hand() -> None:
    with pytest.raises(TypeError, match=r"^a DownloadTask is made by manager\.submit\(…\)$"):
        DownloadTask()
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(TypeError, match=r"^a DownloadManager is made by `async with trio_dlm\.open_manager"):
            type(manager)()


async def test_a_handle_can_be_referred_to_weakly() -> None:
    async with open_manager(downloader=FakeDownloader(), on_exit="cancel") as manager:
        task = queue_one(manager, "a")
        assert weakref.ref(task)() is task


async def test_a_handle_can_be_a_key_and_cannot_be_changed() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        a, b = queue(manager, "a", "b")
        assert {a: 1, b: 2}[a] == 1
        with pytest.raises(AttributeError):
            a.status = DownloadStatus.COMPLETED  # type: ignore[misc]

"""One run: what its error shows of it, what it leaves behind, and which Cancelled stops it."""

from __future__ import annotations

import gc
import traceback
import weakref

import pytest
import trio

from tests.fakes import FakeDownloader, queue, queue_one, saved, settle
from trio_dlm import DownloadJob, DownloadResult, DownloadStatus, open_manager

pytestmark = pytest.mark.virtual_time


async def test_the_traceback_of_an_error_leads_into_the_downloader_and_not_through_the_run() -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("disk full")

    async with open_manager(downloader=fail, failures="keep") as manager:
        task = queue_one(manager, "a")
        await task.wait()
    assert task.error is not None
    names = [frame.name for frame in traceback.extract_tb(task.error.__traceback__)]
    assert names == ["_fetch", "fail"]


async def test_a_cancelled_that_was_kept_from_elsewhere_fails_the_download_and_nothing_else() -> None:
    kept: list[trio.Cancelled] = []
    with trio.CancelScope() as scope:
        scope.cancel(reason="a test")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:
            kept.append(exc)
            raise

    async def fail(job: DownloadJob) -> DownloadResult:
        if job.url.endswith("a"):
            raise kept[0]
        await trio.sleep(10)
        return saved(job)

    async with open_manager(2, downloader=fail) as manager:
        a, b = queue(manager, "a", "b")
        assert await a.wait() is DownloadStatus.FAILED
        assert isinstance(a.error, RuntimeError)
        assert a.error.__cause__ is kept[0]
        assert manager.get_stats().active == 1
    assert b.status is DownloadStatus.COMPLETED


class Crash(BaseException):
    """Something that no download may swallow."""


async def test_a_crash_does_not_keep_the_manager() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a", Crash())
            await trio.sleep_forever()
    error = a.error
    alive = weakref.ref(manager)
    del manager, a
    await settle()
    gc.collect()
    assert error is not None
    assert isinstance(error.__cause__, Crash)
    assert alive() is None


async def test_a_crash_went_through_the_run_and_holds_nothing_of_it() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a", crash := Crash())
            await trio.sleep_forever()
    assert a.error is not None
    frames = [frame for frame, _ in traceback.walk_tb(crash.__traceback__) if frame.f_code.co_name == "run_download"]
    assert [set(frame.f_locals) for frame in frames] == [{"swept"}]

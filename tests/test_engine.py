"""What the engine does that no handle shows: how it is protected, what it tells trio, and how often it wakes whom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import trio

from tests.fakes import FakeDownloader, Steps, queue, queue_one, saved, settle, url
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult, open_manager
from trio_dlm import _engine as engine_room
from trio_dlm._outcome import Asked

pytestmark = pytest.mark.virtual_time


@contextmanager
def watching_protection(protected: dict[str, bool]) -> Iterator[None]:
    """Note of every method of the engine that is called whether Ctrl-C is held off in it, each time."""

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename == engine_room.__file__:
            name = frame.f_code.co_qualname
            protected[name] = protected.get(name, True) and trio.lowlevel.currently_ki_protected()

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


async def test_ctrl_c_is_held_off_in_every_step_whoever_calls_it() -> None:
    fake = FakeDownloader()
    protected: dict[str, bool] = {}
    async with open_manager(1, downloader=fake) as manager:
        running, _ = queue(manager, "running", "pending")
        fake.finish("more")
        pending = manager.get_task("pending")._download
        await settle()
        assert not trio.lowlevel.currently_ki_protected()
        engine = manager._engine
        with watching_protection(protected):
            engine.queue(manager._prepare("submit", DownloadRequest(url("more"))))
            engine.step()
            engine.limits_changed()
            engine.pause(pending, None)
            engine.resume(pending)
            engine.cancel(pending, None)
            engine.open_meter(running._download)
            engine._progressed(running._download)
            engine.close_door()
            await engine.cancel_each([running._download], None, Asked.CANCEL)
            await engine.drain()
            engine.stop_all("enough")
            await settle()
    assert protected
    for step in (
        "_cancel_live",
        "_progressed",
        "cancel",
        "cancel_each",
        "close_door",
        "drain",
        "limits_changed",
        "open_meter",
        "pause",
        "queue",
        "resume",
        "run_ended",
        "step",
        "stop_all",
    ):
        assert protected[f"Engine.{step}"], step


async def test_the_trio_task_of_a_download_is_named_by_its_id() -> None:
    names: list[str] = []

    async def look(job: DownloadJob) -> DownloadResult:
        names.append(trio.lowlevel.current_task().name)
        return saved(job)

    async with open_manager(downloader=look) as manager:
        await manager.submit(url("a"), correlation_id="0123abcd")
    assert names == ["0123abcd"]


@pytest.mark.parametrize(
    ("verb", "reason", "told"),
    [
        ("cancel", "enough", "enough"),
        ("cancel", None, "trio_dlm: cancel of download a"),
        ("pause", "later", "later"),
        ("pause", None, "trio_dlm: pause of download a"),
    ],
)
async def test_the_cancelled_that_a_download_sees_says_why(verb: str, reason: str | None, told: str) -> None:
    seen: list[str | None] = []

    async def wait(job: DownloadJob) -> DownloadResult:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            seen.append(exc.reason)
            raise
        return saved(job)

    async with open_manager(downloader=wait) as manager:
        task = queue_one(manager, "a")
        await settle()
        assert await (task.cancel(reason) if verb == "cancel" else task.pause(reason))
    assert seen == [told]


async def test_a_pause_while_the_block_is_being_left_is_asked_for_as_a_close() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(downloader=fake) as manager:
            task = queue_one(manager, "a")

            async def pause_later() -> None:
                await settle()
                manager._engine.pause(task._download, "later")
                assert task._download.asked is Asked.CLOSE

            nursery.start_soon(pause_later)


async def test_who_waits_for_idleness_sleeps_until_it_comes() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        queue(manager, *"abcd")
        with Steps("waiter") as steps:
            nursery.start_soon(manager.wait_idle, name="waiter")
            await settle()
            begun = steps.count
            for name in "abcd":
                fake.finish(name)
                await settle()
        assert steps.count == begun + 1


@pytest.mark.parametrize(("count", "turns"), [(999, 0), (1000, 1), (2001, 2)])
async def test_others_get_their_turn_after_every_thousandth_that_is_cancelled(count: int, turns: int) -> None:
    async with open_manager(0, downloader=FakeDownloader()) as manager:
        downloads = [task._download for task in await manager.submit_many([url(n) for n in range(count)])]

        async def cancel() -> None:
            await manager._engine.cancel_each(downloads, None, Asked.CANCEL)

        with Steps("canceller") as steps:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, name="canceller")
        assert steps.count == 1 + turns


async def test_changes_are_counted_from_one() -> None:
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        assert [task.snapshot().sequence for task in queue(manager, "a", "b")] == [1, 2]


async def test_the_bytes_of_a_download_that_failed_are_still_shown() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        task = queue_one(manager, "a")
        await settle()
        fake.grant("a", 5)
        fake.fail("a")
    assert task.progress.received_bytes == 5

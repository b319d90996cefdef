"""What the engine does that no handle shows: how it is protected, what it tells trio, and how often it wakes whom."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
import trio

from tests.fakes import FakeDownloader, Steps, engine_of, make_download, queue, queue_one, saved, settle, url
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult, DownloadStatus, ManagerClosedError, open_manager
from trio_dlm import _engine as engine_room
from trio_dlm import _manager as manager_room
from trio_dlm._engine import Engine
from trio_dlm._outcome import Asked
from trio_dlm._schedule import _Lane

pytestmark = pytest.mark.virtual_time


@contextmanager
def watching_protection(protected: dict[str, bool]) -> Iterator[None]:
    """Note of every method of engine and manager that is called whether Ctrl-C is held off in it, each time."""

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code.co_filename in {engine_room.__file__, manager_room.__file__}:
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
        engine = engine_of(manager)
        with watching_protection(protected):
            engine.queue(manager._prepare("submit", DownloadRequest(url("more"))))
            engine.step()
            engine.limits_changed()
            engine.pause(pending, None)
            engine.resume(pending)
            engine.cancel(pending, None)
            engine.open_meter(running._download)
            engine.open_rate_limit(running._download)
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
        "open_rate_limit",
        "pause",
        "queue",
        "resume",
        "run_ended",
        "step",
        "stop_all",
    ):
        assert protected[f"Engine.{step}"], step


async def test_ctrl_c_is_held_off_while_a_limit_is_set() -> None:
    protected: dict[str, bool] = {}
    async with open_manager(1, downloader=FakeDownloader()) as manager:
        with watching_protection(protected):
            manager.max_concurrent = 2
            manager.max_per_lane = 2
            manager.set_lane_limit("x", 2)
    for name in ("max_concurrent", "max_per_lane", "set_lane_limit"):
        assert protected[f"DownloadManager.{name}"], name


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
                engine_of(manager).pause(task._download, "later")
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
            await engine_of(manager).cancel_each(downloads, None, Asked.CANCEL)

        with Steps("canceller") as steps:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, name="canceller")
        assert steps.count == 1 + turns


async def test_changes_are_counted_from_one() -> None:
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        a, b = queue(manager, "a", "b")
        assert [task.snapshot().sequence for task in (a, b)] == [1, 2]
        engine_of(manager)._progressed(a._download)
        assert a.snapshot().sequence == 3


async def test_the_bytes_of_a_download_that_failed_are_still_shown() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        task = queue_one(manager, "a")
        await settle()
        fake.grant("a", 5)
        fake.fail("a")
    assert task.progress.received_bytes == 5


async def test_a_download_whose_surroundings_are_cancelled_says_so() -> None:
    # The nursery alone, so that the run is the first to notice.
    async with open_manager(1, downloader=FakeDownloader()) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        engine_of(manager).nursery.cancel_scope.cancel(reason="a test")
        with trio.CancelScope(shield=True):
            await settle()
        assert [task.reason for task in (a, b)] == 2 * ["the manager's block was cancelled"]


async def test_a_paused_download_holds_nothing_of_its_run() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        await settle()
        assert a._download.scope is not None
        assert a._download.runner is not None
        assert await a.pause()
        assert a._download.scope is None
        assert a._download.runner is None


async def test_the_first_reason_for_stopping_everything_stays() -> None:
    async with open_manager(1, downloader=FakeDownloader()) as manager:
        tasks = queue(manager, "a", "b")
        engine_of(manager).stop_all("first")
        engine_of(manager).stop_all("second")
    assert [task.reason for task in tasks] == ["first", "first"]


async def test_no_queue_is_swept_while_everything_is_being_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[object] = []
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        queue(manager, *"abc")
        monkeypatch.setattr(_Lane, "sweep", swept.append)
    assert manager.get_stats().cancelled == 3
    assert swept == []


async def test_the_block_waits_for_the_last_of_those_that_are_held_back() -> None:
    fake = FakeDownloader()
    fake.finish("b")
    async with trio.open_nursery() as nursery:
        async with open_manager(0, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")

            async def let_go() -> None:
                await settle()
                await a.cancel()
                await settle()
                manager.max_concurrent = 1

            nursery.start_soon(let_go)
        assert b.status is DownloadStatus.COMPLETED


async def test_the_task_that_cancels_everything_says_what_it_does() -> None:
    class Names(trio.abc.Instrument):
        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            names.append(task.name)

    names: list[str] = []
    trio.lowlevel.add_instrument(instrument := Names())
    async with open_manager(downloader=FakeDownloader(), on_exit="cancel"):
        pass
    trio.lowlevel.remove_instrument(instrument)
    assert names == ["trio_dlm: cancel all downloads"]


async def test_a_closed_engine_starts_nothing_and_lets_nothing_in_whatever_came_before() -> None:
    engine = Engine(
        max_concurrent=1,
        max_per_lane=1,
        max_pending=1,
        keep_finished=1,
        rate_limit_bytes_per_s=1,
        directory=Path("/"),
        resources=None,
    )
    engine.close()
    engine.schedule.put(download := make_download())
    engine.step()
    assert download.status is DownloadStatus.PENDING
    assert engine.hub.closed
    with pytest.raises(ManagerClosedError):
        engine.check_door("submit")


async def test_a_step_that_the_life_cycle_does_not_have_is_refused() -> None:
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        with pytest.raises(AssertionError, match=r"^a download cannot go from pending to completed$"):
            engine_of(manager)._set_status(a._download, DownloadStatus.COMPLETED)
        assert a.status is DownloadStatus.PENDING

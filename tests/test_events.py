"""Watching downloads: the present first, then every change once, merged if nobody looked, and every end."""

from __future__ import annotations

import heapq
import string
from itertools import pairwise
from typing import Any

import pytest
import trio

from tests.fakes import FakeDownloader, drain, make_download, queue, queue_one, settle, url
from trio_dlm import (
    DownloadPhase,
    DownloadStatus,
    Subscription,
    TaskSnapshot,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)
from trio_dlm._download import Download
from trio_dlm._events import EventHub
from trio_dlm._trio_loop import TRIO_LOOP

pytestmark = pytest.mark.virtual_time

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED


def brief(snapshots: list[TaskSnapshot]) -> list[str]:
    return [f"{snapshot.correlation_id} {snapshot.status.value}" for snapshot in snapshots]


class Reader:
    """Reads a subscription in a task of its own, as fast as it can."""

    def __init__(self, events: Subscription) -> None:
        self.got: list[TaskSnapshot] = []
        self.times: list[float] = []
        self.over = False
        self._events = events

    async def run(self) -> None:
        async with self._events as events:
            async for snapshot in events:
                self.got.append(snapshot)
                self.times.append(trio.current_time())
        self.over = True

    def take(self) -> list[str]:
        got = brief(self.got)
        self.got.clear()
        return got


async def start_reader(nursery: trio.Nursery, events: Subscription) -> Reader:
    reader = Reader(events)
    nursery.start_soon(reader.run)
    await settle()
    return reader


# What comes first.


async def test_it_begins_with_the_present_snapshot_of_everything_that_has_not_ended() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        ended, _, _, paused = queue(manager, "ended", "running", "pending", "paused")
        await ended.cancel()
        await paused.pause()
        async with manager.events() as events:
            assert brief(await drain(events)) == ["running downloading", "pending pending", "paused paused"]


async def test_a_named_task_is_shown_even_if_it_has_ended() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        ended, running = queue(manager, "ended", "running")
        await ended.cancel()
        async with manager.events(tasks=[running, "ended"]) as events:
            assert brief(await drain(events)) == ["running downloading", "ended cancelled"]


async def test_tasks_may_be_handles_ids_parent_ids_or_a_batch_and_one_alone() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager:
        a, *_ = queue(manager, *"abc")
        batch = await manager.submit_many([url("x"), url("y")], parent_id="p")
        x, y = (task.correlation_id for task in batch)
        named: list[tuple[Any, list[str]]] = [
            ([a, "b"], ["a", "b"]),
            (["p", "b"], [x, y, "b"]),
            (batch, [x, y]),
            ("p", [x, y]),
            ("c", ["c"]),
            (a, ["a"]),
            (iter([a, "a", a]), ["a"]),
        ]
        for tasks, expected in named:
            async with manager.events(tasks=tasks) as events:
                assert [snapshot.correlation_id for snapshot in await drain(events)] == expected


async def test_nobody_named_means_it_ends_at_once() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager, manager.events(tasks=[]) as events:
        assert [snapshot async for snapshot in events] == []


async def test_unknown_names_and_wrong_types_are_refused_when_events_is_called() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(UnknownTaskError):
            manager.events(tasks=["zzz"])
        with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got 7$"):
            manager.events(tasks=[7])  # type: ignore[list-item]
        with pytest.raises(TypeError, match=r"^min_interval_s is a number of seconds, got '1'$"):
            manager.events(min_interval_s="1")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^min_interval_s is a number of seconds, got True$"):
            manager.events(min_interval_s=True)
        for value in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=r"^min_interval_s is a number of seconds from 0 up, got "):
                manager.events(min_interval_s=value)


async def test_downloads_that_come_later_are_seen_by_who_watches_all_and_not_by_who_named_some() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager, trio.open_nursery() as nursery:
        queue(manager, "a")
        everything = await start_reader(nursery, manager.events())
        some = await start_reader(nursery, manager.events(tasks=["a"]))
        queue(manager, "b")
        await settle()
        assert everything.take() == ["a downloading", "b pending", "b downloading"]
        assert some.take() == ["a downloading"]
        nursery.cancel_scope.cancel(reason="seen enough")


# Conflation and order.


async def test_a_reader_that_keeps_up_sees_every_state_of_a_download() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a, b = queue(manager, "a", "b")
        reader = await start_reader(nursery, manager.events(tasks=[b]))
        await b.pause()
        await settle()
        b.resume()
        await settle()
        fake.finish("a")
        await settle()
        fake.finish("b")
        await b.wait()
        assert a.status is COMPLETED
    assert reader.take() == ["b pending", "b paused", "b pending", "b downloading", "b completed"]


async def test_states_that_nobody_looked_at_are_merged_into_the_latest() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, manager.events() as events:
        a = queue_one(manager, "a")
        await settle()
        for _ in range(50):
            fake.grant("a", 2)
        await a.pause()
        a.resume()
        assert brief(await drain(events)) == ["a downloading"]
        fake.finish("a")
        await a.wait()
        assert brief(await drain(events)) == ["a completed"]


async def test_a_reader_holds_one_change_per_download_however_much_happens() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager, manager.events() as events:
        queue(manager, *"abc")
        await settle()
        for _ in range(1000):
            fake.grant("a", 1)
            fake.grant("b", 1)
        assert len(events._changes) == 3
        assert len(events._ready) == 3
        assert [snapshot.progress.received_bytes for snapshot in await drain(events)] == [1000, 1000, 0]


async def test_changes_come_in_the_order_in_which_they_first_happened() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager, manager.events() as events:
        queue(manager, *"abc")
        await drain(events)
        await settle()
        for name in "cabcab":
            fake.grant(name, 1)
        snapshots = await drain(events)
        assert [snapshot.correlation_id for snapshot in snapshots] == ["c", "a", "b"]
        # What is delivered is the present, not the moment of the first change.
        assert [snapshot.progress.received_bytes for snapshot in snapshots] == [2, 2, 2]


async def test_the_sequence_rises_for_each_download_and_tells_the_later_of_two_snapshots() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        reader = await start_reader(nursery, manager.events(tasks=[a]))
        for _ in range(5):
            fake.grant("a", 1)
            await settle()
        fake.finish("a")
        await a.wait()
    sequences = [snapshot.sequence for snapshot in reader.got]
    assert sequences == sorted(set(sequences))
    assert len(sequences) == 7


async def test_a_snapshot_is_taken_when_it_is_delivered_and_never_stale() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager, manager.events() as events:
        a = queue_one(manager, "a")
        (first,) = await drain(events)
        assert first.status is DOWNLOADING
        await a.pause("lunch")
        fake.gate("a").can_resume = True
        (second,) = await drain(events)
        assert second == a.snapshot()
        assert (second.status, second.reason) == (PAUSED, "lunch")


async def test_a_reader_that_waits_is_woken_by_a_change() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager, trio.open_nursery() as nursery:
        reader = await start_reader(nursery, manager.events())
        queue(manager, "a")
        await settle()
        assert reader.take() == ["a pending", "a downloading"]
        fake.gate("a").job.progress.phase = DownloadPhase.MERGING  # type: ignore[union-attr]
        await settle()
        (snapshot,) = reader.got
        assert snapshot.progress.phase is DownloadPhase.MERGING
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_a_download_being_stopped_is_seen_so() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        reader = await start_reader(nursery, manager.events(tasks=[a]))
        fake.shield("a", 1)
        await a.cancel("enough")
    phases = [(snapshot.status, snapshot.progress.phase, snapshot.reason) for snapshot in reader.got]
    assert phases[-2:] == [
        (DOWNLOADING, DownloadPhase.STOPPING, "enough"),
        (CANCELLED, DownloadPhase.ENDED, "enough"),
    ]


async def test_every_reader_has_its_own_view() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        async with manager.events() as first, manager.events(tasks=[a]) as second, manager.events(tasks="a") as third:
            assert len(await drain(first)) == 1
            assert len(await drain(second)) == 1
            assert len(await drain(third)) == 1


# min_interval_s.


async def test_without_an_interval_nothing_is_held_back() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        reader = await start_reader(nursery, manager.events(tasks=[a]))
        for _ in range(3):
            await trio.sleep(0.5)
            fake.grant("a", 1)
        await settle()
        assert [later - earlier for earlier, later in pairwise(reader.times)] == [0.5, 0.5, 0.5]
        fake.finish("a")


async def test_min_interval_holds_back_everything_but_final_states_for_each_download_alone() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
        a, b = queue(manager, "a", "b")
        await settle()
        began = trio.current_time()
        reader = await start_reader(nursery, manager.events(tasks=[a, b], min_interval_s=10))
        assert reader.take() == ["a downloading", "b downloading"]
        for _ in range(25):
            fake.grant("a", 1)
            await trio.sleep(1)
        # At 0 the first; then the changes of 10 seconds each, as one.
        assert [time - began for time in reader.times] == [0, 0, 10, 20]
        assert [snapshot.correlation_id for snapshot in reader.got] == ["a", "a"]
        fake.grant("b", 1)
        await settle()
        # The other one had been silent for long enough.
        assert reader.got[-1].correlation_id == "b"
        assert reader.times[-1] - began == 25
        fake.finish("a", "b")
        await a.wait()
        await settle()
        assert {snapshot.status for snapshot in reader.got[-2:]} == {COMPLETED}
        assert reader.times[-1] - began == 25
    assert reader.over


async def test_a_change_that_is_held_back_when_the_end_comes_becomes_the_end_at_once() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
        a, b = queue(manager, "a", "b")
        await settle()
        began = trio.current_time()
        reader = await start_reader(nursery, manager.events(tasks=[a, b], min_interval_s=10))
        reader.take()
        fake.grant("a", 1)
        fake.grant("b", 1)
        await settle()
        assert reader.got == []
        fake.finish("a")
        await a.wait()
        await settle()
        assert reader.take() == ["a completed"]
        assert trio.current_time() == began
        await trio.sleep(10)
        await settle()
        # The entry of the ended one in the list of what is held back is void.
        assert reader.take() == ["b downloading"]
        fake.finish("b")


async def test_a_held_back_change_of_an_ended_download_that_lies_deeper_is_void_too() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
        tasks = queue(manager, *"abc")
        await settle()
        reader = await start_reader(nursery, manager.events(tasks=tasks, min_interval_s=10))
        reader.take()
        for name in "abc":
            await trio.sleep(1)
            fake.grant(name, 1)
        fake.finish("b")
        await settle()
        assert reader.take() == ["b completed"]
        await trio.sleep(10)
        await settle()
        assert reader.take() == ["a downloading", "c downloading"]
        fake.finish("a", "c")


async def test_a_reader_that_only_now_and_then_looks_gets_what_is_due_and_not_what_is_held_back() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager:
        queue(manager, "a", "b")
        async with manager.events(min_interval_s=10) as events:
            await drain(events)
            await settle()
            fake.grant("a", 1)
            assert await drain(events) == []
            await trio.sleep(11)
            assert brief(await drain(events)) == ["a downloading"]
            fake.grant("b", 1)
            assert brief(await drain(events)) == ["b downloading"]


async def test_a_reader_sleeps_only_while_it_holds_something_back() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager, trio.open_nursery() as nursery:
        queue(manager, "a")
        await settle()
        await start_reader(nursery, manager.events(min_interval_s=10))
        # No ticker: the next deadline is that of the test.
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 1000
        fake.grant("a", 1)
        await settle()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline <= 10
        await trio.sleep(20)
        await settle()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 1000
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_without_readers_or_progress_a_manager_never_wakes_by_itself() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        queue(manager, "a", "b")
        await settle()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 1000


# How it ends.


async def test_with_tasks_it_ends_after_the_last_of_them_has_ended() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
        a, b, _ = queue(manager, *"abc")
        reader = await start_reader(nursery, manager.events(tasks=[a, b]))
        fake.finish("a")
        await a.wait()
        await settle()
        assert not reader.over
        fake.finish("b")
        await b.wait()
        await settle()
        assert reader.over
        assert reader.take()[-2:] == ["a completed", "b completed"]
        fake.finish("c")


async def test_a_named_task_that_is_paused_has_not_ended() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        reader = await start_reader(nursery, manager.events(tasks=[a]))
        await a.pause()
        await settle()
        assert not reader.over
        await a.cancel()
        await settle()
        assert reader.over


async def test_without_tasks_it_ends_when_the_manager_has_closed_and_every_end_was_delivered() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            reader = await start_reader(nursery, manager.events())
            slow = Reader(manager.events(min_interval_s=100))
            nursery.start_soon(slow.run)
            await settle()
            queue(manager, "a", "b")
            await settle()
            assert not reader.over
            fake.finish("a", "b")
        await settle()
        assert reader.over
        assert slow.over
        assert [snapshot.status for snapshot in reader.got if snapshot.status.is_final] == [COMPLETED, COMPLETED]
        assert slow.take()[-2:] == ["a completed", "b completed"]


async def test_a_reader_of_named_tasks_may_outlive_the_block_and_gets_the_ends() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        events = manager.events(tasks=[a, b])
        await events.__aenter__()
        fake.finish("a", "b")
    assert [snapshot.status async for snapshot in events] == [COMPLETED, COMPLETED]
    await events.__aexit__(None, None, None)


async def test_events_of_a_closed_manager_show_what_was_named_and_end() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        fake.finish("a")
    async with manager.events() as events:
        assert [snapshot async for snapshot in events] == []
    async with manager.events(tasks=[a]) as events:
        assert brief([snapshot async for snapshot in events]) == ["a completed"]


async def test_iterating_on_after_the_end_ends_again() -> None:
    fake = FakeDownloader()
    fake.finish("a")
    async with open_manager(1, downloader=fake) as manager, manager.events(tasks=queue(manager, "a")) as events:
        assert [snapshot.status async for snapshot in events][-1] is COMPLETED
        assert [snapshot async for snapshot in events] == []


async def test_leaving_the_subscription_ends_the_iteration_in_another_task() -> None:
    fake = FakeDownloader()
    got: list[TaskSnapshot] = []
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager, trio.open_nursery() as nursery:
        queue(manager, "a")

        async def read() -> None:
            async for snapshot in events:
                got.append(snapshot)  # noqa: PERF401

        async with manager.events() as events:
            nursery.start_soon(read)
            await settle()
    assert brief(got) == ["a downloading"]


async def test_a_left_subscription_is_forgotten_by_the_manager() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        a = queue_one(manager, "a")
        hub = manager._engine.hub
        async with manager.events(), manager.events(tasks=[a]), manager.events(tasks=[a]):
            assert not hub.quiet
        assert hub.quiet
        assert not hub._of_all
        assert not hub._of_one


# Misuse, and cancellation.


async def test_two_tasks_that_iterate_one_subscription_are_refused() -> None:
    async with open_manager(1, downloader=FakeDownloader()) as manager, manager.events() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_forever, events)
            await settle()
            with pytest.raises(RuntimeError, match=r"^two tasks iterate one subscription: the events would be split"):
                await events.__anext__()
            nursery.cancel_scope.cancel(reason="seen enough")
        # One after the other they may.
        fake = FakeDownloader()
        fake.finish("a")
        await manager.submit(url("a"), downloader=fake)
        assert (await events.__anext__()).status is not PENDING


async def read_forever(events: Subscription) -> None:
    async for _ in events:
        pass


async def test_iterating_a_subscription_that_was_not_entered_says_what_is_missing() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        subscriptions = [manager.events(), manager.events(tasks=[a])]
        for events in subscriptions:
            await refuse_to_iterate(events)
        fake.finish("a")
    # Nor is the end of the manager taken for the end of the events.
    for events in (*subscriptions, manager.events(), manager.events(tasks=[a])):
        await refuse_to_iterate(events)


async def refuse_to_iterate(events: Subscription) -> None:
    with pytest.raises(
        RuntimeError, match=r"^events\(\) is a context manager: `async with manager\.events\(\) as events:`"
    ):
        await read_forever(events)


async def test_iterating_a_subscription_that_was_left_ends_at_once() -> None:
    async with open_manager(1, downloader=FakeDownloader(), on_exit="cancel") as manager:
        queue(manager, "a")
        async with manager.events() as events:
            pass
        await read_forever(events)


async def test_a_cancelled_read_loses_nothing() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, manager.events() as events:
        a = queue_one(manager, "a")
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await events.__anext__()
        assert (await events.__anext__()).status is DOWNLOADING
        with trio.move_on_after(1):
            await events.__anext__()
        fake.finish("a")
        await a.wait()
        assert (await events.__anext__()).status is COMPLETED


async def test_a_subscription_that_is_entered_twice_says_so() -> None:
    async with open_manager(1, downloader=FakeDownloader()) as manager, manager.events() as events:
        with pytest.raises(RuntimeError, match=r"^a subscription is entered once; call events\(\) again for another$"):
            await events.__aenter__()


async def test_a_failure_that_a_reader_was_given_was_asked_for() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery, open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await start_reader(nursery, manager.events(tasks=[a]))
        fake.fail("a")


async def test_a_failure_that_a_reader_did_not_take_was_not_asked_for() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(1, downloader=fake) as manager, manager.events() as events:
            queue(manager, "a")
            await drain(events)
            fake.fail("a")


async def test_a_snapshot_of_a_failure_that_is_looked_at_without_a_reader_was_not_asked_for() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(1, downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a")
            await manager.wait_idle()
            assert a.snapshot().status is FAILED
            assert a.error is not None


async def test_an_ended_download_leaves_nothing_behind_in_a_reader() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        reader = await start_reader(nursery, manager.events(min_interval_s=1))
        for n in range(20):
            fake.finish(f"{n}")
            await queue_one(manager, f"{n}").wait()
            await settle()
        events = reader._events
        assert not events._changes
        assert not events._not_before
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_what_is_held_back_of_ended_downloads_does_not_pile_up_behind_a_long_one() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, on_exit="cancel", keep_finished=0) as manager:
        async with trio.open_nursery() as nursery:
            reader = await start_reader(nursery, manager.events(min_interval_s=3600))
            queue(manager, "long")
            await settle()
            # Held back for an hour, and due before all that come after it.
            fake.grant("long", 1)
            longest = 0
            for n in range(200):
                task = queue_one(manager, f"{n}")
                await settle()
                fake.grant(f"{n}", 1)
                longest = max(longest, len(reader._events._held))
                fake.finish(f"{n}")
                await task.wait()
                await settle()
            assert brief(reader.got).count("199 completed") == 1
            assert longest < 30
            nursery.cancel_scope.cancel(reason="seen enough")


async def test_the_sequence_rises_with_progress_also_while_nobody_watches() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        seen = [a.snapshot()]
        for _ in range(3):
            await trio.sleep(1)
            fake.grant("a", 100)
            seen.append(a.snapshot())
        assert [snapshot.progress.received_bytes for snapshot in seen] == [0, 100, 200, 300]
        assert all(one.sequence < other.sequence for one, other in pairwise(seen))
        fake.finish("a")


# The hub and a subscription without a manager.


class Room:
    """A hub, and downloads whose states the test sets."""

    def __init__(self, names: str) -> None:
        self.given: list[str] = []
        self.protected: list[bool] = []
        self.hub = EventHub(TRIO_LOOP, self._give)
        self.downloads = {name: make_download(name) for name in names}
        for download in self.downloads.values():
            download.status = DOWNLOADING

    def _give(self, download: Download) -> None:
        self.given.append(download.correlation_id)
        self.protected.append(trio.lowlevel.currently_ki_protected())

    def watch(self, *, min_interval_s: float, only: str | None = None) -> Subscription:
        return Subscription(
            self.hub,
            only=None if only is None else frozenset(self.downloads[name] for name in only),
            present=self.downloads.values,
            min_interval_s=min_interval_s,
        )

    def change(self, name: str, status: DownloadStatus = DOWNLOADING) -> None:
        self.downloads[name].status = status
        self.hub.note(self.downloads[name])


def test_the_hub_is_quiet_exactly_while_nobody_watches() -> None:
    room = Room("a")
    everything, one = room.watch(min_interval_s=0), room.watch(min_interval_s=0, only="a")
    assert room.hub.quiet is True
    room.hub.attach(everything, None)
    assert room.hub.quiet is False
    room.hub.attach(one, room.downloads.values())
    assert room.hub.quiet is False
    room.hub.detach(everything, None)
    assert room.hub.quiet is False
    room.hub.attach(everything, None)
    room.hub.detach(one, room.downloads.values())
    assert room.hub.quiet is False
    room.hub.detach(everything, None)
    assert room.hub.quiet is True


async def test_a_left_subscription_holds_nothing() -> None:
    room = Room("ab")
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        room.change("a")
        room.change("b", COMPLETED)
        assert events._changes
        assert events._held
        assert events._ready
    assert not events._changes
    assert not events._held
    assert not events._ready


async def test_ctrl_c_strikes_neither_in_a_read_nor_in_a_change_that_is_handed_over() -> None:
    room = Room("a")
    async with room.watch(min_interval_s=0) as events, trio.open_nursery() as nursery:
        # The first is there already, the second is handed over by whoever makes the change.
        await events.__anext__()
        nursery.start_soon(events.__anext__)
        await settle()
        assert not trio.lowlevel.currently_ki_protected()
        room.change("a")
    assert room.protected == [True, True]


async def test_held_back_changes_that_become_final_come_in_the_order_in_which_they_first_happened() -> None:
    room = Room("abc")
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        for name in "abc":
            room.change(name)
        for name in "cab":
            room.change(name, COMPLETED)
        assert brief(await drain(events)) == ["a completed", "b completed", "c completed"]


async def test_a_change_that_became_final_while_it_was_held_back_is_delivered_once() -> None:
    room = Room("a")
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        room.change("a")
        room.change("a", COMPLETED)
        room.change("a", COMPLETED)
        # When that which was held back would have been due nobody has read the end yet.
        await trio.sleep(20)
        assert brief(await drain(events)) == ["a completed"]


async def test_a_change_that_has_become_due_and_then_final_before_it_was_read_is_delivered_once() -> None:
    room = Room("ab")
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        room.change("a")
        room.change("b")
        await trio.sleep(20)
        assert brief([await events.__anext__()]) == ["a downloading"]
        room.change("b", COMPLETED)
        assert brief(await drain(events)) == ["b completed"]


async def test_a_reader_does_not_wake_for_what_was_held_back_of_an_ended_download() -> None:
    room = Room("a")
    async with trio.open_nursery() as nursery:
        reader = await start_reader(nursery, room.watch(min_interval_s=10))
        room.change("a")
        await settle()
        room.change("a", COMPLETED)
        await settle()
        assert reader.take() == ["a downloading", "a completed"]
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 1000
        nursery.cancel_scope.cancel(reason="seen enough")


@pytest.mark.parametrize("min_interval_s", [0.5, 1, 2.5])
async def test_every_interval_is_kept_to(min_interval_s: float) -> None:
    room = Room("a")
    async with trio.open_nursery() as nursery:
        reader = await start_reader(nursery, room.watch(min_interval_s=min_interval_s))
        room.change("a")
        await trio.sleep(10)
        began, second = reader.times
        assert second - began == min_interval_s
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_what_is_held_back_when_the_manager_closes_is_delivered_when_it_is_due() -> None:
    room = Room("a")
    async with trio.open_nursery() as nursery:
        reader = await start_reader(nursery, room.watch(min_interval_s=10))
        room.change("a")
        room.hub.close()
        await settle()
        assert not reader.over
    assert brief(reader.got) == ["a downloading", "a downloading"]


@pytest.mark.parametrize(("held", "borne"), [(36, 27), (35, 26)])
async def test_the_sweep_comes_with_the_first_stale_entry_too_many(held: int, borne: int) -> None:
    names = string.printable[:held]
    room = Room(names)
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        for name in names:
            room.change(name)
        counts = []
        for name in names[1:]:
            room.change(name, COMPLETED)
            await drain(events)
            counts.append(len(events._held))
    # A few are borne, and twice as many as there are changes, the end that comes included.
    assert counts == [*[held] * borne, *[held - borne - 1] * (held - borne - 1)]


async def test_what_is_held_back_is_still_in_order_after_the_sweep() -> None:
    names = string.printable[:36]
    room = Room(names)
    async with room.watch(min_interval_s=10) as events:
        await drain(events)
        for name in names:
            room.change(name)
        # Throwing out the first moves the others about.
        for name in (names[0], *names[2:29]):
            room.change(name, COMPLETED)
            await drain(events)
        held = events._held.copy()
        assert [entry[2].correlation_id for entry in sorted(held)] == [names[1], *names[29:]]
        assert [heapq.heappop(held) for _ in events._held] == sorted(events._held)

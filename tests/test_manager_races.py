"""Races within one tick: trio runs the tasks of a tick in any order, and every order must keep the laws.

Rules that hold here:

- the order is drawn from the seed of the test, so that a failure comes again;
- tasks that are to race are all made runnable in one tick, by one event;
- what is promised is checked by the downloader's own count and by the log of all steps, not only by the manager's
  figures.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, Final

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, engine_of, queue, queue_one, run_shuffled, saved, settle, url
from trio_dlm import (
    DownloadBatch,
    DownloadJob,
    DownloadManager,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    ManagerClosedError,
    QueueFullError,
    UnknownTaskError,
    open_manager,
)
from trio_dlm._status import TRANSITIONS

SEEDS: Final = range(25)
each_seed: Final = pytest.mark.parametrize("seed", SEEDS)

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED


async def at_once(*actions: Callable[[], Awaitable[object] | object]) -> list[object]:
    """Do *actions* in one tick, each in a task of its own; return what came of each, exceptions too."""
    start = trio.Event()
    answers: list[object] = [None] * len(actions)

    async def act(index: int, action: Callable[[], Any]) -> None:
        await start.wait()
        try:
            answer = action()
            if hasattr(answer, "__await__"):
                answer = await answer
        except Exception as exc:
            answer = exc
        answers[index] = answer

    async with trio.open_nursery() as nursery:
        for index, action in enumerate(actions):
            nursery.start_soon(act, index, action)
        await settle()
        start.set()
    return answers


def check_log(log: StatusLog, *, lanes: dict[str, object] | None = None, limit: float | None = None) -> None:
    """Replay every step, and check the laws 2 to 4 on it."""
    present: dict[str, DownloadStatus] = {}
    queues: dict[object, list[str]] = {}
    for name, status in log.entries:
        if name in present:
            assert status in TRANSITIONS[present[name]], f"{name}: {present[name]} to {status}"
        else:
            assert status is PENDING
        line = queues.setdefault(None if lanes is None else lanes.get(name), [])
        if status is PENDING:
            line.append(name)
        elif status is DOWNLOADING:
            assert line[0] == name, f"{name} started before {line[0]}, which was queued before it"
            del line[0]
        elif name in line:
            line.remove(name)
        present[name] = status
        if limit is not None:
            assert sum(one is DOWNLOADING for one in present.values()) <= limit


@each_seed
def test_a_cancel_and_the_end_in_one_tick_give_one_end_and_a_true_answer(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(3, downloader=fake) as manager:
            log = StatusLog(manager)
            a, b, c, d = queue(manager, *"abcd")
            await settle()
            fake.gate("b").when_cancelled(None)
            answers = await at_once(
                a.cancel, lambda: fake.finish("a"), b.cancel, c.cancel, lambda: fake.fail("c"), a.cancel
            )
            assert answers[0] is answers[5] is (a.status is CANCELLED)
            assert answers[2] is (b.status is CANCELLED)
            assert answers[3] is (c.status is CANCELLED)
            await c.wait()
            assert fake.running == ["d"]
            assert d.status is DOWNLOADING
            check_log(log, limit=3)
            fake.finish("d")

    run_shuffled(program, seed)


@each_seed
def test_when_cancel_returns_nothing_runs_and_the_slot_is_free_in_every_order(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(4, downloader=fake) as manager:
            tasks = queue(manager, *"abcdefgh")
            await settle()

            async def cancel_and_look(task: DownloadTask[DownloadResult]) -> None:
                had_ended = task.status.is_final
                answer = await task.cancel()
                assert task.status.is_final
                assert answer is (not had_ended and task.status is CANCELLED)
                assert task.correlation_id not in fake.running
                stats = manager.get_stats()
                assert stats.active == sum(one.status is DOWNLOADING for one in tasks)
                assert stats.active == 4 or not stats.pending

            await at_once(*[lambda task=task: cancel_and_look(task) for task in tasks for _ in range(2)])
            assert fake.running == []

    run_shuffled(program, seed)


@each_seed
def test_ends_in_one_tick_start_the_next_in_the_order_of_their_queueing(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        names = [f"{n}" for n in range(24)]
        async with open_manager(4, downloader=fake) as manager:
            log = StatusLog(manager)
            queue(manager, *names)
            for first in range(0, 24, 4):
                await settle()
                fake.finish(*names[first : first + 4])
            await manager.wait_idle()
            assert log.ids(DOWNLOADING) == names
        assert fake.peak == 4

    run_shuffled(program, seed)


@each_seed
def test_a_pause_and_the_end_in_one_tick_give_a_true_answer(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(2, downloader=fake) as manager:
            log = StatusLog(manager)
            a, _ = queue(manager, "a", "b")
            await settle()
            (paused, _, _) = await at_once(a.pause, lambda: fake.finish("a"), a.pause)
            assert paused is (a.status is PAUSED)
            assert a.status in {PAUSED, COMPLETED}
            assert "a" not in fake.running
            check_log(log, limit=2)
            await a.cancel()
            fake.finish("b")

    run_shuffled(program, seed)


@each_seed
def test_who_waits_outside_has_asked_for_a_failure_however_soon_the_block_ends(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with trio.open_nursery() as nursery:
            async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
                (a,) = queue(manager, "a")
                fake.gate("a").when_cancelled(OSError("a broke"))
                nursery.start_soon(a.wait)
                await settle()

    run_shuffled(program, seed)


@each_seed
def test_a_pause_returns_although_the_download_was_resumed_before_it_could(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(1, downloader=fake) as manager:
            (a,) = queue(manager, "a")
            await settle()

            async def resume_at_once() -> None:
                async with manager.events(tasks=[a]) as events:
                    async for snapshot in events:
                        if snapshot.status is PAUSED:
                            assert a.resume()
                            return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(resume_at_once)
                await settle()
                with trio.fail_after(10):
                    await a.pause()
            assert a.attempts == 2
            fake.finish("a")

    run_shuffled(program, seed)


@each_seed
def test_pause_resume_and_cancel_in_one_tick_end_where_the_table_allows(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(1, downloader=fake) as manager:
            log = StatusLog(manager)
            a, b = queue(manager, "a", "b")
            await settle()
            answers = await at_once(a.pause, a.resume, a.cancel, b.pause, b.resume, lambda: fake.finish("b"))
            await settle()
            assert answers[2] is True
            assert a.status is CANCELLED
            assert b.status in {PAUSED, COMPLETED}
            check_log(log, limit=1)
            await b.cancel()

    run_shuffled(program, seed)


@each_seed
def test_a_submit_that_is_cancelled_in_the_tick_in_which_room_is_made_has_queued_nothing_or_was_not_cancelled(
    seed: int,
) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(1, downloader=fake, max_pending=1) as manager:
            log = StatusLog(manager)
            queue(manager, "running", "queued")
            scopes = [trio.CancelScope() for _ in range(4)]
            returned: list[str] = []

            async def submit(index: int) -> None:
                with scopes[index]:
                    task = await manager.submit(url(index), correlation_id=f"{index}")
                    returned.append(task.correlation_id)

            async with trio.open_nursery() as nursery:
                for index in range(4):
                    nursery.start_soon(submit, index)
                    await settle()
                await at_once(
                    *[lambda index=index: scopes[index].cancel(reason="a test") for index in (0, 2)],
                    lambda: fake.finish("running"),
                )
                fake.finish("queued", *range(4))
            await manager.wait_idle()
            assert set(log.ids(PENDING)) == {"running", "queued", *returned}
            assert {"1", "3"} <= set(returned)
            assert [name for name in log.ids(PENDING) if name.isdigit()] == sorted(returned)
            check_log(log, limit=1)

    run_shuffled(program, seed)


@each_seed
def test_submits_waiters_and_ends_in_one_tick_keep_first_come_first_served(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(2, downloader=fake, max_pending=2) as manager:
            log = StatusLog(manager)
            queue(manager, *"abcd")
            order: list[str] = []

            async def submit(name: str) -> None:
                order.append(name)
                await manager.submit(url(name), correlation_id=name)

            async with trio.open_nursery() as nursery:
                for name in "efg":
                    nursery.start_soon(submit, name)
                    await settle()
                await at_once(
                    lambda: submit("h"), lambda: fake.finish("a"), lambda: fake.finish("b"), lambda: submit("i"),
                    lambda: fake.finish(*"cdefghi"),
                )  # fmt: skip
            await manager.wait_idle()
            assert log.ids(PENDING) == [*"abcd", *order]
            assert log.ids(DOWNLOADING) == [*"abcd", *order]
            check_log(log, limit=2)

    run_shuffled(program, seed)


@each_seed
def test_leaving_the_block_in_the_tick_of_everything_else_leaves_nothing_behind(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        go = trio.Event()
        came: list[object] = []
        async with trio.open_nursery() as nursery:

            async def meddle(action: Callable[[], Any]) -> None:
                await go.wait()
                try:
                    answer = action()
                    came.append(await answer if hasattr(answer, "__await__") else answer)
                except (ManagerClosedError, QueueFullError) as exc:
                    came.append(exc)

            async with open_manager(2, downloader=fake, max_pending=3) as manager:
                log = StatusLog(manager)
                a, b, c, d, e = queue(manager, *"abcde")
                await settle()
                await e.pause()
                for action in (
                    a.cancel, b.pause, c.cancel, d.pause, e.resume, lambda: fake.finish("a"), manager.wait_idle,
                    lambda: manager.submit(url("f")), lambda: manager.submit_nowait(url("g")),
                    lambda: manager.submit(url("h")),
                ):  # fmt: skip
                    nursery.start_soon(meddle, action)
                fake.finish(*"cdefgh")
                await settle()
                go.set()
                await trio.lowlevel.checkpoint()
            await settle()
            assert len(came) == 10
            assert all(status.is_final for status in log._present.values())
            assert fake.running == []
            stats = manager.get_stats()
            assert (stats.active, stats.pending, stats.paused) == (0, 0, 0)
            assert stats.completed + stats.failed + stats.cancelled == len(log._present)
            check_log(log, limit=2)

    run_shuffled(program, seed)


@each_seed
def test_an_outer_cancel_in_the_tick_of_an_end_leaves_every_download_ended_once(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        log: StatusLog
        with trio.CancelScope() as outer:
            async with open_manager(3, downloader=fake) as manager:
                log = StatusLog(manager)
                tasks = queue(manager, *"abcdef")
                await settle()
                await at_once(
                    tasks[1].cancel,
                    lambda: outer.cancel(reason="a test"),
                    lambda: fake.finish("a"),
                    tasks[2].pause,
                    tasks[3].cancel,
                )
                await trio.sleep_forever()
        assert outer.cancelled_caught
        assert all(task.status in {COMPLETED, CANCELLED} for task in tasks)
        assert fake.running == []
        check_log(log, limit=3)

    run_shuffled(program, seed)


@each_seed
def test_a_crash_in_the_tick_of_everything_else_leaves_every_download_ended_once(seed: int) -> None:
    class Crash(BaseException):
        pass

    async def program() -> None:
        fake = FakeDownloader()
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_manager(3, downloader=fake, max_pending=5) as manager:
                log = StatusLog(manager)
                a, b, c, d, e = tasks = queue(manager, *"abcde")
                await settle()
                await at_once(
                    lambda: fake.fail("a", Crash("odd")),
                    lambda: fake.finish("b"),
                    c.pause,
                    d.cancel,
                    e.pause,
                    lambda: manager.max_concurrent,
                )
                await trio.sleep_forever()
        assert caught.value.split(Crash)[1] is None
        assert a.status is FAILED
        assert all(task.status.is_final for task in (a, b, c, d, e))
        assert len(tasks) == len(log._present)
        assert fake.running == []
        check_log(log, limit=3)

    run_shuffled(program, seed)


@each_seed
def test_limits_lowered_and_raised_in_one_tick_start_no_more_than_the_last_allows(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        async with open_manager(2, downloader=fake) as manager:
            log = StatusLog(manager)
            names = [f"{n}" for n in range(12)]
            queue(manager, *names)
            await settle()

            def limit(value: int) -> None:
                manager.max_concurrent = value

            await at_once(
                lambda: limit(4), lambda: fake.finish("0"), lambda: limit(1), lambda: fake.finish("1"), lambda: limit(3)
            )
            await settle()
            last = int(manager.max_concurrent)
            running = len(fake.running)
            assert running >= min(last, 10)
            assert manager.get_stats().active == running
            assert running <= 4
            fake.finish(*names)
            await manager.wait_idle()
            assert log.ids(DOWNLOADING) == names
            check_log(log, limit=4)

    run_shuffled(program, seed)


@each_seed
def test_a_batch_that_was_forgotten_before_its_submit_could_wake_is_returned_all_the_same(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        batches: list[DownloadBatch] = []
        async with open_manager(1, downloader=fake, max_pending=1, keep_finished=0) as manager:
            queue(manager, "a", "b")

            async def submit() -> None:
                fake.finish("c")
                batches.append(await manager.submit_many([url("c")], parent_id="p"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(submit)
                await settle()
                # "c" is admitted, starts and ends, perhaps before the task that submitted it runs again.
                await at_once(lambda: fake.finish("b"), manager.get_task("b").cancel, manager.get_task("a").cancel)
            (batch,) = batches
            assert await batch.wait() == (COMPLETED,)
            with pytest.raises(UnknownTaskError):
                await manager.cancel("p")

    run_shuffled(program, seed)


# All of it together, for longer.


class Storm:
    """Many users of one manager who do what they like."""

    def __init__(self, manager: DownloadManager, fake: FakeDownloader, dice: random.Random) -> None:
        self.manager = manager
        self.fake = fake
        self.dice = dice
        self.log = StatusLog(manager)
        self.lanes: dict[str, object] = {}
        self.tasks: list[DownloadTask[Any]] = []

    async def user(self, number: int) -> None:
        for turn in range(30):
            action = self.dice.choice(
                (
                    self.submit,
                    self.submit,
                    self.submit,
                    self.cancel,
                    self.pause,
                    self.resume,
                    self.end,
                    self.end,
                    self.rest,
                )
            )
            await action(f"{number}.{turn}")

    async def submit(self, name: str) -> None:
        lane = self.dice.randrange(3)
        self.lanes[name] = lane
        with trio.move_on_after(self.dice.choice((0, 1, 50))):
            self.tasks.append(await self.manager.submit(url(name), lane=lane, correlation_id=name))

    async def cancel(self, name: str) -> None:
        if self.tasks:
            task = self.dice.choice(self.tasks)
            had_ended = task.status.is_final
            answer = await task.cancel(name)
            assert task.status.is_final
            assert task.correlation_id not in self.fake.running
            assert answer is (not had_ended and task.status is CANCELLED)

    async def pause(self, name: str) -> None:
        if self.tasks:
            task = self.dice.choice(self.tasks)
            if await task.pause(name):
                assert task.status is PAUSED
                assert task.correlation_id not in self.fake.running

    async def resume(self, name: str) -> None:
        if self.tasks:
            task = self.dice.choice(self.tasks)
            was_paused = task.status is PAUSED
            assert task.resume() is was_paused
            await trio.lowlevel.checkpoint()

    async def end(self, name: str) -> None:
        for running in self.fake.running[:2]:
            if self.dice.random() < 0.2:
                self.fake.shield(running, 1)
            if self.dice.random() < 0.2:
                self.fake.fail(running)
            else:
                self.fake.finish(running)
        await trio.lowlevel.checkpoint()

    async def rest(self, name: str) -> None:
        await trio.sleep(self.dice.choice((0, 0, 1)))


@pytest.mark.parametrize("seed", range(40))
def test_many_users_of_one_manager_never_see_a_law_broken(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        storm: Storm
        async with open_manager(3, downloader=fake, max_pending=4, max_per_lane=2, failures="keep") as manager:
            storm = Storm(manager, fake, random.Random(seed))
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(storm.user, number)
            while manager.get_stats().active or manager.get_stats().pending:
                fake.finish(*fake.running)
                await trio.sleep(1)
        assert fake.peak <= 3
        assert fake.running == []
        stats = manager.get_stats()
        assert stats.completed + stats.failed + stats.cancelled == len(storm.tasks) == len(storm.log._present)
        assert all(task.status.is_final for task in storm.tasks)
        check_log(storm.log, lanes=storm.lanes, limit=3)
        for lane in range(3):
            running = 0
            present: dict[str, DownloadStatus] = {}
            for name, status in storm.log.entries:
                if storm.lanes[name] == lane:
                    running += (status is DOWNLOADING) - (present.get(name) is DOWNLOADING)
                    present[name] = status
                    assert running <= 2

    run_shuffled(program, seed)


@each_seed
def test_events_of_a_storm_are_a_conflated_suffix_with_every_end_in_it(seed: int) -> None:
    async def program() -> None:
        fake = FakeDownloader()
        seen: dict[str, list[tuple[int, DownloadStatus]]] = {}
        async with trio.open_nursery() as outer:
            async with open_manager(3, downloader=fake, failures="keep") as manager:

                async def watch(pause_s: float) -> None:
                    async with manager.events() as events:
                        async for snapshot in events:
                            seen.setdefault(f"{pause_s} {snapshot.correlation_id}", []).append(
                                (snapshot.sequence, snapshot.status)
                            )
                            await trio.sleep(pause_s)

                for pause_s in (0, 0.5, 5):
                    outer.start_soon(watch, pause_s)
                await settle()
                storm = Storm(manager, fake, random.Random(seed))
                async with trio.open_nursery() as nursery:
                    for number in range(3):
                        nursery.start_soon(storm.user, number)
                while manager.get_stats().active or manager.get_stats().pending:
                    fake.finish(*fake.running)
                    await trio.sleep(1)
        for pause_s in (0, 0.5, 5):
            for task in storm.tasks:
                states = seen[f"{pause_s} {task.correlation_id}"]
                assert all(one[0] < two[0] for one, two in pairwise(states))
                assert [status for _, status in states if status.is_final] == [task.status]
                assert states[-1][1] is task.status

    run_shuffled(program, seed)


@each_seed
def test_a_wait_that_begins_in_the_tick_of_the_end_returns(seed: int) -> None:
    async def program() -> None:
        async def body(job: DownloadJob) -> DownloadResult:
            await gate.wait()
            return saved(job)

        gate = trio.Event()
        async with open_manager(2, downloader=body) as manager:
            a = queue_one(manager, "a")
            await settle()
            answers = await at_once(gate.set, a.wait, a.wait, a.cancel, manager.wait_idle, a.pause)
            assert answers[1] is answers[2] is a.status
            assert answers[5] is False or a.status is CANCELLED

    run_shuffled(program, seed)


@each_seed
def test_a_manager_is_not_idle_between_two_parts_of_a_batch_that_is_being_queued(seed: int) -> None:
    async def program() -> None:
        async with open_manager(0, downloader=FakeDownloader(), keep_finished=0) as manager:
            engine = engine_of(manager)

            async def end_what_is_queued() -> None:
                while manager.get_stats().cancelled < 2010:
                    for download in [task._download for task in engine.registry.live]:
                        if download.ticket is not None:
                            # What cancel() does before it waits.
                            engine.cancel(download, None)
                    await trio.lowlevel.checkpoint()

            async def wait() -> None:
                await trio.lowlevel.checkpoint()
                await manager.wait_idle()
                assert manager.get_stats().cancelled == 2010

            async with trio.open_nursery() as nursery:
                # Between two parts of a large batch other tasks get their turn.
                nursery.start_soon(manager.submit_many, [url("a")] * 2010)
                nursery.start_soon(end_what_is_queued)
                nursery.start_soon(wait)

    run_shuffled(program, seed)

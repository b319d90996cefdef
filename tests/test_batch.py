"""Several downloads that were submitted together: a sequence, one cancel, one wait, one sum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, Steps, engine_of, queue, saved, settle, url
from trio_dlm import (
    DownloadBatch,
    DownloadJob,
    DownloadManager,
    DownloadOptions,
    DownloadPhase,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    InvalidUrlError,
    ManagerClosedError,
    Progress,
    Subscription,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)
from trio_dlm._download import Download

pytestmark = pytest.mark.virtual_time

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED


def named(names: str) -> list[DownloadRequest]:
    return [DownloadRequest(url(name), correlation_id=name) for name in names]


# What it is.


async def test_a_batch_is_the_sequence_of_its_tasks_in_the_order_of_the_requests() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        log = StatusLog(manager)
        batch = await manager.submit_many(named("abcd"), parent_id="p")
        assert isinstance(batch, Sequence)
        assert len(batch) == 4
        assert [task.correlation_id for task in batch] == [*"abcd"]
        assert batch[1] is manager.get_task("b")
        assert [task.correlation_id for task in batch[1:3]] == [*"bc"]
        assert batch[-1] in batch
        assert batch.parent_id == "p"
        assert {task.parent_id for task in batch} == {"p"}
        assert log.ids(PENDING) == [*log.ids(DOWNLOADING), "c", "d"] == [*"abcd"]
        assert repr(batch) == "<DownloadBatch p of 4>"
        fake.finish(*"abcd")


async def test_requests_are_urls_or_records_and_may_come_from_anything_iterable() -> None:
    default, own = FakeDownloader(), FakeDownloader()
    async with open_manager(9, downloader=default, directory="/base") as manager:
        requests = (
            each
            for each in (
                url("a"),
                DownloadRequest(url("b"), DownloadOptions(filename="f"), own, "mine", "bb"),
            )
        )
        a, b = await manager.submit_many(requests, lane="theirs")
        assert (a.lane, b.lane) == ("theirs", "mine")
        assert (b.correlation_id, b.request.options.filename) == ("bb", "f")
        default.finish("a")
        own.finish("b")
        assert (await a.result()).path.parent == (await b.result()).path.parent == Path("/base")
    assert (default.begun, own.begun) == (["a"], ["b"])


async def test_lane_of_finds_the_lane_of_requests_that_name_none() -> None:
    async with open_manager(
        0, downloader=FakeDownloader(), lane_of=lambda request: request.url[-1], on_exit="cancel"
    ) as manager:
        requests: list[str | DownloadRequest] = [url("a"), DownloadRequest(url("b"), lane="mine")]
        assert [task.lane for task in await manager.submit_many(requests)] == ["a", "mine"]
        assert [task.lane for task in await manager.submit_many(requests, lane="ours")] == ["ours", "mine"]


async def test_an_empty_batch_has_ended() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        batch = await manager.submit_many([], parent_id="p")
        assert len(batch) == 0
        assert await batch.wait() == ()
        assert await batch.cancel() is False
        assert batch.progress == Progress(total_bytes=0, phase=DownloadPhase.ENDED)
        assert batch.progress.fraction == 1.0
        # There is nothing to remember it for.
        with pytest.raises(UnknownTaskError):
            await manager.cancel("p")


# All or nothing.


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("", InvalidUrlError),
        ("a b", InvalidUrlError),
        (7, TypeError),
        (None, TypeError),
        (DownloadRequest(url("x"), lane=[]), TypeError),  # type: ignore[arg-type]
        (DownloadRequest(url("x"), downloader=object()), TypeError),  # type: ignore[arg-type]
        (DownloadRequest(url("x"), correlation_id=""), ValueError),
    ],
    ids=repr,
)
async def test_all_are_checked_before_the_first_is_queued(bad: object, error: type[Exception]) -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(error):
            await manager.submit_many([url("a"), url("b"), bad], parent_id="p")  # type: ignore[list-item]
        assert manager.get_stats().active == manager.get_stats().pending == 0
        # The parent id is not taken either.
        await manager.submit_many([], parent_id="p")


async def test_what_is_no_request_is_shown() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(TypeError) as caught:
            await manager.submit_many([Path("a")])  # type: ignore[list-item]
    assert str(caught.value) == f"submit_many takes URLs and DownloadRequests, got {Path('a')!r}"


async def test_the_lane_of_a_batch_is_that_of_every_request_that_names_none() -> None:
    named, unnamed = DownloadRequest(url("a"), lane="own"), DownloadRequest(url("b"))
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        batch = await manager.submit_many([named, unnamed, url("c")], lane="x")
        assert [task.lane for task in batch] == ["own", "x", "x"]
        # Where nothing is to be added they are used as they are.
        assert batch[0].request is named
        batch = await manager.submit_many([unnamed])
        assert batch[0].request is unnamed


async def test_what_lane_of_raises_for_the_last_queues_nothing() -> None:
    def lane_of(request: DownloadRequest) -> str:
        if request.url.endswith("b"):
            raise LookupError("no lane")
        return "x"

    async with open_manager(downloader=FakeDownloader(), lane_of=lane_of) as manager:
        with pytest.raises(LookupError, match="no lane"):
            await manager.submit_many([url("a"), url("b")])
        assert manager.get_stats().active == 0


async def test_what_the_iterable_raises_queues_nothing() -> None:
    def requests() -> object:
        yield url("a")
        raise LookupError("the list ends here")

    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(LookupError, match="the list ends here"):
            await manager.submit_many(requests())  # type: ignore[arg-type]
        assert manager.get_stats().active == 0


async def test_one_string_is_not_taken_for_its_characters() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(
            TypeError, match=r"^submit_many takes an iterable of URLs, got one str; submit\(\) takes one"
        ):
            await manager.submit_many(url("a"))


async def test_a_closed_manager_takes_no_batch() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        pass
    with pytest.raises(ManagerClosedError) as caught:
        await manager.submit_many([url("a")])
    # Nothing to queue is no excuse.
    with pytest.raises(ManagerClosedError) as again:
        await manager.submit_many([])
    assert str(again.value) == str(caught.value)
    assert again.value.action == "submit"


async def test_a_caller_that_is_cancelled_already_queues_nothing() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await manager.submit_many([url("a")], parent_id="p")
        assert scope.cancelled_caught
        assert manager.get_stats().active == 0
        with pytest.raises(UnknownTaskError):
            await manager.cancel("p")


async def test_a_submit_many_that_is_cancelled_while_it_waits_has_cancelled_what_it_had_queued() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        log = StatusLog(manager)
        with trio.move_on_after(5) as scope:
            await manager.submit_many(named("abcd"), parent_id="p")
        assert scope.cancelled_caught
        # Their end was awaited.
        assert fake.running == []
        assert set(log.ids(PENDING)) == {"a", "b"}
        # Those whose turn had not come end like the others: whoever watches the batch sees the end of all.
        assert set(log.ids(CANCELLED)) == {"a", "b", "c", "d"}
        assert manager.get_task("d").reason == "submit_many was interrupted"


async def test_a_submit_many_that_is_cancelled_awaits_the_end_of_what_runs() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        fake.shield("a", 20)
        with trio.move_on_after(5):
            await manager.submit_many(named("abc"))
        assert fake.over == ["a"]


async def test_who_waits_for_idleness_learns_that_a_submit_many_was_given_up() -> None:
    async with open_manager(0, downloader=FakeDownloader(), max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def submit() -> None:
                with scope:
                    await manager.submit_many(named("abc"))

            nursery.start_soon(submit)
            await settle()
            nursery.start_soon(manager.wait_idle)
            await settle()
            scope.cancel(reason="a test")


async def test_a_submit_many_that_has_let_others_have_their_turn_finds_the_door_closed() -> None:
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        async with open_manager(0, downloader=FakeDownloader()) as manager:

            async def submit() -> None:
                with pytest.raises(ManagerClosedError) as caught:
                    await manager.submit_many([url(n) for n in range(2500)])
                said.append(caught.value.action)

            nursery.start_soon(submit)
            while manager.get_stats().pending < 1000:
                await trio.lowlevel.checkpoint()
            engine_of(manager).close_door()
    assert said == ["submit"]
    assert manager.get_stats().cancelled == 2500


async def test_a_submit_many_that_waits_when_the_block_is_left_is_refused_and_leaves_nothing_behind() -> None:
    fake = FakeDownloader()
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake, max_pending=1) as manager:
            log = StatusLog(manager)

            async def submit() -> None:
                with pytest.raises(ManagerClosedError) as caught:
                    await manager.submit_many(named("abcd"), parent_id="p")
                said.append(str(caught.value))

            nursery.start_soon(submit)
            await settle()
    assert len(said) == 1
    assert set(log.ids(PENDING)) == {"a", "b"}
    assert set(log.ids(CANCELLED)) == {"a", "b", "c", "d"}


async def test_a_batch_is_not_refused_when_the_block_is_left_and_nothing_of_it_is_left_to_be_queued() -> None:
    fake = FakeDownloader()
    batches: list[DownloadBatch] = []
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake, max_pending=1) as manager:
            queue(manager, "r", "p")

            async def submit() -> None:
                batches.append(await manager.submit_many(named("ab")))

            nursery.start_soon(submit)
            await settle()
            await manager.cancel("b")
            fake.finish(*"rpa")
            # "a" comes in, and before its submit_many() can look around the block is left.
            manager.max_concurrent = 3
    assert [task.status for task in batches[0]] == [COMPLETED, CANCELLED]


async def test_a_batch_that_is_cancelled_while_it_is_still_being_queued_ends_whole() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        log = StatusLog(manager)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: manager.submit_many(named("abcd"), parent_id="p"))
            await settle()
            assert manager.get_stats().pending == 1
            assert await manager.cancel("p") is True
            await settle()
            nursery.cancel_scope.cancel(reason="seen enough")
        await manager.wait_idle()
        assert all(manager.get_task(name).status.is_final for name in log._present)


@pytest.mark.parametrize("name", ["c", "d"], ids=["stands in line", "turn has not come"])
@pytest.mark.parametrize("verbs", [["cancel"], ["pause"], ["pause", "resume"]], ids="-".join)
async def test_one_that_is_not_queued_yet_can_be_cancelled_or_paused_and_the_rest_goes_on(
    name: str, verbs: list[str]
) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: manager.submit_many(named("abcd"), parent_id="p"))
            await settle()
            task = manager.get_task(name)
            for verb in verbs:
                answer = getattr(task, verb)()
                assert (await answer if hasattr(answer, "__await__") else answer) is True
            fake.finish(*"abcd")
        await manager.wait_idle()
        expected = {"cancel": CANCELLED, "pause": PAUSED, "resume": COMPLETED}[verbs[-1]]
        ends = {each: manager.get_task(each).status for each in "abcd"}
        assert ends == {**dict.fromkeys("abcd", COMPLETED), name: expected}
        # Once at most: it was not queued a second time when its turn came.
        assert fake.begun.count(name) == (expected is COMPLETED)


async def test_one_that_is_resumed_before_its_turn_overtakes_nobody_who_waits_for_room() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            queue(manager, "r", "p")
            nursery.start_soon(lambda: manager.submit(url("w")))
            await settle()
            nursery.start_soon(lambda: manager.submit_many(named("abc"), parent_id="batch"))
            await settle()
            assert await manager.pause("c", "lunch")
            assert manager.get_stats().paused == 1
            assert manager.resume("c")
            # PENDING like the others that wait for their turn, and like them not among those that are queued.
            assert (manager.get_task("c").status, manager.get_task("c").reason) == (PENDING, None)
            assert (manager.get_stats().pending, manager.get_stats().paused) == (1, 0)
            fake.finish(*"rpwabc")
        await manager.wait_idle()
    assert fake.begun == [*"rpwabc"]


async def test_one_that_is_resumed_before_its_turn_can_still_be_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: manager.submit_many(named("abcde")))
            await settle()
            assert await manager.pause("d")
            assert manager.resume("d")
            assert await manager.cancel("d", "enough")
            assert manager.get_task("d").reason == "enough"
            fake.finish(*"abcde")
        await manager.wait_idle()
        assert manager.get_stats().cancelled == 1
    assert fake.begun == [*"abce"]


@pytest.mark.parametrize("name", ["c", "d"], ids=["stood in line", "turn had not come"])
async def test_one_that_is_resumed_when_its_turn_has_passed_is_queued_behind_the_rest_of_its_batch(name: str) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: manager.submit_many(named("abcdefg")))
            await settle()
            assert await manager.pause(name)
            fake.finish("a", "b", *({"c", "d"} - {name}))
            await settle()
            # One runs, one is queued, and one stands in line: the turn has passed, and the batch is still being queued.
            assert fake.running == ["e"]
            assert manager.resume(name)
            assert manager.get_stats().pending == 1
            fake.finish(*"abcdefg")
        await manager.wait_idle()
        assert manager.get_stats().completed == 7
    assert fake.begun == [*"abcdefg".replace(name, ""), name]


async def test_one_that_is_resumed_when_its_batch_has_been_queued_is_queued_at_once() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: manager.submit_many(named("abcd")))
            await settle()
            assert await manager.pause("d")
            fake.finish("a")
        # The batch is queued but for the paused one, and submit_many did not wait for it.
        assert fake.running == ["b"]
        assert manager.resume("d")
        assert manager.get_task("d")._download.is_admitted is True
        assert manager.get_stats().pending == 2
        fake.finish(*"bcd")
    assert fake.begun == [*"abcd"]


async def test_one_that_was_queued_and_is_paused_and_resumed_does_not_wait_for_the_rest_of_its_batch() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: manager.submit_many(named("abc")))
        await settle()
        assert await manager.pause("a")
        # Now b is queued, and c waits for room.
        assert manager.resume("a")
        assert manager.get_stats().pending == 2
        manager.max_concurrent = 1
        fake.finish(*"abc")


async def test_one_that_is_resumed_before_its_turn_is_cancelled_with_a_submit_many_that_is() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        with trio.move_on_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: manager.submit_many(named("abcd")))
                await settle()
                assert await manager.pause("d")
                assert manager.resume("d")
        assert {manager.get_task(name).status for name in "abcd"} == {CANCELLED}
        assert (manager.get_stats().pending, manager.get_stats().active) == (0, 0)
        await manager.wait_idle()


async def read_to_the_end(events: Subscription, got: list[str]) -> None:
    async with events:
        got.extend([f"{snapshot.correlation_id} {snapshot.status.value}" async for snapshot in events])


async def test_a_batch_that_is_watched_while_it_is_still_being_queued_is_watched_to_its_end() -> None:
    fake = FakeDownloader()
    got: list[str] = []
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: manager.submit_many(named("abcd"), parent_id="p"))
        await settle()
        nursery.start_soon(read_to_the_end, manager.events(tasks="p"), got)
        await settle()
        fake.finish(*"abcd")
    assert {f"{name} completed" for name in "abcd"} <= set(got)


async def test_a_reader_of_a_batch_that_was_never_queued_to_its_end_ends_too() -> None:
    fake = FakeDownloader()
    got: list[str] = []
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        async with trio.open_nursery() as reading:
            async with trio.open_nursery() as submitting:
                submitting.start_soon(lambda: manager.submit_many(named("abcd"), parent_id="p"))
                await settle()
                reading.start_soon(read_to_the_end, manager.events(tasks="p"), got)
                await settle()
                submitting.cancel_scope.cancel(reason="a test")
        assert {"a cancelled", "b cancelled"} <= set(got)


async def test_other_tasks_get_their_turn_while_a_large_batch_is_queued() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager, trio.open_nursery() as nursery:
        seen: list[int] = []

        async def look() -> None:
            while True:
                seen.append(manager.get_stats().pending)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(look)
        await manager.submit_many([url(n) for n in range(3500)])
        nursery.cancel_scope.cancel(reason="seen enough")
    # Once in each tick between the first and the last thousand, before the batch's own turn in it or after.
    assert len([pending for pending in seen if 0 < pending < 3500]) >= 2


@pytest.mark.parametrize(("count", "turns"), [(999, 0), (1000, 1), (1999, 1), (2001, 2)])
async def test_others_get_their_turn_after_every_thousandth_that_is_queued(count: int, turns: int) -> None:
    requests = [url(n) for n in range(count)]
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        async with trio.open_nursery() as nursery:
            with Steps("submitter") as steps:
                nursery.start_soon(manager.submit_many, requests, name="submitter")
                await settle()
        # The first is its start, and the last the checkpoint that it is in any case.
        assert steps.count == 2 + turns


async def test_one_that_is_paused_before_its_turn_costs_nobody_theirs() -> None:
    class PauseLater(StatusLog):
        def note(self, download: Download) -> None:
            super().note(download)
            if self.entries[-1] == ("999", PENDING):
                engine_of(manager).pause(manager.get_task("1500")._download, "later")

    requests = [DownloadRequest(url(n), correlation_id=f"{n}") for n in range(2400)]
    async with open_manager(0, downloader=FakeDownloader(), on_exit="cancel") as manager:
        PauseLater(manager)
        async with trio.open_nursery() as nursery:
            with Steps("submitter") as steps:
                nursery.start_soon(manager.submit_many, requests, name="submitter")
                await settle()
        assert manager.get_stats().paused == 1
        # Its start, after the first and the second thousand, and the checkpoint that it is in any case.
        assert steps.count == 4


async def test_an_id_of_a_batch_cannot_be_taken_while_the_batch_is_still_being_queued() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: manager.submit_many(named("abcd"), parent_id="p"))
        await settle()
        for taken in "abcdp":
            with pytest.raises(ValueError, match="belongs to another download"):
                await manager.submit(url("x"), correlation_id=taken)
        fake.finish(*"abcd")


# cancel and wait.


async def test_cancel_cancels_all_that_have_not_ended_and_awaits_the_end_of_each() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        batch = await manager.submit_many(named("abcde"), parent_id="p")
        await settle()
        fake.finish("a")
        await batch[0].wait()
        await batch[3].pause()
        await settle()
        fake.shield("b", 5)
        fake.shield("c", 7)
        began = trio.current_time()
        assert await manager.cancel("p", "enough") is True
        # All at once, not one after the other.
        assert trio.current_time() - began == 7
        assert [task.status for task in batch] == [COMPLETED, *[CANCELLED] * 4]
        assert [task.reason for task in batch] == [None, *["enough"] * 4]
        assert fake.running == []
        assert await batch.cancel("again") is False
        assert batch[1].reason == "enough"


async def test_cancel_is_false_if_every_one_ended_otherwise() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        batch = await manager.submit_many(named("ab"))
        await settle()
        fake.gate("a").when_cancelled(None)
        fake.gate("b").when_cancelled(None)
        assert await batch.cancel() is False
        assert await batch.wait() == (COMPLETED, COMPLETED)


async def test_cancelling_a_batch_that_only_waits_is_one_checkpoint() -> None:
    async with open_manager(0, downloader=FakeDownloader()) as manager:
        batch = await manager.submit_many(named("abc"))
        async with trio.open_nursery() as nursery:
            with Steps("canceller") as steps:
                nursery.start_soon(batch.cancel, name="canceller")
                await settle()
        assert steps.count == 2


async def test_cancelling_the_caller_does_not_undo_it() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        batch = await manager.submit_many(named("abc"))
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await batch.cancel("enough")
        assert await batch.wait() == (CANCELLED,) * 3


async def test_no_other_download_of_the_batch_starts_while_it_is_being_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        log = StatusLog(manager)
        batch = await manager.submit_many(named("abcdef"))
        await settle()
        await batch.cancel()
        assert fake.begun == ["a"]
        # The head of the queue may be granted the slot of nobody: all were cancelled in one step.
        assert log.ids(DOWNLOADING) == ["a"]


async def test_other_tasks_get_their_turn_while_a_large_batch_is_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager, trio.open_nursery() as nursery:
        seen: list[int] = []

        async def look() -> None:
            while True:
                seen.append(manager.get_stats().cancelled)
                await trio.lowlevel.checkpoint()

        batch = await manager.submit_many([url(n) for n in range(3500)])
        nursery.start_soon(look)
        await trio.lowlevel.checkpoint()
        assert await batch.cancel() is True
        assert manager.get_stats().cancelled == 3500
        nursery.cancel_scope.cancel(reason="seen enough")
    assert len([cancelled for cancelled in seen if 0 < cancelled < 3500]) >= 2


async def test_waiting_for_a_batch_that_has_ended_is_one_checkpoint() -> None:
    fake = FakeDownloader()
    fake.finish(*"abc")
    async with open_manager(3, downloader=fake) as manager:
        batch = await manager.submit_many(named("abc"))
        await manager.wait_idle()
        async with trio.open_nursery() as nursery:
            with Steps("waiter") as steps:
                nursery.start_soon(batch.wait, name="waiter")
                await settle()
            assert steps.count == 2


async def test_wait_returns_how_each_ended_and_asks_for_failures() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        batch = await manager.submit_many(named("abc"))
        await settle()
        fake.fail("a")
        fake.finish("b")
        await batch[2].cancel()
        assert await batch.wait() == (FAILED, COMPLETED, CANCELLED)


async def test_a_wait_that_was_cancelled_half_way_has_asked_for_no_failure() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(9, downloader=fake) as manager:
            batch = await manager.submit_many(named("ab"))
            fake.fail("a")
            with trio.move_on_after(5) as scope:
                await batch.wait()
            assert scope.cancelled_caught
            await batch[1].cancel()
    assert caught.value.total == 1


async def test_cancelling_a_wait_touches_no_download() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake) as manager:
        batch = await manager.submit_many(named("ab"))
        with trio.move_on_after(5):
            await batch.wait()
        assert [task.status for task in batch] == [DOWNLOADING] * 2
        fake.finish(*"ab")


async def test_a_batch_cancelled_by_one_of_its_downloads_stops_that_one_at_once_and_ends_whole() -> None:
    manager: DownloadManager
    fake = FakeDownloader()
    said: list[str] = []

    async def cancel_all(job: DownloadJob) -> DownloadResult:
        await settle()
        try:
            await manager.cancel("p", "one for all")
        finally:
            said.append("stopped")
        raise AssertionError

    async with open_manager(9, downloader=fake) as manager:
        requests = [
            DownloadRequest(url("x")),
            DownloadRequest(url("y"), downloader=cancel_all),
            DownloadRequest(url("z")),
        ]
        batch = await manager.submit_many(requests, parent_id="p")
        assert await batch.wait() == (CANCELLED,) * 3
        assert {task.reason for task in batch} == {"one for all"}
    assert said == ["stopped"]


async def test_a_batch_cancelled_by_one_of_its_downloads_under_a_shield_says_that_it_could_only_deadlock() -> None:
    manager: DownloadManager
    said: list[str] = []

    async def cancel_all(job: DownloadJob) -> DownloadResult:
        with trio.CancelScope(shield=True):
            try:
                await manager.cancel("p")
            except RuntimeError as exc:
                said.append(str(exc))
        await trio.sleep_forever()
        return saved(job)

    async with open_manager(9, downloader=cancel_all) as manager:
        batch = await manager.submit_many([url("x")], parent_id="p")
        assert await batch.wait() == (CANCELLED,)
    assert "under its own shield" in said[0]


async def test_a_download_that_awaits_its_own_batch_is_told_so() -> None:
    batch: DownloadBatch
    said: list[str] = []

    async def wait_for_all(job: DownloadJob) -> DownloadResult:
        await settle()
        try:
            await batch.wait()
        except RuntimeError as exc:
            said.append(str(exc))
        return saved(job)

    async with open_manager(9, downloader=wait_for_all) as manager:
        batch = await manager.submit_many([url("x")])
    assert "waits for its own end" in said[0]


# The sum.


async def test_progress_is_the_sum_of_all() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        batch = await manager.submit_many(named("abc"))
        assert batch.progress.phase is DownloadPhase.TRANSFERRING
        assert batch.progress.total_bytes is None
        await settle()
        for name, total in (("a", 1000), ("b", 500)):
            job = fake.gate(name).job
            assert job is not None
            job.progress.begin(0, total)
            job.progress.retries = 1
        for _ in range(5):
            await trio.sleep(1)
            fake.grant("a", 100)
            fake.grant("b", 50)
        progress = batch.progress
        # The total of "c" is unknown, so that of all is.
        assert (progress.received_bytes, progress.total_bytes, progress.eta_s, progress.retries) == (750, None, None, 2)
        assert progress.rate_bytes_per_s == pytest.approx(150)
        # Of what was cancelled nothing more will come.
        await batch[2].cancel()
        assert batch.progress.total_bytes == 1500
        fake.finish(*"ab")
        await batch.wait()
        assert (batch.progress.phase, batch.progress.eta_s) == (DownloadPhase.ENDED, None)


async def test_the_time_left_is_for_the_whole_at_the_present_rate() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        batch = await manager.submit_many(named("ab"))
        await settle()
        for name in "ab":
            job = fake.gate(name).job
            assert job is not None
            job.progress.begin(0, 1000)
        # Nothing moves yet.
        assert batch.progress.eta_s is None
        for _ in range(5):
            await trio.sleep(1)
            fake.grant("a", 100)
            fake.grant("b", 100)
        assert batch.progress.eta_s == pytest.approx(5)
        fake.grant("a", 500)
        fake.grant("b", 500)
        assert batch.progress.eta_s == 0
        fake.finish(*"ab")


async def test_the_slowest_rate_tells_when_it_will_be_over() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        batch = await manager.submit_many(named("a"))
        await settle()
        job = fake.gate("a").job
        assert job is not None
        job.progress.begin(0, 1000)
        for _ in range(3):
            await trio.sleep(10)
            fake.grant("a", 5)
        assert batch.progress.rate_bytes_per_s == pytest.approx(0.5)
        assert batch.progress.eta_s == pytest.approx(985 / 0.5)
        fake.finish("a")


async def test_a_batch_that_only_waits_says_so() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        batch = await manager.submit_many(named("ab"))
        assert batch.progress.phase is DownloadPhase.WAITING
        await batch[0].cancel()
        assert batch.progress.phase is DownloadPhase.WAITING

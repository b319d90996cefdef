"""Law 5 and the outcome table on a running manager: what a cancel promises when it returns, and who wins against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, queue, queue_one, saved, settle, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    UncollectedFailuresError,
    UnknownTaskError,
    open_manager,
)

pytestmark = pytest.mark.virtual_time


# What is true when cancel() returns.


async def test_a_cancelled_download_has_freed_its_slot_and_runs_no_code_when_cancel_returns() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        assert fake.running == ["a"]
        assert await a.cancel() is True
        assert fake.running == []
        assert a.status is DownloadStatus.CANCELLED
        assert manager.get_stats().active == 0
        assert manager.get_stats().available_slots == 1


async def test_the_slot_of_a_cancelled_download_is_the_next_ones_when_cancel_returns() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b, c = queue(manager, *"abc")
        await settle()
        await a.cancel()
        assert (b.status, c.status) == (DownloadStatus.DOWNLOADING, DownloadStatus.PENDING)
        fake.finish(*"bc")


async def test_a_pending_download_is_cancelled_without_ever_running() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert await a.cancel("not needed") is True
        assert a.status is DownloadStatus.CANCELLED
        assert a.attempts == 0
        assert a.started_at is None
        assert a.finished_at is not None
        assert a.progress.phase is DownloadPhase.ENDED
        assert manager.get_stats().pending == 0
    assert fake.begun == []


async def test_a_paused_download_can_be_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await settle()
        await a.pause()
        await b.pause()
        assert manager.get_stats().paused == 2
        assert await a.cancel("enough") is True
        assert await b.cancel("enough") is True
        assert manager.get_stats().paused == 0
        assert (a.status, a.reason, a.progress.phase) == (DownloadStatus.CANCELLED, "enough", DownloadPhase.ENDED)


async def test_a_paused_download_that_never_ran_can_be_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.pause()
        assert await a.cancel() is True
        assert a.progress.phase is DownloadPhase.ENDED


async def test_a_download_that_was_granted_a_slot_but_has_not_begun_runs_no_line_of_the_downloader() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert a.status is DownloadStatus.DOWNLOADING
        assert await a.cancel() is True
    assert fake.begun == []


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
async def test_cancelling_an_ended_download_is_false_and_changes_nothing(end: str) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        if end == "finish":
            fake.finish("a")
        elif end == "fail":
            fake.fail("a")
        else:
            await a.cancel("first")
        await a.wait()
        before = a.snapshot()
        assert await a.cancel("second") is False
        assert await manager.cancel("a", "third") is False
        assert a.snapshot() == before


async def test_a_second_cancel_keeps_the_first_reason_and_both_are_true() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 5)
        answers: list[bool] = []

        async def cancel(reason: str) -> None:
            answers.append(await a.cancel(reason))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel, "first")
            await settle()
            nursery.start_soon(cancel, "second")
        assert answers == [True, True]
        assert a.reason == "first"
        with pytest.raises(
            DownloadCancelledError, match=r"^download a of https://example\.org/a was cancelled: first$"
        ):
            await a.result()


async def test_a_cancel_without_a_reason_leaves_none() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        await a.cancel()
        assert a.reason is None
        with pytest.raises(DownloadCancelledError, match=r"was cancelled$") as caught:
            await a.result()
        assert (caught.value.correlation_id, caught.value.url, caught.value.reason) == ("a", url("a"), None)


async def test_a_reason_is_there_as_soon_as_the_cancel_was_asked_for() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 5)
        nursery.start_soon(a.cancel, "too slow")
        await settle()
        assert (a.status, a.reason) == (DownloadStatus.DOWNLOADING, "too slow")
        assert a.progress.phase is DownloadPhase.STOPPING


async def test_cancel_takes_an_id_a_handle_or_a_parent_id_and_refuses_others() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await manager.submit_many([url("c"), url("d")], parent_id="p")
        assert await manager.cancel("a") is True
        assert await manager.cancel(b) is True
        assert await manager.cancel("p") is True
        assert a.status is b.status is DownloadStatus.CANCELLED
        with pytest.raises(UnknownTaskError, match=r"^no download with the id 'zzz' is known; "):
            await manager.cancel("zzz")
        with pytest.raises(TypeError) as caught:
            await manager.cancel(Path("a"))  # type: ignore[arg-type]
        assert str(caught.value) == f"expected a correlation id or a DownloadTask, got {Path('a')!r}"


async def test_a_handle_of_another_manager_is_refused() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as first, open_manager(downloader=fake) as second:
        a = queue_one(first, "a")
        with pytest.raises(
            UnknownTaskError, match=r"^no download with the id 'a' is known; it belongs to another manager$"
        ):
            await second.cancel(a)
        fake.finish("a")


# Shields, and who may be cancelled while waiting.


async def test_a_shielding_downloader_delays_cancel_by_exactly_its_shield() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 7)
        began = trio.current_time()
        assert await a.cancel() is True
        assert trio.current_time() - began == 7
        assert fake.running == []


async def test_cancelling_the_caller_of_cancel_does_not_undo_it() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 7)
        with trio.move_on_after(1) as scope:
            await a.cancel("gone")
        assert scope.cancelled_caught
        assert a.status is DownloadStatus.DOWNLOADING
        assert await a.wait() is DownloadStatus.CANCELLED
        assert a.reason == "gone"


@pytest.mark.parametrize("state", ["pending", "downloading", "paused"])
async def test_a_caller_that_is_cancelled_already_has_cancelled_the_download(state: str) -> None:
    fake = FakeDownloader()
    async with open_manager(0 if state == "pending" else 1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        if state == "paused":
            await a.pause()
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await a.cancel()
        assert scope.cancelled_caught
        assert await a.wait() is DownloadStatus.CANCELLED


async def test_cancelling_a_wait_never_touches_the_download() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        for call in (a.wait, a.result):
            with trio.move_on_after(1):
                await call()
            assert a.status is DownloadStatus.DOWNLOADING
        fake.finish("a")
        assert await a.wait() is DownloadStatus.COMPLETED


# Who wins: the outcome table with a real run.


async def test_a_result_that_comes_despite_the_cancel_completes_and_cancel_is_false() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.gate("a").when_cancelled(None)
        assert await a.cancel("too late") is False
        assert a.status is DownloadStatus.COMPLETED
        assert a.reason is None
        assert (await a.result()).path.name == "a"


async def test_an_error_that_comes_despite_the_cancel_fails_and_cancel_is_false() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        error = OSError("disk full")
        fake.gate("a").when_cancelled(error)
        assert await a.cancel("too late") is False
        assert a.status is DownloadStatus.FAILED
        assert a.error is error
        assert a.reason == "OSError: disk full"
        with pytest.raises(DownloadFailedError):
            await a.result()


async def raise_beside_cancelled(job: DownloadJob) -> DownloadResult:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("disk full")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(fail_when_cancelled)
    raise AssertionError


@pytest.mark.parametrize("verb", ["cancel", "pause"])
async def test_a_group_that_holds_an_error_beside_cancelled_fails(verb: str) -> None:
    async with open_manager(downloader=raise_beside_cancelled) as manager:
        a = queue_one(manager, "a")
        await settle()
        assert await getattr(a, verb)() is False
        assert await a.wait() is DownloadStatus.FAILED
        assert pytest.RaisesGroup(pytest.RaisesExc(OSError, match="disk full")).matches(a.error)


async def test_a_group_of_errors_is_the_error_as_it_is() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        group = ExceptionGroup("two mirrors", [OSError("one"), ValueError("two")])
        fake.fail("a", group)
        assert await a.wait() is DownloadStatus.FAILED
        assert a.error is group
        assert a.reason == "ExceptionGroup: two mirrors (2 sub-exceptions)"


async def test_a_cancel_after_a_pause_cancels() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 5)
        answers: dict[str, bool] = {}

        async def ask(verb: str, reason: str) -> None:
            answers[verb] = await getattr(a, verb)(reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "pause", "lunch")
            await settle()
            nursery.start_soon(ask, "cancel", "never mind")
        assert answers == {"pause": False, "cancel": True}
        assert (a.status, a.reason) == (DownloadStatus.CANCELLED, "never mind")


async def test_a_pause_after_a_cancel_changes_nothing() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await settle()
        fake.shield("a", 5)
        answers: dict[str, bool] = {}

        async def ask(verb: str, reason: str) -> None:
            answers[verb] = await getattr(a, verb)(reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "cancel", "never mind")
            await settle()
            nursery.start_soon(ask, "pause", "lunch")
        assert answers == {"pause": False, "cancel": True}
        assert (a.status, a.reason) == (DownloadStatus.CANCELLED, "never mind")


async def test_a_body_that_finishes_in_the_tick_of_the_cancel_ends_once_and_cancel_tells_the_truth() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        log = StatusLog(manager)
        for n in range(20):
            a = queue_one(manager, f"{n}")
            await settle()
            fake.finish(a.correlation_id)
            cancelled = await a.cancel()
            assert cancelled is (a.status is DownloadStatus.CANCELLED)
            assert sum(status.is_final for status in log.of(a)) == 1


# Called by the download itself.


Action = Callable[[DownloadTask[DownloadResult]], Awaitable[object]]


async def run_inside(
    action: Action, *, child: bool = False, shield: bool = False
) -> tuple[str, DownloadTask[DownloadResult]]:
    """Let a download do *action* to itself; return what that raised, and the handle."""
    said: list[str] = []
    task: DownloadTask[DownloadResult]

    async def act() -> None:
        # The deadline is for a core that would wait: nothing else could reach behind the shield.
        with trio.CancelScope(shield=shield, deadline=trio.current_time() + 1000):
            try:
                await action(task)
            except BaseException as exc:
                said.append(type(exc).__name__ + (f": {exc}" if isinstance(exc, RuntimeError) else ""))
                if not isinstance(exc, RuntimeError):
                    raise

    async def download(job: DownloadJob) -> DownloadResult:
        if child:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(act)
        else:
            await act()
        await trio.lowlevel.checkpoint()
        return saved(job)

    async with open_manager(downloader=download) as manager:
        task = queue_one(manager, "a")
        await settle()
        if not task.status.is_final:
            # Only the paused one.
            assert task.status is DownloadStatus.PAUSED
        answer = task.status
        await task.cancel()
    (what,) = said
    return f"{answer.value} {what}", task


@pytest.mark.parametrize("child", [False, True], ids=["itself", "in a child task"])
async def test_a_download_that_cancels_itself_is_stopped_at_once(child: bool) -> None:
    said, task = await run_inside(lambda task: task.cancel("seen enough"), child=child)
    assert said == "cancelled Cancelled"
    assert task.reason == "seen enough"


@pytest.mark.parametrize("child", [False, True], ids=["itself", "in a child task"])
async def test_a_download_that_pauses_itself_is_stopped_at_once(child: bool) -> None:
    said, _ = await run_inside(lambda task: task.pause(), child=child)
    assert said == "paused Cancelled"


@pytest.mark.parametrize("verb", ["cancel", "pause"])
@pytest.mark.parametrize("child", [False, True], ids=["itself", "in a child task"])
async def test_under_its_own_shield_it_is_told_that_it_could_only_deadlock_and_the_request_stands(
    verb: str, child: bool
) -> None:
    said, _ = await run_inside(lambda task: getattr(task, verb)(), child=child, shield=True)
    status = "cancelled" if verb == "cancel" else "paused"
    assert said == (
        f"{status} RuntimeError: download a calls {verb}() on itself under its own shield, where the wait for its end "
        f"could only deadlock; the request stands and takes effect when the shield ends"
    )


async def test_a_download_that_cancels_itself_by_id_through_the_manager_is_stopped_at_once() -> None:
    manager: DownloadManager

    async def download(job: DownloadJob) -> DownloadResult:
        await manager.cancel(job.correlation_id, "by id")
        raise AssertionError

    async with open_manager(downloader=download) as manager:
        a = queue_one(manager, "a")
        assert await a.wait() is DownloadStatus.CANCELLED
        assert a.reason == "by id"


@pytest.mark.parametrize("call", ["wait", "result"])
async def test_a_download_that_awaits_its_own_end_is_told_so(call: str) -> None:
    said, _ = await run_inside(lambda task: getattr(task, call)())
    assert said == "completed RuntimeError: download a waits for its own end, which could never come"


async def test_a_download_may_cancel_another_and_wait_for_its_end() -> None:
    fake = FakeDownloader()
    answers: list[bool] = []

    async def cancel_other(job: DownloadJob) -> DownloadResult:
        answers.append(await other.cancel())
        return saved(job)

    async with open_manager(downloader=fake) as manager:
        other = queue_one(manager, "other")
        await settle()
        mine = manager.submit_nowait(url("mine"), downloader=cancel_other)
        await mine.result()
    assert answers == [True]


async def test_two_downloads_that_cancel_each_other_both_end() -> None:
    tasks: list[DownloadTask[DownloadResult]] = []

    async def cancel_other(job: DownloadJob) -> DownloadResult:
        await settle()
        other = tasks[1 - int(job.correlation_id)]
        await other.cancel()
        return saved(job)

    async with open_manager(downloader=cancel_other) as manager:
        tasks += queue(manager, "0", "1")
        await manager.wait_idle()
        assert DownloadStatus.CANCELLED in {task.status for task in tasks}


async def test_a_batch_cancelled_by_one_of_its_downloads_ends_whole() -> None:
    fake = FakeDownloader()
    manager: DownloadManager

    async def cancel_all(job: DownloadJob) -> DownloadResult:
        await settle()
        await manager.cancel("p")
        raise AssertionError

    async with open_manager(downloader=fake) as manager:
        fake.shield("x", 3)
        batch = await manager.submit_many([url("x"), url("y")], parent_id="p")
        mine = manager.submit_nowait(url("mine"), downloader=cancel_all)
        assert await mine.wait() is DownloadStatus.COMPLETED or mine.error is not None
        assert await batch.wait() == (DownloadStatus.CANCELLED, DownloadStatus.CANCELLED)


# Cancelling does not collect.


async def test_a_failure_met_by_cancel_is_not_asked_for_and_leaves_the_block() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(DownloadFailedError, check=lambda group: isinstance(group, UncollectedFailuresError)):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            await settle()
            fake.gate("a").when_cancelled(OSError("disk full"))
            assert await a.cancel() is False

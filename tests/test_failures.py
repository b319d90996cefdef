"""Failures are logged at once, kept without their frames, and leave the block unless somebody asked (law 10)."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import re
import sys
import traceback
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.fakes import FakeDownloader, StatusLog, drain, instant, make_download, queue, queue_one, settle, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    StalledError,
    TransferError,
    TrioDlmError,
    UncollectedFailuresError,
    open_manager,
)
from trio_dlm._failures import KEPT, clear_frames, failure_of, in_short, in_words

pytestmark = pytest.mark.virtual_time

Task = DownloadTask[DownloadResult]


def uncollected_in(caught: pytest.ExceptionInfo[BaseException]) -> UncollectedFailuresError[DownloadFailedError]:
    assert isinstance(caught.value, UncollectedFailuresError)
    return caught.value


# What nobody asked for comes out when the block ends.


async def test_failures_that_nobody_asked_for_leave_the_block_when_it_ends_normally() -> None:
    fake = FakeDownloader()
    errors = {name: OSError(f"{name} broke") for name in "ab"}
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(9, downloader=fake) as manager:
            queue(manager, *"abc")
            fake.fail("a", errors["a"])
            fake.fail("b", errors["b"])
            fake.finish("c")
    group = uncollected_in(caught)
    assert group.total == 2
    members = {member.correlation_id: member for member in group.exceptions if isinstance(member, DownloadFailedError)}
    assert set(members) == {"a", "b"}
    for name, member in members.items():
        assert member.url == url(name)
        assert member.reason == f"OSError: {name} broke"
        assert member.__cause__ is errors[name]
        assert str(member) == f"download {name} of {url(name)} failed: OSError: {name} broke"
    assert group.message == (
        "2 downloads failed and nobody asked how they ended; "
        'await task.result() or task.wait(), or open the manager with failures="keep"'
    )


async def test_a_failure_whose_message_is_one_of_ours_needs_no_type_in_front() -> None:
    async def stall(job: DownloadJob) -> DownloadResult:
        raise StalledError(url=job.url, waited_for="byte", limit_s=30, option="timeout_s")

    async def say_nothing(job: DownloadJob) -> DownloadResult:
        raise LookupError

    async def say_nothing_of_ours(job: DownloadJob) -> DownloadResult:
        raise TransferError("")

    async with open_manager(downloader=instant) as manager:
        reasons = []
        for downloader in (stall, say_nothing, say_nothing_of_ours):
            task = manager.submit_nowait(url("a"), downloader=downloader)
            await task.wait()
            reasons.append(task.reason)
    assert reasons == [
        # Whoever shows a reason has shown the URL.
        "no byte within 30 s; the attempt was given up: raise timeout_s if that is expected",
        "LookupError",
        "TransferError",
    ]


async def test_a_hundred_are_shown_and_all_are_counted() -> None:
    fake = FakeDownloader()
    names = [f"{n}" for n in range(130)]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake) as manager:
            queue(manager, *names)
            for name in names:
                fake.fail(name)
    group = uncollected_in(caught)
    assert (group.total, len(group.exceptions)) == (130, 100)
    shown = [member.correlation_id for member in group.exceptions if isinstance(member, DownloadFailedError)]
    assert shown == names[:100]
    assert group.message.startswith(
        "130 downloads failed and nobody asked how they ended, the first 100 of them here; "
    )


async def test_what_is_shown_is_the_first_hundred_of_those_that_nobody_asked_for() -> None:
    fake = FakeDownloader()
    names = [f"{n}" for n in range(130)]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake) as manager:
            tasks = queue(manager, *names)
            for name in names:
                fake.fail(name)
            await manager.wait_idle()
            for task in tasks[:20]:
                await task.wait()
    group = uncollected_in(caught)
    assert group.total == 110
    shown = [member.correlation_id for member in group.exceptions if isinstance(member, DownloadFailedError)]
    assert shown == names[20:120]


# However many the manager keeps in mind, there may be one more, and the last is the one that nobody asked for.
@pytest.mark.parametrize("count", [101, KEPT + 1])
async def test_one_of_very_many_that_nobody_asked_for_still_leaves_the_block(count: int) -> None:
    fake = FakeDownloader()
    names = [f"{n}" for n in range(count)]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake) as manager:
            tasks = queue(manager, *names)
            for name in names:
                fake.fail(name, TransferError("the server is gone"))
            await manager.wait_idle()
            for task in tasks[:-1]:
                await task.wait()
    group = uncollected_in(caught)
    assert group.total == 1
    assert [m.correlation_id for m in group.exceptions if isinstance(m, DownloadFailedError)] == [names[-1]]


async def test_a_failure_that_was_forgotten_long_ago_still_leaves_the_block() -> None:
    fake = FakeDownloader()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake, keep_finished=0) as manager:
            queue(manager, "a", "b")
            fake.fail("a")
            fake.finish("b")
    group = uncollected_in(caught)
    assert group.total == 1
    assert [m.correlation_id for m in group.exceptions if isinstance(m, DownloadFailedError)] == ["a"]


async def test_one_after_the_first_hundred_that_was_asked_for_steps_in_for_nobody() -> None:
    fake = FakeDownloader()
    names = [f"{n}" for n in range(KEPT + 3)]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake) as manager:
            tasks = queue(manager, *names)
            for name in names:
                fake.fail(name)
            await manager.wait_idle()
            for n in (0, 1, KEPT, KEPT + 1):
                await tasks[n].wait()
    group = uncollected_in(caught)
    assert group.total == 99
    shown = [member.correlation_id for member in group.exceptions if isinstance(member, DownloadFailedError)]
    assert shown == [*names[2:KEPT], names[KEPT + 2]]


async def test_parts_of_the_group_are_groups_of_the_same_kind() -> None:
    fake = FakeDownloader()
    names = [f"{n}" for n in range(3)]
    parts: list[BaseException] = []
    try:
        async with open_manager(9, downloader=fake) as manager:
            queue(manager, *names)
            for name in names:
                fake.fail(name)
    except* DownloadFailedError as split:
        parts.append(split)
    (part,) = parts
    assert isinstance(part, UncollectedFailuresError)
    assert isinstance(part, TrioDlmError)
    assert part.total == 3
    again = pickle.loads(pickle.dumps(copy.copy(part)))
    assert (again.total, again.message, len(again.exceptions)) == (3, part.message, 3)


# What counts as asking.

Ask = Callable[[Task], Awaitable[object]]


async def ask_result(task: Task) -> None:
    with pytest.raises(DownloadFailedError):
        await task.result()


async def ask_wait(task: Task) -> None:
    assert await task.wait() is DownloadStatus.FAILED


async def ask_events(task: Task) -> None:
    async with task._manager.events(tasks=[task]) as events:
        assert (await drain(events))[-1].status is DownloadStatus.FAILED


@pytest.mark.parametrize("ask", [ask_result, ask_wait, ask_events])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_failure_that_was_asked_for_does_not_leave_the_block(ask: Ask, when: str) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")
        if when == "before" and ask is not ask_events:
            nursery.start_soon(ask, a)
            await settle()
        fake.fail("a")
        if when == "after" or ask is ask_events:
            await manager.wait_idle()
            await ask(a)


@pytest.mark.parametrize("ask", [ask_result, ask_wait, ask_events])
async def test_asking_twice_counts_once(ask: Ask) -> None:
    fake = FakeDownloader()
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(downloader=fake) as manager:
            a, _ = queue(manager, "a", "b")
            fake.fail("a")
            fake.fail("b")
            await manager.wait_idle()
            await ask(a)
            await ask(a)
    assert uncollected_in(caught).total == 1


async def test_a_wait_that_was_cancelled_before_the_end_did_not_ask() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            with trio.move_on_after(1):
                await a.wait()
            fake.fail("a")


async def test_looking_did_not_ask() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a")
            await manager.wait_idle()
            assert a.status is DownloadStatus.FAILED
            assert a.error is not None
            assert manager.get_task("a") is a
            assert manager.get_stats().failed == 1
            assert await a.cancel() is False
            assert await a.pause() is False
            assert "failed" in repr(a)


async def test_a_retry_that_succeeds_does_not_answer_for_the_first_try() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a")
            await manager.wait_idle()
            fake.finish("a")
            await a.retry().result()


async def test_kept_failures_stay_on_their_tasks() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        a = queue_one(manager, "a")
        fake.fail("a")
    assert a.status is DownloadStatus.FAILED
    assert isinstance(a.error, OSError)


# Whatever comes out of a downloader, the manager stays in order.


class MuteError(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise LookupError("no words")


class EmptyError(Exception):
    """Counts as false, as a list of nothing does."""

    def __len__(self) -> int:
        return 0


async def raise_mute(job: DownloadJob) -> DownloadResult:
    await settle()
    raise MuteError(7)


async def raise_empty(job: DownloadJob) -> DownloadResult:
    await settle()
    raise EmptyError("nothing in it")


async def return_text_for_a_size(job: DownloadJob) -> DownloadResult:
    job.progress.begin(0, 10)
    await settle()
    return DownloadResult(path=job.directory, size_bytes="7")  # type: ignore[arg-type]


async def return_no_size(job: DownloadJob) -> DownloadResult:
    class Sizeless(DownloadResult):
        size_bytes = None  # type: ignore[assignment]

        def __init__(self) -> None:
            """Leave everything out."""

    await settle()
    return Sizeless()


@pytest.mark.parametrize(
    ("downloader", "reason"),
    [
        (raise_mute, "MuteError"),
        (raise_empty, "EmptyError: nothing in it"),
        (return_text_for_a_size, "TypeError: the downloader returned a result of '7' bytes, expected an int"),
        (return_no_size, "TypeError: the downloader returned a result of None bytes, expected an int"),
    ],
)
async def test_whatever_comes_out_of_a_downloader_fails_it_and_frees_its_slot_and_wakes_who_waits(
    downloader: Callable[[DownloadJob], Awaitable[DownloadResult]], reason: str
) -> None:
    fake = FakeDownloader()
    answers: list[object] = []
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        a = manager.submit_nowait(url("a"), downloader=downloader)
        b = queue_one(manager, "b")

        async def wait() -> None:
            answers.append(await a.wait())

        async def cancel() -> None:
            await b.wait()
            answers.append(await a.cancel())

        nursery.start_soon(wait)
        nursery.start_soon(cancel)
        with pytest.raises(DownloadFailedError) as caught:
            await a.result()
        assert caught.value.__cause__ is a.error
        assert (a.status, a.reason) == (DownloadStatus.FAILED, reason)
        assert b.status is DownloadStatus.DOWNLOADING
        fake.finish("b")
        await manager.wait_idle()
        await settle()
        stats = manager.get_stats()
        assert (stats.active, stats.pending, stats.failed, stats.completed) == (0, 0, 1, 1)
    assert answers == [DownloadStatus.FAILED, False]


async def test_a_log_handler_that_raises_ends_the_block_and_finds_the_manager_in_order() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("the handler broke")

    handler = Broken(logging.WARNING)
    logging.getLogger("trio_dlm").addHandler(handler)
    fake = FakeDownloader()
    answers: list[object] = []
    # The outer group is that of the test's own nursery.
    with pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match=r"^the handler broke$"))):
        async with trio.open_nursery() as nursery:
            try:
                async with open_manager(1, downloader=fake) as manager:
                    log = StatusLog(manager)
                    a, b = queue(manager, "a", "b")

                    async def wait() -> None:
                        with trio.CancelScope(shield=True):
                            answers.append(await a.wait())

                    nursery.start_soon(wait)
                    await settle()
                    fake.fail("a")
                    await trio.sleep_forever()
            finally:
                logging.getLogger("trio_dlm").removeHandler(handler)
    assert (a.status, a.reason) == (DownloadStatus.FAILED, "OSError: a broke")
    # It had the slot of the first one before the block ended.
    assert log.of(b) == [DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.CANCELLED]
    assert answers == [DownloadStatus.FAILED]
    stats = manager.get_stats()
    assert (stats.active, stats.pending, stats.failed, stats.cancelled) == (0, 0, 1, 1)


# With an exception of the body.


@pytest.mark.parametrize("failed", [1, 3])
async def test_an_exception_of_the_body_leaves_alone_with_a_note_that_counts_the_others(failed: int) -> None:
    fake = FakeDownloader()
    mine = ValueError("mine")
    with pytest.raises(ValueError, match=r"^mine\n") as caught:
        async with open_manager(9, downloader=fake) as manager:
            names = [f"{n}" for n in range(failed)]
            queue(manager, *names)
            for name in names:
                fake.fail(name)
            await manager.wait_idle()
            raise mine
    assert caught.value is mine
    (note,) = mine.__notes__
    assert re.search(rf"^trio_dlm: .*nobody asked.*\b{failed}\b|^trio_dlm: .*\b{failed}\b.*nobody asked", note)


async def test_a_failure_met_while_everything_is_cancelled_is_in_the_note_too() -> None:
    fake = FakeDownloader()
    with pytest.raises(ValueError, match=r"^mine\n") as caught:
        async with open_manager(9, downloader=fake) as manager:
            queue_one(manager, "a")
            await settle()
            fake.gate("a").when_cancelled(OSError("disk full"))
            raise ValueError("mine")
    (note,) = caught.value.__notes__
    assert re.search(r"\b1\b", note)


async def test_no_note_without_uncollected_failures() -> None:
    fake = FakeDownloader()
    with pytest.raises(ValueError, match=r"^mine$") as caught:
        async with open_manager(9, downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a")
            await a.wait()
            raise ValueError("mine")
    assert not hasattr(caught.value, "__notes__")


async def test_a_failure_that_the_body_lets_out_is_itself() -> None:
    fake = FakeDownloader()
    with pytest.raises(DownloadFailedError) as caught:
        async with open_manager(9, downloader=fake) as manager:
            a = queue_one(manager, "a")
            fake.fail("a")
            await a.result()
    assert isinstance(caught.value.__cause__, OSError)
    assert not hasattr(caught.value, "__notes__")


# result() raises afresh.


async def test_every_result_raises_a_fresh_exception_from_the_original() -> None:
    fake = FakeDownloader()
    original = OSError("disk full")
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        fake.fail("a", original)
        raised = []
        for _ in range(2):
            with pytest.raises(DownloadFailedError) as caught:
                await a.result()
            raised.append(caught.value)
    assert raised[0] is not raised[1]
    assert raised[0].__cause__ is raised[1].__cause__ is original is a.error
    assert str(raised[0]) == f"download a of {url('a')} failed: OSError: disk full"


async def test_every_result_of_a_cancelled_download_raises_a_fresh_exception() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        await a.cancel()
        raised = []
        for _ in range(2):
            with pytest.raises(DownloadCancelledError) as caught:
                await a.result()
            raised.append(caught.value)
    assert raised[0] is not raised[1]


async def test_an_original_that_is_raised_again_and_again_does_not_grow() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        fake.fail("a")
        await a.wait()
        assert a.error is not None
        before = len(traceback.extract_tb(a.error.__traceback__))
        for _ in range(5):
            with pytest.raises(DownloadFailedError):
                await a.result()
        assert len(traceback.extract_tb(a.error.__traceback__)) == before


# Logging.


def records_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
async def test_a_failure_is_logged_when_it_happens_with_its_id_and_for_debugging_its_traceback(
    caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, logger="trio_dlm")
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        a = queue_one(manager, "a")
        fake.fail("a", OSError("disk full"))
        await manager.wait_idle()
        (record,) = [each for each in records_of(caplog) if each.levelno == logging.WARNING]
        assert record.name == "trio_dlm"
        assert record.getMessage() == f"download a of {url('a')} failed: OSError: disk full"
        assert record.__dict__["correlation_id"] == "a"
        assert (record.exc_info[1] if record.exc_info else None) is (a.error if level == logging.DEBUG else None)


async def test_a_failure_is_logged_before_anybody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager, trio.open_nursery() as nursery:
        a = queue_one(manager, "a")

        async def wait() -> None:
            await a.wait()
            assert len(records_of(caplog)) == 1

        nursery.start_soon(wait)
        await settle()
        fake.fail("a")


async def test_one_of_our_own_errors_is_logged_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        queue(manager, "a")
        fake.fail("a", TransferError("the server is gone; try again"))
    (record,) = records_of(caplog)
    assert record.getMessage() == f"download a of {url('a')} failed: the server is gone; try again"
    assert record.exc_info is None


async def test_an_asked_for_failure_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        fake.fail("a")
        await a.wait()
    assert len(records_of(caplog)) == 1


async def test_results_and_cancels_are_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        _, b = queue(manager, "a", "b")
        fake.finish("a")
        await b.cancel()
    assert records_of(caplog) == []


async def test_secrets_of_a_url_are_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_dlm")

    async def fail(job: DownloadJob) -> DownloadResult:
        assert "hunter2" in job.url
        raise TransferError("the server is gone")

    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(downloader=fail) as manager:
            task = await manager.submit("https://joe:hunter2@example.org/a?token=hunter2")
            await manager.wait_idle()
            texts = [task.url, repr(task), repr(task.request), str(task.snapshot()), repr(task._download)]
    texts += [*map(str, caught.value.exceptions), *map(repr, caught.value.exceptions), caplog.text]
    assert not [text for text in texts if "hunter2" in text]


async def test_secrets_that_a_foreign_error_quotes_are_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError(f"cannot fetch {job.url}")

    async with open_manager(downloader=fail) as manager:
        task = await manager.submit("https://joe:hunter2@example.org/a?token=hunter2")
        with pytest.raises(DownloadFailedError) as caught:
            await task.result()
    assert task.reason == "OSError: cannot fetch https://example.org/a?token=…"
    assert caught.value.reason == task.reason
    (record,) = records_of(caplog)
    assert record.getMessage() == f"download {task.correlation_id} of {task.url} failed: {task.reason}"
    texts = [str(caught.value), repr(caught.value), repr(task), task.snapshot().reason, caplog.text]
    assert not [text for text in texts if text is None or "hunter2" in text]


async def test_a_reason_is_one_line_of_no_more_than_two_thousand_characters() -> None:
    async def quote_a_page(job: DownloadJob) -> DownloadResult:
        raise OSError("<html>\r\n" + "<p>long</p>\n" * 10_000)

    async with open_manager(downloader=quote_a_page) as manager:
        task = await manager.submit(url("a"))
        await task.wait()
    assert task.reason is not None
    assert task.reason.startswith("OSError: <html> <p>long</p> <p>")
    assert task.reason.endswith("…")
    assert len(task.reason) == 2000


@pytest.mark.parametrize(
    ("length", "shown"), [(2000, "x" * 2000), (2001, "x" * 1999 + "…")], ids=["just short enough", "too long"]
)
def test_a_reason_of_two_thousand_characters_is_not_cut(length: int, shown: str) -> None:
    assert in_words(TransferError("x" * length), url("a")) == shown


def test_a_failure_without_words_has_an_unknown_reason() -> None:
    assert failure_of(make_download("a")).reason == "unknown"


# What a kept error keeps.


class Buffer(bytearray):
    """A piece of memory that can be referred to weakly."""


async def test_a_kept_error_pins_no_buffer_of_the_run() -> None:
    alive: list[weakref.ref[Buffer]] = []

    async def fail(job: DownloadJob) -> DownloadResult:
        buffer = Buffer(64 * 1024)
        alive.append(weakref.ref(buffer))
        try:
            await fail_deeper(buffer)
        except KeyError as exc:
            raise OSError("disk full") from exc
        raise AssertionError

    async def fail_deeper(buffer: Buffer) -> None:
        also = Buffer(64 * 1024)
        alive.append(weakref.ref(also))
        try:
            raise ValueError("first")
        except ValueError:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail_in_a_child, Buffer(1))
            except* LookupError as group:
                raise KeyError("second") from group

    async def fail_in_a_child(buffer: Buffer) -> None:
        alive.append(weakref.ref(buffer))
        raise IndexError("third")

    async with open_manager(downloader=fail) as manager:
        a = queue_one(manager, "a")
        await a.wait()
        gc.collect()
        assert a.error is not None
        assert [ref() for ref in alive] == [None] * 3
        # And it still tells where it came from.
        text = "".join(traceback.format_exception(a.error))
        for name in ("fail", "fail_deeper", "fail_in_a_child", "disk full", "second", "third"):
            assert name in text


async def test_a_kept_error_does_not_keep_the_manager() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, failures="keep") as manager:
        a = queue_one(manager, "a")
        fake.fail("a", TransferError("the server is gone"))
        await a.wait()
        error = a.error
    alive = weakref.ref(manager)
    del manager, a
    await settle()
    gc.collect()
    assert error is not None
    assert alive() is None


async def test_a_suspended_frame_of_somebody_elses_coroutine_is_not_closed() -> None:
    # An exception that a task kept, and that is raised again in a download, leads back into the frame of that task.
    kept: list[OSError] = []
    fetched = trio.Event()
    said: list[str] = []

    async def fetch_for_all() -> None:
        mine = "still here"
        try:
            raise OSError("the first try broke")
        except OSError as exc:
            kept.append(exc)
            fetched.set()
            await trio.sleep(10)
        said.append(mine)

    async def fail(job: DownloadJob) -> DownloadResult:
        await fetched.wait()
        raise kept[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetch_for_all)
        async with open_manager(downloader=fail, failures="keep") as manager:
            a = queue_one(manager, "a")
            await a.wait()
            assert a.error is kept[0]
            assert said == []
    assert said == ["still here"]


def make_error(depth: int) -> Exception:
    payload = Buffer(10)
    try:
        if depth:
            raise make_error(depth - 1)
        raise OSError("bottom")
    except OSError as exc:
        assert payload is not None
        return exc


def frames_of(error: BaseException) -> list[dict[str, Any]]:
    found = []
    step = error.__traceback__
    while step is not None:
        found.append(dict(step.tb_frame.f_locals))
        step = step.tb_next
    return found


async def test_clear_frames_empties_every_ended_frame_of_causes_contexts_and_members() -> None:
    cause, context, member = make_error(2), make_error(1), make_error(0)
    error = ExceptionGroup("outer", [make_error(1), ExceptionGroup("inner", [member])])
    error.__cause__ = cause
    cause.__context__ = context
    # A circle of exceptions comes to an end too.
    context.__context__ = error
    assert any(frame for frame in frames_of(cause))
    clear_frames(error)
    for each in (cause, context, member, error.exceptions[0]):
        assert not any(frames_of(each))


async def test_clear_frames_spares_the_code_that_still_runs() -> None:
    mine = "still here"
    try:
        raise OSError("now")
    except OSError as exc:
        clear_frames(exc)
        seen = sys.exc_info()[1]
    assert isinstance(seen, OSError)
    assert mine == "still here"


async def test_failures_that_nobody_remembers_are_still_counted() -> None:
    # The handles of the first are kept and asked; the others are forgotten by everybody.
    fake = FakeDownloader()
    names = [f"{n}" for n in range(KEPT + 5)]
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(1, downloader=fake, keep_finished=0) as manager:
            tasks = queue(manager, *names)
            del tasks[KEPT:]
            for name in names:
                fake.fail(name, TransferError("the server is gone"))
            await manager.wait_idle()
            gc.collect()
            for task in tasks:
                await task.wait()
    group = uncollected_in(caught)
    assert group.total == 5
    assert [str(member) for member in group.exceptions] == [
        "failures after the first 100 were logged, and forgotten with their downloads"
    ]


def test_an_exception_that_cannot_say_what_it_is_is_named_by_its_type() -> None:
    class MuteCrash(BaseException):
        def __repr__(self) -> str:
            raise LookupError("no words")

    assert in_short(MuteCrash()) == "MuteCrash"
    assert in_short(KeyboardInterrupt()) == "KeyboardInterrupt()"

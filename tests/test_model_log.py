"""Laws that a log shows to be broken, long after the manager is gone."""

from __future__ import annotations

import logging

import pytest

from tests.fakes import FakeDownloader, StatusLog, drain, instant, queue, settle, url
from trio_dlm import DownloadStatus, TaskSnapshot, open_manager
from trio_dlm.testing._errors import LawBrokenError
from trio_dlm.testing.machine._model import COMPLETED, DOWNLOADING, FAILED, PAUSED, PENDING, Model
from trio_dlm.testing.machine._replay import check_events, parse_log

pytestmark = pytest.mark.virtual_time

WORDS = {status.value: status for status in DownloadStatus}


def log(text: str) -> list[tuple[str, DownloadStatus]]:
    """Read ``a pending, a downloading, …``."""
    pairs = (event.split() for event in text.split(", "))
    return [(name, WORDS[word]) for name, word in pairs]


async def snapshots_of_a_run() -> list[TaskSnapshot]:
    """Return what a reader was given of a download that was paused, resumed and completed."""
    fake = FakeDownloader()
    got: list[TaskSnapshot] = []
    async with open_manager(downloader=fake) as manager, manager.events() as events:
        (task,) = queue(manager, "a")
        got += await drain(events)
        await task.pause()
        got += await drain(events)
        task.resume()
        got += await drain(events)
        fake.finish("a")
        await settle()
        got += await drain(events)
    assert [snapshot.status for snapshot in got] == [DOWNLOADING, PAUSED, DOWNLOADING, COMPLETED]
    return got


# Logs.


@pytest.mark.parametrize(
    "text",
    [
        "a pending, a downloading, b pending, a completed, b downloading, b failed",
        # One that stands in nobody's way any more.
        "a pending, b pending, a cancelled, b downloading, b completed",
        "a pending, b pending, a paused, b downloading, a pending, b completed, a downloading, a cancelled",
        # The request to stop is told of too.
        "a pending, a downloading, a downloading, a paused, a pending, a downloading, a completed",
        # Of a batch: stopped before its turn came, or paused and resumed before it, so that it is queued twice.
        "a cancelled, b paused, b pending, c pending, b pending, c downloading, c failed, b downloading, b failed",
    ],
)
def test_a_right_log_passes(text: str) -> None:
    events = log(text)
    assert check_events(events, limit=1, all_ended=True) == len({event[0] for event in events})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a downloading", "law 4: a became downloading, and was never queued"),
        ("a pending, a completed", "law 4: a went from pending to completed"),
        ("a pending, a cancelled, a cancelled", "law 4: a went from cancelled to cancelled"),
        ("a pending, a downloading, a failed, a pending", "law 4: a went from failed to pending"),
        ("a pending, b pending, b downloading", r"law 3: b was started, and a was queued before it \(event 2\)"),
        ("a pending, b pending, a paused, a pending, a downloading", "law 3: a was started, and b was queued before"),
        (
            "a pending, a downloading, b pending, b downloading, c pending, c downloading",
            r"law 2: c was started as number 3, and the limit is 2 \(event 5\)",
        ),
        ("a pending, a downloading, b pending, a completed", "law 1: the log has ended, and these have not: b"),
    ],
)
def test_a_broken_law_is_named(text: str, said: str) -> None:
    with pytest.raises(LawBrokenError, match=said):
        check_events(log(text), limit=2, all_ended=True)


def test_lanes_have_queues_of_their_own() -> None:
    events = log("a1 pending, a2 pending, b1 pending, a1 downloading, b1 downloading, a2 downloading")
    assert check_events(events, lane_of=lambda name: name[0]) == 3
    with pytest.raises(LawBrokenError, match="law 3: b1 was started, and a2 was queued before it"):
        check_events(events)


def test_the_model_looks_at_logs_too() -> None:
    assert Model.check_events(log("a pending, a downloading"), limit=1) == 1
    with pytest.raises(LawBrokenError, match="law 2"):
        Model.check_events(log("a pending, a downloading, b pending, b downloading"), limit=1)


def test_an_empty_log_is_right() -> None:
    assert check_events([], all_ended=True) == 0


async def test_the_log_of_a_real_manager_passes() -> None:
    async with open_manager(2, downloader=instant) as manager:
        status_log = StatusLog(manager)
        await manager.submit_many([url(number) for number in range(20)])
    assert check_events(status_log.entries, limit=2, all_ended=True) == 20


# What the library writes.


async def test_what_the_library_logs_is_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_dlm")
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, failures="keep") as manager:
        status_log = StatusLog(manager)
        first, _ = queue(manager, "a", "b")
        manager.submit_nowait(url("c"), correlation_id="download c of x is pending")
        await settle()
        await first.cancel()
        fake.fail("b")
        fake.finish("c")
        await manager.wait_idle()
    # The request to cancel is a line of its own, of which the status is no news.
    read = [event for event in parse_log(caplog.records) if event != ("a", DOWNLOADING)]
    assert read == [event for event in status_log.entries if event != ("a", DOWNLOADING)]
    assert check_events(parse_log(caplog.records), limit=1, all_ended=True) == 3
    lines = [f"12:00:00 DEBUG {line.getMessage()}\n" for line in caplog.records]
    assert [event for event in parse_log(lines) if event[0] == "b"] == [event for event in read if event[0] == "b"]


def test_other_lines_are_skipped() -> None:
    foreign = logging.LogRecord("mine", logging.DEBUG, "", 1, "download a of x is completed", (), None)
    warning = logging.LogRecord("trio_dlm", logging.WARNING, "", 1, "download a of x failed: it is failed", (), None)
    other = logging.LogRecord("trio_dlm", logging.DEBUG, "", 1, "download a of x is completed", (), None)
    lines = ["", "download a of https://example.org/is pending goes on", "the download is completed"]
    assert not [*parse_log([foreign, warning, other, *lines])]


# Streams.


async def test_a_conflated_stream_may_leave_changes_out() -> None:
    got = await snapshots_of_a_run()
    assert check_events(got, all_ended=True) == 1
    assert check_events([got[0], got[3]], all_ended=True) == 1
    with pytest.raises(LawBrokenError, match="law 1: the log has ended, and these have not: a"):
        check_events(got[:2], all_ended=True)


async def test_a_stream_that_goes_backwards_is_told() -> None:
    running, paused, _, completed = await snapshots_of_a_run()
    with pytest.raises(LawBrokenError, match=r"law 4: a was completed, and is paused \(event 1\)"):
        check_events([completed, paused])
    with pytest.raises(LawBrokenError, match="A6: a was delivered again, and its sequence has not risen"):
        check_events([paused, running])


async def test_facts_of_a_stream_stay() -> None:
    import dataclasses

    running, paused, again, _ = await snapshots_of_a_run()
    with pytest.raises(LawBrokenError, match=r"A6: a was .* and is "):
        check_events([running, dataclasses.replace(paused, lane="other")])
    with pytest.raises(LawBrokenError, match="A6: a has fewer attempts than before"):
        check_events([running, dataclasses.replace(paused, attempts=0)])
    with pytest.raises(LawBrokenError, match="law 4: a is downloading, and was never started"):
        check_events([dataclasses.replace(again, attempts=0)])


async def test_a_stream_cannot_be_held_against_a_limit_or_an_order() -> None:
    got = await snapshots_of_a_run()
    with pytest.raises(ValueError, match="leaves changes out"):
        check_events(got, limit=1)
    with pytest.raises(ValueError, match="leaves changes out"):
        check_events(got, lane_of=len)


async def test_what_is_no_event_is_refused() -> None:
    got = await snapshots_of_a_run()
    with pytest.raises(TypeError, match="pairs or snapshots, got both"):
        check_events([*got, ("b", FAILED)])
    with pytest.raises(TypeError, match="pairs or snapshots, got both"):
        check_events([("b", PENDING), *got])
    with pytest.raises(TypeError, match=r"got \('a', 'pending'\)"):
        check_events([("a", "pending")])  # type: ignore[list-item]

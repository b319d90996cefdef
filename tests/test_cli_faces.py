"""What the faces write: plain lines, JSON, nothing, and which of them is chosen."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.command import Memory, snapshot_of, stats_of
from trio_dlm import DownloadManager, DownloadPhase, DownloadResult, DownloadStatus, PartProgress, open_manager
from trio_dlm._context import logger
from trio_dlm.cli import _logs
from trio_dlm.cli._choose import choose_face, is_lively
from trio_dlm.cli._display import LiveFace
from trio_dlm.cli._json import JsonFace, as_object
from trio_dlm.cli._logs import logging_to
from trio_dlm.cli._output import Output
from trio_dlm.cli._plain import PlainFace, QuietFace
from trio_dlm.cli._screen import Screen
from trio_dlm.downloaders import DownloadJob

PENDING, RUNNING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
MOVING, WAITING = DownloadPhase.TRANSFERRING, DownloadPhase.RETRYING
DONE, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED

ERROR = "trio-dlm: https://example.org/pub/big.iso: the server answered 404 Not Found; check the URL"


async def plain(*statuses: DownloadStatus, stop_at: int | None = None, **facts: Any) -> tuple[list[str], list[str]]:
    """Show a download in these *statuses*, one after the other; return what came to stdout and stderr."""
    out, err = Memory(), Memory()
    face = PlainFace(Output(out), Output(err))
    for number, status in enumerate(statuses):
        if number == stop_at:
            face.stop()
        await face.show(snapshot_of(status, **facts))
    return out.getvalue().splitlines(), err.getvalue().splitlines()


async def test_a_plain_success_is_two_lines_and_progress_goes_without_saying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = await plain(PENDING, RUNNING, RUNNING, RUNNING, DONE, received=2048, path=tmp_path / "sub" / "big.iso")
    assert out == [
        "big.iso: started, https://example.org/pub/big.iso",
        f"big.iso: completed, 2.0 KiB in 3 s, saved as {Path('sub', 'big.iso')}",
    ]
    assert err == []


async def test_every_retry_is_said_once_and_a_late_success_says_how_many_there_were() -> None:
    out = Memory()
    face = PlainFace(Output(out), Output(Memory()))
    running = snapshot_of(RUNNING, received=1024, total=2048)
    for retries, phase in ((0, MOVING), (1, WAITING), (1, MOVING), (3, WAITING), (3, MOVING)):
        await face.show(replace(running, progress=replace(running.progress, retries=retries, phase=phase)))
    done = snapshot_of(DONE, received=2048)
    await face.show(replace(done, progress=replace(done.progress, retries=3)))
    assert out.getvalue().splitlines() == [
        "big.iso: started, https://example.org/pub/big.iso",
        "big.iso: waiting to retry, 50.0 % of 2.0 KiB, 1 retry",
        "big.iso: waiting to retry, 50.0 % of 2.0 KiB, 3 retries",
        "big.iso: completed, 2.0 KiB in 3 s, after 3 retries, saved as /data/big.iso",
    ]


async def test_the_retries_of_a_run_after_a_pause_are_said_again() -> None:
    out = Memory()
    face = PlainFace(Output(out), Output(Memory()))
    tried = replace(snapshot_of().progress, retries=1)
    for status in (RUNNING, RUNNING, PAUSED, PENDING, RUNNING, RUNNING):
        await face.show(snapshot_of(status, progress=tried))
    assert [line.split(", ")[-1] for line in out.getvalue().splitlines()].count("1 retry") == 2


async def test_a_plain_failure_is_said_on_stderr_only() -> None:
    assert await plain(RUNNING, FAILED) == (["big.iso: started, https://example.org/pub/big.iso"], [ERROR])


async def test_what_starts_and_ends_between_two_looks_has_still_started() -> None:
    out, _ = await plain(PENDING, DONE, path=Path("/elsewhere/big.iso"))
    assert [line.split(",")[0] for line in out] == ["big.iso: started", "big.iso: completed"]
    assert out[1].endswith("saved as /elsewhere/big.iso")


async def test_a_pause_and_what_follows_are_said() -> None:
    out, _ = await plain(RUNNING, PAUSED, PENDING, RUNNING, CANCELLED)
    words = [line.split(",")[0] for line in out]
    assert words == [
        "big.iso: started",
        "big.iso: paused",
        "big.iso: queued again",
        "big.iso: started again",
        "big.iso: cancelled",
    ]


async def test_after_a_signal_nothing_is_said_of_what_it_cancelled() -> None:
    out, err = await plain(RUNNING, CANCELLED, stop_at=1)
    assert (len(out), err) == (1, [])
    assert (await plain(RUNNING, FAILED, stop_at=1))[1] == [ERROR]


async def test_plain_lines_have_no_control_characters() -> None:
    out, err = await plain(RUNNING, FAILED, url="https://example.org/%1b%5b31mx", reason="a\x1b[2J\nb\rc")
    assert all(line.isprintable() for line in [*out, *err])
    assert len(err) == 1


async def test_a_plain_end_is_a_summary() -> None:
    out = Memory()
    face = PlainFace(Output(out), Output(Memory()))
    await face.say("a remark")
    await face.finish(stats_of(completed=1, bytes_received=1024), 2, 1)
    assert out.getvalue() == "a remark\n1 of 2 done; 1.0 KiB received\n"


async def test_a_quiet_face_says_what_failed_and_nothing_else() -> None:
    err = Memory()
    face = QuietFace(Output(err))
    for status in (PENDING, RUNNING, DONE, CANCELLED, FAILED):
        await face.show(snapshot_of(status))
    face.stop()
    await face.say("a remark")
    await face.finish(stats_of(), 1, 1)
    assert err.getvalue() == ERROR + "\n"


async def test_json_lines_all_have_the_same_keys_and_say_what_changed() -> None:
    out, err = Memory(), Memory()
    face = JsonFace(Output(out), Output(err))
    for status in (PENDING, RUNNING, RUNNING, FAILED):
        await face.show(snapshot_of(status, received=1, total=4, rate=2.0))
    face.stop()
    await face.show(snapshot_of(DONE, received=4, path=Path("/data/名.iso")))
    await face.say("a remark")
    await face.finish(stats_of(failed=1), 1, 1)
    assert out.getvalue().isascii()
    *lines, remark, summary = map(json.loads, out.getvalue().splitlines())
    assert [line["event"] for line in lines] == ["status", "status", "progress", "status", "status"]
    assert len({tuple(line) for line in lines}) == 1
    failed, done = lines[3:]
    assert failed["reason"] == "the server answered 404 Not Found; check the URL"
    assert failed["error"] == "HttpStatusError"
    assert (failed["fraction"], failed["eta_s"], failed["path"]) == (0.25, 1.5, None)
    assert (done["path"], done["size_bytes"], done["reused"]) == ("/data/名.iso", 4, False)
    assert done["finished_at"] == "2031-05-06T07:08:12.000+00:00"
    assert remark == {"event": "remark", "text": "a remark"}
    assert summary == {
        "event": "summary",
        "total": 1,
        "completed": 0,
        "failed": 1,
        "cancelled": 0,
        "bytes_received": 0,
        "exit_code": 1,
    }
    assert err.getvalue() == ERROR + "\n"


def test_json_has_the_retries_and_the_ranges_in_flight() -> None:
    parts = (PartProgress(0, 5, 10), PartProgress(10, 0, None))
    snapshot = snapshot_of()
    record = as_object(replace(snapshot, progress=replace(snapshot.progress, retries=2, parts=parts)), event="progress")
    assert record["retries"] == 2
    assert record["parts"] == [
        {"start": 0, "received_bytes": 5, "size_bytes": 10},
        {"start": 10, "received_bytes": 0, "size_bytes": None},
    ]
    assert as_object(snapshot, event="progress")["parts"] == []


def test_the_keys_are_documented() -> None:
    page = Path(__file__).parents[1] / "docs" / "reference" / "cli.rst"
    text = page.read_text("utf-8")
    keys = as_object(snapshot_of(), event="status").keys()
    assert [key for key in keys if f"``{key}``" not in text] == []


class Terminal(Memory):
    def isatty(self) -> bool:
        return True


def face_for(monkeypatch: pytest.MonkeyPatch, stdout: object, **wishes: bool) -> type:
    monkeypatch.setattr(sys, "stdout", stdout)
    output = Output(Memory())
    return type(choose_face(output, output, **({"as_json": False, "quiet": False} | wishes)))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no TERM")
def test_a_display_needs_a_terminal_that_can_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert face_for(monkeypatch, Terminal()) is LiveFace
    assert face_for(monkeypatch, Memory()) is PlainFace
    assert face_for(monkeypatch, None) is PlainFace
    assert face_for(monkeypatch, Terminal(), as_json=True) is JsonFace
    assert face_for(monkeypatch, Terminal(), quiet=True) is QuietFace
    for name in ("dumb", "unknown", ""):
        monkeypatch.setenv("TERM", name)
        assert face_for(monkeypatch, Terminal()) is PlainFace
    monkeypatch.delenv("TERM")
    assert not is_lively(Terminal())


def test_on_windows_the_console_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_dlm.cli._choose.os.name", "nt")
    assert is_lively(Terminal())


class Script:
    """A downloader that does what the test says, step by step."""

    def __init__(self) -> None:
        self.gates: dict[str, trio.Event] = {}

    def open(self, name: str) -> None:
        self.gates.setdefault(name, trio.Event()).set()

    async def download(self, job: DownloadJob) -> DownloadResult:
        name = job.url.rpartition("/")[2]
        job.progress.begin(0, 4096)
        job.progress.advance(1024)
        await self.gates.setdefault(name, trio.Event()).wait()
        if name.startswith("bad"):
            raise OSError("no such thing")
        return DownloadResult(path=Path("/data", name), size_bytes=4096)


async def watch(face: LiveFace, manager: DownloadManager) -> None:
    async with manager.events(min_interval_s=face.interval_s) as events, face.open(manager, 4):
        async for snapshot in events:
            await face.show(snapshot)


@pytest.fixture
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything be written at once: a clock that jumps waits for no thread."""

    async def write(self: Output, text: str) -> None:
        self._write(text.encode())
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Output, "write", write)


@pytest.mark.virtual_time
@pytest.mark.usefixtures("_without_threads")
async def test_the_live_display_shows_what_runs_below_what_has_ended() -> None:
    stream, err, script = Terminal(), Memory(), Script()
    face = LiveFace(Screen(stream, Output(stream)), Output(err))

    async def frame() -> list[str]:
        await trio.sleep(5)
        text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).rpartition("\x1b[J")[2]
        return [line.split("  ")[0] for line in text.removesuffix("\r\x1b[?7h").split("\r\n")]

    async with trio.open_nursery() as nursery:
        async with open_manager(2, downloader=script, failures="keep") as manager:
            nursery.start_soon(watch, face, manager)
            tasks = [await manager.submit(f"http://a/{name}") for name in ("one", "bad", "named", "four")]
            assert await frame() == ["one", "bad", "0 of 4 done, 2 running, 2 queued"]
            script.open("one")
            assert await frame() == ["bad", "named", "1 of 4 done, 2 running, 1 queued"]
            script.open("bad")
            await face.say("a remark")
            await tasks[2].pause("later")
            await frame()
            assert "a remark" in stream.getvalue()
            assert "bad failed: OSError: no such thing" in stream.getvalue()
            assert "named: paused" in stream.getvalue()
            tasks[2].resume()
            script.open("named")
            face.stop()
            await tasks[3].cancel()
    assert "four: cancelled" not in stream.getvalue()
    stream.truncate(0)
    await face.say("afterwards")
    await face.finish(stats_of(completed=2, failed=1, cancelled=1), 4, 1)
    assert "afterwards" in stream.getvalue()
    assert "2 of 4 done, 1 failed, 1 cancelled" in stream.getvalue()
    assert err.getvalue().startswith("trio-dlm: http://a/bad: OSError: no such thing; try again")


@pytest.mark.virtual_time
async def test_the_live_display_is_drawn_ten_times_a_second_at_most_and_sleeps_when_nothing_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Terminal()
    face = LiveFace(Screen(stream, Output(stream)), None)
    draws: list[float] = []

    async def draw(*_: object) -> None:
        draws.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Screen, "draw", draw)

    async def busy(job: DownloadJob) -> DownloadResult:
        for _ in range(1000):
            job.progress.advance(1)
            await trio.sleep(0.01)
        await trio.sleep(10)
        return DownloadResult(path=Path("/x"), size_bytes=1000)

    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=busy) as manager:
            nursery.start_soon(watch, face, manager)
            began = trio.current_time()
            task = await manager.submit("http://a/x")
            await task.wait()
            seen = len(draws)
            assert 10 <= sum(each < began + 10 for each in draws) <= 101
            # Nothing comes any more, but the rate falls.
            assert 9 <= sum(began + 10.5 < each < began + 20 for each in draws) <= 11
            await trio.sleep(1000)
            assert len(draws) <= seen + 2


@pytest.mark.virtual_time
@pytest.mark.usefixtures("_without_threads")
async def test_a_failure_is_said_in_full_where_it_is_not_said_again() -> None:
    stream = Terminal()
    face = LiveFace(Screen(stream, Output(stream)), None)
    async with open_manager(1, downloader=Script()) as manager, face.open(manager, 1):
        await face.show(snapshot_of(FAILED, reason="x" * 300))
    assert stream.getvalue().count("x") == 300


async def test_log_lines_come_above_the_display_from_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    stream = Terminal()
    face = LiveFace(Screen(stream, Output(stream)), None)
    async with open_manager(1, downloader=Script()) as manager:
        with logging_to("warning"):
            async with face.open(manager, 1):
                thread = threading.Thread(target=logger.warning, args=("of a\nthread",))
                thread.start()
                await trio.to_thread.run_sync(thread.join)
                while "of a thread" not in stream.getvalue():  # noqa: ASYNC110 -- the display tells nobody what it drew
                    await trio.sleep(0.01)
            logger.warning("below")
    assert "trio-dlm: warning: of a thread" in stream.getvalue()
    assert stderr.getvalue() == "trio-dlm: warning: below\n"


def test_a_log_record_is_one_line_unless_everything_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    for level in ("error", "debug"):
        with logging_to(level):
            logger.error("it broke", exc_info=ZeroDivisionError("x"))
    quiet, *loud = capsys.readouterr().err.splitlines()
    assert quiet == "trio-dlm: error: it broke"
    assert loud == ["trio-dlm: error: it broke", "ZeroDivisionError: x"]
    assert logger.level == logging.NOTSET


def test_a_log_record_is_in_the_words_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to("info"):
        logger.info("nothing within 3 s; raise timeout_s")
    assert capsys.readouterr().err == "trio-dlm: info: nothing within 3 s; raise --timeout\n"


def test_a_log_that_nobody_can_read_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    with logging_to("error"):
        with _logs.redirected(broken):
            logger.error("lost")
        monkeypatch.setattr(sys, "stderr", None)
        logger.error("lost")


def test_a_failing_command_shows_its_traceback_to_those_who_want_everything(capsys: pytest.CaptureFixture[str]) -> None:
    for level in ("info", "debug"):
        with pytest.raises(ZeroDivisionError), logging_to(level):
            raise ZeroDivisionError("x")
    assert capsys.readouterr().err.count("Traceback") == 1


@pytest.mark.skipif(not hasattr(signal, "SIGWINCH"), reason="there is no signal for it")
async def test_a_new_size_is_drawn_at_once_and_after_a_stop_a_new_frame_is_begun() -> None:
    stream, script = Terminal(), Script()
    face = LiveFace(Screen(stream, Output(stream)), None)

    async def draws(expected: str) -> None:
        """Wait until something like this is drawn."""
        stream.seek(0)
        stream.truncate()
        with trio.fail_after(60):
            while expected not in stream.getvalue():  # noqa: ASYNC110 -- the display tells nobody what it drew
                await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        async with open_manager(2, downloader=script) as manager:
            nursery.start_soon(watch, face, manager)
            for name in ("one", "two"):
                await manager.submit(f"http://a/{name}")
            await draws("two")
            signal.raise_signal(signal.SIGWINCH)
            await draws("\r\x1b[2A\x1b[J")
            signal.raise_signal(signal.SIGCONT)
            await draws("\r\x1b[J")
            script.open("one")
            script.open("two")

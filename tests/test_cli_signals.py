"""Ctrl-C and its relatives, sent to a real process in the middle of its downloads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from tests.command import files_in, start_command
from trio_dlm.cli._signals import Interrupts
from trio_dlm.formatting import format_size
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")


@pytest.fixture
async def stalled() -> AsyncGenerator[tuple[Origin, trio.Event]]:
    """Give an origin of which ``/stall`` never ends, and the event that somebody waits for the rest."""
    reached = trio.Event()

    async def stall(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 1000000"), b"x" * 100_000)
        reached.set()
        await connection.wait_closed()

    async with open_origin() as origin:
        origin.on("/stall", stall)
        origin.reply("/done", reply(b"done"))
        yield origin, reached


async def ended(process: trio.Process) -> tuple[int, str, str]:
    """Read what *process* says until its end."""
    texts = {"out": "", "err": ""}

    async def read(name: str, stream: trio.abc.ReceiveStream) -> None:
        while data := await stream.receive_some():
            texts[name] += data.decode()

    assert process.stdout is not None
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "out", process.stdout)
        nursery.start_soon(read, "err", process.stderr)
    return await process.wait(), texts["out"], texts["err"]


@pytest.mark.parametrize(
    ("name", "code", "option"),
    [
        ("SIGINT", 130, "--max-per-host=9"),
        ("SIGINT", 130, "--json"),
        ("SIGTERM", 143, "--max-per-host=9"),
        ("SIGTERM", 143, "-q"),
        ("SIGHUP", 129, "-q"),
    ],
)
async def test_a_signal_ends_it_in_order(
    name: str, code: int, option: str, stalled: tuple[Origin, trio.Event], tmp_path: Path
) -> None:
    origin, reached = stalled
    urls = [origin.url("/stall"), *(origin.url(f"/stall?{number}") for number in range(3))]
    async with start_command("get", *urls, "-j", "1", option, cwd=tmp_path) as process:
        await reached.wait()
        process.send_signal(signal.Signals[name])
        exit_code, out, err = await ended(process)
    assert exit_code == code
    assert err == (
        f"trio-dlm: stopped by {name}; 4 downloads are unfinished: what could be kept is in NAME.part, of "
        "media in .trio_dlm, and the same command goes on from there\n"
    )
    # The server says nothing of the file's version, so nothing could be kept.
    assert files_in(tmp_path) == []
    assert "Traceback" not in out
    if option == "--json":
        assert out.count(f'"reason": "stopped by {name}"') == 4
        assert f'"exit_code": {code}' in out.splitlines()[-1]
    elif option != "-q":
        assert "cancelled" not in out.rpartition("\n0 of 4 done")[0], "the individual ends go without saying"


async def test_what_was_delivered_before_stays(stalled: tuple[Origin, trio.Event], tmp_path: Path) -> None:
    origin, reached = stalled
    async with start_command("get", origin.url("/done"), origin.url("/stall"), "-j", "1", cwd=tmp_path) as process:
        await reached.wait()
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert code == 130
    assert "; 1 download is unfinished: " in err
    assert files_in(tmp_path) == ["done"]


async def test_the_same_command_goes_on_from_what_was_kept(tmp_path: Path) -> None:
    body = bytes(range(256)) * 4096

    async def serve(connection: Connection, request: Request) -> None:
        asked = request.header("range")
        start = int((asked or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        lines = ['ETag: "one"', f"Content-Length: {len(body) - start}"]
        if asked:
            lines.append(f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}")
        await connection.send(head(*lines, status="206 Partial Content" if asked else "200 OK"))
        at = start
        # The first time it comes so slowly that nobody waits for the end.
        while not start and at < len(body):
            await connection.send(body[at : at + 1024])
            at += 1024
            await connection.wait(0.01)
        await connection.send(body[at:])

    async with open_origin() as origin:
        origin.on("/big.bin", serve)
        arguments = ("get", origin.url("/big.bin"), "-x", "1")
        async with start_command(*arguments, "--json", cwd=tmp_path) as process:
            assert process.stdout is not None
            said, reported = b"", 0
            while reported < 20_000:
                said += await process.stdout.receive_some()
                reported = max(map(int, re.findall(rb'"received_bytes": (\d+)', said)), default=0)
            process.send_signal(signal.SIGINT)
            code, _, _ = await ended(process)
        assert code == 130
        assert "big.bin.part" in files_in(tmp_path)
        assert "big.bin" not in files_in(tmp_path)
        async with start_command(*arguments, cwd=tmp_path) as process:
            code, out, err = await ended(process)
        assert (code, err) == (0, "")
        assert (tmp_path / "big.bin").read_bytes() == body
        assert files_in(tmp_path) == ["big.bin"]
        _, resumed = origin.requests
        begin, _, end = (resumed.header("range") or "").removeprefix("bytes=").partition("-")
        assert (int(begin) >= reported, int(end)) == (True, len(body) - 1)
        assert out.splitlines()[-1] == f"1 of 1 done; {format_size(len(body) - int(begin))} received"


async def test_with_no_resume_nothing_is_kept_and_that_is_said(
    stalled: tuple[Origin, trio.Event], tmp_path: Path
) -> None:
    origin, reached = stalled
    async with start_command("get", origin.url("/stall"), "--no-resume", cwd=tmp_path) as process:
        await reached.wait()
        process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert (code, files_in(tmp_path)) == (130, [])
    assert "nothing of that was kept (--no-resume)" in err


async def test_more_of_ctrl_c_makes_no_mess(stalled: tuple[Origin, trio.Event], tmp_path: Path) -> None:
    origin, reached = stalled
    async with start_command("get", origin.url("/stall"), cwd=tmp_path) as process:
        await reached.wait()
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        code, _, err = await ended(process)
    assert code == 130
    assert err.count("\n") == 1
    assert files_in(tmp_path) == []


async def test_a_reader_that_is_stuck_does_not_hold_up_the_end(
    stalled: tuple[Origin, trio.Event], tmp_path: Path
) -> None:
    origin, reached = stalled
    # So many lines that the pipe is full, and nobody reads it.
    urls = "\n".join([origin.url("/stall"), *(origin.url(f"/stall?{'x' * 500}{number}") for number in range(200))])
    (tmp_path / "list").write_text(urls)
    async with start_command("get", "-i", "list", "-d", "out", "--json", cwd=tmp_path) as process:
        await reached.wait()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 143
    assert files_in(tmp_path) == ["list"]


async def test_a_process_that_is_to_survive_its_terminal_does(
    stalled: tuple[Origin, trio.Event], tmp_path: Path
) -> None:
    origin, reached = stalled
    line = 'trap "" HUP; exec "$0" -m trio_dlm get "$1" -q'
    from tests.command import environment

    process = await trio.lowlevel.open_process(
        ["sh", "-c", line, sys.executable, origin.url("/stall")],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with trio.fail_after(60):
        await reached.wait()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        code, _, err = await ended(process)
    assert code == 143
    assert "SIGTERM" in err


# The catcher itself.


async def test_a_signal_that_came_early_is_not_lost() -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert (interrupts.received, interrupts.exit_code) == (signal.SIGTERM, 143)
        with trio.CancelScope() as scope, interrupts.calling(scope.cancel):
            await trio.sleep_forever()
        assert scope.cancelled_caught
        # Afterwards there is nothing left to call.
        signal.raise_signal(signal.SIGTERM)


async def test_the_first_signal_counts() -> None:
    with Interrupts() as interrupts:
        assert interrupts.exit_code is None
        with trio.CancelScope() as scope, interrupts.calling(scope.cancel):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            await trio.sleep_forever()
        assert interrupts.exit_code == 130


def test_the_handlers_that_were_there_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_when_cleaning_up_takes_too_long_a_further_signal_ends_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    now = 100.0
    monkeypatch.setattr("os._exit", codes.append)
    monkeypatch.setattr("trio_dlm.cli._signals.time.monotonic", lambda: now)
    with Interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert codes == []
        now += 3
        signal.raise_signal(signal.SIGTERM)
    assert codes == [130]
    assert "*.part may be left" in capfd.readouterr().err

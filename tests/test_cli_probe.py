"""``trio-dlm probe`` as a user runs it: what it says of a file, and that it takes none."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.command import command, files_in, start_command
from trio_dlm import HttpStatusError
from trio_dlm.cli import run
from trio_dlm.cli._probe import as_lines, as_object
from trio_dlm.downloaders.http import RemoteFile
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin

URL: Final = "https://example.org/latest"

FULL: Final = RemoteFile(
    final_url="https://example.org/big.iso",
    redirects=(URL, "https://example.org/now"),
    name="big.iso",
    size_bytes=1536 << 20,
    media_type="application/octet-stream",
    etag='"5f3a"',
    last_modified="Tue, 06 May 2031 07:08:09 GMT",
    is_resumable=True,
    takes_ranges=True,
    digests=("sha256:00ab",),
    http_version="HTTP/1.1",
)
BARE: Final = RemoteFile(
    final_url=URL,
    redirects=(),
    name="latest",
    size_bytes=None,
    media_type=None,
    etag=None,
    last_modified=None,
    is_resumable=False,
    takes_ranges=None,
    digests=(),
    http_version="HTTP/1.0",
)


def test_a_file_is_said_in_lines() -> None:
    assert as_lines(URL, FULL) == [
        "https://example.org/latest",
        "  name       big.iso",
        "  size       1.5 GiB (1610612736 bytes)",
        "  type       application/octet-stream",
        '  etag       "5f3a"',
        "  modified   Tue, 06 May 2031 07:08:09 GMT",
        "  ranges     yes",
        "  resumable  yes",
        "  digests    sha256:00ab",
        "  redirect   https://example.org/now",
        "  address    https://example.org/big.iso",
        "  protocol   HTTP/1.1",
    ]


def test_what_a_server_does_not_tell_is_said_to_be_so() -> None:
    lines = as_lines(URL, BARE)
    assert [line.split()[0] for line in lines if line.endswith("not told")] == [
        "size", "type", "etag", "modified", "ranges", "digests",
    ]  # fmt: skip
    assert "  resumable  no" in lines
    assert not any("redirect" in line for line in lines)


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB (1024 bytes)")])
def test_a_size_is_exact(size: int, words: str) -> None:
    assert as_lines(URL, replace(BARE, size_bytes=size))[2] == f"  size       {words}"


def test_the_words_of_a_server_do_nothing_to_a_terminal() -> None:
    evil = replace(FULL, etag='"\x1b[2J\r\n"', media_type="a\u202eb", digests=("x\ny",))
    assert all(line.isprintable() for line in as_lines(URL, evil))


def test_every_json_object_has_the_same_keys_and_they_are_documented() -> None:
    error = HttpStatusError(url=URL, status=404, phrase="", advice="check the URL")
    full, failed = as_object(URL, FULL), as_object(URL, error)
    assert list(full) == list(failed)
    assert (full["url"], full["final_url"], full["size_bytes"]) == (URL, "https://example.org/big.iso", 1536 << 20)
    assert (full["error"], full["reason"]) == (None, None)
    assert (failed["error"], failed["reason"]) == ("HttpStatusError", "the server answered 404; check the URL")
    assert {name for name, value in failed.items() if value is not None} == {"event", "url", "error", "reason"}
    page = (Path(__file__).parents[1] / "docs" / "reference" / "cli.rst").read_text("utf-8").partition("probe\n---")[2]
    assert [key for key in full if key != "event" and f"``{key}``" not in page] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["ftp://a/x"], "the scheme is 'ftp'"),
        (["--retries", "3", "http://a/"], "No such option"),
        (["--timeout", "0", "http://a/"], "above 0"),
        (["-H", "Range: bytes=0-1", "http://a/"], "Range"),
        (["--deny-private-addresses", "--proxy", "http://p:1", "http://a/"], "--proxy contradict each other"),
        (["--deny-private-addresses", "--http2", "http://a/"], "--http2 contradict each other"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", *arguments]) == 2
    said = capsys.readouterr()
    assert words in " ".join(said.err.split())
    assert said.out == ""


@pytest.fixture
async def origin() -> AsyncGenerator[Origin]:
    async with open_origin() as opened:
        yield opened


def announce(origin: Origin, path: str, *lines: str, status: str = "200 OK") -> None:
    """Let *path* announce a file that never comes: who waits for it waits for ever."""

    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 5000000000", *lines, status=status))
        await connection.wait_closed()

    origin.on(path, script)


async def test_it_says_what_a_server_announces_and_saves_nothing(origin: Origin, tmp_path: Path) -> None:
    announce(origin, "/x", "Content-Type: text/plain", 'ETag: "one"', "Content-Disposition: attachment; filename=y.txt")
    done = await command("probe", origin.url("/x", userinfo="me:secret"), "-H", "X-Key: one", cwd=tmp_path)
    assert (done.code, done.err, files_in(tmp_path)) == (0, "", [])
    lines = done.out.splitlines()
    assert lines[:5] == [
        origin.url("/x"),
        "  name       y.txt",
        "  size       4.7 GiB (5000000000 bytes)",
        "  type       text/plain",
        '  etag       "one"',
    ]
    assert "secret" not in done.out
    (asked,) = origin.requests
    assert asked.header("x-key") == "one"
    assert asked.header("authorization") is not None


async def test_answers_come_in_the_order_of_the_command_line_and_a_failure_is_exit_code_1(
    origin: Origin, tmp_path: Path
) -> None:
    asked_last = trio.Event()

    async def slow(connection: Connection, _: Request) -> None:
        await asked_last.wait()
        await connection.send(head("Content-Length: 1"), b"x")

    async def last(connection: Connection, _: Request) -> None:
        asked_last.set()
        await connection.send(head("Content-Length: 2"), b"xy")

    origin.on("/slow", slow)
    origin.on("/last", last)
    urls = [origin.url(path) for path in ("/slow", "/gone", "/last")]
    done = await command("probe", *urls, cwd=tmp_path)
    assert done.code == 1
    assert [line for line in done.out.splitlines() if not line.startswith(" ")] == [urls[0], urls[2]]
    assert done.err == f"trio-dlm: {urls[1]}: the server answered 404 Not Found; check the URL\n"


async def test_json_has_one_object_a_line(origin: Origin, tmp_path: Path) -> None:
    announce(origin, "/x", 'ETag: "one"')
    done = await command("probe", origin.url("/x"), origin.url("/gone"), "--json", cwd=tmp_path)
    assert done.code == 1
    x, gone = (json.loads(line) for line in done.out.splitlines())
    assert (x["event"], x["name"], x["size_bytes"], x["etag"]) == ("probe", "x", 5_000_000_000, '"one"')
    assert (gone["url"], gone["error"], gone["name"]) == (origin.url("/gone"), "HttpStatusError", None)
    assert done.err.count("\n") == 1


async def test_time_limits_are_passed_on(origin: Origin, tmp_path: Path) -> None:
    async def silent(connection: Connection, _: Request) -> None:
        await connection.wait_closed()

    origin.on("/silent", silent)
    done = await command("probe", origin.url("/silent"), "--timeout", "0.2", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "within 0.2 s" in done.err
    assert "--timeout" in done.err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
async def test_a_signal_ends_it_in_order(number: str, code: int, origin: Origin, tmp_path: Path) -> None:
    reached = trio.Event()

    async def silent(connection: Connection, _: Request) -> None:
        reached.set()
        await connection.wait_closed()

    origin.on("/silent", silent)
    async with start_command("probe", origin.url("/silent"), cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await reached.wait()
        process.send_signal(signal.Signals[number])
        said = b"".join([part async for part in process.stderr]).decode()
        assert await process.wait() == code
    assert said == f"trio-dlm: stopped by {number}; nothing was saved\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
async def test_lines_that_cannot_be_written_are_a_failure(origin: Origin, tmp_path: Path) -> None:
    announce(origin, "/x")
    settings: dict[str, Any] = {}
    async with await trio.open_file("/dev/full", "wb") as full:
        settings["stdout"] = full.fileno()
        async with start_command("probe", origin.url("/x"), cwd=tmp_path, **settings) as process:
            assert process.stderr is not None
            said = b"".join([part async for part in process.stderr]).decode()
            assert await process.wait() == 1
    assert "standard output could not be written (No space left on device)" in said

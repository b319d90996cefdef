"""``trio-dlm get`` as a user runs it: what it fetches, what it says and what it returns."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import trio

from tests.command import PATIENCE_S, Glass, command, environment, files_in, start_command
from trio_dlm import DownloadOptions, DownloadRequest
from trio_dlm.cli import run
from trio_dlm.cli._get import get
from trio_dlm.cli._probe import probe
from trio_dlm.downloaders.http import HttpDownloader
from trio_dlm.formatting import parse_size
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

BODY = b"what was fetched"
FULL = Path("/dev/full")


@pytest.fixture
async def origin() -> AsyncGenerator[Origin]:
    async with open_origin() as opened:
        for name in ("/a.bin", "/b.bin", "/c.bin"):
            opened.reply(name, reply(BODY))
        yield opened


def lines_of(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def no_traceback(text: str) -> bool:
    return "Traceback" not in text and 'File "' not in text


# What is delivered.


async def test_files_are_delivered_and_said_in_plain_lines(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/a.bin"), origin.url("/b.bin"), "-d", "sub", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in (tmp_path / "sub").iterdir()) == ["a.bin", "b.bin"]
    assert (tmp_path / "sub" / "a.bin").read_bytes() == BODY
    lines = lines_of(done.out)
    assert len(lines) == 5
    assert lines[:2] == [f"{name}: started, {origin.url('/' + name)}" for name in ("a.bin", "b.bin")]
    assert lines[-1] == "2 of 2 done; 32 B received"
    assert "\x1b" not in done.out


async def test_one_failure_is_one_line_and_exit_code_1(origin: Origin, tmp_path: Path) -> None:
    missing = origin.url("/gone.bin", userinfo="me:secret")
    done = await command("get", missing, origin.url("/a.bin"), cwd=tmp_path)
    assert done.code == 1
    assert lines_of(done.err) == [
        f"trio-dlm: {origin.url('/gone.bin')}: the server answered 404 Not Found; check the URL"
    ]
    assert (tmp_path / "a.bin").exists()
    assert "secret" not in done.out + done.err


async def test_a_file_that_exists_is_kept_unless_something_else_is_said(origin: Origin, tmp_path: Path) -> None:
    target, url = tmp_path / "a.bin", origin.url("/a.bin")
    target.write_bytes(b"old")
    kept = await command("get", url, cwd=tmp_path)
    assert (kept.code, target.read_bytes()) == (1, b"old")
    assert "--overwrite" in kept.err
    assert "overwrite=" not in kept.err
    assert (await command("get", url, "--unique", cwd=tmp_path)).code == 0
    assert (target.read_bytes(), (tmp_path / "a (1).bin").read_bytes()) == (b"old", BODY)
    assert (await command("get", url, "--overwrite", cwd=tmp_path)).code == 0
    assert target.read_bytes() == BODY


async def test_a_checksum_decides(origin: Origin, tmp_path: Path) -> None:
    right, wrong = hashlib.sha256(BODY).hexdigest(), "0" * 64
    bad = await command("get", origin.url("/a.bin"), "--checksum", f"sha256:{wrong}", cwd=tmp_path)
    assert (bad.code, files_in(tmp_path)) == (1, [])
    assert right in bad.err
    good = await command("get", origin.url("/a.bin"), "--checksum", f"SHA256:{right.upper()}", "-o", "x", cwd=tmp_path)
    assert (good.code, (tmp_path / "x").read_bytes()) == (0, BODY)


async def test_limits_and_timeouts_are_passed_on(origin: Origin, tmp_path: Path) -> None:
    async def silent(connection: Connection, _: Request) -> None:
        await connection.wait_closed()

    origin.on("/silent", silent)
    done = await command("get", origin.url("/silent"), "--timeout", "0.2", "--retries", "0", cwd=tmp_path)
    assert done.code == 1
    assert "within 0.2 s" in done.err
    assert "--timeout" in done.err
    done = await command("get", origin.url("/a.bin"), "--max-bytes", "4", cwd=tmp_path)
    assert done.code == 1
    assert "larger than --max-bytes 4" in done.err


async def test_what_fails_for_a_moment_is_tried_again_and_that_is_said(origin: Origin, tmp_path: Path) -> None:
    async def busy_once(connection: Connection, _: Request) -> None:
        first = len(origin.requests) == 1
        await connection.send(reply(b"", "Retry-After: 0", status="503 Busy") if first else reply(BODY))

    origin.on("/busy", busy_once)
    done = await command("get", origin.url("/busy"), cwd=tmp_path)
    assert (done.code, done.err, (tmp_path / "busy").read_bytes()) == (0, "", BODY)
    started, ended, _ = (line for line in lines_of(done.out) if "waiting to retry" not in line)
    assert started.startswith("busy: started")
    assert ", after 1 retry, saved as busy" in ended


async def test_without_retries_there_is_one_attempt(origin: Origin, tmp_path: Path) -> None:
    origin.reply("/busy", reply(b"", "Retry-After: 0", status="503 Busy"))
    done = await command("get", origin.url("/busy"), "--retries", "0", cwd=tmp_path)
    assert (done.code, len(origin.requests)) == (1, 1)
    assert "/busy: the server answered 503 Busy" in done.err


async def test_a_server_that_wants_to_be_left_alone_for_too_long_is_given_up(origin: Origin, tmp_path: Path) -> None:
    origin.reply("/busy", reply(b"", "Retry-After: 9", status="503 Busy"))
    done = await command("get", origin.url("/busy"), "--max-retry-wait", "8", cwd=tmp_path)
    assert (done.code, len(origin.requests)) == (1, 1)
    assert "--max-retry-wait" in done.err


async def test_a_mirror_takes_over(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/gone.bin"), "--mirror", origin.url("/a.bin"), cwd=tmp_path)
    assert (done.code, files_in(tmp_path), (tmp_path / "gone.bin").read_bytes()) == (0, ["gone.bin"], BODY)


async def test_a_private_address_can_be_denied(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/a.bin"), "--deny-private-addresses", cwd=tmp_path)
    assert (done.code, files_in(tmp_path), origin.requests) == (1, [], [])
    assert "127.0.0.1" in done.err
    assert "leaving out --deny-private-addresses permits" in done.err


async def test_headers_and_credentials_are_sent(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/a.bin"), "-H", "X-Key: one", "--user", "me:p:w", cwd=tmp_path)
    assert done.code == 0
    (asked,) = origin.requests
    assert asked.header("x-key") == "one"
    assert base64.b64decode(dict(asked.headers)["authorization"].removeprefix("Basic ")) == b"me:p:w"


async def test_an_input_file_brings_urls_and_what_is_said_of_each(origin: Origin, tmp_path: Path) -> None:
    text = f"# list\n{origin.url('/a.bin')}\n  out=first\n  header=X-Key: own\n{origin.url('/b.bin')}\tdir=sub\n"
    (tmp_path / "list.txt").write_text(text)
    done = await command("get", "-i", "list.txt", origin.url("/c.bin"), "-H", "X-Key: all", "-j", "1", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert files_in(tmp_path) == ["c.bin", "first", "list.txt", "sub/b.bin"]
    # The command line comes first, and one at a time keeps the order.
    assert [(each.target, each.header("x-key")) for each in origin.requests] == [
        ("/c.bin", "all"),
        ("/a.bin", "own"),
        ("/b.bin", "all"),
    ]


async def test_input_files_can_be_several(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(origin.url("/a.bin"))
    (tmp_path / "two.txt").write_text(origin.url("/b.bin"))
    done = await command(
        "get", "-i", "two.txt", "-i", "one.txt", "-i", "-", "-d", "out", "-j", "1", cwd=tmp_path,
        stdin=origin.url("/c.bin").encode(),
    )  # fmt: skip
    assert (done.code, files_in(tmp_path / "out")) == (0, ["a.bin", "b.bin", "c.bin"])
    assert [each.target for each in origin.requests] == ["/b.bin", "/a.bin", "/c.bin"]


async def test_a_limit_of_nothing_is_a_limit(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/a.bin"), "--max-bytes", "0", cwd=tmp_path)
    assert (done.code, files_in(tmp_path)) == (1, [])
    assert "larger than --max-bytes 0" in done.err


async def test_a_file_that_is_there_and_has_the_digest_is_said_to_be_there(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY)
    digest = hashlib.sha256(BODY).hexdigest()
    done = await command("get", origin.url("/a.bin"), "-o", "a.bin", "--checksum", f"sha256:{digest}", cwd=tmp_path)
    assert (done.code, origin.requests) == (0, [])
    assert "a.bin: completed, 16 B, was there already as a.bin\n" in done.out


async def test_standard_input_can_be_the_input_file(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", "-i", "-", cwd=tmp_path, stdin=origin.url("/a.bin").encode())
    assert (done.code, (tmp_path / "a.bin").read_bytes()) == (0, BODY)


async def test_no_more_than_so_many_run_at_a_time_in_all_or_from_a_host(origin: Origin, tmp_path: Path) -> None:
    running = most = 0

    async def counting(connection: Connection, request: Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        running -= 1
        await connection.send(reply(BODY))

    urls = []
    for number in range(6):
        origin.on(f"/{number}", counting)
        urls.append(origin.url(f"/{number}"))
    assert (await command("get", *urls, "-j", "2", "-d", "one", cwd=tmp_path)).code == 0
    assert most <= 2
    most = 0
    assert (await command("get", *urls, "--max-per-host", "1", "-d", "two", cwd=tmp_path)).code == 0
    assert most == 1


async def test_json_has_one_object_a_line_and_nothing_else(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", origin.url("/a.bin"), origin.url("/gone"), "--json", cwd=tmp_path)
    assert done.code == 1
    *events, summary = map(json.loads, lines_of(done.out))
    last = {event["url"]: event for event in events}
    assert last[origin.url("/a.bin")]["status"] == "completed"
    assert last[origin.url("/a.bin")]["path"] == str(tmp_path / "a.bin")
    assert last[origin.url("/gone")]["error"] == "HttpStatusError"
    assert (summary["completed"], summary["failed"], summary["exit_code"]) == (1, 1, 1)
    assert len(lines_of(done.err)) == 1


async def test_quiet_says_only_what_failed(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", "-q", origin.url("/a.bin"), origin.url("/gone"), cwd=tmp_path)
    assert (done.code, done.out, len(lines_of(done.err))) == (1, "", 1)


async def test_the_log_is_shown_on_request(origin: Origin, tmp_path: Path) -> None:
    done = await command("get", "--log-level", "debug", origin.url("/a.bin"), cwd=tmp_path)
    assert done.code == 0
    assert "trio-dlm: debug: download " in done.err


async def test_a_hundred_downloads_are_a_hundred_files(origin: Origin, tmp_path: Path) -> None:
    for number in range(100):
        origin.reply(f"/{number}.bin", reply(BODY))
    urls = "\n".join(origin.url(f"/{number}.bin") for number in range(100))
    done = await command("get", "-i", "-", "-j", "8", "-d", "out", cwd=tmp_path, stdin=urls.encode())
    assert done.code == 0
    assert len(list((tmp_path / "out").iterdir())) == 100
    assert len(lines_of(done.out)) == 201


# What is passed on.


class Caught(NamedTuple):
    requests: list[DownloadRequest]
    manager: dict[str, Any]
    downloader: dict[str, Any]


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Caught]:
    """Give what runs ``get`` with arguments, up to where the first socket would be opened."""

    def parse(*arguments: str) -> Caught:
        found = Caught([], {}, {})

        class Downloader(HttpDownloader):  # type: ignore[misc]
            def __init__(self, **fields: Any) -> None:
                found.downloader.update(fields)
                super().__init__()

        monkeypatch.setattr("trio_dlm.cli._network.HttpDownloader", Downloader)
        monkeypatch.setattr("trio_dlm.cli._get.open_manager", lambda *_, **fields: found.manager.update(fields))
        monkeypatch.setattr("trio.run", lambda *args: found.requests.extend(args[2]))
        assert run(["get", *arguments]) == 0
        return found

    return parse


def test_options_say_what_the_library_is_asked_for(caught: Callable[..., Caught]) -> None:
    (request,) = caught(
        "http://a/x", "-x", "3", "--min-segment-size", "1M", "--mirror", "http://b/x", "--mirror", "http://c/x",
        "--retries", "0", "--min-rate", "10K/s", "--max-retry-wait", "0", "--no-resume", "--deny-private-addresses",
    ).requests  # fmt: skip
    assert {name: getattr(request.options, name) for name in request.options.given} == {
        "connections": 3,
        "min_segment_size": 1 << 20,
        "mirrors": ("http://b/x", "http://c/x"),
        "retries": 0,
        "min_rate_bytes_per_s": 10 << 10,
        "retry_after_limit_s": 0.0,
        "resume": False,
        "allow_private_addresses": False,
    }


def test_what_is_left_alone_is_left_to_the_library(caught: Callable[..., Caught]) -> None:
    found = caught("http://a/x")
    assert found.requests[0].options.given == set()
    assert found.downloader == {}
    assert found.manager["rate_limit_bytes_per_s"] == math.inf


def test_the_defaults_in_the_help_are_those_of_the_library() -> None:
    told = {
        option.name: str(option.help).partition("[default: ")[2].removesuffix("]")
        for option in get.params
        if isinstance(option, click.Option)
    }
    defaults = DownloadOptions()
    for name in ("connections", "retries", "timeout_s", "connect_timeout_s", "retry_after_limit_s"):
        assert told[name] == f"{getattr(defaults, name):g}"
    assert parse_size(told["min_segment_size"]) == defaults.min_segment_size


def test_limits_and_the_client_are_passed_on_to_those_who_have_them(
    caught: Callable[..., Caught], tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").touch()
    ca_file = str(tmp_path / "ca.pem")
    found = caught(
        "http://a/x", "--limit-rate", "1.5M/s", "--proxy", "http://me:pw@p:1", "--http2", "--ca-file", ca_file
    )
    assert found.manager["rate_limit_bytes_per_s"] == 3 << 19
    assert found.downloader == {"proxy": "http://me:pw@p:1", "http2": True, "ca_file": tmp_path / "ca.pem"}


def test_what_an_input_file_says_of_a_url_goes_before_the_options(
    caught: Callable[..., Caught], tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("http://a/x\thttp://b/x\n  connections=2\n  no-resume=no\n  limit-rate=1K\nhttp://a/y\n")
    x, y = caught("-i", str(path), "-x", "3", "--no-resume").requests
    assert (x.options.connections, x.options.resume, x.options.mirrors) == (2, True, ("http://b/x",))
    assert x.options.rate_limit_bytes_per_s == 1024
    assert (y.options.connections, y.options.resume, y.options.mirrors) == (3, False, ())


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no URL"),
        (["ftp://a/x"], "the scheme is 'ftp', not http or https"),
        (["example.org/x"], "it has no scheme"),
        (["http://fine/", "http://h:99999/"], "its port is not a number"),
        (["http://a/x\x1b[31m"], r"'\x1b'"),
        (["--max-bytes", "3Q", "http://a/"], "a size is a whole number of bytes"),
        (["--checksum", "sha256:12", "http://a/"], "64 hex digits"),
        (["--checksum", "sha256:" + "0" * 64, "http://a/1", "http://a/2"], "--checksum is for one URL"),
        (["-o", "x", "http://a/1", "http://a/2"], "-o is for one URL, and there are 2"),
        (["-o", "a/b", "http://a/1"], "the directory goes into -d"),
        (["--overwrite", "--unique", "http://a/"], "contradict each other"),
        (["--json", "-q", "http://a/"], "contradict each other"),
        (["-H", "no colon", "http://a/"], "a header is 'Name: value'"),
        (["-H", "Range: bytes=0-1", "http://a/"], "Range"),
        (["-H", "A: 1", "-H", "a: 2", "http://a/"], "given twice"),
        (["--timeout", "0", "http://a/"], "above 0"),
        (["--connect-timeout", "soon", "http://a/"], "number of seconds"),
        (["-j", "0", "http://a/"], "not in the range"),
        (["-x", "0", "http://a/"], "a whole number from 1 up"),
        (["--min-segment-size", "0", "http://a/"], "at least one byte"),
        (["--retries", "-1", "http://a/"], "a whole number from 0 up"),
        (["--max-retry-wait", "-1", "http://a/"], "from 0 up"),
        (["--limit-rate", "0", "http://a/"], "a rate is"),
        (["--min-rate", "4MB/s", "http://a/"], "a rate is"),
        (["--proxy", "proxy:3128", "http://a/"], "proxy is a URL such as"),
        (["--ca-file", "no such file", "http://a/"], "does not exist"),
        (["--mirror", "http://b/", "http://a/1", "http://a/2"], "--mirror is for one URL"),
        (["--mirror", "http://[half/", "http://a/1"], "its host cannot be read"),
        (["--mirror", "http://b/x y", "http://a/1"], "it holds the character"),
        (["--deny-private-addresses", "--proxy", "http://p:1", "http://a/"], "--proxy contradict each other"),
        (["--deny-private-addresses", "--http2", "http://a/"], "--http2 contradict each other"),
        (["--user", "me", "http://a/"], "takes a terminal"),
        (["-i", "no such file"], "No such file or directory"),
        (["-i", "list.bin"], "not UTF-8"),
        (["-i", "list.txt"], "list.txt:2: 'colour=red' is no option"),
        (["-d", "list.txt", "http://a/"], "is a file"),
        (["-d", "", "http://a/"], "it is empty"),
        (["-i", "-", "-i", "-"], "standard input can be read once"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_exit_code_2_and_fetches_nothing(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.txt").write_text("http://a/\n  colour=red\n")
    (tmp_path / "list.bin").write_bytes(b"http://a/\xff\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trio.run", lambda *_: pytest.fail("something was fetched"))
    assert run(["get", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert no_traceback(said.err)


def test_a_closed_standard_input_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["get", "-i", "-"]) == 2
    assert "standard input is closed" in capsys.readouterr().err
    assert run(["get", "--user", "me", "http://a/"]) == 2


def test_no_subcommand_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "trio-dlm demo" in text
    assert all(word in text for word in ("get ", "probe ", "demo "))
    assert "\\b" not in text
    assert "\n    trio-dlm demo\n    trio-dlm probe https" in text
    assert run(["get", "--help"]) == 0
    text = capsys.readouterr().out
    assert "\\b" not in text
    assert text.count("\n    trio-dlm get ") == 4
    assert run(["nonsense"]) == 2
    assert run(["--version"]) == 0


@pytest.mark.parametrize(("command_", "least"), [(get, 30), (probe, 10)])
def test_every_option_is_documented(command_: click.Command, least: int) -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "cli.rst").read_text("utf-8")
    options = [name for option in command_.params for name in option.opts if name.startswith("-")]
    assert len(options) > least
    assert [name for name in options if not re.search(rf"(?<![\w-]){name}(?![\w-])", page)] == []
    assert all(option.help for option in command_.params if isinstance(option, click.Option))


def test_an_unexpected_error_is_words_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise ExceptionGroup("nursery", [ZeroDivisionError("by zero")])

    monkeypatch.setattr("trio.run", explode)
    assert run(["get", "http://a/"]) == 1
    said = capsys.readouterr().err
    assert said == "trio-dlm: unexpected ZeroDivisionError: by zero; this is a bug: --log-level debug shows where\n"


def test_ctrl_c_before_anything_has_begun_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trio.run", interrupt)
    assert run(["get", "http://a/"]) == 130
    assert capsys.readouterr().err.strip() == "trio-dlm: stopped before anything was fetched"


def test_a_password_is_asked_for_where_somebody_can_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    sent: list[str | None] = []

    def prompt(text: str, **_: object) -> str:
        asked.append(text)
        return "pw"

    monkeypatch.setattr("click.prompt", prompt)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("trio.run", lambda *args: sent.append(args[2][0].options.headers["Authorization"]))
    assert run(["get", "--user", "me", "http://a/"]) == 0
    assert asked == ["Password of me"]
    assert sent == ["Basic " + base64.b64encode(b"me:pw").decode()]


# What is missing.


@pytest.mark.parametrize("package", ["click", "rich"])
async def test_without_the_extra_one_line_says_what_to_install(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from trio_dlm.cli import main; main()"
    done = await command(code=code, cwd=tmp_path)
    assert done.code == 1
    assert (
        done.err == f"trio-dlm: the command needs {package}, which is not installed; run: pip install 'trio-dlm[cli]'\n"
    )


def test_another_missing_package_is_not_blamed_on_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trio_dlm.cli._app", raising=False)
    monkeypatch.delitem(sys.modules, "trio_dlm.cli._demo", raising=False)
    monkeypatch.setitem(sys.modules, "tempfile", None)
    with pytest.raises(ModuleNotFoundError, match="tempfile"):
        run(["--help"])


# Pipes and terminals.


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
async def test_when_the_reader_of_its_lines_goes_away_the_files_still_come(origin: Origin, tmp_path: Path) -> None:
    began, may_end = trio.Event(), trio.Event()

    async def slow(connection: Connection, _: Request) -> None:
        await connection.send(head(f"Content-Length: {len(BODY)}"), BODY[:4])
        began.set()
        await may_end.wait()
        await connection.send(BODY[4:])

    origin.on("/slow.bin", slow)
    async with start_command("get", origin.url("/slow.bin"), cwd=tmp_path) as process:
        await began.wait()
        assert process.stdout is not None
        assert process.stderr is not None
        assert await process.stdout.receive_some(1) == b"s"
        await process.stdout.aclose()
        may_end.set()
        assert b"".join([part async for part in process.stderr]) == b""
        assert await process.wait() == 0
    assert (tmp_path / "slow.bin").read_bytes() == BODY


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
async def test_lines_that_cannot_be_written_are_a_failure(origin: Origin, tmp_path: Path) -> None:
    async with (
        await trio.open_file(FULL, "wb") as full,
        start_command("get", origin.url("/a.bin"), cwd=tmp_path, stdout=full.fileno()) as process,
    ):
        assert process.stderr is not None
        said = b"".join([part async for part in process.stderr]).decode()
        assert await process.wait() == 1
    assert lines_of(said) == [
        "trio-dlm: standard output could not be written (No space left on device), so what is there is not all"
    ]
    assert (tmp_path / "a.bin").exists()


@pytest.mark.skipif(os.name == "nt", reason="the shell's syntax")
async def test_closed_streams_are_no_error(origin: Origin, tmp_path: Path) -> None:
    for number, closed in enumerate((">&-", "2>&-", ">&- 2>&- <&-")):
        line = f'exec "$0" -m trio_dlm get "$1" -d {number} {closed}'
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                ["sh", "-c", line, sys.executable, origin.url("/a.bin")],
                cwd=tmp_path,
                env=environment(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / str(number) / "a.bin").read_bytes() == BODY


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo terminals")
@pytest.mark.parametrize("columns", [60, 200])
async def test_on_a_terminal_nothing_wraps_and_what_ended_stands_above(
    columns: int, origin: Origin, tmp_path: Path
) -> None:
    import fcntl
    import pty
    import struct
    import termios

    may_end = trio.Event()
    names = [
        "日本語のとても長いファイル名" * 3 + ".bin",
        "a-name-that-is-too-long-for-its-column" * 3 + ".bin",
        "short.bin",
    ]
    urls = []
    for number, name in enumerate(names):

        async def slow(connection: Connection, _: Request, name: str = name) -> None:
            disposition = f"Content-Disposition: attachment; filename*=UTF-8''{name.encode().hex('%', 1)}"
            await connection.send(head("Content-Length: 100000", disposition.replace("''", "''%")), b"x" * 50_000)
            rest = 50_000
            while rest > 1 and not may_end.is_set():
                await connection.wait(0.01)
                await connection.send(b"x")
                rest -= 1
            await connection.send(b"x" * rest)

        origin.on(f"/{number}", slow)
        urls.append(origin.url(f"/{number}"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.set_blocking(ours, False)
    seen = b""
    env = environment(TERM="xterm-256color")
    async with start_command(
        "get", *urls, origin.url("/gone"), cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ):
        os.close(theirs)
        stream = trio.lowlevel.FdStream(ours)
        try:
            while data := await stream.receive_some():
                seen += data
                if seen.count(b"KiB/s") > 8:
                    may_end.set()
        except trio.BrokenResourceError:
            # What Linux says where others say that it is the end.
            pass
        await stream.aclose()
    glass = Glass(columns)
    glass.feed(seen.decode())
    lines = [line.rstrip() for line in glass.lines if line.strip()]
    assert len(lines) == (6 if columns == 200 else 7), lines
    assert lines[0].startswith("gone failed: the server answered 404")
    assert sum(": completed" in line for line in lines) == 3
    assert lines[4] == "3 of 4 done, 1 failed; 293.0 KiB received"
    assert lines[5].startswith("trio-dlm: http://127.0.0.1:")
    assert glass.wraps
    assert not {escape for escape in glass.escapes if escape.startswith("?25")}

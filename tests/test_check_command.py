"""``check_download_command`` and ``check_download_function``: clients that are not ours, right ones and wrong ones."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio
from hypothesis import strategies as st

import trio_dlm
from trio_dlm.testing.checks import _client
from trio_dlm.testing.checks._client import Where, call_function, run_command
from trio_dlm.testing.checks._command import check_download_command, check_download_function
from trio_dlm.testing.checks._first import first_plans
from trio_dlm.testing.checks._origin_thread import origin_thread
from trio_dlm.testing.checks._promises import Promise
from trio_dlm.testing.checks._report import BrokenDownloadError
from trio_dlm.testing.origin import faults as f
from trio_dlm.testing.origin._acts import Act
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource

ONE = hypothesis.settings(max_examples=1, database=None, derandomize=True, phases=[hypothesis.Phase.generate])
FEW = hypothesis.settings(max_examples=10, database=None, derandomize=True)

# What happens to everybody: the line breaks, and the file is replaced by another one.
EVERYDAY = st.builds(
    FaultPlan, st.lists(st.builds(f.DropAt, st.integers(0, 4096)) | st.just(f.Changed()), max_size=3).map(tuple)
)
SPLICED = FaultPlan((f.DropAt(1024), f.Changed()))

needs_signals = pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no signals and process groups here")


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def only(*steps: Any) -> st.SearchStrategy[FaultPlan]:
    return st.just(FaultPlan(steps))


def script(code: str) -> Callable[[str, str], Sequence[str]]:
    """A program that finds its URL and its path in *url* and *path*."""
    head = "import os, sys, urllib.request\nurl, path = sys.argv[1:]\n"
    return lambda url, path: [sys.executable, "-S", "-c", head + code, url, path]


HONEST_SCRIPT = script(
    """
with urllib.request.urlopen(url) as reply:
    body = reply.read()
    if reply.status != 200 or reply.headers["Content-Encoding"] or len(body) != int(reply.headers["Content-Length"]):
        sys.exit("cannot use this")
with open(path + ".part", "wb") as file:
    file.write(body)
os.rename(path + ".part", path)
"""
)

RESUMING_SCRIPT = script(
    """
have = os.path.getsize(path) if os.path.exists(path) else 0
request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
with urllib.request.urlopen(request) as reply, open(path, "ab") as file:
    while data := reply.read1(1000):
        file.write(data)
sys.exit(os.path.getsize(path) < 4096)
"""
)


class TestCommands:
    def test_a_right_one_passes(self) -> None:
        drops = st.builds(f.DropAt, st.integers(0, 4095))
        plans = st.builds(FaultPlan, st.lists(drops, min_size=1, max_size=2).map(tuple))
        report = check_download_command(HONEST_SCRIPT, plans=plans, runs=3, settings=FEW)
        # One or two runs of each plan break off, whatever is drawn, and the next one does not.
        assert set(report.outcomes) == {"success", "exit status 1"}
        assert report.outcomes["success"] == report.examples
        assert report.examples <= report.outcomes["exit status 1"] <= 2 * report.examples

    def test_one_that_resumes_blindly_is_caught_with_a_plan_of_two_steps(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(
                RESUMING_SCRIPT, plans=st.just(SPLICED), promises={Promise.EXACT, Promise.GUARDED}, settings=ONE
            )
        assert caught.value.promise is Promise.EXACT
        assert "Found: 4096 bytes: 0-1023 of version 1, 1024-4095 of version 2" in str(caught.value)
        assert "run 1 ended with exit status 1" in str(caught.value)
        assert "run 2 ended with success" in str(caught.value)

    def test_one_that_leaves_a_part_under_the_final_name_is_caught(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(RESUMING_SCRIPT, plans=only(f.DropAt(100)), settings=ONE)
        assert caught.value.promise is Promise.ABSENT
        assert "Found: 100 bytes, the first 100 of version 1" in str(caught.value)

    def test_one_that_refuses_an_honest_file_is_caught_and_what_it_said_is_told(self) -> None:
        code = "print('one'); sys.exit(f'cannot write {path} from {url}')"
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(script(code), plans=only(), settings=ONE)
        assert caught.value.promise is Promise.SERVED
        assert "Found: exit status 1: cannot write file.bin from http://origin/file.bin" in str(caught.value)
        assert [outcome.said for outcome in caught.value.outcomes] == [caught.value.outcomes[0].said] * 3

    @needs_signals
    def test_one_that_crashes_is_caught(self) -> None:
        code = "os.kill(os.getpid(), 9)"
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(script(code), plans=only(f.Refuse(404)), promises={Promise.DOCUMENTED}, settings=ONE)
        assert "Found: signal 9" in str(caught.value)

    def test_one_that_hangs_is_killed_and_caught(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(script("sys.stdin.read(); import time; time.sleep(600)"), limit_s=0.5, settings=ONE)
        assert caught.value.promise is Promise.PROMPT
        assert caught.value.plan == FaultPlan()
        assert "Found: it had not ended after 0.5 s, and was stopped" in str(caught.value)
        assert len(caught.value.outcomes) == 1

    def test_one_that_cannot_be_started_is_no_finding(self) -> None:
        with pytest.raises(FileNotFoundError):
            check_download_command(lambda url, path: ["trio-dlm-no-such-program", url, path])

    def test_proxies_of_the_user_are_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        check_download_command(HONEST_SCRIPT, plans=only(), settings=ONE)

    def test_our_own_command_keeps_its_promises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rich")
        monkeypatch.setenv("PYTHONPATH", str(Path(trio_dlm.__file__).parents[1]))
        plans = st.just(SPLICED)

        def argv(url: str, path: str) -> list[str]:
            return [sys.executable, "-m", "trio_dlm", "get", "-q", "--retries", "0", "-d", str(Path(path).parent), url]

        report = check_download_command(argv, plans=plans, promises=set(Promise) - {Promise.PATIENT}, settings=ONE)
        assert report.outcomes == {"exit status 1": 1, "success": 1}

    def test_patience_is_for_virtual_time(self) -> None:
        with pytest.raises(ValueError, match="PATIENT, which is for virtual time"):
            check_download_command(HONEST_SCRIPT, promises={Promise.PATIENT})


def curl(url: str, path: str) -> list[str]:
    return ["curl", "-fsS", "-C", "-", "-o", path, url]


def aria2(url: str, path: str) -> list[str]:
    return ["aria2c", "-q", "-d", str(Path(path).parent), "-o", Path(path).name, url]


class TestKnownPrograms:
    @needs("curl")
    def test_curl_splices_two_versions_when_it_resumes(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(curl, plans=EVERYDAY, promises={Promise.EXACT})
        # Where shrinking stops depends on the version of Hypothesis, and on the time that it had.
        kinds = [type(step) for step in caught.value.plan.steps]
        assert f.Changed in kinds[kinds.index(f.DropAt) :]
        assert "of version 1, " in str(caught.value)
        assert "of version 2" in str(caught.value)

    @needs("curl")
    def test_curl_without_resume_passes_over_https_too(self) -> None:
        report = check_download_command(
            lambda url, path: ["curl", "-fsS", "-o", path, url],
            plans=EVERYDAY,
            promises={Promise.EXACT, Promise.PROMPT, Promise.SERVED},
            tls=True,
            settings=FEW,
        )
        assert report.outcomes["success"] > 0

    @needs("aria2c")
    def test_aria2_splices_two_versions_in_one_run(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_command(aria2, plans=st.just(SPLICED), promises={Promise.EXACT}, settings=ONE)
        assert "Found: 4096 bytes: 0-1023 of version 1, 1024-4095 of version 2" in str(caught.value)
        assert len(caught.value.outcomes) == 1

    @pytest.mark.parametrize(
        ("argv", "page", "cut"),
        [
            pytest.param(curl, "harness_curl.txt", f.DropAt(2048), marks=needs("curl"), id="curl"),
            pytest.param(aria2, "harness_aria2.txt", f.ChunkedJunk(), marks=needs("aria2c"), id="aria2"),
        ],
    )
    def test_the_reports_in_the_documentation_are_what_is_printed(
        self, argv: Callable[[str, str], list[str]], page: str, cut: f.Fault
    ) -> None:
        printed = [" ".join(["$", *argv("URL", "file.bin")])]
        for promise, plans in ((Promise.ABSENT, only(cut)), (Promise.EXACT, only(f.DropAt(2048), f.Changed()))):
            with pytest.raises(BrokenDownloadError) as caught:
                check_download_command(argv, plans=plans, promises={promise}, settings=ONE)
            printed += [*str(caught.value).splitlines(), ""]
        shown = (Path(__file__).parents[1] / "docs" / page).read_text("utf-8").splitlines()
        # What a program says when it fails is its own, and changes with its version.
        mine, theirs = (
            [line.partition(" ended with exit status ")[0] for line in lines] for lines in (printed, [*shown, ""])
        )
        assert mine == theirs


def naive(url: str, path: str) -> None:
    with urllib.request.urlopen(url, timeout=5) as reply, Path(path).open("wb") as file:
        while data := reply.read1(1000):
            file.write(data)


def ours(url: str, path: str) -> None:
    target = Path(path)
    # By the name that it was given: a server may say another.
    trio.run(partial(trio_dlm.download, url, target.parent, filename=target.name))


class TestFunctions:
    def test_ours_keeps_its_promises_on_a_real_socket(self) -> None:
        promises = frozenset(Promise) - {Promise.PATIENT}
        report = check_download_function(ours, promises=promises, errors=(trio_dlm.TrioDlmError,), settings=FEW)
        # Those that come first are always the same, and most of them end well.
        first = len(first_plans(4096, real_time=True))
        assert report.examples > first
        assert report.outcomes["success"] > first / 2

    def test_a_naive_one_is_caught_with_a_plan_of_one_step(self) -> None:
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_function(naive)
        assert caught.value.promise is Promise.EXACT
        assert len(caught.value.plan.steps) == 1

    def test_one_that_hangs_is_left_behind_and_caught(self) -> None:
        release = threading.Event()
        with pytest.raises(BrokenDownloadError) as caught:
            check_download_function(lambda url, path: release.wait(60), plans=only(), limit_s=0.1, settings=ONE)
        release.set()
        assert caught.value.promise is Promise.PROMPT

    def test_one_that_raises_what_is_not_documented_is_caught(self) -> None:
        def fail(url: str, path: str) -> None:
            raise SystemExit(3)

        with pytest.raises(BrokenDownloadError) as caught:
            check_download_function(fail, plans=only(f.Refuse(404)), promises={Promise.DOCUMENTED}, settings=ONE)
        assert "Found: SystemExit: 3" in str(caught.value)

    def test_one_that_leaves_a_connection_open_is_caught(self) -> None:
        kept: list[socket.socket] = []

        def leak(url: str, path: str) -> None:
            host, _, port = url.split("/")[2].partition(":")
            kept.append(socket.create_connection((host, int(port))))
            kept[-1].sendall(b"GET /file.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            kept[-1].recv(10)
            raise ConnectionError

        with pytest.raises(BrokenDownloadError) as caught:
            check_download_function(leak, plans=only(f.Refuse(404)), promises={Promise.CLOSED}, runs=1, settings=ONE)
        kept[0].close()
        assert "Found: open connections: 1" in str(caught.value)

    async def test_it_may_be_called_within_a_run_of_trio(self) -> None:
        check_download_function(ours, plans=only(), settings=ONE)
        await trio.lowlevel.checkpoint()


class Broken:
    """A fault with a mistake in it."""

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        raise ZeroDivisionError


class TestThePieces:
    def test_a_mistake_in_a_fault_is_no_finding(self) -> None:
        with pytest.raises(ZeroDivisionError):
            check_download_function(naive, plans=only(Broken()), settings=ONE)

    def test_an_origin_that_cannot_be_opened_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def refuse(*_: object, **__: object) -> None:
            await trio.lowlevel.checkpoint()
            raise PermissionError("no port")

        monkeypatch.setattr(trio, "open_tcp_listeners", refuse)
        with origin_thread() as beside:
            with pytest.raises(PermissionError, match="no port"), beside.open_origin(FaultPlan(), body=b""):
                pass
            beside.call(trio.lowlevel.checkpoint)

    def test_no_thread_is_left(self) -> None:
        def ours() -> list[str]:
            # By name: how many others there are depends on the tests before.
            return [each.name for each in threading.enumerate() if each.name == "trio_dlm origin"]

        with origin_thread():
            assert len(ours()) == 1
        assert not ours()

    @needs_signals
    def test_what_a_program_started_is_killed_with_it(self, tmp_path: Path) -> None:
        fcntl = pytest.importorskip("fcntl")
        held = tmp_path / "held"
        # Both have the lock, and it is free when both have ended.
        code = f"import fcntl, os, time; file = open({str(held)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        code += "if not os.fork(): time.sleep(600)"
        where = Where(tmp_path, "127.0.0.1:1", 30.0, os.environ)
        assert run_command([sys.executable, "-S", "-c", code], where).succeeded
        with held.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    @pytest.mark.skipif(not hasattr(os, "waitid"), reason="nobody can look at a program without reaping it here")
    def test_the_number_of_a_program_is_still_its_own_when_its_group_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed: list[object] = []

        def kill(group: int, number: int) -> None:
            # Of one that was reaped there is nothing to be told.
            killed.append(os.waitid(os.P_PID, group, os.WEXITED | os.WNOWAIT | os.WNOHANG))
            send(group, number)

        send = os.killpg
        monkeypatch.setattr(os, "killpg", kill)
        where = Where(tmp_path, "127.0.0.1:1", 30.0, os.environ)
        assert run_command([sys.executable, "-S", "-c", ""], where).succeeded
        assert len(killed) == 1
        assert killed[0] is not None

    @needs_signals
    def test_one_that_cannot_even_be_killed_is_told_as_one_that_hangs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        groups: list[int] = []
        where = Where(tmp_path, "127.0.0.1:1", 0.01, os.environ)
        with monkeypatch.context() as patch:
            patch.setattr(os, "killpg", lambda group, _: groups.append(group))
            patch.setattr(_client, "_KILLED_WITHIN_S", 0.01)
            with pytest.warns(ResourceWarning, match="still running"):
                ending = run_command([sys.executable, "-S", "-c", "import time; time.sleep(600)"], where)
        assert not ending.ended
        os.killpg(groups[0], signal.SIGKILL)
        os.waitpid(groups[0], 0)

    @needs_signals
    def test_a_program_that_the_kernel_reaps_has_ended(self, tmp_path: Path) -> None:
        where = Where(tmp_path, "127.0.0.1:1", 30.0, os.environ)
        was = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert run_command([sys.executable, "-S", "-c", ""], where).succeeded
        finally:
            signal.signal(signal.SIGCHLD, was)

    @needs_signals
    def test_without_waitid_a_program_ends_and_is_killed_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "waitid", raising=False)
        where = Where(tmp_path, "127.0.0.1:1", 30.0, os.environ)
        assert run_command([sys.executable, "-S", "-c", ""], where).succeeded
        short = Where(tmp_path, "127.0.0.1:1", 0.01, os.environ)
        assert not run_command([sys.executable, "-S", "-c", "import time; time.sleep(600)"], short).ended

    def test_a_function_that_ends_is_told(self, tmp_path: Path) -> None:
        where = Where(tmp_path, "127.0.0.1:1", 30.0, {})
        assert call_function(lambda: None, where, ()).succeeded
        assert call_function(lambda: 1 / 0, where, ()).said == "ZeroDivisionError: division by zero"

    @needs_signals
    def test_signal_numbers_are_told(self, tmp_path: Path) -> None:
        where = Where(tmp_path, "127.0.0.1:1", 30.0, os.environ)
        argv = [sys.executable, "-S", "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGTERM)})"]
        assert run_command(argv, where).said == f"signal {int(signal.SIGTERM)}"

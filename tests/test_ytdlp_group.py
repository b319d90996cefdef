"""A process and what it starts: started, heard, and ended so that nothing of it runs, on trio and on asyncio."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import pytest

from trio_dlm._errors import StorageError
from trio_dlm.downloaders.ytdlp import _group
from trio_dlm.downloaders.ytdlp._group import ProcessGroup, is_running, open_group

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX's")

# No test takes a second on an idle machine.
LIMIT_S: Final = 30.0

Test = Callable[..., Coroutine[Any, Any, None]]


def on_both(test: Test) -> Callable[..., None]:
    """Run an async test on trio and on asyncio."""

    @pytest.mark.parametrize("backend", ["trio", "asyncio"])
    @functools.wraps(test)
    def run(backend: str, **fixtures: Any) -> None:
        async def within_limit() -> None:
            with anyio.fail_after(LIMIT_S):
                await test(**fixtures)

        anyio.run(within_limit, backend=backend)

    # functools.wraps would have pytest look at the signature of the test itself, which has no backend.
    del run.__wrapped__
    run.__signature__ = _with_backend(test)
    return cast("Callable[..., None]", run)


def _with_backend(test: Test) -> object:
    signature = inspect.signature(test)
    backend = inspect.Parameter("backend", inspect.Parameter.KEYWORD_ONLY)
    return signature.replace(parameters=[*signature.parameters.values(), backend])


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-c", program]


# A child that no signal but SIGKILL ends, and that says when it is ready; its parent says its number.
STUBBORN: Final = """
import os, signal, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-I", "-c",
     "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; "
     "print('up', flush=True); time.sleep(600)"],
    stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""


async def line_of(group: ProcessGroup) -> str:
    data = b""
    while not data.endswith(b"\n"):
        more = await group.receive()
        assert more, "it ended without a line"
        data += more
    return data.decode().strip()


def runs(pid: int) -> bool:
    """Whether a process of this number runs, which a zombie does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


@on_both
async def test_what_is_sent_arrives_and_what_it_says_is_received(tmp_path: Path) -> None:
    program = "import sys; text = sys.stdin.readline(); sys.stderr.write('noise'); print(len(text))"
    async with open_group(python(program), {}, tmp_path) as group:
        # More than a pipe holds.
        await group.send(b"x" * 300_000 + b"\n")
        assert await line_of(group) == "300001"
        assert await group.receive() == b""
        assert await group.receive_log() == b"noise"
        assert await group.receive_log() == b""


@on_both
async def test_leaving_the_block_ends_what_it_has_started_too_whatever_that_ignores(tmp_path: Path) -> None:
    async with open_group(python(STUBBORN + "time.sleep(600)"), {}, tmp_path) as group:
        child = int(await line_of(group))
        assert runs(child)
        assert runs(group.pid)
    assert not runs(child)
    assert not is_running(group.pid)
    assert group.returncode == -signal.SIGKILL


@on_both
async def test_what_a_leader_leaves_behind_that_has_ended_is_ended(tmp_path: Path) -> None:
    async with open_group(python(STUBBORN), {}, tmp_path) as group:
        child = int(await line_of(group))
        assert await group.receive() == b""
        assert runs(child)
    assert not runs(child)
    assert group.returncode == 0


@on_both
async def test_a_cancel_ends_it_and_waits_for_that(tmp_path: Path) -> None:
    child = 0
    with anyio.CancelScope() as scope:
        async with open_group(python(STUBBORN + "time.sleep(600)"), {}, tmp_path) as group:
            child = int(await line_of(group))
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert child
    assert not runs(child)


@on_both
async def test_an_error_leaves_the_block_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_group(python("import time; time.sleep(600)"), {}, tmp_path):
            raise ZeroDivisionError
    assert not left_over()


@on_both
async def test_who_is_cancelled_before_it_starts_has_started_nothing(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ProcessGroup.start(python("import time; time.sleep(600)"), {}, tmp_path)
    assert not left_over()


@on_both
async def test_what_cannot_be_started_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be started: No such file"):
        await ProcessGroup.start([str(tmp_path / "nothing")], {}, tmp_path)


@on_both
async def test_it_has_the_environment_that_is_given_and_no_other(tmp_path: Path) -> None:
    os.environ["TOKEN_OF_SOMEBODY"] = "secret"
    try:
        program = "import os; print(sorted(os.environ.keys() - {'LC_CTYPE'}), os.getcwd(), flush=True)"
        async with open_group(python(program), {"A": "1"}, tmp_path) as group:
            assert await line_of(group) == f"['A'] {tmp_path}"
    finally:
        del os.environ["TOKEN_OF_SOMEBODY"]


@on_both
async def test_nobody_reads_what_is_sent_to_one_that_has_ended(tmp_path: Path) -> None:
    async with open_group(python("import os; os.close(0); print('closed', flush=True)"), {}, tmp_path) as group:
        assert await line_of(group) == "closed"
        await group.send(b"x" * 300_000)


@on_both
async def test_a_zombie_that_nobody_reaps_does_not_count(tmp_path: Path) -> None:
    # The child is of the group, has ended, and has a parent outside of it that does not reap.
    program = """
import os, sys, time
middle = os.fork()
if not middle:
    os.setpgid(0, 0)
    child = os.fork()
    if not child:
        os.setpgid(0, int(sys.argv[1]) if len(sys.argv) > 1 else os.getppid() and GROUP)
        os._exit(0)
    time.sleep(0.0)
    print(child, os.getpid(), flush=True)
    time.sleep(600)
time.sleep(600)
""".replace("GROUP", "os.getsid(0)")
    group = await ProcessGroup.start(python(program), {}, tmp_path)
    zombie, keeper = map(int, (await line_of(group)).split())
    try:
        while runs(zombie):
            await anyio.lowlevel.checkpoint()
        assert await group.kill()
        os.killpg(group.pid, 0)  # The number of the group is still in use.
        assert not is_running(group.pid)
    finally:
        os.kill(keeper, signal.SIGKILL)
        group.close()


@on_both
async def test_one_that_does_not_end_is_told_of_and_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_group, "KILL_LIMIT_S", 0.05)
    monkeypatch.setattr(_group, "is_running", lambda group: True)
    monkeypatch.setattr(os, "killpg", lambda group, number: None)
    group = await ProcessGroup.start(python("import sys; sys.stdin.readline()"), {}, tmp_path)
    await group.send(b"\n")
    assert await group.receive() == b""
    assert not await group.kill()
    assert "still runs" in caplog.text
    # Once is enough.
    assert not await group.kill()
    group.close()


def test_where_processes_cannot_be_seen_the_group_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_group, "_PROC", Path("/nothing"))
    assert is_running(1)


def left_over() -> list[str]:
    """Children of this process that still run."""
    answer = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    )
    return [line for line in answer.stdout.splitlines() if "sleep(600)" in line]

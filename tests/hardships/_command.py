"""The command in a process of its own, with the limits that a system may set it, and ended whatever happens.

Rules that hold here:

- it leads a group, which is killed with it if it has not ended when the block does;
- what it writes goes to files: nobody has to read it for the command to go on;
- nobody waits for time, only for the command's end and for what the origin has seen; one that does not end is killed
  and told as such;
- the process sees neither terminal nor proxy, and measures no coverage: it is killed before it could write that, and
  the limits are not meant for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, final

import trio

from tests.command import environment

__all__ = ["PYTHON", "Ending", "Running", "fetch", "limited", "start"]

PYTHON: Final = sys.executable

# Far more than a run takes; 200 MiB at the origin's rate are 8 s.
PATIENCE_S: Final = 90.0

# For one that was killed to be gone.
KILLED_WITHIN_S: Final = 10.0

# Of a line, in a table.
SHOWN_CHARACTERS: Final = 160

# Sets a limit of its own and becomes the command.  A shell would do, if all had the same idea of what a block is.
_LIMITED: Final = """\
import os, resource, sys
name, value, *argv = sys.argv[1:]
_, hard = resource.getrlimit(getattr(resource, name))
resource.setrlimit(getattr(resource, name), (int(value), hard))
os.execv(argv[0], argv)
"""


@final
@dataclass(frozen=True, slots=True)
class Ending:
    """How it ended.

    Attributes:
        code: its exit code, the negative number of the signal that ended it, or None if it had to be killed.
        at_s: when, on trio's clock.
        out: what it wrote to standard output.
        err: what it wrote to standard error.
    """

    code: int | None
    at_s: float
    out: str
    err: str

    def problems(self, code: int, *, lines: int | None = None) -> list[str]:
        """Say in which way this is no orderly end with exit code *code* and *lines* on standard error."""
        if self.code is None:
            return [f"it did not end within {PATIENCE_S:g} s"]
        found: list[str] = []
        if self.code != code:
            found.append(f"exit code {self.code} instead of {code}, saying {self._last_line!r}")
        if "Traceback" in self.err + self.out:
            found.append(f"a traceback, ending in {self._last_line!r}")
        elif lines is not None and self.err.count("\n") != lines:
            found.append(f"{self.err.count(chr(10))} lines on stderr instead of {lines}, the last {self._last_line!r}")
        return found

    @property
    def _last_line(self) -> str:
        line = (self.err.splitlines() or self.out.splitlines() or [""])[-1]
        return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


@final
class Running:
    """A command that was started; made by :func:`start`."""

    def __init__(self, process: trio.Process, out: IO[bytes], err: IO[bytes]) -> None:
        self._process = process
        self._out = out
        self._err = err

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def until(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Wait for what *wait* waits for; False if the command ended before that."""
        has_come = False

        async def watch() -> None:
            nonlocal has_come
            await wait()
            has_come = True
            nursery.cancel_scope.cancel(reason="what was waited for has come")

        with trio.move_on_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await self._process.wait()
                nursery.cancel_scope.cancel(reason="the command has ended")
        return has_come

    async def wait(self) -> Ending:
        """Wait for its end, or kill it."""
        code: int | None = None
        with trio.move_on_after(PATIENCE_S):
            code = await self._process.wait()
        at_s = trio.current_time()
        if code is None:
            await self.end()
        return Ending(code, at_s, _read(self._out), _read(self._err))

    async def end(self) -> None:
        """Kill it with all that it started."""
        # Once it was reaped its number may be somebody else's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        with trio.move_on_after(KILLED_WITHIN_S, shield=True):
            await self._process.wait()


@asynccontextmanager
async def start(
    *arguments: str, cwd: Path, program: Sequence[str] = (PYTHON, "-m", "trio_dlm"), before: Sequence[str] = ()
) -> AsyncGenerator[Running]:
    """Start the command with *arguments* in *cwd*, or another *program*; what comes *before* it becomes it."""
    environ = {name: value for name, value in environment().items() if not name.startswith("COVERAGE_")}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = await trio.lowlevel.open_process(
            [*before, *program, *arguments],
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        running = Running(process, out, err)
        try:
            yield running
        finally:
            await running.end()


async def fetch(
    *arguments: str, cwd: Path, program: Sequence[str] = (PYTHON, "-m", "trio_dlm"), before: Sequence[str] = ()
) -> Ending:
    """Start the command and wait for its end."""
    async with start(*arguments, cwd=cwd, program=program, before=before) as running:
        return await running.wait()


def limited(name: str, value: int) -> list[str]:
    """Return what comes before a command that is to have the limit *name* of the module resource."""
    return [PYTHON, "-S", "-c", _LIMITED, name, str(value)]


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")

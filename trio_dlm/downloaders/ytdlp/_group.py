"""A process and whatever it starts, from the start to the moment when nothing of it runs any more.

Rules that hold here:

- it is a session of its own, so that what it starts (ffmpeg, a JavaScript runtime) is of its group and ends with it;
- the end is SIGKILL to the group before its leader is reaped, whose number could be another's afterwards; then the
  leader is reaped, and then it is waited until nobody of the group runs.  A zombie, which nobody may ever reap, does
  not run;
- the end happens however the block is left, also when the leader has ended by itself, cannot be cancelled, and is
  bounded;
- no death signal for the parent (``PR_SET_PDEATHSIG``): it fires when the *thread* ends that started the process, and
  threads of a pool end when they are idle.  The process reads its standard input and ends itself when that is closed.

Source:
    setsid(2), kill(2) and proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, final

import anyio
import anyio.to_thread

from ..._context import logger
from ..._errors import StorageError

__all__ = ["KILL_LIMIT_S", "ProcessGroup", "is_running", "open_group"]

# What was killed ends in milliseconds, unless it waits for a disk that hangs.
KILL_LIMIT_S: Final = 5.0

# Between two looks whether it has ended: the first at once, since mostly it has.
_LOOK_EVERY_S: Final = 0.002

# One read of a pipe: as much as Linux keeps in one.
_READ_BYTES: Final = 64 * 1024

# The states of a process that runs no more, of /proc/PID/stat: zombie, and two for dead.
_ENDED_STATES: Final = "ZXx"

_PROC: Final = Path("/proc")


@final
class ProcessGroup:
    """A running group.  Given by :func:`open_group`, or by :meth:`start` to whoever calls :meth:`kill` himself.

    Attributes:
        pid: of the leader, and the number of the group.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        self._process = process
        self._is_over: bool | None = None
        self._stdin, self._stdout, self._stderr = (
            pipe.fileno() for pipe in (process.stdin, process.stdout, process.stderr)
        )
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> ProcessGroup:
        """Start *command*.  A checkpoint; who is cancelled meanwhile has started nothing that goes on.

        Raises:
            StorageError: the system cannot start it.
        """
        started = _Started()
        try:
            # In a thread: the time that it takes is the system's, milliseconds where much memory is in use.
            await anyio.to_thread.run_sync(partial(started.start, command, environment, directory))
        except OSError as exc:
            raise StorageError(
                path=command[0],
                problem=f"it could not be started: {exc.strerror or exc}",
                advice="check that it can be run, and that processes and memory are left",
                errno=exc.errno,
            ) from exc
        except BaseException:
            started.give_up()
            raise
        return cls(started.taken())

    @property
    def returncode(self) -> int | None:
        """How the leader ended, minus the signal if one ended it; None before it was reaped."""
        return self._process.returncode

    async def send(self, data: bytes) -> None:
        """Write to the standard input.  A checkpoint if that is full.

        What nobody reads any more is dropped: the end of the output tells that the process has ended.
        """
        with memoryview(data) as view:
            sent = 0
            while sent < len(view):
                try:
                    sent += os.write(self._stdin, view[sent:])
                except BlockingIOError:
                    await anyio.wait_writable(self._stdin)
                except BrokenPipeError:
                    return

    async def receive(self) -> bytes:
        """Return what the standard output brings next; nothing at its end.  A checkpoint."""
        return await _read(self._stdout)

    async def receive_log(self) -> bytes:
        """Return what the standard error brings next; nothing at its end.  A checkpoint."""
        return await _read(self._stderr)

    async def kill(self) -> bool:
        """End the group, and say whether nothing of it is left.  Cannot be cancelled; doing it again does nothing.

        What it has written can still be received.
        """
        if self._is_over is not None:
            return self._is_over
        self._is_over = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True), anyio.move_on_after(KILL_LIMIT_S):
            # Not before the signal: it reaps.
            while self._process.poll() is None:  # noqa: ASYNC110  (nothing tells)
                await anyio.sleep(_LOOK_EVERY_S)
            while await self._runs():  # noqa: ASYNC110  (nothing tells)
                await anyio.sleep(_LOOK_EVERY_S)
            self._is_over = True
            return True
        logger.error(
            "process group %d was killed and still runs after %g s; what it was working on is left alone",
            self.pid,
            KILL_LIMIT_S,
        )
        return False

    async def _runs(self) -> bool:
        # No such group: all of it has ended.  Forbidden: macOS says so where only zombies are left.
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        # Looking takes as long as there are processes on the machine.
        return await anyio.to_thread.run_sync(is_running, self.pid)

    def close(self) -> None:
        """Close the pipes.  Doing it again does nothing."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.pid}>"


@asynccontextmanager
async def open_group(
    command: Sequence[str], environment: Mapping[str, str], directory: Path
) -> AsyncGenerator[ProcessGroup, None]:
    """Start *command* in *directory* with *environment*, and end it, and whatever it has started, with the block.

    Raises:
        StorageError: the system cannot start it.
    """
    group = await ProcessGroup.start(command, environment, directory)
    try:
        yield group
    finally:
        try:
            await group.kill()  # noqa: ASYNC102  (it shields itself, and has a limit)
        finally:
            group.close()


def is_running(group: int) -> bool:
    """Whether a process of *group* runs; where the system does not tell the state of others, whether there is one."""
    if not _PROC.is_dir():
        return True
    with os.scandir(_PROC) as entries:
        return any(_is_running_in(group, each.name) for each in entries if each.name.isdecimal())


def _is_running_in(group: int, pid: str) -> bool:
    try:
        text = (_PROC / pid / "stat").read_bytes()
    except OSError as exc:
        # It ended while it was looked at.
        if exc.errno in (errno.ENOENT, errno.ESRCH):
            return False
        raise
    # "PID (NAME) STATE PARENT GROUP …", and the name may have any character in it.
    state, _, of_group = text.rpartition(b")")[2].split(maxsplit=3)[:3]
    return int(of_group) == group and state.decode() not in _ENDED_STATES


async def _read(fd: int) -> bytes:
    while True:
        await anyio.wait_readable(fd)
        with contextlib.suppress(BlockingIOError):
            return os.read(fd, _READ_BYTES)


@final
class _Started:
    """What a thread has started, for whoever still wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = True

    def start(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
        )
        with self._lock:
            self._process = process
            is_wanted = self._is_wanted
        if not is_wanted:
            _end(process)

    def taken(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def give_up(self) -> None:
        """Nobody wants it: a cancel of asyncio's own does not wait for the thread."""
        with self._lock:
            self._is_wanted = False
            process = self._process
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # It has just begun to live, and ends at once.
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()

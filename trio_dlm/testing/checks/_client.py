"""Clients that are not ours, run for one attempt: a program, or a function in a thread.

Rules that hold here:

- an attempt ends within its limit: a program is killed with all that it started, a function is left behind in a thread
  that keeps nobody from leaving;
- the number by which a program and its group are killed is theirs until then, since nobody has reaped it;
- a program gets no shell, no input and no proxies; what it writes goes to a file, so that a child of its own that
  lives on cannot hold the attempt up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from ._whereabouts import tell, tell_error

__all__ = ["Ending", "Where", "call_function", "run_command"]

# For a program that was killed to be gone.
_KILLED_WITHIN_S: Final = 5.0

# Between two looks at a program, as subprocess has them: short ones at first, for the many that end soon.
_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.05


@final
@dataclass(frozen=True, slots=True)
class Where:
    """Where an attempt takes place.

    Attributes:
        directory: the working directory of a program; the file goes somewhere in it.
        address: host and port of the origin, to be left out of what is told.
        limit_s: how long it may take.
        environ: what a program gets as its environment.
    """

    directory: Path
    address: str
    limit_s: float
    environ: Mapping[str, str]


@final
@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended; see :class:`~._promises.Outcome`."""

    said: str
    seconds: float
    succeeded: bool = False
    ended: bool = True
    is_documented: bool = True


def run_command(argv: Sequence[str], where: Where) -> Ending:
    """Run a program to its end; exit status 0 is success, and a signal that killed it is nothing that it documents."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            cwd=where.directory,
            env=where.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            has_ended = _has_ended_within(where.limit_s, process)
        finally:
            _kill(process)
        seconds = time.monotonic() - began
        code = process.returncode
        if code is None or not has_ended:
            return Ending("", seconds, ended=False)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if code == 0:
        return Ending("success", seconds, succeeded=True)
    what = f"exit status {code}" if code > 0 else f"signal {-code}"
    said = ": ".join(filter(None, [what, tell(text, where.directory, address=where.address)]))
    return Ending(said, seconds, is_documented=code > 0)


def _has_ended_within(limit_s: float, process: subprocess.Popen[bytes]) -> bool:
    """Wait for a program to end, and leave it as it is then: whoever reaps it gives its number away."""
    if not hasattr(os, "waitid"):
        # On Windows nobody is killed by number.  On macOS, which has it from Python 3.13 on, somebody else would have
        # to get the number, and lead a group, in the moment until the group is killed.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
        return process.returncode is not None
    give_up_at = time.monotonic() + limit_s
    pause_s = _FIRST_PAUSE_S
    # Where SIGCHLD is ignored the kernel reaps by itself, and there is nobody to be looked at.
    with contextlib.suppress(ChildProcessError):
        while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and its children, those included that it has left behind, and reap it if that can be done."""
    if hasattr(os, "killpg"):
        # Nobody of the group is left; macOS says so with the second.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    # What does not even end by that waits for its disk, say, and is told as one that has not ended.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_WITHIN_S)


def call_function(function: Callable[[], object], where: Where, errors: tuple[type[BaseException], ...]) -> Ending:
    """Call a function to its end; what it raises is a failure, and documented if it is one of *errors*."""
    began = time.monotonic()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        # Whatever it is belongs to the thread that waits.
        except BaseException as exc:  # noqa: ASYNC103, BLE001
            raised.append(exc)

    thread = threading.Thread(target=call, name="trio_dlm check", daemon=True)
    thread.start()
    thread.join(where.limit_s)
    seconds = time.monotonic() - began
    if thread.is_alive():
        return Ending("", seconds, ended=False)
    if not raised:
        return Ending("success", seconds, succeeded=True)
    said = tell_error(raised[0], where.directory, address=where.address)
    return Ending(said, seconds, is_documented=isinstance(raised[0], errors))

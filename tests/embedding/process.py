"""Programs that embed a manager, each in a process of its own, and what is seen of it from outside.

Rules that hold here:

- a program runs in the development mode of Python, which tells of what was left open, never awaited or called from the
  wrong thread;
- it has a deadline, and is killed when that has passed: a hang is a failure that says what was said until then;
- what downloads say is kept apart from what the host says: they are two threads, and nothing orders them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import pytest

import trio_dlm
from tests.embedding.program import DOWNLOAD

__all__ = ["Ended", "in_each_loop", "run_program"]

PROGRAMS: Final = Path(__file__).with_name("programs")

# A program takes a second.  This is for a machine that is busy with something else.
PATIENCE_S: Final = 60.0

LOOPS: Final = ("asyncio", *([] if sys.platform == "win32" else ["uvloop"]))

in_each_loop: Final = pytest.mark.parametrize("loop", LOOPS)


@final
@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        code: what the process returned; a signal is its negative number.
        host: what the host said, line by line.
        downloads: what the downloads said, in the order of the alphabet.
        err: the standard error.
    """

    code: int
    host: list[str]
    downloads: list[str]
    err: str


def run_program(name: str, *arguments: str) -> Ended:
    """Run ``programs/NAME.py`` to its end."""
    # What is tested is what the tests import, and programs import what the tests share.
    places = [Path(trio_dlm.__file__).parents[1], Path(__file__).parents[2]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(PROGRAMS / f"{name}.py"), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    lines = done.stdout.splitlines()
    return Ended(
        done.returncode,
        [line for line in lines if not line.startswith(DOWNLOAD)],
        sorted(line.removeprefix(DOWNLOAD) for line in lines if line.startswith(DOWNLOAD)),
        done.stderr,
    )

"""Killed at every single thing that it asks of the file system, and started once more.

Rules that hold here:

- after a kill there is no file under the final name, or the one that was there before, or the whole new one;
- the next start ends with the whole file and nothing beside it; it may refuse the file if that was whole already;
- in every run one kill happens, at a place that is counted, one after the other until the command ends before it.
"""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from ._command import PYTHON, Ending, fetch, start
from ._figures import Figure, none_of, skipped
from ._files import NAME, left_beside, not_whole
from ._origin import MIB, CountingOrigin, make_body, open_counting_origin

__all__ = ["SCENES", "How", "Scene", "measure_kill_points"]

# So slow that a file of one MiB is written in several pieces.
RATE_BYTES_PER_S: Final = 8 * MIB

OLD: Final = b"the file that was there before\n"


class How(enum.Enum):
    """How it is killed."""

    CALL = "kill -9 before each file operation"
    TORN = "kill -9 in the middle of each write"
    SYSCALL = "kill -9 at each system call on its files (strace)"


@final
@dataclass(frozen=True, slots=True)
class Scene:
    """One way in which a download goes.

    Attributes:
        name: for the table.
        options: of the command.
        has_part: a killed download is there to go on with.
        has_file: a file of the same name is there.
    """

    name: str
    options: tuple[str, ...] = ("-x", "1")
    has_part: bool = False
    has_file: bool = False


_SEGMENTS: Final = ("-x", "4", "--min-segment-size", "128K")

SCENES: Final = (
    Scene("a new download"),
    Scene("one that goes on", has_part=True),
    Scene("one that replaces a file", ("-x", "1", "--overwrite"), has_file=True),
    Scene("one in segments", _SEGMENTS),
    Scene("one in segments that goes on", _SEGMENTS, has_part=True),
)

# What changes a file or a directory; those that a machine has not are passed over.
_SYSCALLS: Final = ",".join(
    f"?{name}"
    for name in (
        *("chmod", "close", "creat", "fallocate", "fchmod", "fdatasync", "flock", "fsync", "ftruncate", "link"),
        *("linkat", "mkdir", "mkdirat", "open", "openat", "openat2", "pwrite64", "pwritev", "pwritev2", "rename"),
        *("renameat", "renameat2", "rmdir", "truncate", "unlink", "unlinkat", "write", "writev"),
    )
)
# The thread and the name of a call, as strace tells it, and as our own does.
_CALL: Final = re.compile(r"^(\d+) +(\w+)\(", re.MULTILINE)
_NAMES: Final = (NAME, f"{NAME}.part", f"{NAME}.part.json", f"{NAME}.part.lock", f"{NAME}.part.tmp")


async def measure_kill_points(
    how: How, scene: Scene, *, size_bytes: int = MIB, most: int | None = None, at_once: int = 2
) -> list[Figure]:
    """Kill the command at each of its operations, one in each download.

    Args:
        how: at what it is killed.
        scene: how the download goes.
        size_bytes: of the file.
        most: at how many places; those come first that a download rarely meets, as the end does.
        at_once: how many downloads run at the same time, each in a directory of its own.
    """
    hardship = f"{how.value}, {scene.name}"
    if how is How.SYSCALL and (reason := _no_strace()):
        return [skipped(hardship, reason)]
    body = make_body(size_bytes, seed=3)
    problems: list[str] = []
    killed = 0
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        async with open_counting_origin(rate_bytes_per_s=RATE_BYTES_PER_S) as origin:
            case = _Case(how, scene, origin, origin.serve(f"/{NAME}", body), body, Path(made))
            problems += await case.prepare()
            places = iter((await case.places())[:most])

            async def try_next() -> None:
                nonlocal killed
                for place in places:
                    was_killed, found = await case.killed_at(place)
                    problems.extend(found)
                    killed += was_killed

            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(try_next)
    promise = "the next start delivers, nothing is left, nothing half under its name"
    if not killed:
        problems.append("nobody was killed")
    return [none_of(hardship, promise, problems, otherwise=f"so it is, at {killed} places")]


@final
@dataclass(frozen=True, slots=True)
class _Case:
    how: How
    scene: Scene
    origin: CountingOrigin
    url: str
    body: bytes
    made: Path

    @property
    def template(self) -> Path:
        """The directory as the download finds it."""
        return self.made / "template"

    @property
    def arguments(self) -> list[str]:
        """What the command is told."""
        return ["get", "-q", *self.scene.options, self.url]

    async def prepare(self) -> list[str]:
        """Make the template, and say why if that cannot be done."""
        self.template.mkdir()
        if self.scene.has_file:
            (self.template / NAME).write_bytes(OLD)
        if self.scene.has_part:
            async with start(*self.arguments, cwd=self.template) as running:
                await running.until(lambda: self.origin.wait_given(len(self.body) / 2))
                running.send(signal.SIGKILL)
                await running.wait()
            if not (self.template / f"{NAME}.part").exists():
                return ["there was nothing to go on with"]
        return []

    async def places(self) -> list[str]:
        """Say where it can be killed: a call and its number, as in ``unlink:2``."""
        directory = self.made / "first"
        shutil.copytree(self.template, directory)
        log = self.made / "first.log"
        ending = await self._fetch(None, directory, log)
        text = log.read_text(errors="replace") if log.exists() else ending.err
        made = Counter(_CALL.findall(text))
        # The threads differ from run to run, and so does how much is done at a time: one that is not met hurts nobody.
        most = Counter({name: max(times for (_, each), times in made.items() if each == name) for _, name in made})
        return [f"{name}:{number}" for name, times in reversed(most.most_common()) for number in range(1, times + 1)]

    async def killed_at(self, place: str) -> tuple[bool, list[str]]:
        """Kill it once, and return whether that met it, and what was wrong."""
        directory = self.made / place
        shutil.copytree(self.template, directory)
        try:
            log = self.made / f"{place}.log"
            ending = await self._fetch(place, directory, log)
            if ending.code == -signal.SIGKILL:
                return True, _at(_where(ending, log, directory) or place, await self._go_on(directory))
            wrong = ending.problems(0) or [*not_whole(directory / NAME, self.body), *left_beside(directory, NAME)]
            return False, _at("never killed", wrong)
        finally:
            shutil.rmtree(directory)

    async def _fetch(self, place: str | None, directory: Path, log: Path) -> Ending:
        if self.how is How.SYSCALL:
            return await fetch(*self.arguments, cwd=directory, before=_traced(place, directory, log))
        how = "torn" if self.how is How.TORN else "whole"
        # As a file, since the package may be installed where no tests are.
        program = [PYTHON, "-P", str(Path(__file__).with_name("_killed_at.py")), place or "nowhere", how]
        return await fetch(*self.arguments, cwd=directory, program=program)

    async def _go_on(self, directory: Path) -> list[str]:
        path = directory / NAME
        was_there = path.exists()
        was_whole = was_there and not not_whole(path, self.body)
        if was_there and not was_whole and not (self.scene.has_file and path.read_bytes() == OLD):
            return [f"{NAME} is there, and not whole"]
        ending = await fetch(*self.arguments, cwd=directory)
        code = 1 if ending.code == 1 and was_whole else 0
        return ending.problems(code) or [*not_whole(path, self.body), *left_beside(directory, NAME)]


def _no_strace() -> str | None:
    """Say why system calls cannot be counted here."""
    try:
        done = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "strace is not installed"
    # In a container nobody may look at another's calls.
    return done.stderr.strip().replace("\n", " ") or "strace fails" if done.returncode else None


def _traced(place: str | None, directory: Path, log: Path) -> list[str]:
    """Return what comes before a command whose calls on its files are told in *log*, and that is killed at *place*.

    strace counts the calls of each name in each thread for itself.
    """
    paths = [os.path.realpath(each) for each in (directory, *(directory / name for name in _NAMES))]
    watched = [each for path in paths for each in ("-P", path)]
    kill: list[str] = []
    if place is not None:
        name, _, number = place.partition(":")
        kill = ["-e", f"inject={name}:signal=SIGKILL:when={number}"]
    return ["strace", "-f", "-qqq", "-o", str(log), *watched, "-e", f"trace={_SYSCALLS}", *kill]


def _where(ending: Ending, log: Path, directory: Path) -> str | None:
    """Return what the command was about to do when it was killed."""
    text = log.read_text(errors="replace") if log.exists() else ending.err
    lines = [line for line in text.splitlines() if _CALL.match(line)]
    return " ".join(lines[-1].replace(f"{directory}/", "").split()[1:])[:80] if lines else None


def _at(where: str, problems: list[str]) -> list[str]:
    return [f"at {where}: {', '.join(problems)}"] if problems else []

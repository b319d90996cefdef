"""Runs a scenario again and again, with one thing going wrong at each place in turn, and checks what it promises.

Rules that hold here:

- one thing goes wrong in a run: a cancel at one checkpoint, or an error in one file operation;
- nothing is assumed of how a scenario works: it is run until it has ended before the injection was reached;
- a broken promise names the injection, the place in the code that it hit, and what was found.
"""

from __future__ import annotations

import errno
import gc
import importlib
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast, final
from urllib.parse import quote

from ..._errors import TrioDlmError
from .._errors import PromiseBrokenError
from ..machine._schedule import Tape
from ..origin._plan import FaultPlan
from ..origin._server import Plan
from ._attempt import Attempt, CancelAt, FailAt, Injection, Scenario, Stage, attempt
from ._environment import no_proxies, quiet_log

__all__ = ["Stage", "TortureReport", "torture"]

# What a disk says when it is full, and when it is broken.
_ERRORS: Final = (errno.ENOSPC, errno.EIO)

# More than the buffers of the network hold, so that it takes several reads, and no eight bytes of it come twice.
_LONG_BODY: Final = b"".join(b"%07d\n" % number for number in range(25_000))

# Python 3.12 itself sets some 400 objects aside when it starts; a program that does so has many more.
_FROZEN_AT_START: Final = 1000

_NAME: Final = "file.bin"

_NO_FILES: Final[Mapping[str, bytes]] = MappingProxyType({})


@final
@dataclass(frozen=True, slots=True)
class TortureReport:
    """What a scenario went through without breaking a promise.

    Attributes:
        checkpoints: at how many it was cancelled.
        file_operations: how many of them failed.
        runs: of the scenario, those included that went on after an injection.
    """

    checkpoints: int
    file_operations: int
    runs: int

    def __str__(self) -> str:
        return (
            f"every promise was kept, with a cancel at each of {self.checkpoints} checkpoints and with an error in "
            f"each of {self.file_operations} file operations: {self.runs} runs"
        )


def torture(
    scenario: Scenario,
    *,
    wants: Mapping[str, bytes] | None = None,
    before: Mapping[str, bytes] = _NO_FILES,
    body: bytes = _LONG_BODY,
    errors: tuple[type[BaseException], ...] = (TrioDlmError,),
    leftovers: Iterable[str] = (),
    resumable: bool = True,
    plan: Plan | None = None,
    limit_s: float = 3600.0,
) -> TortureReport:
    """Run *scenario* again and again, with a cancel at each checkpoint and an error in each file operation in turn.

    A scenario is an async function of a :class:`Stage` that downloads into ``stage.directory`` and returns when the
    files are there::

        async def scenario(stage: Stage) -> None:
            async with open_manager(directory=stage.directory) as manager:
                await manager.download(stage.url)

        torture(scenario, leftovers=["*.part", "*.part.json"])

    Each run has a fresh directory, an origin of its own, virtual time and threads in line, and, if Hypothesis is
    installed, always the same order of tasks.  The first has nothing injected and has to deliver.  Then every
    checkpoint is cancelled once, every operation on files below the directory fails once with ENOSPC and once with EIO,
    and every write is cut once by a disk that is full from there on.  After each of these runs:

    - what is under a final name is whole: as wanted, or as it was before;
    - no other file is there but *leftovers*.  A file may be there too if what failed was its deletion, or a look at it:
      who cannot look at a file does not know whether it is his to delete;
    - if the scenario returned, everything wanted is there;
    - what it raised is one of *errors*, alone or in groups, or the injected ``Cancelled``;
    - it has ended, and no task, thread, descriptor or connection of it is left;
    - if not everything was delivered, the same scenario, run once more in the same directory, delivers.  A file that
      was there for that reason, and is none of *leftovers*, is deleted first, as a user would do it.

    Not to be called inside of ``trio.run``.

    Args:
        scenario: what is run.  One of several files has to cope with those that an earlier run delivered.
        wants: what it has to deliver, by path below the directory; the body under the name ``file.bin`` if not given.
        before: files that are there before each run.  Those that are wanted too may be replaced, in one step; the
            others stay as they are.
        body: what the origin serves.
        errors: what a scenario may raise when something went wrong.
        leftovers: patterns of files that may be left when it did not deliver, such as ``*.part``.
        resumable: check that it delivers when it is run again.
        plan: how the origin misbehaves, the same in each run; the scenario has to cope with it.
        limit_s: virtual seconds that one run may take.

    Returns:
        How much was tried.

    Raises:
        PromiseBrokenError: which promise, by which injection, with the scenario's own error as ``__cause__``.
    """
    case = _Case(
        scenario=scenario,
        wants={_NAME: body} if wants is None else dict(wants),
        before=dict(before),
        body=body,
        errors=errors,
        leftovers=tuple(leftovers),
        resumable=resumable,
        plan=FaultPlan() if plan is None else plan,
        limit_s=limit_s,
    )
    with _same_order(), no_proxies(), quiet_log(), _old_garbage_kept():
        sound = case.try_with(None)
        assert sound is not None
        checkpoints = case.try_each(CancelAt(number) for number in count(1))
        operations = [case.try_each(FailAt(number, error) for number in count(1)) for error in _ERRORS]
        writes = [number for number, operation in enumerate(sound.operations, 1) if operation.is_write]
        case.try_each(FailAt(number, errno.ENOSPC, cut=True) for number in writes)
    return TortureReport(checkpoints, max(operations), case.runs)


@contextmanager
def _same_order() -> Generator[None]:
    """Let the oldest task go first in each tick, so that checkpoint 17 is the same place in every run."""
    # trio has a fixed order once Hypothesis was imported, which tells it so.  With a random one a place may be met
    # twice, and another never.
    with suppress(ModuleNotFoundError):
        importlib.import_module("hypothesis")
    with Tape().playing():
        yield


@contextmanager
def _old_garbage_kept() -> Generator[None]:
    """Keep what was garbage before out of what is collected, so that it is not blamed on a run, and runs are fast."""
    is_ours = gc.get_freeze_count() < _FROZEN_AT_START
    gc.freeze()
    try:
        yield
    finally:
        # What somebody else has set aside is to stay there, even if more stays with it.
        if is_ours:
            gc.unfreeze()


@final
@dataclass(kw_only=True)
class _Case:
    """A scenario with what it promises; the attributes are the arguments of :func:`torture`."""

    scenario: Scenario
    wants: Mapping[str, bytes]
    before: Mapping[str, bytes]
    body: bytes
    errors: tuple[type[BaseException], ...]
    leftovers: tuple[str, ...]
    resumable: bool
    plan: Plan
    limit_s: float
    runs: int = 0

    def try_each(self, injections: Iterable[Injection]) -> int:
        """Try one after the other until one is not reached, and return how many were."""
        for number, injection in enumerate(injections):
            if self.try_with(injection) is None:
                return number
        return 0

    def try_with(self, injection: Injection | None) -> Attempt | None:
        """Run once, and once more if that did not deliver; return what the first came to, or None if not reached."""
        with tempfile.TemporaryDirectory(prefix="torture-") as made:
            directory = Path(made)
            for name, content in self.before.items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            first = self._attempt(directory, injection)
            if injection is not None and first.injected is None:
                return None
            where = first.injected or "without any injection"
            _require(self._broken(first, must_deliver=injection is None), where, first)
            if self.resumable and not self._has_delivered(first):
                self._tidy(directory, first)
                second = self._attempt(directory, None)
                _require(
                    self._broken(second, must_deliver=True), f"{where}; then run again in the same directory", second
                )
            return first

    def _attempt(self, directory: Path, injection: Injection | None) -> Attempt:
        self.runs += 1
        return attempt(
            self.scenario,
            directory,
            path=f"/{quote(_NAME)}",
            body=self.body,
            plan=self.plan,
            injection=injection,
            limit_s=self.limit_s,
        )

    def _tidy(self, directory: Path, seen: Attempt) -> None:
        name = seen.excused
        # A leftover is there for the next run, and may be what tells it about another one.
        known = {*self.wants, *self.before}
        if name is not None and name in seen.files and name not in known and not _matches(name, self.leftovers):
            directory.joinpath(name).unlink()

    def _has_delivered(self, seen: Attempt) -> bool:
        return all(seen.files.get(name) == content for name, content in self.wants.items())

    def _broken(self, seen: Attempt, *, must_deliver: bool) -> Iterator[str]:
        """Say what was promised and is not so."""
        if seen.stuck is not None:
            yield f"it did not end: {seen.stuck}"
        yield from self._broken_names(seen)
        yield from self._broken_others(seen)
        for each in seen.left:
            yield f"it left {each}"
        if seen.error is not None and not _is_documented(seen.error, self.errors):
            allowed = ", ".join(each.__name__ for each in self.errors) or "nothing"
            yield f"it raised what is none of its errors ({allowed}): {_shown(seen.error)}"
        elif seen.error is not None and must_deliver:
            yield f"it did not end well: {_shown(seen.error)}"
        if seen.has_returned:
            for name in sorted(name for name, content in self.wants.items() if seen.files.get(name) != content):
                yield f"it returned without having delivered {name}"

    def _broken_names(self, seen: Attempt) -> Iterator[str]:
        for name in sorted({*self.wants, *self.before}):
            allowed = [known[name] for known in (self.wants, self.before) if name in known]
            if name not in seen.files:
                if name in self.before:
                    yield f"{name} was there before and is gone"
            elif (found := seen.files[name]) not in allowed:
                if found is None:
                    yield f"{name} is no regular file"
                elif name in self.wants:
                    yield f"{name} is there, and not whole: {len(found)} bytes, {_compare(found, self.wants[name])}"
                else:
                    yield f"{name} was there before and has been changed"

    def _broken_others(self, seen: Attempt) -> Iterator[str]:
        may_be_left = () if self._has_delivered(seen) else self.leftovers
        for name in sorted(seen.files.keys() - self.wants.keys() - self.before.keys()):
            if name != seen.excused and not _matches(name, may_be_left):
                found = seen.files[name]
                yield f"it left {name}" + ("" if found is None else f", {len(found)} bytes")


def _require(broken: Iterable[str], where: str, seen: Attempt) -> None:
    problems = list(broken)
    if problems:
        raise PromiseBrokenError(f"{where}:\n" + "\n".join(f"- {each}" for each in problems)) from seen.error


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _compare(found: bytes, wanted: bytes) -> str:
    if wanted.startswith(found):
        return f"the first of {len(wanted)}"
    at = next((at for at, (one, other) in enumerate(zip(found, wanted, strict=False)) if one != other), len(wanted))
    return f"other than the {len(wanted)} wanted from byte {at} on"


def _is_documented(exc: BaseException, errors: tuple[type[BaseException], ...]) -> bool:
    if isinstance(exc, errors):
        return True
    if not isinstance(exc, BaseExceptionGroup):
        return False
    members = cast("BaseExceptionGroup[BaseException]", exc).exceptions
    return all(_is_documented(each, errors) for each in members)


def _shown(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"

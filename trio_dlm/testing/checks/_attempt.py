"""One run of a scenario in a world that can fail, and what an onlooker saw of it.

Rules that hold here:

- every run has a world of its own: virtual time, a network in memory, threads in line, an origin; only the directory is
  handed in;
- what belongs to the scenario is what its task started; the world's own tasks are told apart by who started them;
- a run ends: what waits longer than the limit is cancelled, and what no cancel reaches is broken off by force.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import math
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

import trio
import trio.testing

from .._errors import LivelockError
from ..origin._memory import open_memory_origin
from ..origin._server import Origin, Plan
from ..world._files import FileOperation, WatchedFiles, failing_files
from ..world._network import memory_network
from ..world._run import run_in_virtual_world
from ._checkpoints import MOST_CHECKPOINTS, CheckpointCounter, describe_task
from ._force import abandon, break_off, interrupt_in

__all__ = ["Attempt", "CancelAt", "FailAt", "Injection", "Scenario", "Stage", "attempt"]

# How many times in a row what no cancel reaches is broken off: a handler that waits again needs one more.  Who is there
# still after that is taken off the run.
_MOST_ROUNDS: Final = 20


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """What a scenario plays with.

    Attributes:
        directory: where its files go; exists.
        origin: the server, reached by name over the network in memory, or by ``origin.connect()``.
        url: of the file that the origin serves.
        body: the bytes of that file.
    """

    directory: Path
    origin: Origin
    url: str
    body: bytes


Scenario: TypeAlias = Callable[[Stage], Awaitable[object]]


@final
@dataclass(frozen=True, slots=True)
class CancelAt:
    """Cancel the scenario at this checkpoint, counted from 1."""

    number: int


@final
@dataclass(frozen=True, slots=True)
class FailAt:
    """Refuse this file operation, counted from 1, or let the disk be full from there on and the write be *cut*."""

    number: int
    error: int
    cut: bool = False


Injection: TypeAlias = CancelAt | FailAt


@final
@dataclass(frozen=True, slots=True)
class Attempt:
    """What a run came to.

    Attributes:
        injected: what was injected and where, in words; None if the run was over before.
        excused: a file that could not be deleted, since that was what failed, or the look at whose it is.
        error: what came out of the scenario.
        has_returned: it returned; else it raised, was cancelled or did not end.
        stuck: why it did not end by itself, in words.
        files: what is in the directory, by path below it; None for what is no regular file.
        left: what else is left, in words.
        checkpoints: how many it had.
        operations: what it did to files.
    """

    injected: str | None
    excused: str | None
    error: BaseException | None
    has_returned: bool
    stuck: str | None
    files: Mapping[str, bytes | None]
    left: tuple[str, ...]
    checkpoints: int
    operations: tuple[FileOperation, ...]


def attempt(
    scenario: Scenario,
    directory: Path,
    *,
    path: str,
    body: bytes,
    plan: Plan,
    injection: Injection | None = None,
    limit_s: float,
) -> Attempt:
    """Run *scenario* once, and look at what is left.

    Args:
        scenario: what is run.
        directory: where its files go.
        path: of the file that the origin serves.
        body: its bytes.
        plan: how the origin misbehaves.
        injection: what goes wrong here.
        limit_s: virtual seconds.

    Raises:
        RuntimeError: the harness itself is broken.
    """
    run = _Run(scenario, directory, path, body, plan, injection, limit_s)
    fail_at, error, cut = None, errno.ENOSPC, False
    if isinstance(injection, FailAt):
        fail_at, error, cut = injection.number, injection.error, injection.cut
    threads = set(threading.enumerate())
    with _unclosed() as unclosed:
        with failing_files(directory, fail_at, error=error, cut=cut) as watched:
            try:
                run_in_virtual_world(run.main, limit_s=2 * limit_s + 1)
            except LivelockError as exc:
                run.stuck = str(exc)
            except BaseException as exc:  # noqa: ASYNC103  (trio's run is over)
                if (interrupt := interrupt_in(exc)) is not None:
                    raise interrupt from None  # noqa: ASYNC104
                # What was broken off by force leaves trio in disorder.
                if run.counter.endless_at is None and run.stuck is None:
                    raise
            if run.counter.endless_at is not None:
                run.stuck = f"after {MOST_CHECKPOINTS} checkpoints there runs {run.counter.endless_at}"
            descriptors = watched.open_descriptors()
        gc.collect()
    if not run.counter.has_lasted:
        # Whatever is found then, or not found, says nothing about the scenario.
        raise RuntimeError(
            "the checkpoints of the scenario were not counted to the end, since trio took their counter off the run: "
            "that is a bug of the harness, and the log of trio.abc.Instrument has the error"
        )
    run.left += [f"a descriptor of {each}" for each in descriptors]
    run.left += [f"a thread, {each.name}" for each in set(threading.enumerate()) - threads]
    run.left += [f"something for the collector of garbage: {each}" for each in unclosed]
    failed = watched.failed
    return Attempt(
        injected=_describe(injection, run.counter, watched),
        excused=failed.paths[0] if failed is not None and (failed.is_removal or failed.is_look) else None,
        error=run.error,
        has_returned=run.has_returned,
        stuck=run.stuck,
        files=dict(_files_in(directory)),
        left=tuple(run.left),
        checkpoints=run.counter.count,
        operations=tuple(watched.operations),
    )


def _describe(injection: Injection | None, counter: CheckpointCounter, watched: WatchedFiles) -> str | None:
    match injection:
        case CancelAt(number=number) if counter.cancelled_at is not None:
            return f"Cancelled at checkpoint {number}, in {counter.cancelled_at}"
        case FailAt(number=number, error=error, cut=cut) if watched.failed is not None:
            what = "a full disk from" if cut else f"OSError {errno.errorcode[error]} at"
            return f"{what} file operation {number}: {watched.failed}, in {watched.failed_at}"
        case _:
            return None


def _files_in(directory: Path) -> Iterator[tuple[str, bytes | None]]:
    for path in sorted(directory.rglob("*")):
        is_link = path.is_symlink()
        if is_link or not path.is_dir():
            yield path.relative_to(directory).as_posix(), path.read_bytes() if path.is_file() and not is_link else None


@contextlib.contextmanager
def _unclosed() -> Generator[list[str]]:
    """Collect what the interpreter says about files and sockets that were forgotten, and pass on its other warnings."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield found
    for each in caught:
        if issubclass(each.category, ResourceWarning) and str(each.message).startswith("unclosed"):
            found.append(str(each.message))
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)


@final
class _Run:
    """What :func:`attempt` does inside trio."""

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        path: str,
        body: bytes,
        plan: Plan,
        injection: Injection | None,
        limit_s: float,
    ) -> None:
        self.counter = CheckpointCounter(injection.number if isinstance(injection, CancelAt) else None)
        self.error: BaseException | None = None
        self.has_returned = False
        self.stuck: str | None = None
        self.left: list[str] = []
        self._scenario = scenario
        self._directory = directory
        self._path = path
        self._body = body
        self._plan = plan
        self._limit_s = limit_s
        self._ended = trio.Event()

    async def main(self) -> None:
        """Open the world, run the scenario in it, and count what it leaves."""
        trio.lowlevel.add_instrument(self.counter)
        with memory_network() as network:
            async with open_memory_origin(self._plan, body=self._body) as origin:
                before = set(_all_tasks())
                stage = Stage(self._directory, origin, origin.url(self._path), self._body)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._perform, stage, name="the scenario")
                    with trio.move_on_after(self._limit_s):
                        await self._ended.wait()
                    if not self._ended.is_set():
                        await self._break_off(nursery.cancel_scope)
                if network.open_client_sockets:
                    self.left.append(f"open connections: {network.open_client_sockets}")
                mine = set(_below(trio.lowlevel.current_task()))
                self.left += [f"a task, {describe_task(each)}" for each in set(_all_tasks()) - before - mine]

    async def _perform(self, stage: Stage) -> None:
        try:
            with trio.CancelScope() as scope:
                self.counter.watch(scope)
                await self._scenario(stage)
                self.has_returned = True
        except BaseException as exc:  # noqa: ASYNC103
            # Ctrl-C, and a cancel of the whole run; any other Cancelled is one that nobody asked for any more.
            if interrupt_in(exc) is not None or (isinstance(exc, trio.Cancelled) and _is_cancelled()):
                raise
            if self.stuck is None:
                self.error = exc
        finally:
            self.counter.rest()
            self._ended.set()

    async def _break_off(self, scope: trio.CancelScope) -> None:
        """End a scenario that does not end: by a cancel, and what is shielded from that by force."""
        waiting = sorted(describe_task(task) for task in self.counter.tasks if not _children(task))
        self.stuck = f"after {self._limit_s:g} virtual seconds there waits {'; '.join(waiting)}"
        with trio.CancelScope(shield=True):
            scope.cancel(reason="torture: the scenario does not end")
            rounds = 0
            while True:
                rounds += 1
                await trio.testing.wait_all_tasks_blocked()
                if self._ended.is_set() or not self.counter.tasks:
                    return
                for task in [each for each in self.counter.tasks if not _children(each)]:
                    if rounds > _MOST_ROUNDS:
                        abandon(task)
                    break_off(task)


def _is_cancelled() -> bool:
    return trio.current_effective_deadline() == -math.inf


def _children(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    return [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for child in _children(task):
        yield from _below(child)


def _all_tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    yield from _below(root)

"""One case of ``check_downloader``: some downloads in a world in memory, and what an onlooker saw of them.

Rules that hold here:

- every case gets a run of trio of its own, a manager as users open it, a network in memory and a fresh directory;
- one downloader makes several downloads, since what is wrong with one may show in the next: a file that was left lying
  there, a connection that was kept;
- what is in the directory is looked at when a download has ended, or when the run is over if it has not;
- a case ends: what waits longer than the limit is cancelled, and what no cancel reaches is broken off by force;
- Ctrl-C and the end of the program come out bare, also when it is the downloader that raises them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import trio
import trio.testing

from ..._block import open_manager
from ..._manager import DownloadManager
from ..._options import DownloadOptionsFields
from ..._status import DownloadStatus
from ...downloaders._protocol import Downloader, DownloaderFunction, as_function
from ..machine._schedule import Tape
from ..origin._memory import open_memory_origin
from ..origin._plan import FaultPlan
from ..origin._resource import Resource
from ..origin._server import Origin
from ..world._network import memory_network
from ..world._run import run_in_virtual_world
from ._checkpoints import describe_task
from ._exchanges import Exchange, watch
from ._force import abandon, break_off, interrupt_in
from ._promises import Outcome
from ._whereabouts import find_false_claim, find_mistake, look_around, look_at, tell_error

__all__ = ["AnyDownloader", "Case", "CaseRun"]

AnyDownloader: TypeAlias = Downloader[Any] | DownloaderFunction[Any]

# The name that the file gets: the one in the URL, so that it is the same whether it is asked for or not.
FILENAME: Final = "file.bin"

# Virtual seconds for a download that was cancelled to leave; nobody waits for them.
_CLEAN_UP_S: Final = 3600.0

# What a download takes that comes byte by byte is 3 steps for each; the rest is for those that try again, and
# look in the meantime at what others bring: a hundred silences of 30 s with twenty looks a second take 60,000.
_STEPS: Final = 100_000
_STEPS_PER_BYTE: Final = 15

# Steps for what is cancelled to leave; who takes more spins where no cancel reaches.
_LAST_STEPS: Final = 10_000

# The steps are counted here, and not by the world, whose cancel would not reach what is shielded.
_NO_LIMIT: Final = sys.maxsize

# How many times in a row what no cancel reaches is broken off, until it is taken off the run.
_MOST_ROUNDS: Final = 20

# How long a reply with Retry-After is on its way, in virtual seconds: a power of two, so that sums of it are exact.
_LATENCY_S: Final = 2.0**-10


@final
@dataclass(frozen=True, slots=True)
class Case:
    """What is drawn: the plan of the origin, what is asked for beside the URL, and the order of the tasks."""

    plan: FaultPlan
    has_checksum: bool
    has_filename: bool = False
    tape: tuple[int, ...] = ()

    @property
    def given(self) -> str:
        """What was asked for beside the URL, and the order of the tasks, for the report."""
        words = [
            word for word, is_given in (("checksum=", self.has_checksum), ("filename=", self.has_filename)) if is_given
        ]
        told = [f"the download was given {' and '.join(words)}"] if words else []
        if any(self.tape):
            told.append(f"the tasks took turns by the tape {list(self.tape)}")
        return f" ({'; '.join(told)})" if told else ""


@final
@dataclass(slots=True)
class _Attempt:
    """One download of a case, and what is known of how it ended."""

    directory: Path
    exchanges_before: int
    path: Path | None = None
    error: BaseException | None = None
    stopped: str | None = ""
    seconds: float = 0.0
    found: bytes | None = None
    others: tuple[str, ...] = ()
    mistaken: str | None = None

    def look(self) -> None:
        """See what lies in the directory."""
        path = self.directory / FILENAME if self.path is None else self.path
        self.found, self.others = look_at(self.directory, path)


@final
class CaseRun:
    """The downloads that are made while an origin follows the plan of a case."""

    def __init__(self, case: Case, factory: Callable[[], AnyDownloader], body: bytes, limit_s: float) -> None:
        self.resource = Resource(body)
        self._connections_left = 0
        self._exchanges: list[Exchange] = []
        self._attempts: list[_Attempt] = []
        self._outside: tuple[str, ...] = ()
        self._case = case
        self._factory = factory
        self._body = body
        self._limit_s = limit_s
        self._onlooker = _Onlooker(0)
        self._has_ended = False
        self._is_stuck = False
        self._raised: BaseException | None = None
        self._options: DownloadOptionsFields = {}
        if case.has_filename:
            self._options["filename"] = FILENAME
        if case.has_checksum:
            self._options["checksum"] = f"sha256:{hashlib.sha256(body).hexdigest()}"

    def run(self, around: Path, runs: int) -> None:
        """Make *runs* downloads, one after the other: after a failure again, after a success to another place.

        Args:
            around: an empty directory, in which those of the downloads are made, and nothing else should be.
            runs: how many.

        Raises:
            BaseException: what the downloader raised before the first download, or to end the program.
        """
        self._onlooker = _Onlooker(runs * (_STEPS + _STEPS_PER_BYTE * len(self._body)))
        # Each download has a limit of its own; this one is for what does not heed it.
        limit_s = runs * self._limit_s + _CLEAN_UP_S
        try:
            with Tape(self._case.tape).playing():
                run_in_virtual_world(
                    self._main, around / "downloads", runs, limit_s, limit_s=2 * limit_s, max_steps=_NO_LIMIT
                )
        except BaseException as exc:  # noqa: ASYNC103
            if (interrupt := interrupt_in(exc)) is not None:
                raise interrupt from None  # noqa: ASYNC104
            # What was broken off by force leaves trio in disorder.
            if not self._is_stuck:
                raise
        if self._raised is not None:
            raise self._raised
        if self._is_stuck:
            self._attempts[-1].look()
        self._outside = look_around(around, [attempt.directory for attempt in self._attempts])

    async def _main(self, directory: Path, runs: int, limit_s: float) -> None:
        trio.lowlevel.add_instrument(self._onlooker)
        plan = watch(self._case.plan, self._exchanges, latency_s=_LATENCY_S)
        with memory_network() as network:
            async with open_memory_origin(plan, body=self._body) as origin, trio.open_nursery() as nursery:
                self.resource = origin.resource
                nursery.start_soon(self._perform, origin, directory, runs, name="the downloads")
                with trio.move_on_after(limit_s):
                    await self._onlooker.turn.wait()
                if not self._has_ended:
                    await self._break_off(nursery.cancel_scope, directory)
                self._connections_left = network.open_client_sockets

    async def _perform(self, origin: Origin, directory: Path, runs: int) -> None:
        self._onlooker.tasks.add(trio.lowlevel.current_task())
        try:
            await self._download_all(origin, directory, runs)
        except BaseException as exc:  # noqa: ASYNC103  (kept, and raised where the run has ended)
            if not self._is_stuck:
                if isinstance(exc, trio.Cancelled):
                    raise
                self._raised = interrupt_in(exc) or exc
        finally:
            self._has_ended = True
            self._onlooker.turn.set()

    async def _download_all(self, origin: Origin, directory: Path, runs: int) -> None:
        try:
            downloader = self._factory()
            as_function(downloader)
            async with open_manager(downloader=downloader, on_exit="cancel", failures="keep") as manager:
                where = directory / "0"
                for number in range(runs):
                    if self._attempts and self._attempts[-1].path is not None:
                        where = directory / f"{number}"
                    attempt = _Attempt(where, len(self._exchanges))
                    self._attempts.append(attempt)
                    await self._download(manager, origin.url(f"/{FILENAME}"), attempt)
                    if attempt.stopped is not None:
                        break
        except Exception as exc:
            # Before the first download it is a downloader that cannot be used at all, afterwards one that does not
            # end well.
            if not self._attempts:
                raise
            last = self._attempts[-1]
            last.path, last.error = None, exc

    async def _download(self, manager: DownloadManager, url: str, attempt: _Attempt) -> None:
        began = trio.current_time()
        with trio.move_on_after(self._limit_s):
            options: DownloadOptionsFields = {**self._options, "directory": attempt.directory}
            task = await manager.submit(url, **options)
            if await task.wait() is DownloadStatus.COMPLETED:
                result = await task.result()
                attempt.path = result.path
                attempt.mistaken = find_mistake(attempt.directory, result.path, result.size_bytes) or find_false_claim(
                    result.path, result.checksum
                )
            attempt.error = task.error
            attempt.stopped = None
        attempt.seconds = trio.current_time() - began
        attempt.look()

    async def _break_off(self, scope: trio.CancelScope, directory: Path) -> None:
        """End downloads that do not end: by a cancel, and what is shielded from that by force."""
        self._is_stuck = True
        if not self._attempts:
            # It is the downloader's own entering that does not end.
            self._attempts.append(_Attempt(directory / "0", 0))
        last = self._attempts[-1]
        last.path, last.stopped = None, self._onlooker.describe()
        with trio.CancelScope(shield=True):
            scope.cancel(reason="check: the downloads do not end")
            self._onlooker.abandon_after(_LAST_STEPS)
            rounds = 0
            while True:
                rounds += 1
                await trio.testing.wait_all_tasks_blocked()
                waiting = self._onlooker.waiting()
                if self._has_ended or not waiting:
                    return
                for task in waiting:
                    if rounds > _MOST_ROUNDS:
                        abandon(task)
                    break_off(task)

    def outcomes(self, errors: tuple[type[BaseException], ...]) -> list[Outcome]:
        """Return what an onlooker saw; what is left open or lies elsewhere counts for the last download."""
        ends = [attempt.exchanges_before for attempt in self._attempts[1:]] + [len(self._exchanges)]
        outcomes: list[Outcome] = []
        for attempt, end in zip(self._attempts, ends, strict=True):
            succeeded = attempt.stopped is None and attempt.path is not None
            said = "success" if succeeded else tell_error(attempt.error, attempt.directory)
            is_last = attempt is self._attempts[-1]
            outcomes.append(
                Outcome(
                    succeeded=succeeded,
                    said=said if attempt.stopped is None else attempt.stopped,
                    found=attempt.found,
                    others=attempt.others,
                    mistaken=attempt.mistaken,
                    outside=self._outside if is_last else (),
                    seconds=attempt.seconds,
                    ended=attempt.stopped is None,
                    is_documented=isinstance(attempt.error, errors),
                    exchanges=tuple(self._exchanges[attempt.exchanges_before : end]),
                    connections_left=self._connections_left if is_last else 0,
                )
            )
        return outcomes


@final
class _Onlooker(trio.abc.Instrument):
    """Knows the tasks of the downloads, and counts the steps of all.

    Attributes:
        tasks: those of the downloads that have not ended.
        turn: is set when there were too many steps, and to be set when the downloads have ended.
    """

    def __init__(self, steps: int) -> None:
        self.tasks: set[trio.lowlevel.Task] = set()
        self.turn = trio.Event()
        self._steps = steps
        self._taken = 0
        self._abandon_at: int | None = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Know the child of a task that is known."""
        if task.parent_nursery is not None and task.parent_nursery.parent_task in self.tasks:
            self.tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget a task that has ended."""
        self.tasks.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and end what spins."""
        self._taken += 1
        if self._taken == self._steps:
            self.turn.set()
        if self._abandon_at is not None and self._taken > self._abandon_at and task in self.tasks:
            abandon(task)

    def abandon_after(self, steps: int) -> None:
        """Take each task of the downloads off the run that takes a step after so many."""
        self._abandon_at = self._taken + steps

    def waiting(self) -> list[trio.lowlevel.Task]:
        """Return the tasks of the downloads that wait for no other, the oldest names first."""
        leaves = (task for task in self.tasks if not any(nursery.child_tasks for nursery in task.child_nurseries))
        return sorted(leaves, key=describe_task)

    def describe(self) -> str:
        """Say why it did not end."""
        if self._taken >= self._steps:
            return (
                f"it did not end: {self._steps} steps were taken without coming to an end, up to virtual second "
                f"{trio.current_time():g}; look for a loop that waits for nothing"
            )
        waiting = "; ".join(map(describe_task, self.waiting()))
        return f"it did not end, not even when it was cancelled: there waits {waiting}"

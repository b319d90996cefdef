"""A downloader that does what a test tells it, download by download, and counts for itself.

Rules that hold here:

- each download has a gate; a body waits at its gate and does nothing by itself;
- what a body was told while it waits it does in one go, without a checkpoint: it reports the bytes, then ends if it
  was told to.  So a cancel that comes after the verdict comes too late, and one that comes before it wins;
- how a body left is written down by the body: whoever judges a manager must not have to ask it;
- a body has a job if the manager is ours; one that knows a name only is enough for a manager that gives nothing else;
- what can only be the manager's fault is kept in :attr:`ScriptedDownloader.faults`, since an exception would fail the
  download instead of the test.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast, final

import trio

from .._records import DownloadResult
from ..downloaders._protocol import DownloadJob

__all__ = ["Gate", "Left", "PlannedCrash", "PlannedError", "Reaction", "ScriptedDownloader", "leaves_of"]

_NOWHERE: Final = Path("/nowhere")

Reaction: TypeAlias = Literal["leave", "return", "raise", "raise both", "crash"]
"""What a body does when it is cancelled, after its shield: let ``Cancelled`` through, swallow it and return a result or
raise an error, raise an error in a group with it, or raise what is no ``Exception``."""


class Left(enum.Enum):
    """How the body of a download was left; the values complete "its body …"."""

    RETURNED = "returned"
    RAISED = "raised"
    RAISED_BOTH = "raised, and was cancelled too"
    CRASHED = "raised what is no Exception"
    CANCELLED = "was cancelled"
    NEVER_BEGAN = "never began"


class PlannedError(OSError):
    """An error that a body was told to raise, or raised when it was cancelled."""


class PlannedCrash(BaseException):
    """No ``Exception``: with it a body ends the block of its manager."""


@final
class Gate:
    """What one download is told, over all its runs; a run of a resumed one goes on with what was said before.

    Attributes:
        resumable: a later run goes on from the bytes of an earlier one.
        received_bytes: what its bodies have reported, of the file that they are at.
        size_bytes: how long the file is, once that was known.
        shield_s: how long a cancelled body goes on, under its own shield.
        held_s: how long the last cancelled body did so.
        reaction: what a cancelled body does then.
        is_told_to_end: whether there is a verdict.
    """

    def __init__(self, *, resumable: bool = False) -> None:
        self.resumable = resumable
        self.received_bytes = 0
        self.size_bytes: int | None = None
        self.shield_s = 0.0
        self.held_s = 0.0
        self.reaction: Reaction = "leave"
        self._granted_bytes = 0
        self._calls: deque[Callable[[], Awaitable[object]]] = deque()
        self._verdict: BaseException | None = None
        self.is_told_to_end = False
        self._news = trio.Event()

    def grant(self, size_bytes: int) -> None:
        """Let so many more bytes arrive."""
        self._granted_bytes += size_bytes
        self._news.set()

    def call(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await *function* inside the body, as its own code would; what it raises the body raises."""
        self._calls.append(function)
        self._news.set()

    def finish(self) -> None:
        """Return a result.  The first verdict counts."""
        self._decide(None)

    def fail(self, error: BaseException) -> None:
        """Raise *error*, a crash if it is no ``Exception``.  The first verdict counts."""
        self._decide(error)

    def shield(self, seconds: float) -> None:
        """When cancelled, take so long to leave."""
        self.shield_s = seconds

    def _decide(self, verdict: BaseException | None) -> None:
        if not self.is_told_to_end:
            self.is_told_to_end = True
            self._verdict = verdict
            self._news.set()

    async def _follow(self, job: DownloadJob | None, report: Callable[[int], None]) -> None:
        if job is not None:
            if not job.can_resume:
                self.received_bytes = 0
            job.can_resume = self.resumable
            job.progress.begin(self.received_bytes)
        while True:
            granted, self._granted_bytes = self._granted_bytes, 0
            if granted:
                self.received_bytes += granted
                if job is not None:
                    job.progress.advance(granted)
                report(granted)
            if self._calls:
                await self._calls.popleft()()
            elif self.is_told_to_end:
                break
            else:
                self._news = trio.Event()
                await self._news.wait()
        if self._verdict is not None:
            raise self._verdict

    async def _hold_out(self) -> None:
        self.held_s = self.shield_s
        if self.held_s:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.held_s)


@final
class ScriptedDownloader:
    """Runs every download as its :class:`Gate` says.

    Attributes:
        bodies: the ids of the downloads whose body runs now, in the order in which the bodies began.
        peak: the most that ran at once.
        left: how the last body of each download was left.
        arrived_bytes: what all bodies together have reported.
        holding_out: ids of those that were cancelled and are under their own shield.
        crashes: what left a body and is neither an ``Exception`` nor ``Cancelled``.
        faults: what must never happen.
    """

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.peak = 0
        self.left: dict[str, Left] = {}
        self.arrived_bytes = 0
        self.holding_out: set[str] = set()
        self.crashes: list[BaseException] = []
        self.faults: list[str] = []
        self._gates: dict[str, Gate] = {}

    def gate(self, correlation_id: str) -> Gate:
        """Return what tells this download what to do, whether it is running or not."""
        gate = self._gates.get(correlation_id)
        if gate is None:
            gate = self._gates[correlation_id] = Gate()
        return gate

    def take_left(self, correlation_id: str) -> Left:
        """Return how the body of the run that has just ended was left, and forget it."""
        return self.left.pop(correlation_id, Left.NEVER_BEGAN)

    async def download(self, job: DownloadJob) -> DownloadResult:
        """Follow the gate."""
        gate = await self._run(job.correlation_id, job)
        return DownloadResult(path=_NOWHERE / job.correlation_id, size_bytes=gate.received_bytes)

    async def run(self, name: str) -> None:
        """Follow the gate, for a manager that has no ``DownloadJob`` to give."""
        await self._run(name, None)

    async def _run(self, name: str, job: DownloadJob | None) -> Gate:
        gate = self.gate(name)
        if name in self.bodies:
            self.faults.append(f"law 4: {name} was started while its body still ran")
        self.bodies.append(name)
        self.peak = max(self.peak, len(self.bodies))
        left = Left.RETURNED
        try:
            try:
                await gate._follow(job, self._count_bytes)
            except trio.Cancelled as cancelled:  # noqa: ASYNC103  (to swallow it is one of the things to be tried)
                self.holding_out.add(name)
                await gate._hold_out()  # noqa: ASYNC102  (it shields itself, for as long as the test says)
                self.holding_out.discard(name)
                left = Left.CANCELLED
                _react(gate.reaction, cancelled)
                left = Left.RETURNED
        except trio.Cancelled:
            raise
        except Exception:
            left = Left.RAISED
            raise
        except BaseException as exc:
            left = self._judge(exc)
            raise
        finally:
            self.bodies.remove(name)
            self.left[name] = left
        gate.size_bytes = gate.received_bytes
        return gate

    def _judge(self, exc: BaseException) -> Left:
        crashes = [leaf for leaf in leaves_of(exc) if not isinstance(leaf, (Exception, trio.Cancelled))]
        self.crashes += crashes
        return Left.CRASHED if crashes else Left.RAISED_BOTH

    def _count_bytes(self, size_bytes: int) -> None:
        self.arrived_bytes += size_bytes


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield what is not a group in *exc*, at any depth."""
    if isinstance(exc, BaseExceptionGroup):
        for member in cast("BaseExceptionGroup[BaseException]", exc).exceptions:
            yield from leaves_of(member)
    else:
        yield exc


def _react(reaction: Reaction, cancelled: trio.Cancelled) -> None:
    match reaction:
        case "leave":
            raise cancelled
        case "return":
            pass
        case "raise":
            raise PlannedError("raised when it was cancelled")
        case "raise both":
            raise BaseExceptionGroup("when it was cancelled", [PlannedError("an error of its own"), cancelled])
        case "crash":
            raise PlannedCrash("crashed when it was cancelled")

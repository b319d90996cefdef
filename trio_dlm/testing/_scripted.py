"""A downloader that does what a test tells it, download by download, and counts for itself.

Rules that hold here:

- each download has a gate; a body waits at its gate and does nothing by itself;
- what a body was told while it waits it does in one go, without a checkpoint: it reports the bytes, then ends if it
  was told to.  So a cancel that comes after the verdict comes too late, and one that comes before it wins;
- how a body left is written down by the body: whoever judges a manager must not have to ask it;
- what can only be the manager's fault is kept in :attr:`ScriptedDownloader.faults`, since an exception would fail the
  download instead of the test.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import trio

from .._records import DownloadResult
from ..downloaders._protocol import DownloadJob

__all__ = ["Gate", "Left", "ScriptedDownloader"]

_NOWHERE: Final = Path("/nowhere")


class Left(enum.Enum):
    """How the body of a download was left; the values complete "its body …"."""

    RETURNED = "returned"
    RAISED = "raised"
    CANCELLED = "was cancelled"
    NEVER_BEGAN = "never began"


@final
class Gate:
    """What one download is told, over all its runs; a run of a resumed one goes on with what was said before.

    Attributes:
        resumable: a later run goes on from the bytes of an earlier one.
        received_bytes: what its bodies have reported, of the file that they are at.
        size_bytes: how long the file is, once that was known.
        shield_s: how long a cancelled body goes on, under its own shield.
        held_s: how long the last cancelled body did so.
        is_told_to_end: whether there is a verdict.
    """

    def __init__(self, *, resumable: bool = False) -> None:
        self.resumable = resumable
        self.received_bytes = 0
        self.size_bytes: int | None = None
        self.shield_s = 0.0
        self.held_s = 0.0
        self._granted_bytes = 0
        self._verdict: Exception | None = None
        self.is_told_to_end = False
        self._news = trio.Event()

    def grant(self, size_bytes: int) -> None:
        """Let so many more bytes arrive."""
        self._granted_bytes += size_bytes
        self._news.set()

    def finish(self) -> None:
        """Return a result.  The first verdict counts."""
        self._decide(None)

    def fail(self, error: Exception) -> None:
        """Raise *error*.  The first verdict counts."""
        self._decide(error)

    def shield(self, seconds: float) -> None:
        """When cancelled, take so long to leave."""
        self.shield_s = seconds

    def _decide(self, verdict: Exception | None) -> None:
        if not self.is_told_to_end:
            self.is_told_to_end = True
            self._verdict = verdict
            self._news.set()

    async def _follow(self, job: DownloadJob, report: Callable[[int], None]) -> DownloadResult:
        if not job.can_resume:
            self.received_bytes = 0
        job.can_resume = self.resumable
        job.progress.begin(self.received_bytes)
        while True:
            granted, self._granted_bytes = self._granted_bytes, 0
            if granted:
                self.received_bytes += granted
                job.progress.advance(granted)
                report(granted)
            if self.is_told_to_end:
                break
            self._news = trio.Event()
            await self._news.wait()
        if self._verdict is not None:
            raise self._verdict
        self.size_bytes = self.received_bytes
        return DownloadResult(path=_NOWHERE / job.correlation_id, size_bytes=self.received_bytes)

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
        faults: what must never happen.
    """

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.peak = 0
        self.left: dict[str, Left] = {}
        self.arrived_bytes = 0
        self.holding_out: set[str] = set()
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
        name = job.correlation_id
        gate = self.gate(name)
        if name in self.bodies:
            self.faults.append(f"law 4: {name} was started while its body still ran")
        self.bodies.append(name)
        self.peak = max(self.peak, len(self.bodies))
        left = Left.RAISED
        try:
            result = await gate._follow(job, self._count_bytes)
            left = Left.RETURNED
            return result
        except trio.Cancelled:
            left = Left.CANCELLED
            self.holding_out.add(name)
            await gate._hold_out()
            self.holding_out.discard(name)
            raise
        finally:
            self.bodies.remove(name)
            self.left[name] = left

    def _count_bytes(self, size_bytes: int) -> None:
        self.arrived_bytes += size_bytes

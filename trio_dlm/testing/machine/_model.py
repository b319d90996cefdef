"""The reference: what a manager does in answer to each call, without tasks, clock or limits of memory.

Rules that hold here:

- nothing is shared with the manager but the names of the six statuses: the order, the turns, the table of steps and
  the table of outcomes are written down once more, as plainly as possible;
- a call on the model says what is asked of the manager, and puts down the changes of status that must follow in the
  very same step, in order; :meth:`Model.observe` takes what really happened;
- only the end of a run comes by itself; then the way in which its body was left decides the status, and the model goes
  on from there.  So whoever wins a race, everything that follows is known;
- what does not fit is a :class:`LawBrokenError` that names the law.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, TypeAlias, final

from ..._status import DownloadStatus
from .._errors import LawBrokenError, require
from .._scripted import Left

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "DOWNLOADING",
    "FAILED",
    "FINAL",
    "PAUSED",
    "PENDING",
    "Entry",
    "Model",
]

Name: TypeAlias = str
Change: TypeAlias = tuple[Name, DownloadStatus]

PENDING: Final = DownloadStatus.PENDING
DOWNLOADING: Final = DownloadStatus.DOWNLOADING
PAUSED: Final = DownloadStatus.PAUSED
COMPLETED: Final = DownloadStatus.COMPLETED
FAILED: Final = DownloadStatus.FAILED
CANCELLED: Final = DownloadStatus.CANCELLED

FINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED})

# Law 4; a final status has no way out.
_STEPS: Final[dict[DownloadStatus, set[DownloadStatus]]] = {
    PENDING: {DOWNLOADING, PAUSED, CANCELLED},
    DOWNLOADING: {COMPLETED, FAILED, CANCELLED, PAUSED},
    PAUSED: {PENDING, CANCELLED},
}

# Which law speaks about a change that is wrong or missing.
_LAWS: Final = {PENDING: "admission", DOWNLOADING: "law 2 or 3"}


@final
@dataclass(slots=True)
class Entry:
    """One download, as the model knows it.

    Attributes:
        asked: the status that was asked of the present run: PAUSED, CANCELLED or nothing.
    """

    lane: Hashable
    status: DownloadStatus
    asked: DownloadStatus | None = None


@final
class Model:
    """A manager as it should be.

    Attributes:
        downloads: every download that was ever queued, in the order in which that happened first.
        line: those whose submit waits for room, and the lanes that they want.
        limit: how many may run at once.
        highest_limit: the highest that it ever was.
        closed: the block is being left; nothing new comes in.
        is_cut_off: what surrounds the block was cancelled.
    """

    def __init__(self, *, limit: float, per_lane: float = math.inf, max_pending: float = math.inf) -> None:
        self.downloads: dict[Name, Entry] = {}
        self.line: dict[Name, Hashable] = {}
        self.limit = self.highest_limit = limit
        self.closed = False
        self.is_cut_off = False
        self._per_lane = per_lane
        self._own_limits: dict[Hashable, float] = {}
        self._max_pending = max_pending
        self._queues: dict[Hashable, list[Name]] = {}
        self._round: list[Hashable] = []
        self._due: deque[Change] = deque()
        # Queued ones that the end of the block cancels, in whatever order.
        self._doomed: set[Name] = set()
        self._halted = False

    # Looking.

    def names(self, *statuses: DownloadStatus) -> list[Name]:
        """Return the downloads that have one of these statuses, in the order in which they were first queued."""
        return [name for name, entry in self.downloads.items() if entry.status in statuses]

    def count(self, status: DownloadStatus) -> int:
        """Return how many have this status."""
        return len(self.names(status))

    def status(self, name: Name) -> DownloadStatus | None:
        """Return the status of a download; None if it has not been queued."""
        entry = self.downloads.get(name)
        return None if entry is None else entry.status

    @property
    def has_room(self) -> bool:
        """Whether a submit is taken in at once."""
        return not self.line and self.count(PENDING) < self._max_pending

    def limit_of(self, lane: Hashable) -> float:
        """Return how many of *lane* may run at once."""
        return self._own_limits.get(lane, self._per_lane)

    def running_in(self, lane: Hashable) -> int:
        """Return how many of *lane* hold a slot."""
        return sum(entry.status is DOWNLOADING and entry.lane == lane for entry in self.downloads.values())

    def pending_in(self, lane: Hashable) -> int:
        """Return how many of *lane* are queued."""
        return len(self._queues.get(lane, ()))

    @property
    def may_start(self) -> Name | None:
        """Return who starts next, if anybody may start now."""
        if self.count(DOWNLOADING) < self.limit:
            for lane in self._round:
                if self.running_in(lane) < self.limit_of(lane):
                    return self._queues[lane][0]
        return None

    # What is asked.

    def submit(self, name: Name, lane: Hashable) -> None:
        """Queue a new download, or let it stand in line."""
        if self.has_room and not self.is_cut_off:
            self._queue(name, lane)
            self._step()
        else:
            self.line[name] = lane

    def give_up(self, name: Name) -> None:
        """The submit of *name* is cancelled: it leaves the line, if it is in there."""
        self.line.pop(name, None)

    def cancel(self, name: Name) -> None:
        """Cancel a download: one that waits ends here and now, one that runs is asked to."""
        entry = self.downloads[name]
        if entry.status is DOWNLOADING:
            entry.asked = CANCELLED
        elif entry.status not in FINAL and not self.is_cut_off:
            self._withdraw(name, CANCELLED)

    def pause(self, name: Name) -> None:
        """Pause a download: one that waits leaves its queue, one that runs is asked to stop, unless to cancel.

        When the block is being left nothing could resume it, so it is cancelled.
        """
        entry = self.downloads[name]
        if self.closed:
            self.cancel(name)
        elif entry.status is DOWNLOADING:
            entry.asked = entry.asked or PAUSED
        elif entry.status is PENDING and not self.is_cut_off:
            self._withdraw(name, PAUSED)

    def resume(self, name: Name) -> bool:
        """Queue a paused download at the tail of its lane; False if it is not paused."""
        entry = self.downloads[name]
        if entry.status is not PAUSED:
            return False
        self._queue(name, entry.lane)
        self._step()
        return True

    def set_limit(self, limit: float) -> None:
        """Change how many may run at once."""
        self.limit = limit
        self.highest_limit = max(self.highest_limit, limit)
        self._step()

    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Give a lane a limit of its own, or take it away again."""
        if limit is None:
            self._own_limits.pop(lane, None)
        else:
            self._own_limits[lane] = limit
        self._step()

    def set_per_lane(self, limit: float) -> None:
        """Change the limit of the lanes that have none of their own."""
        self._per_lane = limit
        self._step()

    def close(self, *, cancel: bool) -> None:
        """The block is left: the paused are cancelled, the others go on, or are cancelled too."""
        self.closed = True
        self._halted = cancel
        self.line.clear()
        self._doomed = {*self.names(PAUSED, PENDING)} if cancel else {*self.names(PAUSED)}
        for entry in self.downloads.values():
            if entry.status is DOWNLOADING and (cancel or entry.asked is PAUSED):
                entry.asked = CANCELLED

    def cut_off(self) -> None:
        """What surrounds the block is cancelled.

        Who hears of it first, the block or one of the downloads, is open; from here on only the tables and the limits
        count.
        """
        self.is_cut_off = True

    # What happens.

    def observe(self, name: Name, status: DownloadStatus, left: Left) -> None:
        """*name* has become *status*; if this is the end of a run, its body was *left* like that.

        Raises:
            LawBrokenError: it should not have.
        """
        if self._due:
            due = self._due.popleft()
            require(due == (name, status), f"{_law_on(due)}: {_said((name, status))}, expected that {_said(due)}")
            return
        if self.is_cut_off:
            self._observe_loosely(name, status, left)
        elif name in self._doomed and status is CANCELLED:
            self._doomed.discard(name)
            self._become(name, CANCELLED)
        else:
            require(
                self.status(name) is DOWNLOADING and status in _STEPS[DOWNLOADING],
                f"{_law_on((name, status))}: {_said((name, status))}, though nothing called for it",
            )
            self._end_run(name, status, left)
            self._step()

    def check_nothing_is_due(self) -> None:
        """Look whether all has happened that had to.

        Raises:
            LawBrokenError: it has not.
        """
        if self._due:
            due = self._due[0]
            raise LawBrokenError(f"{_law_on(due)}: it should have happened in this step that {_said(due)}")

    def check_all_ended(self) -> None:
        """Look whether nothing is left open now that the block has been left (law 1)."""
        # Whoever was not admitted by now was turned away.
        self.line.clear()
        self.check_nothing_is_due()
        open_ones = self.names(PENDING, DOWNLOADING, PAUSED)
        require(not open_ones, f"law 1: the block was left and these have not ended: {', '.join(open_ones)}")

    # How it goes on.

    def _queue(self, name: Name, lane: Hashable) -> None:
        if name in self.downloads:
            self._become(name, PENDING)
        else:
            self.downloads[name] = Entry(lane, PENDING)
        self._enter_queue(name)
        self._due.append((name, PENDING))

    def _enter_queue(self, name: Name) -> None:
        lane = self.downloads[name].lane
        self._queues.setdefault(lane, []).append(name)
        if lane not in self._round:
            self._round.append(lane)

    def _withdraw(self, name: Name, status: DownloadStatus) -> None:
        self._become(name, status)
        self._due.append((name, status))
        self._step()

    def _step(self) -> None:
        while not self._halted:
            if (name := self.may_start) is not None:
                self._become(name, DOWNLOADING)
                self._due.append((name, DOWNLOADING))
                # A lane that has started one goes to the end of the round.
                if (lane := self.downloads[name].lane) in self._round:
                    self._round.remove(lane)
                    self._round.append(lane)
            elif self.line and self.count(PENDING) < self._max_pending:
                name = next(iter(self.line))
                self._queue(name, self.line.pop(name))
            else:
                return

    def _end_run(self, name: Name, status: DownloadStatus, left: Left) -> None:
        entry = self.downloads[name]
        allowed: set[DownloadStatus | None] = {entry.asked}
        if left is Left.RETURNED:
            allowed = {COMPLETED}
        elif left is Left.RAISED:
            allowed = {FAILED}
        elif self.is_cut_off:
            allowed.add(CANCELLED)
        asked = "nothing" if entry.asked is None else f"to be {entry.asked.value}"
        require(
            status in allowed,
            f"the outcome table: {_said((name, status))}, though its body {left.value}, and {asked} was asked of it",
        )
        self._become(name, status)

    def _observe_loosely(self, name: Name, status: DownloadStatus, left: Left) -> None:
        entry = self.downloads.get(name)
        if entry is None:
            known = name in self.line and status is PENDING
            require(known, f"admission: {_said((name, status))}, and nobody submitted it")
            self.downloads[name] = Entry(self.line.pop(name), PENDING)
            self._enter_queue(name)
        elif entry.status is DOWNLOADING:
            self._end_run(name, status, left)
        else:
            if status is DOWNLOADING:
                require(self.count(DOWNLOADING) < self.limit, f"law 2: {name} was started above the limit")
            self._become(name, status)

    def _become(self, name: Name, status: DownloadStatus) -> None:
        entry = self.downloads[name]
        legal = status in _STEPS.get(entry.status, ())
        require(legal, f"law 4: {name} went from {entry.status.value} to {status.value}")
        if entry.status is PENDING:
            queue = self._queues[entry.lane]
            queue.remove(name)
            if not queue:
                self._round.remove(entry.lane)
        entry.status = status
        entry.asked = None


def _said(change: Change) -> str:
    name, status = change
    return f"{name} became {status.value}"


def _law_on(change: Change) -> str:
    return _LAWS.get(change[1], "law 4 or 5")

"""The reference: what a manager does in answer to each call, without tasks, clock or limits of memory.

Rules that hold here:

- nothing is shared with the manager but the names of the six statuses: the order, the turns, the table of steps and
  the table of outcomes are written down once more, as plainly as possible;
- a call on the model says what is asked of the manager, and puts down the changes of status that must follow in the
  very same step, in order; :meth:`Model.observe` takes what really happened;
- only the end of a run comes by itself; then the way in which its body was left decides the status, and the model goes
  on from there.  So whoever wins a race, everything that follows is known;
- where it is open *when* something happens (the end of the block cancels one after the other, a batch comes in as
  there is room), it is not due but allowed, and whether it was left out shows at rest;
- what does not fit is a :class:`LawBrokenError` that names the law.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

from ..._records import TaskSnapshot
from ..._status import DownloadStatus
from .._errors import LawBrokenError, require
from .._scripted import Left
from ._replay import check_events
from ._table import CANCELLED, COMPLETED, DOWNLOADING, FAILED, FINAL, PAUSED, PENDING, STEPS

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "DOWNLOADING",
    "FAILED",
    "FINAL",
    "PAUSED",
    "PENDING",
    "STEPS",
    "UNKNOWN",
    "Entry",
    "Model",
]

Name: TypeAlias = str
Change: TypeAlias = tuple[Name, DownloadStatus]

# Which law speaks about a change that is wrong or missing.
_LAWS: Final = {PENDING: "admission", DOWNLOADING: "law 2 or 3"}

_UNCALLED: Final = "though nothing called for it"

UNKNOWN: Final = object()
"""A reason that is not known, since somebody else may have been first, or the words are the manager's."""

# The ends of a run that go on out of it when what surrounds the block was cancelled.
_HEARS: Final = {Left.CANCELLED, Left.NEVER_BEGAN, Left.RAISED_BOTH}


@final
@dataclass(slots=True)
class Entry:
    """One download, as the model knows it.

    Attributes:
        asked: the status that was asked of the present run: PAUSED, CANCELLED or nothing.
        reason: what whoever cancelled it first has said, which may be None; or UNKNOWN.
        after_crash: what it may become if it is in flight when another one crashes.
    """

    lane: Hashable
    status: DownloadStatus
    asked: DownloadStatus | None = None
    reason: object = UNKNOWN
    after_crash: set[DownloadStatus] = field(default_factory=lambda: {FAILED})


@final
class Model:
    """A manager as it should be.

    Attributes:
        downloads: every download that was ever queued, in the order in which that happened first.
        line: those whose submit waits for room, and the lanes that they want.
        coming: those of batches that are being queued whose turn has not come, and their lanes.
        limit: how many may run at once.
        highest_limit: the highest that it ever was.
        closed: the block is being left; nothing new comes in.
        is_cut_off: what surrounds the block was cancelled.
        has_crashed: something that is no ``Exception`` came out of a body.
        uncollected: failures that nobody has asked for.
    """

    def __init__(self, *, limit: float, per_lane: float = math.inf, max_pending: float = math.inf) -> None:
        self.downloads: dict[Name, Entry] = {}
        self.line: dict[Name, Hashable] = {}
        self.coming: dict[Name, Hashable] = {}
        self.limit = self.highest_limit = limit
        self.closed = False
        self.is_cut_off = False
        self.has_crashed = False
        self.uncollected: dict[Name, None] = {}
        self._per_lane = per_lane
        self._own_limits: dict[Hashable, float] = {}
        self._max_pending = max_pending
        self._queues: dict[Hashable, list[Name]] = {}
        self._round: list[Hashable] = []
        self._due: deque[Change] = deque()
        # Those that the end of the block is about to cancel, and those that a caller who was cancelled is.
        self._doomed: set[Name] = set()
        self._threatened: set[Name] = set()
        self._batches: list[tuple[Name, ...]] = []
        self._askers: Counter[Name] = Counter()
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
        return not self.line and self.room > 0

    @property
    def room(self) -> float:
        """How many more may be queued now."""
        return self._max_pending - self.count(PENDING)

    @property
    def overdue(self) -> list[Name]:
        """Return who should have been let in or cancelled by now, if nothing can happen any more by itself."""
        left_out = [*self.line, *self.coming] if self.room > 0 and not self._halted else []
        doomed = self._doomed | self._threatened
        return [*left_out, *sorted(name for name in doomed if self.status(name) not in FINAL | {DOWNLOADING})]

    def is_to_stop(self, name: Name) -> bool:
        """Whether the present run of *name* was asked to stop, or is about to be."""
        return self.downloads[name].asked is not None or self._is_doomed(name)

    def is_to_stop_for_good(self, name: Name) -> bool:
        """Whether the present run of *name* was cancelled, or is about to be."""
        return self.downloads[name].asked is CANCELLED or self._is_doomed(name)

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
        if self.has_room:
            self._queue(name, lane)
            self._step()
        else:
            self.line[name] = lane

    def submit_many(self, lanes: Mapping[Name, Hashable]) -> None:
        """Let a batch come in, in this order: what there is room for at once, the others as there is room."""
        self.coming |= lanes
        self._batches.append(tuple(lanes))

    def give_up(self, name: Name) -> None:
        """The submit of *name* is cancelled: it leaves the line, if it is in there."""
        self.line.pop(name, None)

    def doom(self, names: Iterable[Name]) -> None:
        """These are cancelled by somebody from now on, one after the other."""
        self._threatened.update(self._open_ones(names))

    def spare(self, names: Iterable[Name]) -> None:
        """Somebody does not cancel these after all."""
        self._threatened.difference_update(names)

    def cancel(self, name: Name, reason: object = UNKNOWN) -> None:
        """Cancel a download: one that waits ends here and now, one that runs is asked to.

        Whoever does so first is the one whose *reason* stays.
        """
        status = self.status(name)
        if status is DOWNLOADING:
            entry = self.downloads[name]
            # Somebody who is about to cancel it may have done so already, which does not show.
            if not (self.is_to_stop_for_good(name) or self._is_unsure):
                entry.reason = reason
            self._ask_to_end(entry, is_wanted=True)
        elif status is None:
            self.downloads[name] = Entry(self.coming.pop(name), CANCELLED, reason=reason)
            self._due.append((name, CANCELLED))
            self._step()
        elif status not in FINAL:
            self.downloads[name].reason = reason
            self._withdraw(name, CANCELLED)

    def pause(self, name: Name) -> None:
        """Pause a download: one that waits leaves its queue, one that runs is asked to stop, unless to cancel.

        When the block is being left nothing could resume it, so it is cancelled.
        """
        entry = self.downloads[name]
        if entry.status is DOWNLOADING:
            if self.closed:
                self._ask_to_end(entry, is_wanted=False)
            else:
                entry.asked = entry.asked or PAUSED
        elif self.closed:
            self.cancel(name)
        elif entry.status is PENDING:
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
        self._halted = self._halted or cancel
        self.line.clear()
        # A batch that is still coming in is turned away as one, and cancels what was queued of it.
        for batch in self._batches:
            if not self.coming.keys().isdisjoint(batch):
                self._doomed.update(self._open_ones(batch))
        self._doomed.update(self.names(PAUSED, PENDING) if self._halted else self.names(PAUSED))
        for entry in self.downloads.values():
            if entry.status is DOWNLOADING and (self._halted or entry.asked is PAUSED):
                self._ask_to_end(entry, is_wanted=False)

    def cut_off(self) -> None:
        """What surrounds the block is cancelled.

        Who hears of it first, the block or one of the downloads, is open.  Until the first of them shows it nothing
        need be started any more, though it may.
        """
        self.is_cut_off = True

    # Who asked how it ended (law 10).

    def ask(self, name: Name) -> None:
        """Somebody waits to learn how *name* ends, from now on."""
        self._askers[name] += 1

    def unask(self, name: Name) -> None:
        """One of those does not wait any more; without effect if it was told already."""
        self._askers[name] -= 1

    def collect(self, name: Name) -> None:
        """Somebody was told how *name* ended."""
        self.uncollected.pop(name, None)

    # What happens.

    def observe(self, name: Name, status: DownloadStatus, left: Left) -> None:
        """*name* has become *status*; if this is the end of a run, its body was *left* like that.

        Raises:
            LawBrokenError: it should not have.
        """
        change = (name, status)
        if self._due:
            due = self._due.popleft()
            require(due == change, f"{_law_on(due)}: {_said(change)}, expected that {_said(due)}")
            return
        before = self.status(name)
        if before is DOWNLOADING and status in STEPS[DOWNLOADING]:
            self._end_run(name, status, left)
        else:
            require(self._is_allowed(name, before, status), f"{_law_on(change)}: {_said(change)}, {_UNCALLED}")
            if before is None:
                lane = self.coming.pop(name) if name in self.coming else self.line.pop(name)
                self.downloads[name] = Entry(lane, status)
                if status is PENDING:
                    self._enter_queue(name)
            elif status is DOWNLOADING:
                self._start(name)
            else:
                self._become(name, status)
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
        open_ones = [*self.coming, *self.names(PENDING, DOWNLOADING, PAUSED)]
        require(not open_ones, f"law 1: the block was left and these have not ended: {', '.join(open_ones)}")

    @staticmethod
    def check_events(
        events: Iterable[tuple[Name, DownloadStatus] | TaskSnapshot], *, limit: float | None = None
    ) -> int:
        """Look for broken laws in the log of a manager that no model was there to watch.

        Short for :func:`trio_dlm.testing.check_events`, which says what can be known from a log.
        """
        return check_events(events, limit=limit)

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
        while not (self._halted or self._is_unsure):
            if (name := self.may_start) is not None:
                self._start(name)
                self._due.append((name, DOWNLOADING))
            elif self.line and self.room > 0 and not self.coming:
                name = next(iter(self.line))
                self._queue(name, self.line.pop(name))
            else:
                return

    def _start(self, name: Name) -> None:
        self._become(name, DOWNLOADING)
        # A lane that has started one goes to the end of the round.
        if (lane := self.downloads[name].lane) in self._round:
            self._round.remove(lane)
            self._round.append(lane)

    def _ask_to_end(self, entry: Entry, *, is_wanted: bool) -> None:
        if entry.asked is not CANCELLED:
            entry.asked = CANCELLED
            entry.after_crash = {CANCELLED} if is_wanted else {FAILED}
        elif is_wanted and entry.after_crash == {FAILED}:
            # Whether the end of the block got there first is open.
            entry.after_crash = {FAILED, CANCELLED}

    def _open_ones(self, names: Iterable[Name]) -> list[Name]:
        known = self.downloads.keys() | self.coming
        return [name for name in names if name in known and self.status(name) not in FINAL]

    def _is_doomed(self, name: Name) -> bool:
        return name in self._doomed or name in self._threatened

    @property
    def _is_unsure(self) -> bool:
        return self.is_cut_off and not self._halted

    def _is_allowed(self, name: Name, before: DownloadStatus | None, after: DownloadStatus) -> bool:
        """Whether what was not due may happen all the same."""
        if after is CANCELLED and before in {PENDING, PAUSED} and self._is_unsure:
            # This is how the block shows that it has heard.
            self.close(cancel=True)
        if after is CANCELLED and before in {None, PENDING, PAUSED}:
            return self._is_doomed(name)
        if after is PENDING and before is None and self.room > 0:
            # The first of the line, or of a batch: where a batch stands in the line is not known.
            firsts = [next((name for name in batch if name in self.coming), None) for batch in self._batches]
            return name in firsts or ((self._is_unsure or bool(self.coming)) and name == next(iter(self.line), None))
        return after is DOWNLOADING and before is PENDING and self._is_unsure and name == self.may_start

    def _end_run(self, name: Name, status: DownloadStatus, left: Left) -> None:
        entry = self.downloads[name]
        if left is Left.CRASHED:
            self.has_crashed = True
        if left is Left.CRASHED or (self._is_unsure and left in _HEARS):
            self.close(cancel=True)
        allowed: set[DownloadStatus | None]
        if left is Left.RETURNED:
            allowed = {COMPLETED}
        elif left in {Left.RAISED, Left.RAISED_BOTH, Left.CRASHED}:
            allowed = {FAILED}
        else:
            allowed = {*entry.after_crash} if self.has_crashed else {entry.asked}
            if self._is_doomed(name) or (self.is_cut_off and not self.has_crashed):
                allowed.add(CANCELLED)
        asked = "nothing" if entry.asked is None else f"to be {entry.asked.value}"
        require(
            status in allowed,
            f"the outcome table: {_said((name, status))}, though its body {left.value}, and {asked} was asked of it",
        )
        self._become(name, status)

    def _become(self, name: Name, status: DownloadStatus) -> None:
        entry = self.downloads[name]
        legal = status in STEPS.get(entry.status, ())
        require(legal, f"law 4: {name} went from {entry.status.value} to {status.value}")
        if entry.status is PENDING:
            queue = self._queues[entry.lane]
            queue.remove(name)
            if not queue:
                self._round.remove(entry.lane)
        entry.status = status
        entry.asked = None
        if status is FAILED and self._askers[name] <= 0:
            self.uncollected[name] = None


def _said(change: Change) -> str:
    name, status = change
    return f"{name} became {status.value}"


def _law_on(change: Change) -> str:
    return _LAWS.get(change[1], "law 4 or 5")

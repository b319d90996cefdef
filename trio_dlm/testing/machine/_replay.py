"""The laws on a log: what a manager has done, judged afterwards and without it.

Rules that hold here:

- a log says what happened and not what was asked, so only what must never happen is looked for: that something should
  have started, or should have been cancelled, is for the model to say, which is told of every call;
- a limit may have been changed and a lane may have been full, so nobody is blamed for waiting;
- snapshots come out of a stream that leaves changes out.  Such a stream may show two downloads at work that never met,
  so of snapshots only what survives the leaving out is looked at.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Hashable, Iterable
from typing import Final, final

from ..._records import TaskSnapshot
from ..._status import DownloadStatus
from .._errors import require
from ._table import CANCELLED, DOWNLOADING, FINAL, PAUSED, PENDING, STEPS

__all__ = ["check_events", "parse_log"]

# One that is queued as part of a batch is PENDING before its turn comes to be told of.
_FIRST: Final = {PENDING, PAUSED, CANCELLED}

_END: Final = rf" is (?P<status>{'|'.join(status.value for status in DownloadStatus)})(?: \(\w+\))?\s*$"
_END_OF_LINE: Final = re.compile(_END)
_LINE: Final = re.compile(rf"\bdownload (?P<id>\S+) of .+{_END}")


def check_events(
    events: Iterable[tuple[str, DownloadStatus] | TaskSnapshot],
    *,
    limit: float | None = None,
    lane_of: Callable[[str], Hashable] | None = None,
    all_ended: bool = False,
) -> int:
    """Look for broken laws in what one manager did, from the opening of its block on.

    Pairs of an id and a status stand for every change that there was, in its order: a download begins queued and goes
    from status to status along the table, and ends once (law 4); no more run than *limit* allows (law 2); within a
    lane they start in the order in which they were queued (law 3).  A status other than a final one may be repeated,
    and a repeated PENDING is a new place in the queue.

    What ``manager.events()`` gave is conflated: a reader is given the latest state of a download, in the order in which
    the changes first happened.  Of these snapshots only the end (law 4), the figures that rise, and the
    facts that stay are looked at.  Order and limit take a log; :func:`parse_log` reads the library's.

    Args:
        events: pairs, or snapshots, not both.
        limit: the highest that ``max_concurrent`` ever was; None means that it is not known.
        lane_of: tells the lane of an id; None means that all were in one lane.  Snapshots know theirs.
        all_ended: whether the log goes to the end of the block, so that everything must have ended (law 1).

    Returns:
        How many downloads there were.

    Raises:
        LawBrokenError: a law was broken; the message says which, by whom, and at which event.
        TypeError: *events* has pairs and snapshots, or something else.
        ValueError: *limit* or *lane_of* was passed with snapshots.
    """
    seen: _Log | _Stream | None = None
    for number, event in enumerate(events):
        kind = _Stream if isinstance(event, TaskSnapshot) else _Log
        if seen is None:
            if kind is _Stream and (limit is not None or lane_of is not None):
                raise ValueError(
                    "a stream of snapshots leaves changes out, so it cannot be held against a limit or an order: "
                    "pass pairs of id and status, such as parse_log() gives"
                )
            seen = _Stream() if kind is _Stream else _Log(limit, lane_of)
        if not isinstance(seen, kind):
            raise TypeError("events are pairs or snapshots, got both")
        at = f" (event {number})"
        if isinstance(event, TaskSnapshot):
            assert isinstance(seen, _Stream)
            seen.take(event, at)
        else:
            assert isinstance(seen, _Log)
            seen.take(*_as_pair(event), at)
    present = {} if seen is None else seen.present
    if all_ended:
        left = [name for name, status in present.items() if status not in FINAL]
        require(not left, f"law 1: the log has ended, and these have not: {', '.join(left)}")
    return len(present)


def parse_log(lines: Iterable[logging.LogRecord | str]) -> Generator[tuple[str, DownloadStatus]]:
    """Find the changes of status in what the library logs at DEBUG, for :func:`check_events`.

    Args:
        lines: records, or the lines of a log file, whatever is in front of the message.  Others are skipped.  A line
            is not recognised if the id has blanks in it; a record is.
    """
    for line in lines:
        if isinstance(line, str):
            if (found := _LINE.search(line)) is not None:
                yield found["id"], DownloadStatus(found["status"])
        elif line.name == "trio_dlm" and line.levelno == logging.DEBUG:
            correlation_id: object = getattr(line, "correlation_id", None)
            message = line.getMessage()
            if (
                isinstance(correlation_id, str)
                and message.startswith(f"download {correlation_id} of ")
                and (found := _END_OF_LINE.search(message)) is not None
            ):
                yield correlation_id, DownloadStatus(found["status"])


@final
class _Log:
    """Every change there was."""

    def __init__(self, limit: float | None, lane_of: Callable[[str], Hashable] | None) -> None:
        self.present: dict[str, DownloadStatus] = {}
        self._limit = limit
        self._lane_of = lane_of
        self._queues: dict[Hashable, list[str]] = {}
        self._running = 0

    def take(self, name: str, status: DownloadStatus, at: str) -> None:
        before = self.present.get(name)
        if before is None:
            require(status in _FIRST, f"law 4: {name} became {status.value}, and was never queued{at}")
        elif status is before and status not in FINAL:
            if status is PENDING:
                self._leave_queue(name)
                self._queue_of(name).append(name)
            return
        else:
            legal = status in STEPS.get(before, ())
            require(legal, f"law 4: {name} went from {before.value} to {status.value}{at}")
        if status is DOWNLOADING:
            head = self._queue_of(name)[0]
            require(head == name, f"law 3: {name} was started, and {head} was queued before it{at}")
            self._running += 1
            limit = self._limit
            within = limit is None or self._running <= limit
            require(within, f"law 2: {name} was started as number {self._running}, and the limit is {limit}{at}")
        if before is PENDING:
            self._leave_queue(name)
        self._running -= before is DOWNLOADING
        self.present[name] = status
        if status is PENDING:
            self._queue_of(name).append(name)

    def _queue_of(self, name: str) -> list[str]:
        lane = None if self._lane_of is None else self._lane_of(name)
        return self._queues.setdefault(lane, [])

    def _leave_queue(self, name: str) -> None:
        self._queue_of(name).remove(name)


@final
class _Stream:
    """The latest of each download, as often as a reader came for it."""

    def __init__(self) -> None:
        self._latest: dict[str, TaskSnapshot] = {}

    @property
    def present(self) -> dict[str, DownloadStatus]:
        return {name: snapshot.status for name, snapshot in self._latest.items()}

    def take(self, snapshot: TaskSnapshot, at: str) -> None:
        name = snapshot.correlation_id
        has_run = snapshot.status not in {DOWNLOADING, DownloadStatus.COMPLETED} or snapshot.attempts > 0
        require(has_run, f"law 4: {name} is {snapshot.status.value}, and was never started{at}")
        if (before := self._latest.get(name)) is not None:
            ended = before.status in FINAL
            require(not ended, f"law 4: {name} was {before.status.value}, and is {snapshot.status.value}{at}")
            rises = before.sequence < snapshot.sequence
            require(rises, f"A6: {name} was delivered again, and its sequence has not risen{at}")
            require(before.attempts <= snapshot.attempts, f"A6: {name} has fewer attempts than before{at}")
            facts = [(each.url, each.lane, each.parent_id, each.retry_of) for each in (before, snapshot)]
            require(facts[0] == facts[1], f"A6: {name} was {facts[0]}, and is {facts[1]}{at}")
        self._latest[name] = snapshot


def _as_pair(event: object) -> tuple[str, DownloadStatus]:
    match event:
        case (str() as name, DownloadStatus() as status):
            return name, status
        case _:
            raise TypeError(f"an event is a TaskSnapshot or a pair of an id and a DownloadStatus, got {event!r}")

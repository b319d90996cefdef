"""Who starts next: the lanes, their queues, the round that they take turns in, and the slots.

Rules that hold here:

- laws 2 and 3 are decided in one place, :meth:`Schedule.grant`, and nothing in this file ever awaits, so nothing can
  come between a decision and the state that it leads to;
- slots are borrowed on behalf of the download, never of a task: a granted slot and the status DOWNLOADING are one fact;
- a lane in the round has a turn; the lowest turn that may start goes first.  A lane takes a new turn, behind all
  others, when it gets its first entry and again each time that it has started one.  A lane at its limit keeps its
  turn;
- an entry of a queue is a ticket.  A withdrawn ticket is void and points at nothing, so that it cannot keep an ended
  download alive; void ones are skipped, and swept out once they outnumber the others by two to one;
- who asks for what, what a status is, and what runs is not known here.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Final, final

import trio

from ._records import LaneStats

if TYPE_CHECKING:
    from ._download import Download

__all__ = ["Schedule", "Ticket", "check_limit"]

# Below this many void entries a sweep costs more than it saves.
_FEW: Final = 16


def check_limit(name: str, limit: object, *, least: int = 0) -> float:
    """Return *limit* if it is an int from *least* up, or ``math.inf``.

    Raises:
        TypeError: not an int.
        ValueError: too low.
    """
    if isinstance(limit, bool) or not (isinstance(limit, int) or (isinstance(limit, float) and limit == math.inf)):
        raise TypeError(f"{name} is an int or math.inf, got {limit!r}")
    if limit < least:
        raise ValueError(f"{name} is {least} or more, got {limit}")
    return limit


@final
class Ticket:
    """A place in a lane's queue; void once ``download`` is None."""

    __slots__ = ("download",)

    def __init__(self, download: Download) -> None:
        self.download: Download | None = download


@final
class _Lane:
    """A queue with, possibly, a limit of its own.

    Attributes:
        queued: live tickets in the queue.
        void: void tickets in it.
        running: downloads of this lane that hold a slot.
        turn: its place in the round, None while nothing is queued.
        waits: it came up at its limit, and is kept out of the heap until it may start.
    """

    __slots__ = ("limiter", "queued", "receive", "running", "send", "turn", "void", "waits")

    def __init__(self, limit: float) -> None:
        self.send, self.receive = trio.open_memory_channel[Ticket](math.inf)
        self.limiter = None if limit == math.inf else trio.CapacityLimiter(limit)
        self.queued = 0
        self.void = 0
        self.running: set[Download] = set()
        self.turn: int | None = None
        self.waits = False

    @property
    def may_start(self) -> bool:
        return self.limiter is None or self.limiter.available_tokens > 0

    def put(self, download: Download) -> Ticket:
        ticket = Ticket(download)
        self.send.send_nowait(ticket)
        self.queued += 1
        return ticket

    def take(self) -> Download:
        while (download := self.receive.receive_nowait().download) is None:
            self.void -= 1
        self.queued -= 1
        return download

    def withdraw(self, ticket: Ticket) -> None:
        ticket.download = None
        self.queued -= 1
        self.void += 1

    def sweep(self) -> None:
        """Throw the void tickets out, if they are many."""
        if self.void > 2 * self.queued + _FEW:
            for _ in range(self.queued + self.void):
                kept = self.receive.receive_nowait()
                if kept.download is not None:
                    self.send.send_nowait(kept)
            self.void = 0

    def limit_to(self, limit: float) -> None:
        if limit == math.inf:
            self.limiter = None
        else:
            # The downloads that run already count, however low the limit is: lowering interrupts nobody.
            self.limiter = trio.CapacityLimiter(math.inf)
            for download in self.running:
                self.limiter.acquire_on_behalf_of_nowait(download)
            self.limiter.total_tokens = limit

    def close(self) -> None:
        self.send.close()
        self.receive.close()


@final
class Schedule:
    """The queues and the slots of one manager."""

    def __init__(self, *, max_concurrent: float, max_per_lane: float) -> None:
        self._slots = trio.CapacityLimiter(max_concurrent)
        self._max_per_lane = max_per_lane
        self._own_limits: dict[Hashable, float] = {}
        self._lanes: dict[Hashable, _Lane] = {}
        # Lanes that have something queued, lowest turn first.  An entry whose turn is not its lane's any more is stale.
        self._round: list[tuple[int, _Lane]] = []
        self._turns = itertools.count()
        self._halted = False
        self.pending = 0
        """How many are queued."""

    @property
    def active(self) -> int:
        """How many hold a slot."""
        return self._slots.borrowed_tokens

    @property
    def running(self) -> list[Download]:
        """Those that hold a slot."""
        return [download for lane in self._lanes.values() for download in lane.running]

    def put(self, download: Download) -> None:
        """Queue *download* at the tail of its lane."""
        lane = self._lanes.get(download.lane)
        if lane is None:
            lane = self._lanes[download.lane] = _Lane(self._limit_of(download.lane))
        download.ticket = lane.put(download)
        self.pending += 1
        if lane.turn is None:
            self._join_round(lane)

    def withdraw(self, download: Download) -> None:
        """Take *download* out of its queue; those behind it move up."""
        assert download.ticket is not None, "only a queued download has a ticket"
        lane = self._lanes[download.lane]
        lane.withdraw(download.ticket)
        if not self._halted:
            lane.sweep()
        download.ticket = None
        self.pending -= 1
        if not lane.queued:
            self._leave_round(lane)
            self._drop_if_unused(download.lane, lane)

    def grant(self) -> Download | None:
        """Give a slot to the download that is next, and return it; None if nothing may start now."""
        slots = self._slots
        while self._round and slots.available_tokens > 0:
            turn, lane = heapq.heappop(self._round)
            if turn != lane.turn:
                continue
            if not lane.may_start:
                lane.waits = True
                continue
            download = lane.take()
            # What is void behind those that start would otherwise stay until somebody withdraws once more.
            lane.sweep()
            download.ticket = None
            self.pending -= 1
            slots.acquire_on_behalf_of_nowait(download)
            if lane.limiter is not None:
                lane.limiter.acquire_on_behalf_of_nowait(download)
            lane.running.add(download)
            if lane.queued:
                self._join_round(lane)
            else:
                lane.turn = None
            return download
        return None

    def release(self, download: Download) -> None:
        """Take the slot of *download* back."""
        lane = self._lanes[download.lane]
        self._slots.release_on_behalf_of(download)
        lane.running.remove(download)
        if lane.limiter is not None:
            lane.limiter.release_on_behalf_of(download)
            self._wake(lane)
        self._drop_if_unused(download.lane, lane)

    def halt(self) -> None:
        """Nothing is granted any more: void tickets need no sweeping, which for very many takes long at a stretch."""
        self._halted = True

    @property
    def held_back(self) -> int:
        """How many are queued behind a limit of 0."""
        if self.max_concurrent == 0:
            return self.pending
        return sum(lane.queued for name, lane in self._lanes.items() if self._limit_of(name) == 0)

    @property
    def max_concurrent(self) -> float:
        """How many may hold a slot at once."""
        return self._slots.total_tokens

    @max_concurrent.setter
    def max_concurrent(self, limit: float) -> None:
        self._slots.total_tokens = limit

    @property
    def available_slots(self) -> float:
        """How many could start now, if they were queued; never below 0."""
        return max(0, self._slots.available_tokens)

    @property
    def max_per_lane(self) -> float:
        """The limit of every lane that has none of its own."""
        return self._max_per_lane

    @max_per_lane.setter
    def max_per_lane(self, limit: float) -> None:
        self._max_per_lane = limit
        for name, lane in self._lanes.items():
            if name not in self._own_limits:
                lane.limit_to(limit)
                self._wake(lane)

    def set_lane_limit(self, name: Hashable, limit: float | None) -> None:
        """Give one lane a limit of its own, remembered also while the lane is empty; None takes it away again."""
        if limit is None:
            self._own_limits.pop(name, None)
        else:
            self._own_limits[name] = limit
        if (lane := self._lanes.get(name)) is not None:
            lane.limit_to(self._limit_of(name))
            self._wake(lane)

    def read_lanes(self) -> Mapping[Hashable, LaneStats]:
        """Return the figures of every lane that has something queued or running."""
        return {
            name: LaneStats(pending=lane.queued, active=len(lane.running), limit=self._limit_of(name))
            for name, lane in self._lanes.items()
            if lane.queued or lane.running
        }

    def _limit_of(self, name: Hashable) -> float:
        return self._own_limits.get(name, self._max_per_lane)

    def _join_round(self, lane: _Lane) -> None:
        lane.turn = next(self._turns)
        lane.waits = False
        heapq.heappush(self._round, (lane.turn, lane))

    def _leave_round(self, lane: _Lane) -> None:
        lane.turn = None
        # Its entry is stale now.  Lanes that come and go while no slot is free would pile such entries up.
        if len(self._round) > 2 * len(self._lanes) + _FEW:
            self._round = [entry for entry in self._round if entry[0] == entry[1].turn]
            heapq.heapify(self._round)

    def _wake(self, lane: _Lane) -> None:
        """Put a lane that waited at its limit back into the round, at the turn that it kept."""
        if lane.waits and lane.turn is not None:
            lane.waits = False
            heapq.heappush(self._round, (lane.turn, lane))

    def _drop_if_unused(self, name: Hashable, lane: _Lane) -> None:
        # The default lane stays, as long as there is nothing in it to throw away: making a channel for every download
        # that finds the queue empty would cost a sixth of all that a download costs.
        if not (lane.queued or lane.running or (name is None and not lane.void)):
            lane.close()
            del self._lanes[name]

"""Which connection fetches which bytes: the segments of one file, handed out so that no byte has two writers.

Rules that hold here:

- everything is a synchronous decision: a segment is taken, shortened or given back between two hops of its writer;
- who is to take over a part of a running segment is its heir until its own reply is there.  Meanwhile the other reads
  on, so that nothing is lost if the heir is never served;
- a running segment is shortened only to a point beyond what its writer has in hand, and lengthened only while its
  reply goes on that far;
- what is given back is fetched first by the neighbour whose reply holds it anyway, then by whoever is free.

Source:
    RFC 9110 section 15.3.7: a server may send less than was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

__all__ = ["NO_END", "Board", "Segment"]

# Where the segment of a file ends whose end nobody knows: behind the largest offset of any file.
NO_END: Final = 2**63 - 1


@final
@dataclass(slots=True, eq=False)
class Segment:
    """A range of the file that one connection fetches.

    Attributes:
        start: its first byte.
        stop: the byte behind its last one; it may be moved while the segment runs.
        at: up to here it is written.
        in_hand: up to here it is written, or being written.
        reach: up to here the reply that is being read goes on; equal to ``at`` while there is none.
        is_closing: its writer has thrown away what lies behind ``stop``, so that it can no more be lengthened.
        last_at_s: when its last byte came, on the clock of whoever reads.
        owner: who has its bytes as long as it is an heir, or None if they are its own.
        heir: who is to have its last bytes, or None.
        is_void: its owner has read on into it, or to its end, so that there is nothing left for it.
    """

    start: int
    stop: int
    at: int = 0
    in_hand: int = 0
    reach: int = 0
    is_closing: bool = False
    last_at_s: float = 0.0
    owner: Segment | None = None
    heir: Segment | None = None
    is_void: bool = False

    def __post_init__(self) -> None:
        self.at = self.in_hand = self.reach = self.start

    @property
    def left(self) -> int:
        """How many bytes nobody has in hand yet."""
        return self.stop - self.in_hand

    def accept(self, size_bytes: int) -> int:
        """Take *size_bytes* that came into hand; return how many of them belong to the segment."""
        count = min(size_bytes, self.stop - self.in_hand)
        self.in_hand += count
        self.is_closing = self.is_closing or count < size_bytes
        return count

    def written(self) -> None:
        """What was in hand is on disk."""
        self.at = self.in_hand

    def written_of(self, size_bytes: int) -> None:
        """Of what was taken in hand before it came, *size_bytes* came and are on disk."""
        self.at += size_bytes
        self.in_hand = self.at


@final
class Board:
    """All segments of one file.

    Attributes:
        running: those that a connection fetches now.
    """

    def __init__(self, missing: Iterable[tuple[int, int]], *, least: int) -> None:
        """Begin with the ranges that are *missing*; no segment smaller than *least* bytes is split off."""
        self.running: list[Segment] = []
        self._free = sorted(missing)
        self._least = least

    @property
    def is_done(self) -> bool:
        """Whether nothing is missing any more, and nobody fetches anything."""
        return not self._free and not self.running

    @property
    def left(self) -> int:
        """How many bytes are missing that nobody has in hand."""
        running = (segment.left for segment in self.running if segment.owner is None)
        return sum(stop - start for start, stop in self._free) + sum(running)

    def take(self) -> Segment | None:
        """Return a segment to fetch: a missing range, or half of the largest that runs; None if none is worth it.

        The half is its own with :meth:`confirm` only.
        """
        if self._free:
            segment = Segment(*self._free.pop(0))
        else:
            whole = [each for each in self.running if each.owner is None and each.heir is None and not each.is_closing]
            largest = max(whole, key=lambda each: each.left, default=None)
            if largest is None or largest.left < 2 * self._least:
                return None
            segment = Segment(largest.stop - largest.left // 2, largest.stop, owner=largest)
            largest.heir = segment
        self.running.append(segment)
        return segment

    def confirm(self, segment: Segment) -> bool:
        """The reply for *segment* is there: say whether it may be read, and leave the range to it from now on."""
        owner = segment.owner
        if owner is None:
            return not segment.is_void
        if owner.in_hand > segment.start:
            self._void(segment)
            return False
        owner.stop = segment.start
        _part(owner, segment)
        return True

    def finish(self, segment: Segment) -> None:
        """All of *segment* is written."""
        self.running.remove(segment)
        if segment.heir is not None:
            self._void(segment.heir)

    def give_back(self, segment: Segment) -> None:
        """Nobody fetches *segment* any more; what is missing of it is anybody's."""
        self.running.remove(segment)
        if segment.owner is not None:
            # It never had anything.
            _part(segment.owner, segment)
            return
        if (heir := segment.heir) is not None:
            if segment.at <= heir.start:
                # The range is waited for already.
                segment.stop = heir.start
                _part(segment, heir)
            else:
                self._void(heir)
        rest = (segment.at, segment.stop)
        if rest[0] == rest[1]:
            return
        for other in self.running:
            if other.stop == rest[0] and other.reach >= rest[1] and other.owner is None and _can_grow(other):
                other.stop = rest[1]
                return
        self._free = sorted([*self._free, rest])

    def _void(self, heir: Segment) -> None:
        assert heir.owner is not None
        _part(heir.owner, heir)
        heir.is_void = True
        self.running.remove(heir)


def _part(owner: Segment, heir: Segment) -> None:
    owner.heir = heir.owner = None


def _can_grow(segment: Segment) -> bool:
    # One that has nothing left to read, or has an heir, has its end where it is.
    return not segment.is_closing and segment.left > 0 and segment.heir is None

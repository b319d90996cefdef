"""Sets of bytes of a file, as ranges.

Rules that hold here:

- a range is half open, ``start`` in it and ``stop`` not, as Python counts and unlike HTTP;
- the ranges of a set are sorted, apart from each other and not empty, whatever it was made of, so that two sets of the
  same bytes are equal;
- a set never changes: what is read by one thread may be replaced by another.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, TypeAlias, final

__all__ = ["Span", "Spans"]

Span: TypeAlias = tuple[int, int]

_START: Final = itemgetter(0)
_STOP: Final = itemgetter(1)


@final
@dataclass(frozen=True, slots=True)
class Spans:
    """A set of bytes.

    Attributes:
        ranges: of which it consists; those given may overlap and have any order.
    """

    ranges: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ranges", tuple(_merged(self.ranges)))

    def __iter__(self) -> Iterator[Span]:
        return iter(self.ranges)

    def __len__(self) -> int:
        """How many ranges there are; :attr:`size` says how many bytes."""
        return len(self.ranges)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(stop - start for start, stop in self.ranges)

    @property
    def end(self) -> int:
        """Where the last range stops; 0 if there is none."""
        return self.ranges[-1][1] if self.ranges else 0

    def add(self, start: int, stop: int) -> Spans:
        """Return the set with the bytes from *start* to *stop* in it."""
        return Spans((*self.ranges, (start, stop)))

    def covers(self, start: int, stop: int) -> bool:
        """Whether every byte from *start* to *stop* is in it.  No byte always is."""
        if start >= stop:
            return True
        at = bisect_right(self.ranges, start, key=_START) - 1
        return at >= 0 and self.ranges[at][1] >= stop

    def missing(self, total: int) -> Spans:
        """Return the bytes of a file of *total* that are not in the set."""
        behind = bisect_left(self.ranges, total, key=_STOP)
        inside = self.ranges[: behind + 1]
        starts = (0, *map(_STOP, inside))
        stops = (*map(_START, inside), total)
        return Spans(tuple((start, min(stop, total)) for start, stop in zip(starts, stops, strict=True)))


def _merged(ranges: Iterable[Span]) -> Iterator[Span]:
    current: Span | None = None
    for start, stop in sorted(ranges):
        if start < 0:
            raise ValueError(f"a range of bytes starts at 0 or later, got {start}")
        if start >= stop:
            continue
        if current is None:
            current = start, stop
        elif start <= current[1]:
            current = current[0], max(current[1], stop)
        else:
            yield current
            current = start, stop
    if current is not None:
        yield current

"""How many retries the downloads from one host may make together, so that a dead host is not hammered.

Rules that hold here:

- an origin has a credit.  A failure takes from it, a success gives back, and while there is none, nothing is tried
  again there.  First attempts are nobody's business here;
- an attempt that brought bytes of the file is a success of its host, however it ended;
- only those origins are remembered that lack credit and failed lately;
- the clock is an argument.

Source:
    gRPC proposal A6 ("Client retry design", retry throttling): a bucket of tokens for each server, retries only while
    more than half of them are there.  What is called credit here is the upper half of that bucket.  The lower half is
    left out: it would let nothing pass for a long time after the host has come back, and protects nobody meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, final

from ._address import Origin

__all__ = ["HostBudget"]

# As many failures as leave no credit.  Sixteen downloads that fail five times each (the default of ``retries``) before
# they succeed make 80 and are not hindered; five hundred downloads from a dead host make 99 retries in all instead of
# 2500.
FULL_CREDIT: Final = 100

# What a success gives back: as much as the failures that may come before it with the default of ``retries``, so that a
# host on which every download needs all of its attempts can be used without end.
REWARD: Final = 5

# A host that nobody had trouble with for so long starts afresh.  Longer than an attempt with its wait takes (10 s to
# connect, 30 s for a header, 90 s of waiting), so that a queue that works on a dead host, one download at a time, never
# forgets it in between; short enough that whoever comes back after a break has all of the retries.
FORGET_AFTER_S: Final = 600.0

# A crawler meets dead hosts without end.  This many take a few megabytes; beyond them the one that failed longest ago
# is forgotten.
MOST_ORIGINS: Final = 10_000


@final
class HostBudget:
    """The credits of all origins, shared by the downloads of one downloader.

    Not for several threads.  Every call takes constant time on average.

    Args:
        clock: returns the time in seconds; only differences count.
    """

    __slots__ = ("_clock", "_credits")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Credit and time of the last failure, the one that failed longest ago first.
        self._credits: OrderedDict[Origin, tuple[int, float]] = OrderedDict()

    def may_retry(self, origin: Origin) -> bool:
        """Whether a failed attempt at *origin* may be followed by another one.  Note the failure first."""
        self._forget_old(self._clock())
        return self._credit(origin) > 0

    def note_failure(self, origin: Origin) -> None:
        """An attempt at *origin* ended with an error that is retried, and brought nothing."""
        now = self._clock()
        self._forget_old(now)
        self._credits[origin] = (max(0, self._credit(origin) - 1), now)
        self._credits.move_to_end(origin)
        if len(self._credits) > MOST_ORIGINS:
            self._credits.popitem(last=False)

    def note_success(self, origin: Origin) -> None:
        """An attempt at *origin* brought bytes of its file, or all of it."""
        known = self._credits.get(origin)
        if known is None:
            return
        credit, failed_at = known
        if credit + REWARD < FULL_CREDIT:
            self._credits[origin] = (credit + REWARD, failed_at)
        else:
            del self._credits[origin]

    def __len__(self) -> int:
        """How many origins are remembered."""
        return len(self._credits)

    def _credit(self, origin: Origin) -> int:
        known = self._credits.get(origin)
        return FULL_CREDIT if known is None else known[0]

    def _forget_old(self, now: float) -> None:
        while self._credits:
            origin, (_, failed_at) = next(iter(self._credits.items()))
            if now - failed_at < FORGET_AFTER_S:
                return
            del self._credits[origin]

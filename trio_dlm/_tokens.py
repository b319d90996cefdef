"""How many bytes may be received, and whose turn it is: the arithmetic of rate limits.

Rules that hold here:

- the time is an argument, and nobody waits here;
- in any stretch of time a bucket gives what its rate brings in that time, and :data:`BURST_S` more at the most;
- bytes that have arrived without having been asked for are a debt, which is paid before anybody gets anything;
- of those who wait, the one who has received the least goes first.  Who was away has saved nothing up, and nobody
  overtakes whoever is next by wanting less;
- without a limit nobody's bytes are counted, so that nobody has to make up for them once there is one.
"""

from __future__ import annotations

import math
from typing import Any, Final, final

__all__ = ["BURST_S", "PIECE_S", "Claim", "Line", "Share", "TokenBucket"]

# A bucket holds what its rate brings in this time.  So much may come too much in a window (2 % of five seconds), and so
# late may a waiter be woken without making the rate too low.
BURST_S: Final = 0.1

# What one turn gives: the rate's bytes of this time.  Shorter costs more wake-ups (fifty a second for each limit as it
# is), longer makes the others wait longer, and lets more be held by those whose servers are silent.
PIECE_S: Final = 0.02

# Nobody waits for less than this: the sum of many small floats is never quite what it should be, and a trio clock shows
# a million seconds or more, where a double is exact to 1e-10 seconds.
_ROUNDING_S: Final = 1e-6


@final
class TokenBucket:
    """Bytes that may be received: so many a second, and no more than a moment's worth at once.  Unlimited at first."""

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self) -> None:
        self._rate = math.inf
        self._level = math.inf
        self._at = 0.0

    @property
    def rate(self) -> float:
        """Bytes per second, possibly infinite."""
        return self._rate

    def set_rate(self, rate: float, now: float) -> None:
        """Give *rate* bytes per second from *now* on.  Debts stay, unless there is no limit any more."""
        self._level = math.inf if rate == math.inf else min(self.level(now), _most(rate))
        self._rate = rate
        self._at = now

    def level(self, now: float) -> float:
        """How many bytes may be received; below zero what is owed."""
        if self._rate == math.inf:
            return math.inf
        return min(self._level + (now - self._at) * self._rate, _most(self._rate))

    def piece(self, at_most: int) -> int:
        """How much one turn gives to somebody who wants *at_most*: at least a byte."""
        return at_most if self._rate == math.inf else min(at_most, max(1, int(self._rate * PIECE_S)))

    def holds(self, size_bytes: int, now: float) -> bool:
        """Whether so much may be received now."""
        return self.level(now) + self._rate * _ROUNDING_S >= size_bytes

    def ready_at(self, size_bytes: int, now: float) -> float:
        """When it :meth:`holds` so much, if nobody takes anything before."""
        return now if self.holds(size_bytes, now) else now + (size_bytes - self.level(now)) / self._rate

    def spend(self, size_bytes: int, now: float) -> None:
        """Take so much out, whether it is there or not.  A negative number puts back what was not used."""
        self._level = self.level(now) - size_bytes
        self._at = now


def _most(rate: float) -> float:
    # A byte even at the lowest rate, or nothing would ever be given.
    return max(1.0, rate * BURST_S)


@final
class Share:
    """One of those who share a rate, with any number of claims in line.

    Attributes:
        claims: those in line, in the order in which they came.
        taken_s: what it received, in seconds of the whole rate: small differences stay small when the rate is lowered.
    """

    __slots__ = ("claims", "taken_s")

    def __init__(self) -> None:
        # Few, the connections of one download: a list is the smallest.
        self.claims: list[Claim] = []
        self.taken_s = 0.0


@final
class Claim:
    """A wish for bytes.

    Attributes:
        share: whose it is.
        at_most: how many are wanted.
        size: how many were granted; 0 while it is in line.
        sleeper: what waits for it; only carried along.
    """

    __slots__ = ("at_most", "share", "size", "sleeper")

    def __init__(self, share: Share, at_most: int, sleeper: Any) -> None:
        self.share = share
        self.at_most = at_most
        self.size = 0
        self.sleeper = sleeper


@final
class Line:
    """A bucket, and those who wait for what is in it.

    Fair by bytes, not by turns: some read 16 KiB at a time, others 64.  This is start-time fair queueing (Goyal, Vin
    and Cheng, 1996): whoever has taken the least is next, and a newcomer starts level with the one who was served last.
    """

    __slots__ = ("_floor_s", "_waiting", "bucket")

    def __init__(self) -> None:
        self.bucket = TokenBucket()
        # In the order in which they joined the line, which decides between equals.
        self._waiting: dict[Share, None] = {}
        # What the one who was served last had before.
        self._floor_s = 0.0

    def put(self, share: Share, at_most: int, sleeper: Any) -> Claim:
        """Put a claim into the line; :meth:`grant` says when it gets something."""
        claim = Claim(share, at_most, sleeper)
        if not share.claims:
            share.taken_s = max(share.taken_s, self._floor_s)
            self._waiting[share] = None
        share.claims.append(claim)
        return claim

    def withdraw(self, claim: Claim, now: float) -> None:
        """Take a claim out of the line, or take back what it was granted."""
        if claim.size:
            self.charge(claim.share, -claim.size, now)
        else:
            claim.share.claims.remove(claim)
            self._leave_if_idle(claim.share)

    def next(self) -> Claim | None:
        """Return the claim whose turn it is.  Takes time in proportion to the shares in line."""
        if not self._waiting:
            return None
        return min(self._waiting, key=_taken).claims[0]

    def grant(self, now: float) -> Claim | None:
        """Serve the next claim, if there is one and the bucket holds enough for it."""
        claim = self.next()
        if claim is None or not self.bucket.holds(size := self.bucket.piece(claim.at_most), now):
            return None
        share = claim.share
        del share.claims[0]
        self._leave_if_idle(share)
        self._floor_s = share.taken_s
        claim.size = size
        self.charge(share, size, now)
        return claim

    def ready_at(self, now: float) -> float:
        """When the next claim can be served, if nothing happens before; ``math.inf`` if there is none."""
        claim = self.next()
        return math.inf if claim is None else self.bucket.ready_at(self.bucket.piece(claim.at_most), now)

    def charge(self, share: Share, size_bytes: int, now: float) -> None:
        """Count bytes that *share* received; a negative number for those that it did not use."""
        if self.bucket.rate != math.inf:
            # Not below the floor, which those who are in line never are: bytes of a higher rate may come back.
            share.taken_s = max(share.taken_s + size_bytes / self.bucket.rate, self._floor_s)
            self.bucket.spend(size_bytes, now)

    def _leave_if_idle(self, share: Share) -> None:
        if not share.claims:
            del self._waiting[share]


def _taken(share: Share) -> float:
    return share.taken_s

"""How many connections one file is worth.

Rules that hold here:

- a connection more has to pay: the number doubles as long as the rate rises with it, and stays where that ended;
- a server that refuses one more connection is not asked again for it in this run;
- the number never exceeds the limit and never falls below one;
- nothing here measures: rates are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, final

__all__ = ["Growth", "interval_s"]

# What doubling the connections has to bring.  Where they share a line that is full it brings nothing, where the server
# limits each of them it brings nearly 100 %; less than a tenth cannot be told from chance.
WORTHWHILE_SHARE: Final = 0.1

# Within a local network two round trips are over before a rate can be measured at all.
SHORTEST_INTERVAL_S: Final = 0.05

# A server that thinks for seconds before it sends the first byte is no farther away for that.
LONGEST_INTERVAL_S: Final = 1.0


def interval_s(round_trip_s: float) -> float:
    """Return over how many seconds to measure a rate, when a reply begins *round_trip_s* after its request.

    A connection needs two round trips to show what it brings: one for its request, one in which its window opens.
    """
    return min(max(2 * round_trip_s, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """The number of connections that a download wants, and what it was decided by.

    Attributes:
        limit: the most that there may be, from 1 up.
        wanted: how many there should be now.
        rate_bytes_per_s: the rate when the number was last decided, or None before the first time.
        is_settled: the number is found, and no measurement changes it.
    """

    limit: int
    wanted: int = 1
    rate_bytes_per_s: float | None = None
    is_settled: bool = False

    def measured(self, rate_bytes_per_s: float) -> Growth:
        """Decide again, now that all connections together had this rate over the last interval.

        The first rate has nothing to be compared with, so one more connection is tried.  An interval counts from the
        moment at which as many connections deliver as are wanted: before, the new ones have brought nothing yet.
        """
        # A stall says nothing about the number of connections, and compared with it every rate would be a rise.
        if self.is_settled or not rate_bytes_per_s:
            return self
        before = self.rate_bytes_per_s
        has_paid = before is None or rate_bytes_per_s - before >= WORTHWHILE_SHARE * before
        wanted = min(2 * self.wanted, self.limit) if has_paid else self.wanted
        return replace(
            self,
            wanted=wanted,
            rate_bytes_per_s=rate_bytes_per_s,
            is_settled=not has_paid or wanted == self.limit,
        )

    def lowered(self, running: int) -> Growth:
        """Stay with the *running* connections that deliver, now that an additional one was refused or broke.

        That is: 429, 503, a refused range, a reset, or no descriptor left for it.
        """
        wanted = max(1, min(running, self.wanted))
        return replace(self, limit=wanted, wanted=wanted, is_settled=True)

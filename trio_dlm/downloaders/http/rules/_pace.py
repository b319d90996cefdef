"""Whether the bytes of a body come fast enough.

Rules that hold here:

- time is what the caller measured: the seconds that it spent waiting for bytes, and none in which it did not want any;
- the rate is that of a whole window, so that a server may pause within it;
- nothing here reads a clock.
"""

from __future__ import annotations

import math
from typing import final

__all__ = ["Pace"]


@final
class Pace:
    """Measures a rate over one window after the other.

    Args:
        min_rate_bytes_per_s: the least rate.
        window_s: over how many seconds of waiting it is measured.

    Attributes:
        min_rate_bytes_per_s: as it was given.
        window_s: likewise.
        needed_bytes: how much must come in a window.
        got_bytes: how much has come in this one.
    """

    __slots__ = ("_left_s", "got_bytes", "min_rate_bytes_per_s", "needed_bytes", "window_s")

    def __init__(self, min_rate_bytes_per_s: float, window_s: float) -> None:
        self.min_rate_bytes_per_s = min_rate_bytes_per_s
        self.window_s = window_s
        self._left_s = window_s
        self.needed_bytes = min_rate_bytes_per_s * window_s
        self.got_bytes = 0

    @property
    def patience_s(self) -> float:
        """How long a read may take before the rate is certainly too low, in seconds; infinite if it cannot be."""
        return math.inf if self.got_bytes >= self.needed_bytes else self._left_s

    def advance(self, seconds: float, size_bytes: int) -> bool:
        """Count a read that took *seconds*, and return whether the rate is high enough so far."""
        self._left_s -= seconds
        self.got_bytes += size_bytes
        if self._left_s > 0:
            return True
        if self.got_bytes < self.needed_bytes:
            return False
        self._left_s = self.window_s
        self.got_bytes = 0
        return True

"""Steps that change limits while downloads run: of all, of one lane, of the lanes that have none of their own.

Rules that hold here:

- any limit may be set at any time, 0 and none at all too;
- lowering interrupts nobody, which the model says.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final

from hypothesis import strategies as st

from ._steps import LANES, Steps, step

__all__ = ["LimitingSteps"]

_LIMITS: Final = st.integers(0, 4) | st.just(math.inf)


class LimitingSteps(Steps):
    """The steps that set limits."""

    @step("resize", limit=_LIMITS)
    def resize(self, limit: float) -> None:
        self.model.set_limit(limit)
        self.scene.driven.set_limit(limit)

    @step("lanes", lane=LANES, limit=st.none() | st.integers(0, 2))
    def resize_lane(self, lane: Hashable, limit: int | None) -> None:
        self.model.set_lane_limit(lane, limit)
        self.manager.set_lane_limit(lane, limit)

    @step("lanes", limit=_LIMITS)
    def resize_lanes(self, limit: float) -> None:
        self.model.set_per_lane(limit)
        self.manager.max_per_lane = limit

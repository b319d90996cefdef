"""All scenarios, in the order of the page."""

from __future__ import annotations

from typing import Final

from ._scenario import Scenario
from ._scenarios_hostile import NAMES, SECRETS
from ._scenarios_joined import BROKEN, MIRRORS, RANGES
from ._scenarios_resumed import RESUMED
from ._scenarios_served import CODINGS, FRAMING, HONEST, REFUSED, SLOW

__all__ = ["SCENARIOS"]

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *HONEST,
    *BROKEN,
    *RESUMED,
    *RANGES,
    *FRAMING,
    *CODINGS,
    *SLOW,
    *REFUSED,
    *MIRRORS,
    *NAMES,
    *SECRETS,
)

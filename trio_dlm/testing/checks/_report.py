"""What a check says at its end: the figures of one that went well, the smallest case of one that did not.

Rules that hold here:

- a broken promise is told with all that is needed to believe it: the promise, the plan as Python, what went over the
  wire, what was found;
- nothing of the machine is in it: no port, no directory, no time of day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from .._errors import PromiseBrokenError
from ..origin._plan import FaultPlan
from ._exchanges import Exchange
from ._promises import Breach, Outcome, Promise

__all__ = ["BrokenDownloadError", "CheckReport", "Tally"]

# How wide the column of requests may get before the replies are set below them.
_WIDEST_REQUEST: Final = 60

# Exchanges of one attempt that are told: a loop is seen in a few.
_MOST_EXCHANGES: Final = 8

# Names in a list of counts, the most frequent first.
_MOST_NAMES: Final = 10


@final
class BrokenDownloadError(PromiseBrokenError):
    """A downloader broke a promise; the message is a report of the smallest case.

    Attributes:
        promise: which one.
        plan: what the origin did.
        outcomes: the attempts.
    """

    def __init__(self, breach: Breach, plan: FaultPlan, outcomes: Sequence[Outcome], *, given: str = "") -> None:
        super().__init__(_report(breach, plan, outcomes, given))
        self.promise: Promise = breach.promise
        self.plan = plan
        self.outcomes = tuple(outcomes)


@final
@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check went through without finding anything.

    Attributes:
        examples: how many plans were tried.
        requests: how many requests the origin answered.
        faults: how often each class of fault answered one.
        outcomes: how often an attempt ended in which way.
    """

    examples: int
    requests: int
    faults: Mapping[str, int]
    outcomes: Mapping[str, int]

    def __str__(self) -> str:
        return (
            f"{self.examples} plans, {self.requests} requests, no promise broken\n"
            f"ended: {_listed(self.outcomes)}\n"
            f"met: {_listed(self.faults)}"
        )


@final
class Tally:
    """Counts what a check goes through."""

    def __init__(self) -> None:
        self._examples = 0
        self._faults = Counter[str]()
        self._outcomes = Counter[str]()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count one example."""
        self._examples += 1
        for outcome in outcomes:
            self._outcomes[outcome.said.partition(":")[0] if outcome.ended else "no end"] += 1
            self._faults.update(type(exchange.fault).__name__ for exchange in outcome.exchanges)

    def report(self) -> CheckReport:
        """Return the figures so far."""
        faults, outcomes = (dict(counter.most_common()) for counter in (self._faults, self._outcomes))
        return CheckReport(self._examples, self._faults.total(), faults, outcomes)


def _listed(counts: Mapping[str, int]) -> str:
    told = [f"{name} {count}" for name, count in counts.items()]
    if len(told) > _MOST_NAMES:
        told[_MOST_NAMES:] = [f"and {len(told) - _MOST_NAMES} others"]
    return ", ".join(told) or "nothing"


def _report(breach: Breach, plan: FaultPlan, outcomes: Sequence[Outcome], given: str) -> str:
    parts = [
        f"{breach.promise.name} is broken: {breach.promise.value}.",
        f"Found: {breach.found}",
        "",
        f"The origin's plan{given}:",
        f"    {plan!r}",
        "",
        "What was asked, and what was answered:",
        # What came afterwards has no part in it.
        *_wire(outcomes[: breach.attempt + 1], is_one_of_several=len(outcomes) > 1),
    ]
    return "\n".join(parts)


def _wire(outcomes: Sequence[Outcome], *, is_one_of_several: bool) -> list[str]:
    lines: list[str] = []
    widths = [len(exchange.asked) for outcome in outcomes for exchange in outcome.exchanges]
    width = min(_WIDEST_REQUEST, max(widths, default=0))
    number = 0
    for run, outcome in enumerate(outcomes, 1):
        left_out = len(outcome.exchanges) - _MOST_EXCHANGES
        for place, exchange in enumerate(outcome.exchanges, 1):
            number += 1
            if place < _MOST_EXCHANGES or place == len(outcome.exchanges):
                lines += _line(number, exchange, width)
            elif place == _MOST_EXCHANGES and left_out:
                lines.append(f"    …  and {left_out} more")
        who = f"run {run}" if is_one_of_several else "it"
        how = f"ended with {outcome.said}" if outcome.ended else "did not end"
        others = f", beside {', '.join(outcome.others)}" if outcome.others else ""
        lines.append(f"    {who} {how}{others}")
    return lines


def _line(number: int, exchange: Exchange, width: int) -> list[str]:
    if len(exchange.asked) > width:
        return [f"    {number}  {exchange.asked}", f"       {'':{width}}  {exchange.answered}"]
    return [f"    {number}  {exchange.asked:{width}}  {exchange.answered}"]

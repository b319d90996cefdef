"""The search for the smallest plan of an origin that has a downloader break a promise.

Rules that hold here:

- Hypothesis draws and shrinks, and knows nothing of downloads;
- the search follows the first promise that is found broken, so that what it ends with is one bug;
- a case that has failed is not tried again: what is reported has been seen, also where time or threads play a part;
- shrinking has a limit of time.  When it is over, the smallest case so far is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis.strategies import SearchStrategy

from ._promises import Breach, Outcome
from ._report import BrokenDownloadError, CheckReport, Tally

__all__ = ["Trial", "explore"]

_CaseT = TypeVar("_CaseT")

# A minute of shrinking is enough for cases that take milliseconds, and where each is a process that hangs, nobody wants
# to wait for more.
SHRINK_S: Final = 60.0


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """How one case went: the attempts, what was broken, and the error that says so."""

    outcomes: tuple[Outcome, ...]
    breaches: tuple[Breach, ...]
    tell: Callable[[Breach], BrokenDownloadError]


def explore(
    cases: SearchStrategy[_CaseT],
    attempt: Callable[[_CaseT], Trial],
    *,
    first: Iterable[_CaseT] = (),
    settings: hypothesis.settings | None = None,
) -> CheckReport:
    """Try cases until one breaks a promise, or enough have been tried.

    Args:
        cases: what to draw from; a case is hashable.
        first: what to try before, the simplest first.
        attempt: tries one.
        settings: of Hypothesis; None draws the same cases each time and keeps none, as many as its profile says.

    Raises:
        BrokenDownloadError: the smallest case that was found.
    """
    tally = Tally()
    seen: dict[_CaseT, BrokenDownloadError] = {}
    enough_at: float | None = None

    def example(case: _CaseT) -> None:
        nonlocal enough_at
        if case in seen:
            raise seen[case]
        if enough_at is not None and time.monotonic() > enough_at:
            return
        trial = attempt(case)
        tally.add(trial.outcomes)
        followed = next(iter(seen.values())).promise if seen else None
        for breach in trial.breaches:
            if followed in (None, breach.promise):
                enough_at = enough_at or time.monotonic() + SHRINK_S
                seen[case] = trial.tell(breach)
                raise seen[case]

    for case in first:
        example(case)
    search: Any = hypothesis.given(cases)(example)
    try:
        _settings(settings)(search)()
    except BrokenDownloadError as exc:
        found = exc
    else:
        return tally.report()
    # Alone: what Hypothesis adds says the same once more.
    found.__notes__ = []
    raise found.with_traceback(None)


def _settings(given: hypothesis.settings | None) -> hypothesis.settings:
    if given is None:
        given = hypothesis.settings(database=None, derandomize=True)
    # A case is a whole download, or several, and what is to be said of it is said here.
    return hypothesis.settings(
        given,
        deadline=None,
        phases=[phase for phase in given.phases if phase is not Phase.explain],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=(HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.too_slow),
    )

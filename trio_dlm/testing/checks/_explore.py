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
from hypothesis.strategies import SearchStrategy

from .._settings import search_settings
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
        cases: what to draw from.
        first: what to try before, the simplest first.
        attempt: tries one.
        settings: of Hypothesis; see :func:`search_settings`.

    Raises:
        BrokenDownloadError: the smallest case that was found.
    """
    tally = Tally()
    # In a list, since the faults of a plan may be anybody's, and need not be hashable.
    seen: list[tuple[_CaseT, BrokenDownloadError]] = []
    enough_at: float | None = None

    def example(case: _CaseT) -> None:
        nonlocal enough_at
        for known, error in seen:
            if known == case:
                raise error
        if enough_at is not None and time.monotonic() > enough_at:
            return
        trial = attempt(case)
        tally.add(trial.outcomes)
        followed = seen[0][1].promise if seen else None
        for breach in trial.breaches:
            if followed in (None, breach.promise):
                enough_at = enough_at or time.monotonic() + SHRINK_S
                broken = trial.tell(breach)
                seen.append((case, broken))
                raise broken

    for case in first:
        example(case)
    search: Any = hypothesis.given(cases)(example)
    try:
        search_settings(settings)(search)()
    except BrokenDownloadError as exc:
        found = exc
    else:
        return tally.report()
    # Alone: what Hypothesis adds says the same once more.
    found.__notes__ = []
    raise found.with_traceback(None)

"""How this harness has Hypothesis search, in one place for all of its checks.

Rules that hold here:

- without settings of the caller's the same examples are tried in every run, and nothing is kept on disk;
- with them, how much is tried, and which, is the caller's; how it is told is ours, since a check has an error of its
  own that says all there is to say.
"""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, Phase, settings

__all__ = ["search_settings"]

# An example is a whole download or a whole manager, which takes its time and draws much.  The other health checks are
# about mistakes, which stay mistakes.
_EXCUSED: Final = (HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.too_slow)


def search_settings(given: settings | None = None) -> settings:
    """Return settings for a search: those that were *given*, without what is in the way of a check.

    Without a deadline, since an example may take what it takes; for one bug, since several would come in a group in
    which the smallest case is hard to find; without explanations of Hypothesis's, which are about values and not about
    downloads; and without its lines on how to try again.

    Args:
        given: None for as many examples as the profile says, the same ones in every run, and no database.
    """
    if given is None:
        given = settings(database=None, derandomize=True)
    return settings(
        given,
        deadline=None,
        phases=[phase for phase in given.phases if phase is not Phase.explain],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=[*dict.fromkeys((*given.suppress_health_check, *_EXCUSED))],
    )

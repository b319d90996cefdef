"""The settings of a search: the same every time unless a caller has their own, and never in the way of a check."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.database import InMemoryExampleDatabase

from trio_dlm.testing._settings import search_settings

# Everything that a check cannot use.
STRICT = settings(
    max_examples=7,
    stateful_step_count=8,
    database=InMemoryExampleDatabase(),
    deadline=dt.timedelta(milliseconds=1),
    derandomize=False,
    phases=[Phase.generate, Phase.shrink, Phase.explain],
    print_blob=True,
    report_multiple_bugs=True,
    suppress_health_check=[HealthCheck.differing_executors],
)


def test_without_any_the_same_is_tried_every_time_and_nothing_is_kept() -> None:
    assert search_settings().derandomize
    assert search_settings().database is None
    assert search_settings().max_examples == settings().max_examples


def test_how_much_is_tried_and_which_is_the_caller_s() -> None:
    found = search_settings(STRICT)
    assert (found.max_examples, found.stateful_step_count) == (7, 8)
    assert not found.derandomize
    assert found.database is STRICT.database


@pytest.mark.parametrize("given", [None, STRICT], ids=["none", "strict"])
def test_nothing_is_in_the_way_of_a_check(given: settings | None) -> None:
    found = search_settings(given)
    assert found.deadline is None
    assert {Phase.generate, Phase.shrink} <= {*found.phases}
    assert Phase.explain not in found.phases
    assert not found.print_blob
    assert not found.report_multiple_bugs
    slow = {HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.too_slow}
    assert slow <= {*found.suppress_health_check}


def test_what_was_excused_by_the_caller_stays_excused() -> None:
    assert HealthCheck.differing_executors in search_settings(STRICT).suppress_health_check
    assert HealthCheck.differing_executors not in search_settings().suppress_health_check


def test_settings_made_from_them_change_nothing_else() -> None:
    few = settings(search_settings(), max_examples=3, derandomize=False)
    assert few.database is None
    assert repr(search_settings(few)) == repr(few)

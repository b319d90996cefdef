"""Connections are added while they pay, and no longer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._growth import Growth, interval_s

MIB: Final = 1024 * 1024

rates = st.floats(0, 1e12)


def grown(growth: Growth, rate_of: Callable[[int], float]) -> list[int]:
    """Measure until the number is settled, and return the numbers; *rate_of* gives the rate of so many connections."""
    numbers = [growth.wanted]
    while not growth.is_settled:
        growth = growth.measured(rate_of(growth.wanted))
        numbers.append(growth.wanted)
    assert growth.measured(1e15) is growth
    return numbers


def test_a_download_begins_with_one_connection() -> None:
    assert Growth(8).wanted == 1


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [
        (1, [1, 1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (12, [1, 2, 4, 8, 12]),
        (16, [1, 2, 4, 8, 16]),
    ],
)
def test_where_each_connection_brings_the_same_the_number_doubles_up_to_the_limit(
    limit: int, numbers: list[int]
) -> None:
    assert grown(Growth(limit), lambda count: count * MIB) == numbers


def test_on_a_line_that_is_full_only_the_second_connection_is_tried() -> None:
    assert grown(Growth(16), lambda count: 100 * MIB) == [1, 2, 2]


def test_the_number_stays_where_one_more_doubling_brought_nothing() -> None:
    assert grown(Growth(64), lambda count: min(count, 5) * MIB) == [1, 2, 4, 8, 16, 16]


@pytest.mark.parametrize(
    ("rate", "wanted", "is_settled"), [(1100.0, 4, False), (1099.0, 2, True), (1000.0, 2, True), (10.0, 2, True)]
)
def test_a_tenth_more_is_what_pays(rate: float, wanted: int, is_settled: bool) -> None:
    growth = Growth(8).measured(1000.0).measured(rate)
    assert (growth.wanted, growth.is_settled) == (wanted, is_settled)


def test_each_rate_is_compared_with_the_one_before_it() -> None:
    assert Growth(32).measured(100).measured(200).measured(210).wanted == 4
    assert Growth(32).measured(100).measured(200).measured(220).wanted == 8


def test_an_interval_in_which_nothing_arrived_decides_nothing() -> None:
    growth = Growth(8)
    assert growth.measured(0.0) == growth
    growth = growth.measured(100.0)
    assert growth.measured(0.0) == growth
    assert growth.measured(0.0).measured(105.0).wanted == 2
    assert growth.measured(0.0).measured(110.0).wanted == 4


@given(st.integers(1, 64), st.lists(rates, max_size=12))
def test_the_number_only_grows_and_stays_within_the_limit(limit: int, measured: list[float]) -> None:
    growth = Growth(limit)
    numbers = [growth.wanted]
    for rate in measured:
        growth = growth.measured(rate)
        numbers.append(growth.wanted)
    assert all(before <= after <= min(2 * before, limit) for before, after in pairwise(numbers))
    # Every rate doubles the number or ends the growth.
    assert growth.is_settled or sum(rate > 0 for rate in measured) < limit.bit_length()


@given(st.integers(1, 64), st.lists(rates, max_size=8), st.integers(0, 70), st.lists(rates, max_size=4))
def test_a_refused_connection_leaves_those_that_deliver_and_ends_the_growth(
    limit: int, before: list[float], running: int, after: list[float]
) -> None:
    growth = Growth(limit)
    for rate in before:
        growth = growth.measured(rate)
    lowered = growth.lowered(running)
    assert lowered.wanted == lowered.limit == max(1, min(running, growth.wanted))
    for rate in after:
        lowered = lowered.measured(rate)
    assert lowered.wanted == max(1, min(running, growth.wanted))


def test_further_refusals_lower_further_and_never_raise() -> None:
    growth = Growth(16).measured(1).measured(2).measured(4)
    numbers = []
    for running in (6, 7, 3, 0, 5):
        growth = growth.lowered(running)
        numbers.append(growth.wanted)
    assert numbers == [6, 6, 3, 1, 1]


@pytest.mark.parametrize(("round_trip_s", "seconds"), [(0.0, 0.05), (0.025, 0.05), (0.03, 0.06), (0.5, 1.0)])
def test_an_interval_is_two_round_trips_and_at_least_fifty_milliseconds(round_trip_s: float, seconds: float) -> None:
    assert interval_s(round_trip_s) == seconds

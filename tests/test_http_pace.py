"""Whether the bytes of a body come fast enough."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._pace import Pace

reads = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10_000)), max_size=50)


def test_a_body_that_keeps_the_rate_goes_on() -> None:
    pace = Pace(100.0, 10.0)
    assert all(pace.advance(1.0, 100) for _ in range(100))


def test_a_body_below_the_rate_is_told_at_the_end_of_the_window() -> None:
    pace = Pace(100.0, 10.0)
    assert [pace.advance(1.0, 99) for _ in range(10)] == [True] * 9 + [False]


def test_a_pause_within_a_window_is_made_up_for() -> None:
    pace = Pace(100.0, 10.0)
    assert pace.advance(9.0, 0)
    assert pace.advance(1.0, 1000)


def test_what_came_in_one_window_does_not_help_the_next() -> None:
    pace = Pace(100.0, 10.0)
    assert pace.advance(10.0, 1_000_000)
    assert not pace.advance(10.0, 999)


def test_a_read_may_take_as_long_as_the_window_has_left() -> None:
    pace = Pace(100.0, 10.0)
    assert pace.patience_s == 10.0
    pace.advance(4.0, 999)
    assert pace.patience_s == 6.0
    pace.advance(1.0, 1)
    assert pace.patience_s == math.inf
    pace.advance(5.0, 0)
    assert pace.patience_s == 10.0


def test_without_a_limit_of_time_there_is_no_window() -> None:
    pace = Pace(100.0, math.inf)
    assert pace.advance(1e9, 1)
    assert pace.patience_s == math.inf


@given(reads, st.floats(1, 1000), st.floats(0.5, 30))
def test_only_a_window_with_too_few_bytes_ends_it(reads: list[tuple[float, int]], rate: float, window_s: float) -> None:
    pace = Pace(rate, window_s)
    spent = got = 0.0
    for seconds, size in reads:
        spent += seconds
        got += size
        is_over = spent >= window_s
        is_slow = is_over and got < rate * window_s
        if abs(spent - window_s) < 1e-6:
            return  # Where rounding decides.
        assert pace.advance(seconds, size) is not is_slow
        if is_slow:
            return
        if is_over:
            spent = got = 0.0
        assert pace.patience_s > 0

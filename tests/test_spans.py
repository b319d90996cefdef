"""Sets of bytes: whatever is done to them, they are what a set of numbers would be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._spans import Spans

# Small, so that they meet.
RANGES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=8)


def bytes_of(spans: Spans) -> set[int]:
    return {each for start, stop in spans for each in range(start, stop)}


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {each for start, stop in ranges for each in range(start, stop)}


@given(RANGES)
def test_a_set_is_made_of_ranges_in_any_order_that_may_overlap(ranges: list[tuple[int, int]]) -> None:
    assert bytes_of(Spans(tuple(ranges))) == numbers(ranges)


@given(RANGES)
def test_the_ranges_are_sorted_and_apart_and_none_is_empty(ranges: list[tuple[int, int]]) -> None:
    edges = [edge for span in Spans(tuple(ranges)) for edge in span]
    assert edges == sorted(set(edges))


@given(RANGES, RANGES)
def test_sets_are_equal_exactly_if_their_bytes_are(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    spans, others = Spans(tuple(one)), Spans(tuple(other))
    assert (spans == others) == (numbers(one) == numbers(other))
    assert spans == Spans(spans.ranges)
    assert hash(spans) == hash(Spans(spans.ranges))


@given(RANGES, st.integers(0, 20), st.integers(0, 20))
def test_adding_gives_a_new_set_with_those_bytes(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    spans = Spans(tuple(ranges))
    assert bytes_of(spans.add(start, stop)) == numbers(ranges) | set(range(start, stop))
    assert bytes_of(spans) == numbers(ranges)


@given(RANGES)
def test_the_size_is_the_number_of_bytes_and_the_end_is_behind_the_last(ranges: list[tuple[int, int]]) -> None:
    spans = Spans(tuple(ranges))
    assert spans.size == len(numbers(ranges))
    assert spans.end == max(numbers(ranges), default=-1) + 1
    assert bool(spans) == bool(numbers(ranges))
    assert len(spans) == len(list(spans))


@given(RANGES, st.integers(0, 20), st.integers(0, 20))
def test_a_range_is_covered_if_every_byte_of_it_is_there(ranges: list[tuple[int, int]], start: int, stop: int) -> None:
    assert Spans(tuple(ranges)).covers(start, stop) == (set(range(start, stop)) <= numbers(ranges))


@given(RANGES, st.integers(0, 25))
def test_what_is_missing_of_a_file_is_all_of_it_but_the_set(ranges: list[tuple[int, int]], total: int) -> None:
    assert bytes_of(Spans(tuple(ranges)).missing(total)) == set(range(total)) - numbers(ranges)


def test_a_range_before_the_first_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="starts at 0 or later, got -1"):
        Spans().add(-1, 3)

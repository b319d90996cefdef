"""Segments of a file: every byte has one writer at a time, and none is forgotten."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_dlm.downloaders.http.rules._board import Board, Segment


def test_missing_ranges_are_handed_out_in_their_order() -> None:
    board = Board([(50, 60), (0, 10)], least=1000)
    first, second = board.take(), board.take()
    assert first is not None
    assert second is not None
    assert ((first.start, first.stop), (second.start, second.stop)) == ((0, 10), (50, 60))
    assert board.take() is None
    assert board.left == 20
    assert not board.is_done


def test_the_larger_half_of_the_largest_is_kept_by_its_writer() -> None:
    board = Board([(0, 101), (200, 210)], least=10)
    large, _ = board.take(), board.take()
    assert large is not None
    large.accept(20)
    half = board.take()
    assert half is not None
    assert (half.start, half.stop, large.stop) == (61, 101, 101)
    assert board.confirm(half)
    assert large.stop == 61


def test_what_is_in_hand_is_never_split_off() -> None:
    board = Board([(0, 100)], least=10)
    segment = board.take()
    assert segment is not None
    assert segment.accept(81) == 81
    assert board.take() is None
    segment.written()
    assert board.take() is None


def test_what_lies_behind_the_stop_is_not_accepted() -> None:
    board = Board([(0, 100)], least=10)
    segment, other = board.take(), board.take()
    assert segment is not None
    assert other is not None
    assert board.confirm(other)
    assert segment.accept(70) == 50
    assert segment.is_closing


def test_a_neighbour_whose_reply_goes_on_takes_over_what_is_given_back() -> None:
    board = Board([(0, 100)], least=10)
    segment, other = board.take(), board.take()
    assert segment is not None
    assert other is not None
    segment.reach = 100
    assert board.confirm(other)
    board.give_back(other)
    assert segment.stop == 100
    assert board.left == 100


def test_a_neighbour_that_threw_bytes_away_does_not() -> None:
    board = Board([(0, 100)], least=10)
    segment, other = board.take(), board.take()
    assert segment is not None
    assert other is not None
    segment.reach = 100
    assert board.confirm(other)
    segment.accept(60)
    board.give_back(other)
    assert segment.stop == 50
    again = board.take()
    assert again is not None
    assert (again.start, again.stop) == (50, 100)


def test_what_was_written_is_not_given_back() -> None:
    board = Board([(0, 100)], least=10)
    segment = board.take()
    assert segment is not None
    segment.accept(30)
    segment.written()
    segment.accept(30)
    board.give_back(segment)
    again = board.take()
    assert again is not None
    assert (again.start, again.stop) == (30, 100)
    again.accept(70)
    again.written()
    board.give_back(again)
    assert board.is_done


def split(size: int = 100) -> tuple[Board, Segment, Segment]:
    """Return a board, its only writer, and the heir of the second half of its range."""
    board = Board([(0, size)], least=10)
    segment, heir = board.take(), board.take()
    assert segment is not None
    assert heir is not None
    return board, segment, heir


def test_until_its_reply_is_there_an_heir_has_nothing() -> None:
    board, segment, heir = split()
    assert (segment.stop, heir.owner, board.left) == (100, segment, 100)
    board.give_back(heir)
    assert (segment.stop, segment.heir, board.left) == (100, None, 100)


def test_an_heir_whose_owner_has_read_on_has_nothing_to_read() -> None:
    board, segment, heir = split()
    segment.accept(51)
    assert not board.confirm(heir)
    assert heir.is_void
    assert board.running == [segment]
    assert not board.confirm(heir)


def test_an_heir_whose_owner_has_finished_has_nothing_to_read() -> None:
    board, segment, heir = split()
    segment.accept(100)
    segment.written()
    board.finish(segment)
    assert heir.is_void
    assert board.is_done


def test_an_owner_that_fails_leaves_its_range_to_the_heir() -> None:
    board, segment, heir = split()
    board.give_back(segment)
    assert board.confirm(heir)
    again = board.take()
    assert again is not None
    assert (again.start, again.stop) == (0, 50)


def test_an_owner_that_fails_behind_the_beginning_of_its_heir_gives_back_all_that_is_left() -> None:
    board, segment, heir = split()
    segment.accept(60)
    segment.written()
    board.give_back(segment)
    assert heir.is_void
    again = board.take()
    assert again is not None
    assert (again.start, again.stop) == (60, 100)


def test_one_heir_at_a_time() -> None:
    board, _, _ = split(1000)
    assert board.take() is None


class BoardMachine(RuleBasedStateMachine):
    """Writers that take, are answered, write, fail and finish in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 200
        self.board = Board([(0, 60), (80, self.size)], least=8)
        self.count = [1 if 60 <= position < 80 else 0 for position in range(self.size)]
        self.waiting: list[Segment] = []

    @rule()
    def take(self) -> None:
        segment = self.board.take()
        if segment is not None:
            self.waiting.append(segment)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), reaches=st.booleans())
    def is_answered(self, data: st.DataObject, reaches: bool) -> None:
        segment: Segment = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(segment)
        if self.board.confirm(segment) and reaches:
            segment.reach = segment.stop

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def is_not_answered(self, data: st.DataObject) -> None:
        segment: Segment = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(segment)
        if segment in self.board.running:
            self.board.give_back(segment)

    def writers(self) -> list[Segment]:
        return [each for each in self.board.running if each not in self.waiting]

    @precondition(lambda self: self.writers())
    @rule(data=st.data(), size=st.integers(1, 40), survives=st.booleans())
    def write(self, data: st.DataObject, size: int, survives: bool) -> None:
        segment: Segment = data.draw(st.sampled_from(self.writers()))
        before = segment.at
        count = segment.accept(size)
        # Others may do what they like while the hop runs.
        self.take()
        if self.waiting:
            self.is_answered(data, False)
        if survives:
            segment.written()
            for position in range(before, before + count):
                self.count[position] += 1
            if segment.at >= segment.stop:
                self.board.finish(segment)
        else:
            self.board.give_back(segment)

    @invariant()
    def no_byte_has_two_writers(self) -> None:
        assert max(self.count) <= 1
        claims = sorted((each.at, each.stop) for each in self.board.running if each.owner is None)
        for (_, stop), (start, _) in itertools.pairwise(claims):
            assert stop <= start

    @invariant()
    def no_byte_is_forgotten(self) -> None:
        in_hand = sum(each.in_hand - each.at for each in self.board.running)
        assert self.count.count(0) == self.board.left + in_hand
        assert self.board.is_done == (self.count.count(0) == 0 and not self.board.running)

    @invariant()
    def owners_and_heirs_know_each_other(self) -> None:
        for each in self.board.running:
            assert each.heir is None or (each.heir.owner is each and each.heir in self.board.running)
            assert each.owner is None or each.owner.heir is each


TestBoard = BoardMachine.TestCase
TestBoard.settings = settings(stateful_step_count=40)


@given(st.integers(1, 1000), st.integers(1, 500))
def test_halving_ends_at_the_least_size(total: int, least: int) -> None:
    board = Board([(0, total)], least=least)
    while (segment := board.take()) is not None:
        assert board.confirm(segment)
    assert min(each.left for each in board.running) >= min(least, total)
    assert sum(each.left for each in board.running) == total

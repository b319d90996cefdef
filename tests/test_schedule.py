"""Who starts next, asked of the schedule itself: laws 2 and 3 without a manager, and against a plain and slow model."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import make_download
from trio_dlm import DownloadStatus
from trio_dlm._download import Download
from trio_dlm._schedule import Schedule, Ticket, check_limit


def make_schedule(max_concurrent: float = math.inf, max_per_lane: float = math.inf) -> Schedule:
    return Schedule(max_concurrent=max_concurrent, max_per_lane=max_per_lane)


def put(schedule: Schedule, *names: str, lane: Hashable = None) -> list[Download]:
    downloads = [make_download(name, lane) for name in names]
    for download in downloads:
        schedule.put(download)
    return downloads


def grant_all(schedule: Schedule) -> list[Download]:
    granted = []
    while (download := schedule.grant()) is not None:
        granted.append(download)
    return granted


def names(downloads: list[Download]) -> str:
    return "".join(download.correlation_id for download in downloads)


# Law 3 within a lane.


def test_one_lane_is_plain_first_in_first_out() -> None:
    schedule = make_schedule()
    put(schedule, *"abcdef")
    assert names(grant_all(schedule)) == "abcdef"


def test_a_withdrawn_download_is_skipped_and_those_behind_it_move_up() -> None:
    schedule = make_schedule(2)
    a, b, *_ = put(schedule, *"abcd")
    schedule.withdraw(a)
    schedule.withdraw(b)
    assert names(grant_all(schedule)) == "cd"


def test_a_download_that_is_queued_again_goes_to_the_tail() -> None:
    schedule = make_schedule()
    a, *_ = put(schedule, *"abc")
    schedule.withdraw(a)
    schedule.put(a)
    assert names(grant_all(schedule)) == "bca"


def test_a_download_queued_many_times_starts_once() -> None:
    schedule = make_schedule()
    a, *_ = put(schedule, *"ab")
    for _ in range(40):
        schedule.withdraw(a)
        schedule.put(a)
    assert names(grant_all(schedule)) == "ba"
    assert schedule.pending == 0


# Law 3 between lanes.


def test_lanes_take_turns() -> None:
    schedule = make_schedule()
    put(schedule, *"abc", lane="x")
    put(schedule, *"ABC", lane="y")
    put(schedule, *"1", lane="z")
    assert names(grant_all(schedule)) == "aA1bBcC"


def test_a_lane_with_a_thousand_entries_delays_a_new_lane_by_one_start() -> None:
    schedule = make_schedule(1)
    put(schedule, *[f"x{n}" for n in range(1000)], lane="x")
    first = schedule.grant()
    assert first is not None
    put(schedule, "y", lane="y")
    schedule.release(first)
    second = schedule.grant()
    assert second is not None
    assert second.correlation_id == "x1"
    schedule.release(second)
    third = schedule.grant()
    assert third is not None
    assert third.correlation_id == "y"


def test_a_lane_joins_the_end_of_the_round_with_its_first_entry() -> None:
    schedule = make_schedule(1)
    put(schedule, *"ab", lane="x")
    put(schedule, *"AB", lane="y")
    granted = []
    for _ in range(6):
        download = schedule.grant()
        if download is None:
            break
        granted.append(download)
        schedule.release(download)
        if download.correlation_id == "a":
            put(schedule, *"12", lane="z")
    assert names(granted) == "aAb1B2"


def test_a_further_entry_does_not_move_the_turn_of_a_lane() -> None:
    schedule = make_schedule(0)
    put(schedule, "a", lane="x")
    put(schedule, "A", lane="y")
    # Whoever keeps submitting to a lane must not lose its turn by it.
    put(schedule, "b", lane="x")
    schedule.max_concurrent = 1
    assert names(grant_all(schedule)) == "a"


def test_a_lane_that_ran_empty_and_fills_again_joins_the_end() -> None:
    schedule = make_schedule()
    (a,) = put(schedule, "a", lane="x")
    put(schedule, "A", lane="y")
    schedule.withdraw(a)
    put(schedule, "b", lane="x")
    assert names(grant_all(schedule)) == "Ab"


def test_a_lane_at_its_limit_keeps_its_turn_until_it_may_start() -> None:
    schedule = make_schedule(2)
    schedule.set_lane_limit("x", 1)
    put(schedule, *"ab", lane="x")
    put(schedule, *"ABCD", lane="y")
    a, upper_a = grant_all(schedule)
    assert names([a, upper_a]) == "aA"
    schedule.release(upper_a)
    # x is at its limit: its turn is passed over, and kept.
    (upper_b,) = grant_all(schedule)
    assert upper_b.correlation_id == "B"
    schedule.release(upper_b)
    (upper_c,) = grant_all(schedule)
    assert upper_c.correlation_id == "C"
    schedule.release(a)
    # It had the older turn all the time.
    assert names(grant_all(schedule)) == "b"


def test_a_lane_whose_limit_is_raised_goes_on_with_the_turn_that_it_kept() -> None:
    schedule = make_schedule(3, max_per_lane=1)
    put(schedule, *"ab", lane="x")
    put(schedule, *"AB", lane="y")
    assert names(grant_all(schedule)) == "aA"
    schedule.max_per_lane = 2
    assert names(grant_all(schedule)) == "b"


def test_a_lane_that_waited_and_was_emptied_keeps_no_turn() -> None:
    schedule = make_schedule(max_per_lane=1)
    a, b = put(schedule, *"ab", lane="x")
    assert names(grant_all(schedule)) == "a"
    schedule.withdraw(b)
    schedule.release(a)
    assert grant_all(schedule) == []
    put(schedule, "A", lane="y")
    put(schedule, "c", lane="x")
    assert names(grant_all(schedule)) == "Ac"


def test_a_lane_is_never_in_the_round_twice() -> None:
    schedule = make_schedule()
    schedule.set_lane_limit("x", 1)
    a, *_ = put(schedule, *"abc", lane="x")
    assert grant_all(schedule) == [a]
    for limit in (1, 2, 3):
        schedule.set_lane_limit("x", limit)
        assert len(schedule._round) == 1
    schedule.release(a)
    assert len(schedule._round) == 1
    assert names(grant_all(schedule)) == "bc"


def test_a_lane_that_waited_was_emptied_and_fills_again_has_one_turn() -> None:
    schedule = make_schedule()
    schedule.set_lane_limit("x", 1)
    a, b = put(schedule, *"ab", lane="x")
    assert grant_all(schedule) == [a]
    schedule.withdraw(b)
    put(schedule, *"cd", lane="x")
    put(schedule, *"CD", lane="y")
    # It has a turn already, and no need to be told that it may start.
    schedule.release(a)
    schedule.set_lane_limit("x", 2)
    assert len(schedule._round) == 2
    assert names(grant_all(schedule)) == "cCdD"


# Law 2.


def test_no_more_than_max_concurrent_hold_a_slot() -> None:
    schedule = make_schedule(2)
    put(schedule, *"abcd")
    a, _ = grant_all(schedule)
    assert schedule.active == 2
    assert schedule.available_slots == 0
    schedule.release(a)
    assert names(grant_all(schedule)) == "c"
    assert schedule.active == 2


def test_no_more_than_a_lanes_limit_hold_a_slot_within_it() -> None:
    schedule = make_schedule(max_per_lane=2)
    put(schedule, *"abc", lane="x")
    put(schedule, *"ABC", lane="y")
    granted = grant_all(schedule)
    assert names(granted) == "aAbB"
    schedule.release(granted[0])
    assert names(grant_all(schedule)) == "c"


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_lowering_the_limit_takes_no_slot_away_and_starts_nobody_until_enough_have_ended(limit: int) -> None:
    schedule = make_schedule(3)
    put(schedule, *"abcdefg")
    granted = grant_all(schedule)
    schedule.max_concurrent = limit
    assert schedule.active == 3
    assert schedule.available_slots == 0
    assert schedule.max_concurrent == limit
    for left, download in zip((2, 1, 0), granted, strict=True):
        schedule.release(download)
        assert len(grant_all(schedule)) == max(0, limit - left)
        if limit > left:
            break


def test_a_limit_of_zero_starts_nothing_until_it_is_raised() -> None:
    schedule = make_schedule(0)
    put(schedule, *"ab")
    assert grant_all(schedule) == []
    schedule.max_concurrent = 1
    assert names(grant_all(schedule)) == "a"


def test_a_lane_limit_of_zero_holds_back_that_lane_only() -> None:
    schedule = make_schedule()
    schedule.set_lane_limit("x", 0)
    put(schedule, *"ab", lane="x")
    put(schedule, *"AB", lane="y")
    assert names(grant_all(schedule)) == "AB"
    schedule.set_lane_limit("x", None)
    assert names(grant_all(schedule)) == "ab"


def test_a_limit_for_a_lane_that_runs_already_counts_those_that_run() -> None:
    schedule = make_schedule()
    put(schedule, *"abc", lane="x")
    granted = grant_all(schedule)
    schedule.set_lane_limit("x", 2)
    put(schedule, *"de", lane="x")
    assert grant_all(schedule) == []
    schedule.release(granted[0])
    assert grant_all(schedule) == []
    schedule.release(granted[1])
    assert names(grant_all(schedule)) == "d"


def test_a_lane_limit_can_be_changed_while_the_lane_is_full() -> None:
    schedule = make_schedule()
    schedule.set_lane_limit("x", 2)
    put(schedule, *"abcdef", lane="x")
    granted = grant_all(schedule)
    schedule.set_lane_limit("x", 1)
    schedule.release(granted[0])
    assert grant_all(schedule) == []
    schedule.set_lane_limit("x", 3)
    assert names(grant_all(schedule)) == "cd"


def test_the_limit_of_a_lane_is_remembered_while_the_lane_is_empty() -> None:
    schedule = make_schedule()
    schedule.set_lane_limit("x", 1)
    (a,) = put(schedule, "a", lane="x")
    grant_all(schedule)
    schedule.release(a)
    assert not schedule.read_lanes()
    put(schedule, *"bc", lane="x")
    assert names(grant_all(schedule)) == "b"


def test_a_lane_with_a_limit_of_its_own_does_not_follow_max_per_lane() -> None:
    schedule = make_schedule(max_per_lane=1)
    schedule.set_lane_limit("x", 2)
    put(schedule, *"abc", lane="x")
    put(schedule, *"ABC", lane="y")
    assert names(grant_all(schedule)) == "aAb"
    schedule.max_per_lane = 2
    assert names(grant_all(schedule)) == "B"
    assert schedule.max_per_lane == 2


def test_taking_away_a_limit_that_was_never_given_changes_nothing() -> None:
    schedule = make_schedule(max_per_lane=1)
    schedule.set_lane_limit("x", None)
    put(schedule, *"ab", lane="x")
    assert names(grant_all(schedule)) == "a"


# What is kept, and what is not.


def test_a_lane_is_made_when_it_is_used_and_dropped_when_nothing_of_it_is_queued_or_running() -> None:
    schedule = make_schedule(1)
    assert not schedule.read_lanes()
    a, b = put(schedule, *"ab", lane="x")
    assert set(schedule.read_lanes()) == {"x"}
    grant_all(schedule)
    schedule.withdraw(b)
    assert set(schedule.read_lanes()) == {"x"}
    schedule.release(a)
    assert not schedule.read_lanes()
    assert not schedule._lanes


def test_a_lane_whose_only_entry_is_withdrawn_is_dropped() -> None:
    schedule = make_schedule(0)
    (a,) = put(schedule, "a", lane="x")
    schedule.withdraw(a)
    assert not schedule.read_lanes()
    assert not schedule._lanes
    assert schedule.pending == 0


def test_a_lane_whose_last_download_has_ended_is_dropped() -> None:
    schedule = make_schedule()
    (a,) = put(schedule, "a", lane="x")
    schedule.grant()
    schedule.release(a)
    assert not schedule._lanes


def test_the_default_lane_stays_and_is_shown_only_in_use() -> None:
    schedule = make_schedule()
    (a,) = put(schedule, "a")
    schedule.grant()
    schedule.release(a)
    assert set(schedule._lanes) == {None}
    assert not schedule.read_lanes()


def test_the_default_lane_is_dropped_where_there_are_void_tickets_to_throw_away() -> None:
    schedule = make_schedule(0)
    (a,) = put(schedule, "a")
    schedule.withdraw(a)
    assert not schedule._lanes


def test_the_figures_of_a_lane_are_what_is_queued_what_runs_and_what_may() -> None:
    schedule = make_schedule(2, max_per_lane=5)
    schedule.set_lane_limit("y", math.inf)
    put(schedule, *"abc", lane="x")
    put(schedule, "A", lane="y")
    grant_all(schedule)
    lanes = schedule.read_lanes()
    assert (lanes["x"].pending, lanes["x"].active, lanes["x"].limit) == (2, 1, 5)
    assert (lanes["y"].pending, lanes["y"].active, lanes["y"].limit) == (0, 1, math.inf)


def test_who_holds_a_slot_is_known() -> None:
    schedule = make_schedule(2)
    put(schedule, *"ac", lane="x")
    put(schedule, *"b", lane="y")
    grant_all(schedule)
    assert sorted(names(schedule.running)) == ["a", "b"]


def test_a_void_ticket_points_at_nothing() -> None:
    schedule = make_schedule(0)
    a, _ = put(schedule, *"ab")
    ticket = a.ticket
    assert isinstance(ticket, Ticket)
    schedule.withdraw(a)
    assert ticket.download is None
    assert a.ticket is None


def test_a_download_that_was_granted_a_slot_has_no_ticket_any_more() -> None:
    schedule = make_schedule(1)
    (a,) = put(schedule, "a")
    assert schedule.grant() is a
    assert a.ticket is None


class Owned:
    """Something of a download that can be referred to weakly."""

    async def download(self, job: object) -> None:
        raise NotImplementedError


def test_the_ticket_of_a_download_that_ended_in_the_queue_does_not_keep_it_alive() -> None:
    schedule = make_schedule(0)
    put(schedule, "first")
    owned = Owned()
    kept_alive = weakref.ref(owned)
    download = make_download("second")
    download.function = owned.download
    schedule.put(download)
    schedule.withdraw(download)
    del owned, download
    gc.collect()
    assert kept_alive() is None


def test_void_tickets_are_swept_out_once_they_outnumber_the_others_by_two_to_one() -> None:
    schedule = make_schedule(0)
    downloads = put(schedule, *[str(n) for n in range(3000)])
    for download in downloads[:-10]:
        schedule.withdraw(download)
    (lane,) = schedule._lanes.values()
    # The channel is what would grow; a few void ones are cheaper kept than swept.
    assert lane.receive.statistics().current_buffer_used <= 10 * 3 + 20
    schedule.max_concurrent = math.inf
    assert grant_all(schedule) == downloads[-10:]


def count_tickets(schedule: Schedule) -> int:
    """How many there are in the one lane, void ones included."""
    (lane,) = schedule._lanes.values()
    return lane.receive.statistics().current_buffer_used


def test_the_sweep_comes_with_the_first_void_ticket_too_many() -> None:
    schedule = make_schedule(0)
    a, *_ = put(schedule, *"abc")
    counts = []
    for _ in range(42):
        schedule.withdraw(a)
        counts.append(count_tickets(schedule))
        schedule.put(a)
    # Two live ones bear with twice as many void ones and 16 more.
    assert counts == 2 * [*range(3, 3 + 20), 2]


def test_a_void_ticket_that_was_skipped_counts_no_more() -> None:
    schedule = make_schedule(1)
    downloads = put(schedule, *map(str, range(39)))
    for download in downloads[:10]:
        schedule.withdraw(download)
    assert schedule.grant() is downloads[10]
    counts = []
    for download in downloads[11:]:
        schedule.withdraw(download)
        counts.append(count_tickets(schedule))
    # 28 were live and none void; the 24th that goes leaves 4 live, which bear with 24 void ones.  One more is too many.
    assert counts == [*[28] * 24, *[3] * 4]


def test_void_tickets_behind_those_that_start_are_swept_out_too() -> None:
    schedule = make_schedule(0)
    downloads = put(schedule, *map(str, range(30)))
    # 10 live ones bear with 20 void ones behind them, and fewer do not.
    for download in downloads[10:]:
        schedule.withdraw(download)
    assert count_tickets(schedule) == 30
    counts = []
    for limit in range(1, 11):
        schedule.max_concurrent = limit
        assert schedule.grant() is downloads[limit - 1]
        counts.append(count_tickets(schedule))
    # The one that leaves 1 live with 20 void ones is the first too many.
    assert counts == [29, 28, 27, 26, 25, 24, 23, 22, 1, 0]


def test_once_nothing_is_granted_any_more_nothing_is_swept() -> None:
    schedule = make_schedule(0)
    downloads = put(schedule, *map(str, range(40)))
    schedule.halt()
    for download in downloads[1:]:
        schedule.withdraw(download)
    assert count_tickets(schedule) == 40


def test_a_lane_that_is_dropped_has_closed_its_channel() -> None:
    schedule = make_schedule(0)
    (a,) = put(schedule, "a", lane="x")
    lane = schedule._lanes["x"]
    schedule.withdraw(a)
    with pytest.raises(trio.ClosedResourceError):
        lane.send.send_nowait(Ticket(a))
    with pytest.raises(trio.ClosedResourceError):
        lane.receive.receive_nowait()


def test_a_lane_that_is_paused_and_resumed_for_ever_does_not_grow() -> None:
    schedule = make_schedule(0)
    a, *_ = put(schedule, *"abc")
    (lane,) = schedule._lanes.values()
    for _ in range(1000):
        schedule.withdraw(a)
        schedule.put(a)
        assert lane.receive.statistics().current_buffer_used <= 3 * 3 + 20


def test_lanes_that_come_and_go_while_no_slot_is_free_do_not_pile_up() -> None:
    schedule = make_schedule(0)
    put(schedule, "first", lane="steady")
    for n in range(1000):
        (download,) = put(schedule, str(n), lane=n)
        schedule.withdraw(download)
    assert len(schedule._round) < 50
    assert len(schedule.read_lanes()) == 1
    schedule.max_concurrent = 1
    assert names(grant_all(schedule)) == "first"


def test_the_sweep_comes_with_the_first_stale_turn_too_many() -> None:
    schedule = make_schedule(0)
    put(schedule, "first", lane="steady")
    counts = []
    for n in range(40):
        (download,) = put(schedule, str(n), lane=n)
        schedule.withdraw(download)
        counts.append(len(schedule._round))
    # Two lanes bear with 20 turns; then only that of the first is left.
    assert counts == 2 * [*range(2, 21), 1]


def test_an_order_survives_the_sweep_of_stale_turns() -> None:
    schedule = make_schedule(1)
    downloads = [each for n in range(100) for each in put(schedule, str(n), lane=n)]
    # The turns are no longer in their order of coming: taking the lowest has moved the others about.
    assert schedule.grant() is downloads[0]
    for download in downloads[1:61]:
        schedule.withdraw(download)
    schedule.max_concurrent = math.inf
    assert grant_all(schedule) == downloads[61:]


# Limits as arguments.


@pytest.mark.parametrize("limit", [0, 1, 10**12, math.inf])
def test_an_int_from_zero_up_or_infinity_is_a_limit(limit: float) -> None:
    assert check_limit("max_concurrent", limit) == limit


@pytest.mark.parametrize("limit", [True, False, 1.0, 2.5, math.nan, -math.inf, "3", None, Decimal(3), [1]], ids=repr)
def test_anything_else_is_a_type_error_that_names_the_argument(limit: object) -> None:
    with pytest.raises(TypeError, match=r"^max_concurrent is an int or math\.inf, got "):
        check_limit("max_concurrent", limit)


def test_an_infinity_of_another_type_is_a_type_error_too() -> None:
    with pytest.raises(TypeError, match=r"^max_concurrent is an int or math\.inf, got Decimal"):
        check_limit("max_concurrent", Decimal("Infinity"))


def test_a_negative_limit_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^max_concurrent is 0 or more, got -1$"):
        check_limit("max_concurrent", -1)


# Against a model that is law 3 word for word, and slow.


@dataclass
class Model:
    max_concurrent: float = 2
    max_per_lane: float = math.inf
    own: dict[int, float] = field(default_factory=dict)
    queues: dict[int, list[Download]] = field(default_factory=dict)
    round: list[int] = field(default_factory=list)
    running: list[Download] = field(default_factory=list)

    def put(self, download: Download) -> None:
        lane = download.lane
        assert isinstance(lane, int)
        queue = self.queues.setdefault(lane, [])
        queue.append(download)
        if len(queue) == 1:
            self.round.append(lane)

    def withdraw(self, download: Download) -> None:
        lane = download.lane
        assert isinstance(lane, int)
        self.queues[lane].remove(download)
        if not self.queues[lane]:
            self.round.remove(lane)

    def grant(self) -> Download | None:
        if len(self.running) >= self.max_concurrent:
            return None
        for lane in self.round:
            active = sum(1 for download in self.running if download.lane == lane)
            if active < self.own.get(lane, self.max_per_lane):
                download = self.queues[lane].pop(0)
                self.running.append(download)
                self.round.remove(lane)
                if self.queues[lane]:
                    self.round.append(lane)
                return download
        return None


limits = st.one_of(st.integers(0, 3), st.just(math.inf))
lanes = st.integers(0, 3)
picks = st.integers(0, 1000)
operations = st.one_of(
    st.tuples(st.just("put"), lanes),
    st.tuples(st.just("put"), lanes),
    st.tuples(st.just("withdraw"), picks),
    st.tuples(st.just("requeue"), picks),
    st.tuples(st.just("release"), picks),
    st.tuples(st.just("release"), picks),
    st.tuples(st.just("max_concurrent"), limits),
    st.tuples(st.just("max_per_lane"), limits),
    st.tuples(st.just("set_lane_limit"), st.tuples(lanes, st.none() | limits)),
)


# Hypothesis draws short lists unless told otherwise, and five operations hardly ever make two lanes compete.
programs = st.one_of(st.lists(operations, max_size=20), st.lists(operations, min_size=40, max_size=120))


@given(programs)
def test_every_grant_is_the_one_of_the_law_word_for_word(program: list[tuple[str, object]]) -> None:
    model, schedule = Model(), make_schedule(2)
    queued: list[Download] = []
    for number, (action, argument) in enumerate(program):
        if action == "put":
            assert isinstance(argument, int)
            download = make_download(str(number), argument)
            queued.append(download)
            model.put(download)
            schedule.put(download)
        elif action in {"withdraw", "requeue"} and queued:
            assert isinstance(argument, int)
            download = queued.pop(argument % len(queued))
            model.withdraw(download)
            schedule.withdraw(download)
            if action == "requeue":
                queued.append(download)
                model.put(download)
                schedule.put(download)
        elif action == "release" and model.running:
            assert isinstance(argument, int)
            download = model.running.pop(argument % len(model.running))
            schedule.release(download)
        elif action == "max_concurrent":
            assert isinstance(argument, (int, float))
            model.max_concurrent = schedule.max_concurrent = argument
        elif action == "max_per_lane":
            assert isinstance(argument, (int, float))
            model.max_per_lane = schedule.max_per_lane = argument
        elif action == "set_lane_limit":
            assert isinstance(argument, tuple)
            lane, limit = argument
            if limit is None:
                model.own.pop(lane, None)
            else:
                model.own[lane] = limit
            schedule.set_lane_limit(lane, limit)
        while (expected := model.grant()) is not None:
            granted = schedule.grant()
            assert granted is expected
            queued.remove(expected)
        assert schedule.grant() is None
        assert schedule.pending == len(queued)
        assert schedule.active == len(model.running)
        assert set(schedule.running) == set(model.running)
        assert schedule.available_slots == max(0, model.max_concurrent - len(model.running))
        in_use = {download.lane for download in (*queued, *model.running)}
        assert set(schedule.read_lanes()) == in_use


def test_the_schedule_sets_no_status() -> None:
    schedule = make_schedule()
    (a,) = put(schedule, "a")
    grant_all(schedule)
    assert a.status is DownloadStatus.PENDING

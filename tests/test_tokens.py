"""What a bucket gives in any stretch of time, and in which order it is given to those who wait: all without a clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm._tokens import BURST_S, PIECE_S, Claim, Line, Share, TokenBucket

RATES = st.sampled_from([0.5, 1.0, 7.0, 1024.0, 102_400.0, 3.3e6, 1e9, 1e12])
# What a trio clock shows: it starts anywhere below a million seconds.
STARTS = st.floats(0, 1e7)
WAITS = st.floats(0, 2)
SIZES = st.integers(1, 1 << 20)


def bucket_of(rate: float, now: float = 0.0) -> TokenBucket:
    bucket = TokenBucket()
    bucket.set_rate(rate, now)
    return bucket


def line_of(rate: float = math.inf) -> Line:
    line = Line()
    line.bucket.set_rate(rate, 0.0)
    return line


def empty(line: Line, now: float = 0.0) -> None:
    """Leave nothing in the bucket."""
    line.bucket.spend(int(line.bucket.level(now)), now)


def serve(line: Line, seconds: float) -> list[Claim]:
    """Serve whoever is in line, and comes back at once, for so long."""
    served: list[Claim] = []
    now = 0.0
    while (now := line.ready_at(now)) <= seconds:
        claim = line.grant(now)
        assert claim is not None, f"nobody was served at {now}, when somebody should have been"
        served.append(claim)
        line.put(claim.share, claim.at_most, claim.sleeper)
    return served


# The bucket.


def test_without_a_rate_there_is_no_limit() -> None:
    bucket = TokenBucket()
    assert bucket.rate == math.inf
    bucket.spend(1 << 80, 5.0)
    assert bucket.level(5.0) == math.inf
    assert bucket.holds(1 << 80, 5.0)
    assert bucket.ready_at(1 << 80, 5.0) == 5.0
    assert bucket.piece(1 << 80) == 1 << 80


def test_a_new_limit_begins_with_a_moment_of_its_rate() -> None:
    assert bucket_of(1000.0, 3.0).level(3.0) == 1000 * BURST_S
    assert bucket_of(1000.0, 3.0).level(4.0) == 1000 * BURST_S
    assert bucket_of(1.0).level(0.0) == 1


def test_what_is_spent_comes_back_at_the_rate() -> None:
    bucket = bucket_of(1000.0)
    bucket.spend(100, 0.0)
    assert bucket.level(0.0) == 0
    assert bucket.level(0.05) == pytest.approx(50)
    assert not bucket.holds(51, 0.05)
    assert bucket.holds(50, 0.05)
    assert bucket.ready_at(50, 0.05) == 0.05
    assert bucket.ready_at(51, 0.05) == pytest.approx(0.051)


def test_a_debt_is_paid_first() -> None:
    bucket = bucket_of(1000.0)
    bucket.spend(1100, 0.0)
    assert bucket.level(0.0) == -1000
    assert bucket.ready_at(1, 0.0) == pytest.approx(1.001)


def test_what_is_put_back_is_there_again_but_no_more_than_a_moment_of_the_rate() -> None:
    bucket = bucket_of(1000.0)
    bucket.spend(60, 0.0)
    bucket.spend(-30, 0.0)
    assert bucket.level(0.0) == 70
    bucket.spend(-1000, 0.0)
    assert bucket.level(0.0) == 100
    bucket.spend(1, 0.0)
    assert bucket.level(0.0) == 99


def test_a_piece_is_what_its_time_brings_and_at_least_a_byte() -> None:
    assert bucket_of(1000.0).piece(1 << 16) == 1000 * PIECE_S
    assert bucket_of(1000.0).piece(3) == 3
    assert bucket_of(99.0).piece(1 << 16) == 1
    assert bucket_of(1.0).piece(1 << 16) == 1


def test_a_new_rate_keeps_the_debt_and_no_more_than_its_own_moment() -> None:
    bucket = bucket_of(1000.0)
    bucket.set_rate(10.0, 0.0)
    assert (bucket.rate, bucket.level(0.0)) == (10.0, 1)
    bucket.spend(101, 0.0)
    bucket.set_rate(1000.0, 0.0)
    assert bucket.level(0.0) == -100
    assert bucket.ready_at(10, 0.0) == pytest.approx(0.11)


def test_a_new_rate_holds_from_now_on_and_not_before() -> None:
    bucket = bucket_of(1000.0)
    bucket.spend(1100, 0.0)
    bucket.set_rate(10.0, 0.5)
    assert bucket.level(0.5) == pytest.approx(-500)
    assert bucket.level(1.5) == pytest.approx(-490)


def test_no_limit_forgives_the_debt() -> None:
    bucket = bucket_of(1000.0)
    bucket.spend(1 << 30, 0.0)
    bucket.set_rate(math.inf, 0.0)
    assert bucket.level(0.0) == math.inf
    bucket.set_rate(1000.0, 0.0)
    assert bucket.level(0.0) == 100


@given(RATES, STARTS, st.lists(st.tuples(WAITS, SIZES), max_size=40))
def test_no_stretch_of_time_brings_more_than_the_rate_and_a_moment_of_it(
    rate: float, start: float, wishes: list[tuple[float, int]]
) -> None:
    bucket = bucket_of(rate, start)
    now, given = start, [(start, 0)]
    for wait, wanted in wishes:
        size = bucket.piece(wanted)
        now = bucket.ready_at(size, now + wait)
        bucket.spend(size, now)
        given.append((now, size))
    burst = max(1.0, rate * BURST_S)
    for first in range(len(given)):
        for last in range(first, len(given)):
            total = sum(size for _, size in given[first : last + 1])
            elapsed = given[last][0] - given[first][0]
            # Both ends may be a microsecond early, and the sums have their own errors.
            assert total <= (rate * elapsed + burst + rate * 2e-6) * (1 + 1e-9)


@given(RATES, STARTS, st.integers(0, 1 << 20), SIZES)
def test_at_the_time_that_it_names_a_bucket_holds_what_it_did_not_hold_before(
    rate: float, start: float, owed: int, wanted: int
) -> None:
    bucket = bucket_of(rate, start)
    bucket.spend(owed, start)
    size = bucket.piece(wanted)
    ready = bucket.ready_at(size, start)
    assert bucket.holds(size, ready)
    assert ready == start or not bucket.holds(size, start + (ready - start) * 0.9)


# The line.


def test_an_empty_line_serves_nobody_ever() -> None:
    line = line_of(1000.0)
    assert line.next() is None
    assert line.grant(0.0) is None
    assert line.ready_at(0.0) == math.inf


def test_nobody_is_served_before_there_is_enough_for_a_turn() -> None:
    line = line_of(1000.0)
    empty(line)
    claim = line.put(Share(), 10, None)
    assert line.grant(0.009) is None
    assert line.ready_at(0.0) == pytest.approx(0.01)
    assert line.grant(0.01) is claim
    assert claim.size == 10
    assert line.next() is None


def test_a_turn_gives_a_piece_and_what_gave_it_is_carried_along() -> None:
    line = line_of(1000.0)
    sleeper = object()
    line.put(Share(), 1 << 16, sleeper)
    served = line.grant(0.0)
    assert served is not None
    assert (served.size, served.sleeper) == (20, sleeper)
    assert line.bucket.level(0.0) == 80


def test_the_claims_of_one_share_are_served_in_the_order_of_their_coming() -> None:
    line, share = line_of(1000.0), Share()
    claims = [line.put(share, 1, None) for _ in range(3)]
    assert [line.grant(0.0) for _ in range(4)] == [*claims, None]


def test_equals_are_served_in_the_order_in_which_they_joined() -> None:
    line = line_of(1000.0)
    claims = [line.put(Share(), 1, None) for _ in range(3)]
    assert [line.grant(0.0) for _ in range(3)] == claims


def test_whoever_has_received_the_least_is_next_however_many_claims_another_has() -> None:
    line, greedy, modest = line_of(1000.0), Share(), Share()
    for _ in range(8):
        line.put(greedy, 10, None)
    line.put(modest, 10, None)
    served = [line.grant(0.0) for _ in range(2)]
    assert [claim.share for claim in served if claim is not None] == [greedy, modest]


@pytest.mark.parametrize("wishes", [(1 << 16, 1 << 14), (5, 1 << 16), (1, 3)])
def test_two_that_wait_all_the_time_receive_the_same_whatever_the_size_of_their_reads(wishes: tuple[int, int]) -> None:
    line, shares = line_of(1000.0), (Share(), Share())
    for share, at_most in zip(shares, wishes, strict=True):
        line.put(share, at_most, None)
    served = serve(line, 5.0)
    received = [sum(claim.size for claim in served if claim.share is share) for share in shares]
    assert sum(received) == pytest.approx(5000, rel=0.05)
    assert received[0] == pytest.approx(received[1], abs=20)


def test_nobody_overtakes_whoever_is_next_by_wanting_less() -> None:
    line, patient, hasty = line_of(1000.0), Share(), Share()
    empty(line)
    first = line.put(patient, 20, None)
    line.put(hasty, 1, None)
    assert line.grant(0.019) is None
    assert line.grant(0.02) is first


def test_a_newcomer_does_not_make_up_for_the_time_when_it_was_away() -> None:
    line, old, new = line_of(1000.0), Share(), Share()
    line.put(old, 20, None)
    assert len(serve(line, 10.0)) > 400
    line.bucket.set_rate(1000.0, 10.0)
    line.put(new, 20, None)
    now, received = 10.0, {old: 0, new: 0}
    for _ in range(20):
        now = line.ready_at(now)
        claim = line.grant(now)
        assert claim is not None
        received[claim.share] += claim.size
        line.put(claim.share, 20, None)
    assert received[old] == pytest.approx(received[new], abs=20)


def test_what_came_without_a_limit_is_not_held_against_anybody() -> None:
    line, busy, idle = line_of(), Share(), Share()
    line.put(busy, 1 << 30, None)
    assert line.grant(0.0) is not None
    line.charge(busy, 1 << 30, 0.0)
    assert busy.taken_s == 0
    line.bucket.set_rate(1000.0, 0.0)
    line.put(idle, 20, None)
    line.put(busy, 20, None)
    served = [line.grant(0.0) for _ in range(2)]
    assert [claim.share for claim in served if claim is not None] == [idle, busy]


def test_a_debt_counts_as_received_by_whoever_made_it() -> None:
    line, debtor, other = line_of(1000.0), Share(), Share()
    line.charge(debtor, 60, 0.0)
    for share in (debtor, other):
        for _ in range(2):
            line.put(share, 20, None)
    served = [line.grant(0.0) for _ in range(2)]
    assert [claim.share for claim in served if claim is not None] == [other, other]
    assert line.bucket.level(0.0) == 0


def test_a_claim_that_is_withdrawn_leaves_the_others_where_they_were() -> None:
    line, share, other = line_of(1000.0), Share(), Share()
    first, second = line.put(share, 5, None), line.put(share, 5, None)
    third = line.put(other, 5, None)
    line.withdraw(first, 0.0)
    assert line.next() is second
    line.withdraw(second, 0.0)
    assert line.next() is third
    line.withdraw(third, 0.0)
    assert line.next() is None
    assert line.bucket.level(0.0) == 100


def test_a_claim_that_is_withdrawn_after_it_was_served_gives_all_back() -> None:
    line, share = line_of(1000.0), Share()
    claim = line.put(share, 20, None)
    assert line.grant(0.0) is claim
    line.withdraw(claim, 0.0)
    assert (line.bucket.level(0.0), share.taken_s) == (100, 0)


def test_two_that_had_the_same_have_the_same_after_the_rate_was_lowered_by_much() -> None:
    line, shares = line_of(1e6), (Share(), Share())
    for share in shares:
        line.put(share, 1 << 16, None)
    # One is a turn ahead, which is more than the next seconds bring.
    ahead = line.grant(0.0)
    assert ahead is not None
    line.put(ahead.share, 1 << 16, None)
    line.bucket.set_rate(1000.0, 0.0)
    served = serve(line, 5.0)
    received = [sum(claim.size for claim in served if claim.share is share) for share in shares]
    assert received[0] == pytest.approx(received[1], abs=40)


def test_bytes_of_a_high_rate_that_come_back_at_a_low_one_put_nobody_ahead_of_the_others() -> None:
    line, share, other = line_of(1e6), Share(), Share()
    first = line.put(share, 1 << 16, None)
    line.put(share, 1 << 16, None)
    assert line.grant(0.0) is first
    line.bucket.set_rate(1000.0, 0.0)
    line.put(other, 1 << 16, None)
    line.charge(share, -first.size, 0.0)
    served = serve(line, 5.0)
    received = [sum(claim.size for claim in served if claim.share is each) for each in (share, other)]
    assert received[0] == pytest.approx(received[1], abs=40)


@given(
    RATES,
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 4), SIZES),
            st.tuples(st.just("withdraw"), st.integers(0, 4), st.integers(0, 20)),
            st.tuples(st.just("charge"), st.integers(0, 4), st.integers(-100, 100)),
            st.tuples(st.just("rate"), RATES, st.just(0)),
        ),
        max_size=60,
    ),
)
def test_whatever_happens_everybody_who_stays_is_served_and_only_once(
    rate: float, steps: list[tuple[str, float, int]]
) -> None:
    line = line_of(rate)
    shares = [Share() for _ in range(5)]
    waiting: list[Claim] = []
    now = 0.0

    def serve_one() -> None:
        nonlocal now
        now = line.ready_at(now)
        claim = line.grant(now)
        assert claim is not None
        assert 1 <= claim.size <= claim.at_most
        waiting.remove(claim)

    for verb, which, size in steps:
        if verb == "rate":
            line.bucket.set_rate(which, now)
        elif verb == "charge":
            line.charge(shares[int(which)], size, now)
        elif verb == "put":
            waiting.append(line.put(shares[int(which)], size, None))
        elif waiting:
            line.withdraw(waiting.pop(size % len(waiting)), now)
        if size % 3 == 0 and waiting:
            serve_one()
    while waiting:
        serve_one()
    assert line.next() is None

"""Rates in virtual time: right within 5 % over 5 s, fair, changed while others wait; a cancel loses nothing."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints

from tests.fakes import Steps, run_in_virtual_time, settle
from trio_dlm._rate import RateLimit, Throttle
from trio_dlm._tokens import BURST_S

pytestmark = pytest.mark.virtual_time

# What one read of a socket brings at the most.
READ = 64 * 1024


async def receive(limit: RateLimit, got: list[int], at_most: int = READ) -> None:
    """Read without end from a server that always has more."""
    while True:
        got.append(await limit.take(at_most))


@asynccontextmanager
async def receiving(*limits: RateLimit, at_most: int = READ) -> AsyncIterator[list[list[int]]]:
    """Receive with all of *limits* at once, and give what each has got."""
    got: list[list[int]] = [[] for _ in limits]
    async with trio.open_nursery() as nursery:
        for limit, each in zip(limits, got, strict=True):
            nursery.start_soon(receive, limit, each, at_most)
        yield got
        nursery.cancel_scope.cancel(reason="the time is over")


def within_5_percent(expected: float) -> object:
    return pytest.approx(expected, rel=0.05)


async def took_s(call: Callable[[], Awaitable[object]]) -> float:
    """Return how long a call takes."""
    before = trio.current_time()
    await call()
    return trio.current_time() - before


def emptied(rate: float) -> RateLimit:
    """Return a limit that has nothing left of the moment that it begins with."""
    limit = RateLimit(rate)
    limit.owe(int(rate * BURST_S))
    return limit


# One limit.


@pytest.mark.parametrize("rate", [20.0, 1024.0, 102_400.0, 5e6, 1e9])
@pytest.mark.parametrize("at_most", [1 << 14, 1 << 16])
async def test_five_seconds_bring_five_seconds_of_the_rate(rate: float, at_most: int) -> None:
    # With so few bytes in a read the highest rates would take a million of them.
    if rate > 1e8:
        at_most <<= 10
    async with receiving(RateLimit(rate), at_most=at_most) as (got,):
        await trio.sleep(5)
        assert sum(got) == within_5_percent(5 * rate)
        before = sum(got)
        await trio.sleep(5)
        assert sum(got) - before == within_5_percent(5 * rate)


async def test_less_than_a_byte_a_second_is_a_rate_too() -> None:
    async with receiving(RateLimit(0.5)) as (got,):
        await trio.sleep(100)
        assert sum(got) == within_5_percent(50)


async def test_eight_connections_of_one_download_share_its_rate() -> None:
    limit = RateLimit(102_400)
    async with receiving(*[limit] * 8) as got:
        await trio.sleep(5)
        assert sum(map(sum, got)) == within_5_percent(5 * 102_400)
        assert [sum(each) for each in got] == [within_5_percent(5 * 102_400 / 8)] * 8


async def test_what_is_given_back_is_for_the_next() -> None:
    limit = RateLimit(102_400)
    got = 0
    with trio.move_on_after(5):
        while True:
            size = await limit.take(READ)
            # The server had less.
            got += (size + 1) // 2
            limit.give_back(size // 2)
    assert got == within_5_percent(5 * 102_400)


async def test_reads_of_64_kib_that_are_paid_for_piece_by_piece_keep_a_low_rate() -> None:
    limit = RateLimit(102_400)
    counted: list[int] = []

    async def connection() -> None:
        while True:
            size = await limit.take(READ)
            counted.append(size)
            # The library brought a whole buffer.
            await limit.pay(READ - size, counted.append)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(connection)
        for _ in range(3):
            await trio.sleep(5)
            assert sum(counted) == within_5_percent(5 * 102_400)
            counted.clear()
        nursery.cancel_scope.cancel(reason="the time is over")


async def test_reads_of_64_kib_that_are_owed_keep_a_low_rate_in_the_long_run() -> None:
    limit = RateLimit(102_400)
    got = 0
    with trio.move_on_after(50):
        while True:
            size = await limit.take(READ)
            got += READ
            limit.owe(READ - size)
    assert got == within_5_percent(50 * 102_400)


async def test_a_waiter_that_is_late_loses_nothing_as_long_as_it_is_not_late_by_much() -> None:
    limit = RateLimit(102_400)
    got = 0
    started = trio.current_time()
    while trio.current_time() - started < 5:
        got += await limit.take(READ)
        # Something else kept the program busy.
        await trio.sleep(0.015)
    assert got == within_5_percent(5 * 102_400)


# Two limits at once.


@pytest.mark.parametrize(("own", "shared"), [(50_000.0, 100_000.0), (100_000.0, 50_000.0), (50_000.0, 50_000.0)])
async def test_the_lower_of_two_limits_counts(own: float, shared: float) -> None:
    async with receiving(RateLimit(own, shared=Throttle(shared))) as (got,):
        await trio.sleep(5)
        assert sum(got) == within_5_percent(5 * min(own, shared))


async def test_downloads_share_the_common_rate_equally() -> None:
    shared = Throttle(102_400)
    limits = [RateLimit(shared=shared) for _ in range(5)]
    async with receiving(*limits) as got:
        await trio.sleep(5)
        assert [sum(each) for each in got] == [within_5_percent(102_400)] * 5


async def test_a_download_has_one_share_however_many_connections_it_has_and_however_much_each_read_brings() -> None:
    shared = Throttle(102_400)
    many, one, hasty = (RateLimit(shared=shared) for _ in range(3))
    async with (
        receiving(*[many] * 8) as got_many,
        receiving(one) as got_one,
        receiving(hasty, at_most=500) as got_hasty,
    ):
        # What is saved up at first goes to whom trio happens to run first, and eight connections ask for all of it.
        await trio.sleep(1)
        for each in (*got_many, *got_one, *got_hasty):
            each.clear()
        await trio.sleep(5)
        received = [sum(map(sum, each)) for each in (got_many, got_one, got_hasty)]
    assert received == [within_5_percent(5 * 102_400 / 3)] * 3


async def test_what_a_slow_download_leaves_is_for_the_others() -> None:
    shared = Throttle(100_000)
    slow, one, other = RateLimit(10_000, shared=shared), RateLimit(shared=shared), RateLimit(shared=shared)
    async with receiving(slow, one, other) as got:
        await trio.sleep(5)
        assert [sum(each) for each in got] == [within_5_percent(each) for each in (50_000, 225_000, 225_000)]


async def test_a_download_that_comes_later_gets_its_share_at_once_and_no_more() -> None:
    shared = Throttle(100_000)
    early, late = RateLimit(shared=shared), RateLimit(shared=shared)
    async with receiving(early) as (got_early,):
        await trio.sleep(50)
        got_early.clear()
        async with receiving(late) as (got_late,):
            await trio.sleep(5)
            assert sum(got_late) == within_5_percent(250_000)
            assert sum(got_early) == within_5_percent(250_000)


async def test_who_waits_for_the_common_rate_has_not_used_up_its_own_when_it_is_cancelled() -> None:
    shared = Throttle(1)
    limit, other = RateLimit(1000, shared=shared), RateLimit(shared=shared)
    await other.take(1)
    with trio.move_on_after(0.5):
        while True:
            await limit.take(10)
    shared.bytes_per_s = math.inf
    # All of its own moment, though a wish of it was under way.
    assert await took_s(lambda: limit.pay(100)) == 0


async def test_all_of_its_own_comes_back_to_who_is_cancelled_while_it_waits_for_the_common_rate() -> None:
    shared = Throttle(1)
    limit = RateLimit(1000, shared=shared)
    limit.owe(80)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(limit.take, 20)
            await settle()
            scope.cancel(reason="a test")
    shared.bytes_per_s = math.inf
    # No time has gone by in which it could have come again.
    assert await took_s(lambda: limit.pay(20)) == 0


async def test_what_the_common_rate_no_longer_gives_is_back_in_the_own() -> None:
    shared = Throttle(10_000)
    limit, other = RateLimit(1000, shared=shared), RateLimit(shared=shared)
    other.owe(2000)
    got: list[int] = []

    async def take() -> None:
        got.append(await limit.take(20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await settle()
        shared.bytes_per_s = 100
        other.give_back(1500)
    assert got == [2]
    shared.bytes_per_s = math.inf
    assert await took_s(lambda: limit.pay(98)) == 0


# Changes.


async def test_a_rate_that_is_raised_wakes_at_once_who_waits_for_it() -> None:
    limit = RateLimit(0.001)
    await limit.take(1)
    async with receiving(limit) as (got,):
        await trio.sleep(10)
        assert got == []
        limit.bytes_per_s = 100_000
        await trio.sleep(0.021)
        assert got == [2000]
        await trio.sleep(5)
        assert sum(got) == within_5_percent(500_000)


@pytest.mark.parametrize("level", ["own", "shared"])
async def test_a_limit_that_is_taken_away_lets_everybody_through_at_once(level: str) -> None:
    shared = Throttle(1 if level == "shared" else math.inf)
    limit = RateLimit(1 if level == "own" else None, shared=shared)
    limit.owe(1000)
    got: list[int] = []

    async def take() -> None:
        got.append(await limit.take(READ))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take)
        await settle()
        before = trio.current_time()
        shared.bytes_per_s = math.inf
        limit.bytes_per_s = None
    assert got == [READ] * 3
    assert trio.current_time() == before
    assert limit.is_unlimited


async def test_a_rate_that_is_lowered_counts_from_that_moment() -> None:
    limit = RateLimit(1_000_000)
    async with receiving(limit) as (got,):
        await trio.sleep(5)
        limit.bytes_per_s = 10_000
        # What was granted a moment ago is counted first.
        await settle()
        got.clear()
        await trio.sleep(5)
        assert sum(got) == within_5_percent(50_000)


async def test_the_common_rate_changes_for_those_who_wait() -> None:
    shared = Throttle(1000)
    limits = [RateLimit(shared=shared) for _ in range(2)]
    async with receiving(*limits) as got:
        await trio.sleep(5)
        shared.bytes_per_s = 100_000
        for each in got:
            each.clear()
        await trio.sleep(5)
        assert [sum(each) for each in got] == [within_5_percent(250_000)] * 2


async def test_a_limit_that_is_set_while_there_is_none_holds_for_the_next_take() -> None:
    limit = RateLimit()
    assert limit.bytes_per_s is None
    assert await limit.take(1 << 30) == 1 << 30
    limit.bytes_per_s = 1000
    assert not limit.is_unlimited
    async with receiving(limit) as (got,):
        await trio.sleep(5)
        assert sum(got) == within_5_percent(5000)


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1.0, ValueError), (math.nan, ValueError), ("1M", TypeError), (True, TypeError)],
)
async def test_what_is_no_rate_is_refused_and_changes_nothing(value: object, error: type[Exception]) -> None:
    limit = RateLimit(1000)
    with pytest.raises(error, match=r"^rate_limit_bytes_per_s is a "):
        limit.bytes_per_s = value  # type: ignore[assignment]
    with pytest.raises(error, match=r"^rate_limit_bytes_per_s is a "):
        RateLimit(value)  # type: ignore[arg-type]
    assert limit.bytes_per_s == 1000


async def test_a_downloaders_default_counts_only_where_nobody_said_anything() -> None:
    limit = RateLimit()
    limit.default_to(1000)
    assert limit.bytes_per_s == 1000
    limit.default_to(None)
    assert limit.bytes_per_s is None
    limit.bytes_per_s = None
    limit.default_to(1000)
    assert limit.bytes_per_s is None
    given = RateLimit(2000, is_given=True)
    given.default_to(1000)
    assert given.bytes_per_s == 2000


# Cancelled waits.


async def test_a_take_that_is_cancelled_has_taken_nothing() -> None:
    limit = emptied(1000)
    limit.owe(100)
    for _ in range(20):
        with trio.move_on_after(0.005) as scope:
            await limit.take(20)
        assert scope.cancelled_caught
    # The debt is paid just now.
    assert await took_s(lambda: limit.pay(20)) == pytest.approx(0.02, abs=1e-4)


async def test_a_take_that_is_cancelled_before_it_begins_has_taken_nothing() -> None:
    for limit in (RateLimit(), RateLimit(1000)):
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            await limit.take(1)
        assert scope.cancelled_caught
    assert await took_s(lambda: limit.pay(100)) == 0


@pytest.mark.parametrize("leaves", [0, 1, 2])
async def test_when_one_of_those_who_wait_is_cancelled_the_others_are_served_as_if_it_had_never_come(
    leaves: int,
) -> None:
    limit = emptied(1000)
    scopes = [trio.CancelScope() for _ in range(3)]
    ends: list[float] = []
    began = trio.current_time()

    async def take(scope: trio.CancelScope) -> None:
        with scope:
            await limit.take(10)
            ends.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(take, scope)
            await settle()
        scopes[leaves].cancel(reason="a test")
    assert ends == [pytest.approx(0.01, abs=1e-4), pytest.approx(0.02, abs=1e-4)]


async def test_whoever_is_served_in_the_moment_of_its_cancel_gives_it_back() -> None:
    limit = emptied(1000)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(limit.take, 20)
            await settle()
            scope.cancel(reason="a test")
            # It is on its way out, and nobody has told the line yet.
            limit.bytes_per_s = 1_000_000
            limit.give_back(100)
    assert scope.cancelled_caught
    limit.bytes_per_s = 1000
    assert await took_s(lambda: limit.pay(100)) == 0


# Who is woken.


async def test_a_newcomer_who_is_next_and_wants_what_is_there_does_not_wait_for_the_one_before() -> None:
    shared = Throttle(1000)
    first, second = RateLimit(shared=shared), RateLimit(shared=shared)
    await first.pay(90)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.take, 20)
        await settle()
        assert await took_s(lambda: second.take(10)) == 0


async def test_who_waits_behind_others_sleeps_until_its_turn() -> None:
    limit = emptied(1000)
    with Steps("first") as first, Steps("last") as last:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(limit.take, 20, name="first")
            for _ in range(20):
                await settle()
                nursery.start_soon(limit.take, 20)
            await settle()
            nursery.start_soon(limit.take, 20, name="last")
    # To begin, after the checkpoint, when it is served; and the last has the timer in the end.
    assert first.count <= 3
    assert last.count <= 4


# Waited, unlimited, and misuse.


async def test_the_time_of_waiting_is_counted_while_it_goes_on_and_once_for_all_who_wait() -> None:
    # A clock that has gone for a while.
    await trio.sleep(1)
    limit = RateLimit(1000)
    assert limit.waited_s == 0
    await limit.pay(100)
    assert limit.waited_s == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(limit.pay, 1000)
        nursery.start_soon(limit.pay, 1000)
        await trio.sleep(0.5)
        assert limit.waited_s == pytest.approx(0.5)
    assert limit.waited_s == pytest.approx(2, rel=0.01)
    await trio.sleep(10)
    with trio.move_on_after(0.25):
        limit.owe(1000)
        await limit.take(1)
    assert limit.waited_s == pytest.approx(2.25, rel=0.01)


async def test_without_a_limit_nothing_waits_and_nothing_is_counted() -> None:
    limit = RateLimit()
    assert limit.is_unlimited
    limit.owe(1 << 40)
    limit.give_back(1 << 20)
    assert await took_s(lambda: limit.pay(1 << 40)) == 0
    assert await limit.take(READ) == READ
    assert limit.waited_s == 0


async def test_an_infinite_rate_is_no_limit() -> None:
    limit = RateLimit(math.inf)
    assert limit.is_unlimited
    assert limit.bytes_per_s == math.inf


@pytest.mark.parametrize("rate", [None, 1000.0, 1e-3])
async def test_take_is_a_checkpoint_with_and_without_a_wait(rate: float | None) -> None:
    limit = RateLimit(rate)
    for _ in range(2):
        with assert_checkpoints():
            await limit.take(1)


async def test_paying_for_nothing_is_no_wait() -> None:
    limit = RateLimit(1)
    limit.owe(1000)
    paid: list[int] = []
    for nothing in (0, -1):
        assert await took_s(lambda: limit.pay(nothing, paid.append)) == 0  # noqa: B023
    assert paid == []


async def test_payments_are_told_piece_by_piece() -> None:
    paid: list[int] = []
    await RateLimit(1000).pay(41, paid.append)
    assert paid == [20, 20, 1]
    await RateLimit().pay(41, paid.append)
    assert paid == [20, 20, 1, 41]


async def test_numbers_that_make_no_sense_are_refused() -> None:
    limit = RateLimit(1000)
    limit.give_back(0)
    limit.owe(0)
    with pytest.raises(ValueError, match=r"^take\(\) takes a number of bytes from 1 up, got 0$"):
        await limit.take(0)
    with pytest.raises(ValueError, match=r"^give_back\(\) takes a number of bytes from 0 up, got -1$"):
        limit.give_back(-1)
    with pytest.raises(ValueError, match=r"^owe\(\) takes a number of bytes from 0 up, got -1$"):
        limit.owe(-1)


async def test_a_limit_says_what_it_is() -> None:
    assert repr(RateLimit(1000)) == "<RateLimit 1000 B/s, inf B/s shared>"
    assert repr(RateLimit(shared=Throttle(50))) == "<RateLimit none of its own, 50 B/s shared>"


async def test_ctrl_c_is_held_off_wherever_the_line_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def look(throttle: Throttle) -> None:
        seen.append(trio.lowlevel.currently_ki_protected())
        serve(throttle)

    serve = Throttle._serve
    monkeypatch.setattr(Throttle, "_serve", look)
    assert not trio.lowlevel.currently_ki_protected()
    limit = RateLimit(1000)

    def set_rate() -> None:
        limit.bytes_per_s = 2000

    for call in (partial(limit.owe, 150), partial(limit.give_back, 1), set_rate):
        seen.clear()
        call()
        assert seen
        assert all(seen)
    seen.clear()
    await limit.take(20)
    assert len(seen) > 2
    assert all(seen)


# All of it together.


@given(
    st.sampled_from([None, 100.0, 10_000.0]),
    st.lists(st.sampled_from([None, 50.0, 20_000.0]), min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.integers(0, 2),  # whose
            st.integers(1, 200),  # how much at most
            st.sampled_from([0.0, 0.001, 0.01, 1.0]),  # before it begins
            st.sampled_from([0.0, 0.005, 0.01, 0.02, math.inf]),  # until it is cancelled
            st.sampled_from(["keep", "back", "owe", "own", "shared", "none"]),  # what comes after it
        ),
        min_size=1,
        max_size=25,
    ),
)
def test_whatever_is_cancelled_and_changed_everybody_else_is_served(
    common: float | None, owns: list[float | None], wishes: list[tuple[int, int, float, float, str]]
) -> None:
    async def program() -> None:
        shared = Throttle(common or math.inf)
        limits = [RateLimit(own, shared=shared) for own in owns]
        served = cancelled = 0

        async def wish(limit: RateLimit, at_most: int, after_s: float, for_s: float, then: str) -> None:
            nonlocal served, cancelled
            await trio.sleep(after_s)
            with trio.move_on_after(for_s) as scope:
                size = await limit.take(at_most)
                assert 1 <= size <= at_most
                served += 1
                if then == "back":
                    limit.give_back(size)
                elif then == "owe":
                    limit.owe(at_most - size)
                elif then == "own":
                    limit.bytes_per_s = 500
                elif then == "shared":
                    shared.bytes_per_s = 500
                elif then == "none":
                    limit.bytes_per_s = None
            cancelled += scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            for whose, at_most, after_s, for_s, then in wishes:
                nursery.start_soon(wish, limits[whose % len(limits)], at_most, after_s, for_s, then)
        assert served + cancelled == len(wishes)
        assert shared._timer is None
        assert shared._line.next() is None
        for limit in limits:
            # Nobody waits, so no time is counted.
            waited = limit.waited_s
            await trio.sleep(1)
            assert limit.waited_s == waited

    run_in_virtual_time(program)

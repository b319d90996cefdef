"""Calls that share a hop: each made once, its outcome its own, and none lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from trio_dlm.downloaders.disk import _hops
from trio_dlm.downloaders.disk._hops import Hops


class Gate:
    """A call that waits in its thread until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self.open.wait(10)
        return "gate"


async def entered(gate: Gate) -> None:
    assert await trio.to_thread.run_sync(gate.entered.wait, 10)


@pytest.fixture
def limiter() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(3)


@pytest.fixture
def hops(limiter: trio.CapacityLimiter) -> Hops:
    return Hops(limiter)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each hop made."""
    found = list[int]()
    make_calls = _hops._make_calls

    def count(calls: Sequence[_hops._Call[Any]]) -> None:
        found.append(len(calls))
        make_calls(calls)

    monkeypatch.setattr(_hops, "_make_calls", count)
    return found


@pytest.fixture
def ageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hop takes others along for as long as it lasts."""
    monkeypatch.setattr("trio_dlm.downloaders.disk._hops._YOUNG_S", 1e9)


async def test_a_call_returns_what_its_function_does(hops: Hops) -> None:
    assert await hops.run(lambda: 17) == 17
    assert await hops.run(threading.get_ident) != threading.get_ident()


async def test_a_call_raises_what_its_function_does(hops: Hops) -> None:
    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await hops.run(fail)
    assert await hops.run(lambda: 1) == 1


async def test_it_is_a_checkpoint(hops: Hops) -> None:
    with trio.testing.assert_checkpoints():
        await hops.run(lambda: None)


@pytest.mark.usefixtures("ageless")
async def test_calls_that_come_while_a_hop_is_young_share_the_next(hops: Hops, sizes: list[int]) -> None:
    gate = Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hops.run, gate)
        await entered(gate)
        for _ in range(8):
            nursery.start_soon(hops.run, threading.get_ident)
        await trio.testing.wait_all_tasks_blocked()
        assert sizes == [1]
        gate.open.set()

    assert sizes == [1, 8]


@pytest.mark.usefixtures("ageless")
async def test_one_that_fails_says_so_to_its_own_caller_alone(hops: Hops) -> None:
    gate, seen = Gate(), list[str]()

    def fail() -> None:
        raise ValueError("mine")

    async def call(function: Callable[[], object]) -> None:
        try:
            seen.append(str(await hops.run(function)))
        except ValueError as exc:
            seen.append(f"raised {exc}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, gate)
        await entered(gate)
        nursery.start_soon(call, fail)
        nursery.start_soon(call, lambda: "fine")
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()

    assert sorted(seen) == ["fine", "gate", "raised mine"]


async def test_a_hop_that_lasts_does_not_hold_up_those_who_come_later(
    limiter: trio.CapacityLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_dlm.downloaders.disk._hops._YOUNG_S", 0.0)
    hops, gate = Hops(limiter), Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hops.run, gate)
        await entered(gate)
        assert await hops.run(lambda: "later") == "later"
        gate.open.set()


@pytest.mark.usefixtures("ageless")
async def test_a_call_that_has_not_begun_is_taken_back(hops: Hops) -> None:
    gate, made = Gate(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hops.run, gate)
        await entered(gate)
        with trio.CancelScope() as scope:
            scope.cancel()
            await hops.run(lambda: made.append("cancelled"))
        assert scope.cancelled_caught
        gate.open.set()

    assert await hops.run(lambda: "next") == "next"
    assert made == []


@pytest.mark.usefixtures("ageless")
async def test_a_call_that_has_begun_is_waited_for(hops: Hops) -> None:
    first, second = Gate(), Gate()
    scope = trio.CancelScope()
    ended = list[object]()

    async def joined() -> None:
        with scope:
            ended.append(await hops.run(second))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hops.run, first)
        await entered(first)
        nursery.start_soon(joined)
        await trio.testing.wait_all_tasks_blocked()
        first.open.set()
        await entered(second)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        second.open.set()

    assert ended == ["gate"]


@pytest.mark.usefixtures("ageless")
async def test_who_was_not_taken_along_makes_a_hop_for_himself_and_the_others(
    hops: Hops, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_dlm.downloaders.disk._hops._MOST_CALLS", 2)
    gate, seen = Gate(), list[int]()

    async def one(number: int) -> None:
        seen.append(await hops.run(lambda: number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hops.run, gate)
        await entered(gate)
        for number in range(7):
            nursery.start_soon(one, number)
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()

    assert sorted(seen) == list(range(7))
    assert sizes == [1, 2, 2, 2, 1]


@pytest.mark.usefixtures("ageless")
async def test_one_who_is_cancelled_while_he_waits_for_a_thread_leaves_the_others_to_be_served(
    hops: Hops, limiter: trio.CapacityLimiter
) -> None:
    seen = list[str]()

    async def other() -> None:
        seen.append(await hops.run(lambda: "served"))

    holders = [object() for _ in range(3)]
    for holder in holders:
        limiter.acquire_on_behalf_of_nowait(holder)
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            await hops.run(lambda: seen.append("first"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(other)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        for holder in holders:
            limiter.release_on_behalf_of(holder)

    assert seen == ["served"]


async def test_calls_of_one_turn_of_the_loop_share_a_hop(hops: Hops, sizes: list[int]) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(hops.run, threading.get_ident)

    assert sizes == [8]


async def test_those_who_were_taken_along_are_served_if_the_hop_is_cancelled_before_it_begins(
    hops: Hops, limiter: trio.CapacityLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many that the others, which come one turn after the first, are there in time.
    monkeypatch.setattr("trio_dlm.downloaders.disk._hops._TURNS", 8)
    seen = list[str]()
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            await hops.run(lambda: seen.append("first"))

    async def other(name: str) -> None:
        seen.append(await hops.run(lambda: name))

    holders = [object() for _ in range(3)]
    for holder in holders:
        limiter.acquire_on_behalf_of_nowait(holder)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.lowlevel.checkpoint()
        nursery.start_soon(other, "b")
        nursery.start_soon(other, "c")
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        for holder in holders:
            limiter.release_on_behalf_of(holder)

    assert sorted(seen) == ["b", "c"]


async def test_one_who_is_cancelled_while_he_gathers_makes_nothing(hops: Hops) -> None:
    seen = list[str]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await hops.run(lambda: seen.append("cancelled"))
    assert scope.cancelled_caught
    assert await hops.run(lambda: "next") == "next"
    assert seen == []

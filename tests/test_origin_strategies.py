"""What is drawn of faults and plans: all of it, nothing that was left out, and the simplest first.

Rules that hold here:

- the same examples are drawn in every run, and others with another version of Hypothesis, some of which come back to
  the simplest again and again: what is said of numbers holds with a wide margin.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from trio_dlm.testing.origin import faults as f
from trio_dlm.testing.origin._acts import Act, Hold, Wait
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource
from trio_dlm.testing.origin._strategies import DEFAULT_BODY, fault_plans, faults

SAME = settings(
    max_examples=100,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SEARCH = settings(SAME, max_examples=5000, phases=[Phase.generate, Phase.shrink])

# What waits for the client to give up.
LONG = {f.EndlessHeader, f.EndlessHints, f.HeaderStops, f.Stall}

NAMES = {**vars(f), "FaultPlan": FaultPlan}


RUN = settings(SAME, max_examples=10, derandomize=False)
# Enough for each of eighty classes to be there, also if half of what is drawn is the same.
MANY = 12_000


def drawn(strategy: st.SearchStrategy[Any], count: int = 4000) -> list[Any]:
    """Some examples, the same ones every time."""
    # A run of Hypothesis comes back to what it has drawn before, so there are several.
    runs = max(8, count // 500)
    size = count // runs // RUN.max_examples
    found: list[Any] = []

    def draw(some: list[Any]) -> None:
        found.extend(some)

    for number in range(runs):
        seed(number)(RUN(given(st.lists(strategy, min_size=size, max_size=size))(draw)))()
    return found


def acts(fault: f.Fault) -> list[Act]:
    request = Request.parse(b"GET /file.bin HTTP/1.1\r\nHost: origin.test\r\nRange: bytes=10-")
    return list(islice(fault.answer(request, Resource(DEFAULT_BODY)), 100_000))


# Faults.


def test_every_class_of_fault_is_drawn() -> None:
    assert {type(fault) for fault in drawn(faults(undetectable=True), MANY)} == set(f.FAULTS)


def test_what_only_a_digest_reveals_is_left_out_by_default() -> None:
    assert {type(fault) for fault in drawn(faults(), MANY)} == set(f.FAULTS) - f.UNDETECTABLE


def test_nothing_takes_long_on_a_real_clock() -> None:
    found = drawn(faults(real_time=True, undetectable=True), MANY)
    assert {type(fault) for fault in found} == set(f.FAULTS) - LONG
    for fault in set(found):
        told = acts(fault)
        assert not any(isinstance(act, Hold) for act in told), fault
        assert sum(act.seconds for act in told if isinstance(act, Wait)) <= 0.21, fault
        assert not isinstance(fault, f.Busy) or fault.wait_s == 0


def test_nobody_else_is_looked_up_on_a_real_network() -> None:
    hosts = {fault.host for fault in drawn(faults(real_time=True)) if isinstance(fault, f.RedirectToHost)}
    assert hosts == {"localhost"}


@pytest.mark.parametrize("size", [1, 2, 4096])
def test_the_ends_of_the_body_are_likely(size: int) -> None:
    positions = Counter(fault.byte for fault in drawn(faults(size)) if isinstance(fault, f.DropAt | f.Stall))
    assert set(positions) <= set(range(size + 1))
    assert {0, 1, size - 1, size} <= set(positions)
    assert sum(positions[edge] for edge in {0, 1, size - 1, size}) > sum(positions.values()) / 10


def test_an_empty_file_can_be_spoilt_too() -> None:
    for fault in drawn(faults(0, undetectable=True), 600):
        assert list(islice(fault.answer(Request("GET", "/", ()), Resource(b"")), 100))


def test_the_simplest_fault_is_none() -> None:
    assert find(faults(), lambda _: True, settings=SEARCH) == f.Serve()


@pytest.mark.parametrize("kind", [f.DropAt, f.Stall, f.Busy, f.Changed, f.OtherStart], ids=lambda kind: kind.__name__)
def test_a_fault_shrinks_to_its_defaults(kind: type[Any]) -> None:
    assert find(faults(), lambda fault: isinstance(fault, kind), settings=SEARCH) == kind()


# Plans.


def test_the_simplest_plan_serves() -> None:
    assert find(fault_plans(), lambda _: True, settings=SEARCH) == FaultPlan()
    assert find(fault_plans(recoverable=True), lambda _: True, settings=SEARCH) == FaultPlan()


def test_a_plan_shrinks_to_the_steps_that_matter() -> None:
    def is_spliced(plan: FaultPlan) -> bool:
        kinds = [type(step) for step in plan.steps]
        return f.DropAt in kinds and f.Changed in kinds[kinds.index(f.DropAt) :]

    found = find(fault_plans(), is_spliced, settings=settings(SEARCH, max_examples=50_000))
    # Some versions of Hypothesis leave a step too many.
    assert is_spliced(found)
    assert len(found.steps) <= 3
    assert found == FaultPlan(found.steps)


def test_the_drawn_plans_are_as_long_as_allowed() -> None:
    lengths = {len(plan.steps) for plan in drawn(fault_plans(max_faults=2), 600)}
    assert lengths == {0, 1, 2}
    assert {len(plan.steps) for plan in drawn(fault_plans(max_faults=0), 80)} == {0}


def test_plans_that_end_well_and_others_are_likely() -> None:
    found = drawn(fault_plans(), 600)
    assert len(found) / 10 < sum(plan.then == f.Serve() for plan in found) < len(found) * 9 / 10
    assert {plan.validators for plan in found} == {"strong", "weak", "date", "none"}
    assert {plan.max_connections for plan in found} == {None, 1, 2}


def test_plans_hold_nothing_undetectable_unless_asked_for() -> None:
    assert not any(plan.is_undetectable for plan in drawn(fault_plans(), 600))
    assert any(plan.is_undetectable for plan in drawn(fault_plans(undetectable=True), 600))


def test_recoverable_plans_are_recoverable() -> None:
    found = drawn(fault_plans(recoverable=True), MANY // 2)
    assert all(plan.is_recoverable and plan.max_connections is None for plan in found)
    assert {type(step) for plan in found for step in plan.steps} == f.RECOVERABLE


def test_real_time_holds_for_plans_too() -> None:
    found = drawn(fault_plans(real_time=True), 600)
    assert not LONG & {type(fault) for plan in found for fault in (*plan.steps, plan.then)}
    found = drawn(fault_plans(real_time=True, recoverable=True), 600)
    assert not LONG & {type(fault) for plan in found for fault in (*plan.steps, plan.then)}


@SAME
@given(fault_plans(undetectable=True))
def test_a_drawn_plan_is_spelled_as_the_python_that_makes_it(plan: FaultPlan) -> None:
    assert eval(repr(plan), NAMES) == plan


@SAME
@given(faults(undetectable=True))
def test_every_drawn_fault_can_answer(fault: f.Fault) -> None:
    request = Request.parse(b"GET / HTTP/1.1\r\nHost: origin.test")
    assert list(islice(fault.answer(request, Resource(DEFAULT_BODY)), 100))

"""What a plan of faults says of itself, and that it can be pasted into a test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from trio_dlm.testing.origin import faults as f
from trio_dlm.testing.origin._acts import Act, Close
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin._resource import Resource, Validators


class Mine:
    """A fault of a user's own."""

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        return [Close()]


def test_each_request_has_its_step_and_later_ones_what_comes_then() -> None:
    plan = FaultPlan(steps=(f.Stall(), f.Changed()), then=f.Busy())
    expected: list[f.Fault] = [f.Stall(), f.Changed(), f.Busy(), f.Busy()]
    assert [plan.for_request(number) for number in range(4)] == expected


def test_a_plan_without_steps_serves() -> None:
    assert FaultPlan().for_request(0) == f.Serve()
    assert FaultPlan().is_honest
    assert FaultPlan().is_recoverable
    assert not FaultPlan().is_undetectable
    assert not FaultPlan().is_changing


def test_a_plan_is_spelled_as_python_without_what_is_as_by_default() -> None:
    plan = FaultPlan(steps=(f.DropAt(byte=1024), f.Changed()), validators="weak", max_connections=2)
    assert repr(plan) == "FaultPlan(steps=(DropAt(byte=1024), Changed()), validators='weak', max_connections=2)"
    assert repr(FaultPlan()) == "FaultPlan()"
    assert eval(repr(plan), {**vars(f), "FaultPlan": FaultPlan}) == plan


@pytest.mark.parametrize("kind", f.FAULTS, ids=lambda kind: kind.__name__)
def test_what_is_said_of_a_plan_follows_the_tables(kind: type[Any]) -> None:
    first, last = FaultPlan(steps=(kind(),)), FaultPlan(then=kind())
    for plan in (first, last):
        assert plan.is_honest == (kind in f.HONEST)
        assert plan.is_undetectable == (kind in f.UNDETECTABLE)
        assert plan.is_changing == (kind in f.CHANGING)
    assert first.is_recoverable == (kind in f.RECOVERABLE)
    assert last.is_recoverable == (kind in f.HONEST)


def test_one_bad_step_among_good_ones_counts() -> None:
    steps = (f.Serve(), f.Stall(), f.Serve())
    assert FaultPlan(steps=steps).is_recoverable
    assert not FaultPlan(steps=steps).is_honest
    assert not FaultPlan(steps=(*steps, f.Refuse())).is_recoverable
    assert FaultPlan(steps=(*steps, f.CorruptedBody())).is_undetectable


def test_a_client_need_not_wait_for_ever() -> None:
    assert FaultPlan(steps=(f.Busy(retry_after=60),)).is_recoverable
    assert not FaultPlan(steps=(f.Busy(retry_after=61),)).is_recoverable
    assert not FaultPlan(steps=(f.Busy(retry_after=61, as_date=True),)).is_recoverable


@pytest.mark.parametrize(("validators", "hidden"), [("strong", True), ("date", True), ("weak", False), ("none", False)])
def test_a_secret_change_is_a_lie_only_where_something_was_promised(validators: Validators, hidden: bool) -> None:
    assert FaultPlan(steps=(f.ChangedSecretly(),), validators=validators).is_undetectable == hidden
    assert FaultPlan(steps=(f.CorruptedBody(),), validators=validators).is_undetectable


def test_an_origin_that_turns_connections_away_is_not_honest_and_can_be_got_over() -> None:
    plan = FaultPlan(max_connections=1)
    assert not plan.is_honest
    assert plan.is_recoverable


def test_a_fault_of_a_users_own_is_in_no_table() -> None:
    plan = FaultPlan(steps=(Mine(),))
    assert not plan.is_honest
    assert not plan.is_recoverable
    assert not plan.is_undetectable
    assert not plan.is_changing
    assert replace(plan, steps=()).is_honest


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"steps": [f.Serve()]}, TypeError, "steps is a tuple of faults"),
        ({"steps": (f.Serve,)}, TypeError, "a fault has a method answer"),
        ({"steps": ("stall",)}, TypeError, "a fault has a method answer"),
        ({"then": None}, TypeError, "a fault has a method answer"),
        ({"validators": "sure"}, ValueError, "validators is one of strong, weak, date, none, got 'sure'"),
        ({"max_connections": 0}, ValueError, "max_connections is at least 1"),
    ],
)
def test_what_can_be_no_plan_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FaultPlan(**arguments)

"""The outcome table, row by row: what comes out of a run and what was asked of it decide the status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from itertools import product

import pytest
import trio

from trio_dlm._outcome import Asked, Ending, Outcome, judge, status_after
from trio_dlm._status import TRANSITIONS, DownloadStatus

CRASHES = [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BaseException("odd")]


@pytest.fixture
def cancelled() -> trio.Cancelled:
    """A real one, since trio lets nobody else make them."""
    caught: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel(reason="a test")
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                caught.append(exc)
                raise

    trio.run(main)
    return caught[0]


@pytest.mark.parametrize("asked", list(Asked))
def test_a_result_completes_whatever_was_asked(asked: Asked) -> None:
    assert status_after(Ending.RESULT, asked) is DownloadStatus.COMPLETED


@pytest.mark.parametrize("asked", list(Asked))
@pytest.mark.parametrize("ending", [Ending.ERROR, Ending.CRASH])
def test_an_error_or_a_crash_fails_whatever_was_asked(ending: Ending, asked: Asked) -> None:
    assert status_after(ending, asked) is DownloadStatus.FAILED


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (Asked.PAUSE, DownloadStatus.PAUSED),
        (Asked.CANCEL, DownloadStatus.CANCELLED),
        (Asked.CLOSE, DownloadStatus.CANCELLED),
        (Asked.NOTHING, DownloadStatus.CANCELLED),
    ],
)
def test_what_was_only_stopped_becomes_what_was_asked(asked: Asked, status: DownloadStatus) -> None:
    assert status_after(Ending.STOPPED, asked) is status


@pytest.mark.parametrize(("ending", "asked"), [*product(Ending, Asked)])
def test_every_outcome_is_a_step_that_a_running_download_may_take(ending: Ending, asked: Asked) -> None:
    assert status_after(ending, asked) in TRANSITIONS[DownloadStatus.DOWNLOADING]


def test_nothing_raised_and_nothing_stopped_is_a_result() -> None:
    outcome = judge(None, stopped=False, swept=True)
    assert outcome.ending is Ending.RESULT
    assert outcome.error is None
    assert outcome.rest is None


def test_a_cancel_that_the_scope_caught_is_a_stop_with_nothing_left_to_raise() -> None:
    outcome = judge(None, stopped=True, swept=False)
    assert outcome.ending is Ending.STOPPED
    assert outcome.error is None
    assert outcome.rest is None


@pytest.mark.parametrize("error", [OSError("full"), ExceptionGroup("two", [OSError("a"), ValueError("b")])], ids=repr)
def test_an_exception_or_a_group_of_them_is_the_error_as_it_is(error: Exception) -> None:
    outcome = judge(error, stopped=False, swept=True)
    assert outcome.ending is Ending.ERROR
    assert outcome.error is error
    assert outcome.rest is None


def test_the_cancelled_of_the_surroundings_stops_and_goes_on(cancelled: trio.Cancelled) -> None:
    outcome = judge(cancelled, stopped=False, swept=True)
    assert outcome.ending is Ending.STOPPED
    assert outcome.error is None
    assert outcome.rest is cancelled


def test_a_group_of_nothing_but_cancelled_stops_and_goes_on(cancelled: trio.Cancelled) -> None:
    group = BaseExceptionGroup("all", [cancelled, BaseExceptionGroup("inner", [cancelled])])
    outcome = judge(group, stopped=False, swept=True)
    assert outcome.ending is Ending.STOPPED
    assert outcome.error is None
    assert isinstance(outcome.rest, BaseExceptionGroup)
    assert pytest.RaisesGroup(trio.Cancelled, pytest.RaisesGroup(trio.Cancelled)).matches(outcome.rest)


def test_an_exception_among_cancelled_is_the_error_and_the_cancelled_goes_on(cancelled: trio.Cancelled) -> None:
    outcome = judge(BaseExceptionGroup("both", [OSError("full"), cancelled]), stopped=False, swept=True)
    assert outcome.ending is Ending.ERROR
    assert pytest.RaisesGroup(pytest.RaisesExc(OSError, match="full")).matches(outcome.error)
    assert pytest.RaisesGroup(trio.Cancelled).matches(outcome.rest)


@pytest.mark.parametrize("crash", CRASHES, ids=repr)
def test_what_is_neither_an_exception_nor_cancelled_is_a_crash_and_goes_on(crash: BaseException) -> None:
    outcome = judge(crash, stopped=False, swept=True)
    assert outcome.ending is Ending.CRASH
    assert outcome.error is None
    assert outcome.rest is crash


@pytest.mark.parametrize("crash", CRASHES, ids=repr)
def test_a_crash_beside_an_exception_keeps_the_exception_as_the_error_and_goes_on(crash: BaseException) -> None:
    outcome = judge(BaseExceptionGroup("both", [OSError("full"), crash]), stopped=False, swept=True)
    assert outcome.ending is Ending.CRASH
    assert pytest.RaisesGroup(pytest.RaisesExc(OSError, match="full")).matches(outcome.error)
    assert pytest.RaisesGroup(type(crash)).matches(outcome.rest)


@pytest.mark.parametrize("crash", CRASHES, ids=repr)
def test_a_crash_beside_cancelled_is_a_crash_and_both_go_on(crash: BaseException, cancelled: trio.Cancelled) -> None:
    outcome = judge(BaseExceptionGroup("both", [cancelled, crash]), stopped=False, swept=True)
    assert outcome.ending is Ending.CRASH
    assert outcome.error is None
    assert pytest.RaisesGroup(trio.Cancelled, type(crash)).matches(outcome.rest)


def test_all_three_deep_in_groups_are_told_apart(cancelled: trio.Cancelled) -> None:
    group = BaseExceptionGroup(
        "outer",
        [
            BaseExceptionGroup("inner", [OSError("full"), cancelled]),
            BaseExceptionGroup("inner", [KeyboardInterrupt(), ValueError("bad")]),
        ],
    )
    outcome = judge(group, stopped=False, swept=True)
    assert outcome.ending is Ending.CRASH
    assert pytest.RaisesGroup(pytest.RaisesGroup(OSError), pytest.RaisesGroup(ValueError)).matches(outcome.error)
    assert pytest.RaisesGroup(pytest.RaisesGroup(trio.Cancelled), pytest.RaisesGroup(KeyboardInterrupt)).matches(
        outcome.rest
    )


def test_an_error_in_a_group_with_what_the_scope_did_not_catch_wins_over_every_wish(cancelled: trio.Cancelled) -> None:
    outcome = judge(BaseExceptionGroup("both", [OSError("full"), cancelled]), stopped=False, swept=True)
    assert {status_after(outcome.ending, asked) for asked in Asked} == {DownloadStatus.FAILED}


@pytest.mark.parametrize("asked", Asked)
def test_a_cancelled_from_elsewhere_is_an_error_and_goes_no_further(cancelled: trio.Cancelled, asked: Asked) -> None:
    for raised in (cancelled, BaseExceptionGroup("kept", [cancelled])):
        outcome = judge(raised, stopped=False, swept=False)
        assert outcome.rest is None
        assert isinstance(outcome.error, RuntimeError)
        assert str(outcome.error) == (
            "the downloader raised a Cancelled of a scope that is not around it, kept from another task maybe"
        )
        assert outcome.error.__cause__ is not None
        assert status_after(outcome.ending, asked) is DownloadStatus.FAILED


def test_a_cancelled_from_elsewhere_beside_an_error_is_dropped(cancelled: trio.Cancelled) -> None:
    outcome = judge(BaseExceptionGroup("both", [OSError("full"), cancelled]), stopped=False, swept=False)
    assert outcome.ending is Ending.ERROR
    assert outcome.rest is None


def test_a_group_that_cannot_be_split_is_a_crash() -> None:
    class Stubborn(BaseExceptionGroup[BaseException]):
        def derive(self, excs: object, /) -> Stubborn:  # type: ignore[override]
            raise TypeError("derive")

    group = Stubborn("both", [ValueError(), KeyboardInterrupt()])
    outcome = judge(group, stopped=False, swept=False)
    assert outcome.ending is Ending.CRASH
    assert outcome.rest is group


@pytest.mark.parametrize("members", [[ValueError()], [ValueError(), KeyboardInterrupt()]], ids=repr)
def test_a_group_whose_class_makes_no_exception_of_exceptions_is_a_crash(members: list[BaseException]) -> None:
    class Own(BaseExceptionGroup[BaseException]):
        def derive(self, excs: Sequence[BaseException], /) -> Own:  # type: ignore[override]
            return Own(self.message, excs)

    group = Own("own", members)
    outcome = judge(group, stopped=False, swept=False)
    assert outcome.ending is Ending.CRASH
    assert outcome.error is None
    assert outcome.rest is group


def test_a_group_that_says_nothing_is_in_it_is_a_crash() -> None:
    class Silent(BaseExceptionGroup[BaseException]):
        def split(self, kind: object, /) -> tuple[None, None]:
            return None, None

    group = Silent("silent", [KeyboardInterrupt()])
    assert judge(group, stopped=False, swept=False) == Outcome(Ending.CRASH, rest=group)


def test_only_a_group_is_split_whatever_else_can_be(cancelled: trio.Cancelled) -> None:
    class Splittable(BaseException):
        def split(self, kind: object) -> tuple[Exception, trio.Cancelled]:
            return OSError(), cancelled

    crash = Splittable()
    assert judge(crash, stopped=False, swept=True) == Outcome(Ending.CRASH, rest=crash)


def test_an_outcome_is_frozen_and_small() -> None:
    outcome = judge(None, stopped=False, swept=False)
    with pytest.raises(FrozenInstanceError):
        outcome.ending = Ending.CRASH  # type: ignore[misc]
    assert not hasattr(outcome, "__dict__")

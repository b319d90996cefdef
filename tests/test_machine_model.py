"""The reference model, used alone: it knows the laws, and says which one is broken."""

from __future__ import annotations

import pytest

from trio_dlm import DownloadStatus
from trio_dlm._status import TRANSITIONS
from trio_dlm.testing._errors import LawBrokenError
from trio_dlm.testing._scripted import Left
from trio_dlm.testing.machine._model import CANCELLED, COMPLETED, DOWNLOADING, FAILED, PAUSED, PENDING, UNKNOWN, Model


def see(model: Model, *changes: tuple[str, DownloadStatus]) -> None:
    """Let *changes* happen, none of which ends a run, and nothing else."""
    for name, status in changes:
        model.observe(name, status, Left.NEVER_BEGAN)
    model.check_nothing_is_due()


def submit(model: Model, name: str, lane: str | None = None, *, starts: bool = False) -> None:
    model.submit(name, lane)
    see(model, (name, PENDING), *[(name, DOWNLOADING)] * starts)


def test_the_first_come_are_the_first_served() -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    submit(model, "c")
    model.observe("a", COMPLETED, Left.RETURNED)
    see(model, ("b", DOWNLOADING))
    model.observe("b", FAILED, Left.RAISED)
    see(model, ("c", DOWNLOADING))


def test_lanes_take_turns() -> None:
    model = Model(limit=0)
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        submit(model, name, name[0])
    model.set_limit(6)
    see(model, *((name, DOWNLOADING) for name in ("a1", "b1", "c1", "a2", "b2", "a3")))


def test_a_lane_at_its_limit_keeps_its_turn() -> None:
    model = Model(limit=0, per_lane=1)
    for name in ("a1", "a2", "b1", "b2"):
        submit(model, name, name[0])
    model.set_limit(2)
    see(model, ("a1", DOWNLOADING), ("b1", DOWNLOADING))
    model.observe("b1", COMPLETED, Left.RETURNED)
    see(model, ("b2", DOWNLOADING))
    model.observe("a1", COMPLETED, Left.RETURNED)
    see(model, ("a2", DOWNLOADING))


def test_a_lower_limit_interrupts_nobody_and_starts_nobody() -> None:
    model = Model(limit=2)
    submit(model, "a", starts=True)
    submit(model, "b", starts=True)
    submit(model, "c")
    model.set_limit(1)
    model.observe("a", COMPLETED, Left.RETURNED)
    see(model)
    model.observe("b", COMPLETED, Left.RETURNED)
    see(model, ("c", DOWNLOADING))


def test_the_limit_of_a_lane_wins_over_that_of_all_lanes() -> None:
    model = Model(limit=9, per_lane=1)
    submit(model, "a1", "a", starts=True)
    submit(model, "a2", "a")
    model.set_lane_limit("a", 2)
    see(model, ("a2", DOWNLOADING))
    submit(model, "a3", "a")
    model.set_per_lane(9)
    see(model)
    model.set_lane_limit("a", None)
    see(model, ("a3", DOWNLOADING))


def test_a_resumed_download_goes_to_the_tail() -> None:
    model = Model(limit=0)
    submit(model, "a")
    submit(model, "b")
    model.pause("a")
    see(model, ("a", PAUSED))
    assert model.resume("a")
    see(model, ("a", PENDING))
    assert not model.resume("a")
    model.set_limit(2)
    see(model, ("b", DOWNLOADING), ("a", DOWNLOADING))


def test_whoever_waits_for_room_is_admitted_in_turn() -> None:
    model = Model(limit=1, max_pending=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    for name in ("c", "d", "e"):
        model.submit(name, None)
    see(model)
    model.give_up("c")
    model.cancel("b")
    see(model, ("b", CANCELLED), ("d", PENDING))
    assert not model.has_room
    assert [*model.line] == ["e"]


@pytest.mark.parametrize("asked", [None, PAUSED, CANCELLED])
def test_a_result_or_an_error_wins_over_what_was_asked(asked: DownloadStatus | None) -> None:
    for left, status in ((Left.RETURNED, COMPLETED), (Left.RAISED, FAILED)):
        model = Model(limit=1)
        submit(model, "a", starts=True)
        if asked is not None:
            model.pause("a")
        if asked is CANCELLED:
            model.cancel("a")
        model.observe("a", status, left)


def test_a_cancel_wins_over_a_pause() -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    model.cancel("a")
    model.pause("a")
    with pytest.raises(LawBrokenError, match="a became paused, though its body was cancelled, and to be cancelled"):
        model.observe("a", PAUSED, Left.CANCELLED)


@pytest.mark.parametrize("cancel", [True, False])
def test_the_paused_are_cancelled_when_the_block_is_left(cancel: bool) -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    submit(model, "c")
    model.pause("c")
    see(model, ("c", PAUSED))
    model.close(cancel=cancel)
    see(model, ("c", CANCELLED))
    if cancel:
        see(model, ("b", CANCELLED))
        model.observe("a", CANCELLED, Left.CANCELLED)
    else:
        model.observe("a", COMPLETED, Left.RETURNED)
        see(model, ("b", DOWNLOADING))
        with pytest.raises(LawBrokenError, match="have not ended: b"):
            model.check_all_ended()
        model.observe("b", COMPLETED, Left.RETURNED)
    model.check_all_ended()


def test_after_a_cut_off_what_starts_may_start_and_need_not() -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    submit(model, "c")
    model.cut_off()
    model.observe("a", COMPLETED, Left.RETURNED)
    see(model)
    see(model, ("b", DOWNLOADING))
    model.submit("late", None)
    see(model, ("late", PENDING))
    with pytest.raises(LawBrokenError, match="law 2 or 3: c became downloading, though nothing called for it"):
        model.observe("c", DOWNLOADING, Left.NEVER_BEGAN)


@pytest.mark.parametrize("left", [Left.CANCELLED, Left.NEVER_BEGAN])
def test_after_a_cut_off_the_first_that_is_cancelled_tells_that_all_are(left: Left) -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    submit(model, "c")
    model.pause("c")
    see(model, ("c", PAUSED))
    model.pause("a")
    model.cut_off()
    model.observe("a", CANCELLED, left)
    assert model.closed
    assert model.overdue == ["b", "c"]
    see(model, ("b", CANCELLED), ("c", CANCELLED))
    model.check_all_ended()
    with pytest.raises(LawBrokenError, match="a became pending, though nothing called for it"):
        model.observe("a", PENDING, Left.CANCELLED)
    with pytest.raises(LawBrokenError, match="unheard of became pending, though nothing called for it"):
        model.observe("unheard of", PENDING, Left.CANCELLED)


def test_a_queued_one_that_is_cancelled_after_a_cut_off_tells_it_too() -> None:
    model = Model(limit=0)
    submit(model, "a")
    model.cut_off()
    see(model, ("a", CANCELLED))
    assert model.closed


def test_a_crash_ends_everything_and_fails_what_was_in_flight() -> None:
    model = Model(limit=4)
    for name in ("culprit", "bystander", "unlucky", "paused"):
        submit(model, name, starts=True)
    submit(model, "queued")
    submit(model, "put aside")
    model.pause("put aside")
    see(model, ("put aside", PAUSED))
    model.cancel("unlucky")
    model.pause("paused")
    model.observe("culprit", FAILED, Left.CRASHED)
    see(model)
    model.observe("unlucky", CANCELLED, Left.CANCELLED)
    model.observe("paused", FAILED, Left.CANCELLED)
    with pytest.raises(LawBrokenError, match="the outcome table: bystander became cancelled, though its body was canc"):
        model.observe("bystander", CANCELLED, Left.CANCELLED)
    model.observe("bystander", FAILED, Left.CANCELLED)
    see(model, ("queued", CANCELLED), ("put aside", CANCELLED))
    model.check_all_ended()
    assert [*model.uncollected] == ["culprit", "paused", "bystander"]


@pytest.mark.parametrize("status", [FAILED, CANCELLED])
def test_whether_a_cancel_comes_before_the_end_of_a_crashed_block_is_open(status: DownloadStatus) -> None:
    model = Model(limit=2)
    submit(model, "culprit", starts=True)
    submit(model, "a", starts=True)
    model.observe("culprit", FAILED, Left.CRASHED)
    model.cancel("a")
    model.observe("a", status, Left.CANCELLED)


def test_a_body_cannot_swallow_a_crash() -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    with pytest.raises(LawBrokenError, match="a became completed, though its body raised what is no Exception"):
        model.observe("a", COMPLETED, Left.CRASHED)


def test_a_failure_is_uncollected_until_somebody_asks() -> None:
    model = Model(limit=3)
    for name in ("asked before", "asked after", "never asked"):
        submit(model, name, starts=True)
    model.ask("asked before")
    model.ask("asked after")
    model.unask("asked after")
    for name in ("asked before", "asked after", "never asked"):
        model.observe(name, FAILED, Left.RAISED)
    assert [*model.uncollected] == ["asked after", "never asked"]
    model.collect("asked after")
    assert [*model.uncollected] == ["never asked"]


def test_a_batch_comes_in_as_there_is_room_and_in_its_order() -> None:
    model = Model(limit=1, max_pending=1)
    model.submit_many(dict.fromkeys("abcd"))
    see(model, ("a", PENDING), ("a", DOWNLOADING), ("b", PENDING))
    assert model.overdue == []
    with pytest.raises(LawBrokenError, match="admission: c became pending, though nothing called for it"):
        model.observe("c", PENDING, Left.NEVER_BEGAN)
    model.cancel("b")
    see(model, ("b", CANCELLED))
    assert model.overdue == ["c", "d"]
    with pytest.raises(LawBrokenError, match="admission: d became pending, though nothing called for it"):
        model.observe("d", PENDING, Left.NEVER_BEGAN)
    model.cancel("c")
    see(model, ("c", CANCELLED))
    see(model, ("d", PENDING))


def test_a_batch_that_is_turned_away_cancels_what_was_queued_of_it() -> None:
    model = Model(limit=1, max_pending=1)
    model.submit_many(dict.fromkeys("abc"))
    see(model, ("a", PENDING), ("a", DOWNLOADING), ("b", PENDING))
    model.close(cancel=False)
    see(model, ("b", CANCELLED), ("c", CANCELLED))
    assert model.is_to_stop("a")
    model.observe("a", CANCELLED, Left.CANCELLED)
    model.check_all_ended()


def test_who_is_spared_is_not_cancelled() -> None:
    model = Model(limit=0)
    submit(model, "a")
    model.doom(["a"])
    model.spare(["a"])
    with pytest.raises(LawBrokenError, match="law 4 or 5: a became cancelled, though nothing called for it"):
        model.observe("a", CANCELLED, Left.NEVER_BEGAN)


def test_what_comes_out_of_turn_is_told() -> None:
    model = Model(limit=0)
    submit(model, "a")
    submit(model, "b")
    model.set_limit(1)
    with pytest.raises(LawBrokenError, match="law 2 or 3: b became downloading, expected that a became downloading"):
        model.observe("b", DOWNLOADING, Left.NEVER_BEGAN)


def test_what_does_not_come_is_told() -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    submit(model, "b")
    model.observe("a", COMPLETED, Left.RETURNED)
    with pytest.raises(LawBrokenError, match="it should have happened in this step that b became downloading"):
        model.check_nothing_is_due()


@pytest.mark.parametrize("status", [PENDING, DOWNLOADING, PAUSED, CANCELLED, FAILED])
def test_what_nobody_asked_for_is_told(status: DownloadStatus) -> None:
    model = Model(limit=1)
    submit(model, "a", starts=True)
    model.observe("a", COMPLETED, Left.RETURNED)
    with pytest.raises(LawBrokenError, match=f"a became {status.value}, though nothing called for it"):
        model.observe("a", status, Left.CANCELLED)


class TestReason:
    def test_the_first_one_stays(self) -> None:
        model = Model(limit=1)
        submit(model, "a", starts=True)
        model.cancel("a", "one")
        model.cancel("a", "another")
        model.close(cancel=True)
        assert model.downloads["a"].reason == "one"

    def test_no_reason_is_a_first_one_too(self) -> None:
        model = Model(limit=1)
        submit(model, "a", starts=True)
        model.cancel("a", None)
        model.cancel("a", "another")
        assert model.downloads["a"].reason is None

    def test_one_that_does_not_run_is_cancelled_by_whoever_says_so(self) -> None:
        model = Model(limit=1, max_pending=1)
        submit(model, "a", starts=True)
        submit(model, "b")
        model.submit_many({"c": None})
        model.doom(["b", "c"])
        model.cancel("c", "of c")
        model.cancel("b", "of b")
        assert [model.downloads[name].reason for name in "bc"] == ["of b", "of c"]

    @pytest.mark.parametrize("by", ["the end of the block", "a caller", "what is around"])
    def test_who_may_have_been_second_is_not_quoted(self, by: str) -> None:
        model = Model(limit=1)
        submit(model, "a", starts=True)
        if by == "the end of the block":
            model.close(cancel=True)
        elif by == "a caller":
            model.doom(["a"])
        else:
            model.cut_off()
        model.cancel("a", "one")
        assert model.downloads["a"].reason is UNKNOWN

    def test_a_pause_gives_way(self) -> None:
        model = Model(limit=1)
        submit(model, "a", starts=True)
        model.pause("a")
        model.cancel("a", "one")
        assert model.downloads["a"].reason == "one"


def test_the_table_of_steps_is_the_same_as_that_of_the_library() -> None:
    # Written down twice on purpose; this is where an edit of one of them shows.
    from trio_dlm.testing.machine import _model as model

    assert {status: frozenset(model.STEPS.get(status, ())) for status in DownloadStatus} == TRANSITIONS

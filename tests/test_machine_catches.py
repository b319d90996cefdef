"""The machine is not blind: bugs planted in the real manager are found, each for its own reason.

Rules that hold here:

- a bug is planted in the core itself, never in the harness, and is one that somebody could write;
- a search is the same in every run, and stops at the first failure: nothing is shrunk, since only the law counts that
  is named;
- a bug that a search finds late is replayed from the program that was found and shrunk for it once; the same program
  passes without the bug.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trio_dlm import DownloadStatus, DownloadTask
from trio_dlm._admission import WaitingLine
from trio_dlm._download import Download
from trio_dlm._engine import Engine
from trio_dlm._events import EventHub
from trio_dlm._outcome import Asked
from trio_dlm._schedule import Schedule, _Lane
from trio_dlm.testing._errors import LawBrokenError
from trio_dlm.testing.machine._manager import DownloadManagerMachine

Patch: TypeAlias = pytest.MonkeyPatch

# The slowest of these searches needs about 100 examples.  What a search draws changes with every edit of the machine,
# so this leaves room; one that finds nothing takes half a minute to say so.
SEARCH: Final = settings(
    max_examples=1500,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Bug:
    """How to plant it, what the machine says about it, and a program that meets it, if a search would take long."""

    plant: Callable[[Patch], None]
    said: str
    program: Callable[[DownloadManagerMachine], None] | None = None

    def __str__(self) -> str:
        return self.plant.__name__


def replay(program: Callable[[DownloadManagerMachine], None]) -> None:
    machine = DownloadManagerMachine()
    try:
        program(machine)
    finally:
        machine.teardown()


# Order and limits.


def start_the_newest_first(patch: Patch) -> None:
    def take(lane: _Lane) -> Download:
        tickets = [lane.receive.receive_nowait() for _ in range(lane.queued + lane.void)]
        queued = [ticket for ticket in tickets if ticket.download is not None]
        newest = queued.pop().download
        assert newest is not None
        for ticket in queued:
            lane.send.send_nowait(ticket)
        lane.queued, lane.void = len(queued), 0
        return newest

    patch.setattr(_Lane, "take", take)


def let_a_lane_keep_its_turn(patch: Patch) -> None:
    join_round = Schedule._join_round

    def stay_in_front(schedule: Schedule, lane: _Lane) -> None:
        turn = lane.turn
        join_round(schedule, lane)
        if turn is not None:
            assert lane.turn is not None
            schedule._round.remove((lane.turn, lane))
            schedule._round.insert(0, (turn, lane))
            lane.turn = turn

    patch.setattr(Schedule, "_join_round", stay_in_front)


def resume_at_the_head(patch: Patch) -> None:
    put = Schedule.put

    def push_in(schedule: Schedule, download: Download) -> None:
        put(schedule, download)
        if download.status is DownloadStatus.PAUSED:
            lane = schedule._lanes[download.lane]
            for _ in range(lane.queued + lane.void - 1):
                lane.send.send_nowait(lane.receive.receive_nowait())

    patch.setattr(Schedule, "put", push_in)


def resume_with_others_waiting(machine: DownloadManagerMachine) -> None:
    _, _, last = machine.open(limit=1, first=[(None, "wait"), (None, "wait"), (None, "wait")])
    machine.pause(last)
    machine.resume(last)


def give_one_slot_too_many(patch: Patch) -> None:
    grant = Schedule.grant

    def grant_more(schedule: Schedule) -> Download | None:
        schedule.max_concurrent += 1
        try:
            return grant(schedule)
        finally:
            schedule.max_concurrent -= 1

    patch.setattr(Schedule, "grant", grant_more)


def ignore_a_new_limit_of_a_lane_in_use(patch: Patch) -> None:
    patch.setattr(_Lane, "limit_to", lambda _lane, _limit: None)


def forget_a_lane_that_was_full(patch: Patch) -> None:
    patch.setattr(Schedule, "_wake", lambda _schedule, _lane: None)


# Admission.


def admit_one_too_many(patch: Patch) -> None:
    patch.setattr(Engine, "has_room", property(lambda engine: engine.schedule.pending <= engine.max_pending))


def never_admit_who_waits(patch: Patch) -> None:
    step = Engine.step

    def step_over_the_line(engine: Engine) -> None:
        line, engine.line = engine.line, WaitingLine()
        step(engine)
        engine.line = line

    patch.setattr(Engine, "step", step_over_the_line)


def forget_to_step_after_a_cancel(patch: Patch) -> None:
    cancel = Engine.cancel

    def cancel_only(engine: Engine, download: Download, reason: str | None, asked: Asked = Asked.CANCEL) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Engine, "step", lambda _engine: None)
            cancel(engine, download, reason, asked)

    patch.setattr(Engine, "cancel", cancel_only)


def make_room_for_who_waits(machine: DownloadManagerMachine) -> None:
    _, queued = machine.open(limit=1, max_pending=1, first=[(None, "wait"), (None, "wait")])
    machine.submit_soon()
    machine.tick()
    machine.cancel(queued)


# Cancelling.


def leak_the_slot_of_one_that_ends_while_it_is_cancelled(patch: Patch) -> None:
    release = Schedule.release

    def leave_it_to_cancel(schedule: Schedule, download: Download) -> None:
        assert download.scope is not None
        if download.asked is not Asked.CANCEL or download.scope.cancelled_caught:
            release(schedule, download)

    patch.setattr(Schedule, "release", leave_it_to_cancel)


def return_from_cancel_at_once(patch: Patch) -> None:
    async def cancel(task: DownloadTask[Any], reason: str | None = None) -> bool:
        had_ended = task.status.is_final
        task._engine.cancel(task._download, reason)
        await trio.lowlevel.checkpoint()
        return not had_ended

    patch.setattr(DownloadTask, "cancel", cancel)


def say_cancelled_of_one_that_completed(patch: Patch) -> None:
    cancel = DownloadTask.cancel

    async def cancel_and_hope(task: DownloadTask[Any], reason: str | None = None) -> bool:
        had_ended = task.status.is_final
        await cancel(task, reason)
        return not had_ended

    patch.setattr(DownloadTask, "cancel", cancel_and_hope)


def cancel_one_that_was_just_finished(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.settle()
    machine.finish(download)
    machine.cancel(download)


def let_a_pause_beat_a_cancel(patch: Patch) -> None:
    pause = Engine.pause

    def pause_anyway(engine: Engine, download: Download, reason: str | None) -> None:
        pause(engine, download, reason)
        if download.asked is Asked.CANCEL:
            download.asked = Asked.PAUSE

    patch.setattr(Engine, "pause", pause_anyway)


# One end.


def pause_what_has_completed(patch: Patch) -> None:
    pause = Engine.pause

    def pause_anything(engine: Engine, download: Download, reason: str | None) -> None:
        if download.status is DownloadStatus.COMPLETED:
            download.status = DownloadStatus.PAUSED
            engine._changed(download)
        pause(engine, download, reason)

    patch.setattr(Engine, "pause", pause_anything)


def cancel_what_has_failed(patch: Patch) -> None:
    cancel = Engine.cancel

    def cancel_anything(engine: Engine, download: Download, reason: str | None, asked: Asked = Asked.CANCEL) -> None:
        if download.status is DownloadStatus.FAILED:
            download.status = DownloadStatus.CANCELLED
            engine._changed(download)
        cancel(engine, download, reason, asked)

    patch.setattr(Engine, "cancel", cancel_anything)


# Telling.


def keep_counting_a_resumed_one_as_paused(patch: Patch) -> None:
    resume = Engine.resume

    def resume_and_count(engine: Engine, download: Download) -> bool:
        resumed = resume(engine, download)
        engine._paused += resumed
        return resumed

    patch.setattr(Engine, "resume", resume_and_count)


def hide_some_ends_from_readers(patch: Patch) -> None:
    note = EventHub.note

    def note_some(hub: EventHub, download: Download) -> None:
        if download.status is not DownloadStatus.CANCELLED:
            note(hub, download)

    patch.setattr(EventHub, "note", note_some)


def wake_nobody_at_the_end(patch: Patch) -> None:
    end = Engine._end

    def end_silently(engine: Engine, download: Download, status: DownloadStatus) -> None:
        download.askers = None
        end(engine, download, status)

    patch.setattr(Engine, "_end", end_silently)


# A start that does not happen keeps a submit waiting, and either may be what is met first.
UNDUE_OR_MISSING: Final = "^(law 2 or 3|admission): "

BUGS: Final = [
    Bug(start_the_newest_first, "^law 2 or 3: d_.+ became downloading, expected"),
    Bug(let_a_lane_keep_its_turn, "^law 2 or 3: d_.+ became downloading, expected"),
    Bug(resume_at_the_head, "^law 2 or 3: d_2 became downloading, expected that d_1", resume_with_others_waiting),
    Bug(give_one_slot_too_many, "^law 2 or 3: d_.+ became downloading, though nothing called for it"),
    Bug(ignore_a_new_limit_of_a_lane_in_use, UNDUE_OR_MISSING),
    Bug(forget_a_lane_that_was_full, UNDUE_OR_MISSING),
    Bug(admit_one_too_many, "^admission|QueueFullError"),
    Bug(never_admit_who_waits, "^admission"),
    Bug(forget_to_step_after_a_cancel, "^admission: .* d_2 became pending", make_room_for_who_waits),
    Bug(
        leak_the_slot_of_one_that_ends_while_it_is_cancelled,
        rf"{UNDUE_OR_MISSING}|^law 5|^the figures say that .+ downloading",
    ),
    Bug(return_from_cancel_at_once, r"^law 5: cancel\(\) of d_.+ (returned, and it is downloading|said)"),
    Bug(
        say_cancelled_of_one_that_completed,
        r"^law 5: cancel\(\) of d_0 said True, expected False",
        cancel_one_that_was_just_finished,
    ),
    Bug(let_a_pause_beat_a_cancel, "^the outcome table: d_.+ became paused|a deadlock"),
    Bug(pause_what_has_completed, "^law (4 or )?5: .*d_.+ paused|a deadlock"),
    Bug(cancel_what_has_failed, "^law (4 or )?5: .*d_.+ cancelled|a deadlock"),
    Bug(keep_counting_a_resumed_one_as_paused, "^the figures say that . are paused"),
    Bug(hide_some_ends_from_readers, "^A6"),
    Bug(wake_nobody_at_the_end, r"^Q4: wait\(\) for d_.+ has not returned, and should have"),
]
REPLAYED: Final = [bug.program for bug in BUGS if bug.program is not None]


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: Patch) -> None:
    bug.plant(monkeypatch)
    with pytest.raises((LawBrokenError, trio.TooSlowError), match=bug.said):
        if bug.program is None:
            run_state_machine_as_test(DownloadManagerMachine, settings=SEARCH)
        else:
            replay(bug.program)


@pytest.mark.parametrize("program", REPLAYED, ids=lambda program: program.__name__)
def test_what_is_replayed_is_right_without_the_bug(program: Callable[[DownloadManagerMachine], None]) -> None:
    replay(program)

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
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trio_dlm import DownloadBatch, DownloadManager, DownloadStatus, DownloadTask, _block, _run, _trio_block
from trio_dlm._admission import WaitingLine
from trio_dlm._download import Download
from trio_dlm._engine import Engine
from trio_dlm._events import EventHub
from trio_dlm._failures import FailureLedger
from trio_dlm._leaving import outcome_of
from trio_dlm._outcome import Asked, Ending, Outcome, judge, status_after
from trio_dlm._schedule import Schedule, Ticket, _Lane
from trio_dlm._trio_loop import TRIO_LOOP
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
        machine.check()
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
    _, queued = machine.open(limit=1, options={"max_pending": 1}, first=[(None, "wait"), (None, "wait")])
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

    def pause_anyway(engine: Engine, download: Download, reason: str | None) -> Callable[[], bool]:
        is_decided = pause(engine, download, reason)
        if download.asked is Asked.CANCEL:
            download.asked = Asked.PAUSE
        return is_decided

    patch.setattr(Engine, "pause", pause_anyway)


def pause_one_that_is_being_cancelled(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.settle()
    machine.request_cancel(download)
    machine.pause(download)


def quote_who_cancelled_last(patch: Patch) -> None:
    cancel = Engine.cancel

    def cancel_and_quote(engine: Engine, download: Download, reason: str | None, asked: Asked = Asked.CANCEL) -> None:
        cancel(engine, download, reason, asked)
        if not download.status.is_final:
            download.reason = reason

    patch.setattr(Engine, "cancel", cancel_and_quote)


def forget_what_was_said_to_one_that_waits(patch: Patch) -> None:
    cancel = Engine.cancel

    def cancel_and_say_nothing(
        engine: Engine, download: Download, reason: str | None, asked: Asked = Asked.CANCEL
    ) -> None:
        cancel(engine, download, reason if download.status is DownloadStatus.DOWNLOADING else None, asked)

    patch.setattr(Engine, "cancel", cancel_and_say_nothing)


def cancel_for_two_reasons(machine: DownloadManagerMachine) -> None:
    running, queued = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    machine.settle()
    machine.cancel_because(queued, "one")
    machine.shield(running, 3)
    machine.cancel_because(running, "one")
    machine.settle()
    machine.cancel_because(running, "another")
    machine.advance(5)


# One end.


def tell_an_end_twice(patch: Patch) -> None:
    end = Engine._end

    def end_and_tell(engine: Engine, download: Download, status: DownloadStatus) -> None:
        end(engine, download, status)
        engine._changed(download)

    patch.setattr(Engine, "_end", end_and_tell)


def pause_what_has_completed(patch: Patch) -> None:
    pause = Engine.pause

    def pause_anything(engine: Engine, download: Download, reason: str | None) -> Callable[[], bool]:
        if download.status is DownloadStatus.COMPLETED:
            download.status = DownloadStatus.PAUSED
            engine._changed(download)
        return pause(engine, download, reason)

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


# Leaving.


def leave_the_door_open(patch: Patch) -> None:
    patch.setattr(Engine, "close_door", lambda _engine: None)


def leave_and_submit(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1, first=[(None, "wait")])
    machine.leave()
    machine.tick()
    machine.submit()


def forget_the_paused_when_the_block_is_left(patch: Patch) -> None:
    async def drain(engine: Engine) -> None:
        engine.close_door()
        engine.limits_changed()
        await engine.wait_all_ended()

    patch.setattr(Engine, "drain", drain)


def leave_with_one_paused(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.pause(download)
    machine.leave()
    machine.settle()


def let_the_queue_go_on_when_the_body_has_raised(patch: Patch) -> None:
    async def end_all(engine: Engine, _on_exit: object, _leaving: object) -> None:
        await engine.drain()

    patch.setattr(_trio_block, "_end_all", end_all)


def leave_by_an_error(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    machine.leave("by an error")
    machine.settle()


def swallow_what_the_body_was_cancelled_with(patch: Patch) -> None:
    leave = _block._Block.__aexit__

    async def leave_in_peace(block: Any, exc_type: Any, exc: Any, traceback: Any) -> bool | None:
        with suppress(trio.Cancelled):
            await leave(block, exc_type, exc, traceback)
        return isinstance(exc, trio.Cancelled)

    patch.setattr(_block._Block, "__aexit__", leave_in_peace)


def be_cut_off(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1)
    machine.leave("cut off")
    machine.settle()


# Crashes and failures.


def swallow_a_crash(patch: Patch) -> None:
    def judge_mildly(raised: BaseException | None, *, stopped: bool, swept: bool) -> Outcome:
        outcome = judge(raised, stopped=stopped, swept=swept)
        if outcome.ending is Ending.CRASH:
            return Outcome(Ending.ERROR, error=RuntimeError("it crashed"))
        return outcome

    patch.setattr(_run, "judge", judge_mildly)


def crash_alone(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.crash(download)
    machine.settle()


def call_a_bystander_cancelled(patch: Patch) -> None:
    def look_up(_engine: Engine, download: Download, outcome: Outcome) -> DownloadStatus:
        return status_after(outcome.ending, download.asked)

    patch.setattr(Engine, "_status_after", look_up)


def crash_beside_another(machine: DownloadManagerMachine) -> None:
    download, _ = machine.open(limit=2, first=[(None, "wait"), (None, "wait")])
    machine.settle()
    machine.crash(download)
    machine.settle()


def start_the_next_after_a_crash(patch: Patch) -> None:
    patch.setattr(Engine, "_let_go_on", lambda _engine, _outcome: None)


def crash_with_one_queued(machine: DownloadManagerMachine) -> None:
    download, _ = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    machine.crash(download)
    machine.settle()


def drop_uncollected_failures(patch: Patch) -> None:
    patch.setattr(FailureLedger, "enter", lambda _ledger, _download: None)
    patch.setattr(FailureLedger, "strike", lambda _ledger, _download: None)


def fail_alone(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1, first=[(None, "fail")])


def raise_what_was_asked_for(patch: Patch) -> None:
    patch.setattr(FailureLedger, "strike", lambda _ledger, _download: None)


def fail_with_somebody_waiting(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.wait(download)
    machine.settle()
    machine.fail(download)


def say_nothing_of_failures_beside_an_error(patch: Patch) -> None:
    patch.setattr(_trio_block, "outcome_of", lambda leaving, _uncollected, cancelled: outcome_of(leaving, 0, cancelled))


def leave_by_an_error_after_a_failure(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1, first=[(None, "fail")])
    machine.settle()
    machine.leave("by an error")


# Callers and batches.


def leave_the_download_of_a_cancelled_caller_alone(patch: Patch) -> None:
    async def download(manager: DownloadManager, url: str, **arguments: Any) -> Any:
        return await (await manager.submit(url, **arguments)).result()

    patch.setattr(DownloadManager, "download", download)


def call_and_hang_up(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1)
    download = machine.call()
    machine.settle()
    machine.hang_up(download)
    machine.settle()


def lose_the_last_of_a_batch(patch: Patch) -> None:
    queue_all = DownloadManager._queue_all

    async def queue_most(manager: DownloadManager, batch: DownloadBatch) -> None:
        await queue_all(manager, DownloadBatch(batch.parent_id, batch[:-1], TRIO_LOOP))

    patch.setattr(DownloadManager, "_queue_all", queue_most)


def submit_two_at_once(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1)
    machine.submit_many([None, None])
    machine.settle()


def leave_what_was_queued_of_a_batch(patch: Patch) -> None:
    async def cancel_nothing(_batch: DownloadBatch, _reason: str | None = None) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    patch.setattr(DownloadBatch, "cancel", cancel_nothing)


def give_up_a_batch(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1, options={"max_pending": 1})
    machine.submit_many([None, None, None])
    machine.settle()
    machine.give_up_batch()
    machine.settle()


def stop_most_of_a_batch(patch: Patch) -> None:
    cancel = DownloadBatch.cancel

    async def cancel_most(batch: DownloadBatch, reason: str | None = None) -> bool:
        return await cancel(DownloadBatch(batch.parent_id, batch[:-1], TRIO_LOOP), reason)

    patch.setattr(DownloadBatch, "cancel", cancel_most)


def cancel_a_batch(machine: DownloadManagerMachine) -> None:
    machine.open(limit=1)
    machine.submit_many([None, None])
    machine.settle()
    machine.cancel_batch()


# Downloads that stop themselves, and what is held on to.


def let_a_download_wait_for_its_own_end(patch: Patch) -> None:
    async def wait_on(_engine: Engine, _download: Download, _verb: str) -> None:
        await trio.lowlevel.checkpoint()

    patch.setattr(Engine, "stop_myself", wait_on)


def cancel_itself_below_a_shield(machine: DownloadManagerMachine) -> None:
    (download,) = machine.open(limit=1, first=[(None, "wait")])
    machine.stop_itself(download, "cancel", shielded=True)
    machine.settle()


def never_sweep_a_lane(patch: Patch) -> None:
    patch.setattr(_Lane, "sweep", lambda _lane: None)


def hold_on_to_who_was_withdrawn(patch: Patch) -> None:
    withdraw = _Lane.withdraw

    def withdraw_and_keep(lane: _Lane, ticket: Ticket) -> None:
        download = ticket.download
        withdraw(lane, ticket)
        ticket.download = download

    patch.setattr(_Lane, "withdraw", withdraw_and_keep)


def cancel_one_that_waits(machine: DownloadManagerMachine) -> None:
    _, queued = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    machine.cancel(queued)
    machine.settle()


def pause_and_resume_again_and_again(machine: DownloadManagerMachine) -> None:
    _, queued = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    for _ in range(30):
        machine.pause(queued)
        machine.resume(queued)
    machine.settle()


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
    Bug(never_admit_who_waits, "^admission: .* d_2 became pending", make_room_for_who_waits),
    Bug(forget_to_step_after_a_cancel, "^admission: .* d_2 became pending", make_room_for_who_waits),
    Bug(
        leak_the_slot_of_one_that_ends_while_it_is_cancelled,
        rf"{UNDUE_OR_MISSING}|^law 5|^the figures say that .+ downloading",
    ),
    Bug(
        return_from_cancel_at_once,
        r"^law 5: cancel\(\) of d_.+ (returned, and it is downl|said|by its own body returned)",
    ),
    Bug(
        say_cancelled_of_one_that_completed,
        r"^law 5: cancel\(\) of d_0 said True, expected False",
        cancel_one_that_was_just_finished,
    ),
    Bug(let_a_pause_beat_a_cancel, "^the outcome table: d_0 became paused", pause_one_that_is_being_cancelled),
    Bug(quote_who_cancelled_last, "^C8: d_0 says 'another', and was first cancelled for 'one'", cancel_for_two_reasons),
    Bug(forget_what_was_said_to_one_that_waits, "^C8: d_.+ says None, and was first cancelled for '(one|another)'"),
    Bug(tell_an_end_twice, "^law 4: d_.+ became .+ once more"),
    Bug(pause_what_has_completed, "^law (4 or )?5: .*d_.+ paused|a deadlock"),
    Bug(cancel_what_has_failed, "^law (4 or )?5: .*d_.+ cancelled|a deadlock"),
    Bug(keep_counting_a_resumed_one_as_paused, "^the figures say that . are paused"),
    Bug(hide_some_ends_from_readers, "^A6"),
    Bug(wake_nobody_at_the_end, r"^Q4: (wait|download)\(\) (for|of) d_.+ has not returned, and should have"),
    Bug(leave_the_door_open, "^law 1: a closed manager took a submit", leave_and_submit),
    Bug(
        forget_the_paused_when_the_block_is_left,
        "^Q2: these should have been admitted or cancelled by now: d_0",
        leave_with_one_paused,
    ),
    Bug(let_the_queue_go_on_when_the_body_has_raised, "^Q2: .* by now: d_1", leave_by_an_error),
    Bug(swallow_what_the_body_was_cancelled_with, "^S3: the block has swallowed", be_cut_off),
    Bug(swallow_a_crash, r"^law 10: .* left the block, expected \[PlannedCrash", crash_alone),
    Bug(call_a_bystander_cancelled, "^the outcome table: d_1 became cancelled", crash_beside_another),
    Bug(start_the_next_after_a_crash, "^law 2 or 3: d_1 became downloading, though", crash_with_one_queued),
    Bug(drop_uncollected_failures, "^law 10: nobody asked for the failures of d_0", fail_alone),
    Bug(
        raise_what_was_asked_for,
        "^law 10: the failures of d_0 left the block, expected none",
        fail_with_somebody_waiting,
    ),
    Bug(
        say_nothing_of_failures_beside_an_error,
        r"^law 10: the error of the body has the notes \[\]",
        leave_by_an_error_after_a_failure,
    ),
    Bug(
        leave_the_download_of_a_cancelled_caller_alone,
        r"^law 5: the caller of download\(\) of d_0 was cancelled, and it has not ended",
        call_and_hang_up,
    ),
    Bug(lose_the_last_of_a_batch, "^Q2: these should have been admitted or cancelled by now: d_1", submit_two_at_once),
    Bug(leave_what_was_queued_of_a_batch, r"^submit_many\(\) was interrupted, and .*: d_0, d_1, d_2", give_up_a_batch),
    Bug(stop_most_of_a_batch, r"^law 5: cancel\(\) of batch b_0 returned, and these go on: d_1", cancel_a_batch),
    Bug(let_a_download_wait_for_its_own_end, "^Q3: d_0 was asked to stop, and has not", cancel_itself_below_a_shield),
    Bug(hold_on_to_who_was_withdrawn, "^Q5: lane None holds on to d_1, which is not queued", cancel_one_that_waits),
    Bug(never_sweep_a_lane, "^Q5: lane None holds .* tickets, 1 of them live", pause_and_resume_again_and_again),
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

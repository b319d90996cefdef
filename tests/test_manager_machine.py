"""Laws 1 to 5 on a real manager in random use.

Rules that hold here:

- how many examples and steps is for the profile to say (``HYPOTHESIS_PROFILE``, see conftest.py);
- a failure prints the program that leads to it, which runs as it stands; ``state.check()`` is what is looked at in
  between.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, SimpleNamespace
from typing import Final, TypeAlias

import pytest
import trio
from hypothesis import HealthCheck, settings
from trio.testing import wait_all_tasks_blocked

from trio_dlm import DownloadStatus, _schedule, open_manager
from trio_dlm.testing._scripted import ScriptedDownloader
from trio_dlm.testing.machine._check import DEFAULTS, check_manager
from trio_dlm.testing.machine._driven import ALL_FEATURES
from trio_dlm.testing.machine._manager import DownloadManagerMachine
from trio_dlm.testing.machine._memory import content_of
from trio_dlm.testing.machine._model import Model
from trio_dlm.testing.machine._recorder import Recorder, watch_log


class SweepingMachine(DownloadManagerMachine):
    """With a manager that sweeps its queues for void tickets early: it takes more than an example has otherwise."""

    def __init__(self) -> None:
        super().__init__()
        patch = pytest.MonkeyPatch()
        patch.setattr(_schedule, "_FEW", 0)
        self.at_close.callback(patch.undo)


TestManager = DownloadManagerMachine.TestCase
TestManagerThatSweeps = SweepingMachine.TestCase

# An example of 40 steps takes about 20 ms, no more than a plain property has.
TestManager.settings = settings(
    max_examples=5 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck)
)


# Programs that a search of the shorter profiles meets rarely; each goes one way that the others do not.

Machine: TypeAlias = DownloadManagerMachine


def cut_off_while_the_queue_runs_empty(machine: Machine) -> None:
    first, *_ = machine.open(limit=1, first=[(None, "wait")] * 4)
    machine.settle()
    machine.leave()
    machine.settle()
    machine.leave("cut off")
    machine.finish(first)
    machine.submit()
    machine.settle()


def leave_by_an_error_and_be_cut_off_at_once(machine: Machine) -> None:
    machine.open(limit=1, first=[(None, "fail"), (None, "wait")])
    machine.leave("by an error")
    machine.leave("cut off")
    machine.settle()


def be_cut_off_with_one_that_is_being_paused(machine: Machine) -> None:
    running, queued, _ = machine.open(limit=1, first=[(None, "wait")] * 3)
    machine.pause(queued)
    machine.shield(running, 3)
    machine.tick()
    machine.pause_soon(running)
    machine.tick()
    machine.leave("cut off")
    machine.cancel(running)
    machine.resume(queued)
    machine.retry(running)
    machine.settle()


def crash_when_the_block_is_cut_off(machine: Machine) -> None:
    running, _ = machine.open(limit=2, first=[(None, "wait"), (None, "wait")])
    machine.settle()
    machine.crash_when_cancelled(running)
    machine.leave("cut off")
    machine.settle()


def crash_twice_with_a_group(machine: Machine) -> None:
    first, second, third = machine.open(limit=3, first=[(None, "wait")] * 3)
    machine.settle()
    machine.crash_when_cancelled(second)
    machine.react(third, "raise both")
    machine.crash(first, in_a_group=True)
    machine.settle()


def crash_while_the_body_raises(machine: Machine) -> None:
    (running,) = machine.open(limit=1, first=[(None, "wait")])
    machine.settle()
    machine.crash_when_cancelled(running)
    machine.leave("by an error")
    machine.settle()


def raise_beside_being_cut_off(machine: Machine) -> None:
    running, _ = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
    machine.settle()
    machine.react(running, "raise both")
    machine.leave("cut off")
    machine.settle()


def cancel_for_several_reasons(machine: Machine) -> None:
    running, queued, paused = machine.open(limit=1, first=[(None, "wait")] * 3)
    machine.settle()
    machine.shield(running, 3)
    machine.pause(paused)
    for download in (running, queued, paused):
        machine.cancel_because(download, "one")
        machine.cancel_because(download, "another")
    machine.tick()
    machine.request_cancel(running)
    machine.leave()
    machine.settle()
    machine.cancel_because(running, "another")
    machine.advance(5)
    machine.settle()


def give_a_reason_where_somebody_else_may_be_first(machine: Machine) -> None:
    machine.open(limit=2, options={"max_pending": 1, "on_exit": "cancel"})
    called = machine.call()
    running, *_ = machine.submit_many([None, None, None])
    machine.settle()
    machine.shield(called, 2)
    machine.shield(running, 2)
    machine.hang_up(called)
    machine.give_up_batch()
    machine.cancel_because(called, "one")
    machine.cancel_because(running, "one")
    machine.leave()
    machine.settle()
    machine.advance(5)
    machine.settle()


def wait_and_do_not_want_to_know(machine: Machine) -> None:
    (running,) = machine.open(limit=1, first=[(None, "wait")])
    machine.wait(running)
    machine.wait(running, for_result=True)
    machine.settle()
    machine.stop_waiting(running)
    machine.fail(running)
    machine.settle()


def ask_for_results_of_all_kinds(machine: Machine) -> None:
    failing, stopped, whole = machine.open(limit=3, first=[(None, "wait")] * 3)
    for download in (failing, stopped, whole):
        machine.wait(download, for_result=True)
    machine.settle()
    machine.fail(failing, in_a_group=True)
    machine.cancel_soon(stopped)
    machine.finish(whole)
    machine.settle()


def hang_up_in_every_state(machine: Machine) -> None:
    machine.open(limit=1, options={"max_pending": 1})
    running, queued, in_line, not_begun = (machine.call() for _ in range(4))
    machine.hang_up(not_begun)
    machine.settle()
    machine.shield(running, 2)
    for download in (in_line, queued, running):
        machine.hang_up(download)
    machine.settle()
    machine.advance(5)
    machine.settle()


def call_and_fail(machine: Machine) -> None:
    machine.open(limit=2)
    failing, stopped = machine.call(), machine.call()
    machine.settle()
    machine.fail(failing)
    machine.cancel(stopped)
    machine.settle()


def stop_itself_in_every_way(machine: Machine) -> None:
    downloads = machine.open(limit=4, first=[(None, "wait")] * 4)
    machine.settle()
    for number, download in enumerate(downloads):
        machine.stop_itself(download, ("cancel", "pause")[number % 2], shielded=number < 2)
    machine.settle()


def close_on_a_batch_that_is_coming_in(machine: Machine) -> None:
    machine.open(limit=1, options={"max_pending": 1, "on_exit": "cancel"})
    first, *_ = machine.submit_many([None, None, None, None])
    machine.settle()
    machine.cancel(first)
    machine.leave()
    machine.settle()
    machine.submit_many([None])
    machine.submit_soon()
    machine.call()
    machine.settle()


def leave_when_the_last_of_a_batch_comes_in(machine: Machine) -> None:
    machine.open(limit=1, options={"max_pending": 1}, first=[(None, "wait"), (None, "wait")])
    _, last = machine.submit_many([None, None])
    machine.settle()
    machine.cancel(last)
    machine.resize(3)
    machine.leave()
    machine.settle()


def watch_and_await_a_batch_whose_last_is_cancelled_before_its_turn(machine: Machine) -> None:
    machine.open(limit=1, options={"max_pending": 1})
    first, second, third = machine.submit_many([None, None, None])
    machine.settle()
    machine.subscribe()
    machine.settle()
    machine.cancel(third)
    machine.settle()
    machine.watch_batch()
    machine.wait_for_batch()
    machine.finish(second)
    machine.fail(first)
    machine.settle()
    machine.cancel_batch(by_id=True)
    machine.settle()


PROGRAMS: Final = [
    program
    for name, program in list(globals().items())
    if isinstance(program, FunctionType) and program.__annotations__.get("machine") == "Machine"
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
@pytest.mark.parametrize("tape", [(), (1,) * 40, (2, 0, 1) * 13], ids=["oldest first", "second first", "mixed"])
def test_a_rare_program_holds_all_laws(program: Callable[[Machine], None], tape: Sequence[int]) -> None:
    machine = DownloadManagerMachine()
    try:
        machine.draw_schedule([*tape])
        program(machine)
        machine.check()
    finally:
        machine.teardown()


def test_two_threads_do_not_disturb_each_other() -> None:
    def perform_all(_: object) -> list[object]:
        told: list[object] = []
        for program in PROGRAMS:
            machine = DownloadManagerMachine()
            try:
                machine.draw_schedule([1, 0, 2] * 13)
                program(machine)
                machine.check()
                told.append((program.__name__, machine._tape.used, machine.scene.recorder.history))
            finally:
                machine.teardown()
        return told

    alone = perform_all(None)
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(perform_all, range(2))] == [alone, alone]


@pytest.mark.parametrize("feature", sorted(ALL_FEATURES))
def test_a_manager_need_not_have_a_feature(feature: str) -> None:
    report = check_manager(
        open_manager, features=ALL_FEATURES - {feature}, settings=settings(DEFAULTS, max_examples=10)
    )
    assert report.examples >= 10


async def test_what_another_manager_logs_is_not_taken_for_ours() -> None:
    downloader = ScriptedDownloader()
    async with open_manager(1, downloader=downloader) as ours, open_manager(1, downloader=downloader) as other:
        recorder = Recorder(ours, Model(limit=1), downloader)
        with recorder.watching():
            downloader.gate("theirs").finish()
            other.submit_nowait("memory:theirs", correlation_id="theirs")
            await other.wait_idle()
        recorder.check()
        assert recorder.history == {}


@pytest.mark.parametrize("is_off", ["all of logging", "our logger"])
async def test_a_manager_is_heard_although_logging_is_switched_off(
    is_off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("trio_dlm")
    monkeypatch.setattr(logger.manager, "disable", logging.CRITICAL if is_off == "all of logging" else 0)
    monkeypatch.setattr(logger, "disabled", is_off == "our logger")
    downloader = ScriptedDownloader()
    async with open_manager(1, downloader=downloader) as manager:
        model = Model(limit=1)
        recorder = Recorder(manager, model, downloader)
        with recorder.watching():
            downloader.gate("d").finish()
            recorder.introduce("d", "d")
            model.submit("d", None)
            manager.submit_nowait("memory:d", correlation_id="d")
            await manager.wait_idle()
        recorder.check()
    assert model.status("d") is DownloadStatus.COMPLETED
    assert not logger.isEnabledFor(logging.ERROR)


async def test_what_is_logged_in_another_thread_is_not_taken_for_ours() -> None:
    seen: list[str] = []
    manager = SimpleNamespace(get_task=lambda _: SimpleNamespace(status=DownloadStatus.PENDING))

    def say(name: str) -> None:
        logging.getLogger("trio_dlm").debug("is pending", extra={"correlation_id": name})

    with watch_log(manager, lambda name, _status: seen.append(name)), ThreadPoolExecutor(1) as other:
        say("ours")
        other.submit(say, "theirs").result()
    assert seen == ["ours"]


async def test_watches_may_end_in_any_order_and_the_log_is_then_as_it_was() -> None:
    seen: list[tuple[int, str]] = []
    manager = SimpleNamespace(get_task=lambda _: SimpleNamespace(status=DownloadStatus.PENDING))
    logger = logging.getLogger("trio_dlm")
    before = (logger.level, logger.propagate, [*logger.handlers], logger.manager.disable)

    def sees(number: int) -> Callable[[str, DownloadStatus], None]:
        return lambda name, _: seen.append((number, name))

    watches = [watch_log(manager, sees(number)) for number in range(3)]
    for watch in watches:
        watch.__enter__()
    for number in (0, 2, 1):
        logger.debug("is pending", extra={"correlation_id": f"before {number}"})
        watches[number].__exit__(None, None, None)
    assert [number for number, _ in seen] == [0, 1, 2, 1, 2, 1]
    assert (logger.level, logger.propagate, [*logger.handlers], logger.manager.disable) == before


async def test_the_content_of_a_queue_is_where_it_is_looked_for() -> None:
    # Private to trio: without it, what a queue holds on to would not be seen any more.
    send, receive = trio.open_memory_channel[str](math.inf)
    send.send_nowait("first")
    send.send_nowait("second")
    assert [*content_of(receive)] == ["first", "second"]
    send.close()
    receive.close()


async def test_a_second_body_of_one_download_is_a_fault() -> None:
    downloader = ScriptedDownloader()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(downloader.run, "twice")
        nursery.start_soon(downloader.run, "twice")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel(reason="enough")
    assert downloader.faults == ["law 4: twice was started while its body still ran"]

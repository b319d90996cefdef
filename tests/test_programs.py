"""Drawn programs: they find what is broken, say it in few words, and leave everything as it was.

Rules that hold here:

- bugs are those that the state machine is tried with;
- a search is the same in every run.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

import trio_dlm
from tests.fakes import instant, run_in_virtual_time, url
from tests.test_machine_catches import (
    admit_one_too_many,
    give_one_slot_too_many,
    leak_the_slot_of_one_that_ends_while_it_is_cancelled,
    return_from_cancel_at_once,
    start_the_newest_first,
    wake_nobody_at_the_end,
)
from trio_dlm import DownloadStatus, DownloadTask, open_manager
from trio_dlm._engine import Engine
from trio_dlm.testing import operations
from trio_dlm.testing._errors import LawBrokenError
from trio_dlm.testing.machine._programs import Program, interpret, programs
from trio_dlm.testing.operations import (
    Advance,
    Cancel,
    Fail,
    Finish,
    Grant,
    Operation,
    Pause,
    Resize,
    ResizeLane,
    Resume,
    Retry,
    Settle,
    Shield,
    Submit,
    Subscribe,
    Tick,
    Wait,
)

TIMELESS: Final = ("pause", "resize", "retry", "lanes")

# What is needed for a program to find a bug, shrinking included, takes a few seconds of this at most.
SEARCH: Final = settings(
    max_examples=2000,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

# One of each, with something to do for all of them.
EVERYTHING: Final = Program(
    2,
    (3, 0, 1, 2),
    (
        Finish(0),
        Subscribe(),
        Submit(),
        Submit(lane="a", resumable=True),
        Submit(lane="a"),
        Wait(1),
        Tick(2),
        Grant(1, 10),
        Tick(),
        Pause(1),
        Resume(1),
        ResizeLane("a", 1),
        Retry(0),
        Shield(1, 3),
        Cancel(1, soon=True),
        Cancel(1),
        Pause(0, soon=True),
        Settle(),
        Fail(2),
        Settle(),
        Retry(2),
        ResizeLane("a", None),
        Resize(math.inf),
        Advance(5),
    ),
)


def perform(program: Program) -> None:
    trio.run(interpret, program, clock=MockClock())


# On a right manager.


@settings(deadline=None)
@given(programs())
def test_a_right_manager_passes(program: Program) -> None:
    perform(program)


@settings(deadline=None, max_examples=20)
@given(program=programs(), clock=st.builds(MockClock))
async def test_an_async_test_may_have_its_clock_drawn(program: Program, clock: MockClock) -> None:
    await interpret(program)
    assert clock is trio.lowlevel.current_clock()
    assert clock.autojump_threshold == math.inf


@settings(deadline=None, max_examples=20)
@given(program=programs(features=TIMELESS))
async def test_the_clock_may_be_real_where_no_time_passes(program: Program) -> None:
    await interpret(program)


@settings(deadline=None, max_examples=50)
@given(program=programs(), max_pending=st.integers(1, 3), per_lane=st.integers(0, 2))
def test_a_manager_of_ones_own_is_left_idle(program: Program, max_pending: int, per_lane: int) -> None:
    async def main() -> None:
        # With failures="raise": nobody else has asked for those that were planned.
        async with open_manager(7, max_pending=max_pending, max_per_lane=per_lane, downloader=instant) as manager:
            await interpret(program, manager)
            stats = manager.get_stats()
            assert (stats.active, stats.pending, stats.paused, manager.max_concurrent) == (0, 0, 0, 7)
            manager.set_lane_limit("mine", 1)
            assert (await manager.download(url("mine"), lane="mine")).size_bytes == 0

    trio.run(main, clock=MockClock())


def test_every_operation_has_its_turn() -> None:
    kinds = {getattr(operations, name) for name in operations.__all__}
    assert kinds == {type(operation) for operation in EVERYTHING.operations} | {Operation}
    perform(EVERYTHING)


def test_the_same_program_does_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Seen at the steps of the tasks, whose order is what the tape decides."""

    class Steps(trio.abc.Instrument):
        def __init__(self) -> None:
            self.names: list[str] = []

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            # What trio does for itself begins before the program does.
            if not task.name.startswith("<"):
                self.names.append(task.name)

    def steps_of(program: Program) -> list[str]:
        steps = Steps()
        trio.run(interpret, program, clock=MockClock(), instruments=[steps])
        return steps.names

    # The id of a retried download is drawn by the manager.
    fixed = replace(EVERYTHING, operations=tuple(each for each in EVERYTHING.operations if type(each) is not Retry))
    first = steps_of(fixed)
    assert all(steps_of(fixed) == first for _ in range(20))
    three = (Submit(), Submit(), Submit(), Tick())
    orders = {tuple(steps_of(Program(3, tape, three))) for tape in [(), (1,), (2,), (0, 1), (0, 2)]}
    assert len(orders) > 1
    assert not caplog.records


# What is drawn.


@given(programs(max_size=8, limits=st.just(9), features=()))
def test_what_is_drawn_keeps_within_what_was_asked_for(program: Program) -> None:
    assert program.limit == 9
    assert len(program.operations) <= 8
    assert not any(
        isinstance(operation, (Pause, Resume, Retry, Resize, ResizeLane)) for operation in program.operations
    )
    assert not any(isinstance(operation, (Advance, Shield)) for operation in program.operations)
    assert all(operation.lane is None for operation in program.operations if isinstance(operation, Submit))


@given(programs())
def test_the_repr_of_a_program_is_python(program: Program) -> None:
    assert eval(repr(program), {**vars(operations), "Program": Program, "math": math}) == program


def test_a_program_prints_only_what_matters() -> None:
    program = Program(1, (), (Submit(), Submit(lane="a"), Cancel(0), Resize(math.inf)))
    assert repr(program) == (
        "Program(limit=1, tape=(), operations=(Submit(), Submit(lane='a'), Cancel(0), Resize(math.inf)))"
    )


def test_a_feature_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no feature 'flying'; there are pause, resize, retry, lanes, time"):
        programs(features=["flying"])  # type: ignore[list-item]


# Bugs.


@pytest.mark.parametrize(
    ("plant", "said", "shortest"),
    [
        (start_the_newest_first, "^law 2 or 3: d_.+ became downloading, expected", 4),
        (give_one_slot_too_many, "^law 2 or 3: d_.+ became downloading, though nothing called for it", 2),
        (return_from_cancel_at_once, r"^law 5: cancel\(\) of d_.+ returned, and it is downloading", 2),
        (leak_the_slot_of_one_that_ends_while_it_is_cancelled, "^law 5|^law 2 or 3|^the figures say", 4),
        (wake_nobody_at_the_end, r"^Q4: wait\(\) for d_.+ has not returned, and should have", 2),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bug_is_found_and_told_in_few_words(
    plant: Callable[[pytest.MonkeyPatch], None], said: str, shortest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    tried: list[Program] = []

    @SEARCH
    @given(programs())
    def search(program: Program) -> None:
        tried.append(program)
        perform(program)

    with pytest.raises(LawBrokenError, match=said):
        search()
    # The last that is tried is the one that is reported.  Versions of Hypothesis differ in what they meet first and in
    # where shrinking stops, which is a little above the shortest at times; what is drawn has thirty and more of both.
    assert len(tried[-1].operations) <= shortest + 4, tried[-1]
    assert len(tried[-1].tape) <= 4, tried[-1]


def test_a_failure_says_in_which_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    return_from_cancel_at_once(monkeypatch)
    with pytest.raises(LawBrokenError) as caught:
        perform(Program(1, (), (Submit(), Settle(), Cancel(3))))
    assert caught.value.__notes__ == ["in operation 2 of the program: Cancel(3)"]


def test_a_call_that_never_returns_is_a_broken_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "cancel", lambda *_arguments: None)
    with pytest.raises(LawBrokenError, match=r"a deadlock: Cancel\(0\) did not end within 86400 s"):
        perform(Program(1, (), (Submit(), Settle(), Cancel(0))))


def test_a_block_that_cannot_be_left_is_a_broken_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "stop_all", lambda *_arguments: None)
    with pytest.raises(LawBrokenError, match="a deadlock: the manager's block cannot be left"):
        perform(Program(1, (), (Submit(), Settle())))


def test_a_submit_that_should_have_been_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with open_manager(max_pending=1, downloader=instant) as manager:
            await interpret(Program(1, (), (Submit(), Submit(), Submit())), manager)

    run_in_virtual_time(main)
    admit_one_too_many(monkeypatch)
    with pytest.raises(LawBrokenError, match=r"^admission: submit_nowait\(\) took a download for which was no room"):
        run_in_virtual_time(main)


def test_a_retry_that_should_have_been_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DownloadTask, "retry", lambda task: task)
    with pytest.raises(LawBrokenError, match=r"^retry: of d_0, expected NotFinishedError"):
        perform(Program(1, (), (Submit(), Retry(0))))


def test_a_failure_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("trio_dlm")
    before = (logger.level, logger.propagate, [*logger.handlers])

    async def main() -> None:
        async with open_manager(3, downloader=instant, failures="keep") as manager:
            with monkeypatch.context() as patch:
                give_one_slot_too_many(patch)
                with pytest.raises(LawBrokenError, match="law 2"):
                    await interpret(Program(1, (1, 2), (Submit(), Subscribe(), Submit(), Submit())), manager)
            stats = manager.get_stats()
            assert (stats.active, stats.pending, stats.paused, manager.max_concurrent) == (0, 0, 0, 3)
            assert "shuffle" not in vars(trio._core._run._r)

    run_in_virtual_time(main)
    assert (logger.level, logger.propagate, [*logger.handlers]) == before


@pytest.mark.virtual_time
async def test_cancelling_it_cancels_what_it_has_submitted() -> None:
    async with open_manager(3, downloader=instant) as manager:
        with trio.move_on_after(5) as scope:
            await interpret(Program(1, (), (Submit(), Submit(), Shield(1, 2), Advance(10))), manager)
        assert scope.cancelled_caught
        assert [manager.get_task(name).status for name in ("d_0", "d_1")] == [DownloadStatus.CANCELLED] * 2


# Misuse.


async def test_time_takes_a_virtual_clock() -> None:
    for operation in (Advance(1), Shield(0, 1)):
        with pytest.raises(
            RuntimeError, match=r"needs virtual time.*run with clock=trio_dlm.testing.use_virtual_time\(\)"
        ):
            await interpret(Program(1, (), (Submit(), operation)))


async def test_a_manager_that_was_used_is_refused() -> None:
    async with open_manager(downloader=instant) as manager:
        await manager.download(url("first"))
        with pytest.raises(ValueError, match="needs an unused manager, got one that has had 1 downloads"):
            await interpret(Program(1), manager)


# Elsewhere.

IN_ANYIO: Final = """
import pytest
from hypothesis import given, settings
from trio.testing import MockClock
from trio_dlm.testing.machine._programs import interpret, programs

pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return "trio", {"clock": MockClock()}

@settings(max_examples=20, deadline=None, database=None)
@given(program=programs())
async def test_in_anyio(program):
    await interpret(program)
"""


def test_it_works_under_the_pytest_plugin_of_anyio(tmp_path: Path) -> None:
    (tmp_path / "test_in_anyio.py").write_text(IN_ANYIO)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    places = [str(Path(trio_dlm.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:trio", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr

"""Whole programs: drawn first, then performed on a manager and held against the model after every operation.

This is the second face of the harness.  A state machine draws step by step, knows more rules, and needs a run of its
own.  A program is a value, and performing it is a plain async function, for any test in trio that Hypothesis feeds.

Rules that hold here:

- what happens depends on the program alone: the order of the tasks within a tick is part of it, as its tape;
- an operation takes no tick unless it has to wait, and the laws are looked at before the next one;
- time is virtual where a program lets it pass; without a clock for that it is refused before anything happens;
- a program leaves nothing behind: what it has submitted has ended when it returns, however it returns.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final, get_args

import trio
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ... import DownloadManager, open_manager
from .._errors import LawBrokenError, require
from .._scripted import ScriptedDownloader
from ._calls import cancel
from ._laws import Scene
from ._model import FAILED, Model
from ._operations import (
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
    Stage,
    Submit,
    Subscribe,
    Tick,
    Wait,
)
from ._recorder import Recorder
from ._schedule import Tape
from ._tapes import tapes

__all__ = ["PROGRAM_FEATURES", "Program", "ProgramFeature", "interpret", "programs"]

ProgramFeature: TypeAlias = Literal["pause", "resize", "retry", "lanes", "time"]
"""What a program may use besides submitting and cancelling."""

PROGRAM_FEATURES: Final[frozenset[ProgramFeature]] = frozenset(get_args(ProgramFeature))
"""All that a program may use."""

_LANES: Final = (None, "a", "b")

# Whom an operation is about: counted from the newest, since two operations on one download are what finds most.
_DOWNLOADS: Final = st.integers(0, 5)

# No operation takes as long in virtual seconds, unless everybody waits and nobody for the clock.  In real seconds it is
# what one waits for a machine that is busy.
_VIRTUAL_LIMIT_S: Final = 86_400.0
_REAL_LIMIT_S: Final = 30.0


@final
@dataclass(frozen=True, slots=True)
class Program:
    """What is done to a manager.

    Attributes:
        limit: how many downloads may run at once, to begin with.
        tape: which of the tasks that can go on goes first, tick by tick.
        operations: what is done, in this order.
    """

    limit: float
    tape: tuple[int, ...] = ()
    operations: tuple[Operation, ...] = ()


def programs(
    *,
    max_size: int = 30,
    limits: st.SearchStrategy[int] | None = None,
    features: Collection[ProgramFeature] = PROGRAM_FEATURES,
) -> st.SearchStrategy[Program]:
    """Draw programs, for :func:`interpret`; they shrink to few operations, on new downloads, with an empty tape.

    Args:
        max_size: the most operations of a program.
        limits: how many downloads may run at once; 1 to 4 unless said otherwise.
        features: what they may use, of :data:`PROGRAM_FEATURES`: ``"pause"`` (and resume), ``"resize"``, ``"retry"``,
            ``"lanes"`` (whose limits change if there is ``"resize"``), and ``"time"``: seconds that pass, and downloads
            that hold out when they are cancelled, which need a virtual clock.

    Raises:
        ValueError: there is no such feature.
    """
    if unknown := {*features} - PROGRAM_FEATURES:
        known = ", ".join(get_args(ProgramFeature))
        raise ValueError(f"there is no feature {', '.join(map(repr, sorted(unknown)))}; there are {known}")
    one = st.one_of(*_operations(frozenset(features)))
    # Lists alone would have five elements on average, whatever their limit: too few for anything to meet.
    size_of_long: Final = max_size // 2
    operations = st.lists(one, max_size=size_of_long) | st.lists(one, min_size=size_of_long, max_size=max_size)
    return st.builds(
        Program,
        limit=st.integers(1, 4) if limits is None else limits,
        tape=tapes().map(tuple),
        operations=operations.map(tuple),
    )


def _operations(features: frozenset[ProgramFeature]) -> list[st.SearchStrategy[Operation]]:
    d = _DOWNLOADS
    lanes = st.sampled_from(_LANES) if "lanes" in features else st.none()
    drawn: list[st.SearchStrategy[Operation]] = [
        st.builds(Submit),
        # Twice more, since without downloads there is nothing to do.
        *[st.builds(Submit, lane=lanes, resumable=st.booleans())] * 2,
        st.builds(Finish, d),
        st.builds(Fail, d),
        st.builds(Grant, d, st.integers(1, 1000)),
        st.builds(Cancel, d),
        st.builds(Cancel, d, soon=st.booleans()),
        st.builds(Settle),
        st.builds(Tick, ticks=st.integers(1, 3)),
        st.builds(Wait, d),
        st.builds(Subscribe),
    ]
    if "pause" in features:
        drawn += [st.builds(Pause, d, soon=st.booleans()), st.builds(Resume, d)]
    if "retry" in features:
        drawn.append(st.builds(Retry, d))
    if "resize" in features:
        drawn.append(st.builds(Resize, st.integers(0, 4) | st.just(math.inf)))
    if {"resize", "lanes"} <= features:
        drawn.append(st.builds(ResizeLane, lanes, st.none() | st.integers(0, 2)))
    if "time" in features:
        drawn += [st.builds(Advance, st.integers(1, 10)), st.builds(Shield, d, st.integers(1, 5))]
    return drawn


async def interpret(program: Program, manager: DownloadManager | None = None) -> None:
    """Perform *program* on a manager, and look at the laws after each of its operations.

    Works in every trio task: in a plain ``trio.run``, in async tests of pytest-trio, and in those of anyio's plugin on
    its trio backend.  If the clock of the run is a ``MockClock`` it jumps, while this goes on, as soon as every task of
    the run waits; Advance and Shield need such a clock.  No other manager may be at work meanwhile, since what happens
    is taken from the log.  Cancelling it cancels what it has submitted.

    Args:
        program: what to do; :func:`programs` draws them.
        manager: one that is open, was never used, and has no ``lane_of``; its downloader plays no part.  When this
            returns, everything in it has ended, and it has its old limit.  None opens one, and looks at the end of its
            block too.

    Raises:
        LawBrokenError: the manager broke a law; a note says in which operation.
        RuntimeError: the program takes time, and the clock of the run is real.
        ValueError: the manager was used before.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock) and (slow := [op for op in program.operations if _takes_time(op)]):
        raise RuntimeError(
            f"{slow[0]!r} needs virtual time, and the clock of this run is {clock!r}; "
            f"run with clock=trio_dlm.testing.use_virtual_time(), or draw programs without the feature 'time'"
        )
    if manager is not None:
        _check_unused(manager)
    failure: Exception | None = None
    with _jumping(clock), Tape(program.tape).playing():
        async with trio.open_nursery() as nursery:
            try:
                if manager is None:
                    await _perform_in_own_block(program, nursery)
                else:
                    await _perform_on(program, nursery, manager)
            # Raised again below: out of the nursery it would come in a group.
            except Exception as exc:  # noqa: BLE001
                failure = exc
            nursery.cancel_scope.cancel(reason="the program has ended")
    if failure is not None:
        raise failure


async def _perform_in_own_block(program: Program, nursery: trio.Nursery) -> None:
    downloader = ScriptedDownloader()
    model = Model(limit=program.limit)
    stage: Stage | None = None
    with ExitStack() as stack:
        # A manager that is broken need not let itself be left.
        with trio.CancelScope() as surroundings:
            async with open_manager(
                program.limit, downloader=downloader, keep_finished=math.inf, on_exit="cancel", failures="keep"
            ) as manager:
                stage = _set(stack, manager, model, downloader, nursery)
                try:
                    await _perform_all(program, stage)
                except BaseException:
                    surroundings.cancel(reason="the program has failed")
                    raise
                surroundings.deadline = trio.current_time() + _limit_s()
                model.close(cancel=True)
        if stage is None or surroundings.cancelled_caught:
            raise LawBrokenError("a deadlock: the manager's block cannot be left")
        stage.scene.check()
        await wait_all_tasks_blocked()
        stage.scene.check()
        model.check_all_ended()
        bodies = downloader.bodies
        require(not bodies, f"law 1: the block was left, and these run: {', '.join(bodies)}")
        stage.check_rest(is_left=True)


async def _perform_on(program: Program, nursery: trio.Nursery, manager: DownloadManager) -> None:
    downloader = ScriptedDownloader()
    limit, max_pending = manager.max_concurrent, manager._engine.max_pending
    manager.max_concurrent = program.limit
    model = Model(limit=program.limit, per_lane=manager.max_per_lane, max_pending=max_pending)
    with ExitStack() as stack:
        stage = _set(stack, manager, model, downloader, nursery)
        try:
            await _perform_all(program, stage)
            for name in stage.names:
                await _within_limit(f"cancel() of {name} at the end", cancel, stage.scene, name)
            await _within_limit("the end", Settle()._perform, stage)
            # Failures that were planned are nobody's concern when the block of the manager is left.
            for name in model.names(FAILED):
                await stage.scene.task(name).wait()
        except BaseException:
            with trio.move_on_after(_limit_s(), shield=True):
                await _cancel_all(stage)
            raise
        finally:
            manager.max_concurrent = limit


async def _cancel_all(stage: Stage) -> None:
    for task in [stage.scene.task(name) for name in stage.names]:
        await task.cancel("the program has failed")


def _set(
    stack: ExitStack,
    manager: DownloadManager,
    model: Model,
    downloader: ScriptedDownloader,
    nursery: trio.Nursery,
) -> Stage:
    recorder = Recorder(manager, model, downloader)
    stack.enter_context(recorder.watching())
    return Stage(Scene(manager, model, downloader, recorder), nursery)


async def _perform_all(program: Program, stage: Stage) -> None:
    stage.scene.check()
    for number, operation in enumerate(program.operations):
        try:
            await _within_limit(repr(operation), operation._perform, stage)
            stage.scene.check()
        except Exception as exc:
            exc.add_note(f"in operation {number} of the program: {operation!r}")
            raise


async def _within_limit(what: str, function: Callable[..., Awaitable[None]], *args: object) -> None:
    limit_s = _limit_s()
    with trio.move_on_after(limit_s) as scope:
        await function(*args)
    require(not scope.cancelled_caught, f"a deadlock: {what} did not end within {limit_s:g} s")


def _limit_s() -> float:
    return _VIRTUAL_LIMIT_S if isinstance(trio.lowlevel.current_clock(), MockClock) else _REAL_LIMIT_S


def _takes_time(operation: Operation) -> bool:
    return isinstance(operation, (Advance, Shield))


def _check_unused(manager: DownloadManager) -> None:
    stats = manager.get_stats()
    used = stats.active + stats.pending + stats.paused + stats.completed + stats.failed + stats.cancelled
    if used:
        raise ValueError(f"a program needs an unused manager, got one that has had {used} downloads: open a new one")


@contextmanager
def _jumping(clock: trio.abc.Clock) -> Generator[None]:
    """Let a virtual clock jump as soon as nobody can go on without it."""
    if not isinstance(clock, MockClock):
        yield
        return
    threshold, clock.autojump_threshold = clock.autojump_threshold, 0
    try:
        yield
    finally:
        clock.autojump_threshold = threshold

"""Hypothesis state machines whose steps run inside trio: one run of trio per example, pumped by hand.

Hypothesis' loop is synchronous.  The run is held open in trio's guest mode, with the loop as its host: between two
steps the host just does not pump, so nothing moves.

Rules that hold here:

- a plain ``def`` step takes no tick of the scheduler, so two of them in a row happen at the same instant; an ``async
  def`` step runs in one task of the run, the driver, and takes as many ticks as it needs.  A tick where none is
  needed hides races;
- nothing is settled in passing: a machine that wants rest has a step for it;
- the clock is virtual.  A step that cannot end is a ``TooSlowError`` at once, one that spins a :class:`LivelockError`;
- the driver stays runnable, so trio never waits for I/O in a thread, and the same choices give the same run;
- the host's side is protected from ``KeyboardInterrupt``, which leaves it between two ticks or not at all;
- only ``rule``, ``initialize``, ``invariant`` and ``teardown`` of Hypothesis are used, and nothing that it does not
  document.
"""

from __future__ import annotations

import functools
import inspect
import queue
import signal
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast, final

import trio
from hypothesis import stateful
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, precondition
from hypothesis.strategies import SearchStrategy
from trio.testing import MockClock

from .._errors import LivelockError, RunEndedError
from ._schedule import Tape
from ._tapes import tapes

if TYPE_CHECKING:
    from outcome import Outcome

__all__ = [
    "Bundle",
    "GuestRun",
    "TrioStateMachine",
    "consumes",
    "initialize",
    "invariant",
    "multiple",
    "precondition",
    "rule",
]

_T = TypeVar("_T")

# What Hypothesis takes and gives; it names the arguments by keyword.
_Step: TypeAlias = Callable[..., Any]


# The tasks of runs that could not be ended.  To collect one would throw once more into what no cancel reaches.
_let_go: Final[list[trio.lowlevel.Task | None]] = []


@final
@dataclass(frozen=True, slots=True)
class _Reply:
    """What a step of the driver came to."""

    value: Any = None
    error: BaseException | None = None


@final
class GuestRun:
    """A run of trio that moves only while one of these methods does.

    Made inside the first step rather than with the machine: Hypothesis calls ``teardown`` for steps only.

    Args:
        step_timeout_s: virtual seconds after which a step counts as deadlocked.
        max_ticks: how many ticks a step may take.
        wall_timeout_s: how long to wait, in real seconds, for a tick that something outside has to bring.
    """

    def __init__(self, *, step_timeout_s: float, max_ticks: int, wall_timeout_s: float) -> None:
        self.clock = MockClock(autojump_threshold=0)
        self.started = False
        self._step_timeout_s = step_timeout_s
        self._max_ticks = max_ticks
        self._wall_timeout_s = wall_timeout_s
        self._ticks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._nursery: trio.Nursery | None = None
        self._command: Callable[[], Awaitable[Any]] | None = None
        self._reply: _Reply | None = None
        self._ended = False
        self._outcome: Outcome[None] | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """The nursery around the driver; what is started in it is cancelled when the run is closed."""
        assert self._nursery is not None, "start() comes first"
        return self._nursery

    @trio.lowlevel.enable_ki_protection
    def start(self) -> None:
        """Start the run, and pump it until the driver is there."""
        # Half a start would leave a run whose first tick never comes, and close() would wait for it.
        with _sigint_held():
            trio.lowlevel.start_guest_run(
                self._drive, run_sync_soon_threadsafe=self._ticks.put, done_callback=self._on_end, clock=self.clock
            )
            self.started = True
        self._pump(lambda: self._nursery is not None)
        self.check_alive()

    @trio.lowlevel.enable_ki_protection
    def call(self, function: Callable[[], Awaitable[_T]]) -> _T:
        """Run an async function in the driver, and return what it returns.

        Raises:
            TooSlowError: it cannot end: everybody waits, and nobody for the clock.
            LivelockError: it spins.
            BaseException: what it raised, or what ended the run meanwhile.
        """
        self.check_alive()
        self._command, self._reply = function, None
        self._pump(lambda: self._reply is not None)
        # Set by the driver in between, which mypy does not see.
        reply: _Reply | None = self._reply
        if reply is None:
            self.check_alive()
            raise RunEndedError("the run of trio ended during this step")
        if reply.error is not None:
            raise reply.error
        result: _T = reply.value
        return result

    def check_alive(self) -> None:
        """Raise what ended the run, if it is over: once, so that closing it afterwards is silent."""
        if self._ended:
            if (outcome := self._outcome) is not None:
                self._outcome = None
                _unwrap(outcome)
            raise RunEndedError("the run of trio ended before the machine did")

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Cancel what is left in the run and pump it to its end; raise what it ends with, if nobody was told before.

        Raises:
            LivelockError: it does not end, and was let go: this thread can have another run.
            BaseException: what it ended with.
        """
        try:
            # An interrupted start may have left the driver on its way.
            self._pump(lambda: self._nursery is not None)
            if not self._ended:
                # From here, since the driver itself may be held up in a step.
                self.nursery.cancel_scope.cancel(reason="the example has ended")
            self._pump(lambda: False)
        except LivelockError:
            self._abandon()
            raise
        if (outcome := self._outcome) is not None:
            self._outcome = None
            _unwrap(outcome)

    def _abandon(self) -> None:
        self._ended = True
        _let_go.append(trio.lowlevel.current_root_task())
        # trio gives up a guest when the last reference to its next tick is gone, and warns of that.  One that was kept
        # would be the run of this thread for ever, and no other could be started.
        with warnings.catch_warnings(), suppress(queue.Empty):
            warnings.simplefilter("ignore", RuntimeWarning)
            while True:
                self._ticks.get_nowait()

    async def _drive(self) -> None:
        async with trio.open_nursery() as self._nursery:
            while True:
                if (command := self._command) is not None:
                    self._command = None
                    self._reply = await self._perform(command)
                # Stays runnable, so that the host never has to wait for I/O.
                await trio.lowlevel.checkpoint()

    async def _perform(self, command: Callable[[], Awaitable[Any]]) -> _Reply:
        try:
            with trio.move_on_after(self._step_timeout_s) as limit:
                return _Reply(value=await command())
        except trio.Cancelled:
            raise
        # Everything belongs to the caller of the step, on the other side: assertions, and the signals of Hypothesis
        # too.
        except BaseException as exc:  # noqa: BLE001
            return _Reply(error=exc)
        assert limit.cancelled_caught
        waited = f"{self._step_timeout_s:g} virtual seconds"
        return _Reply(error=trio.TooSlowError(f"this step did not end within {waited}: a deadlock"))

    def _on_end(self, outcome: Outcome[None]) -> None:
        self._ended = True
        self._outcome = outcome

    @trio.lowlevel.enable_ki_protection
    def _pump(self, done: Callable[[], bool]) -> None:
        # Protected once more: an interrupt between get() and the call would lose a tick, and with it the run.
        taken = 0
        while not self._ended and not done():
            try:
                tick = self._ticks.get(timeout=self._wall_timeout_s)
            except queue.Empty:
                self._ended = True
                raise LivelockError(f"no tick of the scheduler for {self._wall_timeout_s:g} real seconds") from None
            tick()
            # An error that is raised here would keep it, and with it the run.
            del tick
            taken += 1
            if taken > self._max_ticks:
                raise LivelockError(f"this step did not end within {self._max_ticks} ticks of the scheduler")


class TrioStateMachine(RuleBasedStateMachine):
    """A state machine with a run of trio of its own, for each example.

    Write the steps with :func:`rule`, :func:`initialize` and :func:`invariant` of this module, as ``def`` or ``async
    def``; start background tasks in :attr:`nursery`.  ``TestX = MyMachine.TestCase`` makes a test of it, as usual,
    which must not be called from inside another run of trio.
    """

    step_timeout_s: ClassVar[float] = 86_400.0
    """Virtual seconds that one ``async def`` step may take."""
    max_ticks: ClassVar[int] = 200_000
    """Ticks of the scheduler that one step may take."""
    wall_timeout_s: ClassVar[float] = 10.0
    """Real seconds to wait for a tick that only something outside of trio can bring."""

    def __init__(self) -> None:
        super().__init__()
        self.at_close = ExitStack()
        """What to undo when the example has ended, its run closed."""
        self.taken = Counter[str]()
        """How often each step was taken, by its name."""
        self._tape = Tape()
        self._guest: GuestRun | None = None
        self._failed = False

    @property
    def nursery(self) -> trio.Nursery:
        """Where background tasks live; what they raise is raised by the step during or after which it happens."""
        return self._opened.nursery

    @property
    def clock(self) -> MockClock:
        """The virtual clock."""
        return self._opened.clock

    @stateful.initialize(tape=tapes())
    def draw_schedule(self, tape: list[int]) -> None:
        self._tape.numbers = tape

    async def ateardown(self) -> None:
        """Called in the driver when an example has ended and nothing has failed: end what is open, look once more."""

    def teardown(self) -> None:
        """Close the run, after :meth:`ateardown` if the steps have gone well."""
        guest = self._guest
        with self.at_close:
            if guest is None or not guest.started:
                return
            try:
                if not self._failed:
                    self._guarded(lambda: guest.call(self.ateardown))
            finally:
                try:
                    guest.close()
                except BaseException as exc:  # noqa: ASYNC103
                    # After a failure the rest is a consequence, and must not take its place.
                    if not self._failed or isinstance(exc, (KeyboardInterrupt, SystemExit)):
                        raise

    @property
    def _opened(self) -> GuestRun:
        if self._guest is None:
            self._guest = GuestRun(
                step_timeout_s=self.step_timeout_s, max_ticks=self.max_ticks, wall_timeout_s=self.wall_timeout_s
            )
            self.at_close.enter_context(self._tape.playing())
            self._guest.start()
        return self._guest

    def _guarded(self, step: Callable[[], _T]) -> _T:
        try:
            return step()
        except BaseException:
            self._failed = True
            raise


def rule(
    *, targets: Sequence[Bundle[Any]] = (), target: Bundle[Any] | None = None, **arguments: SearchStrategy[Any]
) -> Callable[[_Step], _Step]:
    """A step that may be taken at any time; :func:`hypothesis.stateful.rule` for both kinds of step."""
    decorate = _decorator(stateful.rule, targets, target, arguments)
    return lambda step: decorate(_in_trio(step))


def initialize(
    *, targets: Sequence[Bundle[Any]] = (), target: Bundle[Any] | None = None, **arguments: SearchStrategy[Any]
) -> Callable[[_Step], _Step]:
    """A step that is taken once, before all rules; :func:`hypothesis.stateful.initialize` for both kinds of step."""
    decorate = _decorator(stateful.initialize, targets, target, arguments)
    return lambda step: decorate(_in_trio(step))


def invariant() -> Callable[[_Step], _Step]:
    """A check after every step; :func:`hypothesis.stateful.invariant`.

    Better a plain ``def``: an ``async def`` lets the scheduler tick between any two steps, and with it what they
    raced for.
    """
    return lambda step: stateful.invariant()(_in_trio(step))


def _decorator(
    make: Callable[..., Callable[[_Step], _Step]],
    targets: Sequence[Bundle[Any]],
    target: Bundle[Any] | None,
    arguments: Mapping[str, SearchStrategy[Any]],
) -> Callable[[_Step], _Step]:
    if target is not None:
        if targets:
            raise TypeError("a rule has target= or targets=, not both")
        targets = (target,)
    return make(targets=targets, **arguments)


def _in_trio(step: _Step) -> _Step:
    # Below a @precondition the async function is wrapped in a plain one.
    is_async: Final = inspect.iscoroutinefunction(inspect.unwrap(step))

    @functools.wraps(step)
    def run(machine: TrioStateMachine, *args: Any, **kwargs: Any) -> Any:
        def take() -> Any:
            machine.taken[step.__name__] += 1
            guest = machine._opened
            if is_async:
                return guest.call(functools.partial(step, machine, *args, **kwargs))
            # Before the step too: on a run that has ended, every call into trio would fail with something else.
            guest.check_alive()
            return step(machine, *args, **kwargs)

        return machine._guarded(take)

    return run


def _unwrap(outcome: Outcome[None]) -> None:
    """Raise what a run ended with, and of a group the one exception that matters."""
    found: BaseException | None = None
    try:
        outcome.unwrap()
    except BaseExceptionGroup as group:
        found = _first_of(group.split(KeyboardInterrupt)[0] or group)
    # Not from inside the handler: with the group as its context, Hypothesis would take one bug for two when the group
    # has another shape.
    if found is not None:
        raise found


def _first_of(exc: BaseException) -> BaseException:
    while isinstance(exc, BaseExceptionGroup):
        exc = cast("BaseExceptionGroup[BaseException]", exc).exceptions[0]
    return exc


@contextmanager
def _sigint_held() -> Generator[None]:
    """Let a Ctrl-C wait until the block has ended, where the platform can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

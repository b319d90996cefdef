"""Short calls of the file system, several of them in one hop to a thread.

Rules that hold here:

- a hop costs more than making a small file does, so whoever makes one waits two turns of the loop for company, and
  whoever comes while it is under way waits for the next;
- a call that has begun is waited for, however its caller is cancelled: its thread would go on after the caller;
- a disk that is slow does not make everybody wait in one line: when a hop is no longer young, the next call makes
  another, which takes along who still waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast, final

import trio

__all__ = ["Hops"]

_T = TypeVar("_T")

# Turns of the loop that a hop waits for company: replies that have come by then are read in the first, and what they
# want of the disk is here in the second.  More turns bring hardly anybody else.
_TURNS: Final = 2

# How long others wait for the end of a hop.  Where a call takes microseconds, hundreds of them are done by then.
_YOUNG_S: Final = 0.01

# Everybody who was taken along is told at the end of the hop, so that has to come soon.
_MOST_CALLS: Final = 32


@final
class Hops:
    """Runs calls in threads.

    Args:
        limiter: counts the threads.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._waiting: deque[_Call[Any]] = deque()
        self._is_gathering = False
        self._young_until = -math.inf

    async def run(self, function: Callable[[], _T]) -> _T:
        """Call *function* in a thread, and return what it returns or raise what it raises.

        A checkpoint.  Cancelling it takes the call back if it has not begun, and otherwise waits for it.
        """
        call = _Call(function, trio.lowlevel.current_task())
        while not call.is_made:  # noqa: ASYNC913  (it is not made before)
            if self._is_gathering or trio.current_time() < self._young_until:
                await self._wait(call)
            else:
                await self._make(call)
        return call.result()

    async def _wait(self, call: _Call[_T]) -> None:
        """Return when a hop has made *call*, or when the one that was under way has ended without it."""

        def give_up(_: object) -> trio.lowlevel.Abort:
            try:
                self._waiting.remove(call)
            except ValueError:
                return trio.lowlevel.Abort.FAILED
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting.append(call)
        await trio.lowlevel.wait_task_rescheduled(give_up)

    async def _make(self, own: _Call[_T]) -> None:
        """Make *own*, and those that wait by then."""
        joined: list[_Call[Any]] = []
        until = -math.inf
        try:
            await self._gather()
            self._young_until = until = trio.current_time() + _YOUNG_S
            while self._waiting and len(joined) < _MOST_CALLS - 1:
                joined.append(self._waiting.popleft())
            await trio.to_thread.run_sync(_make_calls, [own, *joined], limiter=self._limiter)
        finally:
            if self._young_until == until:
                self._young_until = -math.inf
            # Who was not taken along makes the next hop; so does who was, if this one was cancelled before it began.
            if self._waiting:
                joined.append(self._waiting.popleft())
            for call in joined:
                trio.lowlevel.reschedule(call.task)

    async def _gather(self) -> None:
        self._is_gathering = True
        try:
            for _ in range(_TURNS):
                await trio.lowlevel.checkpoint()
        finally:
            self._is_gathering = False


@final
class _Call(Generic[_T]):
    """One call, and who waits for it."""

    __slots__ = ("_error", "_function", "_value", "is_made", "task")

    def __init__(self, function: Callable[[], _T], task: trio.lowlevel.Task) -> None:
        self.task = task
        self.is_made = False
        self._function = function
        self._value: _T | None = None
        self._error: BaseException | None = None

    def make(self) -> None:
        try:
            self._value = self._function()
        except BaseException as exc:  # noqa: ASYNC103, BLE001  (raised where it is waited for)
            self._error = exc
        self.is_made = True

    def result(self) -> _T:
        if self._error is None:
            return cast("_T", self._value)
        try:
            raise self._error
        finally:
            # Its traceback holds this frame.
            del self._error


def _make_calls(calls: Sequence[_Call[Any]]) -> None:
    """Runs in a thread."""
    for call in calls:
        call.make()

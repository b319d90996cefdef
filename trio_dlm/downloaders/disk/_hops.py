"""Short calls of the file system, several of them in one hop to a thread.

Rules that hold here:

- a hop costs more than making a small file does, so whoever comes while one has just begun is taken along;
- a call that has begun is waited for, however its caller is cancelled: its thread would go on after the caller;
- a disk that is slow does not make everybody wait in one line: when a hop is no longer young, the next call makes
  another, which takes along who still waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast, final

import trio

__all__ = ["Hops"]

_T = TypeVar("_T")

# How long a hop takes others along.  Where a call takes microseconds that is dozens of them.
_YOUNG_S: Final = 0.001

# Everybody who was taken along is told at the end of the hop, so that has to come soon.
_MOST_CALLS: Final = 16


@final
class Hops:
    """Runs calls in threads.

    Args:
        limiter: counts the threads.
    """

    def __init__(self, limiter: trio.CapacityLimiter) -> None:
        self._limiter = limiter
        # Threads take from it, too: taking one out is one step that cannot be divided.
        self._waiting: deque[_Call[Any]] = deque()
        self._young_until = -math.inf

    async def run(self, function: Callable[[], _T]) -> _T:
        """Call *function* in a thread, and return what it returns or raise what it raises.

        A checkpoint.  Cancelling it takes the call back if it has not begun, and otherwise waits for it.
        """
        call = _Call(function, trio.lowlevel.current_task())
        if trio.current_time() < self._young_until:
            await self._join(call)
        if not call.is_made:
            await self._make(call)
        return call.result()

    async def _join(self, call: _Call[_T]) -> None:
        """Have *call* made by the hop that is under way, or return when that has ended without it."""

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
        self._young_until = until = trio.current_time() + _YOUNG_S
        joined: list[_Call[Any]] = []
        try:
            await trio.to_thread.run_sync(_make_calls, own, self._waiting, joined, limiter=self._limiter)
        finally:
            if self._young_until == until:
                self._young_until = -math.inf
            # Who was not taken along makes a hop of his own, and takes along the others.
            if self._waiting:
                joined.append(self._waiting.popleft())
            for call in joined:
                trio.lowlevel.reschedule(call.task)


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


def _make_calls(own: _Call[Any], waiting: deque[_Call[Any]], joined: list[_Call[Any]]) -> None:
    """Runs in a thread."""
    own.make()
    while waiting and len(joined) < _MOST_CALLS:
        try:
            call = waiting.popleft()
        except IndexError:
            # Another hop was quicker, or it was taken back.
            return
        joined.append(call)
        call.make()

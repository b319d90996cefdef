"""The loop of a manager on trio.

Rules that hold here:

- nothing but trio's own primitives; this only gives them the names that the manager uses;
- a cancelled sleep is undone inside trio's abort function, which runs in the step of the cancel.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final, final

import trio

__all__ = ["TRIO_LOOP", "TrioLoop", "TrioSleeper"]


@final
class TrioSleeper:
    """A sleep of the running trio task."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()

    def wake(self) -> None:
        """Let the task go on."""
        trio.lowlevel.reschedule(self._task)

    async def sleep(self, gone: Callable[[], object], until: float = math.inf) -> None:
        """Sleep until woken, cancelled, or the time *until*; in the last two cases *gone* has been called."""

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            gone()
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.CancelScope(deadline=until):
            await trio.lowlevel.wait_task_rescheduled(abort)


@final
class TrioLoop:
    """trio, as a manager uses it."""

    __slots__ = ()
    wakes_for_good: ClassVar[bool] = True
    cancelled: ClassVar[type[BaseException]] = trio.Cancelled

    now = staticmethod(trio.current_time)
    checkpoint = staticmethod(trio.lowlevel.checkpoint)
    checkpoint_if_cancelled = staticmethod(trio.lowlevel.checkpoint_if_cancelled)
    cancel_shielded_checkpoint = staticmethod(trio.lowlevel.cancel_shielded_checkpoint)
    make_sleeper = TrioSleeper
    make_lot = trio.lowlevel.ParkingLot

    async def shielded(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await *function* behind a shield.  No deadline: what it waits for is what the caller was promised."""
        with trio.CancelScope(shield=True):
            await function()


TRIO_LOOP: Final = TrioLoop()

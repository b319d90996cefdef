"""One run of trio in a world where nothing waits in vain.

Rules that hold here:

- time is virtual and threads run in line, so that hours pass in milliseconds and a run in which nobody can go on is
  over at once;
- a run ends: at its own end, at a virtual limit, or after so many steps of its tasks.  Only what spins under a shield
  of its own, or without a checkpoint, is beyond reach.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple, Unpack, final

import trio

from .._errors import LivelockError
from ._clock import use_virtual_time
from ._threads import threads_in_line

__all__ = ["run_in_virtual_world"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def run_in_virtual_world(
    async_fn: Callable[[Unpack[_Ts]], Awaitable[_T]],
    *args: *_Ts,
    limit_s: float = 86_400.0,
    max_steps: int = 200_000,
) -> _T:
    """Run ``async_fn(*args)`` with virtual time and with threads in line, and return what it returns.

    What it opens on the network is real unless it enters :func:`~trio_dlm.testing.world.memory_network`, and virtual
    time jumps over what is real.

    Args:
        async_fn: what to run.
        args: its arguments.
        limit_s: virtual seconds until it is cancelled; a day is longer than any time limit that a download has.
        max_steps: how many times a task of the run may be resumed until it is cancelled.

    Raises:
        trio.TooSlowError: the limit was reached, as it is at once when every task waits for ever.
        LivelockError: the steps were used up: something spins without waiting.
    """
    budget = _StepBudget(max_steps)

    async def main() -> _T:
        with trio.fail_after(limit_s), budget.scope:
            return await async_fn(*args)
        raise LivelockError(
            f"{max_steps} steps were taken without coming to an end, up to virtual second {trio.current_time():g}; "
            "look for a loop that waits for nothing, or give max_steps"
        )

    with threads_in_line():
        return trio.run(main, clock=use_virtual_time(), instruments=[budget])


@final
class _StepBudget(trio.abc.Instrument):
    """Cancels its scope when a run has taken too many steps."""

    def __init__(self, steps: int) -> None:
        self.scope = trio.CancelScope()
        self._left = steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        """Count one."""
        self._left -= 1
        if not self._left:
            self.scope.cancel(reason="too many steps")

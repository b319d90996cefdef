"""Counts the checkpoints of some tasks, and cancels a scope at one of them.

Rules that hold here:

- a checkpoint is a place where a task gave way to others, whether a cancel could get in there or not: what is cancelled
  where it cannot get in finds it at the next place;
- counted are the task that is watched and all below it, and no other: not those of the world around it;
- the cancel comes when the task has given way and before any other runs, so that it meets the task just there; only
  then is it told where that is, since trio takes an instrument that raises off the run and goes on without it;
- who goes on and on is cancelled, and who swallows that too is taken off the run: no exception could end it.
"""

from __future__ import annotations

from typing import Final, final

import trio

from .._places import innermost
from ._force import abandon

__all__ = ["MOST_CHECKPOINTS", "CheckpointCounter", "describe_task"]

# More than this is a loop that waits for nothing.  A scenario that needs so many would take as many runs.
MOST_CHECKPOINTS: Final = 10_000

# How many more it has for leaving when it was cancelled for that.
_MORE: Final = 100


@final
class CheckpointCounter(trio.abc.Instrument):
    """An instrument for one run of trio.

    Attributes:
        count: how many checkpoints were reached.
        cancelled_at: which task was cancelled where, once that has happened.
        endless_at: which task was where, when there were too many.
        tasks: those that are watched and have not ended.
        has_lasted: the run has ended, and nothing had been taken off it before.
    """

    def __init__(self, cancel_at: int | None = None) -> None:
        self.count = 0
        self.cancelled_at: str | None = None
        self.endless_at: str | None = None
        self.tasks: set[trio.lowlevel.Task] = set()
        self.has_lasted = False
        self._cancel_at = cancel_at
        self._scope: trio.CancelScope | None = None

    def watch(self, scope: trio.CancelScope) -> None:
        """Count from now on, for the task that calls this and what it starts; *scope* is what is cancelled."""
        self._scope = scope
        self.tasks.add(trio.lowlevel.current_task())

    def rest(self) -> None:
        """Count no more."""
        self._scope = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Watch the child of a task that is watched."""
        if task.parent_nursery is not None and task.parent_nursery.parent_task in self.tasks:
            self.tasks.add(task)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Forget a task that has ended."""
        self.tasks.discard(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and cancel if it is time."""
        if self._scope is None or task not in self.tasks:
            return
        self.count += 1
        if self.count == self._cancel_at:
            self._scope.cancel(reason=f"torture: checkpoint {self.count}")
            self.cancelled_at = describe_task(task)
        elif self.count == MOST_CHECKPOINTS:
            self._scope.cancel(reason="torture: too many checkpoints")
            self.endless_at = describe_task(task)
        elif self.count > MOST_CHECKPOINTS + _MORE:
            abandon(task)

    def after_run(self) -> None:
        """Note that all was counted: trio tells it to nobody whom it took off the run."""
        self.has_lasted = True


def describe_task(task: trio.lowlevel.Task) -> str:
    """Return the name of a task that waits, and where it does so."""
    frames = list(task.iter_await_frames())
    return f"{task.name} at {innermost(reversed(frames))}"

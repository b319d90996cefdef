"""What the manager needs of the loop that its user runs on: how to tell the time, how to yield, and how to sleep.

Rules that hold here:

- this is all that the manager's faces know of trio or asyncio; :mod:`trio_dlm._trio_loop` is the one for trio;
- a sleep belongs to the task that made it, and is woken once;
- what a sleep was for is undone in the very step in which it is cancelled, not when its task gets to run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol

__all__ = ["Loop", "Lot", "Sleeper"]


class Sleeper(Protocol):
    """One sleep of the task that made it."""

    def wake(self) -> None:
        """Let the task go on."""
        ...

    async def sleep(self, gone: Callable[[], object], until: float = ...) -> None:
        """Sleep until :meth:`wake`, or the time *until*.

        Whoever is cancelled, or slept to the end of the time, is not to be woken any more: *gone* is called in the
        step of the cancel, or when the time comes, and takes this out of wherever it can be found.
        """
        ...


class Lot(Protocol):
    """Where tasks sleep that all wait for the same."""

    def __len__(self) -> int: ...

    async def park(self) -> None:
        """Sleep until all are woken."""
        ...

    def unpark_all(self) -> object:
        """Wake all that sleep here."""
        ...


class Loop(Protocol):
    """The loop of one library, as a manager uses it.

    Attributes:
        wakes_for_good: a task that was woken goes on, whatever happens before it runs.  Where that does not hold
            (a cancel in between takes the wake-up away), nothing may be handed to a task in the step that wakes it.
        cancelled: what a task is cancelled with.
    """

    wakes_for_good: ClassVar[bool]
    cancelled: ClassVar[type[BaseException]]

    def now(self) -> float:
        """Return the time in seconds, on the clock that sleeps end by."""
        ...

    async def checkpoint(self) -> None:
        """Let others run, and be cancelled if somebody asked for that."""
        ...

    async def checkpoint_if_cancelled(self) -> None:
        """Be cancelled if somebody asked for that; whether others get to run is not said."""
        ...

    async def cancel_shielded_checkpoint(self) -> None:
        """Let others run, if that can be done without being cancelled by it."""
        ...

    def make_sleeper(self) -> Sleeper:
        """Make the sleep of the running task."""
        ...

    def make_lot(self) -> Lot:
        """Make an empty lot."""
        ...

    async def shielded(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await *function* to its end, even if the running task is cancelled meanwhile or was before."""
        ...

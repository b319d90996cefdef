"""The line of submits that wait for room, on asyncio.

Rules that hold here:

- first come, first queued: those who are called queue their downloads themselves, in the order of their coming, and
  nobody who comes later is let past while somebody is in line;
- who is cancelled leaves the line and has queued nothing, also when he had just been called: the next one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from .._errors import ManagerClosedError
from .._loop import Sleeper
from .._task import DownloadTask
from ._loop import HostLoop

__all__ = ["Line"]


@final
class _Waiter:
    __slots__ = ("is_called", "is_refused", "sleeper")

    def __init__(self, sleeper: Sleeper) -> None:
        self.sleeper = sleeper
        self.is_called = False
        self.is_refused = False


@final
class Line:
    """Submits in the order of their coming."""

    def __init__(self, loop: HostLoop) -> None:
        self._loop = loop
        self._waiters: dict[str, _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, task: DownloadTask[Any], room: Callable[[], float]) -> bool:
        """Stand in line until the download of *task* may be queued, which has to follow at once.

        Returns:
            False if it was taken out of the line instead.

        Raises:
            ManagerClosedError: the door was closed first.
        """
        name = task.correlation_id
        waiter = self._waiters[name] = _Waiter(self._loop.make_sleeper())
        try:
            while True:
                await waiter.sleeper.sleep(_nothing)
                if waiter.is_refused:
                    raise ManagerClosedError(action="submit")
                if self._waiters.get(name) is not waiter:
                    return False
                if room() > 0:
                    del self._waiters[name]
                    return True
                # A resume, which is never refused, took the room.
                waiter.is_called = False
                waiter.sleeper = self._loop.make_sleeper()
        except BaseException:
            if self._waiters.get(name) is waiter:
                del self._waiters[name]
                self.call(room())
            raise

    def call(self, room: float) -> None:
        """Let the first of the line go on, as many as there is *room* for."""
        for waiter in self._waiters.values():
            if room <= 0:
                break
            room -= 1
            if not waiter.is_called:
                waiter.is_called = True
                waiter.sleeper.wake()

    def leave(self, correlation_id: str) -> None:
        """Take a download out of the line, if it stands there: it is not to be queued."""
        if (waiter := self._waiters.pop(correlation_id, None)) is not None:
            waiter.sleeper.wake()

    def close(self) -> None:
        """Turn everybody in the line away."""
        for waiter in self._waiters.values():
            waiter.is_refused = True
            waiter.sleeper.wake()
        self._waiters.clear()


def _nothing() -> None:
    """Whoever is cancelled leaves the line when his task runs; until then nobody is let past."""

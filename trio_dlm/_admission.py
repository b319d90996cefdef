"""The line of submits that wait for room in a full queue.

Rules that hold here:

- first come, first admitted: the step that makes room queues the first of the line itself and then wakes it, so nobody
  who comes later can slip in between;
- a cancelled wait leaves the line in the very moment in which the cancel is delivered: who was cancelled has queued
  nothing, and who was queued is not told that it was cancelled.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, final

from ._errors import ManagerClosedError
from ._trio_loop import TrioSleeper

if TYPE_CHECKING:
    from ._task import DownloadTask

__all__ = ["WaitingLine"]


@final
class _Waiter:
    __slots__ = ("download", "refused", "sleeper")

    def __init__(self, download: DownloadTask[Any], sleeper: TrioSleeper) -> None:
        self.download = download
        self.sleeper = sleeper
        self.refused = False


@final
class WaitingLine:
    """Downloads whose submit waits, in the order of their coming."""

    def __init__(self) -> None:
        self._waiters: OrderedDict[str, _Waiter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    async def wait(self, download: DownloadTask[Any]) -> None:
        """Stand in line until :meth:`admit` or :meth:`leave` has taken *download* out.

        Raises:
            Cancelled: and then *download* was not and will not be admitted.
            ManagerClosedError: the door was closed first.
        """
        waiter = self._waiters[download.correlation_id] = _Waiter(download, TrioSleeper())
        await waiter.sleeper.sleep(lambda: self._waiters.pop(download.correlation_id))
        if waiter.refused:
            raise ManagerClosedError(action="submit")

    def admit(self) -> DownloadTask[Any]:
        """Take the first out of the line and wake its submit."""
        _, waiter = self._waiters.popitem(last=False)
        waiter.sleeper.wake()
        return waiter.download

    def leave(self, correlation_id: str) -> None:
        """Take a download out of the line, if it stands there, and wake its submit: it is not to be admitted."""
        if (waiter := self._waiters.pop(correlation_id, None)) is not None:
            waiter.sleeper.wake()

    def close(self) -> None:
        """Turn everybody in the line away."""
        for waiter in self._waiters.values():
            waiter.refused = True
            waiter.sleeper.wake()
        self._waiters.clear()

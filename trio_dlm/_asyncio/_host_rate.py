"""How fast a download may receive, for one that runs on the host's loop.

Rules that hold here:

- the limits live in trio; what is taken is taken there, in the same lines as by all others;
- a take whose task was cancelled before it was told has taken nothing: what was granted goes back;
- without a limit nothing crosses.
"""

from __future__ import annotations

import asyncio
from typing import final

import trio

from .._options import check_rate
from .._rate import RateLimit
from ..downloaders._protocol import DownloadJob
from ._crossing import Crossing

__all__ = ["HostRateLimit"]


@final
class HostRateLimit(RateLimit):
    """The limit of a download in trio, as its code on the host's loop sees it."""

    __slots__ = ("_crossing", "_loop", "_real")

    def __init__(self, loop: asyncio.AbstractEventLoop, crossing: Crossing, job: DownloadJob) -> None:
        super().__init__()
        self._loop = loop
        self._crossing = crossing
        # Of the trio side; from here only figures of it are read.
        self._real = job.rate_limit

    @property
    def bytes_per_s(self) -> float | None:
        """The download's own limit; None means that it has none."""
        return self._real.bytes_per_s

    @bytes_per_s.setter
    def bytes_per_s(self, bytes_per_s: float | None) -> None:
        _check(bytes_per_s)
        self._crossing.to_trio(setattr, self._real, "bytes_per_s", bytes_per_s)

    def default_to(self, bytes_per_s: float | None) -> None:
        """Limit the download so, unless its request or its task said something."""
        _check(bytes_per_s)
        self._crossing.to_trio(self._real.default_to, bytes_per_s)

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no limit at present."""
        return self._real.is_unlimited

    @property
    def waited_s(self) -> float:
        """For how many seconds so far at least one :meth:`take` was waiting, those that go on not counted."""
        return self._real._waited_s

    async def take(self, at_most: int) -> int:
        """Wait until something may be received, and return how much: from 1 to *at_most* bytes.

        A checkpoint.  Cancelling takes nothing.
        """
        if at_most < 1:
            raise ValueError(f"take() takes a number of bytes from 1 up, got {at_most}")
        if self.is_unlimited:
            await asyncio.sleep(0)
            return at_most
        granted: asyncio.Future[int] = self._loop.create_future()
        scope = trio.CancelScope()
        self._crossing.to_trio(self._start, at_most, scope, granted)
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._crossing.to_trio(scope.cancel)
            else:
                self.give_back(granted.result())
            raise

    def _start(self, at_most: int, scope: trio.CancelScope, granted: asyncio.Future[int]) -> None:
        trio.lowlevel.spawn_system_task(self._take_there, at_most, scope, granted, name="trio_dlm: a take")

    async def _take_there(self, at_most: int, scope: trio.CancelScope, granted: asyncio.Future[int]) -> None:
        with scope:
            size = await self._real.take(at_most)
            self._crossing.to_host(self._grant, size, granted)

    def _grant(self, size: int, granted: asyncio.Future[int]) -> None:
        if granted.done():
            self.give_back(size)
        else:
            granted.set_result(size)

    def _charge(self, size_bytes: int) -> None:
        if size_bytes and not self.is_unlimited:
            self._crossing.to_trio(self._real._charge, size_bytes)


def _check(bytes_per_s: float | None) -> None:
    if bytes_per_s is not None:
        check_rate("rate_limit_bytes_per_s", bytes_per_s)

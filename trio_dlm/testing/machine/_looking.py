"""Steps that look on: wait for one, ask for its result, wait for quiet, read events.

Rules that hold here:

- whoever is told of a failure has asked for it (law 10), in the very step in which he is told;
- a wait that is given up touches nothing.
"""

from __future__ import annotations

import trio
from hypothesis import strategies as st

from ... import DownloadCancelledError, DownloadFailedError, DownloadStatus
from .._errors import require
from ._calls import check_end
from ._model import DOWNLOADING, FAILED, FINAL, PAUSED, PENDING
from ._onlookers import Onlooker, Reader
from ._steps import Steps, step, step_on_one

__all__ = ["LookingSteps"]


class LookingSteps(Steps):
    """The steps that look at downloads and leave them alone."""

    def __init__(self) -> None:
        super().__init__()
        self._waiters: list[Onlooker] = []
        # Of those, who stands in the manager's list of who is to be told.
        self._asking: set[int] = set()
        self._idlers: list[Onlooker] = []

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="wait", for_result=st.booleans())
    def wait(self, d: str, *, for_result: bool = False) -> None:
        """Wait for the end, or for the result, in the background."""
        if not self.scene.is_there(d):
            return

        async def wait_for_the_end() -> None:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self.model.status(d) not in FINAL:
                self.model.ask(d)
                self._asking.add(id(waiter))
            status = await (self._ask_for_result(d) if for_result else self.scene.driven.wait(d))
            self._asking.discard(id(waiter))
            self.model.collect(d)
            check_end(self.scene, d, status)

        for_result = for_result and "calls" in self.features
        waiter = self._start(d, wait_for_the_end)
        self._waiters.append(waiter)

    @step_on_one(PENDING, DOWNLOADING, FAILED, feature="wait")
    def stop_waiting(self, d: str) -> None:
        """Cancel all waits for one download: whoever was not told by now has not asked."""
        for waiter in [each for each in self._waiters if each.name == d]:
            self._waiters.remove(waiter)
            waiter.scope.cancel(reason="does not want to know")
            if id(waiter) in self._asking and self.model.status(d) not in FINAL:
                self.model.unask(d)

    @step("figures")
    def wait_idle(self) -> None:
        async def wait_until_idle() -> None:
            await self.manager.wait_idle()
            busy = self.model.names(PENDING, DOWNLOADING)
            require(not busy, f"wait_idle() returned, and these have not ended: {', '.join(busy)}")

        self._idlers.append(self._start("all", wait_until_idle))

    @step("events", min_interval_s=st.sampled_from([0.0, 5.0]))
    def subscribe(self, min_interval_s: float = 0.0) -> None:
        self._read(Reader(min_interval_s=min_interval_s))

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="events")
    def watch_one(self, d: str) -> None:
        if self.scene.is_there(d):
            self._read(Reader(only=(d,)))

    async def _ask_for_result(self, name: str) -> DownloadStatus:
        try:
            await self.scene.task(name).result()
        except DownloadFailedError:
            return DownloadStatus.FAILED
        except DownloadCancelledError:
            return DownloadStatus.CANCELLED
        return DownloadStatus.COMPLETED

    def _check_rest(self) -> None:
        super()._check_rest()
        model = self.model
        for waiter in self._waiters:
            waiter.check("Q4: wait() for", expected=model.status(waiter.name) in FINAL)
        for idler in self._idlers:
            idle = not model.names(PENDING, DOWNLOADING)
            idler.check("Q4: wait_idle() for", expected=idler.is_over or idle)
        for reader in self._readers:
            reader.check(self.scene, all_over=self._left.is_set())

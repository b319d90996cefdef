"""The trio side: the run that the downloads live in, and what the host may have it do.

Rules that hold here:

- all of it runs in the thread of trio;
- the block is the one that a manager has in any trio run; what its body does is to wait until the host wants to leave;
- a download that is not there any more has ended, and the report of that is on its way: asking it for something is no
  error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import cast, final

import trio

from .._download import Download
from .._engine import Engine
from .._events import Subscription
from .._leaving import CANCELLED
from .._manager import DownloadManager
from .._plan import Plan
from .._task import make_task
from .._trio_block import run_block
from ._crossing import Crossing
from ._host_runs import HostRuns
from ._reports import Outbox, Report

__all__ = ["TrioSide"]

# A run that never was: what a pause of a download that has ended waits for.
NO_RUN = -1


@final
class TrioSide:
    """One trio run with one manager in it, as the host commands it."""

    def __init__(
        self,
        plan: Plan,
        crossing: Crossing,
        host_runs: HostRuns,
        *,
        opened: Callable[[], object],
        tell: Callable[[Report], object],
    ) -> None:
        self._plan = plan
        self._crossing = crossing
        self._host_runs = host_runs
        self._opened = opened
        self._tell = tell
        self._scope = trio.CancelScope()
        self._leave = trio.Event()
        self._failure: BaseException | None = None
        self._manager: DownloadManager | None = None

    async def run(self) -> None:
        """Run the manager until the host leaves; what leaves the block leaves this."""
        with self._scope:
            self._crossing.open(self._fail, self.host_gone)
            async with run_block(self._plan) as manager:
                self._manager = manager
                outbox = Outbox(self._engine, lambda report: self._crossing.to_host(self._tell, report))
                self._host_runs.clock = outbox.clock
                # The host says it, in its own thread and before anybody there has seen it.
                self._engine.tell_failure = _say_nothing
                self._engine.hub.attach(cast("Subscription", outbox), None)
                # A system task, so that nothing which leaves the block is wrapped by a nursery around it.
                trio.lowlevel.spawn_system_task(outbox.tell_late, name="trio_dlm: tell of progress")
                self._crossing.to_host(self._opened)
                await self._leave.wait()
                self._raise_failure()
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    @property
    def _engine(self) -> Engine:
        assert self._manager is not None
        return cast("Engine", self._manager._engine)

    # What the host asks for.

    def submit(self, download: Download) -> None:
        """Queue a download."""
        assert self._manager is not None
        self._engine.queue(make_task(download, self._manager))

    def cancel(self, correlation_id: str, reason: str | None) -> None:
        """Ask a download to end."""
        if (download := self._find(correlation_id)) is not None:
            self._engine.cancel(download, reason)

    def cancel_each(self, correlation_ids: list[str], reason: str | None) -> None:
        """Ask several downloads to end."""
        for correlation_id in correlation_ids:
            self.cancel(correlation_id, reason)

    def pause(self, correlation_id: str, reason: str | None, asked: Callable[[int], object]) -> None:
        """Ask a download to pause, and tell the host the number of the run that was asked."""
        run = NO_RUN
        if (download := self._find(correlation_id)) is not None:
            self._engine.pause(download, reason)
            run = download.attempts
        self._crossing.to_host(asked, run)

    def resume(self, correlation_id: str) -> None:
        """Queue a paused download again, unless the block is being left."""
        if (download := self._find(correlation_id)) is not None and self._engine.door_open:
            self._engine.resume(download)

    def set_rate_limit(self, correlation_id: str, bytes_per_s: float | None) -> None:
        """Limit one download."""
        if (download := self._find(correlation_id)) is not None:
            self._engine.set_rate_limit(download, bytes_per_s)

    def set_max_concurrent(self, limit: float) -> None:
        """Limit all."""
        self._engine.max_concurrent = limit

    def set_max_per_lane(self, limit: float) -> None:
        """Limit lanes without a limit of their own."""
        self._engine.max_per_lane = limit

    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Limit one lane."""
        self._engine.set_lane_limit(lane, limit)

    def set_rate(self, bytes_per_s: float) -> None:
        """Limit what all receive."""
        self._engine.rate_limit_bytes_per_s = bytes_per_s

    def leave(self) -> None:
        """Leave the block: what is queued and runs goes on to its end."""
        self._leave.set()

    def leave_by(self, exc: BaseException) -> None:
        """Leave the block as the body left it, so that whoever is to see its exception does."""
        self._failure = exc
        self._leave.set()

    def stop(self, reason: str) -> None:
        """Leave the block, and cancel everything; if it is just being entered, give that up."""
        if self._manager is None:
            self._scope.cancel(reason=reason)
        else:
            self._engine.stop_all(reason)
        self._leave.set()

    def host_gone(self) -> None:
        """Nobody is there any more who could ask, or run a downloader on the host's loop: stop."""
        self._host_runs.give_up()
        self.stop(CANCELLED)

    def _fail(self, exc: BaseException) -> None:
        if self._failure is None:
            self._failure = exc
        self.stop(f"the manager crashed: {exc!r}")

    def _find(self, correlation_id: str) -> Download | None:
        task = self._engine.registry.find(correlation_id)
        return None if task is None else task._download


def _say_nothing(_download: Download, _error: Exception) -> None:
    pass

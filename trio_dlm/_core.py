"""What a manager and its handles ask of whatever runs the downloads.

Rules that hold here:

- :class:`~trio_dlm.DownloadManager`, its tasks, batches and subscriptions are one set of classes; what differs between
  a manager in a trio run and one beside an asyncio loop stands behind this protocol, and nowhere else;
- on trio it is :class:`trio_dlm._engine.Engine`; on asyncio a mirror of an engine that lives in another thread;
- whatever is synchronous here has taken effect, as far as anybody can see, when it returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from pathlib import Path

    from ._download import Download
    from ._events import EventHub
    from ._failures import FailureLedger
    from ._loop import Loop
    from ._records import ManagerStats
    from ._registry import Registry
    from ._task import DownloadTask
    from .downloaders._protocol import DownloaderFunction

__all__ = ["Core"]


class Core(Protocol):
    """The state of one manager, and what may be done with it.

    Attributes:
        loop: what its user waits on.
        registry, failures, hub: what is remembered, what failed unasked, who watches.
        queueing: parent ids of the batches that are being queued.
        max_pending: how many may be queued.
        directory: where files go, absolute.
    """

    @property
    def loop(self) -> Loop: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def failures(self) -> FailureLedger: ...
    @property
    def hub(self) -> EventHub: ...
    @property
    def queueing(self) -> set[str]: ...
    @property
    def max_pending(self) -> float: ...
    @property
    def directory(self) -> Path: ...

    # Coming in.

    @property
    def has_room(self) -> bool:
        """Whether a new download may be queued now, ahead of nobody."""
        ...

    @property
    def waiting(self) -> int:
        """How many stand in line for room."""
        ...

    def check_thread(self, action: str) -> None:
        """Refuse *action* to a caller in another thread than that of the loop."""
        ...

    def check_door(self, action: str) -> None:
        """Refuse *action* to a caller in another thread, and to everybody when the block is being left."""
        ...

    def as_function(self, downloader: object) -> DownloaderFunction[Any]:
        """Return the async function that runs a job, or raise TypeError."""
        ...

    def queue(self, task: DownloadTask[Any]) -> None:
        """Take a new download in, for which there is room."""
        ...

    async def submit(self, task: DownloadTask[Any]) -> None:
        """Queue *task* now or once there is room.  Always a checkpoint; who is cancelled has queued nothing."""
        ...

    async def wait_for_room(self, task: DownloadTask[Any]) -> None:
        """Stand in line until *task* was queued, or ended or was paused before its turn came."""
        ...

    def step(self) -> None:
        """Do whatever may be done now."""
        ...

    # What may be asked of a download.

    def cancel(self, download: Download, reason: str | None) -> None:
        """Ask *download* to end as CANCELLED; nothing happens if it has ended."""
        ...

    def pause(self, download: Download, reason: str | None) -> Callable[[], bool]:
        """Ask *download* to become PAUSED, and return what is true once that was decided, one way or the other.

        Ask it in ``wait_until``, after every change of the download.
        """
        ...

    def resume(self, download: Download) -> bool:
        """Queue a PAUSED download at the tail of its lane; False if it is not PAUSED."""
        ...

    async def cancel_each(self, downloads: Iterable[Download], reason: str | None) -> None:
        """Ask all of *downloads* to end."""
        ...

    def get_rate_limit(self, download: Download) -> float | None:
        """Return how fast *download* may receive, if it has a limit of its own."""
        ...

    def set_rate_limit(self, download: Download, bytes_per_s: float | None) -> None:
        """Limit *download*, from now on."""
        ...

    # Who asks.

    def runs_me(self, download: Download | None = None) -> bool:
        """Whether the calling code belongs to the present run of *download*, or of any."""
        ...

    async def stop_myself(self, download: Download, verb: str) -> NoReturn:
        """End the calling code, which belongs to *download* and has just asked for that by *verb*."""
        ...

    async def wait_idle(self) -> None:
        """Wait until nothing is pending or running."""
        ...

    # Limits and figures.

    @property
    def max_concurrent(self) -> float: ...
    @max_concurrent.setter
    def max_concurrent(self, limit: float) -> None: ...
    @property
    def max_per_lane(self) -> float: ...
    @max_per_lane.setter
    def max_per_lane(self, limit: float) -> None: ...
    @property
    def rate_limit_bytes_per_s(self) -> float: ...
    @rate_limit_bytes_per_s.setter
    def rate_limit_bytes_per_s(self, bytes_per_s: float) -> None: ...

    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Limit one lane; None goes back to ``max_per_lane``."""
        ...

    def read_stats(self) -> ManagerStats:
        """Return the figures of this moment."""
        ...

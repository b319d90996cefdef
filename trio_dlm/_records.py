"""The frozen records that go in and out of a manager.

Rules that hold here:

- a record is made whole and never changes; what lives and changes is in :mod:`trio_dlm._download`;
- sizes are bytes, durations seconds, rates bytes per second, times aware UTC datetimes;
- no record holds a URL with its secrets but :class:`DownloadRequest`, whose repr hides them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from ._options import DownloadOptions
from ._status import DownloadPhase, DownloadStatus
from ._urls import redact_url

if TYPE_CHECKING:
    from .downloaders._protocol import Downloader, DownloaderFunction

__all__ = [
    "NO_PROGRESS",
    "DownloadRequest",
    "DownloadResult",
    "LaneStats",
    "ManagerStats",
    "PartProgress",
    "Progress",
    "TaskSnapshot",
]


@final
@dataclass(frozen=True, slots=True, repr=False)
class DownloadRequest:
    """What to download and how; what ``submit`` makes of its arguments.

    Attributes:
        url: what the downloader fetches, secrets included.
        options: what is asked of it.
        downloader: who fetches it; None means the manager's.
        lane: the queue that it waits in, any hashable; None leaves it to the manager's ``lane_of``.
        correlation_id: the caller's own id; None has one drawn.
    """

    url: str
    options: DownloadOptions = field(default_factory=DownloadOptions)
    downloader: Downloader[Any] | DownloaderFunction[Any] | None = None
    lane: Hashable = None
    correlation_id: str | None = None

    def __repr__(self) -> str:
        return f"<DownloadRequest {redact_url(self.url)}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """What a download saved.  Downloaders may return a subclass with more in it.

    Attributes:
        path: where the file is, absolute.
        size_bytes: how long it is.
        checksum: the digest that was verified, as ``"sha256:…"``, or None if none was asked for.
        reused: the file was there before and the digest proved it, so nothing was fetched.
    """

    path: Path
    size_bytes: int
    checksum: str | None = None
    reused: bool = False


@final
@dataclass(frozen=True, slots=True)
class PartProgress:
    """One byte range in flight: where in the file it starts, and how much of how many bytes (None: unknown) came."""

    start: int
    received_bytes: int
    size_bytes: int | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a download is, at one instant.

    Attributes:
        received_bytes: bytes of the file that are there, those kept from an earlier run included.
        total_bytes: how long the file will be, or None while nobody knows.
        rate_bytes_per_s: the current rate, an exponentially weighted mean; once ended the mean of the last run.
        eta_s: seconds to the end at this rate, or None if the total is unknown or nothing moves.
        phase: what it is doing.
        retries: how often the present run has tried again.
        parts: the byte ranges in flight; empty for a plain stream.
    """

    received_bytes: int = 0
    total_bytes: int | None = None
    rate_bytes_per_s: float = 0.0
    eta_s: float | None = None
    phase: DownloadPhase = DownloadPhase.WAITING
    retries: int = 0
    parts: tuple[PartProgress, ...] = ()

    @property
    def fraction(self) -> float | None:
        """How much of the file is there, from 0.0 to 1.0; None while the total is unknown.  An empty file is whole."""
        if self.total_bytes is None:
            return None
        return self.received_bytes / self.total_bytes if self.received_bytes < self.total_bytes else 1.0


NO_PROGRESS: Final = Progress()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSnapshot:
    """One download at one instant, as :meth:`DownloadManager.events` delivers it.

    Attributes:
        sequence: rises with every change of any download of the manager, so that the later of two snapshots is known.
        url: without its secrets.
        result: what was saved, once COMPLETED.
        error: what came out of the downloader, once FAILED.

    The others are those of :class:`DownloadTask`.
    """

    correlation_id: str
    sequence: int
    url: str
    status: DownloadStatus
    progress: Progress
    lane: Hashable
    parent_id: str | None
    retry_of: str | None
    attempts: int
    reason: str | None
    error: Exception | None
    result: DownloadResult | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStats:
    """One lane at one instant: how many wait in it, how many run, and how many may (``math.inf``: any number)."""

    pending: int
    active: int
    limit: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerStats:
    """A manager at one instant.

    Attributes:
        active: downloads that hold a slot (DOWNLOADING).
        pending: downloads queued (PENDING).
        paused: downloads PAUSED.
        max_concurrent: the present limit of slots; ``math.inf`` means any number.
        available_slots: how many could start now; never below 0, also after the limit was lowered.
        completed, failed, cancelled: how many ended so since the manager was opened.
        bytes_received: bytes that arrived since then, also for downloads that failed later.
        rate_bytes_per_s: the sum of the rates of the running downloads.
        lanes: those that have something queued or running.
    """

    active: int
    pending: int
    paused: int
    max_concurrent: float
    available_slots: float
    completed: int
    failed: int
    cancelled: int
    bytes_received: int
    rate_bytes_per_s: float
    lanes: Mapping[Hashable, LaneStats]

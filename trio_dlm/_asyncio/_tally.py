"""How many downloads there are of each kind, as the host has been told: what statistics and room for more come from.

Rules that hold here:

- nothing is decided here, and nothing waits: who starts is the trio side's business;
- a lane is there while something of it is queued or runs.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import final

from .._download import Download
from .._records import LaneStats, ManagerStats
from .._status import DownloadStatus

__all__ = ["Tally"]


@final
class _Lane:
    __slots__ = ("active", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.active = 0


@final
class Tally:
    """The figures of one manager, and its limits."""

    def __init__(self, *, max_concurrent: float, max_per_lane: float) -> None:
        self.max_concurrent = max_concurrent
        self.max_per_lane = max_per_lane
        self.lane_limits: dict[Hashable, float] = {}
        self.pending = 0
        self.paused = 0
        self.running: dict[Download, None] = {}
        self._lanes: dict[Hashable, _Lane] = {}
        self._ended = dict.fromkeys(DownloadStatus, 0)
        self._arrived_bytes = 0

    @property
    def active(self) -> int:
        """How many run."""
        return len(self.running)

    @property
    def queued(self) -> int:
        """How many wait for a slot: not those that will be told to have started, since one is free for them."""
        free = max(0, self.max_concurrent - self.active)
        if math.isinf(self.max_per_lane) and not self.lane_limits:
            return self.pending - int(min(self.pending, free))
        going = sum(
            min(lane.pending, max(0, self.lane_limits.get(name, self.max_per_lane) - lane.active))
            for name, lane in self._lanes.items()
        )
        return self.pending - int(min(going, free))

    def enter(self, download: Download, status: DownloadStatus) -> None:
        """*download* is in *status* now, and counts there."""
        if status is DownloadStatus.PENDING:
            self._lanes.setdefault(download.lane, _Lane()).pending += 1
            self.pending += 1
        elif status is DownloadStatus.DOWNLOADING:
            self._lanes.setdefault(download.lane, _Lane()).active += 1
            self.running[download] = None
        elif status is DownloadStatus.PAUSED:
            self.paused += 1
        else:
            self._ended[status] += 1

    def leave(self, download: Download, status: DownloadStatus) -> None:
        """*download* counted in *status*, and does no more; its meter is that of the end of the run, if it ran."""
        if status is DownloadStatus.PENDING:
            self.pending -= 1
            self._lanes[download.lane].pending -= 1
            self._sweep(download.lane)
        elif status is DownloadStatus.DOWNLOADING:
            del self.running[download]
            if download.meter is not None:
                self._arrived_bytes += download.meter.arrived_bytes
            self._lanes[download.lane].active -= 1
            self._sweep(download.lane)
        elif status is DownloadStatus.PAUSED:
            self.paused -= 1

    def _sweep(self, name: Hashable) -> None:
        lane = self._lanes[name]
        if not (lane.pending or lane.active):
            del self._lanes[name]

    def read(self) -> ManagerStats:
        """Return the figures of this moment."""
        meters = [download.meter for download in self.running if download.meter is not None]
        return ManagerStats(
            active=self.active,
            pending=self.pending,
            paused=self.paused,
            max_concurrent=self.max_concurrent,
            available_slots=max(0, self.max_concurrent - self.active),
            completed=self._ended[DownloadStatus.COMPLETED],
            failed=self._ended[DownloadStatus.FAILED],
            cancelled=self._ended[DownloadStatus.CANCELLED],
            bytes_received=self._arrived_bytes + sum(meter.arrived_bytes for meter in meters),
            rate_bytes_per_s=math.fsum(meter.rate_bytes_per_s for meter in meters),
            lanes={
                name: LaneStats(
                    pending=lane.pending, active=lane.active, limit=self.lane_limits.get(name, self.max_per_lane)
                )
                for name, lane in self._lanes.items()
            },
        )

"""The life cycle once more: what the harness holds every manager against.

Rules that hold here:

- nothing is shared with the library but the names of the six statuses; a table that was taken from there would be right
  whatever it said.
"""

from __future__ import annotations

from typing import Final

from ..._status import DownloadStatus

__all__ = ["CANCELLED", "COMPLETED", "DOWNLOADING", "FAILED", "FINAL", "PAUSED", "PENDING", "STEPS"]

PENDING: Final = DownloadStatus.PENDING
DOWNLOADING: Final = DownloadStatus.DOWNLOADING
PAUSED: Final = DownloadStatus.PAUSED
COMPLETED: Final = DownloadStatus.COMPLETED
FAILED: Final = DownloadStatus.FAILED
CANCELLED: Final = DownloadStatus.CANCELLED

FINAL: Final = frozenset({COMPLETED, FAILED, CANCELLED})

# Law 4; a final status has no way out.
STEPS: Final[dict[DownloadStatus, set[DownloadStatus]]] = {
    PENDING: {DOWNLOADING, PAUSED, CANCELLED},
    DOWNLOADING: {COMPLETED, FAILED, CANCELLED, PAUSED},
    PAUSED: {PENDING, CANCELLED},
}

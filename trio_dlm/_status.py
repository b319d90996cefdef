"""The life cycle of a download: its states, and the only table of steps between them.

Rules that hold here:

- every status change in the library goes through :func:`check_transition`;
- a final state has no way out (law 4: one end);
- nothing here knows about tasks, clocks or files.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "DownloadPhase", "DownloadStatus", "check_transition"]


class DownloadStatus(enum.Enum):
    """Where a download is in its life.  The values are lower-case words, fit for JSON and logs."""

    PENDING = "pending"
    """Queued in its lane; it has no slot, and no code of it runs."""
    DOWNLOADING = "downloading"
    """It holds a slot.  Also while it is being stopped: the status changes when its code has ended."""
    PAUSED = "paused"
    """Taken out of the queue or off its slot on request; :meth:`DownloadTask.resume` queues it again."""
    COMPLETED = "completed"
    """Final: the downloader returned a result."""
    FAILED = "failed"
    """Final: the downloader raised, or the manager crashed under it."""
    CANCELLED = "cancelled"
    """Final: somebody cancelled it, or the manager's block was left."""

    @property
    def is_final(self) -> bool:
        """Whether no other status can follow."""
        return self in _FINAL

    # Enum hashes the member's name in Python code; members are unique, so their identity will do.  The life cycle is
    # looked up several times per download.
    __hash__ = object.__hash__


# The life cycle as data.  The documentation draws its diagram from this table.
TRANSITIONS: Final[dict[DownloadStatus, frozenset[DownloadStatus]]] = {
    DownloadStatus.PENDING: frozenset({DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED, DownloadStatus.CANCELLED}),
    DownloadStatus.DOWNLOADING: frozenset(
        {
            DownloadStatus.COMPLETED,
            DownloadStatus.FAILED,
            DownloadStatus.CANCELLED,
            DownloadStatus.PAUSED,
        }
    ),
    DownloadStatus.PAUSED: frozenset({DownloadStatus.PENDING, DownloadStatus.CANCELLED}),
    DownloadStatus.COMPLETED: frozenset(),
    DownloadStatus.FAILED: frozenset(),
    DownloadStatus.CANCELLED: frozenset(),
}

_FINAL: Final = frozenset(status for status, following in TRANSITIONS.items() if not following)


class DownloadPhase(enum.Enum):
    """What a download is doing right now, finer than its status.  The values are words for people."""

    WAITING = "waiting"
    """Pending or paused."""
    EXTRACTING = "extracting"
    """Finding out what there is to download."""
    CONNECTING = "connecting"
    """Running, no byte of the body yet."""
    TRANSFERRING = "transferring"
    """The body is arriving."""
    VIDEO = "downloading video"
    """The picture is arriving; the sound is a file of its own."""
    AUDIO = "downloading audio"
    """The sound is arriving, as a file of its own."""
    RETRYING = "waiting to retry"
    """Between two attempts of one run."""
    VERIFYING = "verifying"
    """Comparing what is on disk with what was promised, and giving it its name."""
    MERGING = "merging"
    """Joining parts into one file."""
    PROCESSING = "post-processing"
    """Converting what has arrived."""
    STOPPING = "stopping"
    """Asked to cancel or pause; its code has not ended yet."""
    ENDED = "ended"
    """Completed, failed or cancelled."""


def check_transition(before: DownloadStatus, after: DownloadStatus) -> None:
    """Refuse a step that the life cycle does not have.

    Raises:
        AssertionError: the step is not in the table, which is a bug in the manager.
    """
    if after not in TRANSITIONS[before]:
        raise AssertionError(f"a download cannot go from {before.value} to {after.value}")

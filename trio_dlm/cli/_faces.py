"""What shows downloads to people or programs, and which of them is asked to.

Rules that hold here:

- a face is told what happens, one snapshot at a time, and can take its time: what it has not seen yet is merged;
- only stdout decides what is shown: a live display on a terminal, lines elsewhere;
- errors go to stderr, whatever the face.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from .._manager import DownloadManager
from .._records import ManagerStats, TaskSnapshot

__all__ = ["Face"]


class Face(Protocol):
    """Shows what happens."""

    interval_s: float
    """How often it wants to hear of one download that only goes on."""

    def open(self, manager: DownloadManager, total: int) -> AbstractAsyncContextManager[None]:
        """Begin to show *manager*, which is going to run *total* downloads, and end it with the block."""
        ...

    async def show(self, snapshot: TaskSnapshot) -> None:
        """A download has changed."""
        ...

    async def say(self, line: str) -> None:
        """Show a remark."""
        ...

    def stop(self) -> None:
        """A signal has come: that everything is cancelled from now on goes without saying, to people at least."""
        ...

    async def finish(self, stats: ManagerStats, total: int, exit_code: int) -> None:
        """Show how it all ended, after the block of :meth:`open`."""
        ...

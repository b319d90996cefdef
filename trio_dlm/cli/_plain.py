"""Lines of plain text: for pipes, files, logs of jobs, terminals that can do nothing else, and for silence.

Rules that hold here:

- one line when a download starts, one for each time that it tries again, and one when it ends, all without a control
  character;
- what fails is said on stderr and only there, at once, so that ``2>&1`` shows it in its place and once.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, final

from .._manager import DownloadManager
from .._records import ManagerStats, TaskSnapshot
from .._status import DownloadStatus
from ..formatting import format_line, format_name, format_url
from ._output import Output
from ._report import error_line, one_line, short_line, summary_line

__all__ = ["PlainFace", "QuietFace", "shown_path"]

# Lines go to logs, where they are searched and not looked at, so they may be long.
LINE_WIDTH: Final = 1000


@final
class PlainFace:
    """Says on *out* what starts and ends, and on *err* what fails."""

    interval_s = 0.2

    def __init__(self, out: Output, err: Output) -> None:
        self._out = out
        self._err = err
        # The last status that was said of each download that has not ended.
        self._said: dict[str, DownloadStatus] = {}
        # How many retries of its present run were said.
        self._retries: dict[str, int] = {}
        self._is_stopping = False

    @asynccontextmanager
    async def open(self, manager: DownloadManager, total: int) -> AsyncGenerator[None]:  # noqa: ARG002
        """Nothing to prepare."""
        yield

    async def show(self, snapshot: TaskSnapshot) -> None:
        """Say that a download has started, tries again, was paused or has ended; progress goes without saying."""
        status = snapshot.status
        said = self._said.get(snapshot.correlation_id)
        if status is said is DownloadStatus.DOWNLOADING:
            await self._show_retry(snapshot)
        if status is said or (status is DownloadStatus.PENDING and said is None):
            return
        if status is DownloadStatus.CANCELLED and self._is_stopping:
            return
        # What starts and ends between two looks has still started.
        if snapshot.started_at is not None and (said is None or status is DownloadStatus.DOWNLOADING):
            again = "" if said is None else " again"
            await self._out.line(f"{format_name(snapshot)}: started{again}, {format_url(snapshot.url, LINE_WIDTH)}")
        if status is DownloadStatus.FAILED:
            await self._err.line(error_line(snapshot))
        elif status is DownloadStatus.COMPLETED:
            assert snapshot.result is not None
            # "…, was there already as big.iso", or "…, saved as big.iso".
            verb = "" if snapshot.result.reused else ", saved"
            await self._out.line(f"{short_line(snapshot, LINE_WIDTH)}{verb} as {shown_path(snapshot)}")
        elif status is DownloadStatus.PENDING:
            await self._out.line(f"{format_name(snapshot)}: queued again")
        elif status is not DownloadStatus.DOWNLOADING:
            await self._out.line(short_line(snapshot, LINE_WIDTH))
        self._retries.pop(snapshot.correlation_id, None)
        if status.is_final:
            self._said.pop(snapshot.correlation_id, None)
        else:
            self._said[snapshot.correlation_id] = status

    async def _show_retry(self, snapshot: TaskSnapshot) -> None:
        retries = snapshot.progress.retries
        if retries > self._retries.get(snapshot.correlation_id, 0):
            self._retries[snapshot.correlation_id] = retries
            await self._out.line(format_line(snapshot, width=LINE_WIDTH))

    async def say(self, line: str) -> None:
        """Say *line*."""
        await self._out.line(line)

    def stop(self) -> None:
        """Say nothing of what is cancelled from now on."""
        self._is_stopping = True

    async def finish(self, stats: ManagerStats, total: int, exit_code: int) -> None:  # noqa: ARG002
        """Say how many there were of each kind."""
        await self._out.line(summary_line(stats, total))


@final
class QuietFace:
    """Says nothing, but on *err* what fails."""

    # Nothing but ends is of interest, and those are never held back.
    interval_s = 60.0

    def __init__(self, err: Output) -> None:
        self._err = err

    @asynccontextmanager
    async def open(self, manager: DownloadManager, total: int) -> AsyncGenerator[None]:  # noqa: ARG002
        """Nothing to prepare."""
        yield

    async def show(self, snapshot: TaskSnapshot) -> None:
        """Say that a download has failed."""
        if snapshot.status is DownloadStatus.FAILED:
            await self._err.line(error_line(snapshot))

    async def say(self, line: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Say nothing."""

    async def finish(self, stats: ManagerStats, total: int, exit_code: int) -> None:
        """Say nothing."""


def shown_path(snapshot: TaskSnapshot) -> str:
    """Return where the file is, from the current directory on if it is below that."""
    assert snapshot.result is not None
    path = snapshot.result.path
    try:
        shown = path.relative_to(Path.cwd())
    except (ValueError, OSError):
        shown = path
    return one_line(os.fspath(shown))

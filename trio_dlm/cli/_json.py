"""One JSON object a line, for programs.

Rules that hold here:

- every line about a download has the same keys, null where there is nothing to say; ``docs/reference/cli.rst`` lists
  them, so a key that is there stays and keeps its meaning;
- a reader that is slow gets fewer lines of progress and every final status;
- the text is ASCII, whatever the file names are.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, final

from .._manager import DownloadManager
from .._records import ManagerStats, TaskSnapshot
from .._status import DownloadStatus
from ..formatting import format_name
from ._output import Output
from ._report import error_line, reason_of

__all__ = ["JsonFace", "as_object"]


@final
class JsonFace:
    """Writes what happens to *out*, one object a line, and what fails to *err* as well, in words."""

    interval_s = 0.5

    def __init__(self, out: Output, err: Output) -> None:
        self._out = out
        self._err = err
        self._written: dict[str, DownloadStatus] = {}

    @asynccontextmanager
    async def open(self, manager: DownloadManager, total: int) -> AsyncGenerator[None]:  # noqa: ARG002
        """Nothing to prepare."""
        yield

    async def show(self, snapshot: TaskSnapshot) -> None:
        """Write one object about a download."""
        changed = self._written.get(snapshot.correlation_id) is not snapshot.status
        await self._write(as_object(snapshot, event="status" if changed else "progress"))
        if snapshot.status.is_final:
            self._written.pop(snapshot.correlation_id, None)
        else:
            self._written[snapshot.correlation_id] = snapshot.status
        if snapshot.status is DownloadStatus.FAILED:
            await self._err.line(error_line(snapshot))

    async def say(self, line: str) -> None:
        """Write a remark."""
        await self._write({"event": "remark", "text": line})

    def stop(self) -> None:
        """Programs are told of every end."""

    async def finish(self, stats: ManagerStats, total: int, exit_code: int) -> None:
        """Write the last object: how many there were of each kind, and the exit code."""
        await self._write(
            {
                "event": "summary",
                "total": total,
                "completed": stats.completed,
                "failed": stats.failed,
                "cancelled": stats.cancelled,
                "bytes_received": stats.bytes_received,
                "exit_code": exit_code,
            }
        )

    async def _write(self, record: dict[str, Any]) -> None:
        await self._out.line(json.dumps(record))


def as_object(snapshot: TaskSnapshot, *, event: str) -> dict[str, Any]:
    """Return a snapshot as what becomes a JSON object."""
    progress, result = snapshot.progress, snapshot.result
    return {
        "event": event,
        "id": snapshot.correlation_id,
        "url": snapshot.url,
        "name": format_name(snapshot, 255),
        "status": snapshot.status.value,
        "phase": progress.phase.value,
        "received_bytes": progress.received_bytes,
        "total_bytes": progress.total_bytes,
        "fraction": _rounded(progress.fraction, 4),
        "rate_bytes_per_s": _rounded(progress.rate_bytes_per_s, 1),
        "eta_s": _rounded(progress.eta_s, 1),
        "retries": progress.retries,
        "parts": [asdict(part) for part in progress.parts],
        "attempts": snapshot.attempts,
        "path": None if result is None else os.fspath(result.path),
        "size_bytes": None if result is None else result.size_bytes,
        "checksum": None if result is None else result.checksum,
        "reused": None if result is None else result.reused,
        "error": None if snapshot.error is None else type(snapshot.error).__name__,
        "reason": reason_of(snapshot),
        "created_at": _as_text(snapshot.created_at),
        "started_at": _as_text(snapshot.started_at),
        "finished_at": _as_text(snapshot.finished_at),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _as_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")

"""What yt-dlp tells while it downloads, as records.

Rules that hold here:

- a file is told of ten times a second at most, and of every change of its status;
- with a limit of the rate every block is told of, and waits until it is paid for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

from ._pipes import Pipes

__all__ = ["Hooks"]

_NUMBERS: Final = ("downloaded_bytes", "total_bytes", "total_bytes_estimate", "speed", "eta", "elapsed")
_NOTHING: Final[Mapping[str, Any]] = {}
_FRAGMENTS: Final = ("fragment_index", "fragment_count")

# The postprocessor that tells of the plan, by yt-dlp's name for it.
_OURS: Final = "_Plan"


@final
class Hooks:
    """The hooks of one item."""

    def __init__(self, pipes: Pipes, interval_s: float) -> None:
        self._pipes = pipes
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], float] = {}
        self._paid_bytes: dict[str, int] = {}

    def progress(self, told: Mapping[str, Any]) -> None:
        """Hear how far a file is."""
        file, status = Path(told.get("filename") or "").name, told["status"]
        info: Mapping[str, Any] = told.get("info_dict") or _NOTHING
        record: dict[str, Any] = {
            "file": file,
            "status": status,
            "format_id": info.get("format_id"),
            "vcodec": info.get("vcodec"),
            "acodec": info.get("acodec"),
            **{name: told[name] for name in (*_NUMBERS, *_FRAGMENTS) if told.get(name) is not None},
        }
        if self._pipes.is_toll_due:
            self._pipes.pay("progress", **record, new_bytes=self._new_bytes(file, told))
        elif self._is_due(file, status):
            self._pipes.say("progress", **record)

    def _is_due(self, file: str, status: str) -> bool:
        now = time.monotonic()
        with self._lock:
            last = self._told.get((file, status))
            if status == "downloading" and last is not None and now - last < self._interval_s:
                return False
            self._told[file, status] = now
        return True

    def _new_bytes(self, file: str, told: Mapping[str, Any]) -> int:
        received = int(told.get("downloaded_bytes") or 0)
        with self._lock:
            # What an earlier run has left was paid for then.
            before = self._paid_bytes.get(file, received)
            self._paid_bytes[file] = max(before, received)
        return max(0, received - before)

    def postprocessor(self, told: Mapping[str, Any]) -> None:
        """Hear what is done with whole files."""
        if told["postprocessor"] != _OURS:
            self._pipes.say("pp", name=told["postprocessor"], status=told["status"])

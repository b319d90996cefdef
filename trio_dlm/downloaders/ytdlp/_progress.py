"""How far a media item is: one figure that never falls, over several files and fragments of which little is known.

Rules that hold here:

- bytes are the sum over the files of the plan, and never fall: not when yt-dlp begins a file anew, nor when its
  estimate swings;
- the total is known when the size of every file is; an estimate is none.

Source:
    yt-dlp's progress hooks: a direct file tells its length, HLS and DASH tell fragments and no length until the end
    (youtube-dl issue 12224, yt-dlp pull request 3345).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from ..._status import DownloadPhase
from ._wire import FileProgress, Finished, Plan, PlannedFormat, Processing, Record

__all__ = ["MediaProgress"]

# The postprocessors that join files, by yt-dlp's names.
_MERGERS: Final = frozenset({"Merger", "Concat"})

# Those that fetch or change nothing of the media, so that nobody waits for them.
_QUIET: Final = frozenset({"MoveFiles"})

# How much more a second of video weighs than one of audio, where no size is known.
_VIDEO_WEIGHT: Final = 10.0

# Until the worker's last word nothing is complete.
_NEARLY: Final = 0.999


@dataclass(slots=True)
class _File:
    format_id: str | None
    received_bytes: int = 0
    total_bytes: int | None = None
    fraction: float = 0.0


@final
class MediaProgress:
    """Hears what a worker says, and knows how far it is.

    Attributes:
        phase: what is being done.
        received_bytes: how much has arrived; never falls.
        total_bytes: how much there will be, or None while that is unknown of any file.
        fraction: how much of the work is done, from 0.0 to 1.0; never falls, and is 1.0 only at the end.
    """

    def __init__(self) -> None:
        self.phase = DownloadPhase.EXTRACTING
        self.received_bytes = 0
        self.total_bytes: int | None = None
        self.fraction = 0.0
        self._formats: dict[str, PlannedFormat] = {}
        self._weights: dict[str, float] = {}
        self._files: dict[str, _File] = {}

    def feed(self, record: Record) -> None:
        """Hear the next record."""
        match record:
            case Plan():
                self._formats = {each.format_id: each for each in record.formats}
                self._weights = _weights(record)
                self.phase = DownloadPhase.TRANSFERRING
            case FileProgress():
                self._feed_file(record)
            case Processing() if record.status != "finished" and record.name not in _QUIET:
                self.phase = DownloadPhase.MERGING if record.name in _MERGERS else DownloadPhase.PROCESSING
            case Finished():
                self.phase = DownloadPhase.VERIFYING
                self.fraction = 1.0
            case _:
                pass

    def _feed_file(self, record: FileProgress) -> None:
        file = self._files.setdefault(record.file, _File(record.format_id))
        is_finished = record.status == "finished"
        # The last record of a file may have nothing but its total.
        received = record.downloaded_bytes
        if received is None:
            received = record.total_bytes if is_finished and record.total_bytes is not None else 0
        file.received_bytes = max(file.received_bytes, received)
        if record.total_bytes is not None:
            file.total_bytes = record.total_bytes
        if is_finished:
            file.total_bytes = file.received_bytes
            file.fraction = 1.0
        elif file.total_bytes:
            file.fraction = max(file.fraction, file.received_bytes / file.total_bytes)
        elif record.fragment_count:
            # Of fragments the count is steadier than any estimate of bytes.
            file.fraction = max(file.fraction, (record.fragment_index or 0) / record.fragment_count)
        self.phase = self._phase_of(file)
        self._add_up()

    def _phase_of(self, file: _File) -> DownloadPhase:
        planned = self._formats.get(file.format_id or "")
        if len(self._formats) < 2 or planned is None:
            return DownloadPhase.TRANSFERRING
        return DownloadPhase.VIDEO if planned.has_video else DownloadPhase.AUDIO

    def _add_up(self) -> None:
        files = self._files.values()
        self.received_bytes = max(self.received_bytes, sum(each.received_bytes for each in files))
        totals = [each.total_bytes for each in files]
        known = [total for total in totals if total is not None]
        is_known = len(known) == len(totals) and len(totals) >= len(self._formats)
        # A file that begins anew, or turns out shorter, must not leave less to come than there is.
        self.total_bytes = max(sum(known), self.received_bytes) if is_known else None
        share = 1 / max(1, len(self._formats))
        done = sum(min(1.0, each.fraction) * self._weights.get(each.format_id or "", share) for each in files)
        self.fraction = max(self.fraction, min(_NEARLY, done))


def _weights(plan: Plan) -> dict[str, float]:
    """Return how much of the work each format is: by size, else by rate, else by a guess."""
    duration = plan.info.duration_s or 0.0
    sizes = [each.size_bytes or (each.bitrate_bits_per_s or 0.0) * duration / 8 for each in plan.formats]
    if not all(sizes):
        sizes = [_VIDEO_WEIGHT if each.has_video else 1.0 for each in plan.formats]
    total = sum(sizes)
    return {each.format_id: size / total for each, size in zip(plan.formats, sizes, strict=True)}

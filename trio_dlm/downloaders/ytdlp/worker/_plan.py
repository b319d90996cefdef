"""What is about to be downloaded: told to the parent, refused, or compared with what an earlier run has begun.

Rules that hold here:

- what an earlier worker has left is gone on from only if the same formats are chosen again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ._pipes import Pipes
from ._versions import Versions

__all__ = ["RefusedItemError", "formats_of", "has_changed", "remove_media", "tell_plan"]

_TOLD: Final = (
    *("format_id", "protocol", "vcodec", "acodec", "ext", "filesize", "filesize_approx", "tbr", "width", "height"),
)

# What tells formats apart; their addresses differ each time.
_COMPARED: Final = ("format_id", "protocol", "vcodec", "acodec", "ext", "width", "height")


class RefusedItemError(Exception):
    """The options do not want this item.

    Attributes:
        kind: of error.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def formats_of(info: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the formats that are chosen: one, or several that are merged."""
    return info.get("requested_formats") or [info]


def tell_plan(pipes: Pipes, info: Mapping[str, Any], *, versions: Versions, request: Mapping[str, Any]) -> None:
    """Say what will be downloaded.

    Raises:
        RefusedItemError: it is not wanted.
    """
    formats = formats_of(info)
    is_live, duration, longest = bool(info.get("is_live")), info.get("duration"), request.get("max_duration_s")
    if is_live and not request.get("allow_live"):
        raise RefusedItemError("live", "it is live")
    if duration and longest is not None and duration > longest:
        raise RefusedItemError("too_long", f"it plays {duration:g} s, and max_duration_s is {longest:g}")
    for each in formats:
        if each.get("url"):
            versions.call(each["url"], str(each.get("format_id")))
    pipes.say(
        "plan",
        id=info.get("id"),
        title=info.get("title"),
        ext=info.get("ext"),
        extractor=info.get("extractor"),
        duration=duration,
        is_live=is_live,
        webpage_url=info.get("webpage_url"),
        formats=[{name: each.get(name) for name in _TOLD} for each in formats],
    )


def has_changed(job: Path, info: Mapping[str, Any]) -> bool:
    """Note the chosen formats in the directory, and say whether an earlier worker had chosen others."""
    path = job / "plan.json"
    chosen = [[each.get(name) for name in _COMPARED] for each in formats_of(info)]
    before: object = None
    if path.exists():
        try:
            before = json.loads(path.read_text("utf-8"))
        except ValueError:
            before = "unreadable"
    path.write_text(json.dumps(chosen, default=str), "utf-8")
    return before is not None and before != json.loads(json.dumps(chosen, default=str))


# What is not yt-dlp's in the directory of an item.
OURS: Final = frozenset({"plan.json", "versions.json", "cookies.txt"})


def remove_media(job: Path) -> None:
    """Delete what was fetched."""
    for path in job.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in OURS:
            path.unlink()

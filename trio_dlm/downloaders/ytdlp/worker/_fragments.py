"""What an earlier worker has left of a file that comes in fragments: how much of it is known to be whole fragments.

Rules that hold here:

- yt-dlp appends a fragment to the file and then notes its number; a worker that was killed in between, or whose note
  cannot be read, would have the same fragment appended twice, and nobody would see it;
- so the length of the file is noted with the number: what is longer is cut, and what has no note that fits is deleted;
- a fragment that was not complete is fetched anew: nothing tells which version it was of;
- fragments of another list than the one that was begun are not appended: the list is noted by the addresses in it,
  without their queries, which are signed anew each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["forget", "is_fragmented", "is_other_list", "mend", "note"]

# How a file comes that is one file.
_WHOLE: Final = frozenset({"http", "https", "ftp", "ftps"})

# What stands beside yt-dlp's own note: how long the file is, and what is to be in it.
_SUFFIX: Final = ".size"
_LIST_SUFFIX: Final = ".list"


def is_fragmented(formats: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the formats comes in fragments, or in a way that is not known."""
    return any(each.get("protocol") not in _WHOLE for each in formats)


def note(ytdl: Path, part: Path, index: int) -> None:
    """Note that *part* has all fragments up to number *index*, and no more; called before yt-dlp notes the number."""
    size = part.stat().st_size if part.exists() else 0
    spare = ytdl.with_name(ytdl.name + ".tmp")
    spare.write_text(json.dumps({"index": index, "size": size}), "utf-8")
    spare.replace(ytdl.with_name(ytdl.name + _SUFFIX))


def is_other_list(ytdl: Path, fragments: Sequence[Mapping[str, Any]], *, done: int) -> bool:
    """Whether *fragments* are not of the list that was begun; what is begun now is noted.

    Args:
        ytdl: yt-dlp's note of the file.
        fragments: those that are to be fetched, with their numbers, addresses and ranges.
        done: how many were fetched by an earlier worker.
    """
    path = ytdl.with_name(ytdl.name + _LIST_SUFFIX)
    now = {str(each["frag_index"]): _key(each) for each in fragments}
    if not done:
        path.write_text(json.dumps(now), "utf-8")
        return False
    try:
        begun: Any = json.loads(path.read_text("utf-8"))
        return now != {number: key for number, key in begun.items() if int(number) > done}
    except (OSError, ValueError, AttributeError):
        return True


def _key(fragment: Mapping[str, Any]) -> str:
    parts = urlsplit(str(fragment["url"]))
    return json.dumps([parts.netloc, parts.path, fragment.get("byte_range")])


def forget(ytdl: Path, part: Path) -> None:
    """Delete what is there of a file."""
    for path in (part, ytdl):
        path.unlink(missing_ok=True)


def mend(job: Path, *, fragmented: bool) -> None:
    """Leave what can be gone on from.

    Args:
        job: the directory of the item.
        fragmented: whether its files come in fragments.
    """
    for path in job.rglob("*.part-Frag*"):
        path.unlink(missing_ok=True)
    if not fragmented:
        return
    for part in job.rglob("*.part"):
        ytdl = part.with_suffix(".ytdl")
        size = _size_of(ytdl)
        if size is None or part.stat().st_size < size:
            forget(ytdl, part)
        else:
            os.truncate(part, size)


def _size_of(ytdl: Path) -> int | None:
    """Return how long a part is whose note is *ytdl*; None if nothing is certain."""
    try:
        noted: Any = json.loads(ytdl.read_text("utf-8"))
        ours: Any = json.loads(ytdl.with_name(ytdl.name + _SUFFIX).read_text("utf-8"))
        index = noted["downloader"]["current_fragment"]["index"]
        return int(ours["size"]) if ours["index"] == index else None
    except (OSError, ValueError, KeyError, TypeError):
        return None

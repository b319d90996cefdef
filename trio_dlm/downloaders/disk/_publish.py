"""How a whole file gets its final name.

Rules that hold here:

- the final name is taken in one step that replaces nothing unless asked, and never through a link, a pipe or a
  directory;
- where there are no hard links, looking and renaming are two steps: a file that somebody else makes between them, who
  has not asked for the lock, would be replaced;
- a part that stands beside another name than ours is somebody else's, who will want that name.

Source:
    link(2) and rename(2) for what is atomic.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..._context import logger
from ..._errors import TargetExistsError
from ..._options import Overwrite
from ._names import numbered
from ._storage import Places, is_taken, refuse_special, storage_errors

__all__ = ["all_taken", "candidates", "give_name"]

# Names that are tried with overwrite="unique".  A directory with more of them holds something else than downloads.
_MOST_NUMBERS: Final = 10_000

# What link() says where there are no hard links (FAT and exFAT, some network and FUSE file systems, Android's app
# storage), or no more for this file.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


def candidates(path: Path, name: str, overwrite: Overwrite) -> Iterator[Path]:
    """Yield the names that may be tried for *name*, beginning with *path*."""
    yield path
    if overwrite == "unique":
        for number in range(1, _MOST_NUMBERS + 1):
            other = path.with_name(numbered(name, number))
            if other != path:
                yield other


def all_taken(path: Path) -> TargetExistsError:
    """Return the error for a name of which every number is taken."""
    return TargetExistsError(
        path=str(path),
        problem=f"it exists, and so do its numbers 1 to {_MOST_NUMBERS}",
        advice="pass another filename= or directory=",
    )


def give_name(places: Places, name: str, overwrite: Overwrite) -> Path:
    """Give the part, which is whole, its final name, and return that.

    Raises:
        TargetExistsError: the name was taken meanwhile.
        StorageError: the system refused.
    """
    with storage_errors(places.final):
        if overwrite is True:
            refuse_special(places.final)
            places.part.replace(places.final)
            return places.final
        for path in candidates(places.final, name, overwrite):
            if path != places.final and is_taken(Places.of(path).part):
                continue
            if _rename_without_replacing(places.part, path):
                return path
    if overwrite == "unique":
        raise all_taken(places.final)
    raise TargetExistsError(
        path=str(places.final),
        problem="the name was taken while the file was fetched",
        advice='pass overwrite=True to replace it, or overwrite="unique" to keep both',
    )


def _rename_without_replacing(part: Path, path: Path) -> bool:
    """Give *part* the name *path* and return True, or return False if that is taken."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
    else:
        try:
            part.unlink()
        except OSError as exc:
            logger.warning("%s is complete, but %s could not be deleted (%s)", path, part, exc.strerror)
        return True
    if is_taken(path):
        return False
    try:
        part.rename(path)
    except FileExistsError:  # Windows, whose rename replaces nothing.
        return False
    return True

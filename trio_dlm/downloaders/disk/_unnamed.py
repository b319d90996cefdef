"""A small file that is there as a whole gets its name in one step, and has none before.

Rules that hold here:

- plain blocking calls, all of them one hop;
- the name replaces nothing, and where anything stands that a download has left or is making, nothing is done;
- a crash leaves nothing behind: what has no name goes with its descriptor;
- where the system or the file system has no such files, or anything is in the way, the caller is told and takes the
  long way, which knows what to say.

Source:
    open(2), O_TMPFILE, and the example in linkat(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..._options import Overwrite
from ._names import LOCK, PART
from ._publish import candidates
from ._storage import is_taken, storage_errors

__all__ = ["can_be_unnamed", "save_whole"]

_UNNAMED: Final[int] = getattr(os, "O_TMPFILE", 0)
_DIRECTORY: Final[int] = getattr(os, "O_PATH", 0) | getattr(os, "O_DIRECTORY", 0)

# What says that there are no unnamed files here (or no /proc to name them by), or that the long way has to tell.
_OTHERWISE: Final = frozenset(
    {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EXDEV}
    | {errno.EROFS, errno.ENOSYS, errno.EMLINK, errno.ENAMETOOLONG}
)

# Where a process finds its own descriptors.
_OPEN_FILES: Final = "/proc/self/fd"


def can_be_unnamed() -> bool:
    """Whether this system has such files."""
    return _UNNAMED != 0 and os.link in os.supports_dir_fd


def save_whole(path: Path, name: str, chunks: Sequence[bytes], overwrite: Overwrite) -> Path | None:
    """Make a file of *chunks*, and return what it is called; None if nothing was made and the long way has to be taken.

    Args:
        path: absolute; its directory is there.
        name: the last part of it, made safe.
        chunks: all of the file.
        overwrite: as of a download.  True is for the long way if anything has the name.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(path):
        try:
            directory = os.open(path.parent, _DIRECTORY)
            try:
                return _save(directory, path, name, chunks, overwrite)
            finally:
                os.close(directory)
        except OSError as exc:
            if exc.errno not in _OTHERWISE:
                raise
    return None


def _save(directory: int, path: Path, name: str, chunks: Sequence[bytes], overwrite: Overwrite) -> Path | None:
    fd = os.open(".", _UNNAMED | os.O_WRONLY, 0o666, dir_fd=directory)
    try:
        for chunk in chunks:
            _write_all(fd, chunk)
        for each in candidates(path, name, overwrite):
            if _take_name(fd, directory, each.name):
                return each
            if overwrite != "unique":
                break
    finally:
        os.close(fd)
    return None


def _take_name(fd: int, directory: int, name: str) -> bool:
    if any(is_taken(name + suffix, dir_fd=directory) for suffix in (LOCK, PART)):
        # Somebody's who will want the name, or has left something to go on from.
        return False
    try:
        # With a directory to stand in, since Python would follow the first link of /proc no further otherwise.
        os.link(f"{_OPEN_FILES}/{fd}", name, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        return False
    return True


def _write_all(fd: int, data: bytes) -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(fd, view[written:])

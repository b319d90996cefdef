"""What the rooms that touch files have in common: where they are, how they are opened, and what a refusal is called.

Rules that hold here:

- plain blocking calls: nothing here knows of trio, and nothing is called from the event loop;
- what the system refuses comes out as one error that says what to do;
- an existing file is opened without following a link and without waiting for a pipe, and what was opened is looked at
  before it is used;
- who cannot look at a name does not take it for free.

Source:
    open(2), link(2) and pwrite(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from ..._errors import StorageError, TargetExistsError, TransferError
from ._names import LOCK, PART, RECORD, SPARE

__all__ = [
    "EXISTING",
    "NEW",
    "READING",
    "Places",
    "check_room",
    "check_writable",
    "closing",
    "is_plain",
    "is_taken",
    "look",
    "make_directory",
    "open_regular",
    "read_at",
    "refuse_special",
    "storage_errors",
    "sync",
    "sync_directory",
    "write_at",
]

# What is opened must not be a link, nor make the opening wait; Windows has neither, but translates line ends.
EXISTING: Final[int] = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
NEW: Final[int] = os.O_RDWR | os.O_CREAT | os.O_EXCL | EXISTING

_FORBIDDEN: Final = "you may not write there: choose another directory, or change its permissions"
_NOT_MADE: Final = "you may not make that directory: choose another, or change the permissions of the one above it"
_NOT_READ: Final = "you may not read it, to check its digest: change its permissions, or pass another filename="

_ADVICE_BY_ERRNO: Final = {
    errno.ENOSPC: "the disk is full: make room, or choose another directory",
    errno.EDQUOT: "your quota is used up: make room, or choose another directory",
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no file of that size: choose another directory",
    errno.EMFILE: "too many files and connections are open: lower max_concurrent, or raise the limit (ulimit -n)",
    errno.ENFILE: "the system has no file handle left: close something and try again",
    errno.EIO: "the disk or the network file system fails: check it before you try again",
    errno.EROFS: "the file system is read-only: choose another directory",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENAMETOOLONG: "the file system takes no name of that length: pass a shorter filename=",
    errno.ENOTDIR: "a part of that path is a file: choose another directory",
    errno.ENOENT: "it or its directory was removed meanwhile: keep other programs away from it, and try again",
    errno.ELOOP: "that path goes through links in a circle, or through one that is not followed: choose another",
}

# What the same refusals mean where a directory was to be made, and where an existing file was to be read.
_MAKING: Final = _ADVICE_BY_ERRNO | {
    errno.EACCES: _NOT_MADE,
    errno.EPERM: _NOT_MADE,
    errno.ENOENT: "no directory can be made there: choose another",
}
READING: Final = _ADVICE_BY_ERRNO | {
    errno.EACCES: _NOT_READ,
    errno.EPERM: _NOT_READ,
    errno.ENOENT: "it was removed meanwhile: try again",
}


@final
@dataclass(frozen=True, slots=True)
class Places:
    """Where a file goes, and what stands beside it until it is there."""

    final: Path
    part: Path
    record: Path
    lock: Path
    spare: Path

    @classmethod
    def of(cls, path: Path) -> Places:
        """Return the places of what becomes *path*; :data:`._names.AUXILIARY_SUFFIXES` keeps other names off them."""
        part, record, lock, spare = (path.with_name(path.name + suffix) for suffix in (PART, RECORD, LOCK, SPARE))
        return cls(path, part, record, lock, spare)


@contextlib.contextmanager
def storage_errors(path: Path, advices: Mapping[int, str] = _ADVICE_BY_ERRNO) -> Generator[None, None, None]:
    """Raise what the system refuses as a :class:`StorageError` about *path*, with one of the *advices*."""
    try:
        yield
    except TransferError:
        raise
    except UnicodeEncodeError as exc:
        raise StorageError(
            path=ascii(str(path)),
            problem=f"the encoding of file names here, {sys.getfilesystemencoding()}, has not all of its characters",
            advice="run in a UTF-8 locale (LC_ALL=C.UTF-8), or pass another filename=",
        ) from exc
    except OSError as exc:
        advice = advices.get(exc.errno or 0, "check the directory, then try again")
        raise StorageError(path=str(path), problem=exc.strerror or str(exc), advice=advice, errno=exc.errno) from exc


def make_directory(directory: Path) -> None:
    """Make *directory* and those above it, if they are missing."""
    with storage_errors(directory, _MAKING):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def check_room(directory: Path, size_bytes: int) -> None:
    """Refuse *size_bytes* more for which the disk has no room."""
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        # Some file systems do not say; writing will tell.
        return
    if usage.total and usage.free < size_bytes:
        raise StorageError(
            path=str(directory),
            problem=f"{size_bytes} bytes are needed and {usage.free} are free",
            advice="make room, or choose another directory; nothing was fetched",
            errno=errno.ENOSPC,
        )


def check_writable(directory: Path) -> None:
    """Refuse a directory in which no file can be made, or that could not be made itself; nothing is made yet.

    Raises:
        StorageError: it may not be written to.
    """
    with storage_errors(directory, _MAKING):
        place = directory
        while look(place) is None and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        is_ours = os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
        if not is_ours:
            is_read_only = hasattr(os, "statvfs") and bool(os.statvfs(place).f_flag & os.ST_RDONLY)
            number = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(number, os.strerror(number))


def look(path: Path | str, *, dir_fd: int | None = None) -> os.stat_result | None:
    """Return what is under a name, a link as such, or None if nothing is.  Raises ``OSError`` if it cannot be seen."""
    try:
        return os.lstat(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return None


def is_taken(path: Path | str, *, dir_fd: int | None = None) -> bool:
    """Whether anything is there.  Who cannot look must not take it for nothing, as ``os.path.lexists`` does."""
    return look(path, dir_fd=dir_fd) is not None


def refuse_special(path: Path) -> None:
    """Refuse what is there and no regular file: the bytes would go elsewhere, or nowhere."""
    found = look(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        kind = next((word for test, word in _KINDS if test(found.st_mode)), "special file")
        raise TargetExistsError(
            path=str(path), problem=f"a {kind} is there", advice="remove it, or pass another filename="
        )


_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISCHR, "device"),
)


def is_plain(found: os.stat_result) -> bool:
    """Whether it is a regular file that has no other name, through which somebody else would see it change."""
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


@contextlib.contextmanager
def closing(fd: int) -> Generator[None, None, None]:
    """Close *fd* at the end."""
    try:
        yield
    finally:
        os.close(fd)


def open_regular(path: Path) -> tuple[int, int]:
    """Open *path* for reading, without waiting for a pipe that took its place, and return its size as well."""
    with storage_errors(path, READING):
        fd = os.open(path, os.O_RDONLY | EXISTING)
        try:
            return fd, os.fstat(fd).st_size
        except OSError:
            os.close(fd)
            raise


# Windows has no reading and writing at an offset: there the position of the descriptor is set first, which is one for
# all threads.
_has_offsets: Final = hasattr(os, "pwrite")
_position: Final = threading.Lock()


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of *data* at *offset*."""
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += _write_some(fd, view[written:], offset + written)


def _write_some(fd: int, view: memoryview, offset: int) -> int:
    if _has_offsets:
        return os.pwrite(fd, view, offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)


def read_at(fd: int, size_bytes: int, offset: int) -> bytes:
    """Read up to *size_bytes* from *offset* on; nothing at the end."""
    if _has_offsets:
        return os.pread(fd, size_bytes, offset)
    with _position:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, size_bytes)


def sync(fd: int) -> None:
    """Wait until what was written is on the disk, and until it can be read after a loss of power."""
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_directory(directory: Path) -> None:
    """Wait until the names in *directory* are on the disk.  Windows, which opens no directory, sees to it by itself."""
    if os.name != "nt":
        fd = os.open(directory, os.O_RDONLY)
        with closing(fd):
            os.fsync(fd)

"""What is done to files for a download: plain blocking calls, each meant for one hop to a worker thread.

Rules that hold here:

- nothing here waits for anything but the disk, knows of trio or is called from the event loop;
- a call is bounded by what it is handed; whoever owns a part makes one call at a time;
- ``NAME.part`` is made, never opened: one that is there already belongs to somebody;
- the final name is taken in one step that replaces nothing unless asked, and never through a link, a pipe or a
  directory;
- what the system refuses comes out as one error that says what to do.

Source:
    link(2), open(2) and rename(2) for what is atomic.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, final

from ..._context import logger
from ..._errors import ChecksumMismatchError, StorageError, TargetExistsError, TransferError
from ..._options import Checksum, Overwrite
from ._names import numbered

__all__ = ["Hasher", "Part", "check_room", "claim", "hash_some", "new_hasher", "open_regular"]

PART_SUFFIX: Final = ".part"

# How much of an existing file is hashed in one hop: some 10 ms, after which a cancellation is noticed.
_HASHED_PER_HOP: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024

# Names that are tried with overwrite="unique".  A directory with more of them holds something else than downloads.
_MOST_NUMBERS: Final = 10_000

# What link() says where there are no hard links (FAT and exFAT, some network and FUSE file systems, Android's app
# storage), or no more for this file.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})

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
_READING: Final = _ADVICE_BY_ERRNO | {
    errno.EACCES: _NOT_READ,
    errno.EPERM: _NOT_READ,
    errno.ENOENT: "it was removed meanwhile: try again",
}


class Hasher(Protocol):
    """What ``hashlib`` makes."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all bytes taken so far, in hex digits."""
        ...


def claim(
    directory: Path, name: str, overwrite: Overwrite, checksum: Checksum | None, size_bytes: int | None
) -> Part | Path:
    """Take *name* in *directory*: return a new part, or the path of an existing file that *checksum* is to prove."""
    _make_directory(directory)
    if size_bytes is not None:
        check_room(directory, size_bytes)
    for path in _candidates(directory, name, overwrite):
        with _storage_errors(path):
            if overwrite is True:
                _refuse_special(path)
            elif _is_taken(path):
                if overwrite == "unique":
                    continue
                return _reusable(path, checksum)
            try:
                part = Part(path, name, overwrite, checksum)
            except FileExistsError:
                if overwrite == "unique":
                    continue
                raise TargetExistsError(
                    path=str(_part_of(path)),
                    problem="it exists: another download, of this program or another, may be writing it",
                    advice="wait for that one, or pass another filename=; delete it only if there is none",
                ) from None
            with contextlib.ExitStack() as otherwise:
                otherwise.callback(part.discard)
                # Who had the part before may have published it between the look and the creation.  Nobody else can now.
                if overwrite is True or not _is_taken(path):
                    otherwise.pop_all()
                    return part
            if overwrite == "unique":
                continue
            return _reusable(path, checksum)
    raise _all_taken(directory / name)


def _make_directory(directory: Path) -> None:
    with _storage_errors(directory, _MAKING):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _candidates(directory: Path, name: str, overwrite: Overwrite) -> Iterator[Path]:
    yield directory / name
    if overwrite == "unique":
        for number in range(1, _MOST_NUMBERS + 1):
            yield directory / numbered(name, number)


def _all_taken(path: Path) -> TargetExistsError:
    return TargetExistsError(
        path=str(path),
        problem=f"it exists, and so do its numbers 1 to {_MOST_NUMBERS}",
        advice="pass another filename= or directory=",
    )


def _reusable(path: Path, checksum: Checksum | None) -> Path:
    _refuse_special(path)
    if checksum is None:
        raise TargetExistsError(
            path=str(path),
            problem="the file exists",
            advice='pass overwrite=True to replace it, overwrite="unique" to keep both, or its checksum= to reuse it',
        )
    return path


def _is_taken(path: Path) -> bool:
    """Whether anything is there.  Who cannot look must not take it for nothing, as ``os.path.lexists`` does."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)


def _refuse_special(path: Path) -> None:
    """Refuse what is there and no regular file: the bytes would go elsewhere, or nowhere."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = next((word for test, word in _KINDS if test(mode)), "special file")
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


def check_room(directory: Path, size_bytes: int) -> None:
    """Refuse *size_bytes* for which the disk has no room."""
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
        )


@final
class Part:
    """The file ``NAME.part``, made by the constructor, which raises ``OSError`` if it cannot."""

    def __init__(self, path: Path, name: str, overwrite: Overwrite, checksum: Checksum | None) -> None:
        self.path = path
        self.size_bytes = 0
        self.is_published = False
        self._part = _part_of(path)
        self._name = name
        self._overwrite: Overwrite = overwrite
        self._checksum = checksum
        self._hasher = None if checksum is None else new_hasher(checksum)
        # Appending, so that a part that somebody else cut short ends with another size, and not with zeros in it.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._fd = os.open(self._part, flags, 0o666)
        try:
            # The kernel applies the umask, and a directory's default ACL, when it makes a file; asking for the umask
            # would mean to set it, for the whole process.  So the mode is noted, and kept back until the file is whole.
            self._identity = os.fstat(self._fd)
            if hasattr(os, "fchmod"):
                os.fchmod(self._fd, 0o600)
        except BaseException:
            self._close()
            self._part.unlink()
            raise

    def append(self, chunks: list[bytes]) -> None:
        """Write *chunks* and hash them."""
        data = b"".join(chunks)
        if self._hasher is not None:
            self._hasher.update(data)
        self.size_bytes += len(data)
        with _storage_errors(self._part), memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(self._fd, view[written:])

    def publish(self, chunks: list[bytes], url: str) -> None:
        """Append the last *chunks*, verify, and give the file its name; *url* is for the message if it is not right."""
        self.append(chunks)
        self._verify(url)
        with _storage_errors(self._part):
            if hasattr(os, "fchmod"):
                os.fchmod(self._fd, stat.S_IMODE(self._identity.st_mode))
            # Before the name is given: a network file system may refuse the data only now, and Windows renames no open
            # file.
            self._close()
        with _storage_errors(self.path):
            if self._overwrite is True:
                _refuse_special(self.path)
                self._part.replace(self.path)
            else:
                self._take_free_name()
        self.is_published = True

    def _verify(self, url: str) -> None:
        if self._checksum is not None and self._hasher is not None:
            digest = self._hasher.hexdigest()
            if digest != self._checksum.hex_digest:
                raise ChecksumMismatchError(
                    url=url, algorithm=self._checksum.algorithm, expected=self._checksum.hex_digest, got=digest
                )
        with _storage_errors(self._part):
            if os.fstat(self._fd).st_size != self.size_bytes or not self._is_ours():
                raise StorageError(
                    path=str(self._part),
                    problem="another process changed or replaced it while it was written",
                    advice="keep other programs away from it, and try again",
                )

    def _take_free_name(self) -> None:
        for path in _candidates(self.path.parent, self._name, self._overwrite):
            # A part beside another name than ours is somebody else's, who will want that name.
            if path != self.path and _part_of(path).exists():
                continue
            if _rename_without_replacing(self._part, path):
                self.path = path
                return
        if self._overwrite == "unique":
            raise _all_taken(self.path)
        raise TargetExistsError(
            path=str(self.path),
            problem="the name was taken while the file was fetched",
            advice='pass overwrite=True to replace it, or overwrite="unique" to keep both',
        )

    def discard(self) -> None:
        """Close and delete the part, unless it is somebody else's by now.  A failure is logged: nobody can mend it."""
        with contextlib.suppress(OSError):
            self._close()
        try:
            if self._is_ours():
                self._part.unlink()
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.warning("%s could not be deleted (%s); delete it before the next attempt", self._part, exc.strerror)

    def _is_ours(self) -> bool:
        return os.path.samestat(self._part.lstat(), self._identity)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


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
    if _is_taken(path):
        return False
    try:
        part.rename(path)
    except FileExistsError:  # Windows, whose rename replaces nothing.
        return False
    return True


def open_regular(path: Path) -> int:
    """Open *path* for reading; a link is not followed, and a pipe that took its place is not waited for."""
    with _storage_errors(path, _READING):
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags)


def hash_some(path: Path, fd: int, hasher: Hasher) -> int:
    """Hash the next bytes of *fd* and return how many they were; 0 at the end."""
    count = 0
    with _storage_errors(path, _READING):
        while count < _HASHED_PER_HOP and (data := os.read(fd, _READ_BYTES)):
            hasher.update(data)
            count += len(data)
    return count


def new_hasher(checksum: Checksum) -> Hasher:
    """Return what computes a digest such as *checksum*."""
    return hashlib.new(checksum.algorithm, usedforsecurity=False)


@contextlib.contextmanager
def _storage_errors(path: Path, advices: Mapping[int, str] = _ADVICE_BY_ERRNO) -> Generator[None, None, None]:
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
        raise StorageError(path=str(path), problem=exc.strerror or str(exc), advice=advice) from exc

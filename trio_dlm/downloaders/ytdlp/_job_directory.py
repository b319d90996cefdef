"""``.trio_dlm/NAME/`` beside the files: where a worker writes, and what of it may leave.

Rules that hold here:

- plain blocking calls, for a thread;
- one download per directory, over all processes; its name follows from what is asked for, so that asking again finds
  what an earlier run has left;
- it lies on the file system that the files go to, so that giving them their names moves no bytes;
- what a worker says it has written is looked at: a regular file without another name, inside the directory, and not
  through a link.  The worker handles what strangers send;
- nothing gets its final name before all of it was looked at.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, final

from ..._context import logger
from ..._errors import StorageError, TargetExistsError
from ..._options import Checksum, Durability, Overwrite
from ..disk._lock import NameLock
from ..disk._publish import give_name
from ..disk._storage import (
    Places,
    closing,
    is_plain,
    look,
    make_directory,
    open_regular,
    refuse_special,
    storage_errors,
    sync,
    sync_directory,
)

__all__ = ["JobDirectory", "Taken", "directory_key", "existing_file", "hex_digest"]

# Beside the files, since only there nothing has to be copied; hidden, since it is nobody's business.
_FOLDER: Final = ".trio_dlm"

# Directories that are tried for the same download with overwrite="unique", each in use by another.
_MOST_NUMBERS: Final = 100

# How often the folder may vanish while it is being used.
_MOST_TRIES: Final = 100

# How much is read at a time for a digest.
_READ_BYTES: Final = 1024 * 1024


def directory_key(facts: Mapping[str, object]) -> str:
    """Return the name of the directory for a download that *facts*, fit for JSON, tell from others."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"ytdlp-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


@final
class Taken:
    """A file that a worker has left, looked at and open to no doubt.

    Attributes:
        path: where it is.
        size_bytes: how long it is.
    """

    __slots__ = ("path", "size_bytes")

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes


@final
class JobDirectory:
    """The right to one directory.  Given by :meth:`take`; ended by :meth:`leave`.

    Attributes:
        path: where it is, absolute.
        is_new: nothing of an earlier run is in it.
    """

    def __init__(self, path: Path, lock: NameLock, *, is_new: bool) -> None:
        self.path = path
        self.is_new = is_new
        self._lock = lock

    @classmethod
    def take(cls, directory: Path, key: str, *, resume: bool, overwrite: Overwrite) -> JobDirectory:
        """Make and lock the directory for *key* below *directory*, which is made as well.

        Args:
            directory: where the files go.
            key: what :func:`directory_key` gave.
            resume: keep what an earlier run has left in it.
            overwrite: with ``"unique"`` one that is in use is left to its user, and a numbered one is taken.

        Raises:
            TargetExistsError: another download uses it.
            StorageError: it cannot be made.
        """
        make_directory(directory)
        folder = directory / _FOLDER
        numbers = range(_MOST_NUMBERS if overwrite == "unique" else 1)
        for name in (key if not number else f"{key}-{number}" for number in numbers):
            lock = _take_lock(folder, name)
            if lock is not None:
                with contextlib.ExitStack() as otherwise:
                    otherwise.callback(lock.release)
                    path = folder / name
                    is_new = _make(path, resume=resume)
                    otherwise.pop_all()
                return cls(path, lock, is_new=is_new)
        raise TargetExistsError(
            path=str(folder / key),
            problem="another download, of this program or another, is fetching the same into this directory",
            advice='wait for that one, choose another directory=, or pass overwrite="unique" to have it twice',
        )

    @property
    def size_bytes(self) -> int:
        """How much is in it at this instant, without the notes about fragments."""
        return sum(size for path, size in self._files() if ".ytdl" not in path.suffixes)

    def _files(self) -> list[tuple[Path, int]]:
        found: list[tuple[Path, int]] = []
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                # The worker renames and deletes at the same time.
                with contextlib.suppress(OSError):
                    found.append((path, path.lstat().st_size))
        return found

    def check(self, path: str) -> Taken:
        """Return the file at *path*, which a worker has named.

        Raises:
            StorageError: it is not in the directory, or is no regular file.
        """
        given = Path(path)
        with storage_errors(given):
            is_inside = given.parent.resolve(strict=True).is_relative_to(self.path.resolve(strict=True))
            found = look(given)
        if not is_inside or found is None or not is_plain(found):
            raise StorageError(
                path=ascii(path)[1:-1],
                problem="yt-dlp named this as its file, and it is no regular file in the directory that it was given",
                advice="nothing was published; update yt-dlp, and leave plugins out",
            )
        return Taken(given, found.st_size)

    def publish(self, taken: Taken, final: Path, *, overwrite: Overwrite, durability: Durability) -> Path:
        """Give a file its final name, in one step that replaces nothing unless asked, and return that.

        Raises:
            TargetExistsError: the name is taken.
            StorageError: the system refused.
        """
        is_synced = durability == "power"
        fd, _ = open_regular(taken.path)
        with storage_errors(taken.path), closing(fd):
            if not is_plain(os.fstat(fd)):
                raise OSError("it was replaced meanwhile")
            if is_synced:
                sync(fd)
        path = give_name(_places(final, taken.path), final.name, overwrite)
        if is_synced:
            with storage_errors(path):
                sync_directory(path.parent)
        return path

    def clear(self) -> None:
        """Delete what is in it."""
        with storage_errors(self.path):
            shutil.rmtree(self.path)
            self.path.mkdir(mode=0o700)

    def leave(self, *, keep: bool) -> None:
        """Let the next one have it, with what is there if *keep*."""
        try:
            if not keep or not any(self._files()):
                shutil.rmtree(self.path)
        except OSError as exc:
            logger.warning("%s could not be deleted (%s)", self.path, exc.strerror)
        finally:
            self._lock.release()
        # If nobody else is in there.
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    def __repr__(self) -> str:
        return f"<JobDirectory {self.path}>"


def _take_lock(folder: Path, name: str) -> NameLock | None:
    """Lock *name* in *folder*, which is made; None if somebody else has it."""
    for tries_left in reversed(range(_MOST_TRIES)):
        try:
            with storage_errors(folder):
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(mode=0o700)
                _check_own(folder)
            return NameLock.take(folder / f"{name}.lock")
        except StorageError as error:
            # The last one to leave takes the folder away, which may be now.
            if error.errno != errno.ENOENT or not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _make(path: Path, *, resume: bool) -> bool:
    with storage_errors(path):
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            _check_own(path)
            if resume:
                return False
            shutil.rmtree(path)
            path.mkdir(mode=0o700)
        return True


def _check_own(path: Path) -> None:
    """Refuse a directory that is a link, or somebody else's: what is written there would go elsewhere."""
    found = path.lstat()
    is_own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or not is_own:
        raise TargetExistsError(
            path=str(path),
            problem="it is no directory of yours",
            advice="remove it, or choose another directory=",
        )


def _places(final: Path, part: Path) -> Places:
    beside = Places.of(final)
    return Places(final, part, beside.record, beside.lock, beside.spare)


def existing_file(final: Path, *, overwrite: Overwrite, checksum: Checksum | None) -> int | None:
    """Look at what has the final name already: None if the download may go on, else the size of the file to reuse.

    Raises:
        TargetExistsError: the name is taken, and the file there is not known to be the one that is wanted.
        StorageError: it cannot be read.
    """
    with storage_errors(final):
        if overwrite == "unique" or look(final) is None:
            return None
        refuse_special(final)
    if overwrite is True:
        return None
    if checksum is None:
        raise TargetExistsError(
            path=str(final),
            problem="the file exists",
            advice='pass overwrite=True to replace it, overwrite="unique" to keep both, or its checksum= to reuse it',
        )
    got, size_bytes = hex_digest(final, checksum.algorithm)
    if got != checksum.hex_digest:
        raise TargetExistsError(
            path=str(final),
            problem=f"the file exists, and its {checksum.algorithm} is {got}, not {checksum.hex_digest}",
            advice='pass overwrite=True to replace it, or overwrite="unique" to keep both',
        )
    return size_bytes


def hex_digest(path: Path, algorithm: str, check: Callable[[], object] = lambda: None) -> tuple[str, int]:
    """Return the digest of a file in hex digits, and its size.

    Args:
        path: of the file.
        algorithm: as :class:`Checksum` has it.
        check: called between two reads; what it raises ends the reading.

    Raises:
        StorageError: it cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size_bytes = 0
    fd, _ = open_regular(path)
    with storage_errors(path), closing(fd):
        while data := os.read(fd, _READ_BYTES):
            digest.update(data)
            size_bytes += len(data)
            check()
    return digest.hexdigest(), size_bytes

"""``NAME.part.lock``: one download per name, over all processes.

Rules that hold here:

- the lock is the system's and goes with the process, so that a lock file which was left behind is none: it is simply
  locked;
- whoever has the lock deletes the file, and only he; who locks a file that was deleted meanwhile tries again;
- where the file system has no locks, this process keeps its own downloads apart and knows nothing of others; there the
  creation of ``NAME.part``, which replaces nothing, is all that does.

Source:
    flock(2).  NFS has it as a lock of the whole file, for which it must be open for writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Final, final

from ..._context import logger
from ..._errors import StorageError, TargetExistsError
from ._storage import EXISTING, look, storage_errors

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["NameLock"]

# What says that somebody else has it.
_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})
# What says that there are no locks here, or no more.
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})

# How often a file that was deleted between its opening and its locking is opened again.  Each time somebody else must
# have had the name meanwhile.
_MOST_TRIES: Final = 100

# Names that downloads of this process have where there are no locks.
_held_here: Final[set[tuple[int, int]]] = set()
_held_here_lock: Final = threading.Lock()


@final
class NameLock:
    """The right to everything that stands beside one name.  Given by :meth:`take`; ended by :meth:`release`.

    Attributes:
        owner: the number of the user whom files belong to that this process makes there, or None where there is none.
    """

    def __init__(self, path: Path, fd: int, *, is_new: bool) -> None:
        self._path = path
        self._fd = fd
        self._opened = os.fstat(fd)
        self._key: tuple[int, int] | None = None
        self.owner: int | None = None
        # What was made just now has the owner that this file system gives us, which need not be us: FAT has one for
        # all, and a server may take root for nobody.
        if hasattr(os, "geteuid"):
            self.owner = self._opened.st_uid if is_new else os.geteuid()

    @classmethod
    def take(cls, path: Path) -> NameLock | None:
        """Lock *path*, which is made if it is not there; return None if somebody else has it.

        Raises:
            TargetExistsError: something else than a file is there.
            StorageError: the file cannot be made.
        """
        with storage_errors(path):
            for _ in range(_MOST_TRIES):
                lock = cls._open(path)
                if not lock._has_locked():
                    return None
                with contextlib.ExitStack() as otherwise:
                    otherwise.callback(lock.release)
                    if lock._is_in_place():
                        otherwise.pop_all()
                        return lock
        raise StorageError(
            path=str(path),
            problem="it was replaced again and again while it was being locked",
            advice="keep other programs away from it, and try again",
        )

    @classmethod
    def _open(cls, path: Path) -> NameLock:
        flags = os.O_RDWR | os.O_CREAT | EXISTING
        is_new = True
        try:
            fd = os.open(path, flags | os.O_EXCL, 0o600)
        except FileExistsError:
            is_new = False
            found = look(path)
            if found is not None and not stat.S_ISREG(found.st_mode):
                raise TargetExistsError(
                    path=str(path), problem="it is no regular file", advice="remove it, or pass another filename="
                ) from None
            fd = os.open(path, flags, 0o600)
        with contextlib.ExitStack() as otherwise:
            if is_new:
                otherwise.callback(path.unlink)
            otherwise.callback(os.close, fd)
            lock = cls(path, fd, is_new=is_new)
            otherwise.pop_all()
        return lock

    def _has_locked(self) -> bool:
        """Lock the file and return True; if that cannot be, close it, since it is somebody else's to delete."""
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(self._close)
            if not self._lock():
                return False
            otherwise.pop_all()
        return True

    def _lock(self) -> bool:
        try:
            if sys.platform == "win32":
                msvcrt.locking(self._fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            if exc.errno in _HELD:
                return False
            if exc.errno not in _NO_LOCKS:
                raise
            return self._lock_here()
        return True

    def _lock_here(self) -> bool:
        key = self._opened.st_dev, self._opened.st_ino
        with _held_here_lock:
            if key in _held_here:
                return False
            _held_here.add(key)
        self._key = key
        logger.debug("%s: no locks here; other processes are not kept from it", self._path)
        return True

    def _is_in_place(self) -> bool:
        """Whether the file that was locked still is the one that everybody opens."""
        found = look(self._path)
        return found is not None and os.path.samestat(found, self._opened)

    def release(self) -> None:
        """Delete the file and let the next one have the name.  Does nothing if it was done before."""
        if self._fd < 0:
            return
        try:
            if self._is_in_place():
                if sys.platform == "win32":
                    # No open file can be deleted there; who opens it in between keeps it, and it stays.
                    self._close()
                self._path.unlink()
        except OSError as exc:
            logger.warning("%s could not be deleted (%s); it does no harm", self._path, exc.strerror)
        finally:
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
        if self._key is not None:
            with _held_here_lock:
                _held_here.discard(self._key)
            self._key = None

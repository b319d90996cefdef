"""Which names appeared in a directory, also for a moment only: what Linux tells by inotify.

Rules that hold here:

- on a system without inotify it is the names that are there when somebody asks;
- nothing is missed from the beginning of the block on.

Source:
    inotify(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, final

__all__ = ["Names", "watched_names"]

_CREATED: Final = 0x100
_MOVED_TO: Final = 0x80
_OVERFLOW: Final = 0x4000
# Watch descriptor, mask, cookie, length of the name.
_EVENT: Final = struct.Struct("iIII")


@final
class Names:
    """What appeared; made by :func:`watched_names`."""

    def __init__(self, directory: Path, descriptor: int | None) -> None:
        self._directory = directory
        self._descriptor = descriptor
        self._seen: set[str] = set()

    def seen(self) -> set[str]:
        """Return every name that was there at some time since the block began."""
        self._seen.update(each.name for each in self._directory.iterdir())
        if self._descriptor is not None:
            with suppress(BlockingIOError):
                while data := os.read(self._descriptor, 65_536):
                    self._note(data)
        return set(self._seen)

    def _note(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, at)
            assert not mask & _OVERFLOW, "more has happened than the kernel could tell"
            at += _EVENT.size + length
            self._seen.add(os.fsdecode(data[at - length : at].rstrip(b"\0")))


@contextmanager
def watched_names(directory: Path) -> Generator[Names]:
    """Watch *directory* until the block ends."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if not hasattr(libc, "inotify_init1"):
        yield Names(directory, None)
        return
    assert libc is not None
    descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0 or libc.inotify_add_watch(descriptor, os.fsencode(directory), _CREATED | _MOVED_TO) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(directory))
    try:
        yield Names(directory, descriptor)
    finally:
        os.close(descriptor)

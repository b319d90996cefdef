"""``NAME.part.json`` on disk: made before the part, right at every instant, gone with it.

Rules that hold here:

- after every single call of the system there is a right record on disk, if need be without its end: lines are written
  behind what is right, and a torn one is written over;
- what it says of bytes that are about to be thrown away is taken back before they are;
- where another header is to stand before ranges, or their list has become long, the whole is replaced by
  ``NAME.part.tmp``, which takes a fourth descriptor for that moment;
- several threads may record their ranges; whoever owns this sees to it that they take turns.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, final

from ...._errors import TargetExistsError
from ...disk._storage import (
    EXISTING,
    NEW,
    Places,
    closing,
    is_plain,
    look,
    read_at,
    storage_errors,
    sync,
    sync_directory,
    write_at,
)
from ..rules._record import Header, Record, encode_header, encode_span, seed_of, seems_ours
from ..rules._spans import Spans

__all__ = ["RecordFile", "remove_stale"]

# How long the list of ranges may become before those that touch are put together.  Two thousand of them: half a
# gigabyte, if a hop writes 256 KiB.
_MOST_LISTED_BYTES: Final = 64 * 1024

# Enough to tell a record of ours.
_LOOKED_AT_BYTES: Final = 64


@final
class RecordFile:
    """An open record.  Made by :meth:`create`, or by :meth:`adopt` of one that was there.

    Attributes:
        header: the one in force.
        is_synced: it is to survive a loss of power, so that what is taken back, or replaced, is waited for.
    """

    def __init__(self, places: Places, fd: int, header: Header, *, is_synced: bool) -> None:
        self.header = header
        self.is_synced = is_synced
        self._places = places
        self._fd = fd
        self._identity = os.fstat(fd)
        self._seed = 0
        self._header_bytes = 0
        self._size = 0

    @classmethod
    def create(cls, places: Places, header: Header, *, is_synced: bool) -> RecordFile:
        """Make the file, with *header* in it; one that was left without a part is deleted first.

        Raises:
            TargetExistsError: something else is there.
            StorageError: it cannot be made.
        """
        with storage_errors(places.record), contextlib.ExitStack() as otherwise:
            fd = _open_new(places.record)
            otherwise.callback(places.record.unlink)
            otherwise.callback(os.close, fd)
            record = cls(places, fd, header, is_synced=is_synced)
            record._append_header(header)
            otherwise.pop_all()
        return record

    @classmethod
    def adopt(cls, places: Places, fd: int, record: Record, *, is_synced: bool) -> RecordFile:
        """Go on with the file *fd*, which holds *record*; what is not right at its end is cut off."""
        with storage_errors(places.record):
            adopted = cls(places, fd, record.header, is_synced=is_synced)
            # Or lines behind the torn one, of ranges that were not believed, could become right again.
            os.ftruncate(fd, record.size_bytes)
        adopted._seed = record.seed
        adopted._header_bytes = record.header_bytes
        adopted._size = record.size_bytes
        return adopted

    def start_over(self, header: Header) -> None:
        """Take back every range, and note *header* if it is another one."""
        with storage_errors(self._places.record):
            if self._size == self._header_bytes and header == self.header:
                return
            if self._size > self._header_bytes:
                os.ftruncate(self._fd, self._header_bytes)
                self._size = self._header_bytes
            if header != self.header:
                # After very many beginnings there would be more headers than are ever read.
                if self._header_bytes > _MOST_LISTED_BYTES:
                    self._replace(header, Spans())
                else:
                    self._append_header(header)
            if self.is_synced:
                sync(self._fd)

    def go_on(self, header: Header, held: Spans) -> None:
        """Note another *header* for the ranges that are there, which are *held*."""
        with storage_errors(self._places.record):
            self._replace(header, held)

    def add(self, start: int, stop: int, held: Spans) -> None:
        """Note that the bytes from *start* to *stop* are there, which makes *held* in all."""
        with storage_errors(self._places.record):
            if self._size - self._header_bytes > _MOST_LISTED_BYTES:
                self._replace(self.header, held)
            else:
                self._append(encode_span(start, stop, self._seed))

    def sync(self) -> None:
        """Wait until it is on the disk."""
        with storage_errors(self._places.record):
            sync(self._fd)

    def close(self) -> None:
        """Close the file and leave it there.  Does nothing the second time."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def remove(self) -> None:
        """Close the file and delete it, unless another one has its name by now.  Raises ``OSError``."""
        self.close()
        found = look(self._places.record)
        if found is not None and os.path.samestat(found, self._identity):
            self._places.record.unlink()

    def _append_header(self, header: Header) -> None:
        line = encode_header(header)
        self._append(line)
        self.header = header
        self._seed = seed_of(line)
        self._header_bytes = self._size

    def _append(self, line: bytes) -> None:
        write_at(self._fd, line, self._size)
        self._size += len(line)

    def _replace(self, header: Header, held: Spans) -> None:
        line = encode_header(header)
        seed = seed_of(line)
        whole = line + b"".join(encode_span(start, stop, seed) for start, stop in held)
        spare = self._places.spare
        with contextlib.ExitStack() as otherwise:
            fd = _open_new(spare)
            otherwise.callback(spare.unlink)
            with closing(fd):
                write_at(fd, whole, 0)
                identity = os.fstat(fd)
                if self.is_synced:
                    sync(fd)
            # Windows replaces no open file.
            self.close()
            spare.replace(self._places.record)
            otherwise.pop_all()
        self.header = header
        self._identity = identity
        self._seed = seed
        self._header_bytes = len(line)
        self._size = len(whole)
        self._fd = os.open(self._places.record, os.O_RDWR | EXISTING)
        if self.is_synced:
            sync_directory(spare.parent)


def remove_stale(path: Path) -> None:
    """Delete *path* if it is a record, or was to become one.

    Raises:
        TargetExistsError: something else is there.
    """
    found = look(path)
    if found is None:
        return
    if is_plain(found):
        fd = os.open(path, os.O_RDONLY | EXISTING)
        with closing(fd):
            head = read_at(fd, _LOOKED_AT_BYTES, 0)
        if seems_ours(head):
            path.unlink()
            return
    raise TargetExistsError(
        path=str(path),
        problem="it is there, and nothing that a download has left",
        advice="remove it, or pass another filename=",
    )


def _open_new(path: Path) -> int:
    try:
        return os.open(path, NEW, 0o600)
    except FileExistsError:
        remove_stale(path)
        return os.open(path, NEW, 0o600)

"""What an earlier run has left of a download: ``NAME.part``, with ``NAME.part.json`` to say what it is.

Rules that hold here:

- a part counts only together with a record that says what is in it; both are regular files with one name each, of the
  user who runs this;
- what does not count is never written to, and the message says why it does not;
- looking changes nothing, so that it may be done without the lock.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, final

from ...._errors import TargetExistsError, TransferError
from ...disk._storage import EXISTING, Places, closing, look, read_at, storage_errors
from ..rules._record import MOST_BYTES, Record, decode
from ..rules._spans import Spans
from ..rules._version import Version

__all__ = ["Kept", "Opened", "open_kept", "peek", "read_record"]

_ADVICE: Final = "delete it if no download needs it, or pass another filename="


class Kept(NamedTuple):
    """What a download could go on from.

    Attributes:
        source: the URL that its user gave, without user info and fragment.
        checksum: the digest that the user asked for, as ``"sha256:00ab…"``, or None.
        version: what the bytes are of.
        held: which bytes there are; never none.
    """

    source: str
    checksum: str | None
    version: Version
    held: Spans


@final
@dataclass(frozen=True, slots=True)
class Opened:
    """A part and its record, open for reading and writing, or for reading only."""

    part_fd: int
    part_bytes: int
    record_fd: int
    record: Record

    def close(self) -> None:
        """Close both."""
        for fd in (self.part_fd, self.record_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def peek(directory: Path, name: str) -> Kept | None:
    """Return what there is to go on from for *name* in *directory*; None also if it cannot be read.

    One hop's worth of work, without the lock: what is found may be gone, or of another, when the name is taken.
    """
    owner = os.geteuid() if hasattr(os, "geteuid") else None
    try:
        opened = open_kept(Places.of(directory / name), owner, flags=os.O_RDONLY)
    except (TransferError, OSError, UnicodeError):
        return None
    opened.close()
    record = opened.record
    if not record.held or not record.header.is_provable:
        return None
    return Kept(record.header.source, record.header.checksum, record.header.version, record.held)


def open_kept(places: Places, owner: int | None, *, flags: int = os.O_RDWR) -> Opened:
    """Open a part that is there, and its record.

    Args:
        places: where they are.
        owner: the number of the user whose they have to be, or None where there are no users.
        flags: how they are opened.

    Raises:
        TargetExistsError: there is no right record, or one of the two is not what it has to be.
        StorageError: one of them cannot be opened or read.
    """
    with contextlib.ExitStack() as otherwise:
        part_fd, part = _open_plain(places.part, places, owner, flags)
        otherwise.callback(os.close, part_fd)
        record_fd, _ = _open_plain(places.record, places, owner, flags)
        otherwise.callback(os.close, record_fd)
        record = _read(record_fd, places)
        if record is None:
            raise _refusal(places, "it is there, and its record is damaged")
        if part.st_size < record.held.end:
            raise _refusal(places, f"it has {part.st_size} bytes, where its record says {record.held.end}")
        otherwise.pop_all()
    return Opened(part_fd, part.st_size, record_fd, record)


def read_record(places: Places, owner: int | None) -> Record | None:
    """Return what the record says, or None if there is no right one."""
    try:
        fd, _ = _open_plain(places.record, places, owner, os.O_RDONLY)
    except TransferError:
        return None
    with closing(fd):
        return _read(fd, places)


def _read(fd: int, places: Places) -> Record | None:
    with storage_errors(places.record):
        raw = read_at(fd, MOST_BYTES + 1, 0)
    return decode(raw) if len(raw) <= MOST_BYTES else None


def _open_plain(path: Path, places: Places, owner: int | None, flags: int) -> tuple[int, os.stat_result]:
    with storage_errors(path), contextlib.ExitStack() as otherwise:
        problem = _problem(look(path), owner)
        if problem is not None:
            what = "it is there, and it" if path == places.part else "it is there, and its record"
            raise _refusal(places, f"{what} {problem}")
        fd = os.open(path, flags | EXISTING)
        otherwise.callback(os.close, fd)
        opened = os.fstat(fd)
        # Again, of what was opened: the name may have changed hands in between.
        problem = _problem(opened, owner)
        if problem is not None:
            raise _refusal(places, f"it is there, and was replaced meanwhile: what is there now {problem}")
        otherwise.pop_all()
    return fd, opened


def _problem(found: os.stat_result | None, owner: int | None) -> str | None:
    if found is None:
        return "is missing"
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file"
    if found.st_nlink != 1:
        return f"has {found.st_nlink} names"
    if owner is not None and found.st_uid != owner:
        return "belongs to another user"
    return None


def _refusal(places: Places, problem: str) -> TargetExistsError:
    return TargetExistsError(path=str(places.part), problem=problem, advice=_ADVICE)

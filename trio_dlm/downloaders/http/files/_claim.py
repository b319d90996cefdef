"""How a download takes its name: the lock first, then a look at what is there, and then a part, new or kept.

Rules that hold here:

- a name that is taken is refused, numbered, replaced or used as it is, as the user asked;
- a part of the same source, or one that the user's digest will prove, is gone on from; a part of another source goes
  away only with ``overwrite=True``; a part without a right record is never touched;
- a part that has the final name already was published by a run that ended before it could say so;
- the record is made before the part, so that no part is ever without one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from ...._errors import TargetExistsError, TransferError
from ...._options import Checksum, Durability, Overwrite
from ...._urls import redact_url
from ...disk._lock import NameLock
from ...disk._publish import all_taken, candidates
from ...disk._storage import NEW, Places, check_room, look, make_directory, refuse_special, storage_errors
from ..rules._record import Header
from ..rules._spans import Spans
from ._kept import Opened, open_kept, read_record
from ._part import Part
from ._record_file import RecordFile, remove_stale

__all__ = ["Existing", "Wanted", "claim"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a download wants a name for.

    Attributes:
        directory: absolute.
        name: a plain name, made safe.
        overwrite: what to do about a name that is taken.
        checksum: what the file must have.
        resume: go on from what is there, and keep what is not complete.
        durability: what the part and its record are to survive.
        source: the user's URL, without user info and fragment.
        url: the same for messages, without secrets.
        size_bytes: how long the file will be, or None if that is not known.
    """

    directory: Path
    name: str
    overwrite: Overwrite
    checksum: Checksum | None
    resume: bool
    durability: Durability
    source: str
    url: str
    size_bytes: int | None

    @property
    def header(self) -> Header:
        """What the record of a new part says."""
        return Header(self.source, None if self.checksum is None else str(self.checksum))


@final
@dataclass(frozen=True, slots=True)
class Existing:
    """A file that has the final name.

    Attributes:
        path: where it is.
        checksum: what it is to be checked against, or None.
    """

    path: Path
    checksum: Checksum | None


def claim(wanted: Wanted) -> Part | Existing:
    """Take the name, and return a part that is locked, or the file that may be what is wanted.

    Raises:
        TargetExistsError: the name or its part is taken.
        StorageError: the directory cannot be made or written to, or has no room.
    """
    make_directory(wanted.directory)
    for path in candidates(wanted.directory / wanted.name, wanted.name, wanted.overwrite):
        try:
            with storage_errors(path):
                return _claim_path(path, wanted)
        except TargetExistsError:
            if wanted.overwrite != "unique":
                raise
    raise all_taken(wanted.directory / wanted.name)


def _claim_path(path: Path, wanted: Wanted) -> Part | Existing:
    places = Places.of(path)
    # Before anything is made, so that a file that is there can be used in a directory that may not be written to.
    if _is_taken(places, wanted) and not _is_linked(places):
        _sweep(places)
        return _existing(path, wanted)
    lock = NameLock.take(places.lock)
    if lock is None:
        raise TargetExistsError(
            path=str(places.part),
            problem="another download, of this program or another, is writing it",
            advice="wait for that one, or pass another filename=",
        )
    with contextlib.ExitStack() as otherwise:
        otherwise.callback(lock.release)
        if _is_linked(places) and _finish(places, lock, wanted):
            return Existing(path, wanted.checksum)
        # Who had the lock before may have published meanwhile.
        if _is_taken(places, wanted):
            return _existing(path, wanted)
        part = _part(places, lock, wanted)
        otherwise.pop_all()
    with contextlib.ExitStack() as otherwise:
        otherwise.callback(part.leave)
        if wanted.size_bytes is not None:
            check_room(wanted.directory, wanted.size_bytes - part.held.size)
        otherwise.pop_all()
    return part


def _is_taken(places: Places, wanted: Wanted) -> bool:
    if wanted.overwrite is True:
        refuse_special(places.final)
        return False
    return look(places.final) is not None


def _sweep(places: Places) -> None:
    """Take away what a run left beside its file that was killed just after it had published it."""
    if look(places.part) is not None or (look(places.record) is None and look(places.lock) is None):
        return
    # Tidying is a favour: where it may not be done, or somebody else is at it, things stay as they are.
    with contextlib.suppress(OSError, TransferError):
        lock = NameLock.take(places.lock)
        if lock is not None:
            try:
                if look(places.part) is None:
                    remove_stale(places.record)
            finally:
                lock.release()


def _existing(path: Path, wanted: Wanted) -> Existing:
    refuse_special(path)
    if wanted.checksum is None or wanted.overwrite == "unique":
        raise TargetExistsError(
            path=str(path),
            problem="the file exists",
            advice='pass overwrite=True to replace it, overwrite="unique" to keep both, or its checksum= to reuse it',
        )
    return Existing(path, wanted.checksum)


def _is_linked(places: Places) -> bool:
    """Whether the part has the final name, too."""
    final = look(places.final)
    if final is None or not stat.S_ISREG(final.st_mode) or final.st_nlink == 1:
        return False
    part = look(places.part)
    return part is not None and os.path.samestat(final, part)


def _finish(places: Places, lock: NameLock, wanted: Wanted) -> bool:
    """Take away what an earlier run left beside a file that it had published; return whether that is what is wanted."""
    record = read_record(places, lock.owner)
    places.part.unlink()
    with contextlib.suppress(TargetExistsError):
        remove_stale(places.record)
    return record is not None and wanted.resume and _is_same(record.header, wanted)


def _part(places: Places, lock: NameLock, wanted: Wanted) -> Part:
    if look(places.part) is None:
        return _new_part(places, lock, wanted)
    opened = open_kept(places, lock.owner)
    with contextlib.ExitStack() as otherwise:
        otherwise.callback(opened.close)
        header = opened.record.header
        if not _is_same(header, wanted) and wanted.overwrite is not True:
            raise TargetExistsError(
                path=str(places.part),
                problem=f"it is the part of a download of {redact_url(header.source)}, not of {wanted.url}",
                advice="delete it, pass another filename=, or pass overwrite=True to replace it",
            )
        with contextlib.suppress(TargetExistsError):
            remove_stale(places.spare)
        if _can_go_on(opened, wanted):
            part = _kept_part(places, lock, opened, wanted)
            otherwise.pop_all()
            return part
    places.part.unlink()
    places.record.unlink()
    return _new_part(places, lock, wanted)


def _is_same(header: Header, wanted: Wanted) -> bool:
    return header.source == wanted.source or _has_same_checksum(header, wanted)


def _has_same_checksum(header: Header, wanted: Wanted) -> bool:
    return wanted.checksum is not None and header.checksum == str(wanted.checksum)


def _can_go_on(opened: Opened, wanted: Wanted) -> bool:
    record = opened.record
    if not wanted.resume or not record.held or not _is_same(record.header, wanted):
        return False
    # A digest that the user no longer asks for proves nothing any more.
    return _has_same_checksum(record.header, wanted) or replace(record.header, checksum=None).is_provable


def _kept_part(places: Places, lock: NameLock, opened: Opened, wanted: Wanted) -> Part:
    record = opened.record
    if opened.part_bytes > record.held.end:
        # Nobody has recorded what is there, and it may be more than the file will have.
        with storage_errors(places.part):
            os.ftruncate(opened.part_fd, record.held.end)
    is_synced = wanted.durability == "power"
    version = record.header.version
    if record.header.source != wanted.source:
        # The same file by the user's digest; but what the other address knows it by says nothing at this one.
        version = replace(version, validator=None, origin="")
    return Part(
        places,
        wanted.name,
        fd=opened.part_fd,
        lock=lock,
        record=RecordFile.adopt(places, opened.record_fd, record, is_synced=is_synced),
        header=replace(wanted.header, mode=record.header.mode, version=version),
        held=record.held,
        overwrite=wanted.overwrite,
        resume=wanted.resume,
        durability=wanted.durability,
    )


def _new_part(places: Places, lock: NameLock, wanted: Wanted) -> Part:
    with contextlib.ExitStack() as otherwise:
        record = RecordFile.create(places, wanted.header, is_synced=wanted.durability == "power")
        otherwise.callback(record.remove)
        with storage_errors(places.part):
            try:
                fd = os.open(places.part, NEW, 0o666)
            except FileExistsError:
                raise TargetExistsError(
                    path=str(places.part),
                    problem="somebody made it just now",
                    advice="keep other programs away from it, and try again",
                ) from None
            otherwise.callback(places.part.unlink)
            otherwise.callback(os.close, fd)
            # The kernel applies the umask, and a directory's default ACL, when it makes a file; asking for the umask
            # would mean to set it, for the whole process.  So the mode is noted, and kept back until the file is whole.
            mode = stat.S_IMODE(os.fstat(fd).st_mode)
            if hasattr(os, "fchmod"):
                os.fchmod(fd, 0o600)
            part = Part(
                places,
                wanted.name,
                fd=fd,
                lock=lock,
                record=record,
                header=replace(wanted.header, mode=mode),
                held=Spans(),
                overwrite=wanted.overwrite,
                resume=wanted.resume,
                durability=wanted.durability,
            )
        otherwise.pop_all()
    return part

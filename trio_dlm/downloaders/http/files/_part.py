"""``NAME.part`` while it is open: its bytes, and what is recorded of them.

Rules that hold here:

- plain blocking calls, each meant for one hop to a worker thread and bounded by what it is handed;
- a range is recorded after it was written, in the same hop; with ``durability="power"`` after it was waited for, too;
- bytes of one version are taken back in the record before those of another are written over them;
- several threads may write at once, each its own range; begin, go on, publish and leave are for one alone;
- what was not published is kept if somebody can go on from it, and else deleted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from ...._context import logger
from ...._errors import StorageError
from ...._options import Durability, Overwrite
from ...disk._lock import NameLock
from ...disk._publish import give_name
from ...disk._storage import Places, look, storage_errors, sync, sync_directory, write_at
from ..rules._record import Header
from ..rules._spans import Spans
from ..rules._version import Version
from ..transport._buffers import thread_buffer
from ..transport._problems import WireError
from ._hashing import PrefixHashes, algorithms_of
from ._record_file import RecordFile

__all__ = ["Part", "Pulled"]

# With durability="power": what is lost at most, counted in bytes and in seconds of writing.
_SYNC_EVERY_BYTES: Final = 8 * 1024 * 1024
_SYNC_EVERY_S: Final = 1.0

# A mode that was read from disk gives nobody more than it could have been given when the file was made.
_MODE_BITS: Final = 0o666


# After this long a hop lets others have the thread, and its download notice that it is cancelled.
_PULL_S: Final = 0.01


@final
@dataclass(frozen=True, slots=True)
class Pulled:
    """What :meth:`Part.pull` brought.

    Attributes:
        size_bytes: how much was written.
        is_drained: there was nothing more to read for now; otherwise there may be.
        is_over: the other side has ended.
        error: what broke the reading off, or None.
    """

    size_bytes: int
    is_drained: bool = False
    is_over: bool = False
    error: WireError | None = None


@final
class Part:
    """An open part.  Made by :func:`._claim.claim`; ended by :meth:`publish` or :meth:`leave`.

    Attributes:
        path: the final name.
        version: what the bytes are of, or None while there are none.
        held: which bytes there are.
        is_published: the file has its final name.
    """

    def __init__(
        self,
        places: Places,
        name: str,
        *,
        fd: int,
        lock: NameLock,
        record: RecordFile,
        header: Header,
        held: Spans,
        overwrite: Overwrite,
        resume: bool,
        durability: Durability,
    ) -> None:
        self.path = places.final
        self.version = header.version if held else None
        self.held = held
        self.is_published = False
        self._places = places
        self._name = name
        self._fd = fd
        self._identity = opened = os.fstat(fd)
        self._lock = lock
        self._record = record
        self._header = header
        self._overwrite: Overwrite = overwrite
        self._resume = resume
        self._has_power = durability == "power"
        self._hashes = PrefixHashes(self._claimed())
        # What has to be cut off before a byte of another version is written.
        self._end = opened.st_size
        self._must_start_over = False
        self._is_spoiled = False
        # For the record and what is known of it.
        self._turn = threading.Lock()
        self._recorded = held
        self._unsynced = Spans()
        self._synced_at = time.monotonic()
        self._has_synced_names = False

    @property
    def can_resume(self) -> bool:
        """Whether a later run could go on from what is there."""
        return bool(self.held) and self._records and not self._is_spoiled

    @property
    def _records(self) -> bool:
        return self._resume and self._header.is_provable

    def _claimed(self) -> frozenset[str]:
        """Which digests have to be known in any case, or a part that is whole already would be checked for none."""
        checksum = () if self._header.checksum is None else (self._header.checksum,)
        return algorithms_of((*self._header.version.digests, *checksum))

    def begin(self, version: Version, algorithms: Iterable[str]) -> None:
        """Have nothing from now on, and what is written next be of *version*.  Touches no file: the next call does."""
        self._header = replace(self._header, version=version)
        self._hashes = PrefixHashes(self._claimed().union(algorithms))
        self._must_start_over = True
        self.version = version
        self.held = self._recorded = self._unsynced = Spans()

    def go_on(self, version: Version, algorithms: Iterable[str]) -> bool:
        """Know *version* better; return whether :meth:`note` has to be called.  Touches no file."""
        self._header = replace(self._header, version=version)
        self._hashes.require(self._claimed().union(algorithms))
        self.version = version
        return self._knows_more and not self._must_start_over

    def note(self) -> None:
        """Record what is known of the version."""
        with self._turn:
            self._note()

    def write(self, offset: int, chunks: Sequence[bytes]) -> None:
        """Write *chunks* at *offset*, record and hash them."""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        stop = offset + len(data)
        self._prepare(stop)
        if not data:
            return
        with storage_errors(self._places.part):
            self._check_length()
            write_at(self._fd, data, offset)
        self._hashes.take(data, offset)
        self._keep_written(offset, stop)

    def pull(self, offset: int, most: int, read: Callable[[memoryview], int | None]) -> Pulled:
        """Write at *offset* what *read* gives, record and hash it, until there is nothing more for now.

        It ends after a moment even if there is, so that whoever is cancelled meanwhile does not wait for long.

        Args:
            offset: where the first byte goes.
            most: how many bytes are wanted.
            read: fills a buffer and returns how much that was; None if nothing is there, 0 at the end.
        """
        self._prepare(offset + most)
        buffer, size, error = thread_buffer("pull"), 0, None
        got: int | None = -1
        until = time.perf_counter() + _PULL_S
        try:
            with storage_errors(self._places.part):
                while size < most and time.perf_counter() < until:
                    got = read(buffer[: most - size])
                    if not got:
                        break
                    self._check_length(offset + size if size else 0)
                    write_at(self._fd, buffer[:got], offset + size)
                    self._hashes.take(buffer[:got], offset + size)
                    size += got
        except WireError as exc:
            error = exc
        finally:
            # Also if the disk refuses the next byte.
            if size:
                self._keep_written(offset, offset + size)
        return Pulled(size, is_drained=got is None and error is None, is_over=got == 0, error=error)

    def _prepare(self, stop: int) -> None:
        with self._turn:
            self._start_over_if_due()
            if self._knows_more:
                # A part that was of another source becomes ours before there are bytes of ours in it.
                self._note()
            self._end = max(self._end, stop)

    def _check_length(self, written: int = 0) -> None:
        """Refuse a part that somebody has cut short: less is there than is held, or than was *written* since."""
        # Asked first: another thread may write behind the end between the two.
        held_end = max(self.held.end, written)
        if os.fstat(self._fd).st_size < held_end:
            # Written at an offset, it would become as long as before, with zeros in it.
            raise self._changed()

    def _keep_written(self, offset: int, stop: int) -> None:
        with self._turn:
            if self._records and not self._has_power:
                recorded = self._recorded.add(offset, stop)
                self._record.add(offset, stop, recorded)
                self._recorded = recorded
            self.held = self.held.add(offset, stop)
            if self._records and self._has_power:
                self._unsynced = self._unsynced.add(offset, stop)
                is_late = time.monotonic() - self._synced_at >= _SYNC_EVERY_S
                if is_late or self._unsynced.size >= _SYNC_EVERY_BYTES:
                    self._record_unsynced()

    def forget(self) -> None:
        """Throw away what is there, in the record first."""
        with self._turn:
            self._hashes = PrefixHashes(self._claimed())
            self.version = None
            self.held = self._recorded = self._unsynced = Spans()
            self._must_start_over = False
            self._start_over(self._record.header)

    def hash_some(self) -> None:
        """Hash a bounded part of what was not hashed while it was written.

        Raises:
            StorageError: the part is shorter than it was.
        """
        with storage_errors(self._places.part):
            if not self._hashes.read_some(self._fd, self.held.end):
                raise self._changed()

    def digests(self) -> dict[str, bytes] | None:
        """Return the digests of all that is there, by algorithm, or None if :meth:`hash_some` has to be called."""
        if not self.held.covers(0, self.held.end):
            raise AssertionError(f"the digest of a file with gaps was asked for: {self.held}")
        return dict(self._hashes.digests()) if self._hashes.reached(self.held.end) else None

    def publish(self, total: int) -> None:
        """Give the file its name, and take away what stands beside it."""
        if not self.held.covers(0, total):
            raise AssertionError(f"a file of {total} bytes was to be published with only {self.held} of it")
        if self._end:
            with self._turn:
                self._start_over_if_due()
        with storage_errors(self._places.part):
            self._verify(total)
            # Kept back until now; see claim().
            if self._header.mode is not None and hasattr(os, "fchmod"):
                os.fchmod(self._fd, self._header.mode & _MODE_BITS)
            self._close_for_good(wait=self._has_power)
        self.path = give_name(self._places, self._name, self._overwrite)
        self.is_published = True
        if self._has_power:
            self._sync_names()
        self._remove_record()
        self._lock.release()

    def _verify(self, total: int) -> None:
        """Look whether the part is what was written, and nothing else."""
        if os.fstat(self._fd).st_size != total or not self._is_in_place():
            raise self._changed()

    def leave(self) -> None:
        """Close everything.  Keep the part if a later run can go on from it; else delete it, with its record.

        A failure is logged: nobody can mend it.
        """
        try:
            if self._unsynced and self.can_resume:
                self._record_at_last()
            if self._recorded and self.can_resume:
                self._keep()
            if not self._recorded or not self.can_resume:
                self._discard()
        finally:
            self._close_quietly()
            self._record.close()
            self._lock.release()

    def _start_over_if_due(self) -> None:
        if self._must_start_over:
            # What nobody can go on from needs no more than the record of whose it is, which there is.
            self._start_over(self._header if self._records else self._record.header)
            self._must_start_over = False

    @property
    def _knows_more(self) -> bool:
        return self._records and self._header != self._record.header

    def _note(self) -> None:
        if self._has_power:
            self._sync_part()
        self._record.go_on(self._header, self.held)
        self._recorded = self.held
        self._unsynced = Spans()

    def _start_over(self, header: Header) -> None:
        self._record.start_over(header)
        if self._end:
            with storage_errors(self._places.part):
                os.ftruncate(self._fd, 0)
            self._end = 0

    def _record_unsynced(self) -> None:
        self._sync_part()
        for start, stop in self._unsynced:
            recorded = self._recorded.add(start, stop)
            self._record.add(start, stop, recorded)
            self._recorded = recorded
        self._record.sync()
        if not self._has_synced_names:
            self._sync_names()
        self._unsynced = Spans()
        self._synced_at = time.monotonic()

    def _record_at_last(self) -> None:
        try:
            self._record_unsynced()
        except StorageError as exc:
            logger.warning("%s; the last of what was fetched is not kept", exc)

    def _sync_part(self) -> None:
        # A part that is closed was waited for before.
        if self._fd >= 0:
            with storage_errors(self._places.part):
                sync(self._fd)

    def _sync_names(self) -> None:
        directory = self._places.final.parent
        try:
            sync_directory(directory)
        except OSError as exc:
            logger.warning("%s: what is in it may not survive a loss of power (%s)", directory, exc.strerror)
        self._has_synced_names = True

    def _keep(self) -> None:
        try:
            self._close_for_good()
        except OSError as exc:
            logger.warning("%s could not be closed (%s), and is not kept", self._places.part, exc.strerror)

    def _close_for_good(self, *, wait: bool = False) -> None:
        """Close the part while it is known that all of it was written.

        Before the name is given, since Windows renames no open file, and a network file system may refuse the data only
        now: what was recorded of them is worth nothing then.
        """
        fd, self._fd = self._fd, -1
        self._is_spoiled = True
        try:
            if wait and fd >= 0:
                os.fsync(fd)
        finally:
            if fd >= 0:
                os.close(fd)
        self._is_spoiled = False

    def _is_in_place(self) -> bool:
        found = look(self._places.part)
        return found is not None and os.path.samestat(found, self._identity)

    def _changed(self) -> StorageError:
        self._is_spoiled = True
        return StorageError(
            path=str(self._places.part),
            problem="another process changed or replaced it while it was written",
            advice="keep other programs away from it, and try again",
        )

    def _discard(self) -> None:
        try:
            if self._is_in_place():
                self._close_quietly()
                self._places.part.unlink()
        except OSError as exc:
            # The record stays as well, so that the next attempt knows whose part it is and starts over by itself.
            logger.warning("%s could not be deleted (%s); another attempt will", self._places.part, exc.strerror)
        else:
            self._remove_record()

    def _remove_record(self) -> None:
        try:
            self._record.remove()
        except OSError as exc:
            logger.warning("%s could not be deleted (%s); it does no harm", self._places.record, exc.strerror)

    def _close_quietly(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

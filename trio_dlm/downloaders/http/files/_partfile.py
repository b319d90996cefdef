"""The file of a download: ``NAME.part`` while bytes arrive, ``NAME`` once they are whole and verified.

Rules that hold here:

- every call of the file system runs in a worker thread, one bounded hop at a time; a hop is never abandoned, since its
  thread would go on writing after the download has ended;
- the threads are counted by a limiter that is handed in, so that a slow disk starves nobody else;
- a part that was not published is closed at the end, also after cancellation: kept if a later run can go on from it,
  and else deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from ...._errors import TargetExistsError
from ...._options import Checksum, Durability, Overwrite
from ...disk._hops import Hops
from ...disk._storage import READING, check_room, check_writable, open_regular, storage_errors
from ..rules._spans import Spans
from ..rules._version import Version
from ._claim import Existing, Wanted, claim
from ._hashing import PrefixHashes
from ._kept import Kept, peek
from ._part import Part, Pulled

__all__ = ["ExistingFile", "Kept", "PartFile", "look_ahead", "open_target"]

_T = TypeVar("_T")

# A hop that deletes cannot be interrupted, and it waits for nobody: this limit is for what should not happen.
_CLEAN_UP_S: Final = 10.0


@contextlib.asynccontextmanager
async def open_target(
    directory: Path,
    name: str,
    *,
    overwrite: Overwrite,
    checksum: Checksum | None,
    resume: bool,
    durability: Durability,
    source: str,
    url: str,
    size_bytes: int | None,
    limiter: trio.CapacityLimiter,
) -> AsyncGenerator[PartFile | ExistingFile, None]:
    """Take *name* in *directory* for a download: give its part, or the existing file that may be what is wanted.

    The directory is made if it is missing.  One hop to a thread.  If the block is left without :meth:`PartFile.publish`
    having succeeded, the part is closed, and deleted unless ``can_resume``, shielded from cancellation.

    Args:
        directory: absolute.
        name: a plain name, made safe.
        overwrite: False refuses an existing file, unless there is a *checksum* that it can be checked against; True
            will replace it, and replaces at once what is left of the download of another *source*; ``"unique"`` takes
            the next number at which nothing is in the way.
        checksum: what the file must have.
        resume: go on from a part that is there, and keep one that is not complete.
        durability: ``"process"``: what was written survives the end of the process; ``"power"``: that of the machine
            too, but for the last second or 8 MiB.
        source: the URL that the user gave, without user info and fragment: whose part it is.
        url: for messages, without secrets.
        size_bytes: how long it will be, or None if that is not known: then free space is not checked.
        limiter: counts the threads.

    Raises:
        TargetExistsError: the name or its part is taken.
        StorageError: the directory cannot be made or written to, or has no room.
    """
    wanted = Wanted(
        directory=directory,
        name=name,
        overwrite=overwrite,
        checksum=checksum,
        resume=resume,
        durability=durability,
        source=source,
        url=url,
        size_bytes=size_bytes,
    )
    claimed = await trio.to_thread.run_sync(claim, wanted, limiter=limiter)
    if isinstance(claimed, Existing):
        yield ExistingFile(claimed, limiter)
        return
    try:
        yield PartFile(claimed, limiter)
    finally:
        if not claimed.is_published:
            # A limiter of its own, so that it waits for nobody: the hop itself cannot be interrupted.
            with trio.move_on_after(_CLEAN_UP_S, shield=True):  # noqa: ASYNC912  (nothing to wait for without a thread)
                try:
                    await trio.to_thread.run_sync(claimed.leave, limiter=trio.CapacityLimiter(1))
                except RuntimeError:
                    # No thread could be started, for want of memory say.
                    claimed.leave()


async def look_ahead(directory: Path, name: str | None, *, must_write: bool = False, hops: Hops) -> Kept | None:
    """Return what there is to go on from for *name* in *directory*.

    A look without the lock, to guess what to ask for before the name is taken: :func:`open_target` decides.
    One hop to a thread; nothing is made or changed.

    Args:
        directory: absolute; it may be missing.
        name: of the file, or None if nobody can guess it.
        must_write: refuse a directory in which no file can be made.
        hops: runs it.

    Returns:
        What an earlier run has left, or None if there is nothing, it cannot be read, or *name* is None.

    Raises:
        StorageError: no file can be made there.
    """
    return await hops.run(partial(_look_ahead, directory, name, must_write=must_write))


def _look_ahead(directory: Path, name: str | None, *, must_write: bool) -> Kept | None:
    if must_write:
        check_writable(directory)
    return None if name is None else peek(directory, name)


@final
class ExistingFile:
    """A file that has the wanted name already.  Given by :func:`open_target`.

    Attributes:
        path: where it is.
        checksum: what :meth:`verify` compares it with; None if an earlier run of this download has published it and
            the user asks for no digest.
    """

    def __init__(self, existing: Existing, limiter: trio.CapacityLimiter) -> None:
        self.path = existing.path
        self.checksum = existing.checksum
        self._limiter = limiter

    async def verify(self) -> int:
        """Hash the file, in hops between which a cancellation is noticed, and return how many bytes it has.

        Raises:
            TargetExistsError: it has another digest.
            StorageError: it cannot be read.
        """
        fd, size_bytes = await self._hop(partial(open_regular, self.path))
        try:
            if self.checksum is not None:
                await self._check(fd, size_bytes, self.checksum)
        finally:
            os.close(fd)
        return size_bytes

    async def _check(self, fd: int, size_bytes: int, checksum: Checksum) -> None:
        hashes = PrefixHashes([checksum.algorithm])
        while not hashes.reached(size_bytes) and await self._hop(partial(self._hash_some, hashes, fd, size_bytes)):
            pass
        got = hashes.digests()[checksum.algorithm].hex()
        if got != checksum.hex_digest:
            raise TargetExistsError(
                path=str(self.path),
                problem=f"the file exists, and its {checksum.algorithm} is {got}, expected {checksum.hex_digest}",
                advice='pass overwrite=True to replace it, or overwrite="unique" to keep both',
            )

    def _hash_some(self, hashes: PrefixHashes, fd: int, size_bytes: int) -> bool:
        with storage_errors(self.path, READING):
            return hashes.read_some(fd, size_bytes)

    async def _hop(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)


@final
class PartFile:
    """A ``NAME.part`` of our own.  Given by :func:`open_target`, which closes it.

    Several tasks may :meth:`write` at once, each its own range; everything else is called while nobody writes.  Every
    call is one hop unless it says otherwise, and a cancellation waits for the hop.
    """

    def __init__(self, part: Part, limiter: trio.CapacityLimiter) -> None:
        self._part = part
        self._limiter = limiter

    @property
    def path(self) -> Path:
        """The final name.  With ``overwrite="unique"`` :meth:`publish` may have to take another one."""
        return self._part.path

    @property
    def version(self) -> Version | None:
        """What the bytes are of that are there, or None if there are none."""
        return self._part.version

    @property
    def held(self) -> Spans:
        """Which bytes there are: written, and recorded unless ``durability="power"`` has not waited for them yet."""
        return self._part.held

    @property
    def can_resume(self) -> bool:
        """Whether a later run could go on from what is there, so that it is kept if the block is left now."""
        return self._part.can_resume

    async def begin(self, version: Version, algorithms: Iterable[str]) -> None:
        """Start from zero with bytes of *version*; what is there is thrown away by the next hop.

        A checkpoint, and no hop.

        Args:
            version: what the bytes will be of.
            algorithms: of the digests that will be asked for, named as ``hashlib`` does.  Those of *version* and of the
                user's digest need not be named.
        """
        await trio.lowlevel.checkpoint()
        self._part.begin(version, algorithms)

    async def go_on(self, version: Version, algorithms: Iterable[str]) -> None:
        """Go on with the same version, of which more may be known by now.  A hop only if there is more to record.

        Raises:
            StorageError: the disk refused.
        """
        await trio.lowlevel.checkpoint()
        if self._part.go_on(version, algorithms):
            await self._hop(self._part.note)

    async def check_room(self, size_bytes: int) -> None:
        """Refuse a file of *size_bytes* for which there is no room, counting what is there already.

        Raises:
            StorageError: no room.
        """
        await self._hop(partial(check_room, self._part.path.parent, size_bytes - self._part.held.size))

    async def write(self, offset: int, chunks: Sequence[bytes]) -> None:
        """Write *chunks* at *offset*, one after the other, and record and hash them.

        Raises:
            StorageError: the disk refused.
        """
        await self._hop(partial(self._part.write, offset, chunks))

    async def pull(self, offset: int, most: int, read: Callable[[memoryview], int | None]) -> Pulled:
        """Write at *offset* up to *most* bytes of what *read* gives in the thread, and record and hash them.

        Raises:
            StorageError: the disk refused.
        """
        return await self._hop(partial(self._part.pull, offset, most, read))

    async def digests(self) -> Mapping[str, bytes]:
        """Return the digests of the file, which has no gaps by now, for every algorithm that was named or is claimed.

        Claimed are the user's digest and those of the version, also of one that an earlier run has fetched.

        What was hashed while it was written is known at once; the rest is read back, in hops between which a
        cancellation is noticed.

        Raises:
            StorageError: it cannot be read, or somebody else has cut it short.
        """
        await trio.lowlevel.checkpoint()
        while (digests := self._part.digests()) is None:
            await self._hop(self._part.hash_some)
        return digests

    async def forget(self) -> None:
        """Throw away what is there, so that no later attempt goes on from it.

        Raises:
            StorageError: the disk refused.
        """
        await self._hop(self._part.forget)

    async def publish(self, total: int) -> Path:
        """Give the file, which has *total* bytes, its final name, and take away what stands beside it.

        Where there are no hard links, looking and renaming are two steps: a file that somebody else makes between them
        would be replaced.

        Returns:
            Where the file is.

        Raises:
            TargetExistsError: the name was taken meanwhile.
            StorageError: the disk refused, or somebody else changed the part.
        """
        await self._hop(partial(self._part.publish, total))
        return self._part.path

    async def _hop(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)

"""The file of a download: ``NAME.part`` while bytes arrive, ``NAME`` once they are whole and verified.

Rules that hold here:

- every call of the file system runs in a worker thread, one bounded hop at a time and never two for one file; a hop is
  never abandoned, since its thread would go on writing after the download has ended;
- the threads are counted by a limiter that is handed in, so that a slow disk starves nobody else;
- a part that was not published is deleted, also after cancellation.

Nothing here can be resumed yet; whoever adds that opens an existing part instead of refusing it, and keeps it at the
end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from ..._errors import TargetExistsError
from ..._options import Checksum, Overwrite
from ._disk import Part, check_room, claim, hash_some, new_hasher, open_regular

__all__ = ["ExistingFile", "PartFile", "open_target"]

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
    size_bytes: int | None,
    url: str,
    limiter: trio.CapacityLimiter,
) -> AsyncGenerator[PartFile | ExistingFile, None]:
    """Take *name* in *directory* for a download: give a new part file, or the existing file that may be what is wanted.

    The directory is made if it is missing.  One hop to a thread.  If the block is left without :meth:`PartFile.publish`
    having succeeded, the part is deleted, shielded from cancellation.

    Args:
        directory: absolute.
        name: a plain name, made safe.
        overwrite: False refuses an existing file, unless there is a *checksum* that it can be checked against; True
            will replace it; ``"unique"`` takes the next number for which neither a file nor a part exists.
        checksum: what the file must have.
        size_bytes: how long it will be, or None if that is not known: then free space is not checked.
        url: for messages, without secrets.
        limiter: counts the threads.

    Raises:
        TargetExistsError: the name or its part is taken.
        StorageError: the directory cannot be made or written to, or has no room.
    """
    hop = partial(claim, directory, name, overwrite, checksum, size_bytes)
    claimed = await trio.to_thread.run_sync(hop, limiter=limiter)
    if not isinstance(claimed, Part):
        assert checksum is not None
        yield ExistingFile(claimed, checksum, limiter)
        return
    try:
        yield PartFile(claimed, url, limiter)
    finally:
        if not claimed.is_published:
            # A limiter of its own, so that it waits for nobody: the hop itself cannot be interrupted.
            with trio.move_on_after(_CLEAN_UP_S, shield=True):  # noqa: ASYNC912  (nothing to wait for without a thread)
                try:
                    await trio.to_thread.run_sync(claimed.discard, limiter=trio.CapacityLimiter(1))
                except RuntimeError:
                    # No thread could be started, for want of memory say.
                    claimed.discard()


@final
class ExistingFile:
    """A file that has the wanted name already.  Given by :func:`open_target`."""

    def __init__(self, path: Path, checksum: Checksum, limiter: trio.CapacityLimiter) -> None:
        self.path = path
        self._checksum = checksum
        self._limiter = limiter

    async def verify(self) -> int:
        """Hash the file, in hops between which a cancellation is noticed, and return how many bytes it has.

        Raises:
            TargetExistsError: it has another digest.
            StorageError: it cannot be read.
        """
        hasher = new_hasher(self._checksum)
        size_bytes = 0
        fd = await self._hop(partial(open_regular, self.path))
        try:
            while count := await self._hop(partial(hash_some, self.path, fd, hasher)):
                size_bytes += count
        finally:
            os.close(fd)
        if hasher.hexdigest() != self._checksum.hex_digest:
            raise TargetExistsError(
                path=str(self.path),
                problem=f"the file exists, and its {self._checksum.algorithm} is {hasher.hexdigest()}, "
                f"expected {self._checksum.hex_digest}",
                advice='pass overwrite=True to replace it, or overwrite="unique" to keep both',
            )
        return size_bytes

    async def _hop(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)


@final
class PartFile:
    """A ``NAME.part`` of our own.  Given by :func:`open_target`, which deletes it if it is not published.

    One call at a time.  Every call is one hop, and a cancellation waits for the hop.
    """

    def __init__(self, part: Part, url: str, limiter: trio.CapacityLimiter) -> None:
        self._part = part
        self._url = url
        self._limiter = limiter

    async def check_room(self, size_bytes: int) -> None:
        """Refuse *size_bytes* for which there is no room, if they were not known when the part was made.

        Raises:
            StorageError: no room.
        """
        await self._hop(partial(check_room, self._part.path.parent, size_bytes))

    async def write(self, chunks: list[bytes]) -> None:
        """Append *chunks*, and hash them.

        Raises:
            StorageError: the disk refused.
        """
        await self._hop(partial(self._part.append, chunks))

    async def publish(self, chunks: list[bytes]) -> tuple[Path, int]:
        """Append the last *chunks*, verify, and give the file its final name.

        Where there are no hard links, and no rename that replaces nothing, looking and renaming are two steps: a file
        that somebody else makes between them would be replaced.

        Returns:
            Where the file is, and how many bytes it has.

        Raises:
            ChecksumMismatchError: it has another digest.
            TargetExistsError: the name was taken meanwhile.
            StorageError: the disk refused, or somebody else changed the part.
        """
        await self._hop(partial(self._part.publish, chunks, self._url))
        return self._part.path, self._part.size_bytes

    async def _hop(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(function, limiter=self._limiter)

"""Where the file of one run goes, and what of it lies there already.

Rules that hold here:

- a name that is known before the first request is taken before it; otherwise it is taken with the first reply;
- what lies there is gone on from only with a source that is known to have the very version, or with a digest of the
  user's that will tell;
- before the name is taken, a look at what it will probably be may decide what to ask for, and nothing else.

Source:
    RFC 9110 section 13.1.5.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Final, final

import trio

from ..disk._names import safe_name
from ._asker import Source
from ._errand import Errand
from .files._partfile import ExistingFile, PartFile, look_ahead, open_target
from .rules._believing import Delivery, is_same_file
from .rules._digests import Digest, algorithms
from .rules._naming import filename_from_url
from .rules._spans import Spans
from .rules._version import Version

__all__ = ["DECODED", "Target"]

# Dropping what is wrong takes milliseconds; this limit is for a disk that hangs.
_FORGET_S: Final = 10.0

# The coding of what is written when a body had to be decoded: nothing can be joined to it.
DECODED: Final = "decoded"


@final
@dataclass(frozen=True, slots=True)
class _Guess:
    """What lies where the file will probably go."""

    name: str
    version: Version | None
    held: Spans


@final
class Target:
    """The place of one file.

    Args:
        errand: the run.
        stack: keeps the part open until the run ends.

    Attributes:
        name: what the file is called, or None before that is known.
        existing: a file that has the name already and may be what is wanted, or None.
    """

    def __init__(self, errand: Errand, stack: contextlib.AsyncExitStack) -> None:
        self.name = errand.options.filename
        self.existing: ExistingFile | None = None
        self._errand = errand
        self._stack = stack
        self._part: PartFile | None = None
        self._guess: _Guess | None = None

    @property
    def part(self) -> PartFile:
        """The part file, which is open."""
        assert self._part is not None, "the name is taken first"
        return self._part

    @property
    def is_open(self) -> bool:
        """Whether the name is taken, and the part open."""
        return self._part is not None

    @property
    def is_untouched(self) -> bool:
        """Whether no name is taken, and nothing was found to go on from."""
        return self._part is None and self._guess is None and self.existing is None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes of the file are there."""
        part = self._part
        return part is not None and part.version is not None and part.held.size == part.version.total

    @property
    def proven_bytes(self) -> int:
        """How many bytes are there that another reply could be joined to."""
        if self._part is None or self._part.version is None:
            return 0
        is_provable = self._part.version.validator is not None or self._errand.checksum is not None
        return self._part.held.size if is_provable else 0

    def held_of(self, source: Source) -> tuple[Version, Spans] | None:
        """Return what is there of the version that *source* is known to have, or None if nothing is."""
        kept = self._part if self._part is not None else self._guess
        if kept is None or kept.version is None or not kept.held or source.version is None:
            return None
        if source.version.validator is None and self._errand.checksum is None:
            return None
        return kept.version, kept.held

    def algorithms(self, version: Version) -> frozenset[str]:
        """Return the names of the digests that have to be known in the end."""
        wanted = algorithms([Digest.parse(text) for text in version.digests])
        checksum = self._errand.checksum
        return wanted if checksum is None else wanted | {checksum.algorithm}

    async def prepare(self) -> None:
        """Take the name, if it is known; otherwise look at what lies under the one that it will probably be.

        The name that counts comes with the reply; but where it is the same one, asking for what is missing at once
        saves a request, and the bytes that would be on their way in vain.

        Raises:
            TargetExistsError, StorageError: the name cannot be taken.
        """
        if self.name is not None:
            await self._open(self.name, None)
            if self._part is not None:
                self._errand.first.version = self._part.version
            return
        likely = filename_from_url(self._errand.job.url) if self._errand.options.resume else None
        name = safe_name(likely) if likely else None
        # A file that is there already may be all that is wanted, if there is a digest to tell, and that is only read.
        must_write = self._errand.checksum is None
        found = await look_ahead(self._errand.directory, name, must_write=must_write, hops=self._errand.hops)
        first = self._errand.first
        if name is None or found is None or found.source != first.address.url or found.version.coding == DECODED:
            return
        first.version = found.version
        self._guess = _Guess(name, found.version, found.held)
        if found.held.size == found.version.total:
            # Nothing is missing that a reply could bring, its name least of all.
            self._guess = None
            await self._open(name, found.version.total)

    async def take(self, name: str, delivery: Delivery, source: Source) -> bool:
        """Take *name*, and say whether the reply that told it can go there.

        If not, there is either a file already, or another part than the request was made for.

        Raises:
            TargetExistsError, StorageError: the name cannot be taken.
        """
        guess, self._guess = self._guess, None
        await self._open(name, delivery.version.total)
        if self._part is None:
            return False
        if guess is None or guess == _Guess(name, self._part.version, self._part.held):
            return True
        # What was asked for is not what is missing here; a whole file is right wherever it goes.
        source.version = None
        return delivery.is_whole and delivery.is_new

    async def _open(self, name: str, size_bytes: int | None) -> None:
        errand, options = self._errand, self._errand.options
        taken = await self._stack.enter_async_context(
            open_target(
                errand.directory,
                name,
                overwrite=options.overwrite,
                checksum=errand.checksum,
                resume=options.resume,
                durability=options.durability,
                source=errand.first.address.url,
                url=errand.first.address.shown,
                size_bytes=size_bytes,
                limiter=errand.limiter,
            )
        )
        self.name = name
        if isinstance(taken, ExistingFile):
            self.existing = taken
            return
        self._part = taken
        if taken.version is not None and taken.version.coding == DECODED:
            await taken.forget()

    def recognises(self, source: Source, delivery: Delivery) -> bool:
        """Whether what is there is of the version that *source* has just shown for the first time.

        Then what is missing is better asked for than all of it taken; the source is remembered to have it.
        """
        if source.version is not None or not self.part.held or delivery.coding.new_decoder is not None:
            return False
        if not self._is_same(source, delivery.version):
            return False
        source.version = delivery.version
        return True

    def _is_same(self, source: Source, version: Version) -> bool:
        held = self.part.version
        assert held is not None
        is_known = version.validator is not None and version.validator == held.validator
        if source is self._errand.first and is_known and version.origin == held.origin:
            return True
        has_checksum = self._errand.checksum is not None
        if version.validator is None and not has_checksum:
            return False
        is_same = is_same_file(held.digests, version.digests)
        if is_same is None:
            # The user's digest will tell, unless it is plain already that they differ.
            return has_checksum and held.total in (None, version.total)
        return is_same

    async def forget(self) -> None:
        """Drop what is there, so that nothing is ever joined to it.  Cancelling it waits until that is done.

        Raises:
            StorageError: the disk refused.
        """
        for source in self._errand.sources:
            source.version = None
        self._guess = None
        self._errand.job.can_resume = False
        if self._part is not None and self._part.version is not None:
            # However this run ends, no later one may find these bytes and go on from them.
            with trio.move_on_after(_FORGET_S, shield=True):
                await self._part.forget()

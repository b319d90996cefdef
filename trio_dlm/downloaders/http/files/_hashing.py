"""The digests of a file: taken while it is written where that goes from its beginning on, else read back from disk.

Rules that hold here:

- a digest is always of the bytes from 0 on, without a gap: a range that is written further on is read back later;
- one call that reads back is one hop to a thread, and bounded;
- bytes that are written again make what was hashed of them worthless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, final

from ...disk._storage import read_at

__all__ = ["Hasher", "PrefixHashes", "algorithms_of"]

# How much of an existing file is hashed in one hop: some 10 ms, after which a cancellation is noticed.
_HASHED_PER_HOP: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024

# Those whose digests have one length.
_KNOWN: Final = frozenset(name for name in hashlib.algorithms_guaranteed if not name.startswith("shake_"))


class Hasher(Protocol):
    """What ``hashlib`` makes."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """Return the digest of all bytes taken so far."""
        ...


def algorithms_of(claims: Iterable[str]) -> frozenset[str]:
    """Return which algorithms *claims* such as ``"sha256:00ab…"`` need; one that no ``hashlib`` has is left out."""
    return frozenset(claim.partition(":")[0] for claim in claims) & _KNOWN


@final
class PrefixHashes:
    """The digests of the first bytes of one file, for any number of algorithms.

    Writers of different ranges may call :meth:`take` at once, since at most one of them goes on where the hashed bytes
    end.  Nobody writes while :meth:`read_some` runs.
    """

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._prefixes = {algorithm: _Prefix(algorithm) for algorithm in sorted(algorithms)}

    def require(self, algorithms: Iterable[str]) -> None:
        """Compute these; what was hashed for one that was there is kept, and the others are forgotten."""
        self._prefixes = {each: self._prefixes.get(each) or _Prefix(each) for each in sorted(algorithms)}

    def take(self, data: bytes | memoryview, offset: int) -> None:
        """Note that *data* was written at *offset*."""
        for prefix in self._prefixes.values():
            if offset < prefix.size:
                prefix.restart()
            if offset == prefix.size:
                prefix.update(data)

    def reached(self, size_bytes: int) -> bool:
        """Whether the first *size_bytes* are hashed."""
        return all(prefix.size == size_bytes for prefix in self._prefixes.values())

    def read_some(self, fd: int, size_bytes: int) -> bool:
        """Hash more of *fd*, up to *size_bytes* from its beginning; return False if that was the end of the file."""
        budget = _HASHED_PER_HOP
        while budget > 0 and (behind := [each for each in self._prefixes.values() if each.size < size_bytes]):
            at = min(each.size for each in behind)
            # Not beyond where another of them stands, so that both go on together from there.
            to = min((each.size for each in behind if each.size > at), default=size_bytes)
            data = read_at(fd, min(_READ_BYTES, budget, to - at), at)
            if not data:
                return False
            for each in behind:
                if each.size == at:
                    each.update(data)
            budget -= len(data)
        return True

    def digests(self) -> Mapping[str, bytes]:
        """Return the digests of what was hashed, by algorithm."""
        return {algorithm: prefix.hasher.digest() for algorithm, prefix in self._prefixes.items()}


@final
class _Prefix:
    """The first *size* bytes of a file, hashed."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self.restart()

    def restart(self) -> None:
        self.hasher: Hasher = hashlib.new(self._algorithm, usedforsecurity=False)
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        self.hasher.update(data)
        self.size += len(data)

"""Says of a large file where its bytes are from, in time that grows with its size only.

Rules that hold here:

- bytes are looked at in blocks, each for itself and in its own place; one that is of no version there, nor zero
  throughout, is "other bytes";
- it is for the reader of a report: nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

__all__ = ["tell_stretches"]

_BLOCK_BYTES: Final = 4096

# What is left out of a long list says little.
_MOST: Final = 6


def tell_stretches(found: bytes, versions: Sequence[bytes]) -> str:
    """Say what *found* is made of, as in ``8 bytes: 0-3 of version 1, 4-7 of version 2``."""
    size = f"{len(found)} bytes"
    for number, version in enumerate(versions, 1):
        if found == version:
            return f"{size}, the whole of version {number}"
        if found and version.startswith(found):
            return f"{size}, the first of {len(version)} of version {number}"
    if not found:
        return "an empty file"
    told = list(_stretches(found, versions))
    if len(told) > _MOST:
        told[_MOST:] = [f"and {len(told) - _MOST} more stretches"]
    return f"{size}: {', '.join(told)}"


def _stretches(found: bytes, versions: Sequence[bytes]) -> Iterator[str]:
    blocks = ((at, _origin(found, at, versions)) for at in range(0, len(found), _BLOCK_BYTES))
    for origin, group in groupby(blocks, key=lambda each: each[1]):
        places = [at for at, _ in group]
        yield f"{places[0]}-{min(len(found), places[-1] + _BLOCK_BYTES) - 1} {origin}"


def _origin(found: bytes, at: int, versions: Sequence[bytes]) -> str:
    block = found[at : at + _BLOCK_BYTES]
    for number, version in enumerate(versions, 1):
        if version[at : at + _BLOCK_BYTES] == block:
            return f"of version {number}"
    return "other bytes" if any(block) else "zeros"

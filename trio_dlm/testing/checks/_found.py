"""Says of any bytes where they are from: which stretch of which version of a file.

Rules that hold here:

- a stretch that stands where it belongs is preferred to one that was moved, and an earlier version to a later one;
- counting starts at byte 0 and at version 1, and both ends of a stretch are named, as in Content-Range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["count_bytes", "describe_bytes"]

# The fewest bytes that count as a stretch: fewer are alike by chance.
_LEAST: Final = 8

# What is left out of a long list says little.
_MOST_STRETCHES: Final = 8


def describe_bytes(found: bytes | None, versions: Sequence[bytes]) -> str:
    """Say what *found* is made of, in words that fit behind "what was found: ".

    Args:
        found: the content of a file, or None if there is none.
        versions: the contents that it may be from, the first one version 1.
    """
    if found is None:
        return "nothing"
    size = count_bytes(len(found))
    if not found:
        return "an empty file" + ("" if all(versions) else ", which is whole")
    for number, version in enumerate(versions, 1):
        if found == version:
            return f"{size}, the whole of version {number}"
    for number, version in enumerate(versions, 1):
        if version.startswith(found):
            return f"{size}, the first {len(found)} of version {number}"
        if found.startswith(version) and version:
            return f"{size}, the whole of version {number} and {count_bytes(len(found) - len(version))} more"
    told = _stretches(found, versions)
    if len(told) > _MOST_STRETCHES:
        told[_MOST_STRETCHES:] = [f"and {len(told) - _MOST_STRETCHES} more stretches"]
    return f"{size}: {', '.join(told)}"


def _stretches(found: bytes, versions: Sequence[bytes]) -> list[str]:
    told: list[str] = []
    at = unknown = 0
    while at < len(found):
        number, start, count = _best_match(found, at, versions)
        # Few bytes count only between others that are known: those would be alike by chance too, but not in a row.
        follows = at + count == len(found) or _best_match(found, at + count, versions)[2] >= _LEAST
        if count < _LEAST and not (count and unknown == at and follows):
            at += 1
            continue
        if unknown < at:
            told.append(f"{_span(unknown, at - unknown)} of no version")
        place = "" if start == at else f" is {_span(start, count)}"
        told.append(f"{_span(at, count)}{place} of version {number}")
        at = unknown = at + count
    if unknown < at:
        told.append(f"{_span(unknown, at - unknown)} of no version")
    return told


def _best_match(found: bytes, at: int, versions: Sequence[bytes]) -> tuple[int, int, int]:
    """Return the version that goes on as *found* does from *at*, where in it, and for how many bytes."""
    best = (0, 0, 0)
    for number, version in enumerate(versions, 1):
        count = _common(found, at, version, at)
        if count > best[2]:
            best = (number, at, count)
    if best[2] >= _LEAST:
        return best
    for number, version in enumerate(versions, 1):
        start = version.find(found[at : at + _LEAST]) if len(found) - at >= _LEAST else -1
        if start >= 0:
            return number, start, _common(found, at, version, start)
    return best


def _common(one: bytes, i: int, other: bytes, j: int) -> int:
    """Return how many bytes are equal from *i* and *j* on."""
    low, high = 0, max(0, min(len(one) - i, len(other) - j))
    # By halves, since a loop over bytes is a hundred times slower than a comparison of slices.
    while low < high:
        middle = (low + high + 1) // 2
        if one[i + low : i + middle] == other[j + low : j + middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _span(start: int, count: int) -> str:
    return f"{start}-{start + count - 1}" if count > 1 else f"{start}"


def count_bytes(count: int) -> str:
    """Return "1 byte", "2 bytes" and so on."""
    return "1 byte" if count == 1 else f"{count} bytes"

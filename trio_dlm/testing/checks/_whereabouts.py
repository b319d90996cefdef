"""What lies in a directory after an attempt, and what was said, without where that directory is.

Rules that hold here:

- a report is read elsewhere than where it was made: the directory and the address of the origin are taken out of
  what others say.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from ..._options import Checksum
from ._found import count_bytes

__all__ = ["find_false_claim", "find_mistake", "look_around", "look_at", "tell", "tell_error"]

# One line of a terminal that is wide; what a program says at its end is at the end of it.
_LONGEST: Final = 160


def look_around(directory: Path, own: Collection[Path]) -> tuple[str, ...]:
    """Return the names of what is below *directory* and neither is one of *own* nor leads to or lies below one."""
    strange = (
        each
        for each in directory.rglob("*")
        if not any(each == mine or each in mine.parents or mine in each.parents for mine in own)
    )
    return tuple(sorted(each.relative_to(directory).as_posix() for each in strange))


def find_mistake(directory: Path, path: Path, size_bytes: int) -> str | None:
    """Say what is wrong with a result that names *path* and says *size_bytes*; None if it is as it must be.

    What there is no file at, or not the right one, shows otherwise.
    """
    if path.is_symlink():
        return "a link, instead of a file"
    try:
        # Not every Python tells of a loop of links unless it is asked for what is there.
        is_inside = path.parent.resolve(strict=True).is_relative_to(directory.resolve())
    except FileNotFoundError:
        is_inside = path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):
        is_inside = False
    if not is_inside:
        return "a file that is not in the directory"
    if path.is_file() and (has := path.stat().st_size) != size_bytes:
        return f"a file of {count_bytes(has)}, and the result says {size_bytes}"
    return None


def find_false_claim(path: Path, checksum: str | None) -> str | None:
    """Say what the file at *path* has instead of the *checksum* that a result says was verified; None if it has it."""
    if checksum is None or not path.is_file():
        return None
    claimed = Checksum.parse(checksum)
    with path.open("rb") as file:
        got = hashlib.file_digest(file, claimed.algorithm).hexdigest()
    if got == claimed.hex_digest:
        return None
    return f"a file whose {claimed.algorithm} is {got}, and the result says {claimed.hex_digest}"


def look_at(directory: Path, path: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """Return the content of *path*, None if it is no file, and the names of the other files in *directory*."""
    found = path.read_bytes() if path.is_file() else None
    others = [
        each.relative_to(directory).as_posix() for each in directory.rglob("*") if each.is_file() and each != path
    ]
    return found, tuple(sorted(others))


def tell(text: str, directory: Path, *, address: str | None = None) -> str:
    """Return the last line of *text* that says something, shortened, without *directory* and *address*."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    line = line.replace(f"{directory}{os.sep}", "").replace(f"{directory}", ".")
    if address is not None:
        line = line.replace(address, "origin")
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def tell_error(error: BaseException | None, directory: Path, *, address: str | None = None) -> str:
    """Return what kind *error* is of and what it says; None stands for a download that was cancelled."""
    if error is None:
        return "Cancelled"
    # The first line: what follows is for who debugs it.
    text = str(error).partition("\n")[0]
    return ": ".join(filter(None, [type(error).__name__, tell(text, directory, address=address)]))

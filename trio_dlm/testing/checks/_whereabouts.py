"""What lies in a directory after an attempt, and what was said, without where that directory is.

Rules that hold here:

- a report is read elsewhere than where it was made: the directory and the address of the origin are taken out of
  what others say.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["look_at", "tell", "tell_error"]

# One line of a terminal that is wide; what a program says at its end is at the end of it.
_LONGEST: Final = 160


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

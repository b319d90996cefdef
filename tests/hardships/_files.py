"""What a directory has to have in it.

Rules that hold here:

- files are looked at and never changed; a problem is told in words, and no problem is an empty list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["NAME", "left_beside", "not_whole"]

NAME: Final = "file.bin"


def not_whole(path: Path, wanted: bytes) -> list[str]:
    """Say what is wrong with the file *path*, which is to have the bytes *wanted*."""
    if not path.is_file():
        return [f"no file {path.name}"]
    found = path.read_bytes()
    if found == wanted:
        return []
    if len(found) != len(wanted):
        return [f"{path.name} has {len(found)} bytes of {len(wanted)}"]
    return [f"{path.name} has the right length and other bytes"]


def left_beside(directory: Path, *wanted: str) -> list[str]:
    """Say what is in *directory* besides the names *wanted*."""
    return [f"{name} was left" for name in sorted({each.name for each in directory.iterdir()} - {*wanted})]

"""A small file system of one's own, of a size that can be changed, and one that cannot be written to.

Rules that hold here:

- it is in memory, below a directory that is ours, and gone when the block ends;
- who may not mount is told why, and nothing was changed.

Source:
    mount(8), tmpfs(5).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import final

__all__ = ["Mount", "NoMountError", "mounted"]


class NoMountError(Exception):
    """Nothing can be mounted here, for the reason that is the message."""


@final
class Mount:
    """A file system; made by :func:`mounted`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def remount(self, options: str) -> None:
        """Give it other options, such as another size."""
        _run("mount", "-o", f"remount,{options}", str(self.directory))


@contextmanager
def mounted(options: str) -> Generator[Mount]:
    """Mount a tmpfs with *options* until the block ends.

    Raises:
        NoMountError: that cannot be done here.
    """
    if sys.platform != "linux":
        raise NoMountError("only Linux has tmpfs")
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        _run("mount", "-t", "tmpfs", "-o", options, "hardships", made)
        try:
            yield Mount(Path(made))
        finally:
            # What still has a file open there, after a test that failed, keeps it alive but not in anybody's way.
            _run("umount", "-l", made)


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoMountError(f"there is no {argv[0]}") from None
    if done.returncode:
        raise NoMountError((done.stderr or done.stdout).strip().replace("\n", " ") or f"{argv[0]} failed")

"""A directory into which nobody may write.

Rules that hold here:

- the origin is asked for nothing: who cannot save a file does not fetch it;
- root may write anywhere, so that it takes a file system that is read-only, or somebody else, to keep it from that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ._command import PYTHON, fetch
from ._figures import Figure, none_of, skipped
from ._files import NAME, left_beside
from ._mounts import NoMountError, mounted
from ._origin import make_body, open_counting_origin

__all__ = ["measure_directory_of_others", "measure_read_only_disk"]

PROMISE: Final = "one line, exit code 1, and the origin was asked for nothing"

# The one who has nothing, on every Unix.
NOBODY: Final = 65_534


async def measure_read_only_disk() -> list[Figure]:
    """Save to a file system that is read-only."""
    hardship = "a read-only file system"
    try:
        with mounted("ro,size=1m") as disk:
            return await _refused(hardship, disk.directory)
    except NoMountError as exc:
        return [skipped(hardship, str(exc))]


async def measure_directory_of_others() -> list[Figure]:
    """Save to a directory that belongs to somebody else."""
    hardship = "a directory of somebody else"
    before: Sequence[str] = ()
    if os.geteuid() == 0:
        before = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
        if shutil.which("setpriv") is None:
            return [skipped(hardship, "root may write anywhere, and there is no setpriv to become somebody else")]
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        directory = Path(made)
        _close(directory)
        if before:
            able = await fetch(cwd=directory, before=before, program=(PYTHON, "-c", "import trio_dlm.cli._app"))
            if able.code:
                return [skipped(hardship, "root may write anywhere, and others cannot run this interpreter")]
        return await _refused(hardship, directory, before)


def _close(directory: Path) -> None:
    directory.chmod(0o555)


async def _refused(hardship: str, directory: Path, before: Sequence[str] = ()) -> list[Figure]:
    async with open_counting_origin() as origin:
        ending = await fetch("get", "-q", origin.serve(f"/{NAME}", make_body(100)), cwd=directory, before=before)
        problems = [*ending.problems(1, lines=1), *left_beside(directory)]
        if origin.origin.requests:
            problems.append(f"{len(origin.origin.requests)} requests were made")
    return [none_of(hardship, PROMISE, problems)]

"""Fewer file descriptors than the downloads would like to have.

Rules that hold here:

- every file is delivered whole, or fails in one line; which of both is up to the command, and its exit code tells;
- the files are slow enough for their connections to be there at the same time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from ._command import fetch, limited
from ._figures import Figure, none_of
from ._files import left_beside, not_whole
from ._origin import MIB, make_body, open_counting_origin

__all__ = ["measure_descriptors"]

RATE_BYTES_PER_S: Final = 12 * MIB


async def measure_descriptors(*, limit: int, files: int, size_bytes: int, connections: int = 8) -> list[Figure]:
    """Fetch so many *files* of *size_bytes*, five at a time, with at most *limit* descriptors."""
    hardship = f"{files} files of {size_bytes / MIB:g} MiB with {limit} descriptors, -j 5 -x {connections}"
    bodies = {f"file{number}.bin": make_body(size_bytes, seed=number) for number in range(files)}
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        directory = Path(made)
        async with open_counting_origin(rate_bytes_per_s=RATE_BYTES_PER_S, connections=5 * connections) as origin:
            urls = [origin.serve(f"/{name}", body) for name, body in bodies.items()]
            ending = await fetch(
                *("get", "-q", "-j", "5", "-x", str(connections), "--min-segment-size", "64K", *urls),
                cwd=directory,
                before=limited("RLIMIT_NOFILE", limit),
            )
            peak = origin.origin.peak_connections
        missing = [name for name in bodies if not (directory / name).exists()]
        problems = ending.problems(1 if missing else 0, lines=len(missing))
        for name in bodies.keys() - {*missing}:
            problems += not_whole(directory / name, bodies[name])
        # What is kept of those that failed is theirs.
        kept = [f"{name}.part{end}" for name in missing for end in ("", ".json")]
        problems += left_beside(directory, *bodies, *kept)
    found = f"{files - len(missing)} whole, {len(missing)} failed, {peak} connections at most"
    return [none_of(hardship, "every file whole or one line, exit code accordingly", problems, otherwise=found)]

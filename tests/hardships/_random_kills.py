"""Killed again and again, at instants that nobody chose, and started again each time.

Rules that hold here:

- the instants are places in the file, drawn from a seed: the command is killed when the origin has handed over so many
  bytes in all, and nobody looks at a clock;
- what it costs is all bytes of the file that the origin handed over, divided by its size.
"""

from __future__ import annotations

import random
import signal
import tempfile
from pathlib import Path
from typing import Final

from ._command import Ending, start
from ._figures import Figure, at_most, none_of
from ._files import NAME, left_beside, not_whole
from ._origin import MIB, RATE_BYTES_PER_S, CountingOrigin, make_body, open_counting_origin
from ._watching import Names, watched_names

__all__ = ["measure_random_kills"]

LIMITS: Final = {1: 1.03, 8: 1.06}
"""By the number of connections: how many times the size of the file may be fetched."""


async def measure_random_kills(
    *, size_bytes: int, kills: int, connections: int, seed: int, limit: float | None = None
) -> list[Figure]:
    """Kill the command *kills* times in one download of *size_bytes*.

    Args:
        size_bytes: of the file.
        kills: how often.
        connections: how many the command may have.
        seed: of the instants.
        limit: how many times the size may be fetched; by default what is promised for twenty kills in 200 MiB.
    """
    body = make_body(size_bytes, seed=seed)
    instants = sorted(random.Random(seed).uniform(0, size_bytes) for _ in range(kills))
    hardship = f"{kills} × kill -9 in {size_bytes / MIB:g} MiB, -x {connections}"
    with tempfile.TemporaryDirectory(prefix="hardships-") as made, watched_names(Path(made)) as names:
        directory = Path(made)
        async with open_counting_origin(connections=connections) as origin:
            url = origin.serve(f"/{NAME}", body)
            arguments = ["get", "-q", "-x", str(connections), url]
            problems: list[str] = []
            for number, instant in enumerate(instants, 1):
                problems += await _kill(origin, arguments, directory, instant, names, f"kill {number}")
            async with start(*arguments, cwd=directory) as running:
                ending = await running.wait()
            given_bytes, peak = origin.given_bytes, origin.origin.peak_connections
        problems += _judge_end(ending, directory, body)
    if connections > 1 and peak == 1:
        problems.append("only one connection was used")
    limit = LIMITS[connections] if limit is None else limit
    rate = f"{RATE_BYTES_PER_S / MIB:g} MiB/s in all, {peak} used, small send buffers"
    return [
        at_most(
            f"{hardship}, {rate}", "bytes handed to sockets / size", given_bytes / size_bytes, limit, digits=3, least=1
        ),
        none_of(hardship, "under its name only at the end, whole and alone", problems),
    ]


async def _kill(
    origin: CountingOrigin, arguments: list[str], directory: Path, instant: float, names: Names, which: str
) -> list[str]:
    """Start the command, kill it at *instant*, and say what was wrong."""
    async with start(*arguments, cwd=directory) as running:
        if await running.until(lambda: origin.wait_given(instant)):
            running.send(signal.SIGKILL)
        ending = await running.wait()
    await origin.origin.wait_no_connections()
    if ending.code != -signal.SIGKILL:
        return [f"{which} met nobody: {each}" for each in ending.problems(-signal.SIGKILL)]
    return [f"{NAME} was there at {which}"] if NAME in names.seen() else []


def _judge_end(ending: Ending, directory: Path, body: bytes) -> list[str]:
    return ending.problems(0, lines=0) or [*not_whole(directory / NAME, body), *left_beside(directory, NAME)]

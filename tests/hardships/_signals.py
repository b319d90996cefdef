"""Ctrl-C and ``kill`` in the middle of a download, and the same command once more.

Rules that hold here:

- the signal is sent when the origin has handed over a half of the file;
- fetched again is what the origin handed over in both runs beyond the size of the file, buffers included.
"""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path
from typing import Final

import trio

from ._command import start
from ._figures import Figure, at_most, none_of
from ._files import NAME, left_beside, not_whole
from ._origin import MIB, make_body, open_counting_origin

__all__ = ["measure_signal"]

ENDS_WITHIN_S: Final = 1.0
AGAIN_PERCENT: Final = 2.0


async def measure_signal(number: signal.Signals, *, connections: int, size_bytes: int) -> list[Figure]:
    """Send the signal *number* to a download of *size_bytes* over so many *connections*."""
    body = make_body(size_bytes, seed=number)
    hardship = f"{number.name} in {size_bytes / MIB:g} MiB, -x {connections}"
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        directory = Path(made)
        async with open_counting_origin(connections=connections) as origin:
            arguments = ["get", "-q", "-x", str(connections), origin.serve(f"/{NAME}", body)]
            async with start(*arguments, cwd=directory) as running:
                await running.until(lambda: origin.wait_given(size_bytes / 2))
                sent_at_s = trio.current_time()
                running.send(number)
                first = await running.wait()
            problems = first.problems(128 + number, lines=1)
            if (directory / NAME).exists():
                problems.append(f"{NAME} was there after the signal")
            if connections > 1 and origin.origin.peak_connections == 1:
                problems.append("only one connection was used")
            async with start(*arguments, cwd=directory) as running:
                second = await running.wait()
            again = 100 * (origin.given_bytes - size_bytes) / size_bytes
        problems += second.problems(0, lines=0) or [*not_whole(directory / NAME, body), *left_beside(directory, NAME)]
    return [
        at_most(hardship, "seconds to the end", first.at_s - sent_at_s, ENDS_WITHIN_S, unit="s"),
        at_most(hardship, "fetched again", again, AGAIN_PERCENT, unit="%"),
        none_of(hardship, f"exit code {128 + number}, one line, and the next start delivers", problems),
    ]

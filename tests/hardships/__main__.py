"""The hard promises, measured with the command itself, real files and real sockets.

::

    nox -s hardships [-- [NAME …] [--seed N]]

Rules that hold here:

- a promise that was not kept is exit code 1; what this machine cannot measure is told, and is no failure;
- tests/test_hardships.py measures a small part of it, with the same functions.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import trio

from tests.benchmarks._tables import tell_machine

from ._descriptors import measure_descriptors
from ._figures import Figure, broken, tell_figures
from ._full_disk import measure_disk_too_small, measure_file_limit, measure_full_disk, measure_room_taken
from ._kill_points import SCENES, How, measure_kill_points
from ._origin import MIB, Framing
from ._random_kills import measure_random_kills
from ._read_only import measure_directory_of_others, measure_read_only_disk
from ._signals import measure_signal
from ._silence import SILENCES, measure_silence

_Measure: TypeAlias = Callable[[], Awaitable[Sequence[Figure]]]


def kills(seed: int) -> Iterator[_Measure]:
    """Kill it at random."""
    for connections in (1, 8):
        yield partial(measure_random_kills, size_bytes=200 * MIB, kills=20, connections=connections, seed=seed)


def places(_: int) -> Iterator[_Measure]:
    """Kill it at each thing that it does."""
    for how in How:
        for scene in SCENES:
            yield partial(measure_kill_points, how, scene)


def signals(_: int) -> Iterator[_Measure]:
    """Interrupt it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        for connections in (1, 8):
            yield partial(measure_signal, number, connections=connections, size_bytes=100 * MIB)


def disks(_: int) -> Iterator[_Measure]:
    """Let there be no room."""
    room, size = 16 * MIB, 64 * MIB
    yield partial(measure_disk_too_small, room_bytes=room, size_bytes=size)
    for framing in (Framing.CHUNKED, Framing.CLOSED):
        for has_validator in (True, False):
            yield partial(measure_full_disk, framing, room_bytes=room, size_bytes=size, has_validator=has_validator)
    for connections in (1, 8):
        yield partial(measure_room_taken, room_bytes=2 * room, size_bytes=24 * MIB, connections=connections)
    for framing in Framing:
        yield partial(measure_file_limit, framing, limit_bytes=room, size_bytes=size)


def read_only(_: int) -> Iterator[_Measure]:
    """Let it write nowhere."""
    yield measure_read_only_disk
    yield measure_directory_of_others


def descriptors(_: int) -> Iterator[_Measure]:
    """Let it open hardly anything."""
    for connections in (1, 8):
        yield partial(measure_descriptors, limit=32, files=50, size_bytes=MIB, connections=connections)


def silences(_: int) -> Iterator[_Measure]:
    """Say nothing to it."""
    for name in SILENCES:
        yield partial(measure_silence, name)


HARDSHIPS: Final[Mapping[str, Callable[[int], Iterator[_Measure]]]] = {
    "kills": kills,
    "places": places,
    "signals": signals,
    "disks": disks,
    "read-only": read_only,
    "descriptors": descriptors,
    "silences": silences,
}


async def measure(names: Sequence[str], seed: int) -> list[Figure]:
    """Measure what *names* says, and tell each figure on standard error when it is there."""
    figures: list[Figure] = []
    for name in names:
        for measure_some in HARDSHIPS[name](seed):
            for figure in await measure_some():
                print("NO" if figure.is_kept is False else "  ", figure, file=sys.stderr, flush=True)
                figures.append(figure)
    return figures


def main() -> None:
    """Run what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="nox -s hardships --", description="What the command does when it is hard.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(HARDSHIPS)} (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the instants at which it is killed (default: 1)")
    chosen = parser.parse_args()
    if unknown := {*chosen.names} - {*HARDSHIPS}:
        parser.error(f"no hardships: {', '.join(sorted(unknown))}")
    figures = trio.run(measure, chosen.names or [*HARDSHIPS], chosen.seed)
    print(f"{tell_machine('trio')}  Seed {chosen.seed}.\n\n{tell_figures(figures)}")
    sys.exit(1 if broken(figures) else 0)


if __name__ == "__main__":
    main()

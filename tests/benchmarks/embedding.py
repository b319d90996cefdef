"""What a manager costs and how it behaves inside a program that runs on asyncio, against the same one on trio.

::

    nox -s bench -- embedding [--rounds N] [--write docs/benchmarks_embedding.inc]

Rules that hold here:

- trio, where nothing has to be crossed, is what everything is compared with;
- the server is an nginx on loopback, and its files are holes, so that no disk is read;
- targets are printed beside the figures and never asserted: a shared machine would make a test of them a lottery;
- what is written for the documentation is what is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from tests.nginx import find_nginx, run_nginx

from ._embedding_sample import SLOTS
from ._manager_contenders import Pace
from ._measuring import Sample, Spread, ratios, sample, take_turns
from ._tables import make_table, publish, tell_machine

Contender: TypeAlias = tuple[str, str]
"""On which loop the program runs, and on which of them its downloads do."""

NATIVE: Final = ("trio", "trio")
CONTENDERS: Final[dict[Contender, str]] = {
    NATIVE: "trio",
    ("asyncio", "trio"): "asyncio",
    ("uvloop", "trio"): "uvloop",
    ("asyncio", "host"): "asyncio, asyncio_downloader",
    ("uvloop", "host"): "uvloop, asyncio_downloader",
}

ROUND_TRIPS: Final = 3_000
BULK: Final = 20_000
BULK_TARGET: Final = 2.5
"""At most so many times the CPU that it takes on trio."""

MIB: Final = 1024**2
STREAMS: Final[dict[int, int]] = {1: 512 * MIB, 4: 128 * MIB}
"""How many files at once, and how large each of them is."""
WARM_UP_BYTES: Final = 8 * MIB

LAG_TARGET_MS: Final = 10.0
"""At most so late another task of the host gets its turn, in 99 of 100 cases, while four files arrive."""
THROUGHPUT_TARGET: Final = 0.9
"""At least so many times the throughput on trio."""

_SAMPLE: Final = f"{__package__}._embedding_sample"


def compare_round_trips(rounds: int, count: int) -> str:
    """Compare downloads one after the other, and return the table."""
    print(f"{count} downloads, one after the other", file=sys.stderr)
    taken = take_turns(
        {each: partial(sample, _SAMPLE, "round-trips", *each, count) for each in CONTENDERS}, rounds=rounds
    )
    rows = [
        [
            CONTENDERS[each],
            _spread(samples, "wall_us").show(0),
            _spread(samples, "cpu_us").show(0),
            _against_native(taken, each, "cpu_us"),
        ]
        for each, samples in taken.items()
    ]
    return make_table(["program runs on", "µs from submit to wait, p50", "CPU µs each", "times trio"], rows)


def compare_bulk(rounds: int, count: int) -> str:
    """Compare many downloads at once, and return the table."""
    rows: list[list[str]] = []
    for pace in Pace:
        print(f"{count} downloads, {pace.value} caller", file=sys.stderr)
        taken = take_turns(
            {each: partial(sample, _SAMPLE, "bulk", *each, pace.value, count) for each in CONTENDERS}, rounds=rounds
        )
        for each, samples in taken.items():
            # What runs on the host's loop crosses twice more for every download.
            aimed_at = pace is Pace.BURST and each != NATIVE and each[1] == "trio"
            rows.append(
                [
                    pace.value,
                    CONTENDERS[each],
                    _spread(samples, "cpu_us").show(1),
                    _against_native(taken, each, "cpu_us"),
                    f"≤ {BULK_TARGET:g}" if aimed_at else "–",
                    _spread(samples, "wall_us").show(1),
                ]
            )
    return make_table(["caller", "program runs on", "CPU µs each", "times trio", "target", "wall µs each"], rows)


def compare_streams(rounds: int, nginx: str, streams: dict[int, int]) -> tuple[str, str]:
    """Compare large files over HTTP, and return a table of how fast they arrive and one of how late others run."""
    throughput: list[list[str]] = []
    lag: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="trio-dlm-bench-") as name:
        prefix, root = Path(name, "nginx"), Path(name, "files")
        prefix.mkdir()
        root.mkdir()
        for file, size_bytes in {"warm-up": WARM_UP_BYTES, **{str(n): size for n, size in streams.items()}}.items():
            with (root / file).open("wb") as opened:
                opened.truncate(size_bytes)
        with run_nginx(nginx, prefix=prefix, root=root) as server:
            for number, size_bytes in streams.items():
                what = f"{number} × {size_bytes // MIB} MiB"
                print(what, file=sys.stderr)
                urls = [f"{server.url}{number}"] * number
                hosts = [each for each in CONTENDERS if each[1] == "trio"]
                take = partial(sample, _SAMPLE, "streams")
                taken = take_turns(
                    {each: partial(take, each[0], f"{server.url}warm-up", *urls) for each in hosts}, rounds=rounds
                )
                for each, samples in taken.items():
                    host = CONTENDERS[each]
                    throughput.append(
                        [
                            what,
                            host,
                            _spread(samples, "mib_per_s").show(0),
                            _against_native(taken, each, "mib_per_s"),
                            f"≥ {THROUGHPUT_TARGET:g}" if each != NATIVE else "–",
                            _spread(samples, "cpu_s").show(2),
                            _against_native(taken, each, "cpu_s"),
                        ]
                    )
                    lag.append(
                        [
                            what,
                            host,
                            _spread(samples, "idle_p99_ms").show(1),
                            _spread(samples, "lag_p50_ms").show(1),
                            _spread(samples, "lag_p99_ms").show(1),
                            f"≤ {LAG_TARGET_MS:g}" if each != NATIVE and number > 1 else "–",
                            _spread(samples, "lag_max_ms").show(1),
                        ]
                    )
    return (
        make_table(
            ["files", "program runs on", "MiB/s", "times trio", "target", "CPU s", "CPU, times trio"], throughput
        ),
        make_table(["files", "program runs on", "idle p99, ms", "p50, ms", "p99, ms", "target", "max, ms"], lag),
    )


def _spread(samples: Sequence[Sample], figure: str) -> Spread:
    return Spread.of([each[figure] for each in samples])


def _against_native(taken: dict[Contender, list[Sample]], each: Contender, figure: str) -> str:
    return "1" if each == NATIVE else ratios(taken[each], taken[NATIVE], figure).show(2)


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    parser = argparse.ArgumentParser(
        prog="nox -s bench -- embedding", description="What a manager costs inside a program on asyncio."
    )
    parser.add_argument("--rounds", type=int, default=5, help="samples of every contender (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round of small numbers, to see that it works")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there, as reStructuredText")
    chosen = parser.parse_args()
    nginx = find_nginx()
    if nginx is None:
        parser.error("there is no nginx to download from: install it, on Debian as nginx-light")
    rounds, round_trips, bulk, streams = chosen.rounds, ROUND_TRIPS, BULK, STREAMS
    if chosen.quick:
        rounds, round_trips, bulk, streams = 1, 300, 1_000, dict.fromkeys(STREAMS, 16 * MIB)
    one_by_one = compare_round_trips(rounds, round_trips)
    at_once = compare_bulk(rounds, bulk)
    throughput, lag = compare_streams(rounds, nginx, streams)
    report = "\n\n".join(
        [
            tell_machine("trio", "anyio", "uvloop"),
            f"Samples of each: {rounds}; shown is the median, with the least and the most.",
            f"{round_trips:,} no-op downloads, one after the other:",
            one_by_one,
            f"{bulk:,} no-op downloads, {SLOTS} at a time:",
            at_once,
            "Large files over HTTP, one connection for each:",
            throughput,
            "How late another task of the program gets its turn meanwhile:",
            lag,
        ]
    )
    publish(report, chosen.write)


if __name__ == "__main__":
    main()

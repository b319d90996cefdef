"""What the manager itself costs: CPU per no-op download, memory per queued download, time to cancel them all.

::

    nox -s bench -- manager [--rounds N] [--write docs/benchmarks_manager.inc]

Rules that hold here:

- targets are printed beside the figures and never asserted: a shared machine would make a test of them a lottery;
- what is written for the documentation is what is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from ._manager_contenders import CONTENDERS, Pace, make_urls
from ._measuring import Sample, Spread, ratios, sample, take_turns
from ._tables import make_table, publish, tell_machine

SLOTS: Final = (5, 100)
CPU_COUNT: Final = 20_000
CPU_TARGET: Final = 2.0
"""At most so many times the CPU of bare trio, with a steady caller."""

# Tracing takes several times the memory and time of what it traces, so it is used for the smaller number only.
QUEUED: Final = {100_000: ("resident", "traced"), 1_000_000: ("resident",)}
BYTES_TARGET: Final = 1500
"""At most so many bytes for a queued download."""

_SAMPLE: Final = f"{__package__}._manager_sample"

_KINDS: Final = {"resident": "resident set", "traced": "tracemalloc"}


def compare_cpu(rounds: int, count: int) -> str:
    """Compare the contenders, and return the table."""
    rows: list[list[str]] = []
    for pace, slots in product(Pace, SLOTS):
        print(f"CPU of {count} downloads, {pace.value} caller, {slots} slots", file=sys.stderr)
        taken = take_turns(
            {name: partial(sample, _SAMPLE, "cpu", name, slots, pace.value, count) for name in CONTENDERS},
            rounds=rounds,
        )
        for name, samples in taken.items():
            against = "1" if name == "bare trio" else ratios(samples, taken["bare trio"], "cpu_us").show(2)
            target = f"≤ {CPU_TARGET:g}" if name == "trio_dlm" and pace is Pace.STEADY else "–"
            rows.append([pace.value, str(slots), name, _spread(samples, "cpu_us").show(1), against, target])
    return make_table(["caller", "slots", "contender", "CPU µs per download", "times bare trio", "target"], rows)


def measure_queue(rounds: int, queued: Sequence[int]) -> tuple[str, str]:
    """Measure memory and cancelling, and return a table of each."""
    url_length = len(make_urls(1)[0])
    contenders: dict[tuple[int, str], Callable[[], Sample]] = {
        (count, kind): partial(sample, _SAMPLE, kind, count) for count in queued for kind in QUEUED[count]
    }
    print(f"memory of queued downloads, cancelling: {', '.join(map(str, queued))}", file=sys.stderr)
    taken = take_turns(contenders, rounds=rounds)
    memory = [
        [
            f"{count:,}",
            _KINDS[kind],
            _spread(samples, "bytes").show(0),
            f"≤ {BYTES_TARGET:,}",
            _spread(samples, "blocks").show(1),
            _spread(samples, "url_bytes").show(0),
        ]
        for (count, kind), samples in taken.items()
    ]
    # Tracing slows everything down, so its times say nothing.
    cancelling = [
        [
            f"{count:,}",
            _spread(samples, "queueing_us").show(1),
            _spread(samples, "cancelling_us").show(1),
            _spread(samples, "cancelling_s").show(2),
            _spread(samples, "longest_wait_ms").show(0),
        ]
        for (count, kind), samples in taken.items()
        if kind == "resident"
    ]
    return (
        make_table(
            ["queued", "measured by", "bytes each", "target", "blocks each", f"URL of {url_length} characters, bytes"],
            memory,
        ),
        make_table(
            ["queued", "µs to queue one", "µs to cancel one", "s to cancel all", "longest wait of others, ms"],
            cancelling,
        ),
    )


def _spread(samples: Sequence[Sample], figure: str) -> Spread:
    return Spread.of([each[figure] for each in samples])


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- manager", description="What the manager itself costs.")
    parser.add_argument("--rounds", type=int, default=5, help="samples of every contender (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round of small numbers, to see that it works")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there, as reStructuredText")
    chosen = parser.parse_args()
    rounds, count, queued = (1, 1_000, [100_000]) if chosen.quick else (chosen.rounds, CPU_COUNT, list(QUEUED))
    cpu = compare_cpu(rounds, count)
    memory, cancelling = measure_queue(rounds, queued)
    report = "\n\n".join(
        [
            f"{tell_machine('trio')}  Samples of each: {rounds}; shown is the median, with the least and the most.",
            f"CPU of {count:,} no-op downloads:",
            cpu,
            "Memory of downloads that are queued:",
            memory,
            "Time to queue them, and to cancel them all by leaving the block:",
            cancelling,
        ]
    )
    publish(report, chosen.write)


if __name__ == "__main__":
    main()

"""What downloads take from the program around them: its loop, its patience, its memory, and its start.

::

    nox -s bench -- footprint [--rounds N] [--big MIB] [--write docs/benchmarks_footprint.inc]

Rules that hold here:

- nginx on loopback with TLS, which sends as fast as it can; every sample is a process of its own;
- of the loop only processor time counts, since a machine that is busy elsewhere would be taken for a loop that is held;
- targets are printed beside the figures and never asserted.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import run_nginx

from ._fetching import MIB, aria2c, curl, fetch, fill, make_trusted, memory, require, spend
from ._footprint_client import MANY
from ._measuring import Sample, Spread, ratios, take_turns
from ._tables import make_table, publish, tell_machine

# Of which a hundred are downloaded at once.
_EACH_MIB: Final = 8

# By what is imported, in a fresh interpreter.
_IMPORTS: Final = {
    "trio_dlm": ["trio_dlm"],
    "trio, httpx": ["trio", "httpx"],
    "yt_dlp": ["yt_dlp"],
    "huggingface_hub": ["huggingface_hub"],
}


def run_case(case: str, url: str) -> Sample:
    """Run one case of ours in a process, and return its own figure and what the system says of it."""
    with memory() as directory:
        taken, printed = spend([sys.executable, "-m", f"{__package__}._footprint_client", case, url, directory])
    return {**taken, "figure": float(printed)}


def run_python(*arguments: str) -> Sample:
    """Run the interpreter, and return what that took."""
    taken, _ = spend([sys.executable, *arguments])
    return {"cpu_s": taken["cpu_s"], "cpu_ms": taken["cpu_s"] * 1000}


def _row(what: str, who: str, samples: Sequence[Sample], figure: str, unit: str, target: float | None) -> list[str]:
    spread = Spread.of([sample[figure] for sample in samples]).show(1)
    return [what, who, f"{spread} {unit}", "–" if target is None else f"≤ {target:g} {unit}"]


def compare_transfers(base: str, *, big_mib: int, rounds: int) -> list[list[str]]:
    """Measure what is measured while bytes come."""
    url = f"{base}big.bin"
    contenders: Mapping[str, Callable[[], Sample]] = {
        **{case: partial(run_case, case, url) for case in ("stall", "stall-httpx", "cancel", "one")},
        "many": partial(run_case, "many", f"{base}each.bin"),
        "aria2c": partial(fetch, aria2c(connections=8), [url], expected_bytes=big_mib * MIB),
        "curl": partial(fetch, curl(), [url], expected_bytes=big_mib * MIB),
    }
    taken = take_turns(contenders, rounds=rounds)
    return [
        _row("loop held, worst", "trio_dlm", taken["stall"], "figure", "ms", 5),
        _row("loop held, worst", "httpx", taken["stall-httpx"], "figure", "ms", None),
        _row("cancel at full speed", "trio_dlm", taken["cancel"], "figure", "ms", 50),
        _row("memory, 8 connections", "trio_dlm", taken["one"], "rss_mib", "MiB", 60),
        _row("memory, 8 connections", "aria2c", taken["aria2c"], "rss_mib", "MiB", None),
        _row("memory, one connection", "curl", taken["curl"], "rss_mib", "MiB", None),
        _row(f"memory, {MANY} at once", "trio_dlm", taken["many"], "rss_mib", "MiB", 120),
    ]


def compare_starts(*, rounds: int) -> list[list[str]]:
    """Measure interpreters that import something and end."""
    starts = {"nothing": partial(run_python, "-c", "")}
    for name, modules in _IMPORTS.items():
        if all(map(importlib.util.find_spec, modules)):
            starts[name] = partial(run_python, "-c", f"import {', '.join(modules)}")
    starts["the command"] = partial(run_python, "-m", "trio_dlm", "--version")
    taken = take_turns(starts, rounds=rounds)
    rows = [_row("start, CPU", name, samples, "cpu_ms", "ms", None) for name, samples in taken.items()]
    against = ratios(taken["trio_dlm"], taken["trio, httpx"], "cpu_s")
    return [*rows, ["start, CPU", "trio_dlm / trio, httpx", against.show(2), "≤ 1.15"]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = require(parser, "curl", "aria2c")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for each in ("root", "nginx"):
            (place / each).mkdir()
        certificate = make_trusted(place)
        for name, size_mib in (("big.bin", options.big), ("each.bin", _EACH_MIB)):
            fill(place / "root" / name, size_mib * MIB)
        with run_nginx(program, prefix=place / "nginx", root=place / "root", certificate=certificate) as nginx:
            rows = compare_transfers(nginx.url, big_mib=options.big, rounds=options.rounds)
    rows += compare_starts(rounds=options.rounds)
    publish(
        f"{make_table(['what', 'of whom', 'median (range)', 'target'], rows)}\n\n"
        f"{options.rounds} rounds, a file of {options.big:,} MiB.  {tell_machine('trio', 'httpx')}",
        options.write,
    )


if __name__ == "__main__":
    main()

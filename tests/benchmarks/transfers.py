"""What it costs to bring files from a server to the disk: processor time of ours and of others, and the wall clock.

::

    nox -s bench -- transfers [--rounds N] [--big MIB] [--small COUNT] [--write docs/benchmarks_transfers.inc]

Rules that hold here:

- the server is nginx on loopback, plain and with TLS;
- the processor time is that of the whole process, start and imports included; for clients in Python the part from the
  first request to the last file is told as well;
- targets are printed beside the figures and never asserted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import run_nginx

from ._fetching import MIB, Command, aria2c, curl, fetch, fill, make_trusted, python, require, wget2
from ._measuring import Sample, Spread, ratios, take_turns
from ._tables import make_table, publish, tell_machine

SMALL_BYTES: Final = 10 * 1024

_PYTHON: Final = frozenset({"trio_dlm", "aiohttp", "httpx", "requests"})

# What ours should reach, by family, scheme and who is compared.
_TARGETS: Final = {
    ("big", "http", "curl"): 0.85,
    ("big", "https", "curl"): 0.85,
    ("big", "https", "aria2c"): 0.55,
    ("small", "https", "aria2c"): 0.7,
    ("small", "https", "curl"): 2.5,
    ("small", "https", "aiohttp"): 1.0,
}


def compare(
    family: str, clients: Mapping[str, Command], urls: Mapping[str, Sequence[str]], *, rounds: int, expected_bytes: int
) -> list[list[str]]:
    """Compare *clients* over http and https, and return the rows of the table."""
    rows: list[list[str]] = []
    for scheme, each in urls.items():
        print(f"{family} over {scheme}", file=sys.stderr)
        taken = take_turns(
            {name: partial(fetch, command, each, expected_bytes=expected_bytes) for name, command in clients.items()},
            rounds=rounds,
        )
        for name, samples in taken.items():
            target = _TARGETS.get((family, scheme, name))
            # Against a loop in Python both starts are left out.
            figure = "transfer_cpu_s" if name in _PYTHON else "cpu_s"
            against = "–" if name == "trio_dlm" else ratios(taken["trio_dlm"], samples, figure).show(2)
            rows.append(
                [
                    f"{family}, {scheme}",
                    name,
                    *(_show(samples, figure) for figure in ("cpu_s", "transfer_cpu_s", "wall_s")),
                    against,
                    "–" if target is None else f"≤ {target:g}",
                ]
            )
    return rows


def _show(samples: Sequence[Sample], figure: str) -> str:
    return Spread.of([each[figure] for each in samples]).show(2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--small", type=int, default=5000, help="how many small files")
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = require(parser, "curl", "aria2c", "wget2")
    names = [f"small{number:05}.bin" for number in range(options.small)]
    at_once = options.at_once
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        root = place / "root"
        for each in ("root", "plain", "secure"):
            (place / each).mkdir()
        fill(root / "big.bin", options.big * MIB)
        for name in names:
            fill(root / name, SMALL_BYTES)
        certificate = make_trusted(place)
        with (
            run_nginx(program, prefix=place / "plain", root=root) as plain,
            run_nginx(program, prefix=place / "secure", root=root, certificate=certificate) as secure,
        ):
            bases = {"http": plain.url, "https": secure.url}
            one = ("trio_dlm", "aiohttp", "requests", "httpx")
            rows = compare(
                "big",
                {**{each: python(each) for each in one}, "curl": curl(), "aria2c": aria2c(), "wget2": wget2()},
                {scheme: [f"{base}big.bin"] for scheme, base in bases.items()},
                rounds=options.rounds,
                expected_bytes=options.big * MIB,
            )
            rows += compare(
                "small",
                {
                    **{each: python(each, at_once=at_once) for each in ("trio_dlm", "aiohttp")},
                    "curl": curl(at_once=at_once),
                    "aria2c": aria2c(at_once=at_once),
                    "wget2": wget2(at_once=at_once),
                },
                {scheme: [base + name for name in names] for scheme, base in bases.items()},
                rounds=options.rounds,
                expected_bytes=options.small * SMALL_BYTES,
            )
    header = ["files", "client", "CPU s", "of it transfer", "wall s", "CPU of ours / its", "target"]
    publish(
        f"{make_table(header, rows)}\n\n{options.rounds} rounds, one file of {options.big:,} MiB, {options.small:,} "
        f"files of 10 KiB, {at_once} at a time.  {tell_machine('trio', 'aiohttp', 'httpx', 'requests')}",
        options.write,
    )


if __name__ == "__main__":
    main()

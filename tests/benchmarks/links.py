"""How well a link that is slow, or far, is used: the wall clock against the ideal and against others.

::

    nox -s bench -- links [--rounds N] [--seconds S] [--write docs/benchmarks_links.inc]

Rules that hold here:

- the limits are the server's (nginx's ``limit_rate`` of every connection) or a process's in between that delays what
  passes; what is measured knows of neither;
- ratios leave out the start of a client in Python, which is in its whole wall clock; targets are printed beside the
  figures and never asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import run_nginx

from ._fetching import MIB, Command, aria2c, curl, fetch, fill, make_trusted, python, require
from ._measuring import ROOT, Spread, ratios, take_turns
from ._tables import make_table, publish, tell_machine

_RATE: Final = 5 * MIB
_SLOW_MIB: Final = 64
_FAR_MIB: Final = 128
_FAR_FILES: Final = 500
_SMALL_BYTES: Final = 10 * 1024
# Half of a round trip of 50 ms.
_DELAY_S: Final = 0.025


@dataclass(frozen=True)
class Family:
    """Files behind one link, and who fetches them.

    Attributes:
        name: for the table.
        clients: ours is called ``trio_dlm``.
        urls: what is fetched.
        size: how many bytes each file has.
        figure: what is compared.
        ideal_s: the least that it could take, if that is known.
        targets: what the ratio of ours and another's should be at most; under ``trio_dlm`` that of wall and ideal.
    """

    name: str
    clients: Mapping[str, Command]
    urls: Sequence[str]
    size: int
    figure: str = "transfer_wall_s"
    ideal_s: float | None = None
    targets: Mapping[str, float] = field(default_factory=dict)


def compare(family: Family, *, rounds: int) -> list[list[str]]:
    """Let the clients of *family* fetch its files by turns, and return the rows of the table."""
    print(family.name, file=sys.stderr)
    expected_bytes = family.size * len(family.urls)
    taken = take_turns(
        {
            name: partial(fetch, command, family.urls, expected_bytes=expected_bytes)
            for name, command in family.clients.items()
        },
        rounds=rounds,
    )
    rows: list[list[str]] = []
    for name, samples in taken.items():
        walls = [sample["transfer_wall_s"] for sample in samples]
        target = family.targets.get(name)
        rows.append(
            [
                family.name,
                name,
                Spread.of([sample["wall_s"] for sample in samples]).show(2),
                Spread.of(walls).show(2),
                "–" if family.ideal_s is None else Spread.of([wall / family.ideal_s for wall in walls]).show(2),
                Spread.of([sample["transfer_cpu_s"] for sample in samples]).show(2),
                "–" if name == "trio_dlm" else ratios(taken["trio_dlm"], samples, family.figure).show(2),
                "–" if target is None else f"≤ {target:g}",
            ]
        )
    return rows


@contextlib.contextmanager
def _far_away(url: str) -> Iterator[str]:
    """Give another URL of the server at *url*, behind a round trip of 50 ms."""
    port = url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", f"{__package__}._slow_link", port, str(_DELAY_S)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


def _families(limited: str, far: str, *, ideal_s: float) -> Iterator[Family]:
    for connections in (8, 16):
        yield Family(
            f"segments, {connections}",
            {"trio_dlm": python("trio_dlm", connections=connections), "aria2c": aria2c(connections=connections)},
            [f"{limited}segments{connections}.bin"],
            int(connections * _RATE * ideal_s),
            ideal_s=ideal_s,
            targets={"trio_dlm": 1.10, "aria2c": 1.0},
        )
    warm = f"{limited}warm.bin"
    yield Family(
        "slow, CPU",
        {**{each: python(each, warm=warm) for each in ("trio_dlm", "httpx on trio")}, "curl": curl()},
        [f"{limited}slow.bin"],
        _SLOW_MIB * MIB,
        figure="transfer_cpu_s",
        ideal_s=_SLOW_MIB * MIB / _RATE,
        targets={"httpx on trio": 0.3},
    )
    yield Family(
        "50 ms away, 1 file",
        {"trio_dlm": python("trio_dlm", connections=8), "aria2c": aria2c(connections=8)},
        [f"{far}far.bin"],
        _FAR_MIB * MIB,
        targets={"aria2c": 1.0},
    )
    yield Family(
        f"50 ms away, {_FAR_FILES} files",
        {"trio_dlm": python("trio_dlm", at_once=20), "curl": curl(at_once=20)},
        [f"{far}small{number:03}.bin" for number in range(_FAR_FILES)],
        _SMALL_BYTES,
        targets={"curl": 1.2},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="what segments take ideally")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = require(parser, "curl", "aria2c")
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        root = place / "root"
        for each in ("root", "limited", "near"):
            (place / each).mkdir()
        certificate = make_trusted(place)
        fill(root / "warm.bin", 1)
        with (
            run_nginx(
                program, prefix=place / "limited", root=root, certificate=certificate, rate_bytes_per_s=_RATE
            ) as limited,
            run_nginx(program, prefix=place / "near", root=root) as near,
            _far_away(near.url) as far,
        ):
            for family in _families(limited.url, far, ideal_s=options.seconds):
                for url in family.urls:
                    fill(root / url.rpartition("/")[2], family.size)
                rows += compare(family, rounds=options.rounds)
    header = ["link", "client", "wall s", "of it transfer", "transfer / ideal", "CPU s", "ours / its", "target"]
    publish(f"{make_table(header, rows)}\n\n{options.rounds} rounds.  {tell_machine('trio', 'httpx')}", options.write)


if __name__ == "__main__":
    main()

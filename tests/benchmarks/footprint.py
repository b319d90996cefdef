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
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import find_nginx, run_nginx

from ._authority import make_certificate
from ._measuring import Sample, Spread, ratios, take_turns
from ._spending import spend
from ._tables import make_table, tell_machine

_MIB: Final = 1024 * 1024
_CLIENT: Final = (sys.executable, "-m", "tests.benchmarks._footprint_client")
_MANY: Final = 100
_EACH_MIB: Final = 8

# By what is imported, in a fresh interpreter.
_IMPORTS: Final = {
    "nothing": "",
    "trio_dlm": "import trio_dlm",
    "trio, httpx": "import trio, httpx",
    "yt_dlp": "import yt_dlp",
    "huggingface_hub": "import huggingface_hub",
}


def run_case(case: str, url: str) -> Sample:
    """Run one case of ours in a process, and return its own figure and what the system says of it."""
    with _scratch() as directory:
        taken, printed = spend([*_CLIENT, case, url, directory])
    return {**taken, "figure": float(printed)}


def run_tool(command: Callable[[str], list[str]]) -> Sample:
    """Run a program of others'."""
    with _scratch() as directory:
        taken, _printed = spend(command(directory))
    return taken


def run_python(*arguments: str) -> Sample:
    """Run the interpreter, and return what that took."""
    return spend([sys.executable, *arguments])[0]


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


def _row(what: str, who: str, samples: Sequence[Sample], figure: str, unit: str, target: float | None) -> list[str]:
    spread = Spread.of([sample[figure] for sample in samples]).show(1)
    return [what, who, f"{spread} {unit}", "–" if target is None else f"≤ {target:g} {unit}"]


def compare_transfers(base: str, *, rounds: int) -> list[list[str]]:
    """Measure what is measured while bytes come."""
    url = f"{base}big.bin"

    def aria2c(directory: str) -> list[str]:
        return ["aria2c", "-q", "--no-conf", "--file-allocation=none", "-x8", "-s8", f"-d{directory}", *_trust(), url]

    def curl(directory: str) -> list[str]:
        return ["curl", "-s", "--fail", "--cacert", os.environ["SSL_CERT_FILE"], "-o", f"{directory}/file", url]

    contenders: Mapping[str, Callable[[], Sample]] = {
        **{each: partial(run_case, each, f"{base}big.bin") for each in ("stall", "stall-httpx", "cancel", "one")},
        "many": partial(run_case, "many", f"{base}each.bin"),
        "aria2c": partial(run_tool, aria2c),
        "curl": partial(run_tool, curl),
    }
    taken = take_turns(contenders, rounds=rounds)
    return [
        _row("loop held, worst", "trio_dlm", taken["stall"], "figure", "ms", 5),
        _row("loop held, worst", "httpx", taken["stall-httpx"], "figure", "ms", None),
        _row("cancel at full speed", "trio_dlm", taken["cancel"], "figure", "ms", 50),
        _row("memory, 8 connections", "trio_dlm", taken["one"], "rss_mib", "MiB", 60),
        _row("memory, 8 connections", "aria2c", taken["aria2c"], "rss_mib", "MiB", None),
        _row("memory, one connection", "curl", taken["curl"], "rss_mib", "MiB", None),
        _row(f"memory, {_MANY} at once", "trio_dlm", taken["many"], "rss_mib", "MiB", 120),
    ]


def _trust() -> list[str]:
    return [f"--ca-certificate={os.environ['SSL_CERT_FILE']}"]


def compare_starts(*, rounds: int) -> list[list[str]]:
    """Measure interpreters that import something and end."""
    there = {
        name: partial(run_python, "-c", code)
        for name, code in _IMPORTS.items()
        if importlib.util.find_spec(code.removeprefix("import ").partition(",")[0] or "sys") is not None
    }
    taken = take_turns({**there, "command": partial(run_python, "-m", "trio_dlm", "--version")}, rounds=rounds)
    rows: list[list[str]] = []
    for name, samples in taken.items():
        milliseconds = [{"cpu_ms": sample["cpu_s"] * 1000} for sample in samples]
        what = "start, trio-dlm --version" if name == "command" else f"start, import {name}"
        rows.append(_row(what, "CPU", milliseconds, "cpu_ms", "ms", None))
    against = ratios(taken["trio_dlm"], taken["trio, httpx"], "cpu_s")
    rows.append(["start, import trio_dlm / import trio, httpx", "ratio", against.show(2), "≤ 1.15"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = find_nginx()
    missing = [name for name in ("curl", "aria2c") if shutil.which(name) is None]
    if program is None or missing:
        parser.error(f"needs nginx, curl and aria2c; missing: {', '.join(missing) or 'nginx'}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        (place / "root").mkdir()
        (place / "nginx").mkdir()
        os.environ["SSL_CERT_FILE"] = str(place / "ca.pem")
        certificate = make_certificate(place)
        for name, size in (("big.bin", options.big), ("each.bin", _EACH_MIB)):
            with (place / "root" / name).open("wb") as file:
                for _ in range(size):
                    file.write(os.urandom(_MIB))
        with run_nginx(program, prefix=place / "nginx", root=place / "root", certificate=certificate) as nginx:
            rows = compare_transfers(nginx.url, rounds=options.rounds)
    rows += compare_starts(rounds=options.rounds)
    text = (
        f"{make_table(['what', 'of whom', 'median (range)', 'target'], rows)}\n\n"
        f"{options.rounds} rounds, a file of {options.big:,} MiB.  {tell_machine('trio', 'httpx')}\n"
    )
    print(text)
    if options.write is not None:
        options.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

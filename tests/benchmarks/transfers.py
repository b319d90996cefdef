"""What it costs to bring files from a server to the disk: processor time of ours and of others, and the wall clock.

::

    nox -s bench -- transfers [--rounds N] [--big MIB] [--small COUNT] [--write docs/benchmarks_transfers.inc]

Rules that hold here:

- the server is nginx on loopback, plain and with TLS; every client saves to the same kind of disk (memory, where there
  is one), and what it saved is compared in size;
- the processor time is that of the whole process, start and imports included; for clients in Python the part from the
  first request to the last file is told as well;
- targets are printed beside the figures and never asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import find_nginx, run_nginx

from ._authority import make_certificate
from ._measuring import ROOT, Sample, Spread, ratios, take_turns
from ._tables import make_table, tell_machine

SMALL_BYTES: Final = 10 * 1024

# Written by others, in C; what each is told to do the same.
_TOOLS: Final[Mapping[str, Callable[[int, Path, Path], list[str]]]] = {
    "curl": lambda at_once, urls, out: [
        *("curl", "-s", "--fail", "-Z", "--parallel-max", str(at_once), "--output-dir", str(out)),
        *("--remote-name-all", "-K", str(urls.with_suffix(".curl"))),
    ],
    "aria2c": lambda at_once, urls, out: [
        *("aria2c", "-q", "--no-conf", "--file-allocation=none", f"-j{at_once}", "-x1", "-s1", "-d", str(out)),
        *("-i", str(urls)),
    ],
    "wget2": lambda at_once, urls, out: [
        *("wget2", "-q", "--no-config", "--no-robots", f"--max-threads={at_once}", "--chunk-size=0", "-P", str(out)),
        *("-i", str(urls)),
    ],
}
_PYTHON: Final = ("trio_dlm", "aiohttp", "httpx", "requests")

# By family: who takes part, how many at once, and what ours should reach against whom.
_BIG: Final = ("trio_dlm", "curl", "aria2c", "wget2", "aiohttp", "requests", "httpx")
_SMALL: Final = ("trio_dlm", "curl", "aria2c", "wget2", "aiohttp")
_TARGETS: Final = {
    ("big", "http", "curl"): 0.85,
    ("big", "https", "curl"): 0.85,
    ("big", "https", "aria2c"): 0.55,
    ("small", "https", "aria2c"): 0.7,
    ("small", "https", "curl"): 2.5,
    ("small", "https", "aiohttp"): 1.0,
}


def measure(client: str, urls: Sequence[str], *, at_once: int, authority: Path, expected_bytes: int) -> Sample:
    """Run *client* in a process of its own, and return its processor time and wall clock.

    Raises:
        subprocess.CalledProcessError: it failed.
        RuntimeError: it did not save what it should have.
    """
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        directory, listed = Path(scratch, "out"), Path(scratch, "urls")
        directory.mkdir()
        listed.write_text("\n".join(urls), "utf-8")
        listed.with_suffix(".curl").write_text("".join(f'url = "{url}"\n' for url in urls), "utf-8")
        is_python = client in _PYTHON
        command = (
            [sys.executable, "-m", "tests.benchmarks._transfers_client", client, str(at_once), str(directory)]
            if is_python
            else _TOOLS[client](at_once, listed, directory)
        )
        environment = {**os.environ, "SSL_CERT_FILE": str(authority), "CURL_CA_BUNDLE": str(authority)}
        environment["REQUESTS_CA_BUNDLE"] = str(authority)
        if client == "aria2c":
            command.insert(1, f"--ca-certificate={authority}")
        if client == "wget2":
            command.insert(1, f"--ca-certificate={authority}")
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            command, input="\n".join(urls), env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        wall_s, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        saved = sum(path.stat().st_size for path in directory.iterdir())
        if saved != expected_bytes:
            raise RuntimeError(f"{client} saved {saved} bytes, expected {expected_bytes}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    inside = json.loads(done.stdout)["transfer_s"] if is_python else cpu_s
    return {"cpu_s": cpu_s, "transfer_s": inside, "wall_s": wall_s}


def compare(
    family: str, clients: Sequence[str], urls: Mapping[str, Sequence[str]], *, rounds: int, at_once: int, **more: object
) -> list[list[str]]:
    """Compare *clients* over http and https, and return the rows of the table."""
    rows: list[list[str]] = []
    for scheme, each in urls.items():
        print(f"{family} over {scheme}", file=sys.stderr)
        taken = take_turns(
            {name: partial(measure, name, each, at_once=at_once, **more) for name in clients},  # type: ignore[arg-type]
            rounds=rounds,
        )
        for name, samples in taken.items():
            target = _TARGETS.get((family, scheme, name))
            # Against a loop in Python both starts are left out.
            figure = "transfer_s" if name in _PYTHON else "cpu_s"
            against = "–" if name == "trio_dlm" else ratios(taken["trio_dlm"], samples, figure).show(2)
            rows.append(
                [
                    f"{family}, {scheme}",
                    name,
                    _spread(samples, "cpu_s").show(2),
                    _spread(samples, "transfer_s").show(2),
                    _spread(samples, "wall_s").show(2),
                    against,
                    "–" if target is None else f"≤ {target:g}",
                ]
            )
    return rows


def _spread(samples: Sequence[Sample], figure: str) -> Spread:
    return Spread.of([each[figure] for each in samples])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--small", type=int, default=5000, help="how many small files")
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = find_nginx()
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if program is None or missing:
        parser.error(f"needs nginx, curl, aria2c and wget2; missing: {', '.join(missing) or 'nginx'}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("root", "plain", "secure"):
            (place / name).mkdir()
        _make_files(place / "root", options.big, options.small)
        certificate = make_certificate(place)
        authority = place / "ca.pem"
        with (
            run_nginx(program, prefix=place / "plain", root=place / "root") as plain,
            run_nginx(program, prefix=place / "secure", root=place / "root", certificate=certificate) as secure,
        ):
            bases = {"http": plain.url, "https": secure.url}
            big_bytes = options.big * 1024 * 1024
            rows = compare(
                "big",
                _BIG,
                {scheme: [f"{base}big.bin"] for scheme, base in bases.items()},
                rounds=options.rounds,
                at_once=1,
                authority=authority,
                expected_bytes=big_bytes,
            )
            rows += compare(
                "small",
                _SMALL,
                {
                    scheme: [f"{base}small{number:05}.bin" for number in range(options.small)]
                    for scheme, base in bases.items()
                },
                rounds=options.rounds,
                at_once=options.at_once,
                authority=authority,
                expected_bytes=options.small * SMALL_BYTES,
            )
    header = ["files", "client", "CPU s", "of it transfer", "wall s", "CPU of ours / its", "target"]
    text = (
        f"{make_table(header, rows)}\n\n{options.rounds} rounds, one file of {options.big:,} MiB, {options.small:,} "
        f"files of 10 KiB, {options.at_once} at a time.  {tell_machine('trio', 'aiohttp', 'httpx', 'requests')}\n"
    )
    print(text)
    if options.write is not None:
        options.write.write_text(text, "utf-8")


def _make_files(root: Path, big_mib: int, small_count: int) -> None:
    block = os.urandom(1024 * 1024)
    with (root / "big.bin").open("wb") as file:
        for _ in range(big_mib):
            file.write(block)
    for number in range(small_count):
        (root / f"small{number:05}.bin").write_bytes(os.urandom(SMALL_BYTES))


if __name__ == "__main__":
    main()

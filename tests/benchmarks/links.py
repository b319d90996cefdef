"""How well a link that is slow, or far, is used: the wall clock against the ideal and against others.

::

    nox -s bench -- links [--rounds N] [--seconds S] [--write docs/benchmarks_links.inc]

Rules that hold here:

- the limits are the server's (nginx's ``limit_rate`` of every connection) or a process's in between that delays what
  passes; what is measured knows of neither;
- what was saved is compared in size, and targets are printed beside the figures and never asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tests.nginx import find_nginx, run_nginx

from ._authority import make_certificate
from ._measuring import ROOT, Sample, Spread, ratios, take_turns
from ._spending import spend
from ._tables import make_table, tell_machine

_MIB: Final = 1024 * 1024
_RATE: Final = 5 * _MIB
_SLOW_MIB: Final = 64
_FAR_MIB: Final = 128
_FAR_FILES: Final = 500
_SMALL_BYTES: Final = 10 * 1024
# Half of a round trip of 50 ms.
_DELAY_S: Final = 0.025

_AGENT: Final = (sys.executable, "-m", "tests.benchmarks._links_client")


def _ours(connections: int, at_once: int, *warm: str) -> Callable[[Path, Path], list[str]]:
    return lambda urls, out: [*_AGENT, "trio_dlm", str(connections), str(at_once), str(urls), str(out), *warm]


def _httpx(warm: str) -> Callable[[Path, Path], list[str]]:
    return lambda urls, out: [*_AGENT, "httpx", "1", "1", str(urls), str(out), warm]


def _aria2c(connections: int) -> Callable[[Path, Path], list[str]]:
    return lambda urls, out: [
        *("aria2c", "-q", "--no-conf", "--file-allocation=none", "--min-split-size=1M", f"-x{connections}"),
        *(f"-s{connections}", f"--ca-certificate={os.environ['SSL_CERT_FILE']}", "-d", str(out), "-i", str(urls)),
    ]


def _curl(at_once: int) -> Callable[[Path, Path], list[str]]:
    return lambda urls, out: [
        *(
            "curl",
            "-s",
            "--no-progress-meter",
            "--fail",
            "--cacert",
            os.environ["SSL_CERT_FILE"],
            "-Z",
            "--parallel-max",
            str(at_once),
        ),
        *("--output-dir", str(out), "--remote-name-all", "-K", str(urls.with_suffix(".curl"))),
    ]


def measure(make: Callable[[Path, Path], list[str]], urls: Sequence[str], *, expected_bytes: int) -> Sample:
    """Fetch *urls* with what *make* says, in a process of its own.

    Raises:
        RuntimeError: it failed, or did not save what it should have.
    """
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        out, listed = Path(scratch, "out"), Path(scratch, "urls")
        out.mkdir()
        listed.write_text("\n".join(urls), "utf-8")
        listed.with_suffix(".curl").write_text("".join(f'url = "{url}"\n' for url in urls), "utf-8")
        taken, printed = spend(make(listed, out))
        saved = sum(path.stat().st_size for path in out.iterdir())
        if saved != expected_bytes:
            raise RuntimeError(f"{saved} bytes were saved, expected {expected_bytes}")
    # A client in Python tells what its transfer took, without its start.
    inside = dict(zip(("cpu_s", "wall_s"), map(float, printed.split()), strict=False))
    return {**taken, "transfer_cpu_s": inside.get("cpu_s", taken["cpu_s"]), **inside}


def compare(
    name: str,
    clients: Mapping[str, Callable[[Path, Path], list[str]]],
    urls: Sequence[str],
    *,
    expected_bytes: int,
    rounds: int,
    figure: str,
    ideal_s: float | None = None,
    targets: Mapping[str, float],
) -> list[list[str]]:
    """Let *clients* fetch *urls* by turns, and return the rows of the table."""
    print(name, file=sys.stderr)
    taken = take_turns(
        {each: partial(measure, make, urls, expected_bytes=expected_bytes) for each, make in clients.items()},
        rounds=rounds,
    )
    rows: list[list[str]] = []
    for each, samples in taken.items():
        walls = [sample["wall_s"] for sample in samples]
        if each == "trio_dlm":
            against, target = "–", targets.get("ideal")
        else:
            against, target = ratios(taken["trio_dlm"], samples, figure).show(2), targets.get(each)
        rows.append(
            [
                name,
                each,
                Spread.of(walls).show(2),
                "–" if ideal_s is None else Spread.of([wall / ideal_s for wall in walls]).show(2),
                Spread.of([sample["transfer_cpu_s"] for sample in samples]).show(2),
                against,
                "–" if target is None else f"≤ {target:g}",
            ]
        )
    return rows


@contextlib.contextmanager
def _far_away(url: str) -> Iterator[str]:
    """Give another URL of the server at *url*, behind a round trip of 50 ms."""
    port = url.rstrip("/").rpartition(":")[2]
    command = [sys.executable, "-m", "tests.benchmarks._slow_link", port, str(_DELAY_S)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="what segments take ideally")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    program = find_nginx()
    missing = [name for name in ("curl", "aria2c") if shutil.which(name) is None]
    if program is None or missing:
        parser.error(f"needs nginx, curl and aria2c; missing: {', '.join(missing) or 'nginx'}")
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        place = Path(scratch)
        root = place / "root"
        root.mkdir()
        certificate = make_certificate(place)
        os.environ["SSL_CERT_FILE"] = str(place / "ca.pem")

        def serve(name: str, *, is_secure: bool, rate: int | None) -> str:
            prefix = place / name
            prefix.mkdir()
            running = run_nginx(
                program,
                prefix=prefix,
                root=root,
                certificate=certificate if is_secure else None,
                rate_bytes_per_s=rate,
            )
            return stack.enter_context(running).url

        limited = serve("limited", is_secure=True, rate=_RATE)
        for connections in (8, 16):
            size = int(connections * _RATE * options.seconds)
            name = f"segments{connections}.bin"
            _fill(root / name, size)
            rows += compare(
                f"segments, {connections}",
                {"trio_dlm": _ours(connections, 1), "aria2c": _aria2c(connections)},
                [limited + name],
                expected_bytes=size,
                rounds=options.rounds,
                figure="wall_s",
                ideal_s=options.seconds,
                targets={"ideal": 1.10, "aria2c": 1.0},
            )
        _fill(root / "slow.bin", _SLOW_MIB * _MIB)
        _fill(root / "warm.bin", 1)
        warm = f"{limited}warm.bin"
        rows += compare(
            "slow, CPU",
            {"trio_dlm": _ours(1, 1, warm), "httpx": _httpx(warm), "curl": _curl(1)},
            [f"{limited}slow.bin"],
            expected_bytes=_SLOW_MIB * _MIB,
            rounds=options.rounds,
            figure="transfer_cpu_s",
            ideal_s=_SLOW_MIB * _MIB / _RATE,
            targets={"httpx": 0.3},
        )
        far = stack.enter_context(_far_away(serve("near", is_secure=False, rate=None)))
        _fill(root / "far.bin", _FAR_MIB * _MIB)
        rows += compare(
            "50 ms away, 1 file",
            {"trio_dlm": _ours(8, 1), "aria2c": _aria2c(8)},
            [f"{far}far.bin"],
            expected_bytes=_FAR_MIB * _MIB,
            rounds=options.rounds,
            figure="wall_s",
            targets={"aria2c": 1.0},
        )
        names = [f"small{number:03}.bin" for number in range(_FAR_FILES)]
        for each in names:
            _fill(root / each, _SMALL_BYTES)
        rows += compare(
            f"50 ms away, {_FAR_FILES} files",
            {"trio_dlm": _ours(1, 20), "curl": _curl(20)},
            [far + each for each in names],
            expected_bytes=_FAR_FILES * _SMALL_BYTES,
            rounds=options.rounds,
            figure="wall_s",
            targets={"curl": 1.2},
        )
    header = ["link", "client", "wall s", "wall / ideal", "CPU s", "ours / its", "target"]
    text = f"{make_table(header, rows)}\n\n{options.rounds} rounds.  {tell_machine('trio', 'httpx')}\n"
    print(text)
    if options.write is not None:
        options.write.write_text(text, "utf-8")


def _fill(path: Path, size: int) -> None:
    with path.open("wb") as file:
        while size:
            size -= file.write(os.urandom(min(size, _MIB)))


if __name__ == "__main__":
    main()

"""Programs that fetch files, each as a process of its own, and what that took.

Rules that hold here:

- all are told to do the same: save to a directory in memory, where there is one, and trust one authority;
- what was saved is compared in size;
- a client in Python says itself what its transfer took; of others the whole process is the transfer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import trustme

from tests.nginx import find_nginx

from ._measuring import LIMIT_S, ROOT, Sample

__all__ = [
    "Command",
    "aria2c",
    "curl",
    "fetch",
    "fill",
    "make_trusted",
    "memory",
    "python",
    "require",
    "spend",
    "wget2",
]

MIB: Final = 1024 * 1024

# Of ru_maxrss: kibibytes, but on macOS.
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024

# Where programs look for whom to trust; the others are told by an option.
_NAMES_OF_TRUST: Final = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")

Command: TypeAlias = Callable[[Path, Path], Sequence[str]]
"""From a file with URLs, one a line, and a directory to the command that fetches them."""


def curl(*, at_once: int = 1) -> Command:
    """Make the command of curl."""
    return lambda urls, out: [
        *("curl", "-s", "--no-progress-meter", "--fail", "-Z", "--parallel-max", str(at_once)),
        *("--output-dir", str(out), "--remote-name-all", "-K", str(urls.with_suffix(".curl"))),
    ]


def aria2c(*, at_once: int = 1, connections: int = 1) -> Command:
    """Make the command of aria2."""
    return lambda urls, out: [
        *("aria2c", "-q", "--no-conf", "--file-allocation=none", "--min-split-size=1M", _trust(), f"-j{at_once}"),
        *(f"-x{connections}", f"-s{connections}", "-d", str(out), "-i", str(urls)),
    ]


def wget2(*, at_once: int = 1) -> Command:
    """Make the command of wget2."""
    return lambda urls, out: [
        *("wget2", "-q", "--no-config", "--no-robots", "--chunk-size=0", _trust(), f"--max-threads={at_once}"),
        *("-P", str(out), "-i", str(urls)),
    ]


def python(client: str, *, connections: int = 1, at_once: int = 1, warm: str = "") -> Command:
    """Make the command of one of the clients in ``_fetching_client``; it fetches the URL *warm* before it is timed."""
    module = f"{__package__}._fetching_client"
    return lambda urls, out: [
        *(sys.executable, "-m", module, client, str(connections), str(at_once), str(urls), str(out), warm)
    ]


def _trust() -> str:
    return f"--ca-certificate={os.environ['SSL_CERT_FILE']}"


def fetch(command: Command, urls: Sequence[str], *, expected_bytes: int) -> Sample:
    """Fetch *urls*, and return ``cpu_s``, ``wall_s``, ``rss_mib``, ``transfer_cpu_s`` and ``transfer_wall_s``.

    Raises:
        RuntimeError: it failed, hangs, or did not save what it should have.
    """
    with memory() as scratch:
        out, listed = Path(scratch, "out"), Path(scratch, "urls")
        out.mkdir()
        listed.write_text("\n".join(urls), "utf-8")
        listed.with_suffix(".curl").write_text("".join(f'url = "{url}"\n' for url in urls), "utf-8")
        taken, printed = spend(command(listed, out))
        saved = sum(path.stat().st_size for path in out.iterdir())
        if saved != expected_bytes:
            raise RuntimeError(f"{saved} bytes were saved, expected {expected_bytes}")
    of_all = {"transfer_cpu_s": taken["cpu_s"], "transfer_wall_s": taken["wall_s"]}
    return {**taken, **(json.loads(printed) if printed else of_all)}


def spend(command: Sequence[str]) -> tuple[Sample, str]:
    """Run *command* to its end, and return ``cpu_s``, ``wall_s``, ``rss_mib`` and what it printed.

    Raises:
        RuntimeError: it failed, or hangs.
    """
    begun = time.perf_counter()
    # Without `with`, which would wait for it a second time.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    guard = threading.Timer(LIMIT_S, process.kill)
    guard.start()
    try:
        with process.stdout:
            printed = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        guard.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}")
    figures = {
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": time.perf_counter() - begun,
        "rss_mib": usage.ru_maxrss * _RSS_UNIT / MIB,
    }
    return figures, printed


def memory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory in memory, or a usual one where there is none."""
    return tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


def fill(path: Path, size: int) -> None:
    """Make a file of *size* random bytes."""
    with path.open("wb") as file:
        while size:
            size -= file.write(os.urandom(min(size, MIB)))


def make_trusted(place: Path) -> tuple[Path, Path]:
    """Make chain and key of a server at 127.0.0.1 in *place*, which every process that is begun later trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    os.environ.update(dict.fromkeys(_NAMES_OF_TRUST, str(place / "ca.pem")))
    server = authority.issue_cert("127.0.0.1")
    chain, key = place / "chain.pem", place / "key.pem"
    for blob in server.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    server.private_key_pem.write_to_path(str(key))
    return chain, key


def require(parser: ArgumentParser, *programs: str) -> str:
    """Return the path of nginx, or end with what is missing of it and *programs*."""
    nginx = find_nginx()
    missing = [name for name in programs if shutil.which(name) is None]
    if nginx is None or missing:
        parser.error(f"missing: {', '.join(missing if nginx else ['nginx', *missing])}")
    return nginx

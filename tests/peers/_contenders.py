"""Who is compared, and how each is started: as its documentation says for a download that resumes, split if it can be.

Rules that hold here:

- all are asked for the same: connections that take 5 s at most, silence of 5 s at most, at least 1 kB/s, 3 further
  attempts, up to 8 segments of at least 1 MiB; what a client has no option for is left out;
- a command is data, and printed on the page as it stands here;
- none of those from PyPI is imported here: they live in an environment of their own, and are driven by a script.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio_dlm

from ._scenario import Ability

__all__ = ["Ask", "Contender", "find_contenders"]

_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parents[1]


@dataclass(frozen=True)
class Ask:
    """What the user wants.

    Attributes:
        url: of the file.
        mirrors: other addresses of it.
        headers: to be sent along.
        sha256: the digest that the user knows, in hex.
        authority: a file with the certificate that vouches for the server.
        is_about_names: the server may say what the file is called.
    """

    url: str = "URL"
    mirrors: Sequence[str] = ()
    headers: Sequence[tuple[str, str]] = ()
    sha256: str | None = None
    authority: Path | None = None
    is_about_names: bool = False


@dataclass(frozen=True)
class Contender:
    """A client.

    Attributes:
        name: in the table.
        version: as it says itself.
        make_command: makes the command line.
        abilities: what it has options for.
        own_files: patterns of the names of its files beside the one it fetches.
        environ: variables of its own.
        is_ours: whether it is this project's.
    """

    name: str
    version: str
    make_command: Callable[[Ask], list[str]]
    abilities: frozenset[Ability] = frozenset()
    own_files: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    is_ours: bool = False
    shown: str = ""


def find_contenders(peers_python: Path | None) -> list[Contender]:
    """Return those that are there.

    Args:
        peers_python: the interpreter of an environment with pypdl and parfive.
    """
    found = [
        Contender(
            name=name,
            version=_version([name, "--version"]),
            make_command=make,
            abilities=frozenset(abilities),
            own_files=own,
            shown=" ".join(make(Ask())),
        )
        for name, make, abilities, own in (
            ("curl", _curl, (), ()),
            ("wget", _wget, (), ()),
            ("wget2", _wget2, (), ()),
            ("aria2c", _aria2c, (Ability.DIGEST, Ability.MIRRORS), ("*.aria2",)),
        )
        if shutil.which(name) is not None
    ]
    if peers_python is not None:
        found += [
            _driven("pypdl", peers_python, own_files=("*.json", "*.[0-9]*", "pypdl.log"), shown=_PYPDL),
            _driven("parfive", peers_python, own_files=(), shown=_PARFIVE),
        ]
    return [*found, *_ours()]


# Programs.


def _curl(ask: Ask) -> list[str]:
    # -J cannot be had together with -C.
    return [
        *("curl", "-sSfLOJ" if ask.is_about_names else "-sSfLO", "--retry", "3", "--retry-all-errors"),
        *(() if ask.is_about_names else ("-C", "-")),
        *("--connect-timeout", "5", "--speed-time", "5", "--speed-limit", "1000"),
        *(() if ask.authority is None else ("--cacert", str(ask.authority))),
        *_headers("-H", ask),
        ask.url,
    ]


def _wget(ask: Ask) -> list[str]:
    return [
        *("wget", "-nv", "-c", "--content-disposition", "--tries=4", "--waitretry=2", "--timeout=5"),
        *(() if ask.authority is None else (f"--ca-certificate={ask.authority}",)),
        *_headers("--header", ask),
        ask.url,
    ]


def _wget2(ask: Ask) -> list[str]:
    # Without --chunk-size: together with -c it asks for two ranges at once, and goes on for ever.
    return [
        *("wget2", "-nv", "-c", "--content-disposition", "--tries=4", "--waitretry=2", "--timeout=5"),
        *(() if ask.authority is None else (f"--ca-certificate={ask.authority}",)),
        *_headers("--header", ask),
        ask.url,
    ]


def _aria2c(ask: Ask) -> list[str]:
    return [
        *("aria2c", "-c", "-x8", "-s8", "-k1M", "--max-tries=4", "--retry-wait=1", "--connect-timeout=5"),
        *("--timeout=5", "--lowest-speed-limit=1K", "--summary-interval=0", "--console-log-level=warn"),
        *(() if ask.authority is None else (f"--ca-certificate={ask.authority}",)),
        *(() if ask.sha256 is None else (f"--checksum=sha-256={ask.sha256}",)),
        *_headers("--header", ask),
        ask.url,
        *ask.mirrors,
    ]


def _headers(option: str, ask: Ask) -> list[str]:
    return [part for name, value in ask.headers for part in (option, f"{name}: {value}")]


# From PyPI.

_PYPDL: Final = (
    "Pypdl().start(URL, file_path=DIRECTORY, segments=8, retries=3, etag_validation=True,"
    " timeout=ClientTimeout(sock_connect=5, sock_read=5), display=False), then validate_hash() of what it returns"
)
_PARFIVE: Final = (
    "Downloader(max_splits=8, config=SessionConfig(timeouts=ClientTimeout(sock_connect=5, sock_read=5))),"
    " enqueue_file(URL, path=DIRECTORY, checksum=True), download(), and retry() up to three times"
)


def _driven(name: str, python: Path, *, own_files: tuple[str, ...], shown: str) -> Contender:
    driver = str(_HERE / f"drive_{name}.py")
    return Contender(
        name=name,
        version=_version([str(python), driver, "--version"]),
        make_command=lambda ask: [str(python), driver, _as_json(ask)],
        abilities=frozenset(Ability) if name == "pypdl" else frozenset({Ability.DIGEST}),
        own_files=own_files,
        shown=shown,
    )


def _as_json(ask: Ask) -> str:
    return json.dumps(
        {
            "url": ask.url,
            "mirrors": list(ask.mirrors),
            "headers": dict(ask.headers),
            "sha256": ask.sha256,
            "authority": None if ask.authority is None else str(ask.authority),
        }
    )


# Ours.


def _ours() -> list[Contender]:
    driver = str(_HERE / "drive_trio_dlm.py")
    return [
        Contender(
            name="trio_dlm",
            version=f"trio_dlm {trio_dlm.__version__}",
            make_command=lambda ask: [sys.executable, driver, _as_json(ask)],
            abilities=frozenset(Ability),
            own_files=("*.part", "*.part.*"),
            environ={"PYTHONPATH": str(_ROOT)},
            is_ours=True,
            shown="trio_dlm.download(URL, DIRECTORY, timeout_s=5, connect_timeout_s=5, retries=3, connections=8,"
            " min_segment_size=1024 * 1024, min_rate_bytes_per_s=1000)",
        ),
        Contender(
            name="trio-dlm get",
            version=f"trio_dlm {trio_dlm.__version__}",
            make_command=_trio_dlm_get,
            abilities=frozenset(Ability),
            own_files=("*.part", "*.part.*"),
            environ={"PYTHONPATH": str(_ROOT)},
            is_ours=True,
            shown=" ".join(["trio-dlm", *_trio_dlm_get(Ask())[3:]]),
        ),
    ]


def _trio_dlm_get(ask: Ask) -> list[str]:
    return [
        *(sys.executable, "-m", "trio_dlm", "get", "--connections", "8", "--min-segment-size", "1M", "--retries", "3"),
        *("--timeout", "5", "--connect-timeout", "5", "--min-rate", "1K"),
        *(() if ask.sha256 is None else ("--checksum", f"sha256:{ask.sha256}")),
        *(part for mirror in ask.mirrors for part in ("--mirror", mirror)),
        *_headers("-H", ask),
        ask.url,
    ]


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    first = done.stdout.partition("\n")[0]
    # What it was built with and on is another matter.
    return re.split(r" \(| built | - ", first)[0].strip(" .")

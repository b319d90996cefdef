"""The command in a process of its own, and snapshots and terminals for the tests of its parts.

Rules that hold here:

- the process sees no proxy, no colour setting and no terminal but what the test gives it;
- it is always ended: a test that fails leaves none behind;
- nobody waits for time, only for what the process writes and for its end.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trio
from rich.cells import cell_len

import trio_dlm
from trio_dlm import (
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    HttpStatusError,
    ManagerStats,
    Progress,
    TaskSnapshot,
)

__all__ = ["Glass", "Memory", "Run", "command", "environment", "files_in", "snapshot_of", "start_command", "stats_of"]

# Far more than any of it takes, on a machine that does something else as well.
PATIENCE_S: Final = 60.0

MOMENT: Final = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)

_NOT_PASSED_ON: Final = re.compile(
    r"(?i)(.*_proxy|no_color|force_color|clicolor.*|tty_.*|columns|lines|term|pythonioencoding)"
)


def environment(**changes: str) -> dict[str, str]:
    """Return what the process gets to see, which is what everybody has."""
    kept = {name: value for name, value in os.environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
    # It runs in another directory, and what is to be tested is what the tests import.
    return kept | {"PYTHONPATH": str(Path(trio_dlm.__file__).parents[1]), "NO_PROXY": "*"} | changes


@dataclass(frozen=True)
class Run:
    """How it ended."""

    code: int
    out: str
    err: str


async def command(
    *arguments: str, cwd: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None, code: str | None = None
) -> Run:
    """Run ``trio-dlm`` with *arguments* in the directory *cwd*, or with *code* for the interpreter instead of ours."""
    with trio.fail_after(PATIENCE_S):
        done = await trio.run_process(
            [sys.executable, *(("-m", "trio_dlm") if code is None else ("-c", code)), *arguments],
            stdin=stdin,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=cwd,
            env=env or environment(),
        )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def files_in(directory: Path) -> list[str]:
    """Return the names of all files below *directory*, from there on."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@asynccontextmanager
async def start_command(*arguments: str, cwd: Path, **options: Any) -> AsyncGenerator[trio.Process]:
    """Start ``trio-dlm`` with pipes for what it writes; it is killed if it has not ended when the block has."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), **options}
    process = await trio.lowlevel.open_process([sys.executable, "-m", "trio_dlm", *arguments], cwd=cwd, **settings)
    try:
        with trio.fail_after(PATIENCE_S):
            yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()


def snapshot_of(
    status: DownloadStatus = DownloadStatus.DOWNLOADING,
    *,
    url: str = "https://example.org/pub/big.iso",
    received: int = 0,
    total: int | None = None,
    rate: float = 0.0,
    phase: DownloadPhase = DownloadPhase.TRANSFERRING,
    path: Path | None = None,
    **others: Any,
) -> TaskSnapshot:
    """Return a snapshot whose facts fit together."""
    fields: dict[str, Any] = {
        "correlation_id": "1a2b3c4d",
        "sequence": 1,
        "url": url,
        "status": status,
        "progress": Progress(
            received_bytes=received,
            total_bytes=total,
            rate_bytes_per_s=rate,
            eta_s=(total - received) / rate if total is not None and rate else None,
            phase=phase,
        ),
        "lane": None,
        "parent_id": None,
        "retry_of": None,
        "attempts": 0 if status is DownloadStatus.PENDING else 1,
        "reason": None,
        "error": None,
        "result": None,
        "created_at": MOMENT,
        "started_at": None if status is DownloadStatus.PENDING else MOMENT,
        "finished_at": MOMENT + timedelta(seconds=3) if status.is_final else None,
    }
    if status is DownloadStatus.COMPLETED:
        fields["result"] = DownloadResult(path=path or Path("/data/big.iso"), size_bytes=received)
    if status is DownloadStatus.FAILED:
        error = HttpStatusError(url=url, status=404, phrase="Not Found", advice="check the URL")
        fields |= {"error": error, "reason": str(error)}
    return TaskSnapshot(**(fields | others))


def stats_of(**figures: Any) -> ManagerStats:
    """Return the figures of a manager that does nothing but for *figures*."""
    fields: dict[str, Any] = dict.fromkeys(("active", "pending", "paused", "completed", "failed", "cancelled"), 0)
    fields |= {"max_concurrent": 5, "available_slots": 5, "bytes_received": 0, "rate_bytes_per_s": 0.0, "lanes": {}}
    return ManagerStats(**(fields | figures))


class Memory(io.StringIO):
    """A stream that is no terminal and no file."""

    encoding = "utf-8"


_PIECE: Final = re.compile(r"\x1b\[(?P<mark>[?0-9;]*)(?P<letter>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


class Glass:
    """What a terminal shows of what is written to it, as far as our screens use one; it wraps, and reflows."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0
        self.wraps = True
        self.escapes: set[str] = set()

    def feed(self, text: str) -> None:
        """Show *text*."""
        position = 0
        while position < len(text):
            match = _PIECE.match(text, position)
            assert match, f"not understood: {text[position : position + 20]!r}"
            position = match.end()
            if match["text"]:
                for char in match["text"]:
                    self._put(char)
            elif match["control"] == "\r":
                self.column = 0
            elif match["control"] == "\n":
                self._down()
            else:
                self._escape(match["mark"], match["letter"])

    def resize(self, columns: int) -> None:
        """Make it narrower: lines that are too long are broken, and the cursor stays on its character."""
        assert self.column == 0
        lines: list[str] = []
        row = 0
        for number, line in enumerate(self.lines):
            if number == self.row:
                row = len(lines)
            lines += [line[start : start + columns] for start in range(0, max(len(line), 1), columns)]
        self.lines, self.row, self.columns = lines, row, columns

    def _put(self, char: str) -> None:
        width = cell_len(char)
        if self.column + width > self.columns:
            if self.wraps:
                self._down()
                self.column = 0
            else:
                self.column = self.columns - width
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
        self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def _escape(self, mark: str, letter: str) -> None:
        self.escapes.add(mark + letter)
        match mark, letter:
            case "?7", "l" | "h":
                self.wraps = letter == "h"
            case count, "A":
                self.row = max(0, self.row - int(count or 1))
            case "", "J":
                del self.lines[self.row + 1 :]
                self.lines[self.row] = self.lines[self.row][: self.column]
            case _, "m":
                pass
            case _:
                raise AssertionError(f"an escape sequence that nobody expects: {mark}{letter}")

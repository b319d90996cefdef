"""What a benchmark shows: tables that are read on a terminal and in the documentation alike, and where they were made.

Rules that hold here:

- a table is reStructuredText, written once and used for both;
- of the machine nothing is told but what a reader needs to judge the figures: no name, no path, no user.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["make_table", "publish", "tell_machine"]


def make_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a reStructuredText grid in its simple form; the first cell of a row must not be empty."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (header, *rows)]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def tell_machine(*packages: str) -> str:
    """Say in one sentence what the figures were made with."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cores = os.cpu_count() or 1
    return (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}, "
        f"{cores} {'core' if cores == 1 else 'cores'}, {versions}."
    )


def publish(report: str, path: Path | None) -> None:
    """Print *report*, and write it to *path* if there is one."""
    print(report)
    if path is not None:
        path.write_text(f"{report}\n", "utf-8")
        print(f"written to {path}", file=sys.stderr)

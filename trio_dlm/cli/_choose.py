"""Which face shows the downloads: it depends on what was asked for and on what stdout is."""

from __future__ import annotations

import os
import sys
from typing import Final, TextIO

from rich.console import Console

from ._display import LiveFace
from ._faces import Face
from ._json import JsonFace
from ._output import Output
from ._plain import PlainFace, QuietFace
from ._screen import Screen

__all__ = ["choose_face", "is_lively"]

# Terminals that cannot move the cursor, and those of which nothing is known.
_DUMB: Final = frozenset({"", "dumb", "unknown"})


def choose_face(out: Output, err: Output, *, as_json: bool, quiet: bool, repeat_failures: bool = True) -> Face:
    """Return the face for stdout as it is.

    Args:
        out: stdout.
        err: stderr.
        as_json: the user wants JSON.
        quiet: the user wants nothing.
        repeat_failures: a live display says at the end on *err* what failed, in full.
    """
    if quiet:
        return QuietFace(err)
    if as_json:
        return JsonFace(out, err)
    if sys.stdout is not None and is_lively(sys.stdout):
        return LiveFace(Screen(sys.stdout, out), err if repeat_failures else None)
    return PlainFace(out, err)


def is_lively(stream: TextIO) -> bool:
    """Whether *stream* is a terminal on which lines can be drawn anew."""
    if not stream.isatty():
        return False
    if os.name == "nt":
        return not Console(file=stream).legacy_windows
    return os.environ.get("TERM", "").lower() not in _DUMB

"""Where in somebody's code something happened, in one line.

Rules that hold here:

- what is named is code that its author can change: neither the standard library, nor trio, nor this harness;
- a file is shown with its directory and no more, so that a message reads the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import PurePath
from types import FrameType
from typing import Final

__all__ = ["innermost"]

_HARNESS: Final = __name__.rpartition(".")[0]
_OTHERS: Final = frozenset({"trio", "outcome"})


def innermost(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Return the first of *frames* that its author can change, such as ``files/_part.py:268 write``.

    Args:
        frames: with the line that each is at, the innermost first.
    """
    for frame, line in frames:
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        is_harness = module == _HARNESS or module.startswith(f"{_HARNESS}.")
        if not is_harness and package not in _OTHERS and package not in sys.stdlib_module_names:
            return f"{'/'.join(PurePath(frame.f_code.co_filename).parts[-2:])}:{line} {frame.f_code.co_name}"
    return "a place outside of the code that was looked at"

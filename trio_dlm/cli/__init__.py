"""The command ``trio-dlm``, which is also ``python -m trio_dlm``: downloads from a shell, and a demonstration.

Rules that hold here:

- this is a face: it only looks at a manager and asks it for things, and decides nothing about a download;
- click and rich come with the extra ``cli``; this file and ``__main__`` must work without them, to say so;
- whatever happens, a user sees words and never a traceback (``--log-level debug`` shows those).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main", "run"]

# The packages of the extra, as they are imported.
_OF_THE_EXTRA: Final = ("click", "rich")

_INTERRUPTED: Final = 128 + signal.SIGINT


def main() -> None:
    """Run the command that ``sys.argv`` names, and end the process with its exit code."""
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = _INTERRUPTED
    # What is left is to end, and a second Ctrl-C would only find the interpreter in the middle of it.
    with contextlib.suppress(KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _give_up_broken_pipes()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with *arguments*, and return its exit code."""
    try:
        from ._app import run_app
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing not in _OF_THE_EXTRA:
            raise
        print(  # noqa: T201 -- click.echo() is what is missing
            f"trio-dlm: the command needs {missing}, which is not installed; run: pip install 'trio-dlm[cli]'",
            file=sys.stderr,
        )
        return 1
    return run_app(arguments)


def _give_up_broken_pipes() -> None:
    """Let the interpreter's own last flush find nothing to complain about when the reader of a pipe has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except (AttributeError, ValueError):
            # None or closed: the shell was told to close it (>&-).
            continue

"""The command, which kills itself just before one of the things that it asks of the file system.

::

    python -P tests/hardships/_killed_at.py PLACE whole|torn ARGUMENT…

PLACE is a function of :mod:`os` and which call of it is meant, as in ``unlink:2``, or ``nowhere``.  With ``torn`` it is
killed in the middle of that write instead: a half of the bytes is on the disk, the rest is not.  Every call is told on
standard error, as strace would, the one that was about to come included.

Rules that hold here:

- what counts is what changes files, called as a function of :mod:`os` or by opening one;
- paths elsewhere than in the current directory, which is where the file is to go, do not count.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

CHANGES: Final = (
    *("chmod", "close", "fallocate", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "lockf", "mkdir", "open"),
    *("posix_fallocate", "pwrite", "pwritev", "remove", "rename", "replace", "rmdir", "symlink", "truncate", "unlink"),
    *("utime", "write", "writev"),
)
WRITES: Final = ("pwrite", "write")

_HERE: Final = str(Path.cwd())

# Several threads may come at the same time; one of them is the one that counts.
_lock: Final = threading.Lock()
_calls: Final = Counter[str]()
_write: Final = os.write


def is_ours(file: object) -> bool:
    """Whether *file* is below the current directory, or a descriptor of something else than what is printed."""
    if isinstance(file, int):
        return file > 2
    return os.path.abspath(os.fsdecode(file)).startswith(_HERE)  # type: ignore[arg-type]


def counted(name: str, function: Callable[..., Any], due: str, *, tear: bool) -> Callable[..., Any]:
    """Return *function*, in front or in the middle of whose call the process ends when that is due."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not is_ours(args[0]):
            return function(*args, **kwargs)
        with _lock:
            _calls[name] += 1
            place = f"{name}:{_calls[name]}"
            _write(2, f"{os.getpid()} {name}({args[0]!r}) {place}\n".encode())
            if place == due and tear:
                function(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
            if place == due:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return call


def main(due: str, *, tear: bool) -> None:
    """Run the command until the call *due*."""
    for name in WRITES if tear else CHANGES:
        function = getattr(os, name, None)
        if function is None:
            continue
        stand_in = counted(name, function, due, tear=tear)
        setattr(os, name, stand_in)
        # Whoever asks what a function can do asks for the function itself.
        for abilities in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if function in abilities:
                abilities.add(stand_in)
    from trio_dlm.cli import main as command

    if not tear:
        # These do not go through os.open().
        builtins.open = io.open = counted("open", io.open, due, tear=False)
    command()


if __name__ == "__main__":
    _, place, how, *arguments = sys.argv
    sys.argv[1:] = arguments
    main(place, tear=how == "torn")

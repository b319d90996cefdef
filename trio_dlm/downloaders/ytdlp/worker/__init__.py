"""What runs in a worker's process, and nowhere else: yt-dlp, told by JSON lines what to do.

It knows nothing of the rest of the package, which is not imported there: a worker with trio and an HTTP client in it
would start later and take more memory.
"""

from __future__ import annotations

from typing import Final

__all__ = ["START", "WARM", "main"]

# The program of the process.  Its arguments: where this package is, where yt-dlp is (or nothing), and perhaps WARM.
START: Final = (
    "import sys; place, yt_dlp = sys.argv[1:3]; sys.path.insert(0, place); import worker; sys.path.remove(place); "
    "sys.path.extend(filter(None, [yt_dlp])); worker.main(sys.argv[3:])"
)

# Get ready before there is a request.
WARM: Final = "--warm"


def main(arguments: list[str]) -> None:
    """Be a worker; does not return."""
    from ._job import run

    run(is_warm=WARM in arguments)

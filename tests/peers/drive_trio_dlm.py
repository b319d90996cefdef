"""Fetches one file with this library, as its documentation says.

::

    python drive_trio_dlm.py JSON

Rules that hold here:

- exit status 0 if the file is there, 1 if an error of the library's says that it is not; what else it raises, or names
  as the cause, goes to the top.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import trio

import trio_dlm


async def fetch(ask: dict[str, Any]) -> int:
    """Do it."""
    try:
        await trio_dlm.download(
            ask["url"],
            ".",
            timeout_s=5,
            connect_timeout_s=5,
            retries=3,
            connections=8,
            min_segment_size=1024 * 1024,
            min_rate_bytes_per_s=1000,
            headers=ask["headers"],
            checksum=None if ask["sha256"] is None else f"sha256:{ask['sha256']}",
            mirrors=ask["mirrors"],
        )
    except trio_dlm.TrioDlmError as exc:
        if not isinstance(exc.__cause__ or exc, trio_dlm.TrioDlmError):
            raise
        print(exc, f"({type(exc.__cause__ or exc).__name__})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(trio.run(fetch, json.loads(sys.argv[1])))

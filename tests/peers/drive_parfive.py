"""Fetches one file with parfive, as its documentation says; runs in an environment of its own.

::

    python drive_parfive.py JSON | --version

Rules that hold here:

- exit status 0 if parfive reports no error, 1 if it still does after three retries; what it raises goes to the top.
"""

from __future__ import annotations

import importlib
import json
import ssl
import sys
from importlib.metadata import version


def main() -> int:
    """Do it."""
    if sys.argv[1] == "--version":
        print(f"parfive {version('parfive')}, aiohttp {version('aiohttp')}")
        return 0
    ask = json.loads(sys.argv[1])
    # By name, since it is not installed where types are checked.
    aiohttp, parfive = map(importlib.import_module, ("aiohttp", "parfive"))
    more = {} if ask["authority"] is None else {"ssl": ssl.create_default_context(cafile=ask["authority"])}
    timeouts = aiohttp.ClientTimeout(sock_connect=5, sock_read=5)
    config = parfive.SessionConfig(timeouts=timeouts, file_progress=False)
    # What is fetched in parts is asked for in headers of its own, so the user's are those of the session.
    config.headers.update(ask["headers"])
    downloader = parfive.Downloader(max_splits=8, progress=False, config=config)
    checksum = True if ask["sha256"] is None else f"sha-256={ask['sha256']}"
    downloader.enqueue_file(ask["url"], path=".", checksum=checksum, **more)
    results = downloader.download()
    for _ in range(3):
        if results.errors:
            results = downloader.retry(results)
    for error in results.errors:
        print(repr(error.exception), file=sys.stderr)
    return 1 if results.errors else 0


if __name__ == "__main__":
    sys.exit(main())

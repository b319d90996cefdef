"""Fetches one file with pypdl, as its documentation says; runs in an environment of its own.

::

    python drive_pypdl.py JSON | --version

Rules that hold here:

- exit status 0 if pypdl says that the file is there and its digest, if the user has one, is right; 1 if it says
  otherwise; what it raises goes to the top.
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
        print(f"pypdl {version('pypdl')}, aiohttp {version('aiohttp')}")
        return 0
    ask = json.loads(sys.argv[1])
    # By name, since it is not installed where types are checked.
    aiohttp, pypdl = map(importlib.import_module, ("aiohttp", "pypdl"))
    more: dict[str, object] = (
        {} if ask["authority"] is None else {"ssl": ssl.create_default_context(cafile=ask["authority"])}
    )
    if ask["headers"]:
        more["headers"] = ask["headers"]
    result = pypdl.Pypdl().start(
        ask["url"],
        file_path=".",
        segments=8,
        retries=3,
        etag_validation=True,
        mirrors=ask["mirrors"] or None,
        timeout=aiohttp.ClientTimeout(sock_connect=5, sock_read=5),
        display=False,
        **more,
    )
    if not result:
        return 1
    ((_, saved),) = result
    return 0 if ask["sha256"] is None or saved.validate_hash(ask["sha256"], "sha256") else 1


if __name__ == "__main__":
    sys.exit(main())

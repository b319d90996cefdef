"""What a downloader that is checked finds around it: environment variables, and where the log goes.

Rules that hold here:

- proxies are left out: the origin is on this machine or in memory, where no proxy finds it;
- failures are what a check is after, and their log fills nobody's terminal; who has set up logging still gets it;
- the rest stays as it is, since it belongs to the downloader.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from ..._context import logger

__all__ = ["no_proxies", "quiet_log", "without_proxies"]


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without the variables that name proxies."""
    return {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}


@contextmanager
def no_proxies() -> Generator[None]:
    """Take the variables that name proxies away from this process until the block ends."""
    kept = without_proxies(os.environ)
    taken = {name: value for name, value in os.environ.items() if name not in kept}
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def quiet_log() -> Generator[None]:
    """Keep the library's log off stderr, where it goes if nobody has set up logging, until the block ends."""
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    try:
        yield
    finally:
        logger.removeHandler(nowhere)

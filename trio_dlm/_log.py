"""What a manager says in the log.

Rules that hold here:

- every record names its download, in the message and as ``correlation_id``, whoever's task the code runs in;
- a failure is a WARNING, said once, when it happens (law 10); every change is there for debugging;
- no record holds a secret, unless the traceback of somebody else's error, asked for with DEBUG, quotes one.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ._context import logger
from ._errors import TrioDlmError
from ._outcome import Asked

if TYPE_CHECKING:
    from ._download import Download

__all__ = ["log_change", "log_failure", "log_held_back"]


def log_change(download: Download) -> None:
    """*download* has another status, or was asked for one."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug(
            "download %s of %s is %s%s",
            download.correlation_id,
            download.url,
            download.status.value,
            "" if download.asked is Asked.NOTHING else f" ({download.asked.name.lower()})",
            extra={"correlation_id": download.correlation_id},
        )


def log_failure(download: Download, error: Exception) -> None:
    """*download* has failed.  Our own errors say all there is to know; that of others may need its traceback."""
    with_traceback = logger.isEnabledFor(logging.DEBUG) and not isinstance(error, TrioDlmError)
    logger.warning(
        "download %s of %s failed: %s",
        download.correlation_id,
        download.url,
        download.reason,
        exc_info=error if with_traceback else None,
        extra={"correlation_id": download.correlation_id},
    )


def log_held_back(count: int) -> None:
    """The block waits for *count* downloads that a limit of 0 keeps from starting."""
    logger.warning(
        "the manager's block is being left, and a limit of 0 holds back %d queued downloads: "
        "raise max_concurrent or the lane's limit, or cancel them",
        count,
    )

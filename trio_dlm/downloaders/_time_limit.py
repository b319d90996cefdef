"""The limit for one run of a download as a whole.

Rules that hold here:

- whoever laid the options over each other applies the limit: the manager that of the request, a downloader its own;
- time in the queue does not count.
"""

from __future__ import annotations

from typing import TypeVar

import trio

from .._errors import DownloadTimeoutError
from .._records import DownloadResult
from .._urls import redact_url
from ._protocol import DownloaderFunction, DownloadJob

__all__ = ["run_within"]

_ResultT = TypeVar("_ResultT", bound=DownloadResult)


async def run_within(limit_s: float, job: DownloadJob, function: DownloaderFunction[_ResultT]) -> _ResultT:
    """Run a job for *limit_s* seconds at the most.

    Raises:
        DownloadTimeoutError: it took longer, and was cancelled.
    """
    with trio.move_on_after(limit_s):
        return await function(job)
    raise DownloadTimeoutError(
        url=redact_url(job.url), waited_for="end of the download", limit_s=limit_s, option="total_timeout_s"
    )

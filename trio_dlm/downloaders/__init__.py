"""What fetches files, and what it takes to write one of your own.

The HTTP downloader is :class:`trio_dlm.HttpDownloader`; it is not imported here, so that programs that bring their own
downloaders do not pay for an HTTP client.
"""

from __future__ import annotations

from ._protocol import Downloader, DownloaderFunction, DownloadJob, RequestChecker

__all__ = ["DownloadJob", "Downloader", "DownloaderFunction", "RequestChecker"]

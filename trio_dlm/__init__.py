"""A trio-native download manager: downloads run inside a block, a bounded number at once, first come first served.

Open a manager with :func:`open_manager`, submit to it, and when the block ends nothing is left running and every file
under its final name is whole and verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._batch import DownloadBatch
from ._block import download, open_manager
from ._context import CorrelationIdFilter, current_correlation_id
from ._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadCancelledError,
    DownloadFailedError,
    DownloadTimeoutError,
    DuplicateTaskError,
    HttpClientError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidNameError,
    InvalidUrlError,
    ManagerClosedError,
    ManagerCrashedError,
    NotFinishedError,
    QueueFullError,
    RedirectError,
    StalledError,
    StorageError,
    TargetExistsError,
    TooLargeError,
    TooSlowError,
    TransferError,
    TrioDlmError,
    UncollectedFailuresError,
    UnknownTaskError,
    UnsupportedBackendError,
    UnusableReplyError,
)
from ._events import Subscription
from ._manager import DownloadManager
from ._meter import ProgressMeter
from ._options import DownloadOptions, DownloadOptionsFields
from ._rate import RateLimit
from ._records import DownloadRequest, DownloadResult, LaneStats, ManagerStats, PartProgress, Progress, TaskSnapshot
from ._status import DownloadPhase, DownloadStatus
from ._task import DownloadTask
from .downloaders._protocol import (
    AsyncioDownloader,
    Downloader,
    DownloaderFunction,
    DownloadJob,
    RequestChecker,
    asyncio_downloader,
)

if TYPE_CHECKING:
    from .downloaders._auto import AutoDownloader
    from .downloaders.http import HttpDownloader, RemoteFile, TrioTransport
    from .downloaders.ytdlp import (
        MediaEntry,
        MediaError,
        MediaErrorKind,
        MediaFormat,
        MediaInfo,
        MediaResult,
        MissingRequirementError,
        PlaylistError,
        ProcessLeakError,
        YtDlpDownloader,
        YtDlpOptions,
    )

__all__ = [
    "AsyncioDownloader",
    "AutoDownloader",
    "ChecksumMismatchError",
    "ConnectionFailedError",
    "CorrelationIdFilter",
    "DownloadBatch",
    "DownloadCancelledError",
    "DownloadFailedError",
    "DownloadJob",
    "DownloadManager",
    "DownloadOptions",
    "DownloadOptionsFields",
    "DownloadPhase",
    "DownloadRequest",
    "DownloadResult",
    "DownloadStatus",
    "DownloadTask",
    "DownloadTimeoutError",
    "Downloader",
    "DownloaderFunction",
    "DuplicateTaskError",
    "HttpClientError",
    "HttpDownloader",
    "HttpStatusError",
    "IncompleteBodyError",
    "InvalidNameError",
    "InvalidUrlError",
    "LaneStats",
    "ManagerClosedError",
    "ManagerCrashedError",
    "ManagerStats",
    "MediaEntry",
    "MediaError",
    "MediaErrorKind",
    "MediaFormat",
    "MediaInfo",
    "MediaResult",
    "MissingRequirementError",
    "NotFinishedError",
    "PartProgress",
    "PlaylistError",
    "ProcessLeakError",
    "Progress",
    "ProgressMeter",
    "QueueFullError",
    "RateLimit",
    "RedirectError",
    "RemoteFile",
    "RequestChecker",
    "StalledError",
    "StorageError",
    "Subscription",
    "TargetExistsError",
    "TaskSnapshot",
    "TooLargeError",
    "TooSlowError",
    "TransferError",
    "TrioDlmError",
    "TrioTransport",
    "UncollectedFailuresError",
    "UnknownTaskError",
    "UnsupportedBackendError",
    "UnusableReplyError",
    "YtDlpDownloader",
    "YtDlpOptions",
    "__version__",
    "asyncio_downloader",
    "current_correlation_id",
    "download",
    "open_manager",
]

__version__ = "0.1.0"


if not TYPE_CHECKING:  # A type checker would take it to mean that every name exists.

    def __getattr__(name: str) -> object:
        # Imported when it is first asked for: programs that bring their own downloaders do not pay for an HTTP client.
        if name in ("HttpDownloader", "RemoteFile", "TrioTransport"):
            from .downloaders import http

            return getattr(http, name)
        if name == "AutoDownloader":
            from .downloaders._auto import AutoDownloader

            return AutoDownloader
        if name in __all__:
            # The rest of the names is those of the downloader for media sites.
            from .downloaders import ytdlp

            return getattr(ytdlp, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The downloader for media sites: yt-dlp, in processes that a cancel ends at once."""

from ._downloader import YtDlpDownloader
from ._errors import MediaError, MediaErrorKind, MissingRequirementError, PlaylistError, ProcessLeakError
from ._options import YtDlpOptions
from ._records import MediaEntry, MediaFormat, MediaInfo, MediaResult

__all__ = [
    "MediaEntry",
    "MediaError",
    "MediaErrorKind",
    "MediaFormat",
    "MediaInfo",
    "MediaResult",
    "MissingRequirementError",
    "PlaylistError",
    "ProcessLeakError",
    "YtDlpDownloader",
    "YtDlpOptions",
]

"""What a worker is asked: yt-dlp's parameters out of a user's options, and what is always the same.

Rules that hold here:

- what keeps a download right and its machine safe is laid over everything else, so that no option reaches it;
- yt-dlp has two sets of defaults, that of its command and that of its library; what matters is said here, so that
  neither counts;
- only what JSON can carry goes to a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..._options import DownloadOptions
from ._options import YtDlpOptions
from ._wire import Guard, Request

__all__ = ["FORCED", "identity_of", "request_of"]

# Nothing of this can be changed, by `extra` least of all.
FORCED: Final[Mapping[str, Any]] = {
    # A fragment that is not there would make a shorter file, and be called a success.
    "skip_unavailable_fragments": False,
    # Not True, which deletes what an earlier run has left; not False, which takes a part for a whole.
    "overwrites": None,
    "continuedl": True,
    "noplaylist": True,
    "ignoreerrors": False,
    "enable_file_urls": False,
    "cachedir": False,
    "usenetrc": False,
    "allow_unplayable_formats": False,
    "quiet": True,
    "noprogress": True,
    "color": "no_color",
    "windowsfilenames": False,
    "writeinfojson": False,
}

_BEST: Final = "bv*+ba/b"
_BEST_WITHOUT_FFMPEG: Final = "b"
_BEST_AUDIO: Final = "ba/b"

# RLIMIT_FSIZE holds for each file, and merging writes the whole once more: room for what a container adds.
_FILE_SLACK: Final = 1.1
_FILE_SLACK_BYTES: Final = 8 * 1024 * 1024


def request_of(
    options: YtDlpOptions,
    download: DownloadOptions,
    *,
    mode: str = "download",
    url: str,
    info: Mapping[str, Any] | None = None,
    job_directory: str | None = None,
    ffmpeg: str | None,
    guard: Guard | None,
    toll: bool = False,
    limit: int | None = None,
) -> Request:
    """Return what to ask a worker.

    Args:
        options: of the downloader.
        download: of the download, all layers together.
        mode: ``"download"``, ``"extract"`` or ``"expand"``.
        url: of what.
        info: what a playlist says of the item, to begin from.
        job_directory: where to work, for a download.
        ffmpeg: where it is, or None.
        guard: what not to connect to.
        toll: begin with asking for a share of the rate.
        limit: how many entries of a playlist are wanted.
    """
    return Request(
        mode=mode,
        url=None if info else url,
        info=info or None,
        params=_params(options, download, job_directory=job_directory, ffmpeg=ffmpeg, guard=guard, limit=limit),
        postprocessors=_postprocessors(options),
        job=job_directory,
        guard=guard,
        toll=toll,
        limits={
            "file_bytes": None
            if download.max_bytes is None
            else int(download.max_bytes * _FILE_SLACK) + _FILE_SLACK_BYTES,
            "memory_bytes": options.max_memory_bytes,
            "cpu_s": options.max_cpu_s,
        },
        allow_live=options.allow_live,
        max_duration_s=options.max_duration_s,
        limit=limit,
        impersonate=options.impersonate,
        allowed_extractors=options.allowed_extractors,
    )


def _params(
    options: YtDlpOptions,
    download: DownloadOptions,
    *,
    job_directory: str | None,
    ffmpeg: str | None,
    guard: Guard | None,
    limit: int | None,
) -> dict[str, Any]:
    params: dict[str, Any] = {
        "format": _format(options, has_ffmpeg=ffmpeg is not None),
        "format_sort": list(options.format_sort),
        "concurrent_fragment_downloads": options.concurrent_fragments,
        "socket_timeout": download.timeout_s if "timeout_s" in download.given else options.socket_timeout_s,
        "retries": options.retries,
        "fragment_retries": options.retries,
        "file_access_retries": options.retries,
        "extractor_retries": options.retries,
        "http_headers": {**options.headers, **download.headers},
        **options.extra,
    }
    if options.merge_to is not None:
        params["merge_output_format"] = options.merge_to
    if options.subtitles and job_directory is not None:
        params |= {"writesubtitles": True, "subtitleslangs": list(options.subtitles)}
    if options.proxy is not None:
        params["proxy"] = options.proxy
    if options.cookies is not None:
        # The worker makes a copy: yt-dlp writes the file back when it ends.
        params["cookiefile"] = str(options.cookies.absolute())
    if ffmpeg is not None:
        params["ffmpeg_location"] = ffmpeg
    if options.js_runtimes is not None:
        params["js_runtimes"] = {name: _runtime(path) for name, path in options.js_runtimes.items()}
    if guard is not None:
        # Programs that fetch for themselves are seen by nobody.
        params["external_downloader"] = {"default": "native"}
    if job_directory is not None:
        # Absolute: a relative temporary directory would be taken from the other one.
        params["paths"] = {"home": job_directory, "temp": f"{job_directory}/t"}
        params["outtmpl"] = {"default": "media.%(ext)s"}
    if limit is not None:
        params["playlist_items"] = f"1:{limit}"
    return {**params, **FORCED}


def _runtime(path: Path | None) -> dict[str, str]:
    return {} if path is None else {"path": str(path)}


def _format(options: YtDlpOptions, *, has_ffmpeg: bool) -> str:
    if options.format is not None:
        return options.format
    if options.audio_only is not None:
        return _BEST_AUDIO
    return _BEST if has_ffmpeg else _BEST_WITHOUT_FFMPEG


def _postprocessors(options: YtDlpOptions) -> list[dict[str, Any]]:
    if options.audio_only in (None, "best"):
        return []
    return [{"key": "FFmpegExtractAudio", "preferredcodec": options.audio_only}]


def identity_of(
    options: YtDlpOptions, *, url: str, info: Mapping[str, Any] | None, filename: str | None
) -> dict[str, Any]:
    """Return what tells a download from others: with the same facts a later run goes on from what this one leaves."""
    return {
        "url": url,
        "item": None if info is None else [info.get("id"), info.get("url")],
        "filename": filename,
        "format": options.format,
        "format_sort": list(options.format_sort),
        "merge_to": options.merge_to,
        "audio_only": options.audio_only,
        "subtitles": list(options.subtitles),
    }

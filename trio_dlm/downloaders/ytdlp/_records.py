"""What yt-dlp found, as frozen records.

Rules that hold here:

- sizes are bytes, durations seconds, rates bits per second where the field says so;
- what a site did not say is None; texts are as the site wrote them, and only names of files are made safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from ..._records import DownloadResult

__all__ = ["MediaEntry", "MediaFormat", "MediaInfo", "MediaResult"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    """One of the forms that an item comes in.

    Attributes:
        format_id: what yt-dlp calls it, for ``YtDlpOptions(format=…)``.
        ext: the extension of its file.
        protocol: how it is fetched: ``"https"``, ``"m3u8_native"``, ``"http_dash_segments"``.
        video_codec, audio_codec: None if there is none of it, or nobody knows.
        width, height: in pixels.
        bitrate_bits_per_s: of all of it.
        size_bytes: as announced, or estimated by yt-dlp.
    """

    format_id: str
    ext: str | None = None
    protocol: str | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    bitrate_bits_per_s: float | None = None
    size_bytes: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaInfo:
    """One media item, or a playlist.

    Attributes:
        id: what the site calls it.
        title: its title.
        extractor: the part of yt-dlp that knows the site.
        webpage_url: the page that it is on.
        duration_s: how long it plays.
        uploader: who published it.
        thumbnail: the address of a picture.
        is_live: it is being made just now, and has no end yet.
        is_playlist: it is a list of items, which :meth:`YtDlpDownloader.expand` gives.
        playlist_count: how many items the list has, if that is known.
        formats: those that were downloaded, or, from ``probe``, those that there are.
    """

    id: str | None = None
    title: str | None = None
    extractor: str | None = None
    webpage_url: str | None = None
    duration_s: float | None = None
    uploader: str | None = None
    thumbnail: str | None = None
    is_live: bool = False
    is_playlist: bool = False
    playlist_count: int | None = None
    formats: tuple[MediaFormat, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaEntry:
    """One entry of a playlist.

    Attributes:
        url: its address.
        index: its place in the list, from 1 on.
        id, title, duration_s: as far as the list says.
        playlist_id, playlist_title: of the list.
        info: what the list knows of it, in yt-dlp's own words; it goes back to yt-dlp with the download.
    """

    url: str
    index: int
    id: str | None = None
    title: str | None = None
    duration_s: float | None = None
    playlist_id: str | None = None
    playlist_title: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaResult(DownloadResult):
    """What a download with yt-dlp saved.

    Attributes:
        media: what it is.
        subtitles: the files with subtitles that were saved beside it.
    """

    media: MediaInfo
    subtitles: tuple[Path, ...] = ()

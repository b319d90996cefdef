"""Questions to yt-dlp that download nothing: what is there, and what is in a playlist.

Rules that hold here:

- they are retried as downloads are not: who asks is there to see the answer, and can ask again.
"""

from __future__ import annotations

from ..._options import DownloadOptions
from ._params import request_of
from ._records import MediaEntry, MediaInfo
from ._setting import Setting
from ._wire import Found, Record, Request

__all__ = ["expand", "probe"]


async def probe(setting: Setting, url: str, options: DownloadOptions) -> MediaInfo:
    """Find out what there is at *url*.

    Raises:
        TransferError: it could not be had; the class says why.
    """
    found = await _ask(setting, url, _request(setting, url, options, "extract", None))
    assert found.info is not None, "a worker answers what it was asked"
    return found.info


async def expand(setting: Setting, url: str, options: DownloadOptions, *, limit: int) -> tuple[MediaEntry, ...]:
    """List up to *limit* entries of the playlist at *url*.

    Raises:
        TransferError: it could not be had; the class says why.
    """
    found = await _ask(setting, url, _request(setting, url, options, "expand", limit))
    return found.entries


def _request(setting: Setting, url: str, options: DownloadOptions, mode: str, limit: int | None) -> Request:
    return request_of(
        setting.options,
        options,
        mode=mode,
        url=url,
        limit=limit,
        ffmpeg=setting.ffmpeg,
        guard=setting.guard(options),
    )


async def _ask(setting: Setting, url: str, request: Request) -> Found:
    word = await setting.ask(request, url, hear=_ignore)
    assert isinstance(word, Found), "a worker answers what it was asked"
    return word


async def _ignore(record: Record) -> None:
    pass

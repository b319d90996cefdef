"""What a reply to a plain request is about: a file to keep, a page that may play media, or a list of media segments.

Rules that hold here:

- whatever a server calls an attachment is a file;
- in doubt it is a file: that costs nobody anything, while asking yt-dlp takes a process and a second;
- no address decides alone, since what it ends in is up to the site.

Source:
    RFC 8216 section 4 (types of HLS playlists), ISO/IEC 23009-1 annex C (the type of a DASH manifest), RFC 6266.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, final
from urllib.parse import urlsplit

from .http.rules._head import ReplyHead

__all__ = ["REFUSALS", "Route", "route_of"]

_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_MANIFESTS: Final = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "application/mpegurl", "application/dash+xml"}
)
# What servers say that do not know these lists: with one of these the end of the address counts.
_VAGUE: Final = frozenset(
    {"", "text/plain", "text/xml", "application/xml", "application/octet-stream", "binary/octet-stream"}
    | {"audio/mpegurl", "audio/x-mpegurl"}
)
_MANIFEST_ENDS: Final = (".m3u8", ".mpd")

# How sites turn away what is no browser; yt-dlp may know what they want.  Not 404: most are wrong addresses.
REFUSALS: Final = frozenset({401, 403, 405, 406, 412, 451})


@final
class Route(Enum):
    """Who can do something with what a server has."""

    FILE = "file"
    """Bytes to keep as they are."""
    PAGE = "page"
    """A page; an extractor may know the site."""
    MANIFEST = "manifest"
    """A list of media segments, which is of no use alone."""


def route_of(head: ReplyHead) -> Route:
    """Return what the reply with *head* is about."""
    disposition = head.first("content-disposition") or ""
    if disposition.partition(";")[0].strip(" \t").lower() == "attachment":
        return Route.FILE
    media_type = (head.only("content-type") or "").partition(";")[0].strip(" \t").lower()
    if media_type in _PAGES:
        return Route.PAGE
    if media_type in _MANIFESTS:
        return Route.MANIFEST
    if media_type in _VAGUE and urlsplit(head.address.url).path.lower().endswith(_MANIFEST_ENDS):
        return Route.MANIFEST
    return Route.FILE

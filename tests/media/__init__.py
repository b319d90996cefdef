"""A small site with real media on the loopback, for tests of the yt-dlp downloader.

Rules that hold here:

- the media is made by ffmpeg from synthetic picture and sound, once per machine;
- the site is a process of its own, so that whoever looks how long a loop is held sees only its own doing;
- what a request should meet is written in its path: ``/m/rate=200000,stall=50000/hls/index.m3u8``.
"""

from __future__ import annotations

from ._site import MediaSite, open_site

__all__ = ["MediaSite", "open_site"]

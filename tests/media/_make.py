"""The media: twenty seconds of a test picture and a tone, in all the forms that sites have."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["make_media"]

_SOURCE: Final = (
    "-f lavfi -i testsrc=size=320x180:rate=25 -f lavfi -i sine=frequency=440 -t 20 -c:v libx264 -preset ultrafast "
    "-b:v 800k -minrate 800k -maxrate 800k -bufsize 400k -x264-params nal-hrd=cbr -g 50 -c:a aac -b:a 64k "
    "-movflags +faststart direct.mp4"
)
_HLS: Final = "-c copy -hls_time 2 -hls_list_size 0 -hls_playlist_type vod"
_COPIES: Final = (
    f"-i direct.mp4 {_HLS} hls/index.m3u8",
    "-i direct.mp4 -map 0:v -map 0:a -c copy -f dash -seg_duration 2 -use_template 1 -use_timeline 0 dash/manifest.mpd",
    "-i direct.mp4 -an -c:v copy video_only.mp4",
    "-i direct.mp4 -vn -c:a copy audio_only.m4a",
    f"-i direct.mp4 -an {_HLS} hlsav/v.m3u8",
    f"-i direct.mp4 -vn {_HLS} hlsav/a.m3u8",
)


def make_media(cache: Path) -> Path:
    """Return a directory below *cache* with the media, which is made if it is not there."""
    recipe = hashlib.sha256("\n".join((_SOURCE, *_COPIES)).encode()).hexdigest()[:16]
    made = cache / f"media-{recipe}"
    if made.exists():
        return made
    cache.mkdir(parents=True, exist_ok=True)
    # In a place of its own first: tests run at the same time, and the first to be ready wins.
    spare = Path(tempfile.mkdtemp(prefix="media-", dir=cache))
    for folder in ("hls", "dash", "hlsav"):
        (spare / folder).mkdir()
    for recipe in (_SOURCE, *_COPIES):
        subprocess.run(
            ["ffmpeg", "-nostdin", "-v", "error", "-y", *recipe.split()], cwd=spare, check=True, capture_output=True
        )
    try:
        spare.rename(made)
    except OSError:
        shutil.rmtree(spare)
    return made

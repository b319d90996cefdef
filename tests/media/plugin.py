"""An extractor of yt-dlp's that knows the site by name, and how a worker is made to load it.

A page at ``/show/PATH`` plays the media at ``/PATH``.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

__all__ = ["python_with_plugin"]

_EXTRACTOR: Final = """
from yt_dlp.extractor.common import InfoExtractor


class LocalShowIE(InfoExtractor):
    _VALID_URL = r"(?P<base>https?://127\\.0\\.0\\.1:\\d+(?:/m/[^/]+)?)/show/(?P<id>.+)"

    def _real_extract(self, url):
        base, path = self._match_valid_url(url).group("base", "id")
        return {"id": "show-1", "title": "A Show", "url": f"{base}/{path}", "ext": "mp4"}
"""


def python_with_plugin(directory: Path) -> Path:
    """Make a plugin and an interpreter that finds it in *directory*, and return the interpreter."""
    package = directory / "plugins" / "yt_dlp_plugins" / "extractor"
    package.mkdir(parents=True)
    (package / "local_show.py").write_text(_EXTRACTOR, encoding="utf-8")
    python = directory / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(directory / "plugins"))} exec {shlex.quote(sys.executable)} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    return python

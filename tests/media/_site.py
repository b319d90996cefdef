"""The site as a test sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from ._make import make_media

__all__ = ["MediaSite", "open_site"]

_LIMIT_S: Final = 10.0


@final
class MediaSite:
    """A running site.

    Attributes:
        root: the files that it serves.
        base: its address, without a path.
    """

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.base = f"http://127.0.0.1:{port}"

    def url(self, path: str, **modifiers: object) -> str:
        """Return the address of *path* with *modifiers*; True stands for one without a value."""
        if not modifiers:
            return f"{self.base}/{path}"
        words = ",".join(name if value is True else f"{name}={value}" for name, value in modifiers.items())
        return f"{self.base}/m/{words}/{path}"

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}{path}", timeout=_LIMIT_S) as reply:
            return json.load(reply)

    def requests(self, containing: str = "") -> list[dict[str, Any]]:
        """Return what was asked for, oldest first: ``path`` and ``headers``."""
        return [each for each in self._ask("/_log") if containing in each["path"]]

    def touch(self, url: str) -> None:
        """Ask for *url*, and read none of it."""
        with urllib.request.urlopen(url, timeout=_LIMIT_S):
            pass

    def reset(self) -> None:
        """Forget what was asked for."""
        self._ask("/_reset")

    def is_quiet(self) -> bool:
        """Whether no reply is under way, now or soon."""
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end:
            if not self._ask("/_open"):
                return True
        return False


@contextmanager
def open_site(cache: Path) -> Generator[MediaSite, None, None]:
    """Run the site for the length of the block."""
    root = make_media(cache)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.media.serve", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield MediaSite(root, int(process.stdout.readline()))
        finally:
            process.kill()

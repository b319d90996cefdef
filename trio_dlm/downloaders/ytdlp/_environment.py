"""How the process of a worker is started: its command line and what of our environment it gets.

Rules that hold here:

- what it gets is listed, and nothing else: no token that somebody keeps in a variable, no settings of yt-dlp's from the
  user's home;
- secrets are in the request, which goes through a pipe: a command line can be read by everybody on the machine;
- it runs the yt-dlp that this interpreter would import, which is asked for and never imported here.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from .worker import START, WARM

__all__ = ["Launch", "find_yt_dlp", "launch_of"]

# Where programs and their libraries are, the time zone, the certificates to trust, and a proxy to ask.
_PASSED_ON: Final = (
    *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)


@final
@dataclass(frozen=True, slots=True)
class Launch:
    """What it takes to start a worker."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path

    def warm(self) -> tuple[str, ...]:
        """Return the command of one that gets ready before it has a request."""
        return (*self.command, WARM)


def find_yt_dlp() -> Path | None:
    """Return the directory that ``yt_dlp`` would be imported from, or None if it is not installed."""
    try:
        spec = importlib.util.find_spec("yt_dlp")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).parent


def launch_of(python: str, yt_dlp: Path | None, home: Path, *, plugins: bool) -> Launch:
    """Return how a worker is started.

    Args:
        python: the interpreter.
        yt_dlp: where it finds yt-dlp, if not where it looks itself.
        home: an empty directory of its own.
        plugins: let yt-dlp load the plugins that are installed.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_CACHE_HOME": str(home)}
    environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    if not plugins:
        environment["YTDLP_NO_PLUGINS"] = "1"
    # -s and -P: no packages of the user's home, nor of the directory that it is started in.
    start = (python, "-s", "-P", "-X", "utf8", "-c", START)
    return Launch((*start, str(Path(__file__).parent), "" if yt_dlp is None else str(yt_dlp)), environment, home)

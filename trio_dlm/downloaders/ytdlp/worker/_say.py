"""The logger that yt-dlp is given: what it would print goes to the parent, and some of it is remembered.

Rules that hold here:

- yt-dlp leaves files out without an exception, and only its words say why; those words are remembered.
"""

from __future__ import annotations

from typing import Final, final

from ._pipes import Pipes

__all__ = ["Logger"]

_MAX_LENGTH: Final = 4000

_TOO_LARGE: Final = "larger than max-filesize"
_SKIPPED: Final = ("skipping ..", "skipping")


@final
class Logger:
    """yt-dlp's logger.

    Attributes:
        left_out: why an item was left out, as a kind of error and yt-dlp's words, or None.
    """

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self.left_out: tuple[str, str] | None = None

    def debug(self, message: str) -> None:
        """Take what is for debugging, and what is information: yt-dlp sends both here."""
        if _TOO_LARGE in message:
            self.left_out = "too_large", message
        elif message.startswith("[download]") and message.rstrip().endswith(_SKIPPED):
            self.left_out = "rejected", message
        self._say("debug" if message.startswith("[debug] ") else "info", message)

    def info(self, message: str) -> None:
        """Take what is information."""
        self._say("info", message)

    def warning(self, message: str) -> None:
        """Take a warning."""
        self._say("warning", message)

    def error(self, message: str) -> None:
        """Take an error; the exception that follows says the same."""
        self._say("error", message)

    def _say(self, level: str, message: str) -> None:
        self._pipes.say("log", level=level, message=message[:_MAX_LENGTH])

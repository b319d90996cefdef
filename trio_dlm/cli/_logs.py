"""The library's log records as lines on stderr, or wherever the display wants them.

Rules that hold here:

- only the library's own logger is shown: those of the HTTP client write addresses with their secrets;
- a record is one line, in the words of the command line; the traceback of somebody's code is shown to those who asked
  for ``debug``;
- a record may come from any thread.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, final

from .._context import logger
from ._report import as_options, one_line

__all__ = ["LEVELS", "logging_to", "redirected"]

LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def _to_stderr(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@final
class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, or with its traceback below if everything is wanted."""
        # Not logging's own: that would keep the traceback's text on the record for every other handler.
        line = f"trio-dlm: {record.levelname.lower()}: {as_options(one_line(record.getMessage()))}"
        if record.exc_info and logger.level <= logging.DEBUG:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


@final
class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter())
        self.sink: Callable[[str], None] = _to_stderr

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.sink(self.format(record))
        except OSError:
            # Nobody reads stderr any more, and there is nowhere else to say so.
            return


_HANDLER: Final = _Handler()


@contextmanager
def logging_to(level: str) -> Generator[None]:
    """Show records from *level* up; one of :data:`LEVELS`."""
    before = logger.level
    logger.setLevel(level.upper())
    logger.addHandler(_HANDLER)
    try:
        yield
    except Exception as exc:
        # Whoever catches it says it in words; this is where those who asked for everything see its traceback.
        logger.debug("the command failed", exc_info=exc)
        raise
    finally:
        logger.removeHandler(_HANDLER)
        logger.setLevel(before)


@contextmanager
def redirected(sink: Callable[[str], None]) -> Generator[None]:
    """Give every line to *sink* for a while, which must take it from any thread and never block."""
    before, _HANDLER.sink = _HANDLER.sink, sink
    try:
        yield
    finally:
        _HANDLER.sink = before

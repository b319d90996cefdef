"""Which download the running code belongs to, for log records.

Rules that hold here:

- the id travels in a context variable, so it follows a download into its child tasks and threads;
- every record of the library's own loggers carries ``correlation_id``; other handlers and loggers get it with
  :class:`CorrelationIdFilter`.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Final, final

__all__ = ["CORRELATION_ID", "CorrelationIdFilter", "current_correlation_id", "logger"]

CORRELATION_ID: Final[ContextVar[str | None]] = ContextVar("trio_dlm.correlation_id", default=None)


def current_correlation_id() -> str | None:
    """Return the id of the download that the calling code runs in, or None outside of one."""
    return CORRELATION_ID.get()


@final
class CorrelationIdFilter(logging.Filter):
    """Adds ``correlation_id`` to every record that passes: the download's id, or ``"-"`` outside of one.

    Put it on a handler, so that the records of every library that a download uses carry the id::

        handler.addFilter(trio_dlm.CorrelationIdFilter())
        handler.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with the id on it; one that brought its own (``extra=``) keeps it."""
        if not hasattr(record, "correlation_id"):
            record.correlation_id = CORRELATION_ID.get() or "-"
        return True


logger: Final = logging.getLogger("trio_dlm")
logger.addFilter(CorrelationIdFilter())

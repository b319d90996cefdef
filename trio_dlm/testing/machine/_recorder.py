"""Passes every change of status of a real manager on to the model, in the very step in which it happens.

Rules that hold here:

- the library logs each change at DEBUG, once it has happened; the record says whose, the task says what.  Readers of
  events may be given several changes as one, and would switch off the quick path that a manager without readers
  takes;
- nothing is raised into the manager: the first violation is kept until the machine asks, and nothing is passed on
  after it;
- who ran is known from the downloader, never from the manager.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, final

from ... import DownloadManager, DownloadStatus
from .._errors import LawBrokenError
from .._scripted import Left, ScriptedDownloader
from ._model import Model

__all__ = ["Recorder"]

_LOGGER: Final = logging.getLogger("trio_dlm")


@final
class Recorder(logging.Handler):
    """Watches one manager.

    Attributes:
        history: every status that each download had, with nothing merged.
        newcomers: names for downloads whose id the manager draws, in the order in which they will show up.
        ids: the correlation id of each name.
    """

    def __init__(self, manager: DownloadManager, model: Model, downloader: ScriptedDownloader) -> None:
        super().__init__(logging.DEBUG)
        self.history: dict[str, list[DownloadStatus]] = {}
        self.newcomers: list[str] = []
        self.ids: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._manager = manager
        self._model = model
        self._downloader = downloader
        self._violation: Exception | None = None

    def introduce(self, correlation_id: str, name: str) -> None:
        """Say what the download with this id is called in the program."""
        self._names[correlation_id] = name
        self.ids[name] = correlation_id

    def check(self) -> None:
        """Raise what was kept."""
        if self._violation is not None:
            raise self._violation
        self._model.check_nothing_is_due()

    def keep(self, violation: Exception) -> None:
        """Keep *violation*, unless there was one before."""
        self._violation = self._violation or violation

    def emit(self, record: logging.LogRecord) -> None:
        correlation_id = getattr(record, "correlation_id", None)
        # Failures are reported too, at WARNING and before they happen.
        if record.levelno != logging.DEBUG or not isinstance(correlation_id, str) or self._violation is not None:
            return
        try:
            self._note(correlation_id)
        # Whatever it is, it is for the test and not for the manager.
        except Exception as exc:
            self._violation = exc

    def _note(self, correlation_id: str) -> None:
        status = self._manager.get_task(correlation_id).status
        if correlation_id not in self._names:
            if not self.newcomers:
                raise LawBrokenError(f"conservation: {correlation_id} became {status.value}, and nobody submitted it")
            self.introduce(correlation_id, self.newcomers.pop(0))
        name = self._names[correlation_id]
        history = self.history.setdefault(name, [])
        if history and history[-1] is status:
            return
        left = Left.NEVER_BEGAN
        if history and history[-1] is DownloadStatus.DOWNLOADING:
            if correlation_id in self._downloader.bodies:
                raise LawBrokenError(f"law 5: {name} became {status.value} while its body still ran")
            left = self._downloader.take_left(correlation_id)
        history.append(status)
        self._model.observe(name, status, left)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Listen until the block ends, and let nobody else hear what is only meant for here."""
        level, propagates = _LOGGER.level, _LOGGER.propagate
        _LOGGER.addHandler(self)
        _LOGGER.setLevel(logging.DEBUG)
        _LOGGER.propagate = False
        try:
            yield
        finally:
            _LOGGER.propagate = propagates
            _LOGGER.setLevel(level)
            _LOGGER.removeHandler(self)

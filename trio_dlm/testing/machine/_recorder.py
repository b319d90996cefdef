"""Passes every change of status of a manager on to the model, in the very step in which it happens.

Rules that hold here:

- how a change is seen is for the manager to say.  Ours logs each one at DEBUG, once it has happened: the record says
  whose, the task says what.  Readers of events may be given several changes as one, and would switch off the quick path
  that a manager without readers takes;
- nothing is raised into the manager: the first violation is kept until the machine asks, and nothing is passed on
  after it;
- who ran is known from the downloader, never from the manager.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, TypeAlias, final

from ... import DownloadStatus, UnknownTaskError
from .._errors import LawBrokenError
from .._scripted import Left, ScriptedDownloader
from ._model import Model

__all__ = ["Recorder", "Saw", "watch_log"]

_LOGGER: Final = logging.getLogger("trio_dlm")

Saw: TypeAlias = Callable[[str, DownloadStatus], None]
"""Takes the id of a download, and the status that it has now; the same status again does no harm."""


@final
class Recorder:
    """Watches one manager.

    Attributes:
        history: every status that each download had, with nothing merged.
        newcomers: names for downloads whose id the manager draws, in the order in which they will show up.
        ids: the correlation id of each name.
        crashed: those whose body raised what is no ``Exception``.
    """

    def __init__(self, manager: Any, model: Model, downloader: ScriptedDownloader) -> None:
        self.history: dict[str, list[DownloadStatus]] = {}
        self.newcomers: list[str] = []
        self.ids: dict[str, str] = {}
        self.crashed: set[str] = set()
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

    def saw(self, correlation_id: str, status: DownloadStatus) -> None:
        """A download has this status now."""
        if self._violation is None:
            try:
                self._note(correlation_id, status)
            # Whatever it is, it is for the test and not for the manager.
            except Exception as exc:  # noqa: BLE001
                self._violation = exc

    def name_of(self, correlation_id: str) -> str:
        """Return what the download with this id is called in the program."""
        return self._names[correlation_id]

    def watching(self) -> AbstractContextManager[None]:
        """Listen to the log of one of our managers until the block ends."""
        return watch_log(self._manager, self.saw)

    def _note(self, correlation_id: str, status: DownloadStatus) -> None:
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
            if left is Left.CRASHED:
                self.crashed.add(name)
        history.append(status)
        self._model.observe(name, status, left)


@final
class _Listener(logging.Handler):
    def __init__(self, manager: Any, saw: Saw) -> None:
        super().__init__(logging.DEBUG)
        self._manager = manager
        self._saw = saw

    def emit(self, record: logging.LogRecord) -> None:
        correlation_id = getattr(record, "correlation_id", None)
        # Failures are reported too, at WARNING and after they have happened.
        if record.levelno == logging.DEBUG and isinstance(correlation_id, str):
            try:
                status = self._manager.get_task(correlation_id).status
            except UnknownTaskError:
                # Another manager's.
                return
            self._saw(correlation_id, status)


@contextmanager
def watch_log(manager: Any, saw: Saw) -> Generator[None]:
    """Tell *saw* of every change in one of our managers, until the block ends.

    Nobody else hears meanwhile what is logged: it is only meant for here.
    """
    level, propagates = _LOGGER.level, _LOGGER.propagate
    listener = _Listener(manager, saw)
    _LOGGER.addHandler(listener)
    _LOGGER.setLevel(logging.DEBUG)
    _LOGGER.propagate = False
    try:
        yield
    finally:
        _LOGGER.propagate = propagates
        _LOGGER.setLevel(level)
        _LOGGER.removeHandler(listener)

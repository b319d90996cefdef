"""Passes every change of status of a manager on to the model, in the very step in which it happens.

Rules that hold here:

- how a change is seen is for the manager to say.  Ours logs each one at DEBUG, once it has happened: the record says
  whose, the task says what.  Readers of events may be given several changes as one, and would switch off the quick path
  that a manager without readers takes;
- nothing is raised into the manager: the first violation is kept until the machine asks, and nothing is passed on
  after it;
- who ran is known from the downloader, never from the manager;
- there is one log for all threads: each listens to what is logged in its own, where its manager is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final, TypeAlias, final

from ... import DownloadStatus, UnknownTaskError
from ..._context import logger
from .._errors import LawBrokenError
from .._scripted import Left, ScriptedDownloader
from ._model import FINAL, Model

__all__ = ["Recorder", "Saw", "watch_log"]

Saw: TypeAlias = Callable[[str, DownloadStatus], None]
"""Takes the id of a download, and the status that it has now.

The same status again does no harm, unless it is a final one: a download ends once."""


@final
class Recorder:
    """Watches one manager.

    Attributes:
        history: every status that each download had, in order.
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
            if status in FINAL:
                raise LawBrokenError(f"law 4: {name} became {status.value} once more")
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


@contextmanager
def watch_log(manager: Any, saw: Saw) -> Generator[None]:
    """Tell *saw* of every change in one of our managers, which is at work in this thread, until the block ends.

    Nobody else hears meanwhile what is logged: it is only meant for here.
    """

    def take(correlation_id: str) -> None:
        try:
            status = manager.get_task(correlation_id).status
        except UnknownTaskError:
            # Another manager's.
            return
        saw(correlation_id, status)

    thread = threading.get_ident()
    _listener.add(thread, take)
    try:
        yield
    finally:
        _listener.remove(thread, take)


_Take: TypeAlias = Callable[[str], None]


@final
class _Listener(logging.Handler):
    """One for all: while handlers come and go, the log of another thread may pass over those that stay."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        # Reentrant: a collection may end a watch in the midst of one of these methods.
        self._changes = threading.RLock()
        self._takers: dict[int, list[_Take]] = {}
        self._undo = ExitStack()

    def add(self, thread: int, take: _Take) -> None:
        """Let *take* hear the id of each download that has changed, if that was logged in this thread."""
        with self._changes:
            if not self._takers:
                self._undo.enter_context(_loud(self))
            self._takers.setdefault(thread, []).append(take)

    def remove(self, thread: int, take: _Take) -> None:
        """Let *take* hear no more; after the last of them the log is as it was."""
        with self._changes:
            takers = self._takers[thread]
            takers.remove(take)
            if not takers:
                del self._takers[thread]
            if not self._takers:
                self._undo.close()

    def handle(self, record: logging.LogRecord) -> bool:
        """Pass the record on, without the lock that other handlers need: nothing here is shared between threads."""
        correlation_id = getattr(record, "correlation_id", None)
        # Failures are reported too, at WARNING and after they have happened.
        if record.levelno == logging.DEBUG and isinstance(correlation_id, str):
            for take in [*self._takers.get(threading.get_ident(), ())]:
                take(correlation_id)
        return True


@contextmanager
def _loud(handler: logging.Handler) -> Generator[None]:
    """Let *handler* hear everything that is logged, until the block ends."""
    level, propagates, is_disabled = logger.level, logger.propagate, logger.disabled
    disabled_up_to = logger.manager.disable
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    # logging.config disables whatever it does not name, and a manager that is not heard would look like one that stands
    # still.
    logger.disabled = False
    logging.disable(min(disabled_up_to, logging.DEBUG - 1))
    try:
        yield
    finally:
        logging.disable(disabled_up_to)
        logger.disabled = is_disabled
        logger.propagate = propagates
        logger.setLevel(level)
        logger.removeHandler(handler)


_listener: Final = _Listener()

"""Failures that nobody has asked for yet (law 10).

Rules that hold here:

- a failure was asked for when ``result()`` raised it, ``wait()`` returned FAILED, or an event reader was given the
  FAILED snapshot; it is counted once, and struck off once;
- the first hundred are held, and the others only as long as somebody else remembers them: a manager whose failures
  nobody ever reads must not grow;
- a kept error holds no frames of the code that it came from, since they would pin every buffer of the run.
"""

from __future__ import annotations

import gc
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast, final
from weakref import WeakKeyDictionary

from ._errors import DownloadFailedError, TrioDlmError, UncollectedFailuresError
from ._status import DownloadStatus
from ._urls import redact_url

if TYPE_CHECKING:
    from ._download import Download

__all__ = ["FailureLedger", "add_hint", "clear_frames", "failure_of", "in_short", "in_words"]

# An exception group of more is unreadable, and what is held holds a traceback.
KEPT: Final = 100

# Some errors quote a whole page.
LONGEST_REASON: Final = 2000


@final
class FailureLedger:
    """Counts the failures that nobody has asked for."""

    def __init__(self) -> None:
        self.total = 0
        self._first: dict[Download, None] = {}
        # These step in for the first ones that are asked for after all.
        self._others: WeakKeyDictionary[Download, None] = WeakKeyDictionary()

    def enter(self, download: Download) -> None:
        """A download has failed."""
        self.total += 1
        (self._first if len(self._first) < KEPT else self._others)[download] = None

    def strike(self, download: Download) -> None:
        """Somebody asked how *download* ended."""
        if download.status is DownloadStatus.FAILED and not download.collected:
            download.collected = True
            self.total -= 1
            self._first.pop(download, None)
            self._others.pop(download, None)

    def as_error(self) -> UncollectedFailuresError[TrioDlmError]:
        """Build what leaves the block."""
        shown: list[TrioDlmError] = [
            failure_of(download) for download in islice(chain(self._first, self._others), KEPT)
        ]
        if not shown:
            # The first have been asked for, and nobody remembers the others; but a group cannot be empty.
            shown = [TrioDlmError(f"failures after the first {KEPT} were logged, and forgotten with their downloads")]
        return UncollectedFailuresError.of(shown, total=self.total)


def failure_of(download: Download) -> DownloadFailedError:
    """Build a fresh exception for a failed download, with the original as its cause."""
    failure = DownloadFailedError(
        correlation_id=download.correlation_id,
        url=download.url,
        reason=download.reason or "unknown",
    )
    failure.__cause__ = download.error
    return failure


def in_short(exc: BaseException | None) -> str:
    """Name an exception in one line; its own code may raise, and must not break the step that asks."""
    try:
        return redact_url(repr(exc))
    except Exception:  # noqa: BLE001  (somebody else's code, and the type is better than nothing)
        return type(exc).__name__


def in_words(error: Exception, url: str) -> str:
    """Say in one line, without secrets, why the download of *url* failed; whoever shows it has shown the URL."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001  (somebody else's code, and the type is better than nothing)
        return name
    if not text:
        return name
    text = text.removeprefix(f"{url}: ") if isinstance(error, TrioDlmError) else f"{name}: {text}"
    text = redact_url(text)
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


# What asyncio's own functions, locks and futures say where trio runs; trio says the last.
_NEEDS_ASYNCIO: Final = (
    "no running event loop",
    "no current event loop",
    "is bound to a different event loop",
    "'NoneType' object has no attribute 'create_future'",
    "unrecognized yield message",
)


def add_hint(error: Exception) -> None:
    """Say what to do about an error that code for asyncio raises where trio runs it, or the other way round."""
    if not isinstance(error, RuntimeError | AttributeError | TypeError):
        return
    words = str(error)
    if any(each in words for each in _NEEDS_ASYNCIO):
        error.add_note(
            "trio_dlm: this ran in trio, as all downloaders do, and something in it needs asyncio; in a program on "
            "asyncio mark the downloader with trio_dlm.asyncio_downloader(…), so that it runs on the program's event "
            "loop, and open what it shares in the program, around the manager, and not in setup="
        )
    elif words == "must be called from async context":
        error.add_note(
            "trio_dlm: no trio runs where this was called; what needs trio, HttpDownloader for one, belongs into "
            "downloaders that asyncio_downloader() does not mark, and is opened by open_manager(downloader=…, setup=…)"
        )


def clear_frames(error: BaseException) -> None:
    """Empty the frames that *error*, its causes, contexts and members hold on to; the traceback still prints.

    Unlike :func:`traceback.clear_frames` this spares frames that have not ended.  An exception that a task kept and
    that was raised again elsewhere leads back into the frame of that task, which may be suspended at its next
    ``await``; before Python 3.13 clearing such a frame closes the coroutine.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        exc = todo.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        _clear(exc.__traceback__)
        todo += (exc.__cause__, exc.__context__)
        if isinstance(exc, BaseExceptionGroup):
            todo += cast("BaseExceptionGroup[BaseException]", exc).exceptions


def _clear(traceback: TracebackType | None) -> None:
    while traceback is not None:
        frame = traceback.tb_frame
        # CPython hands a frame to the garbage collector when the code in it has ended, and not before.
        if gc.is_tracked(frame):
            frame.clear()
        traceback = traceback.tb_next

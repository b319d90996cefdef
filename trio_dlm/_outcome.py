"""What came out of a run decides its status: the outcome table, as data.

Rules that hold here:

- a run is judged by what left its cancel scope, and only then by what was asked of it: a result is a result, and an
  error wins over a cancel, as in trio;
- what is neither an ``Exception`` nor ``Cancelled`` is nobody's to swallow: it goes on, out of the manager's block;
- nothing here touches a task or a clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, cast, final

import trio

from ._status import DownloadStatus

__all__ = ["Asked", "Ending", "Outcome", "judge", "status_after"]


class Asked(enum.Enum):
    """What somebody asked of a running download."""

    NOTHING = enum.auto()
    PAUSE = enum.auto()
    CANCEL = enum.auto()
    """Also after a pause: the stronger wish stays."""
    CLOSE = enum.auto()
    """The manager's block is being left."""

    __hash__ = object.__hash__  # as in DownloadStatus: looked up for every run


class Ending(enum.Enum):
    """How a run ended."""

    RESULT = enum.auto()
    ERROR = enum.auto()
    STOPPED = enum.auto()
    """Nothing but ``Cancelled`` came out."""
    CRASH = enum.auto()
    """Something that is neither an ``Exception`` nor ``Cancelled`` came out, alone or in a group."""

    __hash__ = object.__hash__


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run left behind.

    Attributes:
        ending: which kind of end it was.
        error: the ``Exception`` that came out, or the part of a group that is one.
        rest: what must go on out of the run: ``Cancelled`` of the surroundings, or a crash.
    """

    ending: Ending
    error: Exception | None = None
    rest: BaseException | None = None


_RESULT: Final = Outcome(Ending.RESULT)
_STOPPED: Final = Outcome(Ending.STOPPED)

# Rows: how it ended; columns: what was asked.  ERROR and CRASH fail whatever was asked, RESULT completes.
_STATUS: Final[dict[tuple[Ending, Asked], DownloadStatus]] = {
    (Ending.STOPPED, Asked.NOTHING): DownloadStatus.CANCELLED,  # the surroundings were cancelled
    (Ending.STOPPED, Asked.PAUSE): DownloadStatus.PAUSED,
    (Ending.STOPPED, Asked.CANCEL): DownloadStatus.CANCELLED,
    (Ending.STOPPED, Asked.CLOSE): DownloadStatus.CANCELLED,
    **{(Ending.RESULT, asked): DownloadStatus.COMPLETED for asked in Asked},
    **{(Ending.ERROR, asked): DownloadStatus.FAILED for asked in Asked},
    **{(Ending.CRASH, asked): DownloadStatus.FAILED for asked in Asked},
}


def judge(raised: BaseException | None, *, stopped: bool, swept: bool) -> Outcome:
    """Tell what a run left behind.

    Args:
        raised: what came out of the run's cancel scope, if anything.
        stopped: nothing came out, since the scope caught the ``Cancelled``.
        swept: the surroundings of the run are cancelled, so that a ``Cancelled`` may come out of its scope.
    """
    if raised is None:
        return _STOPPED if stopped else _RESULT
    if isinstance(raised, Exception):
        return Outcome(Ending.ERROR, error=raised)
    if isinstance(raised, trio.Cancelled):
        return _judge_cancelled(raised, swept=swept)
    if not isinstance(raised, BaseExceptionGroup):
        return Outcome(Ending.CRASH, rest=raised)
    try:
        error, rest = cast("BaseExceptionGroup[BaseException]", raised).split(Exception)
        crash = cast("BaseExceptionGroup[BaseException]", raised).split((Exception, trio.Cancelled))[1]
    except Exception:  # noqa: BLE001  (a group takes part in its splitting; one that cannot be split goes on whole)
        return Outcome(Ending.CRASH, rest=cast("BaseException", raised))
    if rest is None or not (error is None or isinstance(error, Exception)):
        # A class of its own, whose groups are no Exception even where all that they hold is.
        return Outcome(Ending.CRASH, rest=cast("BaseException", raised))
    if crash is not None:
        return Outcome(Ending.CRASH, error=error, rest=rest)
    if error is None:
        return _judge_cancelled(rest, swept=swept)
    return Outcome(Ending.ERROR, error=error, rest=rest if swept else None)


def _judge_cancelled(cancelled: BaseException, *, swept: bool) -> Outcome:
    if swept:
        return Outcome(Ending.STOPPED, rest=cancelled)
    # Nobody has cancelled what is around the run.  To let this pass would end the manager's block for nothing.
    error = RuntimeError(
        "the downloader raised a Cancelled of a scope that is not around it, kept from another task maybe"
    )
    error.__cause__ = cancelled
    return Outcome(Ending.ERROR, error=error)


def status_after(ending: Ending, asked: Asked) -> DownloadStatus:
    """Look up the status that follows."""
    return _STATUS[ending, asked]

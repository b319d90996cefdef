"""Which failures are worth another attempt, how long to wait before it, and when enough is enough.

Rules that hold here:

- an error is judged by its class and its attributes, never by its text;
- ``retries`` counts attempts in a row that made no progress; progress is that more bytes are held as proven than ever
  before.  A restart and bytes fetched again are none, and neither is what an attempt brought that was ended for being
  slow;
- every attempt waits before it starts, by chance, so that many clients of one server do not come back together;
- what resets a counter is bounded by another one: no server can keep a download busy for ever, be it with a byte for
  each attempt or with the same bytes again and again;
- randomness and the time are arguments; whoever asks does the waiting.

Source:
    RFC 9110 section 10.2.3 for Retry-After; "full jitter" is the name that the AWS Architecture Blog gave to drawing
    the whole wait ("Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, NamedTuple, final

from ...._errors import (
    ConnectionFailedError,
    DownloadTimeoutError,
    HttpStatusError,
    IncompleteBodyError,
    StorageError,
    TooSlowError,
    TransferError,
    UnusableReplyError,
)
from ._dates import parse_http_date

__all__ = ["Again", "Patience", "is_retried", "parse_retry_after", "received_limit"]

# The server, or somebody before it, says that the same request may go better later (RFC 9110 sections 15.5.9 and 15.6,
# RFC 8470 section 5.2, RFC 6585 section 4).  520 to 524 are what a well-known content network says when it cannot reach
# the server behind it.
_PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})

# No descriptor is left, in the process or on the machine: other downloads give some back when they end.
_PASSING_ERRNOS: Final = frozenset({errno.EMFILE, errno.ENFILE})

# The longest wait that may be drawn for the first further attempt; each one in a row doubles it.
FIRST_BACKOFF_S: Final = 1.0

# Longer waits than this help no server, and a person who waits for the file takes them for a hang.
MOST_BACKOFF_S: Final = 30.0

# Enough doublings to get there, and no overflow however many retries are asked for.
_MOST_DOUBLINGS: Final = 5

# An attempt that brought less than this was hardly worth its request; after so many of them a run ends, progress or
# not.  A line that breaks every few seconds brings more; a server that sends some bytes and falls silent, each time, is
# given up within an hour.
FRUITFUL_BYTES: Final = 64 * 1024
MOST_FRUITLESS: Final = 100

# What a download may receive beyond its size: room for overlapping ranges, a restart and a second plain stream.  The
# least is for files so small that a few repeats exceed any multiple of them, and those whose size nobody knows.
_SPARE_SHARE: Final = 3
_LEAST_SPARE_BYTES: Final = 64 * 1024 * 1024


_DELTA_SECONDS: Final = re.compile("[0-9]+")

_YEAR_S: Final = 365 * 24 * 3600


def is_retried(error: TransferError) -> bool:
    """Whether another attempt may go better than the one that ended with *error*."""
    match error:
        case DownloadTimeoutError() | IncompleteBodyError():
            return True
        case ConnectionFailedError():
            return error.may_pass
        case HttpStatusError():
            return error.status in _PASSING_STATUSES
        case StorageError():
            return error.errno in _PASSING_ERRNOS
        case UnusableReplyError():
            return error.may_pass
        case _:
            return False


def parse_retry_after(values: Sequence[str], *, now: datetime) -> float | None:
    """Return for how many seconds a server asks to be left alone.

    Args:
        values: of every Retry-After field of one reply.
        now: aware.  The reply's own Date, where it has one, makes the difference right although one of the two clocks
            is wrong.

    Returns:
        Seconds from 0 up, 0 for a date in the past and infinity for a number beyond all others; None if there is no
        such field, if a value is neither digits nor a date, or if the values do not agree.
    """
    found = {_seconds_of(value.strip(" \t"), now) for value in values}
    return found.pop() if len(found) == 1 else None


def _seconds_of(value: str, now: datetime) -> float | None:
    if _DELTA_SECONDS.fullmatch(value):
        # int() refuses thousands of digits; float() makes infinity of them.
        return float(value)
    date = parse_http_date(value, now=now)
    return None if date is None else max(0.0, (date - now).total_seconds())


def received_limit(total: int | None) -> int:
    """Return how many bytes a download may receive beyond the *total* of its file (None: not known)."""
    return max(_SPARE_SHARE * (total or 0), _LEAST_SPARE_BYTES)


class Again(NamedTuple):
    """Another attempt is to be made.

    Attributes:
        patience: what is left then.
        wait_s: how long to wait before.
    """

    patience: Patience
    wait_s: float


@final
@dataclass(frozen=True, slots=True)
class Patience:
    """How many more failures one run of a download puts up with.

    Attributes:
        retries: how many further attempts are made in a row without progress.
        retry_after_limit_s: the longest that a server may ask to be left alone.
        failed: failures in a row without progress.
        fruitless: failures of the run whose attempts brought less than :data:`FRUITFUL_BYTES`.
        high_water: the largest number of proven bytes that was ever held; a run that resumes begins with what it found.
    """

    retries: int
    retry_after_limit_s: float
    failed: int = 0
    fruitless: int = 0
    high_water: int = 0

    def after(self, error: TransferError, *, held_bytes: int, draw: float) -> Again:
        """Count the attempt that ended with *error*, and say how long to wait before the next one.

        The wait is ``draw`` times a limit that doubles with each failure in a row, added to what the server asks for,
        so that those who are told the same time do not all come back at it.

        Args:
            error: how the attempt ended.
            held_bytes: how many proven bytes are held now.
            draw: a random number from 0 to 1, 1 left out.

        Returns:
            The patience that is left, and the wait in seconds.

        Raises:
            TransferError: no further attempt: *error* itself if it is not one that passes or the attempts are used up;
                an :class:`HttpStatusError` that says so, with *error* as its cause, if the server asks to be left alone
                for longer than the limit, or for ever.
        """
        if not is_retried(error):
            raise error
        gained = held_bytes - self.high_water
        # Slow attempts count as failed although they bring bytes; if these made them progress there would be no end.
        was_slow = isinstance(error, TooSlowError)
        in_a_row = 0 if gained > 0 and not was_slow else self.failed
        fruitless = self.fruitless + (gained < FRUITFUL_BYTES)
        if in_a_row >= self.retries or fruitless > MOST_FRUITLESS:
            raise error
        wait_s = draw * min(MOST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(in_a_row, _MOST_DOUBLINGS))
        if isinstance(error, HttpStatusError) and error.retry_after_s is not None:
            # Nobody waits for ever, not even with an infinite limit.
            if error.retry_after_s > self.retry_after_limit_s or math.isinf(error.retry_after_s):
                raise _told_to_stay_away(error, error.retry_after_s, self.retry_after_limit_s) from error
            wait_s += error.retry_after_s
        patience = replace(
            self,
            failed=in_a_row + 1,
            fruitless=fruitless,
            high_water=max(held_bytes, self.high_water),
        )
        return Again(patience, wait_s)


def _told_to_stay_away(error: HttpStatusError, asked_s: float, limit_s: float) -> HttpStatusError:
    # Nobody reads a number of three hundred digits.
    asked = f"{math.ceil(asked_s)} s" if asked_s < _YEAR_S else "more than a year"
    return HttpStatusError(
        url=error.url,
        status=error.status,
        phrase=error.phrase,
        advice=f"it asks to be left alone for {asked}, and retry_after_limit_s={limit_s:g} allows less: "
        f"try again after that, or raise retry_after_limit_s",
        retry_after_s=asked_s,
    )

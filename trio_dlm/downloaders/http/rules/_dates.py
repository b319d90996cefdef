"""The dates of HTTP header fields, as points in time.

Rules that hold here:

- exactly the three forms of RFC 9110 section 5.6.7 are read: ``Sun, 06 Nov 1994 08:49:37 GMT``, and the obsolete
  ``Sunday, 06-Nov-94 08:49:37 GMT`` and ``Sun Nov  6 08:49:37 1994``, in their own case and spacing.  Anything else is
  no date, and whoever asked goes on as if the field were not there;
- a day of the week that the date does not have is a contradiction, and no date either;
- no locale takes part, and no lenient parser: what those make of a half-broken date depends on the machine.

Source:
    RFC 9110 section 5.6.7.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse_http_date"]

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_LONG_DAY: Final = f"(?P<weekday>{'|'.join(_DAYS)})"
_DAY: Final = f"(?P<weekday>{'|'.join(day[:3] for day in _DAYS)})"
_MONTH: Final = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME: Final = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"

_IMF_FIXDATE: Final = re.compile(f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT")
_RFC_850: Final = re.compile(f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT")
_ASCTIME: Final = re.compile(f"{_DAY} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})")

# A year of two digits is at most so far ahead (RFC 9110 section 5.6.7).
_YEARS_AHEAD: Final = 50


def parse_http_date(text: str, *, now: datetime) -> datetime | None:
    """Read a date as it stands in Date, Last-Modified or Retry-After.

    The sixtieth second of a leap second is the first one of the next day, as it is to the clocks of computers.

    Args:
        text: the field's value, without white space around it.
        now: aware; decides the century of a year of two digits.

    Returns:
        The point in time, aware, in UTC; None if *text* is not in one of the three forms, or names a day or an hour
        that does not exist.
    """
    found = _IMF_FIXDATE.fullmatch(text) or _RFC_850.fullmatch(text) or _ASCTIME.fullmatch(text)
    if found is None:
        return None
    month = _MONTHS.index(found["month"]) + 1
    day, hour, minute, second = (int(found[name]) for name in ("day", "hour", "minute", "second"))
    year = int(found["year"])
    if found.re is _RFC_850:
        today = now.astimezone(UTC)
        # Compared field by field, since the day fifty years from a 29 February may not exist.
        latest = (today.year + _YEARS_AHEAD, today.month, today.day, today.hour, today.minute, today.second)
        year += latest[0] - latest[0] % 100
        if (year, month, day, hour, minute, second) > latest:
            year -= 100
    # A leap second ends a day of UTC and nothing else.
    leap = 1 if (hour, minute, second) == (23, 59, 60) else 0
    try:
        moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
        if not _DAYS[moment.weekday()].startswith(found["weekday"]):
            return None
        return moment + timedelta(seconds=leap)
    except (ValueError, OverflowError):
        return None

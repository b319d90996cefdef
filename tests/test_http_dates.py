"""A date of HTTP is read in its three forms, and nothing else is a date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._dates import parse_http_date

NOW: Final = datetime(2026, 7, 14, 12, 0, 0, tzinfo=UTC)

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def imf_fixdate(moment: datetime) -> str:
    return (
        f"{DAYS[moment.weekday()][:3]}, {moment.day:02} {MONTHS[moment.month - 1]} {moment.year:04} "
        f"{moment:%H:%M:%S} GMT"
    )


def rfc_850(moment: datetime) -> str:
    return (
        f"{DAYS[moment.weekday()]}, {moment.day:02}-{MONTHS[moment.month - 1]}-{moment.year % 100:02} "
        f"{moment:%H:%M:%S} GMT"
    )


def asctime(moment: datetime) -> str:
    return f"{DAYS[moment.weekday()][:3]} {MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S} {moment.year:04}"


moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_examples_of_the_rfc_are_one_point_in_time(text: str) -> None:
    assert parse_http_date(text, now=NOW) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@given(moments)
def test_every_second_of_every_year_is_read_back(moment: datetime) -> None:
    for text in (imf_fixdate(moment), asctime(moment)):
        read = parse_http_date(text, now=NOW)
        assert read == moment
        assert read.tzinfo is UTC


@pytest.mark.parametrize("text", ["Sun Nov 06 08:49:37 1994", "Sun Nov 13 08:49:37 1994"])
def test_the_day_of_asctime_may_have_two_digits(text: str) -> None:
    assert parse_http_date(text, now=NOW) is not None


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2300, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.timedeltas(timedelta(days=-49 * 366), timedelta(days=49 * 366)),
)
def test_a_year_of_two_digits_is_within_fifty_years_of_now(now: datetime, apart: timedelta) -> None:
    moment = (now + apart).replace(microsecond=0)
    assert parse_http_date(rfc_850(moment), now=now) == moment


AFTER_LEAP_DAY: Final = datetime(2024, 2, 29, tzinfo=UTC)
EAST: Final = datetime(2000, 1, 1, 0, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "now", "year"),
    [
        ("Tuesday, 14-Jul-76 12:00:00 GMT", NOW, 2076),
        ("Wednesday, 14-Jul-76 12:00:01 GMT", NOW, 1976),
        ("Wednesday, 13-Jul-77 00:00:00 GMT", NOW, 1977),
        ("Saturday, 01-Jan-00 00:00:00 GMT", datetime(1999, 12, 31, tzinfo=UTC), 2000),
        ("Friday, 31-Dec-99 23:59:59 GMT", datetime(2000, 1, 1, tzinfo=UTC), 1999),
        # The day that is fifty years ahead does not exist.
        ("Wednesday, 28-Feb-74 00:00:00 GMT", AFTER_LEAP_DAY, 2074),
        ("Friday, 01-Mar-74 00:00:00 GMT", AFTER_LEAP_DAY, 1974),
        # The clock shows another year than UTC.
        ("Friday, 31-Dec-49 22:30:00 GMT", EAST, 2049),
        ("Saturday, 31-Dec-49 23:30:00 GMT", EAST, 1949),
    ],
)
def test_a_year_of_two_digits_that_were_more_than_fifty_years_ahead_is_past(
    text: str, now: datetime, year: int
) -> None:
    read = parse_http_date(text, now=now)
    assert read is not None
    assert read.year == year


def test_the_day_of_the_week_does_not_decide_about_the_century() -> None:
    # Right for 2076, which is too far ahead by a second.
    assert parse_http_date("Tuesday, 14-Jul-76 12:00:01 GMT", now=NOW) is None


def test_a_leap_second_is_the_first_second_of_the_next_day() -> None:
    read = parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", now=NOW)
    assert read == datetime(2017, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 November 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37 94",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 06 Nov 1994  08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        # Dates and times that do not exist.
        "Mon, 06 Nov 1994 08:49:37 GMT",
        "Monday, 06-Nov-94 08:49:37 GMT",
        "Mon Nov  6 08:49:37 1994",
        "Thu, 00 Nov 1994 08:49:37 GMT",
        "Thu, 31 Nov 1994 08:49:37 GMT",
        "Wed, 29 Feb 2023 00:00:00 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sat, 31 Dec 2016 23:59:61 GMT",
        # A leap second behind the end of time.
        "Fri, 31 Dec 9999 23:59:60 GMT",
    ],
)
def test_anything_else_is_no_date(text: str) -> None:
    assert parse_http_date(text, now=NOW) is None


letters = st.sampled_from([*"0123456789:, -GMTguUTC\n\t", "Sun", "Sunday", "Nov"])


@given(
    st.datetimes(datetime(1980, 1, 1), datetime(2070, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([imf_fixdate, rfc_850, asctime]),
    st.integers(0, 40),
    st.integers(0, 2),
    st.lists(letters, max_size=2).map("".join),
)
def test_what_is_read_from_a_damaged_date_is_what_stands_there(
    moment: datetime, form: Callable[[datetime], str], at: int, removed: int, inserted: str
) -> None:
    text = form(moment)
    damaged = text[:at] + inserted + text[at + removed :]
    assume(":60" not in damaged)
    read = parse_http_date(damaged, now=NOW)
    forms = {written(read) for written in (imf_fixdate, rfc_850, asctime)} if read else {damaged}
    # The one freedom that asctime leaves.
    assert {damaged, damaged[:8] + damaged[8:10].replace("0", " ", 1) + damaged[10:]} & forms

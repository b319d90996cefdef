"""What is tried again, after how long, and that every run ends."""

from __future__ import annotations

import errno
import math
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadTimeoutError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidNameError,
    InvalidUrlError,
    RedirectError,
    StalledError,
    StorageError,
    TargetExistsError,
    TooLargeError,
    TooSlowError,
    TransferError,
    UnusableReplyError,
)
from trio_dlm.downloaders.http.rules._retrying import (
    FRUITFUL_BYTES,
    MOST_BACKOFF_S,
    MOST_FRUITLESS,
    Patience,
    is_retried,
    parse_retry_after,
    received_limit,
)

URL: Final = "https://example.org/file"
NOW: Final = datetime(1994, 11, 6, 8, 48, 37, tzinfo=UTC)
MIB: Final = 1024 * 1024


def status(number: int, *, retry_after_s: float | None = None) -> HttpStatusError:
    return HttpStatusError(url=URL, status=number, phrase="No", advice="wait", retry_after_s=retry_after_s)


def timeout() -> StalledError:
    return StalledError(url=URL, waited_for="further byte", limit_s=30, option="timeout_s")


def too_slow() -> TooSlowError:
    return TooSlowError(url=URL, min_rate_bytes_per_s=1000, received_bytes=20, limit_s=30)


def broken(*, may_pass: bool = True) -> ConnectionFailedError:
    return ConnectionFailedError(url=URL, problem="it broke", may_pass=may_pass)


def storage(number: int | None) -> StorageError:
    return StorageError(path="/a/file", problem="no", advice="look", errno=number)


# What is tried again.

PASSING: Final[list[TransferError]] = [
    broken(),
    DownloadTimeoutError(url=URL, waited_for="complete reply header", limit_s=30, option="timeout_s"),
    timeout(),
    too_slow(),
    IncompleteBodyError(url=URL, expected_bytes=10, received_bytes=9, problem="the body ended early"),
    storage(errno.EMFILE),
    storage(errno.ENFILE),
    UnusableReplyError(url=URL, problem="another total", advice="wait", is_disagreement=True),
]

FINAL: Final[list[TransferError]] = [
    broken(may_pass=False),
    storage(errno.ENOSPC),
    storage(None),
    UnusableReplyError(url=URL, problem="no HTTP", advice="look"),
    ChecksumMismatchError(url=URL, algorithm="sha256", expected="00", got="01"),
    InvalidNameError(name="..", problem="no name"),
    InvalidUrlError(url="x", problem="no scheme", advice="look"),
    RedirectError(url=URL, target=URL, problem="a loop", advice="look"),
    TargetExistsError(path="/a/file", problem="it is there", advice="look"),
    TooLargeError(url=URL, max_bytes=1, size_bytes=2),
    TransferError("something else"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error: TransferError) -> None:
    assert is_retried(error)


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_what_will_not_pass_is_final(error: TransferError) -> None:
    assert not is_retried(error)


def test_exactly_twelve_statuses_are_tried_again() -> None:
    retried = {number for number in range(100, 1000) if is_retried(status(number))}
    assert retried == {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}


def test_every_class_of_error_has_been_judged() -> None:
    judged = {type(error) for error in [*PASSING, *FINAL, status(404)]}
    known = {TransferError, *TransferError.__subclasses__(), *DownloadTimeoutError.__subclasses__()}
    # Other downloaders have errors of their own, and judge them.
    assert {error for error in known if error.__module__ == TransferError.__module__} <= judged


# Retry-After.


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ([], None),
        # RFC 9110 section 10.2.3.
        (["120"], 120.0),
        (["0"], 0.0),
        (["000060"], 60.0),
        ([" 60\t"], 60.0),
        (["Sun, 06 Nov 1994 08:49:37 GMT"], 60.0),
        (["Sunday, 06-Nov-94 08:49:37 GMT"], 60.0),
        (["Sun Nov  6 08:49:37 1994"], 60.0),
        (["Sun, 06 Nov 1994 08:48:36 GMT"], 0.0),
        (["Fri, 31 Dec 1999 23:59:59 GMT"], 162573082.0),
        # Several, and of one mind.
        (["60", "60"], 60.0),
        (["60", "060"], 60.0),
        (["60", "Sun, 06 Nov 1994 08:49:37 GMT"], 60.0),
        # Several, and not.
        (["60", "61"], None),
        (["60", "soon"], None),
        (["soon", "60"], None),
        # In neither form.
        ([""], None),
        (["soon"], None),
        (["-1"], None),
        (["+1"], None),
        (["1.5"], None),
        (["1e3"], None),
        (["0x10"], None),
        (["60s"], None),
        (["6 0"], None),
        (["60, 60"], None),
        (["٦٠"], None),
        (["²"], None),
        (["inf"], None),
        (["nan"], None),
        (["Sun, 06 Nov 1994 08:49:37 +0000"], None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_absent(values: list[str], seconds: float | None) -> None:
    assert parse_retry_after(values, now=NOW) == seconds


@pytest.mark.parametrize("digits", [310, 5000, 60000])
def test_a_number_of_any_length_is_read(digits: int) -> None:
    assert parse_retry_after(["9" * digits], now=NOW) == math.inf
    assert parse_retry_after(["0" * digits + "7"], now=NOW) == 7.0


@given(st.lists(st.text(), max_size=3))
def test_no_text_makes_a_wait_that_is_negative_or_no_number(values: list[str]) -> None:
    found = parse_retry_after(values, now=NOW)
    assert found is None or found >= 0


# How much may be received.


@pytest.mark.parametrize(
    ("total", "limit"),
    [
        (None, 64 * MIB),
        (0, 64 * MIB),
        (21 * MIB, 64 * MIB),
        (22 * MIB, 66 * MIB),
        (1000 * MIB, 3000 * MIB),
    ],
)
def test_three_times_the_size_may_be_received_in_vain_and_64_mib_always(total: int | None, limit: int) -> None:
    assert received_limit(total) == limit


# How often.


def attempts(patience: Patience, error: TransferError, held: list[int]) -> int:
    """Make attempts that all end with *error*, holding *held* afterwards (the last for ever); return their number."""
    made = 0
    with pytest.raises(type(error)) as caught:
        while True:
            made += 1
            patience, _ = patience.after(error, held_bytes=held[min(made, len(held)) - 1], draw=0.5)
    assert caught.value is error
    return made


@pytest.mark.parametrize("retries", [0, 1, 5, 20])
def test_retries_is_the_number_of_further_attempts(retries: int) -> None:
    assert attempts(Patience(retries, 60), broken(), [0]) == 1 + retries


@pytest.mark.parametrize("error", FINAL, ids=repr)
def test_an_error_that_is_final_ends_it_at_once(error: TransferError) -> None:
    assert attempts(Patience(5, 60), error, [0]) == 1


def test_progress_begins_the_count_anew() -> None:
    assert attempts(Patience(2, 60), broken(), [0, 0, 1, 1, 2]) == 7
    assert attempts(Patience(1, 60), broken(), list(range(1, 50))) == 50


def test_without_retries_progress_does_not_help() -> None:
    assert attempts(Patience(0, 60), broken(), [1000]) == 1


def test_bytes_that_were_held_before_are_no_progress() -> None:
    # A restart from zero after 100, and up to 100 once more.
    assert attempts(Patience(2, 60), broken(), [100, 0, 100]) == 3
    assert attempts(Patience(2, 60), broken(), [100, 0, 101]) == 5


def test_what_a_resumed_run_found_is_no_progress() -> None:
    assert attempts(Patience(3, 60, high_water=500), broken(), [100, 200, 300, 400]) == 4


def test_an_attempt_that_was_ended_for_being_slow_is_no_progress() -> None:
    growing = list(range(MIB, 100 * MIB, MIB))
    assert attempts(Patience(3, 60), too_slow(), growing) == 4
    assert attempts(Patience(3, 60), timeout(), growing) > len(growing)


def test_bytes_of_a_slow_attempt_are_not_counted_by_the_next_one() -> None:
    patience, _ = Patience(3, 60).after(too_slow(), held_bytes=MIB, draw=0.5)
    again, _ = patience.after(broken(), held_bytes=MIB, draw=0.5)
    assert again.failed == 2


def test_a_byte_for_each_attempt_does_not_go_on_for_ever() -> None:
    drip = list(range(1, 2 * MOST_FRUITLESS))
    assert attempts(Patience(5, 60), broken(), drip) == MOST_FRUITLESS + 1


def test_a_large_file_on_a_line_that_often_breaks_is_not_given_up() -> None:
    pieces = list(range(FRUITFUL_BYTES, 5 * MOST_FRUITLESS * FRUITFUL_BYTES, FRUITFUL_BYTES))
    assert attempts(Patience(5, 60), broken(), pieces) == len(pieces) + 5


@given(
    st.integers(0, 8),
    st.lists(st.tuples(st.sampled_from(PASSING), st.integers(0, 20)), max_size=60),
)
def test_the_counters_say_what_happened(retries: int, story: list[tuple[TransferError, int]]) -> None:
    patience = Patience(retries, 60)
    in_a_row = highest = 0
    for error, held in story:
        is_slow = isinstance(error, TooSlowError)
        in_a_row = (0 if held > highest and not is_slow else in_a_row) + 1
        highest = max(highest, held)
        if in_a_row > retries:
            with pytest.raises(type(error)) as caught:
                patience.after(error, held_bytes=held, draw=0.0)
            assert caught.value is error
            return
        patience = patience.after(error, held_bytes=held, draw=0.0).patience
        assert (patience.failed, patience.high_water) == (in_a_row, highest)


# How long.


def limits(patience: Patience, count: int) -> list[float]:
    """Return the longest waits of *count* failures in a row."""
    found = []
    for _ in range(count):
        again = patience.after(broken(), held_bytes=0, draw=1.0)
        found.append(again.wait_s)
        patience = again.patience
    return found


def test_the_longest_wait_doubles_up_to_thirty_seconds() -> None:
    assert limits(Patience(9, 60), 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_wait_starts_small_again_after_progress() -> None:
    patience = Patience(9, 60, failed=5)
    assert patience.after(broken(), held_bytes=0, draw=1.0).wait_s == 30
    assert patience.after(broken(), held_bytes=1, draw=1.0).wait_s == 1


def test_a_million_failures_in_a_row_wait_no_longer() -> None:
    assert Patience(10**7, 60, failed=10**6).after(broken(), held_bytes=0, draw=1.0).wait_s == 30


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_the_whole_wait_is_drawn(failed: int, draw: float) -> None:
    patience = Patience(200, 60, failed=failed)
    wait_s = patience.after(broken(), held_bytes=0, draw=draw).wait_s
    longest = min(30.0, 2.0**failed)
    assert wait_s == pytest.approx(draw * longest)
    assert wait_s < longest


def test_what_the_server_asks_for_is_waited_and_a_drawn_time_on_top() -> None:
    patience = Patience(5, 60, failed=2)
    assert patience.after(status(503, retry_after_s=7.5), held_bytes=0, draw=0.0).wait_s == 7.5
    assert patience.after(status(503, retry_after_s=7.5), held_bytes=0, draw=0.5).wait_s == 9.5
    assert patience.after(status(503, retry_after_s=0.0), held_bytes=0, draw=0.5).wait_s == 2.0
    assert patience.after(status(503), held_bytes=0, draw=0.5).wait_s == 2.0


def test_the_longest_time_that_is_allowed_is_waited() -> None:
    assert Patience(5, 60).after(status(429, retry_after_s=60.0), held_bytes=0, draw=0.0).wait_s == 60.0


@given(st.floats(0, 60), st.floats(0, 1, exclude_max=True), st.integers(0, 4))
def test_the_server_is_left_alone_for_as_long_as_it_asks(asked_s: float, draw: float, failed: int) -> None:
    wait_s = Patience(5, 60, failed=failed).after(status(503, retry_after_s=asked_s), held_bytes=0, draw=draw).wait_s
    assert asked_s <= wait_s < asked_s + MOST_BACKOFF_S


@pytest.mark.parametrize(
    ("asked_s", "limit_s", "words"),
    [
        (60.5, 60.0, "for 61 s, and retry_after_limit_s=60 allows less"),
        (86400.0, 60.0, "for 86400 s, and retry_after_limit_s=60 allows less"),
        (1.0, 0.0, "for 1 s, and retry_after_limit_s=0 allows less"),
        (1e300, 60.0, "for more than a year, and"),
        (math.inf, 60.0, "for more than a year, and"),
        (math.inf, math.inf, "for more than a year, and"),
    ],
)
def test_a_server_that_asks_for_longer_ends_it_and_the_error_says_until_when(
    asked_s: float, limit_s: float, words: str
) -> None:
    error = status(503, retry_after_s=asked_s)
    with pytest.raises(HttpStatusError, match="raise retry_after_limit_s") as caught:
        Patience(5, limit_s).after(error, held_bytes=0, draw=0.0)
    raised = caught.value
    assert raised is not error
    assert raised.__cause__ is error
    assert words in str(raised)
    assert (raised.url, raised.status, raised.phrase, raised.retry_after_s) == (URL, 503, "No", asked_s)
    assert len(str(raised)) < 300


@pytest.mark.parametrize(
    ("patience", "number"), [(Patience(5, 60), 404), (Patience(5, 60, failed=5), 503), (Patience(0, 60), 503)]
)
def test_how_long_to_stay_away_does_not_matter_where_nothing_is_tried_again(patience: Patience, number: int) -> None:
    error = status(number, retry_after_s=3600)
    with pytest.raises(HttpStatusError) as caught:
        patience.after(error, held_bytes=0, draw=0.0)
    assert caught.value is error


def test_a_patience_is_not_changed_by_asking_it() -> None:
    patience = Patience(5, 60)
    patience.after(broken(), held_bytes=10, draw=0.5)
    assert patience == Patience(5, 60)


def test_a_date_is_measured_against_the_clock_that_is_given() -> None:
    later = NOW + timedelta(seconds=30)
    assert parse_retry_after(["Sun, 06 Nov 1994 08:49:37 GMT"], now=later) == 30.0

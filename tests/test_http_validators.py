"""By what a version of a file is known again."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.replies import said
from trio_dlm.downloaders.http.rules._validators import validator_of
from trio_dlm.downloaders.http.rules._version import Validator

NOW = datetime(2026, 1, 1, tzinfo=UTC)
THEN = "Sun, 06 Nov 1994 08:49:37 GMT"
A_SECOND_LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
A_MINUTE_LATER = "Sun, 06 Nov 1994 08:50:37 GMT"
ALMOST_A_MINUTE_LATER = "Sun, 06 Nov 1994 08:50:36 GMT"


def known_by(*fields: tuple[str, str]) -> Validator | None:
    return validator_of(said(*fields), now=NOW)


@pytest.mark.parametrize("tag", ['"abc"', '""', '"a b"'[:2] + 'b"', '"W/x"', '"!#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~"'])
def test_a_strong_tag_is_a_validator(tag: str) -> None:
    assert known_by(("etag", tag)) == Validator("etag", tag)


@pytest.mark.parametrize(
    "tag", ['W/"abc"', 'w/"abc"', "abc", '"abc', 'abc"', '"a"b"', '"a b"', '"\xe9"', "", "*", '"a","b"']
)
def test_another_tag_is_none_and_no_date_stands_in_for_it(tag: str) -> None:
    date = (("last-modified", THEN), ("date", A_MINUTE_LATER))
    assert known_by(("etag", tag), *date) is None
    assert known_by(*date) == Validator("date", THEN)


def test_two_tags_are_none_unless_they_are_the_same() -> None:
    assert known_by(("etag", '"a"'), ("etag", '"a"')) == Validator("etag", '"a"')
    assert known_by(("etag", '"a"'), ("etag", '"b"')) is None


@pytest.mark.parametrize(
    ("modified", "sent", "more", "is_strong"),
    [
        (THEN, A_SECOND_LATER, (), True),
        (THEN, THEN, (), False),
        (A_SECOND_LATER, THEN, (), False),
        (THEN, ALMOST_A_MINUTE_LATER, (("via", "1.1 proxy"),), False),
        (THEN, A_MINUTE_LATER, (("via", "1.1 proxy"),), True),
        (THEN, A_SECOND_LATER, (("age", "0"),), False),
        (THEN, A_SECOND_LATER, (("x-cache", "HIT"),), False),
        ("yesterday", A_SECOND_LATER, (), False),
        (THEN, "now", (), False),
        ("Sunday, 06-Nov-94 08:49:37 GMT", A_SECOND_LATER, (), True),
        ("Sun Nov  6 08:49:37 1994", A_SECOND_LATER, (), True),
    ],
)
def test_a_date_counts_only_if_the_file_was_at_rest(
    modified: str, sent: str, more: tuple[tuple[str, str], ...], is_strong: bool
) -> None:
    found = known_by(("last-modified", modified), ("date", sent), *more)
    assert found == (Validator("date", modified) if is_strong else None)


def test_without_the_date_of_the_reply_nothing_is_known() -> None:
    assert known_by(("last-modified", THEN)) is None
    assert known_by(("date", THEN)) is None
    assert known_by() is None

"""What a reply delivers, or why it delivers nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replies import said
from trio_dlm._errors import HttpStatusError, UnusableReplyError
from trio_dlm.downloaders.http.rules._asking import FROM_THE_START, WHOLE, Ask
from trio_dlm.downloaders.http.rules._believing import Delivery, believe, is_same_file
from trio_dlm.downloaders.http.rules._head import ReplyHead
from trio_dlm.downloaders.http.rules._version import Validator, Version

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAG = Validator("etag", '"v1"')
HOME = "http://example.org:80"
PINNED = Version(TAG, 100, origin=HOME)
REST = Ask(is_ranged=True, start=40, stop=100, condition=TAG)

Field = tuple[str, str]


def said_part(content_range: str = "bytes 40-99/100", *fields: Field, etag: str | None = '"v1"') -> ReplyHead:
    tag = () if etag is None else (("etag", etag),)
    return said(("content-range", content_range), *tag, *fields, status=206)


def judged(
    head: ReplyHead, ask: Ask = WHOLE, pinned: Version | None = None, *, has_checksum: bool = False, name: str = "a"
) -> Delivery:
    return believe(head, ask, pinned=pinned, names=[name], has_checksum=has_checksum, now=NOW)


def refused(head: ReplyHead, ask: Ask = REST, pinned: Version | None = PINNED) -> UnusableReplyError:
    with pytest.raises(UnusableReplyError) as caught:
        judged(head, ask, pinned)
    return caught.value


def digest(of: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(of).digest()).decode()}:"


# Statuses and versions.


@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1", "HTTP/2"])
def test_a_status_that_delivers(status: int, version: str) -> None:
    delivery = judged(said(("content-length", "5"), status=status, version=version))
    assert (delivery.start, delivery.length, delivery.stop, delivery.is_whole, delivery.is_new) == (0, 5, 5, True, True)
    assert not delivery.in_ranges


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (101, "no final answer"),
        (201, "carries no file"),
        (204, "carries no file"),
        (205, "carries no file"),
        (301, "leads nowhere"),
        (304, "leads nowhere"),
        (401, "credentials"),
        (404, "check the URL"),
        (410, "for good"),
        (412, "not the one that was begun"),
        (416, "range"),
        (418, "check the URL"),
        (429, "fewer"),
        (500, "server's own failure"),
        (503, "overloaded"),
        (599, "server's own failure"),
        (600, "no status of HTTP"),
        (999, "no status of HTTP"),
    ],
)
def test_a_status_that_does_not_deliver_gives_advice(status: int, advice: str) -> None:
    with pytest.raises(HttpStatusError, match=advice) as caught:
        judged(said(status=status, phrase="Because"))
    assert caught.value.status == status
    assert caught.value.retry_after_s is None
    assert f"{status} Because" in str(caught.value)


def test_a_refusal_says_for_how_long() -> None:
    with pytest.raises(HttpStatusError) as caught:
        judged(said(("retry-after", "120"), status=503))
    assert caught.value.retry_after_s == 120


def test_a_phrase_cannot_paint_the_terminal() -> None:
    with pytest.raises(HttpStatusError) as caught:
        judged(said(status=404, phrase="\x1b[31m" + "x" * 1000))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/1.2", "HTTP/3", "ICY"])
def test_another_version_is_refused(version: str) -> None:
    error = refused(said(version=version), WHOLE, None)
    assert "HTTP/2" in str(error)
    assert not error.is_disagreement


# The whole.


def test_a_whole_reply_that_claims_to_be_a_range_contradicts_itself() -> None:
    error = refused(said(("content-range", "bytes 0-1/2")), WHOLE, None)
    assert "Content-Range" in str(error)
    assert error.is_disagreement


def test_the_version_of_a_whole_reply_is_pinned() -> None:
    head = said(("content-length", "9"), ("etag", '"v1"'), ("repr-digest", digest(b"x")))
    version = judged(head).version
    assert version == Version(TAG, 9, (f"sha256:{hashlib.sha256(b'x').hexdigest()}",), origin=HOME)


def test_what_a_proxy_transformed_has_neither_validator_nor_digest() -> None:
    head = said(("content-length", "9"), ("etag", '"v1"'), ("repr-digest", digest(b"x")), status=203)
    assert judged(head).version == Version(None, 9, origin=HOME)


def test_a_whole_reply_of_the_same_version_is_no_new_beginning() -> None:
    delivery = judged(said(("content-length", "100"), ("etag", '"v1"')), REST, PINNED)
    assert delivery.is_whole
    assert not delivery.is_new
    assert delivery.start == 0


@pytest.mark.parametrize(
    "fields",
    [
        [("etag", '"v2"')],
        [("etag", 'W/"v1"')],
        [],
        [("etag", '"v1"'), ("content-encoding", "gzip")],
    ],
)
def test_a_whole_reply_of_another_version_is_a_new_beginning(fields: list[Field]) -> None:
    delivery = judged(said(("content-length", "100"), *fields), REST, PINNED, name="a.gz")
    assert delivery.is_whole
    assert delivery.is_new


def test_the_same_version_with_another_length_contradicts_itself() -> None:
    error = refused(said(("content-length", "99"), ("etag", '"v1"')))
    assert error.is_disagreement
    assert "99 bytes now and had 100" in str(error)


def test_the_same_version_with_another_digest_is_not_the_same() -> None:
    pinned = replace(PINNED, digests=(f"sha256:{hashlib.sha256(b'x').hexdigest()}",))
    head = said(("content-length", "100"), ("etag", '"v1"'), ("repr-digest", digest(b"y")))
    assert judged(head, REST, pinned).is_new
    head = said(("content-length", "100"), ("etag", '"v1"'), ("repr-digest", digest(b"x")))
    assert not judged(head, REST, pinned).is_new


def test_a_coded_body_is_whole_or_nothing() -> None:
    delivery = judged(said(("content-length", "9"), ("content-encoding", "gzip"), ("etag", '"v1"')))
    assert delivery.coding.new_decoder is not None
    assert delivery.version == Version(None, None, (), "gzip", HOME)
    assert delivery.length == 9


def test_a_length_is_unknown_until_it_ends() -> None:
    delivery = judged(said(("transfer-encoding", "chunked")))
    assert (delivery.length, delivery.stop, delivery.version.total) == (None, None, None)


# A part.


def test_the_rest_that_was_asked_for_is_taken() -> None:
    delivery = judged(said_part("bytes 40-99/100", ("content-length", "60")), REST, PINNED)
    assert (delivery.start, delivery.stop, delivery.is_new, delivery.is_whole) == (40, 100, False, False)
    assert delivery.in_ranges
    assert delivery.version == PINNED


def test_a_shorter_part_is_taken() -> None:
    assert judged(said_part("bytes 40-41/100"), REST, PINNED).stop == 42


def test_the_first_part_begins_the_file() -> None:
    delivery = judged(said_part("bytes 0-41/100"), FROM_THE_START)
    assert (delivery.start, delivery.stop, delivery.is_new, delivery.version) == (0, 42, True, PINNED)


def test_a_part_that_is_all_of_it_is_as_good_as_the_whole() -> None:
    for ask in (FROM_THE_START, REST):
        delivery = judged(said_part("bytes 0-99/100", etag=None), ask)
        assert (delivery.is_whole, delivery.is_new, delivery.in_ranges) == (True, True, True)
        assert delivery.version == Version(None, 100, origin=HOME)
    assert not judged(said_part("bytes 0-99/100"), REST, PINNED).is_new


def test_without_a_total_it_is_taken_only_if_the_total_is_known() -> None:
    assert judged(said_part("bytes 40-99/*"), REST, PINNED).version.total == 100
    assert refused(said_part("bytes 40-99/*"), pinned=Version(TAG, origin=HOME)).is_disagreement
    assert refused(said_part("bytes 0-99/*"), FROM_THE_START, None).is_disagreement


def test_a_total_that_was_not_known_is_learned() -> None:
    ask = replace(REST, stop=None)
    assert judged(said_part("bytes 40-119/120"), ask, Version(TAG, origin=HOME)).version.total == 120


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (said_part("bytes 41-99/100"), "asked for"),
        (said_part("bytes 39-99/100"), "asked for"),
        (said_part("bytes 0-41/100"), "asked for"),
        (said_part("bytes 40-99/101"), "101 bytes now"),
        (said_part("bytes 40-98/99"), "99 bytes now"),
        (said_part("bytes 40-100/101"), "asked for"),
        (said_part("bytes 40-99/100", ("content-length", "59")), "has 59 bytes"),
        (said_part("bytes 40-99/100", ("content-length", "61")), "has 61 bytes"),
        (said_part("items 40-99/100"), "which one is unclear"),
        (said_part("junk"), "which one is unclear"),
        (said(("etag", '"v1"'), status=206), "missing"),
        (said_part("bytes 40-99/100", ("content-range", "bytes 41-99/100")), "which one is unclear"),
        (said_part("bytes 40-99/100", ("content-type", "Multipart/Byteranges; boundary=x")), "several ranges"),
        (said_part("bytes 40-99/100", etag='"v2"'), "one of '\"v2\"' came"),
        (said_part("bytes 40-99/100", etag='W/"v1"'), "no validator"),
        (said_part("bytes 40-99/100", etag=None), "no validator"),
        (said_part("bytes 40-99/100", ("content-encoding", "gzip")), "compressed"),
    ],
)
def test_a_part_at_odds_with_the_request_or_the_version_is_refused(head: ReplyHead, problem: str) -> None:
    error = refused(head)
    assert problem in str(error)
    assert error.is_disagreement


def test_a_part_behind_the_end_is_refused() -> None:
    error = refused(said_part("bytes 40-99/*"), pinned=Version(TAG, 90, origin=HOME))
    assert "behind the end" in str(error)


def test_parts_of_different_codings_are_not_joined() -> None:
    error_head = said_part("bytes 40-99/100", ("content-encoding", "gzip"))
    with pytest.raises(UnusableReplyError, match="Content-Encoding"):
        judged(error_head, REST, PINNED, name="a.gz")
    pinned = replace(PINNED, coding="gzip")
    assert not judged(error_head, REST, pinned, name="a.gz").is_new


def test_a_part_whose_digest_changed_is_refused() -> None:
    pinned = replace(PINNED, digests=(f"sha256:{hashlib.sha256(b'x').hexdigest()}",))
    error = refused(said_part("bytes 40-99/100", ("repr-digest", digest(b"y"))), pinned=pinned)
    assert "digest" in str(error)
    assert judged(said_part("bytes 40-99/100", ("repr-digest", digest(b"x"))), REST, pinned).version == pinned
    learned = judged(said_part("bytes 40-99/100", ("repr-digest", digest(b"x"))), REST, PINNED).version
    assert learned == pinned


def test_a_part_that_was_not_asked_for_is_final() -> None:
    error = refused(said_part("bytes 0-41/100"), WHOLE, None)
    assert not error.is_disagreement


def test_a_first_part_that_nothing_could_be_joined_to_needs_a_digest() -> None:
    head = said_part("bytes 0-41/100", etag=None)
    assert refused(head, FROM_THE_START, None).is_disagreement
    assert judged(head, FROM_THE_START, has_checksum=True).version == Version(None, 100, origin=HOME)
    rest = said_part("bytes 42-99/100", etag=None)
    ask = Ask(is_ranged=True, start=42, stop=100)
    assert not judged(rest, ask, Version(None, 100), has_checksum=True).is_new


@given(
    st.integers(0, 120),
    st.integers(0, 120),
    st.integers(0, 120) | st.none(),
    st.sampled_from(['"v1"', '"v2"', 'W/"v1"', None]),
    st.integers(0, 99),
    st.integers(1, 60),
)
def test_whatever_comes_only_the_bytes_that_were_asked_for_are_joined(
    first: int, last: int, total: int | None, etag: str | None, start: int, size: int
) -> None:
    ask = Ask(is_ranged=True, start=start, stop=min(start + size, 100), condition=TAG)
    head = said_part(f"bytes {first}-{last}/{'*' if total is None else total}", etag=etag)
    try:
        delivery = judged(head, ask, PINNED)
    except UnusableReplyError:
        return
    if delivery.is_whole:
        assert (first, last + 1) == (0, total)
        return
    assert etag == '"v1"'
    assert delivery.start == first == start
    assert delivery.stop is not None
    assert ask.stop is not None
    assert start < delivery.stop <= ask.stop
    assert total in (None, 100)


def test_claims_of_the_same_bytes_are_recognised() -> None:
    one, other = (f"sha256:{hashlib.sha256(text).hexdigest()}" for text in (b"x", b"y"))
    assert is_same_file([one], [one]) is True
    assert is_same_file([one], [other]) is False
    assert is_same_file([one], []) is None


# Whose version it is.


def test_the_same_validator_of_another_host_proves_nothing() -> None:
    pinned = replace(PINNED, origin="http://other.example:80")
    assert "begun from http://other.example:80" in str(refused(said_part(), pinned=pinned))
    whole = said(("content-length", "100"), ("etag", '"v1"'))
    assert judged(whole, REST, pinned).is_new


def test_a_digest_proves_it_all_the_same() -> None:
    digests = (f"sha256:{hashlib.sha256(b'x').hexdigest()}",)
    pinned = replace(PINNED, origin="http://other.example:80", digests=digests)
    part = said_part("bytes 40-99/100", ("repr-digest", digest(b"x")))
    assert judged(part, REST, pinned).version == replace(pinned, origin=HOME)
    whole = said(("content-length", "100"), ("etag", '"v1"'), ("repr-digest", digest(b"x")))
    assert not judged(whole, REST, pinned).is_new
    assert not judged(said_part(), REST, pinned, has_checksum=True).is_new
    assert not judged(said(("content-length", "100"), ("etag", '"v1"')), REST, pinned, has_checksum=True).is_new


def test_a_source_that_was_not_known_shows_its_validator() -> None:
    known = judged(said_part(), REST, Version(total=100), has_checksum=True).version
    assert known == PINNED


def test_what_a_refusal_is_coded_with_does_not_matter() -> None:
    with pytest.raises(HttpStatusError):
        judged(said(("content-encoding", "br"), ("retry-after", "1"), status=503))

"""The origin's file: every version is kept, and what is told of it changes when it should."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from trio_dlm.testing.origin._resource import DEFAULT_BODY, Resource


def test_eight_bytes_tell_where_in_the_body_they_stand() -> None:
    assert len(DEFAULT_BODY) == 4096
    pieces = {DEFAULT_BODY[start : start + 8] for start in range(4096 - 7)}
    assert len(pieces) == 4096 - 7


@pytest.mark.parametrize(
    ("validators", "before", "after"),
    [("strong", '"v1"', '"v2"'), ("weak", 'W/"v1"', 'W/"v2"'), ("date", None, None), ("none", None, None)],
)
def test_a_change_changes_every_byte_and_is_told(validators: Any, before: str | None, after: str | None) -> None:
    resource = Resource(b"\xffab", validators=validators)
    assert resource.etag == before
    dates = [resource.last_modified]
    resource.change()
    assert resource.etag == after
    dates.append(resource.last_modified)
    assert resource.body == b"\0bc"
    assert resource.versions == [b"\xffab", b"\0bc"]
    assert dates == (
        [None, None] if validators == "none" else ["Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT"]
    )


def test_no_two_versions_share_a_byte_in_its_place() -> None:
    resource = Resource(DEFAULT_BODY)
    for _ in range(5):
        resource.change()
    for places in zip(*resource.versions, strict=True):
        assert len(set(places)) == 6


@pytest.mark.parametrize(("by", "size"), [(3, 7), (-1, 3), (-4, 0), (-9, 0)])
def test_a_version_may_be_longer_or_shorter(by: int, size: int) -> None:
    resource = Resource(b"abcd")
    resource.change(by=by)
    assert len(resource.body) == size
    assert resource.body[:4] == b"bcde"[:size]
    assert resource.versions == [b"abcd", resource.body]


def test_a_change_need_not_be_told() -> None:
    resource = Resource(b"ab")
    resource.change(tell=False)
    assert (resource.etag, resource.body) == ('"v1"', b"bc")
    resource.change()
    assert (resource.etag, resource.body) == ('"v2"', b"de")


def test_other_validators_need_not_mean_other_bytes() -> None:
    resource = Resource(b"ab")
    resource.retag()
    assert (resource.etag, resource.body, resource.versions) == ('"v2"', b"ab", [b"ab"])


def test_the_digest_is_of_the_present_version() -> None:
    resource = Resource(b"ab")
    resource.change()
    assert resource.sha256 == hashlib.sha256(b"bc").hexdigest()


def test_unknown_validators_are_refused() -> None:
    sure: Any = "sure"
    with pytest.raises(ValueError, match="validators is one of strong, weak, date, none, got 'sure'"):
        Resource(b"", validators=sure)

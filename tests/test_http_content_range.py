"""Which bytes of how many a reply says it holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replies import said
from trio_dlm.downloaders.http.rules._content_range import ContentRange, content_range_of


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 0-499/1234", ContentRange(0, 500, 1234)),
        ("bytes 734-1233/1234", ContentRange(734, 1234, 1234)),
        ("bytes 42-1233/*", ContentRange(42, 1234, None)),
        ("Bytes 0-0/1", ContentRange(0, 1, 1)),
        (" bytes\t 0-0/1 ", ContentRange(0, 1, 1)),
        ("bytes 007-008/0010", ContentRange(7, 9, 10)),
        # RFC 9110 section 14.4: a range that makes no sense is not to be used.
        ("bytes 5-4/10", None),
        ("bytes 0-10/10", None),
        ("bytes 0-0/0", None),
        ("bytes */1234", None),
        ("items 0-499/1234", None),
        ("bytes=0-499/1234", None),
        ("bytes 0-499", None),
        ("bytes 0-/10", None),
        ("bytes -5-9/10", None),
        ("bytes 0-4/10, bytes 5-9/10", None),
        ("bytes 0 - 4/10", None),
        ("bytes 0-4/ten", None),
        ("bytes \u0660-\u0664/10", None),
        (f"bytes 0-4/{'9' * 20}", None),
        ("", None),
    ],
)
def test_a_content_range_is_read_as_it_is_defined(value: str, found: ContentRange | None) -> None:
    assert content_range_of(said(("content-range", value))) == found


def test_two_that_differ_say_nothing() -> None:
    same = ("content-range", "bytes 0-4/10")
    assert content_range_of(said(same, same)) == ContentRange(0, 5, 10)
    assert content_range_of(said(same, ("content-range", "bytes 0-5/10"))) is None
    assert content_range_of(said()) is None


@given(st.integers(0, 2**62), st.integers(1, 2**61), st.none() | st.integers(0, 2**61))
def test_what_is_read_is_what_was_written(start: int, size: int, more: int | None) -> None:
    total = None if more is None else start + size + more
    told = f"bytes {start}-{start + size - 1}/{'*' if total is None else total}"
    found = content_range_of(said(("content-range", told)))
    assert found == ContentRange(start, start + size, total)
    assert found is not None
    assert found.size == size
    assert found.is_whole == (start == 0 and more == 0)

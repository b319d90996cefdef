"""Requests are kept as they came, and read without being judged."""

from __future__ import annotations

import pytest

from trio_dlm.testing.origin._request import Request

RAW = b"GET /dir/a.bin?x=1 HTTP/1.1\r\nHost: origin.test\r\nAccept:  a \r\naccept: b\r\nRange: bytes=1-2"


def test_a_request_is_read() -> None:
    request = Request.parse(RAW, number=3, connection=1, at_s=2.5, is_secure=True)
    assert (request.method, request.target, request.path) == ("GET", "/dir/a.bin?x=1", "/dir/a.bin")
    assert request.headers == (("host", "origin.test"), ("accept", "a"), ("accept", "b"), ("range", "bytes=1-2"))
    assert (request.number, request.connection, request.at_s, request.is_secure) == (3, 1, 2.5, True)
    assert request.raw == RAW


def test_the_first_of_several_values_is_given() -> None:
    request = Request.parse(RAW)
    assert request.header("accept") == "a"
    assert request.header("cookie") is None


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=1-2", (1, 2)), ("bytes=5-", (5, None)), ("bytes=-5", None), ("bytes=0-1,3-4", None), ("items=0-1", None)],
)
def test_one_range_is_read(asked: str, expected: tuple[int, int | None] | None) -> None:
    assert Request("GET", "/", (("range", asked),)).range == expected
    assert Request("GET", "/", ()).range is None


def test_an_odd_request_is_kept_as_it_is() -> None:
    request = Request.parse(b"hello\r\nno colon\r\n\xff: \xfe")
    assert (request.method, request.target) == ("hello", "")
    assert request.headers == (("no colon", ""), ("\xff", "\xfe"))

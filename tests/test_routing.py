"""What a reply is about."""

from __future__ import annotations

import pytest

from trio_dlm.downloaders._routing import Route, route_of
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._head import ReplyHead

HTML = "text/html; charset=utf-8"


def route(url: str = "https://example.org/x", **fields: str) -> Route:
    named = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return route_of(ReplyHead(parse_address(url), 200, "OK", "HTTP/1.1", named))


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (HTML, Route.PAGE),
        (" TEXT/HTML ", Route.PAGE),
        ("application/xhtml+xml", Route.PAGE),
        ("application/vnd.apple.mpegurl", Route.MANIFEST),
        ("application/x-mpegURL; charset=utf-8", Route.MANIFEST),
        ("application/dash+xml", Route.MANIFEST),
        ("audio/mpegurl", Route.FILE),
        ("application/octet-stream", Route.FILE),
        ("text/plain", Route.FILE),
        ("video/mp4", Route.FILE),
        ("application/rss+xml", Route.FILE),
        ("", Route.FILE),
    ],
)
def test_the_type_says_what_it_is(content_type: str, expected: Route) -> None:
    assert route(content_type=content_type) is expected


def test_without_a_type_it_is_a_file() -> None:
    assert route() is Route.FILE


def test_two_types_are_none() -> None:
    head = ReplyHead(
        parse_address("https://example.org/x"), 200, "OK", "HTTP/1.1", (("content-type", HTML), ("content-type", "a/b"))
    )
    assert route_of(head) is Route.FILE


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream", "audio/x-mpegurl", "text/xml"])
@pytest.mark.parametrize("end", ["index.m3u8", "a/B.MPD?token=1"])
def test_a_vague_type_leaves_it_to_the_end_of_the_address(content_type: str, end: str) -> None:
    assert route(f"https://example.org/{end}", content_type=content_type) is Route.MANIFEST


def test_a_clear_type_does_not() -> None:
    assert route("https://example.org/index.m3u8", content_type="video/mp4") is Route.FILE


@pytest.mark.parametrize("disposition", ["attachment", 'Attachment; filename="page.html"'])
def test_an_attachment_is_a_file(disposition: str) -> None:
    assert route(content_type=HTML, content_disposition=disposition) is Route.FILE


def test_what_is_shown_inline_is_what_its_type_says() -> None:
    assert route(content_type=HTML, content_disposition="inline") is Route.PAGE

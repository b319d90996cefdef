"""What is asked of a server, and what it may know of the user."""

from __future__ import annotations

import pytest

from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._asking import FROM_THE_START, WHOLE, Ask, check_request_headers, request_headers
from trio_dlm.downloaders.http.rules._version import Validator

HOME = parse_address("https://example.org/")


def sent_to(url: str, basic: str | None = None, **headers: str) -> dict[str, str]:
    return dict(request_headers(parse_address(url), named={HOME.origin: basic}, headers=headers))


def test_every_request_asks_for_the_bytes_as_they_are() -> None:
    assert sent_to("https://example.org/") == {"Accept-Encoding": "identity"}
    assert sent_to("https://other.example/") == {"Accept-Encoding": "identity"}


def test_the_named_origin_gets_headers_and_credentials() -> None:
    sent = sent_to("https://example.org/b", "Basic x", Cookie="c", Referer=" r ")
    assert sent == {"Cookie": "c", "Referer": "r", "Authorization": "Basic x", "Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    "url", ["https://other.example/", "https://example.org:444/", "http://example.org/", "https://www.example.org/"]
)
def test_another_origin_gets_only_what_everybody_may_know(url: str) -> None:
    headers = {
        "user-agent": "u",
        "Accept": "a",
        "ACCEPT-language": "l",
        "Cookie": "c",
        "Authorization": "x",
        "X-Key": "k",
    }
    assert sent_to(url, "Basic x", **headers) == {
        "user-agent": "u",
        "Accept": "a",
        "ACCEPT-language": "l",
        "Accept-Encoding": "identity",
    }


def test_an_authorization_header_goes_before_user_info() -> None:
    assert sent_to("https://example.org/", "Basic x", authorization="Bearer y") == {
        "authorization": "Bearer y",
        "Accept-Encoding": "identity",
    }


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Expect", "Upgrade", "TE"])
def test_headers_that_announce_what_is_not_sent_are_misuse(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_request_headers({name: "1"})


@pytest.mark.parametrize("name", ["If-Match", "if-none-match", "If-Modified-Since", "If-Unmodified-Since"])
def test_conditions_on_which_no_file_might_come_are_misuse(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}', a condition"):
        check_request_headers({name: "x"})


@pytest.mark.parametrize(
    ("name", "value"), [("a b", "x"), ("ä", "x"), ("", "x"), ("a", "x\x00"), ("a", "x\r\nb: c"), ("a", "\x7f")]
)
def test_headers_that_cannot_be_sent_are_misuse_and_tell_no_value(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be a header line") as caught:
        check_request_headers({name: value + "secret"})
    assert "secret" not in str(caught.value)


def test_other_headers_may_be_sent() -> None:
    check_request_headers({"X-Any": "with tab\t, é and ü", "Cookie": "a=b"})


# How much is asked for.


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (WHOLE, {}),
        (FROM_THE_START, {"Range": "bytes=0-"}),
        (Ask(is_ranged=True, start=10), {"Range": "bytes=10-"}),
        (Ask(is_ranged=True, start=10, stop=20), {"Range": "bytes=10-19"}),
        (
            Ask(is_ranged=True, start=0, stop=1, condition=Validator("etag", '"v1"')),
            {"Range": "bytes=0-0", "If-Range": '"v1"'},
        ),
        (
            Ask(is_ranged=True, start=5, stop=9, condition=Validator("etag", '"v1"'), must_match=True),
            {"Range": "bytes=5-8", "If-Match": '"v1"'},
        ),
        (Ask(start=5, stop=9, condition=Validator("etag", '"v1"')), {}),
    ],
)
def test_a_range_is_asked_for_with_its_condition(ask: Ask, fields: dict[str, str]) -> None:
    sent = dict(request_headers(parse_address("https://other.example/"), named={}, headers={}, ask=ask))
    assert sent == {"Accept-Encoding": "identity", **fields}


def test_the_credentials_of_one_origin_do_not_go_to_another_that_is_named() -> None:
    mirror = parse_address("https://mirror.example/")
    named = {HOME.origin: "Basic x", mirror.origin: None}
    assert ("Authorization", "Basic x") not in request_headers(mirror, named=named, headers={})
    assert ("Cookie", "c") in request_headers(mirror, named=named, headers={"Cookie": "c"})

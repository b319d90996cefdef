"""Where a request goes: URLs in the one form in which they are sent."""

from __future__ import annotations

import base64

import pytest

from trio_dlm._errors import InvalidUrlError
from trio_dlm.downloaders.http.rules._address import Origin, parse_address, parse_reference


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://EXAMPLE.org:80/A", "http://example.org/A"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("http://example.org:/a", "http://example.org/a"),
        ("http://user:pass@example.org/a", "http://example.org/a"),
        ("http://example.org?a=b", "http://example.org/?a=b"),
        ("http://example.org/é?ü=\\", "http://example.org/%C3%A9?%C3%BC=%5C"),
        ("http://example.org/%C3%A9%2F", "http://example.org/%C3%A9%2F"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://straße.example/", "http://xn--strae-oqa.example/"),
        ("http://sub_domain.example.org./", "http://sub_domain.example.org./"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
    ],
)
def test_a_url_is_sent_in_one_form(url: str, sent: str) -> None:
    assert parse_address(url).url == sent


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http:x",
        "http:/x",
        "//example.org/x",
        "example.org/x",
        "/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://exa mple/",
        "http://example.org/\n",
        "http://example.org:0/",
        "http://example.org:65536/",
        "http://example.org:-1/",
        "http://example.org:abc/",
        "http://example..org/",
        "http://.example.org/",
        "http://-example.org/",
        "http://exam%70le.org/",
        "http://example.org\\@evil.example/",
        "http://user@/x",
        "http://[::1/",
        "http://[::1%25eth0]/",
        "http://[nonsense]/",
        "http://[v1.x]/",
        "http://\u2100.example/",
        "http://a\u2024\u2024b.example/",
        "http://\u00ad.example/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}example/",
        f"http://{'é' * 60_000}/",
        "",
        "http://\ud800/",
    ],
)
def test_what_is_no_usable_url_is_refused_and_says_why(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        parse_address(url)
    assert caught.value.problem
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@exa mple.org/",
        "http://user:hunter2@example.org:x/",
        "http://user:hunter2@/",
        "http://user:hunter2@\u2100.example/",
        "http:user:hunter2@example.org/",
        "http:/user:hunter2@example.org/",
        "http:///user:hunter2@example.org/",
        "user:hunter2@example.org/",
        "ftp://user:hunter2@example.org/",
    ],
)
def test_a_refused_url_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)


def test_a_url_that_is_no_text_is_misuse() -> None:
    with pytest.raises(TypeError):
        parse_address(b"http://example.org/")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("userinfo", "pair"),
    [
        ("user:pass", b"user:pass"),
        ("user", b"user:"),
        (":pass", b":pass"),
        ("us%40er:p%3Ass", b"us@er:p:ss"),
        ("user:p@ss:w", b"user:p@ss:w"),
        ("user:%E9", b"user:\xe9"),
        ("user:é", "user:é".encode()),
    ],
)
def test_user_info_becomes_basic_credentials(userinfo: str, pair: bytes) -> None:
    address = parse_address(f"https://{userinfo}@example.org/")
    assert address.basic is not None
    assert base64.b64decode(address.basic.removeprefix("Basic ")) == pair


@pytest.mark.parametrize("userinfo", ["", ":"])
def test_empty_user_info_is_none(userinfo: str) -> None:
    assert parse_address(f"https://{userinfo}@example.org/").basic is None


def test_an_address_shows_no_secret() -> None:
    address = parse_address("https://user:hunter2@example.org/a?sig=hunter3&x=" + "y" * 500)
    for text in (repr(address), str(address), address.shown):
        assert "hunter" not in text
        assert len(text) < 350
    assert "hunter3" in address.url


@pytest.mark.parametrize(
    ("location", "to"),
    [
        ("b", "https://example.org/a/b"),
        ("/b?c", "https://example.org/b?c"),
        ("?c", "https://example.org/a/file?c"),
        ("../b", "https://example.org/b"),
        ("//other.example/b", "https://other.example/b"),
        ("http://other.example:81/b#c", "http://other.example:81/b"),
        (" /with space ", "https://example.org/with%20space"),
        ("/\u00c3\u00a9", "https://example.org/%C3%A9"),
        ("/\u00e9", "https://example.org/%C3%A9"),
        ("https://u:p@example.org/b", "https://example.org/b"),
    ],
)
def test_a_reference_is_resolved_as_browsers_do(location: str, to: str) -> None:
    found = parse_reference(parse_address("https://user:pass@example.org/a/file"), location)
    assert found.url == to
    assert found.basic is None


@pytest.mark.parametrize("location", ["http://[x/", "file:///etc/passwd", "http://a b/", "/\x00", "http://"])
def test_a_reference_that_is_no_url_is_refused(location: str) -> None:
    with pytest.raises(InvalidUrlError):
        parse_reference(parse_address("https://example.org/"), location)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert parse_address("https://Example.org/a").origin == Origin("https", "example.org", 443)

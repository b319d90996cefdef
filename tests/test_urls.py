"""What is shown of a URL has no secrets, and what cannot be a URL is refused with the reason."""

from __future__ import annotations

import string
import time
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_dlm._errors import InvalidUrlError
from trio_dlm._urls import MAX_URL_LENGTH, check_url, host_of, redact_text, redact_url

SECRET: Final = "hunter2"

ACCESS_PARAMETERS: Final = [
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-Credential",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "token",
    "access_token",
    "auth",
    "apikey",
    "api_key",
    "key",
    "password",
    "secret",
]

words = st.text(string.ascii_letters + string.digits + "-._~", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a.iso", "https://example.org/a.iso"),
        ("https://user@example.org/a", "https://example.org/a"),
        ("https://user:hunter2@example.org:8443/a", "https://example.org:8443/a"),
        ("https://user:p@ss@example.org/a", "https://example.org/a"),
        ("https://user:p:a:s@[2001:db8::1]/a", "https://[2001:db8::1]/a"),
        ("//user:hunter2@example.org", "//example.org"),
        ("https://:hunter2@example.org?x=1", "https://example.org?x=1"),
        ("https://example.org/@user/a@b", "https://example.org/@user/a@b"),
        ("https://example.org?mail=a@b", "https://example.org?mail=a@b"),
        ("https://example.org#a@b", "https://example.org#a@b"),
        ("mailto:a@example.org", "mailto:a@example.org"),
        ("https://u:p@proxy/https://v:hunter2@example.org/a", "https://proxy/https://example.org/a"),
        ("https://e.org/a?token=hunter2", "https://e.org/a?token=…"),
        ("https://e.org/a?x=1&token=hunter2&y=2#part", "https://e.org/a?x=1&token=…&y=2#part"),
        ("https://e.org/a?token=hunter2#part", "https://e.org/a?token=…#part"),
        ("https://e.org/a?token=", "https://e.org/a?token=…"),
        ("https://e.org/a?token=a=b", "https://e.org/a?token=…"),
        ("https://e.org/a?mytoken=1&keyword=2&tokens=3", "https://e.org/a?mytoken=1&keyword=2&tokens=3"),
        ("https://e.org/token=1/a", "https://e.org/token=1/a"),
        ("", ""),
    ],
)
def test_user_info_and_access_granting_parameters_are_hidden_and_nothing_else(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize("name", ACCESS_PARAMETERS)
@pytest.mark.parametrize("case", [str.lower, str.upper, str])
def test_an_access_granting_parameter_is_hidden_in_any_case_and_place(name: str, case: type[str]) -> None:
    parameter = f"{case(name)}={SECRET}"
    for query in (f"?{parameter}", f"?a=1&{parameter}", f"?{parameter}&z=2"):
        shown = redact_url(f"https://example.org/a{query}")
        assert SECRET not in shown
        assert f"{case(name)}=…" in shown


@given(user=words, password=st.text(string.ascii_letters + "@:;&=+$,!*'()%~", max_size=20), host=words, rest=words)
def test_no_password_is_ever_shown(user: str, password: str, host: str, rest: str) -> None:
    assert redact_url(f"https://{user}:{password}@{host}/{rest}") == f"https://{host}/{rest}"


@given(
    parameters=st.lists(st.tuples(st.sampled_from([*ACCESS_PARAMETERS, "a", "page"]), words), max_size=4),
    user=st.none() | words,
    host=words,
)
def test_what_was_hidden_stays_so_when_hidden_again(
    parameters: list[tuple[str, str]], user: str | None, host: str
) -> None:
    query = "&".join(f"{name}={value}" for name, value in parameters)
    once = redact_url(f"https://{f'{user}@' if user else ''}{host}/a?{query}")
    assert redact_url(once) == once


@pytest.mark.parametrize("url", ["https://" + "@" * 60_000, "/" * 60_000, "https://" + "a" * 60_000, "?token=" * 9_000])
def test_hiding_takes_linear_time(url: str) -> None:
    began = time.process_time()
    redact_url(url)
    # Quadratic would be minutes; this is a thousand times what it takes.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a.iso",
        "ytsearch:words",
        "magnet:?xt=urn:btih:00",
        "relative",
        "https://münchen.example/straße?größe=1",
        "https://example.org/" + "a" * (MAX_URL_LENGTH - 20),
    ],
)
def test_what_may_be_a_url_is_returned_as_it_is(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize("url", [None, b"https://example.org/", 3, ["https://example.org/"]])
def test_what_is_no_string_is_a_type_error_that_names_the_type(url: object) -> None:
    with pytest.raises(TypeError) as caught:
        check_url(url)
    assert str(caught.value) == f"a URL is a str, got {type(url).__name__}"


def test_an_empty_url_is_refused_with_an_example() -> None:
    with pytest.raises(InvalidUrlError, match="it is empty; pass an address such as https://") as caught:
        check_url("")
    assert caught.value.url == ""


@pytest.mark.parametrize(
    "character",
    [
        " ",
        "\t",
        "\n",
        "\r",
        "\0",
        "\x1b",
        "\x7f",
        "\x85",
        "\x9f",
        "\xa0",
        "\u2028",
        "\u2029",
        "\u3000",
        "\ud800",
    ],
)
def test_white_space_control_characters_and_surrogates_are_refused_with_their_place(character: str) -> None:
    with pytest.raises(InvalidUrlError) as caught:
        check_url(f"https://u:{SECRET}@e.org/{character}x{character}")
    place = len(f"https://u:{SECRET}@e.org/")
    assert caught.value.problem == f"it holds the character {character!r} at position {place}"
    assert "percent-encode it" in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/" + "a" * MAX_URL_LENGTH,
        f"https://user:{SECRET * 20_000}@example.org/",
        f"https://{'u' * 70}:{SECRET}@example.org/" + "a" * MAX_URL_LENGTH,
    ],
    ids=["path", "password", "user"],
)
def test_a_document_is_no_url_and_is_not_repeated_in_the_message(url: str) -> None:
    with pytest.raises(InvalidUrlError, match=f"it has {len(url)} characters, the most is {MAX_URL_LENGTH}") as caught:
        check_url(url)
    assert len(str(caught.value)) < 300
    assert SECRET not in str(caught.value)
    assert caught.value.url.startswith("https://example.org/")


@given(st.text())
@example("\ud800")
def test_a_url_is_returned_or_refused_as_invalid(url: str) -> None:
    try:
        assert check_url(url) == url
    except InvalidUrlError as error:
        assert error.problem  # noqa: PT017 both ends are fine, and the second says why


def test_urls_in_the_words_of_others_are_redacted_and_the_words_kept() -> None:
    text = "ERROR:  unable to open 'https://user:pass@example.org/a?token=secret&b=1'\n(caused by  //x) "
    shown = "ERROR:  unable to open 'https://example.org/a?token=…&b=1'\n(caused by  //x) "
    assert redact_text(text) == shown


@given(st.text())
def test_words_without_urls_stay_as_they_are(text: str) -> None:
    plain = text.replace("//", "")
    assert redact_text(plain) == plain


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.ORG:443/a", "example.org"),
        ("https://user:p@ss@example.org", "example.org"),
        ("https://[2001:DB8::1]:80/a", "2001:db8::1"),
        ("https://example.org:notaport/", "example.org"),
        ("https:///a", None),
        ("ytsearch:words", None),
        ("relative/path", None),
        ("https://[broken/", None),
        ("https://a\u2100b/", None),
        ("", None),
    ],
)
def test_the_host_is_lower_case_or_none(url: str, host: str | None) -> None:
    assert host_of(url) == host


@given(st.text(max_size=40).map(lambda text: f"https://{text}"))
def test_asking_for_the_host_never_raises(url: str) -> None:
    host = host_of(url)
    assert host is None or host == host.lower()

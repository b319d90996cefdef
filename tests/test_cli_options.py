"""What may be typed behind an option, and what it means."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.cli._options import (
    basic_credentials,
    counting_from,
    join_headers,
    parse_boolean,
    parse_checksum,
    parse_header,
    parse_proxy,
    parse_rate,
    parse_seconds,
    parse_segment_size,
    parse_size,
    parse_wait,
)

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("300", 300), ("10K", 10240), ("4m", 4 << 20), ("1.5G", 3 << 29), ("2 MiB", 2 << 20)]
)
def test_a_size_counts_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "4MB", "1.5", "3Q", "1e6", "0x10"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 300, 4M, 1\.5G"):
        parse_size(text)


@pytest.mark.parametrize("text", [f"md5:{MD5}", f"MD5:{MD5.upper()}", f"md5={MD5}"])
def test_a_checksum_is_understood_as_we_write_it_and_as_aria2_does(text: str) -> None:
    assert parse_checksum(text) == f"md5:{MD5}"


@pytest.mark.parametrize("text", ["", "md5", MD5, f"crc32:{MD5}", "sha256:12", f"md5={MD5}="])
def test_a_checksum_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"checksum|digest"):
        parse_checksum(text)


@pytest.mark.parametrize(
    ("text", "header"),
    [("X-Key: a: b", ("X-Key", "a: b")), ("Accept:text/html", ("Accept", "text/html")), ("X-Empty:", ("X-Empty", ""))],
)
def test_a_header_is_split_at_its_first_colon(text: str, header: tuple[str, str]) -> None:
    assert parse_header(text) == header


@pytest.mark.parametrize("text", ["", "no colon", ": value", "two words: x", "X: a\nY: b", "Range: bytes=0-1", "ïx: y"])
def test_a_header_that_cannot_be_sent_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"header|Range"):
        parse_header(text)


@pytest.mark.parametrize(("text", "seconds"), [("30", 30.0), ("0.5", 0.5), ("inf", float("inf"))])
def test_seconds_are_any_positive_number(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "0", "-1", "nan"])
def test_other_seconds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("300", 300), ("10K", 10240), ("1.5M/s", 3 << 19), ("10 MiB/s", 10 << 20), (" 2g/s ", 2 << 30), ("7/s", 7)],
)
def test_a_rate_is_a_size_with_or_without_the_second(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0.0001K", "-1", "4MB/s", "1.5", "/s", "3M/h", "inf"])
def test_what_is_no_rate_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 300K, 1\.5M or 10MiB/s"):
        parse_rate(text)


def test_a_segment_has_at_least_one_byte() -> None:
    assert parse_segment_size("1M") == 1 << 20
    with pytest.raises(ValueError, match="at least one byte, got '0'"):
        parse_segment_size("0")


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.5", 0.5), ("60", 60.0), ("inf", float("inf"))])
def test_a_wait_may_be_nothing(text: str, seconds: float) -> None:
    assert parse_wait(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan"])
def test_another_wait_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seconds from 0 up"):
        parse_wait(text)


@given(st.integers(0, 10**8), st.integers(0, 10**8))
def test_a_number_counts_from_the_least_up(number: int, least: int) -> None:
    if number >= least:
        assert counting_from(least)(str(number)) == number
    else:
        with pytest.raises(ValueError, match=f"from {least} up, got '{number}'"):
            counting_from(least)(str(number))


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1_0", " 1", "٣", "²", "9" * 10_000, "inf"])
def test_another_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number from 0 up"):
        counting_from(0)(text)


@pytest.mark.parametrize(
    "text", ["http://proxy:3128", "https://me:pw@proxy.example", "socks5://[::1]:1080", "socks5h://10.0.0.1"]
)
def test_a_proxy_is_an_address(text: str) -> None:
    assert parse_proxy(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "proxy:3128", "me:secret@proxy:3128", "ftp://me:secret@proxy/", "http://me:secret@", "http://me:secret@p:x/",
     "http://me:secret@p:99999", "http://p:0", "http://me:secret@[::1"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="proxy is a URL such as") as caught:
        parse_proxy(text)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("text", "value"), [("true", True), (" Yes ", True), ("false", False), ("no", False)])
def test_a_boolean_is_true_or_false(text: str, value: bool) -> None:
    assert parse_boolean(text) is value


def test_another_boolean_is_refused() -> None:
    with pytest.raises(ValueError, match="true or false"):
        parse_boolean("maybe")


def test_a_header_replaces_the_one_below_whatever_its_case() -> None:
    assert join_headers([("ACCEPT", "b")], {"Accept": "a", "X-Key": "k"}) == {"ACCEPT": "b", "X-Key": "k"}


def test_a_header_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'accept' is given twice"):
        join_headers([("Accept", "a"), ("accept", "b")])


@given(name=st.text().filter(lambda text: ":" not in text), password=st.text())
def test_credentials_can_be_read_back(name: str, password: str) -> None:
    try:
        pair = f"{name}:{password}".encode()
    except UnicodeEncodeError:
        return
    scheme, _, encoded = basic_credentials(name, password).partition(" ")
    assert (scheme, base64.b64decode(encoded)) == ("Basic", pair)


def test_a_user_name_with_a_colon_is_refused() -> None:
    with pytest.raises(ValueError, match="colon"):
        basic_credentials("a:b", "c")

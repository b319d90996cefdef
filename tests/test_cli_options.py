"""What may be typed behind an option, and what it means."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.cli._options import (
    basic_credentials,
    join_headers,
    parse_boolean,
    parse_checksum,
    parse_header,
    parse_seconds,
    parse_size,
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

"""The record of a part: what was written is read again, and what was torn or damaged is never believed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_dlm.downloaders.http.rules._record import (
    Header,
    Record,
    decode,
    encode_header,
    encode_span,
    seed_of,
    seems_ours,
)
from trio_dlm.downloaders.http.rules._spans import Spans
from trio_dlm.downloaders.http.rules._version import Validator, Version

# Any text, lone surrogates among it: a name on disk and a header line may hold anything.
TEXTS = st.text(st.characters(), max_size=20)
NUMBERS = st.integers(0, 10**18)
VERSIONS = st.builds(
    Version,
    validator=st.none() | st.builds(Validator, st.sampled_from(["etag", "date"]), TEXTS),
    total=st.none() | NUMBERS,
    digests=st.lists(TEXTS, max_size=3).map(tuple),
    coding=TEXTS,
    origin=TEXTS,
)
HEADERS = st.builds(Header, TEXTS, st.none() | TEXTS, st.none() | st.integers(0, 0o7777), VERSIONS)
RANGES = st.lists(
    st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: (min(pair), max(pair))),
    max_size=6,
)

HEADER = Header("https://example.org/a", version=Version(Validator("etag", '"1"'), total=100))


def lines(header: Header, ranges: list[tuple[int, int]]) -> list[bytes]:
    first = encode_header(header)
    return [first, *(encode_span(start, stop, seed_of(first)) for start, stop in ranges)]


def unbounded(header: Header) -> Header:
    return replace(header, version=replace(header.version, total=None))


def held_of(record: Record | None) -> Spans:
    return Spans() if record is None else record.held


@given(HEADERS.map(unbounded), RANGES)
def test_what_was_recorded_is_read_again(header: Header, ranges: list[tuple[int, int]]) -> None:
    raw = b"".join(lines(header, ranges))
    first = encode_header(header)
    assert decode(raw) == Record(header, Spans(tuple(ranges)), seed_of(first), len(first), len(raw))


@given(HEADERS)
def test_a_header_is_one_line_of_ascii(header: Header) -> None:
    line = encode_header(header)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    record = decode(line)
    assert record is not None
    assert record.header == header


@given(RANGES, st.data())
def test_a_record_that_was_torn_says_less_and_nothing_else(ranges: list[tuple[int, int]], data: st.DataObject) -> None:
    header = unbounded(HEADER)
    whole = lines(header, ranges)
    raw = b"".join(whole)
    cut = data.draw(st.integers(0, len(raw)))
    record = decode(raw[:cut])
    complete = 0
    while complete < len(whole) and len(b"".join(whole[: complete + 1])) <= cut:
        complete += 1
    if not complete:
        assert record is None
    else:
        assert record is not None
        assert record.header == header
        assert record.held == Spans(tuple(ranges[: complete - 1]))
        assert record.size_bytes == len(b"".join(whole[:complete]))


@given(RANGES, st.data())
def test_a_byte_that_was_flipped_never_adds_a_range(ranges: list[tuple[int, int]], data: st.DataObject) -> None:
    raw = bytearray(b"".join(lines(unbounded(HEADER), ranges)))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    record = decode(bytes(raw))
    held = Spans(tuple(ranges))
    assert all(held.covers(start, stop) for start, stop in held_of(record))
    if record is not None:
        assert record.header == unbounded(HEADER)
        assert bytes(raw[: record.size_bytes]) == b"".join(lines(unbounded(HEADER), ranges))[: record.size_bytes]


@given(HEADERS, HEADERS, RANGES)
def test_of_several_headers_the_last_counts(one: Header, other: Header, ranges: list[tuple[int, int]]) -> None:
    other = unbounded(other)
    record = decode(encode_header(one) + b"".join(lines(other, ranges)))
    assert record is not None
    assert record.header == other
    assert record.held == Spans(tuple(ranges))
    assert record.header_bytes == len(encode_header(one) + encode_header(other))


def test_a_header_behind_a_range_ends_what_is_believed() -> None:
    before = lines(HEADER, [(0, 5)])
    after = lines(replace(HEADER, checksum="sha256:00"), [(0, 50)])
    record = decode(b"".join(before + after))
    assert record is not None
    assert record.header == HEADER
    assert record.held == Spans(((0, 5),))
    assert record.size_bytes == len(b"".join(before))


def test_a_range_of_another_header_is_not_believed() -> None:
    other = lines(replace(HEADER, version=Version(Validator("etag", '"2"'))), [(0, 50)])
    record = decode(lines(HEADER, [])[0] + other[1])
    assert record is not None
    assert record.held == Spans()


@pytest.mark.parametrize(
    "text", ["5 5", "5 4", "0 101", "-1 5", "0  5", "0 5 ", "0", "", "0 5\r", "+0 5", "0 1_0", "\u0660 \u0665"]
)
def test_a_range_that_cannot_be_is_not_believed(text: str) -> None:
    first = encode_header(HEADER)
    payload = text.encode()
    line = b"%08x %b\n" % (crc32(payload, seed_of(first)), payload)
    record = decode(first + line + encode_span(0, 5, seed_of(first)))
    assert record is not None
    assert record.held == Spans()


def test_a_check_sum_in_capitals_is_not_ours() -> None:
    line = next(line for number in range(100) if (line := encode_header(Header(str(number))))[:8].upper() != line[:8])
    assert decode(line) is not None
    assert decode(line[:8].upper() + line[8:]) is None


def changed(**facts: Any) -> bytes:
    """Return a header with other facts, and a right check sum; a fact that is ``...`` is missing."""
    known: dict[str, Any] = json.loads(encode_header(HEADER)[9:])
    payload = json.dumps({key: fact for key, fact in (known | facts).items() if fact is not ...}).encode()
    return b"%08x %b\n" % (crc32(payload), payload)


def test_a_header_may_have_more_in_it_than_is_known() -> None:
    record = decode(changed(colour="green"))
    assert record is not None
    assert record.header == HEADER


@pytest.mark.parametrize(
    "facts",
    [
        {"trio_dlm": 2},
        {"trio_dlm": ...},
        {"source": ...},
        {"source": None},
        {"source": 5},
        {"checksum": 5},
        {"mode": "0644"},
        {"total": "5"},
        {"total": 5.0},
        {"total": True},
        {"total": -1},
        {"validator": 5},
        {"validator": "etag"},
        {"validator": ["etag"]},
        {"validator": ["weak", "x"]},
        {"validator": ["etag", 5]},
        {"digests": None},
        {"digests": "sha256:00"},
        {"digests": [5]},
        {"coding": None},
        {"origin": None},
    ],
)
def test_a_header_that_is_not_understood_is_none(facts: dict[str, Any]) -> None:
    assert decode(changed(**facts)) is None


@pytest.mark.parametrize(
    "payload", [b"{", b"{]", b"{\xff}", b'{"trio_dlm": ' + b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_is_no_header(payload: bytes) -> None:
    assert decode(b"%08x %b\n" % (crc32(payload), payload)) is None


@given(st.binary(max_size=200))
@example(b"")
@example(b"\n")
@example(b"\n\n")
@example(encode_span(0, 5, 0))
@example(b"00000000 {}\n")
def test_whatever_is_in_a_file_it_is_read_without_an_error(raw: bytes) -> None:
    assert held_of(decode(raw)) == Spans()


@pytest.mark.parametrize(
    ("header", "is_provable"),
    [
        (Header("u"), False),
        (Header("u", version=Version(total=5, coding="gzip")), False),
        (Header("u", checksum="sha256:00"), True),
        (Header("u", version=Version(Validator("date", "x"))), True),
        (Header("u", version=Version(digests=("sha256:00",))), False),
    ],
)
def test_a_later_run_can_only_go_on_if_something_proves_the_version(header: Header, is_provable: bool) -> None:
    assert header.is_provable is is_provable


@given(HEADERS, RANGES, st.data())
def test_a_record_of_ours_is_known_as_one_however_it_was_torn(
    header: Header, ranges: list[tuple[int, int]], data: st.DataObject
) -> None:
    raw = b"".join(lines(header, ranges))
    assert seems_ours(raw[: data.draw(st.integers(0, len(raw)))])


@pytest.mark.parametrize(
    "raw", [b'{"name": "something else"}', b"0123", b"ABCDEF01", b"0123456x", b'01234567 {"a": 1}', b"01234567{", b"PK"]
)
def test_another_programs_file_is_not_taken_for_a_record(raw: bytes) -> None:
    assert seems_ours(raw) is (raw == b"0123")

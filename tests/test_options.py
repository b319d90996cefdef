"""A record of options remembers what it was given, checks all of it at once, and lies over others without loss."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm import _options
from trio_dlm._options import Checksum, DownloadOptions, DownloadOptionsFields, FileOptionsFields, check_seconds

DIGITS: Final = {"sha256": 64, "sha512": 128, "sha384": 96, "sha224": 56, "sha3_256": 64, "sha3_512": 128}
DIGITS_OF_OTHERS: Final = {"blake2b": 128, "blake2s": 64, "sha1": 40, "md5": 32}
SHA256: Final = "ab" * 32
SECRET: Final = "Bearer hunter2"

FIELDS: Final = [field.name for field in dataclasses.fields(DownloadOptions) if field.name != "given"]

# Two values of every field, so that a record can be told from another one and from the default.
VALUES: Final[dict[str, tuple[Any, Any]]] = {
    "directory": ("/a", Path("/b")),
    "filename": ("a.iso", None),
    "overwrite": (True, "unique"),
    "checksum": (f"sha256:{SHA256}", None),
    "mirrors": (("https://mirror.example/a",), ()),
    "headers": ({"Accept": "a/b"}, {}),
    "max_bytes": (0, 10**15),
    "rate_limit_bytes_per_s": (1000.0, None),
    "min_rate_bytes_per_s": (0.5, None),
    "connections": (1, 16),
    "min_segment_size": (1, 2**40),
    "retries": (0, 10**6),
    "timeout_s": (0.5, math.inf),
    "connect_timeout_s": (1, 2.0),
    "retry_after_limit_s": (0.0, math.inf),
    "total_timeout_s": (3600, None),
    "resume": (False, True),
    "durability": ("power", "process"),
    "allow_http_downgrade": (True, False),
    "allow_private_addresses": (False, True),
}

somehow_given = st.fixed_dictionaries({}, optional={name: st.sampled_from(VALUES.get(name, ())) for name in VALUES})


def build(fields: Mapping[str, Any]) -> DownloadOptions:
    return DownloadOptions(**fields)


def shown(options: DownloadOptions) -> dict[str, object]:
    return {name: getattr(options, name) for name in FIELDS}


def test_the_keyword_arguments_are_the_fields_and_each_has_a_check() -> None:
    assert {*DownloadOptionsFields.__annotations__} == {*FIELDS}
    assert {*FileOptionsFields.__annotations__} == {*FIELDS} - {"directory"}
    assert [*_options._CHECKS] == FIELDS
    assert [*_options._DEFAULTS] == FIELDS


def test_the_samples_of_these_tests_cover_every_field() -> None:
    assert [*VALUES] == FIELDS


def test_the_types_of_the_fields_can_be_read_at_run_time() -> None:
    assert get_type_hints(DownloadOptions).keys() >= set(FIELDS)


def test_a_record_that_was_given_nothing_shows_the_documented_defaults() -> None:
    options = DownloadOptions()
    assert options.given == frozenset()
    assert (options.directory, options.filename, options.overwrite, options.checksum) == (None, None, False, None)
    assert (options.headers, options.max_bytes, options.allow_http_downgrade) == ({}, None, False)
    assert (options.timeout_s, options.connect_timeout_s, options.total_timeout_s) == (30.0, 10.0, None)
    assert (options.mirrors, options.connections, options.min_segment_size) == ((), 8, 4 * 1024 * 1024)
    assert (options.retries, options.retry_after_limit_s, options.min_rate_bytes_per_s) == (5, 60.0, None)
    assert (options.resume, options.durability, options.allow_private_addresses) == (True, "process", True)
    assert options.rate_limit_bytes_per_s is None


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_remembered_as_given_even_if_it_is_given_its_default(name: str) -> None:
    default = getattr(DownloadOptions(), name)
    options = build({name: Path("/x") if name == "directory" else default})
    assert options.given == {name}


def test_a_record_cannot_be_changed() -> None:
    options = DownloadOptions(headers={"A": "b"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.filename = "b"  # type: ignore[misc]
    with pytest.raises(TypeError):
        options.headers["C"] = "d"  # type: ignore[index]


def test_a_later_change_of_the_callers_headers_changes_nothing() -> None:
    headers = {"A": "b"}
    options = DownloadOptions(headers=headers)
    headers["A"] = "c"
    assert options.headers == {"A": "b"}


def test_records_with_the_same_values_are_equal_whatever_was_given() -> None:
    assert DownloadOptions(overwrite=False) == DownloadOptions()
    assert DownloadOptions(overwrite=True) != DownloadOptions()


def test_a_record_can_be_copied() -> None:
    options = DownloadOptions(filename="a", headers={"A": "b"})
    assert copy.copy(options) == options
    assert copy.copy(options).given == options.given


@given(fields=somehow_given)
def test_a_copy_in_depth_or_through_pickle_is_equal_and_was_given_the_same(fields: dict[str, Any]) -> None:
    options = build(fields)
    for again in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert again == options
        assert again.given == options.given
        assert hash(again) == hash(options)
        with pytest.raises(TypeError):
            again.headers["C"] = "d"  # type: ignore[index]


@pytest.mark.parametrize("name", FIELDS)
def test_a_copy_can_have_one_field_replaced(name: str) -> None:
    fields = {field: values[0] for field, values in VALUES.items()}
    change: dict[str, Any] = {name: VALUES[name][1]}
    assert shown(dataclasses.replace(build(fields), **change)) == shown(build(fields | change))


def test_equal_records_have_the_same_hash_and_headers_do_not_keep_one_from_being_a_key() -> None:
    one, other = DownloadOptions(headers={"A": "b"}, max_bytes=1), DownloadOptions(max_bytes=1, headers={"A": "b"})
    assert hash(one) == hash(other)
    assert {one: "found"}[other] == "found"
    assert hash(DownloadOptions(overwrite=False)) == hash(DownloadOptions())


@given(above=somehow_given, below=somehow_given)
def test_a_field_left_alone_lets_the_layer_below_show_through(above: dict[str, Any], below: dict[str, Any]) -> None:
    together = build(above).over(build(below))
    assert shown(together) == shown(build({**below, **above}))
    assert together.given == above.keys() | below.keys()


@given(fields=st.tuples(somehow_given, somehow_given, somehow_given))
def test_three_layers_give_the_same_in_either_grouping(fields: tuple[dict[str, Any], ...]) -> None:
    top, middle, bottom = map(build, fields)
    one, other = top.over(middle).over(bottom), top.over(middle.over(bottom))
    assert shown(one) == shown(other)
    assert one.given == other.given


def test_a_layer_that_adds_nothing_costs_no_new_record() -> None:
    options, nothing = DownloadOptions(filename="a"), DownloadOptions()
    assert options.over(nothing) is options
    assert nothing.over(options) is options
    both = DownloadOptions(filename="b", max_bytes=1)
    assert both.over(options) is both


@pytest.mark.parametrize("name", ["given", "file_name", "threads"])
def test_an_unknown_field_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(TypeError, match=f"unknown download option {name}; known are {', '.join(FIELDS)}"):
        build({name: 1})


def test_all_unknown_fields_are_named_at_once() -> None:
    with pytest.raises(TypeError, match="unknown download option a, b; known"):
        build({"b": 1, "a": 2, "filename": "x"})


# Checksums.


@pytest.mark.parametrize(("name", "digits"), [*DIGITS.items(), *DIGITS_OF_OTHERS.items()])
def test_each_algorithm_takes_digests_of_its_length_only(name: str, digits: int) -> None:
    assert Checksum.parse(f"{name}:{'0a' * (digits // 2)}") == Checksum(name, "0a" * (digits // 2))
    with pytest.raises(ValueError, match=f"a {name} digest has {digits} hex digits, got {digits - 2} in "):
        Checksum.parse(f"{name}:{'0a' * (digits // 2 - 1)}")


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{SHA256}",
        f"SHA256:{SHA256.upper()}",
        f"sha-256:{SHA256}",
        f" Sha-256 : {SHA256} \n",
        "sha256:" + " ".join(["abab"] * 16),
    ],
)
def test_a_checksum_may_be_written_in_several_ways_and_is_kept_in_one(text: str) -> None:
    assert str(Checksum.parse(text)) == f"sha256:{SHA256}"
    assert DownloadOptions(checksum=text).checksum == f"sha256:{SHA256}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHA256, 'checksum is "algorithm:hex", such as "sha256:00ab…", got '),
        ("", 'checksum is "algorithm:hex"'),
        (f"crc32:{SHA256}", "checksum algorithm 'crc32' is unknown; known are sha256, sha512, "),
        (f":{SHA256}", "checksum algorithm '' is unknown"),
        ("sha256:" + "xy" * 32, "has characters that are no hex digits, or an odd number"),
        ("sha256:" + "a" * 63, "has characters that are no hex digits, or an odd number"),
        ("sha256:", "a sha256 digest has 64 hex digits, got 0 in 'sha256:'"),
        (f"sha256:{SHA256}:", "has characters that are no hex digits, or an odd number"),
        ("sha256:" + "\u0660" * 64, "has characters that are no hex digits, or an odd number"),
    ],
)
def test_what_is_no_checksum_is_refused_and_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Checksum.parse(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        DownloadOptions(checksum=text)


@given(st.text(), st.text("0123456789abcdefABCDEF :", max_size=140))
def test_a_text_is_a_checksum_or_a_value_error(name: str, digits: str) -> None:
    for algorithm in (name, "sha256"):
        try:
            checksum = Checksum.parse(f"{algorithm}:{digits}")
        except ValueError:
            continue
        assert re.fullmatch("[0-9a-f]+", checksum.hex_digest)
        assert Checksum.parse(str(checksum)) == checksum


# Directories and names.


def test_a_relative_directory_is_taken_from_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = DownloadOptions(directory="a/../b")
    monkeypatch.chdir("/")
    assert options.directory == Path(os.path.abspath(tmp_path), "b")


@pytest.mark.parametrize("directory", ["/a", Path("/a"), PurePosixPath("/a"), "/a/", "/b/../a"])
def test_a_directory_may_be_text_or_a_path(directory: str | os.PathLike[str]) -> None:
    assert DownloadOptions(directory=directory).directory == Path("/a")


class PathOfBytes:
    def __fspath__(self) -> bytes:
        return b"/a"


# Whatever else is of the wrong type or out of range.


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("directory", b"/a", "directory is a str or a path, got b'/a'"),
        ("directory", PathOfBytes(), "directory is a str or a path of str, got "),
        ("filename", b"a", "filename is a str or None, got b'a'"),
        ("filename", Path("a"), "filename is a str or None, got "),
        ("checksum", 5, "checksum is a str or None, got 5"),
        ("headers", None, "headers is a mapping of str to str, got NoneType"),
        ("headers", [("A", SECRET)], "headers is a mapping of str to str, got list"),
        ("headers", {"A": SECRET.encode()}, "headers is a mapping of str to str, got an entry 'A' of bytes"),
        ("headers", {b"A": SECRET}, "headers is a mapping of str to str, got an entry b'A' of str"),
        ("max_bytes", 1.0, "max_bytes is a whole number of bytes or None, got 1.0"),
        ("max_bytes", True, "max_bytes is a whole number of bytes or None, got True"),
        ("max_bytes", "4M", "max_bytes is a whole number of bytes or None, got '4M'"),
        ("timeout_s", None, "timeout_s is a number of seconds, got None"),
        ("timeout_s", "30", "timeout_s is a number of seconds, got '30'"),
        ("connect_timeout_s", True, "connect_timeout_s is a number of seconds, got True"),
        ("total_timeout_s", "1", "total_timeout_s is a number of seconds, got '1'"),
        ("mirrors", "https://e.org/", "mirrors is a sequence of URLs, got str"),
        ("mirrors", None, "mirrors is a sequence of URLs, got NoneType"),
        ("mirrors", [b"https://e.org/"], "mirrors is a sequence of URLs, got one with bytes in it"),
        ("rate_limit_bytes_per_s", "1M", "rate_limit_bytes_per_s is a number of bytes per second, got '1M'"),
        ("min_rate_bytes_per_s", True, "min_rate_bytes_per_s is a number of bytes per second, got True"),
        ("connections", 1.0, "connections is a whole number, got 1.0"),
        ("retries", True, "retries is a whole number, got True"),
        ("min_segment_size", None, "min_segment_size is a whole number, got None"),
        ("retry_after_limit_s", False, "retry_after_limit_s is a number of seconds, got False"),
        ("retry_after_limit_s", None, "retry_after_limit_s is a number of seconds, got None"),
        ("resume", 0, "resume is True or False, got 0"),
        ("allow_private_addresses", None, "allow_private_addresses is True or False, got None"),
        ("allow_http_downgrade", 1, "allow_http_downgrade is True or False, got 1"),
        ("allow_http_downgrade", None, "allow_http_downgrade is True or False, got None"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_type_error_that_names_the_field(name: str, value: object, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)) as caught:
        build({name: value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("directory", "", "directory is the name of a directory, got ''"),
        ("directory", "a\0b", "directory is the name of a directory, got 'a\\x00b'"),
        ("overwrite", "yes", "overwrite is False, True or \"unique\", got 'yes'"),
        ("overwrite", 1, 'overwrite is False, True or "unique", got 1'),
        ("overwrite", None, 'overwrite is False, True or "unique", got None'),
        ("headers", {"": SECRET}, "headers has an entry '' that cannot be a header line"),
        ("headers", {"A B": SECRET}, "headers has an entry 'A B' that cannot be a header line"),
        ("headers", {"A:": SECRET}, "headers has an entry 'A:' that cannot be a header line"),
        ("headers", {"Ä": SECRET}, "headers has an entry 'Ä' that cannot be a header line"),
        ("headers", {"A": f"{SECRET}\r\nB: c"}, "headers has an entry 'A' that cannot be a header line"),
        ("headers", {"A": f"{SECRET}\0"}, "headers has an entry 'A' that cannot be a header line"),
        ("headers", {"Range": SECRET}, "headers has 'Range', which the downloader sets itself"),
        ("headers", {"if-range": SECRET}, "headers has 'if-range', which the downloader sets itself"),
        ("headers", {"ACCEPT-ENCODING": SECRET}, "headers has 'ACCEPT-ENCODING', which the downloader sets itself"),
        ("max_bytes", -1, "max_bytes is a number of bytes from 0 up, got -1"),
        ("mirrors", ["https://e.org/\n"], "it holds"),
        ("rate_limit_bytes_per_s", 0, "rate_limit_bytes_per_s is a positive number of bytes per second, got 0"),
        ("min_rate_bytes_per_s", math.nan, "min_rate_bytes_per_s is a positive number of bytes per second, got nan"),
        ("connections", 0, "connections is a whole number from 1 up, got 0"),
        ("min_segment_size", 0, "min_segment_size is a whole number from 1 up, got 0"),
        ("retries", -1, "retries is a whole number from 0 up, got -1"),
        ("retry_after_limit_s", -1, "retry_after_limit_s is a positive number of seconds, got -1"),
        ("durability", "disk", 'durability is "process" or "power", got \'disk\''),
        ("timeout_s", 0, "timeout_s is a positive number of seconds, got 0"),
        ("connect_timeout_s", -0.5, "connect_timeout_s is a positive number of seconds, got -0.5"),
        ("total_timeout_s", math.nan, "total_timeout_s is a positive number of seconds, got nan"),
        ("total_timeout_s", -math.inf, "total_timeout_s is a positive number of seconds, got -inf"),
    ],
)
def test_a_value_out_of_range_is_a_value_error_that_names_the_field(name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build({name: value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("which", [0, 1])
def test_a_valid_value_is_shown_as_it_was_given(name: str, which: int) -> None:
    value = VALUES[name][which]
    expected = Path(value) if name == "directory" else value
    assert getattr(build({name: value}), name) == expected


def test_header_values_are_not_printed() -> None:
    options = DownloadOptions(headers={"Authorization": SECRET})
    assert options.headers["Authorization"] == SECRET
    for text in (repr(options), str(options), f"{options}", repr(options.over(DownloadOptions(filename="a")))):
        assert "hunter2" not in text


@pytest.mark.parametrize("value", [1, 0.001, 10**9, math.inf])
def test_seconds_become_a_float(value: float) -> None:
    seconds = check_seconds("timeout_s", value)
    assert type(seconds) is float
    assert seconds == value


def test_a_directory_of_none_is_left_alone() -> None:
    options = DownloadOptions(directory=None, max_bytes=1)
    assert options.given == {"max_bytes"}
    assert dataclasses.replace(options, max_bytes=2).directory is None

"""Input files: what their lines mean, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm import DownloadOptions
from trio_dlm.cli._get import get
from trio_dlm.cli._input_file import _KEYS, Entry, InputError, parse_input


def test_every_line_is_a_url_and_comments_and_blank_lines_are_none() -> None:
    text = "# list\nhttp://a/1\n\n  # indented\nhttp://a/2#fragment\r\n"
    assert parse_input(text, "list") == [Entry("http://a/1", "list:2"), Entry("http://a/2#fragment", "list:5")]


def test_indented_lines_and_pieces_after_tabs_are_options_of_their_url() -> None:
    text = (
        "http://a/1\tout=one\theader=X: 1\n  header=Y: 2\n\tdir=here\nhttp://a/2\n max-bytes=4K\n  overwrite=unique\n"
    )
    assert parse_input(text, "list") == [
        Entry("http://a/1", "list:1", {"filename": "one", "directory": "here"}, [("X", "1"), ("Y", "2")]),
        Entry("http://a/2", "list:4", {"max_bytes": 4096, "overwrite": "unique"}),
    ]


def test_every_option_has_the_type_that_the_library_wants() -> None:
    text = (
        "http://a\n timeout=5\n connect-timeout=2.5\n allow-http-downgrade=true\n overwrite=true\n checksum=md5="
        + "0" * 32
        + "\n connections=3\n min-segment-size=1M\n limit-rate=300K/s\n min-rate=10K\n retries=0\n max-retry-wait=0"
        "\n no-resume=yes"
    )
    assert parse_input(text, "list")[0].fields == {
        "timeout_s": 5.0,
        "connect_timeout_s": 2.5,
        "allow_http_downgrade": True,
        "overwrite": True,
        "checksum": "md5:" + "0" * 32,
        "connections": 3,
        "min_segment_size": 1 << 20,
        "rate_limit_bytes_per_s": 300 << 10,
        "min_rate_bytes_per_s": 10 << 10,
        "retries": 0,
        "retry_after_limit_s": 0.0,
        "resume": False,
    }
    assert DownloadOptions(**parse_input(text, "list")[0].fields).given >= {"connections", "resume"}


def test_a_value_may_have_spaces_and_equals_signs() -> None:
    assert parse_input("http://a\n out = a = b.txt \n", "list")[0].fields == {"filename": "a = b.txt"}


def test_a_mark_of_byte_order_at_the_beginning_is_no_part_of_the_url() -> None:
    assert parse_input("\ufeffhttp://a\n", "list")[0].url == "http://a"


def test_all_mistakes_are_found_at_once_each_with_its_line() -> None:
    text = (
        "  out=early\nhttp://a\n colour=red\n max-bytes=3Q\n out=\n out=a\n out=b\n words\n header=X: 1\n header=x: 2\n"
    )
    with pytest.raises(InputError) as caught:
        parse_input(text, "list")
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        f"list:{number}" for number in (1, 3, 4, 5, 7, 8, 10)
    ]
    assert "'colour=red' is no option; there are out=, dir=" in caught.value.problems[1]


def test_further_urls_behind_tabs_are_mirrors() -> None:
    text = "http://a/x\thttp://b/x?y=1\tout=http://c\t\t https://d/x \n  header=Referer: http://e/\nhttp://f\n"
    first, second = parse_input(text, "list")
    assert first.url == "http://a/x"
    assert first.fields == {"mirrors": ("http://b/x?y=1", "https://d/x"), "filename": "http://c"}
    assert first.headers == [("Referer", "http://e/")]
    assert second == Entry("http://f", "list:3")


def test_an_indented_url_is_refused_since_nobody_knows_what_it_is_meant_to_be() -> None:
    with pytest.raises(InputError, match=r"^list:2: http://b/x is indented.* mirror ") as caught:
        parse_input("http://a/x\n  http://me:secret@b/x\n", "list")
    assert "secret" not in str(caught.value)


def test_every_key_is_in_the_help_and_in_the_documentation() -> None:
    help_text = " ".join(str(option.help) for option in get.params if isinstance(option, click.Option))
    page = (Path(__file__).parents[1] / "docs" / "reference" / "cli.rst").read_text("utf-8")
    _, _, page = page.partition(".. _input-files:")
    assert [key for key in _KEYS if not re.search(rf"(?<![\w-]){key}(?![\w-])", help_text)] == []
    assert [key for key in _KEYS if f"``{key}``" not in page] == []


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        entries = parse_input(text, "list")
    except InputError:
        return
    assert all(entry.url for entry in entries)

"""What is read out of a Content-Disposition header.

Rules that hold here:

- the public cases in `data/content_disposition_cases.json` were taken from the tests of six projects, which its
  `sources` name; these contradict each other, so a number of them is the measure and not all;
- no test looks at a clock: how much work a long header makes is counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.disk._names import base_name
from trio_dlm.downloaders.http.rules._disposition import filename_from_disposition

CASES: Final[list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("data").joinpath("content_disposition_cases.json").read_text("utf-8")
)["cases"]

# "Agreed" by the projects that have the case, but not by the browsers, which decode both.
DECODED_THOUGH_AGREED_TO_STAY: Final = {
    'attachment; filename="foo-%c3%a4-%e2%82%ac.html"',
    'attachment; filename="=?ISO-8859-1?Q?foo-=E4.html?="',
}


def is_as_expected(case: dict[str, Any]) -> bool:
    return bool(filename_from_disposition(case["header"]) == case["expected"])


def test_every_agreed_case_is_read_as_agreed_but_two_that_browsers_decode() -> None:
    agreed = [case for case in CASES if case["status"] == "agreed"]
    assert len(agreed) == 54
    assert {case["header"] for case in agreed if not is_as_expected(case)} == DECODED_THOUGH_AGREED_TO_STAY


def test_at_least_214_of_the_258_public_cases_are_read_as_their_projects_do() -> None:
    assert len(CASES) == 258
    assert sum(map(is_as_expected, CASES)) >= 214


def test_no_public_case_gives_a_path_or_an_empty_name() -> None:
    names = [filename_from_disposition(case["header"]) for case in CASES]
    assert all(name is None or (name and base_name(name) == name) for name in names)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        # RFC 6266 section 5.
        ("Attachment; filename=example.html", "example.html"),
        ('INLINE; FILENAME= "an example.html"', "an example.html"),
        ("attachment; filename*= UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("attachment; filename=\"EURO rates\"; filename*=utf-8''%e2%82%ac%20rates", "€ rates"),
        # Parameters.
        ("", None),
        (";", None),
        ("attachment", None),
        ("attachment; filename", None),
        ("attachment; filename=", None),
        ('attachment; filename=""', None),
        ("filename=a.iso", "a.iso"),
        (";filename=a.iso", "a.iso"),
        ("attachment;;\t; filename\t=\ta.iso\t;", "a.iso"),
        ("attachment; size=5; filename=a.iso; modification-date=x", "a.iso"),
        ("attachment; file name=a.iso", None),
        ("attachment; =a.iso; filename=b.iso", "b.iso"),
        ("attachment; filename=a.iso; filename=b.iso", "a.iso"),
        ("attachment; inline; filename=a.iso", None),
        ("attachment; filename=a.iso; trouble; filename*=UTF-8''b.iso", "a.iso"),
        # Quoted strings.
        (r'attachment; filename="a\"b\\\c.iso"; x=y', "c.iso"),
        ('attachment; filename="a;b=c.iso"', "a;b=c.iso"),
        ('attachment; filename="a.iso" ; x', "a.iso"),
        ('attachment; filename="a.iso', None),
        ('attachment; filename="a.iso\\', None),
        ('attachment; filename="a.iso".exe', None),
        ('attachment; filename="a" "b"; filename*=UTF-8\'\'c.iso', "c.iso"),
        # Without quotes.
        ("attachment; filename=a b [1].iso", "a b [1].iso"),
        ("attachment; filename=a,b.iso", "a,b.iso"),
        ("attachment; filename=a.iso, attachment", None),
        ("attachment; filename=a.iso size=5", None),
        ('attachment; filename=a"b".iso', None),
        # Bytes beyond ASCII.
        ('attachment; filename="na\xc3\xafve.iso"', "naïve.iso"),
        ("attachment; filename=na\xc3\xafve.iso", "naïve.iso"),
        ("attachment; filename=\xc3\xa0", "à"),
        ('attachment; filename="na\xefve.iso"', "naïve.iso"),
        ('attachment; filename="naïve €.iso"', "naïve €.iso"),
        # Percent signs.
        ('attachment; filename="a%20b.iso"', "a%20b.iso"),
        ('attachment; filename="100%.iso"', "100%.iso"),
        ('attachment; filename="na%C3%AFve%20.iso"', "naïve .iso"),
        ('attachment; filename="na%C3%AFve 100%.iso"', "na%C3%AFve 100%.iso"),
        ('attachment; filename="na%EFve.iso"', "na%EFve.iso"),
        # Paths.
        ('attachment; filename="/etc/passwd"', "passwd"),
        (r'attachment; filename="C:\\dir\\a.iso"', "a.iso"),
        ("attachment; filename*=UTF-8''..%2F..%5Ca.iso", "a.iso"),
        ("attachment; filename=a.iso; filename*=UTF-8''dir%2F", "a.iso"),
        ("attachment; filename=dir/", None),
    ],
)
def test_a_header_gives_the_name_that_it_means(header: str, name: str | None) -> None:
    assert filename_from_disposition(header) == name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("UTF-8''na%C3%AFve.iso", "naïve.iso"),
        ("utf8'en'na%c3%afve.iso", "naïve.iso"),
        ("UTF-8''a%2541.iso", "a%41.iso"),
        ("UTF-8''it's.iso", "it's.iso"),
        ("UTF-8''a b.iso", "a b.iso"),
        ("ISO-8859-1''na%EFve.iso", "naïve.iso"),
        ("iso_8859-15''%A4.iso", "€.iso"),
        ("windows-1252''%80.iso", "€.iso"),
        ("Shift_JIS''%83%65.iso", "テ.iso"),
        ("KOI8-R''%C1.iso", "\u0430.iso"),
        ("US-ASCII''a.iso", "a.iso"),
    ],
)
def test_an_extended_value_is_decoded_by_its_charset(value: str, name: str) -> None:
    assert filename_from_disposition(f"attachment; filename=plain.iso; filename*={value}") == name


@pytest.mark.parametrize(
    "value",
    [
        "a.iso",
        "UTF-8'a.iso",
        "''a.iso",
        "UTF-8''",
        "UTF-8''na%EFve.iso",
        "UTF-8''na%C3.iso",
        "UTF-8''a%",
        "UTF-8''a%4",
        "UTF-8''a%4g",
        "UTF-8''a%+1",
        "UTF-8''na\xc3\xafve.iso",
        "US-ASCII''na%EFve.iso",
        # Controls: a trick, or another charset than is said.
        "UTF-8''a%00.iso",
        "UTF-8''a%0D%0A.iso",
        "ISO-8859-1''%E2%82%AC.iso",
        # No charsets, or none that a server may name.
        "bogus''a.iso",
        "unicode_escape''a%5Cx41",
        "punycode''a-b",
        "idna''a",
        "rot13''a",
        "hex''61",
        # Within double quotes.
        "\"UTF-8''a.iso\"",
    ],
)
def test_an_extended_value_that_is_none_leaves_the_plain_one(value: str) -> None:
    assert filename_from_disposition(f"attachment; filename*={value}; filename=plain.iso") == "plain.iso"
    assert filename_from_disposition(f"attachment; filename*={value}") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("=?UTF-8?B?bmHDr3ZlLmlzbw==?=", "naïve.iso"),
        ("=?utf-8?b?bmHDr3ZlLmlzbw==?=", "naïve.iso"),
        ("=?ISO-8859-1?Q?na=EFve_1.iso?=", "naïve 1.iso"),
        ("=?iso-8859-1?q?na=EF?= =?utf-8?q?ve?= .iso", "naïve.iso"),
        ("a  b =?utf-8?q?=C3=AF?= c d", "a b ïc d"),
        ("a=?utf-8?q?b?=", "a=?utf-8?q?b?="),
        ("=?utf-8?Q?na=C3?=", None),
        ("=?utf-8?Q?na=C?=", None),
        ("=?utf-8?Q?na=G0?=", None),
        ("=?utf-8?B?bmH?=", None),
        ("=?utf-8?B?YQ*==?=", None),
        ("=?utf-8?B?bï?=", None),
        ("=?utf-8?X?abc?=", None),
        ("=?utf-8?Q?abc", None),
        ("=?utf-8?Q?abc?=x", None),
        ("=?utf-8?Q?abc?= =?", None),
        ("=?utf-7?Q?+AGE-?=", None),
    ],
)
def test_encoded_words_are_decoded_or_give_no_name(text: str, name: str | None) -> None:
    assert filename_from_disposition(f'attachment; filename="{text}"') == name


def test_an_encoded_word_needs_no_quotes() -> None:
    assert filename_from_disposition("attachment; filename==?ISO-8859-1?Q?na=EFve.iso?=") == "naïve.iso"


# Units of which a long header can be made, for a tokenizer to trip over.
UNITS: Final = [
    "a", " ", ";", "=", '"', "\\", '\\"', "'", "%", "%41", "%C3%AF", "=?", "?=", "=?utf-8?Q?=41?=", "=?utf-8?Q?=41?= ",
    "filename=", "filename*=", "filename=;", 'filename="', "filename*=UTF-8''%41;", ' ="', 'a="";', "a=b;",
    "\xc3\xaf", "/",
]  # fmt: skip


@given(st.one_of(st.text(st.characters(exclude_categories=())), st.lists(st.sampled_from(UNITS)).map("".join)))
def test_any_text_gives_a_base_name_or_none(header: str) -> None:
    for value in (header, f"attachment; filename={header}", f'attachment; filename="{header}"', f"filename*={header}"):
        name = filename_from_disposition(value)
        assert name is None or (name and "/" not in name and "\\" not in name)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\"), min_size=1))
def test_a_name_that_is_encoded_by_rfc_8187_is_read_back(name: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())
    assert filename_from_disposition(f"attachment; filename=\"fallback\"; filename*=UTF-8''{encoded}") == name


@pytest.mark.parametrize(
    "start", ["", "attachment; filename=", 'attachment; filename="', "attachment; filename*=UTF-8''"]
)
@pytest.mark.parametrize("unit", UNITS)
def test_four_times_the_header_makes_four_times_the_work(start: str, unit: str) -> None:
    once, four_times = (calls_of(filename_from_disposition, start + unit * n) for n in (250, 1000))
    assert four_times <= 4 * once + 100


def calls_of(function: Callable[[str], object], argument: str) -> int:
    """Count the calls, of built-in functions too, that *function* makes."""
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(argument)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("unit", UNITS)
def test_a_header_of_100_kb_is_read_to_its_end(unit: str) -> None:
    filler = unit * (100_000 // len(unit))
    assert filename_from_disposition(f"attachment; filename*=UTF-8''a.iso; x={filler}") == "a.iso"
    # What the filler makes of these is its own affair; that there is an answer is the promise.
    filename_from_disposition(f'attachment; filename="{filler}"')
    filename_from_disposition(f"attachment; filename*={filler}")

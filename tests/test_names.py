"""What a downloaded file may be called.

Rules that hold here:

- what "safe" means is said a second time, in :func:`dangers`, without a look at how the room does it;
- nothing is written: whether a file system takes a name is not asked here.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_dlm._errors import InvalidNameError
from trio_dlm.downloaders.disk import _names
from trio_dlm.downloaders.disk._names import AUXILIARY_SUFFIXES, check_filename, numbered, safe_name
from trio_dlm.downloaders.http.rules._naming import choose_name, filename_from_url

BIDI: Final = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³]) *(\..*)?")

# Pieces that make trouble, alone or next to each other.
TROUBLE: Final = [
    "/", "\\", "..", ".", " ", "-", "~", ":", "<", ">", "?", "*", "|", '"', "_", "a", "a" * 90, "é" * 60, "😀" * 30,
    "CON", "nul", "Com1", "lpt²", "CONIN$", ".txt", ".tar", ".gz", ".asc", ".part", ".PART", ".json", ".lock", ".tmp",
    ".j\u017fon", ".loc\u212a", "\0", "\n", "\x7f", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff",
    "\u200b", "\u200c", "\u200d",
    "\ud800", "\udc80", "\u0301", "\u0338", "\u0958", "\U0001d160", "\u3000", "\xa0",
]  # fmt: skip
anything: Final = st.one_of(
    st.text(st.characters(exclude_categories=())), st.lists(st.sampled_from(TROUBLE), max_size=20).map("".join)
)


def dangers(name: str) -> list[str]:
    """Say what is not safe about *name*, by the rules and not by the code."""
    checks = {
        "empty": not name,
        "a path": PurePosixPath(name).parts != (name,) or PureWindowsPath(name).parts != (name,),
        "a drive or stream": ":" in name,
        "control": any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or c in "\u2028\u2029" for c in name),
        "bidi": not BIDI.isdisjoint(name),
        "surrogate": any("\ud800" <= c <= "\udfff" for c in name),
        "not on Windows": not set('<>:"|?*').isdisjoint(name),
        "start": name[:1] in {".", "-", "~", " "},
        "end": name[-1:] in {".", " "},
        "too long": len(name.encode(errors="replace")) > 200,
        "device": DEVICE.fullmatch(name) is not None,
        "auxiliary": name.lower().endswith((".part", ".part.json", ".part.lock", ".part.tmp")),
        "not NFC": not unicodedata.is_normalized("NFC", name),
    }
    return [danger for danger, is_there in checks.items() if is_there]


@given(anything)
@example("CON" + " " * 300 + "x.txt")
@example("a" * 195 + ".part" + "b" * 100)
@example("NUL." + "a" * 300)
@example("<\u0338")
@example("e\u200b\u0301.iso")
@example("x.part.\u200djson")
@example("a" + "\u0315\u0300" * 20_000 + ".iso")
def test_any_text_becomes_a_safe_name(text: str) -> None:
    assert dangers(safe_name(text)) == []


@given(anything)
@example("a" * 195 + ".part.part.json" + "b" * 100)
def test_a_safe_name_made_safe_again_is_the_same(text: str) -> None:
    once = safe_name(text)
    assert safe_name(once) == once


@given(anything, anything)
def test_any_fallback_is_made_safe_too(name: str, fallback: str) -> None:
    assert dangers(safe_name(name, fallback=fallback)) == []


@pytest.mark.parametrize(
    "name",
    [
        "a.iso",
        "a",
        "A b (1).tar.gz",
        "naïve.iso",
        "中文.txt",
        "a~b-c.d",
        "#a+b=c@d!.x",
        "क्\u200dष.txt",
        "👩\u200d💻.png",
    ],
)
def test_a_name_that_is_safe_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        # Base name only.
        ("../../etc/passwd", "passwd"),
        (r"..\..\boot.ini", "boot.ini"),
        (r"C:\dir/a.iso", "a.iso"),
        ("/a.iso", "a.iso"),
        # Characters that are not for names.
        ("a\0b\r\n\x1b[31m\x7f\x9b.iso", "ab[31m.iso"),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\u2066\u061c\u200f\u2029\ufeff\u200b.iso", "a.iso"),
        ("a\ud800\udc80.iso", "a.iso"),
        # The start and the end.
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("~root", "root"),
        (" .-~ a.iso. . ", "a.iso"),
        ("\0.\u202e.a", "a"),
        # Windows.
        ('a<b>c:d"e|f?g*h', "a_b_c_d_e_f_g_h"),
        ("a.iso:stream", "a.iso_stream"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Com1 .tar.gz", "_Com1 .tar.gz"),
        ("LPT³", "_LPT³"),
        ("conin$", "_conin$"),
        ("CONSOLE.txt", "CONSOLE.txt"),
        ("COM0", "COM0"),
        # Auxiliary names.
        ("a.part", "a_part"),
        ("a.PART", "a_PART"),
        ("a.part.json", "a.part_json"),
        ("a.part.lock", "a.part_lock"),
        ("a.part.tmp", "a.part_tmp"),
        ("a.part.part", "a.part_part"),
        ("a.part.j\u017fon", "a.part_j\u017fon"),
        ("a.pa\u200crt", "a_pa\u200crt"),
        ("a.part ", "a_part"),
        (".part", "part"),
        ("NUL.part", "_NUL_part"),
        ("a.part.iso", "a.part.iso"),
        ("a.party", "a.party"),
        # Unicode.
        ("nai\u0308ve.iso", "naïve.iso"),
        ("nai\u200b\u0308ve.iso", "naïve.iso"),
    ],
)
def test_what_is_not_safe_is_replaced(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("name", ["", ".", "..", "...", "/", "dir/", "dir\\", " ", "\0", "~-.", "\u202e", "\ud800"])
def test_where_nothing_is_left_the_fallback_is_taken(name: str) -> None:
    assert safe_name(name) == "download"
    assert safe_name(name, fallback="../b.iso") == "b.iso"
    assert safe_name(name, fallback="..") == "download"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a" * 200, "a" * 200),
        ("a" * 201, "a" * 200),
        ("a" * 300 + ".iso", "a" * 196 + ".iso"),
        ("a" * 300 + ".tar.gz", "a" * 193 + ".tar.gz"),
        ("a" * 300 + ".tar.gz.asc", "a" * 189 + ".tar.gz.asc"),
        ("a" * 5000 + ".tar.gz", "a" * 193 + ".tar.gz"),
        # A character is not cut in two.
        ("é" * 200, "é" * 100),
        ("aé" + "é" * 200, "a" + "é" * 99),
        ("😀" * 100 + ".iso", "😀" * 49 + ".iso"),
        # No dot or space becomes the last.
        ("a" * 199 + " b", "a" * 199),
        ("a" * 190 + " . . . . . . . .iso", "a" * 190 + ".iso"),
        # Too long for an extension.
        ("a." + "b" * 300, "a." + "b" * 198),
        ("Mr. " + "b" * 300, "Mr. " + "b" * 196),
        # Cut away is what told it from a device.
        ("CON" + " " * 300 + "x.txt", "_CON.txt"),
        ("NUL." + "a" * 300, "_NUL." + "a" * 195),
    ],
)
def test_a_long_name_keeps_its_extension_in_200_bytes(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("a", "a (1)"),
        ("a.iso", "a (1).iso"),
        ("a.tar.gz", "a (1).tar.gz"),
        ("a.TAR.XZ", "a (1).TAR.XZ"),
        ("a.tar.gz.asc", "a (1).tar.gz.asc"),
        ("a.tar.gz.asc.sig", "a.tar (1).gz.asc.sig"),
        ("a.b.tar.gz", "a.b (1).tar.gz"),
        ("a.json.gz", "a (1).json.gz"),
        ("linux-6.1.gz", "linux-6.1 (1).gz"),
        ("my.holiday.gz", "my.holiday (1).gz"),
        ("a.b c.gz", "a.b c (1).gz"),
        (".tar.gz", ".tar (1).gz"),
        ("a.gz", "a (1).gz"),
        (".bashrc", ".bashrc (1)"),
        ("..a", "..a (1)"),
        ("a.", "a. (1)"),
        ("Mr. Smith", "Mr. Smith (1)"),
        ("a (1).iso", "a (1) (1).iso"),
        ("a" * 200, "a" * 196 + " (1)"),
        ("a" * 193 + ".tar.gz", "a" * 189 + " (1).tar.gz"),
        # A longer name was the user's, who gets what there is room for.
        ("a" * 241 + ".iso", "a" * 237 + " (1).iso"),
    ],
)
def test_the_number_stands_before_the_extension(name: str, second: str) -> None:
    assert numbered(name, 1) == second


@given(anything.map(safe_name), st.integers(1, 10_000))
def test_a_safe_name_with_a_number_is_safe(name: str, n: int) -> None:
    assert dangers(numbered(name, n)) == []
    assert f" ({n})" in numbered(name, n)


@given(anything, st.integers(1, 10_000))
def test_a_chosen_name_with_a_number_could_have_been_chosen(name: str, n: int) -> None:
    try:
        check_filename(name)
    except InvalidNameError:
        return
    assert check_filename(numbered(name, n)) == numbered(name, n)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a.iso", "a.iso"),
        ("https://example.org/dir/a.iso?x=/b#/c", "a.iso"),
        ("https://example.org/a%20b.iso", "a b.iso"),
        ("https://example.org/na%C3%AFve.iso", "naïve.iso"),
        ("https://example.org/naïve.iso", "naïve.iso"),
        ("https://example.org/na%EFve.iso", "na%EFve.iso"),
        ("https://example.org/100%", "100%"),
        ("https://example.org/a+b;v=1.iso", "a+b;v=1.iso"),
        ("https://example.org/a%2Fb.iso", "b.iso"),
        ("https://example.org/..%5Cb.iso", "b.iso"),
        ("https://example.org/b\\%EF.iso", "%EF.iso"),
        ("https://example.org/%2E%2E", ".."),
        ("https://example.org/dir/", None),
        ("https://example.org/dir%2F", None),
        ("https://example.org/\\%EF\\", None),
        ("https://example.org/", None),
        ("https://example.org", None),
        ("https://example.org?file=a.iso", None),
        ("https://[example.org/a.iso", None),
        ("", None),
    ],
)
def test_the_name_in_a_url_is_its_last_segment(url: str, name: str | None) -> None:
    assert filename_from_url(url) == name


@given(anything)
def test_any_text_as_a_url_gives_a_base_name_or_none(text: str) -> None:
    for url in (text, f"https://example.org/{text}"):
        name = filename_from_url(url)
        assert name is None or (name and "/" not in name and "\\" not in name)


@pytest.mark.parametrize(
    "name",
    ["a.iso", ".bashrc", "-rf", "~a", "a b", "a%2Fb", "中文", "nai\u0308ve", "a.party", "part", "CONSOLE", "a" * 245],
)
@pytest.mark.parametrize("on_windows", [False, True])
def test_a_name_that_the_user_chose_is_not_altered(
    name: str, on_windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_names, "_ON_WINDOWS", on_windows)
    assert check_filename(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "empty"),
        (".", "directory"),
        ("..", "directory"),
        ("dir/a.iso", "directory"),
        ("/", "directory"),
        (r"dir\a.iso", "directory"),
        ("a\0", r"'\\x00'"),
        ("a\nb", r"'\\n'"),
        ("a\x85", r"'\\x85'"),
        ("a\udc80", r"'\\udc80'"),
        ("a" * 246, "246 bytes in UTF-8, the most is 245"),
        ("é" * 123, "246 bytes"),
        ("a.part", "not complete"),
        ("a.Part.Lock", "not complete"),
        (".part", "not complete"),
        ("CON", "device"),
        ("aux.tar.gz", "device"),
    ],
)
@pytest.mark.parametrize("on_windows", [False, True])
def test_a_name_that_cannot_be_one_is_refused(
    name: str, problem: str, on_windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_names, "_ON_WINDOWS", on_windows)
    with pytest.raises(InvalidNameError, match=problem):
        check_filename(name)


@pytest.mark.parametrize("name", ["a:b", "a?", "<a", 'a"b', "a*", "a|b", "a.", "a "])
def test_only_windows_refuses_what_only_windows_cannot_store(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_names, "_ON_WINDOWS", False)
    assert check_filename(name) == name
    monkeypatch.setattr(_names, "_ON_WINDOWS", True)
    with pytest.raises(InvalidNameError, match="Windows takes none of"):
        check_filename(name)


def test_the_error_about_a_pasted_document_is_short() -> None:
    with pytest.raises(InvalidNameError) as caught:
        check_filename("a" * 100_000)
    assert len(str(caught.value)) < 300


@given(anything)
def test_a_safe_name_could_have_been_chosen(text: str) -> None:
    assert check_filename(safe_name(text)) == safe_name(text)


@pytest.mark.parametrize("suffix", AUXILIARY_SUFFIXES)
def test_the_longest_chosen_name_leaves_room_for_its_auxiliary_files(suffix: str) -> None:
    assert len((check_filename("a" * 245) + suffix).encode()) <= 255


@pytest.mark.parametrize(
    ("filename", "disposition", "url", "final_url", "name"),
    [
        ("u.iso", "attachment; filename=d.iso", "https://a.example/a.iso", "https://b.example/b.iso", "u.iso"),
        (".hidden", None, "https://a.example/a.iso", "https://b.example/b.iso", ".hidden"),
        (None, "attachment; filename=d.iso", "https://a.example/a.iso", "https://b.example/b.iso", "d.iso"),
        (None, "attachment; filename=.d.iso", "https://a.example/a.iso", "https://b.example/b.iso", "d.iso"),
        (None, "attachment", "https://a.example/a.iso", "https://b.example/b.iso", "a.iso"),
        (None, "attachment; filename=..", "https://a.example/a.iso", "https://b.example/b.iso", "a.iso"),
        (None, None, "https://a.example/a.iso", "https://b.example/b.iso", "a.iso"),
        (None, None, "https://a.example/a.iso.part", "https://b.example/b.iso", "a.iso_part"),
        (None, None, "https://a.example/?id=1", "https://b.example/b.iso", "b.iso"),
        (None, None, "https://a.example/%2E%2E", "https://b.example/b.iso", "b.iso"),
        (None, None, "https://a.example/", "https://b.example/", "download"),
    ],
)
def test_the_user_goes_before_the_server_and_the_server_before_the_urls(
    filename: str | None, disposition: str | None, url: str, final_url: str, name: str
) -> None:
    assert choose_name(filename=filename, disposition=disposition, url=url, final_url=final_url) == name


def test_a_bad_choice_of_the_user_is_an_error_and_no_reason_to_ask_the_server() -> None:
    for filename in ("", "../a.iso"):
        with pytest.raises(InvalidNameError):
            choose_name(
                filename=filename,
                disposition="attachment; filename=d.iso",
                url="https://a.example/a.iso",
                final_url="https://a.example/a.iso",
            )


@given(st.none() | anything, anything, anything)
def test_nothing_that_a_server_says_is_chosen_unless_it_is_safe(
    disposition: str | None, url: str, final_url: str
) -> None:
    for header in (disposition, f'attachment; filename="{disposition}"', f"attachment; filename*=UTF-8''{disposition}"):
        name = choose_name(filename=None, disposition=header, url=f"https://a.example/{url}", final_url=final_url)
        assert dangers(name) == []


@given(anything)
def test_a_chosen_name_has_no_directory(filename: str) -> None:
    try:
        name = choose_name(filename=filename, disposition=None, url="", final_url="")
    except InvalidNameError:
        return
    assert name == filename
    assert PurePosixPath(name).parts == (name,)
    assert "\\" not in name


@given(st.from_regex(_names._ORDINARY, fullmatch=True))
def test_the_short_way_for_ordinary_names_is_the_long_one(name: str) -> None:
    short = _names.plain_name(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_names, "_ORDINARY", re.compile("(?!)"))
        assert _names.plain_name(name) == short

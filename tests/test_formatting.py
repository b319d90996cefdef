"""Text about downloads is bounded, one line where it says so, without what strangers slip in, and never too early."""

from __future__ import annotations

import math
import re
import time
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_dlm._records import DownloadResult, LaneStats, ManagerStats, Progress, TaskSnapshot
from trio_dlm._status import DownloadPhase, DownloadStatus
from trio_dlm.formatting import (
    BATCH_LINE_WIDTH,
    DURATION_WIDTH,
    FRACTION_WIDTH,
    MIN_LINE_WIDTH,
    MIN_MESSAGE_LENGTH,
    RATE_WIDTH,
    REASON_LINES,
    SIZE_WIDTH,
    format_batch,
    format_block,
    format_duration,
    format_eta,
    format_fraction,
    format_line,
    format_name,
    format_rate,
    format_size,
    format_stats,
    format_url,
    parse_size,
    progress_bar,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
YIB: Final = 1024**8
START: Final = datetime(2025, 1, 1, tzinfo=UTC)

Phase = DownloadPhase
Status = DownloadStatus


def snapshot(
    status: DownloadStatus = Status.DOWNLOADING, progress: Progress | None = None, **facts: Any
) -> TaskSnapshot:
    base = TaskSnapshot(
        correlation_id="0123abcd",
        sequence=1,
        url="https://example.org/pub/big.iso",
        status=status,
        progress=progress or Progress(),
        lane=None,
        parent_id=None,
        retry_of=None,
        attempts=1,
        reason=None,
        error=None,
        result=None,
        created_at=START,
        started_at=None,
        finished_at=None,
    )
    return replace(base, **facts)


def transferring(received: int = 0, total: int | None = None, rate: float = 0.0, **facts: Any) -> Progress:
    return Progress(
        received_bytes=received,
        total_bytes=total,
        rate_bytes_per_s=rate,
        **{"phase": Phase.TRANSFERRING, **facts},
    )


def completed(size_bytes: int = GIB, name: str = "big.iso", **facts: Any) -> TaskSnapshot:
    saved = {key: facts.pop(key) for key in ("checksum", "reused") if key in facts}
    return snapshot(
        Status.COMPLETED,
        facts.pop("progress", Progress(received_bytes=size_bytes, total_bytes=size_bytes, phase=Phase.ENDED)),
        result=DownloadResult(path=Path("/srv/files") / name, size_bytes=size_bytes, **saved),
        **facts,
    )


STATS: Final = ManagerStats(
    active=3,
    pending=12,
    paused=0,
    max_concurrent=5,
    available_slots=2,
    completed=40,
    failed=2,
    cancelled=1,
    bytes_received=1288490189,
    rate_bytes_per_s=8.5 * MIB,
    lanes={"a": LaneStats(pending=12, active=3, limit=math.inf)},
)


# Sizes.


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (None, "?"),
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1075, "1.0 KiB"),
        (1076, "1.1 KiB"),
        (1536, "1.5 KiB"),
        (int(1023.9 * KIB), "1023.9 KiB"),
        (MIB - 52, "1023.9 KiB"),
        (MIB - 51, "1.0 MiB"),
        (MIB - 1, "1.0 MiB"),
        (MIB, "1.0 MiB"),
        (GIB - 1, "1.0 GiB"),
        (5 * GIB // 2, "2.5 GiB"),
        (2**63 - 1, "8.0 EiB"),
        (1024**5, "1.0 PiB"),
        (1024**7, "1.0 ZiB"),
        (YIB, "1.0 YiB"),
        (1024 * YIB - 1, "> 1023 YiB"),
        (10**400, "> 1023 YiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_of_which_it_is_at_least_one(size_bytes: int | None, text: str) -> None:
    assert format_size(size_bytes) == text


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size_bytes is a number of bytes from 0 up, got -1"):
        format_size(-1)


@pytest.mark.parametrize("size", [1.5, "300", math.nan])
def test_a_size_is_a_whole_number(size: Any) -> None:
    with pytest.raises(TypeError):
        format_size(size)


sizes = st.integers(0, 2**20) | st.integers(0, 2**90) | st.integers(0, 8).map(lambda power: 1024**power - 1)


@given(sizes)
def test_a_size_fits_its_width_and_never_reaches_1024_of_a_unit(size_bytes: int) -> None:
    text = format_size(size_bytes)
    assert len(text) <= SIZE_WIDTH
    assert "1024" not in text


@given(st.integers(0, 1023 * YIB) | st.integers(0, 2**40))
def test_a_size_read_back_is_within_rounding_of_what_was_shown(size_bytes: int) -> None:
    again = parse_size(format_size(size_bytes))
    # Half of a tenth of the unit, which is at most the number itself, or of the next unit when rounded up to one of it.
    assert abs(again - size_bytes) <= max(again, size_bytes) / 20
    if size_bytes < KIB:
        assert again == size_bytes
    assert format_size(again) == format_size(size_bytes)


@given(sizes, sizes)
def test_a_larger_size_is_never_shown_as_a_smaller_one(one: int, other: int) -> None:
    small, large = sorted((one, other))
    if large < 1023 * YIB:
        assert parse_size(format_size(small)) <= parse_size(format_size(large))


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("300", 300),
        ("300B", 300),
        ("300 b", 300),
        ("4M", 4 * MIB),
        ("4m", 4 * MIB),
        ("4k", 4 * KIB),
        ("4KiB", 4 * KIB),
        ("10MiB", 10 * MIB),
        ("10 mib", 10 * MIB),
        (" 1.5G\n", 3 * GIB // 2),
        ("0.0004K", 0),
        ("0.0005K", 1),
        ("007", 7),
        ("1T", 1024**4),
        ("1P", 1024**5),
        ("1E", 1024**6),
        ("1Z", 1024**7),
        ("1Y", 1024**8),
        ("9007199254740993", 2**53 + 1),
        ("8191.9999999999999999P", 2**63 - 0),
    ],
)
def test_a_size_may_be_written_with_a_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "M",
        "-1",
        "+1",
        "1.5",
        "1.5B",
        "1.",
        "1.M",
        ".5M",
        "1,5M",
        "1 000",
        "1_000",
        "1e3",
        "4MB",
        "4KB",
        "4Mi",
        "4iB",
        "4 M B",
        "4M/s",
        "4W",
        "0x10",
        "nan",
        "inf",
        "\u0663",
        "\uff14M",
        "1\0",
        "9" * 31,
        "9" * 5000,
        "1." + "0" * 5000 + "M",
        "> 1023 YiB",
        "?",
    ],
)
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^a size is a whole number of bytes .*; write 300, 4M, 1.5G or 10MiB$"
    ) as caught:
        parse_size(text)
    assert len(str(caught.value)) < 250


def test_the_refusal_shows_what_was_written() -> None:
    with pytest.raises(ValueError, match=re.escape("got '4 MB\\n'; write")):
        parse_size("4 MB\n")


@given(st.text() | st.from_regex(r"\s*[0-9]*\.?[0-9]*\s*[KMGTPEZYkB]?i?B?"))
def test_a_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert str(error).startswith("a size is")  # noqa: PT017 both ends are fine


# Rates.


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "? B/s"),
        (math.nan, "? B/s"),
        (math.inf, "? B/s"),
        (0, "0 B/s"),
        (-0.0, "0 B/s"),
        (0.4, "0 B/s"),
        (1.6, "2 B/s"),
        (1023.4, "1023 B/s"),
        (1023.9, "1.0 KiB/s"),
        (1023.9 * KIB, "1023.9 KiB/s"),
        (1023.99 * KIB, "1.0 MiB/s"),
        (8.5 * MIB, "8.5 MiB/s"),
        (1e300, "> 1023 YiB/s"),
    ],
)
def test_a_rate_is_a_size_per_second(rate: float | None, text: str) -> None:
    assert format_rate(rate) == text


@given(st.floats(min_value=0) | st.just(math.nan))
def test_a_rate_fits_its_width(rate: float) -> None:
    assert len(format_rate(rate)) <= RATE_WIDTH


# Durations.


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (math.nan, "?"),
        (math.inf, "?"),
        (0, "0 s"),
        (-0.0, "0 s"),
        (1e-9, "< 1 s"),
        (0.9, "< 1 s"),
        (1, "1 s"),
        (59.999, "59 s"),
        (60, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.9, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3 * 3600 + 59, "3 h 00 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 00 h"),
        (2 * 86_400 + 3 * 3600 + 3599, "2 d 03 h"),
        (365 * 86_400, "365 d 00 h"),
        (86_400 * 10_000 - 1, "9999 d 23 h"),
        (86_400 * 10_000, "> 9999 d"),
        (1e300, "> 9999 d"),
        (10**400, "> 9999 d"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (math.nan, "?"), (math.inf, "?"), (0, "0 s"), (0.001, "1 s"), (59, "59 s"), (59.2, "1 min 00 s")],
)
def test_while_anything_is_left_the_time_left_is_not_zero(seconds: float | None, text: str) -> None:
    assert format_eta(seconds) == text


SECONDS_OF: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


def read_duration(text: str) -> int:
    words = ["0", "s"] if text == "< 1 s" else text.split()
    return sum(int(number) * SECONDS_OF[unit] for number, unit in zip(words[::2], words[1::2], strict=True))


@given(st.floats(0, 86_400 * 9999))
def test_a_duration_read_back_is_short_of_it_by_less_than_its_smaller_unit(seconds: float) -> None:
    text = format_duration(seconds)
    assert len(text) <= DURATION_WIDTH
    assert 0 <= seconds - read_duration(text) < SECONDS_OF[text.split()[-1]]


@given(st.floats(0, 86_400 * 9999), st.floats(0, 86_400 * 9999))
def test_a_longer_time_is_never_shown_as_a_shorter_one(one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert read_duration(format_duration(short)) <= read_duration(format_duration(long))
    assert read_duration(format_eta(short)) <= read_duration(format_eta(long))


# Shares.


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (None, "?"),
        (math.nan, "?"),
        (math.inf, "?"),
        (0, "0 %"),
        (-0.0, "0 %"),
        (5e-324, "0.0 %"),
        (0.0004, "0.0 %"),
        (0.001, "0.1 %"),
        (0.07, "7.0 %"),
        (0.29, "29.0 %"),
        (0.5, "50.0 %"),
        (0.9996, "99.9 %"),
        (math.nextafter(1.0, 0.0), "99.9 %"),
        (1, "100 %"),
        (1.5, "100 %"),
        (10**400, "100 %"),
    ],
)
def test_a_share_is_cut_off_so_that_the_ends_are_exact(fraction: float | None, text: str) -> None:
    assert format_fraction(fraction) == text


@pytest.mark.parametrize("thousandths", range(1, 1000))
def test_a_share_of_whole_thousandths_is_shown_exactly(thousandths: int) -> None:
    assert format_fraction(thousandths / 1000) == f"{thousandths // 10}.{thousandths % 10} %"


fractions = st.floats(0, 1)


@given(fractions, fractions)
def test_a_larger_share_is_never_shown_as_a_smaller_one(one: float, other: float) -> None:
    small, large = sorted((one, other))
    texts = format_fraction(small), format_fraction(large)
    assert all(len(text) <= FRACTION_WIDTH for text in texts)
    assert float(texts[0][:-2]) <= float(texts[1][:-2])
    assert ("100 %" in texts) == (large == 1)


@pytest.mark.parametrize(
    ("fraction", "width", "bar", "ascii_bar"),
    [
        (0, 10, "░░░░░░░░░░", "----------"),
        (0.0124, 10, "░░░░░░░░░░", "----------"),
        (0.0125, 10, "▏░░░░░░░░░", "----------"),
        (0.345, 10, "███▍░░░░░░", "###-------"),
        (0.5, 10, "█████░░░░░", "#####-----"),
        (0.9996, 10, "█████████▉", "#########-"),
        (math.nextafter(1.0, 0.0), 10, "█████████▉", "#########-"),
        (1, 10, "██████████", "##########"),
        (7, 3, "███", "###"),
        (0.5, 1, "▌", "-"),
        (1, 1, "█", "#"),
        (None, 4, "▒▒▒▒", "????"),
        (math.nan, 4, "▒▒▒▒", "????"),
    ],
)
def test_a_bar_is_as_long_as_its_share(fraction: float | None, width: int, bar: str, ascii_bar: str) -> None:
    assert progress_bar(fraction, width) == bar
    assert progress_bar(fraction, width, ascii_only=True) == ascii_bar


def test_a_bar_is_ten_characters_unless_told_otherwise() -> None:
    assert len(progress_bar(0.3)) == 10


@pytest.mark.parametrize("width", [0, -1])
def test_a_bar_without_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width is a number of characters from 1 up, got {width}"):
        progress_bar(0.5, width)


EIGHTHS: Final = {character: eighths for eighths, character in enumerate("░▏▎▍▌▋▊▉█")}


@given(fractions, fractions, st.integers(1, 200))
def test_a_bar_has_its_width_grows_with_its_share_and_is_full_only_at_the_end(
    one: float, other: float, width: int
) -> None:
    small, large = sorted((one, other))
    for ascii_only in (False, True):
        bars = [progress_bar(fraction, width, ascii_only=ascii_only) for fraction in (small, large)]
        assert [len(bar) for bar in bars] == [width, width]
        filled = [sum(EIGHTHS.get(each, 8 if each == "#" else 0) for each in bar) for bar in bars]
        assert filled[0] <= filled[1]
        assert (filled[1] == 8 * width) == (large == 1)
        assert all(bar.isascii() for bar in bars) == ascii_only


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (format_rate, "rate_bytes_per_s"),
        (format_duration, "seconds"),
        (format_eta, "eta_s"),
        (format_fraction, "fraction"),
        (progress_bar, "fraction"),
    ],
)
@pytest.mark.parametrize("value", [-1, -0.001, -math.inf])
def test_a_negative_number_is_refused_by_name(call: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is a number from 0 up, got {value}"):
        call(value)


# Names and addresses.


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/pub/big.iso", "big.iso"),
        ("https://example.org/pub/big%20file%20%C3%A4.iso?token=…#part", "big file ä.iso"),
        ("https://example.org/pub/", "pub"),
        ("https://example.org/pub/%20/%0A", "pub"),
        ("https://Example.org:8080/", "example.org"),
        ("https://example.org", "example.org"),
        ("https://example.org?file=big.iso", "example.org"),
        ("https://example.org/%ff.iso", "�.iso"),
        ("https://example.org/a%00b%1B%5B31m%0Ac.iso", "a�b�[31m c.iso"),
        ("https://example.org/gpj%E2%80%AEexe.iso", "gpj�exe.iso"),
        ("https://example.org/a%E2%80%A8b%C2%85c", "a b c"),
        ("https://ex\x1bample.org", "ex�ample.org"),
        ("ytsearch:words", "words"),
        ("magnet:?xt=urn:btih:00", "magnet:?xt=urn:btih:00"),
        ("https://[broken", "https://[broken"),
        ("https://user:hunter2@[broken?token=hunter2", "https://[broken?token=…"),
        ("", "?"),
    ],
)
def test_until_there_is_a_file_the_name_is_the_last_part_of_the_path_or_the_host(url: str, name: str) -> None:
    assert format_name(snapshot(url=url)) == name


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("big (1).iso", "big (1).iso"),
        ("two\nlines\ttab.iso", "two lines tab.iso"),
        ("\x1b]0;title\x07.iso", "�]0;title�.iso"),
        ("not\udcfftext.iso", "not�text.iso"),
        ("family \U0001f469\u200d\U0001f467.iso", "family \U0001f469\u200d\U0001f467.iso"),
        ("\n", "big.iso"),
    ],
)
def test_the_name_of_a_file_is_its_own_without_its_directory(filename: str, name: str) -> None:
    assert format_name(completed(name=filename)) == name


def test_a_long_name_loses_its_middle_and_keeps_its_extension() -> None:
    assert format_name(completed(name="a" * 300 + ".iso"), 11) == "aaaaa…a.iso"


@pytest.mark.parametrize(
    ("url", "width", "text"),
    [
        ("https://example.org/a", 80, "https://example.org/a"),
        ("https://user:hunter2@example.org/a?sig=hunter2", 80, "https://example.org/a?sig=…"),
        ("https://example.org/" + "x" * 100_000 + "/big.iso", 40, "https://example.org/…xxxxxxxxxxx/big.iso"),
        ("https://example.org/a\r\nb", 80, "https://example.org/a b"),
        ("https://example.org/a", 2, "h…"),
        ("https://example.org/a", 1, "…"),
    ],
)
def test_an_address_is_one_line_without_secrets_and_short_in_the_middle(url: str, width: int, text: str) -> None:
    assert format_url(url, width) == text


@pytest.mark.parametrize("width", [0, -3])
def test_no_text_fits_into_nothing(width: int) -> None:
    message = f"width is a number of characters from 1 up, got {width}"
    with pytest.raises(ValueError, match=message):
        format_url("https://example.org", width)
    with pytest.raises(ValueError, match=message):
        format_name(snapshot(), width)


# One line.

LONG_REASON: Final = (
    "https://u:hunter2@example.org/a?token=hunter2: the server\nanswered 404\tNot Found;\x1b[31m "
    + "x" * 500
    + " try again"
)

LINES: Final = [
    (snapshot(Status.PENDING), "big.iso: pending"),
    (
        snapshot(Status.PENDING, Progress(received_bytes=GIB // 2, total_bytes=GIB)),
        "big.iso: pending, 50.0 % of 1.0 GiB",
    ),
    (snapshot(progress=Progress(phase=Phase.CONNECTING)), "big.iso: connecting"),
    (snapshot(progress=Progress(phase=Phase.WAITING)), "big.iso: downloading"),
    (snapshot(progress=transferring()), "big.iso: downloading, 0 B/s"),
    (
        snapshot(progress=transferring(430 * MIB, GIB, 8.5 * MIB, eta_s=64.2)),
        "big.iso: downloading, 41.9 % of 1.0 GiB, 8.5 MiB/s, 1 min 05 s left",
    ),
    (snapshot(progress=transferring(0, GIB)), "big.iso: downloading, 0 % of 1.0 GiB, 0 B/s"),
    (
        snapshot(progress=transferring(9996, 10_000, 1.0, eta_s=4)),
        "big.iso: downloading, 99.9 % of 9.8 KiB, 1 B/s, 4 s left",
    ),
    (snapshot(progress=transferring(430 * MIB, None, 8.5 * MIB)), "big.iso: downloading, 430.0 MiB, 8.5 MiB/s"),
    (
        snapshot(progress=transferring(2 * GIB, GIB, math.nan, eta_s=0.0)),
        "big.iso: downloading, 2.0 GiB, more than the 1.0 GiB announced, ? B/s, 0 s left",
    ),
    (
        snapshot(progress=transferring(1, 2, math.inf, eta_s=math.inf)),
        "big.iso: downloading, 50.0 % of 2 B, ? B/s",
    ),
    (snapshot(progress=transferring(0, 0)), "big.iso: downloading, 0 B/s"),
    (snapshot(progress=transferring(retries=1)), "big.iso: downloading, 0 B/s, 1 retry"),
    (
        snapshot(progress=Progress(received_bytes=MIB, phase=Phase.RETRYING, retries=2)),
        "big.iso: waiting to retry, 1.0 MiB, 2 retries",
    ),
    (
        snapshot(progress=Progress(received_bytes=GIB, total_bytes=GIB, phase=Phase.VERIFYING)),
        "big.iso: verifying, 99.9 % of 1.0 GiB",
    ),
    (
        snapshot(progress=Progress(phase=Phase.STOPPING), reason="user left"),
        "big.iso: stopping: user left",
    ),
    (
        snapshot(Status.PAUSED, Progress(received_bytes=GIB // 2, total_bytes=GIB, rate_bytes_per_s=5.0)),
        "big.iso: paused, 50.0 % of 1.0 GiB",
    ),
    (
        completed(started_at=START, finished_at=START + timedelta(seconds=123)),
        "big.iso: completed, 1.0 GiB in 2 min 03 s",
    ),
    (
        completed(
            progress=Progress(received_bytes=GIB, total_bytes=GIB, rate_bytes_per_s=8.5 * MIB, retries=3),
            started_at=START,
            finished_at=START + timedelta(days=2, hours=3),
            reason="asked to cancel, too late",
        ),
        "big.iso: completed, 1.0 GiB in 2 d 03 h, 8.5 MiB/s",
    ),
    (
        completed(started_at=START, finished_at=START - timedelta(hours=1)),
        "big.iso: completed, 1.0 GiB in 0 s",
    ),
    (completed(0), "big.iso: completed, 0 B"),
    (completed(started_at=START), "big.iso: completed, 1.0 GiB"),
    (
        completed(reused=True, started_at=START, finished_at=START),
        "big.iso: completed, 1.0 GiB, was there already",
    ),
    (snapshot(Status.COMPLETED, Progress(received_bytes=5)), "big.iso: completed, 5 B"),
    (snapshot(Status.FAILED), "big.iso: failed"),
    (
        snapshot(Status.FAILED, Progress(received_bytes=1, total_bytes=4), reason="no\nroute"),
        "big.iso: failed, 25.0 % of 4 B: no route",
    ),
    (snapshot(Status.FAILED, error=ValueError("odd\r\nvalue")), "big.iso: failed: odd value"),
    (snapshot(Status.FAILED, error=TimeoutError()), "big.iso: failed: TimeoutError"),
    (snapshot(Status.FAILED, reason="why", error=ValueError("odd")), "big.iso: failed: why"),
    (snapshot(Status.CANCELLED), "big.iso: cancelled"),
    (snapshot(Status.CANCELLED, reason="user left"), "big.iso: cancelled: user left"),
]


@pytest.mark.parametrize(("each", "line"), LINES, ids=[line for _, line in LINES])
def test_a_line_says_what_is_known_of_a_download(each: TaskSnapshot, line: str) -> None:
    assert format_line(each) == line


def test_a_long_reason_keeps_its_beginning_and_its_advice_and_shows_no_secrets() -> None:
    line = format_line(snapshot(Status.FAILED, reason=LONG_REASON))
    assert len(line) == 160
    assert line.startswith("big.iso: failed: https://example.org/a?token=… the server answered 404 Not Found;")
    assert line.endswith("x try again")


def test_a_long_name_leaves_room_for_the_facts() -> None:
    line = format_line(snapshot(url="https://e.org/" + "n" * 500, progress=transferring(1, 2, 3.0, eta_s=4)), width=80)
    assert re.fullmatch("n+…n+: downloading, 50.0 % of 2 B, 3 B/s, 4 s left", line)
    assert len(line) == 80


def test_a_long_name_and_a_long_reason_share_the_line() -> None:
    line = format_line(snapshot(Status.FAILED, url="https://e.org/" + "n" * 500, reason="r" * 500), width=60)
    assert re.fullmatch(r"n+…n+: failed: r+…r+", line)
    assert len(line) == 60
    assert line.index(":") == 20


@pytest.mark.parametrize("call", [format_line, format_block])
def test_a_line_without_room_is_refused(call: Any) -> None:
    with pytest.raises(ValueError, match=f"width is a number of characters from {MIN_LINE_WIDTH} up, got 19"):
        call(snapshot(), width=19)


# Some lines.


def test_a_block_of_a_running_download() -> None:
    progress = transferring(450_888_336, GIB, 8.5 * MIB, eta_s=64.2)
    assert format_block(snapshot(progress=progress)).splitlines() == [
        "big.iso",
        "downloading, 8.5 MiB/s, 1 min 05 s left",
        "████▏░░░░░ 41.9 %",
        "430.0 MiB of 1.0 GiB",
        "https://example.org/pub/big.iso",
        "id 0123abcd",
    ]
    assert "####------ 41.9 %" in format_block(snapshot(progress=progress), ascii_only=True).splitlines()


def test_a_block_of_a_download_of_unknown_size() -> None:
    assert format_block(snapshot(progress=transferring(5, None, 1.0))).splitlines() == [
        "big.iso",
        "downloading, 1 B/s",
        "▒▒▒▒▒▒▒▒▒▒ ?",
        "5 B",
        "https://example.org/pub/big.iso",
        "id 0123abcd",
    ]


def test_a_block_of_more_than_was_announced_shows_no_share() -> None:
    lines = format_block(snapshot(progress=transferring(5, 4, 1.0))).splitlines()
    assert lines[2:4] == ["▒▒▒▒▒▒▒▒▒▒ ?", "5 B, more than the 4 B announced"]


def test_a_block_of_a_waiting_download_has_no_bar() -> None:
    assert format_block(snapshot(Status.PENDING, attempts=0)).splitlines() == [
        "big.iso",
        "pending",
        "https://example.org/pub/big.iso",
        "id 0123abcd",
    ]


def test_a_block_of_a_complete_download_says_what_was_verified() -> None:
    done = completed(checksum="sha256:00ab", attempts=3, started_at=START, finished_at=START + timedelta(seconds=5))
    assert format_block(done).splitlines() == [
        "big.iso",
        "completed",
        "██████████ 100 %",
        "1.0 GiB in 5 s",
        "sha256 verified",
        "https://example.org/pub/big.iso",
        "id 0123abcd, attempt 3",
    ]
    assert "verified" not in format_block(completed())


def test_a_block_of_a_failed_download_has_the_whole_reason_if_there_is_room() -> None:
    reason = (
        "https://u:hunter2@example.org/pub/big.iso: the server answered 404 Not Found; check the address\nand try again"
    )
    assert format_block(snapshot(Status.FAILED, reason=reason)).splitlines() == [
        "big.iso",
        "failed",
        "https://example.org/pub/big.iso: the server answered 404 Not",
        "Found; check the address and try again",
        "https://example.org/pub/big.iso",
        "id 0123abcd",
    ]


def test_a_block_shows_ids_and_digests_of_strangers_on_their_lines() -> None:
    lines = format_block(completed(correlation_id="a\nb" * 50, checksum="x\ny:00")).splitlines()
    assert lines[-3] == "x y verified"
    assert lines[-1].startswith("id a ba b")
    assert len(lines[-1]) == 60


# A manager.


def test_a_line_about_a_manager() -> None:
    assert format_stats(STATS) == (
        "3 of 5 running, 12 pending, 0 paused; 40 completed, 2 failed, 1 cancelled; 1.2 GiB received, 8.5 MiB/s"
    )


def test_a_manager_without_a_limit_is_of_nothing() -> None:
    assert format_stats(replace(STATS, max_concurrent=math.inf)).startswith("3 running, 12 pending")
    assert format_stats(replace(STATS, max_concurrent=5.0, rate_bytes_per_s=math.nan)).startswith("3 of 5 running")


# Several downloads.


def test_no_downloads() -> None:
    assert format_batch([]) == "no downloads"


def test_a_message_about_several_downloads_begins_with_what_runs() -> None:
    batch = [
        completed(MIB, "a.iso", progress=Progress(received_bytes=MIB, total_bytes=MIB, phase=Phase.ENDED)),
        snapshot(Status.PENDING, url="https://e.org/b.iso", progress=Progress(total_bytes=MIB)),
        snapshot(url="https://e.org/c.iso", progress=transferring(MIB, 2 * MIB, 5.0)),
        snapshot(url="https://e.org/d.iso", progress=transferring(0, 4 * MIB, math.nan)),
    ]
    assert format_batch(iter(batch)).splitlines() == [
        "4 downloads: 2 downloading, 1 pending, 1 completed, 25.0 % of 8.0 MiB, 5 B/s",
        "c.iso: downloading, 50.0 % of 2.0 MiB, 5 B/s",
        "d.iso: downloading, 0 % of 4.0 MiB, ? B/s",
        "b.iso: pending, 0 % of 1.0 MiB",
        "a.iso: completed, 1.0 MiB",
    ]


def test_a_message_about_one_download() -> None:
    assert format_batch([completed()]).splitlines() == [
        "1 download: 1 completed, 1.0 GiB",
        "big.iso: completed, 1.0 GiB",
    ]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_what_will_never_be_whole_has_no_share_of_the_whole(status: DownloadStatus) -> None:
    broken = snapshot(status, Progress(received_bytes=MIB, total_bytes=4 * MIB))
    head = format_batch([completed(), broken]).splitlines()[0]
    assert head == f"2 downloads: {', '.join(sorted([f'1 {status.value}', '1 completed'], key=len))}, 1.0 GiB"


def test_a_total_that_one_does_not_know_nobody_knows() -> None:
    batch = [snapshot(progress=transferring(3, None)), snapshot(progress=transferring(4, 8))]
    assert format_batch(batch).splitlines()[0] == "2 downloads: 2 downloading, 7 B, 0 B/s"


def test_downloads_for_which_there_is_no_room_are_counted() -> None:
    batch = [snapshot(Status.PENDING, url=f"https://e.org/{number:02d}.iso") for number in range(20)]
    lines = format_batch(batch, max_length=150).splitlines()
    assert lines[0] == "20 downloads: 20 pending"
    assert lines[1] == "00.iso: pending"
    assert lines[-1] == f"… and {20 - (len(lines) - 2)} more"
    assert len("\n".join(lines)) <= 150


def test_the_last_line_needs_no_room_for_a_count() -> None:
    batch = [snapshot(Status.PENDING, url=f"https://e.org/{number:02d}.iso") for number in range(20)]
    whole = format_batch(batch)
    assert format_batch(batch, max_length=len(whole)) == whole
    assert format_batch(batch, max_length=len(whole) - 1).endswith("more")


def test_a_message_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match=f"max_length is a number of characters from {MIN_MESSAGE_LENGTH} up, got 79"):
        format_batch([], max_length=79)


# Whatever a record may hold.

texts = st.text(max_size=40) | st.text("\n\r\x1b\u202e\u2028 %/:@a\ud800", max_size=200)
counts = st.integers(0, 10**4) | st.integers(0, 2**70)
moments = st.datetimes(timezones=st.just(UTC))
numbers = st.floats(min_value=0) | st.just(math.nan)
names = texts.map(lambda text: text.replace("/", "").replace("\0", "")).filter(lambda name: name not in {"", ".", ".."})

progresses = st.builds(
    Progress,
    received_bytes=counts,
    total_bytes=st.none() | counts,
    rate_bytes_per_s=numbers,
    eta_s=st.none() | numbers,
    phase=st.sampled_from(DownloadPhase),
    retries=st.integers(0, 100),
)

results = st.builds(
    DownloadResult,
    path=names.map(lambda name: Path("/d") / name),
    size_bytes=counts,
    checksum=st.none() | texts,
    reused=st.booleans(),
)

snapshots = st.builds(
    TaskSnapshot,
    correlation_id=texts,
    sequence=counts,
    url=texts | texts.map(lambda text: f"https://{text}"),
    status=st.sampled_from(DownloadStatus),
    progress=progresses,
    lane=st.none(),
    parent_id=st.none(),
    retry_of=st.none(),
    attempts=st.integers(0, 1000),
    reason=st.none() | texts,
    error=st.none() | texts.map(ValueError),
    result=st.none() | results,
    created_at=moments,
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
)

plain_snapshots = snapshots.map(
    lambda each: replace(each, url="https://e.org/a", reason=None, error=None, result=None, correlation_id="0")
)

STRAY: Final = {"Cc", "Cs", "Zl", "Zp"}


def stray(text: str) -> set[str]:
    """Return the characters of *text* that do something to a terminal, a line or an encoder."""
    return {
        each
        for each in text
        if unicodedata.category(each) in STRAY or unicodedata.bidirectional(each) in {"RLO", "LRO"}
    }


@given(each=snapshots, width=st.integers(MIN_LINE_WIDTH, 300))
@example(snapshot(Status.FAILED, reason=LONG_REASON), MIN_LINE_WIDTH)
def test_a_line_is_one_line_of_printable_text_within_its_width(each: TaskSnapshot, width: int) -> None:
    line = format_line(each, width=width)
    assert len(line) <= width
    assert not stray(line)
    assert line.encode()


@given(each=snapshots, width=st.integers(MIN_LINE_WIDTH, 300), ascii_only=st.booleans())
@example(snapshot(Status.FAILED, reason=LONG_REASON), MIN_LINE_WIDTH, True)
def test_a_block_is_a_few_lines_of_printable_text_within_its_width(
    each: TaskSnapshot, width: int, ascii_only: bool
) -> None:
    lines = format_block(each, width=width, ascii_only=ascii_only).split("\n")
    # A word that is longer than a line may leave half of the line before it empty.
    assert 3 <= len(lines) <= 7 + 2 * REASON_LINES
    assert all(0 < len(line) <= width for line in lines)
    assert not stray("".join(lines))


@given(batch=st.lists(snapshots, max_size=8), max_length=st.integers(MIN_MESSAGE_LENGTH, 2000))
def test_a_message_counts_every_download_within_its_length(batch: list[TaskSnapshot], max_length: int) -> None:
    message = format_batch(batch, max_length=max_length)
    assert len(message) <= max_length
    _, *lines = message.split("\n")
    shown = [line for line in lines if not re.fullmatch(r"… and \d+ more", line)]
    missing = len(batch) - len(shown)
    assert lines[len(shown) :] == ([f"… and {missing} more"] if missing else [])
    assert all(len(line) <= BATCH_LINE_WIDTH for line in shown)
    assert not stray("".join(lines))


@given(plain_snapshots)
def test_a_hundred_per_cent_and_a_full_bar_are_of_complete_downloads_only(each: TaskSnapshot) -> None:
    is_complete = each.status is Status.COMPLETED
    assert ("100 %" in format_block(each)) == is_complete
    assert ("█" * 10 in format_block(each)) == is_complete
    assert ("#" * 10 in format_block(each, ascii_only=True)) == is_complete
    assert "100 %" not in format_line(each)


@given(st.lists(plain_snapshots, max_size=5))
def test_a_message_about_several_never_says_a_hundred_per_cent(batch: list[TaskSnapshot]) -> None:
    assert "100 %" not in format_batch(batch)


@given(
    st.builds(
        ManagerStats,
        active=counts,
        pending=counts,
        paused=counts,
        max_concurrent=counts | st.just(math.inf),
        available_slots=counts,
        completed=counts,
        failed=counts,
        cancelled=counts,
        bytes_received=counts,
        rate_bytes_per_s=numbers,
        lanes=st.just({}),
    )
)
def test_a_line_about_any_manager_is_one_line(stats: ManagerStats) -> None:
    assert re.fullmatch(r"[ -~]+", format_stats(stats))


@pytest.mark.parametrize("text", ["/" * 100_000, "a" * 100_000, "//a@" * 25_000, "%41" * 30_000, " \n" * 50_000])
def test_a_long_text_takes_linear_time(text: str) -> None:
    began = time.process_time()
    for each in (snapshot(url=text), snapshot(url=f"https://{text}"), snapshot(Status.FAILED, reason=text)):
        format_line(each)
        format_block(each)
    # Quadratic would be minutes; this is ten times what it takes.
    assert time.process_time() - began < 5

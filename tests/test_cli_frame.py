"""The picture of an instant: never too wide, never too high, and its columns stand still."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from tests.command import stats_of
from trio_dlm import DownloadPhase, PartProgress, Progress
from trio_dlm.cli._frame import Row, compose, fit

MIB = 1024 * 1024

sizes = st.integers(0, 1 << 60)
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Mn", "Me", "Zl", "Zp"]), min_size=1)
progresses = st.builds(
    Progress,
    received_bytes=sizes,
    total_bytes=st.none() | sizes,
    rate_bytes_per_s=st.floats(0, 1e15),
    eta_s=st.none() | st.floats(0, 1e12),
    phase=st.sampled_from(DownloadPhase),
    retries=st.integers(0, 10**6),
    parts=st.lists(st.builds(PartProgress, sizes, sizes, st.none() | sizes), max_size=200).map(tuple),
)
rows_of_any_kind = st.lists(st.builds(Row, names, progresses), max_size=12)


def shown(lines: list[Text], width: int) -> list[str]:
    """Return what a terminal of that width gets to show, line by line."""
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(line)
        console.print()
    return console.export_text().splitlines()


def row(name: str = "big.iso", received: int = MIB, total: int | None = 4 * MIB, rate: float = 1e6) -> Row:
    eta = (total - received) / rate if total is not None and rate else None
    return Row(
        name, Progress(received_bytes=received, total_bytes=total, rate_bytes_per_s=rate, eta_s=eta, phase=MOVING)
    )


MOVING = DownloadPhase.TRANSFERRING


@given(rows_of_any_kind, st.integers(10, 250), st.integers(1, 30), st.booleans())
def test_no_line_is_wider_and_no_frame_higher_than_the_terminal(
    rows: list[Row], width: int, height: int, ascii_only: bool
) -> None:
    stats = stats_of(
        active=len(rows), pending=7, completed=12345, failed=3, bytes_received=1 << 50, rate_bytes_per_s=9e9
    )
    lines = compose(rows, stats, 99_999, width=width, height=height, ascii_only=ascii_only)
    assert 1 <= len(lines) <= height
    assert all(cell_len(line.plain) <= width for line in lines)


@pytest.mark.parametrize("width", [20, 39, 40, 59, 60, 79, 80, 99, 100, 120, 200])
def test_no_line_wraps_in_a_terminal(width: int) -> None:
    rows = [
        row("a name that is much too long for any column of a display.tar.gz"),
        row("日本語のとても長いファイル名" * 3),
    ]
    lines = compose(rows, stats_of(active=2, pending=498, bytes_received=MIB), 500, width=width, height=24)
    texts = [line for line in shown(lines, width) if line]
    assert len(texts) == 3
    assert all(cell_len(text) <= width for text in texts)


def test_at_60_columns_there_are_name_bar_share_size_rate_and_time() -> None:
    frame = compose([row()], stats_of(active=1, pending=2, rate_bytes_per_s=1e6), 4, width=60, height=10)
    assert [line.plain for line in frame] == [
        "big.iso      █░░░ 25.0 %    1.0 MiB  976.6 KiB/s         4 s",
        "0 of 4 done, 1 running, 2 queued            0 B, 976.6 KiB/s",
    ]


def test_a_wide_terminal_shows_all_that_is_known() -> None:
    (line, _) = compose([row()], stats_of(active=1), 1, width=120, height=10)
    assert line.plain.split() == [
        "big.iso",
        "████░░░░░░░░░░░░",
        "25.0",
        "%",
        "1.0",
        "MiB/4.0",
        "MiB",
        "976.6",
        "KiB/s",
        "4",
        "s",
    ]
    assert cell_len(line.plain) == 120


def test_columns_stand_still_while_the_figures_change() -> None:
    slow, fast = row(received=0, rate=1.0), row(received=4 * MIB - 1, rate=9e8)
    for width in (30, 50, 60, 80, 100, 200):
        lines = [compose([each], stats_of(), 1, width=width, height=5)[0].plain for each in (slow, fast)]
        assert cell_len(lines[0]) == cell_len(lines[1]) == width


def test_what_does_not_move_says_what_it_does() -> None:
    waiting = Row("a", Progress(phase=DownloadPhase.RETRYING))
    for width in (60, 80, 120):
        assert compose([waiting], stats_of(), 1, width=width, height=5)[0].plain.endswith(" waiting to retry")


def test_a_wait_says_for_which_retry_it_is() -> None:
    waiting = Row("a", Progress(phase=DownloadPhase.RETRYING, retries=2))
    for width in (60, 80, 120):
        assert compose([waiting], stats_of(), 1, width=width, height=5)[0].plain.endswith(" waiting for retry 2")


@pytest.mark.parametrize(("count", "words"), [(0, ""), (1, ""), (2, "×2"), (16, "×16"), (99, "×99"), (100, "99+")])
def test_where_there_is_room_the_number_of_connections_is_shown(count: int, words: str) -> None:
    moving = row()
    parts = tuple(PartProgress(number * MIB, 0, MIB) for number in range(count))
    several = Row(moving.name, replace(moving.progress, parts=parts))
    for width in (60, 67, 68, 79, 80, 90, 100, 200):
        (line, _) = compose([several], stats_of(), 1, width=width, height=5)
        assert (words in line.plain.split()) == (bool(words) and width >= 68)
        assert cell_len(line.plain) == width
    (line, _) = compose([several], stats_of(), 1, width=80, height=5, ascii_only=True)
    assert line.plain.isascii()
    assert words.replace("×", "x") in line.plain


def test_a_file_of_unknown_length_shows_how_much_is_there() -> None:
    (line, _) = compose([row(total=None)], stats_of(), 1, width=60, height=5)
    assert "▒▒▒▒      ?    1.0 MiB" in line.plain
    (line, _) = compose([row(total=None)], stats_of(), 1, width=120, height=5)
    assert line.plain.split()[2:5] == ["?", "1.0", "MiB/?"]


@pytest.mark.parametrize("width", [60, 79, 80, 89, 90, 99, 100, 120, 200])
def test_a_size_is_what_has_come_at_every_width_and_for_every_file(width: int) -> None:
    for total in (None, 4 * MIB):
        (line, _) = compose([row(total=total)], stats_of(), 1, width=width, height=5)
        assert " 1.0 MiB" in line.plain
        # One belongs to the rate.
        assert line.plain.count("/") == (2 if width >= 90 else 1)


@pytest.mark.parametrize("width", [60, 80, 90, 100, 120])
def test_the_widest_figures_do_not_touch(width: int) -> None:
    widest = row("n" * 99, received=1000 << 10, total=1023 << 10, rate=1000.0 * 1024)
    several = tuple(PartProgress(number, 0, None) for number in range(100))
    for parts, shown_parts in ((), ""), (several, " 99+" if width >= 68 else ""):
        (line, _) = compose(
            [Row(widest.name, replace(widest.progress, parts=parts))], stats_of(), 1, width=width, height=5
        )
        text = " ".join(line.plain.split())
        assert "… " in text or "n " in text
        assert "97.7 % 1000.0 KiB" in text
        assert f"KiB{shown_parts} 1000.0 KiB/s 1 s" in text


def test_nothing_is_called_full_before_it_has_ended() -> None:
    verifying = Row("a", Progress(received_bytes=9, total_bytes=9, phase=DownloadPhase.VERIFYING))
    (line, _) = compose([verifying], stats_of(), 1, width=80, height=5)
    assert "99.9 %" in line.plain


def test_what_there_is_no_room_for_is_counted() -> None:
    frame = compose([row(str(number)) for number in range(20)], stats_of(active=20), 500, width=60, height=9)
    assert [line.plain.split()[0] for line in frame] == ["0", "1", "2", "3", "4", "5", "6", "…", "0"]
    assert frame[-2].plain == "… and 13 more running"


@pytest.mark.parametrize(("height", "lines"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_the_whole_is_the_last_to_go(height: int, lines: int) -> None:
    frame = compose([row(), row()], stats_of(active=2), 2, width=60, height=height)
    assert len(frame) == lines
    assert frame[-1].plain.startswith("0 of 2 done")


def test_the_time_of_the_whole_is_said_when_nothing_of_unknown_length_is_left() -> None:
    stats = stats_of(active=2, rate_bytes_per_s=1024.0 * 1024)
    assert compose([row(), row()], stats, 2, width=80, height=5)[-1].plain.endswith("0 B, 1.0 MiB/s, 6 s left")
    for rows, other in (
        ([row(), row(total=None)], stats),
        ([row(), row()], stats_of(active=2, pending=1, rate_bytes_per_s=1024.0)),
        ([row(), row()], stats_of(active=2)),
    ):
        assert "left" not in compose(rows, other, 3, width=80, height=5)[-1].plain


def test_a_narrow_line_of_the_whole_gives_up_the_bytes_before_the_rate() -> None:
    stats = stats_of(completed=3, failed=2, cancelled=1, active=2, pending=4, bytes_received=MIB, rate_bytes_per_s=1e6)

    def last(width: int) -> str:
        return " ".join(compose([], stats, 12, width=width, height=1)[0].plain.split())

    counts = "3 of 12 done, 2 failed, 1 cancelled"
    assert last(90) == f"{counts}, 2 running, 4 queued 1.0 MiB, 976.6 KiB/s"
    assert last(75) == f"{counts}, 2 running, 4 queued 976.6 KiB/s"
    assert last(60) == f"{counts} 976.6 KiB/s"
    assert last(40) == counts
    assert last(20) == "3 of 12 done,…celled"


def test_a_bar_can_be_drawn_in_ascii() -> None:
    frame = compose([row()], stats_of(), 1, width=80, height=5, ascii_only=True)
    assert "##--------" in frame[0].plain
    assert frame[0].plain.isascii()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Mn", "Me"])), st.integers(1, 50))
def test_what_is_fitted_is_never_wider_and_kept_if_it_fits(text: str, width: int) -> None:
    fitted = fit(text, width)
    assert cell_len(fitted) <= width
    if cell_len(text) <= width:
        assert fitted == text


def test_what_is_fitted_keeps_its_number_and_its_extension() -> None:
    assert fit("file-number-229-with-a-name.bin", 26) == "file-number-229-w…name.bin"

"""What the live display looks like at one instant: a line for each running download, and one for the whole.

Rules that hold here:

- records in, lines out; nothing here knows of a terminal but its size;
- no line is wider than the terminal, counted in cells, since names may be in wide characters; there are never more
  lines than asked for;
- columns stand still while the figures in them change; a narrow terminal has fewer of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from .._records import ManagerStats, Progress
from .._status import DownloadPhase
from ..formatting import (
    DURATION_WIDTH,
    FRACTION_WIDTH,
    RATE_WIDTH,
    SIZE_WIDTH,
    format_eta,
    format_fraction,
    format_rate,
    format_size,
    progress_bar,
)
from ._report import counts_in_words

__all__ = ["Row", "compose", "fit"]

# Narrower than this nothing can be said; the screen cuts off what a terminal has no room for.
SHORTEST_WIDTH: Final = 10

# What has come and how much it will be, as one column: "1.0 MiB/4.0 MiB".
OF_TOTAL_WIDTH: Final = 2 * SIZE_WIDTH + 1

# Over how many connections a file comes: "×8".  A hundred of them are more than any server allows.
PARTS_WIDTH: Final = 3

_PACE: Final = {"rate": RATE_WIDTH, "eta": DURATION_WIDTH}


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One running download: what to call it, and how far it is."""

    name: str
    progress: Progress


@final
@dataclass(frozen=True, slots=True)
class _Layout:
    """How wide each column is; 0 leaves it out."""

    name: int
    bar: int = 0
    fraction: int = 0
    received: int = 0
    of_total: int = 0
    parts: int = 0
    rate: int = 0
    eta: int = 0
    gap: int = 1


def compose(
    rows: Sequence[Row], stats: ManagerStats, total: int, *, width: int, height: int, ascii_only: bool = False
) -> list[Text]:
    """Return the lines of the display, at most *height* of them and each at most *width* cells wide.

    Args:
        rows: the running downloads, the oldest first.
        stats: the manager's figures.
        total: how many downloads there are in all.
        width: of the terminal.
        height: the most lines; 1 is the least, which has the whole only.
        ascii_only: draw bars from ASCII.
    """
    width = max(width, SHORTEST_WIDTH)
    room = max(height - 1, 0)
    hidden = 0
    if len(rows) > room:
        # One line says how many there are for which there is none.
        hidden = len(rows) - max(room - 1, 0)
        rows = rows[: max(room - 1, 0)]
    layout = _layout(width)
    lines = [_line_of(row, layout, ascii_only=ascii_only) for row in rows]
    if hidden and room:
        lines.append(Text(fit(f"… and {hidden} more running", width), style="dim"))
    lines.append(_line_of_all(rows, stats, total, width=width, is_all_shown=not hidden))
    return lines


def fit(text: str, width: int) -> str:
    """Return *text* in at most *width* cells; what is too long loses its middle."""
    if cell_len(text) <= width:
        return text
    # Numbered names differ near their end, but before the extension.
    head = set_cell_size(text, max(width * 2 // 3, 0)).rstrip()
    tail, used = "", 0
    for char in reversed(text):
        used += cell_len(char)
        if used > width - cell_len(head) - 1:
            break
        tail = char + tail
    return set_cell_size(f"{head}…{tail}", width).rstrip()


def _layout(width: int) -> _Layout:
    """Choose the columns for a terminal *width* cells wide; the name takes what they leave."""
    if width < 40:
        return _with_name(width, fraction=FRACTION_WIDTH)
    if width < 60:
        return _with_name(width, fraction=FRACTION_WIDTH, rate=RATE_WIDTH)
    if width < 68:
        return _with_name(width, bar=4, fraction=FRACTION_WIDTH, received=SIZE_WIDTH, **_PACE)
    if width < 80:
        return _with_name(width, bar=4, fraction=FRACTION_WIDTH, received=SIZE_WIDTH, parts=PARTS_WIDTH, **_PACE)
    columns = {"fraction": FRACTION_WIDTH, "parts": PARTS_WIDTH, **_PACE}
    if width < 90:
        return _with_name(width, bar=10, received=SIZE_WIDTH, **columns)
    if width < 100:
        return _with_name(width, bar=10, of_total=OF_TOTAL_WIDTH, **columns)
    bar = min(10 + (width - 100) // 3, 40)
    return _with_name(width, bar=bar, of_total=OF_TOTAL_WIDTH, **columns, gap=2)


def _with_name(width: int, *, gap: int = 1, **columns: int) -> _Layout:
    return _Layout(name=width - sum(columns.values()) - gap * len(columns), gap=gap, **columns)


def _line_of(row: Row, layout: _Layout, *, ascii_only: bool) -> Text:
    progress = row.progress
    cells: list[tuple[str, str]] = [(set_cell_size(fit(row.name, layout.name), layout.name), "")]
    # All bytes may be there, and are still to be verified and moved to their name.
    fraction = None if progress.fraction is None else min(progress.fraction, 0.9999)
    if layout.bar:
        known = fraction if progress.received_bytes or progress.total_bytes is not None else 0.0
        cells.append((progress_bar(known, layout.bar, ascii_only=ascii_only), "green"))
    is_known = progress.total_bytes is not None or progress.received_bytes > 0
    if layout.fraction:
        cells.append(((format_fraction(fraction) if is_known else "").rjust(layout.fraction), ""))
    if layout.received or layout.of_total:
        received = (format_size(progress.received_bytes) if is_known else "").rjust(SIZE_WIDTH)
        of_total = f"/{format_size(progress.total_bytes)}" if is_known and layout.of_total else ""
        # The slash stands still; what is on its right ends where it ends.
        cells.append(((received + of_total).ljust(layout.received or layout.of_total), "cyan"))
    if layout.parts:
        cells.append((_connections(len(progress.parts), ascii_only=ascii_only).rjust(layout.parts), "dim"))
    cells.extend(_pace(progress, layout))
    line = Text(no_wrap=True, end="")
    for index, (text, style) in enumerate(cells):
        line.append(" " * layout.gap if index else "")
        line.append(text, style)
    return line


def _connections(count: int, *, ascii_only: bool) -> str:
    """Say over how many connections a file comes, if they are several."""
    if count < 2:
        return ""
    return f"{'x' if ascii_only else '×'}{count}" if count < 100 else "99+"


def _pace(progress: Progress, layout: _Layout) -> list[tuple[str, str]]:
    """Say how fast it goes, or if it does not, what it does."""
    if not layout.rate:
        return []
    if progress.phase is DownloadPhase.TRANSFERRING:
        pace = [(format_rate(progress.rate_bytes_per_s).rjust(layout.rate), "")]
        if layout.eta:
            pace.append((format_eta(progress.eta_s).rjust(layout.eta), "dim"))
        return pace
    width = layout.rate + (layout.gap + layout.eta if layout.eta else 0)
    words = progress.phase.value
    if progress.phase is DownloadPhase.RETRYING and progress.retries:
        words = f"waiting for retry {progress.retries}"
    return [(fit(words, width).rjust(width), "yellow")]


def _line_of_all(rows: Sequence[Row], stats: ManagerStats, total: int, *, width: int, is_all_shown: bool) -> Text:
    counts, short = counts_in_words(stats, total), counts_in_words(stats, total, is_short=True)
    size, rate = format_size(stats.bytes_received), format_rate(stats.rate_bytes_per_s)
    left = _time_left(rows, stats) if is_all_shown else ""
    # What is given up for want of room, in this order: the bytes, the time, what runs, the rate.
    choices = ((counts, (size, rate, left)), (counts, (rate, left)), (counts, (rate,)), (short, (rate,)), (counts, ()))
    for words, facts in choices:
        figures = ", ".join(filter(None, facts))
        if len(words) + 2 + len(figures) <= width:
            return Text(words + figures.rjust(width - len(words)), "bold", no_wrap=True, end="")
    return Text(fit(short, width), "bold", no_wrap=True, end="")


def _time_left(rows: Sequence[Row], stats: ManagerStats) -> str:
    left = [
        None if row.progress.total_bytes is None else max(row.progress.total_bytes - row.progress.received_bytes, 0)
        for row in rows
    ]
    known = [each for each in left if each is not None]
    # What waits in the queue is of unknown length, so that nobody can say when all will have ended.
    if stats.pending or not rows or len(known) < len(left) or stats.rate_bytes_per_s < 1:
        return ""
    return f"{format_eta(sum(known) / stats.rate_bytes_per_s)} left"

"""What was measured, beside what is promised.

Rules that hold here:

- a figure knows whether its promise was kept: who prints it and who asserts it come to the same answer;
- what could not be measured says why, and is neither kept nor broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, final

from tests.benchmarks._tables import make_table

__all__ = ["Figure", "at_most", "broken", "none_of", "skipped", "tell_figures"]

# The first ones tell what the others are like.
SHOWN_PROBLEMS: Final = 3
# A table that is wider is not read.
SHOWN_CHARACTERS: Final = 70


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        hardship: what was done to the command.
        promise: what it is to do then.
        found: what it did.
        is_kept: None if it was not measured.
    """

    hardship: str
    promise: str
    found: str
    is_kept: bool | None

    def __str__(self) -> str:
        return f"{self.hardship}: promised is {self.promise}; found: {self.found}"


def at_most(
    hardship: str, what: str, found: float, limit: float, *, unit: str = "", digits: int = 2, least: float = 0.0
) -> Figure:
    """Compare *found* with *limit*, both in *unit*; less than *least* cannot have been right either."""
    end = unit and f" {unit}"
    return Figure(hardship, f"{what} ≤ {limit:g}{end}", f"{found:.{digits}f}{end}", least <= found <= limit)


def none_of(hardship: str, promise: str, problems: Sequence[str], *, otherwise: str = "so it is") -> Figure:
    """Tell *problems*, of which there should be none, or else what *otherwise* is to be told."""
    shown = "; ".join(problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS
    return Figure(hardship, promise, (shown + (f"; and {more} more" if more > 0 else "")) or otherwise, not problems)


def skipped(hardship: str, reason: str) -> Figure:
    """Tell why something was not measured."""
    return Figure(hardship, "–", f"not measured: {reason}", None)


def broken(figures: Iterable[Figure]) -> list[str]:
    """Return those whose promise was broken, in words."""
    return [str(each) for each in figures if each.is_kept is False]


def tell_figures(figures: Sequence[Figure]) -> str:
    """Lay out the table, and below it what is too long for it."""
    verdict = {True: "yes", False: "NO", None: "–"}
    rows = [[each.hardship, each.promise, _short(each.found), verdict[each.is_kept]] for each in figures]
    table = make_table(["hardship", "promise", "found", "kept"], rows)
    return "\n\n".join([table, *broken(figures)])


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"

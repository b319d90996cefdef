"""What became of the mutants, set against those that are known to survive.

Rules that hold here:

- ``survivors.toml`` has every mutant that no test can notice, with the reason; one that is listed and was noticed
  after all, or is not there any more, is as wrong as one that survives without a reason;
- what is written for the documentation is what was measured.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from tests.benchmarks._tables import make_table

from ._mutants import Mutant

__all__ = ["Group", "Key", "Report", "read_survivors"]

Key: TypeAlias = tuple[str, str, str, str, int]

SURVIVORS: Final = Path(__file__).with_name("survivors.toml")


@dataclass(frozen=True, slots=True)
class Group:
    """Mutants that survive for one reason."""

    reason: str
    mutants: tuple[Key, ...]


def read_survivors() -> list[Group]:
    """Read the table of those that are known to survive."""
    table = tomllib.loads(SURVIVORS.read_text("utf-8"))
    return [
        Group(
            group["reason"],
            tuple(
                (each["room"], each["place"], each["before"], each["after"], each.get("nth", 1))
                for each in group["mutant"]
            ),
        )
        for group in table["group"]
    ]


@dataclass(slots=True)
class Report:
    """Counts the mutants, and remembers those that were not noticed."""

    groups: list[Group]
    survived: dict[Key, Mutant] = field(default_factory=dict)
    noticed: dict[Key, Mutant] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """How many mutants there were so far."""
        return len(self.survived) + len(self.noticed)

    def add(self, mutant: Mutant, noticed: str | None) -> None:
        """Note who noticed *mutant*; None means nobody."""
        (self.survived if noticed is None else self.noticed)[mutant.key] = mutant
        if noticed is None:
            kind = "nobody"
        else:
            kind = "limit" if noticed.startswith("limit") else "test" if "::" in noticed else "import"
        self.counts.setdefault(mutant.room, Counter())[kind] += 1

    def problems(self, *, all_of_them: bool) -> list[str]:
        """Tell what is not as it should be; *all_of_them*: every mutant of the core was tried."""
        listed = {key for group in self.groups for key in group.mutants}
        found = [f"survived without a reason: {mutant}" for key, mutant in self.survived.items() if key not in listed]
        found += [f"listed, and noticed after all: {mutant}" for key, mutant in self.noticed.items() if key in listed]
        if all_of_them:
            found += [f"listed, and not there: {key}" for key in listed - self.survived.keys() - self.noticed.keys()]
        return found

    def figures(self) -> str:
        """Return a table of numbers."""
        kinds = ("test", "import", "limit", "nobody")
        rows = [[room, str(sum(of.values())), *(str(of[kind]) for kind in kinds)] for room, of in self.counts.items()]
        whole = sum(self.counts.values(), Counter[str]())
        rows.append(["all", str(sum(whole.values())), *(str(whole[kind]) for kind in kinds)])
        return make_table(
            ["room", "mutants", "noticed by a test", "cannot be imported", "ended by a limit", "surviving"], rows
        )

    def tell_survivors(self) -> str:
        """Return a table of those that survive, with their reasons."""
        lines = [
            ".. list-table::",
            "   :header-rows: 1",
            "   :widths: 60 40",
            "",
            "   * - Mutants",
            "     - Why nobody can notice",
        ]
        for group in self.groups:
            mark = "   * - "
            for room, place, before, after, nth in group.mutants:
                number = f", the {nth}. of them" if nth > 1 else ""
                lines += [
                    f"{mark}| ``{room}``, ``{place}``{number}",
                    f"       | ``{before}``",
                    f"       | ``{after}``",
                    "",
                ]
                mark = "       "
            lines += [f"     - {group.reason}", ""]
        return "\n".join(lines)

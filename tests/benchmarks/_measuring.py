"""How every benchmark measures: fresh processes, contenders by turns, medians with their spread.

Rules that hold here:

- one sample is one process: heaps, caches and specialised bytecode of one contender never help or hurt another;
- contenders take turns, A B C A B C …, so that a machine that slows down slows all of them;
- ratios are taken within a round and only then summed up, for the same reason;
- what is measured, and in which unit, is not known here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

__all__ = ["Sample", "Spread", "ratios", "sample", "take_turns"]

Sample: TypeAlias = Mapping[str, float]
"""The figures of one process, by name."""

_Name = TypeVar("_Name", bound=Hashable)

ROOT: Final = Path(__file__).parents[2]

# A sample takes seconds, the largest half a minute.  One that takes this long hangs.
LIMIT_S: Final = 900


@dataclass(frozen=True)
class Spread:
    """The median of some figures, and how far they lie apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """Sum up *figures*, at least one."""
        return cls(statistics.median(figures), min(figures), max(figures))

    def show(self, digits: int) -> str:
        """Write it as ``median (low–high)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def sample(module: str, *arguments: object) -> Sample:
    """Run ``python -m module arguments`` in a fresh process and return the JSON object that it prints.

    Raises:
        subprocess.CalledProcessError: it failed; what it wrote to stderr was shown.
        subprocess.TimeoutExpired: it hangs.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=LIMIT_S)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def take_turns(contenders: Mapping[_Name, Callable[[], Sample]], *, rounds: int) -> dict[_Name, list[Sample]]:
    """Take one sample of each contender, in order, *rounds* times over; the lists are parallel."""
    taken: dict[_Name, list[Sample]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        print(f"  round {number} of {rounds}", file=sys.stderr)
        for name, take in contenders.items():
            taken[name].append(take())
    return taken


def ratios(ours: Sequence[Sample], theirs: Sequence[Sample], figure: str) -> Spread:
    """Compare two contenders round by round."""
    return Spread.of([our[figure] / their[figure] for our, their in zip(ours, theirs, strict=True)])

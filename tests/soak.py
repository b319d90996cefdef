"""The HTTP downloader against drawn origins, for as long as one likes: ``nox -s soak``, or ``python -m tests.soak``.

Rules that hold here:

- a round is made from its seed alone: the settings, the size of the file and the plans; so ``--seed`` repeats it;
- what a round finds is told at once, as the smallest plan, and the next round begins;
- time is virtual and nothing leaves the process, so that a night holds some million downloads.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import hypothesis
import hypothesis.core

from trio_dlm.downloaders.http import HttpDownloader
from trio_dlm.testing import BrokenDownloadError, CheckReport, check_downloader, fault_plans

__all__ = ["Round", "main"]

# Half a minute or so in each round: what a seed repeats should not take long.
_EXAMPLES: Final = 300

# A plan for a larger file takes as much longer as there are chunks in it.
_EXAMPLES_OF_LARGE: Final = 10
_LARGE_BYTES: Final = 16_384

_LARGEST_SEED: Final = 2**32


@final
@dataclass(frozen=True, slots=True)
class Round:
    """What one round checks."""

    seed: int
    retries: int
    connections: int
    min_segment_size: int
    resume: bool
    size_bytes: int
    max_faults: int
    has_first_plans: bool

    @classmethod
    def of(cls, seed: int) -> Round:
        """Make the round of *seed*."""
        chance = random.Random(seed)
        return cls(
            seed=seed,
            retries=chance.choice([0, 3, 5]),
            connections=chance.choice([1, 2, 8, 8]),
            min_segment_size=chance.choice([1, 64, 256, 1024]),
            resume=chance.choice([True, True, False]),
            size_bytes=chance.choice([0, 1, 100, 4096, 4096, 4096, 4096, 4096, 4096, 20_000, 20_000, 102_400]),
            max_faults=chance.choice([2, 4, 6]),
            has_first_plans=chance.random() < 1 / 8,
        )

    def check(self) -> CheckReport:
        """Check what it is made for.

        Raises:
            BrokenDownloadError: a promise was broken.
        """
        # What pytest's --hypothesis-seed does; nothing public seeds a test that somebody else has made.
        hypothesis.core.global_force_seed = self.seed  # type: ignore[assignment]
        examples = _EXAMPLES if self.size_bytes < _LARGE_BYTES else _EXAMPLES_OF_LARGE
        plans = fault_plans(size_bytes=self.size_bytes, max_faults=self.max_faults, undetectable=True)
        return check_downloader(
            partial(
                HttpDownloader,
                retries=self.retries,
                connections=self.connections,
                min_segment_size=self.min_segment_size,
                resume=self.resume,
            ),
            plans=None if self.has_first_plans else plans,
            retries=self.retries,
            runs=3,
            body=random.Random(0).randbytes(self.size_bytes),
            settings=hypothesis.settings(max_examples=examples, database=None, derandomize=False),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check until the time is over, or the round of one seed; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (30)")
    parser.add_argument("--seed", type=int, help="make only the round of this seed")
    options = parser.parse_args(arguments)
    stop_at = time.monotonic() + 60 * options.minutes
    found = 0
    while True:
        each = Round.of(random.SystemRandom().randrange(_LARGEST_SEED) if options.seed is None else options.seed)
        print(each, flush=True)
        try:
            report = each.check()
        except BrokenDownloadError as exc:
            found += 1
            print(f"\n{exc}\n", flush=True)
        else:
            print(f"    {str(report).partition(chr(10))[0]}", flush=True)
        if options.seed is not None or time.monotonic() > stop_at:
            break
    print(f"{found} of the rounds found something" if found else "nothing was found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

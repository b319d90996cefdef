"""The order of the tasks within a tick of trio, drawn and shrunk like everything else in a failing example.

Rules that hold here:

- Hypothesis seeds trio's generator with the same number before every example, so without a tape each program would be
  tried with one interleaving only;
- nothing is drawn inside a tick: the tape is a list of small numbers, drawn before the first step;
- number k lets the k-th oldest runnable task go first, 0 changes nothing; an empty or used-up tape means oldest
  first, which is what shrinking ends at;
- this is the only file of the machine that changes something private to trio, and without that name it does nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, final

import trio

__all__ = ["Tape"]


@final
class Tape:
    """Takes the place of trio's shuffle.

    Attributes:
        numbers: what is played; each tick that has a choice takes one.
        used: how many were taken.
    """

    def __init__(self, numbers: Sequence[int] = ()) -> None:
        self.numbers = numbers
        self.used = 0

    def shuffle(self, batch: list[Any]) -> None:
        """Order *batch*, which comes oldest first and is popped from its end."""
        batch.reverse()
        if len(batch) > 1 and self.used < len(self.numbers):
            chosen = self.numbers[self.used] % len(batch)
            self.used += 1
            batch.append(batch.pop(len(batch) - 1 - chosen))

    @contextmanager
    def playing(self) -> Generator[None]:
        """Steer every run of trio in this process until the block ends."""
        # The generator that trio itself hands to Hypothesis; its shuffle is called once per tick, and nothing else of
        # it.
        generator: Any = getattr(trio._core._run, "_r", None)
        if generator is None:
            yield
            return
        generator.shuffle = self.shuffle
        try:
            yield
        finally:
            # Not if another took its place meanwhile: an example that was abandoned is closed whenever it is collected.
            if getattr(generator, "shuffle", None) == self.shuffle:
                del generator.shuffle

"""The order of the tasks within a tick of trio, drawn and shrunk like everything else in a failing example.

Rules that hold here:

- Hypothesis seeds trio's generator with the same number before every example, so without a tape each program would be
  tried with one interleaving only;
- nothing is drawn inside a tick: the tape is a list of small numbers, drawn before the first step;
- number k lets the k-th oldest runnable task go first, 0 changes nothing; an empty or used-up tape means oldest
  first, which is what shrinking ends at;
- trio has one generator for all threads, and a tape is played to the thread that asked for it: a run in another one is
  shuffled as ever, or by a tape of its own;
- this is the only file of the machine that changes something private to trio, and without that name it does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, final

import trio

__all__ = ["Tape"]

Shuffle: TypeAlias = Callable[[list[Any]], None]


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
        """Steer every run of trio in this thread until the block ends; inside of another tape, in its place.

        The blocks of several tapes may end in any order, and in any thread: an example that was abandoned is closed
        whenever it is collected.
        """
        # The generator that trio itself hands to Hypothesis; its shuffle is called once per tick, and nothing else of
        # it.
        generator: Any = getattr(trio._core._run, "_r", None)
        if generator is None:
            yield
            return
        thread = threading.get_ident()
        _player.add(thread, self, generator)
        try:
            yield
        finally:
            _player.remove(thread, self)


@final
class _Player:
    """Stands in for the shuffle of trio's generator while any tape is played."""

    def __init__(self) -> None:
        # Reentrant: a collection may close a tape in the midst of one of these methods.
        self._lock = threading.RLock()
        self._tapes: dict[int, list[Tape]] = {}
        self._generator: Any = None
        self._shuffle: Shuffle | None = None
        self._was_replaced = False

    def add(self, thread: int, tape: Tape, generator: Any) -> None:
        """Play *tape* to this thread from now on."""
        with self._lock:
            if not self._tapes:
                self._generator, self._shuffle = generator, generator.shuffle
                self._was_replaced = "shuffle" in vars(generator)
                generator.shuffle = self.play
            self._tapes.setdefault(thread, []).append(tape)

    def remove(self, thread: int, tape: Tape) -> None:
        """Play *tape* no more; after the last of them the generator is as it was."""
        with self._lock:
            tapes = self._tapes[thread]
            tapes.remove(tape)
            if not tapes:
                del self._tapes[thread]
            if not self._tapes:
                self._step_back()

    def _step_back(self) -> None:
        generator, shuffle = self._generator, self._shuffle
        self._generator = self._shuffle = None
        if generator.shuffle != self.play:
            # Somebody else has taken the place meanwhile.
            return
        if self._was_replaced:
            generator.shuffle = shuffle
        else:
            del generator.shuffle

    def play(self, batch: list[Any]) -> None:
        """Order *batch* by the tape that this thread began last, or as trio does."""
        tapes, shuffle = self._tapes.get(threading.get_ident()), self._shuffle
        if tapes:
            tapes[-1].shuffle(batch)
        elif shuffle is not None:
            shuffle(batch)


_player: Final = _Player()

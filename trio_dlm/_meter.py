"""How far one download is and how fast it goes: what downloaders feed, and what everybody else reads.

Rules that hold here:

- a report is cheap enough for every read from a network: no allocation, one look at the clock;
- the clock is an argument, so nothing here depends on trio;
- received bytes never fall, but by :meth:`ProgressMeter.begin`, which starts a file (again) at a stated offset;
- after the end a report is ignored: no progress follows a final state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, final

from ._records import PartProgress, Progress
from ._status import DownloadPhase

__all__ = ["ProgressMeter"]

# A byte that arrived this long ago counts e times less than one that arrives now.  curl averages over 5 s, aria2 over
# 10 s; five seconds follow a change of the line before the reader doubts the figure, and smooth the bursts of TCP.
TIME_CONSTANT_S: Final = 5.0

# Reports nearer together than this are added up before they are weighted: the exponential is the dear part.
FOLD_EVERY_S: Final = 0.1

# Below this much history a rate is mostly chance (the first read brings what the kernel had already buffered),
# so the bytes are divided by this time instead.
SHORTEST_HISTORY_S: Final = 0.1


@final
class ProgressMeter:
    """Counts the bytes of one download over all its runs.

    A downloader calls :meth:`begin` when the transfer starts, :meth:`advance` for every piece that arrives, and sets
    :attr:`phase`, :attr:`total_bytes`, :attr:`retries` and :attr:`parts` when they change.  All of it is synchronous.
    """

    __slots__ = (
        "_arrived",
        "_began_at",
        "_changed",
        "_clock",
        "_ended",
        "_folded_at",
        "_fresh",
        "_mean_rate",
        "_parts",
        "_phase",
        "_received",
        "_retries",
        "_run_began_at",
        "_total",
        "_weighted_bytes",
        "_weighted_s",
    )

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._phase = DownloadPhase.WAITING
        self._received = 0
        self._total: int | None = None
        self._retries = 0
        self._parts: tuple[PartProgress, ...] = ()
        self._arrived = 0
        self._ended = True
        self._mean_rate = 0.0
        self._run_began_at: float | None = None
        self._began_at: float | None = None
        self._folded_at = 0.0
        self._fresh = 0
        self._weighted_bytes = 0.0
        self._weighted_s = 0.0

    # What a downloader calls.

    def begin(self, received_bytes: int = 0, total_bytes: int | None = None) -> None:
        """Start the transfer, or start it again, with *received_bytes* there of *total_bytes* (None: unknown).

        The phase becomes transferring, and the rate is measured from now.
        """
        if received_bytes < 0:
            raise ValueError(f"received_bytes is a number of bytes from 0 up, got {received_bytes}")
        if self._ended:
            return
        self._received = received_bytes
        self._total = total_bytes
        self._measure_from(self._clock())
        self._changed()

    def advance(self, size_bytes: int) -> None:
        """Report that *size_bytes* more have arrived.  Call it for every read; it costs about a microsecond."""
        if size_bytes < 0:
            raise ValueError(f"advance() takes a number of bytes from 0 up, got {size_bytes}")
        if self._ended:
            return
        now = self._clock()
        if self._began_at is None:
            self._measure_from(now)
        self._received += size_bytes
        self._arrived += size_bytes
        self._fresh += size_bytes
        # With the piece that arrives now, since it took all of the time since the last one to come.
        if now - self._folded_at >= FOLD_EVERY_S:
            self._weighted_bytes, self._weighted_s = self._weigh(now, now - self._folded_at)
            self._folded_at = now
            self._fresh = 0
        self._changed()

    @property
    def phase(self) -> DownloadPhase:
        """What the downloader says that it is doing."""
        return self._phase

    @phase.setter
    def phase(self, phase: DownloadPhase) -> None:
        if not self._ended and phase is not self._phase:
            self._phase = phase
            self._changed()

    @property
    def received_bytes(self) -> int:
        """Bytes of the file that are there."""
        return self._received

    @property
    def total_bytes(self) -> int | None:
        """How long the file will be, or None while nobody knows."""
        return self._total

    @total_bytes.setter
    def total_bytes(self, total_bytes: int | None) -> None:
        if not self._ended and total_bytes != self._total:
            self._total = total_bytes
            self._changed()

    @property
    def retries(self) -> int:
        """How often the present run has tried again."""
        return self._retries

    @retries.setter
    def retries(self, retries: int) -> None:
        if not self._ended and retries != self._retries:
            self._retries = retries
            self._changed()

    @property
    def parts(self) -> tuple[PartProgress, ...]:
        """The byte ranges in flight."""
        return self._parts

    @parts.setter
    def parts(self, parts: tuple[PartProgress, ...]) -> None:
        if not self._ended and parts != self._parts:
            self._parts = parts
            self._changed()

    # What the manager calls; it tells the watchers itself.

    def open_run(self, *, keep_received: bool) -> None:
        """A run starts: count from zero, unless the last run left bytes that this one goes on from."""
        self._ended = False
        self._phase = DownloadPhase.CONNECTING
        self._retries = 0
        self._arrived = 0
        self._parts = ()
        if not keep_received:
            self.forget()
        self._began_at = self._run_began_at = None

    def close_run(self) -> None:
        """The run ended: nothing is counted any more, and the mean of the run is its rate."""
        elapsed = 0.0 if self._run_began_at is None else self._clock() - self._run_began_at
        self._mean_rate = self._arrived / elapsed if elapsed > 0 else 0.0
        self._ended = True
        self._parts = ()

    def disconnect(self) -> None:
        """No run follows: let go of whoever was told of changes."""
        self._changed = _tell_nobody

    def forget(self) -> None:
        """Nothing of what the last run fetched is left."""
        self._received = 0
        self._total = None

    def settle(self, *, size_bytes: int) -> None:
        """The file is whole and this long: correct what the downloader reported, or did not."""
        self._received = self._total = size_bytes

    def copy(self, clock: Callable[[], float]) -> ProgressMeter:
        """Return what is known now as a meter of its own, which nobody feeds; *clock* tells the time of this one's."""
        copy = ProgressMeter(clock, _tell_nobody)
        copy.adopt(self)
        return copy

    def adopt(self, other: ProgressMeter) -> None:
        """Know from now on what *other* knows, whose clock tells the same time."""
        for name in _STATE:
            setattr(self, name, getattr(other, name))
        self._changed()

    @property
    def arrived_bytes(self) -> int:
        """All bytes reported by :meth:`advance` in the present or last run, those thrown away later included."""
        return self._arrived

    @property
    def rate_bytes_per_s(self) -> float:
        """The present rate, or the mean of the last run once that has ended."""
        if self._ended:
            return self._mean_rate
        if self._began_at is None:
            return 0.0
        # Pieces that came later than this after the last fold would have been folded: the rest of the time is silence.
        weighted_bytes, weighted_s = self._weigh(self._clock(), FOLD_EVERY_S)
        return weighted_bytes / max(weighted_s, SHORTEST_HISTORY_S)

    def read(self, phase: DownloadPhase | None = None) -> Progress:
        """Return how far the download is now, in *phase* if the caller knows better than the downloader."""
        rate = self.rate_bytes_per_s
        eta: float | None = None
        if self._total is not None and not self._ended:
            left = max(0, self._total - self._received)
            # Slower than a byte in ten seconds is a stall, and dividing by it would promise an end in years.
            eta = 0.0 if not left else left / rate if rate > 0.1 else None
        return Progress(
            received_bytes=self._received,
            total_bytes=self._total,
            rate_bytes_per_s=rate,
            eta_s=eta,
            phase=phase or self._phase,
            retries=self._retries,
            parts=self._parts,
        )

    # The rate: bytes and seconds are both weighted by exp(-age / TIME_CONSTANT_S), and their quotient is right from the
    # first moment (there is no zero that it would have to climb from) and falls to zero by itself when nothing arrives.

    def _measure_from(self, now: float) -> None:
        self._phase = DownloadPhase.TRANSFERRING
        self._began_at = self._folded_at = now
        if self._run_began_at is None:
            self._run_began_at = now
        self._fresh = 0
        self._weighted_bytes = 0.0
        self._weighted_s = 0.0

    def _weigh(self, now: float, spread_s: float) -> tuple[float, float]:
        """Weigh all as seen from *now*; the fresh bytes came evenly in the first *spread_s* since the fold."""
        elapsed = now - self._folded_at
        if elapsed <= 0:
            return self._weighted_bytes + self._fresh, self._weighted_s
        kept = math.exp(-elapsed / TIME_CONSTANT_S)
        spread_s = min(spread_s, elapsed)
        # The mean weight over the spread: exact, so that a constant flow has its own rate.  Every exponent is negative,
        # so that an hour of silence cannot overflow.
        since_s = elapsed - spread_s
        weighted_s = -math.expm1(-spread_s / TIME_CONSTANT_S) * TIME_CONSTANT_S
        weight = math.exp(-since_s / TIME_CONSTANT_S) * weighted_s / spread_s
        weighted_bytes = self._weighted_bytes * kept + self._fresh * weight
        return weighted_bytes, self._weighted_s * kept - math.expm1(-elapsed / TIME_CONSTANT_S) * TIME_CONSTANT_S


# All but whom it belongs to.
_STATE: Final = tuple(name for name in ProgressMeter.__slots__ if name not in ("_changed", "_clock"))


def _tell_nobody() -> None:
    """Nobody is told of changes after the end."""

"""Several connections for one file: they join while they pay, and none of them matters while another one delivers.

Rules that hold here:

- the reply that opened the file is one of them, and the others ask for ranges of the very version that it is of;
- a connection that fails gives back what it did not fetch; the failure counts only when nobody delivers any more;
- who has nothing left to fetch takes half of the largest remaining range; who is silent for long is let go;
- other sources of the same file are asked only when a digest proves, or will prove, that it is the same.

Source:
    RFC 9110 sections 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, final

import trio

from ..._context import logger
from ..._errors import (
    ChecksumMismatchError,
    HttpStatusError,
    IncompleteBodyError,
    StalledError,
    StorageError,
    TooLargeError,
    TooSlowError,
    TransferError,
)
from ..._records import PartProgress
from ._asker import Source
from ._errand import Errand
from ._pour import Receipts, pour
from .client._exchange import Exchange
from .files._partfile import PartFile
from .rules._asking import Ask
from .rules._believing import Delivery, believe, is_same_file
from .rules._board import Board, Segment
from .rules._growth import Growth, interval_s
from .rules._head import unusable
from .rules._pace import Pace
from .rules._retrying import is_retried
from .rules._version import Version

__all__ = ["Fleet"]

# A connection that is silent for so long while others deliver is replaced; what it was to fetch is fetched by another
# one.  Ten times the round trip around the earth, with time for the server to think.
_SILENT_S: Final = 5.0

# A rate counts when each connection has brought so much on average, or after so long: over a few round trips bytes come
# in lumps.
_ENOUGH_BYTES: Final = 256 * 1024
_ENOUGH_S: Final = 1.0

# For how long, at least, a request for a part of what another connection reads may stay unanswered: meanwhile nobody
# else can have a part of that.
_UNANSWERED_S: Final = 1.0

# How often the ranges in flight are told to whoever looks at the progress.
_TELL_EVERY_S: Final = 0.25

# What concerns the file as a whole, and not the connection on which it showed.
_FATAL: Final = (StorageError, TooLargeError, ChecksumMismatchError)


@final
class Fleet:
    """The connections that fetch what is missing of one file.

    Args:
        errand: the run.
        sources: who may be asked, the one that opened the file first.
        name: what the file is called.
        part: where the bytes go.
        board: what is missing.
        receipts: who is told of what arrives.
    """

    def __init__(
        self,
        errand: Errand,
        sources: Sequence[Source],
        *,
        name: str,
        part: PartFile,
        board: Board,
        receipts: Receipts,
    ) -> None:
        self._asker = errand.asker
        self._options = errand.options
        self._progress = errand.job.progress
        self._rate_limit = errand.job.rate_limit
        self._sources = sources
        self._next_source = itertools.cycle(range(len(sources)))
        self._name = name
        self._part = part
        self._board = board
        self._receipts = receipts
        self._growth = Growth(errand.options.connections)
        self._scopes: dict[Segment, tuple[trio.CancelScope, Source]] = {}
        self._workers = 0
        # Sources that have failed here; those that are left go on without them.
        self._out: set[Source] = set()
        # When a connection has last come to the end of its segment.
        self._finished_at_s = -math.inf
        self._error: TransferError | None = None
        self._fatal: Exception | None = None
        # A server wants to be left alone for a while (RFC 9110 section 10.2.3).
        self._is_asked_to_wait = False
        self._unanswered_s = _UNANSWERED_S
        self._nursery: trio.Nursery

    async def run(self, exchange: Exchange, delivery: Delivery, segment: Segment, *, round_trip_s: float) -> None:
        """Fetch all that is on the board, beginning with what *exchange* brings of *segment*.

        Args:
            exchange: the reply that opened the file.
            delivery: what it is.
            segment: what of it to read.
            round_trip_s: how long it took to come.

        Raises:
            TransferError: something is missing still, and the last connection failed with this.
        """
        next(self._next_source)
        exchange.drop_pace()
        self._unanswered_s = max(_UNANSWERED_S, 4 * round_trip_s)
        async with trio.open_nursery() as self._nursery:
            self._start(partial(self._read_first, exchange, delivery, segment))
            await self._watch(interval_s(round_trip_s))
        self._progress.parts = ()
        if self._fatal is not None:
            raise self._fatal
        # Without an error, whoever had the rest was let go for being silent, and it is asked for again.
        if self._error is not None and not self._board.is_done:
            raise self._error

    # What each connection does.

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        self._workers += 1
        self._nursery.start_soon(self._work, work)

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._workers -= 1
            if not self._workers:
                self._nursery.cancel_scope.cancel(reason="all connections of the file have ended")

    async def _read_first(self, exchange: Exchange, delivery: Delivery, segment: Segment) -> None:
        source = self._sources[0]
        if await self._fetch(segment, source, exchange, delivery):
            # There may be no more connections than are wanted, and this one is of no more use.
            await exchange.aclose()
            await self._go_on(source)

    async def _fetch_others(self, segment: Segment) -> None:
        source = self._pick_source()
        if await self._fetch(segment, source):
            await self._go_on(source)

    async def _go_on(self, source: Source) -> None:
        while not self._is_asked_to_wait and (segment := self._board.take()) is not None:
            if not await self._fetch(segment, source):
                return

    async def _fetch(
        self, segment: Segment, source: Source, exchange: Exchange | None = None, delivery: Delivery | None = None
    ) -> bool:
        """Fetch *segment*, and say whether that went well; if not, the rest of it is given back."""
        with trio.CancelScope() as scope:  # noqa: ASYNC912  (nothing to wait for in a range that is void already)
            self._scopes[segment] = scope, source
            segment.last_at_s = trio.current_time()
            try:
                if exchange is not None and delivery is not None:
                    await self._pour(exchange, delivery, segment)
                while segment.at < segment.stop and not segment.is_void:
                    if self._is_asked_to_wait:
                        return False
                    await self._ask_for(segment, source)
            except _FATAL as exc:
                self._end(exc)
            except TransferError as exc:
                if isinstance(exc, IncompleteBodyError) and exc.is_malformed:
                    # Some of what it wrote may be no bytes of the file.
                    self._end(exc)
                else:
                    self._failed(exc, source)
            except Exception as exc:  # noqa: BLE001  (a hook of the user's client; it leaves as it came, and alone)
                self._end(exc)
            else:
                if segment in self._board.running:
                    self._board.finish(segment)
                self._finished_at_s = trio.current_time()
                return True
            finally:
                del self._scopes[segment]
                if segment in self._board.running:
                    self._board.give_back(segment)
                self._let_go_of_void()
        return False

    def _let_go_of_void(self) -> None:
        """End those whose range another one has read meanwhile."""
        for segment, (scope, _) in self._scopes.items():
            if segment.is_void:
                scope.cancel(reason="another connection has brought it")

    async def _ask_for(self, segment: Segment, source: Source) -> None:
        pinned = source.version or Version(total=self._version.total, coding=self._version.coding)
        asked_stop = segment.stop
        ask = Ask(is_ranged=True, start=segment.at, stop=asked_stop, condition=pinned.validator)
        # How slow they may be is measured over all of them.
        async with self._asker.ask(source, ask, min_rate_bytes_per_s=None) as exchange:
            head = exchange.head
            delivery = believe(
                head,
                ask,
                pinned=pinned,
                names=[self._name],
                has_checksum=self._options.checksum is not None,
                now=datetime.now(UTC),
            )
            if delivery.is_new or delivery.is_whole:
                # No more segments from there; if it comes to that, whoever asks for the rest can go on with the whole.
                raise unusable(head, "a part of the file was asked for, and all of it came", may_pass=True)
            if source.version is None:
                self._pin(source, delivery, exchange)
            if not self._board.confirm(segment):
                return
            await self._pour(exchange, delivery, segment)
            self._receipts.came_short(exchange, delivery, asked_stop)

    def _pin(self, source: Source, delivery: Delivery, exchange: Exchange) -> None:
        """Take a further source's word for its version, if a digest proves or will prove that it is the same."""
        if self._options.checksum is None and not is_same_file(self._version.digests, delivery.version.digests):
            raise unusable(exchange.head, "nothing proves that this mirror has the same file", is_disagreement=True)
        source.version = delivery.version

    async def _pour(self, exchange: Exchange, delivery: Delivery, segment: Segment) -> None:
        await pour(exchange, delivery, segment, self._part, options=self._options, receipts=self._receipts)

    @property
    def _version(self) -> Version:
        version = self._part.version
        assert version is not None
        return version

    # What is decided over all of them.

    def _failed(self, error: TransferError, source: Source) -> None:
        if self._workers > 1:
            logger.info("%s: a connection of several is given up (%s)", source.address.shown, error)
        self._do_without(source)
        if isinstance(error, HttpStatusError) and error.retry_after_s is not None:
            # Those that deliver go on; what is left is asked for when that time has passed, by whoever tries again.
            self._is_asked_to_wait = True
        least = self._options.min_rate_bytes_per_s
        if least is not None and isinstance(error, StalledError):
            # Nothing at all is slower than any rate.
            error = TooSlowError(
                url=error.url, min_rate_bytes_per_s=least, received_bytes=0, limit_s=self._options.timeout_s
            )
        # One that may pass says more than a refusal of what was only additional.
        if self._error is None or is_retried(error):
            self._error = error

    def _do_without(self, source: Source) -> None:
        """Ask a mirror no more that has failed, or the one that opened the file on no more connections than deliver."""
        if source is not self._sources[0]:
            self._out.add(source)
        else:
            self._growth = self._growth.lowered(self._workers - 1)

    def _end(self, error: Exception) -> None:
        self._fatal = error
        self._nursery.cancel_scope.cancel(reason="the file cannot be had so")

    def _pick_source(self) -> Source:
        for _ in self._sources:
            source = self._sources[next(self._next_source)]
            if source not in self._out:
                return source
        return self._sources[0]

    async def _watch(self, interval_s: float) -> None:
        """Start connections while they pay, let go of silent ones, and tell the ranges in flight."""
        told_at = trio.current_time()
        # What had arrived, and when, as all connections that there are delivered; None while one does not yet.
        since: tuple[int, float] | None = None
        least = self._options.min_rate_bytes_per_s
        # A connection alone may be slower than all have to be together.
        pace = None if least is None else Pace(least, self._options.timeout_s)
        looked_at, seen, held_back_s = told_at, self._progress.arrived_bytes, self._rate_limit.waited_s
        while True:
            await trio.sleep(interval_s)
            now = trio.current_time()
            arrived = self._progress.arrived_bytes
            if not all(each.at > each.start for each in self._board.running):
                since = None
            elif since is None:
                since = (arrived, now)
            elif arrived - since[0] >= _ENOUGH_BYTES * self._workers or now - since[1] >= _ENOUGH_S:
                self._growth = self._growth.measured((arrived - since[0]) / (now - since[1]))
                since = (arrived, now)
            self._let_go(now)
            waited_s = self._rate_limit.waited_s
            # Time in which we hold ourselves back does not count.
            if pace is not None and not pace.advance(
                max(0.0, now - looked_at - (waited_s - held_back_s)), arrived - seen
            ):
                self._end(self._too_slow(pace))
            looked_at, seen, held_back_s = now, arrived, waited_s
            while (
                self._workers < self._growth.wanted
                and not self._is_asked_to_wait
                and (segment := self._board.take()) is not None
            ):
                self._start(partial(self._fetch_others, segment))
            if now - told_at >= _TELL_EVERY_S:
                told_at = now
                self._tell()

    def _too_slow(self, pace: Pace) -> TooSlowError:
        return TooSlowError(
            url=self._sources[0].address.shown,
            min_rate_bytes_per_s=pace.min_rate_bytes_per_s,
            received_bytes=pace.got_bytes,
            limit_s=pace.window_s,
        )

    def _let_go(self, now: float) -> None:
        if not self._rate_limit.is_unlimited:
            return
        silent_s = min(_SILENT_S, self._options.timeout_s)
        running = self._board.running
        others_deliver = not all(now - each.last_at_s > silent_s for each in running)
        for segment in running:
            # Those that had nothing left to fetch and are gone have delivered as well.
            is_alone_silent = others_deliver or self._finished_at_s > segment.last_at_s
            is_reading = segment.in_hand == segment.at
            limit_s = silent_s if segment.owner is None else min(silent_s, self._unanswered_s)
            if now - segment.last_at_s <= limit_s or not is_alone_silent or not is_reading:
                continue
            if segment in self._scopes:
                scope, source = self._scopes[segment]
                scope.cancel(reason="the connection is silent, while others deliver")
                if segment.at == segment.start:
                    # It never delivered, so that another one in its place would not either.
                    self._do_without(source)

    def _tell(self) -> None:
        self._progress.parts = tuple(
            PartProgress(each.start, each.at - each.start, each.stop - each.start)
            for each in sorted(self._board.running, key=lambda each: each.start)
        )

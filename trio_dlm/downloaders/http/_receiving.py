"""What a reply brings, on its way into the part: in one stream, in several, or decoded.

Rules that hold here:

- a reply with the whole file is read from its beginning, whatever is there already; one with a part goes where its
  Content-Range says;
- what is received is counted, and there is an end to receiving the same bytes again;
- a digest of the server's that does not fit is the end of a download, unless the user's own will tell.

Source:
    RFC 9110 section 15.3.7, RFC 9530.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, final

import trio

from ..._errors import ChecksumMismatchError, UnusableReplyError
from ._asker import Source
from ._errand import Errand
from ._fleet import Fleet
from ._pour import pour, pour_decoded
from ._target import DECODED, Target
from .client._exchange import BATCH_BYTES, Exchange
from .rules._believing import Delivery
from .rules._board import NO_END, Board, Segment
from .rules._coding import Decoder
from .rules._head import unusable
from .rules._retrying import received_limit
from .rules._version import Version

__all__ = ["Receiver"]

# Parts that are smaller than this although more was asked for, and how many of them are put up with: beyond that a
# plain stream takes fewer requests than the file has such pieces.
TINY_PIECE_BYTES: Final = 64 * 1024
MOST_TINY_PIECES: Final = 100

# Dropping what nothing can be joined to takes milliseconds; this limit is for a disk that hangs.
_FORGET_S: Final = 10.0


@final
class Receiver:
    """Receives for one run.

    Attributes:
        is_joined: what is there came in more than one response.
        doubts: what servers said of their own content, and was not so.
    """

    def __init__(self, errand: Errand, target: Target) -> None:
        # What an earlier run has left may have come in any number of responses.
        self.is_joined = True
        self.doubts: list[ChecksumMismatchError] = []
        self._errand = errand
        self._target = target
        self._progress = errand.job.progress
        self._received = 0
        self._tiny_pieces = 0

    async def receive(
        self, exchange: Exchange, delivery: Delivery, source: Source, *, round_trip_s: float, may_split: bool
    ) -> None:
        """Read what *exchange* brings, and what more connections bring if they are worth it.

        Cancelling it keeps what was read.

        Args:
            exchange: the reply, its body unread.
            delivery: what it is.
            source: who sent it.
            round_trip_s: how long it took to come.
            may_split: more connections may be made.

        Raises:
            TransferError: it did not come to its end; the class says why.
        """
        if delivery.coding.new_decoder is not None:
            await self._decode(exchange, delivery, delivery.coding.new_decoder())
            return
        part, version = self._target.part, delivery.version
        is_new = delivery.is_new or self._is_shorter(delivery)
        if is_new:
            for other in self._errand.sources:
                # What they were known to have is not what will be held.
                other.version = None
            await part.begin(version, self._target.algorithms(version))
        else:
            await part.go_on(version, self._target.algorithms(version))
        source.version = version
        self._errand.job.can_resume = part.can_resume
        # A part of the file has others to be joined to, sooner or later.
        self.is_joined = not delivery.is_whole
        total = version.total
        if total is None:
            await self._read_to_its_end(exchange, delivery)
            return
        # A small file that does not fit is refused by the first write.
        if total > BATCH_BYTES:
            await part.check_room(total)
        self._progress.begin(0 if delivery.is_whole else part.held.size, total)
        missing = [(0, total)] if delivery.is_whole else part.held.missing(total)
        board = Board(missing, least=self._errand.options.min_segment_size)
        segment = board.take()
        if segment is None:
            return
        if may_split and self._is_splittable(delivery) and board.left >= 2 * self._errand.options.min_segment_size:
            await self._split(exchange, delivery, board, segment, source, round_trip_s)
        else:
            await self._read_one(exchange, delivery, segment)

    def _is_shorter(self, delivery: Delivery) -> bool:
        """Whether more is held than the file has: one of two replies of the same version has lied about its length.

        Raises:
            UnusableReplyError: and this one has only a part of it.
        """
        total, held = delivery.version.total, self._target.part.held
        if total is None or held.end <= total:
            return False
        if not delivery.is_whole:
            raise self._contradicted(total)
        return True

    def _contradicted(self, total: int) -> UnusableReplyError:
        return UnusableReplyError(
            url=self._errand.first.address.shown,
            problem=f"the file has {total} bytes now, and {self._target.part.held.end} came before of the same version",
            advice="try again, or another source",
            is_disagreement=True,
        )

    def _is_splittable(self, delivery: Delivery) -> bool:
        is_provable = delivery.version.validator is not None or self._errand.checksum is not None
        return delivery.in_ranges and is_provable and self._errand.options.connections > 1

    async def _read_to_its_end(self, exchange: Exchange, delivery: Delivery) -> None:
        """Read a file whose length nobody told."""
        part, version = self._target.part, delivery.version
        self._progress.begin(delivery.start)
        segment = Segment(delivery.start, NO_END)
        await pour(exchange, delivery, segment, part, options=self._errand.options, receipts=self)
        if part.held.end > segment.at:
            raise self._contradicted(segment.at)
        await part.go_on(replace(version, total=segment.at), self._target.algorithms(version))

    async def _read_one(self, exchange: Exchange, delivery: Delivery, segment: Segment) -> None:
        asked_stop = segment.stop
        await pour(exchange, delivery, segment, self._target.part, options=self._errand.options, receipts=self)
        self.came_short(exchange, delivery, asked_stop)

    async def _split(
        self,
        exchange: Exchange,
        delivery: Delivery,
        board: Board,
        segment: Segment,
        source: Source,
        round_trip_s: float,
    ) -> None:
        others = [each for each in self._errand.sources if each is not source]
        is_proven = self._errand.checksum is not None or bool(delivery.version.digests)
        fleet = Fleet(
            self._errand,
            [source, *(others if is_proven else ())],
            name=self._target.name or "",
            part=self._target.part,
            board=board,
            receipts=self,
        )
        self.is_joined = True
        await fleet.run(exchange, delivery, segment, round_trip_s=round_trip_s)

    async def _decode(self, exchange: Exchange, delivery: Delivery, decoder: Decoder) -> None:
        part, version = self._target.part, Version(coding=DECODED)
        wanted = self._target.algorithms(version)
        await part.begin(version, wanted)
        self.is_joined = False
        self._progress.begin()
        is_whole = False
        try:
            size_bytes = await pour_decoded(
                exchange, delivery, decoder, part, options=self._errand.options, receipts=self
            )
            await part.go_on(replace(version, total=size_bytes), wanted)
            is_whole = True
        finally:
            if not is_whole:
                with trio.move_on_after(_FORGET_S, shield=True):
                    await part.forget()

    # What whoever reads tells.

    def arrived(self, size_bytes: int, wanted_bytes: int) -> None:
        """Count what was received, and report what of it is of the file.

        Raises:
            UnusableReplyError: it is far more than the file has.
        """
        self._progress.advance(wanted_bytes)
        self._received += size_bytes
        version, held = self._target.part.version, self._target.part.held
        # Of a file of unknown length there is at least as much as there was.
        total = held.end if version is None or version.total is None else version.total
        if self._received > total + received_limit(total):
            raise UnusableReplyError(
                url=self._errand.first.address.shown,
                problem=f"{self._received} bytes were received for a file of {total}, and it is not whole",
                advice="the same bytes come again and again: try another source",
            )

    def kept(self) -> None:
        """Say whether a later run could go on from what was written."""
        self._errand.job.can_resume = self._target.part.can_resume

    def came_short(self, exchange: Exchange, delivery: Delivery, asked_stop: int) -> None:
        """Count a reply that was to go on to *asked_stop*, if it is but a tiny piece of that.

        Raises:
            UnusableReplyError: there were too many.
        """
        if delivery.length is None or delivery.start + delivery.length >= asked_stop:
            return
        self._tiny_pieces += delivery.length < TINY_PIECE_BYTES
        if self._tiny_pieces > MOST_TINY_PIECES:
            raise unusable(exchange.head, "the server sends the file in very small pieces", is_disagreement=True)

    def doubted(self, error: ChecksumMismatchError) -> None:
        """A message is not what it says of itself.

        Raises:
            ChecksumMismatchError: that settles it, since there is no digest of the user's.
        """
        if self._errand.checksum is None:
            raise error
        self.doubts.append(error)

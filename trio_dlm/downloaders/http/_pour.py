"""From the body of one reply to the part file: what arrives is written where it belongs, and nowhere else.

Rules that hold here:

- nothing is decided here but how much of what came belongs to the segment;
- what was read is written, also when the connection breaks or the download is cancelled: it was paid for;
- a digest that a message carries of its own content is checked if the message was read to its end.

Source:
    RFC 9530 section 2 (Content-Digest describes the content of its own message, a part of the file or all of it).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, final

import trio

from ..._errors import (
    ChecksumMismatchError,
    IncompleteBodyError,
    StorageError,
    TooLargeError,
    TransferError,
    UnusableReplyError,
)
from ..._options import DownloadOptions
from .client._exchange import BATCH_BYTES, Exchange
from .files._partfile import PartFile
from .rules._believing import Delivery, whole_digests
from .rules._board import NO_END, Segment
from .rules._coding import CodingError, Decoder
from .rules._digests import Digest, algorithms, content_digests, mismatch
from .rules._framing import check_received
from .rules._head import ReplyHead

__all__ = ["Receipts", "pour", "pour_decoded"]

# Writing what is in hand takes milliseconds; this limit is for a disk that hangs while the download is cancelled.
_SAVE_S: Final = 10.0

# What goes from the connection to the disk in one hop at most, and what is worth one.
_MOVED_BYTES: Final = 4 * 1024 * 1024
_WORTH_MOVING_BYTES: Final = 128 * 1024

# What one step of decoding may bring, so that a few bytes that stand for very many take no memory.
_DECODED_BYTES: Final = 1024 * 1024


class Receipts(Protocol):
    """Who is told of what arrived."""

    def arrived(self, size_bytes: int, wanted_bytes: int) -> None:
        """Bytes were read from the network, and so many of them are of the file; raises if there were too many."""
        ...

    def kept(self) -> None:
        """Bytes of the file were written."""
        ...

    def came_short(self, exchange: Exchange, delivery: Delivery, asked_stop: int) -> None:
        """A reply was read that may end before what was asked for; raises if there were too many tiny ones."""
        ...

    def doubted(self, error: ChecksumMismatchError) -> None:
        """A message was not what it said of itself; raises if that settles it."""
        ...


async def pour(
    exchange: Exchange,
    delivery: Delivery,
    segment: Segment,
    part: PartFile,
    *,
    options: DownloadOptions,
    receipts: Receipts,
) -> None:
    """Write what *exchange* brings of *segment*, until the segment or the body ends.

    A body that ends before the segment does is fine if its own length is reached: a server may send less than was asked
    for.  A segment of a file of unknown length ends with the body.

    Cancelling it writes what was read, and leaves.

    Raises:
        TransferError: the body did not come to its end, or the disk refused; the class says why.
    """
    # Those of a whole file are compared when it is complete, however many connections it came on.
    content = _Content(
        exchange.head, () if delivery.is_whole and delivery.version.digests else content_digests(exchange.head)
    )
    pending: list[bytes] = []
    segment.reach = segment.stop if delivery.stop is None else delivery.stop
    try:
        is_fast = False
        while segment.at < segment.stop and segment.at < segment.reach:
            if is_fast and not content.has_claims and exchange.can_move:
                is_fast = await _move(exchange, segment, part, options, receipts)
                segment.last_at_s = trio.current_time()
                if not exchange.has_ended:
                    continue
                check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=True)
                break
            tally = _Tally(segment, receipts)
            pending, has_ended = await exchange.read_batch(tally.arrived, length=delivery.length)
            content.take(pending)
            # Before a batch is full there is more to be had from a line only if the line is fast.
            is_fast = sum(map(len, pending)) >= BATCH_BYTES
            # What is longer than promised is not what was promised, so nothing of it is kept.
            check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=False)
            await _keep(pending, segment, part, options, receipts, exchange)
            # After the write, which is not the server's time.
            segment.last_at_s = trio.current_time()
            pending = []
            if has_ended:
                check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=True)
                if delivery.stop is None:
                    segment.stop = segment.at
                break
        if segment.at == delivery.stop and not segment.is_closing and not exchange.has_ended:
            # In chunks, more than was promised may follow.
            _, _ = await exchange.read_batch(_ignore, length=delivery.length)
            check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=False)
        if not segment.is_closing and (delivery.length in (None, exchange.received_bytes)):
            content.check(receipts)
    except (StorageError, TooLargeError, UnusableReplyError, ChecksumMismatchError):
        raise
    except BaseException as exc:
        rest = [*pending, *exchange.take_rest()]
        is_malformed = isinstance(exc, IncompleteBodyError) and exc.is_malformed
        if isinstance(exc, TransferError) and not is_malformed:
            # A chunk whose size is too large takes what frames the next ones for bytes of the file.  It shows when more
            # of them came than were promised, however the body ended.
            check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=False)
        is_too_long = delivery.length is not None and exchange.received_bytes > delivery.length
        if rest and not is_malformed and not is_too_long:
            with trio.move_on_after(_SAVE_S, shield=True), contextlib.suppress(TransferError):
                # It was read before the connection broke, or before the cancel.
                await _keep(rest, segment, part, options, receipts, exchange)
        raise


async def _move(
    exchange: Exchange, segment: Segment, part: PartFile, options: DownloadOptions, receipts: Receipts
) -> bool:
    """Write what comes without having it in hand, and say whether that pays.

    Raises:
        TransferError: as :func:`pour`; what came before is written.
    """
    wanted = segment.accept(min(_MOVED_BYTES, segment.left))
    at = segment.at
    size, problem = 0, None
    try:
        size, problem = await exchange.move(wanted, partial(part.pull, at))
    finally:
        segment.written_of(size)
    if size:
        receipts.arrived(size, size)
        _check_max(segment.at, options, exchange)
        receipts.kept()
    if problem is not None:
        raise problem
    return size >= _WORTH_MOVING_BYTES


async def _keep(
    chunks: Sequence[bytes],
    segment: Segment,
    part: PartFile,
    options: DownloadOptions,
    receipts: Receipts,
    exchange: Exchange,
) -> None:
    size = sum(map(len, chunks))
    # Nothing of what is in hand was written: an earlier attempt to do so was cancelled.
    segment.in_hand = segment.at
    count = segment.accept(size)
    if not count:
        return
    _check_max(segment.in_hand, options, exchange)
    await part.write(segment.at, chunks if count == size else _cut(chunks, count))
    segment.written()
    receipts.kept()


def _check_max(size_bytes: int, options: DownloadOptions, exchange: Exchange) -> None:
    if options.max_bytes is not None and size_bytes > options.max_bytes:
        raise TooLargeError(url=exchange.head.address.shown, max_bytes=options.max_bytes, size_bytes=None)


def _cut(chunks: Sequence[bytes], size_bytes: int) -> list[bytes]:
    return [b"".join(chunks)[:size_bytes]]


def _ignore(_: int) -> None:
    """What comes behind the end is not counted."""


@final
class _Tally:
    """Tells of a batch while it is read, but not of what comes behind the end of its segment."""

    __slots__ = ("_receipts", "_segment", "_told")

    def __init__(self, segment: Segment, receipts: Receipts) -> None:
        self._segment = segment
        self._told = 0
        self._receipts = receipts

    def arrived(self, size_bytes: int) -> None:
        # The end of the segment may have been moved while the batch is read.
        wanted = min(size_bytes, max(0, self._segment.stop - self._segment.at - self._told))
        self._told += wanted
        self._receipts.arrived(size_bytes, wanted)


async def pour_decoded(
    exchange: Exchange,
    delivery: Delivery,
    decoder: Decoder,
    part: PartFile,
    *,
    options: DownloadOptions,
    receipts: Receipts,
) -> int:
    """Write what *decoder* makes of the body of *exchange*, and return how many bytes that is.

    Cancelling it leaves bytes behind that nothing can be joined to.

    Raises:
        TransferError: the body, or what was coded in it, did not come to its end.
    """
    # What is said of the whole representation is said of its coded form, which is what comes (RFC 9530 section 3).
    content = _Content(exchange.head, whole_digests(exchange.head))
    segment = Segment(0, NO_END)
    has_ended = False
    try:
        while not has_ended:
            chunks, has_ended = await exchange.read_batch(partial(_count, receipts), length=delivery.length)
            content.take(chunks)
            check_received(exchange.head, exchange.received_bytes, length=delivery.length, has_ended=has_ended)
            for chunk in chunks:
                data = decoder.feed(chunk, _DECODED_BYTES)
                await _keep([data], segment, part, options, receipts, exchange)
                while decoder.is_pending:
                    data = decoder.feed(b"", _DECODED_BYTES)
                    await _keep([data], segment, part, options, receipts, exchange)
        decoder.end()
    except CodingError as exc:
        raise IncompleteBodyError(
            url=exchange.head.address.shown,
            expected_bytes=delivery.length,
            received_bytes=exchange.received_bytes,
            problem=f"the compressed body cannot be decoded ({exc})",
        ) from exc
    content.check(receipts)
    return segment.at


def _count(receipts: Receipts, size_bytes: int) -> None:
    # How much of the file it will be is not known before it is decoded; that something comes is.
    receipts.arrived(size_bytes, size_bytes)


@final
class _Content:
    """What one message says of its own content, and what that was."""

    def __init__(self, head: ReplyHead, claims: Sequence[Digest]) -> None:
        self._head = head
        self._claims = claims
        self._hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms(self._claims)}

    @property
    def has_claims(self) -> bool:
        """Whether the bytes are needed here, to compare them with something."""
        return bool(self._claims)

    def take(self, chunks: Sequence[bytes]) -> None:
        for hasher in self._hashers.values():
            for chunk in chunks:
                hasher.update(chunk)

    def check(self, receipts: Receipts) -> None:
        found = {name: hasher.digest() for name, hasher in self._hashers.items()}
        wrong = mismatch(self._claims, found)
        if wrong is not None:
            receipts.doubted(
                ChecksumMismatchError(
                    url=self._head.address.shown,
                    algorithm=wrong.algorithm,
                    expected=wrong.value.hex(),
                    got=found[wrong.algorithm].hex(),
                )
            )

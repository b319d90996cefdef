"""A reply whose body is being read: in batches, no slower and no faster than it may, and nothing of it lost.

Rules that hold here:

- only time in which we wait for the network counts for a limit: none between two calls, and none in which a rate limit
  holds us back;
- a rate limit is asked before each read.  The library reads as much as it likes, so what came beyond what was permitted
  is held back until it is permitted as well;
- what was read is handed over once, to whoever asks first: :meth:`Exchange.read_batch`, or :meth:`Exchange.take_rest`
  after it was cancelled or failed;
- what the body means is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, final

import trio

from ...._errors import StalledError, TooSlowError, TransferError
from ...._rate import RateLimit
from ..files._part import Pulled
from ..rules._head import ReplyHead
from ..rules._pace import Pace
from ..transport._buffers import thread_buffer
from ..transport._connection import Connection
from ..transport._problems import RemoteProtocolError
from ._faults import errors_below, in_body

__all__ = ["BATCH_BYTES", "BATCH_S", "Exchange"]

# What goes to disk in one hop to a thread.  Hops of 256 KiB double the processor time, hops of 4 MiB keep a
# cancellation waiting for milliseconds.
BATCH_BYTES: Final = 1024 * 1024

# On a slow line a batch is handed over before it is full, so that a kill loses little of what has arrived; and not more
# often than fifty times a second, which costs a hundredth of a processor.
BATCH_S: Final = 0.02

# What is asked of a rate limit before a read: as much as the library reads at once.
_TAKE_BYTES: Final = 64 * 1024


@final
class Exchange:
    """A reply whose body can be read once.  Given by :meth:`Client.exchange`.

    Attributes:
        head: status and header.
        received_bytes: how much of the body was handed over, or is about to be.
        has_ended: the body was read to its end, and its framing was right.
    """

    __slots__ = (
        "_batch",
        "_body",
        "_close",
        "_connection",
        "_held",
        "_library",
        "_limiter",
        "_must_wait",
        "_pace",
        "_timeout_s",
        "has_ended",
        "head",
        "received_bytes",
    )

    def __init__(
        self,
        head: ReplyHead,
        body: Any,
        library: str,
        timeout_s: float,
        *,
        pace: Pace | None = None,
        limiter: RateLimit | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
        connection: Connection | None = None,
    ) -> None:
        self._close = close
        self._connection = connection
        self._must_wait = False
        self.head = head
        self.received_bytes = 0
        self.has_ended = False
        self._body = body
        self._library = library
        self._timeout_s = timeout_s
        self._pace = pace
        self._limiter = limiter
        # Read and not handed over yet; and read, but not allowed or not wanted yet.
        self._batch: list[bytes] = []
        self._held = b""

    async def aclose(self) -> None:
        """Close the connection, or give it back to its pool if the body was read to its end.  Again, it does nothing.

        Cancelling it waits until that is done, which takes no longer than telling the kernel.
        """
        close, self._close = self._close, None
        if close is not None:
            await close()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def drop_pace(self) -> None:
        """From now on the body may come at any rate."""
        self._pace = None

    async def read_batch(
        self, arrived: Callable[[int], None], *, length: int | None, most: int | None = None
    ) -> tuple[list[bytes], bool]:
        """Read about a mebibyte, or what comes in 20 ms, and say whether that was all.

        A batch and not an iterator of reads, since a limit of time for each read of 16 KiB would cost more than what is
        done with it.  Whatever ends it, :meth:`take_rest` has what was read.

        Args:
            arrived: called with the size of every read.
            length: how many bytes the body should have, for the message if it ends early.
            most: how many bytes of the body are wanted, from its beginning; the body is not read any further.  Without
                effect where *length* is no more than that: the body is read to its end, which proves its framing.

        Returns:
            What was read, and whether there is no more to come: the body has ended (:attr:`has_ended`), or all that is
            wanted of it is there.

        Raises:
            StalledError: nothing came for ``timeout_s``, or less than ``min_rate_bytes_per_s``.
            ConnectionFailedError: the connection broke.
            IncompleteBodyError: the body ended before its end, or its framing is broken.
        """
        stop = math.inf if most is None or (length is not None and length <= most) else most
        if self.received_bytes >= stop:
            await trio.lowlevel.checkpoint()
            return self._hand_over(), True
        now = trio.current_time()
        hand_over_at = now + BATCH_S
        full_at = self.received_bytes + BATCH_BYTES
        timeout_s, pace = self._timeout_s, self._pace

        def describe(exc: Exception) -> TransferError:
            return self._describe(exc, length=length, since=now)

        with trio.CancelScope() as scope, errors_below(self._library, describe):
            while True:  # noqa: ASYNC913  (each turn waits for bytes, or for the permission to have them)
                limiter = None if self._limiter is None or self._limiter.is_unlimited else self._limiter
                wanted = stop - self.received_bytes
                if limiter is not None:
                    wanted = await self._permission(
                        limiter, int(min(wanted, len(self._held) or _TAKE_BYTES)), hand_over_at
                    )
                    if not wanted:
                        return self._hand_over(), False
                    now = trio.current_time()
                if not self._held:
                    scope.deadline = now + (timeout_s if pace is None else min(timeout_s, pace.patience_s))
                    self.has_ended = not await self._read(limiter, wanted)
                    if self.has_ended:
                        return self._hand_over(), True
                    scope.deadline = math.inf
                    began, now = now, trio.current_time()
                    if pace is not None and not pace.advance(now - began, len(self._held)):
                        raise self._too_slow(pace)
                size = self._accept(wanted)
                arrived(size)
                if self.received_bytes >= stop:
                    return self._hand_over(), True
                if self.received_bytes >= full_at or now >= hand_over_at:
                    return self._hand_over(), False
        if pace is not None:
            # Nothing at all is slower than any rate.
            raise self._too_slow(pace)
        raise self._stalled()

    @property
    def can_move(self) -> bool:
        """Whether :meth:`move` may be called now: nothing was read ahead, and nothing limits the rate."""
        connection = self._connection
        return (
            connection is not None
            and connection.link.can_move
            and bool(connection.left)
            and not connection.has_pieces
            and not self._held
            and not self._batch
            and self._pace is None
            and (self._limiter is None or self._limiter.is_unlimited)
        )

    async def move(
        self, most: int, pull: Callable[[int, Callable[[memoryview], int | None]], Awaitable[Pulled]]
    ) -> tuple[int, TransferError | None]:
        """Have *pull* read the body from the connection in a thread.

        Bytes do not become objects on the way, so it costs less than :meth:`read_batch` where much comes at once.
        Cancelling it waits for the thread, which takes some hundredths of a second at most.

        Args:
            most: how many bytes are wanted.
            pull: is called with how many may be read and with what reads them, in a thread.

        Returns:
            How many bytes were taken, and why there will be no more; the bytes count all the same.

        Raises:
            StalledError: nothing came for ``timeout_s``.
        """
        connection = self._connection
        assert connection is not None
        left = connection.left
        assert left is not None
        link = connection.link
        if self._must_wait:
            with trio.CancelScope(deadline=trio.current_time() + self._timeout_s) as scope:
                await link.wire.wait_readable()
            if scope.cancelled_caught:
                raise self._stalled()
        since, length = trio.current_time(), self.received_bytes + left
        pulled = await pull(min(most, left), lambda into: link.try_read(into, thread_buffer("cipher")))
        connection.moved(pulled.size_bytes)
        self.received_bytes += pulled.size_bytes
        self.has_ended = not connection.left
        self._must_wait = pulled.is_drained
        error = pulled.error
        if pulled.is_over:
            error = RemoteProtocolError(f"the server closed the connection after {self.received_bytes} bytes")
        return pulled.size_bytes, None if error is None else self._describe(error, length=length, since=since)

    async def read_at_once(self, length: int) -> bytes | None:
        """Return the body of *length* bytes if one read brings all of it; otherwise what came is read by the next call.

        Cancelling it loses what it has read.

        Raises:
            StalledError: nothing came for ``timeout_s``.
            ConnectionFailedError: the connection broke.
            IncompleteBodyError: its framing is broken.
        """
        if self._pace is not None or not (self._limiter is None or self._limiter.is_unlimited):
            await trio.lowlevel.checkpoint()
            return None
        whole = None if self._connection is None else self._connection.take_whole()
        if whole is not None:
            # It came with the header.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._held, self.has_ended = whole, True
            if len(whole) != length:
                return None
            self.received_bytes = length
            return self._hand_over_held()
        now = trio.current_time()
        with (
            trio.CancelScope(deadline=now + self._timeout_s),
            errors_below(self._library, partial(self._describe, length=length, since=now)),
        ):
            self.has_ended = not await self._read(None, 0)
            if not self.has_ended and len(self._held) == length:
                # Its end is behind its last byte, and proves the framing; nothing is waited for.
                body, self._held = self._held, b""
                try:
                    self.has_ended = not await self._read(None, 0)
                finally:
                    self._held = body + self._held
            if not self.has_ended or len(self._held) != length:
                return None
            self.received_bytes = length
            return self._hand_over_held()
        raise self._stalled()

    def put_back(self, body: bytes) -> None:
        """Have what :meth:`read_at_once` returned read once more."""
        self._held = body
        self.received_bytes = 0

    def _hand_over_held(self) -> bytes:
        body, self._held = self._held, b""
        return body

    def _describe(self, exc: Exception, *, length: int | None, since: float) -> TransferError:
        return in_body(
            exc,
            url=self.head.address.shown,
            received_bytes=self.received_bytes,
            expected_bytes=length,
            waited_s=trio.current_time() - since,
        )

    def _stalled(self) -> StalledError:
        return StalledError(
            url=self.head.address.shown,
            waited_for=f"further byte after the first {self.received_bytes}",
            limit_s=self._timeout_s,
            option="timeout_s",
        )

    async def _permission(self, limiter: RateLimit, at_most: int, hand_over_at: float) -> int:
        """Return how many bytes may be received now; 0 if it is time to hand over what is there."""
        if not self._batch:
            return await limiter.take(at_most)
        with trio.move_on_at(hand_over_at):
            return await limiter.take(at_most)
        return 0

    async def _read(self, limiter: RateLimit | None, permitted: float) -> bool:
        """Read once, give back what was permitted and did not come, and return whether there was anything to read."""
        try:
            self._held = await self._body.__anext__()
        except StopAsyncIteration:
            return False
        finally:
            if limiter is not None and len(self._held) < permitted:
                limiter.give_back(int(permitted) - len(self._held))
        return True

    def _accept(self, wanted: float) -> int:
        """Move as much as is *wanted* of what was read to the batch, and return how much it was."""
        size = len(self._held)
        if size <= wanted:
            self._batch.append(self._held)
            self._held = b""
        else:
            size = int(wanted)
            self._batch.append(self._held[:size])
            self._held = self._held[size:]
        self.received_bytes += size
        return size

    def _hand_over(self) -> list[bytes]:
        batch, self._batch = self._batch, []
        return batch

    def _too_slow(self, pace: Pace) -> TooSlowError:
        return TooSlowError(
            url=self.head.address.shown,
            min_rate_bytes_per_s=pace.min_rate_bytes_per_s,
            received_bytes=pace.got_bytes,
            limit_s=pace.window_s,
        )

    def take_rest(self) -> list[bytes]:
        """Return what was read and never handed over: what :meth:`read_batch` held when it failed or was cancelled.

        All of it follows on what was handed over before, and counts as received from now on.  After a batch that had
        all that was wanted it is what came behind.
        """
        if self._held:
            if self._limiter is not None:
                self._limiter.owe(len(self._held))
            self._accept(math.inf)
        return self._hand_over()

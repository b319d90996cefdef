"""How fast may be received: the limit of the manager, that of each download, and the trio tasks that wait for them.

Rules that hold here:

- who goes next, and when, is decided by :mod:`._tokens`; here is the clock, and here is slept;
- no task of its own: one of those who wait has the timer, and wakes the others; when it leaves, another takes over;
- bytes are asked for before they are read.  A wait that is cancelled has taken nothing;
- what has no limit costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import trio

from ._options import check_rate
from ._tokens import Line, Share

__all__ = ["RateLimit", "Throttle"]


@final
class Throttle:
    """A rate that several share, each as much as the others."""

    __slots__ = ("_line", "_timer")

    def __init__(self, bytes_per_s: float = math.inf) -> None:
        self._line = Line()
        self._timer: trio.CancelScope | None = None
        if bytes_per_s != math.inf:
            self.bytes_per_s = bytes_per_s

    @property
    def bytes_per_s(self) -> float:
        """What all together may receive in a second.  Set it at any time; whoever waits is served at the new rate."""
        return self._line.bucket.rate

    @bytes_per_s.setter
    @trio.lowlevel.enable_ki_protection
    def bytes_per_s(self, bytes_per_s: float) -> None:
        self._line.bucket.set_rate(bytes_per_s, trio.current_time())
        self._serve()

    @property
    def is_unlimited(self) -> bool:
        """Whether it lets through whatever comes."""
        return self._line.bucket.rate == math.inf

    def piece(self, at_most: int) -> int:
        """How much :meth:`take` would give at the present rate."""
        return self._line.bucket.piece(at_most)

    async def take(self, share: Share, at_most: int) -> int:
        """Wait for the turn of *share*, and return how many bytes it may receive.  No checkpoint if that is now.

        Cancelling takes nothing.
        """
        claim = self._line.put(share, at_most, trio.lowlevel.ParkingLot())
        self._serve()
        try:
            while not claim.size:
                await self._sleep(claim.sleeper)
        except BaseException:
            # Also if somebody served it after the cancel and before this line.
            self._line.withdraw(claim, trio.current_time())
            raise
        finally:
            self._serve()
        return claim.size

    async def _sleep(self, sleeper: trio.lowlevel.ParkingLot) -> None:
        """Sleep until somebody wakes *sleeper*, or, if nobody has the timer yet, until the next one can be served."""
        if self._timer is not None:
            await sleeper.park()
            return
        self._timer = trio.CancelScope(deadline=self._line.ready_at(trio.current_time()))
        try:
            with self._timer:
                await sleeper.park()
        finally:
            self._timer = None
        self._serve()

    def charge(self, share: Share, size_bytes: int) -> None:
        """Count bytes that *share* received without asking; a negative number for those that it did not use."""
        self._line.charge(share, size_bytes, trio.current_time())
        self._serve()

    def _serve(self) -> None:
        """Serve whoever can be served now, and see to it that somebody wakes for the next one."""
        now = trio.current_time()
        while (served := self._line.grant(now)) is not None:
            served.sleeper.unpark_all()
        if self._timer is not None:
            self._timer.deadline = self._line.ready_at(now)
        elif (heir := self._line.next()) is not None:
            # If he does not sleep he will see for himself that nobody has the timer.
            heir.sleeper.unpark_all()


class RateLimit:
    """How fast one download may receive: its own limit, and its share of the manager's.

    A downloader asks before each read from the network, and gives back what did not come::

        while not done:
            size = await job.rate_limit.take(65536)
            data = await stream.receive_some(size)
            job.rate_limit.give_back(size - len(data))

    One whose library decides how much a read brings asks for a byte before the read, and pays for the rest before it
    counts it::

        size = await job.rate_limit.take(65536)
        data = await anext(body)
        if len(data) < size:
            job.rate_limit.give_back(size - len(data))
        await job.rate_limit.pay(len(data) - size)

    Several connections of one download may do so at once; they are served in the order of their coming.  Downloads
    share the manager's rate equally, by bytes.  In no stretch of time is more given out than the limits bring in it and
    a tenth of a second of them besides: 2 % of five seconds.
    """

    __slots__ = (
        "_bytes_per_s",
        "_is_given",
        "_own",
        "_own_share",
        "_share",
        "_shared",
        "_since",
        "_takers",
        "_waited_s",
    )

    def __init__(
        self, bytes_per_s: float | None = None, *, shared: Throttle | None = None, is_given: bool = False
    ) -> None:
        self._bytes_per_s: float | None = None
        self._own: Throttle | None = None
        self._own_share = Share()
        self._shared = Throttle() if shared is None else shared
        self._share = Share()
        self._waited_s = 0.0
        self._takers = 0
        self._since = 0.0
        self._set(bytes_per_s)
        self._is_given = is_given

    @property
    def bytes_per_s(self) -> float | None:
        """The download's own limit; None means that it has none.  Set it at any time.

        Raises:
            TypeError, ValueError: not a positive number.
        """
        return self._bytes_per_s

    @bytes_per_s.setter
    def bytes_per_s(self, bytes_per_s: float | None) -> None:
        self._set(bytes_per_s)
        self._is_given = True

    def default_to(self, bytes_per_s: float | None) -> None:
        """Limit the download so, unless its request or its task's ``rate_limit_bytes_per_s`` said something.

        For downloaders that have options of their own.
        """
        if not self._is_given:
            self._set(bytes_per_s)

    def _set(self, bytes_per_s: float | None) -> None:
        self._bytes_per_s = None if bytes_per_s is None else check_rate("rate_limit_bytes_per_s", bytes_per_s)
        rate = math.inf if self._bytes_per_s is None else self._bytes_per_s
        if self._own is not None:
            self._own.bytes_per_s = rate
        elif rate != math.inf:
            self._own = Throttle(rate)

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no limit at present: then a hot loop may do without all of this, until the next read."""
        return self._shared.is_unlimited and (self._own is None or self._own.is_unlimited)

    @property
    def waited_s(self) -> float:
        """For how many seconds so far at least one :meth:`take` was waiting; a wait that goes on counts.

        It never rises faster than the clock, so it can be taken off a time that was measured with that.
        """
        return self._waited_s + (trio.current_time() - self._since if self._takers else 0.0)

    @trio.lowlevel.enable_ki_protection
    async def take(self, at_most: int) -> int:
        """Wait until something may be received, and return how much: from 1 to *at_most* bytes.

        A checkpoint.  Cancelling takes nothing.
        """
        if at_most < 1:
            raise ValueError(f"take() takes a number of bytes from 1 up, got {at_most}")
        await trio.lowlevel.checkpoint()
        if self.is_unlimited:
            return at_most
        if not self._takers:
            self._since = trio.current_time()
        self._takers += 1
        try:
            return await self._take(at_most)
        finally:
            self._takers -= 1
            if not self._takers:
                self._waited_s += trio.current_time() - self._since

    async def _take(self, at_most: int) -> int:
        own = self._own
        if own is None:
            return await self._shared.take(self._share, at_most)
        # The own first: nobody keeps others from the manager's rate who may not use it.
        size = await own.take(self._own_share, self._shared.piece(at_most))
        granted = 0
        try:
            granted = await self._shared.take(self._share, size)
        finally:
            if granted < size:
                own.charge(self._own_share, granted - size)
        return granted

    async def pay(self, size_bytes: int, paid: Callable[[int], object] | None = None) -> None:
        """Take all of *size_bytes*, piece by piece: for bytes that are here and have not been counted yet.

        A checkpoint if there is anything to pay.  Cancelling it leaves the rest unpaid.

        Args:
            size_bytes: how much; nothing happens if it is not above zero.
            paid: called with the size of every piece, such as ``job.progress.advance``.
        """
        while size_bytes > 0:
            size = await self.take(size_bytes)
            size_bytes -= size
            if paid is not None:
                paid(size)

    def give_back(self, size_bytes: int) -> None:
        """Put back what was taken and did not arrive.  Synchronous."""
        if size_bytes < 0:
            raise ValueError(f"give_back() takes a number of bytes from 0 up, got {size_bytes}")
        self._charge(-size_bytes)

    def owe(self, size_bytes: int) -> None:
        """Count bytes that arrived beyond what was taken.  Synchronous: those who take next wait until it is paid.

        What many connections owe at once comes all at once, so :meth:`pay` is nearer to the limit where reads are large
        for the rate.
        """
        if size_bytes < 0:
            raise ValueError(f"owe() takes a number of bytes from 0 up, got {size_bytes}")
        self._charge(size_bytes)

    @trio.lowlevel.enable_ki_protection
    def _charge(self, size_bytes: int) -> None:
        if not size_bytes or self.is_unlimited:
            return
        if self._own is not None:
            self._own.charge(self._own_share, size_bytes)
        self._shared.charge(self._share, size_bytes)

    def __repr__(self) -> str:
        own = "none of its own" if self._bytes_per_s is None else f"{self._bytes_per_s:g} B/s"
        return f"<RateLimit {own}, {self._shared.bytes_per_s:g} B/s shared>"

"""Who watches which downloads, and what each of them has not seen yet.

Rules that hold here:

- a reader holds at most one undelivered change per download; its snapshot is taken at delivery, so it is never stale;
- changes are delivered in the order in which they first happened; a final state is never held back nor lost;
- a reader sleeps only while ``min_interval_s`` holds something back: there is no ticker;
- a reader that waits is handed its snapshot in the very step of the change, so "was given" is decided there and then.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Final, Self, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from ._download import Download
    from ._loop import Loop, Sleeper
    from ._records import TaskSnapshot

__all__ = ["EventHub", "Subscription"]

# Below this many stale entries a sweep costs more than it saves.
_FEW: Final = 16


@final
class EventHub:
    """Passes changes on to the readers that want them."""

    def __init__(self, loop: Loop, given: Callable[[Download], None]) -> None:
        self.loop = loop
        self._given = given
        self._of_all: dict[Subscription, None] = {}
        self._of_one: dict[Download, list[Subscription]] = {}
        self.quiet = True
        """Nobody watches; a caller in a hurry may skip :meth:`note`."""
        self.closed = False

    def note(self, download: Download) -> None:
        """*download* has changed."""
        for reader in self._of_all:
            reader.note(download)
        for reader in self._of_one.get(download, ()):
            reader.note(download)

    def close(self) -> None:
        """Nothing will change any more: readers of everything end once they have been given the rest."""
        self.closed = True
        for reader in (*self._of_all, *itertools.chain.from_iterable(self._of_one.values())):
            reader.wake()

    def attach(self, reader: Subscription, downloads: Iterable[Download] | None) -> None:
        """Let *reader* see the changes of *downloads*, or of all."""
        if downloads is None:
            self._of_all[reader] = None
        else:
            for download in downloads:
                self._of_one.setdefault(download, []).append(reader)
        self.quiet = not (self._of_all or self._of_one)

    def detach(self, reader: Subscription, downloads: Iterable[Download] | None) -> None:
        """Undo :meth:`attach`."""
        if downloads is None:
            del self._of_all[reader]
        else:
            for download in downloads:
                readers = self._of_one[download]
                readers.remove(reader)
                if not readers:
                    del self._of_one[download]
        self.quiet = not (self._of_all or self._of_one)

    def deliver(self, download: Download) -> TaskSnapshot:
        """Take the snapshot that a reader is given."""
        self._given(download)
        return download.snapshot()


@final
class Subscription:
    """The changes of some downloads, or of all: an async context manager that is its own async iterator.

    Iterating is a checkpoint.  Cancelling it loses nothing: the next call goes on.
    """

    def __init__(
        self,
        hub: EventHub,
        *,
        only: frozenset[Download] | None,
        present: Callable[[], Iterable[Download]],
        min_interval_s: float,
    ) -> None:
        self._hub = hub
        self._loop = hub.loop
        self._only = only
        self._present = present
        self._min_interval_s = min_interval_s
        # The named downloads whose final state was not delivered yet; the subscription ends with the last of them.
        self._awaited: set[Download] = set(only or ())
        self._orders = itertools.count()
        # Each undelivered change: when it first happened, and whether it is still held back.
        self._changes: dict[Download, tuple[int, bool]] = {}
        self._ready: list[tuple[int, Download]] = []
        self._held: list[tuple[float, int, Download]] = []
        self._not_before: dict[Download, float] = {}
        self._entered = False
        self._attached = False
        self._iterating = False
        self._parked: Sleeper | None = None
        self._handed: TaskSnapshot | None = None

    async def __aenter__(self) -> Self:
        """Subscribe: the present snapshots are there at once."""
        await self._loop.checkpoint()
        if self._entered:
            raise RuntimeError("a subscription is entered once; call events() again for another")
        self._entered = self._attached = True
        self._hub.attach(self, self._only)
        for download in self._present():
            self.note(download)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unsubscribe.  Not a checkpoint."""
        self._attached = False
        self._hub.detach(self, self._only)
        self._changes.clear()
        self._ready.clear()
        self._held.clear()
        self.wake()

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> TaskSnapshot:
        """Wait for the next change."""
        if not self._entered:
            raise RuntimeError("events() is a context manager: `async with manager.events() as events:`, then iterate")
        if self._iterating:
            raise RuntimeError(
                "two tasks iterate one subscription: the events would be split between them; open one for each"
            )
        self._iterating = True
        try:
            await self._loop.checkpoint()
            while (download := self._take()) is None:
                if self._is_over:
                    raise StopAsyncIteration
                if (snapshot := await self._park()) is not None:
                    return snapshot
            return self._hub.deliver(download)
        finally:
            self._iterating = False

    @trio.lowlevel.enable_ki_protection
    def note(self, download: Download) -> None:
        """*download* has changed: remember it, and hand it over if somebody waits for it."""
        final = download.status.is_final
        change = self._changes.get(download)
        if change is None:
            order = next(self._orders)
            due = -math.inf if final else self._not_before.get(download, -math.inf)
            held = due > self._loop.now() if due > -math.inf else False
            self._changes[download] = (order, held)
            if held:
                heapq.heappush(self._held, (due, order, download))
            else:
                heapq.heappush(self._ready, (order, download))
        elif final and change[1]:
            self._changes[download] = (change[0], False)
            heapq.heappush(self._ready, (change[0], download))
            self._sweep_held()
        else:
            return
        self.wake()

    def wake(self) -> None:
        """Hand the next change to the task that waits, or let it see that there is a new time to wait for, or none."""
        if self._parked is None:
            return
        if self._loop.wakes_for_good and (download := self._take()) is not None:
            self._handed = self._hub.deliver(download)
        sleeper, self._parked = self._parked, None
        sleeper.wake()

    @property
    def _is_over(self) -> bool:
        if not self._attached:
            return True
        if self._changes:
            return False
        return self._hub.closed if self._only is None else not self._awaited

    def _take(self) -> Download | None:
        """Return the first change that may be delivered now."""
        self._release_due()
        if not self._ready:
            return None
        _, download = heapq.heappop(self._ready)
        del self._changes[download]
        if download.status.is_final:
            self._awaited.discard(download)
            self._not_before.pop(download, None)
        elif self._min_interval_s > 0:
            self._not_before[download] = self._loop.now() + self._min_interval_s
        return download

    def _release_due(self) -> None:
        while self._held and (self._held[0][0] <= self._loop.now() or self._is_stale(self._held[0])):
            entry = heapq.heappop(self._held)
            if not self._is_stale(entry):
                _, order, download = entry
                self._changes[download] = (order, False)
                heapq.heappush(self._ready, (order, download))

    def _sweep_held(self) -> None:
        """Throw stale entries out once they are many: each would keep an ended download."""
        if len(self._held) > 2 * len(self._changes) + _FEW:
            self._held = [entry for entry in self._held if not self._is_stale(entry)]
            heapq.heapify(self._held)

    def _is_stale(self, entry: tuple[float, int, Download]) -> bool:
        return self._changes.get(entry[2]) != (entry[1], True)

    def _leave(self) -> None:
        self._parked = None

    async def _park(self) -> TaskSnapshot | None:
        """Sleep until something can be delivered, or may have become due."""
        self._parked = self._loop.make_sleeper()
        await self._parked.sleep(self._leave, until=self._held[0][0] if self._held else math.inf)
        handed, self._handed = self._handed, None
        return handed

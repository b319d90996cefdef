"""The loop of a manager on asyncio, stock or uvloop.

Rules that hold here:

- asyncio delivers a cancel once, and may do so between the wake-up of a task and its next step: so nothing is handed
  to a task in the step that wakes it (``wakes_for_good``), it takes what it finds when it runs;
- a cancelled sleep is undone inside ``Future.cancel``, which is called in the step of the cancel;
- behind a shield anyio's cancel scopes do not call again and again, which would cost a processor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, final

import anyio

__all__ = ["HostLoop", "wait_shielded", "wait_until_cancelled"]


@final
class _Sleep(asyncio.Future[None]):
    """A future that says in the step of its cancel that nobody waits for it any more."""

    gone: Callable[[], object] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done() and self.gone is not None:
            self.gone()
        return super().cancel(msg)


@final
class HostSleeper:
    """A sleep of the running asyncio task."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future = _Sleep(loop=loop)

    def wake(self) -> None:
        """Let the task go on, unless it was cancelled."""
        if not self._future.done():
            self._future.set_result(None)

    async def sleep(self, gone: Callable[[], object], until: float = math.inf) -> None:
        """Sleep until woken, cancelled, or the time *until*; in the last two cases *gone* has been called."""
        self._future.gone = gone
        timer = None if until == math.inf else self._loop.call_at(until, self._expire)
        try:
            await self._future
        finally:
            self._future.gone = None
            if timer is not None:
                timer.cancel()

    def _expire(self) -> None:
        if not self._future.done():
            assert self._future.gone is not None
            self._future.gone()
            self._future.set_result(None)


@final
class HostLot:
    """Where asyncio tasks sleep that all wait for the same."""

    __slots__ = ("_loop", "_sleepers")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sleepers: dict[HostSleeper, None] = {}

    def __len__(self) -> int:
        return len(self._sleepers)

    async def park(self) -> None:
        """Sleep until all are woken."""
        sleeper = HostSleeper(self._loop)
        self._sleepers[sleeper] = None
        await sleeper.sleep(lambda: self._sleepers.pop(sleeper))

    def unpark_all(self) -> None:
        """Wake all that sleep here."""
        for sleeper in self._sleepers:
            sleeper.wake()
        self._sleepers.clear()


@final
class HostLoop:
    """A running asyncio loop, as a manager uses it."""

    __slots__ = ("_loop",)
    wakes_for_good: ClassVar[bool] = False
    cancelled: ClassVar[type[BaseException]] = asyncio.CancelledError

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    async def checkpoint(self) -> None:
        """Let others run; raises ``CancelledError`` if the task was cancelled."""
        self.check_here()
        await asyncio.sleep(0)

    # Whether a cancel is on its way cannot be asked; it comes when one yields.
    checkpoint_if_cancelled = checkpoint

    async def cancel_shielded_checkpoint(self) -> None:
        """Nothing: whoever yields may be cancelled."""

    def make_sleeper(self) -> HostSleeper:
        """Make the sleep of the running task."""
        self.check_here()
        return HostSleeper(self._loop)

    def make_lot(self) -> HostLot:
        """Make an empty lot."""
        return HostLot(self._loop)

    async def shielded(self, function: Callable[[], Awaitable[object]]) -> None:
        """Await *function* to its end in a task of its own, and raise the last cancel that came meanwhile, if any."""

        async def run() -> None:
            await function()

        work = self._loop.create_task(run(), name="trio_dlm: behind a shield")
        cancelled = await wait_shielded(work)
        if cancelled is not None:
            raise cancelled
        work.result()

    def check_here(self) -> None:
        """Refuse a caller on another loop.

        Raises:
            RuntimeError: another loop runs here.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            # Between two runs of the loop its thread may ask for what needs no waiting.
            return
        if running is not self._loop:
            raise RuntimeError(
                "the manager belongs to another event loop, and nothing was done: call its methods on that loop"
            )


async def wait_until_cancelled(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until *future* is done, or the task is cancelled; return the ``CancelledError`` in the second case.

    What *future* holds is not looked at, and it is not cancelled.
    """
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError as exc:  # noqa: ASYNC103
        return exc  # noqa: ASYNC104  (the caller raises it)
    return None


async def wait_shielded(future: asyncio.Future[Any]) -> asyncio.CancelledError | None:
    """Wait until *future* is done, whatever happens to the task; return the last ``CancelledError`` that came."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):  # noqa: ASYNC912
        while not future.done():
            cancelled = await wait_until_cancelled(future) or cancelled
    return cancelled

"""The way between the thread of an asyncio loop and that of the trio run beside it: commands in, reports out.

Rules that hold here:

- what crosses is a synchronous call, made in the other thread in the order in which it was sent; no object of trio or
  asyncio is used on the wrong side;
- one wake-up is under way in each direction, however many calls wait for it: waking costs a system call;
- a call that raises on the other side is a bug, or one in the code of a lane; it ends the manager rather than be lost;
- a closed loop is not an error here: the trio side is told that its user is gone, and that once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias, final

import trio

__all__ = ["Crossing"]

_Call: TypeAlias = "tuple[Callable[..., object], tuple[Any, ...]]"


@final
class Crossing:
    """Two queues of calls, one for each direction."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host_failed: Callable[[BaseException], object]) -> None:
        self._loop: Final = loop
        self._lock: Final = threading.Lock()
        self._in: Final[deque[_Call]] = deque()
        self._out: Final[deque[_Call]] = deque()
        self._in_is_due = False
        self._out_is_due = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._fail: Callable[[BaseException], object] = _raise
        self._host_gone: Callable[[], object] | None = None
        self._host_failed: Final = host_failed

    # For the host's thread.

    def to_trio(self, function: Callable[..., object], *args: Any) -> None:
        """Have *function* called in the trio run, after all that was sent before; nothing happens once that is over."""
        self._in.append((function, args))
        with self._lock:
            if self._in_is_due or self._token is None:
                return
            self._in_is_due = True
        try:
            self._token.run_sync_soon(self._let_in)
        except trio.RunFinishedError:
            self._in.clear()

    # For the thread of trio.

    def open(self, fail: Callable[[BaseException], object], host_gone: Callable[[], object]) -> None:
        """Begin to let calls in, those first that were sent already; called in the trio run.

        Args:
            fail: ends the run with what a call from the host raised.
            host_gone: called when the host's loop turns out to be closed.
        """
        self._fail = fail
        self._host_gone = host_gone
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
        self._let_in()

    def to_host(self, function: Callable[..., object], *args: Any) -> None:
        """Have *function* called on the host's loop, after all that was sent before."""
        self._out.append((function, args))
        with self._lock:
            if self._out_is_due:
                return
            self._out_is_due = True
        try:
            self._loop.call_soon_threadsafe(self._let_out)
        except RuntimeError:
            # The loop is closed.  Nobody will ever ask again, nor be told.
            self._out.clear()
            host_gone, self._host_gone = self._host_gone, None
            if host_gone is not None:
                host_gone()

    # On arrival.

    def _let_in(self) -> None:
        with self._lock:
            self._in_is_due = False
        for _ in range(len(self._in)):
            function, args = self._in.popleft()
            try:
                function(*args)
            except BaseException as exc:  # noqa: ASYNC103, BLE001  (it ends the run, and leaves the block from there)
                self._fail(exc)

    def _let_out(self) -> None:
        with self._lock:
            self._out_is_due = False
        for _ in range(len(self._out)):
            function, args = self._out.popleft()
            try:
                function(*args)
            except BaseException as exc:  # noqa: ASYNC103, BLE001  (likewise)
                self._host_failed(exc)


def _raise(exc: BaseException) -> None:
    raise exc

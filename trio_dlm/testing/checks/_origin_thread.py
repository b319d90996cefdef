"""A run of trio in a thread beside, in which origins listen on sockets while plain code waits for a client of theirs.

Rules that hold here:

- the thread ends with the block, and everything in it;
- an origin is there for one case only: what a client of an earlier one still does cannot reach it;
- the caller may itself be in a run of trio, which stands still meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar, final

import trio

from ..origin._plan import FaultPlan
from ..origin._server import Origin
from ..origin._sockets import open_origin

__all__ = ["OriginThread", "origin_thread"]

_T = TypeVar("_T")


@final
class OriginThread:
    """What runs in the thread.  Made by :func:`origin_thread`."""

    def __init__(self, token: trio.lowlevel.TrioToken, nursery: trio.Nursery) -> None:
        self._token = token
        self._nursery = nursery

    @contextmanager
    def open_origin(self, plan: FaultPlan, *, body: bytes, tls: bool = False) -> Generator[Origin]:
        """Let an origin listen until the block ends."""
        opened: Future[Origin] = Future()
        scope = trio.CancelScope()

        async def serve() -> None:
            with scope:
                async with open_origin(plan, body=body, tls=tls) as origin:
                    opened.set_result(origin)
                    await trio.sleep_forever()

        closed = self._start(serve)
        try:
            # Whichever comes first: if it could not be opened, that is how it ends.
            either: list[Future[Any]] = [opened, closed]
            wait(either, return_when=FIRST_COMPLETED)
            if closed.done():
                closed.result()
            yield opened.result()
        finally:
            self._token.run_sync_soon(lambda: scope.cancel(reason="the case has ended"))
            closed.result()

    def call(self, function: Callable[[], Awaitable[_T]]) -> _T:
        """Run *function* in the thread, and return what it returns."""
        return self._start(function).result()

    def _start(self, function: Callable[[], Awaitable[_T]]) -> Future[_T]:
        future: Future[_T] = Future()

        async def run() -> None:
            try:
                value = await function()
            # Whatever it is belongs to the thread that waits.
            except BaseException as exc:  # noqa: ASYNC103
                future.set_exception(exc)
                if not isinstance(exc, Exception):
                    raise
            else:
                future.set_result(value)

        self._token.run_sync_soon(lambda: self._nursery.start_soon(run))
        return future


@contextmanager
def origin_thread() -> Generator[OriginThread]:
    """Run trio in a thread until the block ends."""
    started: Future[OriginThread] = Future()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            started.set_result(OriginThread(trio.lowlevel.current_trio_token(), nursery))
            await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(main,), name="trio_dlm origin")
    thread.start()
    beside = started.result()
    try:
        yield beside
    finally:
        beside._token.run_sync_soon(lambda: beside._nursery.cancel_scope.cancel(reason="the check has ended"))
        thread.join()

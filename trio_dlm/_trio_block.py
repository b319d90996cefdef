"""The block of a manager in a trio run: a nursery, and around it what its downloads use.

Rules that hold here:

- leaving closes the door first; then the downloads go on to their end, or are cancelled; then the nursery ends, and
  only after that the downloader and what ``setup`` gave;
- an exception of the body leaves alone and bare; a crash of a download leaves as trio lets it, in a group;
- failures that nobody asked for leave only when nothing else does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import cast

import trio

from ._engine import Engine
from ._leaving import CLOSED, outcome_of, reason_of
from ._manager import DownloadManager, make_manager
from ._plan import OnExit, Plan
from ._records import DownloadResult
from .downloaders._protocol import Downloader

__all__ = ["run_block"]


@asynccontextmanager
async def run_block(plan: Plan) -> AsyncGenerator[DownloadManager]:
    async with AsyncExitStack() as stack:
        directory = Path(os.path.abspath(plan.directory))  # noqa: ASYNC240  (asks for the current directory only)
        resources = await stack.enter_async_context(plan.setup()) if plan.setup is not None else None
        downloader = plan.downloader if plan.downloader is not None else default_downloader()
        if hasattr(downloader, "__aenter__"):
            await stack.enter_async_context(cast("AbstractAsyncContextManager[object]", downloader))
        engine = Engine(
            max_concurrent=plan.max_concurrent,
            max_per_lane=plan.max_per_lane,
            max_pending=plan.max_pending,
            keep_finished=plan.keep_finished,
            rate_limit_bytes_per_s=plan.rate_limit_bytes_per_s,
            directory=directory,
            resources=resources,
        )
        leaving: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                engine.nursery = nursery
                try:
                    yield make_manager(engine, downloader=downloader, lane_of=plan.lane_of)
                except BaseException as exc:  # noqa: ASYNC103, BLE001  (raised again below, beyond the nursery)
                    leaving.append(exc)
                try:
                    await _end_all(engine, plan.on_exit, leaving)
                except BaseException as exc:  # noqa: ASYNC103, BLE001  (likewise)
                    leaving.append(exc)
        except BaseException as exc:  # noqa: ASYNC103, BLE001  (likewise)
            leaving.append(exc)
        finally:
            engine.close()
        if leaving:
            raise outcome_of(leaving, engine.failures.total, trio.Cancelled)
        if engine.failures.total and plan.failures == "raise":
            raise engine.failures.as_error()


async def _end_all(engine: Engine, on_exit: OnExit, leaving: list[BaseException]) -> None:
    """Bring every download to its end, or on its way there: the nursery waits for what still runs."""
    if leaving:
        engine.stop_all(reason_of(leaving[0], trio.Cancelled))
    elif on_exit == "cancel":
        engine.stop_all(CLOSED)
        await trio.lowlevel.checkpoint()
    else:
        try:
            await engine.drain()
        except BaseException as exc:
            engine.stop_all(reason_of(exc, trio.Cancelled))
            raise


def default_downloader() -> Downloader[DownloadResult]:
    # Imported late: a program that brings its own downloader does not pay for an HTTP client.
    from .downloaders.http import HttpDownloader

    return HttpDownloader()

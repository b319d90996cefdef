"""Ctrl-C under ``asyncio.run``, which cancels the main task."""

from __future__ import annotations

import asyncio
import signal

from tests.embedding.program import Lasting, our_threads, run, say
from tests.fakes import url
from trio_dlm import open_manager


async def main() -> None:
    downloader = Lasting()
    handler = signal.getsignal(signal.SIGINT)
    async with open_manager(2, downloader=downloader) as manager:
        say("the handler is the runner's:", signal.getsignal(signal.SIGINT) is handler)
        await manager.submit(url("a"))
        await manager.submit(url("b"))
        await manager.submit(url("c"))
        await downloader.has_begun("a", "b")
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("the body was cancelled")
            raise


try:
    run(main)
except KeyboardInterrupt:
    say("KeyboardInterrupt")
say("threads:", our_threads())

"""The block is in an async generator that nobody closes: the loop closes it, at once or when it ends."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator

from tests.embedding.program import Lasting, our_threads, run, say
from tests.fakes import url
from trio_dlm import open_manager

downloader = Lasting()
held: list[AsyncGenerator[str]] = []


async def generate() -> AsyncGenerator[str]:
    async with open_manager(2, downloader=downloader) as manager:
        await manager.submit(url("a"))
        await downloader.has_begun("a")
        yield "first"
        yield "second"


async def main() -> None:
    names = generate()
    if "held" in sys.argv:
        held.append(names)
    async for name in names:
        say(name)
        break
    del names
    gc.collect()
    # asyncio closes a lost generator in a task, and never does if that is cancelled before it has begun.
    for _ in range(5):
        await asyncio.sleep(0)
    say("main is over")


run(main)
say("threads:", our_threads())

"""``asyncio.run`` ends while another task is in the block, and cancels that task."""

from __future__ import annotations

import asyncio

from tests.embedding.program import Lasting, our_threads, run, say
from tests.fakes import url
from trio_dlm import open_manager

downloader = Lasting()
tasks: list[asyncio.Task[None]] = []


async def stay() -> None:
    async with open_manager(2, downloader=downloader) as manager:
        await manager.submit(url("a"))
        await asyncio.Event().wait()


async def main() -> None:
    tasks.append(asyncio.create_task(stay()))
    await downloader.has_begun("a")
    say("main is over")


run(main)
say("cancelled:", tasks[0].cancelled())
say("threads:", our_threads())

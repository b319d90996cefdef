"""The loop is stopped and closed, and the block that was entered in it is never left."""

from __future__ import annotations

import asyncio
import sys

import trio

from tests.embedding.program import DOWNLOAD, Lasting, expect_failures, new_loop, run, say
from tests.fakes import instant, saved, url
from trio_dlm import DownloadJob, DownloadResult, asyncio_downloader, open_manager

began = asyncio.Event()


async def stay(job: DownloadJob) -> DownloadResult:
    say(f"{DOWNLOAD}h began in the loop")
    began.set()
    await asyncio.Event().wait()
    return saved(job)


async def stand(job: DownloadJob) -> DownloadResult:
    say(f"{DOWNLOAD}s began")
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
    return saved(job)


async def main() -> None:
    downloader = Lasting()
    async with open_manager(5, downloader=downloader) as manager:
        await manager.submit(url("a"))
        if "host" in sys.argv:
            await manager.submit(url("h"), downloader=asyncio_downloader(stay))
            await began.wait()
        if "stubborn" in sys.argv:
            await manager.submit(url("s"), downloader=stand)
        await downloader.has_begun("a")
        # It begins after the others.
        await manager.submit(url("b"))
        await downloader.has_begun("b")
        loop.stop()
        await asyncio.Event().wait()


async def main_again() -> None:
    async with open_manager(2, downloader=instant) as manager:
        saved_again = await manager.download(url("d"))
        say("again:", saved_again.path.name)


expect_failures()
loop = new_loop()
task = loop.create_task(main())
# What asyncio says of a task that nobody ended is the host's affair.
task._log_destroy_pending = False  # type: ignore[attr-defined]
loop.run_forever()
for other in asyncio.all_tasks(loop):
    other._log_destroy_pending = False  # type: ignore[attr-defined]
loop.close()
say("closed")
if "drop" in sys.argv:
    # The coroutine is closed, and with it the block is left, in a loop that cannot run any more.
    del task
    say("dropped")
run(main_again)
say("over")

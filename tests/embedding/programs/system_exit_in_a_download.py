"""A download raises what no download may: it leaves the block, in a group; from a task of the loop the loop as well."""

from __future__ import annotations

import asyncio
import sys

from tests.conformance.downloaders import Bell
from tests.embedding.program import Lasting, expect_failures, our_threads, run, say
from tests.fakes import url
from trio_dlm import DownloadJob, DownloadResult, DownloadTask, asyncio_downloader, open_manager

raised: BaseException = {"exit": SystemExit(7), "interrupt": KeyboardInterrupt()}[sys.argv[2]]


bell = Bell()
told: list[bool] = []


async def burst(job: DownloadJob) -> DownloadResult:
    await bell.until(lambda: told)
    raise raised


async def main() -> None:
    downloader = Lasting()
    tasks: list[DownloadTask[DownloadResult]] = []
    try:
        async with open_manager(2, downloader=downloader) as manager:
            tasks.append(await manager.submit(url("a")))
            await downloader.has_begun("a")
            tasks.append(
                await manager.submit(url("b"), downloader=asyncio_downloader(burst) if sys.argv[3] == "host" else burst)
            )
            tasks.append(await manager.submit(url("c")))
            told.append(True)
            bell.ring()
            await asyncio.Event().wait()
    except BaseExceptionGroup as group:
        say("group of", *map(repr, group.exceptions), group.exceptions[0] is raised)
    for task in tasks:
        say(task.status.value, type(task.error).__name__)
    if sys.argv[3] == "trio":
        current = asyncio.current_task()
        assert current is not None
        say("cancelling:", current.cancelling())
    say("threads:", our_threads())


expect_failures()
try:
    run(main)
except (SystemExit, KeyboardInterrupt) as exc:
    say("out of the loop:", repr(exc), exc is raised)
say("over")

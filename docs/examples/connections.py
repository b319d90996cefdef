"""Two files at a time, each over at most three connections, and five megabytes a second for all of it."""

import sys

import trio

import trio_dlm
from trio_dlm import HttpDownloader


async def main(urls: list[str]) -> None:
    http = HttpDownloader(connections=3, min_segment_size=8 * 1024 * 1024)
    async with trio_dlm.open_manager(
        2, directory="downloads", downloader=http, rate_limit_bytes_per_s=5_000_000
    ) as manager:
        tasks = [await manager.submit(url) for url in urls]
        async with manager.events(tasks=tasks, min_interval_s=0.5) as events:
            async for snapshot in events:
                progress = snapshot.progress
                print(snapshot.url, progress.received_bytes, len(progress.parts))
        for task in tasks:
            await task.result()


trio.run(main, sys.argv[1:])

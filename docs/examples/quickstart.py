import sys

import trio

import trio_dlm
from trio_dlm.formatting import format_line


async def main(urls: list[str]) -> None:
    async with trio_dlm.open_manager(max_concurrent=5, directory="downloads") as manager:
        tasks = [await manager.submit(url) for url in urls]
        async with manager.events(tasks=tasks, min_interval_s=1) as events:
            async for snapshot in events:
                print(format_line(snapshot))
        for task in tasks:
            try:
                saved = await task.result()
                print(saved.path, saved.size_bytes)
            except trio_dlm.DownloadFailedError as exc:
                print(exc)  # what went wrong, and what to do about it


trio.run(main, sys.argv[1:])

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
            saved = await task.result()  # raises if it failed
            print(saved.path, saved.size_bytes)


trio.run(main, sys.argv[1:])

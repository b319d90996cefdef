"""Download files and what media pages play from one queue: python files_and_media.py URL…"""

import sys
from pathlib import Path

import trio

from trio_dlm import AutoDownloader, HttpDownloader, MediaResult, YtDlpDownloader, YtDlpOptions, open_manager


async def main(directory: Path, *urls: str) -> None:
    downloader = AutoDownloader(HttpDownloader(connections=4), YtDlpDownloader(YtDlpOptions(format_sort=("res:720",))))
    async with open_manager(3, directory=directory, downloader=downloader) as manager:
        for task in await manager.submit_many(urls):
            result = await task.result()
            title = result.media.title if isinstance(result, MediaResult) else None
            print(result.path.name, title or "a file", result.size_bytes)


if __name__ == "__main__":
    trio.run(main, Path("saved"), *sys.argv[1:])

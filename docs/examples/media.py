"""Download what media pages play: python media.py URL…"""

import sys
from pathlib import Path

import trio

from trio_dlm import DownloadBatch, DownloadManager, MediaError, YtDlpDownloader, YtDlpOptions, open_manager


async def submit_all(url: str, downloader: YtDlpDownloader, manager: DownloadManager) -> DownloadBatch:
    """Queue what is at *url*: one item, or all of a playlist, which share a lane."""
    entries = await downloader.expand(url, limit=50)
    return await manager.submit_many([downloader.request_for(entry) for entry in entries], lane=url)


async def main(directory: Path, *urls: str) -> None:
    downloader = YtDlpDownloader(YtDlpOptions(format_sort=("res:720",), concurrent_fragments=4))
    async with open_manager(2, directory=directory, downloader=downloader, failures="keep") as manager:
        for url in urls:
            try:
                batch = await submit_all(url, downloader, manager)
            except MediaError as error:
                print(error)
                continue
            for task in batch:
                await task.wait()
                print(task.status.value, task.url, task.reason or task.progress.received_bytes)


if __name__ == "__main__":
    trio.run(main, Path("media"), *sys.argv[1:])

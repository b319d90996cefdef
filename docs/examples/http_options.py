"""Limits for all that is fetched, others for a single file, and what it is to reach one."""

import sys

import trio

import trio_dlm
from trio_dlm import DownloadFailedError, DownloadOptions, HttpDownloader, TooLargeError


async def main(urls: list[str]) -> None:
    # The weakest layer: for everything that this downloader fetches.
    agent = {"User-Agent": "mirror/1.0"}
    http = HttpDownloader(headers=agent, connect_timeout_s=5, max_bytes=10 * 1024**3)
    async with trio_dlm.open_manager(5, directory="downloads", downloader=http) as manager:
        # Over it, what a request brings; over that, its single fields.
        patient = DownloadOptions(timeout_s=120, total_timeout_s=3600)
        for url in urls:
            saved = await manager.download(url, options=patient)
            print(saved.path.name, saved.size_bytes)

            try:
                await manager.download(url, options=patient, filename="tiny", max_bytes=10)
            except DownloadFailedError as exc:
                if not isinstance(exc.__cause__, TooLargeError):
                    raise
                print(exc.__cause__)


trio.run(main, sys.argv[1:])

"""Fetch the URLs of the command line, politely, and say in the end what became of them."""

import logging
import sys
from urllib.parse import urlsplit

import trio

import trio_dlm
from trio_dlm import DownloadManager, DownloadRequest, DownloadStatus
from trio_dlm.formatting import format_line, format_stats


def host_of(request: DownloadRequest) -> str | None:
    return urlsplit(request.url).hostname


async def show(manager: DownloadManager, *, task_status: trio.TaskStatus[None]) -> None:
    async with manager.events(min_interval_s=1) as events:
        task_status.started()
        async for snapshot in events:
            print(format_line(snapshot, width=100))


async def main(urls: list[str]) -> int:
    block = trio_dlm.open_manager(5, directory="downloads", lane_of=host_of, max_per_lane=2)
    async with trio.open_nursery() as nursery, block as manager:
        await nursery.start(show, manager)
        batch = await manager.submit_many(urls)
        statuses = await batch.wait()
    print(format_stats(manager.get_stats()))
    return 0 if all(status is DownloadStatus.COMPLETED for status in statuses) else 1


# The display says what failed, so the log need not repeat it.
logging.getLogger("trio_dlm").setLevel(logging.ERROR)
sys.exit(trio.run(main, sys.argv[1:]))

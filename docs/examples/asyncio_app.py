"""A program on asyncio: the same manager, the same calls; asyncio's own timeouts and task groups around them."""

import asyncio

import anyio

import trio_dlm
from trio_dlm import DownloadJob, DownloadManager, DownloadResult


async def fetch(job: DownloadJob) -> DownloadResult:
    # Runs in trio, as the manager's own downloaders do; what is written with anyio runs everywhere.
    job.progress.begin(total_bytes=3000)
    for _ in range(3):
        await anyio.sleep(0.02)
        job.progress.advance(1000)
    return DownloadResult(path=job.directory / job.correlation_id, size_bytes=3000)


@trio_dlm.asyncio_downloader
async def fetch_by_asyncio(job: DownloadJob) -> DownloadResult:
    # Runs on the program's own event loop, so it may use what needs that.
    reader = asyncio.StreamReader()
    reader.feed_data(b"x" * 500)
    reader.feed_eof()
    data = await reader.read()
    return DownloadResult(path=job.directory / job.correlation_id, size_bytes=len(data))


async def show(manager: DownloadManager, number: int) -> None:
    saved = await manager.download(f"https://example.org/{number}")
    print(f"number {number} has {saved.size_bytes} bytes")


async def main() -> None:
    async with trio_dlm.open_manager(2, downloader=fetch) as manager:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(show(manager, number))
        task = await manager.submit("https://example.org/4", downloader=fetch_by_asyncio)
        print(await task.wait())
    print(manager.get_stats().completed, "downloads completed")


asyncio.run(main())

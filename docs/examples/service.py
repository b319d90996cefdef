"""A manager that lives as long as a service does, in a nursery of the service."""

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadManager, DownloadResult


async def fetch(job: DownloadJob) -> DownloadResult:
    await trio.sleep(0.05)
    if job.url.endswith("/4"):
        raise OSError("no such file")
    return DownloadResult(path=job.directory / "file", size_bytes=0)


async def run_manager(*, task_status: trio.TaskStatus[DownloadManager]) -> None:
    # Nobody would catch what leaves this block, so failures stay on their tasks.
    # They are logged all the same.
    async with trio_dlm.open_manager(2, downloader=fetch, failures="keep") as manager:
        task_status.started(manager)
        await trio.sleep_forever()


async def main() -> None:
    async with trio.open_nursery() as nursery:
        manager: DownloadManager = await nursery.start(run_manager)
        for number in range(6):
            await manager.submit(f"https://example.org/{number}")

        # The end of the service: let the queue run empty, for a minute at most.  What is
        # left is cancelled with the nursery; once that has been left nothing of it runs.
        with trio.move_on_after(60):
            await manager.wait_idle()
        nursery.cancel_scope.cancel(reason="the service ends")
    stats = manager.get_stats()
    print(f"completed {stats.completed}, failed {stats.failed}, cancelled {stats.cancelled}")


trio.run(main)

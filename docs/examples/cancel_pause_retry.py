"""Take a download off its slot, put it back into the queue, end it, and do it once more."""

import trio

import trio_dlm
from trio_dlm import DownloadCancelledError, DownloadJob, DownloadResult


async def fetch(job: DownloadJob) -> DownloadResult:
    job.progress.begin(total_bytes=20)
    for _ in range(20):
        await trio.sleep(0.02)
        job.progress.advance(1)
    return DownloadResult(path=job.directory / "file", size_bytes=20)


async def main() -> None:
    async with trio_dlm.open_manager(max_concurrent=1, downloader=fetch) as manager:
        first = await manager.submit("https://example.org/first")
        second = await manager.submit("https://example.org/second")
        await trio.sleep(0.1)
        print("first is", first.status.value, "and second is", second.status.value)

        # When pause() returns, no code of the download runs, and the next one has its slot.
        print("paused:", await first.pause())
        print("first is", first.status.value, "and second is", second.status.value)

        # When cancel() returns, it has ended.  False would mean: in another way.
        print("cancelled:", await second.cancel("not wanted any more"))
        try:
            await second.result()
        except DownloadCancelledError as exc:
            print(exc)

        # It goes to the end of its lane.  Nothing is before it there, so it runs at once.
        print("resumed:", first.resume())
        print("first ends", (await first.wait()).value, "in run", first.attempts)

        again = second.retry()
        print("a retry is a new download:", again.retry_of == second.correlation_id)
        print("it ends", (await again.wait()).value)


trio.run(main)

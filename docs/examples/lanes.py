"""Four downloads at once, two from one host, one from a slow one; then all of it changes."""

from collections import Counter
from urllib.parse import urlsplit

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult

running: Counter[str | None] = Counter()


def host_of(request: DownloadRequest) -> str | None:
    return urlsplit(request.url).hostname


async def fetch(job: DownloadJob) -> DownloadResult:
    host = host_of(job.request)
    running[host] += 1
    print(f"{host} runs {running[host]}, all hosts run {running.total()}")
    try:
        await trio.sleep(0.1)
    finally:
        running[host] -= 1
    return DownloadResult(path=job.directory / job.correlation_id, size_bytes=0)


async def main() -> None:
    block = trio_dlm.open_manager(4, downloader=fetch, lane_of=host_of, max_per_lane=2)
    async with block as manager:
        manager.set_lane_limit("slow.example", 1)
        for host in ("one.example", "two.example", "slow.example"):
            await manager.submit_many(f"https://{host}/{number}" for number in range(8))

        for lane, figures in manager.get_stats().lanes.items():
            print(lane, "runs", figures.active, "of", figures.limit, "queues", figures.pending)

        await trio.sleep(0.15)
        # Nobody is interrupted.  The next one starts when fewer than two run.
        manager.max_concurrent = 2
        await trio.sleep(0.3)
        # What may start now starts in this line.
        manager.max_concurrent = 100
        manager.max_per_lane = 4
        manager.set_lane_limit("slow.example", None)


trio.run(main)

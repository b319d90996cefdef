"""An anyio program on its trio backend: nothing special in it, nor in its downloader."""

from pathlib import Path

import anyio
from anyio.abc import TaskStatus

import trio_dlm
from trio_dlm import DownloadJob, DownloadManager, DownloadResult


async def fetch(job: DownloadJob) -> DownloadResult:
    halves: dict[int, bytes] = {}

    async def fetch_half(number: int) -> None:
        await anyio.sleep(0.05)
        halves[number] = bytes([number]) * 1000
        job.progress.advance(1000)

    job.progress.begin(total_bytes=2000)
    async with anyio.create_task_group() as group:
        for number in range(2):
            group.start_soon(fetch_half, number)
    path = anyio.Path(job.directory, f"{job.correlation_id}.bin")
    size_bytes = await path.write_bytes(halves[0] + halves[1])
    return DownloadResult(path=Path(path), size_bytes=size_bytes)


async def watch(manager: DownloadManager, *, task_status: TaskStatus[None]) -> None:
    async with manager.events() as events:
        task_status.started()
        async for snapshot in events:
            received_bytes = snapshot.progress.received_bytes
            print(snapshot.correlation_id, snapshot.status.value, received_bytes)


async def main() -> None:
    block = trio_dlm.open_manager(2, downloader=fetch)
    # The group is around the block, so the watcher ends when the manager has closed.
    async with anyio.create_task_group() as group, block as manager:
        await group.start(watch, manager)
        with anyio.fail_after(10):
            for number in range(3):
                await manager.submit(f"https://example.org/{number}")


anyio.run(main, backend="trio")

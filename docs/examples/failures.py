"""Where a failure shows up: at whoever asks for it, or else when the block ends."""

import trio

import trio_dlm
from trio_dlm import DownloadFailedError, DownloadJob, DownloadResult, DownloadStatus


async def fetch(job: DownloadJob) -> DownloadResult:
    await trio.sleep(0.01)
    raise ConnectionResetError(f"no answer to {job.url}")


async def ask() -> None:
    async with trio_dlm.open_manager(downloader=fetch) as manager:
        # result() raises; the cause is what came out of the downloader.
        first = await manager.submit("https://example.org/first")
        try:
            await first.result()
        except DownloadFailedError as exc:
            print("result() raised:", exc)
            print("its cause:", repr(exc.__cause__))

        # wait() tells.
        second = await manager.submit("https://example.org/second")
        if await second.wait() is DownloadStatus.FAILED:
            print("wait() said:", second.reason)


async def ask_nobody() -> None:
    urls = [f"https://example.org/{number}" for number in range(3)]
    try:
        async with trio_dlm.open_manager(downloader=fetch) as manager:
            await manager.submit_many(urls)
    except trio_dlm.UncollectedFailuresError as group:
        print(f"the block raised {group.total} failures")
        for failure in group.exceptions:
            print(" ", failure)


async def keep() -> None:
    async with trio_dlm.open_manager(downloader=fetch, failures="keep") as manager:
        task = await manager.submit("https://example.org/kept")
    print("kept:", task.status.value, repr(task.error))


async def main() -> None:
    await ask()
    await ask_nobody()
    await keep()


trio.run(main)

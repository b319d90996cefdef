"""What a full-speed download does to the program around it: ``python -m … CASE URL DIRECTORY``, prints one number.

``stall``
    the most processor time, in milliseconds, that the loop's thread spent between two ticks of a sleeper of 1 ms.
``stall-httpx``
    the same, for stock httpx on trio.
``cancel``
    milliseconds from the call of ``cancel()`` to its return, in the midst of a download.
``one``, ``many``
    eight connections for one file; a hundred downloads at once.  Prints 0: what counts is told by the system.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import trio

# Enough to be at full speed.
_IN_THE_MIDST_BYTES: Final = 64 * 1024 * 1024
MANY: Final = 100


class Ticker:
    """Ticks every millisecond, and notes the most that the thread did in between."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await trio.sleep(0.001)
            self.worst_s = max(self.worst_s, time.thread_time() - before)


async def stall(url: str, directory: Path) -> float:
    from trio_dlm import HttpDownloader, open_manager

    ticker = Ticker()
    async with open_manager(1, directory=directory, downloader=HttpDownloader(connections=1)) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ticker.run)
            await manager.download(url)
            nursery.cancel_scope.cancel()
    return ticker.worst_s * 1000


async def stall_httpx(url: str, directory: Path) -> float:
    import httpx

    ticker = Ticker()
    async with httpx.AsyncClient() as client, client.stream("GET", url) as response:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ticker.run)
            with (directory / "file").open("wb") as file:
                async for chunk in response.aiter_raw():
                    file.write(chunk)
            nursery.cancel_scope.cancel()
    return ticker.worst_s * 1000


async def cancel(url: str, directory: Path) -> float:
    from trio_dlm import HttpDownloader, open_manager

    downloader = HttpDownloader(connections=1)
    async with open_manager(1, directory=directory, downloader=downloader, failures="keep") as manager:
        task = await manager.submit(url)
        while task.snapshot().progress.received_bytes < _IN_THE_MIDST_BYTES:  # noqa: ASYNC110  (events would slow it)
            await trio.sleep(0.001)
        begun = time.perf_counter()
        await task.cancel()
        return (time.perf_counter() - begun) * 1000


async def one(url: str, directory: Path) -> float:
    from trio_dlm import HttpDownloader, open_manager

    async with open_manager(1, directory=directory, downloader=HttpDownloader(connections=8)) as manager:
        await manager.download(url)
    return 0.0


async def many(url: str, directory: Path) -> float:
    from trio_dlm import HttpDownloader, open_manager

    downloader = HttpDownloader(connections=1)
    async with open_manager(MANY, directory=directory, downloader=downloader) as manager:
        async with trio.open_nursery() as nursery:
            for number in range(MANY):
                task = await manager.submit(url, filename=f"{number}.bin")
                nursery.start_soon(task.wait)
    return 0.0


CASES: Final = {"stall": stall, "stall-httpx": stall_httpx, "cancel": cancel, "one": one, "many": many}


def main() -> None:
    case, url, directory = sys.argv[1:]
    figure = trio.run(CASES[case], url, Path(directory))
    print(figure)


if __name__ == "__main__":
    main()

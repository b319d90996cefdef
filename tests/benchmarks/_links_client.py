"""One client in Python, as a process: ``python -m … CLIENT CONNECTIONS AT_ONCE URLS DIRECTORY [WARM]``.

Prints processor time and wall clock from the first request to the last file, in seconds.  The URL *WARM* is fetched
before, so that what a client makes once (its TLS context, say) is left out.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio

_Spent: TypeAlias = tuple[float, float]


async def with_trio_dlm(urls: list[str], connections: int, at_once: int, directory: Path, warm: str | None) -> _Spent:
    from trio_dlm import HttpDownloader, open_manager

    downloader = HttpDownloader(connections=connections)
    async with open_manager(at_once, directory=directory, downloader=downloader) as manager:
        if warm is not None:
            (await manager.download(warm)).path.unlink()
        begun = time.process_time(), time.perf_counter()
        batch = await manager.submit_many(urls)
        await batch.wait()
        return time.process_time() - begun[0], time.perf_counter() - begun[1]


async def with_httpx(urls: list[str], _: int, __: int, directory: Path, warm: str | None) -> _Spent:
    import httpx

    async with httpx.AsyncClient() as client:
        if warm is not None:
            await client.get(warm)
        begun = time.process_time(), time.perf_counter()
        for url in urls:
            async with client.stream("GET", url) as response:
                with (directory / url.rpartition("/")[2]).open("wb") as file:
                    async for chunk in response.aiter_raw():
                        file.write(chunk)
        return time.process_time() - begun[0], time.perf_counter() - begun[1]


CLIENTS: Final[dict[str, Callable[..., Any]]] = {"trio_dlm": with_trio_dlm, "httpx": with_httpx}


def main() -> None:
    client, connections, at_once, urls, directory, *rest = sys.argv[1:]
    listed = Path(urls).read_text("utf-8").split()
    warm = rest[0] if rest else None
    cpu_s, wall_s = trio.run(CLIENTS[client], listed, int(connections), int(at_once), Path(directory), warm)
    print(cpu_s, wall_s)


if __name__ == "__main__":
    main()

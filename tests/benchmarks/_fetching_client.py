"""One client in Python, as a process: ``python -m … CLIENT CONNECTIONS AT_ONCE URLS DIRECTORY WARM``.

*URLS* is a file, and *WARM* a URL or empty: it is fetched before, so that what a client makes once (its TLS context,
say) is left out.  Prints processor time and wall clock from the first request to the last file, as JSON; imports and a
client's start are not in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True)
class Task:
    """What a client is to fetch, and how."""

    connections: int
    at_once: int
    urls: list[str]
    directory: Path
    warm: str

    def path(self, url: str) -> Path:
        return self.directory / url.rpartition("/")[2]


class Stopwatch:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._begun = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        cpu_s, wall_s = time.process_time() - self._begun[0], time.perf_counter() - self._begun[1]
        return {"transfer_cpu_s": cpu_s, "transfer_wall_s": wall_s}


def with_trio_dlm(task: Task) -> dict[str, float]:
    import trio

    from trio_dlm import HttpDownloader, open_manager

    async def main() -> dict[str, float]:
        downloader = HttpDownloader(connections=task.connections)
        async with open_manager(task.at_once, directory=task.directory, downloader=downloader) as manager:
            if task.warm:
                (await manager.download(task.warm)).path.unlink()
            watch = Stopwatch()
            batch = await manager.submit_many(task.urls)
            await batch.wait()
            return watch.read()

    return trio.run(main)


def with_aiohttp(task: Task) -> dict[str, float]:
    import aiohttp

    async def main() -> dict[str, float]:
        context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        connector = aiohttp.TCPConnector(ssl=context, limit=task.at_once)
        async with aiohttp.ClientSession(connector=connector) as session:
            waiting = list(reversed(task.urls))

            async def work() -> None:
                while waiting:
                    url = waiting.pop()
                    async with session.get(url) as response:
                        with task.path(url).open("wb") as file:
                            async for chunk in response.content.iter_chunked(1024 * 1024):
                                file.write(chunk)

            watch = Stopwatch()
            await asyncio.gather(*(work() for _ in range(task.at_once)))
            return watch.read()

    return asyncio.run(main())


def with_httpx(task: Task) -> dict[str, float]:
    import httpx

    with httpx.Client() as client:
        watch = Stopwatch()
        for url in task.urls:
            with client.stream("GET", url) as response, task.path(url).open("wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
        return watch.read()


def with_httpx_on_trio(task: Task) -> dict[str, float]:
    import httpx
    import trio

    async def main() -> dict[str, float]:
        async with httpx.AsyncClient() as client:
            if task.warm:
                await client.get(task.warm)
            watch = Stopwatch()
            for url in task.urls:
                async with client.stream("GET", url) as response:
                    with task.path(url).open("wb") as file:
                        async for chunk in response.aiter_raw():
                            file.write(chunk)
            return watch.read()

    return trio.run(main)


def with_requests(task: Task) -> dict[str, float]:
    import requests

    with requests.Session() as session:
        watch = Stopwatch()
        for url in task.urls:
            with session.get(url, stream=True) as response, task.path(url).open("wb") as file:
                for chunk in response.iter_content(1024 * 1024):
                    file.write(chunk)
        return watch.read()


CLIENTS: Final[dict[str, Callable[[Task], dict[str, Any]]]] = {
    "trio_dlm": with_trio_dlm,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "httpx on trio": with_httpx_on_trio,
    "requests": with_requests,
}


def main() -> None:
    client, connections, at_once, urls, directory, warm = sys.argv[1:]
    listed = Path(urls).read_text("utf-8").split()
    print(json.dumps(CLIENTS[client](Task(int(connections), int(at_once), listed, Path(directory), warm))))


if __name__ == "__main__":
    main()

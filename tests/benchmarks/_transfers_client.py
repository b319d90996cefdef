"""One client written in Python, as a process: ``python -m … CLIENT CONCURRENCY DIRECTORY < urls``.

Prints the processor time of the whole process from the first request to the last file, as JSON; imports and a client's
start are not in it.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final


def with_trio_dlm(urls: list[str], concurrency: int, directory: Path) -> float:
    import trio

    from trio_dlm import HttpDownloader, open_manager

    async def main() -> float:
        downloader = HttpDownloader(connections=1)
        async with open_manager(concurrency, directory=directory, downloader=downloader) as manager:
            begun = time.process_time()
            batch = await manager.submit_many(urls)
            await batch.wait()
            return time.process_time() - begun

    return trio.run(main)


def with_aiohttp(urls: list[str], concurrency: int, directory: Path) -> float:
    import aiohttp

    async def main() -> float:
        context = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=concurrency)) as session:
            waiting = list(reversed(urls))

            async def work() -> None:
                while waiting:
                    url = waiting.pop()
                    async with session.get(url) as response:
                        with (directory / url.rpartition("/")[2]).open("wb") as file:
                            async for chunk in response.content.iter_chunked(1024 * 1024):
                                file.write(chunk)

            begun = time.process_time()
            await asyncio.gather(*(work() for _ in range(concurrency)))
            return time.process_time() - begun

    return asyncio.run(main())


def with_httpx(urls: list[str], _: int, directory: Path) -> float:
    import httpx

    with httpx.Client() as client:
        begun = time.process_time()
        for url in urls:
            with client.stream("GET", url) as response, (directory / url.rpartition("/")[2]).open("wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
        return time.process_time() - begun


def with_requests(urls: list[str], _: int, directory: Path) -> float:
    import requests

    with requests.Session() as session:
        begun = time.process_time()
        for url in urls:
            with session.get(url, stream=True) as response, (directory / url.rpartition("/")[2]).open("wb") as file:
                for chunk in response.iter_content(1024 * 1024):
                    file.write(chunk)
        return time.process_time() - begun


CLIENTS: Final[dict[str, Callable[[list[str], int, Path], Any]]] = {
    "trio_dlm": with_trio_dlm,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "requests": with_requests,
}


def main() -> None:
    client, concurrency, directory = sys.argv[1:]
    cpu_s = CLIENTS[client](sys.stdin.read().split(), int(concurrency), Path(directory))
    print(json.dumps({"transfer_s": cpu_s}))


if __name__ == "__main__":
    main()

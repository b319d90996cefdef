import sys

import trio

import trio_dlm


async def main(urls: list[str]) -> None:
    for url in urls:
        saved = await trio_dlm.download(url, "downloads")
        print(saved.path, saved.size_bytes)


trio.run(main, sys.argv[1:])

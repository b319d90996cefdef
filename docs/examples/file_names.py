"""The same file four times: fetched, refused, proven to be there already, put beside it."""

import hashlib
import sys

import trio

import trio_dlm
from trio_dlm import DownloadFailedError, TargetExistsError


async def main(urls: list[str]) -> None:
    async with trio_dlm.open_manager(directory="downloads") as manager:
        for number, url in enumerate(urls):
            name = f"file-{number}.bin"
            saved = await manager.download(url, filename=name)
            print("saved:", saved.path.name)

            try:
                await manager.download(url, filename=name)
            except DownloadFailedError as exc:
                if not isinstance(exc.__cause__, TargetExistsError):
                    raise
                print("refused:", exc.__cause__.problem)

            digest = hashlib.sha256(await trio.Path(saved.path).read_bytes()).hexdigest()
            proven = await manager.download(url, filename=name, checksum=f"sha256:{digest}")
            print("there already:", proven.path.name, proven.reused)

            beside = await manager.download(url, filename=name, overwrite="unique")
            print("beside it:", beside.path.name)


trio.run(main, sys.argv[1:])

"""The body of the block, or a callback of the loop, asks for the end of the program."""

from __future__ import annotations

import asyncio
import sys

from tests.embedding.program import Lasting, run
from tests.fakes import url
from trio_dlm import open_manager


async def main() -> None:
    downloader = Lasting()
    async with open_manager(2, downloader=downloader) as manager:
        await manager.submit(url("a"))
        await downloader.has_begun("a")
        if sys.argv[2] == "body":
            sys.exit(3)
        asyncio.get_running_loop().call_soon(sys.exit, 3)
        await asyncio.Event().wait()


run(main)

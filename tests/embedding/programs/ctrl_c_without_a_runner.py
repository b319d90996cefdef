"""Ctrl-C under ``loop.run_until_complete``, which comes out of the loop; the host cancels what is left, or does not."""

from __future__ import annotations

import asyncio
import signal
import sys

from tests.embedding.program import Lasting, new_loop, our_threads, run, say
from tests.fakes import instant, url
from trio_dlm import open_manager


async def main() -> None:
    downloader = Lasting()
    async with open_manager(2, downloader=downloader) as manager:
        say("the handler is Python's:", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        await manager.submit(url("a"))
        await manager.submit(url("b"))
        await downloader.has_begun("a", "b")
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.Event().wait()


async def main_again() -> None:
    async with open_manager(2, downloader=instant) as manager:
        say((await manager.submit(url("d"))).correlation_id != "")
        await manager.wait_idle()


loop = new_loop()
task = loop.create_task(main())
try:
    loop.run_until_complete(task)
except KeyboardInterrupt:
    say("KeyboardInterrupt")
say("the handler is Python's:", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
if sys.argv[2] == "cancel":
    task.cancel()
    try:
        loop.run_until_complete(task)
    except asyncio.CancelledError:
        say("CancelledError")
    say("threads:", our_threads())
else:
    # What asyncio says of a task that nobody ended is the host's affair.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
loop.close()
run(main_again)
say("over")

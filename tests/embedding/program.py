"""What the programs share: the loop that the first argument names, downloads that say what becomes of them.

Rules that hold here:

- what is said goes out at once and in one piece, also while the interpreter ends;
- nobody sleeps: a host waits until a download has begun.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, final

import trio

from tests.conformance.downloaders import Bell
from tests.fakes import saved
from trio_dlm import DownloadJob, DownloadResult

__all__ = ["DOWNLOAD", "Lasting", "expect_failures", "new_loop", "our_threads", "run", "say"]

# How a line of a download begins.
DOWNLOAD: Final = "download: "

# Under load a callback may take long; what is slow is no subject of these programs.
NEVER_SLOW_S: Final = 3600.0


def say(*words: object) -> None:
    """Write one line."""
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop of the kind that the program was asked for."""
    if sys.argv[1] == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    loop.slow_callback_duration = NEVER_SLOW_S
    return loop


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do what ``asyncio.run`` does, in a loop of that kind."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def expect_failures() -> None:
    """Keep the lines that the log has for every failed download off the standard error."""
    logging.getLogger("trio_dlm").addHandler(logging.NullHandler())


def our_threads() -> list[str]:
    """Return the names of the threads that a manager has made."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trio_dlm")]


@final
class Lasting:
    """A downloader whose downloads go on until they are cancelled, and then say that they cleaned up."""

    def __init__(self) -> None:
        self._bell = Bell()
        self._begun: list[str] = []

    async def download(self, job: DownloadJob) -> DownloadResult:
        name = job.url.rsplit("/")[-1]
        self._begun.append(name)
        self._bell.ring()
        try:
            await trio.sleep_forever()
        finally:
            # Cleaning up takes a step or two of its own.
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            say(f"{DOWNLOAD}{name} cleaned up")
        return saved(job)

    async def has_begun(self, *names: str) -> None:
        """Wait until the code of all of *names* runs."""
        await self._bell.until(lambda: set(names) <= set(self._begun))

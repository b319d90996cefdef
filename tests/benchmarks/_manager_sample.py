"""One sample of the manager benchmark: a process that measures one thing, prints it as JSON, and ends.

Rules that hold here:

- everything is imported and has run once before the clock starts;
- the garbage collector is left as it is, since a program would leave it so;
- memory is what the process has more of after than before, the URLs themselves counted apart.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

import trio_dlm

from ._manager_contenders import CONTENDERS, Pace, make_urls

# The interpreter specialises bytecode after a few rounds, and trio makes its first objects.
WARM_UP: Final = 500


def measure_cpu(contender: str, slots: int, pace: Pace, count: int) -> dict[str, float]:
    """Measure the CPU microseconds for one of *count* no-op downloads, from submit to finished."""
    run = CONTENDERS[contender]
    run(make_urls(WARM_UP), slots, pace)
    urls = make_urls(count)
    gc.collect()
    return {"cpu_us": run(urls, slots, pace) / count * 1e6}


def measure_resident(count: int) -> dict[str, float]:
    """Measure what *count* queued downloads add to the process, as the system and as the allocator see it.

    Besides, how long it takes to queue them and to cancel them all by leaving the block, and the longest time for which
    another task of the program had to wait for its turn meanwhile.
    """
    return trio.run(_queue_and_cancel, count, _resident_bytes)


def measure_traced(count: int) -> dict[str, float]:
    """Measure the bytes that *count* queued downloads hold, as Python's own books say."""
    tracemalloc.start()
    return trio.run(_queue_and_cancel, count, lambda: tracemalloc.get_traced_memory()[0])


async def _queue_and_cancel(count: int, read_bytes: Callable[[], int]) -> dict[str, float]:
    async with trio_dlm.open_manager(0, downloader=_never, on_exit="cancel") as manager:
        for url in make_urls(WARM_UP):
            manager.submit_nowait(url)
    gc.collect()
    bytes_before = read_bytes()
    urls = make_urls(count)
    bytes_of_urls = read_bytes() - bytes_before
    blocks_before, bytes_before = sys.getallocatedblocks(), read_bytes()

    longest_wait_s = 0.0

    async def watch() -> None:
        nonlocal longest_wait_s
        while True:
            start = time.perf_counter()
            await trio.lowlevel.checkpoint()
            longest_wait_s = max(longest_wait_s, time.perf_counter() - start)

    async with trio.open_nursery() as nursery:
        async with trio_dlm.open_manager(0, downloader=_never, on_exit="cancel") as manager:
            start = time.perf_counter()
            for url in urls:
                manager.submit_nowait(url)
            queueing_s = time.perf_counter() - start
            assert manager.get_stats().pending == count
            bytes_held = read_bytes() - bytes_before
            blocks_held = sys.getallocatedblocks() - blocks_before
            nursery.start_soon(watch)
            start = time.perf_counter()
        cancelling_s = time.perf_counter() - start
        nursery.cancel_scope.cancel(reason="all are cancelled, nobody is left to wait for")
    assert manager.get_stats().cancelled == count
    return {
        "url_bytes": bytes_of_urls / count,
        "bytes": bytes_held / count,
        "blocks": blocks_held / count,
        "queueing_us": queueing_s / count * 1e6,
        "cancelling_us": cancelling_s / count * 1e6,
        "cancelling_s": cancelling_s,
        "longest_wait_ms": longest_wait_s * 1e3,
    }


async def _never(_job: trio_dlm.DownloadJob) -> trio_dlm.DownloadResult:
    raise AssertionError("a limit of 0 starts nothing")


def _resident_bytes() -> int:
    # The second figure is the resident set, in pages.
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(kind: str, *arguments: str) -> None:
    """Measure what the command line names, and print it."""
    if kind == "cpu":
        contender, slots, pace, count = arguments
        figures = measure_cpu(contender, int(slots), Pace(pace), int(count))
    else:
        measure = {"resident": measure_resident, "traced": measure_traced}[kind]
        figures = measure(*map(int, arguments))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])

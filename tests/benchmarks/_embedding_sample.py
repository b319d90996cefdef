"""One sample of the embedding benchmark: a process that runs one host, measures one thing, prints it as JSON, and ends.

Rules that hold here:

- what is measured is written once, for every host: the same calls of the public names, no look behind them;
- everything is imported and has run once, on the same host, before the clock starts;
- CPU is that of the whole process, so of the host's thread, the bridge's and those that write files.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import trio
import uvloop

import trio_dlm

from ._manager_contenders import Pace, make_urls

SLOTS: Final = 5

# The interpreter specialises bytecode after a few rounds, and every loop makes its first objects.
WARM_UP: Final = 500

# How often another task of the host asks for its turn while files arrive.  Loops round a wait up to the next
# millisecond, which shows as lag where there is none.
TURN_EVERY_S: Final = 0.002
IDLE_TURNS: Final = 100

# As a display would ask for it.
REPORT_EVERY_S: Final = 0.1

_SAVED: Final = trio_dlm.DownloadResult(path=Path("/nowhere"), size_bytes=0)


async def _download_nothing_in_trio(_job: trio_dlm.DownloadJob) -> trio_dlm.DownloadResult:
    await trio.lowlevel.checkpoint()
    return _SAVED


async def _download_nothing_in_asyncio(_job: trio_dlm.DownloadJob) -> trio_dlm.DownloadResult:
    await asyncio.sleep(0)
    return _SAVED


def make_downloader(
    where: str,
) -> trio_dlm.Downloader[trio_dlm.DownloadResult] | trio_dlm.DownloaderFunction[trio_dlm.DownloadResult]:
    """Return a download that lets others run once: where downloads run by themselves, or on the host's loop."""
    return _download_nothing_in_trio if where == "trio" else trio_dlm.asyncio_downloader(_download_nothing_in_asyncio)


def run_on(host: str, measure: Callable[[], Awaitable[dict[str, float]]]) -> dict[str, float]:
    """Run *measure* on trio, on asyncio's own loop, or on asyncio with uvloop."""

    async def run() -> dict[str, float]:
        return await measure()

    if host == "trio":
        return trio.run(run)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if host == "uvloop" else None) as runner:
        return runner.run(run())


async def measure_round_trips(where: str, count: int) -> dict[str, float]:
    """Measure *count* downloads one after the other, each from submit until its wait has returned."""
    taken_s: list[float] = []

    async with trio_dlm.open_manager(SLOTS, downloader=make_downloader(where)) as manager:

        async def go_round(url: str) -> None:
            task = await manager.submit(url)
            await task.wait()

        for url in make_urls(WARM_UP):
            await go_round(url)
        urls = make_urls(count)
        gc.collect()
        cpu_s = time.process_time()
        for url in urls:
            began_s = time.perf_counter()
            await go_round(url)
            taken_s.append(time.perf_counter() - began_s)
        cpu_s = time.process_time() - cpu_s
    return {"wall_us": statistics.median(taken_s) * 1e6, "cpu_us": cpu_s / count * 1e6}


async def measure_bulk(where: str, pace: Pace, count: int) -> dict[str, float]:
    """Measure *count* downloads from the first submit until all have ended, opening and closing included."""
    downloader = make_downloader(where)

    async def run_all(urls: Sequence[str]) -> None:
        async with trio_dlm.open_manager(SLOTS, downloader=downloader) as manager:
            if pace is Pace.STEADY:
                for url in urls:
                    await manager.submit(url)
            else:
                for url in urls:
                    manager.submit_nowait(url)

    await run_all(make_urls(WARM_UP))
    urls = make_urls(count)
    gc.collect()
    cpu_s, began_s = time.process_time(), time.perf_counter()
    await run_all(urls)
    wall_s = time.perf_counter() - began_s
    return {"cpu_us": (time.process_time() - cpu_s) / count * 1e6, "wall_us": wall_s / count * 1e6}


async def measure_streams(warm_up: str, urls: Sequence[str]) -> dict[str, float]:
    """Measure how fast *urls* arrive, all at once and in one stream each, and how late others get their turn meanwhile.

    Besides, how late they get it while nothing is downloaded.  Somebody reads the events, as a display would.
    """
    lags_s: list[float] = []

    async def take_turns() -> None:
        while True:
            due_s = time.perf_counter() + TURN_EVERY_S
            await anyio.sleep(TURN_EVERY_S)
            lags_s.append(time.perf_counter() - due_s)

    with tempfile.TemporaryDirectory(prefix="trio-dlm-bench-") as directory:
        async with trio_dlm.open_manager(len(urls), directory=directory) as manager:
            await manager.download(warm_up, connections=1)
            gc.collect()
            async with anyio.create_task_group() as group:
                group.start_soon(take_turns)
                # No event says that time has passed while nothing happens.
                await anyio.sleep(IDLE_TURNS * TURN_EVERY_S)
                idle_s = lags_s.copy()
                lags_s.clear()
                cpu_s, began_s = time.process_time(), time.perf_counter()
                tasks = [
                    await manager.submit(url, connections=1, filename=str(number)) for number, url in enumerate(urls)
                ]
                async with manager.events(tasks=tasks, min_interval_s=REPORT_EVERY_S) as events:
                    async for _ in events:
                        pass
                saved = [await task.result() for task in tasks]
                wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
                group.cancel_scope.cancel()
    received_mib = sum(each.size_bytes for each in saved) / 1024**2
    return {
        "mib_per_s": received_mib / wall_s,
        "cpu_s": cpu_s,
        "lag_p50_ms": _percentile(lags_s, 0.5) * 1e3,
        "lag_p99_ms": _percentile(lags_s, 0.99) * 1e3,
        "lag_max_ms": max(lags_s) * 1e3,
        "idle_p99_ms": _percentile(idle_s, 0.99) * 1e3,
    }


def _percentile(figures: Sequence[float], share: float) -> float:
    return sorted(figures)[math.ceil(share * len(figures)) - 1]


def main(kind: str, host: str, *arguments: str) -> None:
    """Measure what the command line names, and print it."""
    measure: Callable[[], Awaitable[dict[str, float]]]
    if kind == "round-trips":
        where, count = arguments
        measure = partial(measure_round_trips, where, int(count))
    elif kind == "bulk":
        where, pace, count = arguments
        measure = partial(measure_bulk, where, Pace(pace), int(count))
    else:
        warm_up, *urls = arguments
        measure = partial(measure_streams, warm_up, urls)
    print(json.dumps(run_on(host, measure)))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""More managers than one in a process, and managers that are used from where they do not belong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from tests.conformance.backends import BACKENDS, Backend, on_asyncio, on_every_backend
from tests.conformance.downloaders import Stage
from tests.embedding.program import our_threads
from tests.fakes import instant, url
from trio_dlm import DownloadManager, DownloadStatus, open_manager

in_asyncio = on_asyncio(because="on trio a manager has no thread to be told from")


@on_every_backend
async def test_two_managers_in_one_loop_run_side_by_side() -> None:
    stages = Stage(), Stage()
    async with open_manager(1, downloader=stages[0]) as one, open_manager(1, downloader=stages[1]) as other:
        first, second = await one.submit(url("a")), await other.submit(url("b"))
        await stages[0].has_begun("a")
        await stages[1].has_begun("b")
        stages[1].finish("b")
        assert await second.wait() is DownloadStatus.COMPLETED
        assert first.status is DownloadStatus.DOWNLOADING
        stages[0].finish("a")
        assert await first.wait() is DownloadStatus.COMPLETED


@on_every_backend
async def test_managers_nest_and_each_takes_its_own_tasks_only() -> None:
    async with open_manager(1, downloader=instant) as outer:
        early = await outer.submit(url("a"))
        async with open_manager(1, downloader=instant) as inner:
            with pytest.raises(LookupError):
                inner.get_task(early.correlation_id)
            with pytest.raises(LookupError):
                await inner.cancel(early)
            await inner.download(url("b"))
        await outer.download(url("c"))
        assert outer.get_stats().completed == 2


@in_asyncio
async def test_managers_of_two_tasks_can_be_left_in_the_order_in_which_they_were_opened() -> None:
    first, second = open_manager(1, downloader=instant), open_manager(1, downloader=instant)
    one, other = await first.__aenter__(), await second.__aenter__()
    await first.__aexit__(None, None, None)
    await other.download(url("a"))
    await second.__aexit__(None, None, None)
    assert one.get_stats().completed == 0
    assert our_threads() == []


def test_loops_in_several_threads_have_managers_of_their_own() -> None:
    everybody = threading.Barrier(len(BACKENDS))

    def live(backend: Backend) -> int:
        async def main() -> int:
            async with open_manager(2, downloader=instant) as manager:
                await anyio.to_thread.run_sync(everybody.wait, 30.0)
                for number in range(50):
                    await manager.download(url(number))
                return manager.get_stats().completed

        counts: list[int] = []

        async def program() -> None:
            counts.append(await main())

        backend.start(program)
        return counts[0]

    with ThreadPoolExecutor(len(BACKENDS)) as pool:
        assert list(pool.map(live, BACKENDS)) == [50] * len(BACKENDS)
    assert our_threads() == []


# Somebody else's thread.


USES: dict[str, Callable[[DownloadManager], object]] = {
    "submit_nowait": lambda manager: manager.submit_nowait(url("x")),
    "max_concurrent": lambda manager: setattr(manager, "max_concurrent", 7),
    "max_per_lane": lambda manager: setattr(manager, "max_per_lane", 7),
    "set_lane_limit": lambda manager: manager.set_lane_limit("lane", 7),
    "rate_limit_bytes_per_s": lambda manager: setattr(manager, "rate_limit_bytes_per_s", 7.0),
    "resume": lambda manager: manager.resume("paused"),
    "retry": lambda manager: manager.retry("ended"),
    "submit": lambda manager: manager.submit(url("x")).send(None),
    "submit_many": lambda manager: manager.submit_many([url("x")]).send(None),
    "cancel": lambda manager: manager.cancel("paused").send(None),
    "pause": lambda manager: manager.pause("paused").send(None),
}


@pytest.mark.parametrize("use", USES)
@in_asyncio
async def test_a_call_from_another_thread_is_refused_with_the_way_to_do_it(use: str) -> None:
    stage = Stage()
    async with open_manager(2, downloader=stage) as manager:
        stage.finish("ended")
        await manager.download(url("ended"), correlation_id="ended")
        paused = await manager.submit(url("paused"), correlation_id="paused")
        await stage.has_begun("paused")
        assert await paused.pause()
        with pytest.raises(RuntimeError, match=r"anyio\.from_thread"):
            await anyio.to_thread.run_sync(USES[use], manager)
        stats = manager.get_stats()
        assert (stats.pending, stats.active, stats.paused, stats.completed) == (0, 0, 1, 1)
        assert manager.max_concurrent == 2
        await paused.cancel()


@on_every_backend
async def test_a_thread_can_use_the_manager_through_anyio() -> None:
    async with open_manager(2, downloader=instant) as manager:

        def work() -> DownloadStatus:
            task = anyio.from_thread.run_sync(manager.submit_nowait, url("a"))
            other = anyio.from_thread.run(manager.submit, url("b"))
            assert anyio.from_thread.run(other.wait) is DownloadStatus.COMPLETED
            return anyio.from_thread.run(task.wait)

        assert await anyio.to_thread.run_sync(work) is DownloadStatus.COMPLETED
        assert manager.get_stats().completed == 2


# Another loop in the same thread.


@pytest.mark.parametrize("use", ["submit", "submit_nowait", "submit_many"])
def test_a_submit_from_another_loop_of_the_same_thread_is_refused(use: str) -> None:
    loop = asyncio.new_event_loop()
    block = open_manager(2, downloader=instant)
    try:
        manager = loop.run_until_complete(block.__aenter__())

        async def main() -> None:
            USES[use](manager)

        try:
            with pytest.raises(RuntimeError, match="loop"):
                asyncio.run(main())
        finally:
            loop.run_until_complete(block.__aexit__(None, None, None))
        assert manager.get_stats().pending == 0
    finally:
        loop.close()
    assert our_threads() == []

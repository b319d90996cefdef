"""What is left of managers that were open in asyncio: no thread, no descriptor, no memory, no word in debug mode."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import warnings
import weakref
from contextlib import suppress
from pathlib import Path

import anyio.lowlevel
import pytest

from tests.conformance.backends import BACKENDS, Backend, on_asyncio, on_every_backend
from tests.conformance.downloaders import Stage
from tests.embedding.program import NEVER_SLOW_S, our_threads
from tests.fakes import instant, saved, url
from trio_dlm import DownloadJob, DownloadResult, DownloadTask, asyncio_downloader, open_manager

in_asyncio = on_asyncio(because="on trio there is no thread and no debug mode")

DESCRIPTORS = next((path for path in map(Path, ("/proc/self/fd", "/dev/fd")) if path.is_dir()), None)

LIFETIMES = 50


async def live(downloads: int = 3) -> None:
    async with open_manager(2, downloader=instant) as manager:
        await manager.submit_many([url(number) for number in range(downloads)])
        await manager.download(url("last"))


@on_every_backend
async def test_after_many_lifetimes_there_are_as_many_threads_as_before() -> None:
    await live()
    before = threading.active_count()
    for _ in range(LIFETIMES):
        await live()
        assert our_threads() == []
    assert threading.active_count() <= before


@in_asyncio
async def test_while_it_is_open_a_manager_has_one_thread_with_our_name() -> None:
    async with open_manager(2, downloader=instant):
        assert len(our_threads()) == 1
        async with open_manager(2, downloader=instant):
            assert len(our_threads()) == 2
    assert our_threads() == []


@pytest.mark.skipif(DESCRIPTORS is None, reason="nothing here lists the descriptors of a process")
@on_every_backend
async def test_after_many_lifetimes_there_are_as_many_descriptors_as_before() -> None:
    assert DESCRIPTORS is not None
    # The first one opens what trio and the host's executor keep.
    await live()
    gc.collect()
    before = len(os.listdir(DESCRIPTORS))  # noqa: PTH208  (there is no descriptor left of this)
    for _ in range(LIFETIMES):
        await live()
    gc.collect()
    assert len(os.listdir(DESCRIPTORS)) <= before  # noqa: PTH208


async def forget() -> None:
    # The last wake-up of the host may still stand in its loop's queue, and holds on to what it was for.
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    gc.collect()


@on_every_backend
async def test_an_ended_manager_its_tasks_and_its_thread_are_forgotten() -> None:
    remembered: list[weakref.ref[object]] = []

    async def live_and_remember() -> None:
        stage = Stage()
        async with open_manager(2, downloader=stage, failures="keep") as manager:
            tasks = [await manager.submit(url(name)) for name in "abc"]
            stage.finish("a")
            stage.fail("b")
            await tasks[0].wait()
            await tasks[1].wait()
            await tasks[2].cancel()
            threads = [thread for thread in threading.enumerate() if thread.name.startswith("trio_dlm")]
            remembered.extend(map(weakref.ref, [manager, *tasks, *threads, stage]))

    await live_and_remember()
    await forget()
    assert [each() for each in remembered] == [None] * len(remembered)


@on_every_backend
async def test_a_crashed_manager_is_forgotten_with_its_error() -> None:
    remembered: list[weakref.ref[object]] = []

    class Meltdown(BaseException):
        pass

    async def crash() -> None:
        stage = Stage()
        stage.fail("a", Meltdown())
        async with open_manager(2, downloader=stage) as manager:
            task: DownloadTask[DownloadResult] = await manager.submit(url("a"))
            remembered.extend(map(weakref.ref, [manager, task, stage]))
            await task.wait()
            await manager.wait_idle()

    with suppress(BaseExceptionGroup):
        await crash()
    await forget()
    assert [each() for each in remembered] == [None] * len(remembered)


@on_every_backend
async def test_a_handle_outlives_its_manager_with_all_that_it_shows() -> None:
    async with open_manager(2, downloader=instant) as manager:
        task = await manager.submit(url("a"))
    del manager
    gc.collect()
    assert (await task.result()).path.name == "a"
    assert task.finished_at is not None
    assert not await task.cancel()


# The debug mode of asyncio.


@pytest.mark.parametrize("backend", [each for each in BACKENDS if each.library == "asyncio"], ids=repr)
def test_in_debug_mode_asyncio_has_nothing_to_say(
    backend: Backend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_the_loop(job: DownloadJob) -> DownloadResult:
        await asyncio.sleep(0)
        job.progress.advance(1)
        return saved(job, 1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.get_debug()
        # Under load a callback may take long whatever it does.
        loop.slow_callback_duration = NEVER_SLOW_S
        stage = Stage()
        async with open_manager(2, downloader=stage, failures="keep") as manager:
            tasks = [await manager.submit(url(name)) for name in "abc"]
            stage.finish("a")
            stage.advance("b", 5)
            await tasks[0].result()
            await stage.has_begun("b", "c")
            stage.fail("c")
            await tasks[2].wait()
            await manager.download(url("h"), downloader=asyncio_downloader(in_the_loop))
            await tasks[1].cancel()

    # What asyncio.run(debug=True) does, for any loop.
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO, "asyncio"):
        warnings.simplefilter("always")
        backend.start(main)
        gc.collect()
    assert [str(each.message) for each in caught] == []
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@in_asyncio
async def test_the_loop_goes_on_while_a_download_blocks_the_thread_of_trio() -> None:
    go_on = threading.Event()
    blocked = threading.Event()

    async def block(job: DownloadJob) -> DownloadResult:
        blocked.set()
        if not go_on.wait(30.0):
            raise AssertionError("the loop stood still")
        return saved(job)

    async with open_manager(2, downloader=block) as manager:
        task = await manager.submit(url("a"))
        await asyncio.to_thread(blocked.wait)
        # What only asks goes on too.
        for _ in range(100):
            await asyncio.sleep(0)
            assert manager.get_stats().active + manager.get_stats().pending == 1
            assert not task.status.is_final
        other = manager.submit_nowait(url("b"), downloader=instant)
        assert not other.status.is_final
        go_on.set()
        await task.result()

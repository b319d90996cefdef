"""Downloaders that run in the loop of the program: ``asyncio_downloader`` on asyncio, any downloader on trio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

import trio_dlm
from tests.conformance.backends import Backend, on_asyncio, on_every_backend, on_trio
from tests.conformance.downloaders import Stage, agrees, instant, reached, received, saved, status_of, url
from trio_dlm import (
    DownloadFailedError,
    DownloadJob,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    current_correlation_id,
    open_manager,
)

COLOUR: ContextVar[str] = ContextVar("COLOUR", default="none")

only_asyncio = on_asyncio(because="the wrapper is asyncio's, and so are the awaits of its cleanup")


@on_every_backend
async def test_it_runs_in_the_thread_and_the_loop_of_the_program(backend: Backend, tmp_path: Path) -> None:
    at_home = threading.get_ident()
    event = anyio.Event()

    async def fetch(job: DownloadJob) -> DownloadResult:
        assert threading.get_ident() == at_home
        # An object of the program's loop.
        await event.wait()
        assert job.directory == tmp_path
        assert job.resources is None
        assert job.attempt == 1
        assert job.url == url("a")
        assert job.options.retries == 3
        assert current_correlation_id() == job.correlation_id == "mine"
        return saved(job, 5)

    async with open_manager(directory=tmp_path, downloader=backend.on_host(fetch)) as manager:
        task = await manager.submit(url("a"), correlation_id="mine", retries=3)
        event.set()
        assert await task.result() == DownloadResult(path=tmp_path / "a", size_bytes=5)


@on_every_backend
async def test_its_error_is_the_cause_of_the_failure(backend: Backend) -> None:
    error = OSError("no")

    async def break_down(job: DownloadJob) -> DownloadResult:
        await anyio.lowlevel.checkpoint()
        raise error

    async with open_manager(downloader=backend.on_host(break_down)) as manager:
        with pytest.raises(DownloadFailedError, match="OSError: no") as caught:
            await manager.download(url("a"))
    assert caught.value.__cause__ is error
    assert error.__traceback__ is not None
    assert not hasattr(error, "__notes__")


@on_every_backend
async def test_a_group_of_errors_is_kept_whole(backend: Backend) -> None:
    async def fall_apart(job: DownloadJob) -> DownloadResult:
        async with anyio.create_task_group() as group:

            async def fail() -> None:
                raise OSError("no")

            group.start_soon(fail)
        return saved(job)

    async with open_manager(downloader=backend.on_host(fall_apart)) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    assert isinstance(caught.value.__cause__, ExceptionGroup)


@on_every_backend
async def test_cancel_returns_after_its_cleanup(backend: Backend) -> None:
    stage = Stage()
    stage.hold("a")
    async with open_manager(1, downloader=backend.on_host(stage.download)) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        told: list[bool] = []

        async def cancel() -> None:
            told.append(await task.cancel("enough"))
            assert stage.running == []

        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await stage.is_stopping("a")
            assert told == []
            stage.let_go("a")
        assert told == [True]
        assert task.reason == "enough"
        assert agrees(manager, task)
        # The slot is free.
        stage.finish("b")
        await manager.download(url("b"))


@on_every_backend
async def test_it_can_be_paused_and_go_on(backend: Backend) -> None:
    stage = Stage()
    stage.keep("a")
    seen: list[tuple[int, bool, int]] = []

    def look(job: DownloadJob) -> DownloadResult:
        seen.append((job.attempt, job.can_resume, job.progress.received_bytes))
        return saved(job, job.progress.received_bytes)

    async with open_manager(downloader=backend.on_host(stage.download)) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        stage.advance("a", 7)
        await received(manager, task, 7)
        assert await task.pause() is True
        assert stage.running == []
        assert task.progress.received_bytes == 7
        stage.tell("a", look)
        assert task.resume() is True
        assert await task.wait() is DownloadStatus.COMPLETED
    assert seen == [(2, True, 7)]


@on_every_backend
async def test_its_progress_is_seen(backend: Backend) -> None:
    stage = Stage()

    def begin(job: DownloadJob) -> None:
        job.progress.begin(0, 100)
        job.progress.advance(40)

    def verify(job: DownloadJob) -> None:
        job.progress.phase = DownloadPhase.VERIFYING

    async with open_manager(downloader=backend.on_host(stage.download)) as manager:
        task = await manager.submit(url("a"))
        async with manager.events(tasks=[task]) as events:
            stage.tell("a", begin)
            async for snapshot in events:
                if snapshot.progress.received_bytes == 40:
                    break
            assert (task.progress.total_bytes, task.progress.fraction) == (100, 0.4)
            stage.tell("a", verify)
            async for snapshot in events:
                if snapshot.progress.phase is DownloadPhase.VERIFYING:
                    break
            stage.finish("a")
            assert [snapshot.status async for snapshot in events][-1] is DownloadStatus.COMPLETED
        assert manager.get_stats().bytes_received == 40


@on_every_backend
async def test_its_last_progress_is_not_lost(backend: Backend) -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        for _ in range(100):
            job.progress.advance(1)
        return saved(job, 100)

    async with open_manager(downloader=backend.on_host(fetch)) as manager:
        task = await manager.submit(url("a"))
        await task.wait()
        assert task.progress.received_bytes == 100
        assert manager.get_stats().bytes_received == 100


@on_every_backend
async def test_it_sees_what_its_submitter_saw(backend: Backend) -> None:
    seen: list[str] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(COLOUR.get())
        COLOUR.set("red")
        return saved(job)

    async with open_manager(1, downloader=backend.on_host(look)) as manager:
        COLOUR.set("green")
        await manager.submit(url("a"))
        COLOUR.set("blue")
        await manager.submit(url("b"))
        await manager.wait_idle()
        assert COLOUR.get() == "blue"
    assert seen == ["green", "blue"]


@on_every_backend
async def test_it_may_submit_more_and_use_its_manager(backend: Backend) -> None:
    """A crawler."""
    async with open_manager(2, downloader=instant) as manager:

        async def crawl(job: DownloadJob) -> DownloadResult:
            depth = int(job.url.rsplit("/", maxsplit=1)[-1])
            if depth:
                manager.submit_nowait(url(depth - 1), downloader=wrapped)
                await manager.submit(url(depth - 1), downloader=wrapped)
                await manager.download(url("leaf"))
            return saved(job)

        wrapped = backend.on_host(crawl)
        # It waits for a download of its own, so it must not have the last slot.
        manager.max_concurrent = 100
        await manager.submit(url(3), downloader=wrapped)
        await manager.wait_idle()
        assert manager.get_stats().completed == (1 + 2 + 4 + 8) + (1 + 2 + 4)


@on_every_backend
async def test_limits_hold_for_it_as_for_any_other(backend: Backend) -> None:
    stage = Stage()
    async with open_manager(2, downloader=backend.on_host(stage.download)) as manager:
        batch = await manager.submit_many(url(number) for number in range(10))
        await stage.has_begun("0")
        await stage.has_begun("1")
        stage.finish(*(str(number) for number in range(10)))
        await batch.wait()
    assert stage.peak == 2


@on_every_backend
async def test_a_body_that_raises_awaits_its_cleanup(backend: Backend) -> None:
    stage = Stage()
    stage.hold("a")

    async def let_go() -> None:
        await stage.is_stopping("a")
        stage.let_go("a")

    async with anyio.create_task_group() as group:
        group.start_soon(let_go)
        with pytest.raises(KeyError):
            async with open_manager(downloader=backend.on_host(stage.download)) as manager:
                task = await manager.submit(url("a"))
                await stage.has_begun("a")
                raise KeyError("mine")
        assert stage.running == []
        assert status_of(task) == ["cancelled"]


@on_every_backend
async def test_what_it_returns_is_checked(backend: Backend) -> None:
    async def forget(job: DownloadJob) -> Any:
        return None

    async with open_manager(downloader=backend.on_host(forget)) as manager:
        with pytest.raises(DownloadFailedError, match="the downloader returned None, expected a DownloadResult"):
            await manager.download(url("a"))


@on_every_backend
async def test_the_time_limit_of_a_run_cancels_it(backend: Backend) -> None:
    stage = Stage()
    async with open_manager(downloader=backend.on_host(stage.download)) as manager:
        with pytest.raises(DownloadFailedError, match="total_timeout_s"):
            await manager.download(url("a"), total_timeout_s=0.01)
    assert stage.over == ["a"]


@only_asyncio
async def test_cleanup_that_awaits_as_asyncio_programs_do_is_awaited() -> None:
    diary: list[str] = []
    begun = asyncio.Event()

    async def fetch(job: DownloadJob) -> DownloadResult:
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            # One exception, thrown in once: what is awaited here is not cancelled again.
            for _ in range(5):
                await asyncio.sleep(0)
            diary.append("cleaned up")
            raise
        return saved(job)

    async with open_manager(downloader=trio_dlm.asyncio_downloader(fetch)) as manager:
        task = await manager.submit(url("a"))
        await begun.wait()
        assert await task.cancel() is True
        assert diary == ["cleaned up"]
        begun.clear()
        with pytest.raises(KeyError):
            async with open_manager(downloader=trio_dlm.asyncio_downloader(fetch)) as other:
                await other.submit(url("b"))
                await begun.wait()
                raise KeyError("mine")
        assert diary == ["cleaned up"] * 2


@only_asyncio
async def test_it_uses_what_only_asyncio_has() -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(30):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        assert await asyncio.to_thread(lambda: 5) == 5
        return saved(job)

    async with open_manager(downloader=trio_dlm.asyncio_downloader(fetch)) as manager:
        await manager.download(url("a"))


@only_asyncio
async def test_a_cancelled_error_of_its_own_making_is_a_failure_or_a_cancel_but_no_hang() -> None:
    async def give_up(job: DownloadJob) -> DownloadResult:
        raise asyncio.CancelledError

    async with open_manager(downloader=trio_dlm.asyncio_downloader(give_up), failures="keep") as manager:
        task = await manager.submit(url("a"))
        status = await task.wait()
        assert status in (DownloadStatus.FAILED, DownloadStatus.CANCELLED)
        assert agrees(manager, task)


@only_asyncio
async def test_unmarked_it_fails_with_a_note_that_says_what_to_do() -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        await asyncio.sleep(0.001)
        return saved(job)

    async with open_manager(downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError, match="no running event loop") as caught:
            await manager.download(url("a"))
    cause = caught.value.__cause__
    assert type(cause) is RuntimeError
    assert any("asyncio_downloader" in note for note in cause.__notes__)


async def _wait_for_a_lock() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


@pytest.mark.parametrize("use", [_wait_for_a_lock, lambda: asyncio.sleep(0.001)])
@only_asyncio
async def test_whatever_of_asyncio_it_uses_unmarked_the_note_is_there(use: Callable[[], Awaitable[object]]) -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        await use()
        return saved(job)

    async with open_manager(downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    assert any("asyncio_downloader" in note for note in getattr(caught.value.__cause__, "__notes__", ()))


@only_asyncio
async def test_a_future_of_the_program_that_it_awaits_unmarked_fails_with_the_note() -> None:
    theirs = asyncio.get_running_loop().create_future()

    async def fetch(job: DownloadJob) -> DownloadResult:
        await theirs
        return saved(job)

    async with open_manager(downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    assert any("asyncio_downloader" in note for note in getattr(caught.value.__cause__, "__notes__", ()))


@only_asyncio
async def test_what_setup_needs_of_asyncio_comes_out_with_the_note() -> None:
    @asynccontextmanager
    async def setup() -> AsyncGenerator[None, None]:
        await asyncio.sleep(0.001)
        yield

    with pytest.raises(RuntimeError, match="no running event loop") as caught:
        async with open_manager(downloader=instant, setup=setup):
            pytest.fail("the block must not open")
    assert any("around the manager" in note for note in caught.value.__notes__)


@only_asyncio
async def test_what_needs_trio_in_a_marked_downloader_fails_with_a_note() -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        trio.current_time()
        return saved(job)

    async with open_manager(downloader=trio_dlm.asyncio_downloader(fetch)) as manager:
        with pytest.raises(DownloadFailedError, match="must be called from async context") as caught:
            await manager.download(url("a"))
    assert any(
        "no trio runs where this was called" in note for note in getattr(caught.value.__cause__, "__notes__", ())
    )


@only_asyncio
async def test_an_object_with_a_method_and_one_that_checks_requests_can_be_wrapped() -> None:
    class Fetcher:
        async def download(self, job: DownloadJob) -> DownloadResult:
            await asyncio.sleep(0)
            return saved(job)

    async with open_manager(downloader=instant) as manager:
        await manager.download(url("a"), downloader=trio_dlm.asyncio_downloader(Fetcher().download))


@only_asyncio
async def test_both_kinds_share_one_manager() -> None:
    stage, host_stage = Stage(), Stage()
    async with open_manager(2, downloader=stage) as manager:
        a = await manager.submit(url("a"))
        b = await manager.submit(url("b"), downloader=trio_dlm.asyncio_downloader(host_stage.download))
        await reached(manager, a, DownloadStatus.DOWNLOADING)
        await reached(manager, b, DownloadStatus.DOWNLOADING)
        c = await manager.submit(url("c"))
        host_stage.finish("b")
        assert await b.wait() is DownloadStatus.COMPLETED
        stage.finish("c", "a")
        assert await c.wait() is DownloadStatus.COMPLETED


@on_trio(because="a downloader of the loop needs no wrapper there, and the wrapper has no loop to run it in")
async def test_on_trio_the_wrapper_is_refused_when_it_is_submitted() -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        return saved(job)

    wrapped = trio_dlm.asyncio_downloader(fetch)
    async with open_manager(downloader=instant) as manager:
        for call in (manager.submit, manager.download):
            with pytest.raises(TypeError, match="asyncio_downloader"):
                await call(url("a"), downloader=wrapped)
        with pytest.raises(TypeError, match="asyncio_downloader"):
            manager.submit_nowait(url("a"), downloader=wrapped)
        assert agrees(manager)


@pytest.mark.parametrize("wrong", [None, 7, lambda job: None, DownloadResult], ids=["None", "int", "lambda", "class"])
def test_only_an_async_function_can_be_wrapped(wrong: Any) -> None:
    with pytest.raises(TypeError):
        trio_dlm.asyncio_downloader(wrong)


@on_every_backend
async def test_its_rate_limit_is_that_of_its_download(backend: Backend) -> None:
    taken: list[int] = []

    async def fetch(job: DownloadJob) -> DownloadResult:
        with pytest.raises(ValueError, match="from 1 up"):
            await job.rate_limit.take(0)
        assert (job.rate_limit.bytes_per_s, job.rate_limit.is_unlimited) == (10_000_000, False)
        for _ in range(3):
            size = await job.rate_limit.take(1000)
            taken.append(size)
            job.rate_limit.give_back(size)
        return saved(job, sum(taken))

    async with open_manager(downloader=backend.on_host(fetch)) as manager:
        saved_bytes = await manager.download(url("a"), rate_limit_bytes_per_s=10_000_000)
    assert all(1 <= size <= 1000 for size in taken)
    assert saved_bytes.size_bytes == sum(taken)

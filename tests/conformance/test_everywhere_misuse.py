"""Wrong calls, on every backend: the same type of error and the same words, and nothing has changed."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
import trio

from tests.conformance.backends import Backend, on_every_backend
from tests.conformance.downloaders import Stage, agrees, instant, url
from trio_dlm import (
    DownloadManager,
    DownloadTask,
    InvalidUrlError,
    UnknownTaskError,
    UnsupportedBackendError,
    open_manager,
)

WRONG_URLS: list[tuple[Any, type[Exception], str]] = [
    (7, TypeError, r"^a URL is a str, got int$"),
    (None, TypeError, r"^a URL is a str, got NoneType$"),
    (b"https://example.org/", TypeError, r"^a URL is a str, got bytes$"),
    ("", InvalidUrlError, r"^not a usable URL: '': it is empty; pass an address such as "),
    ("x" * 70_000, InvalidUrlError, r"it has 70000 characters, the most is 65536; check what was pasted$"),
    ("https://example.org/a b", InvalidUrlError, r"it holds the character ' ' at position 21; "),
]

WRONG_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"downloader": object()}, TypeError, r"^a downloader is an object with `async def download\(self, job\)` or an"),
    ({"downloader": lambda job: None}, TypeError, r"^a downloader is an object with `async def download"),
    ({"options": "x"}, TypeError, r"^options is a DownloadOptions, got 'x'$"),
    ({"lane": []}, TypeError, r"^a lane is hashable, got \[\]$"),
    ({"correlation_id": 7}, TypeError, r"^an id is a str, got 7$"),
    ({"correlation_id": ""}, ValueError, r"^an id has 1 to 200 printable characters, got ''$"),
    ({"correlation_id": "x" * 201}, ValueError, r"^an id has 1 to 200 printable characters, got 'xxx"),
    ({"checksum": "crc32:00"}, ValueError, r"^checksum algorithm 'crc32' is unknown"),
    ({"timeout_s": -1}, ValueError, r"^timeout_s is a positive number of seconds, got -1$"),
    ({"colour": "red"}, TypeError, r"^unknown download option colour; known are "),
    ({"directory": 7}, TypeError, r"^directory is a str or a path, got 7$"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG_URLS, ids=[ascii(each[0])[:20] for each in WRONG_URLS])
@on_every_backend
async def test_what_cannot_be_a_url_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    async with open_manager(downloader=instant) as manager:
        for call in (manager.submit, manager.download):
            with pytest.raises(error, match=message):
                await call(wrong)
        with pytest.raises(error, match=message):
            manager.submit_nowait(wrong)
        assert agrees(manager)


@pytest.mark.parametrize(
    ("wrong", "error", "message"), WRONG_ARGUMENTS, ids=["-".join(each[0]) for each in WRONG_ARGUMENTS]
)
@on_every_backend
async def test_a_wrong_argument_is_refused_and_named(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with open_manager(downloader=instant) as manager:
        for call in (manager.submit, manager.download):
            with pytest.raises(error, match=message):
                await call(url("a"), **wrong)
        with pytest.raises(error, match=message):
            manager.submit_nowait(url("a"), **wrong)
        assert agrees(manager)


@on_every_backend
async def test_submit_many_takes_urls_and_requests() -> None:
    wrong: Any
    async with open_manager(downloader=instant) as manager:
        with pytest.raises(TypeError, match=r"^submit_many takes an iterable of URLs, got one str; submit"):
            await manager.submit_many(url("a"))
        for wrong in (7, b"x", None):
            with pytest.raises(TypeError, match=r"^submit_many takes URLs and DownloadRequests, got "):
                await manager.submit_many([url("a"), wrong])
        wrong = 7
        with pytest.raises(TypeError, match=r"^an id is a str, got 7$"):
            await manager.submit_many([], parent_id=wrong)
        with pytest.raises(TypeError, match=r"^a lane is hashable, got \[\]$"):
            wrong = []
            await manager.submit_many([url("a")], lane=wrong)
        assert agrees(manager)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (-1, ValueError, "is 0 or more, got -1$"),
        (2.0, TypeError, r"is an int or math\.inf, got 2\.0$"),
        (True, TypeError, r"is an int or math\.inf, got True$"),
        (None, TypeError, r"is an int or math\.inf, got None$"),
        (math.nan, TypeError, r"is an int or math\.inf, got nan$"),
        (trio.CapacityLimiter(1), TypeError, r"is an int or math\.inf, got <trio\.CapacityLimiter"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
@on_every_backend
async def test_a_wrong_limit_is_refused_and_the_old_one_stays(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match="^max_concurrent " + message):
        open_manager(wrong)
    async with open_manager(3, max_per_lane=2, downloader=instant) as manager:
        with pytest.raises(error, match="^max_concurrent " + message):
            manager.max_concurrent = wrong
        with pytest.raises(error, match="^max_per_lane " + message):
            manager.max_per_lane = wrong
        if wrong is not None:
            with pytest.raises(error, match="^the limit of a lane " + message):
                manager.set_lane_limit("x", wrong)
        assert (manager.max_concurrent, manager.max_per_lane) == (3, 2)
        await manager.download(url("a"))


@pytest.mark.parametrize("wrong", [0, -1, "1", True, None, math.nan], ids=repr)
@on_every_backend
async def test_a_wrong_rate_is_refused_and_the_old_one_stays(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^rate_limit_bytes_per_s is a"):
        open_manager(rate_limit_bytes_per_s=wrong)
    async with open_manager(0, downloader=instant, rate_limit_bytes_per_s=7, on_exit="cancel") as manager:
        with pytest.raises((TypeError, ValueError), match=r"^rate_limit_bytes_per_s is a"):
            manager.rate_limit_bytes_per_s = wrong
        assert manager.rate_limit_bytes_per_s == 7
        task = await manager.submit(url("a"), rate_limit_bytes_per_s=5)
        if wrong is not None:
            with pytest.raises((TypeError, ValueError), match=r"^rate_limit_bytes_per_s is a"):
                task.rate_limit_bytes_per_s = wrong
        assert task.rate_limit_bytes_per_s == 5


@on_every_backend
async def test_a_lane_is_hashable_wherever_it_is_named() -> None:
    wrong: Any = []
    async with open_manager(downloader=instant, lane_of=lambda request: wrong) as manager:
        with pytest.raises(TypeError, match=r"^a lane is hashable, got \[\]$"):
            manager.set_lane_limit(wrong, 1)
        with pytest.raises(TypeError, match=r"^a lane is hashable, got \[\]$"):
            await manager.submit(url("a"))
        assert agrees(manager)


@pytest.mark.parametrize("wrong", [7, None, object(), ["a"]], ids=lambda value: type(value).__name__)
@on_every_backend
async def test_a_reference_is_an_id_or_a_handle(wrong: Any) -> None:
    async with open_manager(downloader=instant) as manager:
        for call in (manager.cancel, manager.pause):
            with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got "):
                await call(wrong)
        for call_nowait in (manager.resume, manager.retry):
            with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got "):
                call_nowait(wrong)
        with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got "):
            manager.events(tasks=[wrong])
        with pytest.raises(UnknownTaskError):
            manager.get_task("nobody")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (-1, ValueError, "^min_interval_s is a number of seconds from 0 up, got -1$"),
        (math.inf, ValueError, "^min_interval_s is a number of seconds from 0 up, got inf$"),
        (math.nan, ValueError, "^min_interval_s is a number of seconds from 0 up, got nan$"),
        ("1", TypeError, "^min_interval_s is a number of seconds, got '1'$"),
        (True, TypeError, "^min_interval_s is a number of seconds, got True$"),
    ],
    ids=repr,
)
@on_every_backend
async def test_a_wrong_interval_is_refused(wrong: Any, error: type[Exception], message: str) -> None:
    async with open_manager(downloader=instant) as manager:
        with pytest.raises(error, match=message):
            manager.events(min_interval_s=wrong)


@on_every_backend
async def test_managers_and_handles_are_made_by_calls_only() -> None:
    with pytest.raises(TypeError, match=r"^a DownloadManager is made by `async with trio_dlm.open_manager"):
        DownloadManager()
    with pytest.raises(TypeError, match=r"^a DownloadTask is made by manager\.submit"):
        DownloadTask()
    wrong: Any = "x"
    for arguments in ({"on_exit": wrong}, {"failures": wrong}, {"backend": wrong}):
        with pytest.raises(ValueError, match=r"got 'x'$"):
            open_manager(**arguments)


@on_every_backend
async def test_the_other_library_can_be_asked_for_and_is_not_there(backend: Backend) -> None:
    other: Any = {"trio": "asyncio", "asyncio": "trio"}[backend.library]
    with pytest.raises(UnsupportedBackendError):
        async with open_manager(backend=other):
            pytest.fail("it was entered")


# Threads.  What belongs to a loop is called in its thread; anyio.from_thread leads there.

FOREIGN_CALLS: dict[str, Callable[[DownloadManager, DownloadTask[Any]], object]] = {
    "submit_nowait": lambda manager, task: manager.submit_nowait(url("b"), correlation_id="b"),
    "resume": lambda manager, task: task.resume(),
    "retry": lambda manager, task: manager.retry("ended"),
    "max_concurrent": lambda manager, task: setattr(manager, "max_concurrent", 7),
    "max_per_lane": lambda manager, task: setattr(manager, "max_per_lane", 7),
    "set_lane_limit": lambda manager, task: manager.set_lane_limit("x", 7),
    "rate_limit_bytes_per_s": lambda manager, task: setattr(manager, "rate_limit_bytes_per_s", 7),
}

FOREIGN_COROUTINES: dict[str, Callable[[DownloadManager, DownloadTask[Any]], Any]] = {
    "submit": lambda manager, task: manager.submit(url("b"), correlation_id="b"),
    "submit_many": lambda manager, task: manager.submit_many([url("b")]),
    "download": lambda manager, task: manager.download(url("b"), correlation_id="b"),
    "cancel": lambda manager, task: task.cancel(),
    "pause": lambda manager, task: task.pause(),
    "wait": lambda manager, task: task.wait(),
    "result": lambda manager, task: task.result(),
    "wait_idle": lambda manager, task: manager.wait_idle(),
}


@pytest.mark.parametrize("name", FOREIGN_CALLS)
@on_every_backend
async def test_a_call_from_another_thread_is_refused_and_changes_nothing(name: str) -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, failures="keep") as manager:
        ended = await manager.submit(url("ended"), correlation_id="ended")
        stage.finish("ended")
        await ended.wait()
        paused = await manager.submit(url("a"))
        await stage.has_begun("a")
        assert await paused.pause() is True
        with pytest.raises(RuntimeError, match=r"anyio\.from_thread"):
            await anyio.to_thread.run_sync(FOREIGN_CALLS[name], manager, paused)
        assert (manager.max_concurrent, manager.max_per_lane, manager.rate_limit_bytes_per_s) == (1, math.inf, math.inf)
        assert agrees(manager, ended, paused)
        await paused.cancel()


@pytest.mark.parametrize("library", ["trio", "asyncio"])
@pytest.mark.parametrize("name", FOREIGN_COROUTINES)
@on_every_backend
async def test_a_call_from_another_loop_is_refused_and_changes_nothing(name: str, library: str) -> None:
    stage = Stage()

    async def call() -> None:
        # Nobody could interrupt the thread.
        with anyio.fail_after(5):
            await FOREIGN_COROUTINES[name](manager, task)

    def run() -> None:
        if library == "trio":
            trio.run(call)
        else:
            asyncio.run(call())

    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        await manager.submit_many([])
        with pytest.raises(RuntimeError, match=r"anyio\.from_thread"):
            await anyio.to_thread.run_sync(run)
        stage.finish("a")
        await task.wait()
        assert agrees(manager, task)


@on_every_backend
async def test_another_thread_may_look() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage) as manager:
        task = await manager.submit(url("a"))
        stage.finish("a")
        await task.wait()

        def look() -> list[object]:
            return [
                task.status,
                task.progress,
                task.snapshot(),
                manager.get_stats(),
                manager.get_task(task.correlation_id),
            ]

        assert await anyio.to_thread.run_sync(look) == look()


@on_every_backend
async def test_another_thread_calls_through_anyio() -> None:
    async with open_manager(downloader=instant) as manager:

        def work() -> str:
            task = anyio.from_thread.run_sync(functools.partial(manager.submit_nowait, url("a"), correlation_id="a"))
            anyio.from_thread.run(task.wait)
            return anyio.from_thread.run(manager.download, url("b")).path.name

        assert await anyio.to_thread.run_sync(work) == "b"
        assert manager.get_task("a").status.is_final


@on_every_backend
async def test_a_downloader_of_another_thread_is_refused_by_its_manager_or_served(backend: Backend) -> None:
    """A downloader in trio may only use its manager where that lives in trio too."""
    seen: list[BaseException | None] = []

    async def submit_more(job: Any) -> Any:
        try:
            manager.submit_nowait(url("b"), correlation_id="b", downloader=instant)
        except RuntimeError as exc:
            seen.append(exc)
        else:
            seen.append(None)
        return await instant(job)

    async with open_manager(downloader=submit_more) as manager:
        await manager.download(url("a"))
        if backend.library == "trio":
            assert seen == [None]
        else:
            (refusal,) = seen
            assert "anyio.from_thread" in str(refusal) or "asyncio_downloader" in str(refusal)
            with pytest.raises(UnknownTaskError):
                manager.get_task("b")

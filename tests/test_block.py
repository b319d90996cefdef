"""The block: what entering checks, what leaving promises in all its forms, and what comes out of it (law 1)."""

from __future__ import annotations

import inspect
import math
import signal
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import assert_checkpoints

from tests.fakes import (
    FakeDownloader,
    Resource,
    StatusLog,
    instant,
    queue,
    queue_one,
    run_in_virtual_time,
    saved,
    settle,
    url,
)
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadOptions,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    ManagerClosedError,
    ManagerCrashedError,
    UncollectedFailuresError,
    UnknownTaskError,
    download,
    open_manager,
)
from trio_dlm._block import _Block
from trio_dlm._engine import Engine
from trio_dlm._plan import OnExit, Plan

pytestmark = pytest.mark.virtual_time

PENDING, DOWNLOADING, PAUSED = DownloadStatus.PENDING, DownloadStatus.DOWNLOADING, DownloadStatus.PAUSED
COMPLETED, FAILED, CANCELLED = DownloadStatus.COMPLETED, DownloadStatus.FAILED, DownloadStatus.CANCELLED


class Crash(BaseException):
    """Neither an ``Exception`` nor ``Cancelled``."""


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_concurrent": -1}, ValueError, r"^max_concurrent is 0 or more, got -1$"),
        ({"max_concurrent": 2.0}, TypeError, r"^max_concurrent is an int or math\.inf, got 2\.0$"),
        ({"max_concurrent": True}, TypeError, r"^max_concurrent is an int or math\.inf, got True$"),
        ({"max_concurrent": trio.CapacityLimiter(1)}, TypeError, r"^max_concurrent is an int or math\.inf, got <trio"),
        ({"max_per_lane": -1}, ValueError, r"^max_per_lane is 0 or more, got -1$"),
        ({"max_per_lane": "1"}, TypeError, r"^max_per_lane is an int or math\.inf, got '1'$"),
        ({"max_pending": 0}, ValueError, r"^max_pending is 1 or more, got 0"),
        ({"max_pending": -1}, ValueError, r"^max_pending is 1 or more, got -1"),
        ({"max_pending": 1.5}, TypeError, r"^max_pending is an int or math\.inf, got 1\.5$"),
        ({"keep_finished": -1}, ValueError, r"^keep_finished is 0 or more, got -1$"),
        ({"keep_finished": None}, TypeError, r"^keep_finished is an int or math\.inf, got None$"),
        (
            {"rate_limit_bytes_per_s": 0},
            ValueError,
            r"^rate_limit_bytes_per_s is a positive number of bytes per second, got 0$",
        ),
        (
            {"rate_limit_bytes_per_s": None},
            TypeError,
            r"^rate_limit_bytes_per_s is a number of bytes per second, got None$",
        ),
        ({"directory": 7}, TypeError, r"^directory is a str or a path, got 7$"),
        ({"directory": ""}, ValueError, r"^directory is the name of a directory, got ''$"),
        ({"downloader": object()}, TypeError, r"^a downloader is an object with `async def download"),
        ({"downloader": lambda job: None}, TypeError, r"^a downloader is an object with `async def download"),
        ({"downloader": FakeDownloader}, TypeError, r"^a downloader is an object with `async def download"),
        ({"lane_of": "host"}, TypeError, r"^lane_of is a function of a DownloadRequest, got 'host'$"),
        ({"setup": Resource("setup", [])}, TypeError, r"^setup is a function that makes an async context manager"),
        ({"on_exit": "stop"}, ValueError, r"^on_exit is 'wait' or 'cancel', got 'stop'$"),
        ({"failures": "ignore"}, ValueError, r"^failures is 'raise' or 'keep', got 'ignore'$"),
        ({"backend": "curio"}, ValueError, r"^backend is 'auto' or 'trio' or 'asyncio', got 'curio'$"),
        ({"backend": None}, ValueError, r"^backend is 'auto' or 'trio' or 'asyncio', got None$"),
    ],
    ids=lambda value: "-".join(f"{k}={type(v).__name__}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_arguments_are_checked_when_open_manager_is_called(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_manager(**arguments)


def test_the_defaults_are_those_of_the_documentation() -> None:
    parameters = inspect.signature(open_manager).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        "max_concurrent": 5,
        "directory": ".",
        "downloader": None,
        "max_pending": None,
        "lane_of": None,
        "max_per_lane": None,
        "keep_finished": 1000,
        "rate_limit_bytes_per_s": math.inf,
        "on_exit": "wait",
        "failures": "raise",
        "setup": None,
        "backend": "auto",
    }
    assert inspect.signature(download).parameters["directory"].default == "."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lane_of": "host"}, "lane_of is a function of a DownloadRequest, got 'host'"),
        ({"setup": "x"}, "setup is a function that makes an async context manager, got 'x'"),
    ],
    ids=["lane_of", "setup"],
)
def test_what_is_no_function_is_shown(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        open_manager(**arguments)
    assert str(caught.value) == message


def test_a_block_that_was_not_entered_says_that_it_is_no_manager() -> None:
    block: Any = open_manager(3)
    with pytest.raises(AttributeError, match="`async with open_manager"):
        block.submit("https://example.org/a")
    with pytest.raises(AttributeError, match="'_Block' object has no attribute 'sumbit'"):
        block.sumbit("https://example.org/a")


def test_the_plan_of_a_block_is_given_by_name_frozen_and_small() -> None:
    plan = cast("_Block", open_manager())._plan
    with pytest.raises(FrozenInstanceError):
        plan.max_concurrent = 6  # type: ignore[misc]
    assert not hasattr(plan, "__dict__")
    assert all(field.kw_only for field in fields(Plan))


async def test_the_limits_may_be_zero_one_or_infinite() -> None:
    for limit in (0, 1, math.inf):
        async with open_manager(
            limit, downloader=instant, max_per_lane=limit, keep_finished=limit, max_pending=limit or 1
        ) as manager:
            assert (manager.max_concurrent, manager.max_per_lane) == (limit, limit)


async def test_the_directory_is_made_absolute_when_the_block_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "one")
    block = open_manager(1, directory="files", downloader=instant)
    monkeypatch.chdir(tmp_path / "two")
    async with block as manager:
        monkeypatch.chdir(tmp_path / "one")
        assert manager.directory == tmp_path / "two" / "files"
        task = await manager.submit(url("a"))
        assert (await task.result()).path == tmp_path / "two" / "files" / "a"
        # Nothing was created for it.
        assert not manager.directory.exists()


async def test_the_default_directory_is_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_manager(downloader=instant) as manager:
        assert manager.directory == tmp_path


async def test_a_block_is_entered_once() -> None:
    block = open_manager(downloader=instant)
    async with block:
        with pytest.raises(RuntimeError, match=r"^a manager's block is entered once; call open_manager\(\) again"):
            await block.__aenter__()
    with pytest.raises(RuntimeError, match=r"^a manager's block is entered once; call open_manager\(\) again"):
        await block.__aenter__()


@pytest.mark.parametrize("on_exit", ["wait", "cancel"])
async def test_entering_and_leaving_are_checkpoints(on_exit: OnExit) -> None:
    async with AsyncExitStack() as stack:
        with assert_checkpoints():
            await stack.enter_async_context(open_manager(downloader=instant, on_exit=on_exit))
        leaving = stack.pop_all()
        with assert_checkpoints():
            await leaving.aclose()


async def test_a_manager_shows_its_figures() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        queue(manager, "a", "b")
        assert repr(manager) == "<DownloadManager 1 of 1 running, 1 pending>"
        fake.finish("a", "b")


# A normal end.


async def test_with_wait_running_and_pending_downloads_go_on_to_their_end() -> None:
    fake = FakeDownloader()
    async with trio.open_nursery() as nursery:
        async with open_manager(1, downloader=fake) as manager:
            tasks = queue(manager, *"abc")

            async def finish_slowly() -> None:
                for name in "abc":
                    await trio.sleep(10)
                    fake.finish(name)

            nursery.start_soon(finish_slowly)
        assert [task.status for task in tasks] == [COMPLETED] * 3
    assert fake.begun == [*"abc"]


async def test_with_cancel_everything_is_cancelled() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        a, b, c = queue(manager, *"abc")
        await settle()
        await c.pause()
        fake.shield("a", 5)
        began = trio.current_time()
    assert trio.current_time() - began == 5
    assert (a.status, b.status, c.status) == (CANCELLED,) * 3
    assert a.reason == b.reason == c.reason == "the manager's block was left"
    assert fake.begun == ["a"]


async def test_with_cancel_a_result_or_an_error_that_comes_anyway_counts() -> None:
    fake = FakeDownloader()
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(2, downloader=fake, on_exit="cancel") as manager:
            a, b = queue(manager, "a", "b")
            await settle()
            fake.gate("a").when_cancelled(None)
            fake.gate("b").when_cancelled(OSError("disk full"))
    assert (a.status, b.status) == (COMPLETED, FAILED)


async def test_an_empty_block_ends_at_once() -> None:
    began = trio.current_time()
    async with open_manager(downloader=instant):
        pass
    async with open_manager(downloader=instant, on_exit="cancel"):
        pass
    assert trio.current_time() == began


async def test_when_the_block_ends_no_task_is_left() -> None:
    fake = FakeDownloader()
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_manager(9, downloader=fake, on_exit="cancel") as manager:
        queue(manager, *"abcdef")
        await settle()
        assert trio.lowlevel.current_statistics().tasks_living == before + 6
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert fake.running == []


async def test_a_shielding_download_delays_the_end_of_the_block_by_its_shield_and_no_longer() -> None:
    fake = FakeDownloader()
    with trio.move_on_after(1):
        async with open_manager(1, downloader=fake) as manager:
            queue_one(manager, "a")
            await settle()
            fake.shield("a", 100)
            began = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() - began == 101
    assert fake.running == []


# The door.


async def test_leaving_closes_the_door_for_everybody() -> None:
    fake = FakeDownloader()
    manager: DownloadManager
    said: list[str] = []

    async def crawl(job: DownloadJob) -> DownloadResult:
        await trio.sleep(10)
        for call in (
            lambda: manager.submit(url("x")),
            lambda: manager.submit_nowait(url("x")),
            lambda: manager.submit_many([url("x")]),
            lambda: manager.download(url("x")),
            lambda: manager.retry("ended"),
            lambda: manager.resume("ended"),
        ):
            try:
                answer = call()
                if hasattr(answer, "__await__"):
                    await answer
            except ManagerClosedError as exc:
                said.append(f"{exc.action}")
        return saved(job)

    async with open_manager(9, downloader=fake) as manager:
        ended = queue_one(manager, "ended")
        fake.finish("ended")
        await ended.wait()
        crawler = await manager.submit(url("crawler"), downloader=crawl)
    assert crawler.status is COMPLETED
    assert said == ["submit"] * 4 + ["retry", "resume"]


async def test_the_error_of_a_closed_door_says_what_to_do() -> None:
    async with open_manager(downloader=instant) as manager:
        pass
    with pytest.raises(ManagerClosedError) as caught:
        manager.submit_nowait(url("a"))
    assert str(caught.value) == (
        "cannot submit: the manager's block is being left; submit from inside the block, "
        "and stay in it (await manager.wait_idle()) while downloads submit more"
    )


async def test_a_crawler_whose_downloads_submit_more_stays_in_the_body() -> None:
    manager: DownloadManager

    async def crawl(job: DownloadJob) -> DownloadResult:
        depth = len(job.url)
        if depth < len(url("")) + 5:
            await manager.submit(job.url + "0")
            await manager.submit(job.url + "1")
        return saved(job)

    async with open_manager(2, downloader=crawl) as manager:
        await manager.submit(url("x"))
        await manager.wait_idle()
        assert manager.get_stats().completed == 31


async def test_limits_can_still_be_changed_while_the_block_is_being_left() -> None:
    fake = FakeDownloader()
    fake.finish("a")
    async with trio.open_nursery() as nursery:
        async with open_manager(0, downloader=fake) as manager:
            a = queue_one(manager, "a")

            async def widen() -> None:
                await trio.sleep(10)
                assert a.status is PENDING
                manager.max_concurrent = 1

            nursery.start_soon(widen)
    assert a.status is COMPLETED


async def test_what_only_reads_still_works_afterwards() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, failures="keep") as manager:
        a, b, c = queue(manager, *"abc")
        batch = await manager.submit_many([url("x")], parent_id="p")
        fake.finish("a", "x")
        fake.fail("b")
        await c.cancel()
    assert [await task.wait() for task in (a, b, c)] == [COMPLETED, FAILED, CANCELLED]
    assert (await a.result()).path.name == "a"
    with pytest.raises(DownloadFailedError):
        await b.result()
    with pytest.raises(DownloadCancelledError):
        await c.result()
    assert manager.get_task("a") is a
    with pytest.raises(UnknownTaskError):
        manager.get_task("zzz")
    stats = manager.get_stats()
    assert (stats.completed, stats.failed, stats.cancelled, stats.active, stats.pending) == (2, 1, 1, 0, 0)
    assert await manager.cancel("a") is await manager.cancel("p") is await manager.pause("a") is False
    assert await batch.wait() == (COMPLETED,)
    await manager.wait_idle()
    assert a.progress.fraction == 1.0
    assert manager.directory.is_absolute()
    assert "0 of 9 running" in repr(manager)
    manager.max_concurrent = manager.max_per_lane = 3
    manager.set_lane_limit("x", 1)
    assert (manager.max_concurrent, manager.max_per_lane) == (3, 3)


# An exception leaves the body.


@pytest.mark.parametrize(
    "error",
    [
        ValueError("mine"),
        KeyboardInterrupt(),
        SystemExit(3),
        Crash("odd"),
        StopIteration(7),
        StopAsyncIteration(),
        GeneratorExit(),
        ExceptionGroup("mine", [ValueError("one"), OSError("two")]),
        BaseExceptionGroup("mine", [ValueError("one"), Crash("two")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_exception_of_the_body_cancels_everything_and_leaves_alone_and_bare(error: BaseException) -> None:
    fake = FakeDownloader()
    caught: list[BaseException] = []
    tasks: list[DownloadTask[DownloadResult]] = []
    try:
        async with open_manager(1, downloader=fake) as manager:
            tasks += queue(manager, *"abc")
            await settle()
            await tasks[2].pause()
            fake.shield("a", 5)
            raise error
    except BaseException as exc:
        caught.append(exc)
    assert caught == [error]
    assert caught[0] is error
    assert not hasattr(error, "__notes__")
    assert [task.status for task in tasks] == [CANCELLED] * 3
    assert {task.reason for task in tasks} == {f"the manager's block was left by {type(error).__name__}"}
    assert fake.begun == ["a"]
    assert fake.running == []


async def test_the_traceback_of_the_bodys_exception_leads_into_the_body() -> None:
    def break_it() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        async with open_manager(downloader=instant):
            break_it()
    assert "break_it" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


async def test_a_return_from_the_body_is_a_normal_end() -> None:
    fake = FakeDownloader()
    fake.finish("a")

    async def use() -> DownloadResult:
        async with open_manager(downloader=fake) as manager:
            return await manager.download(url("a"))

    assert (await use()).path.name == "a"


# The surroundings are cancelled.


@pytest.mark.parametrize("where", ["in the body", "while leaving"])
async def test_an_outer_cancel_cancels_everything_and_goes_on_outwards(where: str) -> None:
    fake = FakeDownloader()
    with trio.move_on_after(10) as scope:
        async with open_manager(1, downloader=fake) as manager:
            log = StatusLog(manager)
            a, b, c = queue(manager, *"abc")
            await settle()
            await c.pause()
            fake.shield("a", 5)
            began = trio.current_time()
            if where == "in the body":
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - began == 15
    assert (a.status, b.status, c.status) == (CANCELLED,) * 3
    assert log.of(a) == [PENDING, DOWNLOADING, CANCELLED]
    for task in (a, b):
        assert task.reason is not None
        assert "block" in task.reason
    assert fake.begun == ["a"]


async def test_an_outer_cancel_and_an_error_of_a_download_fails_it_and_cancels_the_rest() -> None:
    fake = FakeDownloader()
    with trio.move_on_after(10) as scope:
        async with open_manager(2, downloader=fake) as manager:
            a, b, c = queue(manager, *"abc")
            await settle()
            fake.gate("a").when_cancelled(OSError("disk full"))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert (a.status, b.status, c.status) == (FAILED, CANCELLED, CANCELLED)


async def test_an_outer_cancel_and_a_group_with_an_error_fails_it_and_goes_on_outwards() -> None:
    async def fail_beside(job: DownloadJob) -> DownloadResult:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("disk full")

    with trio.move_on_after(10) as scope:
        async with open_manager(2, downloader=fail_beside) as manager:
            a = queue_one(manager, "a")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert a.status is FAILED
    assert pytest.RaisesGroup(OSError).matches(a.error)


async def test_a_cancel_that_was_asked_for_keeps_its_reason_when_the_surroundings_are_cancelled_too() -> None:
    fake = FakeDownloader()
    with trio.move_on_after(10):
        async with open_manager(2, downloader=fake) as manager, trio.open_nursery() as nursery:
            a, b = queue(manager, "a", "b")
            await settle()
            fake.shield("a", 20)
            fake.shield("b", 20)
            nursery.start_soon(a.cancel, "mine")
            nursery.start_soon(b.pause, "lunch")
    assert (a.status, a.reason) == (CANCELLED, "mine")
    assert b.status is CANCELLED
    assert b.reason != "lunch"


async def test_a_body_that_is_shielded_sees_every_download_end_when_the_surroundings_are_cancelled() -> None:
    fake = FakeDownloader()
    with trio.CancelScope() as outer:
        async with open_manager(1, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")
            await settle()
            with trio.CancelScope(shield=True):
                outer.cancel(reason="a test")
                assert await a.wait() is CANCELLED
                # It could never start any more, and nobody else would end it.
                assert await b.wait() is CANCELLED
                with pytest.raises(ManagerClosedError):
                    await manager.submit(url("c"))
    assert fake.begun == ["a"]


async def test_a_block_entered_in_a_cancelled_scope_runs_nothing() -> None:
    fake = FakeDownloader()
    with trio.CancelScope() as scope:
        scope.cancel(reason="a test")
        async with open_manager(1, downloader=fake) as manager:
            a = queue_one(manager, "a")
    assert scope.cancelled_caught
    # Whether the block was entered at all or not.
    assert fake.begun == []
    assert "a" not in locals() or a.status is CANCELLED


@pytest.mark.parametrize("where", ["in the body", "while leaving"])
async def test_an_outer_cancel_leaves_as_a_bare_cancelled_however_many_downloads_it_met(where: str) -> None:
    fake = FakeDownloader()
    left_by: list[type[BaseException]] = []
    with trio.move_on_after(10):
        try:
            async with open_manager(3, downloader=fake) as manager:
                tasks = queue(manager, *"abcd")
                if where == "in the body":
                    await trio.sleep_forever()
        except BaseException as exc:
            left_by.append(type(exc))
            raise
    assert left_by == [trio.Cancelled]
    assert {task.reason for task in tasks} == {"the manager's block was cancelled"}


@pytest.mark.parametrize("where", ["in the body", "while leaving"])
async def test_what_an_outer_cancel_finds_in_the_queue_says_so(where: str) -> None:
    with trio.move_on_after(10):
        async with open_manager(0, downloader=FakeDownloader()) as manager:
            a = queue_one(manager, "a")
            if where == "in the body":
                await trio.sleep_forever()
    assert a.reason == "the manager's block was cancelled"


# Ctrl-C, which trio raises in the main task, and that waits for the end of the downloads.


async def press_ctrl_c(times: int) -> None:
    for _ in range(times):
        await trio.sleep(5)
        # Code of a system task is protected, so trio hands it on to the main task.
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("timeout_s", [1, math.inf], ids=["cancelled before", "not cancelled"])
@pytest.mark.parametrize("body", ["ends", "waits"])
@pytest.mark.parametrize("on_exit", ["wait", "cancel"])
def test_ctrl_c_while_the_block_waits_is_never_swallowed(
    on_exit: OnExit, body: str, timeout_s: float, times: int
) -> None:
    fake = FakeDownloader()
    fake.shield("a", 50)
    tasks: list[DownloadTask[DownloadResult]] = []

    async def main() -> None:
        trio.lowlevel.spawn_system_task(press_ctrl_c, times)
        with trio.move_on_after(timeout_s):
            async with open_manager(1, downloader=fake, on_exit=on_exit) as manager:
                tasks.extend(queue(manager, "a", "b"))
                await settle()
                if body == "waits":
                    await trio.sleep_forever()
        await trio.sleep_forever()

    with pytest.raises(BaseException) as caught:  # noqa: PT011  (which it is, is looked at below)
        run_in_virtual_time(main)
    assert BaseExceptionGroup("all of it", [caught.value]).split(KeyboardInterrupt)[1] is None
    assert [task.status for task in tasks] == [CANCELLED, CANCELLED]
    assert fake.over == ["a"]


def test_ctrl_c_while_the_block_waits_cancels_everything_at_once_and_is_the_reason() -> None:
    fake = FakeDownloader()
    tasks: list[DownloadTask[DownloadResult]] = []

    async def main() -> None:
        trio.lowlevel.spawn_system_task(press_ctrl_c, 1)
        with trio.fail_after(10):
            async with open_manager(1, downloader=fake) as manager:
                tasks.extend(queue(manager, "a", "b"))

    with pytest.raises(KeyboardInterrupt):
        run_in_virtual_time(main)
    assert [task.reason for task in tasks] == 2 * ["the manager's block was left by KeyboardInterrupt"]


async def test_leaving_can_be_cancelled_though_it_cancels_everything_itself() -> None:
    with trio.CancelScope() as scope:
        async with open_manager(downloader=instant, on_exit="cancel"):
            scope.cancel(reason="a test")
    assert scope.cancelled_caught


# A crash.


@pytest.mark.parametrize(
    "crash", [Crash("odd"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=lambda crash: type(crash).__name__
)
async def test_a_crash_of_a_download_leaves_as_a_group_and_ends_the_block(crash: BaseException) -> None:
    fake = FakeDownloader()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_manager(3, downloader=fake) as manager:
            a, b, c, d, e = queue(manager, *"abcde")
            await settle()
            await e.pause()
            await c.pause()
            assert d.status is DOWNLOADING
            c.resume()
            fake.fail("a", crash)
            # The body is cancelled.
            await trio.sleep_forever()
    assert caught.value.exceptions == (crash,)
    assert a.status is FAILED
    for task in (b, d):
        # In flight.
        assert task.status is FAILED
        assert isinstance(task.error, ManagerCrashedError)
        assert task.error.is_culprit is False
        assert task.error.crash == repr(crash)
        assert task.error.__cause__ is crash
        assert task.reason == f"the manager's block was ended by {crash!r}; this download was stopped with it"
    assert isinstance(a.error, ManagerCrashedError)
    assert (a.error.is_culprit, a.error.crash, a.error.__cause__) == (True, repr(crash), crash)
    assert a.reason == f"this download raised {crash!r}, which ended the manager's block"
    for task in (c, e):
        # Queued or paused.
        assert task.status is CANCELLED
        assert task.reason == f"the manager crashed: {crash!r}"
    assert fake.running == []


async def test_a_crash_beside_an_error_in_a_group_keeps_the_error_and_lets_the_crash_go_on() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(pytest.RaisesGroup(Crash)):
        async with open_manager(3, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")
            fake.fail("a", BaseExceptionGroup("both", [OSError("disk full"), Crash("odd")]))
            await trio.sleep_forever()
    assert a.status is b.status is FAILED
    assert pytest.RaisesGroup(pytest.RaisesExc(OSError, match="disk full")).matches(a.error)
    assert isinstance(b.error, ManagerCrashedError)


async def test_after_a_crash_a_result_an_error_and_an_asked_for_cancel_still_count() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash):
        async with open_manager(9, downloader=fake) as manager, trio.open_nursery() as nursery:
            _, b, c, d, e = queue(manager, *"abcde")
            await settle()
            fake.gate("b").when_cancelled(None)
            error = OSError("disk full")
            fake.gate("c").when_cancelled(error)
            fake.shield("d", 5)
            fake.shield("e", 5)
            nursery.start_soon(d.cancel, "mine")
            nursery.start_soon(e.pause, "lunch")
            await settle()
            fake.fail("a", Crash("odd"))
            await trio.sleep_forever()
    assert b.status is COMPLETED
    assert (c.status, c.error) == (FAILED, error)
    assert (d.status, d.reason) == (CANCELLED, "mine")
    assert e.status is FAILED
    assert isinstance(e.error, ManagerCrashedError)


async def test_a_crash_while_the_block_is_being_left_leaves_too() -> None:
    fake = FakeDownloader()
    # The outer group is that of the test's own nursery.
    with pytest.RaisesGroup(pytest.RaisesGroup(Crash)):
        async with trio.open_nursery() as nursery, open_manager(2, downloader=fake) as manager:
            a, b, c = queue(manager, *"abc")

            async def crash_later() -> None:
                await trio.sleep(10)
                fake.fail("a", Crash("odd"))

            nursery.start_soon(crash_later)
    assert (a.status, b.status, c.status) == (FAILED, FAILED, CANCELLED)


async def test_a_crash_while_the_bodys_exception_cancels_everything_leaves_with_it() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(ValueError, Crash, match=r"^what left the manager's block\n"):
        async with open_manager(2, downloader=fake) as manager:
            a, b = queue(manager, "a", "b")
            await settle()
            fake.gate("a").when_cancelled(Crash("odd"))
            fake.shield("b", 5)
            raise ValueError("mine")
    assert a.status is FAILED
    assert b.status in {FAILED, CANCELLED}


async def test_two_crashes_both_leave() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash, Crash):
        async with open_manager(2, downloader=fake) as manager:
            queue(manager, "a", "b")
            await settle()
            fake.gate("b").when_cancelled(Crash("two"))
            fake.fail("a", Crash("one"))
            await trio.sleep_forever()


class EmptyCrash(Crash):
    """Counts as false."""

    def __len__(self) -> int:
        return 0


async def test_the_first_crash_is_the_one_that_ended_the_block_also_if_it_counts_as_false() -> None:
    fake = FakeDownloader()
    first = EmptyCrash("one")
    with pytest.RaisesGroup(EmptyCrash, Crash):
        async with open_manager(3, downloader=fake) as manager:
            _, _, c = queue(manager, *"abc")
            await settle()
            fake.gate("b").when_cancelled(Crash("two"))
            fake.shield("c", 5)
            fake.fail("a", first)
            await trio.sleep_forever()
    assert isinstance(c.error, ManagerCrashedError)
    assert c.error.__cause__ is first


async def test_the_members_of_the_bodys_group_and_a_crash_leave_in_one_group() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(ValueError, OSError, Crash):
        async with open_manager(1, downloader=fake) as manager:
            queue(manager, "a")
            await settle()
            fake.gate("a").when_cancelled(Crash("odd"))
            raise ExceptionGroup("mine", [ValueError("one"), OSError("two")])


@pytest.mark.parametrize("where", ["in the body", "while leaving"])
async def test_an_outer_cancel_and_a_crash_leave_as_the_crash_alone(where: str) -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash), trio.move_on_after(10):
        async with open_manager(1, downloader=fake) as manager:
            queue(manager, "a")
            await settle()
            fake.gate("a").when_cancelled(Crash("odd"))
            if where == "in the body":
                await trio.sleep_forever()


@pytest.mark.parametrize("what", ["nothing", "all"])
async def test_a_bug_in_the_manager_leaves_with_its_own_error_whatever_was_done_before(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_run = Engine.run_ended

    def break_after(self: Engine, *args: Any, **kwargs: Any) -> None:
        if what == "all":
            end_run(self, *args, **kwargs)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Engine, "run_ended", break_after)
    fake = FakeDownloader()
    fake.finish("a")
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError, match=r"^a bug$")):
        async with open_manager(1, downloader=fake) as manager:
            queue(manager, "a")
            # The body is cancelled.
            await trio.sleep_forever()


async def test_a_crash_outranks_failures_that_nobody_asked_for() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash):
        async with open_manager(2, downloader=fake) as manager:
            queue(manager, "a", "b")
            fake.fail("b")
            await settle()
            fake.fail("a", Crash("odd"))
            await trio.sleep_forever()


async def test_nothing_starts_after_a_crash() -> None:
    fake = FakeDownloader()
    with pytest.RaisesGroup(Crash):
        async with open_manager(1, downloader=fake) as manager:
            queue(manager, *"abcd")
            await settle()
            fake.fail("a", Crash("odd"))
            with trio.CancelScope(shield=True):
                await settle()
                manager.max_concurrent = 9
                with pytest.raises(ManagerClosedError):
                    await manager.submit(url("e"))
                await settle()
    assert fake.begun == ["a"]


# Very many.


async def test_very_many_are_cancelled_in_batches_so_that_others_get_their_turn() -> None:
    fake = FakeDownloader()
    seen: list[int] = []
    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="mine"):
            async with open_manager(1, downloader=fake) as manager:

                async def look() -> None:
                    while (cancelled := manager.get_stats().cancelled) < 4500:
                        seen.append(cancelled)
                        await trio.lowlevel.checkpoint()

                for n in range(4500):
                    manager.submit_nowait(url(n))
                nursery.start_soon(look)
                await settle_without_waiting()
                raise ValueError("mine")
    assert manager.get_stats().cancelled == 4500
    assert len([cancelled for cancelled in seen if 0 < cancelled < 4500]) >= 2


async def settle_without_waiting() -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def test_very_many_paused_ones_are_cancelled_too() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        for n in range(2500):
            await manager.submit_nowait(url(n)).pause()
    assert manager.get_stats().cancelled == 2500


async def test_very_many_are_cancelled_also_if_everything_around_is() -> None:
    fake = FakeDownloader()
    with trio.CancelScope() as scope:
        async with open_manager(1, downloader=fake) as manager:
            for n in range(2500):
                manager.submit_nowait(url(n))
            await settle()
            scope.cancel(reason="a test")
            await trio.sleep_forever()
    assert manager.get_stats().cancelled == 2500


# What surrounds the downloads.


class Worker(Resource):
    """A downloader that is an async context manager."""

    async def download(self, job: DownloadJob) -> DownloadResult:
        self._diary.append(f"download with {job.resources}")
        try:
            await trio.sleep(10)
        finally:
            self._diary.append("download over")
        return saved(job)


async def test_setup_and_downloader_are_entered_first_and_left_last() -> None:
    diary: list[str] = []
    async with open_manager(
        1, downloader=Worker("downloader", diary), setup=lambda: Resource("setup", diary)
    ) as manager:
        diary.append("body")
        await manager.submit(url("a"))
    assert diary == [
        "setup entered",
        "downloader entered",
        "body",
        "download with setup",
        "download over",
        "downloader left",
        "setup left",
    ]


async def test_without_setup_there_are_no_resources() -> None:
    diary: list[str] = []
    async with open_manager(1, downloader=Worker("downloader", diary)) as manager:
        await manager.download(url("a"))
    assert "download with None" in diary


async def test_what_setup_gives_may_be_anything() -> None:
    pool = object()
    seen: list[object] = []

    @asynccontextmanager
    async def setup() -> AsyncIterator[object]:
        yield pool

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(job.resources)
        return saved(job)

    async with open_manager(1, downloader=look, setup=setup) as manager:
        await manager.download(url("a"))
    assert seen == [pool]


@pytest.mark.parametrize("how", ["the body raises", "an outer cancel", "a crash", "uncollected"])
async def test_setup_and_downloader_are_left_after_the_last_download_however_the_block_ends(how: str) -> None:
    diary: list[str] = []
    worker = Worker("downloader", diary)

    async def crash(job: DownloadJob) -> DownloadResult:
        await settle()
        raise Crash("odd") if how == "a crash" else OSError("disk full")

    async def use() -> None:
        async with open_manager(2, downloader=worker, setup=lambda: Resource("setup", diary)) as manager:
            await manager.submit(url("a"))
            await settle()
            if how == "the body raises":
                raise ValueError("mine")
            if how != "an outer cancel":
                await manager.submit(url("b"), downloader=crash)
            if how != "uncollected":
                await trio.sleep_forever()

    error = {
        "the body raises": "ValueError",
        "an outer cancel": "Cancelled",
        "a crash": "BaseExceptionGroup",
        "uncollected": "UncollectedFailuresError",
    }[how]
    left_by: list[str] = []
    with trio.move_on_after(5 if how == "an outer cancel" else math.inf):
        try:
            await use()
        except BaseException as exc:
            left_by.append(type(exc).__name__)
            if isinstance(exc, trio.Cancelled):
                raise
    assert left_by == [error]
    assert diary[-3:] == ["download over", f"downloader left by {error}", f"setup left by {error}"]


async def test_an_error_while_entering_setup_leaves_bare_and_enters_nothing_else() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^setup cannot be entered$"):
        async with open_manager(
            1, downloader=Worker("downloader", diary), setup=lambda: Resource("setup", diary, fails_on="enter")
        ):
            raise AssertionError
    assert diary == ["setup entered"]


async def test_an_error_while_entering_the_downloader_leaves_setup() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^downloader cannot be entered$"):
        async with open_manager(
            1, downloader=Worker("downloader", diary, fails_on="enter"), setup=lambda: Resource("setup", diary)
        ):
            raise AssertionError
    assert diary == ["setup entered", "downloader entered", "setup left by OSError"]


async def test_an_error_while_leaving_the_downloader_comes_out_and_setup_is_left() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^downloader cannot be left$"):
        async with open_manager(
            1, downloader=Worker("downloader", diary, fails_on="exit"), setup=lambda: Resource("setup", diary)
        ):
            pass
    assert diary[-2:] == ["downloader left", "setup left by OSError"]


async def test_an_error_of_setup_itself_leaves_bare() -> None:
    def setup() -> Resource:
        raise LookupError("no pool")

    with pytest.raises(LookupError, match="no pool"):
        async with open_manager(1, downloader=instant, setup=setup):
            raise AssertionError


async def test_a_downloader_passed_to_submit_is_opened_by_its_owner() -> None:
    diary: list[str] = []
    async with open_manager(1, downloader=instant) as manager:
        await manager.download(url("a"), downloader=Worker("mine", diary))
    assert diary == ["download with None", "download over"]


async def test_only_an_async_context_manager_is_entered() -> None:
    class Half:
        async def download(self, job: DownloadJob) -> DownloadResult:
            return saved(job)

        def __enter__(self) -> None:
            raise AssertionError

        def __exit__(self, *_: object) -> None:
            raise AssertionError

    async with open_manager(1, downloader=Half()) as manager:
        await manager.download(url("a"))


# One file, one call.


async def test_download_fetches_one_file_without_a_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DownloadJob] = []

    class Default:
        async def download(self, job: DownloadJob) -> DownloadResult:
            seen.append(job)
            return saved(job, 7)

    monkeypatch.setattr("trio_dlm._trio_block.default_downloader", Default)
    result = await download(url("a"), tmp_path, options=DownloadOptions(filename="x", max_bytes=1), max_bytes=2)
    assert (result.path, result.size_bytes) == (tmp_path / "a", 7)
    (job,) = seen
    assert (job.directory, job.options.filename, job.options.max_bytes) == (tmp_path, "x", 2)


async def test_download_raises_what_a_task_raises_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDownloader()
    fake.fail("a")
    monkeypatch.setattr("trio_dlm._trio_block.default_downloader", lambda: fake)
    with pytest.raises(DownloadFailedError) as caught:
        await download(url("a"))
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ValueError, match="it is empty"):
        await download("")


async def test_cancelling_download_awaits_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeDownloader()
    fake.shield("a", 5)
    monkeypatch.setattr("trio_dlm._trio_block.default_downloader", lambda: fake)
    with trio.move_on_after(1):
        await download(url("a"))
    assert fake.over == ["a"]
    assert fake.running == []


# As a hook, or started in a nursery.


async def test_the_recipe_for_nursery_start() -> None:
    fake = FakeDownloader()

    async def run_manager(task_status: trio.TaskStatus[DownloadManager]) -> None:
        async with open_manager(1, downloader=fake) as manager:
            task_status.started(manager)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        manager: DownloadManager = await nursery.start(run_manager)
        a = queue_one(manager, "a")
        fake.finish("a")
        assert await a.wait() is COMPLETED
        nursery.cancel_scope.cancel(reason="done")


def leave_by(error: BaseException) -> Callable[[], None]:
    def leave() -> None:
        raise error

    return leave


async def test_managers_may_be_nested_and_each_ends_its_own() -> None:
    outer_fake, inner_fake = FakeDownloader(), FakeDownloader()
    async with open_manager(1, downloader=outer_fake) as outer:
        a = queue_one(outer, "a")
        with pytest.raises(ValueError, match="mine"):
            async with open_manager(1, downloader=inner_fake) as inner:
                b = queue_one(inner, "b")
                await settle()
                leave_by(ValueError("mine"))()
        assert (a.status, b.status) == (DOWNLOADING, CANCELLED)
        outer_fake.finish("a")

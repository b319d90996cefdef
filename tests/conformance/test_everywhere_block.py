"""Entering and leaving the manager's block, on every backend (laws 1, 4 and 10): what ends how, and what comes out."""

from __future__ import annotations

import logging
import math
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from tests.conformance.backends import Backend, living_tasks, on_every_backend, threads_of_the_library
from tests.conformance.downloaders import Bell, Stage, instant, reached, saved, status_of, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    ManagerClosedError,
    UncollectedFailuresError,
    open_manager,
)

DOWNLOADING = DownloadStatus.DOWNLOADING


async def fail(job: DownloadJob) -> DownloadResult:
    raise OSError(f"{job.correlation_id} broke")


# The two ways to end.


@on_every_backend
async def test_a_body_that_ends_lets_the_queue_run_empty() -> None:
    stage = Stage()
    async with anyio.create_task_group() as group:
        async with open_manager(1, downloader=stage) as manager:
            tasks = [await manager.submit(url(name)) for name in "abc"]
            await stage.has_begun("a")

            async def finish() -> None:
                # The door is closed for everybody while the rest goes on.
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(ManagerClosedError):
                    manager.submit_nowait(url("late"))
                stage.finish("a", "b", "c")

            group.start_soon(finish)
    assert status_of(*tasks) == ["completed"] * 3
    assert stage.begun == stage.over == ["a", "b", "c"]


@on_every_backend
async def test_while_the_block_waits_limits_can_be_set_and_downloads_cancelled() -> None:
    stage = Stage()
    async with anyio.create_task_group() as group:
        async with open_manager(0, downloader=stage) as manager:
            tasks = [await manager.submit(url(name)) for name in "ab"]

            async def help_it_end() -> None:
                await anyio.wait_all_tasks_blocked()
                assert await tasks[0].cancel("not needed") is True
                manager.max_concurrent = 1
                stage.finish("b")

            group.start_soon(help_it_end)
    assert status_of(*tasks) == ["cancelled", "completed"]


@on_every_backend
async def test_on_exit_cancel_cancels_what_has_not_ended() -> None:
    stage = Stage()
    async with open_manager(1, downloader=stage, on_exit="cancel") as manager:
        tasks = [await manager.submit(url(name)) for name in "ab"]
        await stage.has_begun("a")
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert {task.reason for task in tasks} == {"the manager's block was left"}
    assert (stage.begun, stage.over) == (["a"], ["a"])
    with pytest.raises(DownloadCancelledError, match="the manager's block was left"):
        await tasks[0].result()


@pytest.mark.parametrize("on_exit", ["wait", "cancel"])
@on_every_backend
async def test_paused_downloads_are_cancelled_when_the_block_is_left(on_exit: Any) -> None:
    stage = Stage()
    async with open_manager(downloader=stage, on_exit=on_exit) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        assert await task.pause() is True
    assert status_of(task) == ["cancelled"]


class Listener(logging.Handler):
    """Keeps what is logged, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []
        self.bell = Bell()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())
        self.bell.ring()


@on_every_backend
async def test_a_limit_of_zero_that_holds_back_the_end_is_told() -> None:
    stage = Stage()
    listener = Listener()
    logging.getLogger("trio_dlm").addHandler(listener)
    try:
        async with anyio.create_task_group() as group:
            async with open_manager(0, downloader=stage) as manager:
                await manager.submit(url("a"))

                async def open_up() -> None:
                    await listener.bell.until(lambda: listener.heard)
                    manager.max_concurrent = 1
                    stage.finish("a")

                group.start_soon(open_up)
    finally:
        logging.getLogger("trio_dlm").removeHandler(listener)
    (warning,) = listener.heard
    assert "a limit of 0 holds back 1 queued downloads" in warning


@on_every_backend
async def test_the_block_does_not_end_before_the_cleanup_of_its_downloads() -> None:
    stage = Stage()
    stage.hold("a")
    left = False

    async def block() -> None:
        nonlocal left
        async with open_manager(downloader=stage, on_exit="cancel") as manager:
            await manager.submit(url("a"))
            await stage.has_begun("a")
        left = True

    async with anyio.create_task_group() as group:
        group.start_soon(block)
        await stage.is_stopping("a")
        await anyio.wait_all_tasks_blocked()
        assert not left
        stage.let_go("a")
    assert left
    assert stage.running == []


@on_every_backend
async def test_nothing_is_left_after_many_lifetimes() -> None:
    before = living_tasks()
    for number in range(30):
        async with open_manager(2, downloader=instant) as manager:
            await manager.download(url(number))
        assert threads_of_the_library() == []
        assert living_tasks() == before


@on_every_backend
async def test_an_empty_block_ends_at_once() -> None:
    async with open_manager() as manager:
        assert isinstance(manager, DownloadManager)
    async with open_manager(0, on_exit="cancel", failures="keep", max_per_lane=1, keep_finished=math.inf):
        pass


@on_every_backend
async def test_a_block_is_entered_once() -> None:
    block = open_manager()
    async with block:
        with pytest.raises(RuntimeError, match="a manager's block is entered once; call open_manager"):
            await block.__aenter__()
    with pytest.raises(RuntimeError, match="a manager's block is entered once"):
        await block.__aenter__()


@on_every_backend
async def test_the_backend_can_be_named(backend: Backend) -> None:
    async with open_manager(backend=backend.library, downloader=instant) as manager:
        await manager.download(url("a"))
    async with open_manager(backend="auto", downloader=instant) as manager:
        await manager.download(url("a"))


@on_every_backend
async def test_two_managers_live_side_by_side_and_know_nothing_of_each_other() -> None:
    async with open_manager(downloader=instant) as one, open_manager(downloader=instant) as other:
        a = await one.submit(url("a"), correlation_id="same")
        b = await other.submit(url("b"), correlation_id="same")
        assert one.get_task("same") is a
        assert other.get_task("same") is b
        assert (await a.result()).path.name == "a"
        assert (await b.result()).path.name == "b"


# What the body raises.


@on_every_backend
async def test_an_exception_of_the_body_leaves_bare_and_cancels_everything() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []
    with pytest.raises(KeyError, match=r"^'mine'$") as caught:
        async with open_manager(1, downloader=stage) as manager:
            tasks += [await manager.submit(url(name)) for name in "ab"]
            await stage.has_begun("a")
            raise KeyError("mine")
    assert type(caught.value) is KeyError
    assert caught.value.__cause__ is None
    assert not hasattr(caught.value, "__notes__")
    assert status_of(*tasks) == ["cancelled", "cancelled"]
    assert {task.reason for task in tasks} == {"the manager's block was left by KeyError"}
    assert stage.over == ["a"]


@on_every_backend
async def test_a_group_that_the_body_raises_leaves_as_it_is() -> None:
    group = ExceptionGroup("mine", [ValueError(1), KeyError(2)])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_manager(downloader=instant):
            raise group
    assert caught.value is group


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
@on_every_backend
async def test_what_ends_a_program_leaves_the_block_as_it_is_too(error: BaseException) -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []
    with pytest.raises(type(error)) as caught:
        async with open_manager(downloader=stage) as manager:
            tasks.append(await manager.submit(url("a")))
            await stage.has_begun("a")
            raise error
    assert caught.value is error
    assert status_of(*tasks) == ["cancelled"]
    assert stage.over == ["a"]


@on_every_backend
async def test_an_exception_of_the_body_counts_what_failed_besides() -> None:
    with pytest.raises(KeyError) as caught:
        async with open_manager(downloader=fail) as manager:
            await manager.submit_many(map(url, "abc"))
            await manager.wait_idle()
            raise KeyError("mine")
    assert caught.value.__notes__ == ["trio_dlm: downloads that failed besides, and nobody asked how they ended: 3"]


@on_every_backend
async def test_a_failure_that_the_body_passes_on_leaves_bare() -> None:
    with pytest.raises(DownloadFailedError, match="mine broke") as caught:
        async with open_manager(downloader=fail) as manager:
            await manager.download(url("a"), correlation_id="mine")
    assert not hasattr(caught.value, "__notes__")


@on_every_backend
async def test_downloads_that_clean_up_slowly_do_not_hide_what_the_body_raised() -> None:
    stage = Stage()
    stage.hold("a")

    async def let_go() -> None:
        await stage.is_stopping("a")
        stage.let_go("a")

    async with anyio.create_task_group() as group:
        group.start_soon(let_go)
        with pytest.raises(KeyError):
            async with open_manager(downloader=stage) as manager:
                await manager.submit(url("a"))
                await stage.has_begun("a")
                raise KeyError("mine")
        assert stage.running == []


# Failures.


@on_every_backend
async def test_failures_that_nobody_asked_for_leave_the_block() -> None:
    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(1, downloader=fail) as manager:
            for name in "abc":
                await manager.submit(url(name), correlation_id=name)
            await manager.get_task("b").wait()
    assert caught.value.total == 2
    failures = [error for error in caught.value.exceptions if isinstance(error, DownloadFailedError)]
    assert [(error.correlation_id, error.url) for error in failures] == [("a", url("a")), ("c", url("c"))]
    assert [str(error.__cause__) for error in failures] == ["a broke", "c broke"]
    assert "2 downloads failed and nobody asked how they ended" in str(caught.value)


@on_every_backend
async def test_of_very_many_failures_the_first_hundred_are_shown() -> None:
    with pytest.raises(UncollectedFailuresError) as caught:
        async with open_manager(10, downloader=fail, keep_finished=0) as manager:
            await manager.submit_many(url(number) for number in range(130))
    assert caught.value.total == 130
    assert len(caught.value.exceptions) == 100


@on_every_backend
async def test_failures_can_be_kept() -> None:
    async with open_manager(downloader=fail, failures="keep") as manager:
        task = await manager.submit(url("a"), correlation_id="a")
    assert status_of(task) == ["failed"]
    assert str(task.error) == "a broke"


@on_every_backend
async def test_failures_that_were_asked_for_stay_inside() -> None:
    async with open_manager(downloader=fail) as manager:
        task = await manager.submit(url("a"))
        batch = await manager.submit_many([url("b")])
        with pytest.raises(DownloadFailedError):
            await task.result()
        await batch.wait()


@on_every_backend
async def test_looking_at_a_failure_is_not_asking_for_it() -> None:
    with pytest.raises(UncollectedFailuresError):
        async with open_manager(downloader=fail) as manager:
            task = await manager.submit(url("a"))
            await manager.wait_idle()
            assert task.error is not None
            assert task.snapshot().error is task.error
            assert task.reason is not None


# What is opened around the downloads.


class Resource:
    """Writes down when it was entered and left, and with what."""

    def __init__(self, name: str, diary: list[str], *, fails_on: str = "") -> None:
        self._name = name
        self._diary = diary
        self._fails_on = fails_on

    async def __aenter__(self) -> str:
        await anyio.lowlevel.checkpoint()
        self._diary.append(f"{self._name} entered")
        if self._fails_on == "enter":
            raise OSError(f"{self._name} cannot be entered")
        return self._name

    async def __aexit__(self, exc_type: object, exc: BaseException | None, traceback: object) -> None:
        self._diary.append(f"{self._name} left")
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        if self._fails_on == "exit":
            raise OSError(f"{self._name} cannot be left")


class OpenedDownloader(Resource):
    async def __aenter__(self) -> Self:  # type: ignore[override]
        await super().__aenter__()
        return self

    async def download(self, job: DownloadJob) -> DownloadResult:
        self._diary.append(f"{self._name} fetches with {job.resources}")
        return saved(job)


@on_every_backend
async def test_setup_and_the_downloader_are_opened_around_all_downloads() -> None:
    diary: list[str] = []
    async with open_manager(
        downloader=OpenedDownloader("downloader", diary), setup=lambda: Resource("setup", diary)
    ) as manager:
        assert diary == ["setup entered", "downloader entered"]
        await manager.submit(url("a"))
    assert diary == [
        "setup entered",
        "downloader entered",
        "downloader fetches with setup",
        "downloader left",
        "setup left",
    ]


@on_every_backend
async def test_setup_is_left_after_the_cleanup_of_the_last_download() -> None:
    stage = Stage()
    stage.hold("a")
    diary: list[str] = []

    async def let_go() -> None:
        await stage.is_stopping("a")
        assert diary == ["setup entered"]
        stage.let_go("a")

    async with anyio.create_task_group() as group:
        group.start_soon(let_go)
        with pytest.raises(KeyError):
            async with open_manager(downloader=stage, setup=lambda: Resource("setup", diary)) as manager:
                await manager.submit(url("a"))
                await stage.has_begun("a")
                raise KeyError("mine")
    assert diary == ["setup entered", "setup left"]


@on_every_backend
async def test_a_downloader_of_a_request_is_opened_by_its_owner() -> None:
    diary: list[str] = []
    async with open_manager(downloader=instant) as manager:
        await manager.download(url("a"), downloader=OpenedDownloader("own", diary))
    assert diary == ["own fetches with None"]


@on_every_backend
async def test_what_cannot_be_entered_comes_out_of_entering_the_block() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^downloader cannot be entered$") as caught:
        async with open_manager(
            downloader=OpenedDownloader("downloader", diary, fails_on="enter"),
            setup=lambda: Resource("setup", diary),
        ):
            diary.append("the body")
    assert type(caught.value) is OSError
    assert diary == ["setup entered", "downloader entered", "setup left"]


@on_every_backend
async def test_what_a_factory_raises_comes_out_of_entering_the_block() -> None:
    def setup() -> Any:
        raise LookupError("no resources")

    with pytest.raises(LookupError, match=r"^no resources$"):
        async with open_manager(setup=setup):
            pass


@on_every_backend
async def test_what_cannot_be_left_comes_out_of_the_block() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match=r"^setup cannot be left$"):
        async with open_manager(downloader=instant, setup=lambda: Resource("setup", diary, fails_on="exit")) as manager:
            task = await manager.submit(url("a"))
    assert status_of(task) == ["completed"]
    with pytest.raises(OSError, match=r"^setup cannot be left$") as caught:
        async with open_manager(downloader=instant, setup=lambda: Resource("setup", diary, fails_on="exit")):
            raise KeyError("mine")
    assert isinstance(caught.value.__context__, KeyError)


@on_every_backend
async def test_a_running_download_may_go_on_after_the_body_and_sees_its_resources() -> None:
    stage = Stage()
    seen: list[Any] = []

    def look(job: DownloadJob) -> DownloadResult:
        seen.append(job.resources)
        return saved(job)

    diary: list[str] = []
    async with anyio.create_task_group() as group:
        async with open_manager(downloader=stage, setup=lambda: Resource("setup", diary)) as manager:
            task = await manager.submit(url("a"))
            await reached(manager, task, DOWNLOADING)

            async def finish() -> None:
                await anyio.wait_all_tasks_blocked()
                stage.tell("a", look)

            group.start_soon(finish)
    assert seen == ["setup"]
    assert diary == ["setup entered", "setup left"]

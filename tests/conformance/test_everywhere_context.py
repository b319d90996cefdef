"""Context variables, on every backend: a download sees those of whoever submitted it, across threads too."""

from __future__ import annotations

import logging
from contextvars import ContextVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Stage, instant, saved, url
from trio_dlm import (
    CorrelationIdFilter,
    DownloadFailedError,
    DownloadJob,
    DownloadResult,
    current_correlation_id,
    open_manager,
)

COLOUR: ContextVar[str] = ContextVar("COLOUR", default="none")


class Look:
    """A downloader that writes down the colour that it sees, and then paints everything red."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def download(self, job: DownloadJob) -> DownloadResult:
        self.seen.append(COLOUR.get())
        COLOUR.set("red")
        await anyio.lowlevel.checkpoint()
        assert COLOUR.get() == "red"
        return saved(job)


@on_every_backend
async def test_a_download_sees_what_its_submitter_saw_and_keeps_its_changes_to_itself() -> None:
    look = Look()
    async with open_manager(1, downloader=look) as manager:
        COLOUR.set("green")
        first = await manager.submit(url("a"))
        COLOUR.set("blue")
        second = manager.submit_nowait(url("b"))
        await manager.submit_many([url("c")])
        await manager.wait_idle()
        assert COLOUR.get() == "blue"
        assert look.seen == ["green", "blue", "blue"]
        COLOUR.set("white")
        # A repeated one is submitted by whoever repeats it.
        await first.retry().wait()
        await manager.download(url("d"))
        assert look.seen[3:] == ["white", "white"]
        assert await second.result() is not None


@on_every_backend
async def test_every_run_begins_with_what_the_submitter_saw() -> None:
    stage = Stage()
    seen: list[str] = []

    def look(job: DownloadJob) -> None:
        seen.append(COLOUR.get())
        COLOUR.set("red")

    async with open_manager(downloader=stage) as manager:
        COLOUR.set("green")
        task = await manager.submit(url("a"))
        stage.tell("a", look)
        await stage.until(lambda: seen)
        assert await task.pause() is True
        COLOUR.set("blue")
        stage.tell("a", look)
        assert task.resume() is True
        stage.finish("a")
        await task.wait()
    assert seen == ["green", "green"]


@on_every_backend
async def test_tasks_that_submit_side_by_side_each_give_their_own() -> None:
    look = Look()
    async with open_manager(1, downloader=look) as manager:

        async def submit(colour: str) -> None:
            COLOUR.set(colour)
            await manager.download(url(colour))
            assert COLOUR.get() == colour

        async with anyio.create_task_group() as group:
            for colour in ("green", "blue", "white"):
                group.start_soon(submit, colour)
    assert sorted(look.seen) == ["blue", "green", "white"]


@on_every_backend
async def test_a_download_knows_its_id_and_so_do_its_children_and_its_log_records(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.addFilter(CorrelationIdFilter())
    caplog.set_level(logging.INFO)
    seen: list[str | None] = []

    async def look(job: DownloadJob) -> DownloadResult:
        async def child() -> None:
            await anyio.lowlevel.checkpoint()
            seen.append(current_correlation_id())
            logging.getLogger("elsewhere").info("a child speaks")

        async with anyio.create_task_group() as group:
            group.start_soon(child)
        seen.append(await anyio.to_thread.run_sync(current_correlation_id))
        return saved(job)

    async with open_manager(downloader=look) as manager:
        await manager.download(url("a"), correlation_id="mine")
        logging.getLogger("elsewhere").info("nobody speaks")
        assert current_correlation_id() is None
    assert seen == ["mine", "mine"]
    spoken = {record.getMessage(): record.correlation_id for record in caplog.records}  # type: ignore[attr-defined]
    assert spoken["a child speaks"] == "mine"
    assert spoken["nobody speaks"] == "-"


@on_every_backend
async def test_a_failure_is_logged_with_the_id_of_its_download(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(job: DownloadJob) -> DownloadResult:
        raise OSError("no")

    async with open_manager(downloader=instant) as manager:
        with pytest.raises(DownloadFailedError):
            await manager.download(url("a"), correlation_id="mine", downloader=fail)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.correlation_id == "mine"  # type: ignore[attr-defined]

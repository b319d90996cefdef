"""What a download ends with, on every backend: its result, or a fresh error with the whole chain behind it."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.conformance.backends import Backend, on_every_backend
from tests.conformance.downloaders import Stage, instant, saved, status_of, url
from trio_dlm import (
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadPhase,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    DownloadTimeoutError,
    ManagerCrashedError,
    Progress,
    open_manager,
)


class Crash(BaseException):
    """Neither an ``Exception`` nor what a cancelled task sees."""


async def break_down(job: DownloadJob) -> DownloadResult:
    try:
        raise KeyError("key")
    except KeyError as exc:
        raise OSError("the disk is on fire") from exc


@on_every_backend
async def test_everybody_who_waits_gets_the_same_result(tmp_path: Path) -> None:
    stage = Stage()
    got: list[Any] = []

    async with open_manager(directory=tmp_path, downloader=stage) as manager:
        task = await manager.submit(url("a"))

        async def ask() -> None:
            got.append(await task.result())

        async def look() -> None:
            got.append(await task.wait())

        async with anyio.create_task_group() as group:
            for each in (ask, look, ask, look):
                group.start_soon(each)
            await stage.has_begun("a")
            stage.advance("a", 5)
            stage.finish("a")
        result = await task.result()
        assert result == DownloadResult(path=tmp_path / "a", size_bytes=5)
        assert sum(each is result for each in got) == 2
        assert sum(each is DownloadStatus.COMPLETED for each in got) == 2
        assert task.progress == task.snapshot().progress
        assert (task.progress.received_bytes, task.progress.total_bytes) == (5, 5)
        assert task.progress.phase is DownloadPhase.ENDED


@on_every_backend
async def test_download_is_submit_and_result_in_one(tmp_path: Path) -> None:
    async with open_manager(directory=tmp_path, downloader=instant) as manager:
        assert await manager.download(url("a")) == DownloadResult(path=tmp_path / "a", size_bytes=0)
        with pytest.raises(DownloadFailedError, match="the disk is on fire"):
            await manager.download(url("a"), downloader=break_down)


@on_every_backend
async def test_a_failure_is_a_fresh_exception_for_everybody_who_asks_and_its_cause_is_the_original() -> None:
    async with open_manager(downloader=break_down) as manager:
        task = await manager.submit("https://user:secret@example.org/a", correlation_id="mine")
        assert await task.wait() is DownloadStatus.FAILED
        failures = []
        for _ in range(2):
            with pytest.raises(DownloadFailedError) as caught:
                await task.result()
            failures.append(caught.value)
    first, second = failures
    assert first is not second
    assert str(first) == "download mine of https://example.org/a failed: OSError: the disk is on fire"
    assert (first.correlation_id, first.url, first.reason) == (
        "mine",
        "https://example.org/a",
        "OSError: the disk is on fire",
    )
    assert first.__cause__ is second.__cause__ is task.error
    assert type(task.error) is OSError
    assert type(task.error.__cause__) is KeyError
    assert task.reason == "OSError: the disk is on fire"


@on_every_backend
async def test_the_traceback_shows_the_code_of_the_downloader_and_little_else() -> None:
    async with open_manager(downloader=break_down) as manager:
        task = await manager.submit(url("a"))
        with pytest.raises(DownloadFailedError) as caught:
            await task.result()
    assert caught.value.__suppress_context__
    assert caught.value.__context__ is None
    assert task.error is not None
    frames = [frame.name for frame in traceback.extract_tb(task.error.__traceback__)]
    assert frames[-1] == "break_down"
    assert len(frames) <= 2
    text = "".join(traceback.format_exception(caught.value))
    assert "in break_down" in text
    assert "Cancelled" not in text


@on_every_backend
async def test_a_group_of_failures_is_kept_whole_as_the_cause() -> None:
    async def fail(error: Exception) -> None:
        raise error

    async def fall_apart(job: DownloadJob) -> DownloadResult:
        async with anyio.create_task_group() as group:
            group.start_soon(fail, ValueError("one"))
            group.start_soon(fail, OSError("two"))
        return saved(job)

    async with open_manager(downloader=fall_apart) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert sorted(map(repr, caught.value.__cause__.exceptions)) == ["OSError('two')", "ValueError('one')"]


@on_every_backend
async def test_a_failure_is_logged_when_it_happens(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_dlm")
    async with open_manager(downloader=break_down) as manager:
        task = await manager.submit(url("a"), correlation_id="mine")
        await task.wait()
        records = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.getMessage() for record in records] == [
            "download mine of https://example.org/a failed: OSError: the disk is on fire"
        ]
        assert records[0].correlation_id == "mine"  # type: ignore[attr-defined]


@on_every_backend
async def test_what_is_no_result_is_a_failure() -> None:
    async def forget(job: DownloadJob) -> Any:
        return None

    async with open_manager(downloader=forget) as manager:
        with pytest.raises(DownloadFailedError, match="the downloader returned None, expected a DownloadResult") as no:
            await manager.download(url("a"))
    assert type(no.value.__cause__) is TypeError


@on_every_backend
async def test_a_run_that_takes_too_long_fails_and_says_what_was_waited_for() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"), total_timeout_s=0.01)
    error = caught.value.__cause__
    assert isinstance(error, DownloadTimeoutError)
    assert (error.option, error.limit_s) == ("total_timeout_s", 0.01)
    assert stage.over == ["a"]


@on_every_backend
async def test_a_cancelled_download_has_no_result() -> None:
    stage = Stage()
    async with open_manager(downloader=stage) as manager:
        task = await manager.submit(url("a"), correlation_id="mine")
        await stage.has_begun("a")
        await task.cancel("not needed")
        assert await task.wait() is DownloadStatus.CANCELLED
        with pytest.raises(
            DownloadCancelledError, match=r"^download mine of https://example.org/a was cancelled: not needed$"
        ) as no:
            await task.result()
        assert no.value.__context__ is None
        assert (no.value.correlation_id, no.value.url, no.value.reason) == ("mine", url("a"), "not needed")
        assert task.error is None


@on_every_backend
async def test_no_progress_is_known_before_the_downloader_says_any() -> None:
    async with open_manager(0, downloader=instant, on_exit="cancel") as manager:
        assert manager.submit_nowait(url("a")).progress == Progress(phase=DownloadPhase.WAITING)


@on_every_backend
async def test_what_is_no_exception_ends_the_block_and_fails_every_download_in_flight() -> None:
    stage = Stage()
    tasks: list[DownloadTask[DownloadResult]] = []
    body_went_on = False
    with pytest.raises(BaseExceptionGroup) as caught:
        async with open_manager(2, downloader=stage) as manager:
            tasks += [manager.submit_nowait(url(name)) for name in "abc"]
            await stage.has_begun("a", "b")
            stage.fail("a", Crash("a"))
            await anyio.sleep_forever()
            body_went_on = True
    assert not body_went_on
    assert caught.group_contains(Crash, match="^a$")
    assert caught.value.split(Crash)[1] is None
    assert status_of(*tasks) == ["failed", "failed", "cancelled"]
    culprit, bystander = tasks[0].error, tasks[1].error
    assert isinstance(culprit, ManagerCrashedError)
    assert culprit.is_culprit
    assert type(culprit.__cause__) is Crash
    assert isinstance(bystander, ManagerCrashedError)
    assert not bystander.is_culprit
    assert bystander.__cause__ is culprit.__cause__
    assert tasks[2].reason == "the manager crashed: Crash('a')"
    assert sorted(stage.over) == ["a", "b"]


@on_every_backend
async def test_a_wait_in_the_body_learns_of_a_crash_like_the_body(backend: Backend) -> None:
    stage = Stage()
    seen: list[type[BaseException] | None] = []
    with pytest.raises(BaseExceptionGroup):
        async with open_manager(downloader=stage) as manager:
            task = await manager.submit(url("a"))
            stage.fail("a", Crash("a"))
            try:
                await task.wait()
                # What has ended may be told before the cancel of the body arrives.
                await anyio.sleep_forever()
            except BaseException as exc:
                seen.append(type(exc))
                raise
    assert seen == [backend.cancelled]
    assert status_of(task) == ["failed"]

"""What a traceback shows of a failed download: the user's frames and hardly any of ours, the same on every backend."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import pytest

import trio_dlm
from tests.conformance.backends import Backend, on_every_backend
from tests.fakes import saved, url
from trio_dlm import DownloadFailedError, DownloadJob, DownloadResult, open_manager

PACKAGE: Final = Path(trio_dlm.__file__).parent
HERE: Final = Path(__file__)

# What a caller waits in; how many steps there are below a public method is not the caller's affair.
PUBLIC: Final = {"wait", "result", "download", "submit"}


async def read_chunk() -> bytes:
    await anyio.lowlevel.checkpoint()
    raise ValueError("bad chunk")


async def fetch(job: DownloadJob) -> DownloadResult:
    await read_chunk()
    return saved(job)


def frames(error: BaseException) -> list[tuple[Path, str]]:
    return [(Path(frame.filename), frame.name) for frame in traceback.extract_tb(error.__traceback__)]


def ours(error: BaseException) -> list[str]:
    return [f"{path.relative_to(PACKAGE)}: {name}" for path, name in frames(error) if PACKAGE in path.parents]


def users(error: BaseException) -> list[str]:
    return [name for path, name in frames(error) if path == HERE]


@on_every_backend
async def test_a_failure_shows_the_users_frames_and_at_most_one_of_the_core() -> None:
    async with open_manager(2, downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError)
    assert users(cause) == ["fetch", "read_chunk"]
    assert len(ours(cause)) <= 1
    assert len(frames(cause)) <= 3


@on_every_backend
async def test_a_failure_in_the_hosts_loop_shows_the_users_frames(backend: Backend) -> None:
    async with open_manager(2, downloader=backend.on_host(fetch)) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    cause = caught.value.__cause__
    assert isinstance(cause, ValueError)
    assert users(cause) == ["fetch", "read_chunk"]
    assert len(ours(cause)) <= 1
    # Nor are there any of the libraries in between.
    assert len(frames(cause)) <= 3


@on_every_backend
async def test_the_error_that_a_waiter_gets_shows_nothing_below_the_public_method() -> None:
    async def handler() -> DownloadResult:
        task = await manager.submit(url("a"))
        return await task.result()

    async with open_manager(2, downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await handler()
    error = caught.value
    assert "handler" in users(error)
    assert {line.rpartition(": ")[2] for line in ours(error)} <= PUBLIC
    assert error.__context__ is None


@on_every_backend
async def test_a_printed_failure_names_nothing_of_the_machinery() -> None:
    async with open_manager(2, downloader=fetch) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    text = "".join(traceback.format_exception(caught.value.__cause__))
    for word in ("Cancelled", "_asyncio", "outcome", "asyncio/", "run_sync_soon", "During handling"):
        assert word not in text
    whole = "".join(traceback.format_exception(caught.value))
    assert "bad chunk" in whole
    assert "Cancelled" not in whole
    assert "During handling" not in whole


@on_every_backend
async def test_a_group_as_a_cause_keeps_the_frames_of_its_members() -> None:
    async def fetch_both(job: DownloadJob) -> DownloadResult:
        async with anyio.create_task_group() as group:
            group.start_soon(read_chunk)
            group.start_soon(read_chunk)
        return saved(job)

    async with open_manager(2, downloader=fetch_both) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    # The second may have been cancelled by the first.
    assert all(users(member)[-1] == "read_chunk" for member in cause.exceptions)
    assert "Cancelled" not in "".join(traceback.format_exception(caught.value))

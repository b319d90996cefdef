"""Tests as a user of anyio writes them; run by the pytest that ``test_embedding_pytest.py`` starts."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.conformance.downloaders import Stage
from tests.fakes import url
from trio_dlm import DownloadManager, DownloadStatus, open_manager

pytestmark = pytest.mark.anyio


@pytest.fixture(
    params=["trio", ("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["trio", "asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def manager(anyio_backend: Any, stage: Stage) -> AsyncGenerator[DownloadManager]:
    async with open_manager(2, downloader=stage, on_exit="cancel") as manager:
        yield manager


async def test_a_manager_of_a_fixture_downloads(manager: DownloadManager, stage: Stage) -> None:
    stage.finish("a")
    assert (await manager.download(url("a"))).path.name == "a"


async def test_downloads_of_a_task_group_end_before_it(manager: DownloadManager, stage: Stage) -> None:
    names: list[str] = []

    async def fetch(number: int) -> None:
        names.append((await manager.download(url(number))).path.name)

    stage.finish(*"01234")
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(fetch, number)
    assert sorted(names) == list("01234")


async def test_another_task_cancels_a_download(manager: DownloadManager, stage: Stage) -> None:
    task = await manager.submit(url("a"))

    async def cancel() -> None:
        await stage.has_begun("a")
        assert await manager.cancel(task.correlation_id, "by another task")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            assert await task.wait() is DownloadStatus.CANCELLED
    assert task.reason == "by another task"


async def test_a_scope_ends_a_wait_and_not_the_download(manager: DownloadManager, stage: Stage) -> None:
    task = await manager.submit(url("a"))
    await stage.has_begun("a")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await task.wait()
    assert scope.cancelled_caught
    assert task.status is DownloadStatus.DOWNLOADING


async def test_a_download_that_is_left_over_is_cancelled_with_the_fixture(
    manager: DownloadManager, stage: Stage
) -> None:
    await manager.submit(url("a"))
    await stage.has_begun("a")
    await anyio.lowlevel.checkpoint()

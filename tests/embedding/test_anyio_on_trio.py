"""What anyio's objects do with a manager, and in its downloads, when the host is anyio on its trio backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio

from tests.conformance.backends import on_every_backend, on_trio
from tests.conformance.downloaders import Stage
from tests.fakes import instant, saved, url
from trio_dlm import (
    DownloadFailedError,
    DownloadJob,
    DownloadOptions,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    open_manager,
)


@dataclass(frozen=True)
class Place:
    """A path that is no pathlib path."""

    text: str

    def __fspath__(self) -> str:
        return self.text


PATHS: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "pathlib.Path": Path,
    "pathlib.PurePath": PurePath,
    "anyio.Path": anyio.Path,
    "trio.Path": trio.Path,
    "a PathLike": Place,
}


@pytest.mark.parametrize("kind", PATHS)
@on_every_backend
async def test_any_path_is_a_directory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "other").mkdir()
    directory = PATHS[kind](str(tmp_path / "kept"))
    other = PATHS[kind](str(tmp_path / "other"))
    async with open_manager(2, directory=directory, downloader=instant) as manager:
        assert manager.directory == tmp_path / "kept"
        assert type(manager.directory) is type(Path())
        assert (await manager.download(url("a"))).path == tmp_path / "kept" / "a"
        assert (await manager.download(url("a"), directory=other)).path == tmp_path / "other" / "a"
        options = DownloadOptions(directory=other)
        assert (await manager.download(url("a"), options=options)).path == tmp_path / "other" / "a"
        (task,) = await manager.submit_many([DownloadRequest(url("a"), options)])
        assert (await task.result()).path == tmp_path / "other" / "a"


@on_every_backend
async def test_what_is_no_path_is_no_directory() -> None:
    with pytest.raises(TypeError, match="directory"):
        open_manager(2, directory=5, downloader=instant)  # type: ignore[arg-type]
    async with open_manager(2, downloader=instant) as manager:
        with pytest.raises(TypeError, match="directory"):
            await manager.submit(url("a"), directory=b"bytes")  # type: ignore[call-overload]


@on_every_backend
async def test_an_anyio_path_takes_what_a_result_says(tmp_path: Path) -> None:
    async def write(job: DownloadJob) -> DownloadResult:
        path = anyio.Path(job.directory) / "a"
        await path.write_bytes(b"content")
        return DownloadResult(path=Path(path), size_bytes=7)

    async with open_manager(2, directory=anyio.Path(tmp_path), downloader=write) as manager:
        result = await manager.download(url("a"))
    assert await anyio.Path(result.path).read_bytes() == b"content"


# anyio in downloads, which run in trio whatever the host is.


@on_every_backend
async def test_move_on_after_and_fail_after_end_their_own_part_of_a_download() -> None:
    async def patient(job: DownloadJob) -> DownloadResult:
        with anyio.move_on_after(0.0) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.0):
                await anyio.sleep_forever()
        return saved(job)

    async with open_manager(2, downloader=patient) as manager:
        await manager.download(url("a"))


@on_every_backend
async def test_a_timeout_that_leaves_a_download_is_its_failure() -> None:
    async def impatient(job: DownloadJob) -> DownloadResult:
        with anyio.fail_after(0.0):
            await anyio.sleep_forever()
        return saved(job)

    async with open_manager(2, downloader=impatient) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(url("a"))
    assert type(caught.value.__cause__) is TimeoutError


@on_every_backend
async def test_a_capacity_limiter_of_anyio_limits_downloads_among_each_other() -> None:
    running: list[str] = []
    peaks: list[int] = []
    limiters: list[anyio.CapacityLimiter] = []
    meetings: list[anyio.Event] = []

    async def limited(job: DownloadJob) -> DownloadResult:
        if not limiters:
            limiters.append(anyio.CapacityLimiter(2))
            meetings.append(anyio.Event())
        async with limiters[0]:
            running.append(job.correlation_id)
            peaks.append(len(running))
            # Two of them are there at once, however late the second one starts.
            if len(running) == 2:
                meetings[0].set()
            await meetings[0].wait()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            running.remove(job.correlation_id)
        return saved(job)

    async with open_manager(6, downloader=limited) as manager:
        await manager.submit_many([url(number) for number in range(12)])
        await manager.wait_idle()
        assert manager.get_stats().completed == 12
    assert max(peaks) == 2
    assert limiters[0].borrowed_tokens == 0


@on_every_backend
async def test_a_download_sees_the_cancelled_class_of_trio_and_may_clean_up_under_a_shield() -> None:
    seen: list[type[BaseException]] = []
    stage = Stage()

    async def careful(job: DownloadJob) -> DownloadResult:
        try:
            return await stage.download(job)
        except anyio.get_cancelled_exc_class() as exc:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            seen.append(type(exc))
            raise

    async with open_manager(2, downloader=careful) as manager:
        task = await manager.submit(url("a"))
        await stage.has_begun("a")
        assert await task.cancel()
    assert seen == [trio.Cancelled]


@on_every_backend
async def test_a_download_uses_task_groups_threads_and_the_way_back() -> None:
    async def busy(job: DownloadJob) -> DownloadResult:
        sizes: list[int] = []

        async def part() -> None:
            sizes.append(await anyio.to_thread.run_sync(lambda: anyio.from_thread.run_sync(len, job.url)))

        async with anyio.create_task_group() as group:
            group.start_soon(part)
            group.start_soon(part)
        return saved(job, sum(sizes))

    async with open_manager(2, downloader=busy) as manager:
        assert (await manager.download(url("a"))).size_bytes == 2 * len(url("a"))


# The host's side, where its tasks are trio's.

on_anyio = on_trio(because="it is what anyio's names mean there")


@on_anyio
async def test_a_task_of_the_host_sees_the_cancelled_class_of_trio() -> None:
    seen: list[type[BaseException]] = []
    stage = Stage()
    with anyio.CancelScope() as scope:
        async with open_manager(1, downloader=stage) as manager:
            task = await manager.submit(url("a"))
            await stage.has_begun("a")
            scope.cancel()
            try:
                await task.wait()
            except anyio.get_cancelled_exc_class() as exc:
                seen.append(type(exc))
                raise
    assert seen == [trio.Cancelled]
    assert scope.cancelled_caught
    assert task.status is DownloadStatus.CANCELLED


@on_anyio
async def test_scopes_of_trio_and_groups_of_anyio_go_into_each_other_around_a_block() -> None:
    stage = Stage()
    with trio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            async with open_manager(1, downloader=stage) as manager:
                group.start_soon(stage.has_begun, "a")
                await manager.submit(url("a"))
                await stage.has_begun("a")
                scope.cancel()
                await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert stage.over == ["a"]


@on_every_backend
async def test_a_failing_group_in_the_body_leaves_the_block_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("member")

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="member")):
        async with open_manager(1, downloader=instant):
            async with anyio.create_task_group() as group:
                group.start_soon(fail)


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_portal_from_a_thread_opens_and_uses_a_manager(library: str) -> None:
    with anyio.from_thread.start_blocking_portal(backend=library) as portal:
        with portal.wrap_async_context_manager(open_manager(2, downloader=instant)) as manager:
            task = portal.call(manager.submit, url("a"))
            assert portal.call(task.wait) is DownloadStatus.COMPLETED

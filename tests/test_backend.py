"""Where a manager's block can be entered: in a trio run, and otherwise an error says what was found."""

from __future__ import annotations

import asyncio
import signal

import pytest
import trio

from tests.fakes import instant, run_in_virtual_time, saved, url
from trio_dlm import (
    DownloadJob,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    InvalidUrlError,
    UnsupportedBackendError,
    open_manager,
)


def test_no_running_loop_is_an_error_that_says_so() -> None:
    entering = open_manager(downloader=instant).__aenter__()
    with pytest.raises(UnsupportedBackendError) as caught:
        entering.send(None)
    assert (caught.value.asked, caught.value.found) == ("auto", "no running loop")
    assert str(caught.value) == (
        "open_manager needs a running trio or asyncio loop, but found no running loop; "
        "enter the block inside trio.run(…) or asyncio.run(…)"
    )
    assert isinstance(caught.value, RuntimeError)


def test_trio_can_be_demanded_where_asyncio_runs() -> None:
    async def main() -> None:
        async with open_manager(downloader=instant, backend="trio"):
            raise AssertionError

    with pytest.raises(UnsupportedBackendError, match="needs a running trio loop, but found a running asyncio loop"):
        asyncio.run(main())


def test_a_block_that_could_not_be_entered_can_be_entered_later() -> None:
    block = open_manager(downloader=instant)
    with pytest.raises(UnsupportedBackendError):
        block.__aenter__().send(None)

    async def main() -> None:
        async with block as manager:
            await manager.download(url("a"))

    trio.run(main)


@pytest.mark.parametrize("backend", ["auto", "trio"])
def test_a_trio_run_is_found(backend: str) -> None:
    async def main() -> None:
        async with open_manager(downloader=instant, backend=backend) as manager:  # type: ignore[arg-type]
            await manager.download(url("a"))

    trio.run(main)


def test_asyncio_can_be_demanded_where_trio_runs() -> None:
    async def main() -> None:
        async with open_manager(downloader=instant, backend="asyncio"):
            raise AssertionError

    with pytest.raises(UnsupportedBackendError) as caught:
        trio.run(main)
    assert caught.value.found == "a running trio loop"
    assert str(caught.value) == (
        "open_manager needs a running asyncio loop, but found a running trio loop; "
        "enter the block inside asyncio.run(…)"
    )


def test_without_a_downloader_files_are_fetched_over_http() -> None:
    # In real time: the downloader prepares TLS in a thread, which a virtual clock would not wait for.
    async def main() -> None:
        async with open_manager() as manager:
            with pytest.raises(InvalidUrlError, match="gopher"):
                await manager.submit("gopher://example.org/a")

    trio.run(main)


# Ctrl-C, which trio raises in the main task or in whatever unprotected code runs.


def test_ctrl_c_in_the_code_of_a_downloader_ends_the_block_as_a_crash() -> None:
    tasks: list[DownloadTask[DownloadResult]] = []

    async def interrupt(job: DownloadJob) -> DownloadResult:
        await trio.lowlevel.checkpoint()
        assert not trio.lowlevel.currently_ki_protected()
        signal.raise_signal(signal.SIGINT)
        return saved(job)

    async def main() -> None:
        async with open_manager(2, downloader=interrupt) as manager:
            tasks.append(await manager.submit(url("a")))
            await trio.sleep_forever()

    with pytest.RaisesGroup(KeyboardInterrupt):
        run_in_virtual_time(main)
    assert tasks[0].status is DownloadStatus.FAILED


def test_ctrl_c_in_the_body_cancels_everything_and_leaves_bare() -> None:
    tasks: list[DownloadTask[DownloadResult]] = []

    async def wait(job: DownloadJob) -> DownloadResult:
        await trio.sleep_forever()
        return saved(job)

    async def main() -> None:
        async with open_manager(2, downloader=wait) as manager:
            tasks.append(await manager.submit(url("a")))
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        run_in_virtual_time(main)
    assert tasks[0].status is DownloadStatus.CANCELLED


def test_the_managers_own_steps_are_protected_from_ctrl_c() -> None:
    protected: list[bool] = []

    def lane_of(request: object) -> None:
        protected.append(trio.lowlevel.currently_ki_protected())

    async def main() -> None:
        async with open_manager(2, downloader=instant, lane_of=lane_of) as manager:
            await manager.submit(url("a"))
            manager.submit_nowait(url("b"))
            await manager.submit_many([url("c")])

    trio.run(main)
    assert protected == [True, True, True]

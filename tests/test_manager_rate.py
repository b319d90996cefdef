"""Limits of the rate in a manager: of all downloads together and of each, before they run and while they do."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import pytest
import trio

from tests.fakes import engine_of, instant, saved, settle, url
from trio_dlm import DownloadJob, DownloadManager, DownloadOptions, DownloadResult, DownloadStatus, open_manager

pytestmark = pytest.mark.virtual_time


class Reader:
    """A downloader whose server always has more, until it has sent *size_bytes*."""

    def __init__(self, size_bytes: float = math.inf) -> None:
        self.received: defaultdict[str, int] = defaultdict(int)
        self.jobs: list[DownloadJob] = []
        self._size_bytes = size_bytes

    async def download(self, job: DownloadJob) -> DownloadResult:
        self.jobs.append(job)
        job.can_resume = True
        while self.received[job.correlation_id] < self._size_bytes:
            self.received[job.correlation_id] += await job.rate_limit.take(65536)
        return saved(job)


async def five_seconds(reader: Reader) -> dict[str, int]:
    """Return what each download receives in the next five seconds."""
    # What was granted before a change, and not counted yet, was granted before it.
    await settle()
    before = dict(reader.received)
    await trio.sleep(5)
    return {name: size - before.get(name, 0) for name, size in reader.received.items()}


def within_5_percent(expected: float) -> object:
    return pytest.approx(expected, rel=0.05)


async def test_a_manager_has_no_limit_unless_it_is_told() -> None:
    reader = Reader(100 * 65536)
    async with open_manager(downloader=reader) as manager:
        assert manager.rate_limit_bytes_per_s == math.inf
        before = trio.current_time()
        task = await manager.submit(url("a"), correlation_id="a")
        await task.wait()
        assert task.rate_limit_bytes_per_s is None
        assert reader.jobs[0].rate_limit.is_unlimited
        assert trio.current_time() == before


async def test_downloads_share_the_limit_of_the_manager_equally_and_it_changes_while_they_run() -> None:
    reader = Reader()
    async with open_manager(4, downloader=reader, rate_limit_bytes_per_s=102_400, on_exit="cancel") as manager:
        assert manager.rate_limit_bytes_per_s == 102_400
        for name in "abcd":
            await manager.submit(url(name), correlation_id=name)
        assert await five_seconds(reader) == dict.fromkeys("abcd", within_5_percent(5 * 25_600))
        manager.rate_limit_bytes_per_s = 1_024_000
        assert await five_seconds(reader) == dict.fromkeys("abcd", within_5_percent(5 * 256_000))
        manager.rate_limit_bytes_per_s = 1024
        assert await five_seconds(reader) == dict.fromkeys("abcd", within_5_percent(5 * 256))
        await manager.get_task("a").pause()
        got = await five_seconds(reader)
        assert got == {"a": 0, **dict.fromkeys("bcd", within_5_percent(5 * 1024 / 3))}


async def test_a_download_may_have_a_limit_of_its_own_below_that_of_the_manager() -> None:
    reader = Reader()
    async with open_manager(downloader=reader, rate_limit_bytes_per_s=100_000, on_exit="cancel") as manager:
        slow = await manager.submit(url("slow"), correlation_id="slow", rate_limit_bytes_per_s=10_000)
        await manager.submit(
            url("fast"), correlation_id="fast", options=DownloadOptions(rate_limit_bytes_per_s=1_000_000)
        )
        assert slow.rate_limit_bytes_per_s == 10_000
        assert await five_seconds(reader) == {"slow": within_5_percent(50_000), "fast": within_5_percent(450_000)}
        slow.rate_limit_bytes_per_s = 40_000
        assert slow.rate_limit_bytes_per_s == 40_000
        assert await five_seconds(reader) == {"slow": within_5_percent(200_000), "fast": within_5_percent(300_000)}
        slow.rate_limit_bytes_per_s = None
        assert slow.rate_limit_bytes_per_s is None
        assert await five_seconds(reader) == dict.fromkeys(("slow", "fast"), within_5_percent(250_000))


async def test_a_limit_that_is_set_stays_through_waiting_and_pauses_and_a_retry_begins_with_that_of_the_request() -> (
    None
):
    reader = Reader()
    async with open_manager(0, downloader=reader, on_exit="cancel") as manager:
        task = await manager.submit(url("a"), correlation_id="a", rate_limit_bytes_per_s=1_000)
        task.rate_limit_bytes_per_s = 10_000
        assert task.request.options.rate_limit_bytes_per_s == 1_000
        manager.max_concurrent = 1
        assert await five_seconds(reader) == {"a": within_5_percent(50_000)}
        assert await task.pause()
        assert task.rate_limit_bytes_per_s == 10_000
        task.rate_limit_bytes_per_s = 20_000
        task.resume()
        assert await five_seconds(reader) == {"a": within_5_percent(100_000)}
        await task.cancel()
        assert task.rate_limit_bytes_per_s == 20_000
        again = task.retry()
        assert again.rate_limit_bytes_per_s == 1_000
        got = await five_seconds(reader)
        assert got[again.correlation_id] == within_5_percent(5_000)


@pytest.mark.parametrize("given", [False, True])
async def test_what_the_request_says_wins_over_the_default_of_the_downloader(given: bool) -> None:
    limits: list[float | None] = []

    async def download(job: DownloadJob) -> DownloadResult:
        job.rate_limit.default_to(5_000)
        limits.append(job.rate_limit.bytes_per_s)
        return saved(job)

    async with open_manager(downloader=download) as manager:
        options = DownloadOptions(rate_limit_bytes_per_s=None) if given else None
        await manager.download(url("a"), options=options)
    assert limits == [None if given else 5_000]


async def test_a_download_that_waits_for_bytes_is_cancelled_at_once_and_the_others_go_on() -> None:
    reader = Reader()
    async with open_manager(2, downloader=reader, rate_limit_bytes_per_s=1_000, on_exit="cancel") as manager:
        a = await manager.submit(url("a"), correlation_id="a")
        await manager.submit(url("b"), correlation_id="b")
        await five_seconds(reader)
        before = trio.current_time()
        assert await a.cancel()
        assert trio.current_time() == before
        assert await five_seconds(reader) == {"a": 0, "b": within_5_percent(5_000)}


async def test_nothing_is_made_for_a_download_whose_limit_nobody_looks_at() -> None:
    async with open_manager(downloader=instant, rate_limit_bytes_per_s=1_000) as manager:
        task = await manager.submit(url("a"))
        assert await task.wait() is DownloadStatus.COMPLETED
        assert task.rate_limit_bytes_per_s is None
        assert task._download.rate_limit is None


async def test_the_limit_of_an_ended_download_can_be_read_and_set() -> None:
    async with open_manager(downloader=Reader(10), failures="keep") as manager:
        task = await manager.submit(url("a"), rate_limit_bytes_per_s=1_000)
        await task.wait()
        assert task.rate_limit_bytes_per_s == 1_000
        task.rate_limit_bytes_per_s = 2_000
        assert task.rate_limit_bytes_per_s == 2_000


def set_on_manager(manager: DownloadManager, limit: object) -> None:
    manager.rate_limit_bytes_per_s = limit  # type: ignore[assignment]


def set_on_task(manager: DownloadManager, limit: object) -> None:
    manager.get_task("a").rate_limit_bytes_per_s = limit  # type: ignore[assignment]


@pytest.mark.parametrize("setter", [set_on_manager, set_on_task])
@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (0, ValueError, r"^rate_limit_bytes_per_s is a positive number of bytes per second, got 0$"),
        (-5, ValueError, r"^rate_limit_bytes_per_s is a positive number of bytes per second, got -5$"),
        (math.nan, ValueError, r"^rate_limit_bytes_per_s is a positive number of bytes per second, got nan$"),
        ("1M", TypeError, r"^rate_limit_bytes_per_s is a number of bytes per second, got '1M'$"),
        (True, TypeError, r"^rate_limit_bytes_per_s is a number of bytes per second, got True$"),
    ],
)
async def test_what_is_no_limit_is_refused_and_changes_nothing(
    setter: Callable[[DownloadManager, object], None], limit: object, error: type[Exception], message: str
) -> None:
    async with open_manager(0, downloader=instant, rate_limit_bytes_per_s=7, on_exit="cancel") as manager:
        task = await manager.submit(url("a"), correlation_id="a", rate_limit_bytes_per_s=3)
        with pytest.raises(error, match=message):
            setter(manager, limit)
        assert manager.rate_limit_bytes_per_s == 7
        assert task.rate_limit_bytes_per_s == 3


async def test_the_limit_of_a_manager_is_a_number_and_never_none() -> None:
    async with open_manager(0, downloader=instant, on_exit="cancel") as manager:
        with pytest.raises(TypeError, match=r"^rate_limit_bytes_per_s is a number of bytes per second, got None$"):
            manager.rate_limit_bytes_per_s = None  # type: ignore[assignment]


async def test_a_run_that_is_over_leaves_nothing_in_the_line_of_the_manager() -> None:
    reader = Reader()
    async with open_manager(3, downloader=reader, rate_limit_bytes_per_s=1, on_exit="cancel") as manager:
        for name in "abc":
            await manager.submit(url(name), correlation_id=name)
        await settle()
        assert engine_of(manager).throttle._line.next() is not None
        await manager.get_task("a").pause()
        for name in "abc":
            await manager.cancel(name)
        assert engine_of(manager).throttle._line.next() is None

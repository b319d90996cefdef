"""The manager's own calls: what submit takes and refuses, contexts, ids in log records, wait_idle, figures."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import trio

from tests.fakes import FakeDownloader, engine_of, instant, queue, queue_one, saved, settle, url
from trio_dlm import (
    CorrelationIdFilter,
    DownloadCancelledError,
    DownloadFailedError,
    DownloadJob,
    DownloadManager,
    DownloadOptions,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    DuplicateTaskError,
    InvalidUrlError,
    LaneStats,
    ManagerClosedError,
    TransferError,
    UnknownTaskError,
    current_correlation_id,
    open_manager,
)

pytestmark = pytest.mark.virtual_time


# Bad input: everything is checked before anything waits, and a refused call has queued nothing.


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<no key>"

    def __str__(self) -> str:
        return "something"


def nothing_was_queued(manager: DownloadManager) -> bool:
    stats = manager.get_stats()
    return (stats.active, stats.pending, stats.paused, stats.completed, dict(stats.lanes)) == (0, 0, 0, 0, {})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((7,), TypeError, r"^a URL is a str, got int$"),
        ((None,), TypeError, r"^a URL is a str, got NoneType$"),
        ((b"https://example.org/",), TypeError, r"^a URL is a str, got bytes$"),
        (("",), InvalidUrlError, r"^not a usable URL: '': it is empty; pass an address such as "),
        (("x" * 70_000,), InvalidUrlError, r"it has 70000 characters, the most is 65536; check what was pasted$"),
        (("https://example.org/a b",), InvalidUrlError, r"it holds the character ' ' at position 21; "),
        (("https://example.org/\n",), InvalidUrlError, r"it holds the character '\\n' at position 20; "),
        (("https://example.org/\ud800",), InvalidUrlError, r"it holds the character '\\ud800'"),
    ],
    ids=lambda value: ascii(value)[:30] if isinstance(value, tuple) else "",
)
async def test_what_cannot_be_a_url_is_refused(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    async with open_manager(downloader=instant) as manager:
        for call in (manager.submit, manager.download):
            with pytest.raises(error, match=message):
                await call(*arguments)
        with pytest.raises(error, match=message):
            manager.submit_nowait(*arguments)
        assert nothing_was_queued(manager)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"downloader": object()},
            TypeError,
            r"^a downloader is an object with `async def download\(self, job\)` or an",
        ),
        ({"downloader": lambda job: None}, TypeError, r"^a downloader is an object with `async def download"),
        ({"downloader": "HttpDownloader"}, TypeError, r"^a downloader is an object with `async def download"),
        ({"options": "x"}, TypeError, r"^options is a DownloadOptions, got 'x'$"),
        ({"options": {"filename": "x"}}, TypeError, r"^options is a DownloadOptions, got \{'filename': 'x'\}$"),
        ({"lane": []}, TypeError, r"^a lane is hashable, got \[\]$"),
        ({"lane": Unhashable()}, TypeError, r"^a lane is hashable, got <no key>$"),
        ({"lane": ("host", [])}, TypeError, r"^a lane is hashable, got \('host', \[\]\)$"),
        ({"correlation_id": 7}, TypeError, r"^an id is a str, got 7$"),
        ({"correlation_id": ""}, ValueError, r"^an id has 1 to 200 printable characters, got ''$"),
        ({"checksum": "crc32:00"}, ValueError, r"^checksum algorithm 'crc32' is unknown"),
        ({"timeout_s": -1}, ValueError, r"^timeout_s is a positive number of seconds, got -1$"),
        ({"colour": "red"}, TypeError, r"^unknown download option colour; known are "),
        ({"directory": 7}, TypeError, r"^directory is a str or a path, got 7$"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
async def test_a_wrong_argument_is_refused_and_named(
    keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with open_manager(downloader=instant) as manager:
        for call in (manager.submit, manager.download):
            with pytest.raises(error, match=message):
                await call(url("a"), **keywords)
        with pytest.raises(error, match=message):
            manager.submit_nowait(url("a"), **keywords)
        assert nothing_was_queued(manager)


async def test_an_error_of_lane_of_comes_out_of_submit_and_nothing_is_queued() -> None:
    def lane_of(request: DownloadRequest) -> Hashable:
        raise LookupError("no lane for " + request.url)

    async with open_manager(downloader=instant, lane_of=lane_of) as manager:
        with pytest.raises(LookupError, match="no lane for"):
            await manager.submit(url("a"), correlation_id="a")
        with pytest.raises(LookupError, match="no lane for"):
            manager.submit_nowait(url("a"), correlation_id="a")
        assert nothing_was_queued(manager)
        with pytest.raises(UnknownTaskError):
            manager.get_task("a")
        # An explicit lane needs no opinion of lane_of.
        await manager.submit(url("a"), correlation_id="a", lane="x")


async def test_an_unhashable_lane_from_lane_of_is_refused() -> None:
    def lane_of(request: DownloadRequest) -> Any:
        return []

    async with open_manager(downloader=instant, lane_of=lane_of) as manager:
        with pytest.raises(TypeError, match=r"^a lane is hashable, got \[\]$") as caught:
            await manager.submit(url("a"))
        # Python's own words would only repeat it.
        assert caught.value.__suppress_context__
        assert nothing_was_queued(manager)


async def test_a_downloader_may_refuse_a_request_when_it_is_submitted() -> None:
    class Choosy(FakeDownloader):
        def check_request(self, request: DownloadRequest) -> None:
            if not request.url.startswith("https:"):
                raise InvalidUrlError(url=request.url, problem="odd scheme", advice="use https")

    default, own = Choosy(), Choosy()
    async with open_manager(downloader=default) as manager:
        with pytest.raises(InvalidUrlError, match="odd scheme"):
            await manager.submit("gopher://example.org/")
        with pytest.raises(InvalidUrlError, match="odd scheme"):
            await manager.submit("gopher://example.org/", downloader=own)
        with pytest.raises(InvalidUrlError, match="odd scheme"):
            await manager.submit_many([url("a"), "gopher://example.org/"])
        assert nothing_was_queued(manager)
        # The manager's downloader has no say about a request that another one fetches.
        result = await manager.download("gopher://example.org/x", downloader=instant)
        assert result.path.name == "x"


async def test_which_schemes_there_are_is_for_the_downloader_to_say() -> None:
    async with open_manager(downloader=instant) as manager:
        for address in ("magnet:?xt=urn:btih:00", "ftp://x/y", "rubbish", "C:\\file"):
            await manager.download(address)


# What a downloader may be.


class Method:
    async def download(self, job: DownloadJob) -> DownloadResult:
        return saved(job)


class CallableObject:
    async def __call__(self, job: DownloadJob) -> DownloadResult:
        return saved(job)


async def with_more(extra: str, job: DownloadJob) -> DownloadResult:
    return saved(job)


@pytest.mark.parametrize(
    "downloader",
    [instant, Method(), Method().download, CallableObject(), functools.partial(with_more, "extra")],
    ids=["function", "object", "bound method", "callable object", "partial"],
)
async def test_a_downloader_is_an_object_with_an_async_method_or_an_async_function(downloader: Any) -> None:
    async with open_manager(downloader=downloader) as manager:
        assert (await manager.download(url("a"))).path.name == "a"
    async with open_manager(downloader=FakeDownloader()) as manager:
        assert (await manager.download(url("b"), downloader=downloader)).path.name == "b"


# Options.


async def test_fields_override_options_and_both_override_the_manager(tmp_path: Path) -> None:
    seen: list[DownloadJob] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(job)
        return saved(job)

    options = DownloadOptions(filename="options", max_bytes=1, directory=tmp_path / "options")
    async with open_manager(downloader=look, directory=tmp_path / "manager") as manager:
        await manager.download(url("a"))
        await manager.download(url("b"), options=options)
        await manager.download(url("c"), options=options, filename="field", timeout_s=5)
        await manager.download(url("d"), directory=tmp_path / "field")
        await manager.submit_many([DownloadRequest(url("e"), options), url("f")])
        await manager.wait_idle()
    by_name = {job.url.rsplit("/")[-1]: job for job in seen}
    assert by_name["a"].directory == by_name["f"].directory == tmp_path / "manager"
    assert by_name["b"].directory == by_name["c"].directory == by_name["e"].directory == tmp_path / "options"
    assert by_name["d"].directory == tmp_path / "field"
    assert by_name["b"].options.filename == by_name["e"].options.filename == "options"
    c = by_name["c"].options
    assert (c.filename, c.max_bytes, c.timeout_s) == ("field", 1, 5)
    assert by_name["a"].options.filename is None


async def test_a_job_says_what_it_is() -> None:
    seen: list[DownloadJob] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(job)
        return saved(job)

    async with open_manager(downloader=look) as manager:
        task = await manager.submit("https://joe:pw@example.org/a", correlation_id="id")
        await task.result()
    (job,) = seen
    assert (job.url, job.correlation_id, job.attempt) == ("https://joe:pw@example.org/a", "id", 1)
    assert (job.can_resume, job.resources) == (False, None)
    assert job.request is task.request
    assert repr(job) == "<DownloadJob id https://example.org/a>"


# Contexts.

variable: ContextVar[str] = ContextVar("variable", default="nothing")


async def test_a_run_has_the_context_that_its_submitter_had_when_it_submitted() -> None:
    seen: list[str] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(variable.get())
        return saved(job)

    async with open_manager(0, downloader=look) as manager:
        for value in ("one", "two", "three"):
            token = variable.set(value)
            if value == "two":
                await manager.submit_many([url("x")])
            else:
                await manager.submit(url("x"))
            variable.reset(token)
        manager.max_concurrent = 1
    assert seen == ["one", "two", "three"]
    assert variable.get() == "nothing"


async def test_every_run_starts_in_a_fresh_copy_of_it() -> None:
    seen: list[str] = []

    async def change(job: DownloadJob) -> DownloadResult:
        seen.append(variable.get())
        variable.set("changed by a run")
        if job.attempt < 3:
            await trio.sleep_forever()
        return saved(job)

    async with open_manager(1, downloader=change) as manager:
        token = variable.set("submitter's")
        task = await manager.submit(url("a"))
        variable.reset(token)
        for _ in range(2):
            await settle()
            await task.pause()
            task.resume()
        await task.result()
    assert seen == ["submitter's"] * 3
    assert variable.get() == "nothing"


async def test_a_retry_has_the_context_of_who_asked_for_it() -> None:
    seen: list[str] = []

    async def look(job: DownloadJob) -> DownloadResult:
        seen.append(variable.get())
        return saved(job)

    async with open_manager(1, downloader=look) as manager:
        task = await manager.submit(url("a"))
        await task.wait()
        token = variable.set("second")
        again = task.retry()
        variable.reset(token)
        await again.wait()
    assert seen == ["nothing", "second"]


# Correlation ids.


async def test_the_id_is_known_to_all_code_of_a_download_its_children_and_threads() -> None:
    seen: list[str | None] = []

    async def look(job: DownloadJob) -> DownloadResult:
        async def child() -> None:
            seen.append(current_correlation_id())

        seen.append(current_correlation_id())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return saved(job)

    async with open_manager(1, downloader=look) as manager:
        await manager.download(url("a"), correlation_id="a")
    assert seen == ["a", "a"]
    assert current_correlation_id() is None


async def test_a_download_that_is_submitted_by_another_has_its_own_id() -> None:
    seen: list[str | None] = []
    manager: DownloadManager

    async def crawl(job: DownloadJob) -> DownloadResult:
        seen.append(current_correlation_id())
        if job.correlation_id == "first":
            await manager.submit(url("b"), correlation_id="second")
        return saved(job)

    async with open_manager(1, downloader=crawl) as manager:
        await manager.download(url("a"), correlation_id="first")
        await manager.wait_idle()
    assert seen == ["first", "second"]


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(correlation_id)s %(message)s"))
        self.addFilter(CorrelationIdFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def test_every_log_record_of_a_download_has_its_id(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records()
    library, foreign = logging.getLogger("trio_dlm"), logging.getLogger("somebody.else")
    for logger in (library, foreign):
        caplog.set_level(logging.DEBUG, logger.name)
        monkeypatch.setattr(logger, "handlers", [records])

    async def talk(job: DownloadJob) -> DownloadResult:
        foreign.info("hello")
        raise TransferError("the server is gone")

    async with open_manager(1, downloader=talk, failures="keep") as manager:
        foreign.info("outside")
        a = await manager.submit(url("a"), correlation_id="a")
        await a.wait()
        b = await manager.submit(url("b"), correlation_id="b")
        await b.cancel("enough")
    assert "a hello" in records.lines
    assert "- outside" in records.lines
    assert f"a download a of {url('a')} failed: the server is gone" in records.lines
    for status in ("pending", "downloading", "failed"):
        assert f"a download a of {url('a')} is {status}" in records.lines
    for line in records.lines:
        named = [name for name in ("a", "b") if f"download {name} of" in line]
        assert not named or line.startswith(f"{named[0]} ")


async def test_the_id_is_in_every_error_of_a_download() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        fake.fail("a")
        await b.cancel()
        with pytest.raises(DownloadFailedError, match=r"^download a of ") as failed:
            await a.result()
        with pytest.raises(DownloadCancelledError, match=r"^download b of ") as cancelled:
            await b.result()
        assert (failed.value.correlation_id, cancelled.value.correlation_id) == ("a", "b")


# download().


async def test_download_is_submit_and_result_in_one() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        fake.finish("a")
        result = await manager.download(url("a"), correlation_id="a")
        assert result is await manager.get_task("a").result()
        fake.fail("b")
        with pytest.raises(DownloadFailedError):
            await manager.download(url("b"))
        with pytest.raises(DuplicateTaskError):
            await manager.download(url("c"), correlation_id="a")


async def test_if_the_caller_of_download_is_cancelled_so_is_the_download_and_its_end_is_awaited() -> None:
    fake = FakeDownloader()
    fake.shield("a", 5)
    async with open_manager(downloader=fake) as manager:
        began = trio.current_time()
        with trio.move_on_after(10) as scope:
            await manager.download(url("a"), correlation_id="a")
        assert scope.cancelled_caught
        assert trio.current_time() - began == 15
        assert fake.running == []
        task = manager.get_task("a")
        assert (task.status, task.reason) == (DownloadStatus.CANCELLED, "the caller of download() was cancelled")


async def test_a_download_whose_caller_is_cancelled_in_the_queue_never_runs() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake) as manager:
        with trio.move_on_after(10):
            await manager.download(url("a"), correlation_id="a")
        assert manager.get_task("a").status is DownloadStatus.CANCELLED
    assert fake.begun == []


async def test_a_download_whose_caller_is_cancelled_while_it_waits_for_room_is_never_queued() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, max_pending=1, on_exit="cancel") as manager:
        queue(manager, "a")
        with trio.move_on_after(10):
            await manager.download(url("b"), correlation_id="b")
        with pytest.raises(UnknownTaskError):
            manager.get_task("b")


async def test_if_somebody_else_cancels_it_download_raises() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager, trio.open_nursery() as nursery:

        async def cancel() -> None:
            await settle()
            await manager.cancel("a", "not wanted")

        nursery.start_soon(cancel)
        with pytest.raises(DownloadCancelledError, match="not wanted"):
            await manager.download(url("a"), correlation_id="a")


# wait_idle.


async def test_wait_idle_waits_until_nothing_is_pending_or_running() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        idle = trio.Event()

        async def wait() -> None:
            await manager.wait_idle()
            idle.set()

        a, b = queue(manager, "a", "b")
        nursery.start_soon(wait)
        fake.finish("a")
        await a.wait()
        await settle()
        assert not idle.is_set()
        fake.finish("b")
        await b.wait()
        await settle()
        assert idle.is_set()


async def test_paused_downloads_do_not_keep_a_manager_busy() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a, b = queue(manager, "a", "b")
        await b.pause()
        await a.pause()
        with trio.fail_after(1):
            await manager.wait_idle()


async def test_wait_idle_waits_on_if_something_comes_in_the_tick_in_which_it_was_idle() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager, trio.open_nursery() as nursery:
        idle = trio.Event()

        async def wait() -> None:
            await manager.wait_idle()
            idle.set()

        manager.max_concurrent = 0
        a = queue_one(manager, "a")
        nursery.start_soon(wait)
        await settle()
        # What cancel() does before it waits: idle for a moment within a step, and busy before anybody could see it.
        engine_of(manager).cancel(a._download, None)
        b = queue_one(manager, "b")
        await settle()
        assert not idle.is_set()
        await b.cancel()
        await settle()
        assert idle.is_set()


async def test_a_download_that_waits_for_its_manager_to_be_idle_is_told_that_it_never_will_be() -> None:
    said: list[str] = []
    manager: DownloadManager

    async def wait(job: DownloadJob) -> DownloadResult:
        async def child() -> None:
            with pytest.raises(RuntimeError) as caught:
                await manager.wait_idle()
            said.append(str(caught.value))

        await child()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        return saved(job)

    async with open_manager(downloader=wait) as manager:
        await manager.download(url("a"))
    assert said == ["wait_idle() was called by a download of this manager, so it could never become true"] * 2


async def test_a_download_may_wait_for_another_manager_to_be_idle() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as other:

        async def wait(job: DownloadJob) -> DownloadResult:
            await other.wait_idle()
            return saved(job)

        async with open_manager(downloader=wait) as manager:
            queue(other, "a")
            task = await manager.submit(url("b"))
            await settle()
            fake.finish("a")
            await task.result()


# Figures.


async def test_the_figures_of_a_manager() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake, failures="keep") as manager:
        empty = manager.get_stats()
        assert (empty.active, empty.pending, empty.paused, empty.max_concurrent, empty.available_slots) == (
            0,
            0,
            0,
            2,
            2,
        )
        assert (empty.completed, empty.failed, empty.cancelled, empty.bytes_received) == (0, 0, 0, 0)
        assert empty.rate_bytes_per_s == 0
        assert dict(empty.lanes) == {}
        a, b, _, d = queue(manager, *"abcd", lane="x")
        await d.pause()
        stats = manager.get_stats()
        assert (stats.active, stats.pending, stats.paused, stats.available_slots) == (2, 1, 1, 0)
        assert dict(stats.lanes) == {"x": LaneStats(pending=1, active=2, limit=math.inf)}
        await settle()
        for _ in range(4):
            await trio.sleep(1)
            fake.grant("a", 100)
            fake.grant("b", 50)
        stats = manager.get_stats()
        assert stats.bytes_received == 600
        assert stats.rate_bytes_per_s == pytest.approx(150, rel=0.4)
        fake.fail("a")
        fake.finish("b", "c")
        await d.cancel()
        await manager.wait_idle()
        stats = manager.get_stats()
        assert (stats.completed, stats.failed, stats.cancelled, stats.active) == (2, 1, 1, 0)
        # Those of a failed download arrived too.
        assert stats.bytes_received == 600
        assert stats.rate_bytes_per_s == 0
        assert (a.status, b.status) == (DownloadStatus.FAILED, DownloadStatus.COMPLETED)


async def test_figures_are_frozen_and_those_of_their_moment() -> None:
    fake = FakeDownloader()
    async with open_manager(2, downloader=fake) as manager:
        stats = manager.get_stats()
        queue(manager, "a")
        assert stats.active == 0
        with pytest.raises(AttributeError):
            stats.active = 7  # type: ignore[misc]
        fake.finish("a")


async def test_the_present_limit_of_a_lane_is_shown() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, max_per_lane=2, on_exit="cancel") as manager:
        manager.set_lane_limit("x", 1)
        queue(manager, "a", "b", lane="x")
        queue(manager, "c", lane="y")
        lanes = manager.get_stats().lanes
        assert (lanes["x"].limit, lanes["x"].active, lanes["x"].pending) == (1, 1, 1)
        assert lanes["y"].limit == 2


async def test_unlimited_slots_are_shown_as_such() -> None:
    async with open_manager(math.inf, downloader=instant) as manager:
        assert manager.get_stats().available_slots == math.inf


# By id, by handle, from elsewhere, too late.


async def test_the_calls_by_id_take_a_handle_too() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert await manager.pause(a) is True
        assert manager.resume(a) is True
        assert await manager.cancel(a, "enough") is True
        again: DownloadTask[Any] = manager.retry(a)
        assert again.retry_of == "a"
        for call in (manager.resume, manager.retry):
            with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got None$"):
                call(None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^expected a correlation id or a DownloadTask, got None$"):
            await manager.pause(None)  # type: ignore[arg-type]
        fake.finish("a")


async def test_submit_from_outside_the_body_is_welcome_while_the_block_lasts() -> None:
    fake = FakeDownloader()
    tasks: list[DownloadTask[DownloadResult]] = []
    async with trio.open_nursery() as nursery, open_manager(1, downloader=fake) as manager:

        async def submit() -> None:
            tasks.append(await manager.submit(url("a")))

        nursery.start_soon(submit)
        await settle()
        fake.finish("a")
    assert tasks[0].status is DownloadStatus.COMPLETED


async def test_a_submit_that_is_first_run_when_the_door_is_closed_is_refused() -> None:
    call: Callable[[], Any]
    async with open_manager(1, downloader=instant) as manager:
        call = functools.partial(manager.submit, url("a"))
    with pytest.raises(ManagerClosedError):
        await call()


def test_headers_with_secrets_are_in_no_repr() -> None:
    request = DownloadRequest(
        "https://joe:hunter2@example.org/", DownloadOptions(headers=MappingProxyType({"Cookie": "hunter2"}))
    )
    assert "hunter2" not in repr(request)
    assert "hunter2" not in repr(request.options)

"""What is no downloader is refused before it runs; a job hands over what was submitted and hides its secrets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import MagicMock

import pytest

from trio_dlm._meter import ProgressMeter
from trio_dlm._options import DownloadOptions
from trio_dlm._rate import RateLimit
from trio_dlm._records import DownloadRequest, DownloadResult
from trio_dlm.downloaders._protocol import DownloadJob, RequestChecker, as_function, asyncio_downloader

RESULT: Final = DownloadResult(path=Path("/a"), size_bytes=0)


def make_job(url: str = "https://example.org/a", **changes: Any) -> DownloadJob:
    facts: dict[str, Any] = {
        "request": DownloadRequest(url, DownloadOptions(filename="a")),
        "directory": Path("/d"),
        "correlation_id": "0123abcd",
        "attempt": 1,
        "progress": ProgressMeter(lambda: 0.0, lambda: None),
        "resources": None,
    }
    return DownloadJob(**{**facts, **changes})


async def function(job: DownloadJob) -> DownloadResult:
    return RESULT


async def with_options(_label: str, job: DownloadJob) -> DownloadResult:
    return RESULT


class WithMethod:
    async def download(self, job: DownloadJob) -> DownloadResult:
        return RESULT

    async def other(self, job: DownloadJob) -> DownloadResult:
        return RESULT


class WithClassMethod:
    @classmethod
    async def download(cls, job: DownloadJob) -> DownloadResult:
        return RESULT


class WithStaticMethod:
    @staticmethod
    async def download(job: DownloadJob) -> DownloadResult:
        return RESULT


class WithPartial:
    def __init__(self) -> None:
        self.download = functools.partial(with_options, "label")


class Callable:
    async def __call__(self, job: DownloadJob) -> DownloadResult:
        return RESULT


class WithCallable:
    download = Callable()


DOWNLOADERS: Final[list[Any]] = [
    function,
    functools.partial(with_options, "label"),
    functools.partial(functools.partial(with_options), "label"),
    WithMethod(),
    WithMethod().download,
    WithMethod().other,
    functools.partial(WithMethod().other),
    WithClassMethod(),
    WithStaticMethod(),
    WithPartial(),
    Callable(),
    functools.partial(Callable()),
    WithCallable(),
]


@pytest.mark.trio
@pytest.mark.parametrize("downloader", DOWNLOADERS, ids=lambda downloader: type(downloader).__name__)
async def test_whatever_runs_a_job_asynchronously_is_a_downloader(downloader: Any) -> None:
    assert await as_function(downloader)(make_job()) is RESULT


def sync_function(job: DownloadJob) -> DownloadResult:
    return RESULT


def makes_coroutine(job: DownloadJob) -> Any:
    return function(job)


async def async_generator(job: DownloadJob) -> AsyncIterator[DownloadResult]:
    yield RESULT


class WithSyncMethod:
    def download(self, job: DownloadJob) -> DownloadResult:
        return RESULT


class WithSyncMethodAndAsyncCall(WithSyncMethod):
    async def __call__(self, job: DownloadJob) -> DownloadResult:
        return RESULT


class SyncCallable:
    def __call__(self, job: DownloadJob) -> DownloadResult:
        return RESULT


class EndlessPartial:
    """Looks at every depth as if there were one more function inside."""

    @property
    def func(self) -> EndlessPartial:
        return self


REFUSED: Final[list[Any]] = [
    None,
    "https",
    object(),
    sync_function,
    makes_coroutine,
    async_generator,
    lambda job: RESULT,
    functools.partial(sync_function),
    WithSyncMethod(),
    WithSyncMethodAndAsyncCall(),
    SyncCallable(),
    functools.partial(SyncCallable()),
    WithMethod,
    WithClassMethod,
    WithStaticMethod,
    Callable,
    DownloadResult,
    EndlessPartial(),
    MagicMock(),
]


@pytest.mark.parametrize("other", REFUSED, ids=lambda other: type(other).__name__)
def test_everything_else_is_a_type_error_that_shows_it(other: object) -> None:
    with pytest.raises(TypeError) as caught:
        as_function(other)
    assert str(caught.value) == (
        f"a downloader is an object with `async def download(self, job)` or an async function of a job, got {other!r}"
    )


def test_asking_does_not_run_the_downloader() -> None:
    ran: list[object] = []

    async def download(job: DownloadJob) -> DownloadResult:
        ran.append(job)
        return RESULT

    assert inspect.iscoroutinefunction(as_function(download))
    assert not ran


def test_a_job_has_what_was_submitted() -> None:
    meter = ProgressMeter(lambda: 0.0, lambda: None)
    resources = object()
    job = make_job("https://u:hunter2@example.org/a?token=hunter2", attempt=2, progress=meter, resources=resources)
    assert job.url == job.request.url == "https://u:hunter2@example.org/a?token=hunter2"
    assert job.options is job.request.options
    assert (job.directory, job.correlation_id, job.attempt) == (Path("/d"), "0123abcd", 2)
    assert job.progress is meter
    assert job.resources is resources


def test_the_meter_of_a_job_is_made_once_and_only_when_somebody_looks_at_it() -> None:
    made: list[ProgressMeter] = []

    def make() -> ProgressMeter:
        made.append(ProgressMeter(lambda: 0.0, lambda: None))
        return made[-1]

    job = make_job(progress=make)
    assert not made
    assert job.progress is job.progress
    assert made == [job.progress]


def test_the_rate_limit_of_a_job_is_made_once_and_only_when_somebody_looks_at_it() -> None:
    made: list[RateLimit] = []

    def make() -> RateLimit:
        made.append(RateLimit())
        return made[-1]

    job = make_job(rate_limit=make)
    assert not made
    assert job.rate_limit is job.rate_limit
    assert made == [job.rate_limit]


def test_a_job_that_was_made_by_hand_has_a_rate_limit_of_its_own_that_lets_everything_through() -> None:
    job, other = make_job(), make_job()
    assert job.rate_limit.is_unlimited
    assert job.rate_limit is not other.rate_limit


def test_a_closed_job_has_the_rate_limit_that_it_had_or_one_that_counts_for_nobody() -> None:
    def make() -> RateLimit:
        pytest.fail("a run that is over was given a limit of the manager's")

    job = make_job(rate_limit=make)
    job.close()
    assert job.rate_limit.is_unlimited
    limit = RateLimit()
    job = make_job(rate_limit=limit)
    job.close()
    assert job.rate_limit is limit


def test_a_job_cannot_be_resumed_unless_its_downloader_says_so() -> None:
    job = make_job()
    assert job.can_resume is False
    job.can_resume = True
    assert job.can_resume is True
    assert make_job(can_resume=True).can_resume is True


def test_a_job_takes_no_attribute_of_somebody_else() -> None:
    with pytest.raises(AttributeError):
        make_job().tries = 3  # type: ignore[attr-defined]


def test_a_job_shows_no_secrets() -> None:
    job = make_job("https://u:hunter2@example.org/a?token=hunter2")
    assert repr(job) == "<DownloadJob 0123abcd https://example.org/a?token=…>"


def test_a_downloader_that_can_judge_a_request_is_known_by_its_method() -> None:
    class Judge(WithMethod):
        def check_request(self, request: DownloadRequest) -> None:
            raise ValueError(request.url)

    assert isinstance(Judge(), RequestChecker)
    assert not isinstance(WithMethod(), RequestChecker)


# Downloaders that need asyncio.


async def test_a_marked_downloader_is_one_and_says_what_was_marked() -> None:
    async def fetch(job: DownloadJob) -> DownloadResult:
        return DownloadResult(path=Path("/a"), size_bytes=1)

    marked = asyncio_downloader(fetch)
    assert repr(marked) == f"<asyncio_downloader of {fetch!r}>"
    assert marked.downloader is fetch
    assert await marked.download(cast("DownloadJob", None)) == DownloadResult(path=Path("/a"), size_bytes=1)
    # A function cannot say what it could not fetch.
    marked.check_request(DownloadRequest("https://example.org/a"))
    with pytest.raises(TypeError, match=r"^asyncio_downloader\(\) was called twice on "):
        asyncio_downloader(marked)


def test_a_marked_downloader_is_asked_whether_it_could_fetch_a_request() -> None:
    class Picky:
        async def download(self, job: DownloadJob) -> DownloadResult:
            raise NotImplementedError

        def check_request(self, request: DownloadRequest) -> None:
            raise ValueError(request.url)

    with pytest.raises(ValueError, match=r"^https://example.org/a$"):
        asyncio_downloader(Picky()).check_request(DownloadRequest("https://example.org/a"))

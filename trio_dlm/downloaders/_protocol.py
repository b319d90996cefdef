"""What a downloader is, and what it is handed.

Rules that hold here:

- a downloader is one async method (or function) from a job to a result; it runs inside a cancel scope of the manager's
  and must let ``Cancelled`` pass;
- it must not leave a task, process, file or thread behind that could still touch its files;
- what it raises is the reason of the failure, as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeGuard, TypeVar, cast, final, runtime_checkable

from .._meter import ProgressMeter
from .._options import DownloadOptions
from .._rate import RateLimit
from .._records import DownloadRequest, DownloadResult
from .._urls import redact_url

__all__ = [
    "AsyncioDownloader",
    "DownloadJob",
    "Downloader",
    "DownloaderFunction",
    "RequestChecker",
    "as_function",
    "as_trio_function",
    "asyncio_downloader",
    "needs_asyncio",
]

ResultT_co = TypeVar("ResultT_co", bound=DownloadResult, covariant=True)
_ResultT = TypeVar("_ResultT", bound=DownloadResult)


@final
class DownloadJob:
    """One run of one download, as its downloader sees it.

    Attributes:
        request: what was submitted.
        options: what the request asks for; a downloader lays them over its own with :meth:`DownloadOptions.over`.
        directory: where the file goes, absolute; it may not exist yet.
        correlation_id: the download's id.
        attempt: 1 for the first run, 2 for the run after a resume, and so on.
        resources: what the manager's ``setup`` gave, or None.
        can_resume: set it to True as soon as a later run could go on from what is there; a pause then keeps
            ``progress.received_bytes``.
    """

    __slots__ = (
        "_progress",
        "_rate_limit",
        "attempt",
        "can_resume",
        "correlation_id",
        "directory",
        "options",
        "request",
        "resources",
    )

    def __init__(
        self,
        *,
        request: DownloadRequest,
        directory: Path,
        correlation_id: str,
        attempt: int,
        progress: ProgressMeter | Callable[[], ProgressMeter],
        resources: Any,
        can_resume: bool = False,
        rate_limit: RateLimit | Callable[[], RateLimit] = RateLimit,
    ) -> None:
        self.request = request
        self.options: DownloadOptions = request.options
        self.directory = directory
        self.correlation_id = correlation_id
        self.attempt = attempt
        self._progress = progress
        self._rate_limit = rate_limit
        self.resources = resources
        self.can_resume = can_resume

    @property
    def progress(self) -> ProgressMeter:
        """Where to report to.  Made when it is first looked at, since a short download may never report anything."""
        if not isinstance(self._progress, ProgressMeter):
            self._progress = self._progress()
        return self._progress

    @property
    def rate_limit(self) -> RateLimit:
        """What to ask before each read.  Made when it is first looked at; without a limit it lets all through."""
        if not isinstance(self._rate_limit, RateLimit):
            self._rate_limit = self._rate_limit()
        return self._rate_limit

    def close(self) -> None:
        """The run is over.

        Code that looks at ``progress`` or ``rate_limit`` for the first time now finds one that counts nothing.
        """
        if not isinstance(self._progress, ProgressMeter):
            self._progress = _CLOSED_METER
        if not isinstance(self._rate_limit, RateLimit):
            self._rate_limit = RateLimit

    @property
    def url(self) -> str:
        """The address as it was submitted, secrets included."""
        return self.request.url

    def __repr__(self) -> str:
        return f"<DownloadJob {self.correlation_id} {redact_url(self.url)}>"


# A meter counts only between the start and the end of a run, and this one never had a start.
_CLOSED_METER: Final = ProgressMeter(clock=lambda: 0.0, changed=lambda: None)


class Downloader(Protocol[ResultT_co]):
    """Anything that turns a job into a file.

    One that is also an async context manager and is passed to :func:`open_manager` is entered and left with the block.
    """

    async def download(self, job: DownloadJob) -> ResultT_co:
        """Fetch ``job.url`` into ``job.directory`` and return what was saved.

        What it raises makes the download FAILED; ``Cancelled`` must pass.
        """
        ...


@runtime_checkable
class RequestChecker(Protocol):
    """A downloader that can say at ``submit`` that it will never be able to fetch a request."""

    def check_request(self, request: DownloadRequest) -> None:
        """Raise if *request* cannot be fetched: a wrong scheme, say.  Synchronous, without I/O."""
        ...


DownloaderFunction: TypeAlias = Callable[[DownloadJob], Awaitable[_ResultT]]


def as_function(downloader: object) -> DownloaderFunction[Any]:
    """Return the async function that runs a job.

    Raises:
        TypeError: *downloader* is neither an object with an async ``download`` method nor an async function.
    """
    function = getattr(downloader, "download", downloader)
    if isinstance(downloader, type) or not _is_async(function):
        raise TypeError(
            f"a downloader is an object with `async def download(self, job)` or an async function of a job, "
            f"got {downloader!r}"
        )
    return cast("DownloaderFunction[Any]", function)


@final
class AsyncioDownloader(Generic[ResultT_co]):
    """A downloader that runs as a task of the asyncio loop that its manager is used on.

    Made by :func:`trio_dlm.asyncio_downloader`.
    """

    __slots__ = ("downloader", "function")
    downloader: Downloader[ResultT_co] | DownloaderFunction[ResultT_co]

    def __init__(self, downloader: Downloader[ResultT_co] | DownloaderFunction[ResultT_co]) -> None:
        if isinstance(downloader, AsyncioDownloader):
            raise TypeError(f"asyncio_downloader() was called twice on {downloader.downloader!r}")
        self.downloader = downloader
        self.function: DownloaderFunction[ResultT_co] = as_function(downloader)

    async def download(self, job: DownloadJob) -> ResultT_co:
        """Run the downloader on the loop that runs this; a manager on asyncio sees to it that it is its user's."""
        return await self.function(job)

    def check_request(self, request: DownloadRequest) -> None:
        """Ask the downloader, if it can say, whether it could fetch *request*."""
        if isinstance(self.downloader, RequestChecker):
            self.downloader.check_request(request)

    def __repr__(self) -> str:
        return f"<asyncio_downloader of {self.downloader!r}>"


def asyncio_downloader(
    downloader: Downloader[ResultT_co] | DownloaderFunction[ResultT_co],
) -> AsyncioDownloader[ResultT_co]:
    """Mark a downloader that needs asyncio: it runs on the event loop of the program, and not in trio.

    For a manager on asyncio only, where every other downloader runs in a trio thread of the manager's own.  Also a
    decorator.  The downloader runs in a task of its own, in a copy of the context of ``submit``; what it reports to
    ``job.progress`` and takes from ``job.rate_limit`` counts as anywhere.  To cancel or pause it is to cancel its task,
    once; what it awaits after that is waited for.  ``job.resources`` is what ``setup`` gave in trio, and belongs there.

    Raises:
        TypeError: it is no downloader; at ``submit`` and ``open_manager``, on trio.
    """
    return AsyncioDownloader(downloader)


def needs_asyncio(downloader: object) -> TypeGuard[AsyncioDownloader[Any]]:
    """Whether *downloader* was marked by :func:`asyncio_downloader`."""
    return isinstance(downloader, AsyncioDownloader)


def as_trio_function(downloader: object) -> DownloaderFunction[Any]:
    """Return the async function that runs a job in trio.

    Raises:
        TypeError: *downloader* is none, or needs asyncio.
    """
    if needs_asyncio(downloader):
        raise TypeError(
            f"{downloader.downloader!r} was marked by asyncio_downloader(), and this manager runs on trio, where no "
            f"asyncio loop is; pass a downloader that is written for trio or anyio"
        )
    return as_function(downloader)


def _is_async(function: object) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    # Whether the call is async is asked here, not whether there is one.
    call = getattr(function, "__call__", None)  # noqa: B004
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)

"""The downloader for http and https, as users see it.

Rules that hold here:

- it owns the client and the threads' limiter, both from entering its block to leaving it, and nothing of a single
  download;
- options are laid over each other here, and only here;
- limits on a whole run are the manager's, but for one that was given to the constructor.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, Unpack, final

import trio

from ..._options import DownloadOptions, DownloadOptionsFields
from ..._records import DownloadRequest, DownloadResult
from .._protocol import DownloadJob
from .._time_limit import run_within
from ._address import Address, parse_address
from ._client import Client, open_client
from ._names import check_filename
from ._plan import check_request_headers
from ._transfer import transfer

if TYPE_CHECKING:
    from ._client import AnyAsyncClient

__all__ = ["HttpDownloader"]

# Threads that touch files at the same time.  A disk does not get faster by more, and each may hold a batch in memory.
_MAX_FILE_THREADS: Final = 16


@final
class HttpDownloader:
    """Downloads files over http and https: whole, of one version and verified, or not at all.

    An async context manager: entering it makes its client, leaving it closes every connection.  A manager enters the
    one that is passed to :func:`open_manager`; one that is passed to ``submit`` is entered by whoever made it, around
    the manager::

        async with HttpDownloader(headers={"User-Agent": "mirror/1.0"}) as downloader:
            async with open_manager(downloader=downloader) as manager: ...

    Args:
        client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` with whatever it was given: proxy, certificates,
            auth, cookies, hooks, HTTP/2.  Its limits of time and its redirects are not used; its pool should have room
            for as many connections as downloads run at once.  It stays yours to close.  Left alone, a client of the
            downloader's own, without cookies and with a connection for every request, which heeds the proxy variables
            of the environment and ``SSL_CERT_FILE``.
        defaults: options for every download that it runs, below those of the manager's and of the request.
    """

    def __init__(self, *, client: AnyAsyncClient | None = None, **defaults: Unpack[DownloadOptionsFields]) -> None:
        self._given_client = client
        self._defaults = DownloadOptions(**defaults)
        if self._defaults.filename is not None:
            check_filename(self._defaults.filename)
        check_request_headers(self._defaults.headers)
        self._client: Client | None = None
        self._limiter = trio.CapacityLimiter(_MAX_FILE_THREADS)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make the client, unless one was given.

        Raises:
            RuntimeError: it is open already.
            TypeError: the client that was given is none.
        """
        if self._client is not None:
            raise RuntimeError(
                "this HttpDownloader is open already: pass it to submit(downloader=…), which opens nothing, "
                "or give open_manager() one that is not open"
            )
        self._client = await self._stack.enter_async_context(open_client(self._given_client))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, unless it was given."""
        self._client = None
        await self._stack.aclose()

    def check_request(self, request: DownloadRequest) -> None:
        """Refuse what can never be fetched.

        Raises:
            InvalidUrlError: not http or https, no host, a host or port that cannot be one.
            InvalidNameError: ``filename`` cannot be a file's name.
            ValueError: a header that cannot be sent.
        """
        self._check(request.url, request.options)

    def _check(self, url: str, given: DownloadOptions) -> tuple[Address, DownloadOptions]:
        address = parse_address(url)
        options = given.over(self._defaults)
        if options.filename is not None:
            check_filename(options.filename)
        check_request_headers(options.headers)
        return address, options

    async def download(self, job: DownloadJob) -> DownloadResult:
        """Fetch ``job.url`` in one stream.

        Cancelling it deletes the part file and closes the connection.

        Raises:
            TransferError: the file could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        limit_s = self._defaults.total_timeout_s
        if limit_s is None or "total_timeout_s" in job.options.given:
            return await self._download(job)
        return await run_within(limit_s, job, self._download)

    async def _download(self, job: DownloadJob) -> DownloadResult:
        if self._client is None:
            raise RuntimeError(
                "this HttpDownloader is not open; use it within `async with HttpDownloader() as downloader:`"
            )
        address, options = self._check(job.url, job.options)
        directory = job.directory
        # Where the request named none this is the manager's, a weaker layer than this downloader's.
        if job.options.directory is None and self._defaults.directory is not None:
            directory = self._defaults.directory
        return await transfer(
            address,
            url=job.url,
            options=options,
            directory=directory,
            progress=job.progress,
            client=self._client,
            limiter=self._limiter,
        )

    def __repr__(self) -> str:
        state = "open" if self._client is not None else "closed"
        return f"<HttpDownloader {state}>"

"""The downloader for http and https, as users see it.

Rules that hold here:

- it owns the client and the threads' limiter, both from entering its block to leaving it, and nothing of a single
  download;
- options are laid over each other here, and only here;
- limits on a whole run are the manager's, but for one that was given to the constructor.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, Unpack, final

import trio

from ..._options import DownloadOptions, DownloadOptionsFields
from ..._records import DownloadRequest, DownloadResult
from .._protocol import DownloadJob
from .._time_limit import run_within
from ..disk._hops import Hops
from ..disk._names import check_filename
from ._probing import RemoteFile, probe
from ._transfer import transfer
from .client._client import AnyClient, open_client
from .client._client_settings import ClientSettings
from .rules._address import Address, parse_address
from .rules._asking import check_request_headers
from .rules._budget import HostBudget
from .rules._head import ReplyHead

if TYPE_CHECKING:
    from .client._client import AnyAsyncClient

__all__ = ["HttpDownloader", "download_if"]

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
            for ``connections`` of every download that runs at once.  It stays yours to close.  Left alone, connections
            of the downloader's own (those of :class:`TrioTransport`), without cookies; where the environment names a
            proxy, a client of the library's that asks it.  ``SSL_CERT_FILE`` is heeded.
        proxy: for the client of its own: the address of a proxy for all requests, in place of those that the
            environment names.
        http2: for the client of its own: speak HTTP/2 with servers that offer it (takes the package ``h2``).
        ca_file: for the client of its own: trust the authorities in this PEM file, in place of the system's.
        defaults: options for every download that it runs, below those of the manager's and of the request.

    Raises:
        TypeError: both a client, and what is for one of its own.
    """

    def __init__(
        self,
        *,
        client: AnyAsyncClient | None = None,
        proxy: str | None = None,
        http2: bool = False,
        ca_file: str | os.PathLike[str] | None = None,
        **defaults: Unpack[DownloadOptionsFields],
    ) -> None:
        self._given_client = client
        self._settings = ClientSettings(proxy=proxy, http2=http2, ca_file=None if ca_file is None else Path(ca_file))
        if client is not None and self._settings != ClientSettings():
            raise TypeError("proxy, http2 and ca_file are for a client of the downloader's own; give them to yours")
        self._defaults = DownloadOptions(**defaults)
        if self._defaults.filename is not None:
            check_filename(self._defaults.filename)
        check_request_headers(self._defaults.headers)
        self._client: AnyClient | None = None
        self._limiter = trio.CapacityLimiter(_MAX_FILE_THREADS)
        self._hops = Hops(self._limiter)
        self._budget = HostBudget(trio.current_time)
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
        self._client = await self._stack.enter_async_context(open_client(self._given_client, self._settings))
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

    def _check(self, url: str, given: DownloadOptions) -> tuple[list[Address], DownloadOptions]:
        options = given.over(self._defaults)
        addresses = [parse_address(each) for each in (url, *options.mirrors)]
        if options.filename is not None:
            check_filename(options.filename)
        check_request_headers(options.headers)
        return addresses, options

    async def download(self, job: DownloadJob) -> DownloadResult:
        """Fetch ``job.url``: on several connections while they pay, again after failures that may pass, whole or not.

        Cancelling it closes the connections.  What has arrived stays as ``NAME.part`` with ``NAME.part.json`` if a
        later run can go on from it and ``resume`` is left on; otherwise it is deleted.

        Raises:
            TransferError: the file could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        return await self._download(job, None)

    async def _download(self, job: DownloadJob, accept: Callable[[ReplyHead], object] | None) -> DownloadResult:
        limit_s = self._defaults.total_timeout_s
        fetch = partial(self._fetch, accept=accept)
        if limit_s is None or "total_timeout_s" in job.options.given:
            return await fetch(job)
        return await run_within(limit_s, job, fetch)

    async def _fetch(self, job: DownloadJob, *, accept: Callable[[ReplyHead], object] | None) -> DownloadResult:
        client = self._opened()
        addresses, options = self._check(job.url, job.options)
        directory = job.directory
        # Where the request named none this is the manager's, a weaker layer than this downloader's.
        if job.options.directory is None and self._defaults.directory is not None:
            directory = self._defaults.directory
        job.rate_limit.default_to(options.rate_limit_bytes_per_s)
        return await transfer(
            job,
            addresses,
            options=options,
            directory=directory,
            client=client,
            budget=self._budget,
            limiter=self._limiter,
            hops=self._hops,
            accept=accept,
        )

    async def probe(self, url: str, **fields: Unpack[DownloadOptionsFields]) -> RemoteFile:
        """Ask for *url* as a download would, look at the reply, and fetch nothing of it.

        Cancelling it closes the connection.

        Args:
            url: what would be downloaded.
            fields: options, as ``submit`` takes them.

        Raises:
            TransferError: it could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        client = self._opened()
        (address, *_), options = self._check(url, DownloadOptions(**fields))
        return await probe(address, url=url, options=options, client=client)

    def _opened(self) -> AnyClient:
        if self._client is None:
            raise RuntimeError(
                "this HttpDownloader is not open; use it within `async with HttpDownloader() as downloader:`"
            )
        return self._client

    def __repr__(self) -> str:
        state = "open" if self._client is not None else "closed"
        return f"<HttpDownloader {state}>"


async def download_if(
    downloader: HttpDownloader, job: DownloadJob, *, accept: Callable[[ReplyHead], object]
) -> DownloadResult:
    """Fetch ``job.url`` with *downloader* as :meth:`HttpDownloader.download` does, if *accept* has nothing against it.

    Args:
        downloader: open.
        job: the run.
        accept: is shown the head of every reply that brings a file, before anything is written; what it raises leaves
            this, unless it is a TransferError.

    Raises:
        TransferError: the file could not be had; the class says why.
        RuntimeError: the downloader is not open.
    """
    return await downloader._download(job, accept)

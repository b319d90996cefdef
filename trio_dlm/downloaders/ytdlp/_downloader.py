"""The downloader for media sites, as users see it.

Rules that hold here:

- yt-dlp is never imported in this process: it holds the interpreter for a second at a time, and cannot be stopped;
- what can be found wrong without a worker is found when the downloader is made;
- nothing here belongs to a loop, so that :meth:`YtDlpDownloader.probe` and :meth:`YtDlpDownloader.expand` can be called
  by a program on asyncio whose manager has opened the downloader elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Any, Final, Self, Unpack, final

from ..._options import DownloadOptions, DownloadOptionsFields, check_seconds
from ..._records import DownloadRequest
from .._protocol import DownloadJob
from ..disk._names import check_filename
from ..http.rules._address import parse_address
from ..http.rules._asking import check_request_headers
from ._environment import find_yt_dlp, launch_of
from ._errors import MissingRequirementError
from ._expanding import expand, probe
from ._options import YtDlpOptions
from ._records import MediaEntry, MediaInfo, MediaResult
from ._setting import Setting
from ._transfer import transfer
from ._workers import Workers

__all__ = ["YtDlpDownloader", "download_by"]

_DEFAULT_OPTIONS: Final = YtDlpOptions()


@final
class YtDlpDownloader:
    """Downloads media with yt-dlp, each item in a process of its own that a cancel ends at once.

    An async context manager.  A manager enters the one that is passed to :func:`open_manager`::

        async with open_manager(downloader=YtDlpDownloader(YtDlpOptions(audio_only="m4a"))) as manager:
            saved = await manager.download("https://media.example/watch/1")

    A download is one item.  A playlist is refused with :exc:`PlaylistError`; :meth:`expand` lists what is in it.

    Args:
        options: what is asked of yt-dlp.
        python: the interpreter that runs it; it must have yt-dlp, if it is not this one.
        deny_private: connect to no address that is not public, as for downloads with
            ``allow_private_addresses=False``.  It holds for what yt-dlp fetches itself; programs that it starts are
            kept from fetching, as far as yt-dlp lets them be.  For URLs of strangers use a filtering proxy or a network
            namespace besides.
        extract_timeout_s: how long yt-dlp may take to find out what there is to download.
        stall_timeout_s: how long nothing may arrive.
        warm: how many processes are kept ready; each takes some 50 MiB, and saves a second or two.
        defaults: options for every download that it runs, below those of the manager's and of the request.

    Raises:
        MissingRequirementError: yt-dlp is not installed, or ffmpeg, without which *options* cannot be done.
        TypeError, ValueError: an argument is wrong.
    """

    def __init__(
        self,
        options: YtDlpOptions = _DEFAULT_OPTIONS,
        *,
        python: str | os.PathLike[str] = sys.executable,
        deny_private: bool = False,
        extract_timeout_s: float = 60.0,
        stall_timeout_s: float = 120.0,
        warm: int = 0,
        **defaults: Unpack[DownloadOptionsFields],
    ) -> None:
        if not isinstance(options, YtDlpOptions):
            raise TypeError(f"options is a YtDlpOptions, got {options!r}")
        if warm < 0:
            raise ValueError(f"warm is a number of processes from 0 up, got {warm!r}")
        if os.name != "posix":
            raise MissingRequirementError(requirement="a POSIX system", url="")
        python = os.fspath(python)
        has_own = python == sys.executable
        yt_dlp = find_yt_dlp() if has_own else None
        if has_own and yt_dlp is None:
            raise MissingRequirementError(requirement="yt-dlp", url="")
        ffmpeg = shutil.which("ffmpeg" if options.ffmpeg is None else str(options.ffmpeg))
        if ffmpeg is None and (options.needs_ffmpeg or options.ffmpeg is not None):
            raise MissingRequirementError(requirement="ffmpeg", url="")
        self._defaults = DownloadOptions(**defaults)
        self._setting = Setting(
            options=options,
            workers=Workers(
                lambda home: launch_of(python, yt_dlp, home, plugins=options.plugins),
                warm=warm,
            ),
            ffmpeg=ffmpeg,
            deny_private=deny_private,
            extract_timeout_s=check_seconds("extract_timeout_s", extract_timeout_s),
            stall_timeout_s=check_seconds("stall_timeout_s", stall_timeout_s),
        )

    async def __aenter__(self) -> Self:
        """Start the processes that are kept ready.

        Raises:
            RuntimeError: it is open already.
            StorageError: the system cannot start one.
        """
        if self._setting.workers.is_open:
            raise RuntimeError(
                "this YtDlpDownloader is open already: pass it to submit(downloader=…), which opens nothing, "
                "or give open_manager() one that is not open"
            )
        await self._setting.workers.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the processes that are kept ready.  Cannot be cancelled."""
        await self._setting.workers.aclose()

    def check_request(self, request: DownloadRequest) -> None:
        """Refuse what can never be fetched.

        Raises:
            InvalidUrlError: not http or https, no host, a host or port that cannot be one.
            InvalidNameError: ``filename`` cannot be a file's name.
            ValueError: a header that cannot be sent, or an option that yt-dlp has nothing for.
        """
        self._check(request.url, request.options)

    def _check(self, url: str, given: DownloadOptions) -> DownloadOptions:
        options = given.over(self._defaults)
        parse_address(url)
        if options.filename is not None:
            check_filename(options.filename)
        check_request_headers(options.headers)
        if self._setting.options.impersonate is not None and self._setting.guard(options) is not None:
            raise ValueError(
                "impersonate= connects where nobody can look which address that is; leave it out, or deny_private= and "
                "allow_private_addresses=False"
            )
        if options.mirrors:
            raise ValueError("mirrors are addresses of the same file, which yt-dlp has nothing for; leave them out")
        return options

    async def download(self, job: DownloadJob) -> MediaResult:
        """Fetch the media item at ``job.url``: all of what was asked for, or nothing.

        Cancelling it ends the process and all that it has started, and waits for that, some hundredths of a second.
        What has arrived stays in ``.trio_dlm`` beside the files if ``resume`` is left on, and a later run goes on from
        there; otherwise it is deleted.

        Raises:
            PlaylistError: there are several items; :meth:`expand` lists them.
            TransferError: it could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        return await self._download(job, job.url, None)

    async def _download(
        self, job: DownloadJob, url: str, info: Mapping[str, Any] | None, *, generic: bool = True
    ) -> MediaResult:
        self._check_open()
        options = self._check(job.url, job.options)
        directory = job.directory
        # Where the request named none this is the manager's, a weaker layer than this downloader's.
        if job.options.directory is None and self._defaults.directory is not None:
            directory = self._defaults.directory
        job.rate_limit.default_to(
            self._setting.options.rate_limit_bytes_per_s
            if options.rate_limit_bytes_per_s is None
            else options.rate_limit_bytes_per_s
        )
        setting = self._setting if generic else self._setting.without_generic()
        return await transfer(setting, job, url=url, info=info, options=options, directory=directory)

    async def probe(self, url: str, **fields: Unpack[DownloadOptionsFields]) -> MediaInfo:
        """Find out what there is at *url*, and fetch nothing of it.  On trio and on asyncio.

        Cancelling it ends the process.

        Args:
            url: what would be downloaded.
            fields: options, as ``submit`` takes them.

        Raises:
            TransferError: it could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        self._check_open()
        return await probe(self._setting, url, self._check(url, DownloadOptions(**fields)))

    async def expand(
        self, url: str, *, limit: int = 100, **fields: Unpack[DownloadOptionsFields]
    ) -> tuple[MediaEntry, ...]:
        """List what is in a playlist; a single item is a list of one.  On trio and on asyncio.

        Cancelling it ends the process.  The entries become downloads with::

            entries = await downloader.expand(url)
            batch = await manager.submit_many(downloader.request_for(entry) for entry in entries)

        Args:
            url: of the playlist.
            limit: how many entries are listed, from the first on.
            fields: options, as ``submit`` takes them.

        Raises:
            TransferError: it could not be had; the class says why.
            RuntimeError: the downloader is not open.
            ValueError: *limit* is below 1.
        """
        if isinstance(limit, bool) or limit < 1:
            raise ValueError(f"limit is a whole number from 1 up, got {limit!r}")
        self._check_open()
        return await expand(self._setting, url, self._check(url, DownloadOptions(**fields)), limit=limit)

    def request_for(
        self,
        entry: MediaEntry,
        *,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadRequest:
        """Return what to submit for an *entry* of a playlist, with what the playlist knows of it.

        Args:
            entry: of :meth:`expand`.
            lane: the queue that it waits in.
            correlation_id: an id of your own.
            fields: options, as ``submit`` takes them.

        Raises:
            InvalidUrlError, InvalidNameError, ValueError: it cannot be fetched.
        """
        options = DownloadOptions(**fields)
        self._check(entry.url, options)
        return DownloadRequest(
            url=entry.url,
            options=options,
            downloader=_EntryDownloader(self, entry),
            lane=lane,
            correlation_id=correlation_id,
        )

    def _check_open(self) -> None:
        if not self._setting.workers.is_open:
            raise RuntimeError(
                "this YtDlpDownloader is not open; use it within `async with YtDlpDownloader() as downloader:`, "
                "or pass it to open_manager(downloader=…)"
            )

    def __repr__(self) -> str:
        state = "open" if self._setting.workers.is_open else "closed"
        return f"<YtDlpDownloader {state}>"


@final
class _EntryDownloader:
    """Downloads one entry of a playlist, knowing what the playlist says of it."""

    def __init__(self, downloader: YtDlpDownloader, entry: MediaEntry) -> None:
        self._downloader = downloader
        self._entry = entry

    async def download(self, job: DownloadJob) -> MediaResult:
        return await self._downloader._download(job, self._entry.url, self._entry.info)


async def download_by(downloader: YtDlpDownloader, job: DownloadJob, *, generic: bool) -> MediaResult:
    """Fetch ``job.url`` with *downloader* as :meth:`YtDlpDownloader.download` does.

    Args:
        downloader: open.
        job: the run.
        generic: search pages of sites that yt-dlp does not know by name as well.

    Raises:
        TransferError: it could not be had; the class says why.
        RuntimeError: the downloader is not open.
    """
    return await downloader._download(job, job.url, None, generic=generic)

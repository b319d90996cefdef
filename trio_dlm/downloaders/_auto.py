"""The downloader that finds out who can fetch a URL: plain HTTP, or yt-dlp.

Rules that hold here:

- the server is asked first, by the request that would fetch the file anyway: for a plain file nothing is asked twice
  and no process is started;
- yt-dlp is asked about pages of sites that it knows by name, and about media manifests; what it knows nothing of is
  fetched as it is;
- what only one of the two can do (mirrors, checksums, headers that must go to no other host) decides by itself.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, final

from .._context import logger
from .._errors import HttpStatusError
from .._records import DownloadRequest, DownloadResult
from .._status import DownloadPhase
from ._protocol import DownloadJob
from ._routing import REFUSALS, Route, route_of
from .http._downloader import HttpDownloader, download_if
from .http.rules._head import ReplyHead
from .ytdlp._downloader import YtDlpDownloader, download_by
from .ytdlp._environment import find_yt_dlp
from .ytdlp._errors import MediaError, MediaErrorKind, MissingRequirementError

__all__ = ["AutoDownloader"]


@final
class AutoDownloader:
    """Downloads files over HTTP, and media with yt-dlp, whichever a URL turns out to be.

    An async context manager, which enters both.  The result of media is a :class:`MediaResult`::

        async with open_manager(downloader=AutoDownloader()) as manager:
            saved = await manager.download("https://media.example/watch/1")

    The server is asked for the URL as for a file.  If it answers with a page, yt-dlp is asked whether it knows the site
    by name, and if it sends a list of media segments (HLS, DASH), yt-dlp fetches those; all else is saved as it is.  A
    page of a site that yt-dlp does not know is a file: use :class:`YtDlpDownloader` to have yt-dlp search it.

    A download with ``checksum``, ``mirrors`` or ``headers`` always goes over HTTP: the first two prove and share files,
    and yt-dlp sends headers to every host that it asks.

    Args:
        http: for files; None makes one.
        media: for media; None makes one if yt-dlp is installed and can run here, and otherwise everything is a file.

    Raises:
        TypeError: an argument is no such downloader.
    """

    def __init__(self, http: HttpDownloader | None = None, media: YtDlpDownloader | None = None) -> None:
        self._http = HttpDownloader() if http is None else http
        self._media = _media_if_possible() if media is None else media
        if not isinstance(self._http, HttpDownloader):
            raise TypeError(f"http is an HttpDownloader, got {http!r}")
        if self._media is not None and not isinstance(self._media, YtDlpDownloader):
            raise TypeError(f"media is a YtDlpDownloader, got {media!r}")
        self._stack = AsyncExitStack()

    @property
    def can_fetch_media(self) -> bool:
        """Whether there is a yt-dlp to ask."""
        return self._media is not None

    async def __aenter__(self) -> Self:
        """Enter both downloaders.

        Raises:
            RuntimeError: one is open already.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._http)
            if self._media is not None:
                await stack.enter_async_context(self._media)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave both.  Cannot be cancelled while processes end."""
        await self._stack.aclose()

    def check_request(self, request: DownloadRequest) -> None:
        """Refuse what can never be fetched.

        Raises:
            InvalidUrlError: not http or https, no host, a host or port that cannot be one.
            InvalidNameError: ``filename`` cannot be a file's name.
            ValueError: a header that cannot be sent.
        """
        self._http.check_request(request)

    async def download(self, job: DownloadJob) -> DownloadResult:
        """Fetch ``job.url``, by whom it turns out to be for.

        Cancelling it is cancelling the one that fetches.

        Raises:
            PlaylistError: a page with several media items; :meth:`YtDlpDownloader.expand` lists them.
            TransferError: it could not be had; the class says why.
            RuntimeError: the downloader is not open.
        """
        if self._media is None or self._is_for_http(job):
            return await self._http.download(job)
        refusal: HttpStatusError | None = None
        try:
            return await download_if(self._http, job, accept=_accept_files)
        except _NotAFileError as found:
            route = found.route
        except HttpStatusError as error:
            if error.status not in REFUSALS:
                raise
            route, refusal = Route.PAGE, error
        logger.debug("yt-dlp is asked, since the server's answer is a %s", route.value)
        try:
            return await download_by(self._media, job, generic=route is Route.MANIFEST)
        except MediaError as error:
            if error.kind is not MediaErrorKind.UNSUPPORTED:
                raise
        if refusal is not None:
            raise refusal
        job.progress.phase = DownloadPhase.CONNECTING
        return await self._http.download(job)

    def _is_for_http(self, job: DownloadJob) -> bool:
        options = job.options
        return bool(options.checksum or options.mirrors or options.headers)

    def __repr__(self) -> str:
        return f"<AutoDownloader of {self._http!r} and {self._media!r}>"


class _NotAFileError(Exception):
    """A server sends what may be for yt-dlp."""

    def __init__(self, route: Route) -> None:
        super().__init__(route)
        self.route = route


def _accept_files(head: ReplyHead) -> None:
    route = route_of(head)
    if route is not Route.FILE:
        raise _NotAFileError(route)


def _media_if_possible() -> YtDlpDownloader | None:
    if find_yt_dlp() is None:
        return None
    try:
        return YtDlpDownloader()
    except MissingRequirementError as error:
        logger.info("media is not fetched: %s", error)
        return None

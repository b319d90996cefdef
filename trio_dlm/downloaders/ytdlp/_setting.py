"""What all downloads of one downloader have in common, and how a worker is asked on their behalf.

Rules that hold here:

- facts only, and one way to ask: what a download learns is in :mod:`._transfer`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, final
from urllib.parse import urlsplit

from ..._context import logger
from ..._options import DownloadOptions
from ..._urls import redact_text, redact_url
from ..http.rules._destinations import REFUSED_NETWORKS
from ._conversation import Limits, Toll, open_conversation
from ._errors import ProcessLeakError, error_of
from ._options import YtDlpOptions
from ._wire import Failure, Finished, Found, Guard, Record, Request
from ._workers import Workers

__all__ = ["Setting"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One downloader.

    Attributes:
        options: what is asked of yt-dlp.
        workers: where processes come from.
        ffmpeg: where it is, or None if it is not installed.
        deny_private: connect to no address that is not public.
        extract_timeout_s: how long yt-dlp may take to find out what there is.
        stall_timeout_s: how long nothing may arrive.
    """

    options: YtDlpOptions
    workers: Workers
    ffmpeg: str | None
    deny_private: bool
    extract_timeout_s: float
    stall_timeout_s: float

    def guard(self, options: DownloadOptions) -> Guard | None:
        """Return what a worker must not connect to, or None if it may go anywhere."""
        if not self.deny_private and options.allow_private_addresses:
            return None
        return Guard(denied=REFUSED_NETWORKS, allowed=_endpoints(self.options.proxy))

    def without_generic(self) -> Setting:
        """Return the same for sites only that yt-dlp knows by name."""
        # The generic extractor takes any page that shows what could be media, and finds the wrong thing on many.
        allowed = self.options.allowed_extractors
        named = (*(("default",) if allowed is None else allowed), "-generic")
        return replace(self, options=replace(self.options, allowed_extractors=named))

    async def ask(
        self,
        request: Request,
        url: str,
        *,
        hear: Callable[[Record], Awaitable[object]],
        size_bytes: Callable[[], Awaitable[int]] | None = None,
        toll: Toll | None = None,
        max_bytes: int | None = None,
    ) -> Finished | Found:
        """Have a worker of its own do what *request* says; it has ended when this returns, and however it is left.

        Raises:
            TransferError: it could not be done; the class says why.
        """
        shown = redact_url(url)
        limits = Limits(
            url=shown, extract_s=self.extract_timeout_s, stall_s=self.stall_timeout_s, size_bytes=size_bytes
        )
        async with open_conversation(self.workers.take) as talk:
            await talk.ask(request)
            word = await talk.follow(limits, hear, toll)
            is_over = await talk.end()
        if not is_over:
            raise ProcessLeakError(url=shown, process_group=talk.process_group)
        if isinstance(word, Failure):
            error = error_of(word, url=shown, log_tail=talk.log_tail, max_bytes=max_bytes)
            if talk.log_tail:
                logger.debug("yt-dlp wrote at its end: %s", redact_text(talk.log_tail))
            raise error
        return word


_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}


def _endpoints(proxy: str | None) -> tuple[tuple[str, int], ...]:
    """Return the address of a proxy that the operator has named, which may well be a private one."""
    if not proxy:
        return ()
    parts = urlsplit(proxy)
    port = parts.port or _PORTS.get(parts.scheme)
    return () if parts.hostname is None or port is None else ((parts.hostname, port),)

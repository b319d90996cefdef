"""Why yt-dlp could not download something, in words for the person who asked and for the one who looks after it.

Rules that hold here:

- one table says of every kind of failure what it means, what can be done, and whether another attempt may go better;
- the message is for whoever sent the link; what yt-dlp has printed is in ``log_tail``, for the operator's log;
- a failure that :class:`HttpDownloader` has a class for is raised as that.
"""

from __future__ import annotations

import enum
import errno
from typing import Final, NamedTuple

from ..._errors import ConnectionFailedError, StorageError, TooLargeError, TransferError
from ..._urls import redact_text
from ._wire import Failure

__all__ = [
    "MediaError",
    "MediaErrorKind",
    "MissingRequirementError",
    "PlaylistError",
    "ProcessLeakError",
    "error_of",
]


class MediaErrorKind(enum.Enum):
    """What kind of failure it is."""

    NETWORK = "network"
    """A connection failed, or ended too early."""
    HTTP_STATUS = "http_status"
    """A server answered with an error."""
    RATE_LIMITED = "rate_limited"
    """The site asks for fewer requests (429)."""
    PROXY = "proxy"
    """The proxy could not be used."""
    TLS = "tls"
    """A certificate is not accepted."""
    UNSUPPORTED = "unsupported"
    """yt-dlp knows nothing to download there."""
    UNSUPPORTED_REQUEST = "unsupported_request"
    """A scheme or a feature that yt-dlp cannot ask with here."""
    DRM = "drm"
    """The media is encrypted."""
    GEO_RESTRICTED = "geo_restricted"
    """It may not be seen in this country."""
    NOT_LIVE = "not_live"
    """A broadcast that has not begun, or is over."""
    LIVE = "live"
    """A broadcast that has no end yet."""
    AUTH_REQUIRED = "auth_required"
    """One has to be logged in."""
    NO_FORMAT = "no_format"
    """The format that was asked for does not exist."""
    COOKIES = "cookies"
    """The file with cookies cannot be read."""
    TOO_LARGE = "too_large"
    """It is larger than ``max_bytes``."""
    TOO_LONG = "too_long"
    """It plays longer than ``max_duration_s``."""
    REJECTED = "rejected"
    """A filter of the options leaves it out."""
    NO_OUTPUT = "no_output"
    """yt-dlp reported success and left no file."""
    POSTPROCESS = "postprocess"
    """Converting or merging failed."""
    FFMPEG_MISSING = "ffmpeg_missing"
    """ffmpeg is needed and not installed."""
    REQUIREMENT = "requirement"
    """Something else is needed and not installed."""
    DISK_FULL = "disk_full"
    """No room is left."""
    OS_ERROR = "os_error"
    """The system refused something."""
    BLOCKED_ADDRESS = "blocked_address"
    """It leads to an address that is not public."""
    EXTRACTOR_BROKEN = "extractor_broken"
    """The site has changed, and yt-dlp has not followed."""
    PLAYLIST = "playlist"
    """There are several items."""
    WORKER_CRASHED = "worker_crashed"
    """yt-dlp's process ended without an answer."""
    PROTOCOL = "protocol"
    """yt-dlp's process said something that makes no sense."""
    INTERNAL = "internal"
    """An error that has no name."""


class _Meaning(NamedTuple):
    """What a kind of failure means.

    ``problem`` may name ``{status}``, ``{countries}`` and ``{message}``; ``may_pass`` is None where the status decides.
    """

    problem: str
    advice: str
    may_pass: bool | None = False


_NOT_INSTALLED: Final = "something that it takes is not installed"

_MEANINGS: Final = {
    MediaErrorKind.NETWORK: _Meaning("the connection failed: {message}", "try again later", may_pass=True),
    MediaErrorKind.HTTP_STATUS: _Meaning(
        "the site answered with {status}", "check that the link works in a browser, and try again later", may_pass=None
    ),
    MediaErrorKind.RATE_LIMITED: _Meaning(
        "the site asks for fewer requests", "wait some minutes, or lower max_per_lane for it", may_pass=True
    ),
    MediaErrorKind.PROXY: _Meaning("the proxy could not be used: {message}", "check the proxy", may_pass=True),
    MediaErrorKind.TLS: _Meaning(
        "the site's certificate is not accepted: {message}", "check the clock, and the certificates of this machine"
    ),
    MediaErrorKind.UNSUPPORTED: _Meaning(
        "no media was found there",
        "send the link of the page that plays it, or update yt-dlp",
    ),
    MediaErrorKind.UNSUPPORTED_REQUEST: _Meaning(
        "that cannot be fetched with what is installed here: {message}", "check the link, or install what is named"
    ),
    MediaErrorKind.DRM: _Meaning("it is protected by DRM", "it cannot be downloaded; play it on the site"),
    MediaErrorKind.GEO_RESTRICTED: _Meaning(
        "it is not available in this country{countries}", "use a proxy in a country where it is"
    ),
    MediaErrorKind.NOT_LIVE: _Meaning("it is not on air now", "try again when it is"),
    MediaErrorKind.LIVE: _Meaning(
        "it is live, and has no end yet", "try again when it is over, or set allow_live=True and a limit"
    ),
    MediaErrorKind.AUTH_REQUIRED: _Meaning(
        "one has to be logged in to see it: {message}", "pass cookies= of a browser that is logged in"
    ),
    MediaErrorKind.NO_FORMAT: _Meaning(
        "it does not come in the form that was asked for", "ask for another format=, or leave it out"
    ),
    MediaErrorKind.COOKIES: _Meaning(
        "the cookies could not be read: {message}", "pass a file in Netscape's format (cookies.txt)"
    ),
    MediaErrorKind.TOO_LARGE: _Meaning("it is too large", "raise max_bytes if you want it"),
    MediaErrorKind.TOO_LONG: _Meaning("it is too long: {message}", "raise max_duration_s if you want it"),
    MediaErrorKind.REJECTED: _Meaning("the options leave it out: {message}", "change extra= if you want it"),
    MediaErrorKind.NO_OUTPUT: _Meaning("yt-dlp reported success and left no file: {message}", "update yt-dlp"),
    MediaErrorKind.POSTPROCESS: _Meaning(
        "it was downloaded, and could not be converted or merged: {message}", "ask for another format="
    ),
    MediaErrorKind.FFMPEG_MISSING: _Meaning(_NOT_INSTALLED, ""),
    MediaErrorKind.REQUIREMENT: _Meaning(_NOT_INSTALLED, ""),
    MediaErrorKind.DISK_FULL: _Meaning("the disk is full", "make room, or choose another directory"),
    MediaErrorKind.OS_ERROR: _Meaning("the system refused: {message}", "check the directory, then try again"),
    MediaErrorKind.BLOCKED_ADDRESS: _Meaning(
        "it leads to an address that is not public", "allow_private_addresses=True permits that"
    ),
    MediaErrorKind.EXTRACTOR_BROKEN: _Meaning(
        "yt-dlp does not understand the site any more: {message}", "update yt-dlp; its releases follow the sites"
    ),
    MediaErrorKind.PLAYLIST: _Meaning("there are several items", ""),
    MediaErrorKind.WORKER_CRASHED: _Meaning("{message}", "try again; log_tail has what it printed", may_pass=True),
    MediaErrorKind.PROTOCOL: _Meaning(
        "the yt-dlp process said what makes no sense: {message}", "leave plugins out, and update yt-dlp"
    ),
    MediaErrorKind.INTERNAL: _Meaning("yt-dlp failed: {message}", "update yt-dlp; log_tail has what it printed"),
}

# Statuses after which the same request may go better.
_PASSING_STATUSES: Final = frozenset({408, 425})

# How one gets what is missing.
_INSTALLING: Final = {
    "yt-dlp": "pip install 'trio-dlm[yt-dlp]'",
    "ffmpeg": "install the package ffmpeg of your system, or pass ffmpeg= where it is",
    "a JavaScript runtime": "install deno (or pip install 'yt-dlp[deno]'), or pass js_runtimes= where node is",
    "curl_cffi": "pip install 'yt-dlp[curl-cffi]', or leave impersonate= out",
    "a POSIX system": "run it on Linux, macOS or BSD: elsewhere a process and what it starts cannot be ended at once",
}

# A message is shown in a chat.
_MAX_MESSAGE: Final = 300


class MediaError(TransferError):
    """yt-dlp could not download it.

    Attributes:
        url: what was asked for, without secrets.
        kind: of failure.
        problem: what happened, in words for whoever sent the link.
        advice: what can be done.
        log_tail: the last of what yt-dlp has printed, for the operator.
        http_status: that a server answered with, or None.
        countries: where it may be seen, if the site says so.
        may_pass: another attempt may go better.
    """

    def __init__(
        self,
        *,
        url: str,
        kind: MediaErrorKind,
        problem: str,
        advice: str,
        log_tail: str = "",
        http_status: int | None = None,
        countries: tuple[str, ...] = (),
        may_pass: bool = False,
    ) -> None:
        super().__init__(f"{url}: {problem}; {advice}")
        self.url = url
        self.kind = kind
        self.problem = problem
        self.advice = advice
        self.log_tail = log_tail
        self.http_status = http_status
        self.countries = countries
        self.may_pass = may_pass


class PlaylistError(MediaError):
    """There are several items where one was expected.

    Attributes:
        count: how many, or None if the site does not say.
    """

    def __init__(self, *, url: str, count: int | None, log_tail: str = "") -> None:
        super().__init__(
            url=url,
            kind=MediaErrorKind.PLAYLIST,
            problem=f"it is a playlist of {'several' if count is None else count} items, and a download is one",
            advice="await downloader.expand(url), and submit_many a downloader.request_for() of each entry",
            log_tail=log_tail,
        )
        self.count = count


class MissingRequirementError(MediaError):
    """Something has to be installed first.

    Attributes:
        requirement: what.
    """

    def __init__(self, *, url: str = "", requirement: str, log_tail: str = "") -> None:
        problem = f"this takes {requirement}, which is not there"
        advice = _INSTALLING.get(requirement, f"install {requirement}")
        super().__init__(url=url, kind=MediaErrorKind.REQUIREMENT, problem=problem, advice=advice, log_tail=log_tail)
        if not url:
            self.args = (f"{problem}; {advice}",)
        self.requirement = requirement


class ProcessLeakError(MediaError):
    """A process of yt-dlp's still runs after it was killed: the system does not let it go, as on a disk that hangs.

    Its directory is left alone.

    Attributes:
        process_group: the number of its group.
    """

    def __init__(self, *, url: str, process_group: int) -> None:
        super().__init__(
            url=url,
            kind=MediaErrorKind.INTERNAL,
            problem=f"process group {process_group} was killed and still runs; nothing that it may write was used",
            advice="check the disk that it writes to",
        )
        self.process_group = process_group


def error_of(failure: Failure, *, url: str, log_tail: str, max_bytes: int | None) -> TransferError:
    """Return what to raise for a worker's *failure*.

    Args:
        failure: the worker's last word.
        url: what was asked for, without secrets.
        log_tail: what the worker has printed.
        max_bytes: the limit of the download.
    """
    try:
        kind = MediaErrorKind(failure.kind)
    except ValueError:
        kind = MediaErrorKind.INTERNAL
    # yt-dlp names addresses in full.
    message = redact_text(failure.message)
    if len(message) > _MAX_MESSAGE:
        message = f"{message[:_MAX_MESSAGE]}…"
    tail = redact_text("\n".join(filter(None, (log_tail.strip(), failure.tail.strip()))))
    match kind:
        case MediaErrorKind.PLAYLIST:
            return PlaylistError(url=url, count=failure.count, log_tail=tail)
        case MediaErrorKind.FFMPEG_MISSING:
            return MissingRequirementError(url=url, requirement="ffmpeg", log_tail=tail)
        case MediaErrorKind.REQUIREMENT:
            return MissingRequirementError(url=url, requirement=failure.requirement or "more", log_tail=tail)
        case MediaErrorKind.TOO_LARGE if max_bytes is not None:
            return TooLargeError(url=url, max_bytes=max_bytes, size_bytes=None)
        case MediaErrorKind.DISK_FULL | MediaErrorKind.OS_ERROR:
            number = errno.ENOSPC if kind is MediaErrorKind.DISK_FULL else None
            meaning = _MEANINGS[kind]
            problem = meaning.problem.format(message=message)
            return StorageError(path=url, problem=problem, advice=meaning.advice, errno=number)
        case MediaErrorKind.BLOCKED_ADDRESS:
            meaning = _MEANINGS[kind]
            return ConnectionFailedError(url=url, problem=meaning.problem, advice=meaning.advice, may_pass=False)
        case _:
            return _media_error(kind, failure, url, message, tail)


def _media_error(kind: MediaErrorKind, failure: Failure, url: str, message: str, tail: str) -> MediaError:
    meaning, status = _MEANINGS[kind], failure.http_status
    may_pass = meaning.may_pass
    if may_pass is None:
        may_pass = status is None or status >= 500 or status in _PASSING_STATUSES
    countries = f" (only in {', '.join(failure.countries)})" if failure.countries else ""
    return MediaError(
        url=url,
        kind=kind,
        problem=meaning.problem.format(
            message=message or "it does not say why", status=status or "an error", countries=countries
        ),
        advice=meaning.advice,
        log_tail=tail,
        http_status=status,
        countries=failure.countries,
        may_pass=may_pass,
    )

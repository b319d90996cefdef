"""What is said of media: the options of yt-dlp, who fetches what, and the items of playlists.

Rules that hold here:

- without a word about it, a URL is for whoever can fetch it; what is asked of media needs yt-dlp to be there;
- what yt-dlp could not keep (a password for one host only, certificates, HTTP/2) is refused together with it;
- a playlist that cannot be listed is a download that fails, so that it is shown and counted as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, final

import click
import trio

from .._errors import TrioDlmError
from .._records import DownloadRequest, DownloadResult
from .._urls import redact_url
from ..downloaders._auto import AutoDownloader
from ..downloaders._protocol import DownloadJob
from ..downloaders.http import HttpDownloader
from ..downloaders.ytdlp import MissingRequirementError, YtDlpDownloader, YtDlpOptions
from ..formatting import format_url
from ._options import counting_from, reading
from ._output import Output
from ._report import MAX_ERROR_LENGTH, as_options

__all__ = ["Fetcher", "list_playlists", "media_options", "read_media"]

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

# How many playlists are looked into at once; each takes a process.
AT_ONCE: Final = 3


def _languages(text: str) -> tuple[str, ...]:
    """Read ``en,de``."""
    languages = tuple(each for each in (piece.strip() for piece in text.split(",")) if each)
    if not languages:
        raise ValueError(f"it takes languages with commas between, as in en,de, got {text!r}")
    return languages


_OPTIONS: Final = (
    click.option(
        "--yt-dlp/--no-yt-dlp",
        "use_yt_dlp",
        default=None,
        help="Have yt-dlp fetch every URL, or none. Otherwise those that turn out to be pages of sites that it knows, "
        "or lists of media segments, if it is installed.",
    ),
    click.option(
        "--format",
        "media_format",
        metavar="FORMAT",
        help="Which formats of media to take, as yt-dlp's --format has it.  [default: the best]",
    ),
    click.option("--audio-only", is_flag=True, help="Take only the sound of media, as it comes."),
    click.option(
        "--audio-format",
        metavar="FORMAT",
        help="Take only the sound, and convert it: m4a, mp3, opus, flac, wav…; takes ffmpeg.",
    ),
    click.option(
        "--subtitles",
        callback=reading(_languages),
        metavar="LANGUAGES",
        help="Save subtitles beside the media, as in en,de or all.",
    ),
    click.option(
        "--cookies",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Send media sites the cookies in FILE, in Netscape's format.",
    ),
    click.option("--playlist", is_flag=True, help="Download all items of the playlists that the URLs are of."),
    click.option(
        "--playlist-limit",
        callback=reading(counting_from(1)),
        metavar="N",
        help="Take the first N items of a playlist.  [default: 100]",
    ),
)

_DEFAULT_LIMIT: Final = 100

# What asks for media, and how it was typed.
_ASKS_FOR_MEDIA: Final = {
    "media_format": "--format",
    "audio_only": "--audio-only",
    "audio_format": "--audio-format",
    "subtitles": "--subtitles",
    "cookies": "--cookies",
    "playlist": "--playlist",
    "playlist_limit": "--playlist-limit",
}

# What yt-dlp would send to everybody, or cannot be told.
_NOT_FOR_MEDIA: Final = {
    "user": "--user",
    "http2": "--http2",
    "ca_file": "--ca-file",
    "mirrors": "--mirror",
}
_FOR_ONE_FILE: Final = {"filename": "-o", "checksum": "--checksum"}


def media_options(command: _CommandT) -> _CommandT:
    """Give *command* the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@final
@dataclass(frozen=True, slots=True)
class Fetcher:
    """Who fetches the URLs of a command line.

    Attributes:
        downloader: what the manager is given.
        media: whether some of what comes may be media.
        playlist_limit: how many items of each URL are wanted, or None if a URL is one download.
    """

    downloader: HttpDownloader | YtDlpDownloader | AutoDownloader
    media: bool = False
    playlist_limit: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Wish:
    """What was said of media.

    Attributes:
        options: for yt-dlp.
        use_yt_dlp: for everything (True), for nothing (False), for what it knows (None).
        words: the options that ask for media, as they are typed.
        playlist_limit: as of :class:`Fetcher`.
    """

    options: YtDlpOptions
    use_yt_dlp: bool | None
    words: tuple[str, ...]
    playlist_limit: int | None

    def fetcher(self, http: HttpDownloader) -> Fetcher:
        """Return who fetches, where files are fetched by *http*.

        Raises:
            ValueError: what was asked for takes something that is not installed.
        """
        if self.use_yt_dlp is False:
            return Fetcher(http)
        try:
            media = YtDlpDownloader(self.options)
        except MissingRequirementError as exc:
            if not self.words:
                return Fetcher(http)
            raise ValueError(f"{self.words[0]}: {exc}") from None
        if self.use_yt_dlp:
            return Fetcher(media, media=True, playlist_limit=self.playlist_limit)
        return Fetcher(AutoDownloader(http, media), media=True)


def read_media(fields: dict[str, Any]) -> Wish:
    """Take what was said of media out of *fields*, and return it.

    Args:
        fields: what click made of all options.

    Raises:
        ValueError: options contradict each other, or a value cannot be meant.
    """
    use_yt_dlp: bool | None = fields.pop("use_yt_dlp")
    given = {name: fields.pop(name) for name in _ASKS_FOR_MEDIA}
    words = tuple(_ASKS_FOR_MEDIA[name] for name, value in given.items() if value)
    if use_yt_dlp is False and words:
        raise ValueError(f"{words[0]} and --no-yt-dlp contradict each other; choose one")
    if given["playlist_limit"] and not given["playlist"]:
        raise ValueError("--playlist-limit is for --playlist, which is not given")
    if use_yt_dlp is None and given["playlist"]:
        use_yt_dlp = True
    if use_yt_dlp:
        words = words or ("--yt-dlp",)
        for name, word in _NOT_FOR_MEDIA.items():
            if fields.get(name):
                raise ValueError(f"{word} cannot be kept to by yt-dlp; leave it or {words[0]} out")
    if given["playlist"]:
        for name, word in _FOR_ONE_FILE.items():
            if fields.get(name):
                raise ValueError(f"{word} is for one file, and --playlist brings several; leave one of them out")
    audio = given["audio_format"] or ("best" if given["audio_only"] else None)
    if audio and given["media_format"]:
        raise ValueError("--format and --audio-only contradict each other; ask --format for what is audio")
    try:
        options = YtDlpOptions(
            format=given["media_format"],
            audio_only=audio,
            subtitles=given["subtitles"] or (),
            cookies=given["cookies"],
            proxy=fields.get("proxy"),
            concurrent_fragments=fields.get("connections") or 1,
        )
    except ValueError as exc:
        raise ValueError(as_options(str(exc))) from None
    return Wish(
        options=options,
        use_yt_dlp=use_yt_dlp,
        words=words,
        playlist_limit=(given["playlist_limit"] or _DEFAULT_LIMIT) if given["playlist"] else None,
    )


async def list_playlists(
    downloader: YtDlpDownloader, requests: Sequence[DownloadRequest], *, limit: int, notes: Output | None
) -> list[DownloadRequest]:
    """Return the downloads of all items of the playlists that *requests* are of, in their order.

    Cancelling it ends the processes.

    Args:
        downloader: not open; it is opened for this.
        requests: one for each playlist.
        limit: how many items of each are wanted.
        notes: is told how many there are, or None.
    """
    found: list[list[DownloadRequest]] = [[] for _ in requests]
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def look_into(index: int, request: DownloadRequest) -> None:
        options = request.options
        fields = {name: getattr(options, name) for name in options.given}
        async with limiter:
            try:
                # One more than is wanted tells whether there are more.
                entries = await downloader.expand(request.url, limit=limit + 1, **fields)
            except TrioDlmError as exc:
                found[index] = [DownloadRequest(request.url, options, downloader=_Failed(exc))]
                return
        found[index] = [downloader.request_for(entry, **fields) for entry in entries[:limit]]
        if notes is not None:
            shown = format_url(redact_url(request.url), MAX_ERROR_LENGTH // 2)
            more = f" (the first ones; --playlist-limit {limit * 10} takes more)" if len(entries) > limit else ""
            count = min(len(entries), limit)
            await notes.line(f"trio-dlm: {shown}: {count} item{'' if count == 1 else 's'}{more}")

    async with downloader, trio.open_nursery() as nursery:
        for index, request in enumerate(requests):
            nursery.start_soon(look_into, index, request)
    return [request for each in found for request in each]


@final
class _Failed:
    """A download of which is known already why it fails."""

    def __init__(self, error: TrioDlmError) -> None:
        self._error = error

    async def download(self, job: DownloadJob) -> DownloadResult:
        await trio.lowlevel.checkpoint()
        del job
        raise self._error

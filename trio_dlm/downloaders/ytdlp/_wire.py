"""The language of parent and worker: JSON lines, one object a line.

Rules that hold here:

- text goes in and records come out; nothing is read or written;
- a worker handles what strangers send, so its lines are looked at like theirs: what does not fit is left out where it
  is only shown, and is a failure of kind ``protocol`` where it is no record at all.  Nothing makes `parse` raise;
- an unknown kind of record is passed over, so that a newer worker can say more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast, final

from ._records import MediaEntry, MediaFormat, MediaInfo

__all__ = [
    "MAX_LINE_BYTES",
    "VERSION",
    "Failure",
    "FileProgress",
    "Finished",
    "Found",
    "Guard",
    "Lines",
    "LogLine",
    "MediaFile",
    "Plan",
    "PlannedFormat",
    "Processing",
    "Ready",
    "Record",
    "Request",
    "go",
    "parse",
    "set_toll",
]

VERSION: Final = 1

# A playlist's entries come in one line; a hostile page can make yt-dlp say much.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024

# Texts of a worker are shown to people.
_MAX_TEXT: Final = 4000

# Larger numbers are no sizes, and JSON has no limit.
_MAX_NUMBER: Final = 2**63

_Object: TypeAlias = Mapping[str, Any]

_NOTHING: Final[_Object] = {}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What a worker must not connect to: networks, and endpoints inside them that are allowed all the same."""

    denied: tuple[str, ...]
    allowed: tuple[tuple[str, int], ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a worker is to do.

    Attributes:
        mode: ``"download"``, ``"extract"`` or ``"expand"``.
        url: of what; None with *info*.
        info: what a playlist says of an item, to begin from in place of the URL.
        params: for ``YoutubeDL``.
        postprocessors: for ``YoutubeDL``.
        job: the directory to work in, or None if nothing is downloaded.
        guard: what not to connect to, or None.
        toll: begin with asking for a share of the rate.
        limits: of the system, for the process: ``file_bytes``, ``memory_bytes``, ``cpu_s``.
        allow_live: download what has no end yet.
        max_duration_s: refuse what plays longer.
        limit: how many entries of a playlist are wanted.
        impersonate: the browser to look like.
        allowed_extractors: patterns of the extractors that may be used; None means all.
    """

    mode: str
    url: str | None = None
    info: Mapping[str, Any] | None = field(default=None, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    postprocessors: Sequence[Mapping[str, Any]] = ()
    job: str | None = None
    guard: Guard | None = None
    toll: bool = False
    limits: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    allow_live: bool = False
    max_duration_s: float | None = None
    limit: int | None = None
    impersonate: str | None = None
    allowed_extractors: Sequence[str] | None = None

    def line(self) -> bytes:
        """Return the line that says so."""
        guard = self.guard
        return _line(
            v=VERSION,
            mode=self.mode,
            url=self.url,
            info=None if self.info is None else dict(self.info),
            params=dict(self.params),
            postprocessors=[dict(each) for each in self.postprocessors],
            job=self.job,
            guard=None if guard is None else {"denied": list(guard.denied), "allowed": list(map(list, guard.allowed))},
            interval=0.1,
            toll=self.toll,
            limits=dict(self.limits),
            allow_live=self.allow_live,
            max_duration_s=self.max_duration_s,
            limit=self.limit,
            impersonate=self.impersonate,
            allowed_extractors=None if self.allowed_extractors is None else list(self.allowed_extractors),
        )


def go() -> bytes:
    """Return the line that lets a worker go on which has asked for its share of the rate."""
    return _line(go=True)


def set_toll(is_due: bool) -> bytes:  # noqa: FBT001  (what the line says)
    """Return the line that has a worker ask for its share of the rate from now on, or no longer."""
    return _line(toll=is_due)


def _line(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


@final
@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has yt-dlp and a request."""

    version: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFormat:
    """One file of the plan: what is in it, and how large it will be, as far as that is known."""

    format_id: str
    has_video: bool
    has_audio: bool
    size_bytes: int | None = None
    is_exact: bool = False
    bitrate_bits_per_s: float | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The formats are chosen, and no byte of the media has been fetched."""

    info: MediaInfo
    ext: str | None
    formats: tuple[PlannedFormat, ...]

    @property
    def size_bytes(self) -> int | None:
        """How large all files together are, if the site says so of all."""
        sizes = [each.size_bytes for each in self.formats if each.is_exact]
        return sum(size for size in sizes if size is not None) if len(sizes) == len(self.formats) and sizes else None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FileProgress:
    """How far one file is.

    Attributes:
        file: its name, which may change between two records of the same bytes.
        status: ``"downloading"``, ``"finished"`` or ``"error"``.
        format_id: which format of the plan it is.
        new_bytes: the worker waits until so many bytes are paid for.
    """

    file: str
    status: str
    format_id: str | None = None
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    fragment_index: int | None = None
    fragment_count: int | None = None
    new_bytes: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Processing:
    """A postprocessor has started (or goes on, or has finished) with whole files."""

    name: str
    status: str


@final
@dataclass(frozen=True, slots=True)
class LogLine:
    """What yt-dlp would have printed."""

    level: str
    message: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A file that a worker says it has left; nobody has looked yet."""

    path: str
    kind: str
    language: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Finished:
    """The last word of a download."""

    files: tuple[MediaFile, ...]
    info: MediaInfo


@final
@dataclass(frozen=True, slots=True)
class Found:
    """The last word of a worker that downloads nothing."""

    info: MediaInfo
    entries: tuple[MediaEntry, ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last word of a worker that has failed.

    Attributes:
        kind: one of :class:`MediaErrorKind`'s values; others are taken for ``internal``.
        message: in yt-dlp's words.
        http_status: that a server answered with.
        count: how many items there are, where one was expected.
        countries: where it may be seen.
        requirement: what has to be installed.
        tail: of the traceback.
    """

    kind: str
    message: str
    http_status: int | None = None
    count: int | None = None
    countries: tuple[str, ...] = ()
    requirement: str | None = None
    tail: str = ""


Record: TypeAlias = Ready | Plan | FileProgress | Processing | LogLine | Finished | Found | Failure


@final
class Lines:
    """Cuts what a pipe brings into lines."""

    def __init__(self, most_bytes: int = MAX_LINE_BYTES) -> None:
        self._most = most_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that *data* completes.

        One that is too long comes out at once, cut, so that it is no JSON any more.
        """
        *ends, rest = data.split(b"\n")
        lines: list[bytes] = []
        for end in ends:
            self._add(end)
            lines.append(bytes(self._rest))
            self._rest.clear()
        self._add(rest)
        if len(self._rest) == self._most:
            lines.append(bytes(self._rest))
            self._rest.clear()
        return lines

    def _add(self, data: bytes) -> None:
        room = self._most - len(self._rest)
        self._rest += data[: max(0, room)]


def parse(line: bytes) -> Record | None:
    """Read one line of a worker's; None for a kind of record that is not known here."""
    try:
        found: object = json.loads(line)
    except (ValueError, RecursionError):
        return Failure(kind="protocol", message=f"a line of {len(line)} bytes is no JSON")
    if not isinstance(found, dict):
        return Failure(kind="protocol", message="a line is no JSON object")
    fields = cast("_Object", found)
    read = _READERS.get(_text(fields, "t") or "")
    return None if read is None else read(fields)


def _ready(fields: _Object) -> Record:
    return Ready(_text(fields, "version") or "")


def _plan(fields: _Object) -> Record:
    formats = tuple(
        PlannedFormat(
            format_id=_text(each, "format_id") or "",
            has_video=(_text(each, "vcodec") or "") != "none",
            has_audio=(_text(each, "acodec") or "") != "none",
            size_bytes=_size(each, "filesize") or _size(each, "filesize_approx"),
            is_exact=_size(each, "filesize") is not None,
            bitrate_bits_per_s=_bitrate(each),
        )
        for each in _objects(fields, "formats")
    )
    return Plan(info=_info(fields), ext=_text(fields, "ext"), formats=formats)


def _progress(fields: _Object) -> Record:
    return FileProgress(
        file=_text(fields, "file") or "",
        status=_text(fields, "status") or "",
        format_id=_text(fields, "format_id"),
        downloaded_bytes=_size(fields, "downloaded_bytes"),
        total_bytes=_size(fields, "total_bytes"),
        fragment_index=_size(fields, "fragment_index"),
        fragment_count=_size(fields, "fragment_count"),
        new_bytes=_size(fields, "new_bytes"),
    )


def _processing(fields: _Object) -> Record:
    return Processing(_text(fields, "name") or "", _text(fields, "status") or "")


def _log(fields: _Object) -> Record:
    return LogLine(_text(fields, "level") or "", _text(fields, "message") or "")


def _result(fields: _Object) -> Record:
    if "files" not in fields:
        return Found(_info(fields.get("info")), _entries(fields))
    files = tuple(
        MediaFile(path=path, kind=_text(each, "kind") or "other", language=_text(each, "language"))
        for each in _objects(fields, "files")
        # Not shortened: somebody will look there.
        if isinstance(path := each.get("path"), str) and path and "\0" not in path
    )
    return Finished(files, _info(fields.get("info")))


def _error(fields: _Object) -> Record:
    countries: object = fields.get("countries")
    return Failure(
        kind=_text(fields, "kind") or "internal",
        message=_text(fields, "message") or "",
        http_status=_size(fields, "http_status"),
        count=_size(fields, "count"),
        countries=tuple(each for each in cast("list[object]", countries) if isinstance(each, str))
        if isinstance(countries, list)
        else (),
        requirement=_text(fields, "requirement"),
        tail=_text(fields, "tail") or "",
    )


_READERS: Final = {
    "ready": _ready,
    "plan": _plan,
    "progress": _progress,
    "pp": _processing,
    "log": _log,
    "result": _result,
    "error": _error,
}


def _entries(fields: _Object) -> tuple[MediaEntry, ...]:
    playlist = _object(fields.get("info"))
    return tuple(
        MediaEntry(
            url=url,
            index=_size(each, "index") or number,
            id=_text(each, "id"),
            title=_text(each, "title"),
            duration_s=_number(each, "duration"),
            playlist_id=_text(playlist, "id"),
            playlist_title=_text(playlist, "title"),
            info=_object(each.get("info")),
        )
        for number, each in enumerate(_objects(fields, "entries"), 1)
        if isinstance(url := each.get("url"), str) and url
    )


def _info(given: object) -> MediaInfo:
    fields = _object(given)
    return MediaInfo(
        id=_text(fields, "id"),
        title=_text(fields, "title"),
        extractor=_text(fields, "extractor"),
        webpage_url=_text(fields, "webpage_url"),
        duration_s=_number(fields, "duration"),
        uploader=_text(fields, "uploader"),
        thumbnail=_text(fields, "thumbnail"),
        is_live=fields.get("is_live") is True,
        is_playlist=fields.get("type") == "playlist",
        playlist_count=_size(fields, "playlist_count"),
        formats=tuple(map(_format, _objects(fields, "formats"))),
    )


def _format(fields: _Object) -> MediaFormat:
    return MediaFormat(
        format_id=_text(fields, "format_id") or "",
        ext=_text(fields, "ext"),
        protocol=_text(fields, "protocol"),
        video_codec=_codec(fields, "vcodec"),
        audio_codec=_codec(fields, "acodec"),
        width=_size(fields, "width"),
        height=_size(fields, "height"),
        bitrate_bits_per_s=_bitrate(fields),
        size_bytes=_size(fields, "filesize") or _size(fields, "filesize_approx"),
    )


def _codec(fields: _Object, name: str) -> str | None:
    text = _text(fields, name)
    return None if text == "none" else text


def _bitrate(fields: _Object) -> float | None:
    # yt-dlp counts in thousands of bits.
    rate = _number(fields, "tbr")
    return None if rate is None else rate * 1000


def _object(given: object) -> _Object:
    return cast("_Object", given) if isinstance(given, dict) else _NOTHING


def _objects(fields: _Object, name: str) -> list[_Object]:
    given = fields.get(name)
    if not isinstance(given, list):
        return []
    return [cast("_Object", each) for each in cast("list[object]", given) if isinstance(each, dict)]


def _text(fields: _Object, name: str) -> str | None:
    """Return a text; surrogates, which JSON can have and UTF-8 has not, are escaped."""
    given: object = fields.get(name)
    if not isinstance(given, str):
        return None
    return given[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()


def _number(fields: _Object, name: str) -> float | None:
    given: object = fields.get(name)
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        return None
    # NaN is in no range.
    return float(given) if 0 <= given < _MAX_NUMBER else None


def _size(fields: _Object, name: str) -> int | None:
    # yt-dlp's sizes are now and then floats; NaN and infinity are JSON to Python.
    number = _number(fields, name)
    return None if number is None else int(cast("int | float", fields[name]))

"""What can be asked of yt-dlp.

Rules that hold here:

- everything is checked when the record is made, and means the same to whoever reads it;
- what is not here can be had through ``extra``, if it is on a list of parameters that run no program, read and write no
  file, and leave the bytes right.  All others are refused, whoever asks;
- what keeps a download right (no fragment is skipped, nothing is replaced) is no option.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast, final

__all__ = ["EXTRA_PARAMETERS", "YtDlpOptions"]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_extractor_args(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    for key, arguments in cast("Mapping[object, object]", value).items():
        if not isinstance(key, str) or not isinstance(arguments, Mapping):
            return False
        for name, values in cast("Mapping[object, object]", arguments).items():
            if not isinstance(name, str) or not isinstance(values, list):
                return False
            if not all(map(_is_text, cast("list[object]", values))):
                return False
    return True


_Check = tuple[Callable[[object], bool], str]
_NUMBER: Final[_Check] = (_is_number, "a number from 0 up")
_COUNT: Final[_Check] = (_is_count, "a whole number from 0 up")
_TEXT: Final[_Check] = (_is_text, "a text")
_FLAG: Final[_Check] = (_is_flag, "True or False")

# What may be in `extra`: yt-dlp's own names.
EXTRA_PARAMETERS: Final[Mapping[str, _Check]] = MappingProxyType(
    {
        "age_limit": _COUNT,
        "allow_multiple_audio_streams": _FLAG,
        "allow_multiple_video_streams": _FLAG,
        "check_formats": _FLAG,
        "dynamic_mpd": _FLAG,
        "extractor_args": (_is_extractor_args, "a mapping such as {'youtube': {'player_client': ['web']}}"),
        "extractor_retries": _COUNT,
        "force_generic_extractor": _FLAG,
        "geo_bypass": _FLAG,
        "geo_bypass_country": _TEXT,
        "geo_bypass_ip_block": _TEXT,
        "hls_split_discontinuity": _FLAG,
        "hls_use_mpegts": _FLAG,
        "http_chunk_size": _COUNT,
        "legacyserverconnect": _FLAG,
        "max_views": _COUNT,
        "min_views": _COUNT,
        "prefer_free_formats": _FLAG,
        "sleep_interval": _NUMBER,
        "sleep_interval_requests": _NUMBER,
        "sleep_interval_subtitles": _NUMBER,
        "max_sleep_interval": _NUMBER,
        "source_address": _TEXT,
        "throttledratelimit": _NUMBER,
        "username": _TEXT,
        "password": _TEXT,
        "twofactor": _TEXT,
        "videopassword": _TEXT,
    }
)

# What --audio-format takes: the codecs that ffmpeg is asked for.
_AUDIO_CODECS: Final = frozenset({"best", "aac", "alac", "flac", "m4a", "mp3", "opus", "vorbis", "wav"})

# What --merge-output-format takes.
_CONTAINERS: Final = frozenset({"avi", "flv", "mkv", "mov", "mp4", "webm"})

_JS_RUNTIMES: Final = frozenset({"deno", "node", "bun", "quickjs"})


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class YtDlpOptions:
    """What is asked of yt-dlp, for every download of a :class:`YtDlpDownloader`.

    Attributes:
        format: which formats, as yt-dlp's ``--format`` has it; None takes the best video and the best audio, merged by
            ffmpeg, or the best file that has both where there is no ffmpeg.
        format_sort: what "best" means, as in ``("res:720", "ext")``.
        merge_to: the container of what is merged, such as ``"mkv"``.
        audio_only: only the sound, as ``"m4a"``, ``"mp3"``, ``"opus"``…, or ``"best"`` as it comes.
        subtitles: languages of the subtitles that are saved beside the file, as in ``("en", "de")`` or ``("all",)``.
        concurrent_fragments: fragments of HLS and DASH that are fetched at once.
        max_duration_s: what plays longer is refused; makes a live broadcast end.
        allow_live: download what has no end yet.
        rate_limit_bytes_per_s: receive no faster than this, per download.
        socket_timeout_s: how long yt-dlp waits for an answer of a server's.
        retries: how often yt-dlp itself tries a request or a fragment again, within one attempt.
        cookies: a file in Netscape's format; each worker has a copy, and it is not written to.
        proxy: the address of a proxy for everything; an empty text ignores those that the environment names.
        headers: sent with every request.
        impersonate: the browser to look like, such as ``"chrome"``; takes the package curl_cffi.
        ffmpeg: where it is; None looks for it on PATH.
        js_runtimes: for sites that need one: ``{"node": None}``, or with the path of the program.
        plugins: load the plugins of yt-dlp that are installed; they are code of others, and nothing here binds them.
        allowed_extractors: which parts of yt-dlp may be used, as patterns of their names; ``("default", "-generic")``
            takes only sites that it knows by name.
        max_memory_bytes: of address space, for the process; programs such as node need several GiB.
        max_cpu_s: of processor time, for the process.
        extra: more of yt-dlp's parameters, by its own names; the message about one that is refused lists the allowed.

    Raises:
        TypeError, ValueError: a value cannot be meant.
    """

    format: str | None = None
    format_sort: Sequence[str] = ()
    merge_to: str | None = None
    audio_only: str | None = None
    subtitles: Sequence[str] = ()
    concurrent_fragments: int = 1
    max_duration_s: float | None = None
    allow_live: bool = False
    rate_limit_bytes_per_s: float | None = None
    socket_timeout_s: float = 20.0
    retries: int = 3
    cookies: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    impersonate: str | None = None
    ffmpeg: Path | None = None
    js_runtimes: Mapping[str, Path | None] | None = None
    plugins: bool = False
    allowed_extractors: Sequence[str] | None = None
    max_memory_bytes: int | None = None
    max_cpu_s: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.audio_only is not None and self.format is not None:
            raise ValueError("audio_only chooses the format itself; leave out format, or ask for one that is audio")

    @property
    def needs_ffmpeg(self) -> bool:
        """Whether nothing can be done without ffmpeg."""
        return self.merge_to is not None or self.audio_only not in (None, "best")

    def __reduce__(self) -> tuple[object, ...]:
        fields: dict[str, Any] = {name: getattr(self, name) for name in _CHECKS}
        # Views of mappings are not for pickle.
        fields |= {name: dict(fields[name]) for name in _MAPPINGS if fields[name] is not None}
        return _rebuild, (fields,)


_MAPPINGS: Final = ("headers", "js_runtimes", "extra")


def _rebuild(fields: dict[str, Any]) -> YtDlpOptions:
    return YtDlpOptions(**fields)


def _text_or_none(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not _is_text(value):
        raise TypeError(f"{name} is a text or None, got {value!r}")
    return cast("str", value)


def _one_of(allowed: frozenset[str]) -> Callable[[str, object], str | None]:
    def check(name: str, value: object) -> str | None:
        text = _text_or_none(name, value)
        if text is not None and text not in allowed:
            raise ValueError(f"{name} is one of {', '.join(sorted(allowed))}, got {value!r}")
        return text

    return check


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"{name} is a sequence of texts, got {value!r}")
    texts = tuple(cast("Sequence[object]", value))
    if not all(_is_text(each) and each for each in texts):
        raise TypeError(f"{name} is a sequence of texts, got {value!r}")
    return cast("tuple[str, ...]", texts)


def _texts_or_none(name: str, value: object) -> tuple[str, ...] | None:
    return None if value is None else _texts(name, value)


def _count(least: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        if not _is_count(value) or cast("int", value) < least:
            raise ValueError(f"{name} is a whole number from {least} up, got {value!r}")
        return cast("int", value)

    return check


def _count_or_none(name: str, value: object) -> int | None:
    return None if value is None else _count(1)(name, value)


def _positive(name: str, value: object) -> float:
    if not _is_number(value) or not value:
        raise ValueError(f"{name} is a number above 0, got {value!r}")
    return float(cast("float", value))


def _positive_or_none(name: str, value: object) -> float | None:
    return None if value is None else _positive(name, value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is True or False, got {value!r}")
    return value


def _path_or_none(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise TypeError(f"{name} is a path or None, got {value!r}")
    return Path(value)


def _headers(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of texts, got {value!r}")
    entries = dict(cast("Mapping[object, object]", value))
    for key, content in entries.items():
        is_line = _is_text(key) and _is_text(content)
        if not is_line or any(c in f"{key}{content}" for c in "\r\n") or not key:
            raise ValueError(f"{name} has an entry {key!r} that cannot be a header line")
    return MappingProxyType(cast("dict[str, str]", entries))


def _js_runtimes(name: str, value: object) -> Mapping[str, Path | None] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of names to paths, got {value!r}")
    entries = dict(cast("Mapping[object, object]", value))
    if unknown := sorted(map(repr, entries.keys() - _JS_RUNTIMES)):
        raise ValueError(f"{name} knows {', '.join(sorted(_JS_RUNTIMES))}, got {', '.join(unknown)}")
    return MappingProxyType(
        {cast("str", key): _path_or_none(f"{name}[{key!r}]", path) for key, path in entries.items()}
    )


def _extra(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping of yt-dlp's parameters, got {value!r}")
    entries = dict(cast("Mapping[str, Any]", value))
    for key, content in entries.items():
        if key not in EXTRA_PARAMETERS:
            raise ValueError(
                f"{name} has {key!r}, which is not among the parameters that are safe to pass on: those that run "
                f"programs, name files, or change what keeps the bytes right are not; allowed are "
                f"{', '.join(sorted(EXTRA_PARAMETERS))}"
            )
        is_right, wanted = EXTRA_PARAMETERS[key]
        if not is_right(content):
            raise ValueError(f"{name}[{key!r}] is {wanted}, got {content!r}")
    return MappingProxyType(entries)


_CHECKS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "format": _text_or_none,
    "format_sort": _texts,
    "merge_to": _one_of(_CONTAINERS),
    "audio_only": _one_of(_AUDIO_CODECS),
    "subtitles": _texts,
    "concurrent_fragments": _count(1),
    "max_duration_s": _positive_or_none,
    "allow_live": _flag,
    "rate_limit_bytes_per_s": _positive_or_none,
    "socket_timeout_s": _positive,
    "retries": _count(0),
    "cookies": _path_or_none,
    "proxy": _text_or_none,
    "headers": _headers,
    "impersonate": _text_or_none,
    "ffmpeg": _path_or_none,
    "js_runtimes": _js_runtimes,
    "plugins": _flag,
    "allowed_extractors": _texts_or_none,
    "max_memory_bytes": _count_or_none,
    "max_cpu_s": _count_or_none,
    "extra": _extra,
}

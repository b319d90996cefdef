"""One request, from the pipe to the last word.

Rules that hold here:

- one media item: a playlist is told of and not downloaded;
- the last word of a download names files that are there; where yt-dlp reports success and there are none, that is a
  failure, and its own words say why;
- the process ends with ``os._exit``: threads that wait for a server are not waited for.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ._classify import classify
from ._fragments import is_fragmented, mend
from ._guard import guard
from ._hooks import Hooks
from ._limits import set_limits
from ._pipes import Pipes
from ._plan import RefusedItemError, formats_of, has_changed, remove_media, tell_plan
from ._say import Logger
from ._versions import Versions

__all__ = ["run"]

_VERSION: Final = 1

_NOTHING: Final[Mapping[str, Any]] = {}

_PLAYLISTS: Final = frozenset({"playlist", "multi_video"})

_INFO: Final = (
    *("id", "title", "extractor", "duration", "webpage_url", "thumbnail", "uploader", "is_live", "playlist_count"),
)
_FORMAT: Final = (
    *("format_id", "protocol", "vcodec", "acodec", "ext", "filesize", "filesize_approx", "tbr", "width", "height"),
)


class _FailedError(Exception):
    """The request cannot be done; *fields* are the record that says why."""

    def __init__(self, kind: str, message: str, count: int | None = None) -> None:
        super().__init__(message)
        self.fields = {"kind": kind, "message": message, "count": count}


def run(*, is_warm: bool) -> None:
    """Read a request, do it, and end the process."""
    pipes = Pipes()
    code = 0
    try:
        if is_warm:
            from ._ydl import warm_up

            warm_up()
        request = pipes.read_request()
        if request is not None:
            pipes.watch()
            _answer(pipes, request)
    except _FailedError as failed:
        pipes.say("error", **failed.fields)
        code = 2
    except RefusedItemError as refused:
        pipes.say("error", kind=refused.kind, message=str(refused))
        code = 2
    except BaseException as error:  # noqa: ASYNC103, BLE001  (the parent is told of whatever it is)
        pipes.say("error", **classify(error))
        code = 2
    sys.stderr.flush()
    os._exit(code)


def _answer(pipes: Pipes, request: Mapping[str, Any]) -> None:
    if request.get("v") != _VERSION:
        raise _FailedError(
            kind="protocol", message=f"protocol {request.get('v')!r} is not spoken here, only {_VERSION}"
        )
    set_limits(request.get("limits") or {})
    if request.get("guard") is not None:
        guard(request["guard"])
    pipes.is_toll_due = bool(request.get("toll"))
    job = None if request.get("job") is None else Path(request["job"])
    if job is not None:
        _settle_in(job)
    request = {**request, "params": _with_cookies(request["params"], job)}
    match request["mode"], job:
        case "download", Path():
            _download(pipes, request, job)
        case "extract", _:
            _extract(pipes, request)
        case "expand", _:
            _expand(pipes, request)
        case mode, _:
            raise _FailedError(kind="protocol", message=f"nothing can be done in mode {mode!r} with directory {job}")


def _settle_in(job: Path) -> None:
    """Have everything that is written go into the directory."""
    place = job / "t"
    place.mkdir(exist_ok=True)
    os.chdir(job)
    os.environ["TMPDIR"] = str(place)
    tempfile.tempdir = None


def _with_cookies(params: Mapping[str, Any], job: Path | None) -> dict[str, Any]:
    """Have a copy of the cookies used: yt-dlp writes the file when it ends, and others use it as well."""
    given = params.get("cookiefile")
    if given is None:
        return dict(params)
    folder = Path(tempfile.mkdtemp()) if job is None else job
    copy = folder / "cookies.txt"
    try:
        copy.touch(mode=0o600)
        shutil.copyfile(given, copy)
    except OSError as exc:
        raise _FailedError(kind="cookies", message=f"{given}: {exc.strerror}") from None
    return {**params, "cookiefile": str(copy)}


def _download(pipes: Pipes, request: Mapping[str, Any], job: Path) -> None:
    from ._ydl import make_ydl, version

    logger, versions = Logger(pipes), Versions(job / "versions.json")

    def tell(info: Mapping[str, Any]) -> None:
        tell_plan(pipes, info, versions=versions, request=request)
        if has_changed(job, info):
            remove_media(job)
            (job / "t").mkdir(exist_ok=True)
            versions.forget()
        else:
            mend(job, fragmented=is_fragmented(formats_of(info)))

    # No entry of a playlist is downloaded.
    request = {**request, "params": {**request["params"], "playlist_items": "0"}}
    hooks = Hooks(pipes, request.get("interval", 0.1))
    with make_ydl(request, logger=logger, hooks=hooks, versions=versions, tell=tell) as ydl:
        pipes.say("ready", version=version(), pid=os.getpid())
        found: Any = (
            ydl.extract_info(request["url"], download=True)
            if request.get("info") is None
            else ydl.process_ie_result(request["info"], download=True)
        )
        info: Mapping[str, Any] = _NOTHING if found is None else ydl.sanitize_info(found)
    (job / "cookies.txt").unlink(missing_ok=True)
    _refuse_playlist(info)
    files = [*_media_files(info), *_subtitle_files(info, job)]
    if sum(each["kind"] == "media" for each in files) > 1:
        raise _FailedError("no_format", "the format asks for several files, and an item is one")
    missing = [each["path"] for each in files if not each["path"] or not Path(each["path"]).is_file()]
    if missing or not any(each["kind"] == "media" for each in files):
        kind, message = logger.left_out or ("no_output", f"missing: {missing}")
        raise _FailedError(kind=kind, message=message)
    pipes.say("result", files=files, info=_told(info, _chosen(info)))


def _refuse_playlist(info: Mapping[str, Any]) -> None:
    if info.get("_type") in _PLAYLISTS:
        raise _FailedError(kind="playlist", message="it is a playlist", count=info.get("playlist_count"))


def _media_files(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"path": each.get("filepath"), "kind": "media"} for each in info.get("requested_downloads") or ()]


def _subtitle_files(info: Mapping[str, Any], job: Path) -> list[dict[str, Any]]:
    # yt-dlp says where they were written first, and moves them afterwards with the media.
    subtitles: Mapping[str, Mapping[str, Any]] = info.get("requested_subtitles") or _NOTHING
    return [
        {"path": str(job / Path(each["filepath"]).name), "kind": "subtitles", "language": language}
        for language, each in subtitles.items()
        if each.get("filepath")
    ]


def _chosen(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    downloads: list[Mapping[str, Any]] = info.get("requested_downloads") or [_NOTHING]
    return downloads[0].get("requested_formats") or [info]


def _told(info: Mapping[str, Any], formats: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **{name: info.get(name) for name in _INFO},
        "type": "playlist" if info.get("_type") in _PLAYLISTS else "video",
        "formats": [{name: each.get(name) for name in _FORMAT} for each in formats],
    }


def _extract(pipes: Pipes, request: Mapping[str, Any]) -> None:
    info = _look(pipes, request, {"playlist_items": "0"})
    pipes.say("result", info=_told(info, info.get("formats") or []))


def _expand(pipes: Pipes, request: Mapping[str, Any]) -> None:
    info = _look(pipes, request, {"extract_flat": "in_playlist", "lazy_playlist": True, "noplaylist": False})
    entries = info.get("entries") if info.get("_type") in _PLAYLISTS else [info]
    limit = request.get("limit") or 100
    told = [_entry(each, number) for number, each in enumerate(entries or (), 1) if each is not None]
    pipes.say("result", info=_told(info, []), entries=told[:limit])


def _entry(info: Mapping[str, Any], number: int) -> dict[str, Any]:
    url = info.get("webpage_url") or info.get("original_url") or info.get("url")
    is_item = "playlist_index" not in info
    return {
        "url": url,
        "id": info.get("id"),
        "title": info.get("title"),
        "duration": info.get("duration"),
        "index": info.get("playlist_index") or number,
        # What it says of itself alone is found again where it is downloaded.
        "info": None if is_item and info.get("_type", "video") == "video" else info,
    }


def _tell_nobody(info: Mapping[str, Any]) -> None:
    """Nothing is downloaded."""


def _look(pipes: Pipes, request: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    from ._ydl import make_ydl, version

    hooks = Hooks(pipes, request.get("interval", 0.1))
    request = {**request, "params": {**request["params"], **more}}
    versions = Versions(None)
    with make_ydl(request, logger=Logger(pipes), hooks=hooks, versions=versions, tell=_tell_nobody) as ydl:
        pipes.say("ready", version=version(), pid=os.getpid())
        found = ydl.extract_info(request["url"], download=False)
        return {} if found is None else ydl.sanitize_info(found)

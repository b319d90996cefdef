"""What can be asked of yt-dlp, what cannot, and what a worker is told in the end."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from trio_dlm._options import DownloadOptions
from trio_dlm.downloaders.ytdlp._options import EXTRA_PARAMETERS, YtDlpOptions
from trio_dlm.downloaders.ytdlp._params import FORCED, identity_of, request_of
from trio_dlm.downloaders.ytdlp._wire import Guard, Request

EVERYTHING: dict[str, Any] = {
    "format_sort": ["res:720"],
    "merge_to": "mkv",
    "audio_only": "mp3",
    "subtitles": ("en", "de"),
    "concurrent_fragments": 4,
    "max_duration_s": 60,
    "allow_live": True,
    "rate_limit_bytes_per_s": 1000,
    "socket_timeout_s": 5,
    "retries": 0,
    "cookies": "cookies.txt",
    "proxy": "http://user:secret@127.0.0.1:3128",
    "headers": {"Referer": "https://example.org/"},
    "impersonate": "chrome",
    "ffmpeg": Path("/usr/bin/ffmpeg"),
    "js_runtimes": {"node": None, "deno": "/opt/deno"},
    "plugins": True,
    "allowed_extractors": ["default", "-generic"],
    "max_memory_bytes": 1 << 32,
    "max_cpu_s": 600,
    "extra": {"sleep_interval": 1.5, "check_formats": True, "extractor_args": {"youtube": {"player_client": ["web"]}}},
}


def request(options: YtDlpOptions = YtDlpOptions(), download: DownloadOptions | None = None, **more: Any) -> Request:  # noqa: B008
    given: dict[str, Any] = {"url": "u", "ffmpeg": "/bin/ffmpeg", "guard": None, "job_directory": "/d", **more}
    return request_of(options, download or DownloadOptions(), **given)


def test_everything_at_once_is_kept_and_survives_pickle() -> None:
    options = YtDlpOptions(**EVERYTHING)
    assert options.cookies == Path("cookies.txt")
    assert options.subtitles == ("en", "de")
    assert options.js_runtimes == {"node": None, "deno": Path("/opt/deno")}
    assert pickle.loads(pickle.dumps(options)) == options
    assert "secret" not in repr(options)
    # What the caller does with his own afterwards does not matter.
    extra = {"age_limit": 1}
    mine = YtDlpOptions(extra=extra)
    extra["age_limit"] = 2
    assert mine.extra == {"age_limit": 1}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"format": 3}, TypeError, "format is a text"),
        ({"format": "a\0"}, TypeError, "format is a text"),
        ({"format_sort": "res"}, TypeError, "format_sort is a sequence"),
        ({"subtitles": [""]}, TypeError, "subtitles is a sequence"),
        ({"subtitles": 3}, TypeError, "subtitles is a sequence"),
        ({"merge_to": "exe"}, ValueError, "merge_to is one of avi"),
        ({"audio_only": "mp4"}, ValueError, "audio_only is one of"),
        ({"concurrent_fragments": 0}, ValueError, "from 1 up"),
        ({"retries": True}, ValueError, "from 0 up"),
        ({"max_duration_s": 0}, ValueError, "above 0"),
        ({"max_duration_s": float("nan")}, ValueError, "above 0"),
        ({"allow_live": 1}, TypeError, "True or False"),
        ({"cookies": ""}, TypeError, "a path"),
        ({"cookies": 3}, TypeError, "a path"),
        ({"headers": {"A": "b\r\nC: d"}}, ValueError, "cannot be a header line"),
        ({"headers": {"": "b"}}, ValueError, "cannot be a header line"),
        ({"headers": {3: "b"}}, ValueError, "cannot be a header line"),
        ({"headers": []}, TypeError, "a mapping"),
        ({"js_runtimes": {"perl": None}}, ValueError, "knows bun"),
        ({"js_runtimes": []}, TypeError, "a mapping"),
        ({"extra": []}, TypeError, "a mapping"),
        ({"extra": {"sleep_interval": "1"}}, ValueError, "a number from 0 up"),
        ({"extra": {"extractor_args": []}}, ValueError, "a mapping such as"),
        ({"extra": {"extractor_args": {"a": 1}}}, ValueError, "a mapping such as"),
        ({"extra": {"extractor_args": {"a": {"b": "c"}}}}, ValueError, "a mapping such as"),
        ({"extra": {"extractor_args": {"a": {"b": [1]}}}}, ValueError, "a mapping such as"),
        ({"audio_only": "mp3", "format": "b"}, ValueError, "audio_only chooses the format"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        YtDlpOptions(**fields)


@pytest.mark.parametrize(
    "name",
    [
        *("exec_cmd", "netrc_cmd", "usenetrc", "external_downloader", "external_downloader_args", "postprocessor_args"),
        *(
            "postprocessors",
            "outtmpl",
            "paths",
            "config_location",
            "cookiesfrombrowser",
            "writelink",
            "remote_components",
        ),
        *("enable_file_urls", "skip_unavailable_fragments", "overwrites", "plugin_dirs", "ffmpeg_location", "cachedir"),
    ],
)
def test_what_runs_programs_or_names_files_cannot_be_passed_on(name: str) -> None:
    with pytest.raises(ValueError, match="not among the parameters that are safe") as refused:
        YtDlpOptions(extra={name: "x"})
    assert "sleep_interval" in str(refused.value)


def test_no_extra_parameter_is_one_of_those_that_are_forced() -> None:
    assert not EXTRA_PARAMETERS.keys() & FORCED.keys()


def test_ffmpeg_is_needed_for_what_changes_the_media() -> None:
    assert YtDlpOptions(merge_to="mkv").needs_ffmpeg
    assert YtDlpOptions(audio_only="mp3").needs_ffmpeg
    assert not YtDlpOptions(audio_only="best").needs_ffmpeg
    assert not YtDlpOptions().needs_ffmpeg


def test_what_is_forced_is_forced() -> None:
    params = request(YtDlpOptions(**EVERYTHING)).params
    for name, value in FORCED.items():
        assert params[name] == value


def test_everything_reaches_the_worker_as_json() -> None:
    asked = request(YtDlpOptions(**EVERYTHING), DownloadOptions(headers={"X": "1"}, max_bytes=1000, timeout_s=9.0))
    json.dumps(asked.params)
    params = asked.params
    assert params["concurrent_fragment_downloads"] == 4
    assert params["socket_timeout"] == 9.0
    assert params["http_headers"] == {"Referer": "https://example.org/", "X": "1"}
    assert params["subtitleslangs"] == ["en", "de"]
    assert params["js_runtimes"] == {"node": {}, "deno": {"path": "/opt/deno"}}
    assert params["proxy"] == EVERYTHING["proxy"]
    assert Path(params["cookiefile"]).is_absolute()
    assert params["sleep_interval"] == 1.5
    assert params["merge_output_format"] == "mkv"
    assert params["paths"] == {"home": "/d", "temp": "/d/t"}
    assert asked.postprocessors == [{"key": "FFmpegExtractAudio", "preferredcodec": "mp3"}]
    assert asked.limits["memory_bytes"] == 1 << 32
    file_bytes = asked.limits["file_bytes"]
    assert file_bytes is not None
    assert file_bytes > 1000
    assert (asked.allow_live, asked.max_duration_s, asked.impersonate) == (True, 60, "chrome")


def test_the_format_follows_from_what_is_asked_and_what_is_there() -> None:
    assert request().params["format"] == "bv*+ba/b"
    assert request(ffmpeg=None).params["format"] == "b"
    assert request(YtDlpOptions(audio_only="best")).params["format"] == "ba/b"
    assert request(YtDlpOptions(format="137")).params["format"] == "137"
    assert request().params["socket_timeout"] == 20
    assert request(YtDlpOptions(audio_only="best")).postprocessors == []


def test_a_guard_forbids_programs_that_fetch() -> None:
    guard = Guard(denied=("10.0.0.0/8",))
    asked = request(guard=guard)
    assert asked.params["external_downloader"] == {"default": "native"}
    assert asked.guard is guard
    assert "external_downloader" not in request().params


def test_a_look_writes_nothing() -> None:
    asked = request(YtDlpOptions(subtitles=("en",)), mode="extract", job_directory=None)
    assert not {"paths", "outtmpl", "writesubtitles"} & asked.params.keys()
    assert request(mode="expand", job_directory=None, limit=7).params["playlist_items"] == "1:7"


def test_an_entry_of_a_playlist_goes_back_as_it_came() -> None:
    asked = request(info={"id": "1"})
    assert (asked.url, asked.info) == (None, {"id": "1"})
    assert (request(info={}).url, request(info={}).info) == ("u", None)


def test_downloads_are_the_same_if_the_same_file_is_asked_for() -> None:
    def identity(options: YtDlpOptions = YtDlpOptions(), **more: Any) -> dict[str, Any]:  # noqa: B008
        given: dict[str, Any] = {"url": "u", "info": None, "filename": None, **more}
        return identity_of(options, **given)

    assert identity() == identity(YtDlpOptions(retries=9, proxy="http://p"))
    others = [
        identity(YtDlpOptions(format="b")),
        identity(YtDlpOptions(audio_only="mp3")),
        identity(url="v"),
        identity(info={"id": "1"}),
        identity(filename="a.mp4"),
    ]
    assert identity() not in others

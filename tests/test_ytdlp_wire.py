"""The language of parent and worker: requests as lines, lines as records, and nothing that a page says raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_dlm.downloaders.ytdlp._records import MediaEntry, MediaFormat, MediaInfo
from trio_dlm.downloaders.ytdlp._wire import (
    Failure,
    FileProgress,
    Finished,
    Found,
    Guard,
    Lines,
    LogLine,
    MediaFile,
    Plan,
    PlannedFormat,
    Processing,
    Ready,
    Request,
    go,
    parse,
    set_toll,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KINDS = st.sampled_from(["ready", "plan", "progress", "pp", "log", "result", "error", "news"])
FIELDS = st.sampled_from(
    [
        *("id", "title", "ext", "duration", "is_live", "formats", "file", "status", "downloaded_bytes", "total_bytes"),
        *("fragment_index", "fragment_count", "new_bytes", "name", "message", "level", "files", "info", "entries"),
        *("kind", "http_status", "count", "countries", "requirement", "tail", "filesize", "tbr", "path", "url"),
    ]
)


def line(kind: str, /, **fields: Any) -> bytes:
    return json.dumps({"t": kind, **fields}).encode()


def test_a_request_is_one_line_with_all_of_it() -> None:
    request = Request(
        mode="download",
        url="https://example.org/\n",
        params={"format": "b"},
        guard=Guard(denied=("10.0.0.0/8",), allowed=(("127.0.0.1", 3128),)),
        allowed_extractors=("default",),
    )
    text = request.line()
    assert text.count(b"\n") == 1
    assert text.endswith(b"\n")
    said = json.loads(text)
    assert (said["v"], said["mode"], said["url"]) == (1, "download", "https://example.org/\n")
    assert said["guard"] == {"denied": ["10.0.0.0/8"], "allowed": [["127.0.0.1", 3128]]}
    assert said["allowed_extractors"] == ["default"]
    assert said["info"] is None


def test_the_defaults_of_a_request_ask_for_nothing() -> None:
    said = json.loads(Request(mode="extract", info={"id": "1"}).line())
    assert (said["guard"], said["job"], said["toll"], said["info"]) == (None, None, False, {"id": "1"})
    assert said["allowed_extractors"] is None


def test_secrets_of_a_request_are_not_shown() -> None:
    shown = repr(Request(mode="download", params={"password": "secret"}, info={"token": "secret"}))
    assert "secret" not in shown


def test_the_later_lines() -> None:
    assert (go(), set_toll(True), set_toll(False)) == (b'{"go":true}\n', b'{"toll":true}\n', b'{"toll":false}\n')


def test_lines_come_out_whole_however_they_arrive() -> None:
    lines = Lines()
    assert lines.feed(b"on") == []
    assert lines.feed(b"e\ntwo\nth") == [b"one", b"two"]
    assert lines.feed(b"ree\n\n") == [b"three", b""]


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=5), st.integers(1, 7))
def test_how_a_pipe_cuts_does_not_matter(whole: list[bytes], size: int) -> None:
    data = b"".join(each + b"\n" for each in whole)
    lines = Lines()
    assert [each for at in range(0, len(data), size) for each in lines.feed(data[at : at + size])] == whole


def test_a_line_that_is_too_long_is_no_record_and_takes_no_more_memory_than_that() -> None:
    lines = Lines(most_bytes=10)
    (cut,) = lines.feed(b'{"t":"log","message":"' + b"x" * 100)
    assert len(cut) == 10
    assert len(lines.feed(b"x" * 9)) == 0
    failure = parse(cut)
    assert isinstance(failure, Failure)
    assert failure.kind == "protocol"


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b"\xff", b"1" * 5000, b"[" * 100_000])
def test_garbage_is_a_failure(garbage: bytes) -> None:
    failure = parse(garbage)
    assert isinstance(failure, Failure)
    assert failure.kind == "protocol"


def test_a_kind_that_is_not_known_is_passed_over() -> None:
    assert parse(line("news", text="hello")) is None
    assert parse(b"{}") is None


@given(KINDS, st.dictionaries(FIELDS, JSON, max_size=8))
def test_nothing_that_a_worker_says_raises(kind: str, fields: dict[str, Any]) -> None:
    record = parse(line(kind, **fields))
    assert (record is None) == (kind == "news")
    # Whatever came through can be shown and written.
    repr(record).encode()


def test_every_record() -> None:
    assert parse(line("ready", version="1", pid=3)) == Ready("1")
    assert parse(line("pp", name="Merger", status="started")) == Processing("Merger", "started")
    assert parse(line("log", level="info", message="hello")) == LogLine("info", "hello")
    assert parse(line("progress", file="a", status="downloading", downloaded_bytes=3, total_bytes=9.0)) == FileProgress(
        file="a", status="downloading", downloaded_bytes=3, total_bytes=9
    )
    assert parse(line("error", kind="drm", message="no", countries=["DE", 3], count=2)) == Failure(
        kind="drm", message="no", countries=("DE",), count=2
    )
    assert parse(line("error")) == Failure(kind="internal", message="")


def test_a_plan() -> None:
    video = {"format_id": "v", "vcodec": "h264", "acodec": "none", "filesize": 10, "tbr": 2.5}
    audio = {"format_id": "a", "vcodec": "none", "acodec": "aac", "filesize_approx": 5}
    plan = parse(line("plan", id="1", title="T", ext="mp4", duration=3, is_live=True, formats=[video, audio, 3]))
    assert isinstance(plan, Plan)
    assert plan.formats == (
        PlannedFormat(
            format_id="v", has_video=True, has_audio=False, size_bytes=10, is_exact=True, bitrate_bits_per_s=2500.0
        ),
        PlannedFormat(format_id="a", has_video=False, has_audio=True, size_bytes=5),
    )
    assert (plan.info.id, plan.info.title, plan.info.is_live, plan.ext) == ("1", "T", True, "mp4")
    assert plan.size_bytes is None


def test_the_size_of_a_plan_is_known_when_that_of_every_file_is() -> None:
    exact = {"format_id": "v", "filesize": 10}
    for formats, size in (([exact, {**exact, "filesize": 5}], 15), ([], None), ([{"format_id": "v"}], None)):
        plan = parse(line("plan", formats=formats))
        assert isinstance(plan, Plan)
        assert plan.size_bytes == size


def test_the_last_word_of_a_download() -> None:
    files = [
        {"path": "/a", "kind": "media"},
        {"path": "/b", "kind": "subtitles", "language": "en"},
        {"path": 3},
        {"path": "/c"},
    ]
    form = {"format_id": "1", "vcodec": "none", "acodec": "aac", "tbr": 1, "width": 3, "filesize": 4}
    assert parse(line("result", files=files, info={"id": "1", "formats": [form]})) == Finished(
        (
            MediaFile(path="/a", kind="media"),
            MediaFile(path="/b", kind="subtitles", language="en"),
            MediaFile(path="/c", kind="other"),
        ),
        MediaInfo(
            id="1",
            formats=(MediaFormat(format_id="1", audio_codec="aac", bitrate_bits_per_s=1000.0, width=3, size_bytes=4),),
        ),
    )


def test_the_last_word_of_a_look() -> None:
    entries = [{"url": "u1", "id": "1", "info": {"x": 1}}, {"url": "u2", "index": 7}, {"url": ""}, {}]
    found = parse(
        line("result", info={"id": "p", "title": "P", "type": "playlist", "playlist_count": 2}, entries=entries)
    )
    assert isinstance(found, Found)
    assert found.info == MediaInfo(id="p", title="P", is_playlist=True, playlist_count=2)
    assert found.entries == (
        MediaEntry(url="u1", index=1, id="1", playlist_id="p", playlist_title="P"),
        MediaEntry(url="u2", index=7, playlist_id="p", playlist_title="P"),
    )
    assert found.entries[0].info == {"x": 1}
    assert parse(line("result", info=3)) == Found(MediaInfo())

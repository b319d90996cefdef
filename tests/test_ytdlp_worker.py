"""The child's side, looked at from inside: versions, guard, hooks, plan, pipes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

from trio_dlm.downloaders.http.rules._destinations import REFUSED_NETWORKS
from trio_dlm.downloaders.ytdlp.worker import START, WARM
from trio_dlm.downloaders.ytdlp.worker._fragments import is_fragmented, is_other_list, mend, note
from trio_dlm.downloaders.ytdlp.worker._guard import refusal
from trio_dlm.downloaders.ytdlp.worker._hooks import Hooks
from trio_dlm.downloaders.ytdlp.worker._plan import RefusedItemError, has_changed, remove_media, tell_plan
from trio_dlm.downloaders.ytdlp.worker._say import Logger
from trio_dlm.downloaders.ytdlp.worker._versions import Versions, validator_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="workers are POSIX processes")

URL = "http://example.org/a.mp4"
PACKAGE = Path(__file__).parents[1] / "trio_dlm" / "downloaders" / "ytdlp"


class Spoken:
    """Stands in for the pipes: keeps what is said."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.is_toll_due = False

    def say(self, record: str, /, **fields: Any) -> None:
        self.records.append({"t": record, **fields})

    def pay(self, record: str, /, **fields: Any) -> None:
        self.say(record, **fields)


@pytest.fixture
def spoken() -> Any:
    return Spoken()


# Versions.


def test_a_strong_etag_is_a_validator_and_a_date_that_is_old_enough() -> None:
    new, old = "Tue, 24 Nov 2026 10:00:30 GMT", "Tue, 24 Nov 2026 09:00:00 GMT"
    now = "Tue, 24 Nov 2026 10:01:00 GMT"
    assert validator_of({"ETag": '"a"', "Last-Modified": old, "Date": now}) == '"a"'
    assert validator_of({"ETag": 'W/"a"', "Last-Modified": old, "Date": now}) is None
    assert validator_of({"Last-Modified": old, "Date": now}) == old
    assert validator_of({"Last-Modified": new, "Date": now}) is None
    assert validator_of({"Last-Modified": old}) is None
    assert validator_of({"Last-Modified": "yesterday", "Date": now}) is None
    assert validator_of({}) is None


def test_the_rest_is_asked_for_only_if_it_is_of_the_same_version(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "versions.json")
    versions.call(URL, "137")
    asked = {"Range": "bytes=100-", "X": "1"}
    # Nothing is known: all of it.
    assert versions.before(URL, asked) == {"X": "1"}
    assert versions.after(URL, 200, {"ETag": '"a"', "Content-Length": "500"}) is None
    assert versions.before(URL, asked) == {"Range": "bytes=100-", "X": "1", "If-Range": '"a"'}
    # A later worker knows it too, under another address.
    later = Versions(tmp_path / "versions.json")
    later.call(URL + "?token", "137")
    assert later.before(URL + "?token", asked)["If-Range"] == '"a"'
    # From the beginning nothing is joined, and other files are none of ours.
    assert later.before(URL + "?token", {"Range": "bytes=0-10"}) == {"Range": "bytes=0-10"}
    assert later.before("http://example.org/b", asked) == asked
    later.forget()
    assert Versions(tmp_path / "versions.json").before(URL, asked) == asked


def test_a_part_that_contradicts_what_is_known_is_refused_and_forgotten(tmp_path: Path) -> None:
    for reply in (
        {"ETag": '"b"', "Content-Range": "bytes 100-499/500"},
        {"ETag": '"a"', "Content-Range": "bytes 100-499/600"},
    ):
        versions = Versions(tmp_path / "versions.json")
        versions.call(URL, "137")
        versions.after(URL, 200, {"ETag": '"a"', "Content-Length": "500"})
        assert versions.after(URL, 206, {"ETag": '"a"', "Content-Range": "bytes 100-499/500"}) is None
        assert versions.after(URL, 206, reply) == "the file changed while it was fetched"
        assert versions.before(URL, {"Range": "bytes=100-"}) == {}


def test_parts_of_a_file_without_a_name_have_to_agree_as_well() -> None:
    versions = Versions(None)
    assert versions.after(URL, 200, {}) is None
    assert versions.after(URL, 206, {"Content-Range": "bytes 0-9/500"}) is None
    assert versions.after(URL, 206, {"Content-Range": "none"}) is None
    assert versions.after(URL, 206, {"Content-Range": "bytes 10-19/501"}) is not None
    versions.call(URL, "1")
    assert versions.after(URL, 200, {"Content-Length": "?"}) is None


@pytest.mark.parametrize("garbage", ["", "[]", '{"1": 3}', "\0"])
def test_a_record_that_cannot_be_read_proves_nothing(tmp_path: Path, garbage: str) -> None:
    (tmp_path / "v").write_text(garbage)
    versions = Versions(tmp_path / "v")
    versions.call(URL, "1")
    assert versions.before(URL, {"Range": "bytes=1-"}) == {}


# The guard.


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 80),
        ("10.1.2.3", 80),
        ("169.254.169.254", 80),
        ("::1", 80, 0, 0),
        ("::ffff:127.0.0.1", 80, 0, 0),
        ("fe80::1%eth0", 80, 0, 2),
        ("4000::1", 80, 0, 0),
        ("localhost", 80),
    ],
)
def test_what_is_not_public_is_refused(address: object) -> None:
    assert refusal(REFUSED_NETWORKS, [])(address) is not None


@pytest.mark.parametrize(
    "address", [("93.184.215.14", 443), ("2606:4700::1", 443, 0, 0), "/run/socket", b"x", (), (3,)]
)
def test_what_is_public_or_no_address_of_a_network_is_not(address: object) -> None:
    assert refusal(REFUSED_NETWORKS, [])(address) is None


def test_a_proxy_that_was_named_is_allowed_at_its_port_alone() -> None:
    why = refusal(REFUSED_NETWORKS, [("127.0.0.1", 3128), ("proxy.internal", 3128)])
    assert why(("127.0.0.1", 3128)) is None
    assert why(("proxy.internal", 3128)) is None
    assert why(("127.0.0.1", 80)) is not None
    assert why(("proxy.internal", 80)) is not None


def test_the_guard_holds_for_the_rest_of_the_process() -> None:
    # In a process of its own, since nobody can take it back.
    program = f"""
import socket, sys
sys.path.insert(0, {str(PACKAGE)!r})
from worker._guard import RefusedAddressError, guard
guard({{"denied": ["127.0.0.0/8"], "allowed": []}})
for connect in (lambda s: s.connect(("127.0.0.1", 1)), lambda s: s.connect_ex(("127.0.0.1", 1))):
    with socket.socket() as s:
        try:
            connect(s)
        except RefusedAddressError as exc:
            print(exc)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["[Errno 13] egress refused: 127.0.0.1 is in 127.0.0.0/8"] * 2


# What yt-dlp tells.


def told(status: str, received: int, **more: Any) -> dict[str, Any]:
    return {"status": status, "filename": "/d/t/a.mp4", "downloaded_bytes": received, **more}


def test_a_file_is_told_of_now_and_then_and_of_every_change(spoken: Any) -> None:
    hooks = Hooks(spoken, 3600)
    for record in (told("downloading", 1), told("downloading", 2), told("finished", 3), told("finished", 3)):
        hooks.progress({**record, "info_dict": {"format_id": "137", "vcodec": "h264"}, "speed": None})
    assert [(each["status"], each["downloaded_bytes"]) for each in spoken.records] == [
        ("downloading", 1),
        ("finished", 3),
        ("finished", 3),
    ]
    assert spoken.records[0] == {
        "t": "progress",
        "file": "a.mp4",
        "status": "downloading",
        "format_id": "137",
        "vcodec": "h264",
        "acodec": None,
        "downloaded_bytes": 1,
    }


def test_with_a_toll_every_block_is_told_of_with_its_bytes(spoken: Any) -> None:
    spoken.is_toll_due = True
    hooks = Hooks(spoken, 3600)
    for received in (100, 150, 120, 200):
        hooks.progress(told("downloading", received))
    # What was there at first is from an earlier run, and what goes back was paid for.
    assert [each["new_bytes"] for each in spoken.records] == [0, 50, 0, 50]


def test_postprocessors_are_told_of_but_ours(spoken: Any) -> None:
    hooks = Hooks(spoken, 0)
    hooks.postprocessor({"postprocessor": "Merger", "status": "started"})
    hooks.postprocessor({"postprocessor": "_Plan", "status": "started"})
    assert spoken.records == [{"t": "pp", "name": "Merger", "status": "started"}]


def test_why_a_file_was_left_out_is_remembered(spoken: Any) -> None:
    logger = Logger(spoken)
    logger.debug("[debug] details")
    logger.debug("[download] a.mp4 does not pass filter, skipping ..")
    assert logger.left_out == ("rejected", "[download] a.mp4 does not pass filter, skipping ..")
    logger.debug("[download] File is larger than max-filesize (5 bytes > 3 bytes). Aborting.")
    assert logger.left_out is not None
    assert logger.left_out[0] == "too_large"
    logger.info("i")
    logger.warning("w")
    logger.error("x" * 10_000)
    assert [each["level"] for each in spoken.records] == ["debug", "info", "info", "info", "warning", "error"]
    assert len(spoken.records[-1]["message"]) == 4000


# The plan.


INFO: dict[str, Any] = {"id": "1", "title": "T", "ext": "mp4", "duration": 10, "format_id": "137", "url": URL}


def test_the_plan_is_told(spoken: Any) -> None:
    versions = Versions(None)
    tell_plan(spoken, INFO, versions=versions, request={"max_duration_s": 10})
    (plan,) = spoken.records
    assert (plan["t"], plan["title"], plan["is_live"]) == ("plan", "T", False)
    assert [each["format_id"] for each in plan["formats"]] == ["137"]
    # Now the file has a name.
    assert versions.before(URL, {"Range": "bytes=1-"}) == {}


@pytest.mark.parametrize(
    ("info", "request_", "kind"),
    [
        ({"is_live": True}, {}, "live"),
        ({"duration": 11}, {"max_duration_s": 10}, "too_long"),
    ],
)
def test_what_is_not_wanted_is_refused(spoken: Any, info: dict[str, Any], request_: dict[str, Any], kind: str) -> None:
    with pytest.raises(RefusedItemError) as refused:
        tell_plan(spoken, {**INFO, **info}, versions=Versions(None), request=request_)
    assert refused.value.kind == kind
    tell_plan(spoken, {**INFO, **info}, versions=Versions(None), request={"allow_live": True})


def test_other_formats_than_before_are_noticed(tmp_path: Path) -> None:
    assert not has_changed(tmp_path, INFO)
    assert not has_changed(tmp_path, {**INFO, "url": "elsewhere"})
    assert has_changed(tmp_path, {**INFO, "format_id": "18"})
    assert has_changed(tmp_path, {"requested_formats": [INFO, INFO]})
    (tmp_path / "plan.json").write_text("{")
    assert has_changed(tmp_path, INFO)


def test_what_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    names = ["plan.json", "media.mp4", "t/media.mp4.part", "t/media.mp4.part-Frag3", "t/media.mp4.part-Frag3.part"]
    for name in names:
        (tmp_path / name).write_text("x")
    mend(tmp_path, fragmented=False)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["media.mp4.part"]
    remove_media(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


# Fragments.


def leave(directory: Path, *, data: bytes, ytdl: str | None, noted: tuple[int, int] | None) -> Path:
    """Leave what a worker leaves that was killed."""
    part, record = directory / "media.mp4.part", directory / "media.mp4.ytdl"
    if noted is not None:
        part.write_bytes(b"x" * noted[1])
        note(record, part, noted[0])
    if ytdl is not None:
        record.write_text(ytdl)
    part.write_bytes(data)
    return part


THIRD: Final = '{"downloader": {"current_fragment": {"index": 3}, "extra_state": {}}}'


def test_what_was_appended_and_not_noted_is_cut(tmp_path: Path) -> None:
    part = leave(tmp_path, data=b"onetwothreefour", ytdl=THIRD, noted=(3, 11))
    mend(tmp_path, fragmented=True)
    assert part.read_bytes() == b"onetwothree"
    mend(tmp_path, fragmented=True)
    assert part.read_bytes() == b"onetwothree"


@pytest.mark.parametrize(
    ("ytdl", "noted"),
    [(THIRD, (2, 6)), (THIRD, (3, 100)), (THIRD, None), ("garbage", (3, 11)), ("[]", (3, 11)), (None, (3, 11))],
)
def test_what_is_not_certain_is_fetched_anew(tmp_path: Path, ytdl: str | None, noted: tuple[int, int] | None) -> None:
    part = leave(tmp_path, data=b"onetwothreefour", ytdl=ytdl, noted=noted)
    mend(tmp_path, fragmented=True)
    assert not part.exists()
    assert not (tmp_path / "media.mp4.ytdl").exists()


def test_one_file_needs_no_note_of_fragments(tmp_path: Path) -> None:
    part = leave(tmp_path, data=b"one", ytdl=None, noted=None)
    mend(tmp_path, fragmented=False)
    assert part.read_bytes() == b"one"
    note(tmp_path / "new.ytdl", tmp_path / "nothing.part", 0)
    assert is_fragmented([{"protocol": "https"}, {"protocol": "m3u8_native"}])
    assert is_fragmented([{}])
    assert not is_fragmented([{"protocol": "https"}])


def test_only_fragments_of_the_same_list_are_joined(tmp_path: Path) -> None:
    ytdl = tmp_path / "media.mp4.ytdl"
    fragments: list[dict[str, Any]] = [
        {"frag_index": number, "url": f"https://a.example/{number}.ts?signed=x", "byte_range": {}}
        for number in (1, 2, 3)
    ]
    assert not is_other_list(ytdl, fragments, done=0)
    resigned = [{**each, "url": each["url"].replace("=x", "=y")} for each in fragments]
    assert not is_other_list(ytdl, resigned[1:], done=1)
    assert is_other_list(ytdl, fragments[1:2], done=1)
    assert is_other_list(ytdl, [{**each, "byte_range": {"start": 1, "end": 2}} for each in fragments[1:]], done=1)
    assert is_other_list(ytdl, [{**each, "url": "https://b.example/2.ts"} for each in fragments[1:]], done=1)
    ytdl.with_name("media.mp4.ytdl.list").write_text("[")
    assert is_other_list(ytdl, fragments[1:], done=1)
    ytdl.with_name("media.mp4.ytdl.list").unlink()
    assert is_other_list(ytdl, fragments[1:], done=1)


_HANDLERS = """
import sys
sys.path.insert(0, sys.argv[1])
from yt_dlp.networking import common
from worker import _ydl
common._REQUEST_HANDLERS["CurlCFFI"] = object
for guard in (None, {"denied": [], "allowed": []}):
    request = {"params": {"quiet": True}, "guard": guard}
    try:
        hooks = type("Hooks", (), {"progress": 0, "postprocessor": 0})
        _ydl.make_ydl(request, logger=None, hooks=hooks, versions=None, tell=print)
    except Exception as exc:
        print(repr(exc))
    print("CurlCFFI" in common._REQUEST_HANDLERS)
"""


def test_with_a_guard_nothing_dials_that_the_guard_does_not_see() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HANDLERS, str(PACKAGE)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "False"]


# The process.


@pytest.fixture
def worker() -> Generator[subprocess.Popen[bytes], None, None]:
    command = [sys.executable, "-s", "-P", "-c", START, str(PACKAGE), ""]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        yield process
        process.kill()


def answer_of(worker: subprocess.Popen[bytes], request: object) -> dict[str, Any]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
    worker.stdin.flush()
    answer: dict[str, Any] = json.loads(worker.stdout.readline())
    return answer


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"v": 2}, "protocol"),
        ({"v": 1, "mode": "dance", "params": {}}, "protocol"),
        ({"v": 1, "mode": "download", "params": {}}, "protocol"),
        ({"v": 1, "mode": "extract", "params": {"cookiefile": "/nothing"}}, "cookies"),
        ({"v": 1}, "internal"),
        (b"garbage\n", "internal"),
    ],
)
def test_a_request_that_cannot_be_done_is_answered(
    worker: subprocess.Popen[bytes], request_: object, kind: str
) -> None:
    answer = answer_of(worker, request_)
    assert (answer["t"], answer["kind"]) == ("error", kind)
    assert worker.wait(30) == 2


def test_without_a_request_it_ends(worker: subprocess.Popen[bytes]) -> None:
    assert worker.communicate(timeout=30)[0] == b""
    assert worker.returncode == 0


def test_when_the_parent_is_gone_the_whole_group_ends(worker: subprocess.Popen[bytes]) -> None:
    # A site that is silent.
    with socket.create_server(("127.0.0.1", 0)) as site:
        url = f"http://127.0.0.1:{site.getsockname()[1]}/"
        answer = answer_of(worker, {"v": 1, "mode": "extract", "url": url, "params": {"quiet": True}})
        assert answer["t"] == "ready"
        connection, _ = site.accept()
        assert worker.stdin is not None
        worker.stdin.close()
        worker.stdin = None
        assert worker.wait(30) == -9
        # All of what it had asked arrives, and then its end.
        connection.settimeout(30)
        while connection.recv(4096):
            pass
        connection.close()


def test_it_does_not_end_with_the_thread_that_started_it() -> None:
    started: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-s", "-P", "-c", START, str(PACKAGE), ""]

    def start() -> None:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as process:
        assert answer_of(process, {"v": 2})["kind"] == "protocol"
    assert WARM == "--warm"

"""yt-dlp itself, against a site with real media: whole files or a reason, and nothing that runs afterwards."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
import trio
import trio.testing

from tests.media import MediaSite
from trio_dlm import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadFailedError,
    DownloadOptions,
    DownloadPhase,
    DownloadRequest,
    DownloadStatus,
    DownloadTask,
    DownloadTimeoutError,
    InvalidUrlError,
    StalledError,
    TargetExistsError,
    TooLargeError,
    open_manager,
)
from trio_dlm.downloaders.ytdlp import (
    MediaError,
    MediaErrorKind,
    MediaResult,
    MissingRequirementError,
    PlaylistError,
    YtDlpDownloader,
    YtDlpOptions,
)
from trio_dlm.downloaders.ytdlp._group import is_running

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which makes the media")

# A worker takes half a second on an idle machine.
LIMIT_S: Final = 60.0

HAS_NO_WAITS: Final = YtDlpOptions(retries=0)


def workers() -> list[str]:
    """The workers of this process that still run."""
    answer = subprocess.run(
        ["ps", "-ww", "--ppid", str(os.getpid()), "-o", "stat=", "-o", "args="],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in answer.stdout.splitlines() if "import worker" in line and not line.startswith("Z")]


def groups(parent: int | None = None) -> list[int]:
    """The numbers of the process groups of the workers of a process, this one if none is named."""
    command = ["ps", "-ww", "--ppid", str(parent or os.getpid()), "-o", "pid=", "-o", "args="]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return [int(line.split()[0]) for line in answer.stdout.splitlines() if "import worker" in line]


def left_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


async def fetch(
    url: str,
    directory: Path,
    options: YtDlpOptions = HAS_NO_WAITS,
    *,
    settings: dict[str, Any] | None = None,
    **fields: Any,
) -> MediaResult:
    downloader = YtDlpDownloader(options, **(settings or {}))
    with trio.fail_after(LIMIT_S):
        async with open_manager(downloader=downloader, directory=directory, failures="keep") as manager:
            saved = await manager.download(url, **{"retries": 0, **fields})
    assert isinstance(saved, MediaResult)
    assert not workers()
    return saved


async def failure_of(url: str, directory: Path, *arguments: Any, **fields: Any) -> BaseException:
    with pytest.raises(DownloadFailedError) as failed:
        await fetch(url, directory, *arguments, **fields)
    assert not workers()
    cause = failed.value.__cause__
    assert cause is not None
    return cause


def streams_of(path: Path) -> list[str]:
    answer = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(answer.stdout.split())


# Whole files.


async def test_a_direct_file_is_what_the_site_has(media: MediaSite, tmp_path: Path) -> None:
    saved = await fetch(media.url("direct.mp4"), tmp_path)
    assert saved.path == tmp_path / "direct [direct].mp4"
    assert saved.path.read_bytes() == (media.root / "direct.mp4").read_bytes()
    assert saved.size_bytes == saved.path.stat().st_size
    assert (saved.media.id, saved.media.title, saved.media.extractor) == ("direct", "direct", "generic")
    assert left_in(tmp_path) == ["direct [direct].mp4"]


@pytest.mark.parametrize("path", ["hls/index.m3u8", "dash/manifest.mpd", "av.m3u8"])
async def test_what_comes_in_pieces_is_joined(media: MediaSite, tmp_path: Path, path: str) -> None:
    saved = await fetch(media.url(path), tmp_path, YtDlpOptions(concurrent_fragments=4))
    assert streams_of(saved.path) == ["audio", "video"]
    assert len(left_in(tmp_path)) == 1


async def test_sound_alone_by_an_ffmpeg_that_was_named(media: MediaSite, tmp_path: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None
    saved = await fetch(media.url("direct.mp4"), tmp_path, YtDlpOptions(audio_only="mp3", ffmpeg=Path(ffmpeg)))
    assert saved.path.suffix == ".mp3"
    assert streams_of(saved.path) == ["audio"]


async def test_subtitles_are_saved_beside_the_file(media: MediaSite, tmp_path: Path) -> None:
    saved = await fetch(media.url("sub.m3u8"), tmp_path, YtDlpOptions(subtitles=("en",)), filename="film.mp4")
    assert saved.path.name == "film.mp4"
    assert [path.name for path in saved.subtitles] == ["film.en.vtt"]
    assert "Hello." in saved.subtitles[0].read_text()


async def test_titles_of_strangers_become_plain_names(media: MediaSite, tmp_path: Path) -> None:
    saved = await fetch(media.url("one.html"), tmp_path)
    assert saved.path.parent == tmp_path
    assert "\u202e" not in saved.path.name
    assert saved.path.suffix == ".mp4"


async def test_cookies_are_sent_and_the_file_with_them_is_not_written_to(media: MediaSite, tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsid\tsecret\n")
    before = jar.read_bytes(), jar.stat().st_mtime_ns
    await fetch(media.url("cookie.mp4"), tmp_path / "out", YtDlpOptions(cookies=jar))
    assert (jar.read_bytes(), jar.stat().st_mtime_ns) == before
    assert left_in(tmp_path / "out") == ["cookie [cookie].mp4"]


async def test_a_file_that_is_there_is_seen_before_anything_is_fetched(media: MediaSite, tmp_path: Path) -> None:
    first = await fetch(media.url("direct.mp4"), tmp_path)
    cause = await failure_of(media.url("direct.mp4"), tmp_path)
    assert isinstance(cause, TargetExistsError)
    digest = f"sha256:{hashlib.sha256(first.path.read_bytes()).hexdigest()}"
    again = await fetch(media.url("direct.mp4"), tmp_path, checksum=digest)
    assert (again.reused, again.path, again.checksum) == (True, first.path, digest)
    named = await fetch(media.url("direct.mp4"), tmp_path, checksum=digest, filename=first.path.name)
    assert named.reused
    beside = await fetch(media.url("direct.mp4"), tmp_path, overwrite="unique", checksum=digest)
    assert beside.path.name == "direct [direct] (1).mp4"
    assert not beside.reused
    assert len(left_in(tmp_path)) == 2


async def test_a_wrong_digest_leaves_nothing(media: MediaSite, tmp_path: Path) -> None:
    cause = await failure_of(media.url("direct.mp4"), tmp_path, checksum="md5:" + "0" * 32)
    assert isinstance(cause, ChecksumMismatchError)
    assert left_in(tmp_path) == []


async def test_progress_never_falls_and_says_what_is_done(media: MediaSite, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []
    async with open_manager(downloader=YtDlpDownloader(), directory=tmp_path) as manager:
        task = await manager.submit(media.url("av.m3u8"))
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                seen.append((snapshot.progress.phase.value, snapshot.progress.received_bytes))  # noqa: PERF401
    # What ffmpeg makes of it has a size of its own.
    del seen[-1]
    received = [each for _, each in seen]
    assert received == sorted(received)
    phases = list(dict.fromkeys(phase for phase, _ in seen))
    assert phases[0] == "extracting"
    assert {"downloading video", "downloading audio", "merging"} <= set(phases)


async def test_a_limit_of_the_rate_holds_back_the_worker(media: MediaSite, tmp_path: Path) -> None:
    size = (media.root / "direct.mp4").stat().st_size
    async with open_manager(downloader=YtDlpDownloader(), directory=tmp_path) as manager:
        task = await manager.submit(media.url("direct.mp4"), rate_limit_bytes_per_s=1.0)
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                if snapshot.progress.received_bytes > 1:
                    break
        assert task.progress.received_bytes < size
        assert task.status is DownloadStatus.DOWNLOADING
        task.rate_limit_bytes_per_s = None
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
    assert saved.size_bytes == size


# Failures.


ROWS: Final[dict[str, tuple[str, MediaErrorKind]]] = {
    "404": ("404.mp4", MediaErrorKind.HTTP_STATUS),
    "503": ("m/fail=503/direct.mp4", MediaErrorKind.HTTP_STATUS),
    "429": ("429.mp4", MediaErrorKind.RATE_LIMITED),
    "a body that is cut": ("m/cut=100000,only=direct,noranges/direct.mp4", MediaErrorKind.NETWORK),
    "a fragment that is not there": ("m/fail=404,only=index3.ts/hls/index.m3u8", MediaErrorKind.HTTP_STATUS),
    "nothing to see": ("novideo.html", MediaErrorKind.UNSUPPORTED),
    "encrypted": ("drm.mpd", MediaErrorKind.DRM),
    "encrypted, too": ("drm.m3u8", MediaErrorKind.DRM),
    "a file of this machine": ("file.m3u8", MediaErrorKind.UNSUPPORTED_REQUEST),
    "live": ("live.m3u8", MediaErrorKind.LIVE),
}


@pytest.mark.parametrize("row", ROWS)
async def test_what_goes_wrong_has_a_kind(media: MediaSite, tmp_path: Path, row: str) -> None:
    path, kind = ROWS[row]
    cause = await failure_of(f"{media.base}/{path}", tmp_path)
    assert isinstance(cause, MediaError), repr(cause)
    assert cause.kind is kind, repr(cause)
    assert not [name for name in left_in(tmp_path) if not name.startswith(".trio_dlm")]


async def test_nobody_listens(tmp_path: Path, media: MediaSite) -> None:
    cause = await failure_of("http://127.0.0.1:1/x.mp4", tmp_path)
    assert isinstance(cause, MediaError)
    assert cause.kind is MediaErrorKind.NETWORK
    assert left_in(tmp_path) == []


OPTIONS: Final[dict[str, tuple[str, YtDlpOptions, MediaErrorKind]]] = {
    "no such format": ("direct.mp4", YtDlpOptions(format="137+140"), MediaErrorKind.NO_FORMAT),
    "too long": ("hls/index.m3u8", YtDlpOptions(max_duration_s=3), MediaErrorKind.TOO_LONG),
    "no such cookies": ("direct.mp4", YtDlpOptions(cookies=Path("/nothing")), MediaErrorKind.COOKIES),
    "cookies that are none": ("direct.mp4", YtDlpOptions(cookies=Path("/etc/passwd")), MediaErrorKind.COOKIES),
    "a proxy that is none": ("direct.mp4", YtDlpOptions(retries=0, proxy="http://127.0.0.1:1"), MediaErrorKind.PROXY),
    "known sites only": (
        "direct.mp4",
        YtDlpOptions(allowed_extractors=("default", "-generic")),
        MediaErrorKind.UNSUPPORTED,
    ),
}


@pytest.mark.parametrize("row", OPTIONS)
async def test_what_was_asked_for_cannot_be_had(media: MediaSite, tmp_path: Path, row: str) -> None:
    path, options, kind = OPTIONS[row]
    cause = await failure_of(media.url(path), tmp_path, options)
    assert isinstance(cause, MediaError), repr(cause)
    assert cause.kind is kind, repr(cause)


async def test_what_may_pass_is_tried_again(media: MediaSite, tmp_path: Path) -> None:
    media.reset()
    saved = await fetch(media.url("direct.mp4", fail="503x1", n=1), tmp_path, retries=2)
    assert saved.path.read_bytes() == (media.root / "direct.mp4").read_bytes()


@pytest.mark.parametrize(("path", "limit"), [("direct.mp4", 100_000), ("hls/index.m3u8", 400_000)])
async def test_a_file_that_is_too_large_is_given_up(media: MediaSite, tmp_path: Path, path: str, limit: int) -> None:
    cause = await failure_of(media.url(path, rate=2_000_000), tmp_path, max_bytes=limit)
    assert isinstance(cause, TooLargeError)
    assert left_in(tmp_path) == []


async def test_a_playlist_is_no_download_but_its_entries_are(media: MediaSite, tmp_path: Path) -> None:
    cause = await failure_of(media.url("page.html"), tmp_path)
    assert isinstance(cause, PlaylistError)
    assert left_in(tmp_path) == []
    downloader = YtDlpDownloader()
    async with open_manager(downloader=downloader, directory=tmp_path) as manager:
        entries = await downloader.expand(media.url("page.html"), limit=2)
        assert [entry.index for entry in entries] == [1, 2]
        batch = await manager.submit_many(
            [downloader.request_for(entry, overwrite="unique") for entry in entries], lane="list", parent_id="page"
        )
        await batch.wait()
        saved = [await task.result() for task in batch]
    assert len({each.path for each in saved}) == 2
    for each in saved:
        assert each.path.read_bytes() == (media.root / "direct.mp4").read_bytes()


async def test_evil_titles_of_a_list_stay_in_the_directory(media: MediaSite, tmp_path: Path) -> None:
    downloader = YtDlpDownloader()
    directory = tmp_path / "inner"
    async with open_manager(2, downloader=downloader, directory=directory) as manager:
        entries = await downloader.expand(media.url("feed.rss"))
        batch = await manager.submit_many([downloader.request_for(entry, overwrite="unique") for entry in entries])
        await batch.wait()
        names = [(await task.result()).path.name for task in batch]
    assert len(set(names)) == len(entries) == 6
    assert left_in(tmp_path) == sorted(f"inner/{name}" for name in names)
    assert not [name for name in names if name.startswith((".", "-")) or name.upper().startswith("CON.")]


async def test_a_look_fetches_nothing(media: MediaSite, tmp_path: Path) -> None:
    async with YtDlpDownloader() as downloader:
        item = await downloader.probe(media.url("av.m3u8"))
        assert (item.duration_s, item.is_playlist, len(item.formats)) == (20.0, False, 2)
        page = await downloader.probe(media.url("page.html"))
        assert page.is_playlist
        (single,) = await downloader.expand(media.url("direct.mp4"))
        assert single.url == media.url("direct.mp4")
        with pytest.raises(MediaError, match="answered with 404"):
            await downloader.probe(media.url("404.mp4"))
    assert not workers()


def test_a_look_works_on_asyncio_too(media: MediaSite) -> None:
    async def look() -> int:
        async with YtDlpDownloader(warm=1) as downloader:
            return len(await downloader.expand(media.url("page.html")))

    assert anyio.run(look, backend="asyncio") == 3
    assert not workers()


# Cancelling, pausing, and going on.


async def reached(task: DownloadTask[Any], is_there: Callable[[DownloadTask[Any]], bool], manager: Any) -> None:
    with trio.fail_after(LIMIT_S):
        async with manager.events(tasks=[task]) as events:
            async for _ in events:
                if is_there(task):
                    return
    pytest.fail(f"it ended as {task.status}: {task.error}")


CANCELLED_IN: Final[dict[str, tuple[str, dict[str, Any], YtDlpOptions, int]]] = {
    "extraction, the site is silent": ("direct.mp4", {"delay": True}, HAS_NO_WAITS, 0),
    "a slow body": ("direct.mp4", {"rate": 200_000}, HAS_NO_WAITS, 1),
    "a body that stalls": ("direct.mp4", {"stall": 300_000}, HAS_NO_WAITS, 1),
    "four fragments at once": ("hls/index.m3u8", {"rate": 50_000}, YtDlpOptions(concurrent_fragments=4), 1),
    "fragments that stall": (
        "hls/index.m3u8",
        {"stall": 100_000, "only": "index[3-9]"},
        YtDlpOptions(concurrent_fragments=4),
        1,
    ),
}


@pytest.mark.parametrize("phase", CANCELLED_IN)
async def test_a_cancel_ends_everything_and_the_site_sees_nobody(media: MediaSite, tmp_path: Path, phase: str) -> None:
    path, modifiers, options, received = CANCELLED_IN[phase]
    downloader = YtDlpDownloader(options)
    async with open_manager(downloader=downloader, directory=tmp_path) as manager:
        task = await manager.submit(media.url(path, **modifiers), resume=False)
        if received:
            await reached(task, lambda task: task.progress.received_bytes >= received, manager)
        else:
            with trio.fail_after(LIMIT_S):
                while not workers():  # noqa: ASYNC110  (nothing tells)
                    await trio.sleep(0.01)
        await task.cancel()
        assert not workers()
        assert task.status is DownloadStatus.CANCELLED
    assert media.is_quiet()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("way", ["twice at once", "by a deadline", "by an error beside it"])
async def test_however_it_is_cancelled_it_ends(media: MediaSite, tmp_path: Path, way: str) -> None:
    url = media.url("direct.mp4", rate=100_000)

    async def fail() -> None:
        await trio.testing.wait_all_tasks_blocked(0.3)
        raise ZeroDivisionError

    async def fetch_it() -> None:
        async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path) as manager:
            if way == "twice at once":
                task = await manager.submit(url)
                await reached(task, lambda task: task.progress.received_bytes > 0, manager)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.cancel)
                    nursery.start_soon(task.cancel)
                assert task.status is DownloadStatus.CANCELLED
            else:
                await manager.download(url)

    if way == "by a deadline":
        with trio.move_on_after(0.5) as scope:
            await fetch_it()
        assert scope.cancelled_caught
    elif way == "by an error beside it":
        with pytest.RaisesGroup(ZeroDivisionError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch_it)
                nursery.start_soon(fail)
    else:
        await fetch_it()
    assert not workers()
    assert media.is_quiet()


# Works until it is ended, where the real one would be done in a moment.
ENDLESS: Final = """#!/bin/sh
case "$*" in
*media*) exec {ffmpeg} -nostdin -v quiet -f lavfi -i testsrc -f null - ;;
*) exec {ffmpeg} "$@" ;;
esac
"""


def endless_ffmpeg(directory: Path) -> Path:
    """Make an ffmpeg that does not come to an end."""
    script = directory / "bin" / "ffmpeg"
    script.parent.mkdir()
    script.write_text(ENDLESS.format(ffmpeg=shutil.which("ffmpeg")))
    script.chmod(0o755)
    (script.parent / "ffprobe").symlink_to(shutil.which("ffprobe") or "/nothing")
    return script


async def test_a_cancel_ends_ffmpeg_at_its_work(media: MediaSite, tmp_path: Path) -> None:
    downloader = YtDlpDownloader(YtDlpOptions(audio_only="mp3", ffmpeg=endless_ffmpeg(tmp_path)))
    async with open_manager(downloader=downloader, directory=tmp_path / "out") as manager:
        task = await manager.submit(media.url("direct.mp4"), resume=False)
        await reached(task, lambda task: task.progress.phase is DownloadPhase.PROCESSING, manager)
        (group,) = groups()
        await task.cancel()
        assert not is_running(group)
    assert left_in(tmp_path / "out") == []


async def test_a_cancel_ends_the_wait_before_another_attempt(
    media: MediaSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_dlm.downloaders.ytdlp._transfer._draw", lambda: 1000.0)
    async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path) as manager:
        task = await manager.submit(media.url("503.mp4"))
        await reached(task, lambda task: task.progress.phase is DownloadPhase.RETRYING, manager)
        assert not workers()
        await task.cancel()
    assert left_in(tmp_path) == []


PARENT: Final = """
import sys, trio, trio_dlm
async def main(url, ffmpeg, directory):
    options = trio_dlm.YtDlpOptions(audio_only="mp3", ffmpeg=ffmpeg)
    async with trio_dlm.open_manager(downloader=trio_dlm.YtDlpDownloader(options), directory=directory) as manager:
        task = await manager.submit(url)
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                print(snapshot.progress.phase.value, flush=True)
trio.run(main, *sys.argv[1:])
"""


def test_when_the_program_is_killed_ffmpeg_ends_too(media: MediaSite, tmp_path: Path) -> None:
    arguments = [media.url("direct.mp4"), str(endless_ffmpeg(tmp_path)), str(tmp_path / "out")]
    with subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        for line in program.stdout:
            if line == "post-processing\n":
                break
        (group,) = groups(program.pid)
        assert is_running(group)
        program.kill()
    end = time.monotonic() + LIMIT_S
    while is_running(group):
        assert time.monotonic() < end, "ffmpeg or its worker still runs"


async def test_a_record_of_fragments_that_cannot_be_read_is_no_obstacle(media: MediaSite, tmp_path: Path) -> None:
    async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path) as manager:
        task = await manager.submit(media.url("hls/index.m3u8", rate=400_000))
        await reached(task, lambda task: task.progress.received_bytes >= 500_000, manager)
        assert await task.pause()
        (record,) = [name for name in left_in(tmp_path) if name.endswith(".ytdl")]
        (tmp_path / record).write_bytes(b"\0garbage")
        task.resume()
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
    assert streams_of(saved.path) == ["audio", "video"]
    whole = await fetch(media.url("hls/index.m3u8"), tmp_path / "other")
    assert saved.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("path", ["direct.mp4", "hls/index.m3u8"])
async def test_a_pause_keeps_what_is_there_and_a_resume_goes_on(media: MediaSite, tmp_path: Path, path: str) -> None:
    media.reset()
    downloader = YtDlpDownloader(HAS_NO_WAITS)
    async with open_manager(downloader=downloader, directory=tmp_path) as manager:
        task = await manager.submit(media.url(path, rate=400_000))
        await reached(task, lambda task: task.progress.received_bytes >= 500_000, manager)
        assert await task.pause()
        assert not workers()
        before = task.progress.received_bytes
        assert before >= 500_000
        task.resume()
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
    if path == "direct.mp4":
        assert saved.path.read_bytes() == (media.root / "direct.mp4").read_bytes()
        ranges = [each["headers"] for each in media.requests("direct.mp4") if each["headers"].get("If-Range")]
        assert ranges
        assert int(ranges[-1]["Range"].removeprefix("bytes=").removesuffix("-")) > 0
    else:
        assert streams_of(saved.path) == ["audio", "video"]
        asked = [each["path"] for each in media.requests("index0.ts")]
        assert len(asked) == 1


async def test_another_version_is_not_joined_to_what_is_there(media: MediaSite, tmp_path: Path) -> None:
    media.reset()
    url = media.url("direct.mp4", rate=600_000, change=3)
    async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path) as manager:
        task = await manager.submit(url)
        await reached(task, lambda task: task.progress.received_bytes >= 300_000, manager)
        assert await task.pause()
        # Extraction asks too; from the fourth request on the site has another file.
        while len(media.requests("direct.mp4")) < 3:
            media.touch(url)
        task.resume()
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
    one = (media.root / "direct.mp4").read_bytes()
    two = one[:4096] + one[4096:].translate(bytes((each + 1) % 256 for each in range(256)))
    assert saved.path.read_bytes() == two


async def test_without_a_validator_nothing_is_joined(media: MediaSite, tmp_path: Path) -> None:
    media.reset()
    async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path) as manager:
        task = await manager.submit(media.url("direct.mp4", rate=600_000, novalidator=True))
        await reached(task, lambda task: task.progress.received_bytes >= 300_000, manager)
        assert await task.pause()
        task.resume()
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
    assert saved.path.read_bytes() == (media.root / "direct.mp4").read_bytes()
    last = media.requests("direct.mp4")[-1]["headers"]
    assert "If-Range" not in last
    assert last.get("Range", "bytes=0-") == "bytes=0-"


async def test_fragments_of_another_list_are_not_joined_to_what_is_there(media: MediaSite, tmp_path: Path) -> None:
    url = media.url("list.m3u8", rate=400_000, change=6)
    async with open_manager(downloader=YtDlpDownloader(HAS_NO_WAITS), directory=tmp_path, failures="keep") as manager:
        media.reset()
        task = await manager.submit(url, retries=1)
        await reached(task, lambda task: task.progress.received_bytes >= 500_000, manager)
        assert await task.pause()
        # yt-dlp has asked some four times; from now on the list is another one.
        while len(media.requests("list.m3u8")) < 6:
            media.touch(url)
        task.resume()
        with trio.fail_after(LIMIT_S):
            saved = await task.result()
        assert task.progress.retries == 1
        now = await manager.download(url, filename="now.mp4")
    assert saved.path.read_bytes() == now.path.read_bytes()


async def test_time_limits(media: MediaSite, tmp_path: Path) -> None:
    settings = {"extract_timeout_s": 0.7, "stall_timeout_s": 0.7}
    cause = await failure_of(media.url("direct.mp4", delay=True), tmp_path, settings=settings)
    assert isinstance(cause, DownloadTimeoutError)
    assert cause.option == "extract_timeout_s"
    settings = {"extract_timeout_s": 30.0, "stall_timeout_s": 0.7}
    cause = await failure_of(media.url("direct.mp4", stall=200_000), tmp_path, settings=settings)
    assert isinstance(cause, StalledError)
    assert cause.option == "stall_timeout_s"


# Strangers.


@pytest.mark.parametrize("path", ["direct.mp4", "redirect.mp4", "hls/index.m3u8"])
async def test_no_address_that_is_not_public(media: MediaSite, tmp_path: Path, path: str) -> None:
    media.reset()
    cause = await failure_of(media.url(path), tmp_path, settings={"deny_private": True})
    assert isinstance(cause, ConnectionFailedError), repr(cause)
    cause = await failure_of(media.url(path), tmp_path, allow_private_addresses=False)
    assert isinstance(cause, ConnectionFailedError)
    assert media.requests() == []


async def test_no_segment_on_a_host_that_is_not_allowed(
    media: MediaSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media.reset()
    # The site itself is allowed, so that the list is read.
    monkeypatch.setattr("trio_dlm.downloaders.ytdlp._setting.REFUSED_NETWORKS", ("127.0.0.2/32",))
    cause = await failure_of(media.url("elsewhere.m3u8"), tmp_path, settings={"deny_private": True})
    assert isinstance(cause, ConnectionFailedError), repr(cause)
    assert "leads to an address that is not public" in str(cause)
    assert media.requests("index0.ts")


# A broadcast is fetched by ffmpeg itself, which asks for more for as long as the list has no end.
LIVE: Final = YtDlpOptions(retries=0, allow_live=True)


async def test_no_program_dials_by_itself(media: MediaSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_dlm.downloaders.ytdlp._setting.REFUSED_NETWORKS", ("127.0.0.2/32",))
    media.reset()
    cause = await failure_of(media.url("live.m3u8"), tmp_path, LIVE, settings={"deny_private": True})
    assert isinstance(cause, ConnectionFailedError), repr(cause)
    assert not media.requests(".ts")


async def test_what_a_program_fetches_is_held_to_its_size(media: MediaSite, tmp_path: Path) -> None:
    cause = await failure_of(media.url("live.m3u8"), tmp_path, LIVE, max_bytes=100_000)
    assert isinstance(cause, TooLargeError), repr(cause)
    assert left_in(tmp_path) == []


async def test_a_cancel_ends_a_program_that_fetches(media: MediaSite, tmp_path: Path) -> None:
    media.reset()
    async with open_manager(downloader=YtDlpDownloader(LIVE), directory=tmp_path) as manager:
        task = await manager.submit(media.url("live.m3u8"), resume=False)
        with trio.fail_after(LIMIT_S):
            while not media.requests(".ts"):  # noqa: ASYNC110  (the site is another process)
                await trio.sleep(0.01)
        (group,) = groups()
        await task.cancel()
        assert not is_running(group)
    assert media.is_quiet()
    assert left_in(tmp_path) == []


async def test_what_the_log_shows_has_no_secrets_of_the_request(
    media: MediaSite, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await fetch(media.url("direct.mp4"), tmp_path, YtDlpOptions(headers={"Authorization": "Bearer hunter2"}))
    assert "hunter2" not in caplog.text


# Misuse.


def test_what_is_missing_is_said_when_the_downloader_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_dlm.downloaders.ytdlp._downloader.find_yt_dlp", lambda: None)
    with pytest.raises(MissingRequirementError, match=r"pip install 'trio-dlm\[yt-dlp\]'"):
        YtDlpDownloader()
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nothing")
    with pytest.raises(MissingRequirementError, match="this takes ffmpeg"):
        YtDlpDownloader(YtDlpOptions(audio_only="mp3"))
    YtDlpDownloader()


@pytest.mark.parametrize(
    ("arguments", "fields", "error"),
    [
        ((3,), {}, TypeError),
        ((), {"warm": -1}, ValueError),
        ((), {"extract_timeout_s": 0}, ValueError),
        ((), {"stall_timeout_s": "1"}, TypeError),
    ],
)
def test_arguments_are_checked(arguments: tuple[Any, ...], fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        YtDlpDownloader(*arguments, **fields)


async def test_it_has_to_be_open_and_is_opened_once() -> None:
    downloader = YtDlpDownloader()
    assert "closed" in repr(downloader)
    with pytest.raises(RuntimeError, match="not open"):
        await downloader.probe("http://127.0.0.1:1/")
    async with downloader:
        assert "open" in repr(downloader)
        with pytest.raises(RuntimeError, match="open already"):
            await downloader.__aenter__()
        with pytest.raises(ValueError, match="limit"):
            await downloader.expand("http://127.0.0.1:1/", limit=0)


def test_nothing_dials_unseen_where_somebody_has_to_look() -> None:
    downloader = YtDlpDownloader(YtDlpOptions(impersonate="chrome"))
    strict = DownloadOptions(allow_private_addresses=False)
    downloader.check_request(DownloadRequest("https://a.example/"))
    with pytest.raises(ValueError, match="impersonate= connects where nobody can look"):
        downloader.check_request(DownloadRequest("https://a.example/", strict))


async def test_what_can_never_be_fetched_is_refused_at_submit(tmp_path: Path) -> None:
    async with open_manager(downloader=YtDlpDownloader(), directory=tmp_path) as manager:
        for url in ("ytsearch:cats", "file:///etc/passwd", "cats"):
            with pytest.raises(InvalidUrlError):
                await manager.submit(url)
        with pytest.raises(ValueError, match="mirrors"):
            await manager.submit("http://127.0.0.1:1/", mirrors=["http://127.0.0.1:2/"])


def test_the_parent_never_imports_yt_dlp() -> None:
    program = (
        "import sys, trio_dlm.downloaders.ytdlp as d; d.YtDlpDownloader(); "
        "sys.exit('yt_dlp' in sys.modules or 'trio_dlm.downloaders.ytdlp.worker._job' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

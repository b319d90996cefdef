"""Media from the command line: who fetches a URL, playlists, and what cannot go together."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import trio

from tests.command import Run, command, environment, start_command
from tests.media import MediaSite

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which makes the media")


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_file_and_a_list_of_segments_are_fetched_by_whom_they_are_for(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", media.url("direct.mp4"), media.url("hls/index.m3u8"), cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    assert names_in(tmp_path) == ["direct.mp4", "index [index].mp4"]
    assert (tmp_path / "direct.mp4").read_bytes() == (media.root / "direct.mp4").read_bytes()


async def test_without_yt_dlp_a_list_of_segments_is_a_file(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--no-yt-dlp", media.url("hls/index.m3u8"), cwd=tmp_path)

    assert done.code == 0
    assert names_in(tmp_path) == ["index.m3u8"]


async def test_yt_dlp_may_search_any_page(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--yt-dlp", media.url("one.html"), "-o", "video.mp4", cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "video.mp4").read_bytes() == (media.root / "direct.mp4").read_bytes()


async def test_a_playlist_is_refused_with_the_option_that_takes_it(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--yt-dlp", media.url("page.html"), cwd=tmp_path)

    assert done.code == 1
    assert done.err == (
        f"trio-dlm: {media.url('page.html')}: it is a playlist of 3 items, and a download is one; try --playlist\n"
    )
    assert names_in(tmp_path) == []


async def test_all_items_of_a_playlist_are_downloads(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--playlist", media.url("page.html"), cwd=tmp_path)

    assert done.code == 0
    assert done.err == f"trio-dlm: {media.url('page.html')}: 3 items\n"
    assert len(names_in(tmp_path)) == 3
    assert "3 of 3 done" in done.out


async def test_the_first_items_of_a_long_playlist_are_taken_and_it_is_said(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--playlist", "--playlist-limit", "2", media.url("page.html"), cwd=tmp_path)

    assert done.code == 0
    assert done.err.endswith("2 items (the first ones; --playlist-limit 20 takes more)\n")
    assert len(names_in(tmp_path)) == 2


async def test_a_playlist_that_cannot_be_listed_is_a_download_that_fails(media: MediaSite, tmp_path: Path) -> None:
    done = await command(
        "get", "--playlist", "-q", media.url("404.html"), media.url("one.html"), "--audio-only", cwd=tmp_path
    )

    assert done.code == 1
    assert done.err.startswith(f"trio-dlm: {media.url('404.html')}: ")
    assert len(done.err.splitlines()) == 1
    assert len(names_in(tmp_path)) == 1


async def test_only_the_sound_is_taken(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--audio-format", "mp3", media.url("hls/index.m3u8"), cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    assert names_in(tmp_path) == ["index [index].mp3"]


async def test_subtitles_are_saved_beside(media: MediaSite, tmp_path: Path) -> None:
    done = await command("get", "--subtitles", "en", "--json", media.url("sub.m3u8"), cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    assert names_in(tmp_path) == ["sub [sub].en.vtt", "sub [sub].mp4"]
    *_, end, _summary = map(json.loads, done.out.splitlines())
    assert Path(end["path"]).name == "sub [sub].mp4"


@pytest.mark.parametrize("arguments", [("--yt-dlp",), ("--playlist",)])
async def test_ctrl_c_ends_it_with_its_processes(media: MediaSite, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    media.reset()
    path = "one.html" if arguments == ("--yt-dlp",) else "page.html"
    async with start_command("get", *arguments, media.url(path, delay=3600), cwd=tmp_path) as process:
        with trio.fail_after(60):
            while not media.requests(path):  # noqa: ASYNC110  (the site is another process)
                await trio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            await process.wait()

    assert process.returncode == 130
    assert names_in(tmp_path) in ([], [".trio_dlm"])


MISUSES = [
    (("--audio-only", "--no-yt-dlp"), "--audio-only and --no-yt-dlp contradict each other"),
    (("--playlist", "--no-yt-dlp"), "--playlist and --no-yt-dlp contradict each other"),
    (("--playlist-limit", "3"), "--playlist-limit is for --playlist"),
    (("--yt-dlp", "--user", "me:secret"), "--user cannot be kept to by yt-dlp; leave it or --yt-dlp out"),
    (("--playlist", "--http2"), "--http2 cannot be kept to by yt-dlp; leave it or --playlist out"),
    (("--yt-dlp", "--mirror", "http://127.0.0.1:9/"), "--mirror cannot be kept to"),
    (("--playlist", "-o", "x"), "-o is for one file"),
    (("--audio-only", "--format", "b"), "--format and --audio-only contradict each other"),
    (("--audio-format", "ogg"), "--audio-format is one of"),
    (("--subtitles", ","), "it takes languages"),
    (("--cookies", "missing.txt"), "missing.txt"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSES)
async def test_what_cannot_be_meant_is_said_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = await command("get", *arguments, "http://127.0.0.1:9/x", cwd=tmp_path)

    assert done.code == 2
    assert words in " ".join(done.err.split())
    assert "secret" not in done.err


async def without_yt_dlp(*arguments: str, cwd: Path) -> Run:
    """Run the command where yt-dlp is not installed."""
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'yt_dlp' else find(name, *rest)\n"
        "from trio_dlm.cli import main\n"
        "main()\n"
    )
    return await command(*arguments, cwd=cwd, code=code, env=environment())


async def test_what_needs_yt_dlp_says_how_to_install_it(tmp_path: Path) -> None:
    done = await without_yt_dlp("get", "--audio-only", "http://127.0.0.1:9/x", cwd=tmp_path)

    assert done.code == 2
    assert "--audio-only: this takes yt-dlp, which is not there; " in " ".join(done.err.split())
    assert "pip install" in done.err


async def test_where_it_is_not_installed_everything_is_a_file(media: MediaSite, tmp_path: Path) -> None:
    done = await without_yt_dlp("get", media.url("hls/index.m3u8"), cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    assert names_in(tmp_path) == ["index.m3u8"]


async def test_the_command_never_imports_yt_dlp(media: MediaSite, tmp_path: Path) -> None:
    code = "import sys\nfrom trio_dlm.cli import run\nprint(run(sys.argv[1:]), 'yt_dlp' in sys.modules)"

    done = await command("get", "-q", "--yt-dlp", media.url("one.html"), cwd=tmp_path, code=code)

    assert done.out == "0 False\n"

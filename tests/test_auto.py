"""Files go over HTTP and media to yt-dlp, and nobody is asked in vain."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.media import MediaSite
from tests.media.plugin import python_with_plugin
from trio_dlm import (
    AutoDownloader,
    DownloadFailedError,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    HttpDownloader,
    HttpStatusError,
    InvalidUrlError,
    MediaError,
    MediaErrorKind,
    MediaResult,
    MissingRequirementError,
    YtDlpDownloader,
    YtDlpOptions,
    open_manager,
)
from trio_dlm.downloaders import _auto

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, which makes the media")

LIMIT_S: Final = 60.0

# A worker could not even be started.
NO_WORKER: Final = Path("no-such-interpreter")


def knowing(tmp_path: Path) -> YtDlpDownloader:
    """One that knows the site's shows by name."""
    python = python_with_plugin(tmp_path)
    return YtDlpDownloader(YtDlpOptions(plugins=True, retries=0), python=python, retries=0)


def unable() -> YtDlpDownloader:
    """One that fails as soon as it is asked."""
    return YtDlpDownloader(python=NO_WORKER)


async def fetch(url: str, directory: Path, media: YtDlpDownloader, **fields: Any) -> DownloadResult:
    downloader = AutoDownloader(HttpDownloader(retries=0), media)
    with trio.fail_after(LIMIT_S):
        async with open_manager(downloader=downloader, directory=directory, failures="keep") as manager:
            return await manager.download(url, **fields)


async def test_a_file_is_fetched_by_one_request_without_a_worker(media: MediaSite, tmp_path: Path) -> None:
    media.reset()

    result = await fetch(media.url("direct.mp4"), tmp_path, unable())

    assert result.path == tmp_path / "direct.mp4"
    assert result.path.read_bytes() == (media.root / "direct.mp4").read_bytes()
    assert not isinstance(result, MediaResult)


async def test_a_page_of_a_known_site_is_for_yt_dlp(media: MediaSite, tmp_path: Path) -> None:
    saved = tmp_path / "saved"

    result = await fetch(media.url("show/direct.mp4"), saved, knowing(tmp_path))

    assert isinstance(result, MediaResult)
    assert result.media.title == "A Show"
    assert result.path.read_bytes() == (media.root / "direct.mp4").read_bytes()
    assert [path.name for path in saved.iterdir()] == [result.path.name], "nothing of the page is there"


async def test_a_page_of_an_unknown_site_is_a_file(media: MediaSite, tmp_path: Path) -> None:
    saved = tmp_path / "saved"

    result = await fetch(media.url("page.html"), saved, knowing(tmp_path))

    assert not isinstance(result, MediaResult)
    assert result.path.name == "page.html"
    assert b"<html" in result.path.read_bytes().lower()


async def test_a_list_of_segments_is_for_yt_dlp(media: MediaSite, tmp_path: Path) -> None:
    result = await fetch(media.url("hls/index.m3u8"), tmp_path / "saved", knowing(tmp_path))

    assert isinstance(result, MediaResult)
    assert result.path.suffix == ".mp4"


async def test_a_site_that_turns_programs_away_may_be_known(media: MediaSite, tmp_path: Path) -> None:
    result = await fetch(media.url("show/direct.mp4", only="show", fail="403x9"), tmp_path / "s", knowing(tmp_path))

    assert isinstance(result, MediaResult)


async def test_a_refusal_by_a_site_that_nobody_knows_is_the_servers(media: MediaSite, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailedError, match="403") as caught:
        await fetch(media.url("403.mp4"), tmp_path / "s", knowing(tmp_path))

    assert isinstance(caught.value.__cause__, HttpStatusError)


async def test_an_address_that_does_not_exist_asks_no_worker(media: MediaSite, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailedError, match="404"):
        await fetch(media.url("404.mp4"), tmp_path, unable())


async def test_what_yt_dlp_says_of_a_site_that_it_knows_counts(media: MediaSite, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailedError, match="404") as caught:
        await fetch(media.url("show/404.mp4"), tmp_path / "s", knowing(tmp_path))

    error = caught.value.__cause__
    assert isinstance(error, MediaError)
    assert error.kind is MediaErrorKind.HTTP_STATUS


@pytest.mark.parametrize("fields", [{"headers": {"X-Token": "1"}}, {"mirrors": ["http://127.0.0.1:9/page.html"]}])
async def test_what_only_http_can_do_goes_over_http(media: MediaSite, tmp_path: Path, fields: dict[str, Any]) -> None:
    result = await fetch(media.url("page.html"), tmp_path, unable(), **fields)

    assert result.path.name == "page.html"


async def test_a_cancel_ends_the_one_that_fetches(media: MediaSite, tmp_path: Path) -> None:
    downloader = AutoDownloader(media=knowing(tmp_path))
    url = media.url("show/direct.mp4", rate=50_000)
    with trio.fail_after(LIMIT_S):
        async with open_manager(downloader=downloader, directory=tmp_path / "s") as manager:
            task = await manager.submit(url)
            async with manager.events() as events:
                async for snapshot in events:
                    if snapshot.progress.received_bytes:
                        break
            await task.cancel()

    assert task.status is DownloadStatus.CANCELLED
    assert not [path for path in (tmp_path / "s").iterdir() if path.suffix == ".mp4"]


async def test_without_yt_dlp_everything_is_a_file(
    media: MediaSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_auto, "find_yt_dlp", lambda: None)
    downloader = AutoDownloader()
    assert not downloader.can_fetch_media

    async with open_manager(downloader=downloader, directory=tmp_path) as manager:
        result = await manager.download(media.url("page.html"))

    assert result.path.name == "page.html"


def test_where_yt_dlp_cannot_run_everything_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise MissingRequirementError(requirement="a POSIX system", url="")

    monkeypatch.setattr(_auto, "YtDlpDownloader", refuse)

    assert not AutoDownloader().can_fetch_media


def test_there_is_a_yt_dlp_here() -> None:
    assert AutoDownloader().can_fetch_media


def test_what_can_never_be_fetched_is_refused() -> None:
    with pytest.raises(InvalidUrlError):
        AutoDownloader().check_request(DownloadRequest("ftp://example.org/x"))


@pytest.mark.parametrize("arguments", [{"http": object()}, {"media": object()}])
def test_it_takes_downloaders_of_ours(arguments: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="Downloader, got"):
        AutoDownloader(**arguments)  # type: ignore[arg-type]


async def test_an_open_one_cannot_be_opened_again() -> None:
    http = HttpDownloader()
    async with http:
        with pytest.raises(RuntimeError, match="open already"):
            async with AutoDownloader(http):
                pass

    assert "AutoDownloader of <HttpDownloader closed>" in repr(AutoDownloader(http))

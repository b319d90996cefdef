"""The manager and the HTTP downloader together, on a real socket: what only shows where the two meet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

import trio_dlm
from trio_dlm import DownloadFailedError, DownloadOptions, DownloadTimeoutError, HttpDownloader, InvalidUrlError
from trio_dlm.testing.origin import Connection, Origin, Request, open_origin, reply

BODY = b"what was fetched"


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
async def origin() -> AsyncGenerator[Origin, None]:
    async with open_origin() as opened:
        opened.reply("/a.bin", reply(BODY))
        yield opened


async def test_one_call_downloads_one_file(origin: Origin, tmp_path: Path) -> None:
    saved = await trio_dlm.download(origin.url("/a.bin"), tmp_path)
    assert saved.path == tmp_path / "a.bin"
    assert await trio.Path(saved.path).read_bytes() == BODY


async def test_one_call_raises_what_went_wrong(tmp_path: Path) -> None:
    with pytest.raises(InvalidUrlError, match="ftp"):
        await trio_dlm.download("ftp://127.0.0.1/a.bin", tmp_path)


async def test_the_request_names_the_directory_before_the_downloader_before_the_manager(
    origin: Origin, tmp_path: Path
) -> None:
    downloader = HttpDownloader(directory=tmp_path / "downloader's")
    async with trio_dlm.open_manager(directory=tmp_path / "manager's", downloader=downloader) as manager:
        plain = await manager.download(origin.url("/a.bin"))
        own = await manager.download(origin.url("/a.bin"), directory=tmp_path / "request's")
    async with trio_dlm.open_manager(directory=tmp_path / "manager's") as manager:
        least = await manager.download(origin.url("/a.bin"))
    assert plain.path.parent == tmp_path / "downloader's"
    assert own.path.parent == tmp_path / "request's"
    assert least.path.parent == tmp_path / "manager's"


async def test_a_limit_for_a_whole_run_may_come_from_the_downloader_or_the_request(
    origin: Origin, tmp_path: Path
) -> None:
    async def silence(connection: Connection, request: Request) -> None:
        await connection.wait_closed()

    origin.on("/a.bin", silence)
    origin.on("/b.bin", silence)
    downloader = HttpDownloader(total_timeout_s=0.1)
    async with trio_dlm.open_manager(directory=tmp_path, downloader=downloader, failures="keep") as manager:
        task = await manager.submit(origin.url("/a.bin"))
        other = await manager.submit(origin.url("/b.bin"), options=DownloadOptions(total_timeout_s=0.2))
        for each, limit in ((task, "0.1 s"), (other, "0.2 s")):
            with pytest.raises(DownloadFailedError, match=limit) as caught:
                await each.result()
            assert isinstance(caught.value.__cause__, DownloadTimeoutError)
    assert names_in(tmp_path) == []


async def test_a_cancelled_download_leaves_no_part(origin: Origin, tmp_path: Path) -> None:
    async def some_of_it(connection: Connection, request: Request) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000))
        await connection.wait_closed()

    origin.on("/a.bin", some_of_it)
    async with trio_dlm.open_manager(directory=tmp_path) as manager:
        task = await manager.submit(origin.url("/a.bin"))
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                if snapshot.progress.received_bytes:
                    break
        assert names_in(tmp_path) == ["a.bin.part"]
        assert await task.cancel("seen enough")
        assert names_in(tmp_path) == []

"""The manager and the HTTP downloader together, on a real socket: what only shows where the two meet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

import trio_dlm
from trio_dlm import DownloadFailedError, DownloadOptions, DownloadTimeoutError, HttpDownloader, InvalidUrlError
from trio_dlm.testing.origin import (
    Connection,
    Origin,
    Request,
    Resource,
    Script,
    head,
    honest_reply,
    open_origin,
    reply,
)

BODY = b"what was fetched"


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def serving(resource: Resource, *, stop_at: int | None = None) -> Script:
    """Serve *resource* rightly, but fall silent after *stop_at* bytes of a body."""

    async def script(connection: Connection, request: Request) -> None:
        right = honest_reply(request, resource)
        await connection.send(right.head(), right.content[:stop_at])
        if stop_at is not None:
            await connection.wait_closed()

    return script


async def until_received(
    manager: trio_dlm.DownloadManager, task: trio_dlm.DownloadTask[trio_dlm.DownloadResult], size_bytes: int
) -> None:
    async with manager.events(tasks=[task]) as events:
        async for snapshot in events:
            if snapshot.progress.received_bytes >= size_bytes:
                return


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


@pytest.mark.parametrize(
    ("validator", "kept"),
    [([], []), (['ETag: "v1"'], ["a.bin.part", "a.bin.part.json"]), (['ETag: W/"v1"'], [])],
)
async def test_a_cancelled_download_leaves_what_a_later_one_can_go_on_from(
    origin: Origin, tmp_path: Path, validator: list[str], kept: list[str]
) -> None:
    body = bytes(range(250)) * 4000

    async def some_of_it(connection: Connection, request: Request) -> None:
        await connection.send(head(f"Content-Length: {len(body)}", *validator), body[:1000])
        await connection.wait_closed()

    origin.on("/a.bin", some_of_it)
    async with trio_dlm.open_manager(directory=tmp_path) as manager:
        task = await manager.submit(origin.url("/a.bin"))
        await until_received(manager, task, 1000)
        assert names_in(tmp_path) == ["a.bin.part", "a.bin.part.json", "a.bin.part.lock"]
        assert await task.cancel("seen enough")
        assert names_in(tmp_path) == kept
        origin.on("/a.bin", serving(Resource(body)))
        saved = await manager.download(origin.url("/a.bin"))
    assert await trio.Path(saved.path).read_bytes() == body
    assert names_in(tmp_path) == ["a.bin"]
    assert origin.requests[-1].range == (1000 if kept else 0, len(body) - 1 if kept else None)


async def test_a_paused_download_keeps_its_bytes_and_goes_on_from_them(origin: Origin, tmp_path: Path) -> None:
    resource = Resource(bytes(range(250)) * 4000)
    origin.on("/a.bin", serving(resource, stop_at=600_000))
    async with trio_dlm.open_manager(directory=tmp_path) as manager:
        task = await manager.submit(origin.url("/a.bin"))
        await until_received(manager, task, 600_000)
        assert await task.pause()
        assert task.progress.received_bytes == 600_000
        assert names_in(tmp_path) == ["a.bin.part", "a.bin.part.json"]
        origin.on("/a.bin", serving(resource))
        task.resume()
        saved = await task.result()
    assert await trio.Path(saved.path).read_bytes() == resource.body
    assert [request.header("range") for request in origin.requests] == ["bytes=0-", "bytes=600000-999999"]
    assert origin.requests[-1].header("if-range") == '"v1"'
    assert names_in(tmp_path) == ["a.bin"]


async def test_a_paused_download_that_cannot_go_on_begins_from_zero(origin: Origin, tmp_path: Path) -> None:
    resource = Resource(BODY * 1000, validators="none")
    origin.on("/a.bin", serving(resource, stop_at=1000))
    async with trio_dlm.open_manager(directory=tmp_path) as manager:
        task = await manager.submit(origin.url("/a.bin"))
        await until_received(manager, task, 1000)
        assert await task.pause()
        assert task.progress.received_bytes == 0
        assert names_in(tmp_path) == []
        origin.on("/a.bin", serving(resource))
        task.resume()
        saved = await task.result()
    assert await trio.Path(saved.path).read_bytes() == resource.body
    assert [request.header("range") for request in origin.requests] == ["bytes=0-", "bytes=0-"]

"""Bodies that go from the connection to the disk without coming into hand: the same bytes, for less."""

from __future__ import annotations

import hashlib
import random
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from tests.ways import take_way
from trio_dlm import (
    DownloadFailedError,
    DownloadResult,
    DownloadStatus,
    IncompleteBodyError,
    StalledError,
    open_manager,
)
from trio_dlm.downloaders.http import HttpDownloader
from trio_dlm.downloaders.http.files import _part
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

# The same in every process, since its digest is the name of a test.
BODY = random.Random(7).randbytes(24 * 1024 * 1024)
SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
async def origin(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Origin]:
    tls: ssl.SSLContext | bool = False
    if request.param == "https":
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with open_origin(tls=tls) as opened:
        yield opened


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much went in each hop."""
    sizes: list[int] = []
    pull = _part.Part.pull

    def counting(self: _part.Part, offset: int, most: int, read: Callable[[memoryview], int | None]) -> _part.Pulled:
        pulled = pull(self, offset, most, read)
        sizes.append(pulled.size_bytes)
        return pulled

    monkeypatch.setattr(_part.Part, "pull", counting)
    return sizes


async def fetch(url: str, directory: Path, **fields: Any) -> DownloadResult:
    downloader = HttpDownloader(connections=1, **{"retries": 0, **fields})
    with trio.fail_after(60):
        async with open_manager(directory=directory, downloader=downloader, failures="keep") as manager:
            return await manager.download(url)


@pytest.mark.parametrize("checksum", [None, SHA256])
async def test_a_large_body_is_moved_and_whole(
    origin: Origin, tmp_path: Path, moved: list[int], checksum: str | None
) -> None:
    result = await fetch(origin.reply("/a", reply(BODY)), tmp_path / "d", checksum=checksum)

    assert result.path.read_bytes() == BODY
    assert sum(moved) > len(BODY) / 2


async def test_a_connection_is_used_again_after_a_moved_body(origin: Origin, tmp_path: Path, moved: list[int]) -> None:
    urls = [origin.reply(f"/{name}", reply(BODY)) for name in "ab"]
    with trio.fail_after(60):
        async with open_manager(1, directory=tmp_path / "d", downloader=HttpDownloader(connections=1)) as manager:
            for url in urls:
                assert (await manager.download(url)).path.read_bytes() == BODY

    assert moved
    assert len({request.connection for request in origin.requests}) == 1


async def test_what_came_before_a_break_is_gone_on_from(origin: Origin, tmp_path: Path, moved: list[int]) -> None:
    cut = 15 * 1024 * 1024

    async def script(connection: Connection, request: Request) -> None:
        start = int((request.header("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        said = [f"Content-Length: {len(BODY) - start}", 'ETag: "v"', "Accept-Ranges: bytes"]
        if start:
            said.append(f"Content-Range: bytes {start}-{len(BODY) - 1}/{len(BODY)}")
            await connection.send(head(*said, status="206 Partial Content"), BODY[start:])
        else:
            await connection.send(head(*said), BODY[:cut])
            await connection.close()

    origin.on("/a", script)
    result = await fetch(origin.url("/a"), tmp_path / "d", retries=3)

    assert result.path.read_bytes() == BODY
    assert moved
    assert (origin.requests[1].header("range") or "").startswith(f"bytes={cut}-")


async def test_a_body_that_ends_early_says_so(origin: Origin, tmp_path: Path, moved: list[int]) -> None:
    url = origin.reply("/a", head(f"Content-Length: {len(BODY)}"), BODY[:-1], close=True)

    with pytest.raises(DownloadFailedError) as caught:
        await fetch(url, tmp_path / "d")

    assert isinstance(caught.value.__cause__, IncompleteBodyError)
    assert moved


async def test_a_body_that_stalls_says_so(origin: Origin, tmp_path: Path, moved: list[int]) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head(f"Content-Length: {len(BODY)}"), BODY[: 16 * 1024 * 1024])
        await connection.wait_closed()

    origin.on("/a", script)
    with pytest.raises(DownloadFailedError) as caught:
        await fetch(origin.url("/a"), tmp_path / "d", timeout_s=0.5)

    assert isinstance(caught.value.__cause__, StalledError)
    assert moved


async def test_a_cancel_leaves_nothing_running(origin: Origin, tmp_path: Path, moved: list[int]) -> None:
    url = origin.reply("/a", reply(BODY))
    downloader = HttpDownloader(connections=1)
    async with open_manager(directory=tmp_path / "d", downloader=downloader) as manager:
        task = await manager.submit(url)
        async with manager.events() as events:
            async for snapshot in events:
                if snapshot.progress.received_bytes > 4 * 1024 * 1024:
                    break
        await task.cancel()
        assert task.status in (DownloadStatus.CANCELLED, DownloadStatus.COMPLETED)
        hops = len(moved)
    await origin.wait_no_connections()
    assert len(moved) == hops


async def test_the_library_moves_nothing(
    origin: Origin, tmp_path: Path, moved: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_way("httpx2", monkeypatch)

    result = await fetch(origin.reply("/a", reply(BODY)), tmp_path / "d")

    assert result.path.read_bytes() == BODY
    assert moved == []

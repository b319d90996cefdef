"""Files over HTTP on a real socket, on every backend (laws 6 to 9): whole or absent, of one version, and no hang."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import httpx
import pytest
import trio

import trio_dlm
from tests.conformance.backends import on_every_backend
from tests.conformance.downloaders import Bell, received, saved
from trio_dlm import (
    ChecksumMismatchError,
    DownloadFailedError,
    DownloadJob,
    DownloadOptions,
    DownloadResult,
    DownloadStatus,
    DownloadTimeoutError,
    HttpDownloader,
    InvalidNameError,
    InvalidUrlError,
    TargetExistsError,
    open_manager,
)

BODY = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Site:
    """A server in threads, which stops in the middle of a body until it is told to go on.

    Attributes:
        body, etag: of the file, wherever it is asked for.
        halt_after: how many bytes of a body are sent before it waits; None sends all.
        asked: the Range of every request.
    """

    address: str
    body: bytes = BODY
    etag: str = '"one"'
    halt_after: int | None = None
    asked: list[str | None] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)
    go_on: threading.Event = field(default_factory=threading.Event)

    def url(self, name: str = "a.bin") -> str:
        return f"{self.address}/{name}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append(self.headers["Range"])
        site.bell.ring()
        body, start = site.body, 0
        wanted = self.headers["Range"]
        if wanted is not None and self.headers["If-Range"] in (None, site.etag):
            start, end = (int(each) if each else None for each in wanted.removeprefix("bytes=").split("-"))  # type: ignore[assignment]
            end = len(body) - 1 if end is None else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            body = body[start : end + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", site.etag)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        with suppress(OSError):
            if site.halt_after is None:
                self.wfile.write(body)
            else:
                self.wfile.write(body[: site.halt_after])
                site.go_on.wait()
                self.wfile.write(body[site.halt_after :])

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    # A handler ends with its connection, and the test ends those.
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A client that went away is none of the test's business."""


@pytest.fixture
def site() -> Generator[Site, None, None]:
    class HandlerOfOneSite(Handler):
        pass

    server = Server(("127.0.0.1", 0), HandlerOfOneSite)
    HandlerOfOneSite.site = Site(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield HandlerOfOneSite.site
    finally:
        HandlerOfOneSite.site.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def sizes_in(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()}


@on_every_backend
async def test_one_call_downloads_one_file(site: Site, tmp_path: Path) -> None:
    result = await trio_dlm.download(site.url(), tmp_path, checksum=f"sha256:{SHA256}")
    assert result == DownloadResult(path=tmp_path / "a.bin", size_bytes=len(BODY), checksum=f"sha256:{SHA256}")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert names_in(tmp_path) == ["a.bin"]
    named = await trio_dlm.download(site.url(), tmp_path, options=DownloadOptions(filename="b.bin"))
    assert named.path == tmp_path / "b.bin"


@on_every_backend
async def test_one_call_raises_what_went_wrong(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidUrlError, match="ftp"):
        await trio_dlm.download("ftp://127.0.0.1/a.bin", tmp_path)
    with pytest.raises(DownloadFailedError) as caught:
        await trio_dlm.download(site.url(), tmp_path, checksum=f"sha256:{'0' * 64}")
    assert isinstance(caught.value.__cause__, ChecksumMismatchError)
    assert names_in(tmp_path) == []


@on_every_backend
async def test_one_call_that_is_cancelled_leaves_no_file_and_no_download(site: Site, tmp_path: Path) -> None:
    site.halt_after = 1000
    async with anyio.create_task_group() as group:
        group.start_soon(trio_dlm.download, site.url(), tmp_path)
        await site.bell.until(lambda: site.asked)
        group.cancel_scope.cancel()
    assert "a.bin" not in names_in(tmp_path)


@on_every_backend
async def test_several_files_come_whole(site: Site, tmp_path: Path) -> None:
    async with open_manager(3, directory=tmp_path) as manager:
        batch = await manager.submit_many(site.url(f"{number}.bin") for number in range(6))
        await batch.wait()
        assert batch.progress.received_bytes == 6 * len(BODY)
        assert manager.get_stats().bytes_received == 6 * len(BODY)
    for task in batch:
        result = await task.result()
        assert result.path.read_bytes() == BODY
    assert names_in(tmp_path) == [f"{number}.bin" for number in range(6)]


@on_every_backend
async def test_a_file_that_is_there_is_not_replaced_unless_asked(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"mine")
    async with open_manager(directory=tmp_path) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(site.url())
        assert isinstance(caught.value.__cause__, TargetExistsError)
        assert (tmp_path / "a.bin").read_bytes() == b"mine"
        other = await manager.download(site.url(), overwrite="unique")
        assert other.path.name != "a.bin"
        assert (tmp_path / "a.bin").read_bytes() == b"mine"
        await manager.download(site.url(), overwrite=True)
        assert (tmp_path / "a.bin").read_bytes() == BODY


@on_every_backend
async def test_nothing_is_written_outside_of_the_directory(site: Site, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    async with open_manager(directory=inside) as manager:
        with pytest.raises(InvalidNameError):
            await manager.submit(site.url(), filename="../outside.bin")
        result = await manager.download(site.url("%2e%2e%2foutside.bin"))
    assert result.path.parent == inside
    assert names_in(tmp_path) == ["inside"]


@on_every_backend
async def test_a_file_appears_only_when_it_is_whole(site: Site, tmp_path: Path) -> None:
    site.halt_after = 1000
    async with open_manager(directory=tmp_path) as manager:
        task = await manager.submit(site.url())
        await received(manager, task, 1000)
        assert "a.bin" not in names_in(tmp_path)
        site.go_on.set()
        await task.result()
        assert names_in(tmp_path) == ["a.bin"]


@on_every_backend
async def test_what_was_paused_goes_on_from_where_it_was(site: Site, tmp_path: Path) -> None:
    site.halt_after = 100_000
    async with open_manager(directory=tmp_path) as manager:
        task = await manager.submit(site.url(), checksum=f"sha256:{SHA256}")
        await received(manager, task, 100_000)
        assert await task.pause() is True
        assert "a.bin" not in names_in(tmp_path)
        kept = task.progress.received_bytes
        assert 0 < kept <= 100_000
        site.halt_after = None
        assert task.resume() is True
        result = await task.result()
        assert task.attempts == 2
    assert result.path.read_bytes() == BODY
    assert site.asked[-1] is not None
    assert site.asked[-1].startswith(f"bytes={kept}-")


@on_every_backend
async def test_all_bytes_of_a_file_come_from_one_version(site: Site, tmp_path: Path) -> None:
    site.halt_after = 100_000
    async with open_manager(directory=tmp_path) as manager:
        task = await manager.submit(site.url())
        await received(manager, task, 100_000)
        assert await task.pause() is True
        site.halt_after, site.body, site.etag = None, BODY[::-1], '"two"'
        assert task.resume() is True
        result = await task.result()
    assert result.path.read_bytes() == BODY[::-1]


@on_every_backend
async def test_a_server_that_falls_silent_is_given_up_and_named(site: Site, tmp_path: Path) -> None:
    site.halt_after = 1000
    async with open_manager(directory=tmp_path, downloader=HttpDownloader(retries=0)) as manager:
        with pytest.raises(DownloadFailedError) as caught:
            await manager.download(site.url(), timeout_s=0.05)
    error = caught.value.__cause__
    assert isinstance(error, DownloadTimeoutError)
    assert (error.option, error.limit_s, error.url) == ("timeout_s", 0.05, site.url())
    assert "a.bin" not in names_in(tmp_path)


@on_every_backend
async def test_a_cancelled_transfer_has_let_go_of_its_file_and_its_connection(site: Site, tmp_path: Path) -> None:
    site.halt_after = 1000
    async with open_manager(1, directory=tmp_path) as manager:
        task = await manager.submit(site.url())
        await received(manager, task, 1000)
        assert await task.cancel() is True
        before = sizes_in(tmp_path)
        site.go_on.set()
        site.halt_after = None
        await manager.download(site.url("b.bin"))
        assert {name: size for name, size in sizes_in(tmp_path).items() if name in before} == before
        # What was kept is good for another try.
        again = task.retry()
        assert (await again.result()).path.read_bytes() == BODY
    assert names_in(tmp_path) == ["a.bin", "b.bin"]


@on_every_backend
async def test_a_manager_that_ends_in_the_middle_keeps_what_was_received(site: Site, tmp_path: Path) -> None:
    site.halt_after = 100_000
    async with open_manager(directory=tmp_path, on_exit="cancel") as manager:
        task = await manager.submit(site.url())
        await received(manager, task, 100_000)
    assert task.status is DownloadStatus.CANCELLED
    site.halt_after = None
    await trio_dlm.download(site.url(), tmp_path, checksum=f"sha256:{SHA256}")
    assert site.asked[-1] is not None
    assert names_in(tmp_path) == ["a.bin"]


# A downloader of one's own, on the client that its block shares.


class Fetcher:
    """Fetches with httpx, through a client that is opened with the block."""

    async def __aenter__(self) -> Self:
        self.client = httpx.AsyncClient(trust_env=False)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with trio.CancelScope(shield=True):
            await self.client.aclose()

    async def download(self, job: DownloadJob) -> DownloadResult:
        reply = await self.client.get(job.url)
        job.progress.advance(len(reply.content))
        return saved(job, len(reply.content))


@on_every_backend
async def test_a_downloader_may_use_httpx_of_its_own(site: Site) -> None:
    async with open_manager(2, downloader=Fetcher()) as manager:
        batch = await manager.submit_many(site.url(str(number)) for number in range(4))
        await batch.wait()
        assert [(await task.result()).size_bytes for task in batch] == [len(BODY)] * 4


@on_every_backend
async def test_the_program_may_use_httpx_beside_it(site: Site, tmp_path: Path) -> None:
    async with open_manager(directory=tmp_path) as manager, httpx.AsyncClient(trust_env=False) as client:
        task = await manager.submit(site.url())
        reply = await client.get(site.url("other"))
        assert reply.content == BODY
        assert (await task.result()).size_bytes == len(BODY)

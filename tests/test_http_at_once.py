"""Small files that come in one read: the same results as on the long way, with fewer calls of the file system."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_dlm import (
    ChecksumMismatchError,
    DownloadFailedError,
    DownloadResult,
    IncompleteBodyError,
    StalledError,
    TargetExistsError,
    open_manager,
)
from trio_dlm.downloaders.disk import _unnamed
from trio_dlm.downloaders.http import HttpDownloader, _at_once
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

BODY = b"a small file"
SHA256 = hashlib.sha256(BODY).hexdigest()

pytestmark = pytest.mark.skipif(not _unnamed.can_be_unnamed(), reason="this system has no unnamed files")


@pytest.fixture
async def origin() -> AsyncGenerator[Origin]:
    async with open_origin() as opened:
        opened.reply("/a", reply(BODY))
        yield opened


@pytest.fixture
def short_ways(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """What became of every file that was to be saved in one step."""
    found: list[Path | None] = []

    def save(*args: Any) -> Path | None:
        found.append(_unnamed.save_whole(*args))
        return found[-1]

    monkeypatch.setattr(_at_once, "save_whole", save)
    return found


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def fetch(url: str, directory: Path, **fields: Any) -> DownloadResult:
    with trio.fail_after(30):
        async with open_manager(directory=directory, downloader=HttpDownloader(retries=0), failures="keep") as manager:
            return await manager.download(url, **fields)


async def test_a_small_file_is_saved_in_one_step(origin: Origin, tmp_path: Path, short_ways: list[Path | None]) -> None:
    result = await fetch(origin.url("/a"), tmp_path / "new" / "directory", checksum=f"sha256:{SHA256}")

    # The directory is made when it turns out to be missing.
    assert short_ways == [None, result.path]
    assert result.path.read_bytes() == BODY
    assert result.checksum == f"sha256:{SHA256}"
    assert names_in(result.path.parent) == ["a"]


@pytest.mark.parametrize(
    "fields", [{"durability": "power"}, {"overwrite": True}, {"rate_limit_bytes_per_s": 1e9}, {"filename": "a"}]
)
async def test_what_is_not_plain_goes_the_long_way(
    origin: Origin, tmp_path: Path, short_ways: list[Path | None], fields: dict[str, Any]
) -> None:
    result = await fetch(origin.url("/a"), tmp_path, **fields)

    assert short_ways == []
    assert result.path.read_bytes() == BODY


async def test_a_name_that_is_taken_is_refused_as_ever(
    origin: Origin, tmp_path: Path, short_ways: list[Path | None]
) -> None:
    (tmp_path / "a").write_bytes(b"there")

    with pytest.raises(DownloadFailedError) as caught:
        await fetch(origin.url("/a"), tmp_path)

    assert isinstance(caught.value.__cause__, TargetExistsError)
    assert (tmp_path / "a").read_bytes() == b"there"
    assert names_in(tmp_path) == ["a"]


async def test_a_file_that_is_there_and_proven_is_used(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BODY)

    result = await fetch(origin.url("/a"), tmp_path, checksum=f"sha256:{SHA256}")

    assert result.reused


@pytest.mark.parametrize("says", ["checksum", "Repr-Digest", "Content-Digest"])
async def test_a_digest_that_does_not_fit_is_told_as_ever(
    origin: Origin, tmp_path: Path, says: str, short_ways: list[Path | None]
) -> None:
    wrong = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    fields: dict[str, Any] = {}
    if says == "checksum":
        fields["checksum"] = "sha256:" + "0" * 64
        origin.reply("/w", reply(BODY))
    else:
        origin.reply("/w", head(f"Content-Length: {len(BODY)}", f"{says}: {wrong}") + BODY)

    with pytest.raises(DownloadFailedError) as caught:
        await fetch(origin.url("/w"), tmp_path, **fields)

    assert isinstance(caught.value.__cause__, ChecksumMismatchError)
    assert short_ways == []
    assert names_in(tmp_path) == []


async def test_where_there_are_no_unnamed_files_it_goes_the_long_way_with_what_came(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_at_once, "save_whole", lambda *_: None)

    result = await fetch(origin.url("/a"), tmp_path)

    assert result.path.read_bytes() == BODY
    assert len(origin.requests) == 1


async def test_progress_and_statistics_count_it_once(origin: Origin, tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with open_manager(directory=tmp_path, downloader=HttpDownloader()) as manager:
            task = await manager.submit(origin.url("/a"))
            await task.result()

    assert (task.progress.received_bytes, task.progress.total_bytes) == (len(BODY), len(BODY))
    assert manager.get_stats().bytes_received == len(BODY)


async def test_a_small_body_that_does_not_come_is_a_stall(origin: Origin, tmp_path: Path) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 5"))
        await connection.wait_closed()

    origin.on("/s", script)
    with pytest.raises(DownloadFailedError) as caught:
        await fetch(origin.url("/s"), tmp_path, timeout_s=0.2)

    assert isinstance(caught.value.__cause__, StalledError)
    assert names_in(tmp_path) == []


async def test_a_body_in_chunks_that_has_not_the_size_of_its_range_is_not_taken(
    origin: Origin, tmp_path: Path, short_ways: list[Path | None]
) -> None:
    fields = ("Content-Range: bytes 0-11/12", 'ETag: "a"', "Transfer-Encoding: chunked")
    origin.reply("/c", head(*fields, status="206 Partial Content") + b"3\r\nabc\r\n0\r\n\r\n")

    with pytest.raises(DownloadFailedError) as caught:
        await fetch(origin.url("/c"), tmp_path)

    assert isinstance(caught.value.__cause__, IncompleteBodyError)
    assert short_ways == []

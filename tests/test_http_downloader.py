"""The HTTP downloader against a server that lies, stalls and breaks off, on a real socket, with both client libraries.

What holds whatever happens: the file is whole or absent, a part is left only with the record that lets a later run go
on from it, nothing lies outside the directory, and no connection stays in use.

Resuming, segments, mirrors and what is tried again have files of their own.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import ssl
import traceback
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Unpack

import pytest
import trio
import trustme

from tests.ways import LIBRARIES, WAYS, take_way
from trio_dlm._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadTimeoutError,
    HttpClientError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidNameError,
    InvalidUrlError,
    RedirectError,
    StalledError,
    StorageError,
    TargetExistsError,
    TooLargeError,
    TransferError,
    UnusableReplyError,
)
from trio_dlm._meter import ProgressMeter
from trio_dlm._options import DownloadOptions, FileOptionsFields
from trio_dlm._records import DownloadRequest, DownloadResult
from trio_dlm._status import DownloadPhase
from trio_dlm.downloaders import DownloadJob
from trio_dlm.downloaders.http import HttpDownloader
from trio_dlm.downloaders.http.client import _exchange
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

MIB = 1024 * 1024
BODY = b"what was fetched"
OLD = b"what was there"
SOON = 0.2


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def _trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test's own authority, and nobody else's: that also saves the time to load all the others.
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


@pytest.fixture(params=WAYS)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    return take_way(request.param, monkeypatch)


@pytest.fixture
async def downloader(library: Any) -> AsyncGenerator[HttpDownloader, None]:
    async with HttpDownloader() as opened:
        yield opened


@pytest.fixture
async def origin() -> AsyncGenerator[Origin, None]:
    async with open_origin() as opened:
        yield opened


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncGenerator[Origin, None]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with open_origin(tls=context) as opened:
        yield opened


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def job_for(
    url: str, directory: Path, *, changed: Callable[[], None] = lambda: None, **options: Unpack[FileOptionsFields]
) -> DownloadJob:
    meter = ProgressMeter(clock=trio.current_time, changed=changed)
    meter.open_run(keep_received=False)
    return DownloadJob(
        request=DownloadRequest(url, DownloadOptions(**options)),
        directory=directory,
        correlation_id="0badc0de",
        attempt=1,
        progress=meter,
        resources=None,
    )


async def fetch(
    downloader: HttpDownloader, url: str, directory: Path, **options: Unpack[FileOptionsFields]
) -> DownloadResult:
    return await downloader.download(job_for(url, directory, **options))


async def refused(
    kind: type[TransferError],
    match: str | None,
    downloader: HttpDownloader,
    url: str,
    directory: Path,
    **options: Unpack[FileOptionsFields],
) -> TransferError:
    """Expect an error of exactly *kind*, after one attempt unless told otherwise, and nothing new on disk."""
    options.setdefault("retries", 0)
    before = contents(directory)
    with pytest.raises(kind, match=match) as caught:
        await fetch(downloader, url, directory, **options)
    assert type(caught.value) is kind
    assert contents(directory) == before
    return caught.value


def contents(directory: Path) -> dict[str, bytes | None]:
    if not directory.exists():
        return {}
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in directory.iterdir()
    }


def put(directory: Path, **files: bytes) -> None:
    """Make *directory* with *files* in it."""
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


# A file arrives.


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB + 7])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_file_arrives_whole(
    downloader: HttpDownloader, origin: Origin, directory: Path, size: int, is_chunked: bool
) -> None:
    body = os.urandom(size)
    pieces = [body[start : start + 100_000] for start in range(0, size, 100_000)]
    said = head("Transfer-Encoding: chunked") + chunked(*pieces) if is_chunked else reply(body)
    job = job_for(origin.reply("/dir/a.bin", said), directory)
    result = await downloader.download(job)
    assert result == DownloadResult(path=directory / "a.bin", size_bytes=size)
    assert contents(directory) == {"a.bin": body}
    assert job.progress.received_bytes == size
    assert job.progress.total_bytes == size
    assert job.progress.phase is DownloadPhase.VERIFYING


async def test_a_file_arrives_over_tls(downloader: HttpDownloader, secure: Origin, directory: Path) -> None:
    body = os.urandom(3 * MIB)
    await fetch(downloader, secure.reply("/a", reply(body)), directory)
    await fetch(downloader, secure.reply("/b", head("Transfer-Encoding: chunked"), chunked(body)), directory)
    assert contents(directory) == {"a": body, "b": body}


async def test_a_file_without_a_length_ends_with_its_connection(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    url = origin.reply("/a", head(version="HTTP/1.0"), BODY, close=True)
    await fetch(downloader, url, directory)
    assert contents(directory) == {"a": BODY}


async def test_over_tls_a_file_without_a_length_must_be_proven(
    downloader: HttpDownloader, secure: Origin, directory: Path
) -> None:
    url = secure.reply("/a", head(), BODY, close=True)
    await refused(UnusableReplyError, "checksum=", downloader, url, directory)
    result = await fetch(downloader, url, directory, checksum=sha256(BODY))
    assert result.checksum == sha256(BODY)
    cut = secure.reply("/b", head(), BODY[:-1], close=True)
    await refused(ChecksumMismatchError, "expected", downloader, cut, directory, checksum=sha256(BODY))


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
async def test_progress_is_told_for_every_read(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    job = job_for(
        origin.reply("/a", reply(bytes(3 * MIB))),
        directory,
        changed=lambda: seen.append((job.progress.received_bytes, job.progress.total_bytes)),
    )
    await downloader.download(job)
    assert seen[0] == (0, 3 * MIB)
    assert seen[-1] == (3 * MIB, 3 * MIB)
    assert len(seen) > 3 * MIB / 100_000
    assert seen == sorted(seen)


async def test_ten_downloads_share_one_client(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    bodies = {f"{n}": os.urandom(n * 100_000) for n in range(10)}
    async with trio.open_nursery() as nursery:
        for name, body in bodies.items():
            nursery.start_soon(fetch, downloader, origin.reply(f"/{name}", reply(body)), directory)
    assert contents(directory) == bodies


async def test_a_small_file_takes_three_hops_to_a_thread_and_one_to_guess_its_name(
    downloader: HttpDownloader, origin: Origin, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops = 0
    run_sync = trio.to_thread.run_sync

    async def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal hops
        hops += 1
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", count)
    # On a machine that is busy it could come in two batches.
    monkeypatch.setattr(_exchange, "BATCH_S", 60.0)
    url = origin.reply("/a", reply(bytes(MIB - 1)))
    for filename, expected in (("b", 3), (None, 4)):
        hops = 0
        await fetch(downloader, url, directory, filename=filename)
        assert hops == expected


# A file does not arrive.


@pytest.mark.parametrize(
    ("said", "kind", "match"),
    [
        (head("Content-Length: 10") + b"abc", IncompleteBodyError, "got 3 bytes, expected 10 bytes"),
        (head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n", IncompleteBodyError, "got 3 bytes"),
        (head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n", IncompleteBodyError, "got 3 bytes"),
        (head("Transfer-Encoding: chunked") + b"xyz", IncompleteBodyError, "got 0 bytes"),
        (b"", ConnectionFailedError, "before the reply"),
        (b"HTTP/1.1 200", ConnectionFailedError, "before the reply"),
        (b"hello\r\n\r\n", UnusableReplyError, "not HTTP"),
        (head("Content-Length: x"), UnusableReplyError, None),
        (head("Content-Length: 1", "Content-Length: 2") + b"a", UnusableReplyError, None),
        (head("Content-Length: 5", "Transfer-Encoding: chunked") + chunked(b"abc"), UnusableReplyError, None),
        (head("Transfer-Encoding: gzip, chunked") + chunked(b"abc"), UnusableReplyError, None),
        (reply(b"\x1f\x8b", "Content-Encoding: gzip"), IncompleteBodyError, "gzip coding has not ended"),
        (reply(b"ab", "Content-Encoding: turned"), UnusableReplyError, "Content-Encoding 'turned'"),
        (reply(b"ab", "Content-Range: bytes 0-1/3", status="206 Partial Content"), UnusableReplyError, "206"),
        (reply(b"ab", "Content-Range: bytes 0-1/2"), UnusableReplyError, "Content-Range"),
        (head(version="HTTP/1.2"), UnusableReplyError, r"HTTP/1\.2"),
        (reply(b"", status="404 Not Found"), HttpStatusError, "404 Not Found; check the URL"),
        (reply(b"sorry", status="503 Busy"), HttpStatusError, "503 Busy; .*later"),
        (head(status="204 No Content"), HttpStatusError, "204"),
        (head(status="302 Found"), HttpStatusError, "302 Found; that leads nowhere"),
        (head("Location: file:///etc/passwd", "Content-Length: 0", status="302 Found"), RedirectError, "file"),
    ],
)
async def test_a_reply_that_delivers_no_whole_file_leaves_nothing(
    downloader: HttpDownloader,
    origin: Origin,
    directory: Path,
    said: bytes,
    kind: type[TransferError],
    match: str | None,
) -> None:
    url = origin.reply("/a", said, close=True)
    await refused(kind, match, downloader, url, directory)
    await refused(kind, match, downloader, url, directory, filename="b")
    await origin.wait_no_connections()


async def test_what_follows_the_promised_end_is_not_written(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    await fetch(downloader, origin.reply("/a", reply(BODY), b"and more"), directory)
    await fetch(downloader, origin.reply("/b", head("Transfer-Encoding: chunked"), chunked(BODY), b"more"), directory)
    assert contents(directory) == {"a": BODY, "b": BODY}


async def test_a_transport_that_delivers_another_length_is_not_believed(library: Any, directory: Path) -> None:
    async def handler(request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return library.Response(200, headers={"Content-Length": request.url.path[1:]}, stream=Body())

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            yield b"abc"
            yield b"def"

    async with (
        library.AsyncClient(transport=library.MockTransport(handler)) as client,
        HttpDownloader(client=client) as downloader,
    ):
        await refused(IncompleteBodyError, "longer than promised", downloader, "http://example.org/5", directory)
        await refused(IncompleteBodyError, "ended early", downloader, "http://example.org/7", directory)
        assert (await fetch(downloader, "http://example.org/6", directory)).size_bytes == 6


async def test_a_reset_leaves_nothing(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    first_came = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 10"), b"abc")
        await first_came.wait()
        await connection.reset()

    origin.on("/a", script)
    job = job_for(
        origin.url("/a"),
        directory,
        changed=lambda: first_came.set() if job.progress.received_bytes else None,
        retries=0,
    )
    with pytest.raises(ConnectionFailedError, match="broke after 3 bytes"):
        await downloader.download(job)
    assert contents(directory) == {}


@pytest.mark.parametrize(
    ("said", "kind", "match"),
    [
        (b"", DownloadTimeoutError, "no complete reply header within 0.2 s.*timeout_s"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", DownloadTimeoutError, "no complete reply header"),
        (head("Content-Length: 10") + b"abc", StalledError, "no further byte.*within 0.2 s.*timeout_s"),
        (head("Transfer-Encoding: chunked") + b"3\r\nabc\r\n", StalledError, "no further byte"),
    ],
)
async def test_a_server_that_falls_silent_ends_in_time(
    downloader: HttpDownloader,
    origin: Origin,
    directory: Path,
    said: bytes,
    kind: type[TransferError],
    match: str | None,
) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(said)
        await connection.wait_closed()

    origin.on("/a", script)
    await refused(kind, match, downloader, origin.url("/a"), directory, timeout_s=SOON)
    await origin.wait_no_connections()


async def test_a_digest_that_does_not_hold_leaves_nothing(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    url = origin.reply("/a", reply(BODY))
    error = await refused(ChecksumMismatchError, "expected", downloader, url, directory, checksum=sha256(OLD))
    assert sha256(BODY).removeprefix("sha256:") in str(error)


async def test_more_than_max_bytes_is_refused_up_front_if_it_is_announced(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    url = origin.reply("/a", reply(BODY))
    await fetch(downloader, url, directory, max_bytes=len(BODY))
    (directory / "a").unlink()
    await refused(TooLargeError, "announced 16", downloader, url, directory, max_bytes=len(BODY) - 1)


async def test_more_than_max_bytes_is_refused_when_it_arrives(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    async def endless(connection: Connection, _: Request) -> None:
        await connection.send(head("Transfer-Encoding: chunked"))
        while True:
            await connection.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    origin.on("/a", endless)
    await refused(TooLargeError, "more has arrived", downloader, origin.url("/a"), directory, max_bytes=3 * MIB)
    await origin.wait_no_connections()
    url = origin.reply("/b", head("Transfer-Encoding: chunked"), chunked(BODY))
    await refused(TooLargeError, "more has arrived", downloader, url, directory, max_bytes=len(BODY) - 1)
    await fetch(downloader, url, directory, max_bytes=len(BODY))


# Redirects.


def redirect(location: str, status: str = "302 Found") -> bytes:
    return reply(b"gone elsewhere", f"Location: {location}", status=status)


async def test_redirects_are_followed_and_the_name_is_that_of_the_url_asked_for(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    url = origin.reply("/dir/a", redirect("../other/b?c"))
    origin.reply("/other/b", redirect("/c", "308 Permanent Redirect"))
    origin.reply("/c", redirect(origin.url("/d"), "303 See Other"))
    origin.reply("/d", reply(BODY))
    await fetch(downloader, url, directory)
    assert contents(directory) == {"a": BODY}
    assert [request.target for request in origin.requests] == ["/dir/a", "/other/b?c", "/c", "/d"]


async def test_a_loop_ends(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    url = origin.reply("/a", redirect("/b"))
    origin.reply("/b", redirect("/a"))
    await refused(RedirectError, "redirect number 21, and it goes round in a circle", downloader, url, directory)
    assert len(origin.requests) == 21


async def test_less_security_is_refused_unless_allowed(
    downloader: HttpDownloader, origin: Origin, secure: Origin, directory: Path
) -> None:
    url = secure.reply("/a", redirect(origin.reply("/b", reply(BODY))))
    await refused(RedirectError, "less secure", downloader, url, directory)
    assert origin.requests == []
    await fetch(downloader, url, directory, allow_http_downgrade=True)
    assert contents(directory) == {"a": BODY}


SECRETS = {"Authorization": "Bearer hunter2", "Cookie": "a=hunter2", "X-Api-Key": "hunter2"}


async def test_headers_and_credentials_stay_with_the_origin_that_was_named(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    async with open_origin() as other:
        first = origin.reply("/a", redirect("/b"))
        origin.reply("/b", redirect(other.url("/c")))
        other.reply("/c", redirect(origin.url("/d")))
        origin.reply("/d", reply(BODY))
        await fetch(downloader, first, directory, headers={**SECRETS, "User-Agent": "me", "Accept": "x/y"})
        assert [request.header("x-api-key") for request in origin.requests] == ["hunter2"] * 3
        (stranger,) = other.requests
    assert b"hunter2" not in stranger.raw
    assert stranger.header("user-agent") == "me"
    assert stranger.header("accept") == "x/y"
    assert stranger.header("accept-encoding") == "identity"
    assert contents(directory) == {"a": BODY}


async def test_another_name_of_the_same_machine_is_another_origin(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    url = origin.reply("/a", redirect(f"http://localhost:{origin.port}/b"))
    origin.reply("/b", reply(BODY))
    await fetch(downloader, url.replace("://", "://user:hunter2@"), directory, headers=SECRETS)
    assert [b"hunter2" in request.raw for request in origin.requests] == [True, False]


async def test_user_info_becomes_basic_credentials(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    origin.reply("/a", reply(BODY))
    await fetch(downloader, origin.url("/a", userinfo="us%40er:pa:ss"), directory)
    (request,) = origin.requests
    assert request.header("authorization") == "Basic dXNAZXI6cGE6c3M="
    assert request.header("host") == f"127.0.0.1:{origin.port}"


# Names.


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="../../evil"', "evil"),
        ('attachment; filename="/etc/passwd"', "passwd"),
        ("attachment; filename=..", None),
        ('attachment; filename=".bashrc"', "bashrc"),
        ("attachment; filename*=UTF-8''%2e%2e%2f%2e%2e%2fevil", "evil"),
        ("attachment; filename*=UTF-8''..%5C..%5Cevil", "evil"),
        ('attachment; filename="a.part"', None),
        ('attachment; filename="CON"', None),
        ("attachment; filename*=UTF-8''%C3%A9.txt", "é.txt"),
        ('attachment; filename="' + "x" * 5000 + '.iso"', None),
        ("attachment; filename=\x01\x02", None),
    ],
)
async def test_a_name_from_the_server_stays_inside_the_directory(
    downloader: HttpDownloader, origin: Origin, tmp_path: Path, directory: Path, disposition: str, name: str | None
) -> None:
    said = reply(BODY, f"Content-Disposition: {disposition}")
    url = origin.reply("/from-url", said)
    try:
        result = await fetch(downloader, url, directory)
    except UnusableReplyError:
        assert contents(directory) == {}
        return
    assert result.path.parent == directory
    assert contents(directory) == {result.path.name: BODY}
    assert list(contents(tmp_path)) == ["downloads"]
    assert not result.path.name.startswith(".")
    assert not result.path.name.endswith(".part")
    assert name in (None, result.path.name)


@pytest.mark.parametrize("path", ["/", "/..", "/%2e%2e%2f%2e%2e%2fevil", "/..%5c..%5cevil", "/%00", "/a%2fb", "/.part"])
async def test_a_name_from_a_url_stays_inside_the_directory(
    downloader: HttpDownloader, origin: Origin, tmp_path: Path, directory: Path, path: str
) -> None:
    for served in {path, "/"}:
        origin.reply(served, reply(BODY))
    result = await fetch(downloader, origin.url(path), directory)
    assert result.path.parent == directory
    assert contents(directory) == {result.path.name: BODY}
    assert list(contents(tmp_path)) == ["downloads"]


async def test_the_users_own_name_goes_before_all(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    url = origin.reply("/a", reply(BODY, "Content-Disposition: attachment; filename=b"))
    await fetch(downloader, url, directory, filename=".c d")
    assert contents(directory) == {".c d": BODY}


# What is there already.


async def test_an_existing_file_of_a_known_name_is_refused_before_the_request(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    put(directory, b=OLD)
    url = origin.reply("/a", reply(BODY))
    await refused(TargetExistsError, "the file exists", downloader, url, directory, filename="b")
    assert origin.requests == []


async def test_an_existing_file_is_refused_before_the_body(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    put(directory, a=OLD)
    url = origin.reply("/a", reply(bytes(20 * MIB)))
    job = job_for(url, directory)
    with pytest.raises(TargetExistsError):
        await downloader.download(job)
    assert job.progress.received_bytes == 0
    assert contents(directory) == {"a": OLD}
    await origin.wait_no_connections()


@pytest.mark.parametrize("filename", [None, "a"])
async def test_an_existing_file_with_the_digest_is_not_fetched(
    downloader: HttpDownloader, origin: Origin, directory: Path, filename: str | None
) -> None:
    put(directory, a=OLD)
    url = origin.reply("/a", reply(BODY))
    job = job_for(url, directory, checksum=sha256(OLD), filename=filename)
    assert await downloader.download(job) == DownloadResult(
        path=directory / "a", size_bytes=len(OLD), checksum=sha256(OLD), reused=True
    )
    assert job.progress.phase is DownloadPhase.VERIFYING
    assert len(origin.requests) == (0 if filename else 1)
    await refused(TargetExistsError, "expected", downloader, url, directory, checksum=sha256(BODY), filename=filename)
    assert contents(directory) == {"a": OLD}


async def test_an_existing_file_is_replaced_or_kept_beside_as_asked(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    put(directory, **{"a.iso": OLD})
    url = origin.reply("/a.iso", reply(BODY))
    result = await fetch(downloader, url, directory, overwrite="unique", checksum=sha256(BODY))
    assert result == DownloadResult(path=directory / "a (1).iso", size_bytes=len(BODY), checksum=sha256(BODY))
    assert contents(directory) == {"a.iso": OLD, "a (1).iso": BODY}
    await fetch(downloader, url, directory, overwrite=True)
    assert contents(directory) == {"a.iso": BODY, "a (1).iso": BODY}


async def test_an_existing_file_survives_a_replacement_that_fails(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    put(directory, a=OLD)
    url = origin.reply("/a", head("Content-Length: 10"), b"abc", close=True)
    await refused(IncompleteBodyError, None, downloader, url, directory, overwrite=True)
    assert contents(directory) == {"a": OLD}


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
@pytest.mark.parametrize("overwrite", [False, True])
async def test_what_is_no_file_is_not_written_through(
    downloader: HttpDownloader, origin: Origin, tmp_path: Path, directory: Path, kind: str, overwrite: bool
) -> None:
    put(directory)
    (tmp_path / "victim").write_bytes(OLD)
    make: dict[str, Callable[[], None]] = {
        "link": lambda: (directory / "a").symlink_to(tmp_path / "victim"),
        "pipe": lambda: os.mkfifo(directory / "a"),
        "directory": (directory / "a").mkdir,
    }
    make[kind]()
    url = origin.reply("/a", reply(BODY))
    await refused(TargetExistsError, kind, downloader, url, directory, overwrite=overwrite)
    assert (tmp_path / "victim").read_bytes() == OLD


async def test_two_downloads_of_one_name_do_not_mix(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    go_on = trio.Event()

    async def slow(connection: Connection, _: Request) -> None:
        await connection.send(head(f"Content-Length: {len(BODY)}"), BODY[:5])
        await go_on.wait()
        await connection.send(BODY[5:])

    origin.on("/1/a", slow)
    second = origin.reply("/2/a", reply(OLD))
    first_came = trio.Event()
    job = job_for(
        origin.url("/1/a"), directory, changed=lambda: first_came.set() if job.progress.received_bytes else None
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(downloader.download, job)
        await first_came.wait()
        with pytest.raises(TargetExistsError, match=r"a\.part: another download"):
            await fetch(downloader, second, directory)
        assert (await fetch(downloader, second, directory, overwrite="unique")).path == directory / "a (1)"
        go_on.set()
    assert contents(directory) == {"a": BODY, "a (1)": OLD}


# The disk.


async def test_a_directory_that_is_a_file_is_refused_before_the_body(
    downloader: HttpDownloader, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(OLD)
    job = job_for(origin.reply("/a", reply(BODY)), tmp_path / "file")
    with pytest.raises(StorageError, match="Not a directory"):
        await downloader.download(job)
    assert job.progress.received_bytes == 0
    assert contents(tmp_path) == {"file": OLD}


@pytest.mark.parametrize("filename", [None, "a"])
async def test_a_file_for_which_there_is_no_room_is_refused_before_the_body(
    downloader: HttpDownloader, origin: Origin, directory: Path, filename: str | None
) -> None:
    url = origin.reply("/a", head(f"Content-Length: {10**17}"), b"x")
    error = await refused(StorageError, "bytes are needed", downloader, url, directory, filename=filename)
    assert str(10**17) in str(error)
    await origin.wait_no_connections()


async def test_a_disk_that_fills_up_is_one_clear_error(
    downloader: HttpDownloader, origin: Origin, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    url = origin.reply("/a", reply(bytes(20 * MIB)))
    await refused(StorageError, "the disk is full", downloader, url, directory, retries=5)
    await origin.wait_no_connections()
    assert len(origin.requests) == 1


async def test_the_threads_of_trio_stay_free(downloader: HttpDownloader, origin: Origin, directory: Path) -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    for number in range(int(limiter.total_tokens)):
        limiter.acquire_on_behalf_of_nowait(number)
    try:
        with trio.fail_after(20):
            await fetch(downloader, origin.reply("/a", reply(BODY)), directory)
    finally:
        for number in range(int(limiter.total_tokens)):
            limiter.release_on_behalf_of(number)


# Cancellation.


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before a given step of the task that made it."""

    def __init__(self, step: int) -> None:
        self.scope = trio.CancelScope()
        self._task = trio.lowlevel.current_task()
        self._left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.scope.cancel()


@pytest.mark.parametrize("filename", [None, "a"])
async def test_cancelled_at_any_moment_it_leaves_the_file_or_nothing(
    library: Any, origin: Origin, directory: Path, filename: str | None
) -> None:
    body = os.urandom(2 * MIB + 5)
    url = origin.reply("/a", redirect("/b"))
    origin.reply("/b", reply(body))
    for step in itertools.count(1):
        result = None
        async with HttpDownloader() as downloader:
            instrument = CancelAt(step)
            trio.lowlevel.add_instrument(instrument)
            with instrument.scope:
                result = await fetch(downloader, url, directory, filename=filename)
            trio.lowlevel.remove_instrument(instrument)
            if result is None:
                assert contents(directory) == {}, step
                # The one that was cancelled is closed; one that was kept after the redirect may be idle.
        await origin.wait_no_connections()
        if result is not None:
            assert contents(directory) == {"a": body}
            if not instrument.scope.cancel_called:
                break
            (directory / "a").unlink()
    assert step > 10


async def test_cancelled_over_tls_it_leaves_nothing(
    downloader: HttpDownloader, secure: Origin, directory: Path
) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 10"), b"abc")
        await connection.wait_closed()

    secure.on("/a", script)
    with trio.CancelScope() as scope:
        job = job_for(
            secure.url("/a"), directory, changed=lambda: scope.cancel() if job.progress.received_bytes else None
        )
        await downloader.download(job)
    assert scope.cancelled_caught
    assert contents(directory) == {}
    await secure.wait_no_connections()


# Secrets.


async def test_credentials_are_in_no_message_log_or_repr(
    downloader: HttpDownloader, origin: Origin, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    replies = {
        "/short": (head("Content-Length: 10"), b"abc"),
        "/status": (reply(b"", status="401 Unauthorized"),),
        "/gzip": (reply(b"x", "Content-Encoding: gzip"),),
        "/file": (reply(b"", "Location: file:///x", status="302 Found"),),
        "/closed": (b"",),
        "/large": (reply(bytes(1000)),),
    }
    for path, pieces in replies.items():
        origin.reply(path, *pieces, close=True)
        url = origin.url(f"{path}?token=hunter2", userinfo="user:hunter2")
        job = job_for(url, directory, headers=SECRETS, max_bytes=100, checksum=sha256(OLD))
        with pytest.raises(TransferError) as caught:
            await downloader.download(job)
        told += traceback.format_exception(caught.value)
        told += [repr(caught.value), repr(vars(caught.value)), repr(job), repr(job.request), repr(job.options)]
    origin.reply("/good", reply(BODY))
    result = await fetch(downloader, origin.url("/good?sig=hunter2", userinfo="user:hunter2"), directory)
    told += [repr(result), repr(downloader), caplog.text]
    assert [text for text in told if "hunter2" in text] == []
    assert all(b"hunter2" in request.raw for request in origin.requests)


# The downloader itself.


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://exa mple/",
        "http://example.org:99999/",
        "http://example.org:port/",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "example.org/a",
        "http://exam\u2100ple.org/",
        "",
    ],
)
async def test_what_can_never_be_fetched_is_refused_at_once(url: str, directory: Path) -> None:
    with pytest.raises(InvalidUrlError):
        HttpDownloader().check_request(DownloadRequest(url))
    async with HttpDownloader() as downloader:
        await refused(InvalidUrlError, None, downloader, url, directory)


async def test_names_and_headers_are_checked_at_once() -> None:
    downloader = HttpDownloader()
    url = "http://example.org/"
    downloader.check_request(DownloadRequest(url, DownloadOptions(filename="a", headers={"X": "y"})))
    for name in ("a/b", "..", "", "a.part"):
        with pytest.raises(InvalidNameError):
            downloader.check_request(DownloadRequest(url, DownloadOptions(filename=name)))
    with pytest.raises(ValueError, match="Content-Length"):
        downloader.check_request(DownloadRequest(url, DownloadOptions(headers={"Content-Length": "1"})))


async def test_defaults_are_checked_when_they_are_given() -> None:
    with pytest.raises(InvalidNameError):
        HttpDownloader(filename="a/b")
    with pytest.raises(ValueError, match="Upgrade"):
        HttpDownloader(headers={"Upgrade": "h2c"})
    with pytest.raises(TypeError, match="no_such_option"):
        HttpDownloader(no_such_option=1)  # type: ignore[call-arg]


async def test_defaults_stand_below_the_options_of_a_request(origin: Origin, tmp_path: Path) -> None:
    url = origin.reply("/a", reply(BODY))
    async with HttpDownloader(directory=tmp_path / "theirs", filename="b", headers={"X-One": "1"}) as downloader:
        assert (await fetch(downloader, url, tmp_path / "managers")).path == tmp_path / "theirs" / "b"
        job = job_for(url, tmp_path / "requests", filename="c", headers={"X-Two": "2"})
        # As the manager does with a directory that the request names.
        job.options = DownloadOptions(directory=tmp_path / "requests").over(job.options)
        assert (await downloader.download(job)).path == tmp_path / "requests" / "c"
    first, second = origin.requests
    assert (first.header("x-one"), second.header("x-one")) == ("1", None)


async def test_outside_of_its_block_it_downloads_nothing(directory: Path) -> None:
    downloader = HttpDownloader()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="async with HttpDownloader"):
            await fetch(downloader, "http://example.org/", directory)
        async with downloader:
            assert repr(downloader) == "<HttpDownloader open>"
            with pytest.raises(RuntimeError, match="open already"):
                await downloader.__aenter__()
        assert repr(downloader) == "<HttpDownloader closed>"


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
async def test_a_connection_is_closed_after_its_download(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    await fetch(downloader, origin.reply("/a", reply(BODY)), directory)
    await origin.wait_no_connections()


async def test_a_client_of_the_users_own_is_used_and_left_open(library: Any, origin: Origin, directory: Path) -> None:
    url = origin.reply("/a", reply(BODY))
    async with library.AsyncClient(auth=("user", "pass"), headers={"X-Mine": "1"}) as client:
        async with HttpDownloader(client=client) as downloader:
            await fetch(downloader, url, directory)
        assert not client.is_closed
    (request,) = origin.requests
    assert request.header("x-mine") == "1"
    assert request.header("authorization") == "Basic dXNlcjpwYXNz"


async def test_a_client_that_is_none_is_misuse() -> None:
    with pytest.raises(TypeError, match="AsyncClient"):
        async with HttpDownloader(client="httpx"):  # type: ignore[arg-type]
            pass


async def test_download_is_a_checkpoint_also_where_it_fails_at_once(
    downloader: HttpDownloader, directory: Path
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await fetch(downloader, "http://127.0.0.1:1/", directory)
    assert scope.cancelled_caught


async def test_certificates_that_cannot_be_read_are_told(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull + "/nothing")
    with pytest.raises(HttpClientError, match="SSL_CERT_FILE"):
        async with HttpDownloader():
            pass


async def test_what_frames_chunks_is_never_taken_for_bytes_of_the_file(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    body = bytes(range(100))

    async def script(connection: Connection, request: Request) -> None:
        is_part = request.header("range") is not None
        said = ["Transfer-Encoding: chunked", 'ETag: "v"', *(["Content-Range: bytes 0-99/100"] if is_part else [])]
        pieces = [body[at : at + 25] for at in range(0, 100, 25)]
        sizes = (25, 25, 75, 25) if len(origin.requests) == 1 else (25,) * 4
        framed = b"".join(b"%x\r\n%b\r\n" % each for each in zip(sizes, pieces, strict=True)) + b"0\r\n\r\n"
        await connection.send(head(*said, status="206 Partial Content" if is_part else "200 OK"), framed)
        await connection.close()

    origin.on("/a", script)
    await fetch(downloader, origin.url("/a"), directory)
    assert contents(directory) == {"a": body}
    assert len(origin.requests) == 2


async def test_a_part_that_somebody_else_cuts_short_is_not_published(
    downloader: HttpDownloader, origin: Origin, directory: Path
) -> None:
    async def slowly(connection: Connection, _: Request) -> None:
        await connection.send(head(f"Content-Length: {3 * MIB}"), bytes(2 * MIB))
        part = trio.Path(directory, "a.part")
        while not await part.exists() or (await part.stat()).st_size < MIB:
            await trio.lowlevel.checkpoint()
        os.truncate(part, 10)
        await connection.send(bytes(MIB))

    origin.on("/a", slowly)
    await refused(StorageError, "another process", downloader, origin.url("/a"), directory)

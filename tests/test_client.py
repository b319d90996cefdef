"""The seam to the HTTP client library, against a real socket, with both libraries."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import socket
import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import trio
import trustme

from tests.ways import LIBRARIES, WAYS, take_way
from trio_dlm._errors import (
    ConnectionFailedError,
    DownloadTimeoutError,
    HttpClientError,
    IncompleteBodyError,
    InvalidUrlError,
    StalledError,
    TransferError,
    UnusableReplyError,
)
from trio_dlm._rate import RateLimit
from trio_dlm.downloaders.http.client import _client, _exchange, _own
from trio_dlm.downloaders.http.client._client import AnyClient, ClientSettings, Exchange, library_of, open_client
from trio_dlm.downloaders.http.client._own import load_library
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

# Long enough for a loaded machine where nothing is meant to be late, and short where it is.
PATIENT = 20.0
SOON = 0.15


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
async def client(library: Any) -> AsyncGenerator[AnyClient, None]:
    async with open_client(None) as opened:
        yield opened


@pytest.fixture
async def keeping(library: Any) -> AsyncGenerator[AnyClient, None]:
    """A client of the user's own, which keeps connections."""
    async with library.AsyncClient(timeout=None) as own, open_client(own) as opened:
        yield opened


@pytest.fixture
async def origin() -> AsyncGenerator[Origin, None]:
    async with open_origin() as opened:
        yield opened


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def ask(
    client: AnyClient,
    url: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    is_named: bool = True,
    connect_timeout_s: float = PATIENT,
    timeout_s: float = PATIENT,
    **more: Any,
) -> AbstractAsyncContextManager[Exchange]:
    return client.exchange(
        parse_address(url),
        headers=headers,
        is_named=is_named,
        connect_timeout_s=connect_timeout_s,
        timeout_s=timeout_s,
        **more,
    )


async def read_all(exchange: Exchange, length: int | None = None) -> bytes:
    body: list[bytes] = []
    while True:
        chunks, ended = await exchange.read_batch(lambda _: None, length=length)
        body += chunks
        if ended:
            return b"".join(body)


async def get(client: AnyClient, url: str, **kwargs: Any) -> bytes:
    async with ask(client, url, **kwargs) as exchange:
        return await read_all(exchange)


def messages(exc: BaseException) -> str:
    """Return all that could be printed of an exception: its own text, and those of what it came from."""
    import traceback

    return "".join(traceback.format_exception(exc, chain=True, limit=0)) + repr(exc)


# What comes out.


async def test_a_reply_is_given_as_it_came(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"abc", "X-Two: 1", "X-Two: \xe9", "ETag: x", status="203 Because I Say So"))
    async with ask(client, url) as exchange:
        assert exchange.head.status == 203
        assert exchange.head.phrase == "Because I Say So"
        assert exchange.head.version == "HTTP/1.1"
        assert exchange.head.values("x-two") == ["1", "é"]
        assert exchange.head.first("content-length") == "3"
        assert await read_all(exchange) == b"abc"
        assert exchange.received_bytes == 3


async def test_a_compressed_body_is_not_decompressed(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"\x1f\x8b\x08", "Content-Encoding: gzip"))
    assert await get(client, url) == b"\x1f\x8b\x08"


async def test_a_redirect_is_not_followed(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"", "Location: /b", status="302 Found"))
    async with ask(client, url) as exchange:
        assert exchange.head.status == 302
        assert exchange.head.first("location") == "/b"
    assert len(origin.requests) == 1


async def test_a_large_body_comes_in_batches_and_every_read_is_reported(
    client: AnyClient, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also on a loaded machine.
    monkeypatch.setattr(_exchange, "BATCH_S", PATIENT)
    body = os.urandom(3 * _client.BATCH_BYTES + 1)
    url = origin.reply("/", reply(body))
    arrived: list[int] = []
    batches: list[bytes] = []
    async with ask(client, url) as exchange:
        ended = False
        while not ended:
            chunks, ended = await exchange.read_batch(arrived.append, length=None)
            batches.append(b"".join(chunks))
    assert b"".join(batches) == body
    assert sum(arrived) == len(body)
    assert all(_client.BATCH_BYTES <= len(batch) < 2 * _client.BATCH_BYTES for batch in batches[:-1])


async def test_on_a_slow_line_a_batch_is_handed_over_before_it_is_full(
    client: AnyClient, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange, "BATCH_S", 0.0)
    go_on = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 2"), b"a")
        await go_on.wait()
        await connection.send(b"b")

    origin.on("/", script)
    async with ask(client, origin.url("/")) as exchange:
        assert await exchange.read_batch(lambda _: None, length=2) == ([b"a"], False)
        go_on.set()
        assert await exchange.read_batch(lambda _: None, length=2) == ([b"b"], False)
        assert await exchange.read_batch(lambda _: None, length=2) == ([], True)


async def test_what_is_sent_is_what_was_asked_for(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/a?b=c", reply(b""))
    origin.reply("/a", reply(b""))
    await get(client, url, headers=(("X-Ü".replace("Ü", "U"), "é"), ("Accept-Encoding", "identity")))
    (request,) = origin.requests
    assert request.target == "/a?b=c"
    assert request.header("x-u") == "é".encode().decode("latin-1")
    assert request.header("accept-encoding") == "identity"
    assert request.header("user-agent") == _own.USER_AGENT


# Connections.


async def test_a_connection_is_used_again_if_the_users_client_keeps_it(keeping: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"x" * 100_000))
    for _ in range(3):
        await get(keeping, url)
    assert origin.connections == 1


async def test_what_follows_a_reply_is_not_taken_for_the_next_one(client: AnyClient, origin: Origin) -> None:
    # In one piece: what comes after the next request was sent cannot be told from a quick reply to it.
    first = origin.reply("/one", reply(b"one") + reply(b"EVIL"))
    second = origin.reply("/two", reply(b"two"))
    assert await get(client, first) == b"one"
    assert await get(client, second) == b"two"


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
async def test_without_kept_connections_it_is_never_taken_for_the_next_one(client: AnyClient, origin: Origin) -> None:
    first = origin.reply("/one", reply(b"one"), reply(b"EVIL"))
    second = origin.reply("/two", reply(b"two"))
    assert await get(client, first) == b"one"
    assert await get(client, second) == b"two"


async def test_a_small_body_that_nobody_reads_costs_no_connection(keeping: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"moved", "Location: /b", status="302 Found"))
    for _ in range(3):
        async with ask(keeping, url):
            pass
    assert origin.connections == 1


@pytest.mark.parametrize("reads", [0, 1])
async def test_a_body_that_is_left_half_way_closes_its_connection(
    client: AnyClient, origin: Origin, reads: int
) -> None:
    url = origin.reply("/", reply(bytes(20_000_000)))
    async with ask(client, url) as exchange:
        for _ in range(reads):
            await exchange.read_batch(lambda _: None, length=None)
    await origin.wait_no_connections()


async def test_an_exception_in_the_block_passes_and_closes_the_connection(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(bytes(20_000_000)))
    with pytest.raises(ZeroDivisionError):
        async with ask(client, url) as exchange:
            await exchange.read_batch(lambda _: None, length=None)
            raise ZeroDivisionError
    await origin.wait_no_connections()


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
async def test_a_client_of_our_own_keeps_no_connection(library: Any, origin: Origin) -> None:
    async with open_client(None) as client:
        await get(client, origin.reply("/", reply(b"")))
        await origin.wait_no_connections()


async def test_a_kept_connection_that_has_died_is_replaced(keeping: AnyClient, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        # The second request on the first connection finds it closed.
        if len(origin.requests) == 2:
            await connection.close()
        else:
            await connection.send(reply(b"abc"))

    origin.on("/", script)
    assert [await get(keeping, origin.url("/")) for _ in range(2)] == [b"abc", b"abc"]
    assert len(origin.requests) == 3
    assert origin.connections == 2


async def test_a_kept_connection_is_replaced_once(keeping: AnyClient, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await (connection.close() if len(origin.requests) > 1 else connection.send(reply(b"abc")))

    origin.on("/", script)
    await get(keeping, origin.url("/"))
    with pytest.raises(ConnectionFailedError, match="before the reply"):
        await get(keeping, origin.url("/"))
    assert len(origin.requests) == 3


async def test_many_exchanges_at_once_do_not_wait_for_each_other(client: AnyClient, origin: Origin) -> None:
    count = 150
    all_there = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        if len(origin.requests) == count:
            all_there.set()
        await all_there.wait()
        await connection.send(reply(b""))

    origin.on("/", script)
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(get, client, origin.url("/"))
    assert origin.connections == count


async def test_cookies_of_one_exchange_do_not_go_along_with_the_next(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(b"", "Set-Cookie: a=b"))
    for _ in range(2):
        await get(client, url)
    assert [request.header("cookie") is not None for request in origin.requests] == [False, False]


# Limits of time.  Each is short, and what waits is real.


@asynccontextmanager
async def black_hole(host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[int, None]:
    """Give a port whose queue of connections is full: the system answers nothing to one more."""
    with socket.create_server((host, port), backlog=0) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        fillers = []
        try:
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((host, port))
                fillers.append(filler)
            await trio.lowlevel.checkpoint()
            yield port
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses a connection that finds the queue full")
async def test_a_connection_that_is_not_answered_ends_in_time(client: AnyClient) -> None:
    async with black_hole() as port:
        with pytest.raises(DownloadTimeoutError, match=rf"no connection to 127\.0\.0\.1 port {port} within") as caught:
            await get(client, f"http://127.0.0.1:{port}/", connect_timeout_s=SOON)
    assert caught.value.option == "connect_timeout_s"
    assert caught.value.limit_s == SOON


async def test_a_name_that_is_not_looked_up_ends_in_time(client: AnyClient) -> None:
    class Silent(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.sleep_forever()

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Silent())
    with pytest.raises(DownloadTimeoutError, match=r"no connection to slow\.example port 80"):
        await get(client, "http://slow.example/", connect_timeout_s=SOON)


async def test_a_handshake_that_is_not_answered_ends_in_time_and_leaves_no_connection(
    client: AnyClient, origin: Origin
) -> None:
    url = origin.url("/").replace("http:", "https:")
    with pytest.raises(DownloadTimeoutError, match="no end of the TLS handshake") as caught:
        await get(client, url, connect_timeout_s=SOON)
    assert caught.value.option == "connect_timeout_s"
    await origin.wait_no_connections()


async def test_a_handshake_through_a_proxy_ends_in_time(library: Any, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head(status="200 Connected"))
        await connection.wait_closed()

    origin.on("example.org:443", script)
    async with library.AsyncClient(proxy=origin.url("/")) as theirs, open_client(theirs) as client:
        with pytest.raises(DownloadTimeoutError, match=r"TLS handshake with example\.org port 443 within 0\.15 s"):
            await get(client, "https://example.org/", connect_timeout_s=SOON)
        await origin.wait_no_connections()


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_header_that_does_not_end_ends_in_time(client: AnyClient, origin: Origin, said: bytes) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(said)
        await connection.wait_closed()

    origin.on("/", script)
    with pytest.raises(DownloadTimeoutError, match="no complete reply header") as caught:
        await get(client, origin.url("/"), timeout_s=SOON)
    assert caught.value.option == "timeout_s"
    await origin.wait_no_connections()


@pytest.mark.parametrize("again", [b"x", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: <a>\r\n\r\n"])
async def test_a_header_that_never_stops_coming_ends_in_time(client: AnyClient, origin: Origin, again: bytes) -> None:
    async def script(connection: Connection, _: Request) -> None:
        if again == b"x":
            await connection.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await connection.send(again)
            await trio.sleep(0.01)

    origin.on("/", script)
    with pytest.raises(DownloadTimeoutError, match="no complete reply header"):
        await get(client, origin.url("/"), timeout_s=SOON)
    await origin.wait_no_connections()


async def test_a_body_that_stops_coming_ends_in_time(client: AnyClient, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 10"), b"abc")
        await connection.wait_closed()

    origin.on("/", script)
    with pytest.raises(StalledError, match="no further byte after the first 3") as caught:
        await get(client, origin.url("/"), timeout_s=SOON)
    assert caught.value.option == "timeout_s"
    await origin.wait_no_connections()


async def test_a_slow_body_that_does_come_may_take_longer_than_the_limit(client: AnyClient, origin: Origin) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.send(head("Content-Length: 10"))
        for _ in range(10):
            await connection.send(b"x")
            await trio.sleep(0.11)

    origin.on("/", script)
    assert await get(client, origin.url("/"), timeout_s=1.0) == b"x" * 10


async def test_time_between_reads_does_not_count(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", reply(bytes(5_000_000)))
    async with ask(client, url, timeout_s=0.6) as exchange:
        await exchange.read_batch(lambda _: None, length=None)
        await trio.sleep(0.8)
        await read_all(exchange)
        assert exchange.received_bytes == 5_000_000


async def test_a_transport_that_reports_nothing_has_both_limits_together(library: Any) -> None:
    async def handler(_: Any) -> Any:
        await trio.sleep_forever()

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        with pytest.raises(DownloadTimeoutError, match="connect_timeout_s or timeout_s") as caught:
            await get(client, "http://example.org/", connect_timeout_s=SOON, timeout_s=SOON)
    assert caught.value.limit_s == 2 * SOON


async def test_a_pool_without_room_ends_in_time_and_says_so(library: Any, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 1"))
        await connection.wait_closed()

    origin.on("/", script)
    limits = library.Limits(max_connections=1)
    async with library.AsyncClient(limits=limits) as theirs, open_client(theirs) as client:
        async with ask(client, origin.url("/")):
            with pytest.raises(DownloadTimeoutError, match="free connection in the client's pool"):
                await get(client, origin.url("/"), connect_timeout_s=SOON, timeout_s=SOON)


async def test_a_body_that_comes_too_slowly_ends_in_time(client: AnyClient, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 1000000"))
        while True:
            await connection.send(b"x")
            await trio.sleep(0.01)

    origin.on("/", script)
    with pytest.raises(StalledError, match="slower than min_rate_bytes_per_s"):
        await get(client, origin.url("/"), timeout_s=2 * SOON, min_rate_bytes_per_s=1_000_000)
    await origin.wait_no_connections()


async def test_a_body_comes_no_faster_than_it_may(client: AnyClient, origin: Origin) -> None:
    limiter = RateLimit(1_000_000.0)
    url = origin.reply("/", reply(bytes(500_000)))
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(lambda: get(client, url, limiter=limiter))
    # Both together, but for what may come at once in the beginning.
    assert trio.current_time() - started > 0.85


# What goes wrong, in our words.


async def expect(client: AnyClient, url: str, kind: type[TransferError], match: str) -> TransferError:
    with pytest.raises(kind, match=match) as caught:
        await get(client, url)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is not None
    return caught.value


async def test_a_refused_connection_says_so(client: AnyClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await expect(client, f"http://127.0.0.1:{port}/", ConnectionFailedError, "nothing listens there")
    assert isinstance(error, ConnectionFailedError)
    assert error.may_pass
    assert error.errno == errno.ECONNREFUSED


async def test_a_proxy_that_refuses_is_named(library: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with library.AsyncClient(proxy=f"http://127.0.0.1:{port}") as theirs, open_client(theirs) as client:
        for scheme in ("http", "https"):
            match = f"no connection to the proxy 127.0.0.1 port {port}"
            await expect(client, f"{scheme}://example.org/", ConnectionFailedError, match)


async def test_several_addresses_that_refuse_are_one_error(client: AnyClient) -> None:
    class Twice(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
            await trio.lowlevel.checkpoint()
            where = [("127.0.0.1", port), ("127.0.0.2", port)]
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for address in where]

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Twice())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    await expect(client, f"http://two.example:{port}/", ConnectionFailedError, "nothing listens there")


async def test_an_unknown_name_says_so(client: AnyClient) -> None:
    class Unknown(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Unknown())
    await expect(
        client, "http://nobody.example/", ConnectionFailedError, r"no address was found for nobody\.example port 80"
    )


async def test_a_certificate_for_another_name_says_so(client: AnyClient, authority: trustme.CA) -> None:
    async with open_origin(tls=server_context(authority, "other.example")) as origin:
        await expect(client, origin.url("/"), ConnectionFailedError, "certificate was not accepted.*SSL_CERT_FILE")
        await origin.wait_no_connections()


async def test_a_certificate_of_an_unknown_authority_says_so(client: AnyClient) -> None:
    async with open_origin(tls=server_context(trustme.CA())) as origin:
        error = await expect(client, origin.url("/"), ConnectionFailedError, "certificate was not accepted")
        assert isinstance(error, ConnectionFailedError)
        assert not error.may_pass


async def test_https_asked_of_a_port_that_does_not_speak_it_says_so(client: AnyClient, origin: Origin) -> None:
    async def answer_anything(task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        async def handler(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, handler, 0)
            task_status.started(listeners[0].socket.getsockname()[1])

    async with trio.open_nursery() as nursery:
        port = await nursery.start(answer_anything)
        await expect(client, f"https://127.0.0.1:{port}/", ConnectionFailedError, "handshake failed.*speaks https")
        nursery.cancel_scope.cancel()


async def test_https_with_a_trusted_certificate_works(client: AnyClient, authority: trustme.CA) -> None:
    async with open_origin(tls=server_context(authority)) as origin:
        assert await get(client, origin.reply("/", reply(b"abc" * 100_000))) == b"abc" * 100_000


@pytest.mark.parametrize(
    ("said", "kind", "match"),
    [
        (b"", ConnectionFailedError, "before the reply was complete"),
        (b"HTTP/1.1 200 OK\r\nX: y", ConnectionFailedError, "before the reply was complete"),
        (b"220 smtp.example ESMTP\r\n\r\n", UnusableReplyError, "not HTTP"),
        (b"\x16\x03\x01\r\n\r\n", UnusableReplyError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX y\r\n\r\n", UnusableReplyError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", UnusableReplyError, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000, UnusableReplyError, "header of the reply is larger"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, UnusableReplyError, "header of the reply is larger"),
    ],
)
async def test_a_reply_that_is_none_says_so(
    client: AnyClient, origin: Origin, said: bytes, kind: type[TransferError], match: str
) -> None:
    await expect(client, origin.reply("/", said, close=True), kind, match)
    await origin.wait_no_connections()


async def test_a_status_without_end_says_so(client: AnyClient, origin: Origin) -> None:
    # Our own way reads it as it comes, and a status has three digits; the libraries wait for the end of the line.
    match = "not HTTP" if isinstance(client, _own.OwnClient) else "header of the reply is larger"
    await expect(client, origin.reply("/", b"HTTP/1.1 " + b"200" * 100_000, close=True), UnusableReplyError, match)
    await origin.wait_no_connections()


async def test_a_header_that_is_too_large_for_http2_is_no_mistake_of_ours(library: Any) -> None:
    cause = type("DenialOfServiceError", (Exception,), {"__module__": "h2.exceptions"})("too large")
    error = library.LocalProtocolError("too large")
    error.__cause__ = cause
    async with raising(library, error) as client:
        await expect(client, "http://example.org/", UnusableReplyError, "header of the reply is larger")


async def test_a_reset_before_the_reply_says_so(client: AnyClient, origin: Origin) -> None:
    origin.on("/", lambda connection, _: connection.reset())
    await expect(client, origin.url("/"), ConnectionFailedError, "before the reply was complete")


async def test_a_body_that_ends_early_says_how_much_came(client: AnyClient, origin: Origin) -> None:
    url = origin.reply("/", head("Content-Length: 10"), b"abc", close=True)
    with pytest.raises(IncompleteBodyError) as caught:
        async with ask(client, url) as exchange:
            await read_all(exchange, length=10)
    assert (caught.value.received_bytes, caught.value.expected_bytes) == (3, 10)
    # Once, although the library below says it as well.
    assert str(caught.value).removeprefix(url).count("10 bytes") == 1


@pytest.mark.parametrize(
    "said", [b"3\r\nabc\r\n", b"3\r\nabc\r\n0\r\n", b"3\r\nabcX", b"zzz\r\n", b"-1\r\n", b"3\r\nabcdef\r\n"]
)
async def test_broken_chunks_are_no_whole_body(client: AnyClient, origin: Origin, said: bytes) -> None:
    url = origin.reply("/", head("Transfer-Encoding: chunked"), said, close=True)
    await expect(client, url, IncompleteBodyError, "the body broke off")


async def test_a_reset_in_the_body_says_how_much_came(client: AnyClient, origin: Origin) -> None:
    read = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 10"), b"abc")
        await read.wait()
        await connection.reset()

    origin.on("/", script)
    with pytest.raises(ConnectionFailedError, match="broke after 3 bytes"):
        async with ask(client, origin.url("/")) as exchange:
            await exchange.read_batch(lambda _: read.set(), length=10)


@pytest.mark.parametrize("surplus", [b"and more", b"and more\r\n\r\n", b"\r\n"])
async def test_what_follows_the_promised_length_spoils_nothing(
    client: AnyClient, origin: Origin, surplus: bytes
) -> None:
    url = origin.reply("/", reply(b"abc") + surplus)
    assert [await get(client, url) for _ in range(3)] == [b"abc"] * 3


# Exceptions of other origins than the network.


@asynccontextmanager
async def raising(library: Any, error: BaseException) -> AsyncGenerator[AnyClient, None]:
    async def handler(_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise error

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        yield client


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        ssl.SSLError(1, "[SSL: NO_REASON] nothing"),
        trio.BrokenResourceError("gone"),
        ExceptionGroup(
            "", [OSError(errno.EMFILE, "Too many open files"), ExceptionGroup("", [trio.ClosedResourceError()])]
        ),
    ],
)
async def test_nothing_below_leaks_alone_or_in_a_group(library: Any, error: Exception) -> None:
    async with raising(library, error) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await get(client, "http://example.org/")
        assert caught.value.__cause__ is error
        is_shortage = not isinstance(error, ssl.SSLError | trio.BrokenResourceError)
        assert (caught.value.errno == errno.EMFILE) is is_shortage


@pytest.mark.parametrize(
    ("name", "kind", "match"),
    [
        ("ConnectTimeout", DownloadTimeoutError, "client's own timeout"),
        ("ReadTimeout", DownloadTimeoutError, "client's own timeout"),
        ("PoolTimeout", DownloadTimeoutError, "client's own timeout"),
        ("ProxyError", ConnectionFailedError, "proxy refused"),
        ("UnsupportedProtocol", InvalidUrlError, "a text"),
        ("LocalProtocolError", ConnectionFailedError, "cannot be sent"),
        ("ConnectError", ConnectionFailedError, "a text"),
        ("DecodingError", ConnectionFailedError, "a text"),
        ("InvalidURL", InvalidUrlError, "a text"),
        ("StreamClosed", ConnectionFailedError, "stream"),
    ],
)
async def test_every_class_of_the_library_has_one_of_ours(
    library: Any, name: str, kind: type[TransferError], match: str
) -> None:
    error = getattr(library, name)
    async with raising(library, error() if name == "StreamClosed" else error("a text")) as client:
        ours = await expect(client, "http://example.org/", kind, match)
        if isinstance(ours, ConnectionFailedError):
            assert ours.may_pass is (name != "LocalProtocolError")


@pytest.mark.parametrize("error", [ValueError("theirs"), ExceptionGroup("", [OSError(), ValueError("theirs")])])
async def test_an_exception_of_the_users_own_hooks_passes(library: Any, error: Exception) -> None:
    async with raising(library, error) as client:
        with pytest.raises(type(error)) as caught:
            await get(client, "http://example.org/")
        assert caught.value is error


async def test_an_exception_of_ours_passes(library: Any) -> None:
    error = StalledError(url="u", waited_for="w", limit_s=1, option="o")
    async with raising(library, error) as client:
        with pytest.raises(StalledError) as caught:
            await get(client, "http://example.org/")
        assert caught.value is error


async def test_what_the_library_refuses_in_a_complete_reply_says_so(library: Any, origin: Origin) -> None:
    async def hook(_: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise library.RemoteProtocolError("a text")

    url = origin.reply("/", reply(b""))
    async with library.AsyncClient(event_hooks={"response": [hook]}) as theirs, open_client(theirs) as client:
        await expect(client, url, UnusableReplyError, "the reply is unusable .a text.")


async def test_a_stream_of_the_users_own_transport_is_mapped_too(library: Any) -> None:
    class Body(library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            yield b"abc"
            raise library.ReadTimeout("late")

    async def handler(_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return library.Response(200, stream=Body())

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        await expect(client, "http://example.org/", StalledError, "client's own timeout")


# The generators that httpx leaves behind then are its own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_body_that_never_lets_go_is_left_all_the_same(library: Any) -> None:
    class Body(library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            while True:
                yield b"x"

    async def handler(_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return library.Response(200, stream=Body())

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        async with ask(client, "http://example.org/") as exchange:
            assert exchange.head.status == 200


# Cancellation.


async def test_cancelled_while_connecting(client: AnyClient) -> None:
    async with black_hole() as port:
        with trio.move_on_after(SOON) as scope:
            await get(client, f"http://127.0.0.1:{port}/")
        assert scope.cancelled_caught


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", head("Content-Length: 10"), head("Content-Length: 10") + b"abc"]
)
async def test_cancelled_while_waiting_the_connection_is_closed(client: AnyClient, origin: Origin, said: bytes) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(said)
        await connection.wait_closed()

    origin.on("/", script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, client, origin.url("/"))
        await origin.wait_requests(1)
        nursery.cancel_scope.cancel()
    await origin.wait_no_connections()


async def test_cancelled_in_the_handshake_the_connection_is_closed(client: AnyClient, origin: Origin) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, client, origin.url("/").replace("http:", "https:"))
        await origin.wait_connections(1)
        nursery.cancel_scope.cancel()
    await origin.wait_no_connections()


# What a client of our own can be told.


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's authority in a file, while the environment names another one."""
    authority.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "theirs.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "theirs.pem"))
    return tmp_path / "ours.pem"


async def test_the_authorities_of_a_file_are_trusted_and_no_others(
    library: Any, authority: trustme.CA, ca_file: Path
) -> None:
    async with open_origin(tls=server_context(authority)) as origin:
        url = origin.reply("/", reply(b"abc"))
        async with open_client(None, ClientSettings(ca_file=ca_file)) as client:
            assert await get(client, url) == b"abc"
        async with open_client(None) as client:
            await expect(client, url, ConnectionFailedError, "certificate was not accepted")
        async with open_client(None, ClientSettings(ca_file=ca_file.with_name("theirs.pem"))) as client:
            await expect(client, url, ConnectionFailedError, "certificate was not accepted")


@pytest.mark.parametrize("content", [None, b"no certificate"])
async def test_authorities_that_cannot_be_read_say_so(library: Any, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HttpClientError, match=r"ca\.pem"):
        async with open_client(None, ClientSettings(ca_file=path)):
            pass


async def test_authorities_that_cannot_be_read_when_they_are_needed_say_so(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such certificates")

    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_own, "load_library", lambda: SimpleNamespace(create_ssl_context=fail))
    async with open_origin(tls=server_context(authority)) as origin, open_client(None) as client:
        with pytest.raises(HttpClientError, match="no such certificates"):
            await get(client, origin.reply("/", reply(b"abc")))


async def test_a_proxy_is_asked_with_its_credentials_which_nobody_sees(
    library: Any, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    origin.reply("http://proxied.example/", reply(b"abc"))
    settings = ClientSettings(proxy=origin.url("/").replace("//", "//user:hunter2@"))
    async with open_client(None, settings) as client:
        await get(client, "http://proxied.example/")
    (request,) = origin.requests
    assert request.target == "http://proxied.example/"
    assert request.header("proxy-authorization") == "Basic dXNlcjpodW50ZXIy"
    assert "hunter2" not in caplog.text
    assert "dXNlcjpodW50ZXIy" not in caplog.text


async def test_credentials_of_a_proxy_are_in_no_message(library: Any, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with open_client(None, ClientSettings(proxy=f"http://user:hunter2@127.0.0.1:{port}")) as client:
        for scheme in ("http", "https"):
            error = await expect(
                client, f"{scheme}://example.org/", ConnectionFailedError, f"the proxy 127.0.0.1 port {port}"
            )
            assert "hunter2" not in messages(error)


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "all_proxy"])
@pytest.mark.parametrize("proxy", ["ftp://u:hunter2@127.0.0.1", "http://u:hunter2@127.0.0.1:x"])
async def test_a_proxy_of_the_environment_that_is_none_says_so(
    library: Any, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    monkeypatch.setenv(name, proxy)
    with pytest.raises(HttpClientError, match="proxy variables of the environment") as caught:
        async with open_client(None):
            pass
    assert "hunter2" not in str(caught.value)


async def test_a_kind_of_proxy_that_takes_a_package_says_so(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(HttpClientError, match="socksio"):
        async with open_client(None, ClientSettings(proxy="socks5://u:hunter2@127.0.0.1:1")):
            pass


async def test_http2_without_its_package_says_so(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    with pytest.raises(HttpClientError, match=r"HTTP/2 needs the package h2, .*pip install 'trio-dlm\[http2\]'"):
        async with open_client(None, ClientSettings(http2=True)):
            pass


async def test_http2_is_spoken_but_where_addresses_are_checked(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FakeClient] = []

    class FakeClient:
        headers: ClassVar[dict[str, str]] = {}

        def __init__(self, *, http2: bool, **_: Any) -> None:
            self.http2 = http2
            self.is_closed = False
            made.append(self)

        async def aclose(self) -> None:
            self.is_closed = True
            await trio.lowlevel.checkpoint()

        def build_request(self, *args: Any, **kwargs: Any) -> Any:
            return library.Request(*args, **kwargs)

        async def send(self, *_: Any, **__: Any) -> Any:
            raise library.ConnectError(f"http2={self.http2}")

    monkeypatch.setattr(library, "AsyncClient", FakeClient)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    async with open_client(None, ClientSettings(http2=True)) as client:
        assert [each.http2 for each in made] == [True, False]
        for allow_private in (True, False):
            with pytest.raises(ConnectionFailedError, match=f"http2={allow_private}"):
                await get(client, "http://1.1.1.1/", allow_private=allow_private)
    assert all(each.is_closed for each in made)


# Clients of the user's own.


async def test_a_client_of_the_users_own_stays_open(library: Any, origin: Origin) -> None:
    url = origin.reply("/", reply(b"abc"))
    async with library.AsyncClient(headers={"X-Mine": "1"}, follow_redirects=True, timeout=0.001) as theirs:
        async with open_client(theirs) as client:
            assert await get(client, url) == b"abc"
        assert (await theirs.get(url, timeout=5)).content == b"abc"
    assert [request.header("x-mine") for request in origin.requests] == ["1", "1"]


async def test_a_client_adds_nothing_for_an_origin_that_nobody_named(library: Any, origin: Origin) -> None:
    url = origin.reply("/", reply(b""))
    async with (
        library.AsyncClient(
            headers={"X-Mine": "1", "User-Agent": "me"},
            auth=("user", "hunter2"),
            cookies={"a": "b"},
            params={"key": "1"},
        ) as theirs,
        open_client(theirs) as client,
    ):
        await get(client, url)
        await get(client, url, is_named=False)
        await get(client, url, is_named=False, headers=(("User-Agent", "other"), ("Accept", "text/html")))
    named, unnamed, other = origin.requests
    assert {"x-mine", "authorization", "cookie"} <= dict(named.headers).keys()
    assert named.target == "/?key=1"
    assert not {"x-mine", "authorization", "cookie"} & dict(unnamed.headers).keys()
    assert unnamed.target == "/"
    assert unnamed.header("user-agent") == "me"
    assert unnamed.header("accept") == "*/*"
    assert (other.header("user-agent"), other.header("accept")) == ("other", "text/html")


async def test_a_client_is_known_by_its_library() -> None:
    import httpx
    import httpx2

    async with httpx.AsyncClient() as one, httpx2.AsyncClient() as other:
        assert library_of(one) is httpx
        assert library_of(other) is httpx2
    for wrong in (object(), "httpx", httpx.AsyncClient):
        with pytest.raises(TypeError, match=r"httpx\.AsyncClient"):
            library_of(wrong)


async def test_the_continuation_is_preferred_and_not_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    import httpx2

    assert load_library() is httpx2
    monkeypatch.setattr(_own, "LIBRARIES", ("no_such_library_anywhere", "httpx"))
    assert load_library() is httpx


# Secrets.


@pytest.mark.parametrize("library", LIBRARIES, indirect=True)
async def test_secrets_of_an_address_are_not_logged(
    client: AnyClient, library: Any, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = origin.reply("/", reply(b""))
    await get(client, url + "?token=hunter2", headers=(("Authorization", "Basic hunter3"),))
    assert "hunter" not in caplog.text
    assert "HTTP Request: GET" in caplog.text


async def test_what_others_log_with_the_library_is_left_alone(
    client: AnyClient, library: Any, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with library.AsyncClient() as theirs:
        await theirs.get(origin.url("/?token=visible"))
    assert "token=visible" in caplog.text


async def test_secrets_of_an_address_are_in_no_message(client: AnyClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailedError) as caught:
        await get(client, f"http://127.0.0.1:{port}/?token=hunter2", headers=(("Authorization", "Basic hunter3"),))
    assert "hunter" not in messages(caught.value)

"""Our transport in clients of both libraries: a drop-in, with the library's own exceptions."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trio
import trio.testing
import trustme

from trio_dlm import TrioTransport
from trio_dlm.downloaders.http.transport import _pool
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

BODY = bytes(range(256)) * 300


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


@pytest.fixture(params=[httpx, httpx2], ids=lambda each: each.__name__)
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def client(library: Any, context: ssl.SSLContext) -> AsyncGenerator[Any]:
    async with library.AsyncClient(transport=TrioTransport(verify=context), timeout=20) as opened:
        yield opened


@pytest.fixture
async def origin() -> AsyncGenerator[Origin]:
    async with open_origin() as opened:
        yield opened


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncGenerator[Origin]:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    async with open_origin(tls=made) as opened:
        yield opened


def descriptors() -> int:
    directory = Path("/proc/self/fd")
    return len(list(directory.iterdir())) if directory.exists() else 0


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


async def test_a_reply_is_what_was_sent(client: Any, origin: Origin) -> None:
    url = origin.reply("/a", head(f"Content-Length: {len(BODY)}", "X-Mine: 1") + BODY)

    response = await client.get(url + "?b=c")

    assert response.status_code == 200
    assert response.content == BODY
    assert response.headers["x-mine"] == "1"
    assert response.http_version == "HTTP/1.1"
    assert response.reason_phrase == "OK"
    assert response.extensions["network_stream"].get_extra_info("server_addr")[0] == "127.0.0.1"
    (request,) = origin.requests
    assert request.target == "/a?b=c"


async def test_it_works_over_tls_and_keeps_the_connection(client: Any, secure: Origin) -> None:
    url = secure.reply("/", reply(BODY))
    responses = [await client.get(url) for _ in range(3)]
    assert [response.content for response in responses] == [BODY] * 3
    assert len({request.connection for request in secure.requests}) == 1
    assert responses[-1].extensions["network_stream"].get_extra_info("ssl_object").version() == "TLSv1.3"


async def test_chunks_and_compressed_bodies_are_read(client: Any, origin: Origin) -> None:
    url = origin.reply("/", head("Transfer-Encoding: chunked") + chunked(b"abc", BODY, b"xyz"))
    assert (await client.get(url)).content == b"abc" + BODY + b"xyz"


async def test_a_body_may_end_with_its_connection(client: Any, origin: Origin) -> None:
    url = origin.reply("/", head() + BODY, close=True)
    assert (await client.get(url)).content == BODY


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "200 OK"])
async def test_a_reply_without_a_body_leaves_the_connection_usable(
    client: Any, origin: Origin, method: str, status: str
) -> None:
    if method == "GET" and status == "200 OK":
        status = "204 No Content"
    url = origin.reply("/", head("Content-Length: 5", status=status))
    for _ in range(2):
        response = await client.request(method, url)
        assert response.content == b""
    assert len({request.connection for request in origin.requests}) == 1


async def test_a_body_is_sent_with_its_length_or_in_chunks(client: Any) -> None:
    got: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        data = b""
        while not data.endswith((b'"a":[1]}', b"0\r\n\r\n")):
            data += await stream.receive_some()
        got.append(data)
        await stream.send_all(head("Content-Length: 2", "Connection: close") + b"ok")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first "
        yield b""
        yield b"second"

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        assert (await client.post(url, content=b'{"a":[1]}')).content == b"ok"
        assert (await client.put(url, content=pieces(), headers={"Connection": "close"})).content == b"ok"
        nursery.cancel_scope.cancel()

    assert b"\r\nContent-Length: 9\r\n" in got[0]
    assert got[1].endswith(b"\r\n\r\n6\r\nfirst \r\n6\r\nsecond\r\n0\r\n\r\n")


class Pieces:
    """A body of single bytes, with nothing that has to be closed."""

    def __init__(self, content: bytes) -> None:
        self._left = list(content)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return bytes([self._left.pop(0)])


@pytest.mark.parametrize("sent", [b"12", b"1234"])
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_body_that_has_not_its_length_is_refused_and_its_connection_closed(
    client: Any, library: Any, origin: Origin, sent: bytes, in_pieces: bool
) -> None:
    origin.reply("/", reply(b"abc"))
    wrong = "1 bytes longer than" if len(sent) > 3 else "1 bytes before"
    with pytest.raises(library.LocalProtocolError, match=wrong):
        await client.post(origin.url("/"), content=Pieces(sent) if in_pieces else sent, headers={"Content-Length": "3"})
    assert (await client.get(origin.url("/"))).content == b"abc"
    assert origin.requests[-1].method == "GET"


async def test_redirects_cookies_and_auth_are_the_clients(client: Any, origin: Origin) -> None:
    origin.reply("/a", head("Location: /b", "Content-Length: 3", "Set-Cookie: x=1", status="302 Found") + b"abc")
    origin.reply("/b", reply(b"there"))
    response = await client.get(origin.url("/a"), follow_redirects=True, auth=("me", "pw"))
    assert response.content == b"there"
    assert origin.requests[1].header("cookie") == "x=1"
    assert (origin.requests[0].header("authorization") or "").startswith("Basic ")


async def test_a_kept_connection_that_has_died_is_replaced(client: Any, origin: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        if len(origin.requests) == 2:
            await connection.close()
        else:
            await connection.send(reply(b"abc"))

    origin.on("/", script)
    assert (await client.get(origin.url("/"))).content == b"abc"
    assert (await client.get(origin.url("/"))).content == b"abc"
    assert len(origin.requests) == 3


async def test_what_follows_a_reply_is_no_other_reply(client: Any, origin: Origin) -> None:
    url = origin.reply("/", reply(b"mine") + reply(b"forged"))
    for _ in range(2):
        assert (await client.get(url)).content == b"mine"
    assert len({request.connection for request in origin.requests}) == 2


HOSTILE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + reply(b"abc"),
    b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    b"",
    b"HTTP/1.1 200",
]


@pytest.mark.parametrize("said", HOSTILE, ids=lambda said: repr(said[:40]))
async def test_a_reply_that_could_mean_two_things_is_refused(
    client: Any, library: Any, origin: Origin, said: bytes
) -> None:
    url = origin.reply("/", said, close=True)
    with pytest.raises(library.RemoteProtocolError):
        await client.get(url)


@pytest.mark.parametrize(
    "said",
    [
        head("Content-Length: 10") + b"abc",
        head("Transfer-Encoding: chunked") + b"5\r\nabc",
        head("Transfer-Encoding: chunked") + b"4\r\nabc\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked") + b"xyz",
    ],
)
async def test_a_body_that_breaks_off_is_an_error(client: Any, library: Any, origin: Origin, said: bytes) -> None:
    url = origin.reply("/", said, close=True)
    with pytest.raises(library.RemoteProtocolError):
        await client.get(url)


async def test_an_end_of_tls_that_is_none_is_an_error(client: Any, library: Any, secure: Origin) -> None:
    async def script(connection: Connection, _: Request) -> None:
        await connection.send(head() + BODY)
        await connection.reset()

    secure.on("/", script)
    with pytest.raises((library.RemoteProtocolError, library.ReadError)):
        await client.get(secure.url("/"))


async def test_a_header_with_bare_line_feeds_is_read(client: Any, origin: Origin) -> None:
    url = origin.reply("/", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc")
    assert (await client.get(url)).content == b"abc"


async def test_informational_replies_are_passed_over(client: Any, origin: Origin) -> None:
    url = origin.reply("/", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(b"abc"))
    response = await client.get(url)
    assert response.content == b"abc"
    assert "link" not in response.headers


async def test_nobody_listens(client: Any, library: Any) -> None:
    with pytest.raises(library.ConnectError):
        await client.get("http://127.0.0.1:1/")


async def test_a_certificate_that_is_not_trusted(library: Any, secure: Origin) -> None:
    async with library.AsyncClient(transport=TrioTransport(verify=ssl.create_default_context())) as client:
        with pytest.raises(library.ConnectError, match="certificate verify failed"):
            await client.get(secure.url("/"))


async def test_each_limit_of_time_has_its_error(library: Any, origin: Origin) -> None:
    async def silent(connection: Connection, _: Request) -> None:
        await connection.wait_closed()

    async def stalled(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 10") + b"abc")
        await connection.wait_closed()

    origin.on("/silent", silent)
    origin.on("/stalled", stalled)
    async with library.AsyncClient(transport=TrioTransport(), timeout=library.Timeout(20, read=0.1)) as client:
        with pytest.raises(library.ReadTimeout, match="no header came within"):
            await client.get(origin.url("/silent"))
        with pytest.raises(library.ReadTimeout, match="nothing of the body came"):
            await client.get(origin.url("/stalled"))
    await origin.wait_no_connections()


async def test_only_so_many_connections_at_a_time(library: Any, origin: Origin) -> None:
    url = origin.reply("/", reply(b"abc"))
    limits = library.Timeout(20, pool=0.1)
    async with library.AsyncClient(transport=TrioTransport(max_connections=1), timeout=limits) as client:
        async with client.stream("GET", url):
            with pytest.raises(library.PoolTimeout):
                await client.get(url)
        assert (await client.get(url)).content == b"abc"


async def test_an_address_that_is_not_allowed_is_not_connected_to(library: Any, origin: Origin) -> None:
    url = origin.reply("/", reply(b"abc"))
    async with library.AsyncClient(transport=TrioTransport(allow_address=lambda ip: ip.is_loopback)) as client:
        assert (await client.get(url)).content == b"abc"
    async with library.AsyncClient(transport=TrioTransport(allow_address=lambda ip: ip.is_global)) as client:
        with pytest.raises(library.ConnectError, match="has no address that is allowed"):
            await client.get(url)
    assert len(origin.requests) == 1


async def test_other_schemes_and_impossible_requests_are_refused(client: Any, library: Any, origin: Origin) -> None:
    with pytest.raises(library.UnsupportedProtocol):
        await client.get("ftp://127.0.0.1/")
    with pytest.raises(library.LocalProtocolError):
        await client.get(origin.url("/"), headers=[(b"X", b"a\nb")])
    assert not origin.requests


@pytest.mark.parametrize("stage", ["header", "body"])
async def test_a_cancel_closes_the_connection(client: Any, origin: Origin, stage: str) -> None:
    reached = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        if stage == "body":
            await connection.send(head("Content-Length: 10") + b"abc")
        reached.set()
        await connection.wait_closed()

    origin.on("/", script)
    before = descriptors()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.get, origin.url("/"))
        await reached.wait()
        nursery.cancel_scope.cancel()
    await origin.wait_no_connections()
    assert descriptors() == before


async def test_closing_the_client_closes_what_waits(library: Any, origin: Origin) -> None:
    async with library.AsyncClient(transport=TrioTransport()) as client:
        await client.get(origin.reply("/", reply(b"abc")))
    await origin.wait_no_connections()


@pytest.mark.parametrize("limit", ["for each origin", "in all", "of time"])
async def test_not_many_connections_wait(
    library: Any, origin: Origin, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if limit == "in all":
        monkeypatch.setattr(_pool, "MAX_IDLE_IN_ALL", 1)
    each: dict[str, dict[str, Any]] = {
        "for each origin": {"max_idle_connections": 1},
        "in all": {},
        "of time": {"idle_expiry_s": 0.0},
    }
    url = origin.reply("/", reply(b"abc"))
    async with library.AsyncClient(transport=TrioTransport(**each[limit])) as client:
        # The same server by two names is two origins.
        other = url.replace("127.0.0.1", "localhost") if limit == "in all" else url
        async with client.stream("GET", url) as first, client.stream("GET", other) as second:
            await first.aread()
            await second.aread()
        with trio.fail_after(20):
            while origin.open_connections > 1:  # noqa: ASYNC110  (the kernel tells the server, and nobody else)
                await trio.sleep(0.01)
        assert (await client.get(url)).content == b"abc"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"verify": False}, TypeError), ({"verify": "ca.pem"}, TypeError), ({"max_connections": 0}, ValueError)],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        TrioTransport(**arguments)

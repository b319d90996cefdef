"""Requests that may go to public addresses only, against real sockets, with both libraries.

Loopback stands for the public here: what is public has tests of its own, and so has what is refused.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
import trio
import trustme

from tests.test_client import PATIENT, SOON, black_hole, read_all, server_context
from tests.ways import WAYS, take_way
from trio_dlm._errors import ConnectionFailedError, DownloadTimeoutError, UnusableReplyError
from trio_dlm.downloaders.http.client import _resolving
from trio_dlm.downloaders.http.client._client import AnyClient, open_client
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.downloaders.http.rules._destinations import AnyAddress, problem_of
from trio_dlm.testing.origin import Connection, Origin, Request, open_origin, reply


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def _trusted(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
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
async def origin() -> AsyncGenerator[Origin, None]:
    async with open_origin() as opened:
        yield opened


@pytest.fixture
def _loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def problem(ip: AnyAddress) -> str | None:
        return None if ip.is_loopback else problem_of(ip)

    monkeypatch.setattr(_resolving, "problem_of", problem)


loopback_is_public = pytest.mark.usefixtures("_loopback_is_public")


class Names(trio.abc.HostnameResolver):
    """Answers each question with the next of *answers*, and the last one ever after."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        trio.socket.set_custom_hostname_resolver(self)

    async def getaddrinfo(self, host: Any, port: Any, *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.asked.append(host if isinstance(host, str) else host.decode())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (
                socket.AF_INET6 if ip_address(text).version == 6 else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (text, port, 0, 0) if ip_address(text).version == 6 else (text, port),
            )
            for text in answer
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


async def get(
    client: AnyClient,
    url: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    is_named: bool = True,
    connect_timeout_s: float = PATIENT,
    timeout_s: float = PATIENT,
    allow_private: bool = False,
) -> bytes:
    async with client.exchange(
        parse_address(url),
        headers=headers,
        is_named=is_named,
        connect_timeout_s=connect_timeout_s,
        timeout_s=timeout_s,
        allow_private=allow_private,
    ) as exchange:
        return await read_all(exchange)


@contextmanager
def refused(match: str, *, may_pass: bool = False) -> Iterator[None]:
    with pytest.raises(ConnectionFailedError, match=match) as caught:
        yield
    assert type(caught.value) is ConnectionFailedError
    assert caught.value.may_pass is may_pass


def at(origin: Origin, name: str = "public.example", path: str = "/") -> str:
    scheme, _, rest = origin.url(path).partition("://")
    return f"{scheme}://{name}:{rest.partition(':')[2]}"


# What is not public.


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "[::ffff:127.0.0.1]"],
)
async def test_an_address_that_is_not_public_is_never_connected_to(
    client: AnyClient, origin: Origin, host: str
) -> None:
    with refused(r"(is|is at .*,) a(n address| loopback).*not connected to; allow_private_addresses=True permits"):
        await get(client, at(origin, host))
    assert origin.connections == 0


async def test_a_name_at_such_an_address_is_refused_with_that_address(client: AnyClient, origin: Origin) -> None:
    Names(["127.0.0.1", "10.0.0.7"])
    with refused(r"internal\.example is at 127\.0\.0\.1, a loopback address"):
        await get(client, at(origin, "internal.example"))
    assert origin.connections == 0


async def test_no_more_than_one_address_is_told(client: AnyClient, origin: Origin) -> None:
    Names(["10.0.0.7", "192.168.1.1"])
    with pytest.raises(ConnectionFailedError) as caught:
        await get(client, at(origin, "internal.example"))
    assert "10.0.0.7" in str(caught.value)
    assert "192.168" not in str(caught.value)


# What is.


@loopback_is_public
async def test_a_request_goes_to_the_address_with_the_name_of_its_host(client: AnyClient, origin: Origin) -> None:
    Names(["127.0.0.1"])
    origin.reply("/a", reply(b"abc"))
    assert await get(client, at(origin, path="/a?b=c"), headers=(("X-Mine", "1"),)) == b"abc"
    (request,) = origin.requests
    assert request.header("host") == at(origin).split("/")[2]
    assert request.header("x-mine") == "1"
    assert request.target == "/a?b=c"


@loopback_is_public
async def test_an_address_is_its_own_name(client: AnyClient, origin: Origin) -> None:
    assert await get(client, origin.reply("/", reply(b"abc"))) == b"abc"
    assert origin.requests[0].header("host") == at(origin, "127.0.0.1").split("/")[2]


@loopback_is_public
async def test_the_address_that_was_checked_is_connected_to_and_no_other(client: AnyClient, origin: Origin) -> None:
    # The second answer is a trap: nobody asks for it.
    names = Names(["127.0.0.1"], ["10.0.0.7"])
    origin.reply("/", reply(b"abc"))
    assert await get(client, at(origin)) == b"abc"
    assert names.asked == ["public.example"]


@loopback_is_public
async def test_of_several_addresses_the_public_ones_are_used(client: AnyClient, origin: Origin) -> None:
    Names(["10.0.0.7", "fd00::1", "127.0.0.1"])
    origin.reply("/", reply(b"abc"))
    assert await get(client, at(origin)) == b"abc"


@loopback_is_public
async def test_the_addresses_are_tried_in_turn(client: AnyClient, origin: Origin) -> None:
    Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    origin.reply("/", reply(b"abc"))
    assert await get(client, at(origin)) == b"abc"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Windows refuses a connection that finds the queue full")
@loopback_is_public
async def test_an_address_that_does_not_answer_leaves_time_for_the_next(client: AnyClient, origin: Origin) -> None:
    Names(["127.0.0.2", "127.0.0.1"])
    origin.reply("/", reply(b"abc"))
    async with black_hole("127.0.0.2", int(at(origin).split(":")[2].strip("/"))):
        assert await get(client, at(origin), connect_timeout_s=2.0) == b"abc"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Windows refuses a connection that finds the queue full")
@loopback_is_public
async def test_all_addresses_together_have_one_limit_of_time(client: AnyClient) -> None:
    Names(["127.0.0.1"] * 3 + ["127.0.0.2"])
    async with black_hole() as port, black_hole("127.0.0.2", port):
        started = trio.current_time()
        with pytest.raises(DownloadTimeoutError, match=r"no connection to public\.example port \d+ within 0\.3 s"):
            await get(client, f"http://public.example:{port}/", connect_timeout_s=0.3)
        assert trio.current_time() - started >= 0.25


@loopback_is_public
async def test_very_many_addresses_are_not_tried(client: AnyClient, origin: Origin) -> None:
    Names([f"127.0.0.{number}" for number in range(2, 12)] + ["127.0.0.1"])
    with refused("nothing listens there", may_pass=True):
        await get(client, at(origin))


@loopback_is_public
async def test_an_address_that_was_reached_is_the_last_one_tried(client: AnyClient, origin: Origin) -> None:
    Names(["127.0.0.1", "127.0.0.2"])
    origin.on("/", lambda connection, _: connection.reset())
    with refused("before the reply was complete", may_pass=True):
        await get(client, at(origin))
    assert origin.connections == 1


@loopback_is_public
async def test_a_reply_that_is_none_says_so(client: AnyClient, origin: Origin) -> None:
    with pytest.raises(UnusableReplyError, match="not HTTP"):
        await get(client, origin.reply("/", b"220 smtp.example ESMTP\r\n\r\n", close=True))


# The look-up.


async def test_a_name_that_is_not_looked_up_ends_in_time(client: AnyClient) -> None:
    class Silent(Names):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.sleep_forever()

    Silent()
    with pytest.raises(DownloadTimeoutError, match=r"no address of slow\.example within 0\.15 s") as caught:
        await get(client, "http://slow.example/", connect_timeout_s=SOON)
    assert caught.value.option == "connect_timeout_s"


async def test_an_unknown_name_says_so(client: AnyClient) -> None:
    class Unknown(Names):
        async def getaddrinfo(self, *_: Any, **__: Any) -> Any:
            await trio.lowlevel.checkpoint()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    Unknown()
    with refused(r"no address was found for nobody\.example port 80", may_pass=True):
        await get(client, "http://nobody.example/")


# TLS.


@loopback_is_public
async def test_the_certificate_is_that_of_the_name(client: AnyClient, authority: trustme.CA) -> None:
    Names(["127.0.0.1"])
    context = server_context(authority, "public.example")
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    async with open_origin(tls=context) as origin:
        origin.reply("/", reply(b"abc"))
        assert await get(client, at(origin)) == b"abc"
        assert names == ["public.example"]
        with refused("certificate was not accepted"):
            await get(client, at(origin, "other.example"))
        with refused("certificate was not accepted"):
            await get(client, at(origin, "127.0.0.1"))
        await origin.wait_no_connections()


@loopback_is_public
async def test_an_address_may_have_a_certificate_of_its_own(client: AnyClient, authority: trustme.CA) -> None:
    async with open_origin(tls=server_context(authority, "127.0.0.1")) as origin:
        assert await get(client, origin.reply("/", reply(b"abc"))) == b"abc"


@loopback_is_public
async def test_a_handshake_that_is_not_answered_ends_in_time_and_leaves_no_connection(
    client: AnyClient, origin: Origin
) -> None:
    Names(["127.0.0.1", "127.0.0.2"])
    url = at(origin).replace("http:", "https:")
    with pytest.raises(DownloadTimeoutError, match=r"end of the TLS handshake with public\.example"):
        await get(client, url, connect_timeout_s=2 * SOON)
    await origin.wait_no_connections()


@loopback_is_public
async def test_a_client_that_speaks_http2_is_refused_before_it_asks(library: Any, authority: trustme.CA) -> None:
    Names(["127.0.0.1"])
    context = server_context(authority, "public.example")
    context.set_alpn_protocols(["h2"])
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    transport = library.AsyncHTTPTransport(http2=True, verify=trusting)
    async with (
        open_origin(tls=context) as origin,
        library.AsyncClient(transport=transport) as theirs,
        open_client(theirs) as client,
    ):
        with refused("speaks HTTP/2.*nothing was sent"):
            await get(client, at(origin))
        await origin.wait_no_connections()
        assert origin.requests == []


# Other ways out.


@loopback_is_public
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_is_never_connected_to(library: Any, origin: Origin, scheme: str) -> None:
    Names(["127.0.0.2"])
    async with library.AsyncClient(proxy=origin.url("/")) as theirs, open_client(theirs) as client:
        with refused(r"the client goes by the proxy 127\.0\.0\.1 port \d+.*nothing was sent"):
            await get(client, f"{scheme}://public.example/")
    assert origin.connections == 0


@loopback_is_public
async def test_a_proxy_of_the_environment_is_never_connected_to(
    library: Any, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(["127.0.0.2"])
    monkeypatch.setenv("http_proxy", origin.url("/"))
    async with open_client(None) as client:
        with refused("the client goes by the proxy"):
            await get(client, "http://public.example/")
    assert origin.connections == 0


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no such sockets")
@loopback_is_public
async def test_a_socket_of_the_machine_is_never_connected_to(library: Any) -> None:
    Names(["127.0.0.1"])
    transport = library.AsyncHTTPTransport(uds="/nowhere")
    async with library.AsyncClient(transport=transport) as theirs, open_client(theirs) as client:
        with refused("the client goes by a socket of this machine"):
            await get(client, "http://public.example/")


@loopback_is_public
async def test_a_transport_that_does_not_say_whom_it_asks_is_refused(library: Any) -> None:
    Names(["127.0.0.1"])
    closed: list[bool] = []

    class Body(library.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncGenerator[bytes, None]:
            yield b"secret"

        async def aclose(self) -> None:
            closed.append(True)
            await trio.lowlevel.checkpoint()

    async def handler(_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return library.Response(200, stream=Body())

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        with refused("does not say whom it connects to, so its reply was thrown away"):
            await get(client, "http://public.example/")
    assert closed


@loopback_is_public
@pytest.mark.parametrize("peer", [("127.0.0.9", 80), ("::1", 80, 0, 0), None])
async def test_a_transport_that_asks_somebody_else_is_refused_and_its_connection_closed(
    library: Any, peer: tuple[object, ...] | None
) -> None:
    Names(["127.0.0.1"])
    closed: list[bool] = []

    class Stream:
        def get_extra_info(self, name: str) -> Any:
            return {"server_addr": peer}[name]

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()
            closed.append(True)

    async def handler(request: Any) -> Any:
        trace = request.extensions["trace"]
        await trace("connection.connect_tcp.started", {"host": request.url.host, "port": 80})
        await trace("connection.connect_tcp.complete", {"return_value": Stream()})
        raise AssertionError("it went on")

    async with library.AsyncClient(transport=library.MockTransport(handler)) as theirs, open_client(theirs) as client:
        with refused(r"did not connect to 127\.0\.0\.1.*nothing was sent"):
            await get(client, "http://public.example/")
    assert closed


@loopback_is_public
async def test_a_connection_that_was_there_is_not_used_but_closed(library: Any, origin: Origin) -> None:
    Names(["127.0.0.1"])
    url = origin.reply("/", reply(b"abc"))
    async with library.AsyncClient(timeout=None) as theirs, open_client(theirs) as client:
        assert await get(client, url, allow_private=True) == b"abc"
        with refused("had a connection there already, made for something else, so nothing was sent", may_pass=True):
            await get(client, at(origin))
        await origin.wait_no_connections()
        assert len(origin.requests) == 1
        for number in (2, 3):
            assert await get(client, at(origin)) == b"abc"
            assert origin.connections == number
            # One that was checked for one name is nobody else's.
            await origin.wait_no_connections()


# What a client of the user's adds.


@loopback_is_public
async def test_a_users_client_adds_what_it_has_for_the_name(library: Any, origin: Origin) -> None:
    Names(["127.0.0.1"])
    origin.reply("/", reply(b""))
    cookies = library.Cookies()
    cookies.set("a", "right", domain="public.example")
    cookies.set("a", "wrong", domain="127.0.0.1")
    async with (
        library.AsyncClient(cookies=cookies, headers={"X-Mine": "1", "User-Agent": "me"}) as theirs,
        open_client(theirs) as client,
    ):
        await get(client, at(origin))
        await get(client, at(origin), is_named=False)
    named, unnamed = origin.requests
    assert (named.header("cookie"), named.header("x-mine")) == ("a=right", "1")
    assert (unnamed.header("cookie"), unnamed.header("x-mine")) == (None, None)
    assert unnamed.header("user-agent") == "me"
    assert named.header("host") == unnamed.header("host") == at(origin).split("/")[2]


@loopback_is_public
async def test_auth_that_takes_two_requests_works(library: Any, origin: Origin) -> None:
    Names(["127.0.0.1"])
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'

    async def script(connection: Connection, request: Request) -> None:
        if request.header("authorization") is None:
            await connection.send(reply(b"", challenge, status="401 Unauthorized"))
        else:
            await connection.send(reply(b"abc"))

    origin.on("/", script)
    async with library.AsyncClient(auth=library.DigestAuth("user", "hunter2")) as theirs, open_client(theirs) as client:
        assert await get(client, at(origin)) == b"abc"
    assert [request.header("host") for request in origin.requests] == [at(origin).split("/")[2]] * 2

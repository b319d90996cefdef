"""The origin answers as it is told, through each of its faces alike: in memory, on a network in memory, on a socket."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_dlm.testing.origin import (
    Act,
    Close,
    Connection,
    Hold,
    Origin,
    Request,
    Reset,
    Resource,
    Send,
    Wait,
    head,
    open_memory_origin,
    open_origin,
    reply,
)
from trio_dlm.testing.origin._certificates import make_certificate
from trio_dlm.testing.origin._resource import Validators
from trio_dlm.testing.world import memory_network

GET = b"GET /file.bin HTTP/1.1\r\nHost: origin.test\r\n\r\n"
# For what is certain to come late on no machine.
SOON_S = 0.05


@dataclass(frozen=True)
class Says:
    """A fault that does these acts."""

    acts: tuple[Act, ...]

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        return self.acts


@dataclass(frozen=True)
class Steps:
    """A plan with one list of acts for each request; the last one for all that come after."""

    steps: tuple[tuple[Act, ...], ...]
    validators: Validators = "strong"
    max_connections: int | None = None

    def for_request(self, number: int) -> Says:
        return Says(self.steps[min(number, len(self.steps) - 1)])


def always(*acts: Act, **options: Any) -> Steps:
    return Steps((acts,), **options)


Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[Origin]]


@pytest.fixture(params=["memory", "network", "socket"])
def plain(request: pytest.FixtureRequest) -> Opener:
    """Open an origin through each of the faces."""

    @asynccontextmanager
    async def opened(*args: Any, **options: Any) -> AsyncGenerator[Origin, None]:
        with memory_network() if request.param == "network" else nullcontext():
            async with (open_origin if request.param == "socket" else open_memory_origin)(*args, **options) as origin:
                yield origin

    return opened


@pytest.fixture(params=[False, True], ids=["http", "https"])
def opener(request: pytest.FixtureRequest, plain: Opener) -> Opener:
    """Open an origin through each of the faces, with and without TLS."""
    return lambda *args, **options: plain(*args, tls=request.param, **options)


async def ask(stream: trio.abc.Stream, request: bytes = GET) -> None:
    await stream.send_all(request)


async def read(stream: trio.abc.Stream, length: int) -> bytes:
    received = b""
    while len(received) < length:
        received += await stream.receive_some(length - len(received)) or pytest.fail(f"it ended after {received!r}")
    return received


# What a plan says is what is done.


async def test_acts_are_done_one_after_the_other(opener: Opener) -> None:
    async with opener(always(Send(head()), Wait(0), Send(b"body"))) as origin:
        stream = await origin.connect()
        for _ in range(2):
            await ask(stream)
            assert await read(stream, len(head()) + 4) == head() + b"body"
        assert origin.connections == 1
        await trio.aclose_forcefully(stream)


async def test_each_request_has_its_step_over_all_connections(opener: Opener) -> None:
    async with opener(Steps(((Send(b"first"),), (Send(b"later"),)))) as origin:
        for expected in (b"first", b"later", b"later"):
            stream = await origin.connect()
            await ask(stream)
            assert await read(stream, 5) == expected
            await trio.aclose_forcefully(stream)
        assert [(each.number, each.connection) for each in origin.requests] == [(0, 0), (1, 1), (2, 2)]


async def test_a_clean_close_is_told_from_one_that_is_not(opener: Opener) -> None:
    async with opener(Steps(((Send(b"x"), Close()), (Send(b"x"), Close(clean=False))))) as origin:
        for is_clean in (True, False):
            stream = await origin.connect()
            await ask(stream)
            assert await read(stream, 1) == b"x"
            if is_clean or origin.scheme == "http":
                assert await stream.receive_some() == b""
            else:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
            await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()


async def test_nothing_is_done_after_the_end_of_a_connection(opener: Opener) -> None:
    async with opener(always(Close(), Send(b"never"))) as origin:
        stream = await origin.connect()
        await ask(stream)
        assert await stream.receive_some() == b""
        await origin.wait_no_connections()
        await trio.aclose_forcefully(stream)


async def test_a_reset_is_no_end(opener: Opener) -> None:
    async with opener(always(Send(b"x"), Reset())) as origin:
        stream = await origin.connect()
        await ask(stream)
        assert await read(stream, 1) == b"x"
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        await origin.wait_no_connections()
        await trio.aclose_forcefully(stream)


async def test_a_connection_is_held_until_the_client_closes_it(opener: Opener) -> None:
    async with opener(always(Send(b"x"), Hold())) as origin:
        stream = await origin.connect()
        await ask(stream)
        assert await read(stream, 1) == b"x"
        assert origin.open_connections == 1
        await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()


async def test_a_wait_is_over_when_the_client_goes_away(opener: Opener) -> None:
    async with opener(always(Send(b"x"), Wait(1_000_000), Send(b"y"))) as origin:
        stream = await origin.connect()
        await ask(stream)
        assert await read(stream, 1) == b"x"
        await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()


async def test_what_is_asked_while_the_origin_waits_is_answered_later(opener: Opener) -> None:
    async with opener(Steps(((Send(b"x"), Wait(SOON_S)), (Send(b"y"), Hold())))) as origin:
        stream = await origin.connect()
        await ask(stream)
        await read(stream, 1)
        await ask(stream)
        assert await read(stream, 1) == b"y"
        await ask(stream)
        await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()
        assert [each.number for each in origin.requests] == [0, 1]


async def test_a_client_may_go_away_before_it_has_asked(opener: Opener) -> None:
    async with opener(always(Hold())) as origin:
        for said in (b"", b"GET / HT", b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"):
            stream = await origin.connect()
            if said:
                await ask(stream, said)
            await trio.aclose_forcefully(stream)
        await origin.wait_connections(3)
        await origin.wait_no_connections()
        assert origin.requests == []


async def test_a_client_may_go_away_while_it_is_answered(opener: Opener) -> None:
    async with opener(always(*[Send(bytes(100_000))] * 100)) as origin:
        stream = await origin.connect()
        await ask(stream)
        await read(stream, 1)
        await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()


async def test_one_connection_too_many_is_closed_at_once(opener: Opener) -> None:
    async with opener(always(Send(b"x"), Hold(), max_connections=1)) as origin:
        first = await origin.connect()
        await ask(first)
        await read(first, 1)
        second = await origin.connect()
        with pytest.raises(trio.BrokenResourceError) if origin.scheme == "https" else nullcontext():
            assert await second.receive_some() == b""
        await trio.aclose_forcefully(second)
        assert (origin.connections, origin.refused_connections) == (2, 1)
        assert (origin.open_connections, origin.peak_connections) == (1, 1)
        await trio.aclose_forcefully(first)
        await origin.wait_no_connections()
        third = await origin.connect()
        await ask(third)
        await read(third, 1)
        await trio.aclose_forcefully(third)


# What it tells of what was asked.


async def test_a_request_is_kept_as_it_came(opener: Opener) -> None:
    async with opener() as origin:
        stream = await origin.connect()
        await ask(stream, b"GET /a?b=c HTTP/1.1\r\nRange: bytes=5-\r\nX-Odd:  y \r\n\r\n")
        assert await read(stream, 9) == b"HTTP/1.1 "
        (request,) = origin.requests
        assert (request.method, request.target, request.path) == ("GET", "/a?b=c", "/a")
        assert request.headers == (("range", "bytes=5-"), ("x-odd", "y"))
        assert request.range == (5, None)
        assert request.is_secure == (origin.scheme == "https")
        assert request.raw.endswith(b"X-Odd:  y ")
        assert 0 <= request.at_s <= trio.current_time()
        await trio.aclose_forcefully(stream)


async def test_a_body_that_comes_with_a_request_is_no_request(opener: Opener) -> None:
    async with opener() as origin:
        origin.reply("/", reply(b"ok"))
        stream = await origin.connect()
        await ask(stream, b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\nGET ")
        await ask(stream, b"/ H\nGET / HTTP/1.1\r\nContent-Length: junk\r\n\r\n")
        await read(stream, 2 * len(reply(b"ok")))
        assert [each.method for each in origin.requests] == ["POST", "GET"]
        await trio.aclose_forcefully(stream)


async def test_its_file_is_told_by_the_plans_validators(opener: Opener) -> None:
    async with opener(always(Hold(), validators="weak"), body=b"abc") as origin:
        assert origin.resource.body == b"abc"
        assert origin.resource.validators == "weak"


# Scripts.


async def test_a_script_comes_before_the_plan(opener: Opener) -> None:
    async with opener(always(Send(b"plan"))) as origin:
        assert origin.reply("/script", b"s", b"cript") == origin.url("/script")
        stream = await origin.connect()
        await ask(stream, b"GET /script?x HTTP/1.1\r\n\r\n")
        assert await read(stream, 6) == b"script"
        await ask(stream)
        assert await read(stream, 4) == b"plan"
        await trio.aclose_forcefully(stream)


async def test_without_plan_and_script_there_is_nothing(opener: Opener) -> None:
    async with opener() as origin:
        stream = await origin.connect()
        await ask(stream)
        assert await read(stream, 22) == b"HTTP/1.1 404 Not Found"
        await trio.aclose_forcefully(stream)


async def test_a_script_may_do_all_that_acts_do(opener: Opener) -> None:
    waited: list[str] = []

    async def script(connection: Connection, request: Request) -> None:
        await connection.send(b"a", b"b")
        await connection.wait(0)
        await connection.wait_closed()
        waited.append(request.path)

    async with opener() as origin:
        url = origin.on("/script", script)
        assert url == origin.url("/script")
        stream = await origin.connect()
        await ask(stream, b"GET /script HTTP/1.1\r\n\r\n")
        assert await read(stream, 2) == b"ab"
        await trio.aclose_forcefully(stream)
        await origin.wait_no_connections()
        assert waited == ["/script"]


async def test_a_reply_may_close_the_connection(opener: Opener) -> None:
    async with opener() as origin:
        origin.reply("/", b"x", close=True)
        stream = await origin.connect()
        await ask(stream, b"GET / HTTP/1.1\r\n\r\n")
        assert await read(stream, 1) == b"x"
        with pytest.raises(trio.BrokenResourceError) if origin.scheme == "https" else nullcontext():
            assert await stream.receive_some() == b""
        await origin.wait_no_connections()
        await trio.aclose_forcefully(stream)


async def test_a_mistake_in_a_script_comes_out_of_the_block(plain: Opener) -> None:
    async def script(connection: Connection, request: Request) -> None:
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        async with plain() as origin:
            origin.on("/file.bin", script)
            async with await origin.connect() as stream:
                await ask(stream)
                await trio.sleep_forever()


# The block.


async def test_what_is_still_connected_is_closed_when_the_block_is_left(opener: Opener) -> None:
    async with opener(always(Send(b"x"), Hold())) as origin:
        stream = await origin.connect()
        await ask(stream)
        await read(stream, 1)
    assert origin.open_connections == 0
    with pytest.raises(trio.BrokenResourceError) if origin.scheme == "https" else nullcontext():
        assert await stream.receive_some() == b""
    await trio.aclose_forcefully(stream)


async def test_what_the_block_raises_leaves_it_alone_and_bare(plain: Opener) -> None:
    error = ValueError("the test wants it")
    error.__context__ = KeyError("what it came from")
    with pytest.raises(ValueError, match="the test wants it") as caught:
        async with plain():
            raise error
    assert caught.value is error
    assert repr(error.__context__) == "KeyError('what it came from')"


async def test_two_errors_leave_the_block_in_a_group() -> None:
    async def script(connection: Connection, request: Request) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("a mistake")

    with pytest.RaisesGroup(ValueError, KeyError):
        async with open_memory_origin() as origin:
            origin.on("/file.bin", script)
            stream = await origin.connect()
            await ask(stream)
            await origin.wait_requests(1)
            raise ValueError("the test wants it")


async def test_a_cancelled_block_is_left(plain: Opener) -> None:
    with trio.CancelScope() as scope:
        async with plain():
            scope.cancel(reason="the test wants it")
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_its_name_is_free_again_after_the_block() -> None:
    with memory_network() as network:
        for body in (b"a", b"b"):
            async with open_memory_origin(always(Send(body))) as origin:
                async with await trio.open_tcp_stream("origin.test", 80) as stream:
                    await ask(stream)
                    assert await stream.receive_some() == body
                await origin.wait_no_connections()
        with pytest.raises(OSError, match="failed"):
            await trio.open_tcp_stream("origin.test", 80)
        assert network.open_client_sockets == 0


async def test_two_origins_cannot_have_one_name() -> None:
    with memory_network():
        async with open_memory_origin(), open_memory_origin(host="other.test"):
            with pytest.raises(OSError, match="in use"):
                async with open_memory_origin():
                    pass


# What a test waits for.


async def test_waits_end_when_what_they_wait_for_is_there(opener: Opener) -> None:
    async with opener() as origin, trio.open_nursery() as nursery:
        nursery.start_soon(origin.wait_connections, 1)
        nursery.start_soon(origin.wait_requests, 1)
        await wait_all_tasks_blocked()
        stream = await origin.connect()
        await ask(stream)
        await read(stream, 22)
        with assert_checkpoints():
            await origin.wait_requests(1)
        nursery.start_soon(origin.wait_no_connections)
        await wait_all_tasks_blocked()
        await trio.aclose_forcefully(stream)


async def test_waits_say_what_they_waited_for_when_they_give_up(opener: Opener) -> None:
    async with opener() as origin:
        stream = await origin.connect()
        await ask(stream)
        await origin.wait_requests(1)
        waits: list[tuple[Callable[[], Awaitable[None]], str]] = [
            (lambda: origin.wait_requests(2, limit_s=SOON_S), "2 requests"),
            (lambda: origin.wait_connections(2, limit_s=SOON_S), "2 connections"),
            (lambda: origin.wait_no_connections(limit_s=SOON_S), "no open connection"),
        ]
        for wait, said in waits:
            with pytest.raises(
                trio.TooSlowError,
                match=rf"expected {said} within 0\.05 s, got 1 requests and 1 connections, of which 1 are open",
            ):
                await wait()
        await trio.aclose_forcefully(stream)


# Addresses and certificates.


async def test_addresses_have_a_port_if_they_need_one() -> None:
    async with open_memory_origin() as origin, open_memory_origin(tls=True, host="safe.test") as safe:
        assert origin.url() == "http://origin.test/file.bin"
        assert origin.url("/a", userinfo="me:pw", query="x=1") == "http://me:pw@origin.test/a?x=1"
        assert safe.url("/") == "https://safe.test/"
        assert repr(origin) == "<Origin http://origin.test/ requests=0 open_connections=0>"
    async with open_origin(host="localhost") as origin:
        assert origin.url("/") == f"http://localhost:{origin.port}/"


async def test_it_is_trusted_only_by_whom_it_was_given_to(plain: Opener, tmp_path: Path) -> None:
    async with plain(tls=True) as origin:

        async def greet(context: ssl.SSLContext) -> None:
            stream = await origin.connect()
            assert isinstance(stream, trio.SSLStream)
            async with stream.transport_stream:
                await trio.SSLStream(stream.transport_stream, context, server_hostname=origin.host).do_handshake()

        await greet(origin.client_context())
        await greet(ssl.create_default_context(cafile=origin.ca_file(tmp_path / "ca.pem")))
        with pytest.raises(trio.BrokenResourceError) as caught:
            await greet(ssl.create_default_context(cadata=make_certificate("x").ca_pem.decode()))
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_context_of_ones_own_is_used(plain: Opener) -> None:
    certificate = make_certificate("own.test")
    async with plain(tls=certificate.server_context, host="own.test") as origin:
        assert origin.scheme == "https"
        with pytest.raises(RuntimeError, match="open it with tls=True"):
            origin.client_context()


async def test_without_trustme_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with pytest.raises(ModuleNotFoundError, match=r"install trio-dlm\[testing\]"):
        async with open_memory_origin(tls=True):
            pass

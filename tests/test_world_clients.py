"""Stock clients over the network in memory, in virtual time: nothing in them knows of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.abc
import httpx
import httpx2
import pytest
import trio

from trio_dlm.testing.origin._memory import open_memory_origin
from trio_dlm.testing.origin._raw import head, reply
from trio_dlm.testing.world import MemoryNetwork, memory_network

pytestmark = pytest.mark.virtual_time

BODY = bytes(range(256)) * 2000


@pytest.fixture
async def network() -> AsyncGenerator[MemoryNetwork, None]:
    with memory_network() as installed:
        yield installed


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return request.param


async def never_read(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_gets_a_file_and_keeps_its_connection(network: MemoryNetwork, library: Any, tls: bool) -> None:
    async with open_memory_origin(tls=tls) as origin:
        url = origin.reply("/file", reply(BODY))
        verify: ssl.SSLContext | bool = origin.client_context() if tls else True
        async with library.AsyncClient(verify=verify) as client:
            for _ in range(2):
                assert (await client.get(url)).content == BODY
            assert (origin.connections, network.open_client_sockets) == (1, 1)
        assert network.open_client_sockets == 0
        await origin.wait_no_connections()


async def test_a_silent_server_is_a_read_timeout_to_the_second(network: MemoryNetwork, library: Any) -> None:
    async with open_memory_origin() as origin:
        url = origin.on("/", lambda connection, _: connection.wait(1000))
        async with library.AsyncClient(timeout=7) as client:
            with pytest.raises(library.ReadTimeout):
                await client.get(url)
        assert trio.current_time() == 7
        await origin.wait_no_connections()
        assert trio.current_time() == 7


async def test_a_server_that_does_not_answer_is_a_connect_timeout_to_the_second(
    network: MemoryNetwork, library: Any
) -> None:
    network.drop("origin.test", 80)
    async with library.AsyncClient(timeout=7) as client:
        with pytest.raises(library.ConnectTimeout):
            await client.get("http://origin.test/")
    assert trio.current_time() == 7
    assert network.open_client_sockets == 0


async def test_a_server_that_does_not_read_is_a_write_timeout_to_the_second(
    network: MemoryNetwork, library: Any
) -> None:
    async with trio.open_nursery() as nursery:
        network.listen("deaf.test", 80, never_read, nursery=nursery)
        async with library.AsyncClient(timeout=7) as client:
            with pytest.raises(library.WriteTimeout):
                await client.get("http://deaf.test/", headers={"X-Long": "x" * 200_000})
        assert trio.current_time() == 7
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("url", ["http://origin.test:81/", "http://nobody.test/", "http://[2001:db8::1]/"])
async def test_a_client_is_refused_as_by_a_real_network(network: MemoryNetwork, library: Any, url: str) -> None:
    async with open_memory_origin(), library.AsyncClient() as client:
        with pytest.raises(library.ConnectError):
            await client.get(url)
    assert network.open_client_sockets == 0


async def test_a_reset_in_the_body_is_a_read_error(network: MemoryNetwork, library: Any) -> None:
    async with open_memory_origin() as origin:

        async def script(connection: Any, _: object) -> None:
            await connection.send(head("Content-Length: 100"), b"half")
            await connection.reset()

        url = origin.on("/", script)
        async with library.AsyncClient() as client:
            with pytest.raises(library.ReadError):
                await client.get(url)
    assert network.open_client_sockets == 0


async def test_a_kept_connection_that_the_server_closed_is_not_used_again(network: MemoryNetwork, library: Any) -> None:
    async with open_memory_origin() as origin:
        url = origin.reply("/", reply(b"abc"), close=True)
        async with library.AsyncClient() as client:
            for _ in range(3):
                assert (await client.get(url)).content == b"abc"
        assert origin.connections == 3


async def test_anyio_connects_too(network: MemoryNetwork) -> None:
    async with open_memory_origin() as origin:
        origin.reply("/", reply(b"abc"))
        async with await anyio.connect_tcp("origin.test", 80) as stream:
            assert stream.extra(anyio.abc.SocketAttribute.remote_port) == 80
            await stream.send(b"GET / HTTP/1.1\r\n\r\n")
            assert await stream.receive() == reply(b"abc")
    assert network.open_client_sockets == 0

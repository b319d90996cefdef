"""The network in memory, and that its sockets do what the kernel's do."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import assert_checkpoints, check_half_closeable_stream, wait_all_tasks_blocked

from trio_dlm.testing.world import MemoryNetwork, current_network, memory_network
from trio_dlm.testing.world._network import open_memory_pair
from trio_dlm.testing.world._socket import RESET_ON_CLOSE, MemorySocket
from trio_dlm.testing.world._wire import CAPACITY_BYTES

Pair: TypeAlias = tuple[trio.SocketStream, trio.SocketStream]


@pytest.fixture
async def network() -> AsyncGenerator[MemoryNetwork, None]:
    with memory_network() as installed:
        yield installed


@asynccontextmanager
async def open_listener() -> AsyncGenerator[tuple[trio.SocketListener, int], None]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        yield listener, listener.socket.getsockname()[1]


@pytest.fixture(params=["memory", "kernel"])
async def pair(request: pytest.FixtureRequest) -> AsyncGenerator[Pair, None]:
    """Both ends of a connection, made by the same code on the network in memory and on the machine's."""
    with memory_network() if request.param == "memory" else nullcontext():
        async with open_listener() as (listener, port):
            client = await trio.open_tcp_stream("127.0.0.1", port)
            async with client, await listener.accept() as server:
                yield client, server


async def receive_all(stream: trio.SocketStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await stream.aclose()


async def wait_over(stream: trio.SocketStream) -> None:
    """Wait until what the other side did has ended the connection, which the kernel may take a moment for."""
    while has_peer(stream):
        await trio.lowlevel.checkpoint()


def has_peer(stream: trio.SocketStream) -> bool:
    try:
        stream.socket.getpeername()
    except OSError:
        return False
    return True


async def wait_readable(stream: trio.SocketStream) -> None:
    while not stream.socket.is_readable():
        await trio.lowlevel.checkpoint()


def take_error(stream: trio.SocketStream) -> int:
    """Return what the kernel has to tell, and has not told."""
    return stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


async def ignore(stream: trio.SocketStream) -> None:
    """Handle a connection until the client ends it."""
    async for _ in stream:
        pass


# What the kernel does too.


async def test_bytes_arrive_whole_and_then_the_end(pair: Pair) -> None:
    client, server = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"x" * 1_000_000)
        received = 0
        while received < 1_000_000:
            received += len(await server.receive_some())
    await client.send_eof()
    assert await receive_all(server) == b""


async def test_a_side_that_has_ended_can_still_read(pair: Pair) -> None:
    client, server = pair
    await client.send_all(b"question")
    await client.send_eof()
    assert await receive_all(server) == b"question"
    await server.send_all(b"answer")
    await server.aclose()
    assert await receive_all(client) == b"answer"


async def test_a_reset_breaks_the_other_side_after_the_bytes_that_had_arrived(pair: Pair) -> None:
    client, server = pair
    await server.send_all(b"some")
    await reset(server)
    assert await client.receive_some() == b"some"
    with pytest.raises(trio.BrokenResourceError) as caught:
        await client.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_a_close_with_bytes_unread_is_a_reset(pair: Pair) -> None:
    client, server = pair
    await client.send_all(b"never read")
    await server.wait_send_all_might_not_block()
    await wait_readable(server)
    await server.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_a_side_whose_other_side_is_gone_learns_it_when_it_sends_again(pair: Pair) -> None:
    client, server = pair
    await server.aclose()
    await client.send_all(b"too late")
    with pytest.raises(trio.BrokenResourceError):
        while True:
            await client.send_all(b"again")


async def test_a_reset_is_told_once_to_whoever_receives(pair: Pair) -> None:
    client, server = pair
    await reset(server)
    await wait_over(client)
    with pytest.raises(ConnectionResetError):
        await client.socket.recv(10)
    assert await client.socket.recv(10) == b""
    assert await client.socket.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"x")


async def test_a_reset_is_told_once_to_whoever_sends(pair: Pair) -> None:
    client, server = pair
    await reset(server)
    await wait_over(client)
    await client.socket.wait_writable()
    with pytest.raises(ConnectionResetError):
        await client.socket.send(b"x")
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"x")
    assert await client.socket.recv(10) == b""


async def test_a_reset_is_told_once_to_whoever_asks_for_the_error(pair: Pair) -> None:
    client, server = pair
    assert take_error(client) == 0
    await reset(server)
    await wait_over(client)
    assert (take_error(client), take_error(client)) == (errno.ECONNRESET, 0)
    assert await client.socket.recv(10) == b""


async def test_a_reset_is_told_to_a_task_that_waits(pair: Pair) -> None:
    client, server = pair
    errors: list[type[Exception]] = []

    async def receive() -> None:
        with pytest.raises(ConnectionResetError) as caught:
            await client.socket.recv(10)
        errors.append(caught.type)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        await reset(server)
    assert errors == [ConnectionResetError]
    assert take_error(client) == 0


async def test_what_is_over_after_a_reset_has_no_other_side(pair: Pair) -> None:
    client, server = pair
    address = client.socket.getsockname()
    await reset(server)
    await wait_over(client)
    for direction in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        with pytest.raises(OSError, match="not connected") as caught:
            client.socket.shutdown(direction)
        assert caught.value.errno == errno.ENOTCONN
    assert not client.socket.did_shutdown_SHUT_WR
    with pytest.raises(OSError, match="not connected"):
        client.socket.getpeername()
    assert client.socket.getsockname() == address
    assert take_error(client) == errno.ECONNRESET


async def test_what_is_over_since_both_have_ended_has_no_other_side(pair: Pair) -> None:
    client, server = pair
    await client.send_eof()
    assert (has_peer(client), has_peer(server)) == (True, True)
    await server.send_eof()
    for side in pair:
        await wait_over(side)
        assert take_error(side) == 0
        assert await side.socket.recv(10) == b""
        with pytest.raises(OSError, match="not connected"):
            side.socket.shutdown(socket.SHUT_RD)
        with pytest.raises(BrokenPipeError):
            await side.socket.send(b"x")


async def test_a_reset_after_the_end_is_an_end_for_whoever_receives(pair: Pair) -> None:
    client, server = pair
    await server.send_all(b"some")
    await server.send_eof()
    await reset(server)
    await wait_over(client)
    assert await client.socket.recv(10) == b"some"
    assert await client.socket.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"x")
    assert take_error(client) == 0


async def test_a_reset_in_answer_to_an_end_is_a_reset(pair: Pair) -> None:
    client, server = pair
    await client.send_eof()
    assert await server.receive_some() == b""
    await reset(server)
    await wait_over(client)
    with pytest.raises(ConnectionResetError):
        await client.socket.recv(10)


async def test_bytes_for_a_closed_socket_are_sent_in_vain(pair: Pair) -> None:
    client, server = pair
    await server.aclose()
    await wait_readable(client)
    assert await client.socket.send(b"") == 0
    assert has_peer(client)
    assert await client.socket.send(b"too late") == 8
    await wait_over(client)
    assert take_error(client) == errno.EPIPE
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"again")
    assert await client.socket.recv(10) == b""


async def test_bytes_for_a_side_that_has_shut_both_directions_break_the_connection(pair: Pair) -> None:
    client, server = pair
    server.socket.shutdown(socket.SHUT_RDWR)
    await wait_readable(client)
    assert await client.socket.send(b"too late") == 8
    for side in pair:
        await wait_over(side)
    assert await client.socket.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"again")
    with pytest.raises(ConnectionResetError):
        await server.socket.recv(10)
    assert await server.socket.recv(10) == b""


async def test_bytes_for_a_side_that_only_reads_no_more_can_be_read(pair: Pair) -> None:
    client, server = pair
    server.socket.shutdown(socket.SHUT_RD)
    assert await server.socket.recv(10) == b""
    await client.send_all(b"abc")
    while not (received := await server.socket.recv(10)):
        await trio.lowlevel.checkpoint()
    assert received == b"abc"
    assert await server.socket.recv(10) == b""
    server.socket.shutdown(socket.SHUT_WR)
    await client.send_all(b"too late")
    await wait_over(server)


async def test_nothing_is_received_at_once_whatever_the_socket_is(pair: Pair) -> None:
    client, _ = pair
    with assert_checkpoints():
        assert await client.socket.recv(0) == b""
    client.socket.close()
    assert await client.socket.recv(0) == b""


async def test_a_task_that_waits_is_told_when_another_closes_the_socket(pair: Pair) -> None:
    client, _ = pair
    with pytest.RaisesGroup(trio.ClosedResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.receive_some)
            await wait_all_tasks_blocked()
            client.socket.close()


async def test_a_closed_socket_does_nothing_any_more(pair: Pair) -> None:
    client, _ = pair
    sock = client.socket
    await client.aclose()
    assert sock.fileno() == -1
    for use in (client.send_all(b"x"), client.send_all(b""), client.receive_some()):
        with pytest.raises(trio.ClosedResourceError):
            await use
    for call in (sock.getsockname, sock.getpeername, lambda: sock.shutdown(socket.SHUT_WR)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
    sock.close()


async def test_both_sides_agree_on_their_addresses(pair: Pair) -> None:
    client, server = pair
    assert client.socket.getsockname() == server.socket.getpeername()
    assert client.socket.getpeername() == server.socket.getsockname()
    assert client.socket.getpeername()[0] == "127.0.0.1"
    assert (client.socket.family, client.socket.type) == (socket.AF_INET, socket.SOCK_STREAM)
    assert client.socket.proto in (0, socket.IPPROTO_TCP)


async def test_bytes_can_be_looked_at_before_they_are_read(pair: Pair) -> None:
    client, server = pair
    assert not client.socket.is_readable()
    await server.send_all(b"abc")
    assert await client.socket.recv(2, socket.MSG_PEEK) == b"ab"
    assert client.socket.is_readable()
    buffer = bytearray(5)
    assert await client.socket.recv_into(buffer) == 3
    assert buffer == b"abc\0\0"
    assert not client.socket.is_readable()


async def test_both_directions_can_be_shut_at_once(pair: Pair) -> None:
    client, server = pair
    client.socket.shutdown(socket.SHUT_RDWR)
    assert client.socket.did_shutdown_SHUT_WR
    assert await client.receive_some() == b""
    assert await server.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    with pytest.raises(BrokenPipeError):
        await client.socket.send(b"x")


async def test_a_side_that_reads_no_more_may_still_send(pair: Pair) -> None:
    client, server = pair
    client.socket.shutdown(socket.SHUT_RD)
    assert await client.receive_some() == b""
    await client.send_all(b"abc")
    assert await server.receive_some() == b"abc"
    assert not client.socket.did_shutdown_SHUT_WR


async def test_options_are_kept(pair: Pair) -> None:
    client, _ = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(RESET_ON_CLOSE)) == RESET_ON_CLOSE
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4) == (1).to_bytes(4, "little")
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    assert client.socket.get_inheritable() is False


async def test_everything_that_waits_is_a_checkpoint(pair: Pair) -> None:
    client, server = pair
    with assert_checkpoints():
        await client.send_all(b"abc")
    with assert_checkpoints():
        await server.receive_some(1)
    with assert_checkpoints():
        await client.socket.wait_writable()
    await reset(server)
    with pytest.raises(OSError, match="reset"), assert_checkpoints():
        while True:
            await client.socket.recv(10)


@pytest.mark.parametrize("is_memory", [True, False])
async def test_nobody_connects_where_nobody_listens(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        async with open_listener() as (_, port):
            pass
        with pytest.raises(OSError, match="failed") as caught:
            await trio.open_tcp_stream("127.0.0.1", port)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert caught.value.__cause__.subgroup(ConnectionRefusedError)


@pytest.mark.parametrize("is_memory", [True, False])
async def test_a_listener_can_be_closed_while_a_task_accepts(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        async with open_listener() as (listener, _):
            assert listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert not listener.socket.is_readable()
            with pytest.RaisesGroup(trio.ClosedResourceError):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listener.accept)
                    await wait_all_tasks_blocked()
                    await listener.aclose()


@pytest.mark.parametrize("is_memory", [True, False])
async def test_whoever_was_not_accepted_is_reset_when_the_listener_closes(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        async with open_listener() as (listener, port):
            client = await trio.open_tcp_stream("127.0.0.1", port)
            assert listener.socket.is_readable()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        await client.aclose()


@pytest.mark.parametrize("is_memory", [True, False])
async def test_whoever_went_before_it_was_accepted_is_accepted_with_its_address(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        async with open_listener() as (listener, port):
            client = await trio.open_tcp_stream("127.0.0.1", port)
            address = client.socket.getsockname()
            await reset(client)
            accepted, found = await listener.socket.accept()
            assert found == address
            async with trio.SocketStream(accepted) as server:
                await wait_over(server)
                with pytest.raises(ConnectionResetError):
                    await accepted.recv(10)


@pytest.mark.parametrize("is_memory", [True, False])
async def test_an_address_is_for_one_listener(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        async with open_listener() as (_, port):
            with pytest.raises(OSError, match="in use") as caught:
                await trio.open_tcp_listeners(port, host="127.0.0.1")
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("is_memory", [True, False])
async def test_misuse_of_a_socket_is_the_error_that_the_kernel_has_for_it(is_memory: bool) -> None:
    with memory_network() if is_memory else nullcontext():
        with trio.socket.socket() as sock:
            with pytest.raises(OSError, match="not connected"):
                sock.getpeername()
            with pytest.raises(OSError, match="not connected"):
                sock.shutdown(socket.SHUT_WR)
            with pytest.raises(OSError, match="not connected"):
                await sock.recv(1)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            with pytest.raises(OSError, match="Invalid argument"):
                await sock.accept()
            assert sock.getsockname() == ("0.0.0.0", 0)
            await sock.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="Invalid argument"):
                await sock.bind(("127.0.0.1", 0))
            sock.listen()
            sock.listen(5)
            with trio.socket.socket() as client:
                await client.connect(sock.getsockname())
                accepted, _ = await sock.accept()
                with pytest.raises(OSError, match="already connected"):
                    # The kernel's first answer may be that of the connect before.
                    for _ in range(2):
                        await client.connect(sock.getsockname())
                with pytest.raises(OSError, match="Invalid argument"):
                    client.listen()
                accepted.close()
        assert sock.fileno() == -1


# What only the one in memory does, or shows.


async def test_its_streams_are_streams_as_trio_wants_them() -> None:
    async def make() -> Pair:
        return open_memory_pair()

    async def make_clogged() -> Pair:
        client, server = open_memory_pair()
        for stream in client, server:
            await stream.send_all(bytes(CAPACITY_BYTES))
        return client, server

    await check_half_closeable_stream(make, make_clogged)


async def test_whoever_sends_faster_than_the_other_reads_is_held_up() -> None:
    client, server = open_memory_pair()
    await client.send_all(bytes(CAPACITY_BYTES))
    sent: list[int] = []

    async def send() -> None:
        sent.append(await client.socket.send(bytes(10)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert sent == []
        assert len(await server.receive_some(4)) == 4
    assert sent == [4]


async def test_whoever_finds_that_another_task_was_faster_waits_again() -> None:
    client, server = open_memory_pair()
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await client.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        sock = client.socket
        assert isinstance(sock, MemorySocket)
        side = sock._connected()
        side.other.write(memoryview(b"first"))
        # It was woken, and does not run before this task waits.
        assert side.read(10) == b"first"
        await wait_all_tasks_blocked()
        assert received == []
        await server.send_all(b"second")
    assert received == [b"second"]


async def test_its_clients_are_counted_until_they_are_closed(network: MemoryNetwork) -> None:
    async with trio.open_nursery() as nursery:
        network.listen("origin.test", 80, ignore, nursery=nursery)
        assert (network.open_client_sockets, network.connections) == (0, 0)
        first = await trio.open_tcp_stream("origin.test", 80)
        second = await trio.open_tcp_stream("ORIGIN.test", 80)
        await wait_all_tasks_blocked()
        assert (network.open_client_sockets, network.open_server_sockets, network.connections) == (2, 2, 2)
        await first.aclose()
        first.socket.close()
        assert (network.open_client_sockets, network.peak_client_sockets) == (1, 2)
        await second.aclose()
        await wait_all_tasks_blocked()
        assert (network.open_client_sockets, network.open_server_sockets) == (0, 0)
        assert "open_client_sockets=0" in repr(network)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_handler_answers_at_a_name_until_its_nursery_is_cancelled(network: MemoryNetwork) -> None:
    async def hello(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")

    async with trio.open_nursery() as nursery:
        network.listen("origin.test", 80, hello, nursery=nursery)
        assert await receive_all(await trio.open_tcp_stream("origin.test", 80)) == b"hello"
        nursery.cancel_scope.cancel(reason="the test is over")
    with pytest.raises(OSError, match="failed"):
        await trio.open_tcp_stream("origin.test", 80)


async def test_an_unknown_name_has_no_address(network: MemoryNetwork) -> None:
    with pytest.raises(socket.gaierror, match=r"'nobody\.test' is no name in this network") as caught:
        await trio.open_tcp_stream("nobody.test", 80)
    assert caught.value.errno == socket.EAI_NONAME


async def test_a_name_has_the_addresses_that_it_was_given(network: MemoryNetwork) -> None:
    assert network.add_name("two.test", "10.0.0.1", "2001:DB8::2") == ("10.0.0.1", "2001:db8::2")
    assert network.add_name("TWO.test") == ("10.0.0.1", "2001:db8::2")
    assert network.add_name("one.test") != network.add_name("other.test")
    found = await trio.socket.getaddrinfo("two.test", 80, type=socket.SOCK_STREAM)
    assert [each[4] for each in found] == [("10.0.0.1", 80), ("2001:db8::2", 80, 0, 0)]
    (only,) = await trio.socket.getaddrinfo("two.test.", None, family=socket.AF_INET6)
    assert only[4] == ("2001:db8::2", 0, 0, 0)
    assert await trio.socket.getnameinfo(("10.0.0.1", 80), 0) == ("two.test", "80")
    assert await trio.socket.getnameinfo(("10.9.9.9", 80), 0) == ("10.9.9.9", "80")


async def test_a_name_is_looked_up_by_a_socket_too(network: MemoryNetwork) -> None:
    async with trio.open_nursery() as nursery:
        network.listen("origin.test", 80, ignore, nursery=nursery)
        with trio.socket.socket() as sock:
            await sock.connect(("origin.test", 80))
            assert sock.getpeername()[0] == network.add_name("origin.test")[0]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_a_listener_everywhere_is_found_at_every_address(network: MemoryNetwork) -> None:
    for listener in await trio.open_tcp_listeners(8080):
        family = listener.socket.family
        address = "192.0.2.9" if family == socket.AF_INET else "2001:db8::9"
        client = await trio.open_tcp_stream(address, 8080)
        assert "open" in repr(client.socket)
        server = await listener.accept()
        assert server.socket.getsockname()[:2] == (address, 8080)
        assert server.socket.family == family
        for each in client, server, listener:
            await each.aclose()
        assert "closed" in repr(client.socket)


async def test_a_listener_without_an_address_gets_one(network: MemoryNetwork) -> None:
    with trio.socket.socket() as sock:
        sock.listen()
        assert "listening" in repr(sock)
        host, port = sock.getsockname()
        assert (host, port >= 49152) == ("0.0.0.0", True)


@pytest.mark.virtual_time
async def test_an_address_that_never_answers_is_waited_for_until_the_caller_gives_up(network: MemoryNetwork) -> None:
    network.drop("origin.test", 80)
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(3600):
            await trio.open_tcp_stream("origin.test", 80)
    assert trio.current_time() == 3600
    assert network.open_client_sockets == 0


async def test_a_connect_that_waits_is_told_when_another_closes_the_socket(network: MemoryNetwork) -> None:
    network.drop("192.0.2.1", 80)
    sock = trio.socket.socket()
    with pytest.RaisesGroup(trio.ClosedResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sock.connect, ("192.0.2.1", 80))
            await wait_all_tasks_blocked()
            sock.close()


@pytest.mark.virtual_time
async def test_the_other_address_is_tried_when_one_does_not_answer(network: MemoryNetwork) -> None:
    network.add_name("two.test", "2001:db8::2", "192.0.2.2")
    network.drop("2001:db8::2", 80)
    async with trio.open_nursery() as nursery:
        network.listen("192.0.2.2", 80, ignore, nursery=nursery)
        stream = await trio.open_tcp_stream("two.test", 80)
        assert stream.socket.getpeername() == ("192.0.2.2", 80)
        assert trio.current_time() == 0.25
        assert network.open_client_sockets == 1
        await stream.aclose()
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)]
)
async def test_other_kinds_of_socket_are_refused(network: MemoryNetwork, family: Any, kind: Any) -> None:
    with pytest.raises(OSError, match="not supported"):
        trio.socket.socket(family, kind)


async def test_flags_that_it_does_not_know_are_refused(network: MemoryNetwork) -> None:
    client, _ = open_memory_pair()
    uses: list[Callable[[], Awaitable[object]]] = [
        lambda: client.socket.recv(1, socket.MSG_OOB),
        lambda: client.socket.send(b"x", socket.MSG_OOB),
    ]
    for use in uses:
        with pytest.raises(OSError, match="not supported"):
            await use()


async def test_an_option_may_be_so_many_zeros() -> None:
    client, _ = open_memory_pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, None, 3)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 3) == bytes(3)


async def test_it_is_there_for_its_block_only() -> None:
    assert current_network() is None
    with memory_network() as outer:
        with memory_network() as inner:
            assert current_network() is inner
        assert current_network() is outer
        assert isinstance(trio.socket.socket(), MemorySocket)
    assert current_network() is None
    with trio.socket.socket() as sock:
        assert not isinstance(sock, MemorySocket)

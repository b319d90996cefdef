"""Servers that say nothing, or nothing that leads anywhere.

Rules that hold here:

- the command ends when its limit has passed, counted from the last thing that made it wait, and not before;
- the limit is the command's own (``--timeout``, ``--connect-timeout``), and no retry comes after it.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import trio

from trio_dlm.testing.origin import Connection, Request, head

from ._command import start
from ._figures import Figure, none_of, skipped
from ._files import NAME
from ._origin import open_counting_origin

__all__ = ["SILENCES", "measure_silence"]

LIMIT_S: Final = 2
# To start, where that cannot be told from the wait, to notice, to tell, and to end, on a machine that is busy as well.
ENDS_WITHIN_S: Final = 2.0
# The wait begins before we see that it has begun.
BEGAN_BEFORE_S: Final = 0.5


async def measure_silence(name: str) -> list[Figure]:
    """Fetch from a server that is silent in the way *name*, one of :data:`SILENCES`."""
    hardship = f"a server that {name}"
    if SILENCES[name] is _unaccepting and sys.platform != "linux":
        return [skipped(hardship, "only Linux lets a connection wait when the queue is full")]
    limits = f"--timeout {LIMIT_S} --connect-timeout {LIMIT_S} --retries 0"
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        async with SILENCES[name]() as (url, wait_begun):
            async with start("get", "-q", *limits.split(), url, cwd=Path(made)) as running:
                began_at_s = trio.current_time()
                await running.until(wait_begun)
                waits_since_s = trio.current_time()
                ending = await running.wait()
        problems = ending.problems(1, lines=1)
        if (Path(made) / NAME).exists():
            problems.append(f"{NAME} is there")
    took_s = ending.at_s - waits_since_s
    since_start_s = ending.at_s - began_at_s
    if took_s > LIMIT_S + ENDS_WITHIN_S:
        problems.append(f"it took {took_s:.1f} s")
    if since_start_s < LIMIT_S or took_s < LIMIT_S - BEGAN_BEFORE_S:
        problems.append(f"it waited {took_s:.1f} s only")
    promise = f"one line, exit code 1, after {LIMIT_S} to {LIMIT_S + ENDS_WITHIN_S:g} s as it was told"
    return [none_of(hardship, promise, problems, otherwise=f"{took_s:.1f} s")]


_Wait: TypeAlias = Callable[[], Awaitable[object]]


@asynccontextmanager
async def _unaccepting() -> AsyncGenerator[tuple[str, _Wait]]:
    """Have a server with a full queue: on Linux a connection to it is neither made nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        # What it does then nobody sees; its start counts as the beginning.
        yield f"http://127.0.0.1:{address[1]}/{NAME}", trio.lowlevel.checkpoint


@asynccontextmanager
async def _scripted(say: Callable[[Connection], Awaitable[object]]) -> AsyncGenerator[tuple[str, _Wait]]:
    """Have a server that does what *say* does, and then waits for the client to go."""
    begun = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        await say(connection)
        begun.set()
        await connection.wait_closed()

    async with open_counting_origin() as origin:
        yield origin.origin.on(f"/{NAME}", script), begun.wait


@asynccontextmanager
async def _endless(first: bytes, then: bytes, *, every_s: float = 0.1) -> AsyncGenerator[tuple[str, _Wait]]:
    """Have a server that says *first*, and then *then* for ever."""
    begun = trio.Event()

    async def script(connection: Connection, _: Request) -> None:
        begun.set()
        await connection.send(first)
        while True:
            await connection.wait(every_s)
            await connection.send(then)

    async with open_counting_origin() as origin:
        yield origin.origin.on(f"/{NAME}", script), begun.wait


async def _stall(connection: Connection) -> None:
    await connection.send(head("Content-Length: 1000000", 'ETag: "v1"'), bytes(500_000))


async def _stall_in_chunk(connection: Connection) -> None:
    await connection.send(head("Transfer-Encoding: chunked"), b"1000\r\n", bytes(100))


async def _say_nothing(_: Connection) -> None:
    await trio.lowlevel.checkpoint()


SILENCES: Final[Mapping[str, Callable[[], AbstractAsyncContextManager[tuple[str, _Wait]]]]] = {
    "accepts no connection": _unaccepting,
    "says nothing": lambda: _scripted(_say_nothing),
    "sends header lines for ever": lambda: _endless(b"HTTP/1.1 200 OK\r\n", b"X-More: of it\r\n"),
    "sends one header line for ever": lambda: _endless(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "stops in the body": lambda: _scripted(_stall),
    "stops in a chunk": lambda: _scripted(_stall_in_chunk),
}
"""What servers do, and how they come to do it: each gives an address, and what waits until it is the client's turn."""

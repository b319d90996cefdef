"""Entering the block in asyncio: it can be cancelled at every step and it can fail, and nothing of it is left then."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio

from tests.conformance.backends import on_asyncio, on_every_backend
from tests.conformance.downloaders import Bell
from tests.embedding.program import our_threads
from tests.fakes import Resource, instant, url
from trio_dlm import open_manager

in_asyncio = on_asyncio(because="it is about the task and the thread of the bridge")

# A thread takes longer to start than all of these.
EARLY_STEPS = 41


async def stay(entered: asyncio.Event | None = None) -> None:
    async with open_manager(2, downloader=instant) as manager:
        if entered is not None:
            entered.set()
        await manager.download(url("a"))
        await asyncio.Event().wait()


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@in_asyncio
async def test_a_task_that_is_cancelled_while_it_enters_is_cancelled_whatever_the_step() -> None:
    for count in range(EARLY_STEPS):
        task = asyncio.create_task(stay())
        await steps(count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert our_threads() == []


@in_asyncio
async def test_a_task_that_is_cancelled_twice_while_it_enters_is_cancelled_whatever_the_steps() -> None:
    for first, second in itertools.product((0, 1, 2, 5, 20), (0, 1, 2, 20)):
        task = asyncio.create_task(stay())
        await steps(first)
        task.cancel()
        await steps(second)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert our_threads() == []


@in_asyncio
async def test_a_task_that_is_cancelled_soon_after_it_entered_is_cancelled_whatever_the_step() -> None:
    for count in range(EARLY_STEPS):
        entered = asyncio.Event()
        task = asyncio.create_task(stay(entered))
        await entered.wait()
        await steps(count)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert our_threads() == []


@pytest.mark.parametrize("shielded", [False, True])
@in_asyncio
async def test_a_cancel_while_setup_waits_reaches_it_and_is_waited_for(shielded: bool) -> None:
    bell = Bell()
    diary: list[str] = []

    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        diary.append("waits")
        bell.ring()
        try:
            with trio.CancelScope(shield=shielded):
                await bell.until(lambda: "go on" in diary)
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            diary.append("left")
        await trio.lowlevel.checkpoint()
        yield

    async def enter() -> None:
        async with open_manager(2, downloader=instant, setup=setup):
            diary.append("entered")

    task = asyncio.create_task(enter())
    await bell.until(lambda: diary)
    task.cancel()
    if shielded:
        await steps(20)
        assert not task.done()
        diary.append("go on")
        bell.ring()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert diary == (["waits", "go on", "left"] if shielded else ["waits", "left"])
    assert our_threads() == []


@in_asyncio
async def test_a_timeout_around_the_entering_is_a_timeout() -> None:
    bell = Bell()

    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        await bell.until(lambda: False)
        yield

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            async with open_manager(2, downloader=instant, setup=setup):
                raise AssertionError
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert our_threads() == []


@on_every_backend
async def test_a_cancelled_anyio_scope_around_the_entering_ends_there() -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        async with open_manager(2, downloader=instant):
            raise AssertionError
    assert scope.cancelled_caught
    assert our_threads() == []


@on_every_backend
async def test_a_scope_that_is_cancelled_while_setup_waits_ends_the_entering() -> None:
    bell = Bell()
    diary: list[str] = []

    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        diary.append("waits")
        bell.ring()
        try:
            await bell.until(lambda: False)
        finally:
            diary.append("left")
        yield

    async def cancel() -> None:
        await bell.until(lambda: diary)
        scope.cancel()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(cancel)
            async with open_manager(2, downloader=instant, setup=setup):
                raise AssertionError
    assert scope.cancelled_caught
    assert diary == ["waits", "left"]
    assert our_threads() == []


@on_every_backend
async def test_what_setup_raises_on_entering_leaves_bare_and_the_body_never_runs() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match="resource cannot be entered") as caught:
        async with open_manager(2, downloader=instant, setup=lambda: Resource("resource", diary, fails_on="enter")):
            raise AssertionError
    assert caught.value.__cause__ is None
    assert diary == ["resource entered"]
    assert our_threads() == []


class Pool(Resource):
    """A downloader that is entered and left with the block."""

    download = staticmethod(instant)


@on_every_backend
async def test_what_a_downloader_raises_when_it_is_entered_leaves_bare_after_setup_was_left() -> None:
    diary: list[str] = []
    with pytest.raises(OSError, match="pool cannot be entered"):
        async with open_manager(
            2, downloader=Pool("pool", diary, fails_on="enter"), setup=lambda: Resource("resource", diary)
        ):
            raise AssertionError
    assert diary == ["resource entered", "pool entered", "resource left by OSError"]
    assert our_threads() == []


@on_every_backend
async def test_a_setup_that_makes_no_context_manager_is_an_error_on_entering() -> None:
    with pytest.raises(TypeError):
        async with open_manager(2, downloader=instant, setup=lambda: 5):  # type: ignore[arg-type,return-value]
            raise AssertionError
    assert our_threads() == []


@on_every_backend
async def test_a_block_is_entered_once() -> None:
    block = open_manager(2, downloader=instant)
    async with block as manager:
        await manager.download(url("a"))
        with pytest.raises(RuntimeError, match="entered once"):
            await block.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await block.__aenter__()

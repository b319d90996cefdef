"""Threads in line: no thread, and otherwise what trio's real ones do."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio.to_thread
import pytest
import sniffio
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_dlm.testing.world import run_in_virtual_world, threads_in_line

# In a list, where it is not looked for.
REAL = [trio.to_thread.run_sync]


@contextmanager
def threads(kind: str) -> Generator[None]:
    with threads_in_line() if kind == "in line" else nullcontext():
        yield


both = pytest.mark.parametrize("kind", ["in line", "real"])
# Longer than the loaded machine needs; nobody waits as long.
PATIENCE_S = 30.0

colour = contextvars.ContextVar("colour", default="none")


def is_beside() -> bool:
    """Whether this runs in another thread than the test."""
    return threading.current_thread() is not threading.main_thread()


# What the real ones do too.


@both
async def test_a_function_returns_and_raises(kind: str) -> None:
    with threads(kind):
        assert await trio.to_thread.run_sync(divmod, 7, 2) == (3, 1)
        assert await trio.to_thread.run_sync(is_beside) is (kind == "real")
        with pytest.raises(ZeroDivisionError), assert_checkpoints():
            await trio.to_thread.run_sync(divmod, 7, 0, thread_name="divider")
        with assert_checkpoints():
            await trio.to_thread.run_sync(divmod, 7, 2)


@both
async def test_an_async_function_is_refused(kind: str) -> None:
    refused: Any = trio.sleep
    with threads(kind):
        with pytest.raises(TypeError, match="sync function"):
            await trio.to_thread.run_sync(refused, 0)


@both
async def test_nothing_begins_if_it_is_cancelled_before(kind: str) -> None:
    begun: list[int] = []
    with threads(kind):
        with trio.CancelScope() as scope:
            scope.cancel(reason="the test wants it")
            await trio.to_thread.run_sync(begun.append, 1, abandon_on_cancel=True)
    assert scope.cancelled_caught
    assert begun == []


@both
@pytest.mark.parametrize("abandon", [False, True])
async def test_a_cancel_meanwhile_gets_in_only_where_it_could_be_abandoned(kind: str, abandon: bool) -> None:
    ended = threading.Event()
    scope = trio.CancelScope()
    token = trio.lowlevel.current_trio_token()

    def work() -> str:
        if is_beside():
            token.run_sync_soon(lambda: scope.cancel(reason="the test wants it"))
            ended.wait(PATIENCE_S if abandon else 0)
        else:
            scope.cancel(reason="the test wants it")
        return "done"

    found = "cancelled"
    limiter = trio.CapacityLimiter(1)
    with threads(kind), scope:
        found = await trio.to_thread.run_sync(work, abandon_on_cancel=abandon, limiter=limiter)
    ended.set()
    assert found == ("cancelled" if abandon else "done")
    await limiter.acquire()


@both
async def test_the_limiter_holds_back_others_and_is_given_back(kind: str) -> None:
    limiter = trio.CapacityLimiter(1)
    with threads(kind):
        async with limiter:
            async with trio.open_nursery() as nursery:
                done = trio.Event()

                async def work() -> None:
                    with pytest.raises(ValueError, match="the test wants it"):
                        await trio.to_thread.run_sync(fail, limiter=limiter)
                    done.set()

                nursery.start_soon(work)
                await wait_all_tasks_blocked()
                assert limiter.statistics().tasks_waiting == 1
                limiter.release()
                await done.wait()
                await limiter.acquire()
        assert limiter.borrowed_tokens == 0


def fail() -> None:
    raise ValueError("the test wants it")


@both
async def test_a_function_sees_the_context_and_cannot_change_it(kind: str) -> None:
    def look_and_change() -> str:
        was = colour.get()
        colour.set("green")
        return was

    colour.set("red")
    with threads(kind):
        assert await trio.to_thread.run_sync(look_and_change) == "red"
    assert colour.get() == "red"


@both
async def test_the_default_limiter_is_used_if_there_is_no_other(kind: str) -> None:
    limiter = trio.to_thread.current_default_thread_limiter()
    with threads(kind):
        assert await trio.to_thread.run_sync(lambda: limiter.borrowed_tokens) == 1
    assert limiter.borrowed_tokens == 0


@both
async def test_sniffio_finds_no_library_in_the_function_and_trio_after_it(kind: str) -> None:
    with threads(kind):
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            await trio.to_thread.run_sync(sniffio.current_async_library)
        assert sniffio.current_async_library() == "trio"
        # What other libraries go by.
        sniffio.current_async_library_cvar.set("trio")
        with pytest.raises(sniffio.AsyncLibraryNotFoundError):
            await trio.to_thread.run_sync(sniffio.current_async_library)
        assert sniffio.current_async_library_cvar.get() == "trio"


# What only those in line do.


async def test_sniffio_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sniffio")
    with threads_in_line():
        assert await trio.to_thread.run_sync(divmod, 7, 2) == (3, 1)
    assert "sniffio" not in sys.modules


async def test_others_run_after_each_call() -> None:
    steps: list[str] = []

    async def work(name: str) -> None:
        for _ in range(2):
            await trio.to_thread.run_sync(steps.append, name)

    with threads_in_line():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, "a")
            nursery.start_soon(work, "b")
    assert sorted(steps[:2]) == ["a", "b"]


async def test_names_that_other_modules_have_for_it_are_replaced_too(tmp_path: Path) -> None:
    own = ModuleType("a_module_of_the_user")
    own.__dict__["borrowed"] = own.__dict__["given_up"] = trio.to_thread.run_sync
    sys.modules[own.__name__] = own
    try:
        with threads_in_line():
            uses: list[Any] = [own.__dict__["borrowed"], anyio.to_thread.run_sync, trio.to_thread.run_sync]
            for use in uses:
                assert await use(is_beside) is False
            own.__dict__["given_up"] = None
            await trio.Path(tmp_path, "x").write_bytes(b"abc")
            async with await trio.open_file(tmp_path / "x", "rb") as file:
                assert await file.read() == b"abc"
    finally:
        del sys.modules[own.__name__]
    assert own.__dict__["borrowed"] is REAL[0]
    assert own.__dict__["given_up"] is None
    assert trio.to_thread.run_sync is REAL[0]
    assert await anyio.to_thread.run_sync(is_beside)


async def test_what_was_taken_during_the_block_uses_threads_after_it() -> None:
    with threads_in_line():
        taken = trio.to_thread.run_sync
        assert not await taken(is_beside)
    assert await taken(is_beside)


def test_virtual_time_stands_still_while_a_file_is_written(tmp_path: Path) -> None:
    async def write() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 3600)
            for number in range(20):
                await trio.Path(tmp_path, "x").write_bytes(bytes(number))
            written_at = trio.current_time()
            nursery.cancel_scope.cancel(reason="the test is over")
        return written_at

    assert run_in_virtual_world(write) == 0


async def test_blocks_may_be_nested_and_other_threads_keep_their_threads() -> None:
    def in_another_run() -> bool:
        async def look() -> bool:
            here = threading.get_ident()
            return await trio.to_thread.run_sync(threading.get_ident) != here

        return trio.run(look)

    def in_another_run_in_line() -> bool:
        with threads_in_line():
            return not in_another_run()

    with threads_in_line():
        with threads_in_line():
            assert not await trio.to_thread.run_sync(is_beside)
        assert not await trio.to_thread.run_sync(is_beside)
        assert await REAL[0](in_another_run)
        assert await REAL[0](in_another_run_in_line)
        assert not await trio.to_thread.run_sync(is_beside)
    assert trio.to_thread.run_sync is REAL[0]


def test_it_may_be_entered_around_a_run() -> None:
    async def look() -> bool:
        return await trio.to_thread.run_sync(is_beside)

    with threads_in_line():
        assert trio.run(look, clock=MockClock(autojump_threshold=0)) is False
    assert trio.run(look) is True

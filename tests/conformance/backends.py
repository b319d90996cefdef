"""What a backend is, and how the body of one test runs on each of them.

Rules that hold here:

- a test is written once, as an async function, and becomes a plain test with a parameter ``backend``; a test for some
  backends only says why;
- a body has a deadline, so that a wait for something that never comes fails, and says where;
- after each body nothing may be left: no task of the host's loop, no thread of the library, and nothing that the loop
  would only have told its exception handler.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

import anyio
import pytest
import trio
import trio.testing

import trio_dlm
from trio_dlm import Downloader, DownloadJob, DownloadResult

__all__ = [
    "BACKENDS",
    "Backend",
    "letting_others_run",
    "living_tasks",
    "on_asyncio",
    "on_every_backend",
    "on_trio",
    "threads_of_the_library",
]

_ResultT = TypeVar("_ResultT", bound=DownloadResult)

Body: TypeAlias = Callable[..., Coroutine[Any, Any, None]]
Program: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Function: TypeAlias = Callable[[DownloadJob], Coroutine[Any, Any, _ResultT]]

# No body takes a second on an idle machine.
LIMIT_S: Final = 30.0


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run a program.

    Attributes:
        name: what pytest shows.
        library: whose tasks the program consists of.
        start: runs an async function to its end.
        cancelled: what a cancelled task sees.
    """

    name: str
    library: Literal["trio", "asyncio"]
    start: Callable[[Program], None]
    cancelled: type[BaseException]

    def run(self, body: Program) -> None:
        """Run *body* within the limit, and look at what it left behind."""

        async def main() -> None:
            with collected_noise() as noise:
                before = living_tasks()
                with anyio.fail_after(LIMIT_S):
                    await body()
                assert living_tasks() == before, "tasks were left"
                assert noise == [], "the loop's exception handler was called"

        self.start(main)
        assert threads_of_the_library() == []

    def on_host(self, function: Function[_ResultT]) -> Function[_ResultT] | Downloader[_ResultT]:
        """Make of *function* a downloader that runs in the loop of the program, whatever that is."""
        return function if self.library == "trio" else trio_dlm.asyncio_downloader(function)

    def __repr__(self) -> str:
        return self.name


def threads_of_the_library() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trio_dlm")]


def living_tasks() -> int:
    if trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


@contextmanager
def letting_others_run() -> Generator[None, None, None]:
    """Refuse a block that never lets the loop go on."""
    if trio.lowlevel.in_trio_task():
        with trio.testing.assert_checkpoints():
            yield
    else:
        turns: list[None] = []
        asyncio.get_running_loop().call_soon(turns.append, None)
        yield
        assert turns, "the loop was not let go on"


@contextmanager
def collected_noise() -> Generator[list[str], None, None]:
    """Give the list of what the program's loop tells its exception handler, where it has one."""
    noise: list[str] = []
    if trio.lowlevel.in_trio_task():
        yield noise
    else:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: noise.append(repr(context)))
        try:
            yield noise
        finally:
            loop.set_exception_handler(None)


def _run_trio(program: Program) -> None:
    trio.run(program)


def _run_anyio(program: Program) -> None:
    anyio.run(program, backend="trio")


def _run_asyncio(program: Program) -> None:
    asyncio.run(program())


def _run_uvloop(program: Program) -> None:
    import uvloop

    # What uvloop.run() does, which deprecates itself where asyncio.run() takes a loop factory.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program())


BACKENDS: Final = (
    Backend("trio", "trio", _run_trio, trio.Cancelled),
    Backend("anyio+trio", "trio", _run_anyio, trio.Cancelled),
    Backend("asyncio", "asyncio", _run_asyncio, asyncio.CancelledError),
    # There is no uvloop for Windows.
    *([] if sys.platform == "win32" else [Backend("uvloop", "asyncio", _run_uvloop, asyncio.CancelledError)]),
)


def on_every_backend(body: Body) -> Callable[..., None]:
    """Make a plain test of an async function: it runs once on each backend."""
    return _spread(body, BACKENDS)


def on_trio(*, because: str) -> Callable[[Body], Callable[..., None]]:
    """Like :func:`on_every_backend`, for the backends whose tasks are trio's; *because* is for the reader."""
    assert because
    return lambda body: _spread(body, [each for each in BACKENDS if each.library == "trio"])


def on_asyncio(*, because: str) -> Callable[[Body], Callable[..., None]]:
    """Like :func:`on_every_backend`, for the backends whose tasks are asyncio's; *because* is for the reader."""
    assert because
    return lambda body: _spread(body, [each for each in BACKENDS if each.library == "asyncio"])


def _spread(body: Body, backends: list[Backend] | tuple[Backend, ...]) -> Callable[..., None]:
    asked = inspect.signature(body)

    def test(*, backend: Backend, **arguments: Any) -> None:
        if "backend" in asked.parameters:
            arguments["backend"] = backend
        backend.run(functools.partial(body, **arguments))

    functools.update_wrapper(test, body)
    parameters = {"backend": inspect.Parameter("backend", inspect.Parameter.KEYWORD_ONLY)}
    parameters |= {
        name: each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in asked.parameters.items()
        if name != "backend"
    }
    # pytest reads from it which fixtures the test asks for.
    test.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    spread: Callable[..., None] = pytest.mark.parametrize("backend", backends, ids=repr)(test)
    return spread

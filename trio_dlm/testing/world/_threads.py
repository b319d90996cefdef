"""Threads that are none: what would run in a worker thread runs where it is called.

Rules that hold here:

- ``trio.to_thread.run_sync`` is replaced wherever a module has it under a name of its own, as trio's own paths and
  anyio have, and only for the thread that entered the block: other runs of trio keep their threads;
- checkpoints, cancellation, limiter and contextvars are those of the real one: nothing begins if it is cancelled before
  that, and afterwards others run, but no cancel gets in unless the call could have been abandoned;
- sniffio finds no async library in the function, as in a thread.  All else shows that there is none: the number and
  the name of the thread and what is local to it are the caller's, and trio finds its run, so that
  ``trio.from_thread.run`` is refused, and so is a ``trio.run`` of the function's own;
- a function runs to its end before anything else happens.  One that waits for trio, or for another thread of the same
  run, can never be done in line.
"""

from __future__ import annotations

import contextvars
import inspect
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

import trio

__all__ = ["threads_in_line"]

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_lock: Final = threading.Lock()
# How many blocks each thread is in, and what stood in trio's place before the first of them.
_depths: Final[dict[int, int]] = {}
_real: Final[list[Callable[..., Any]]] = []
# Names of modules that were searched, and what was found in them: a search of all takes milliseconds, and a test opens
# hundreds of these blocks.
_searched: Final[set[str]] = set()
_found: Final[list[tuple[dict[str, Any], str]]] = []


@contextmanager
def threads_in_line() -> Generator[None]:
    """Let ``trio.to_thread.run_sync`` use no thread until the block ends.

    With it virtual time cannot jump while a file is written, and the same choices give the same run.  May be nested,
    and entered inside or outside of ``trio.run``; to be left in the thread that entered it.
    """
    me = threading.get_ident()
    with _lock:
        if not _depths:
            _real.append(trio.to_thread.run_sync)
            _replace(trio.to_thread.run_sync, _run_sync)
        _depths[me] = _depths.get(me, 0) + 1
    try:
        yield
    finally:
        with _lock:
            _depths[me] -= 1
            if not _depths[me]:
                del _depths[me]
            if not _depths:
                _replace(_run_sync, _real.pop())


def _replace(old: object, new: object) -> None:
    for name, module in list(sys.modules.items()):
        if name not in _searched:
            _searched.add(name)
            # What stands there need not be a module.
            names: dict[str, Any] = getattr(module, "__dict__", {})
            _found.extend((names, key) for key, value in list(names.items()) if value is old)
    for names, key in _found:
        if names.get(key) is old:
            names[key] = new


async def _run_sync(
    sync_fn: Callable[[Unpack[_Ts]], _T],
    *args: *_Ts,
    thread_name: str | None = None,
    abandon_on_cancel: bool = False,
    limiter: trio.CapacityLimiter | None = None,
) -> _T:
    if threading.get_ident() in _depths:
        return await _run_in_line(sync_fn, *args, abandon_on_cancel=abandon_on_cancel, limiter=limiter)
    # A module that was imported during a block keeps this function.
    real = _real[0] if _real else trio.to_thread.run_sync
    value: _T = await real(
        sync_fn, *args, thread_name=thread_name, abandon_on_cancel=abandon_on_cancel, limiter=limiter
    )
    return value


async def _run_in_line(
    sync_fn: Callable[[Unpack[_Ts]], _T],
    *args: *_Ts,
    abandon_on_cancel: bool,
    limiter: trio.CapacityLimiter | None,
) -> _T:
    await trio.lowlevel.checkpoint_if_cancelled()
    tokens = trio.to_thread.current_default_thread_limiter() if limiter is None else limiter
    # Who a limiter sees is the thread and not the task, which may hold another of its tokens.
    borrower = object()
    context = contextvars.copy_context()
    await tokens.acquire_on_behalf_of(borrower)
    try:
        try:
            with _no_library(context):
                value = context.run(sync_fn, *args)
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError(f"trio.to_thread.run_sync takes a sync function, got {sync_fn!r}, which is async")
        finally:
            # The token is kept meanwhile: a thread gives it back when trio learns that it has ended, and not before.
            if abandon_on_cancel:
                # A cancel that gets in here is what was asked for.
                await trio.lowlevel.checkpoint()  # noqa: ASYNC102
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
    finally:
        tokens.release_on_behalf_of(borrower)
    return value


@contextmanager
def _no_library(context: contextvars.Context) -> Generator[None]:
    """Let sniffio, if anybody uses it, find no async library in *context* and in this thread, as in one of trio's."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None:
        yield
        return
    context.run(sniffio.current_async_library_cvar.set, None)
    was, sniffio.thread_local.name = sniffio.thread_local.name, None
    try:
        yield
    finally:
        sniffio.thread_local.name = was

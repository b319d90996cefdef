"""Ends by force: of tasks that no cancel reaches, and of the program.

Rules that hold here:

- force is for what would otherwise hang the check; what was to be done there is not even cleaned up;
- what ends the program comes out as it is, whatever groups it was wrapped in.
"""

from __future__ import annotations

import ctypes
from typing import Any, Never, cast, final

import trio

__all__ = ["BrokenOffError", "abandon", "break_off", "interrupt_in"]


class BrokenOffError(BaseException):
    """What ends a task that no cancel reaches."""


@final
class _Broken:
    """What a task that waits is sent, and what one that never waits runs, to get this error."""

    def unwrap(self) -> Never:
        raise BrokenOffError

    def send(self, _: object) -> Never:
        raise BrokenOffError

    throw = send


def break_off(task: trio.lowlevel.Task) -> None:
    """Let what *task* waits for raise :class:`BrokenOffError`."""
    trio.lowlevel.reschedule(task, cast("Any", _Broken()))


def abandon(task: trio.lowlevel.Task) -> None:
    """Let *task* run no further than its next step; what it was to do is not even cleaned up."""
    # To collect it, at the end of the process at the latest, would throw once more into what swallows everything, and
    # might never come back.  So it is one reference richer than anybody will ever give up.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task.coro))
    # trio takes the step after the next from what stands here, and the next if the task waits.
    task.coro = cast("Any", _Broken())


def interrupt_in(exc: BaseException) -> BaseException | None:
    """Return what is to end the program, alone or in a group."""
    if isinstance(exc, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", exc).exceptions
        return next(filter(None, map(interrupt_in, members)), None)
    return exc if isinstance(exc, KeyboardInterrupt | SystemExit) else None

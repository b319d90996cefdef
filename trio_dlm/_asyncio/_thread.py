"""The thread that a trio run lives in.

Rules that hold here:

- it is a daemon, since others are waited for before anybody could tell them to end; so whatever still runs when the
  interpreter ends is told then, and given a few seconds;
- the context of whoever opened the manager is that of the run;
- the last thing that it does is to say what came of the run.
"""

from __future__ import annotations

import atexit
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

from .._context import logger
from ._crossing import Crossing

__all__ = ["TrioThread"]

# How long the interpreter waits at its end for downloads that nobody has awaited: long enough to close files.
JOIN_AT_EXIT_S: Final = 5.0


@final
class TrioThread:
    """A trio run in a thread of its own."""

    def __init__(
        self,
        main: Callable[[], Awaitable[object]],
        crossing: Crossing,
        *,
        finished: Callable[[BaseException | None], object],
        host_gone: Callable[[], object],
    ) -> None:
        self._main = main
        self._crossing = crossing
        self._finished = finished
        self._host_gone = host_gone
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name="trio_dlm", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        atexit.register(self._leave_at_exit)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread is gone; it has told the host that the run has ended."""
        self._thread.join()
        atexit.unregister(self._leave_at_exit)

    def _run(self) -> None:
        crash: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as exc:  # noqa: ASYNC103, BLE001  (leaves the block of the manager)
            crash = exc
        self._crossing.to_host(self._finished, crash)

    def _leave_at_exit(self) -> None:
        logger.warning("the program ends inside a manager's block: its downloads are cancelled, and nobody is told")
        self._crossing.to_trio(self._host_gone)
        self._thread.join(JOIN_AT_EXIT_S)

"""Ctrl-C and its relatives: from a signal to the cancellation of what runs, and to the exit code.

Rules that hold here:

- the first signal cancels, and everything else follows from that in an orderly way;
- a second one is what an impatient user does, and changes nothing, unless the orderly way takes longer than anybody
  would wait: then the process ends at once;
- SIGHUP is left alone where it is ignored, which is what ``nohup`` is for.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Self, final

import trio

__all__ = ["Interrupts"]

# After this long a further signal ends the process where it stands.  Cleaning up takes milliseconds, unless a disk or a
# network file system does not answer.
PATIENCE_S: Final = 2.0

_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@final
class Interrupts:
    """Catches signals while it is entered, which only the main thread may do.

    Attributes:
        received: the first signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._received_at = 0.0
        self._wake: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        for name in _NAMES:
            number = getattr(signal.Signals, name, None)
            if number is None:
                continue
            before = signal.getsignal(number)
            if before is signal.SIG_IGN and name == "SIGHUP":
                continue
            self._before[number] = before
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()

    @property
    def exit_code(self) -> int | None:
        """What a process that was ended by the signal is expected to say, or None if there was none."""
        return None if self.received is None else 128 + self.received

    @contextmanager
    def calling(self, action: Callable[[], object]) -> Generator[None]:
        """Call *action* inside the trio run as soon as a signal has come, which may be now."""
        token = trio.lowlevel.current_trio_token()
        self._wake = lambda: token.run_sync_soon(action)
        if self.received is not None:
            action()
        try:
            yield
        finally:
            self._wake = None

    def _note(self, number: int, _frame: FrameType | None) -> None:
        # Runs between any two steps of the main thread, so it does as little as it can.
        if self.received is None:
            self.received = signal.Signals(number)
            self._received_at = time.monotonic()
            if self._wake is not None:
                self._wake()
        elif time.monotonic() - self._received_at > PATIENCE_S:
            os.write(2, b"\ntrio-dlm: ended without cleaning up; files named *.part may be left\n")
            os._exit(128 + self.received)

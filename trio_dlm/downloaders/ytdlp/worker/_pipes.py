"""The worker's ends of the pipes: requests come in, records go out, and nobody else writes there.

Rules that hold here:

- the pipes are moved away from descriptors 0 and 1, which ffmpeg inherits: it would print into the one and read from
  the other.  What is printed goes to the standard error;
- the standard input stays open for as long as the parent wants the worker.  Its end ends the whole group;
- a record is one line, written whole, in the order in which threads come.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from typing import IO, Any, final

__all__ = ["Pipes"]


@final
class Pipes:
    """The two pipes.

    Attributes:
        is_toll_due: bytes are asked for before they are received.
    """

    def __init__(self) -> None:
        self._commands: IO[bytes] = os.fdopen(os.dup(0), "rb")
        self._records = os.dup(1)
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._lock = threading.Lock()
        self._toll_lock = threading.Lock()
        self._paid = threading.Semaphore(0)
        self.is_toll_due = False

    def read_request(self) -> Mapping[str, Any] | None:
        """Wait for the request; None if there will be none."""
        line = self._commands.readline()
        if not line:
            return None
        request: Mapping[str, Any] = json.loads(line)
        return request

    def watch(self) -> None:
        """Heed what comes after the request, in a thread; when nothing will come any more, end the group."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        try:
            for line in self._commands:
                self._heed(json.loads(line))
        finally:
            os.killpg(0, signal.SIGKILL)

    def _heed(self, command: Mapping[str, Any]) -> None:
        if "toll" in command:
            self.is_toll_due = bool(command["toll"])
        if "go" in command or not self.is_toll_due:
            self._paid.release()

    def say(self, record: str, /, **fields: Any) -> None:
        """Write a record."""
        # What JSON has no word for is shown as text; a surrogate goes out escaped.
        line = json.dumps({"t": record, **fields}, separators=(",", ":"), default=str).encode() + b"\n"
        with self._lock, memoryview(line) as view:
            written = 0
            while written < len(view):
                written += os.write(self._records, view[written:])

    def pay(self, record: str, /, **fields: Any) -> None:
        """Write a record that costs, and wait until it is paid for."""
        # One thread at a time: who is let go on is who has asked.
        with self._toll_lock:
            if not self.is_toll_due:
                self.say(record, **{name: value for name, value in fields.items() if name != "new_bytes"})
                return
            # Left over where the toll was lifted just when it was paid.
            while self._paid.acquire(blocking=False):
                pass
            self.say(record, **fields)
            self._paid.acquire()

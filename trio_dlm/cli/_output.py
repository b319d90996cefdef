"""Writing to stdout and stderr from inside a trio run.

Rules that hold here:

- a write may block for as long as the reader of a pipe likes, so it happens in a thread, and whoever waits for it can
  be cancelled: a stuck pager must not stop downloads, nor Ctrl-C;
- the bytes go straight to the file descriptor.  Python's own buffer has a lock, and a thread that was left behind with
  it makes the interpreter abort when it ends;
- a reader that went away (``| head``) is no error: the files are what was asked for, the lines about them are not.  A
  write that failed otherwise (a full disk) is remembered in :attr:`Output.problem`.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TextIO, final

import trio

__all__ = ["Output"]


@final
class Output:
    """One stream of text, written in whole pieces.  One writer at a time; others wait for their turn in order."""

    def __init__(self, stream: TextIO | None) -> None:
        # None is what Python makes of a descriptor that was closed before it started.
        self._encoding = (stream and stream.encoding) or "utf-8"
        self._fd = None if stream is None else _descriptor(stream)
        self._stream = stream
        self._limiter = trio.CapacityLimiter(1)
        self.problem: str | None = None
        """Why a write failed, if one did and it was not for want of a reader; nothing is written after that."""
        self._is_open = stream is not None

    async def write(self, text: str) -> None:
        """Write *text*.  Cancelling this leaves the write to itself: it happens, or blocks for ever in its thread."""
        if self._is_open:
            data = text.encode(self._encoding, "replace")
            await trio.to_thread.run_sync(partial(self._write, data), abandon_on_cancel=True, limiter=self._limiter)
        else:
            await trio.lowlevel.checkpoint()

    async def line(self, text: str) -> None:
        """Write *text* and a line's end."""
        await self.write(text + "\n")

    def _write(self, data: bytes) -> None:
        try:
            if self._fd is None:
                assert self._stream is not None
                self._stream.write(data.decode(self._encoding))
                self._stream.flush()
                return
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            self._is_open = False
        except OSError as exc:
            self._is_open = False
            self.problem = exc.strerror or str(exc)


def _descriptor(stream: TextIO) -> int | None:
    """Return what is below *stream*, or None if it is a stand-in that lives in memory."""
    try:
        fd = stream.fileno()
    except (OSError, ValueError):
        return None
    stream.flush()
    return fd

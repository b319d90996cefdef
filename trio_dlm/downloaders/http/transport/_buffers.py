"""Room for what is received in threads: each has its own, and keeps it.

Rules that hold here:

- a buffer is used between two returns to the loop and by one thread, so nobody else sees what is in it.
"""

from __future__ import annotations

import threading
from typing import Final

from ._link import RECEIVE_BYTES

__all__ = ["thread_buffer"]

_threads: Final = threading.local()


def thread_buffer(name: str) -> memoryview:
    """Return the buffer of this thread for the purpose *name*."""
    buffer: memoryview | None = getattr(_threads, name, None)
    if buffer is None:
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        setattr(_threads, name, buffer)
    return buffer

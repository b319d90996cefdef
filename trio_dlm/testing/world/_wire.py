"""One direction of a connection in memory.

Rules that hold here:

- nothing waits: what cannot be done now is ``BlockingIOError``, as with a socket that does not block, and two parking
  lots say where to wait for it;
- the buffer is bounded, so that whoever sends faster than the other reads is held up;
- bytes that have arrived stay readable after an end and after a break, as on Linux.
"""

from __future__ import annotations

import errno
import os
from typing import Final, final

import trio

__all__ = ["CAPACITY_BYTES", "Wire"]

# As much as trio's streams read at once.  Smaller holds senders up sooner, and costs more steps a file.
CAPACITY_BYTES: Final = 64 * 1024


@final
class Wire:
    """Bytes on their way from one socket to the other.

    Attributes:
        readers: where tasks wait that found nothing to read.
        writers: where tasks wait that found no room.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._is_ended = False
        self._is_deaf = False
        self._is_deserted = False
        self._is_broken = False
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    @property
    def unread_bytes(self) -> int:
        """How many bytes have arrived and were not read."""
        return len(self._data)

    @property
    def is_readable(self) -> bool:
        """Whether a read would not block: there are bytes, an end, or an error."""
        return bool(self._data) or self._is_ended or self._is_deaf or self._is_broken

    @property
    def is_writable(self) -> bool:
        """Whether a write would not block: there is room, or an error."""
        return len(self._data) < CAPACITY_BYTES or self._is_broken or self._is_deserted

    def write(self, data: memoryview) -> int:
        """Take as many bytes as there is room for, and return how many.

        Raises:
            ConnectionResetError: the connection is broken.
            BrokenPipeError: the sender has said that nothing more comes.
            BlockingIOError: there is no room.
        """
        if self._is_broken:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self._is_ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self._is_deserted:
            # A closed socket answers the first bytes with a reset, which only the next write can learn of.
            self._is_broken = True
            return len(data)
        room = CAPACITY_BYTES - len(self._data)
        if data and not room:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        taken = data[:room]
        self._data += taken
        self.readers.unpark_all()
        return len(taken)

    def read(self, max_bytes: int, *, peek: bool = False) -> bytes:
        """Give what has arrived, or ``b""`` at the end.

        Raises:
            ConnectionResetError: the connection is broken, and all that had arrived was read.
            BlockingIOError: nothing is there yet.
        """
        if self._data or not max_bytes:
            found = bytes(self._data[:max_bytes])
            if not peek:
                del self._data[:max_bytes]
                self.writers.unpark_all()
            return found
        if self._is_broken:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self._is_ended or self._is_deaf:
            return b""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def end(self) -> None:
        """Say that nothing more is sent."""
        self._is_ended = True
        self._wake()

    def shut(self) -> None:
        """Say that nothing more is read; what is sent all the same is taken."""
        self._is_deaf = True
        self._wake()

    def desert(self) -> None:
        """Say that the socket which reads here is closed."""
        self._is_deserted = True
        self._wake()

    def break_off(self) -> None:
        """Reset: writing fails at once, reading after the bytes that have arrived."""
        self._is_broken = True
        self._wake()

    def _wake(self) -> None:
        self.readers.unpark_all()
        self.writers.unpark_all()

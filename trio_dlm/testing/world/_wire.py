"""A connection in memory, as the kernel has it below two sockets.

Rules that hold here:

- nothing waits: what cannot be done now is ``BlockingIOError``, as with a socket that does not block, and two parking
  lots say where to wait for it;
- the buffer is bounded, so that whoever sends faster than the other reads is held up;
- it ends as Linux ends it.  A side is over when both have said that nothing more comes, or after a reset: from then on
  sending is ``EPIPE``, receiving gives ``b""``, and looking for the other side or shutting is ``ENOTCONN``.  A reset is
  an error that is told once, to whichever call comes first;
- bytes that have arrived come before all that.  Then comes the end, if the other side had said that nothing more comes:
  a reset after it is not seen by whoever only receives;
- bytes are refused, by a reset of both sides, where nobody can read them any more: the socket is closed, or both of its
  directions were shut.  The sender's call has worked, and the next one learns of it.  Bytes for a socket that has only
  said that it reads no more are taken, and can be read.

Source:
    RFC 9293 sections 3.6.1 and 3.10.7; ``tcp_reset``, ``tcp_recvmsg`` and ``sk_stream_error`` of Linux.
"""

from __future__ import annotations

import errno
import os
from typing import Final, final

import trio

__all__ = ["CAPACITY_BYTES", "Side"]

# As much as trio's streams read at once.  Smaller holds senders up sooner, and costs more steps a file.
CAPACITY_BYTES: Final = 64 * 1024


@final
class Side:
    """One side of a connection; made in pairs.

    Attributes:
        readers: where tasks of this side wait that found nothing to read.
        writers: where tasks of this side wait that found no room at the other.
    """

    def __init__(self, other: Side | None = None) -> None:
        self._other = other or Side(self)
        self._data = bytearray()
        self._is_ended = False
        self._is_deaf = False
        self._is_over = False
        self._error = 0
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    @property
    def other(self) -> Side:
        """The other side."""
        return self._other

    @property
    def is_over(self) -> bool:
        """Whether there is no connection any more, with or without bytes that can still be read."""
        return self._is_over

    @property
    def is_readable(self) -> bool:
        """Whether a read would not block: there are bytes, an end, or an error."""
        return bool(self._data) or self._other._is_ended or self._is_deaf or self._is_over

    @property
    def is_writable(self) -> bool:
        """Whether a write would not block: there is room, or an error."""
        has_room = len(self._other._data) < CAPACITY_BYTES
        return has_room or self._is_ended or self._is_over or self._other._refuses_bytes

    @property
    def _refuses_bytes(self) -> bool:
        return self._is_deaf and self._is_ended

    def take_error(self) -> int:
        """Return the number of the error that nobody was told yet, or 0; from now on it is told."""
        found, self._error = self._error, 0
        return found

    def write(self, data: memoryview) -> int:
        """Take as many bytes as there is room for at the other side, and return how many.

        Raises:
            ConnectionResetError: a reset has come that nobody was told of.
            BrokenPipeError: the connection is over, or this side has said that nothing more comes.
            BlockingIOError: there is no room.
        """
        self._raise_error()
        if self._is_ended or self._is_over:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if not data:
            return 0
        if self._other._refuses_bytes:
            self.reset()
            return len(data)
        room = CAPACITY_BYTES - len(self._other._data)
        if not room:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        taken = data[:room]
        self._other._data += taken
        self._other.readers.unpark_all()
        return len(taken)

    def read(self, max_bytes: int, *, peek: bool = False) -> bytes:
        """Give what has arrived, or ``b""`` at the end.

        Raises:
            ConnectionResetError: a reset has come that nobody was told of, and all that had arrived was read.
            BlockingIOError: nothing is there yet.
        """
        if self._data:
            found = bytes(self._data[:max_bytes])
            if not peek:
                del self._data[:max_bytes]
                self._other.writers.unpark_all()
            return found
        if self._other._is_ended:
            return b""
        self._raise_error()
        if self._is_deaf or self._is_over:
            return b""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def end(self) -> None:
        """Say that nothing more is sent.

        Raises:
            OSError: ``ENOTCONN``, the connection is over.
        """
        self._require_connection()
        self._is_ended = True
        if self._other._is_ended:
            self._is_over = self._other._is_over = True
        self._wake()

    def shut(self) -> None:
        """Say that nothing more is read.

        Raises:
            OSError: ``ENOTCONN``, the connection is over.
        """
        self._require_connection()
        self._is_deaf = True
        self._wake()

    def close(self) -> None:
        """End, and read no more; a reset if there are bytes that were not read."""
        if self._data:
            self.reset()
        elif not self._is_over:
            self.shut()
            self.end()
        self._wake()

    def reset(self) -> None:
        """Break the connection off, which both sides are told of."""
        for side in (self, self._other):
            if not side._is_over:
                side._is_over = True
                # Whoever has been told of the end expects no more, and can only have sent in vain.
                side._error = errno.EPIPE if side._other._is_ended else errno.ECONNRESET
        self._wake()

    def _raise_error(self) -> None:
        number = self.take_error()
        if number:
            raise OSError(number, os.strerror(number))

    def _require_connection(self) -> None:
        if self._is_over:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def _wake(self) -> None:
        for side in (self, self._other):
            side.readers.unpark_all()
            side.writers.unpark_all()

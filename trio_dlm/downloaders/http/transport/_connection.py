"""One connection: a request, its reply, the body, and whether another request may follow.

Rules that hold here:

- a connection is used again only if the reply ended where it said, with nothing behind it, and nobody was interrupted
  in between: everything else closes it;
- after the header the bytes of a body whose length is known are counted and not parsed;
- no more is read than belongs to the reply, so that a body may be moved past this room, and counted here afterwards.

Source:
    RFC 9112 sections 6.3, 9.3 and 9.6.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from typing import Final, final

from ._connecting import Trace
from ._link import RECEIVE_BYTES, Link
from ._problems import LocalProtocolError, RemoteProtocolError, WriteError
from ._reply_head import Framing, Head, ReplyParser
from ._request_head import WireRequest, encode_head, framing_of

__all__ = ["Connection"]

# No await stands between filling it and emptying it.
_shared: Final = memoryview(bytearray(RECEIVE_BYTES))


@final
class Connection:
    """A link on which requests go out one after the other.

    Attributes:
        link: what it goes over.
        idle_since: when its last reply ended, on the clock of its pool.
        has_answered: bytes of the present reply have come.
    """

    __slots__ = ("_head", "_is_sent", "_left", "_parser", "has_answered", "idle_since", "link")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.idle_since = 0.0
        self.has_answered = False
        # All of the present request is.
        self._is_sent = False
        self._parser = ReplyParser()
        self._head: Head | None = None
        # Of a body whose length is known: what has not been read from the link.
        self._left = 0

    @property
    def head(self) -> Head:
        """The header of the present reply, which has come."""
        assert self._head is not None
        return self._head

    @property
    def is_reusable(self) -> bool:
        """Whether the present reply has ended, and another request may follow."""
        head = self._head
        is_in_step = head is not None and head.keep_alive and self._is_sent
        return is_in_step and self.has_ended and not self._parser.has_surplus

    @property
    def has_ended(self) -> bool:
        """Whether all of the present reply was taken."""
        return self._parser.is_done and not self._parser.pieces

    async def request(self, request: WireRequest, trace: Trace) -> Head:
        """Send *request*, and return the header of its reply.

        Cancelling it leaves the connection of no use.

        Raises:
            LocalProtocolError: it cannot be sent.
            WriteError, ReadError, RemoteProtocolError: the connection broke.
            MalformedReplyError: what comes is no reply.
        """
        data, length = encode_head(request), framing_of(request.fields)
        self.has_answered = self._is_sent = False
        self._head = None
        self._parser = ReplyParser(is_head=request.method == b"HEAD")
        await trace("http11.send_request_headers.started", {})
        try:
            await self._send(data, request.body, length)
            self._is_sent = True
        except OSError as exc:
            # A server may have refused it before it had all of it, and have closed.
            if request.body == ():
                raise WriteError(f"the connection broke while the request was sent ({exc.strerror or exc})") from exc
        await trace("http11.receive_response_headers.started", {})
        head = await self._read_head()
        await trace("http11.receive_response_headers.complete", {})
        return head

    async def _send(self, data: bytes, body: Sequence[bytes] | AsyncIterable[bytes], length: int | None) -> None:
        """Send the header *data* and the *body*, of *length* bytes, or in chunks if that is None."""
        if isinstance(body, Sequence) and length is not None:
            # One piece: a small request is one packet.
            content = b"".join(body)
            _check_end(_left_after(content, length))
            await self.link.write(data + content)
            return
        await self.link.write(data)
        left = length
        if isinstance(body, Sequence):
            for chunk in body:
                left = await self._send_chunk(chunk, left)
        else:
            async with _iterating(body) as chunks:
                async for chunk in chunks:
                    left = await self._send_chunk(chunk, left)
        if left is None:
            await self.link.write(b"0\r\n\r\n")
        else:
            _check_end(left)

    async def _send_chunk(self, chunk: bytes, left: int | None) -> int | None:
        """Send *chunk*, and return how many bytes are *left* for the next ones; None if they are not counted."""
        if left is not None:
            left = _left_after(chunk, left)
        if chunk:
            await self.link.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if left is None else chunk)
        return left

    async def _read_head(self) -> Head:
        parser, link = self._parser, self.link
        if link.can_move and not link.is_secure:
            # An answer is never there yet.
            await link.wire.wait_readable()
        while parser.head is None:
            size = await link.read(_shared)
            if not size:
                what = "in the middle of the header" if self.has_answered else "without a reply"
                raise RemoteProtocolError(f"the server closed the connection {what}")
            self.has_answered = True
            parser.feed(_shared[:size])
        self._head = head = parser.head
        if head.framing is Framing.LENGTH:
            assert head.length is not None
            self._left = head.length - sum(map(len, parser.pieces))
        return head

    async def read(self) -> bytes:
        """Return more of the body; nothing at its end.

        Cancelling it loses nothing that was read.

        Raises:
            ReadError, RemoteProtocolError: the connection broke, or ended before the body.
            MalformedReplyError: the body is not framed as it has to be.
        """
        parser = self._parser
        if parser.pieces:
            return self._take_pieces()
        parser.check()
        if parser.is_done:
            return b""
        if self.head.framing is Framing.LENGTH:
            return await self._read_counted()
        while not parser.pieces and not parser.is_done:
            size = await self.link.read(_shared)
            if not size:
                return self._end_of_link()
            parser.feed(_shared[:size])
            if not parser.pieces:
                parser.check()
        return self._take_pieces()

    def take_whole(self) -> bytes | None:
        """Return the body if all of it has come already, and is framed as it has to be; otherwise it is to be read."""
        return self._take_pieces() if self._parser.is_whole else None

    def _take_pieces(self) -> bytes:
        pieces = self._parser.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return data

    async def _read_counted(self) -> bytes:
        if not self._left:
            self._parser.is_done = True
            return b""
        size = await self.link.read(_shared[: min(self._left, RECEIVE_BYTES)])
        if not size:
            return self._end_of_link()
        self.moved(size)
        return bytes(_shared[:size])

    def _end_of_link(self) -> bytes:
        head = self.head
        if head.framing is Framing.CLOSE:
            self._parser.is_done = True
            return b""
        if head.framing is Framing.LENGTH:
            raise RemoteProtocolError(
                f"the server closed the connection after {(head.length or 0) - self._left} of {head.length} bytes"
            )
        raise RemoteProtocolError("the server closed the connection in the middle of a chunk")

    # For whoever moves a body past this room.

    @property
    def left(self) -> int | None:
        """How many bytes of the body are still to be read from the link; None if they cannot be counted.

        What :meth:`read` gives without waiting comes before them.
        """
        head = self._head
        return self._left if head is not None and head.framing is Framing.LENGTH else None

    @property
    def has_pieces(self) -> bool:
        """Whether something was read of the body and not taken yet."""
        return bool(self._parser.pieces)

    def moved(self, size: int) -> None:
        """Count bytes of the body that were read from the link."""
        assert size <= self._left
        self._left -= size
        if not self._left:
            self._parser.is_done = True

    def close(self) -> None:
        """Close it.  Again, it does nothing."""
        self.link.close()


@contextlib.asynccontextmanager
async def _iterating(body: AsyncIterable[bytes]) -> AsyncGenerator[AsyncIterator[bytes], None]:
    """Give an iterator of *body* that does not outlive the block, as a generator would that is not run to its end."""
    chunks = aiter(body)
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


def _left_after(chunk: bytes, left: int) -> int:
    # What is too much would be taken for the next request.
    if len(chunk) > left:
        raise LocalProtocolError(f"the body of the request is {len(chunk) - left} bytes longer than its Content-Length")
    return left - len(chunk)


def _check_end(left: int) -> None:
    if left:
        raise LocalProtocolError(f"the body of the request ended {left} bytes before its Content-Length")

"""The body: how fast it comes, where it stops, and what comes behind it; the right header before it throughout.

Rules that hold here:

- a position counts the bytes that follow the header, those of a range included; a negative one counts from their end,
  and one beyond the end is the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from .._acts import Act, Close, Hold, Reset, Send
from .._fault import Spelled
from .._reply import honest_reply
from .._request import Request
from .._resource import Resource

__all__ = ["CorruptedBody", "DropAt", "ForgedReply", "Serve", "Stall", "Surplus", "Trickle", "flipped"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Serve(Spelled):
    """No fault: what a correct server says (RFC 9110).

    Attributes:
        chunk_bytes: how much of the body is sent at once; the client must not mind.
    """

    chunk_bytes: int = 65_536

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve."""
        return honest_reply(request, resource).acts(chunk_bytes=self.chunk_bytes)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Trickle(Spelled):
    """The body comes slowly but steadily, as from a server that limits each connection.

    Attributes:
        bytes_per_s: how fast.
        chunk_bytes: how much is sent at once, after a silence.
    """

    bytes_per_s: float = 1000.0
    chunk_bytes: int = 100

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, slowly."""
        gap_s = self.chunk_bytes / self.bytes_per_s
        return honest_reply(request, resource).acts(chunk_bytes=self.chunk_bytes, gap_s=gap_s)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Stall(Spelled):
    """The body stops coming and the connection stays: only a limit of time ends the wait.

    Attributes:
        byte: where it stops.
    """

    byte: int = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve up to the byte, then say nothing."""
        reply = honest_reply(request, resource)
        yield Send(reply.head() + reply.content[: self.byte])
        yield Hold()


@final
@dataclass(frozen=True, slots=True, repr=False)
class DropAt(Spelled):
    """The connection ends within the body, which is then incomplete (RFC 9112 section 8).

    Attributes:
        byte: where it ends; 0 is right behind the header, -1 before the last byte.
        reset: whether by a reset, by which the client may lose what it has not read yet; otherwise by a close.
    """

    byte: int = 0
    reset: bool = False

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve up to the byte, then break off."""
        reply = honest_reply(request, resource)
        yield Send(reply.head() + reply.content[: self.byte])
        yield Reset() if self.reset else Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class CorruptedBody(Spelled):
    """One byte is wrong, and nothing tells: only a digest does.

    Attributes:
        byte: which one; beyond the end it is none.
    """

    byte: int = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, with one byte flipped."""
        reply = honest_reply(request, resource)
        return reply.carrying(flipped(reply.body, self.byte)).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class Surplus(Spelled):
    """More bytes follow the promised end.  They are no part of this body, nor another reply (RFC 9112 section 9.2).

    Attributes:
        data: what follows.
    """

    data: bytes = b"surplus"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and go on."""
        reply = honest_reply(request, resource)
        yield Send(reply.head() + reply.content + self.data)
        yield from reply.end()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ForgedReply(Spelled):
    """A second reply, with every byte wrong, follows the right one.

    A client that uses the connection again without having looked takes it for the reply to its next request (RFC 9112
    section 9.2).
    """

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and at once answer a request that was never made."""
        reply = honest_reply(request, resource)
        forged = reply.carrying(bytes(byte ^ 0xFF for byte in reply.body))
        yield Send(reply.head() + reply.content + forged.head() + forged.content)
        yield from reply.end()


def flipped(data: bytes, at: int) -> bytes:
    """Return *data* with all bits of one byte turned, or as it is where there is no such byte."""
    if not -len(data) <= at < len(data):
        return data
    at %= len(data)
    return b"%b%c%b" % (data[:at], data[at] ^ 0xFF, data[at + 1 :])

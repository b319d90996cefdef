"""The way to the body: informational replies, headers that come slowly, partly or not at all, and what is no HTTP.

Rules that hold here:

- where a reply gets as far as its body, the body is right;
- what goes on without end has silences in it, so that a clock that jumps advances.

Source:
    RFC 9110 section 15.2 (informational replies), RFC 9112 sections 2 to 5 (messages, status lines, headers).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from .._acts import Act, Close, Hold, Reset, Send, Wait
from .._fault import Spelled
from .._reply import honest_reply, in_pieces, interim_head, knows_http_1_1
from .._request import Request
from .._resource import Resource

__all__ = [
    "DropInHeader",
    "EarlyHints",
    "EndlessHeader",
    "EndlessHints",
    "HeaderStops",
    "HugeHeader",
    "NotHttp",
    "OddVersion",
    "SlowHeader",
]


# Before the header.


@final
@dataclass(frozen=True, slots=True, repr=False)
class EarlyHints(Spelled):
    """No fault: informational replies come first, and are to be passed over (RFC 9110 section 15.2, RFC 8297).

    Attributes:
        count: how many.
        status: 100, 102 or 103.
        gap_s: the silence after each.
    """

    count: int = 1
    status: int = 103
    gap_s: float = 0.0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Hint, then serve."""
        if knows_http_1_1(request):
            for _ in range(self.count):
                yield Send(interim_head(self.status))
                if self.gap_s:
                    yield Wait(self.gap_s)
        yield from honest_reply(request, resource).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class EndlessHints(Spelled):
    """Informational replies come without end, and each looks like progress (RFC 9110 section 15.2).

    Attributes:
        status: 100, 102 or 103.
        gap_s: the silence between two.
    """

    status: int = 103
    gap_s: float = 10.0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Hint, and hint."""
        while True:
            yield Send(interim_head(self.status))
            yield Wait(self.gap_s)


@final
@dataclass(frozen=True, slots=True, repr=False)
class NotHttp(Spelled):
    """What answers is no server of HTTP, or of none that is known (RFC 9112 section 2.1).

    Attributes:
        data: what it says before it closes.
    """

    data: bytes = b"220 ready\r\n"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (it does not listen)
        """Say it, and close."""
        if self.data:
            yield Send(self.data)
        yield Close()


# The header.


@final
@dataclass(frozen=True, slots=True, repr=False)
class SlowHeader(Spelled):
    """The header comes byte by byte (RFC 9112 section 2.2): a limit for each read is never reached.

    Attributes:
        gap_s: the silence before each byte.
    """

    gap_s: float = 0.1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, the header slowly."""
        reply = honest_reply(request, resource)
        yield from in_pieces(reply.head(), chunk_bytes=1, gap_s=self.gap_s)
        if reply.content:
            yield Send(reply.content)
        yield from reply.end()


@final
@dataclass(frozen=True, slots=True, repr=False)
class HeaderStops(Spelled):
    """The header stops coming and the connection stays: only a limit of time ends the wait.

    Attributes:
        byte: where it stops; 0 is before anything was said.
    """

    byte: int = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Begin, then say nothing."""
        begun = honest_reply(request, resource).head()[: self.byte]
        if begun:
            yield Send(begun)
        yield Hold()


@final
@dataclass(frozen=True, slots=True, repr=False)
class DropInHeader(Spelled):
    """The connection ends within the header, and there is no reply (RFC 9112 sections 8 and 9.3.1).

    Attributes:
        byte: where it ends; 0 is before anything was said.
        reset: whether by a reset; otherwise by a close.
    """

    byte: int = 0
    reset: bool = False

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Begin, then break off."""
        begun = honest_reply(request, resource).head()[: self.byte]
        if begun:
            yield Send(begun)
        yield Reset() if self.reset else Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class EndlessHeader(Spelled):
    """The header goes on and on: field by field, so that neither a read nor a line takes long.

    Attributes:
        gap_s: the silence before each field.
    """

    gap_s: float = 10.0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Begin, and do not end."""
        yield Send(honest_reply(request, resource).head().removesuffix(b"\r\n"))
        while True:
            yield Wait(self.gap_s)
            yield Send(b"X-More: to come\r\n")


@final
@dataclass(frozen=True, slots=True, repr=False)
class HugeHeader(Spelled):
    """The header has a field that no client needs room for (RFC 9110 section 5.4).

    Attributes:
        size_bytes: of its value.
    """

    size_bytes: int = 1_048_576

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under a header that is too large."""
        return honest_reply(request, resource).saying(("X-Padding", "x" * self.size_bytes)).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class OddVersion(Spelled):
    """The status line names another version of HTTP (RFC 9112 section 2.3).

    Attributes:
        version: which.
    """

    version: str = "HTTP/1.2"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under that version, and close."""
        reply = honest_reply(request, resource).saying(("Connection", "close"))
        yield Send(reply.head(version=self.version) + reply.content)
        yield Close()

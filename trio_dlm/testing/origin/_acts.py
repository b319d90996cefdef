"""What a server does on a connection: the smallest steps that a reply is made of.

Rules that hold here:

- an act is a frozen record; a reply is a sequence of acts, and nothing else is sent, waited for or closed;
- a reply that ends without :class:`Close`, :class:`Reset` or :class:`Hold` leaves the connection open for the next
  request;
- seconds are those of trio's clock, virtual where that is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, final

__all__ = ["Act", "Close", "Hold", "Reset", "Send", "Wait"]


@final
@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes as they are."""

    data: bytes = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """Send nothing for so many seconds."""

    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; over TLS with close_notify only if *clean* (RFC 9112 section 9.8)."""

    clean: bool = True


@final
@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection: the client gets a reset instead of an end."""


@final
@dataclass(frozen=True, slots=True)
class Hold:
    """Say nothing more, and keep the connection until the client closes it."""


Act: TypeAlias = Send | Wait | Close | Reset | Hold

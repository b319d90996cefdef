"""What can go wrong between a request and the end of its reply.

Rules that hold here:

- the classes are called as those of httpx that they become, so that whoever tells errors apart by name needs one table;
- each says in its text what was expected and what came.
"""

from __future__ import annotations

__all__ = [
    "ConnectError",
    "LocalProtocolError",
    "MalformedReplyError",
    "ReadError",
    "RemoteProtocolError",
    "TruncatedError",
    "WireError",
    "WriteError",
]


class WireError(Exception):
    """A request did not get its reply."""


class ConnectError(WireError):
    """There is no connection, or no TLS over it."""


class ReadError(WireError):
    """The connection broke while it was read."""


class WriteError(WireError):
    """The connection broke while it was written to."""


class LocalProtocolError(WireError):
    """The request cannot be sent as HTTP/1.1."""


class RemoteProtocolError(WireError):
    """The server ended the connection before its reply was complete."""


class TruncatedError(RemoteProtocolError):
    """The connection ended without TLS's own end, so that what came before may have been cut off."""


class MalformedReplyError(RemoteProtocolError):
    """What the server sends is not HTTP/1.1, or could mean two things.

    Attributes:
        is_oversized: it is too large to be read.
    """

    def __init__(self, problem: str, *, is_oversized: bool = False) -> None:
        super().__init__(problem)
        self.is_oversized = is_oversized

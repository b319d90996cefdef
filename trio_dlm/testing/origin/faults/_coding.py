"""Content codings that nobody asked for: right, broken off, damaged, or unheard of.

Rules that hold here:

- the whole representation is coded and sent, whatever range was asked for, so that no two codings are joined;
- the length is that of the coded bytes: what is wrong shows when they are decoded, and not before.

Source:
    RFC 9110 sections 8.4 (Content-Encoding), 8.8.3.3 (a coding has an ETag of its own) and 12.5.3 (Accept-Encoding).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from .._acts import Act
from .._fault import Spelled
from .._reply import Reply, whole_reply
from .._request import Request
from .._resource import Resource
from ._body import flipped

__all__ = ["GzipCorrupt", "GzipCut", "Gzipped", "UnknownCoding"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Gzipped(Spelled):
    """The file comes compressed: the bytes that are received are not those of the file (RFC 9110 section 8.4)."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve compressed."""
        reply = whole_reply(request, resource)
        return _coded(reply, "gzip", gzip.compress(reply.body, mtime=0))


@final
@dataclass(frozen=True, slots=True, repr=False)
class GzipCut(Spelled):
    """The compressed bytes end early, and the length says so: only the coding's own end tells (RFC 1952 section 2.3).

    Attributes:
        by: how many are missing; the last eight are check sum and size.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a compressed beginning."""
        reply = whole_reply(request, resource)
        coded = gzip.compress(reply.body, mtime=0)
        return _coded(reply, "gzip", coded[: max(0, len(coded) - self.by)])


@final
@dataclass(frozen=True, slots=True, repr=False)
class GzipCorrupt(Spelled):
    """One compressed byte is wrong: the decoder or the check sum tells (RFC 1952 section 2.3.1).

    Attributes:
        byte: which one; the last eight are check sum and size.
    """

    byte: int = -8

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve compressed, with one byte flipped."""
        reply = whole_reply(request, resource)
        return _coded(reply, "gzip", flipped(gzip.compress(reply.body, mtime=0), self.byte))


@final
@dataclass(frozen=True, slots=True, repr=False)
class UnknownCoding(Spelled):
    """The bytes are coded in a way that nobody knows, here with all bits turned (RFC 9110 section 8.4).

    Attributes:
        name: what the coding is called.
    """

    name: str = "turned"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve turned."""
        reply = whole_reply(request, resource)
        return _coded(reply, self.name, bytes(byte ^ 0xFF for byte in reply.body))


def _coded(reply: Reply, coding: str, body: bytes) -> Iterator[Act]:
    """Serve *body* as a coding of *reply*; what is no file is served as it is."""
    if reply.status != 200:
        return reply.acts()
    etag = reply.value("ETag")
    own = [("ETag", f'{etag.removesuffix(chr(34))}-{coding}"')] if etag is not None else []
    return reply.saying(*own, ("Content-Encoding", coding)).carrying(body).acts()

"""Digests in the header: right, wrong, or not to be read; the body is right throughout.

Rules that hold here:

- a digest of the representation is that of the whole file even in a reply with a part of it; a digest of the content
  is that of the bytes of this very reply.

Source:
    RFC 9530 sections 2 (Content-Digest) and 3 (Repr-Digest); RFC 3230 (Digest); RFC 1864 (Content-MD5).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from .._acts import Act
from .._fault import Spelled
from .._reply import Reply, honest_reply
from .._request import Request
from .._resource import Resource

__all__ = ["DigestField", "JunkDigest", "RightDigest", "WrongDigest"]

DigestField: TypeAlias = Literal["Repr-Digest", "Content-Digest", "Digest", "Content-MD5"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class RightDigest(Spelled):
    """No fault: the header has a digest, and it is right (RFC 9530).

    Attributes:
        field: which one.
    """

    field: DigestField = "Repr-Digest"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and prove it."""
        reply = honest_reply(request, resource)
        return _with(reply, self.field, _digest(self.field, reply.body, resource.body))


@final
@dataclass(frozen=True, slots=True, repr=False)
class WrongDigest(Spelled):
    """The header has a digest of other bytes: who checks it must not deliver these (RFC 9530).

    Attributes:
        field: which one.
    """

    field: DigestField = "Repr-Digest"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and disprove it."""
        reply = honest_reply(request, resource)
        return _with(reply, self.field, _digest(self.field, reply.body + b"!", resource.body + b"!"))


@final
@dataclass(frozen=True, slots=True, repr=False)
class JunkDigest(Spelled):
    """No fault: the header has a digest that cannot be read, and is ignored as a whole (RFC 9651 section 4.2).

    Attributes:
        field: which one.
        text: what stands there.
    """

    field: DigestField = "Repr-Digest"
    text: str = "sha-256=?"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and prove nothing."""
        return _with(honest_reply(request, resource), self.field, self.text)


def _with(reply: Reply, name: str, value: str) -> Iterator[Act]:
    """Serve with a digest; what is no file has none."""
    return (reply.saying((name, value)) if reply.status in (200, 206) else reply).acts()


def _digest(name: DigestField, content: bytes, representation: bytes) -> str:
    match name:
        case "Repr-Digest":
            return f"sha-256=:{_sha256(representation)}:"
        case "Content-Digest":
            return f"sha-256=:{_sha256(content)}:"
        case "Digest":
            return f"SHA-256={_sha256(representation)}"
        case _:
            return b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode("ascii")


def _sha256(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode("ascii")

"""Which version of a resource some bytes belong to, and by what that can be proven.

Rules that hold here:

- these are facts that a server stated and others judged; whether a validator is strong is for them to say;
- a version is compared by its fields, and never improved in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, final

__all__ = ["NO_VERSION", "Validator", "Version"]


@final
@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one version of a resource from another (RFC 9110 section 8.8).

    Attributes:
        kind: ``"etag"`` for a strong ETag, ``"date"`` for a Last-Modified that is strong.
        text: as it is sent in If-Range: an ETag with its quotes, or an HTTP-date.
    """

    kind: Literal["etag", "date"]
    text: str


@final
@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource.

    Attributes:
        validator: what a range of it is asked for with, or None if there is nothing that could prove it.
        total: how many bytes it has, or None if nobody said.
        digests: what its server claims of the whole of it, each as ``"sha256:00ab…"``.
        coding: the Content-Encoding that the bytes on disk have; empty for none.
        origin: whose validator it is, as ``"https://example.org:443"``: another host may have given the same one to
            something else.
    """

    validator: Validator | None = None
    total: int | None = None
    digests: tuple[str, ...] = ()
    coding: str = ""
    origin: str = ""


# Of which nothing is known.
NO_VERSION: Final = Version()

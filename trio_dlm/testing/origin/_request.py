"""What a client asked for, kept as it came.

Rules that hold here:

- a request is never refused for its form: the origin is there to watch, and what is odd is for the test to see;
- names of header fields are in lower case, their values as they were, in their order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, final

__all__ = ["Request"]

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


@final
@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: as it was sent.
        target: as it was sent, the query included.
        headers: pairs of a name in lower case and a value.
        number: how many requests came before it, on all connections.
        connection: how many connections were made before the one that it came on.
        at_s: when its header had come, on trio's clock.
        raw: all its bytes up to the empty line.
        is_secure: whether it came over TLS.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    number: int = 0
    connection: int = 0
    at_s: float = 0.0
    raw: bytes = field(default=b"", repr=False)
    is_secure: bool = False

    @classmethod
    def parse(
        cls, raw: bytes, *, number: int = 0, connection: int = 0, at_s: float = 0.0, is_secure: bool = False
    ) -> Request:
        """Read a header block."""
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        pairs = (line.partition(":") for line in lines if line)
        headers = tuple((name.strip().lower(), value.strip(" \t")) for name, _, value in pairs)
        return cls(method, rest.rpartition(" ")[0], headers, number, connection, at_s, raw, is_secure)

    def header(self, name: str) -> str | None:
        """Return the first value of the field *name* (in lower case), or None."""
        return next((value for each, value in self.headers if each == name), None)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First and last byte asked for, the last None if it was left open; None if no one range was asked for."""
        found = _RANGE.fullmatch(self.header("range") or "")
        return None if found is None else (int(found[1]), int(found[2]) if found[2] else None)

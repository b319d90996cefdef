"""Content-Range: which bytes of how many a reply holds.

Source:
    RFC 9110 section 14.4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from ._head import ReplyHead

__all__ = ["ContentRange", "content_range_of"]

# Units are case-insensitive (RFC 9110 section 14.1).  More digits than any file has: 2^63 - 1 is the largest offset.
_FORM: Final = re.compile(r"bytes[ \t]+([0-9]{1,19})-([0-9]{1,19})/(\*|[0-9]{1,19})", re.IGNORECASE)


@final
@dataclass(frozen=True, slots=True)
class ContentRange:
    """The bytes from *start* up to, but not with, *stop*, of *total* (None: not told)."""

    start: int
    stop: int
    total: int | None

    @property
    def size(self) -> int:
        """How many bytes there are in the range."""
        return self.stop - self.start

    @property
    def is_whole(self) -> bool:
        """Whether the range is all that there is."""
        return self.start == 0 and self.stop == self.total


def content_range_of(head: ReplyHead) -> ContentRange | None:
    """Return what the one Content-Range of *head* says, or None: there is none, there are two, or it makes no sense."""
    found = _FORM.fullmatch(head.only("content-range") or "")
    if found is None:
        return None
    start, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if last < start or (total is not None and last >= total):
        return None
    return ContentRange(start, last + 1, total)

"""What a reply says that the file is to be called: names that lead to another place, or are none; the rest is right.

Rules that hold here:

- the header itself is sound: what a name has that a header cannot hold is encoded (RFC 8187);
- whoever takes such a name as it is does no harm outside of the directory above his own: what is absolute names a
  directory that nobody has.

Source:
    RFC 6266 sections 4.3 and 7 (Content-Disposition, and what a server may want by it); RFC 8187.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import quote

from .._acts import Act
from .._fault import Spelled
from .._reply import honest_reply
from .._request import Request
from .._resource import Resource

__all__ = ["HOSTILE_NAMES", "Named"]

# The first is what the file would be called without it, under the name that many downloaders give to a part of it.
HOSTILE_NAMES: Final[tuple[str, ...]] = (
    "file.bin.part",
    "../evil.bin",
    "..\\evil.bin",
    "..",
    "/no-such-directory/evil.bin",
    "evil\0.bin",
    "evil\n.bin",
    "",
    ".hidden",
    "-rf",
    "CON",
    "evil.bin:stream",
    "e" * 300,
)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Named(Spelled):
    """The header says what the file is to be called (RFC 6266 section 4.3); who cannot have that calls it otherwise.

    Attributes:
        name: what it says.
    """

    name: str = "file.bin.part"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and give it a name."""
        yield from honest_reply(request, resource).saying(("Content-Disposition", _disposition(self.name))).acts()


def _disposition(name: str) -> str:
    if name.isascii() and name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'attachment; filename="{escaped}"'
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"

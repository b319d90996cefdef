"""What a server said before the body, and how its fields are read.

Rules that hold here:

- a field is read as it came; what may stand in it, and what that means, is decided by whoever asks;
- text of a server's goes into messages only printable and short.

Source:
    RFC 9110 section 5 for fields and lists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from ...._errors import UnusableReplyError
from ._address import Address, shorten

__all__ = ["ReplyHead", "quoted", "unusable"]


@final
@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What a server said before the body.

    Attributes:
        address: who was asked for what.
        status: three digits.
        phrase: the words after it, for people.
        version: ``"HTTP/1.1"`` and its like.
        fields: the header's names in lower case and its values decoded as Latin-1, in their order.
    """

    address: Address
    status: int
    phrase: str
    version: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)

    def values(self, name: str) -> list[str]:
        """Return every value of the field *name* (in lower case)."""
        return [value for each, value in self.fields if each == name]

    def first(self, name: str) -> str | None:
        """Return the first value of the field *name* (in lower case), or None."""
        return next((value for each, value in self.fields if each == name), None)

    def only(self, name: str) -> str | None:
        """Return the value of the field *name* (in lower case) if all its lines say the same, without white space."""
        found = {value.strip(" \t") for value in self.values(name)}
        return found.pop() if len(found) == 1 else None

    def items(self, name: str) -> list[str]:
        """Return the elements of the comma-separated lists in the field *name*, in lower case."""
        return [
            item.strip(" \t").lower() for value in self.values(name) for item in value.split(",") if item.strip(" \t")
        ]


def unusable(
    head: ReplyHead,
    problem: str,
    advice: str = "try again, or another source",
    *,
    is_disagreement: bool = False,
    may_pass: bool = False,
) -> UnusableReplyError:
    """Return the error that says what is wrong with *head*; the flags are those of the error."""
    return UnusableReplyError(
        url=head.address.shown, problem=problem, advice=advice, is_disagreement=is_disagreement, may_pass=may_pass
    )


def quoted(text: str) -> str:
    """Return *text* of a server's, fit for a message."""
    return repr(shorten("".join(c if c.isprintable() else "?" for c in text)))

"""The file that an origin has, and what it says about its version.

Rules that hold here:

- every version that was ever served is kept, so that a test can say of any bytes whether they are one of them;
- a validator that is shown changes with the bytes, unless a fault has the origin lie about it.

Source:
    RFC 9110 section 8.8 for strong and weak validators.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from typing import Final, Literal, TypeAlias, final, get_args

__all__ = ["DEFAULT_BODY", "Resource", "Validators"]

Validators: TypeAlias = Literal["strong", "weak", "date", "none"]

# 4096 bytes in which no eight in a row come twice, so that bytes that are missing, repeated or in another's place show.
DEFAULT_BODY: Final = b"".join(b"%07d\n" % number for number in range(512))

# 2023-11-14, in the past of every test; each version is an hour younger than the one before.
_FIRST_MODIFIED: Final = 1_700_000_000
_VERSION_S: Final = 3600

# Odd, so that what a longer version has more takes every value of a byte in turn.
_MORE_STEP: Final = 37


@final
class Resource:
    """A file in its present version.

    Attributes:
        body: its bytes.
        validators: what it says about its version: a strong ETag, a weak one, Last-Modified only, or nothing.
        versions: the bytes of all versions so far, the present one last.
    """

    def __init__(self, body: bytes, *, validators: Validators = "strong") -> None:
        if validators not in get_args(Validators):
            raise ValueError(f"validators is one of {', '.join(get_args(Validators))}, got {validators!r}")
        self.body = body
        self.validators: Validators = validators
        self.versions = [body]
        self._shown_version = 0

    @property
    def etag(self) -> str | None:
        """The value of ETag, or None."""
        match self.validators:
            case "strong":
                return f'"v{self._shown_version + 1}"'
            case "weak":
                return f'W/"v{self._shown_version + 1}"'
            case _:
                return None

    @property
    def last_modified(self) -> str | None:
        """The value of Last-Modified, or None."""
        if self.validators == "none":
            return None
        return formatdate(_FIRST_MODIFIED + _VERSION_S * self._shown_version, usegmt=True)

    @property
    def sha256(self) -> str:
        """The digest of the present version, in hex."""
        return hashlib.sha256(self.body).hexdigest()

    def change(self, *, by: int = 0, tell: bool = True) -> None:
        """Become another version: different in every byte from the present one, so that no mixture passes.

        Args:
            by: how many bytes longer; if negative, how many shorter, down to none.
            tell: show other validators from now on.
        """
        shift = len(self.versions)
        changed = bytes((byte + shift) % 256 for byte in self.body)
        more = bytes(_MORE_STEP * (number + 1) % 256 for number in range(by))
        self.body = changed[: max(0, len(changed) + by)] + more
        self.versions.append(self.body)
        if tell:
            self._shown_version += 1

    def retag(self) -> None:
        """Show other validators for the same bytes, as servers behind a balancer do."""
        self._shown_version += 1

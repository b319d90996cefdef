"""What to ask of a server: how much of the file, on which condition, and what it may know of the user.

Rules that hold here:

- headers of the user's and credentials go only to origins that the user named, decided for every single request;
- a range behind the first byte is asked for on the condition that the file is still the one that is held;
- only a request for the beginning, or for a file whose end nobody knows, leaves its end open.

Source:
    RFC 9110 sections 13.1.1 (If-Match), 13.1.5 (If-Range), 14.2 (Range); 12.5.3 (Accept-Encoding).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from ._address import Address, Origin
from ._version import Validator

__all__ = ["FROM_THE_START", "WHOLE", "Ask", "check_request_headers", "request_headers"]

# What every server may know of a user.  Anything else that the user adds may grant access.
_FOR_EVERYBODY: Final = frozenset({"user-agent", "accept", "accept-language"})

# Headers that announce a body or another protocol, neither of which is sent: the server would wait, or answer something
# else.
_REFUSED_HEADERS: Final = frozenset(
    {"connection", "content-length", "expect", "http2-settings", "te", "trailer", "transfer-encoding", "upgrade"}
)
# Conditions: they decide whether a file comes at all, and are the downloader's own (RFC 9110 section 13).
_CONDITIONS: Final = frozenset({"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@final
@dataclass(frozen=True, slots=True)
class Ask:
    """How much of a file is asked for.

    Attributes:
        is_ranged: a Range is sent; otherwise the whole is asked for, and the other attributes say nothing.
        start: the first byte.
        stop: the byte behind the last, or None for all there is.
        condition: the version that the range must be of; with If-Range, so that another version comes whole.
        must_match: send the condition as If-Match, so that another version does not come at all.
    """

    is_ranged: bool = False
    start: int = 0
    stop: int | None = None
    condition: Validator | None = None
    must_match: bool = False

    def headers(self) -> list[tuple[str, str]]:
        """Return the header fields that say so."""
        if not self.is_ranged:
            return []
        fields = [("Range", f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}")]
        if self.condition is not None:
            fields.append(("If-Match" if self.must_match else "If-Range", self.condition.text))
        return fields


WHOLE: Final = Ask()
FROM_THE_START: Final = Ask(is_ranged=True)


def check_request_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers of the user's that cannot be sent, or that would change what a plain GET means.

    Raises:
        ValueError: a name is no token, a value holds control characters, or the header is the downloader's own.
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise ValueError(f"headers has an entry {name!r} that cannot be a header line")
        if name.lower() in _REFUSED_HEADERS:
            raise ValueError(f"headers has {name!r}, which announces what a download does not send; leave it out")
        if name.lower() in _CONDITIONS:
            raise ValueError(f"headers has {name!r}, a condition on which no file might come; leave it out")


def request_headers(
    to: Address, *, named: Mapping[Origin, str | None], headers: Mapping[str, str], ask: Ask = WHOLE
) -> list[tuple[str, str]]:
    """Return what to send to *to*: the user's own headers and credentials only if the user *named* that origin.

    Args:
        to: who is asked.
        named: the origins of the URLs that the user gave, each with the user info of its URL as a value of
            Authorization; an Authorization header goes before it.
        headers: the user's.
        ask: how much is asked for.
    """
    trusted = to.origin in named
    sent = [(name, value.strip(" \t")) for name, value in headers.items() if trusted or name.lower() in _FOR_EVERYBODY]
    basic = named.get(to.origin)
    if basic is not None and not any(name.lower() == "authorization" for name, _ in sent):
        sent.append(("Authorization", basic))
    # Without it a server may compress, and the bytes would be neither those of the file nor a range of them.
    sent.append(("Accept-Encoding", "identity"))
    return sent + ask.headers()

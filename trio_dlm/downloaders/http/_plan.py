"""What to ask of a server, and what to believe of its reply: each rule of the HTTP downloader as one small decision.

Rules that hold here:

- a decision takes facts and returns a value or raises; nothing is sent, read or written, and no clock is looked at;
- what is not proven is refused: a reply that contradicts itself, or whose end cannot be known, delivers no file;
- messages name the redacted address, and repeat of a server's text only what is printable and short.

Source:
    RFC 9110 (semantics), RFC 9112 (HTTP/1.1 framing); the sections stand at the decisions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from ..._errors import (
    HttpStatusError,
    IncompleteBodyError,
    InvalidUrlError,
    RedirectError,
    TooLargeError,
    UnusableReplyError,
)
from ..._urls import redact_url
from ._address import Address, Origin, parse_reference, shorten

__all__ = [
    "MAX_REDIRECTS",
    "ReplyHead",
    "check_coding",
    "check_delivers",
    "check_length",
    "check_received",
    "check_request_headers",
    "next_hop",
    "promised_length",
    "request_headers",
]

# As in curl (50), browsers (20) and httpx (20): beyond this it is a loop in all that was ever seen.
MAX_REDIRECTS: Final = 20

# The statuses whose Location is an order to look elsewhere with a GET (RFC 9110 section 15.4).  300 offers a choice,
# 304 answers a condition that was not set, 305 and 306 are withdrawn.
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_VERSIONS: Final = frozenset({"HTTP/1.0", "HTTP/1.1", "HTTP/2"})

# What every server may know of a user.  Anything else that the user adds may grant access.
_FOR_EVERYBODY: Final = frozenset({"user-agent", "accept", "accept-language"})

# Headers that announce a body or another protocol, neither of which is sent: the server would wait, or answer something
# else.
_REFUSED_HEADERS: Final = frozenset(
    {"content-length", "expect", "http2-settings", "te", "trailer", "transfer-encoding", "upgrade"}
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# More than any file has (2^63 - 1 is the largest offset of a file), and short enough to be read as a number at once.
_MAX_LENGTH_DIGITS: Final = 19

_ADVICE_BY_STATUS: Final[Mapping[int, str]] = {
    400: "check the URL and the headers that were passed",
    401: "pass credentials: https://user:password@… or headers={'Authorization': …}",
    402: "the server wants to be paid for it",
    403: "the server refuses this client: it may want credentials, a Referer or another User-Agent in headers=",
    404: "check the URL",
    406: "leave the Accept headers out of headers=",
    407: "pass the proxy's credentials: https://user:password@… in the proxy's address",
    408: "try again",
    410: "it was removed for good: look for another source",
    416: "the server speaks of a range that was not asked for: try another source",
    425: "try again",
    429: "too many requests: wait, then ask for fewer at a time",
    451: "it is withheld for legal reasons: look for another source",
    501: "try another source",
    503: "the server is overloaded or down for maintenance: try again later",
    504: "try again later",
    511: "log in to this network first",
}
_ADVICE_BY_CLASS: Final[Mapping[int, str]] = {
    1: "that is no final answer: try another client or source",
    2: "that carries no file: check the URL",
    3: "that leads nowhere: check the URL",
    4: "check the URL",
    5: "that is the server's own failure: try again later",
}
_ADVICE_OTHERWISE: Final = "that is no status of HTTP: check the URL"


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

    def items(self, name: str) -> list[str]:
        """Return the elements of the comma-separated lists in the field *name*, in lower case."""
        return [
            item.strip(" \t").lower() for value in self.values(name) for item in value.split(",") if item.strip(" \t")
        ]


# Asking.


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


def request_headers(
    to: Address, *, named: frozenset[Origin], basic: str | None, headers: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return what to send to *to*: the user's own headers and credentials only if the user *named* that origin.

    Args:
        to: who is asked.
        named: the origins of the URLs that the user gave.
        basic: the user info of the user's URL, as a value of Authorization; an Authorization header goes before it.
        headers: the user's.
    """
    trusted = to.origin in named
    sent = [(name, value.strip(" \t")) for name, value in headers.items() if trusted or name.lower() in _FOR_EVERYBODY]
    if trusted and basic is not None and not any(name.lower() == "authorization" for name, _ in sent):
        sent.append(("Authorization", basic))
    # Without it a server may compress, and the bytes would be neither those of the file nor a range of them.
    sent.append(("Accept-Encoding", "identity"))
    return sent


# Going on.


def next_hop(head: ReplyHead, *, hops: Sequence[Address], allow_http_downgrade: bool) -> Address | None:
    """Return where a redirect leads, or None if *head* is none.

    Args:
        head: the reply to the last of *hops*.
        hops: every address that was asked so far, in order.
        allow_http_downgrade: whether to follow from https to http.

    Raises:
        RedirectError: too many, to something that is not http or https, to less security, to two places at once.
    """
    locations = set(head.values("location")) - {""}
    if head.status not in _REDIRECTS or not locations:
        return None
    first, *others = sorted(locations)
    if others:
        raise _not_followed(head, first, "another Location says otherwise", "try another source")
    try:
        to = parse_reference(head.address, first)
    except InvalidUrlError as exc:
        raise _not_followed(head, first, exc.problem, "fetch it from there in another way if you trust it") from None
    if head.address.is_secure and not to.is_secure and not allow_http_downgrade:
        raise _not_followed(head, to.url, "it is less secure", "pass allow_http_downgrade=True if you accept it")
    if len(hops) > MAX_REDIRECTS:
        circle = ", and it goes round in a circle" if to.url in {hop.url for hop in hops} else ""
        raise _not_followed(head, to.url, f"that is redirect number {len(hops)}{circle}", "check the URL in a browser")
    return to


def _not_followed(head: ReplyHead, target: str, problem: str, advice: str) -> RedirectError:
    return RedirectError(url=head.address.shown, target=shorten(redact_url(target)), problem=problem, advice=advice)


# Believing.


def check_delivers(head: ReplyHead) -> None:
    """Refuse a reply that carries no whole file.

    Raises:
        HttpStatusError: the status says so.
        UnusableReplyError: another version of HTTP, or a range although none was asked for.
    """
    if head.version not in _VERSIONS:
        raise _unusable(head, f"the reply is {shorten(_printable(head.version))!r}, not {', '.join(sorted(_VERSIONS))}")
    if head.status == 206:
        raise _unusable(head, "the server sent a part of the file (206) although the whole was asked for")
    if head.status not in (200, 203):
        raise HttpStatusError(
            url=head.address.shown,
            status=head.status,
            phrase=shorten(_printable(head.phrase)),
            advice=_ADVICE_BY_STATUS.get(head.status) or _ADVICE_BY_CLASS.get(head.status // 100, _ADVICE_OTHERWISE),
        )
    # Defined for 206 and 416 only (RFC 9110 section 14.4): this reply may be the range that a cache kept.
    if head.values("content-range"):
        raise _unusable(head, f"the reply claims to be whole ({head.status}) and a range (Content-Range) at once")


def check_coding(head: ReplyHead) -> None:
    """Refuse a body that came compressed although it was asked for as it is.

    Raises:
        UnusableReplyError: a Content-Encoding other than identity.
    """
    codings = [coding for coding in head.items("content-encoding") if coding != "identity"]
    if codings:
        raise _unusable(
            head,
            f"the body came with Content-Encoding {shorten(_printable(', '.join(codings)))!r}, "
            f"although it was asked for as it is",
            "decoding it is not supported: try another source",
        )


def promised_length(head: ReplyHead, *, has_digest: bool) -> int | None:
    """Return how many bytes the body has, or None if its end will show when it comes.

    Args:
        head: of a reply that has a body.
        has_digest: the user's checksum will prove that the body is whole.

    Raises:
        UnusableReplyError: lengths that disagree or are none, a transfer coding other than chunked, or a body over
            https whose end nobody could tell from a cut connection.
    """
    codings = head.items("transfer-encoding")
    lengths = {item.strip(" \t") for value in head.values("content-length") for item in value.split(",")}
    if codings:
        # RFC 9112 sections 6.1 and 6.3: both together are how requests are smuggled, and HTTP/1.0 and 2 know no
        # transfer coding.
        if lengths:
            raise _unusable(head, "the reply has both Transfer-Encoding and Content-Length")
        if head.version != "HTTP/1.1":
            raise _unusable(head, f"the reply is {head.version} and has a Transfer-Encoding, which only HTTP/1.1 knows")
        if codings != ["chunked"]:
            raise _unusable(head, f"the Transfer-Encoding is {shorten(_printable(', '.join(codings)))!r}, not chunked")
        return None
    if len(lengths) > 1:
        raise _unusable(head, f"the reply has several lengths: {shorten(_printable(', '.join(sorted(lengths))))}")
    if lengths:
        (text,) = lengths
        if not (text.isascii() and text.isdigit()) or len(text) > _MAX_LENGTH_DIGITS:
            raise _unusable(head, f"its length is {shorten(_printable(text))!r}, which is no number of bytes")
        return int(text)
    # The end of such a body is the end of the connection.  Without encryption that is as good as TCP is; over TLS a
    # man in the middle can end it too, and the client library does not tell whether close_notify came (RFC 9112 section
    # 9.8).
    if head.version != "HTTP/2" and head.address.is_secure and not has_digest:
        raise _unusable(
            head,
            "the reply has neither a length nor chunks, so that a cut connection would pass for the end of the file",
            'pass checksum="sha256:…" to have the end proven',
        )
    return None


def check_length(head: ReplyHead, length: int | None, *, max_bytes: int | None) -> None:
    """Refuse a file that is announced as too large.

    Raises:
        TooLargeError: *length* is above *max_bytes*.
    """
    if length is not None and max_bytes is not None and length > max_bytes:
        raise TooLargeError(url=head.address.shown, max_bytes=max_bytes, size_bytes=length)


def check_received(head: ReplyHead, received: int, *, length: int | None, max_bytes: int | None, ended: bool) -> None:
    """Refuse a body that grew too large, and one that did not end where it was promised to end.

    Args:
        head: of the reply.
        received: bytes that came so far.
        length: what :func:`promised_length` gave.
        max_bytes: the most that the user wants.
        ended: whether the body has ended.

    Raises:
        TooLargeError: more than *max_bytes* arrived.
        IncompleteBodyError: too many for *length*, or too few at the end.
    """
    if max_bytes is not None and received > max_bytes:
        raise TooLargeError(url=head.address.shown, max_bytes=max_bytes, size_bytes=None)
    if length is not None and (received > length or (ended and received < length)):
        raise IncompleteBodyError(
            url=head.address.shown,
            expected_bytes=length,
            received_bytes=received,
            problem="the body is longer than promised" if received > length else "the body ended early",
        )


def _unusable(head: ReplyHead, problem: str, advice: str = "try again, or another source") -> UnusableReplyError:
    return UnusableReplyError(url=head.address.shown, problem=problem, advice=advice)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)

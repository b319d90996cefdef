"""What a reply delivers: which bytes, of which version of the file, or nothing that can be used.

Rules that hold here:

- what is not proven is refused: a reply that contradicts itself, the request, or what an earlier reply said of the
  same version;
- refusals that a plain request for the whole may settle are marked as disagreements; the others are final, or pass
  with time;
- a whole reply of another version is a new beginning, and a partial one is of no use.

Source:
    RFC 9110 sections 13.1.5 (If-Range), 14.2 (a range may be ignored), 14.4 (Content-Range), 15.3.7 (206),
    15.5.17 (416).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, final

from ...._errors import HttpStatusError, UnusableReplyError
from ._address import shorten
from ._asking import Ask
from ._coding import Coding, coding_of, codings_of
from ._content_range import ContentRange, content_range_of
from ._dates import parse_http_date
from ._digests import Digest, agree, content_digests, representation_digests
from ._framing import promised_length
from ._head import ReplyHead, quoted, unusable
from ._retrying import parse_retry_after
from ._validators import validator_of
from ._version import Version

__all__ = ["REFUSED_FOR_THE_RANGE", "Delivery", "believe", "is_same_file", "whole_digests"]

_VERSIONS: Final = frozenset({"HTTP/1.0", "HTTP/1.1", "HTTP/2"})

# The statuses with which servers and the machines before them refuse a Range that they do not like.
REFUSED_FOR_THE_RANGE: Final = frozenset({400, 403, 405, 412, 416, 501})

_ADVICE_BY_STATUS: Final[Mapping[int, str]] = {
    400: "check the URL and the headers that were passed",
    401: "pass credentials, before the host in the URL or as headers={'Authorization': …}",
    402: "the server wants to be paid for it",
    403: "the server refuses this client: it may want credentials, a Referer or another User-Agent in headers=",
    404: "check the URL",
    406: "leave the Accept headers out of headers=",
    407: "pass the proxy's credentials, before the host in the proxy's address",
    408: "try again",
    410: "it was removed for good: look for another source",
    412: "the file is not the one that was begun: try again, which starts from the beginning",
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
class Delivery:
    """What the body of a reply is.

    Attributes:
        start: where its first byte stands in the file.
        length: how many bytes it has, as they come; None if its end will show.
        version: what is known of the version that it is of, with what was known before.
        is_new: it begins a file from zero: nothing was held, or what was held is of another version.
        is_whole: it is all of the file.
        in_ranges: the server serves ranges.
        coding: what was done to the bytes of the file.
    """

    start: int
    length: int | None
    version: Version
    is_new: bool
    is_whole: bool
    in_ranges: bool
    coding: Coding

    @property
    def stop(self) -> int | None:
        """The byte behind its last one, if it is known."""
        return None if self.length is None else self.start + self.length


def believe(
    head: ReplyHead, ask: Ask, *, pinned: Version | None, names: Sequence[str], has_checksum: bool, now: datetime
) -> Delivery:
    """Say what the reply *head* to *ask* delivers.

    Args:
        head: the reply, redirects followed.
        ask: what was asked for.
        pinned: the version that bytes are held of, or None if none are.
        names: what the file will be called, which tells whether a coding is its own.
        has_checksum: the user's digest will prove what is joined.
        now: the present, for dates.

    Raises:
        HttpStatusError: the status delivers no file.
        UnusableReplyError: the reply contradicts itself, the request or the version.
    """
    if head.version not in _VERSIONS:
        raise unusable(head, f"the reply is {quoted(head.version)}, not {', '.join(sorted(_VERSIONS))}")
    if head.status == 206:
        return _believe_part(head, ask, pinned, coding_of(head, names=names), has_checksum=has_checksum, now=now)
    if head.status in (200, 203):
        return _believe_whole(head, pinned, coding_of(head, names=names), has_checksum=has_checksum, now=now)
    raise HttpStatusError(
        url=head.address.shown,
        status=head.status,
        phrase=shorten("".join(c if c.isprintable() else "?" for c in head.phrase)),
        advice=_ADVICE_BY_STATUS.get(head.status) or _ADVICE_BY_CLASS.get(head.status // 100, _ADVICE_OTHERWISE),
        # By the server's own clock, where it tells the time: ours may be wrong.
        retry_after_s=parse_retry_after(
            head.values("retry-after"), now=parse_http_date(head.only("date") or "", now=now) or now
        ),
    )


def _believe_whole(
    head: ReplyHead, pinned: Version | None, coding: Coding, *, has_checksum: bool, now: datetime
) -> Delivery:
    # Defined for 206 and 416 only (RFC 9110 section 14.4): this reply may be the range that a cache kept.
    if head.values("content-range"):
        raise _at_odds(head, f"the reply claims to be whole ({head.status}) and a range (Content-Range) at once")
    # What the server says of the bytes proves their end as well, unless somebody in between has changed them.
    is_proven = has_checksum or (head.status == 200 and bool(whole_digests(head)))
    length = promised_length(head, is_proven=is_proven)
    total = None if coding.new_decoder else length
    return _whole(head, length, total, pinned, coding, in_ranges=False, has_checksum=has_checksum, now=now)


def _believe_part(
    head: ReplyHead, ask: Ask, pinned: Version | None, coding: Coding, *, has_checksum: bool, now: datetime
) -> Delivery:
    if not ask.is_ranged:
        raise unusable(head, "the server sent a part of the file (206) although the whole was asked for")
    if any(kind.startswith("multipart/byteranges") for kind in head.items("content-type")):
        raise _at_odds(head, "the server sent several ranges (multipart/byteranges) although one was asked for")
    found = content_range_of(head)
    if found is None:
        told = quoted(", ".join(head.values("content-range"))) if head.values("content-range") else "missing"
        raise _at_odds(
            head, f"the server sent a part of the file (206), and which one is unclear: Content-Range {told}"
        )
    length = promised_length(head, is_proven=True)
    if length is not None and length != found.size:
        raise _at_odds(head, f"the part has {length} bytes, and its Content-Range speaks of {found.size}")
    if found.is_whole:
        return _whole(head, found.size, found.total, pinned, coding, in_ranges=True, has_checksum=has_checksum, now=now)
    if coding.new_decoder:
        raise _at_odds(head, "the server sent a part of the file in a compressed form, which nothing can be joined to")
    _check_bounds(head, ask, found)
    version = _version_of(head, pinned, has_checksum=has_checksum, now=now)
    total = found.total
    if pinned is not None and pinned.total is not None:
        if total is not None and total != pinned.total:
            raise _at_odds(head, f"the file has {total} bytes now and had {pinned.total} before, in the same version")
        total = pinned.total
    if total is None:
        raise _at_odds(head, "the server sent a part of the file, and does not say how long all of it is")
    if found.stop > total:
        raise _at_odds(head, f"the part ends behind the end of the file, which has {total} bytes")
    if version.validator is None and not has_checksum:
        raise _at_odds(head, "the server sent a part of the file, and nothing that the rest could be known by")
    return Delivery(
        start=found.start,
        length=found.size,
        version=replace(version, total=total),
        is_new=pinned is None,
        is_whole=False,
        in_ranges=True,
        coding=coding,
    )


def _check_bounds(head: ReplyHead, ask: Ask, found: ContentRange) -> None:
    # A shorter one is legal (RFC 9110 section 15.3.7): the rest is asked for afterwards.
    if found.start != ask.start or (ask.stop is not None and found.stop > ask.stop):
        wanted = f"{ask.start}-{'' if ask.stop is None else ask.stop - 1}"
        raise _at_odds(head, f"bytes {wanted} were asked for, and bytes {found.start}-{found.stop - 1} came")


def _version_of(head: ReplyHead, pinned: Version | None, *, has_checksum: bool, now: datetime) -> Version:
    """Return the version of a partial reply, which has to be the *pinned* one if there is one."""
    said = Version(
        validator_of(head, now=now),
        None,
        tuple(map(str, representation_digests(head))),
        _kept_as(head),
        str(head.address.origin),
    )
    if pinned is None:
        return said
    if pinned.validator is not None and said.validator != pinned.validator:
        told = "no validator" if said.validator is None else quoted(said.validator.text)
        raise _at_odds(head, f"a part of {quoted(pinned.validator.text)} was asked for, and one of {told} came")
    is_elsewhere = pinned.validator is not None and said.origin != pinned.origin
    if is_elsewhere and not has_checksum and not is_same_file(pinned.digests, said.digests):
        # A validator belongs to one resource; on another host the same one may be of anything.
        raise _at_odds(head, f"the file was begun from {pinned.origin}, and a part of it came from {said.origin}")
    if said.coding != pinned.coding:
        raise _at_odds(
            head, f"the parts differ in their Content-Encoding ({quoted(pinned.coding)}, {quoted(said.coding)})"
        )
    if is_same_file(pinned.digests, said.digests) is False:
        raise _at_odds(head, "the server's digest of the file is not the one that it told before")
    return replace(pinned, validator=said.validator, origin=said.origin, digests=pinned.digests or said.digests)


def _whole(
    head: ReplyHead,
    length: int | None,
    total: int | None,
    pinned: Version | None,
    coding: Coding,
    *,
    in_ranges: bool,
    has_checksum: bool,
    now: datetime,
) -> Delivery:
    # 203 is a proxy's work upon the file: its validators are those of something else (RFC 9110 section 15.3.4).
    is_usable = head.status != 203 and coding.new_decoder is None
    validator = validator_of(head, now=now) if is_usable else None
    # Those of a body that is to be decoded are of the coded form, and are checked where that is read.
    digests = tuple(map(str, whole_digests(head))) if is_usable else ()
    version = Version(validator, total, digests, _kept_as(head), str(head.address.origin))
    is_same = pinned is not None and validator is not None and validator == pinned.validator
    if is_same and pinned is not None:
        if None not in (total, pinned.total) and total != pinned.total:
            raise _at_odds(head, f"the file has {total} bytes now and had {pinned.total} before, in the same version")
        is_proven = has_checksum or version.origin == pinned.origin or is_same_file(pinned.digests, digests) is True
        if not is_proven or version.coding != pinned.coding or is_same_file(pinned.digests, digests) is False:
            is_same = False
    return Delivery(
        start=0,
        length=length,
        version=version,
        is_new=not is_same,
        is_whole=True,
        in_ranges=in_ranges,
        coding=coding,
    )


def whole_digests(head: ReplyHead) -> tuple[Digest, ...]:
    """Return the digests of the file in a reply with all of it: what is said of the content is said of the file."""
    return tuple(dict.fromkeys(representation_digests(head) + content_digests(head)))


def is_same_file(one: Sequence[str], other: Sequence[str]) -> bool | None:
    """Return whether the claims of two versions are of the same bytes; None if they do not tell."""
    return agree(*([Digest.parse(text) for text in texts] for texts in (one, other)))


def _kept_as(head: ReplyHead) -> str:
    return ", ".join(codings_of(head))


def _at_odds(head: ReplyHead, problem: str) -> UnusableReplyError:
    return unusable(head, problem, is_disagreement=True)

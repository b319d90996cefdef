"""Reads the digests out of a reply's header, and compares them with what arrived and with each other.

Rules that hold here:

- a field that does not parse is ignored as a whole, and so is one with a value that is too long or too short for its
  algorithm;
- an algorithm that is unknown here, or that is a check sum of a few bits only, is left out, and the others of its field
  count;
- weak algorithms (MD5, SHA-1) count against bytes: they find what was damaged.  They never count for two sources having
  the same bytes, since two files with one such digest can be made;
- which bytes a digest is of is said by the two readers; computing it is for those who have the bytes;
- the time is linear in the length of the header.

Source:
    RFC 9530 (Repr-Digest, Content-Digest), RFC 8941 section 4.2 (how their values are parsed), RFC 3230 with RFC 5843
    (Digest), RFC 1864 (Content-MD5), RFC 9110 section 5.3 (a field in several lines).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, final

from ._head import ReplyHead

__all__ = ["Digest", "agree", "algorithms", "content_digests", "mismatch", "representation_digests"]

# The registry's names (RFC 9530 section 7.2, in lower case) to hashlib's.  Its others, unixsum, unixcksum, adler and
# crc32c, are too short to tell files apart.
_ALGORITHMS: Final = {"sha-512": "sha512", "sha-256": "sha256", "sha": "sha1", "md5": "md5"}
_LENGTHS: Final = {"sha512": 64, "sha256": 32, "sha1": 20, "md5": 16}

# Nobody can make two files with the same digest of these.
_STRONG: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"})

# As many as a parser of structured fields has to take (RFC 8941 section 3.2).
_MOST_MEMBERS: Final = 1024

# The padding may be missing (RFC 8941 section 4.2.7).  One sign too many is in RFC 9530's own examples (appendix B.5),
# and cannot mean anything else.
_BASE64: Final = r"([A-Za-z0-9+/]*+)={0,2}+"
_KEY: Final = r"[a-z*][a-z0-9_\-.*]*+"
# RFC 8941 section 4.2.3.1, in the order in which their first characters are looked at.
_BARE_ITEM: Final = (
    r"(?:-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15})(?![0-9.])"
    r'|"(?:[ !#-\[\]-~]|\\["\\])*+"'
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*+"
    r"|:[A-Za-z0-9+/=]*+:"
    r"|\?[01])"
)
# Possessive throughout: what has been read is not read again in another way.
_MEMBER: Final = re.compile(rf"({_KEY})=:{_BASE64}:(?:; *+{_KEY}(?:={_BARE_ITEM})?+)*+")
_COMMA: Final = re.compile(r"[ \t]*+,[ \t]*+")

_LEGACY_MEMBER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^ \t]+)")
_WHOLE_BASE64: Final = re.compile(_BASE64)


@final
@dataclass(frozen=True, slots=True)
class Digest:
    """What somebody says that certain bytes have for a digest.

    Attributes:
        algorithm: hashlib's name of it.
        value: the digest itself.
    """

    algorithm: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read what ``str`` of a digest gave."""
        algorithm, _, digits = text.partition(":")
        return cls(algorithm, bytes.fromhex(digits))


def representation_digests(head: ReplyHead) -> tuple[Digest, ...]:
    """Return the digests of the whole representation, as it is transferred: also where *head* is of a part of it.

    Source:
        RFC 9530 section 3 (Repr-Digest) and RFC 3230 section 4.3.2 (Digest); section 1.3 of the former says that some
        servers compute the latter over the content, which is the same in a reply with the whole only.
    """
    return _distinct(_dictionary(head.values("repr-digest")), _legacy_list(head.values("digest")))


def content_digests(head: ReplyHead) -> tuple[Digest, ...]:
    """Return the digests of the content of this very message, which may be a part of the representation.

    Source:
        RFC 9530 section 2 (Content-Digest) and RFC 1864 (Content-MD5).
    """
    return _distinct(_dictionary(head.values("content-digest")), _md5(head.only("content-md5")))


def algorithms(claims: Sequence[Digest]) -> frozenset[str]:
    """Return hashlib's names of what has to be computed to check *claims*."""
    return frozenset(claim.algorithm for claim in claims)


def mismatch(claimed: Sequence[Digest], computed: Mapping[str, bytes]) -> Digest | None:
    """Return the first of *claimed* that differs from what was *computed*, or None.

    Args:
        claimed: what the server says.
        computed: the digests of what arrived, by hashlib's names; those of all claims are among them.
    """
    return next((claim for claim in claimed if computed[claim.algorithm] != claim.value), None)


def agree(one: Sequence[Digest], other: Sequence[Digest]) -> bool | None:
    """Return whether two sets of claims are of the same bytes.

    Returns:
        True if a strong algorithm has the same value in both and nothing contradicts it; False if any algorithm has two
        values; None if nothing tells.
    """
    values = dict[str, AbstractSet[bytes]]()
    for claim in (*one, *other):
        values[claim.algorithm] = values.get(claim.algorithm, frozenset()) | {claim.value}
    if any(len(each) > 1 for each in values.values()):
        return False
    return True if algorithms(one) & algorithms(other) & _STRONG else None


def _distinct(*fields: Mapping[str, bytes] | None) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(Digest(*member) for members in fields if members for member in members.items()))


def _dictionary(lines: Sequence[str]) -> Mapping[str, bytes] | None:
    """Read a dictionary of byte sequences; None if it is none, or if one of them cannot be what it is called.

    Parameters are read over, and of two members with one name the later counts (RFC 8941 section 3.2).
    """
    if not lines:
        return None
    text = ", ".join(lines).strip(" ")
    members = dict[str, bytes]()
    at = 0
    for _ in range(_MOST_MEMBERS):
        member = _MEMBER.match(text, at)
        value = _decoded(member[2]) if member else None
        if member is None or value is None:
            return None
        members[member[1]] = value
        if member.end() == len(text):
            return _known(members)
        comma = _COMMA.match(text, member.end())
        if comma is None:
            return None
        at = comma.end()
    return None


def _legacy_list(lines: Sequence[str]) -> Mapping[str, bytes] | None:
    """Read ``SHA-256=…,MD5=…``; None if an element is no such pair, a digest cannot be one, or one has two values."""
    if not lines:
        return None
    members = dict[str, bytes]()
    for element in ",".join(lines).split(","):
        pair = _LEGACY_MEMBER.fullmatch(element.strip(" \t"))
        if pair is None:
            # A list may have empty elements (RFC 9110 section 5.6.1).
            if element.strip(" \t"):
                return None
            continue
        name = pair[1].lower()
        if name in _ALGORITHMS:
            # Other algorithms have other encodings, which are not ours to judge.
            value = _whole_base64(pair[2])
            if value is None or members.setdefault(name, value) != value:
                return None
    return _known(members)


def _md5(text: str | None) -> Mapping[str, bytes] | None:
    value = None if text is None else _whole_base64(text)
    return None if value is None else _known({"md5": value})


def _known(members: Mapping[str, bytes]) -> Mapping[str, bytes] | None:
    """Return the members that are known, under hashlib's names; None if one of them has the wrong length."""
    known = {_ALGORITHMS[name]: value for name, value in members.items() if name in _ALGORITHMS}
    return known if all(len(value) == _LENGTHS[algorithm] for algorithm, value in known.items()) else None


def _whole_base64(text: str) -> bytes | None:
    match = _WHOLE_BASE64.fullmatch(text)
    return None if match is None else _decoded(match[1])


def _decoded(digits: str) -> bytes | None:
    """Decode base64 *digits* without their padding; None if no bytes give so many of them."""
    return None if len(digits) % 4 == 1 else binascii.a2b_base64(digits + "=" * (-len(digits) % 4))

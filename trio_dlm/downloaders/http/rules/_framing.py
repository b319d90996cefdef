"""How long the body of a reply is, and whether it came to its end.

Rules that hold here:

- exactly the promised length; what says its length twice, and differently, says nothing;
- an end that a cut connection would look like is no end.

Source:
    RFC 9112 sections 6.1 to 6.3, 8 and 9.8; RFC 9110 section 8.6.
"""

from __future__ import annotations

from typing import Final

from ...._errors import IncompleteBodyError, TooLargeError, UnusableReplyError
from ._head import ReplyHead, quoted, unusable

__all__ = ["check_received", "check_size", "promised_length"]

# More than any file has (2^63 - 1 is the largest offset of a file), and short enough to be read as a number at once.
_MAX_LENGTH_DIGITS: Final = 19


def promised_length(head: ReplyHead, *, is_proven: bool) -> int | None:
    """Return how many bytes the body has, or None if its end will show when it comes.

    Args:
        head: of a reply that has a body.
        is_proven: something else tells whether the body is whole: the user's checksum, or a Content-Range.

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
            raise _broken(head, "the reply has both Transfer-Encoding and Content-Length")
        if head.version != "HTTP/1.1":
            raise _broken(head, f"the reply is {head.version} and has a Transfer-Encoding, which only HTTP/1.1 knows")
        if codings != ["chunked"]:
            raise _broken(head, f"the Transfer-Encoding is {quoted(', '.join(codings))}, not chunked")
        return None
    if len(lengths) > 1:
        raise _broken(head, f"the reply has several lengths: {quoted(', '.join(sorted(lengths)))}")
    if lengths:
        (text,) = lengths
        if not (text.isascii() and text.isdigit()) or len(text) > _MAX_LENGTH_DIGITS:
            raise _broken(head, f"its length is {quoted(text)}, which is no number of bytes")
        return int(text)
    # The end of such a body is the end of the connection.  Without encryption that is as good as TCP is; over TLS a
    # man in the middle can end it too, and the client library does not tell whether close_notify came (RFC 9112 section
    # 9.8).
    if head.version != "HTTP/2" and head.address.is_secure and not is_proven:
        raise unusable(
            head,
            "the reply has neither a length nor chunks, so that a cut connection would pass for the end of the file",
            'pass checksum="sha256:…" to have the end proven',
        )
    return None


def _broken(head: ReplyHead, problem: str) -> UnusableReplyError:
    # Whoever is between the server and us may have mixed something up; that passes.
    return unusable(head, problem, may_pass=True)


def check_size(head: ReplyHead, size_bytes: int | None, *, max_bytes: int | None) -> None:
    """Refuse a file that is announced as too large.

    Raises:
        TooLargeError: *size_bytes* is above *max_bytes*.
    """
    if size_bytes is not None and max_bytes is not None and size_bytes > max_bytes:
        raise TooLargeError(url=head.address.shown, max_bytes=max_bytes, size_bytes=size_bytes)


def check_received(head: ReplyHead, received: int, *, length: int | None, has_ended: bool) -> None:
    """Refuse a body that is longer than promised, and one that ended before its end.

    Args:
        head: of the reply.
        received: bytes that came so far.
        length: how many were promised, or None.
        has_ended: whether the body has ended.

    Raises:
        IncompleteBodyError: too many for *length*, or too few at the end.
    """
    if length is not None and (received > length or (has_ended and received < length)):
        raise IncompleteBodyError(
            url=head.address.shown,
            expected_bytes=length,
            received_bytes=received,
            problem="the body is longer than promised" if received > length else "the body ended early",
            is_malformed=received > length,
        )

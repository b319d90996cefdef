"""Where a redirect leads, and which ones are not followed.

Rules that hold here:

- one hop at a time, at most :data:`MAX_REDIRECTS` in a row; http and https only, and never to less security unasked;
- two places at once are none.

Source:
    RFC 9110 section 15.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...._errors import InvalidUrlError, RedirectError
from ...._urls import redact_url
from ._address import Address, parse_reference, shorten
from ._head import ReplyHead

__all__ = ["MAX_REDIRECTS", "next_hop"]

# As in curl (50), browsers (20) and httpx (20): beyond this it is a loop in all that was ever seen.
MAX_REDIRECTS: Final = 20

# The statuses whose Location is an order to look elsewhere with a GET (RFC 9110 section 15.4).  300 offers a choice,
# 304 answers a condition that was not set, 305 and 306 are withdrawn.
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


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

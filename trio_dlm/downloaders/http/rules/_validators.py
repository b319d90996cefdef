"""By what the version of a file is known again: a strong ETag, or a Last-Modified that is as good.

Rules that hold here:

- a weak tag never joins bytes, and a date does not stand in for a tag that is weak or unreadable;
- a date counts only if the file cannot have changed again within the same second, as far as the reply tells.

Source:
    RFC 9110 sections 8.8.2.2 (when a date is strong) and 8.8.3 (ETag).
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from ._dates import parse_http_date
from ._head import ReplyHead
from ._version import Validator

__all__ = ["validator_of"]

# Characters beyond ASCII are allowed in a tag, but not all clients and caches send them back as they came.
_STRONG_TAG: Final = re.compile(r'"[\x21\x23-\x7e]*"')

# How much older than the reply a file has to be, in seconds: if one clock told both times, and if a cache or proxy in
# between may have told one of them (RFC 9110 section 8.8.2.2).
_SAME_CLOCK_S: Final = 1.0
_OTHER_CLOCK_S: Final = 60.0
_SIGNS_OF_ANOTHER_CLOCK: Final = ("age", "via", "x-cache")


def validator_of(head: ReplyHead, *, now: datetime) -> Validator | None:
    """Return what the version that *head* speaks of is known by, or None if by nothing.

    Args:
        head: of a reply that delivers.
        now: for dates that tell their year in two digits.
    """
    if head.values("etag"):
        tag = head.only("etag") or ""
        return Validator("etag", tag) if _STRONG_TAG.fullmatch(tag) else None
    modified, sent = head.only("last-modified"), head.only("date")
    if modified is None or sent is None:
        return None
    then, date = parse_http_date(modified, now=now), parse_http_date(sent, now=now)
    if then is None or date is None:
        return None
    age_s = _OTHER_CLOCK_S if any(map(head.values, _SIGNS_OF_ANOTHER_CLOCK)) else _SAME_CLOCK_S
    return Validator("date", modified) if (date - then).total_seconds() >= age_s else None

"""URLs as far as the manager must understand them: what can be one, and how to show one without its secrets.

Rules that hold here:

- what is shown (messages, logs, reprs) went through :func:`redact_url`; what is sent did not;
- a URL is any text that a downloader may understand; which schemes exist is for the downloader to say.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from ._errors import InvalidUrlError

__all__ = ["check_url", "host_of", "redact_text", "redact_url"]

# curl and Chromium stop at 8 MB and 2 MB; servers at 8 KiB or so.  64 KiB admits every URL that works anywhere
# and keeps a pasted document from being queued as one.
MAX_URL_LENGTH: Final = 65_536

# User info ends at the last "@" before the path, the query or the fragment (RFC 3986 section 3.2.1; the last one,
# since people put unescaped "@" into passwords).
_USERINFO: Final = re.compile(r"(?<=//)[^/?#]*@")

# Query parameters that grant access by themselves: the signed URLs of the large stores, and OAuth's (RFC 6750 section
# 2.3).
_SECRET_PARAMETER: Final = re.compile(
    r"(?i)(?<=[?&])((?:x-amz-signature|x-amz-security-token|x-amz-credential|x-goog-signature|x-goog-credential|awsaccesskeyid"
    r"|signature|sig|token|access_token|auth|apikey|api_key|key|password|secret)=)[^&#]*"
)

# What stands between words, kept.
_WHITE_SPACE: Final = re.compile(r"(\s+)")

_NOT_IN_A_URL: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def redact_url(url: str) -> str:
    """Return *url* without user info, and with the values of access-granting query parameters replaced by ``…``."""
    # Every one, since a URL may carry another in its path or query.
    return _SECRET_PARAMETER.sub(r"\1…", _USERINFO.sub("", url))


def redact_text(text: str) -> str:
    """Return *text*, which others have written, with the URLs in it redacted; the time is linear in its length."""
    return "".join(redact_url(word) if "//" in word else word for word in _WHITE_SPACE.split(text))


def check_url(url: object) -> str:
    """Return *url* if it can be one at all.

    Raises:
        TypeError: it is not a string.
        InvalidUrlError: it is empty, too long, or holds white space, control characters or lone surrogates.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, got {type(url).__name__}")
    if not url:
        raise InvalidUrlError(
            url="", problem="it is empty", advice="pass an address such as https://example.org/file.iso"
        )
    if len(url) > MAX_URL_LENGTH:
        raise InvalidUrlError(
            url=redact_url(url)[:60] + "…",
            problem=f"it has {len(url)} characters, the most is {MAX_URL_LENGTH}",
            advice="check what was pasted",
        )
    # Nearly every URL passes the first two looks, which cost a tenth of the third.
    if not (url.isascii() and url.isprintable() and " " not in url) and (bad := _NOT_IN_A_URL.search(url)):
        raise InvalidUrlError(
            url=redact_url(url),
            problem=f"it holds the character {bad.group()!r} at position {bad.start()}",
            advice="remove it, or percent-encode it",
        )
    return url


def host_of(url: str) -> str | None:
    """Return the lower-case host of *url*, or None if it names none: the usual lane of a download."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    # urlsplit leaves what follows a "%" as it is, for the zone of an IPv6 address.
    return host and host.lower()

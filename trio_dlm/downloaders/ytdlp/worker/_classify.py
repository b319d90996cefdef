"""What an exception out of yt-dlp means.

Rules that hold here:

- the whole chain counts: yt-dlp wraps what a library raised in what an extractor raised in what it raises itself;
- errors of the download phase have no chain, so their words are read; words that come from a site are no errors;
- yt-dlp's ``expected`` says whether it is a bug of its own, and not whether it may pass.
"""

from __future__ import annotations

import errno
import functools
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from ._guard import RefusedAddressError

__all__ = ["classify", "plain"]

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_PREFIX: Final = re.compile(r"^(?:ERROR:\s*)+")
_STATUS: Final = re.compile(r"HTTP Error (\d{3})")
_LOGIN: Final = re.compile(
    r"--cookies|--username|sign in to|login required|log in to|logged[- ]in|private video|registered users|"
    r"subscribers? only|members[- ]only|account credentials"
)
_MAX_TAIL: Final = 4000

_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class _Rule(NamedTuple):
    """One kind of error: what it is known by, an exception of the chain or words of the message, whichever is there.

    ``within`` is a class that has to be in the chain besides words.
    """

    kind: str
    classes: tuple[type[BaseException], ...] = ()
    words: str | None = None
    within: type[BaseException] | None = None

    def fits(self, chain: Sequence[BaseException], words: str) -> bool:
        if any(isinstance(each, self.classes) for each in chain):
            return True
        if self.words is None or re.search(self.words, words, re.DOTALL) is None:
            return False
        return self.within is None or any(isinstance(each, self.within) for each in chain)


@functools.cache
def _rules() -> tuple[tuple[_Rule, ...], tuple[_Rule, ...]]:
    """Return the rules that come before a server's status, and those after it; the first that fits is right."""
    # Imported late: a worker that is asked for something else does without.
    import yt_dlp

    # It has all of these in it, and no types.
    library: Any = yt_dlp
    utils, networking = library.utils, library.networking.exceptions

    before = (
        _Rule("blocked_address", (RefusedAddressError,), "egress refused"),
        _Rule("unsupported", (utils.UnsupportedError,), "no suitable extractor|unsupported url"),
        _Rule("geo_restricted", (utils.GeoRestrictedError,)),
        _Rule("not_live", (utils.UserNotLive,)),
        _Rule("cookies", (library.cookies.CookieLoadError,)),
        _Rule("requirement", words="impersonate target"),
        _Rule("drm", words=r"drm[ -]protect|(?:is|uses|has) drm"),
        _Rule("no_format", words="requested format is not available|no video formats found"),
        _Rule("ffmpeg_missing", words="ffmpeg is not installed|ffmpeg not found|install ffmpeg"),
        _Rule("auth_required", words=_LOGIN.pattern, within=utils.ExtractorError),
    )
    after = (
        _Rule("tls", (networking.CertificateVerifyError,), "certificate_verify_failed"),
        _Rule("postprocess", (utils.PostProcessingError,), "postprocessing: "),
        _Rule("unsupported_request", (networking.UnsupportedRequest, networking.NoSupportingHandlers)),
        _Rule("proxy", (networking.ProxyError,)),
        _Rule("network", (networking.TransportError, networking.IncompleteRead, utils.ContentTooShortError)),
        _Rule("network", (TimeoutError, ConnectionError), "got error: "),
        _Rule("network", words="fragment.*unable to continue|did not get any data blocks|downloaded file is empty"),
        _Rule("os_error", (OSError,)),
        _Rule("extractor_broken", (utils.RegexNotFoundError,)),
    )
    return before, after


def _chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and what it was raised for, outermost first."""
    todo: list[object] = [error]
    seen: set[int] = set()
    while todo:
        each = todo.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        info: object = getattr(each, "exc_info", None)
        if isinstance(info, tuple):
            todo += cast("tuple[object, ...]", info)[1:2]
        todo += [getattr(each, "cause", None), each.__cause__, each.__context__]


def plain(message: str) -> str:
    """Return *message* without colours, and without the word that it is an error."""
    return _PREFIX.sub("", _ANSI.sub("", message).replace("\r", "")).strip()


def classify(error: BaseException) -> dict[str, Any]:
    """Return the fields of the record that says what *error* is."""
    chain = list(_chain_of(error))
    kind, fields = _kind_of(chain, plain(str(error)))
    record: dict[str, Any] = {
        "kind": kind,
        "message": plain(str(error)) or type(error).__name__,
        "chain": [type(each).__name__ for each in chain],
        **fields,
    }
    if kind in ("internal", "extractor_broken"):
        record["tail"] = "".join(traceback.format_exception(error))[-_MAX_TAIL:]
    return record


def _kind_of(chain: list[BaseException], message: str) -> tuple[str, dict[str, Any]]:
    words = message.lower()
    before, after = _rules()
    for rule in before:
        if rule.fits(chain, words):
            return rule.kind, _more_of(rule.kind, chain)
    if (status := _status_of(chain, message)) is not None:
        return "rate_limited" if status == 429 else "http_status", {"http_status": status}
    if (refused := _of_system(chain)) is not None:
        return refused, {}
    for rule in after:
        if rule.fits(chain, words):
            return rule.kind, {}
    return ("extractor_broken" if _is_bug(chain) else "internal"), {}


def _more_of(kind: str, chain: list[BaseException]) -> dict[str, Any]:
    if kind == "geo_restricted":
        countries = next(filter(None, (getattr(each, "countries", None) for each in chain)), ())
        return {"countries": list(countries)}
    return {"requirement": "curl_cffi"} if kind == "requirement" else {}


def _status_of(chain: list[BaseException], message: str) -> int | None:
    """Return the status that a server answered with, from an exception or from words."""
    for each in chain:
        status: object = getattr(each, "status", None)
        if isinstance(status, int):
            return status
    found = _STATUS.search(message)
    return None if found is None else int(found[1])


def _is_bug(chain: list[BaseException]) -> bool:
    """Whether an extractor says that it is one of its own."""
    return any(getattr(each, "expected", None) is False for each in chain)


def _of_system(chain: list[BaseException]) -> str | None:
    """Return what a refusal of the file system's is: its number tells it from a network's."""
    for each in chain:
        if isinstance(each, OSError) and each.errno in _DISK:
            return "disk_full"
        if isinstance(each, OSError) and each.errno == errno.EFBIG:
            return "too_large"
    return None

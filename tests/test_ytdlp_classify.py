"""What an exception out of yt-dlp means: every row of the table, as yt-dlp raises it."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any

import pytest

from trio_dlm.downloaders.ytdlp._errors import MediaErrorKind
from trio_dlm.downloaders.ytdlp.worker._classify import classify, plain
from trio_dlm.downloaders.ytdlp.worker._guard import RefusedAddressError

yt_dlp: Any = pytest.importorskip("yt_dlp", reason="needs yt-dlp, whose exceptions are looked at")
utils: Any = yt_dlp.utils
networking: Any = yt_dlp.networking.exceptions


def wrapped(cause: BaseException) -> Any:
    """As yt-dlp's own report does: the chain is in a tuple."""
    return utils.DownloadError(f"ERROR: {cause}", (type(cause), cause, None))


def extractor(message: str, cause: BaseException | None = None, *, expected: bool = True) -> Any:
    return wrapped(utils.ExtractorError(message, expected=expected, cause=cause))


def http(status: int) -> Any:
    response = yt_dlp.networking.Response(io.BytesIO(b""), "http://example.org/", {}, status=status)
    return extractor("Unable to download webpage", networking.HTTPError(response))


def words(message: str) -> Any:
    """As errors of the download phase come: no chain."""
    return utils.DownloadError(f"\x1b[0;31mERROR:\x1b[0m {message}")


ROWS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "a refused connection": (lambda: extractor("x", networking.TransportError("refused")), "network"),
    "a body that is cut": (lambda: words("[download] Got error: 100000 bytes read, 5 more expected"), "network"),
    "no data": (lambda: words("Did not get any data blocks"), "network"),
    "an empty file": (lambda: words("The downloaded file is empty"), "network"),
    "a fragment": (lambda: words("fragment 3 not found, unable to continue"), "network"),
    "too short": (lambda: wrapped(utils.ContentTooShortError(1, 2)), "network"),
    "a timeout of the system": (lambda: wrapped(TimeoutError("timed out")), "network"),
    "404": (lambda: http(404), "http_status"),
    "404 in words": (lambda: words("unable to download video data: HTTP Error 404: Not Found"), "http_status"),
    "429": (lambda: http(429), "rate_limited"),
    "a proxy": (lambda: extractor("x", networking.ProxyError("no")), "proxy"),
    "a certificate": (lambda: extractor("x", networking.CertificateVerifyError("no")), "tls"),
    "unsupported": (lambda: wrapped(utils.UnsupportedError("http://example.org/")), "unsupported"),
    "no extractor": (lambda: words("No suitable extractor (Generic) found for URL http://example.org/"), "unsupported"),
    "a scheme": (lambda: networking.NoSupportingHandlers([], []), "unsupported_request"),
    "drm": (lambda: extractor("This video is DRM protected"), "drm"),
    "geo": (lambda: wrapped(utils.GeoRestrictedError("not here", countries=["DE"])), "geo_restricted"),
    "not live": (lambda: wrapped(utils.UserNotLive()), "not_live"),
    "log in": (lambda: extractor("Private video. Sign in to see it. Use --cookies"), "auth_required"),
    "no format": (lambda: extractor("Requested format is not available"), "no_format"),
    "cookies": (lambda: yt_dlp.cookies.CookieLoadError("failed to load cookies"), "cookies"),
    "no ffmpeg": (lambda: words("ffmpeg is not installed. Aborting"), "ffmpeg_missing"),
    "no impersonation": (lambda: words('Impersonate target "chrome" is not available'), "requirement"),
    "a postprocessor": (lambda: words("Postprocessing: Conversion failed!"), "postprocess"),
    "a full disk": (lambda: wrapped(OSError(errno.ENOSPC, "No space left on device")), "disk_full"),
    "a limit of files": (lambda: wrapped(OSError(errno.EFBIG, "File too large")), "too_large"),
    "a refusal of the system": (lambda: wrapped(OSError(errno.EACCES, "Permission denied")), "os_error"),
    "a guarded address": (lambda: extractor("x", RefusedAddressError(13, "egress refused")), "blocked_address"),
    "a guarded address in words": (lambda: words("Got error: [Errno 13] egress refused: 10.0.0.1"), "blocked_address"),
    "a site that has changed": (lambda: wrapped(utils.RegexNotFoundError("Unable to extract id")), "extractor_broken"),
    "a bug of an extractor": (lambda: extractor("oops", expected=False), "extractor_broken"),
    "anything else": (lambda: ZeroDivisionError("oops"), "internal"),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_it_is(row: str) -> None:
    make, kind = ROWS[row]
    record = classify(make())
    assert record["kind"] == kind
    MediaErrorKind(kind)
    assert not record["message"].startswith("ERROR")
    assert "\x1b" not in record["message"]


def test_facts_come_along() -> None:
    assert classify(http(404))["http_status"] == 404
    assert classify(ROWS["geo"][0]())["countries"] == ["DE"]
    assert classify(ROWS["no impersonation"][0]())["requirement"] == "curl_cffi"
    assert "ZeroDivisionError" in classify(ZeroDivisionError("oops"))["tail"]
    assert classify(ZeroDivisionError())["message"] == "ZeroDivisionError"


def test_words_of_a_page_are_no_reason_to_log_in() -> None:
    assert classify(ZeroDivisionError("private video"))["kind"] == "internal"


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    assert classify(one)["chain"] == ["ValueError", "ValueError"]


def test_plain_text() -> None:
    assert plain("\x1b[0;31mERROR:\x1b[0m ERROR: oops\r ") == "oops"

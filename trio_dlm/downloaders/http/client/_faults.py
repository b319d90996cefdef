"""What an exception of the HTTP client, or of anything below it, means to a user.

Rules that hold here:

- nothing below comes out as it is, in a group or alone: every exception of the library, of the protocol parsers, of
  ssl, of trio and of sockets becomes one of ours, which it is the cause of;
- exceptions that are not theirs pass: those of a user's own hooks, ``Cancelled``, bugs;
- classes are told apart by class and by where they come from, never by their text; a text is only repeated, without
  secrets and shortened.

The classes of the library are known by their names, since ``httpx`` and ``httpx2`` name theirs alike and neither is
imported here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final, Literal, TypeAlias, cast

from ...._errors import (
    ConnectionFailedError,
    DownloadTimeoutError,
    IncompleteBodyError,
    InvalidUrlError,
    StalledError,
    TransferError,
    TrioDlmError,
    UnusableReplyError,
)
from ...._urls import redact_url
from ..rules._address import Address, shorten
from ..transport._problems import MalformedReplyError, RemoteProtocolError

__all__ = ["Stage", "before_body", "errors_below", "in_body"]

Stage: TypeAlias = Literal["connecting", "sent", "answered"]
"""How far an exchange was: no request had gone out, one had, or a complete header had come back."""

# The packages below the library.  What they raise is theirs, whatever it is.
_BELOW: Final = frozenset({"anyio", "h11", "h2", "hpack", "httpcore", "httpcore2", "idna", "socksio", "ssl", "trio"})
_PARSERS: Final = frozenset({"h11", "h2", "hpack"})

# Where h11 finds that a body merely ended.  Anywhere else it is about what stands where the size of a chunk, or the end
# of one, should be; then what was taken for bytes of the file may have been no such thing.
_AT_THE_END: Final = "read_eof"

# What h11 would answer to a request whose header is too large (RFC 6585 section 5): it has one limit for both.
_TOO_LARGE: Final = 431

_ADVICE_BY_ERRNO: Final[Mapping[int, str]] = {
    errno.ECONNREFUSED: "nothing listens there: check host and port, or try again when the server is up",
    errno.EMFILE: "too many files and connections are open: lower max_concurrent, or raise the limit (ulimit -n)",
    errno.ENFILE: "the system has no file handle left: close something and try again",
    errno.ENETUNREACH: "there is no way to that network: check the connection",
    errno.EHOSTUNREACH: "there is no way to that host: check the address and the connection",
}


@contextlib.contextmanager
def errors_below(library: str, describe: Callable[[Exception], TransferError]) -> Generator[None, None, None]:
    """Raise what *describe* makes of an exception that comes from the package *library* or from below it."""
    try:
        yield
    except Exception as exc:
        leaf = _from_below(exc, library)
        if leaf is None:
            raise
        raise describe(leaf) from exc


def before_body(
    exc: Exception, *, address: Address, stage: Stage, place: str, waited_for: str, waited_s: float
) -> TransferError:
    """Say what *exc* means when it ended an exchange before its body.

    Args:
        exc: from the library or below.
        address: who was asked.
        stage: how far the exchange was.
        place: whom it was connected to, or was to be.
        waited_for: what it waited for then.
        waited_s: and how long.
    """
    url = address.shown
    kinds = _kinds(exc)
    text = _text_of(exc)
    if kinds & {"InvalidURL", "UnsupportedProtocol"}:
        return InvalidUrlError(url=url, problem=text, advice="pass an address such as https://example.org/file.iso")
    if "TimeoutException" in kinds:
        # We set none in the library, so it is one that the client or its transport brought.
        return DownloadTimeoutError(
            url=url, waited_for=waited_for, limit_s=round(waited_s, 1), option="the client's own timeout"
        )
    if "ProxyError" in kinds:
        return ConnectionFailedError(url=url, problem=f"the proxy refused ({text})", advice="check the proxy's address")
    if _find(exc, _is_oversized) is not None:
        problem = "the header of the reply is larger than the client accepts"
        return UnusableReplyError(url=url, problem=problem, advice="try another source")
    if "LocalProtocolError" in kinds:
        advice = "check headers= and what the client adds"
        problem = f"the request cannot be sent ({text})"
        return ConnectionFailedError(url=url, problem=problem, advice=advice, may_pass=False)
    if stage == "connecting":
        return _no_connection(exc, address, place)
    if stage == "answered":
        return UnusableReplyError(
            url=url, problem=f"the reply is unusable ({text})", advice="try another source", may_pass=True
        )
    if "RemoteProtocolError" in kinds:
        # What is not HTTP comes from a parser; without one the connection ended before the header did.
        if _find(exc, _is_a_parsers) is not None:
            advice = "check the URL's scheme and port"
            return UnusableReplyError(url=url, problem=f"the reply is not HTTP ({text})", advice=advice, may_pass=True)
        text = "the server closed it"
    problem = f"the connection ended before the reply was complete ({text})"
    return ConnectionFailedError(url=url, problem=problem, advice="try again")


def in_body(
    exc: Exception, *, url: str, received_bytes: int, expected_bytes: int | None, waited_s: float
) -> TransferError:
    """Say what *exc* means when it ended a body.

    Args:
        exc: from the library or below.
        url: without secrets.
        received_bytes: how much of the body came.
        expected_bytes: how much was promised, if it was.
        waited_s: for how long nothing had come.
    """
    kinds = _kinds(exc)
    if "TimeoutException" in kinds:
        return StalledError(
            url=url, waited_for="further byte", limit_s=round(waited_s, 1), option="the client's own timeout"
        )
    if "RemoteProtocolError" in kinds:
        problem = "the body broke off"
        parser = _find(exc, lambda each: _package(each) == "h11" or type(each) is MalformedReplyError)
        # Where a length was promised there is but one way to break off, and its figures are in the message.
        if expected_bytes is None or (parser is None and not isinstance(exc, RemoteProtocolError)):
            problem += f" ({_text_of(exc)})"
        return IncompleteBodyError(
            url=url,
            expected_bytes=expected_bytes,
            received_bytes=received_bytes,
            problem=problem,
            is_malformed=parser is not None and _innermost(parser) != _AT_THE_END,
        )
    problem = f"the connection broke after {received_bytes} bytes of the body ({_text_of(exc)})"
    return ConnectionFailedError(url=url, problem=problem, advice="try again")


def _no_connection(exc: Exception, address: Address, place: str) -> TransferError:
    url = address.shown
    reason = _find(exc, lambda each: isinstance(each, ssl.SSLCertVerificationError))
    if isinstance(reason, ssl.SSLCertVerificationError):
        return ConnectionFailedError(
            url=url,
            problem=f"the server's certificate was not accepted ({reason.verify_message})",
            advice="check the address and the clock; for an authority of your own set SSL_CERT_FILE, "
            "or pass client=AsyncClient(verify=…)",
            may_pass=False,
        )
    reason = _find(exc, lambda each: isinstance(each, ssl.SSLError))
    if isinstance(reason, ssl.SSLError):
        # One that no handshake raised has no reason at all.
        why = str(getattr(reason, "reason", None) or "unknown").replace("_", " ").lower()
        advice = "check that this port speaks https"
        return ConnectionFailedError(url=url, problem=f"the TLS handshake failed ({why})", advice=advice)
    reason = _find(exc, lambda each: isinstance(each, socket.gaierror))
    if isinstance(reason, socket.gaierror):
        problem = f"no address was found for {place} ({reason.strerror})"
        return ConnectionFailedError(url=url, problem=problem, advice="check the name and the network")
    reason = _find(exc, lambda each: isinstance(each, OSError) and each.errno is not None)
    if isinstance(reason, OSError):
        advice = _ADVICE_BY_ERRNO.get(reason.errno or 0, "check the address and the network, then try again")
        # Its own text may name the address again.
        problem = f"no connection to {place} ({os.strerror(reason.errno or 0)})"
        return ConnectionFailedError(url=url, problem=problem, advice=advice, errno=reason.errno)
    return ConnectionFailedError(url=url, problem=f"no connection to {place} ({_text_of(exc)})")


def _is_a_parsers(exc: BaseException) -> bool:
    return _package(exc) in _PARSERS or type(exc) is MalformedReplyError


def _is_oversized(exc: BaseException) -> bool:
    if isinstance(exc, MalformedReplyError):
        return exc.is_oversized
    # With h2 the library takes it for a mistake of our own.
    return getattr(exc, "error_status_hint", None) == _TOO_LARGE or (
        _package(exc) == "h2" and type(exc).__name__ == "DenialOfServiceError"
    )


def _innermost(exc: BaseException) -> str:
    """Return the name of the function that raised *exc*."""
    name = ""
    for frame, _ in traceback.walk_tb(exc.__traceback__):
        name = frame.f_code.co_name
    return name


def _from_below(exc: BaseException, library: str) -> Exception | None:
    """Return *exc*, or a leaf of the group, if all of it comes from *library* or below; None if not."""
    if members := _members(exc):
        leaves = [_from_below(each, library) for each in members]
        return None if None in leaves else leaves[0]
    # What is ours is said already: also that there is no TLS context, which is made in the midst of an exchange.
    if isinstance(exc, TrioDlmError) or not isinstance(exc, Exception):
        return None
    return exc if isinstance(exc, OSError) or _package(exc) in {library, *_BELOW} else None


def _package(exc: BaseException) -> str:
    return type(exc).__module__.partition(".")[0]


def _kinds(exc: Exception) -> frozenset[str]:
    return frozenset(each.__name__ for each in type(exc).__mro__)


def _find(exc: BaseException, wanted: Callable[[BaseException], bool]) -> BaseException | None:
    """Return the first *wanted* one of *exc*, its causes and contexts, and the members of groups among them."""
    waiting: list[BaseException | None] = [exc]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        if wanted(each):
            return each
        seen.add(id(each))
        waiting += [each.__context__, each.__cause__, *reversed(_members(each))]
    return None


def _members(exc: BaseException) -> Sequence[BaseException]:
    return cast("BaseExceptionGroup[BaseException]", exc).exceptions if isinstance(exc, BaseExceptionGroup) else ()


def _text_of(exc: BaseException) -> str:
    text = "".join(c if c.isprintable() else "?" for c in str(exc))
    return shorten(redact_url(text)) or type(exc).__name__

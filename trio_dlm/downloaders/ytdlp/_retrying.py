"""When a download with yt-dlp is tried again, and after what wait.

Rules that hold here:

- each attempt is a process of its own and goes on from what the last one left, so what arrives resets the count;
- waits grow, with a random part, so that many who failed together do not come back together;
- a crash is tried again once, and so is an address that the site has let expire while its media was fetched.
"""

from __future__ import annotations

from typing import Final, final

from ..._errors import ConnectionFailedError, DownloadTimeoutError, TransferError
from ._errors import MediaError, MediaErrorKind

__all__ = ["Patience"]

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
# What a site that asks for fewer requests is left alone for at first.
_RATE_LIMITED_WAIT_S: Final = 10.0

# What a server says of an address that has expired: yt-dlp finds another for the same media.
_EXPIRED: Final = frozenset({403, 404, 410})


@final
class Patience:
    """How long one download is tried.

    Args:
        retries: how many further attempts are made that bring nothing.
        rate_limited_limit_s: how long a site may want to be left alone.
    """

    def __init__(self, retries: int, rate_limited_limit_s: float) -> None:
        self._retries = retries
        self._rate_limited_limit_s = rate_limited_limit_s
        self._failures = 0
        self._most_bytes = 0
        self._once: set[str] = set()

    def after(self, error: TransferError, *, received_bytes: int, draw: float) -> float:
        """Return how many seconds to wait before the next attempt.

        Args:
            error: what ended the last one.
            received_bytes: how much is there.
            draw: a random number from 0 up to 1.

        Raises:
            TransferError: *error*, if there is no next attempt.
        """
        has_grown = received_bytes > self._most_bytes
        if has_grown:
            self._most_bytes = received_bytes
            self._failures = 0
        if not self._may_pass(error, received_bytes) or self._failures >= self._retries:
            raise error
        self._failures += 1
        if isinstance(error, MediaError) and error.kind is MediaErrorKind.RATE_LIMITED:
            wait_s = _RATE_LIMITED_WAIT_S * 2.0 ** (self._failures - 1)
            if wait_s > self._rate_limited_limit_s:
                raise error
            return wait_s + draw
        return draw * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** (self._failures - 1))

    def _may_pass(self, error: TransferError, received_bytes: int) -> bool:
        if isinstance(error, ConnectionFailedError):
            return error.may_pass
        if isinstance(error, DownloadTimeoutError):
            return True
        if not isinstance(error, MediaError):
            return False
        if error.kind is MediaErrorKind.WORKER_CRASHED:
            return self._is_first("crash")
        if error.http_status in _EXPIRED and received_bytes:
            return self._is_first("expired")
        return error.may_pass

    def _is_first(self, cause: str) -> bool:
        is_first = cause not in self._once
        self._once.add(cause)
        return is_first

"""Statuses that deliver no file: for now, for good, or by saying something else than 200 and 206.

Rules that hold here:

- each reply carries a few words, which must not be saved as the file.

Source:
    RFC 9110 section 15 (statuses) and 10.2.3 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from .._acts import Act
from .._fault import Spelled
from .._reply import http_date, note
from .._request import Request
from .._resource import Resource

__all__ = ["Busy", "OddSuccess", "Refuse", "Unsatisfiable"]

# What goes along with a status that would not be correct without it.
_NEEDED_FIELDS: Final = {401: (("WWW-Authenticate", 'Basic realm="origin"'),)}


@final
@dataclass(frozen=True, slots=True, repr=False)
class Busy(Spelled):
    """Not now: a failure that may pass, with or without word of when (RFC 9110 section 10.2.3, RFC 6585 section 4).

    Attributes:
        status: 408, 425, 429, 500, 502, 503 or 504.
        retry_after: seconds, or a text as it stands; None leaves the field out.
        as_date: whether the seconds are told as a date, counted from the Date of the reply; in the past if negative.
    """

    status: int = 503
    retry_after: int | str | None = None
    as_date: bool = False

    @property
    def wait_s(self) -> int:
        """For how many seconds the client is asked to stay away; 0 for a text, which nobody need understand."""
        return max(0, self.retry_after) if isinstance(self.retry_after, int) else 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Put the client off."""
        match self.retry_after:
            case None:
                return note(request, self.status).acts()
            case int(seconds) if self.as_date:
                value = http_date(request, after_s=seconds)
            case other:
                value = str(other)
        return note(request, self.status, ("Retry-After", value)).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class Refuse(Spelled):
    """No: a failure that does not pass by itself (RFC 9110 section 15.5).

    Attributes:
        status: 401, 403, 404, 410, 501 and the like.
    """

    status: int = 404

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Refuse."""
        return note(request, self.status, *_NEEDED_FIELDS.get(self.status, ())).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class OddSuccess(Spelled):
    """A success that is not the file: accepted for later, created, or no content at all (RFC 9110 section 15.3).

    Attributes:
        status: 201, 202 or 204 and the like.
    """

    status: int = 204

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Succeed, in a way."""
        return note(request, self.status).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class Unsatisfiable(Spelled):
    """The range cannot be had (416), whatever it was, or whether one was asked for (RFC 9110 section 15.5.17).

    Attributes:
        by: how much the total that is told differs from the size of the file; None tells no total.
    """

    by: int | None = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Refuse the range."""
        if self.by is None:
            return note(request, 416).acts()
        return note(request, 416, ("Content-Range", f"bytes */{max(0, len(resource.body) + self.by)}")).acts()

"""Redirects: to the next step of the plan, or to where no client should go.

Rules that hold here:

- a plan counts requests, whatever their path, so a redirect that stays at this origin leads to the plan's next step;
- the last part of the path stays the same, so that a file named after it has the same name.

Source:
    RFC 9110 sections 15.4 (redirects) and 10.2.2 (Location); RFC 3986 section 4.2 for the kinds of references.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from .._acts import Act
from .._fault import Spelled
from .._reply import note
from .._request import Request
from .._resource import Resource

__all__ = [
    "Redirect",
    "RedirectBothWays",
    "RedirectNowhere",
    "RedirectTo",
    "RedirectToHost",
    "RedirectToItself",
    "RedirectToScheme",
    "Reference",
]

Reference: TypeAlias = Literal["path", "relative", "network", "absolute"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Redirect(Spelled):
    """The file is elsewhere on this origin; the next step of the plan is what the client finds there.

    Attributes:
        status: 301, 302, 303, 307 or 308.
        reference: how the place is written: ``/path``, relative to the present path, ``//host/path``, or as a whole.
    """

    status: int = 302
    reference: Reference = "path"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client on."""
        path = _next_path(request)
        places: dict[Reference, str] = {
            "path": path,
            "relative": f"./{_name(request)}?hop={request.number + 1}",
            "network": f"//{_authority(request)}{path}",
            "absolute": f"{_scheme(request)}://{_authority(request)}{path}",
        }
        return _to(request, self.status, places[self.reference])


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectToItself(Spelled):
    """The file is where the client has just looked: a loop, if nothing else comes next (RFC 9110 section 15.4).

    Attributes:
        status: 301, 302, 303, 307 or 308.
    """

    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client where it is."""
        return _to(request, self.status, request.target)


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectToHost(Spelled):
    """The file is on another host, which must not be told what was meant for this one (RFC 9110 section 15.4).

    Attributes:
        host: which; the port stays the same.
        status: 301, 302, 303, 307 or 308.
    """

    host: str = "elsewhere.test"
    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client away."""
        port = _port(request)
        return _to(request, self.status, f"{_scheme(request)}://{self.host}{port}{_next_path(request)}")


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectToScheme(Spelled):
    """The file is on this host and port under another scheme: less secure, more secure, or none of HTTP's.

    Attributes:
        scheme: which.
        status: 301, 302, 303, 307 or 308.
    """

    scheme: str = "ftp"
    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client to the other scheme."""
        return _to(request, self.status, f"{self.scheme}://{_authority(request)}{_next_path(request)}")


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectTo(Spelled):
    """The file is at an address of the test's choosing, such as a file of the client's own machine.

    Attributes:
        location: which, as it stands.
        status: 301, 302, 303, 307 or 308.
    """

    location: str = "file:///etc/passwd"
    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client there."""
        return _to(request, self.status, self.location)


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectNowhere(Spelled):
    """A redirect without a Location: it leads nowhere (RFC 9110 section 10.2.2).

    Attributes:
        status: 301, 302, 303, 307 or 308.
    """

    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client nowhere."""
        return note(request, self.status).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class RedirectBothWays(Spelled):
    """A redirect with two Locations that differ, where one is allowed (RFC 9110 section 5.3).

    Attributes:
        status: 301, 302, 303, 307 or 308.
    """

    status: int = 302

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:  # noqa: ARG002  (no file comes of it)
        """Send the client to two places."""
        return _to(request, self.status, _next_path(request), f"/other{_next_path(request)}")


def _to(request: Request, status: int, *locations: str) -> Iterator[Act]:
    return note(request, status, *(("Location", location) for location in locations)).acts()


def _name(request: Request) -> str:
    return request.path.rpartition("/")[2]


def _next_path(request: Request) -> str:
    return f"/hop/{request.number + 1}/{_name(request)}"


def _scheme(request: Request) -> str:
    return "https" if request.is_secure else "http"


def _authority(request: Request) -> str:
    return request.header("host") or "origin.test"


def _port(request: Request) -> str:
    """Return the port with its colon, or nothing if the client named none."""
    _, colon, port = _authority(request).rpartition(":")
    return f"{colon}{port}" if port.isdecimal() else ""

"""Ranges: what is wrong with a 206, or that it is none.

Rules that hold here:

- a fault concerns requests for a range that can be satisfied; anything else is answered rightly, but for the faults
  that say otherwise;
- positions and totals are written down even where they make no sense.

Source:
    RFC 9110 sections 14.4 (Content-Range) and 15.3.7 (206).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from .._acts import Act
from .._fault import Spelled
from .._reply import honest_reply, part_reply, selected_range, whole_reply
from .._request import Request
from .._resource import Resource

__all__ = [
    "ForgetfulRange",
    "JunkContentRange",
    "LongerRange",
    "Mislabelled",
    "MultipartRange",
    "NoContentRange",
    "OtherBytes",
    "OtherStart",
    "OtherTotal",
    "OtherUnit",
    "PartUnasked",
    "RangeIgnored",
    "ShorterRange",
    "TwoContentRanges",
    "UnknownTotal",
    "WholeWithContentRange",
]

_BOUNDARY: Final = "next-part"


# Another part than was asked for.


@final
@dataclass(frozen=True, slots=True, repr=False)
class RangeIgnored(Spelled):
    """No fault: the whole file (200) although a range was asked for, as any server may (RFC 9110 section 14.2)."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the whole."""
        return whole_reply(request, resource).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class PartUnasked(Spelled):
    """The first bytes only (206) although no range was asked for (RFC 9110 section 15.3.7).

    Attributes:
        size_bytes: how many.
    """

    size_bytes: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a part."""
        reply = honest_reply(request, resource)
        last = min(self.size_bytes, len(resource.body)) - 1
        if reply.status == 200 and last >= 0:
            reply = dataclasses.replace(part_reply(request, resource, 0, last), has_content=reply.has_content)
        return reply.acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class OtherStart(Spelled):
    """Another range than the one asked for, told truly: bytes are missing, or come twice.

    Attributes:
        by: how much later it starts, or earlier if negative.  Where no such range is, the right one comes.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve another range."""
        selected = selected_range(request, resource)
        if selected is None or not 0 <= selected[0] + self.by <= selected[1]:
            return honest_reply(request, resource).acts()
        return part_reply(request, resource, selected[0] + self.by, selected[1]).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ShorterRange(Spelled):
    """Less than was asked for, told truly, as a server may (RFC 9110 section 15.3.7): the rest is to be asked for.

    Attributes:
        by: how many bytes fewer; at least one comes.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the beginning of the range."""
        selected = selected_range(request, resource)
        if selected is None:
            return honest_reply(request, resource).acts()
        first, last = selected
        return part_reply(request, resource, first, max(first, last - self.by)).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class LongerRange(Spelled):
    """More than was asked for, told truly: the surplus may be somebody else's to fetch.

    Attributes:
        by: how many bytes more, as far as the file has them.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve beyond the range."""
        selected = selected_range(request, resource)
        if selected is None:
            return honest_reply(request, resource).acts()
        first, last = selected
        return part_reply(request, resource, first, min(last + self.by, len(resource.body) - 1)).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class OtherBytes(Spelled):
    """The bytes of another place, under the right Content-Range: only a digest tells.

    Attributes:
        by: how far from the right place, around the end.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a range of the file turned round."""
        selected = selected_range(request, resource)
        reply = honest_reply(request, resource)
        if selected is None:
            return reply.acts()
        first, last = selected
        turn = self.by % len(resource.body)
        turned = resource.body[turn:] + resource.body[:turn]
        return reply.carrying(turned[first : last + 1]).acts()


# The right part under a wrong name.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Mislabelled(Spelled):
    """The right bytes under a Content-Range of another place: what the client did not ask for must not be used.

    Attributes:
        by: how far from the right place.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under another name."""
        selected = selected_range(request, resource)
        if selected is None:
            return honest_reply(request, resource).acts()
        return _relabelled(request, resource, _label(selected, resource, by=self.by))


@final
@dataclass(frozen=True, slots=True, repr=False)
class OtherTotal(Spelled):
    """A Content-Range whose total is not the size of the file: it grows or shrinks from one reply to the next.

    Attributes:
        by: how much too large, or too small if negative.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve with another total."""
        return _retotalled(request, resource, str(max(0, len(resource.body) + self.by)))


@final
@dataclass(frozen=True, slots=True, repr=False)
class UnknownTotal(Spelled):
    """A Content-Range that does not tell the total, which is legal (RFC 9110 section 14.4) and proves no end."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve without a total."""
        return _retotalled(request, resource, "*")


@final
@dataclass(frozen=True, slots=True, repr=False)
class OtherUnit(Spelled):
    """A Content-Range that counts something else than bytes: the reply must not be joined to others (section 14.4).

    Attributes:
        unit: what it counts.
    """

    unit: str = "items"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under another unit."""
        reply = honest_reply(request, resource)
        value = (reply.value("Content-Range") or "").replace("bytes", self.unit, 1)
        return _relabelled(request, resource, value)


@final
@dataclass(frozen=True, slots=True, repr=False)
class NoContentRange(Spelled):
    """A 206 that does not say which part it is (RFC 9110 section 15.3.7.1)."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve without a name."""
        return _relabelled(request, resource)


@final
@dataclass(frozen=True, slots=True, repr=False)
class JunkContentRange(Spelled):
    """A Content-Range that cannot be read: the reply must not be joined to others (RFC 9110 section 14.4).

    Attributes:
        text: what stands there.
    """

    text: str = "junk"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under nonsense."""
        return _relabelled(request, resource, self.text)


@final
@dataclass(frozen=True, slots=True, repr=False)
class TwoContentRanges(Spelled):
    """Two fields Content-Range that differ, the right one second (RFC 9110 section 5.3 allows one).

    Attributes:
        by: how far the first is from the right place.
    """

    by: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve under two names."""
        selected = selected_range(request, resource)
        if selected is None:
            return honest_reply(request, resource).acts()
        labels = [_label(selected, resource, by=by) for by in (self.by, 0)]
        return _relabelled(request, resource, *labels)


@final
@dataclass(frozen=True, slots=True, repr=False)
class MultipartRange(Spelled):
    """The range in an envelope, multipart/byteranges, though only one was asked for (RFC 9110 section 15.3.7.2)."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve in an envelope."""
        reply = honest_reply(request, resource)
        label = reply.value("Content-Range")
        if selected_range(request, resource) is None:
            return reply.acts()
        opening = f"--{_BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Range: {label}\r\n\r\n"
        body = b"%b%b\r\n--%b--\r\n" % (opening.encode("ascii"), reply.body, _BOUNDARY.encode("ascii"))
        kind = ("Content-Type", f"multipart/byteranges; boundary={_BOUNDARY}")
        return reply.without("Content-Range").saying(kind).carrying(body).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class WholeWithContentRange(Spelled):
    """The whole file (200) with a Content-Range, which is defined for 206 and 416 only (RFC 9110 section 14.4).

    Attributes:
        first: where it claims to start.
    """

    first: int = 0

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the whole as if it were a part."""
        reply = whole_reply(request, resource)
        if reply.status != 200:
            return reply.acts()
        size = len(resource.body)
        return reply.saying(("Content-Range", f"bytes {self.first}-{size - 1}/{size}")).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ForgetfulRange(Spelled):
    """A 206 without the validators that it must repeat (RFC 9110 section 15.3.7): it may be of any version."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a range of nobody knows what."""
        reply = honest_reply(request, resource)
        return (reply.without("ETag", "Last-Modified") if reply.status == 206 else reply).acts()


def _label(selected: tuple[int, int], resource: Resource, *, by: int) -> str:
    first, last = (max(0, position + by) for position in selected)
    return f"bytes {first}-{last}/{len(resource.body)}"


def _retotalled(request: Request, resource: Resource, total: str) -> Iterator[Act]:
    label = (honest_reply(request, resource).value("Content-Range") or "").rpartition("/")[0]
    return _relabelled(request, resource, f"{label}/{total}")


def _relabelled(request: Request, resource: Resource, *labels: str) -> Iterator[Act]:
    """Serve a range under *labels* instead of its Content-Range, and what is no range as it is."""
    reply = honest_reply(request, resource)
    if reply.status == 206:
        reply = reply.without("Content-Range").saying(*(("Content-Range", label) for label in labels))
    return reply.acts()

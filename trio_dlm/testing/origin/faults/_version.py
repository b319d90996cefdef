"""The version of the file: it changes between two requests or during one, and the validators tell or do not.

Rules that hold here:

- a change comes before the reply is made, so that the conditions of this very request are judged by it;
- what a request was spared, such as the second half of a reply of one version, later ones get of the new version.

Source:
    RFC 9110 sections 8.8 (validators) and 13.1.5 (If-Range).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from .._acts import Act, Close, Send
from .._fault import Spelled
from .._reply import honest_reply, selected_range
from .._request import Request
from .._resource import Resource

__all__ = ["Changed", "ChangedSecretly", "ChangesMidway", "IfRangeIgnored", "Touched"]


@final
@dataclass(frozen=True, slots=True, repr=False)
class Changed(Spelled):
    """The file has become another one since the last request, and its validators tell (RFC 9110 section 8.8).

    Attributes:
        by: how many bytes the new version is longer; if negative, how many it is shorter.
        drop_at: where the connection ends within the body, which is then incomplete; None if it does not.
    """

    by: int = 0
    drop_at: int | None = None

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a new version, or the beginning of it."""
        resource.change(by=self.by)
        reply = honest_reply(request, resource)
        if self.drop_at is None:
            yield from reply.acts()
        else:
            yield Send(reply.head() + reply.content[: self.drop_at])
            yield Close()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChangedSecretly(Spelled):
    """The file has become another one, under the validators of the old one: only a digest tells."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a new version as if it were the old one."""
        resource.change(tell=False)
        yield from honest_reply(request, resource).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class ChangesMidway(Spelled):
    """The file is overwritten while it is sent: one reply has the bytes of two versions, and only a digest tells.

    Attributes:
        byte: the first one, of those that follow the header, that is of the new version.
    """

    byte: int = 1

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the beginning of one version and the end of the next."""
        reply = honest_reply(request, resource)
        if reply.status not in (200, 206):
            yield from reply.acts()
            return
        first, _ = selected_range(request, resource) or (0, 0)
        yield Send(reply.head() + reply.content[: self.byte])
        resource.change()
        if reply.has_content:
            yield Send(resource.body[first : first + len(reply.body)][self.byte :])
        yield from reply.end()


@final
@dataclass(frozen=True, slots=True, repr=False)
class Touched(Spelled):
    """The validators change and the bytes do not, as on servers behind a balancer: no part can be resumed."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the same bytes under new validators."""
        resource.retag()
        yield from honest_reply(request, resource).acts()


@final
@dataclass(frozen=True, slots=True, repr=False)
class IfRangeIgnored(Spelled):
    """The file has become another one, and a range of it is sent although If-Range named the old one.

    The validators in the 206 are the new ones, and the client must compare them (RFC 9110 section 15.3.7).
    """

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve a range of a new version."""
        resource.change()
        headers = tuple((name, value) for name, value in request.headers if name not in ("if-range", "if-match"))
        yield from honest_reply(dataclasses.replace(request, headers=headers), resource).acts()

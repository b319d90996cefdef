"""What servers of the scenarios do beyond the origin's own faults: rules that look at the request, or count.

Rules that hold here:

- a rule is a value and remembers nothing, as all faults; those that count are told by ``request.number`` how many GETs
  came before in this stage, see ``_staged``;
- HEAD is answered as it should be, but where a rule says otherwise: who asks first is not to be told another story.

Source:
    RFC 9110 sections 9.3.2 (HEAD), 13.1.5 (If-Range), 14 (ranges) and 15.4 (redirects); RFC 9530 (digests).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from trio_dlm.testing.origin import Act, Close, Fault, Hold, Request, Resource, Send, Serve, honest_reply
from trio_dlm.testing.origin._reply import note, part_reply, selected_range
from trio_dlm.testing.origin.faults._body import flipped
from trio_dlm.testing.origin.faults._digest import DigestField, _digest

__all__ = [
    "SERVE",
    "AtMost",
    "Changing",
    "Conditionless",
    "Damaged",
    "Expiring",
    "ForGets",
    "ForParts",
    "ForRanges",
    "Guarded",
    "HeadLies",
    "Hops",
    "InTurn",
    "LabelledGzip",
    "NeverBeyond",
    "NoHead",
    "NoHeadLength",
    "Replicas",
    "become",
]

SERVE: Final = Serve()


def become(resource: Resource, *, by: int = 0, bytes_too: bool = True, tell: bool = True) -> None:
    """Make *resource* another version: `Resource.change`, for files of millions of bytes."""
    if bytes_too:
        shift = len(resource.versions)
        body = resource.body.translate(bytes((byte + shift) % 256 for byte in range(256)))
        # Of the present version, so that what is added fits on none.
        more = body[:by] if by > 0 else b""
        resource.body = body[: max(0, len(body) + by)] + more
        resource.versions.append(resource.body)
    if tell:
        resource.retag()


# By what was asked.


@dataclass(frozen=True)
class InTurn:
    """One rule for each of the first GETs, and another for all that come after."""

    steps: tuple[Fault, ...]
    then: Fault = SERVE

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Answer by the next step."""
        if request.method == "HEAD":
            yield from SERVE.answer(request, resource)
        else:
            fault = self.steps[request.number] if request.number < len(self.steps) else self.then
            yield from fault.answer(request, resource)


@dataclass(frozen=True)
class ForRanges:
    """A rule for requests for a range, wherever it begins, and another for those for the whole."""

    ranged: Fault
    whole: Fault = SERVE

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Answer by the one or the other."""
        is_ranged = request.method == "GET" and request.header("range") is not None
        yield from (self.ranged if is_ranged else self.whole).answer(request, resource)


@dataclass(frozen=True)
class ForParts:
    """A rule for requests for a range that begins behind the first byte: other segments, and resumed downloads."""

    fault: Fault

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Answer by the rule, or rightly."""
        is_part = request.method == "GET" and (request.range or (0, None))[0] > 0
        yield from (self.fault if is_part else SERVE).answer(request, resource)


@dataclass(frozen=True)
class Guarded:
    """Nothing without Authorization."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, or ask for it."""
        if request.header("authorization") is None:
            yield from note(request, 401, ("WWW-Authenticate", 'Bearer realm="origin"')).acts()
        else:
            yield from SERVE.answer(request, resource)


# HEAD.


@dataclass(frozen=True)
class ForGets:
    """A rule for GETs; HEAD is answered rightly."""

    fault: Fault

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Answer by the rule, or rightly."""
        yield from (SERVE if request.method == "HEAD" else self.fault).answer(request, resource)


@dataclass(frozen=True)
class NoHead:
    """HEAD is refused with 405, as many servers do that make their files."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Refuse, or serve."""
        yield from (
            note(request, 405, ("Allow", "GET")).acts() if request.method == "HEAD" else SERVE.answer(request, resource)
        )


@dataclass(frozen=True)
class NoHeadLength:
    """HEAD tells no length, as it may (RFC 9110 section 9.3.2)."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and tell only those who fetch how much."""
        reply = honest_reply(request, resource)
        yield from (reply.without("Content-Length") if request.method == "HEAD" else reply).acts()


@dataclass(frozen=True)
class HeadLies:
    """HEAD tells another length than GET, as servers do that make their files anew (RFC 9110 section 9.3.2).

    Attributes:
        by: how much it is too large.
    """

    by: int

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve, and tell only those who fetch how much it is."""
        reply = honest_reply(request, resource)
        told = ("Content-Length", str(max(0, len(reply.body) + self.by)))
        yield from (reply.saying(told) if request.method == "HEAD" else reply).acts()


# Ranges and versions.


@dataclass(frozen=True)
class AtMost:
    """No range is longer than this, as a server may have it (RFC 9110 section 15.3.7)."""

    size_bytes: int

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the beginning of the range."""
        selected = selected_range(request, resource)
        if selected is None:
            yield from honest_reply(request, resource).acts()
        else:
            first, last = selected
            yield from part_reply(request, resource, first, min(last, first + self.size_bytes - 1)).acts()


@dataclass(frozen=True)
class NeverBeyond:
    """What is behind a certain byte of the file never comes, whoever asks, and how often.

    Attributes:
        byte: the first that does not.
        is_silent: the connection stays; otherwise it is closed.
    """

    byte: int
    is_silent: bool = False

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve up to there."""
        reply = honest_reply(request, resource)
        first, _ = selected_range(request, resource) or (0, 0)
        if reply.status not in (200, 206) or first + len(reply.content) <= self.byte:
            yield from reply.acts()
            return
        yield Send(reply.head() + reply.content[: max(0, self.byte - first)])
        yield Hold() if self.is_silent else Close()


@dataclass(frozen=True)
class Conditionless:
    """If-Range and If-Match are not understood: a range is sent of whatever version there is."""

    then: Fault = SERVE

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve the range."""
        headers = tuple((name, value) for name, value in request.headers if name not in ("if-range", "if-match"))
        yield from self.then.answer(dataclasses.replace(request, headers=headers), resource)


@dataclass(frozen=True)
class Replicas:
    """Two servers behind one address take turns.

    Attributes:
        is_same: they have the same bytes under different validators; otherwise one has an older version.
    """

    is_same: bool

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve what this one has."""
        if len(resource.versions) == 1 and not self.is_same:
            become(resource)
        turn = request.number % 2
        replica = Resource(resource.versions[0 if self.is_same else turn], validators=resource.validators)
        if turn:
            replica.retag()
        yield from honest_reply(request, replica).acts()


@dataclass(frozen=True)
class Changing:
    """The file becomes another version when so many GETs have come, while they are still answered."""

    after: int
    then: Fault = SERVE

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve by what is there now."""
        if request.number >= self.after and len(resource.versions) == 1:
            become(resource)
        yield from self.then.answer(request, resource)


# Codings and digests.


@dataclass(frozen=True)
class LabelledGzip:
    """A file that is itself compressed, under a Content-Encoding that says so again: a common mistake of servers."""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve as it is."""
        reply = honest_reply(request, resource)
        if reply.status in (200, 206):
            reply = reply.saying(("Content-Encoding", "gzip"), ("Content-Type", "application/gzip"))
        yield from reply.acts()


@dataclass(frozen=True)
class Damaged:
    """A digest of the right bytes before wrong ones: one byte was turned on the way.

    Attributes:
        field: where the digest stands.
    """

    field: DigestField = "Repr-Digest"

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Serve what does not fit."""
        reply = honest_reply(request, resource)
        if reply.status in (200, 206):
            right = _digest(self.field, reply.body, resource.body)
            reply = reply.carrying(flipped(reply.body, len(reply.body) // 2)).saying((self.field, right))
        yield from reply.acts()


# Redirects.


@dataclass(frozen=True)
class Hops:
    """The file is some redirects away, on this server.

    Attributes:
        count: how many.
        status: of each.
        is_relative: each place is told relative to the one before.
        then: what is found there.
    """

    count: int = 1
    status: int = 302
    is_relative: bool = False
    then: Fault = SERVE

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Send the client on, or serve."""
        *_, hop, name = ["", *request.path.split("/")]
        done = int(hop) if hop.isdecimal() else 0
        if done == self.count:
            yield from self.then.answer(request, resource)
            return
        place = f"{'../' if done else './'}{done + 1}/{name}" if self.is_relative else f"/{done + 1}/{name}"
        yield from note(request, self.status, ("Location", place)).acts()


@dataclass(frozen=True)
class Expiring:
    """The file is at an address with a signature, which is good for a time only and got by a redirect.

    Attributes:
        signature: the one that is good now; all others are 403.
        host: scheme, host and port of the signed address, if it is not here.
    """

    signature: int
    host: str = ""

    def answer(self, request: Request, resource: Resource) -> Iterator[Act]:
        """Send the client to the signed address, or serve it there."""
        _, first, *rest = request.path.split("/")
        if not rest:
            place = f"{self.host}/signed-{self.signature}/{first}"
            yield from note(request, 302, ("Location", place)).acts()
        elif first == f"signed-{self.signature}":
            yield from SERVE.answer(request, resource)
        else:
            yield from note(request, 403).acts()

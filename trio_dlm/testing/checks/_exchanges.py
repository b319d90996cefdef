"""What an origin was asked and what it did, exchange by exchange, told in a line each.

Rules that hold here:

- an exchange is written down while the server takes the acts of a reply, so it holds what was begun and nothing that
  was only planned;
- nothing is parsed more strictly than a reader would: what is no header is told as bytes.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import Final, final

from ..origin._acts import Act, Close, Hold, Reset, Send, Wait
from ..origin._fault import Fault
from ..origin._plan import FaultPlan
from ..origin._request import Request
from ..origin._resource import Resource
from ._found import count_bytes

__all__ = ["MOST_REQUESTS", "Exchange", "watch"]

# Who has asked so often will ask for ever.
MOST_REQUESTS: Final = 500

# The fields that decide what the bytes of a reply are; the others are left out of a report.
_TOLD_REQUEST_FIELDS: Final = {"range": "Range", "if-range": "If-Range", "if-match": "If-Match"}
_TOLD_REPLY_FIELDS: Final = {
    "content-length": "Content-Length",
    "transfer-encoding": "Transfer-Encoding",
    "content-encoding": "Content-Encoding",
    "content-range": "Content-Range",
    "etag": "ETag",
    "last-modified": "Last-Modified",
    "location": "Location",
    "retry-after": "Retry-After",
}

_STATUS_LINE: Final = re.compile(rb"HTTP/\d\.\d (\d{3})[^\r\n]*")
_END_OF_HEAD: Final = b"\r\n\r\n"
_RETRY_AFTER: Final = re.compile(rb"^retry-after[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SECONDS: Final = re.compile(r"\d{1,9}")


@final
@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the acts with which it was answered.

    Attributes:
        request: what was asked.
        fault: what answered.
        acts: what it did, in order; the server adds to it as it goes on.
    """

    request: Request
    fault: Fault
    acts: MutableSequence[Act] = field(default_factory=list[Act])

    @property
    def asked(self) -> str:
        """The request's method, path and conditions."""
        request = self.request
        told = [f"{label}: {value}" for name, label in _TOLD_REQUEST_FIELDS.items() if (value := request.header(name))]
        return ", ".join([f"{request.method} {request.target}", *told])

    @property
    def answered(self) -> str:
        """The reply's status and the fields that matter, how much of its body was sent, and how it ended."""
        interim, status, fields, rest = self._read()
        told = [f"{interim} times 1xx"] if interim > 1 else ["1xx"] if interim else []
        if status:
            told.append(status)
            if fields.get("content-length") == [str(len(rest))]:
                # It says no more than what was sent.
                del fields["content-length"]
            told += [
                f"{label}: {value}" for name, label in _TOLD_REPLY_FIELDS.items() for value in fields.get(name, ())
            ]
            sent = f"{count_bytes(len(rest))} of body"
        else:
            sent = f"{count_bytes(len(rest))} without a whole header" if rest else ""
        what = ", ".join(told) or "nothing"
        if sent:
            what = f"{', '.join(told)}; {sent}" if told else sent
        match self.acts[-1] if self.acts else None:
            case Close(clean=False):
                return f"{what}, then closed without notice"
            case Close():
                return f"{what}, then closed"
            case Reset():
                return f"{what}, then reset"
            case Hold():
                return f"{what}, then silence"
            case _:
                return what

    @property
    def retry_after_s(self) -> int | None:
        """For how many seconds the reply asked to be left alone, or None; a date is nobody's virtual time."""
        _, status, fields, _ = self._read()
        (value, *_) = fields.get("retry-after", [""])
        return int(value) if status[:1] > "2" and _SECONDS.fullmatch(value) else None

    @property
    def refused_at_s(self) -> float:
        """When the header with Retry-After was sent, on trio's clock, if nothing held it up but what was planned."""
        before = itertools.takewhile(lambda act: not _says_retry_after(act), self.acts)
        return self.request.at_s + sum(act.seconds for act in before if isinstance(act, Wait))

    def _read(self) -> tuple[int, str, dict[str, list[str]], bytes]:
        """Return how many interim replies there were, the status line without version, the fields, and what follows."""
        sent = b"".join(act.data for act in self.acts if isinstance(act, Send))
        interim = at = 0
        while (line := _STATUS_LINE.match(sent, at)) and (end := sent.find(_END_OF_HEAD, at)) >= 0:
            head, at = sent[at:end], end + len(_END_OF_HEAD)
            if line[1].startswith(b"1"):
                interim += 1
                continue
            fields: dict[str, list[str]] = {}
            for each in head.decode("latin-1").split("\r\n")[1:]:
                name, _, value = each.partition(":")
                fields.setdefault(name.strip().lower(), []).append(value.strip(" \t"))
            if "etag" in fields:
                # It decides nothing where there is a tag.
                fields.pop("last-modified", None)
            return interim, line[0].decode("latin-1").partition(" ")[2], fields, sent[at:]
        return interim, "", {}, sent[at:]


@final
class _Watched:
    """A fault that writes down what the fault within does."""

    def __init__(self, fault: Fault, log: list[Exchange], latency_s: float) -> None:
        self._fault = fault
        self._log = log
        self._latency_s = latency_s

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        """Do what the fault within does, unless this is one request too many."""
        exchange = Exchange(request, self._fault)
        self._log.append(exchange)
        acts = self._fault.answer(request, resource) if len(self._log) < MOST_REQUESTS else [Hold()]
        return self._noting(exchange, acts)

    def _noting(self, exchange: Exchange, acts: Iterable[Act]) -> Iterator[Act]:
        for act in acts:
            if self._latency_s and _says_retry_after(act):
                on_the_way = Wait(self._latency_s)
                exchange.acts.append(on_the_way)
                yield on_the_way
            exchange.acts.append(act)
            yield act


def _says_retry_after(act: Act) -> bool:
    return isinstance(act, Send) and _RETRY_AFTER.search(act.data) is not None


def watch(plan: FaultPlan, log: list[Exchange], *, latency_s: float = 0.0) -> FaultPlan:
    """Return a plan that does what *plan* does, and adds every exchange to *log*; after many it says nothing more.

    Args:
        plan: what is done.
        log: where it is written down.
        latency_s: how long a reply with Retry-After is on its way, in virtual time: what is asked at the very instant
            of the refused request, on another connection, is then told from what is asked in spite of the reply.
    """
    steps = tuple(_Watched(step, log, latency_s) for step in plan.steps)
    return dataclasses.replace(plan, steps=steps, then=_Watched(plan.then, log, latency_s))

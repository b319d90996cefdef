"""What a downloader promises, and whether it kept it: facts in, breaches out.

Rules that hold here:

- a promise is judged by what an onlooker sees: what was said, what lies in the directory, what the origin was asked and
  when.  Nothing of the downloader is looked into;
- a promise that does not apply to what happened is kept.

Source:
    RFC 9110 sections 10.2.3 (Retry-After), 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from ..origin._plan import FaultPlan
from ..origin._request import Request
from ..origin.faults import HONEST
from ._exchanges import MOST_REQUESTS, Exchange
from ._found import describe_bytes

__all__ = ["Breach", "Outcome", "Promise", "judge", "must_deliver"]


@final
class Promise(enum.Enum):
    """What is asked of a downloader; the values are what a report says."""

    EXACT = "success means the bytes of one version that the origin had, whole"
    ABSENT = "after a failure nothing is under the final name but a whole file"
    DOCUMENTED = "a failure is one of the documented errors"
    PROMPT = "it ends within its limit of time, and asks no end of times"
    CLOSED = "when it has ended, no connection is left open"
    GUARDED = "a request for a range behind the first byte carries If-Range or If-Match"
    PATIENT = "nothing is asked again earlier than Retry-After allows"
    SERVED = "an honest file is delivered, and so is one behind no more faults than it retries"


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt to get the file, as it looked from outside.

    Attributes:
        succeeded: it said that the file is there.
        said: how it ended, in words; if it did not, what is known of that, which may be nothing.
        found: what lies under the final name, or None.
        others: the names of the other files in the directory.
        seconds: how long it took.
        ended: it ended by itself, and was not stopped.
        is_documented: the way in which it failed is one that its users were told of.
        exchanges: what was asked and answered during the attempt.
        connections_left: how many connections were open after it.
    """

    succeeded: bool
    said: str
    found: bytes | None
    others: tuple[str, ...] = ()
    seconds: float = 0.0
    ended: bool = True
    is_documented: bool = True
    exchanges: tuple[Exchange, ...] = ()
    connections_left: int = 0


@final
@dataclass(frozen=True, slots=True)
class Breach:
    """A promise that was broken, by which attempt, counted from 0, and how it showed."""

    promise: Promise
    attempt: int
    found: str


def must_deliver(plan: FaultPlan, *, retries: int, has_digest: bool) -> bool:
    """Whether a downloader that tries again so many times has no excuse.

    With a digest it has one if the file changes: then the file that was wanted is no more.
    """
    if plan.is_honest:
        return True
    faults = [step for step in plan.steps if type(step) not in HONEST]
    return plan.is_recoverable and len(faults) <= retries and not (has_digest and plan.is_changing)


def judge(
    outcomes: Sequence[Outcome],
    *,
    plan: FaultPlan,
    versions: Sequence[bytes],
    wanted: bytes | None,
    promises: Collection[Promise],
    retries: int,
    limit_s: float,
) -> list[Breach]:
    """Return the breaches of *promises*, in the order of :class:`Promise` but that what did not end comes first.

    Args:
        outcomes: the attempts, one after the other at the same file; the last one succeeded or none did.
        plan: what the origin did.
        versions: the contents that the origin had.
        wanted: the only right content, if a digest said which; None if any version will do.
        promises: those to judge.
        retries: how often the downloader tries again within an attempt.
        limit_s: how long an attempt may take.
    """
    right = versions if wanted is None else [wanted]
    found = [
        Breach(promise, number, text)
        for number, outcome in enumerate(outcomes)
        for promise, text in _looked_through(outcome, versions, right, limit_s)
        if promise in promises
    ]
    if (
        Promise.SERVED in promises
        and must_deliver(plan, retries=retries, has_digest=wanted is not None)
        and not outcomes[0].succeeded
    ):
        found.append(Breach(Promise.SERVED, 0, outcomes[0].said))
    order = [Promise.PROMPT, *Promise]
    return sorted(found, key=lambda each: order.index(each.promise))


def _looked_through(
    outcome: Outcome, versions: Sequence[bytes], right: Sequence[bytes], limit_s: float
) -> Iterator[tuple[Promise, str]]:
    if outcome.succeeded and outcome.found not in right:
        yield Promise.EXACT, _told(outcome.found, versions)
    if not outcome.succeeded and outcome.found is not None and outcome.found not in right:
        yield Promise.ABSENT, _told(outcome.found, versions)
    if not outcome.succeeded and outcome.ended and not outcome.is_documented:
        yield Promise.DOCUMENTED, outcome.said
    if not outcome.ended:
        yield Promise.PROMPT, outcome.said or f"it had not ended after {limit_s:g} s, and was stopped"
    elif any(exchange.request.number >= MOST_REQUESTS - 1 for exchange in outcome.exchanges):
        yield Promise.PROMPT, f"after {MOST_REQUESTS} requests it would have gone on"
    if outcome.connections_left:
        yield Promise.CLOSED, f"open connections: {outcome.connections_left}"
    # Each attempt for itself: who starts it again is a user, and not held to Retry-After.
    for exchange in outcome.exchanges:
        if _is_unguarded(exchange.request):
            yield Promise.GUARDED, f"{exchange.asked}, and no condition"
    for earlier, later in itertools.pairwise(outcome.exchanges):
        seconds = earlier.retry_after_s
        waited_s = later.request.at_s - earlier.request.at_s
        if seconds is not None and waited_s < seconds:
            yield Promise.PATIENT, f"Retry-After: {seconds}, and it asked again after {waited_s:g} s"


def _told(found: bytes | None, versions: Sequence[bytes]) -> str:
    told = describe_bytes(found, versions)
    return f"{told}; the digest that was given is that of version 1" if found in versions else told


def _is_unguarded(request: Request) -> bool:
    asked = request.range
    is_conditional = request.header("if-range") is not None or request.header("if-match") is not None
    return asked is not None and asked[0] > 0 and not is_conditional

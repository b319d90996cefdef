"""What a downloader promises, and whether it kept it: facts in, breaches out.

Rules that hold here:

- a promise is judged by what an onlooker sees: what was said, what lies in the directory, what the origin was asked and
  when.  Nothing of the downloader is looked into;
- a promise that does not apply to what happened is kept;
- where the origin shows no validator that a range may be asked for with, a digest of the client's own does instead:
  whatever it joins is looked at in the end.

Source:
    RFC 9110 sections 10.2.3 (Retry-After), 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from ..origin._plan import FaultPlan
from ..origin._request import Request
from ..origin.faults import HONEST
from ._exchanges import MOST_REQUESTS, Exchange
from ._found import describe_bytes

__all__ = ["Breach", "Outcome", "Promise", "check_asked", "judge", "must_deliver"]

# Sums of seconds are right to less than this.
_ROUNDING_S: Final = 1e-6


@final
class Promise(enum.Enum):
    """What is asked of a downloader; the values are what a report says."""

    EXACT = "success means the bytes of one version that the origin had, whole"
    ABSENT = "after a failure nothing is under the final name but a whole file"
    DOCUMENTED = "a failure is one of the documented errors"
    PROMPT = "it ends within its limit of time, and asks no end of times"
    CLOSED = "when it has ended, no connection is left open"
    GUARDED = "a request for a range behind the first byte carries If-Range with a strong validator, or If-Match"
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
        mistaken: what is wrong about the file that it named, beside the bytes in it, in words; None if nothing is.
        outside: what was written outside of the directory, in words.
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
    mistaken: str | None = None
    outside: tuple[str, ...] = ()
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


def check_asked(promises: Collection[object], *, retries: int, runs: int, limit_s: float) -> None:
    """Refuse arguments of a check with which it could find nothing.

    Raises:
        TypeError: what should be a promise is none.
        ValueError: no promise, no run, fewer than no retries, or no time.
    """
    for each in promises:
        if not isinstance(each, Promise):
            raise TypeError(f"promises is a collection of Promise, such as {{Promise.EXACT}}, got {each!r} in it")
    if not promises:
        raise ValueError("promises is empty, so that none could be found broken: name at least one")
    if runs < 1:
        raise ValueError(f"runs is 1 or more, got {runs}")
    if retries < 0:
        raise ValueError(f"retries is 0 or more, got {retries}")
    if not limit_s > 0:
        raise ValueError(f"limit_s is a positive number of seconds, got {limit_s}")


def must_deliver(plan: FaultPlan, *, retries: int, has_digest: bool) -> bool:
    """Whether a downloader that tries again so many times has no excuse.

    With a digest it has one if the file changes: then the file that was wanted is no more.
    """
    if plan.is_honest:
        return True
    faults = [step for step in plan.steps if type(step) not in HONEST]
    return plan.is_recoverable and len(faults) <= retries and not (has_digest and plan.is_changing)


def _must_deliver_later(plan: FaultPlan, asked_before: int, outcome: Outcome, *, has_digest: bool) -> bool:
    """Whether a later attempt, before which so many requests were made, has no excuse: what lies there is none."""
    # Who asks nothing at all would have been served well if he had.
    met = [exchange.fault for exchange in outcome.exchanges] or [plan.for_request(asked_before)]
    is_spoiled = plan.max_connections is not None or (has_digest and plan.is_changing)
    return not is_spoiled and all(type(fault) in HONEST for fault in met)


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
        for promise, text in (
            *_looked_through(outcome, versions, right, limit_s),
            *_looked_into(outcome, needs_condition=wanted is None or plan.validators in ("strong", "date")),
        )
        if promise in promises
    ]
    if Promise.SERVED in promises:
        has_digest = wanted is not None
        must = [must_deliver(plan, retries=retries, has_digest=has_digest)]
        asked = list(itertools.accumulate(len(outcome.exchanges) for outcome in outcomes))
        for before, outcome in zip(asked, outcomes[1:], strict=False):
            must.append(_must_deliver_later(plan, before, outcome, has_digest=has_digest))
        found += [
            Breach(Promise.SERVED, number, outcome.said)
            for number, outcome in enumerate(outcomes)
            if must[number] and not outcome.succeeded
        ]
    order = [Promise.PROMPT, *Promise]
    return sorted(found, key=lambda each: order.index(each.promise))


def _looked_through(
    outcome: Outcome, versions: Sequence[bytes], right: Sequence[bytes], limit_s: float
) -> Iterator[tuple[Promise, str]]:
    if outcome.succeeded and outcome.found not in right:
        yield Promise.EXACT, _told(outcome.found, versions)
    elif outcome.succeeded and outcome.mistaken is not None:
        yield Promise.EXACT, outcome.mistaken
    if not outcome.succeeded and outcome.found is not None and outcome.found not in right:
        yield Promise.ABSENT, _told(outcome.found, versions)
    for each in outcome.outside:
        yield Promise.EXACT if outcome.succeeded else Promise.ABSENT, f"outside of the directory: {each}"
    if not outcome.succeeded and outcome.ended and not outcome.is_documented:
        yield Promise.DOCUMENTED, outcome.said
    if not outcome.ended:
        yield Promise.PROMPT, outcome.said or f"it had not ended after {limit_s:g} s, and was stopped"
    elif any(exchange.request.number >= MOST_REQUESTS - 1 for exchange in outcome.exchanges):
        yield Promise.PROMPT, f"after {MOST_REQUESTS} requests it would have gone on"
    if outcome.connections_left:
        yield Promise.CLOSED, f"open connections: {outcome.connections_left}"


def _looked_into(outcome: Outcome, *, needs_condition: bool) -> Iterator[tuple[Promise, str]]:
    """Look at what was asked, and when; each attempt for itself, since who starts it again is a user."""
    for exchange in outcome.exchanges:
        lacking = _lacks(exchange.request, needs_condition=needs_condition)
        if lacking is not None:
            yield Promise.GUARDED, f"{exchange.asked}, and {lacking}"
    for number, earlier in enumerate(outcome.exchanges):
        seconds = earlier.retry_after_s
        if seconds is None:
            continue
        # What was asked before the reply was there, on another connection, was not asked in spite of it.
        waits_s = (later.request.at_s - earlier.refused_at_s for later in outcome.exchanges[number + 1 :])
        waited_s = next((wait_s for wait_s in waits_s if wait_s >= 0), math.inf)
        if waited_s < seconds - _ROUNDING_S:
            yield Promise.PATIENT, f"Retry-After: {seconds}, and it asked again after {waited_s:g} s"


def _told(found: bytes | None, versions: Sequence[bytes]) -> str:
    told = describe_bytes(found, versions)
    return f"{told}; the digest that was given is that of version 1" if found in versions else told


def _lacks(request: Request, *, needs_condition: bool) -> str | None:
    """Say what a request for a range lacks; None if it is as it must be, or is for none."""
    asked, condition = request.range, request.header("if-range")
    if asked is None or asked[0] == 0:
        return None
    if condition is not None and condition.startswith("W/"):
        return "a weak tag is no condition"
    if condition is None and request.header("if-match") is None and needs_condition:
        return "no condition"
    return None

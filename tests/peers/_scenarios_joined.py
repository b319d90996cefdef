"""Scenarios in which bytes of several replies are joined: retries within one start, segments and mirrors.

Rules that hold here:

- where the file changes its validators change, so that whoever compares them knows; only where there are none, or weak
  ones, nothing can be joined at all (RFC 9110 section 13.1.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_dlm.testing.origin import (
    Busy,
    DropAt,
    DropInHeader,
    ForgetfulRange,
    HeaderStops,
    JunkContentRange,
    LongerRange,
    Mislabelled,
    MultipartRange,
    NoContentRange,
    OtherStart,
    OtherTotal,
    OtherUnit,
    PartUnasked,
    RangeIgnored,
    Refuse,
    Serve,
    ShorterRange,
    Stall,
    TwoContentRanges,
    UnknownTotal,
    Unsatisfiable,
    Validators,
    WholeWithContentRange,
)

from ._rules import Changing, Conditionless, Expiring, ForParts, ForRanges, InTurn, Replicas
from ._scenario import HALF, Best, Change, Place, Scenario, Stage, Subject, Turn, killed, once

__all__ = ["BROKEN", "MIRRORS", "RANGES"]

_MIB: Final = 1024 * 1024
_OTHER: Final = Change()
_SAME_BYTES: Final = Change(bytes_too=False)
_LONGER_SECRETLY: Final = Change(by=1000, tell=False)
_OTHER_SECRETLY: Final = Change(tell=False)

_WEAKER: Final[tuple[tuple[Validators, str], ...]] = (
    ("weak", "a weak ETag"),
    ("date", "only a date"),
    ("none", "no validator"),
)


def _broken() -> Iterator[Scenario]:
    for name, first, source in (
        ("closed at half", DropAt(HALF), "RFC 9112 §8"),
        ("reset at half", DropAt(HALF, reset=True), ""),
        ("closed within the header", DropInHeader(30), ""),
        ("reset before the header", DropInHeader(0, reset=True), ""),
        ("silent at half", Stall(HALF), ""),
        ("silent before the header", HeaderStops(0), ""),
        ("503, come back in a second", Busy(503, 1), "RFC 9110 §10.2.3"),
        ("429 without a time", Busy(429), "RFC 6585 §4"),
        ("500", Busy(500), ""),
    ):
        yield Scenario(f"{name}, once", Best.CORRECT, Subject.BROKEN, once(InTurn((first,))), source)
    yield Scenario(
        "503 three times, each with Retry-After: 0",
        Best.CORRECT,
        Subject.BROKEN,
        once(InTurn((Busy(503, 0),) * 3)),
        "RFC 9110 §10.2.3",
    )
    yield Scenario(
        "every reply is closed after 2 MiB", Best.CORRECT, Subject.BROKEN, once(DropAt(2 * _MIB)), "RFC 9110 §14.2"
    )
    yield Scenario(
        "every other reply is reset after 300 kB",
        Best.CORRECT,
        Subject.BROKEN,
        once(InTurn((DropAt(300_000, reset=True), Serve()) * 50)),
        "RFC 9110 §14.2",
    )
    for name, then, change, source in (
        ("all closed at half, then as before", Serve(), None, ""),
        ("all closed at half, then another version", Serve(), _OTHER, "RFC 9110 §13.1.5"),
        ("all closed at half, then a longer version", Serve(), Change(by=1000), "RFC 9110 §13.1.5"),
        ("all closed at half, then one that is shorter than that", Serve(), Change(by=-5 * _MIB), "RFC 9110 §15.5.17"),
        ("all closed at half, then the same bytes under another ETag", Serve(), _SAME_BYTES, "RFC 9110 §13.1.5"),
        ("all closed at half, then another version, If-Range ignored", Conditionless(), _OTHER, "RFC 9110 §15.3.7"),
        ("all closed at half, then no ranges any more", RangeIgnored(), None, "RFC 9110 §14.2"),
        ("all closed at half, then another version without ranges", RangeIgnored(), _OTHER, "RFC 9110 §14.2"),
        ("all closed at half, then 416 to any range", ForRanges(Unsatisfiable()), None, "RFC 9110 §15.5.17"),
        ("all closed at half, then 403 to any range", ForRanges(Refuse(403)), None, "RFC 9110 §14.2"),
        ("all closed at half, then ranges without a validator", ForgetfulRange(), None, "RFC 9110 §15.3.7"),
        (
            "all closed at half, then another version, ranges without a validator",
            Conditionless(ForgetfulRange()),
            _OTHER,
            "RFC 9110 §15.3.7",
        ),
        ("all closed at half, then a longer version under the same ETag", Serve(), _LONGER_SECRETLY, "RFC 9110 §8.8.3"),
    ):
        stage = Stage(Serve(), turn=Turn(HALF, then, change))
        yield Scenario(name, Best.CORRECT, Subject.BROKEN, (stage,), source)
    yield Scenario(
        "all closed at half, then the signed address has expired",
        Best.CORRECT,
        Subject.BROKEN,
        (Stage(Expiring(1), turn=Turn(HALF, Expiring(2))),),
        "RFC 9110 §15.4.3",
    )
    yield Scenario(
        "all closed at half, then sent to a host with another version under the same ETag",
        Best.CORRECT,
        Subject.BROKEN,
        (Stage(Expiring(1), turn=Turn(HALF, lambda place: Expiring(2, place.other))),),
        "RFC 9110 §8.8.3",
        other_change=_OTHER_SECRETLY,
    )
    for validators, named in _WEAKER:
        stage = Stage(Serve(), turn=Turn(HALF, Serve(), _OTHER))
        yield Scenario(
            f"all closed at half, then another version, {named}",
            Best.CORRECT,
            Subject.BROKEN,
            (stage,),
            "RFC 9110 §13.1.5",
            validators=validators,
        )


def _ranges() -> Iterator[Scenario]:
    for name, fault, source in (
        ("later than asked", OtherStart(1000), "RFC 9110 §14.4"),
        ("labelled as another place", Mislabelled(1000), "RFC 9110 §14.4"),
        ("with another total", OtherTotal(1), "RFC 9110 §14.4"),
        ("with an unknown total", UnknownTotal(), "RFC 9110 §14.4"),
        ("in another unit", OtherUnit(), "RFC 9110 §14.4"),
        ("without Content-Range", NoContentRange(), "RFC 9110 §15.3.7.1"),
        ("with a Content-Range that cannot be read", JunkContentRange(), "RFC 9110 §14.4"),
        ("with two that differ", TwoContentRanges(1000), "RFC 9110 §5.3"),
        ("in an envelope", MultipartRange(), "RFC 9110 §15.3.7.2"),
        ("longer than asked", LongerRange(1000), "RFC 9110 §15.3.7"),
        ("shorter than asked", ShorterRange(1000), "RFC 9110 §15.3.7"),
        ("without the validators", ForgetfulRange(), "RFC 9110 §15.3.7"),
        ("answered by 200", RangeIgnored(), "RFC 9110 §14.2"),
        ("answered by 200 with Content-Range", WholeWithContentRange(HALF), "RFC 9110 §14.4"),
        ("answered by 416", Unsatisfiable(), "RFC 9110 §15.5.17"),
        ("answered by 403", Refuse(403), "RFC 9110 §14.2"),
        ("answered by 503", Busy(503, 1), "RFC 9110 §14.2"),
        ("without end: nothing comes", HeaderStops(0), ""),
    ):
        yield Scenario(f"parts {name}", Best.CORRECT, Subject.RANGES, once(ForParts(fault)), source)
    yield Scenario("any range: 416", Best.CORRECT, Subject.RANGES, once(ForRanges(Unsatisfiable())), "RFC 9110 §14.2")
    yield Scenario(
        "206 with the first half, no range asked for",
        Best.CORRECT,
        Subject.RANGES,
        once(PartUnasked(HALF)),
        "RFC 9110 §15.3.7",
    )
    for name, says in (("another version", Serve()), ("another version, If-Range ignored", Conditionless())):
        yield Scenario(
            f"{name} after the third GET",
            Best.CORRECT,
            Subject.RANGES,
            once(Changing(3, says)),
            "RFC 9110 §13.1.5",
        )
    yield Scenario(
        "two replicas, one with an old version",
        Best.CORRECT,
        Subject.RANGES,
        once(Replicas(is_same=False)),
        "RFC 9110 §13.1.5",
    )
    yield Scenario(
        "two replicas with the same bytes and other ETags",
        Best.CORRECT,
        Subject.RANGES,
        once(Replicas(is_same=True)),
        "RFC 9110 §13.1.5",
    )


def _mirrors() -> Iterator[Scenario]:
    def second(place: Place) -> tuple[str, ...]:
        return (f"{place.other}/file.bin",)

    def dead(place: Place) -> str:
        return f"{place.nobody}/file.bin"

    yield Scenario(
        "nobody listens at the first", Best.CORRECT, Subject.MIRRORS, (Stage(),), mirrors=second, target=dead
    )
    yield Scenario("the first says 404", Best.CORRECT, Subject.MIRRORS, once(Refuse(404)), mirrors=second)
    yield Scenario("the first says 503", Best.CORRECT, Subject.MIRRORS, once(Busy(503)), mirrors=second)
    yield Scenario(
        "the first goes away at half", Best.CORRECT, Subject.MIRRORS, (Stage(turn=Turn(HALF)),), mirrors=second
    )
    yield Scenario(
        "the second has another version", Best.CORRECT, Subject.MIRRORS, (Stage(),), mirrors=second, other_change=_OTHER
    )
    yield Scenario(
        "the first goes away at half, the second has another version",
        Best.CORRECT,
        Subject.MIRRORS,
        (Stage(turn=Turn(HALF)),),
        mirrors=second,
        other_change=_OTHER,
    )
    yield Scenario(
        "killed at half, then the first says 503",
        Best.CORRECT,
        Subject.MIRRORS,
        (killed(), Stage(Busy(503))),
        mirrors=second,
    )
    yield Scenario(
        "killed at half, then the first says 503, the second has another version under the same ETag",
        Best.CORRECT,
        Subject.MIRRORS,
        (killed(), Stage(Busy(503))),
        mirrors=second,
        other_change=_OTHER_SECRETLY,
    )
    yield Scenario(
        "the second has another version, digest known",
        Best.CORRECT,
        Subject.MIRRORS,
        (Stage(),),
        mirrors=second,
        other_change=_OTHER,
        has_digest=True,
    )
    yield Scenario(
        "the first has another version, digest known",
        Best.CORRECT,
        Subject.MIRRORS,
        (Stage(change=_OTHER),),
        mirrors=second,
        has_digest=True,
    )


BROKEN: Final = tuple(_broken())
RANGES: Final = tuple(_ranges())
MIRRORS: Final = tuple(_mirrors())

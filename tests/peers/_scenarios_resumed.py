"""Scenarios in which the client is stopped, by force or since the server goes away, and started again.

Rules that hold here:

- where the file changes its validators change, so that whoever compares them knows; only where there are none, or weak
  ones, nothing can be joined at all (RFC 9110 section 13.1.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trio_dlm.testing.origin import (
    Busy,
    ForgetfulRange,
    Gzipped,
    MultipartRange,
    Named,
    OtherStart,
    OtherTotal,
    RangeIgnored,
    Refuse,
    Serve,
    Unsatisfiable,
    Validators,
)

from ._rules import Conditionless, Expiring, ForParts, ForRanges
from ._scenario import HALF, SIZE, Best, Change, Says, Scenario, Stage, Subject, Turn, killed

__all__ = ["RESUMED"]

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


def _resumed() -> Iterator[Scenario]:
    first = killed()
    yield Scenario("killed at half", Best.CORRECT, Subject.RESUMED, (first, Stage()), "RFC 9110 §14", wants_resume=True)
    yield Scenario(
        "killed at half, Last-Modified only",
        Best.CORRECT,
        Subject.RESUMED,
        (first, Stage()),
        "RFC 9110 §13.1.5",
        validators="date",
        wants_resume=True,
    )
    yield Scenario(
        "terminated at half",
        Best.CORRECT,
        Subject.RESUMED,
        (killed("SIGTERM"), Stage()),
        "RFC 9110 §14",
        wants_resume=True,
    )
    down = Stage(Serve(), turn=Turn(HALF))
    yield Scenario("the server goes away at half", Best.CORRECT, Subject.RESUMED, (down, Stage()), wants_resume=True)
    yield Scenario(
        "killed at a quarter, and again",
        Best.CORRECT,
        Subject.RESUMED,
        (killed(at_bytes=SIZE // 4), killed(at_bytes=SIZE // 4), Stage()),
        wants_resume=True,
    )
    yield Scenario(
        "killed at half, then the signed address has expired",
        Best.CORRECT,
        Subject.RESUMED,
        (killed(says=Expiring(1)), Stage(Expiring(2))),
        "RFC 9110 §15.4.3",
        wants_resume=True,
    )
    yield Scenario(
        "killed at half, then sent to a host with another version under the same ETag",
        Best.CORRECT,
        Subject.RESUMED,
        (killed(says=Expiring(1)), Stage(lambda place: Expiring(2, place.other))),
        "RFC 9110 §8.8.3",
        other_change=_OTHER_SECRETLY,
    )
    for place, at_bytes in (("right after the header", 1), ("a little before the end", SIZE - 100_000)):
        for name, changed in (("as before", None), ("another version", _OTHER)):
            yield Scenario(
                f"killed {place}, then {name}",
                Best.CORRECT,
                Subject.RESUMED,
                (killed(at_bytes=at_bytes), Stage(change=changed)),
                "RFC 9110 §13.1.5",
            )
    yield Scenario(
        "killed at half, then another name",
        Best.CORRECT,
        Subject.RESUMED,
        (killed(says=Named("one.bin")), Stage(Named("two.bin"))),
        "RFC 6266 §4.3",
    )
    yield Scenario(
        "killed within gzip, then without a coding",
        Best.CORRECT,
        Subject.RESUMED,
        (killed(says=Gzipped(), at_bytes=100_000), Stage()),
        "RFC 9110 §8.8.3.3",
    )
    changes: tuple[tuple[str, Change, str], ...] = (
        ("another version", _OTHER, "RFC 9110 §13.1.5"),
        ("a longer version", Change(by=100_000), "RFC 9110 §13.1.5"),
        ("a shorter version", Change(by=-100_000), "RFC 9110 §13.1.5"),
        ("one that is shorter than that", Change(by=-5 * _MIB), "RFC 9110 §15.5.17"),
        ("the same bytes under another ETag", _SAME_BYTES, "RFC 9110 §13.1.5"),
    )
    for name, change, source in changes:
        yield Scenario(
            f"killed at half, then {name}", Best.CORRECT, Subject.RESUMED, (first, Stage(change=change)), source
        )
    for name, change, source in changes[:2]:
        yield Scenario(
            f"terminated at half, then {name}",
            Best.CORRECT,
            Subject.RESUMED,
            (killed("SIGTERM"), Stage(change=change)),
            source,
        )
        yield Scenario(
            f"the server goes away at half, then {name}",
            Best.CORRECT,
            Subject.RESUMED,
            (down, Stage(change=change)),
            source,
        )
    for validators, named in _WEAKER:
        yield Scenario(
            f"killed at half, then another version, {named}",
            Best.CORRECT,
            Subject.RESUMED,
            (first, Stage(change=_OTHER)),
            "RFC 9110 §13.1.5",
            validators=validators,
        )
    told: tuple[tuple[str, Says, Change | None, Best, str], ...] = (
        ("no ranges any more", RangeIgnored(), None, Best.CORRECT, "RFC 9110 §14.2"),
        ("another version without ranges", RangeIgnored(), _OTHER, Best.CORRECT, "RFC 9110 §14.2"),
        ("another version, If-Range ignored", Conditionless(), _OTHER, Best.CORRECT, "RFC 9110 §15.3.7"),
        (
            "another version, ranges without a validator",
            Conditionless(ForgetfulRange()),
            _OTHER,
            Best.CORRECT,
            "RFC 9110 §15.3.7",
        ),
        ("a longer version under the same ETag", Serve(), _LONGER_SECRETLY, Best.CORRECT, "RFC 9110 §8.8.3"),
        ("gzip although nobody asked", Gzipped(), None, Best.CORRECT, "RFC 9110 §8.8.3.3"),
        ("416 to any range", ForRanges(Unsatisfiable()), None, Best.CORRECT, "RFC 9110 §15.5.17"),
        ("416 that tells no length", ForRanges(Unsatisfiable(by=None)), None, Best.CORRECT, "RFC 9110 §15.5.17"),
        ("416 that tells the length that is there", ForRanges(Unsatisfiable(-HALF)), None, Best.CORRECT, ""),
        ("ranges from elsewhere", ForParts(OtherStart(1000)), None, Best.CORRECT, "RFC 9110 §14.4"),
        ("ranges with another total", ForParts(OtherTotal(1)), None, Best.CORRECT, "RFC 9110 §14.4"),
        ("ranges in an envelope", MultipartRange(), None, Best.CORRECT, "RFC 9110 §15.3.7.2"),
        ("404", Refuse(404), None, Best.ERROR, "RFC 9110 §15.5.5"),
        ("503 for good", Busy(503), None, Best.ERROR, "RFC 9110 §15.6.4"),
    )
    for name, says, changed, best, source in told:
        yield Scenario(
            f"killed at half, then {name}", best, Subject.RESUMED, (first, Stage(says, change=changed)), source
        )
    yield Scenario(
        "complete, then a longer version",
        Best.ERROR,
        Subject.RESUMED,
        (Stage(), Stage(change=Change(by=100_000))),
        "RFC 9110 §13.1.5",
    )
    yield Scenario(
        "another file of that name is there, and shorter",
        Best.ERROR,
        Subject.RESUMED,
        (Stage(),),
        found_there=b"precious\n" * 1000,
    )


RESUMED: Final = tuple(_resumed())

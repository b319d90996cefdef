"""What became of a scenario, told from what an onlooker saw: facts in, one verdict out.

Rules that hold here:

- a file is right if it is whole and of one version that a server had; with a digest of the user's, of that one;
- exit status 0 is taken at its word.  What a client says in words is kept for the reader and never judged;
- of several verdicts the worst counts; of a run that was ended from outside, or that others follow, only what cannot be
  made good again: what lies about between two runs is the next one's business;
- files of the client's own, beside the one under the final name, are nobody's business.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ._stretches import tell_stretches

__all__ = ["Facts", "Judgement", "Ran", "Verdict", "judge"]

# Of the file, fetched once more: what is less may be the end of a segment.
_MOST_OF: Final = 0.9


class Verdict(enum.Enum):
    """From good to bad; the values are what the table says."""

    CORRECT = "correct"
    AGAIN = "correct, all again"
    ERROR = "error"
    PARTIAL = "partial file"
    CRASH = "crash"
    HANG = "hang"
    WRONG = "wrong bytes"
    LEAK = "leak"
    OUTSIDE = "outside"

    @property
    def is_correct(self) -> bool:
        """Whether the file is there."""
        return self in (Verdict.CORRECT, Verdict.AGAIN)

    @property
    def is_safe(self) -> bool:
        """Whether the user has the right file, or knows that he has none."""
        return self.is_correct or self is Verdict.ERROR


@dataclass(frozen=True)
class Ran:
    """One start of the client.

    Attributes:
        succeeded: exit status 0.
        has_ended: it ended within its limit, and was not stopped for that.
        was_ended: the scenario ended it.
        has_crashed: it died of a signal, or of an exception that nobody caught.
        said: its last words.
        files: what lay in its directory afterwards, its own auxiliary files left out.
        sent_bytes: how much the server sent.
        seconds: how long it took.
    """

    succeeded: bool
    has_ended: bool = True
    was_ended: bool = False
    has_crashed: bool = False
    said: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    sent_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Facts:
    """All that was seen of one client in one scenario.

    Attributes:
        runs: its starts.
        versions: what servers had, the first the one that the user knows the digest of.
        has_digest: the user knows one.
        kept: what lay there before under the final name, and may still.
        outside: what was written outside of its directory.
        leaks: what was told to a server that it was not meant for.
        wants_resume: what was there before the last run should have been kept.
    """

    runs: Sequence[Ran]
    versions: Sequence[bytes]
    has_digest: bool = False
    kept: bytes | None = None
    outside: Sequence[str] = ()
    leaks: Sequence[str] = ()
    wants_resume: bool = False


@dataclass(frozen=True)
class Judgement:
    """A verdict, and in words what it rests on."""

    verdict: Verdict
    because: str


def judge(facts: Facts) -> Judgement:
    """Say what became of it."""
    right = facts.versions[:1] if facts.has_digest else facts.versions
    found = [Judgement(Verdict.OUTSIDE, each) for each in facts.outside]
    found += [Judgement(Verdict.LEAK, each) for each in facts.leaks]
    *before, last = facts.runs
    for run in before:
        judged = _judge_run(run, right, facts)
        if judged.verdict in (Verdict.WRONG, Verdict.HANG, Verdict.CRASH):
            found.append(judged)
    found.append(_judge_run(last, right, facts))
    order = list(Verdict)
    return max(found, key=lambda each: order.index(each.verdict))


def _judge_run(run: Ran, right: Sequence[bytes], facts: Facts) -> Judgement:
    wrong = [name for name, content in run.files.items() if content not in right and content != facts.kept]
    told = "; ".join(f"{name} is {tell_stretches(run.files[name], facts.versions)}" for name in wrong)
    said = run.said or "no word"
    if run.was_ended:
        return Judgement(Verdict.ERROR, "ended from outside")
    if not run.has_ended:
        return Judgement(Verdict.HANG, f"no end after {run.seconds:.0f} s; {told}")
    if run.succeeded:
        if not any(content in right for content in run.files.values()):
            return Judgement(Verdict.WRONG, told or "success, and no file")
        if wrong:
            # The file is there, and beside it something that an earlier run has left.
            return Judgement(Verdict.PARTIAL, told)
        size = min(len(content) for content in run.files.values() if content in right)
        if facts.wants_resume and run.sent_bytes >= _MOST_OF * size:
            return Judgement(Verdict.AGAIN, f"{run.sent_bytes} bytes sent in the last run")
        return Judgement(Verdict.CORRECT, f"{run.sent_bytes} bytes sent")
    if run.has_crashed:
        return Judgement(Verdict.CRASH, "; ".join(filter(None, [said, told])))
    if wrong:
        return Judgement(Verdict.PARTIAL, f"{told}; said: {said}")
    return Judgement(Verdict.ERROR, said)

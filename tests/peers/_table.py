"""Results as tables of the documentation, which are read on a terminal as well.

Rules that hold here:

- where a client does badly by a weakness that an attacker can use, nobody is named but ours: such a row counts;
- what is written for the documentation is what is printed, and nothing of the machine is in it but what a reader needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from tests.benchmarks._tables import make_table

from ._contenders import Contender
from ._judge import Verdict
from ._runner import Result
from ._scenario import Best, Scenario

__all__ = ["make_report", "tell_worse"]

_Rows = list[list[str]]


def make_report(results: Sequence[Result]) -> str:
    """Return all tables, with a heading for each subject."""
    contenders = list({each.case.contender.name: each.case.contender for each in results}.values())
    by_case = {(each.case.contender.name, each.case.scenario.name): each for each in results}
    scenarios = list(dict.fromkeys(each.case.scenario for each in results))
    parts = ["In all:", _totals(contenders, results)]
    for subject, group in groupby(scenarios, key=lambda each: each.subject):
        rows: _Rows = []
        of_subject = list(group)
        for scenario in of_subject:
            row = [by_case.get((contender.name, scenario.name)) for contender in contenders]
            rows.append([_told(scenario), scenario.best.value, *_cells(contenders, row, scenario)])
        parts += [f".. rubric:: {subject.value}", make_table(_header(contenders, of_subject[0]), rows)]
    parts += ["Started as:", *_commands(contenders)]
    return "\n\n".join(parts)


def tell_worse(results: Sequence[Result]) -> Iterator[str]:
    """Name every result that is unsafe, or worse than possible, with what it rests on."""
    for each in results:
        if each.judgement is None:
            continue
        verdict, best = each.judgement.verdict, each.case.scenario.best
        if not verdict.is_safe or verdict is Verdict.AGAIN or (best is Best.CORRECT and not verdict.is_correct):
            yield (
                f"{each.case.contender.name}: {each.case.scenario.subject.value} / {each.case.scenario.name}: "
                f"{verdict.value}, {best.value} is possible [{each.judgement.because}] "
                f"({each.requests} requests, {each.seconds:.1f} s)"
            )


def _header(contenders: Sequence[Contender], scenario: Scenario) -> list[str]:
    if not scenario.is_security:
        return ["what happens", "possible", *(each.name for each in contenders)]
    return ["what happens", "possible", *(each.name for each in contenders if each.is_ours), "the others"]


def _cells(contenders: Sequence[Contender], row: Sequence[Result | None], scenario: Scenario) -> list[str]:
    if not scenario.is_security:
        return [_cell(each) for each in row]
    pairs = list(zip(contenders, row, strict=True))
    counted = Counter(_cell(result) for contender, result in pairs if not contender.is_ours)
    told = ", ".join(f"{count} × {cell}" for cell, count in sorted(counted.items(), key=lambda item: item[0]))
    return [*(_cell(result) for contender, result in pairs if contender.is_ours), told or "–"]


def _cell(result: Result | None) -> str:
    if result is None or result.judgement is None:
        return "–"
    verdict = result.judgement.verdict
    return verdict.value if verdict.is_safe else f"**{verdict.value}**"


def _told(scenario: Scenario) -> str:
    text = scenario.name.replace("\\", "\\\\")
    return f"{text} ({scenario.source})" if scenario.source else text


def _totals(contenders: Sequence[Contender], results: Sequence[Result]) -> str:
    rows: _Rows = []
    shown = [each for each in Verdict if each not in (Verdict.LEAK, Verdict.OUTSIDE)]
    judged = [each for each in results if each.judgement is not None]
    for contender in contenders:
        named = [
            each for each in judged if each.case.contender.name == contender.name and not each.case.scenario.is_security
        ]
        verdicts = Counter(each.judgement.verdict for each in named if each.judgement is not None)
        missed = sum(
            each.judgement is not None
            and each.judgement.verdict is Verdict.ERROR
            and each.case.scenario.best is Best.CORRECT
            for each in named
        )
        counts = [str(verdicts[each]) for each in shown]
        counts[shown.index(Verdict.ERROR)] += f" ({missed})" if missed else ""
        rows.append([contender.name, contender.version, str(len(named)), *counts])
    table = make_table(["client", "version", "scenarios", *(each.value for each in shown)], rows)
    return f"{table}\n\nIn parentheses: errors where the file could have been had.  {_weak(judged)}".rstrip()


def _weak(judged: Sequence[Result]) -> str:
    """Say how many did harm by names and secrets, and name nobody but ours."""
    told: list[str] = []
    for is_ours, who in ((False, "other clients"), (True, "of ours")):
        own = [each for each in judged if each.case.contender.is_ours is is_ours and each.case.scenario.is_security]
        clients = {each.case.contender.name for each in own}
        outside, leaked = (
            len({each.case.contender.name for each in own if each.judgement and each.judgement.verdict is verdict})
            for verdict in (Verdict.OUTSIDE, Verdict.LEAK)
        )
        if clients:
            told.append(
                f"of {len(clients)} {who}, {outside or 'none'} wrote outside of the directory and {leaked or 'none'} "
                f"told a secret to another server"
            )
    return f"Names and secrets are counted apart: at least once, {'; '.join(told)}." if told else ""


def _commands(contenders: Sequence[Contender]) -> Iterator[str]:
    for each in contenders:
        yield f"{each.name}\n    ``{each.shown}``"

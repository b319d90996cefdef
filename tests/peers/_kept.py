"""Results kept in a file, so that one client can be run again without all the others.

Rules that hold here:

- what was run last counts; what is known of clients and scenarios that are no more is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from ._judge import Judgement, Verdict
from ._runner import Case, Result

__all__ = ["keep", "merge", "read_kept"]


def read_kept(path: Path, cases: Iterable[Case]) -> list[Result]:
    """Return what is kept of *cases*; nothing if there is no file."""
    if not path.exists():
        return []
    kept = json.loads(path.read_text("utf-8"))
    results: list[Result] = []
    for case in cases:
        entry = kept.get(_key(case))
        if entry is not None:
            judgement = Judgement(Verdict(entry["verdict"]), entry["because"]) if entry["verdict"] else None
            results.append(Result(case, judgement, entry["seconds"], entry["requests"]))
    return results


def keep(path: Path, results: Sequence[Result]) -> None:
    """Write *results* down, instead of what is there."""
    kept = {
        _key(each.case): {
            "verdict": None if each.judgement is None else each.judgement.verdict.value,
            "because": "" if each.judgement is None else each.judgement.because,
            "seconds": round(each.seconds, 2),
            "requests": each.requests,
        }
        for each in results
    }
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False), "utf-8")


def merge(cases: Iterable[Case], older: Iterable[Result], newer: Iterable[Result]) -> list[Result]:
    """Return the newest result of each case, in the order of *cases*; those without one are left out."""
    latest = {_key(each.case): each for each in (*older, *newer)}
    return [latest[key] for key in map(_key, cases) if key in latest]


def _key(case: Case) -> str:
    return f"{case.contender.name} | {case.scenario.subject.value} | {case.scenario.name}"

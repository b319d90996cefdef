"""The comparison: other downloaders, and ours, against the misbehaving origin on real sockets.

::

    nox -s peers [-- [--only NAME]… [--scenario TEXT]… [--keep FILE] [--write docs/comparison_tables.inc]]

Rules that hold here:

- it is a report and no test: nothing here fails, and what is unsafe or worse than possible is told on stderr;
- a client that is not installed is left out.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trio

from ._contenders import find_contenders
from ._kept import keep, merge, read_kept
from ._runner import LIMIT_S, Case, Result, run_all
from ._scenarios import SCENARIOS
from ._table import make_report, tell_worse


def main() -> None:
    """Run what the command line asks for, print it, and write it down."""
    parser = argparse.ArgumentParser(prog="nox -s peers --", description="Other downloaders, and ours, compared.")
    parser.add_argument("--only", action="append", metavar="NAME", help="this client; may be given several times")
    parser.add_argument("--scenario", action="append", metavar="TEXT", help="those with TEXT in 'SUBJECT: NAME'")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of one run (default: 60)")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="how many run at a time (default: 2)")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add to the results there, and report all of them")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables there, as reStructuredText")
    parser.add_argument("--peers-python", type=Path, metavar="FILE", help="an interpreter with pypdl and parfive")
    chosen = parser.parse_args()
    contenders = find_contenders(chosen.peers_python)
    cases = [Case(contender, scenario) for scenario in SCENARIOS for contender in contenders]
    wanted = [
        case
        for case in cases
        if (chosen.only is None or case.contender.name in chosen.only)
        and (
            chosen.scenario is None
            or any(text in f"{case.scenario.subject.value}: {case.scenario.name}" for text in chosen.scenario)
        )
    ]
    before = [] if chosen.keep is None else read_kept(chosen.keep, cases)
    done: list[Result] = []

    def tell_result(result: Result) -> None:
        done.append(result)
        verdict = "–" if result.judgement is None else result.judgement.verdict.value
        case = result.case
        print(f"{len(done)}/{len(wanted)} {case.contender.name}: {case.scenario.name}: {verdict}", file=sys.stderr)
        for line in tell_worse([result]):
            print(f"    {line}", file=sys.stderr)
        if chosen.keep is not None:
            keep(chosen.keep, merge(cases, before, done))

    trio.run(partial(run_all, wanted, at_once=chosen.at_once, limit_s=chosen.limit, tell_result=tell_result))
    results = merge(cases, before, done)
    report = f"Made on {datetime.now(UTC):%Y-%m-%d}.\n\n{make_report(results)}"
    print(report)
    if chosen.write is not None:
        chosen.write.write_text(f"{report}\n", "utf-8")
        print(f"written to {chosen.write}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Mutation testing of the manager's core: every small change of it is noticed by a test, or is known to change nothing.

::

    nox -s mutation [-- [ROOM …] [--workers N] [--write docs]]

Rules that hold here:

- a mutant that survives is listed in ``survivors.toml``, with the reason why no test can notice it; any other that
  survives is an error, and so is one that is listed and noticed after all;
- the tests that reach the mutated lines look, the quickest first, and the state machine last of all.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Final

import pytest

from tests.benchmarks._tables import tell_machine

from ._mutants import Mutant, make_mutants
from ._report import Report, read_survivors
from ._trial import Trial, Watched, collect, watch

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "trio_dlm"

CORE: Final = (
    "_status",
    "_outcome",
    "_schedule",
    "_admission",
    "_events",
    "_registry",
    "_failures",
    "_log",
    "_download",
    "_engine",
    "_run",
    "_task",
    "_batch",
    "_manager",
    "_block",
)

TESTS: Final = (
    "admission",
    "backend",
    "batch",
    "block",
    "checkpoints",
    "context",
    "download",
    "engine",
    "events",
    "failures",
    "log",
    "manager",
    "manager_cancel",
    "manager_limits",
    "manager_order",
    "manager_pause",
    "manager_races",
    "manager_rate",
    "outcome",
    "registry",
    "run",
    "schedule",
    "status",
    "task",
)

MACHINE: Final = "tests/test_manager_machine.py"
"""Looks at those that all others let pass."""


@dataclass(frozen=True, slots=True)
class Jury:
    """The tests, and which of them are to look at a mutant."""

    items: Mapping[str, pytest.Item]
    watched: Watched
    is_quick: bool

    def rounds(self, mutant: Mutant, source: str) -> Iterator[Trial]:
        """Begin the trials of *mutant*, each when the one before has not noticed it."""
        code = mutant.compile(source, str(PACKAGE / f"{mutant.room}.py"))
        tests = sorted(self._reach(mutant), key=lambda test: (self.watched.seconds[test], test))
        own = [test for test in tests if test.startswith(f"tests/test{mutant.room}.py::")]
        machine = [test for test in tests if test.startswith(MACHINE)]
        others = [test for test in tests if test not in {*own, *machine}]
        for afresh in (True,) if not mutant.is_inside else (False,) if self.is_quick else (False, True):
            yield from self._begin(mutant, code, (own, others), afresh=afresh)
        yield from self._begin(mutant, code, (machine,), afresh=not mutant.is_inside)

    def _reach(self, mutant: Mutant) -> set[str]:
        if not mutant.lines:
            # What is made on import may matter to anybody.
            return set(self.items)
        reached = self.watched.reached.get(mutant.room, {})
        return {test for line in mutant.lines for test in reached.get(line, ())}

    def _begin(
        self, mutant: Mutant, code: CodeType, groups: Sequence[Sequence[str]], *, afresh: bool
    ) -> Iterator[Trial]:
        for group in groups:
            if group:
                items = [self.items[test] for test in group]
                yield Trial(f"trio_dlm.{mutant.room}", code, items, seconds=self.watched.seconds, afresh=afresh)


@dataclass(slots=True)
class Case:
    """A mutant on trial."""

    mutant: Mutant
    rounds: Iterator[Trial]
    trial: Trial | None = None

    def begin_next(self) -> bool:
        """Begin the next round; False if there is none."""
        self.trial = next(self.rounds, None)
        return self.trial is not None


def try_all(cases: Iterator[Case], workers: int) -> Iterator[tuple[Mutant, str | None]]:
    """Try the mutants, *workers* at a time, and yield each with who noticed it; None for a survivor."""
    running: deque[Case] = deque()
    while True:
        while len(running) < workers and (case := next(cases, None)) is not None:
            if case.begin_next():
                running.append(case)
            else:
                yield case.mutant, None
        if not running:
            return
        case = running.popleft()
        assert case.trial is not None
        noticed = case.trial.wait()
        if noticed is None and case.begin_next():
            running.append(case)
        else:
            yield case.mutant, noticed


def main() -> None:
    """Run what the command line asks for; the exit code is 0 if nothing survived without its reason."""
    parser = argparse.ArgumentParser(prog="nox -s mutation --", description="Mutation testing of the manager's core.")
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"one of {', '.join(CORE)} (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="how many mutants are tried at a time (default: 1)")
    parser.add_argument("--place", default="", help="only what is in this function or class, Engine.step say")
    parser.add_argument("--quick", action="store_true", help="spare survivors the state machine and the second look")
    parser.add_argument("--verbose", action="store_true", help="print every mutant and who noticed it")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the tables there, for the documentation")
    chosen = parser.parse_args()
    if unknown := set(chosen.rooms) - {*CORE}:
        parser.error(f"no rooms of the core: {', '.join(sorted(unknown))}")
    os.chdir(ROOT)
    # The same examples for every mutant.
    os.environ["HYPOTHESIS_PROFILE"] = "ci"
    report = Report(read_survivors())
    files = [f"tests/test_{name}.py" for name in TESTS]
    collect(files if chosen.quick else [*files, MACHINE], partial(try_rooms, chosen, report))
    problems = report.problems(all_of_them=not (chosen.rooms or chosen.place))
    print(*problems, report.figures(), sep="\n")
    if chosen.write is not None:
        made_with = tell_machine("pytest", "trio")
        (chosen.write / "mutation_figures.inc").write_text(f"{made_with}\n\n{report.figures()}\n", "utf-8")
        (chosen.write / "mutation_survivors.inc").write_text(f"{report.tell_survivors()}\n", "utf-8")
    sys.exit(1 if problems else 0)


def try_rooms(chosen: argparse.Namespace, report: Report, items: Sequence[pytest.Item]) -> None:
    """Try every mutant that the command line asks for, in front of *items*."""
    sources = {room: PACKAGE / f"{room}.py" for room in chosen.rooms or CORE}
    jury = Jury({item.nodeid: item for item in items}, watch(items, sources), chosen.quick)
    texts = {room: path.read_text("utf-8") for room, path in sources.items()}
    mutants = [m for room, text in texts.items() for m in make_mutants(room, text) if m.place.startswith(chosen.place)]
    cases = (Case(mutant, jury.rounds(mutant, texts[mutant.room])) for mutant in mutants)
    for mutant, noticed in try_all(cases, chosen.workers):
        report.add(mutant, noticed)
        if chosen.verbose:
            print(f"{noticed or 'nobody'}: {mutant}", flush=True)
        elif not report.tried % 100:
            print(f"{report.tried} of {len(mutants)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

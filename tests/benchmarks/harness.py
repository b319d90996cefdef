"""How fast the state machine of the harness is: steps per second of CPU, all laws looked at after each.

::

    nox -s bench -- harness [--rounds N]

Rules that hold here:

- a step is one that the program has; the looks in between are its cost and are not counted;
- targets are printed beside the figures and never asserted: a shared machine would make a test of them a lottery.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from typing import Final

from hypothesis import settings

from tests.toy_manager import open_toy_for
from trio_dlm import open_manager
from trio_dlm.testing.machine._check import DEFAULTS, ManagerReport, check_manager

from ._measuring import Spread, sample, take_turns
from ._tables import make_table, tell_machine

EXAMPLES: Final = 300
STEPS: Final = 50
TARGET: Final = 1500
"""At least so many steps per second of CPU."""

CONTENDERS: Final = {"ours": "trio_dlm, all features", "toy": "a toy, the least"}


def check(contender: str) -> ManagerReport:
    """Check one of the managers."""
    search = settings(DEFAULTS, max_examples=EXAMPLES, stateful_step_count=STEPS)
    if contender == "ours":
        return check_manager(open_manager, settings=search)
    return check_manager(open_toy_for("none"), features=frozenset(), settings=search)


def take_sample(contender: str) -> None:
    """Print what one search has cost."""
    began_s = time.process_time()
    report = check(contender)
    cpu_s = time.process_time() - began_s
    steps = sum(report.steps.values())
    print(json.dumps({"steps_per_s": steps / cpu_s, "steps": steps, "cpu_s": cpu_s}))


def main() -> None:
    """Run what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- harness", description="How fast the state machine is.")
    parser.add_argument("--rounds", type=int, default=5, help="samples of every contender (default: 5)")
    parser.add_argument("--sample", choices=CONTENDERS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.sample is not None:
        take_sample(chosen.sample)
        return
    print(f"{EXAMPLES} programs of up to {STEPS} steps", file=sys.stderr)
    module = f"{__package__}.harness"
    taken = take_turns({name: partial(sample, module, "--sample", name) for name in CONTENDERS}, rounds=chosen.rounds)
    rows = [
        [
            CONTENDERS[name],
            Spread.of([each["steps"] for each in samples]).show(0),
            Spread.of([each["cpu_s"] for each in samples]).show(1),
            Spread.of([each["steps_per_s"] for each in samples]).show(0),
            f"≥ {TARGET:,}",
        ]
        for name, samples in taken.items()
    ]
    print(
        f"{tell_machine('trio', 'hypothesis')}  Samples of each: {chosen.rounds}; shown is the median (least–most).\n"
    )
    print(make_table(["manager", "steps", "CPU s", "steps per CPU s", "target"], rows))


if __name__ == "__main__":
    main()

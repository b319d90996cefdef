"""``python -m trio_dlm.testing``: check what comes along, or a command of your own.

Rules that hold here:

- a check that finds nothing is told in a few lines, one that finds something as the smallest case;
- exit status 0 means that nothing was found, 1 that something was, 2 that the call makes no sense, 130 that it was
  interrupted; no traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Final

try:
    import hypothesis
except ModuleNotFoundError as missing:
    if missing.name != "hypothesis":
        raise
    sys.stderr.write("the checks need Hypothesis, which is not installed: pip install 'trio-dlm[testing]'\n")
    sys.exit(2)

from .. import HttpDownloader, open_manager
from .._options import check_seconds
from . import Promise, Stage, check_download_command, check_downloader, check_manager, torture
from ._settings import search_settings

__all__ = ["main"]

_DESCRIPTION: Final = """\
Without a COMMAND the manager and the HTTP downloader of trio_dlm are checked: the manager by random programs under
random schedules, the downloader by random faults of a server, and both by a cancel at every checkpoint and an error in
every file operation.  With one, that command is checked as a downloader: {url} in it is what it is to fetch, and
{path}, or {directory} and {name}, where to.
"""

_INDENT: Final = "    "
_LEAST_WIDTH: Final = 40

_PLACES: Final = frozenset({"{url}", "{path}", "{directory}", "{name}"})

_COMMAND_PROMISES: Final = (Promise.EXACT, Promise.ABSENT, Promise.PROMPT, Promise.SERVED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that *arguments* ask for, and return the exit status."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    command: list[str] = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if problem := _problem_of(command) if command else _stray(asked):
        parser.error(problem)
    settings = hypothesis.settings(
        search_settings(), max_examples=asked.examples, stateful_step_count=40, derandomize=not asked.random
    )
    checks = _checks_of_command(command, asked, settings) if command else _checks_of_ours(settings)
    try:
        broken = [name for name, check in checks.items() if not _run(name, check)]
    except KeyboardInterrupt:
        print("interrupted")  # noqa: T201  (likewise)
        # As a shell has it: 128 and the number of the signal.
        return 130
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trio_dlm.testing", description=_DESCRIPTION)
    parser.add_argument("-n", "--examples", type=_count, default=100, help="how many of each kind (default: 100)")
    parser.add_argument("--random", action="store_true", help="other examples every time, instead of the same ones")
    parser.add_argument(
        "--partial-files", action="store_true", help="a COMMAND that fails may leave what it has under the final name"
    )
    parser.add_argument("--runs", type=_count, default=3, help="how often to run a COMMAND that fails (default: 3)")
    parser.add_argument("--limit", type=_seconds, default=10.0, help="seconds that a COMMAND may take (default: 10)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="such as: -- curl -o {path} {url}")
    return parser


def _problem_of(command: list[str]) -> str | None:
    """Say why a command cannot be checked, if it cannot."""
    named = set(re.findall(r"\{[a-z]+\}", " ".join(command)))
    if unknown := named - _PLACES:
        return f"the command has {', '.join(sorted(unknown))}; known are {', '.join(sorted(_PLACES))}"
    if "{url}" not in named:
        return "the command has no {url}"
    if "{path}" not in named and not {"{directory}", "{name}"} <= named:
        return "the command has no {path}, nor {directory} and {name}, and would save its file where nobody looks"
    if shutil.which(command[0]) is None:
        return f"there is no command {command[0]}"
    return None


def _stray(asked: argparse.Namespace) -> str | None:
    return "--partial-files is for a COMMAND, and there is none" if asked.partial_files else None


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return check_seconds("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a positive number of seconds, got {text}") from None


def _checks_of_ours(settings: hypothesis.settings) -> dict[str, Callable[[], object]]:
    async def fetch(stage: Stage) -> None:
        async with open_manager(directory=stage.directory) as manager:
            await manager.download(stage.url)

    return {
        "the manager, by random programs": lambda: check_manager(open_manager, settings=settings),
        "the HTTP downloader, by random faults": lambda: check_downloader(HttpDownloader, settings=settings),
        "both, by cancels and failing files": lambda: torture(fetch, leftovers=["*.part", "*.part.json"]),
    }


def _checks_of_command(
    command: list[str], asked: argparse.Namespace, settings: hypothesis.settings
) -> dict[str, Callable[[], object]]:
    promises = set(_COMMAND_PROMISES) - ({Promise.ABSENT} if asked.partial_files else set())

    def argv(url: str, path: str) -> list[str]:
        directory, name = os.path.split(path)
        facts = {"{url}": url, "{path}": path, "{directory}": directory, "{name}": name}
        # All at once: what was put in is not looked at again.
        return [re.sub("|".join(facts), lambda found: facts[found[0]], word) for word in command]

    return {
        command[0]: lambda: check_download_command(
            argv, promises=promises, runs=asked.runs, limit_s=asked.limit, settings=settings
        )
    }


def _run(name: str, check: Callable[[], object]) -> bool:
    """Run one check, say what came of it, and return whether all was well."""
    began = time.perf_counter()
    print(f"{name}: ", end="", flush=True)  # noqa: T201  (what it is for)
    try:
        report = str(check())
    except AssertionError as exc:
        verdict = "BROKEN"
        # As it is: plans and programs in it are Python, to be copied.
        lines = [line for text in (str(exc), *getattr(exc, "__notes__", ())) for line in text.splitlines()]
    else:
        verdict = "right"
        width = max(_LEAST_WIDTH, shutil.get_terminal_size().columns - len(_INDENT))
        lines = [line for each in report.splitlines() for line in textwrap.wrap(each, width, subsequent_indent=_INDENT)]
    head = f"{verdict}, {time.perf_counter() - began:.0f} s"
    print(head, *(f"{_INDENT}{line}".rstrip() for line in lines), sep="\n", flush=True)  # noqa: T201  (what it is for)
    return verdict == "right"


if __name__ == "__main__":
    sys.exit(main())

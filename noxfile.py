"""The sessions of the project.  ``nox -s tests`` is the one to know; ``nox -l`` lists them all.

Rules that hold here:

- a session needs nothing but the interpreter that runs nox, the package registry, and what it installs itself;
- a version of Python that is not there is skipped with a word, on a CI machine too;
- what a session installs is written in ``pyproject.toml`` (extras and dependency groups), what a tool is told as well;
- a session leaves nothing in the checkout but what ``.gitignore`` names.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import nox
import nox.command

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "typing", "docs", "package"]
# nox's own default is to fail on a CI machine, which would demand every version of Python of everybody's CI.
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "virtualenv"

ROOT: Final = Path(__file__).parent
PROJECT: Final = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS: Final = ("3.11", "3.12", "3.13")
CACHE: Final = ROOT / ".cache"


def offer_pyenv_interpreters() -> None:
    """Put the newest of every version that pyenv has at the end of PATH.

    pyenv's own shims are on PATH, but work only for versions that it was told to activate; nox would not see others.
    """
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for version in PYTHONS:
        found = [path for path in root.glob(f"versions/{version}.*/bin") if path.parent.name.replace(".", "").isdigit()]
        if found:
            newest = max(found, key=lambda path: [int(number) for number in path.parent.name.split(".")])
            os.environ["PATH"] += f"{os.pathsep}{newest}"


offer_pyenv_interpreters()


def groups(*names: str) -> list[str]:
    """Return what the dependency groups *names* of ``pyproject.toml`` ask for."""
    return list(nox.project.dependency_groups(PROJECT, *names))


# Its metadata wants trio 0.28 and no other, but it runs with newer ones.  The group `test` has what else it needs.
TRIOGRAM: Final = ("--no-deps", "triogram==0.6.0")


def install_to_test(session: nox.Session, *more: str) -> None:
    """Install the checkout, all that its tests need, and the dependency groups *more*."""
    session.install("-e", ".[all]", *groups("test", *more))
    session.install(*TRIOGRAM)


# As many tests at a time as there are cores.  Whoever passes arguments gets pytest as it is.
AT_ONCE: Final = ("-n", "auto", "--dist", "worksteal")


# As repeatable as on a CI machine, and a quarter as long: tests/conftest.py has this profile.
SHORT_SEARCH: Final = {"HYPOTHESIS_PROFILE": os.environ.get("HYPOTHESIS_PROFILE", "smoke")}


def smoke(*, wheel: bool = False) -> list[str]:
    """Return the arguments for pytest that run the smoke set, or that of a wheel; ``tests/smoke.toml`` has both."""
    table = tomllib.loads((ROOT / "tests" / "smoke.toml").read_text("utf-8"))
    if wheel:
        return ["-m", "not slow", *AT_ONCE, *(f"tests/{file}" for file in table["wheel"]["run"])]
    left_out = [f"tests/{file}" for each in table["left_out"] for file in each["files"]]
    for file in left_out:
        if not (ROOT / file).exists():
            # pytest would ignore in silence what is not there.
            raise FileNotFoundError(f"tests/smoke.toml leaves out {file}, which does not exist")
    return ["-m", "not slow", *AT_ONCE, *(f"--ignore={file}" for file in left_out)]


def run_each(session: nox.Session, *commands: list[str]) -> None:
    """Run all *commands*, even when one fails, so that one run of the session tells everything."""
    failed = []
    for command in commands:
        try:
            session.run(*command)
        except nox.command.CommandFailed:
            failed.append(command[0])
    if failed:
        session.error(f"{', '.join(failed)} failed")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite and demand its coverage.  Arguments go to pytest, and then no coverage is measured."""
    install_to_test(session)
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    shutil.rmtree(CACHE / "coverage", ignore_errors=True)
    (CACHE / "coverage").mkdir(parents=True)
    # Being measured takes twice the time, and what is slow tries more of what others try as well.
    measured = ["python", "-m", "coverage", "run", "-m", "pytest", "-m", "not slow", *AT_ONCE]
    run_each(session, measured, ["python", "-m", "pytest", "-m", "slow", *AT_ONCE])
    session.run("python", "-m", "coverage", "combine", "--quiet")
    # Rooms that decide, and the core of the manager: no branch of these is left untried.
    rooms = tomllib.loads((ROOT / "tests" / "rooms.toml").read_text("utf-8"))["fully_covered"]["modules"]
    files = [f"trio_dlm/{room.replace('.', '/')}{end}" for room in rooms for end in (".py", "/__init__.py")]
    report = ["python", "-m", "coverage", "report"]
    run_each(session, report, [*report, "--fail-under=100", f"--include={','.join(files)}"])


@nox.session(python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """Run what is not slow on every Python that is found on PATH or in pyenv.  Arguments go to pytest."""
    install_to_test(session)
    session.run("python", "-m", "pytest", *(session.posargs or ["-m", "not slow", *AT_ONCE]))


@nox.session(python=PYTHONS)
def tests_smoke(session: nox.Session) -> None:
    """Run the smoke set on every Python that is found on PATH or in pyenv.  Arguments go to pytest."""
    install_to_test(session)
    session.run("python", "-m", "pytest", *(session.posargs or smoke()), env=SHORT_SEARCH)


# The tests of what stands on Hypothesis' state machines, strategies and settings.
USE_HYPOTHESIS: Final = (
    *("check_downloader", "machine_*", "manager_machine", "model_log", "origin_strategies", "profiles", "programs"),
    *("search_settings", "toy_manager"),
)


@nox.session(python=PYTHONS)
@nox.parametrize("hypothesis", ["oldest", "newest"])
def tests_hypothesis(session: nox.Session, hypothesis: str) -> None:
    """Run the tests of the harness with the oldest Hypothesis that it supports, and with the newest.

    Arguments go to pytest.
    """
    install_to_test(session)
    if hypothesis == "oldest":
        extra = PROJECT["project"]["optional-dependencies"]["testing"]
        (bound,) = (each for each in extra if each.startswith("hypothesis"))
        session.install(bound.replace(">=", "=="))
    files = [str(path) for pattern in USE_HYPOTHESIS for path in sorted(Path("tests").glob(f"test_{pattern}.py"))]
    arguments = session.posargs or ["-m", "not slow", *AT_ONCE, *files]
    session.run("python", "-m", "pytest", *arguments, env=SHORT_SEARCH)


@nox.session
def tests_media(session: nox.Session) -> None:
    """Run the tests of the media downloader with the newest yt-dlp there is, also one before its release.

    Sites change and yt-dlp with them, so this is for every night.  Arguments go to pytest.
    """
    install_to_test(session)
    session.install("--upgrade", "--pre", "yt-dlp[default]")
    files = [str(path) for path in sorted(Path("tests").glob("test_ytdlp_*.py"))]
    session.run("python", "-m", "pytest", *(session.posargs or [*AT_ONCE, *files]))


# All its rules, the optional ones too, but: 910 and 911 ask for a checkpoint of every async function, private ones and
# context managers included, where tests ask it of the public ones; 114 wants a list kept of all functions that take a
# task_status; 127 would have httpx replaced, and we take both.
FLAKE8_ASYNC: Final = (
    "--enable=ASYNC",
    "--disable=ASYNC114,ASYNC127,ASYNC910,ASYNC911",
    "--transform-async-generator-decorators=as_safe_channel",
)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, the use of trio, and the news fragments."""
    session.install(*groups("lint"))
    run_each(
        session,
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        # ruff knows 17 of its 47 rules.
        ["flake8-async", *FLAKE8_ASYNC, *map(str, sorted(Path("trio_dlm").rglob("*.py")))],
        # A fragment whose name means nothing is an error.
        ["towncrier", "build", "--draft", "--version", "next"],
    )


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types: mypy for everything, pyright for the package."""
    install_to_test(session, "typing")
    python = shutil.which("python", path=session.bin) or sys.executable
    run_each(session, ["mypy"], ["pyright", "--pythonpath", python])


# Every warning is an error, a name that leads nowhere is a warning, and all of them are shown.
SPHINX: Final = ("-W", "-n", "--keep-going", "--no-color", "-q", "-b", "html", "-d", ".cache/doctrees")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, with every warning an error, and run its examples.  Argument: ``pages`` runs none."""
    install_to_test(session, "docs")
    examples = ["python", "-m", "pytest", "-q", *AT_ONCE, "tests/test_examples.py"]
    pages = ["sphinx-build", *SPHINX, "docs", "docs/_build/html"]
    run_each(session, pages, *([] if session.posargs == ["pages"] else [examples]))
    session.log("the documentation is docs/_build/html/index.html")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, look into them, and test the installed wheel a little, away from the checkout."""
    session.install(*groups("package"))
    with tempfile.TemporaryDirectory(prefix="trio-dlm-") as name:
        made = Path(name)
        # The wheel is built from the sdist, so the sdist is known to be enough.
        session.run("python", "-m", "build", "--outdir", str(made / "dist"))
        (wheel,) = map(str, made.glob("dist/*.whl"))
        session.run("twine", "check", "--strict", *map(str, made.glob("dist/*")))
        session.run("check-wheel-contents", "--toplevel", "trio_dlm", wheel)

        away = made / "away"
        for folder in ("tests", "docs"):
            shutil.copytree(ROOT / folder, away / folder, ignore=shutil.ignore_patterns("_build", "__pycache__"))
        for file in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / file, away / file)
        # nox brings virtualenv, and unlike venv it needs nothing else of the interpreter.
        session.run(sys.executable, "-m", "virtualenv", "--quiet", str(made / "venv"), external=True)
        python = shutil.which("python", path=made / "venv" / ("Scripts" if os.name == "nt" else "bin"))
        assert python is not None
        install = [python, "-m", "pip", "install", "--quiet"]
        session.run(*install, f"{wheel}[all]", *groups("test"), external=True)
        session.run(*install, *TRIOGRAM, external=True)
        with session.chdir(away):
            arguments = session.posargs or smoke(wheel=True)
            session.run(python, "-m", "pytest", "-q", *arguments, env=SHORT_SEARCH, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark: ``nox -s bench -- manager`` runs tests/benchmarks/manager.py; more arguments go to it."""
    known = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("[!_]*.py"))
    if not session.posargs or session.posargs[0] not in known:
        session.error(f"say which benchmark: nox -s bench -- NAME; there are: {', '.join(known) or 'none yet'}")
    session.install("-e", ".[all]", *groups("bench"))
    name, *arguments = session.posargs
    session.run("python", "-m", f"tests.benchmarks.{name}", *arguments)


@nox.session
def mutation(session: nox.Session) -> None:
    """Demand that a test notices every small change of the manager's core.  Arguments: rooms, ``--workers N``."""
    install_to_test(session)
    session.run("python", "-m", "tests.mutation.core", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Compare other downloaders, as far as they are installed or on PyPI, with ours.  Arguments go to the report."""
    session.install("-e", ".[all]")
    # An environment of their own, since what they need is not to meet what we need.
    venv = Path(session.create_tmp()).absolute() / "peers"
    session.run(sys.executable, "-m", "virtualenv", "--quiet", str(venv), external=True)
    python = shutil.which("python", path=venv / ("Scripts" if os.name == "nt" else "bin"))
    assert python is not None
    session.run(python, "-m", "pip", "install", "--quiet", *groups("peers"), external=True)
    session.run("python", "-m", "tests.peers.report", "--peers-python", python, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Try random origins against the HTTP downloader for half an hour.  Arguments: ``--minutes N``, ``--seed N``."""
    install_to_test(session)
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def hardships(session: nox.Session) -> None:
    """Kill the command, fill its disk, starve it, and look at what is promised.  Arguments: names, ``--seed N``."""
    install_to_test(session)
    session.run("python", "-m", "tests.hardships", *session.posargs)

"""One process for each trial: some tests in front of one mutant, or of none while it is noted which lines they reach.

Rules that hold here:

- the tests are collected once; each trial is a copy of that process, so it costs little more than its tests;
- in the copy the functions of the mutated module get other code, which is quick but misses what was done on import;
  whatever survives that, and what changes more than the inside of a function, is tried once more in a copy that has
  forgotten the package and imports it again, mutated;
- a trial ends: its memory is limited, and for each test the processor time and the real time; whoever reaches a limit
  is a mutant that was noticed;
- nothing is written into the checkout.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import math
import os
import resource
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import coverage
import pytest

__all__ = ["Trial", "Watched", "collect", "watch"]

# How many times as long as without a mutant a test may take, and how much longer than that: most take milliseconds.
PATIENCE: Final = 5
MORE_CPU_S: Final = 3

# For those that wait for ever.  Far more than a test takes, since the machine may be busy with something else.
MORE_S: Final = 60

# Some mutants queue for ever what nobody takes out.
MAX_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Watched:
    """What the tests do when nothing is wrong.

    Attributes:
        seconds: how long each test takes.
        reached: the tests that run a line, for each line of each room.
    """

    seconds: Mapping[str, float]
    reached: Mapping[str, Mapping[int, Sequence[str]]]


def collect(files: Sequence[str], use: Callable[[Sequence[pytest.Item]], None]) -> None:
    """Collect the tests in *files*, and call *use* with them.

    Raises:
        RuntimeError: pytest has said what is wrong.
    """
    status = _run_pytest(files, _Collector(use))
    if status != pytest.ExitCode.OK:
        raise RuntimeError(f"the tests could not be collected, or not be used: pytest ended with {status}")


def watch(items: Sequence[pytest.Item], sources: Mapping[str, Path]) -> Watched:
    """Run the tests, and tell which of them reach which line of the rooms in *sources*.

    Raises:
        RuntimeError: a test fails.
    """
    told = _fork(lambda: _watch(items, sources)).wait()
    if isinstance(told, str) or told["noticed"]:
        raise RuntimeError(f"without any mutant: {told if isinstance(told, str) else told['noticed']}")
    reached = {room: {int(line): tests for line, tests in lines.items()} for room, lines in told["reached"].items()}
    return Watched(told["seconds"], reached)


class Trial:
    """One mutant in front of some tests, in a process of its own.

    Args:
        module: the full name of the module that is mutated.
        code: what it is mutated to.
        items: which tests are to look, in this order.
        seconds: how long each takes without a mutant.
        afresh: whether the package is imported once more.
    """

    def __init__(
        self,
        module: str,
        code: CodeType,
        items: Sequence[pytest.Item],
        *,
        seconds: Mapping[str, float],
        afresh: bool,
    ) -> None:
        if afresh:
            self._child = _fork(lambda: _try_afresh(module, code, [item.nodeid for item in items], seconds))
        else:
            self._child = _fork(lambda: _try(module, code, items, seconds))

    def wait(self) -> str | None:
        """Return which test has noticed, or ``import``, or which limit; None if the mutant has survived."""
        told = self._child.wait()
        if isinstance(told, str):
            return told
        noticed = told["noticed"]
        assert noticed is None or isinstance(noticed, str)
        return noticed


class _Child:
    """A process that tells one thing and ends."""

    def __init__(self, pid: int, ear: int) -> None:
        self._pid = pid
        self._ear = ear

    def wait(self) -> Any:
        """Return what it told, or which limit has ended it.

        Raises:
            RuntimeError: something went wrong with the trial itself.
        """
        heard = b""
        while part := os.read(self._ear, 1 << 20):
            heard += part
        os.close(self._ear)
        _, status = os.waitpid(self._pid, 0)
        with contextlib.suppress(ProcessLookupError):
            # What it has started and not ended.
            os.killpg(self._pid, signal.SIGKILL)
        if os.WIFSIGNALED(status):
            return f"limit: {signal.Signals(os.WTERMSIG(status)).name}"
        told = json.loads(heard or '{"bug": "it ended without a word"}')
        if isinstance(told, dict) and "bug" in told:
            raise RuntimeError(f"a trial failed to be one: {told['bug']}")
        return told


def _fork(work: Callable[[], object]) -> _Child:
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid:
        os.close(mouth)
        with contextlib.suppress(PermissionError):
            # Here too, so that the group is there before anybody kills it.
            os.setpgid(pid, pid)
        return _Child(pid, ear)
    try:
        os.close(ear)
        os.setpgid(0, 0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        _limit(PATIENCE * MORE_CPU_S)
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        try:
            told = json.dumps(work())
        except MemoryError:
            told = '"limit of memory"'
        except Exception as exc:
            told = json.dumps({"bug": repr(exc)})
        rest = told.encode()
        while rest:
            rest = rest[os.write(mouth, rest) :]
    finally:
        os._exit(0)


def _limit(seconds: float) -> None:
    """Allow what comes next the time that *seconds* stand for; it is ended by SIGXCPU or SIGALRM."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime + PATIENCE * seconds + MORE_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(cpu_s), resource.RLIM_INFINITY))
    signal.alarm(math.ceil(PATIENCE * PATIENCE * seconds + MORE_S))


def _watch(items: Sequence[pytest.Item], sources: Mapping[str, Path]) -> object:
    rooms = {str(path): room for room, path in sources.items()}
    watcher = coverage.Coverage(data_file=None, config_file=False, include=list(rooms))
    watcher.start()
    # Nobody knows yet how long they take.
    observer = _Observer(dict.fromkeys((item.nodeid for item in items), MORE_S), begin=watcher.switch_context)
    observer.run(items)
    watcher.stop()
    data = watcher.get_data()
    reached = {
        rooms[file]: {line: [test for test in tests if test] for line, tests in data.contexts_by_lineno(file).items()}
        for file in data.measured_files()
    }
    return {"noticed": observer.failed, "seconds": observer.seconds, "reached": reached}


def _try(module: str, code: CodeType, items: Sequence[pytest.Item], seconds: Mapping[str, float]) -> object:
    present = sys.modules[module]
    mutated: dict[str, Any] = {"__name__": module, "__package__": present.__package__, "__file__": present.__file__}
    exec(code, mutated)
    new = {_identity(function): function for function in _functions(mutated, code.co_filename)}
    for function in _functions(vars(present), code.co_filename):
        # Only the code: it goes on in the present module, with the classes that everybody has imported.
        function.__code__ = new[_identity(function)].__code__
    observer = _Observer(seconds)
    observer.run(items)
    return {"noticed": observer.failed}


def _identity(function: FunctionType) -> tuple[str, int]:
    # A property's functions share their name.
    return function.__qualname__, function.__code__.co_firstlineno


def _functions(space: Mapping[str, Any], file: str) -> Iterator[FunctionType]:
    """Find the functions that are written in *file*, in a module or a class, below their decorators."""
    for value in space.values():
        if isinstance(value, type):
            if value.__module__ == space.get("__name__", value.__module__):
                yield from _functions({**vars(value), "__name__": None}, file)
            continue
        parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
        for part in parts:
            function = getattr(part, "__wrapped__", part)
            if isinstance(function, FunctionType) and function.__code__.co_filename == file:
                yield function


def _try_afresh(module: str, code: CodeType, tests: Sequence[str], seconds: Mapping[str, float]) -> object:
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("conftest", "tests", "trio_dlm") or name.startswith("test_"):
            del sys.modules[name]
    # That of the package that was forgotten would have its say first.
    logging.getLogger("trio_dlm").filters.clear()
    sys.meta_path.insert(0, _MutantFinder(module, code))
    chooser = _Chooser(tests, seconds)
    status = _run_pytest({test.partition("::")[0] for test in tests}, chooser, "-x")
    return {"noticed": chooser.failed or (None if status == pytest.ExitCode.OK else "import")}


def _run_pytest(files: Iterable[str], plugin: object, *arguments: str) -> int:
    with tempfile.TemporaryDirectory(prefix="trio-dlm-") as scratch:
        return int(
            pytest.main(
                [
                    "-qs",
                    "--tb=no",
                    "--no-summary",
                    # What was imported before pytest could rewrite its asserts has none that matter here.
                    "-Wignore::pytest.PytestAssertRewriteWarning",
                    # Who takes too long is ended here, and by another measure.
                    "--override-ini=faulthandler_timeout=0",
                    f"--override-ini=cache_dir={scratch}/cache",
                    f"--basetemp={scratch}/files",
                    *arguments,
                    *sorted(files),
                ],
                plugins=[plugin],
            )
        )


class _Collector:
    """A plugin of pytest that hands the collected tests over instead of running them."""

    def __init__(self, use: Callable[[Sequence[pytest.Item]], None]) -> None:
        self._use = use

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # They are shared with every copy, and looking at them would copy them.
        gc.freeze()
        session.config.pluginmanager.unregister(self)
        self._use(session.items)
        return True


class _Observer:
    """A plugin of pytest that notes what the tests do, and limits what they may take."""

    def __init__(self, allowed_s: Mapping[str, float], *, begin: Callable[[str], object] = lambda _: None) -> None:
        self._allowed_s = allowed_s
        self._begin = begin
        self.failed: str | None = None
        self.seconds: dict[str, float] = defaultdict(float)

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Run *items*, up to the first that fails."""
        items[0].config.pluginmanager.register(self)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed is not None:
                return

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        # One whose name is new has a parameter that the mutant has changed.
        _limit(self._allowed_s.get(item.nodeid, MORE_CPU_S))
        self._begin(item.nodeid)
        result = yield
        self._begin("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid


class _Chooser(_Observer):
    """A plugin of pytest that lets only some tests run, in a given order."""

    def __init__(self, tests: Sequence[str], allowed_s: Mapping[str, float]) -> None:
        super().__init__(allowed_s)
        self._tests = tests

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = {item.nodeid: item for item in items}
        # A parameter that the mutant has changed gives its test another name.
        renamed = {_function_of(test) for test in self._tests if test not in known}
        items[:] = [
            *(item for item in items if _function_of(item.nodeid) in renamed),
            *(known[test] for test in self._tests if test in known and _function_of(test) not in renamed),
        ]


class _MutantFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another code."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module = module
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._code.co_filename, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def _function_of(test: str) -> str:
    return test.partition("[")[0]

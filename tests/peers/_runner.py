"""Runs one client through one scenario, in real time, against servers on sockets of loopback.

Rules that hold here:

- a client gets a home of its own that is empty, no proxies, no input, and a directory two levels below one that is
  looked at afterwards;
- it is ended with all that it started, by the number of its group (which Windows has not), and never later than the
  limit;
- nothing is decided here: what was seen is handed to the judge.
"""

from __future__ import annotations

import fnmatch
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trio

from trio_dlm.testing.checks._environment import without_proxies
from trio_dlm.testing.checks._whereabouts import tell
from trio_dlm.testing.origin import Origin, Request, open_origin

from ._contenders import Ask, Contender
from ._judge import Facts, Judgement, Ran, judge
from ._scenario import Place, Scenario, Stage
from ._staged import StagedPlan

__all__ = ["LIMIT_S", "Case", "Result", "run_all", "run_case"]

# With limits of 5 s asked for and three further attempts, whoever takes longer waits for something else.
LIMIT_S: Final = 60.0

# For what was sent to be read and written before the client is killed.  On loopback it takes milliseconds.
_QUIET_S: Final = 1.5

# For who was asked to end to do so.
_LAST_WORDS_S: Final = 10.0

_SECRETS: Final = ("hush-hush", "aHVzaDpodXNo")
"""What stands in headers that are meant for one server: as it is, and as Basic credentials (hush:hush)."""


@dataclass(frozen=True)
class Case:
    """A client and a scenario."""

    contender: Contender
    scenario: Scenario


@dataclass(frozen=True)
class Result:
    """What became of a case; None for one that the client has no options for."""

    case: Case
    judgement: Judgement | None
    seconds: float = 0.0
    requests: int = 0


async def run_all(
    cases: Sequence[Case], *, at_once: int, limit_s: float, tell_result: Callable[[Result], None]
) -> None:
    """Run the cases, so many at a time, and tell what became of each."""
    waiting = iter(cases)

    async def work() -> None:
        # All share one iterator, so each case is taken once.
        for case in waiting:
            tell_result(await run_case(case, limit_s=limit_s))

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(work)


async def run_case(case: Case, *, limit_s: float = LIMIT_S) -> Result:
    """Run one case."""
    contender, scenario = case.contender, case.scenario
    if scenario.needs - contender.abilities:
        return Result(case, None)
    began = trio.current_time()
    with tempfile.TemporaryDirectory(prefix="trio_dlm-peers-", ignore_cleanup_errors=True) as name:
        root = Path(name, "root")
        directory = root / "user" / "downloads"
        home = Path(name, "home")
        for each in (directory, home):
            each.mkdir(parents=True)
        final_name = urlsplit(scenario.path).path.rpartition("/")[2]
        if scenario.found_there is not None:
            (directory / final_name).write_bytes(scenario.found_there)
        async with AsyncExitStack() as stack:
            open_one = stack.enter_async_context
            origin = await open_one(open_origin(body=scenario.body, tls=scenario.tls))
            other = await open_one(open_origin(body=scenario.body, host="localhost"))
            place = _place(origin, other, root, await _nobody())
            plan = _install(origin, scenario, place)
            _install(other, scenario, place)
            if scenario.other_change is not None:
                scenario.other_change.apply(other.resource)
            ask = _ask(scenario, place, origin, home)
            environ = _environ(contender, ask, home)
            runs: list[Ran] = []
            for stage in scenario.stages:
                plan.begin(stage, origin.resource)
                runs.append(await _run_stage(contender, ask, stage, plan, directory, environ, limit_s))
            facts = Facts(
                runs=runs,
                versions=_versions(origin, other, scenario),
                has_digest=scenario.has_digest,
                kept=scenario.found_there,
                outside=list(_outside(root, directory)),
                leaks=list(_leaks(other.requests)),
                wants_resume=scenario.wants_resume,
            )
        judgement = await trio.to_thread.run_sync(judge, facts)
        requests = len(origin.requests) + len(other.requests)
    return Result(case, judgement, trio.current_time() - began, requests)


def _install(server: Origin, scenario: Scenario, place: Place) -> StagedPlan:
    plan = StagedPlan(scenario, place)
    server.plan = plan
    server.resource.validators = scenario.validators
    return plan


def _place(origin: Origin, other: Origin, root: Path, nobody: int) -> Place:
    return Place(
        origin=origin.url(""),
        other=other.url(""),
        other_port=f"{other.scheme}://{origin.host}:{other.port}",
        nobody=f"http://127.0.0.1:{nobody}",
        root=root,
    )


async def _nobody() -> int:
    """Return a port that was free a moment ago."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port: int = listener.socket.getsockname()[1]
    return port


def _ask(scenario: Scenario, place: Place, origin: Origin, home: Path) -> Ask:
    url = origin.url(scenario.path, userinfo=scenario.userinfo)
    return Ask(
        url=url if scenario.target is None else scenario.target(place),
        mirrors=() if scenario.mirrors is None else scenario.mirrors(place),
        headers=scenario.headers,
        sha256=origin.resource.sha256 if scenario.has_digest else None,
        authority=origin.ca_file(home / "authority.pem") if scenario.tls else None,
        is_about_names=scenario.is_about_names,
    )


def _environ(contender: Contender, ask: Ask, home: Path) -> dict[str, str]:
    authority = {} if ask.authority is None else {"SSL_CERT_FILE": str(ask.authority)}
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "LC_ALL": "C.UTF-8"}
    return {**without_proxies(os.environ), **own, **authority, **contender.environ}


async def _run_stage(
    contender: Contender,
    ask: Ask,
    stage: Stage,
    plan: StagedPlan,
    directory: Path,
    environ: dict[str, str],
    limit_s: float,
) -> Ran:
    began = trio.current_time()
    with tempfile.TemporaryFile() as output:
        process = await trio.lowlevel.open_process(
            contender.make_command(ask),
            cwd=directory,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        was_ended = False
        try:
            with trio.move_on_after(limit_s) as scope:
                if stage.ended_by is not None:
                    was_ended = await _end_when_silent(process, plan, stage.ended_by)
                await process.wait()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_WORDS_S):
                _signal_group(process, signal.SIGKILL)
                await process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    code = process.returncode
    return Ran(
        succeeded=code == 0,
        has_ended=not scope.cancelled_caught,
        was_ended=was_ended,
        has_crashed=not was_ended and code is not None and (code < 0 or (code != 0 and "Traceback (most" in text)),
        said=tell(text, directory, address=urlsplit(ask.url).netloc),
        files=dict(_files(directory, contender.own_files)),
        sent_bytes=plan.sent_bytes,
        seconds=trio.current_time() - began,
    )


async def _end_when_silent(process: trio.Process, plan: StagedPlan, how: str) -> bool:
    """Wait until the server has fallen silent, and end the client; False if it ended before."""
    async with trio.open_nursery() as nursery:

        async def leave_when_it_ends() -> None:
            await process.wait()
            nursery.cancel_scope.cancel(reason="the client ended by itself")

        nursery.start_soon(leave_when_it_ends)
        await plan.turned.wait()
        await trio.sleep(_QUIET_S)
        _signal_group(process, signal.Signals[how])
        with trio.move_on_after(_LAST_WORDS_S):
            await process.wait()
        nursery.cancel_scope.cancel(reason="it was ended")
        return True
    return False


def _signal_group(process: trio.Process, number: int) -> None:
    # Its group has its number as long as anybody is in it; afterwards there is nobody.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _files(directory: Path, own: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_file() and not any(fnmatch.fnmatch(name, pattern) for pattern in own):
            yield name, path.read_bytes()


def _outside(root: Path, directory: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if directory not in (path, *path.parents) and path not in directory.parents:
            yield f"{path.relative_to(root)}, beside the directory or above it"


def _leaks(requests: Sequence[Request]) -> Iterator[str]:
    """Tell what came to the other server that was meant for the first, or for nobody's eyes on the way."""
    for request in requests:
        for name, value in request.headers:
            if any(secret in value for secret in _SECRETS):
                yield f"{name} was sent to another server"


def _versions(origin: Origin, other: Origin, scenario: Scenario) -> list[bytes]:
    versions = list(origin.resource.versions)
    return versions + [each for each in other.resource.versions if each not in versions]

"""``check_downloader``: a downloader of this library's shape against an origin in memory, in virtual time.

Rules that hold here:

- every plan gets a run of trio of its own, a manager as users open it, a network in memory and a fresh directory;
- one downloader makes several downloads, since what is wrong with one may show in the next: a file that was left lying
  there, a connection that was kept;
- what is in the directory is looked at when a download has ended, or when the run is over if it has not.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import hypothesis
import trio
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._block import open_manager
from ..._errors import TrioDlmError
from ..._manager import DownloadManager
from ..._options import DownloadOptionsFields
from ..._status import DownloadStatus
from ...downloaders._protocol import Downloader, DownloaderFunction
from ...downloaders.http import HttpDownloader
from .._errors import LivelockError
from ..origin._memory import open_memory_origin
from ..origin._plan import FaultPlan
from ..origin._resource import DEFAULT_BODY, Resource
from ..origin._strategies import fault_plans
from ..world._network import memory_network
from ..world._run import run_in_virtual_world
from ._environment import no_proxies, quiet_log
from ._exchanges import Exchange, watch
from ._explore import Trial, explore
from ._first import first_plans
from ._promises import Outcome, Promise, judge
from ._report import BrokenDownloadError, CheckReport
from ._whereabouts import look_at, tell_error

__all__ = ["check_downloader"]

AnyDownloader: TypeAlias = Downloader[Any] | DownloaderFunction[Any]

# The name that the file gets: the one in the URL, so that it is the same whether it is asked for or not.
FILENAME: Final = "file.bin"

# Virtual seconds for a download that was cancelled to leave; nobody waits for them.
_CLEAN_UP_S: Final = 3600.0

# What a download takes that comes byte by byte is 3 steps for each; the rest is for those that try again.
_STEPS: Final = 20_000
_STEPS_PER_BYTE: Final = 15


@final
@dataclass(frozen=True, slots=True)
class _Drawn:
    plan: FaultPlan
    has_checksum: bool
    has_filename: bool

    @property
    def given(self) -> str:
        """What was asked for beside the URL, for the report."""
        words = [
            word for word, is_given in (("checksum=", self.has_checksum), ("filename=", self.has_filename)) if is_given
        ]
        return f" (the download was given {' and '.join(words)})" if words else ""


def _drawn_of(plan: FaultPlan, *, has_checksum: bool, has_filename: bool) -> _Drawn:
    return _Drawn(plan, has_checksum or plan.is_undetectable, has_filename)


@final
@dataclass(slots=True)
class _Attempt:
    """One download of a case, and what is known of how it ended."""

    directory: Path
    exchanges_before: int
    path: Path | None = None
    error: BaseException | None = None
    stopped: str | None = ""
    seconds: float = 0.0
    found: bytes | None = None
    others: tuple[str, ...] = ()

    def look(self) -> None:
        """See what lies in the directory."""
        path = self.directory / FILENAME if self.path is None else self.path
        self.found, self.others = look_at(self.directory, path)


@final
class _Case:
    """The downloads that are made while an origin follows one plan."""

    def __init__(self, drawn: _Drawn, factory: Callable[[], AnyDownloader], body: bytes, limit_s: float) -> None:
        self.resource: Resource | None = None
        self.connections_left = 0
        self.exchanges: list[Exchange] = []
        self.attempts: list[_Attempt] = []
        self._drawn = drawn
        self._factory = factory
        self._body = body
        self._limit_s = limit_s
        self._options: DownloadOptionsFields = {}
        if drawn.has_filename:
            self._options["filename"] = FILENAME
        if drawn.has_checksum:
            self._options["checksum"] = f"sha256:{hashlib.sha256(body).hexdigest()}"

    def run(self, directory: Path, runs: int) -> None:
        """Make *runs* downloads, one after the other: after a failure again, after a success to another place."""
        try:
            # Each download has a limit of its own; this one is for what does not heed it.
            run_in_virtual_world(
                self._download_all,
                directory,
                runs,
                limit_s=runs * self._limit_s + _CLEAN_UP_S,
                max_steps=runs * (_STEPS + _STEPS_PER_BYTE * len(self._body)),
            )
        except trio.TooSlowError:
            self._stopped("it did not end, not even when it was cancelled")
        except LivelockError as exc:
            self._stopped(f"it did not end: {exc}")

    def _stopped(self, said: str) -> None:
        last = self.attempts[-1]
        last.path, last.stopped = None, said
        last.look()

    async def _download_all(self, directory: Path, runs: int) -> None:
        plan = watch(self._drawn.plan, self.exchanges)
        with memory_network() as network:
            async with open_memory_origin(plan, body=self._body) as origin:
                self.resource = origin.resource
                try:
                    async with open_manager(downloader=self._factory(), on_exit="cancel", failures="keep") as manager:
                        for number in range(runs):
                            if not self.attempts or self.attempts[-1].path is not None:
                                directory /= f"{number}"
                            attempt = _Attempt(directory, len(self.exchanges))
                            self.attempts.append(attempt)
                            await self._download(manager, origin.url(f"/{FILENAME}"), attempt)
                            if attempt.stopped is not None:
                                break
                except Exception as exc:
                    # Before the first download it is a downloader that cannot be used at all, afterwards one that
                    # does not end well.
                    if not self.attempts:
                        raise
                    last = self.attempts[-1]
                    last.path, last.error = None, exc
                self.connections_left = network.open_client_sockets

    async def _download(self, manager: DownloadManager, url: str, attempt: _Attempt) -> None:
        began = trio.current_time()
        with trio.move_on_after(self._limit_s):
            options: DownloadOptionsFields = {**self._options, "directory": attempt.directory}
            task = await manager.submit(url, **options)
            if await task.wait() is DownloadStatus.COMPLETED:
                attempt.path = (await task.result()).path
            attempt.error = task.error
            attempt.stopped = None
        attempt.seconds = trio.current_time() - began
        attempt.look()

    def outcomes(self, errors: tuple[type[BaseException], ...]) -> list[Outcome]:
        """Return what an onlooker saw; what is left open counts for the last download."""
        ends = [attempt.exchanges_before for attempt in self.attempts[1:]] + [len(self.exchanges)]
        outcomes: list[Outcome] = []
        for attempt, end in zip(self.attempts, ends, strict=True):
            succeeded = attempt.stopped is None and attempt.path is not None
            said = "success" if succeeded else tell_error(attempt.error, attempt.directory)
            outcomes.append(
                Outcome(
                    succeeded=succeeded,
                    said=said if attempt.stopped is None else attempt.stopped,
                    found=attempt.found,
                    others=attempt.others,
                    seconds=attempt.seconds,
                    ended=attempt.stopped is None,
                    is_documented=isinstance(attempt.error, errors),
                    exchanges=tuple(self.exchanges[attempt.exchanges_before : end]),
                    connections_left=self.connections_left if attempt is self.attempts[-1] else 0,
                )
            )
        return outcomes


def check_downloader(
    factory: Callable[[], AnyDownloader] = HttpDownloader,
    *,
    plans: SearchStrategy[FaultPlan] | None = None,
    promises: Collection[Promise] = frozenset(Promise),
    retries: int = 0,
    runs: int = 2,
    errors: tuple[type[BaseException], ...] = (TrioDlmError,),
    limit_s: float = 86_400.0,
    checksum: bool | None = None,
    body: bytes = DEFAULT_BODY,
    settings: hypothesis.settings | None = None,
) -> CheckReport:
    """Look for a plan of an origin that has a downloader break a promise.

    Call it from plain code, not from within a run of trio.  Whatever uses trio's sockets is cut off from the network
    while it runs, and asks the origin in memory.

    Args:
        factory: makes the downloader for one run; if it is an async context manager, the manager enters it.
        plans: what the origin may do.  A plan that nobody could see through without a digest is used only with one.
        promises: those to hold it to.
        retries: how often it tries again by itself, for :attr:`Promise.SERVED`.
        runs: how many downloads are made in a row with one downloader: after a failure in the same directory, as its
            user would try again, after a success in another.
        errors: the documented ones.
        limit_s: virtual seconds that a download may take.
        checksum: whether the download is given the digest of the file; None tries both.
        body: the file.
        settings: of Hypothesis; by default the same plans are drawn each time, and none are kept.

    Raises:
        BrokenDownloadError: a promise was broken; the message is the smallest case.
    """
    first: list[_Drawn] = []
    if plans is None:
        plans = fault_plans(size_bytes=len(body), undetectable=checksum is not False)
        known = first_plans(len(body), undetectable=checksum is not False)
        first = [_drawn_of(plan, has_checksum=checksum is True, has_filename=False) for plan in known]

    cases = st.builds(
        _drawn_of,
        plans if checksum is not False else plans.filter(lambda plan: not plan.is_undetectable),
        has_checksum=st.booleans() if checksum is None else st.just(checksum),
        has_filename=st.booleans(),
    )

    def attempt(drawn: _Drawn) -> Trial:
        case = _Case(drawn, factory, body, limit_s)
        with tempfile.TemporaryDirectory(prefix="trio_dlm-check-") as name:
            case.run(Path(name), runs)
            outcomes = case.outcomes(errors)
        breaches = judge(
            outcomes,
            plan=drawn.plan,
            versions=[body] if case.resource is None else case.resource.versions,
            wanted=body if drawn.has_checksum else None,
            promises=promises,
            retries=retries,
            limit_s=limit_s,
        )
        return Trial(
            tuple(outcomes),
            tuple(breaches),
            lambda breach: BrokenDownloadError(breach, drawn.plan, outcomes, given=drawn.given),
        )

    with no_proxies(), quiet_log():
        return explore(cases, attempt, first=first, settings=settings)

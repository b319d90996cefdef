"""``check_downloader``: a downloader of this library's shape against an origin in memory, in virtual time.

Rules that hold here:

- what the origin does, what is asked for, and the order of the tasks are drawn, and nothing else decides what happens;
- a check in which nothing was asked of the origin has found nothing out, and says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import hypothesis
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ..._errors import TrioDlmError
from ..._options import DownloadOptions
from ...downloaders.http import HttpDownloader
from ..machine._tapes import tapes
from ..origin._plan import FaultPlan
from ..origin._resource import DEFAULT_BODY
from ..origin._strategies import fault_plans
from ._case import AnyDownloader, Case, CaseRun
from ._environment import no_proxies, quiet_log
from ._explore import Trial, explore
from ._first import first_plans
from ._promises import Promise, check_asked, judge
from ._report import BrokenDownloadError, CheckReport

__all__ = ["check_downloader"]


def _case_of(plan: FaultPlan, *, has_checksum: bool, has_filename: bool, tape: list[int]) -> Case:
    return Case(plan, has_checksum or plan.is_undetectable, has_filename, tuple(tape))


def check_downloader(
    factory: Callable[[], AnyDownloader] = HttpDownloader,
    *,
    plans: SearchStrategy[FaultPlan] | None = None,
    promises: Collection[Promise] = frozenset(Promise),
    retries: int | None = None,
    runs: int = 2,
    errors: tuple[type[BaseException], ...] = (TrioDlmError,),
    limit_s: float = 86_400.0,
    checksum: bool | None = None,
    body: bytes = DEFAULT_BODY,
    settings: hypothesis.settings | None = None,
) -> CheckReport:
    """Look for a plan of an origin that has a downloader break a promise.

    Call it from plain code, not from within a run of trio.  Whatever uses trio's sockets is cut off from the network
    while it runs, and asks the origin in memory.  One that never ends is broken off by force, and found out.

    Threads run in line, one step of their task each, so some things cannot be checked here: functions of
    :mod:`trio.from_thread` that wait for the run have nobody to wait for; threads that a downloader starts by itself,
    and sockets that are not trio's, are real while time is not; and who blocks the thread of the run blocks the check.

    Args:
        factory: makes the downloader for one run; if it is an async context manager, the manager enters it.
        plans: what the origin may do.  A plan that nobody could see through without a digest is used only with one.
        promises: those to hold it to.
        retries: how often it tries again by itself, for :attr:`Promise.SERVED`.  None stands for none, or for the
            number that :class:`HttpDownloader` has by default if that is the factory.
        runs: how many downloads are made in a row with one downloader: after a failure in the same directory, as its
            user would try again, after a success in another.
        errors: the documented ones.
        limit_s: virtual seconds that a download may take.
        checksum: whether the download is given the digest of the file; None tries both.
        body: the file.
        settings: of Hypothesis; by default the same plans are drawn each time, and none are kept.

    Raises:
        BrokenDownloadError: a promise was broken; the message is the smallest case.
        TypeError: what the factory made is no downloader, or an argument is of the wrong kind.
        ValueError: an argument with which nothing could be found, or no request reached the origin.
        KeyboardInterrupt, SystemExit: as they came, also from the downloader.
    """
    if retries is None:
        retries = DownloadOptions().retries if factory is HttpDownloader else 0
    check_asked(promises, retries=retries, runs=runs, limit_s=limit_s)
    first: list[Case] = []
    if plans is None:
        plans = fault_plans(size_bytes=len(body), undetectable=checksum is not False)
        known = first_plans(len(body), undetectable=checksum is not False)
        first = [Case(plan, checksum is True or plan.is_undetectable) for plan in known]

    cases = st.builds(
        _case_of,
        plans if checksum is not False else plans.filter(lambda plan: not plan.is_undetectable),
        has_checksum=st.booleans() if checksum is None else st.just(checksum),
        has_filename=st.booleans(),
        tape=tapes(),
    )

    # One for all, and one for each in it: whoever interrupts the deletion of one leaves it to that of all.
    with tempfile.TemporaryDirectory(prefix="trio_dlm-check-") as around_all:

        def attempt(case: Case) -> Trial:
            run = CaseRun(case, factory, body, limit_s)
            with tempfile.TemporaryDirectory(dir=around_all) as around:
                run.run(Path(around), runs)
                outcomes = run.outcomes(errors)
            breaches = judge(
                outcomes,
                plan=case.plan,
                versions=run.resource.versions,
                wanted=body if case.has_checksum else None,
                promises=promises,
                retries=retries,
                limit_s=limit_s,
            )
            return Trial(
                tuple(outcomes),
                tuple(breaches),
                lambda breach: BrokenDownloadError(breach, case.plan, outcomes, given=case.given),
            )

        with no_proxies(), quiet_log():
            report = explore(cases, attempt, first=first, settings=settings)
    if not report.requests:
        raise ValueError(
            "nothing reached the origin, so that nothing was checked: only what uses the sockets of trio, in its own "
            "run, is led there; a library for asyncio or for threads is for check_download_function"
        )
    return report

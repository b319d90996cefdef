"""``check_download_command`` and ``check_download_function``: any client against an origin on a socket, in real time.

Rules that hold here:

- nothing is known of the client but how to start it and where its file goes;
- after a failure it is started again in the same directory, as its user would, and the origin's plan goes on: that is
  where resumed downloads go wrong.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import hypothesis
import trio
from hypothesis.strategies import SearchStrategy

from ..origin._plan import FaultPlan
from ..origin._resource import DEFAULT_BODY
from ..origin._server import Origin
from ..origin._strategies import fault_plans
from ._client import Ending, Where, call_function, run_command
from ._environment import no_proxies, without_proxies
from ._exchanges import Exchange, watch
from ._explore import Trial, explore
from ._first import first_plans
from ._origin_thread import OriginThread, origin_thread
from ._promises import Outcome, Promise, check_asked, judge
from ._report import BrokenDownloadError, CheckReport
from ._whereabouts import look_at

__all__ = ["check_download_command", "check_download_function"]

_Fetch: TypeAlias = Callable[[str, Path, Where], Ending]

FILENAME: Final = "file.bin"

_USUAL: Final = frozenset({Promise.EXACT, Promise.ABSENT, Promise.PROMPT, Promise.SERVED})

# Where OpenSSL, curl and the library requests look for the authorities that they trust.
_AUTHORITY_VARIABLES: Final = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")

# For the origin to notice that a client has gone; on loopback it takes no time.
_NOTICED_WITHIN_S: Final = 1.0


def check_download_command(
    argv_factory: Callable[[str, str], Sequence[str]],
    *,
    plans: SearchStrategy[FaultPlan] | None = None,
    promises: Collection[Promise] = _USUAL,
    retries: int = 0,
    runs: int = 3,
    limit_s: float = 10.0,
    tls: bool = False,
    body: bytes = DEFAULT_BODY,
    settings: hypothesis.settings | None = None,
) -> CheckReport:
    """Look for a plan of an origin that has a program break a promise.

    The program runs without a shell and without input, in a directory of its own.  Exit status 0 is success.

    Args:
        argv_factory: makes the command from a URL and from the path that the file is to have.
        plans: what the origin may do.
        promises: those to hold it to; not :attr:`Promise.PATIENT`, which would take real minutes.
        retries: how often it tries again by itself, for :attr:`Promise.SERVED`.
        runs: how often it is started while it fails.
        limit_s: seconds that one run may take.
        tls: ask over https; the variables ``SSL_CERT_FILE``, ``CURL_CA_BUNDLE`` and ``REQUESTS_CA_BUNDLE`` of the
            program name the authority.
        body: the file.
        settings: of Hypothesis; by default the same plans are drawn each time, and none are kept.

    Raises:
        BrokenDownloadError: a promise was broken; the message is the smallest case.
        TypeError, ValueError: an argument with which nothing could be found.
        OSError: the program cannot be started.
    """

    def fetch(url: str, path: Path, where: Where) -> Ending:
        return run_command(list(argv_factory(url, str(path))), where)

    return _check(
        fetch,
        plans,
        promises=promises,
        retries=retries,
        runs=runs,
        limit_s=limit_s,
        tls=tls,
        body=body,
        settings=settings,
    )


def check_download_function(
    function: Callable[[str, str], object],
    *,
    plans: SearchStrategy[FaultPlan] | None = None,
    promises: Collection[Promise] = _USUAL,
    retries: int = 0,
    runs: int = 3,
    errors: tuple[type[BaseException], ...] = (Exception,),
    limit_s: float = 10.0,
    body: bytes = DEFAULT_BODY,
    settings: hypothesis.settings | None = None,
) -> CheckReport:
    """Look for a plan of an origin that has a plain function break a promise.

    The function is called in a thread, as ``function(url, path)``.  To return is success, to raise is failure.

    Args:
        function: downloads a URL to a path.
        plans: what the origin may do.
        promises: those to hold it to; not :attr:`Promise.PATIENT`, which would take real minutes.
        retries: how often it tries again by itself, for :attr:`Promise.SERVED`.
        runs: how often it is called while it fails.
        errors: the documented ones.
        limit_s: seconds that one call may take.  One that takes longer is left behind in its thread.
        body: the file.
        settings: of Hypothesis; by default the same plans are drawn each time, and none are kept.

    Raises:
        BrokenDownloadError: a promise was broken; the message is the smallest case.
        TypeError, ValueError: an argument with which nothing could be found.
    """

    def fetch(url: str, path: Path, where: Where) -> Ending:
        return call_function(lambda: function(url, str(path)), where, errors)

    with no_proxies():
        return _check(
            fetch,
            plans,
            promises=promises,
            retries=retries,
            runs=runs,
            limit_s=limit_s,
            tls=False,
            body=body,
            settings=settings,
        )


def _check(
    fetch: _Fetch,
    plans: SearchStrategy[FaultPlan] | None,
    *,
    promises: Collection[Promise],
    retries: int,
    runs: int,
    limit_s: float,
    tls: bool,
    body: bytes,
    settings: hypothesis.settings | None,
) -> CheckReport:
    check_asked(promises, retries=retries, runs=runs, limit_s=limit_s)
    if Promise.PATIENT in promises:
        raise ValueError("promises has PATIENT, which is for virtual time: leave it out, or use check_downloader")
    first: list[FaultPlan] = []
    if plans is None:
        plans = fault_plans(size_bytes=len(body), real_time=True)
        first = first_plans(len(body), real_time=True)
    with origin_thread() as beside:

        def attempt(plan: FaultPlan) -> Trial:
            exchanges: list[Exchange] = []
            with beside.open_origin(watch(plan, exchanges), body=body, tls=tls) as origin:
                outcomes = _run_until_it_succeeds(fetch, beside, origin, exchanges, runs, limit_s)
            breaches = judge(
                outcomes,
                plan=plan,
                versions=origin.resource.versions,
                wanted=None,
                promises=promises,
                retries=retries,
                limit_s=limit_s,
            )
            return Trial(tuple(outcomes), tuple(breaches), lambda breach: BrokenDownloadError(breach, plan, outcomes))

        return explore(plans, attempt, first=first, settings=settings)


def _run_until_it_succeeds(
    fetch: _Fetch, beside: OriginThread, origin: Origin, exchanges: list[Exchange], runs: int, limit_s: float
) -> list[Outcome]:
    url = origin.url(f"/{FILENAME}")
    outcomes: list[Outcome] = []
    # What a client left running may still write there while it is deleted.
    with tempfile.TemporaryDirectory(prefix="trio_dlm-check-", ignore_cleanup_errors=True) as name:
        environ = without_proxies(os.environ)
        if origin.scheme == "https":
            environ.update(dict.fromkeys(_AUTHORITY_VARIABLES, str(origin.ca_file(Path(name, "authority.pem")))))
        directory = Path(name, "downloads")
        directory.mkdir()
        path = directory / FILENAME
        where = Where(directory, urlsplit(url).netloc, limit_s, environ)
        for _ in range(runs):
            before = len(exchanges)
            ending = fetch(url, path, where)
            connections_left = beside.call(partial(_connections_left, origin))
            found, others = look_at(directory, path)
            outcomes.append(
                Outcome(
                    succeeded=ending.succeeded,
                    said=ending.said,
                    found=found,
                    others=others,
                    seconds=ending.seconds,
                    ended=ending.ended,
                    is_documented=ending.is_documented,
                    exchanges=tuple(exchanges[before:]),
                    connections_left=connections_left,
                )
            )
            if ending.succeeded or not ending.ended:
                break
    return outcomes


async def _connections_left(origin: Origin) -> int:
    with trio.move_on_after(_NOTICED_WITHIN_S):
        await origin.wait_no_connections()
    return origin.open_connections

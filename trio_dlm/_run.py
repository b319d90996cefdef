"""One run of one download: the trio task that its code lives in.

Rules that hold here:

- the downloader runs inside the download's cancel scope, and is caught outside of it, so that what is seen is what the
  scope let through;
- whatever comes out, the engine is told in the same step, before anything else can happen;
- Ctrl-C may strike in the downloader's code, never in ours.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, cast

import trio

from ._context import CORRELATION_ID
from ._outcome import judge
from ._records import DownloadResult
from .downloaders._protocol import DownloadJob
from .downloaders._time_limit import run_within

if TYPE_CHECKING:
    from types import TracebackType

    from ._download import Download
    from ._engine import Engine

__all__ = ["run_download"]


@trio.lowlevel.enable_ki_protection
async def run_download(engine: Engine, download: Download) -> None:
    """Run *download* once, and tell *engine* how it ended."""
    scope = download.scope
    assert scope is not None
    CORRELATION_ID.set(download.correlation_id)
    download.runner = trio.lowlevel.current_task()
    job = DownloadJob(
        request=download.request,
        directory=download.request.options.directory or engine.directory,
        correlation_id=download.correlation_id,
        attempt=download.attempts,
        progress=partial(engine.open_meter, download),
        resources=engine.resources,
        can_resume=download.can_resume,
        rate_limit=partial(engine.open_rate_limit, download),
    )
    result: DownloadResult | None = None
    raised: BaseException | None = None
    try:
        with scope:
            # Between the grant and this line it may have been cancelled; then no code of the downloader runs at all.
            await trio.lowlevel.checkpoint_if_cancelled()
            result = await _fetch(download, job)
    except BaseException as exc:  # noqa: ASYNC103, BLE001  (judged below; what is not ours is raised again)
        # Without this frame, which still runs when the others are cleared: it holds on to the whole manager.
        raised = exc.with_traceback(cast("TracebackType", exc.__traceback__).tb_next)
    job.close()
    swept = raised is not None and trio.current_effective_deadline() == -math.inf
    outcome = judge(raised, stopped=scope.cancelled_caught, swept=swept)
    engine.run_ended(download, outcome, result, can_resume=job.can_resume)
    rest = outcome.rest
    # A kept error leads back here: the frames of its traceback know their caller.  So nothing may be left in this one.
    del engine, download, scope, job, result, raised, outcome
    if rest is not None:
        try:
            raise rest
        finally:
            del rest


@trio.lowlevel.disable_ki_protection
async def _fetch(download: Download, job: DownloadJob) -> DownloadResult:
    limit_s = job.options.total_timeout_s
    if limit_s is None:
        result = await download.function(job)
    else:
        result = await run_within(limit_s, job, download.function)
    if not isinstance(result, DownloadResult):
        raise TypeError(f"the downloader returned {result!r}, expected a DownloadResult")
    if not isinstance(result.size_bytes, int):
        raise TypeError(f"the downloader returned a result of {result.size_bytes!r} bytes, expected an int")
    return result

"""One download: everything that the manager knows about it, in one passive record.

Rules that hold here:

- only the engine writes it, always in one synchronous step; everybody else reads;
- a queued download is small: it has no task, no scope, no meter and no waiters, they are made when first needed;
- an ended download holds on to nothing of its run but the figures: no context, no scope, no frames.
"""

from __future__ import annotations

import time
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, final

from ._outcome import Asked
from ._records import NO_PROGRESS, DownloadRequest, DownloadResult, Progress, TaskSnapshot
from ._status import DownloadPhase, DownloadStatus
from ._urls import redact_url

if TYPE_CHECKING:
    from collections.abc import Hashable

    import trio

    from ._loop import Lot
    from ._meter import ProgressMeter
    from ._rate import RateLimit
    from ._schedule import Ticket
    from .downloaders._protocol import DownloaderFunction

__all__ = ["Download"]

# What a status says about the phase; while DOWNLOADING the downloader says it, unless it was asked to stop.
_PHASES: Final = {
    DownloadStatus.PENDING: DownloadPhase.WAITING,
    DownloadStatus.PAUSED: DownloadPhase.WAITING,
    DownloadStatus.COMPLETED: DownloadPhase.ENDED,
    DownloadStatus.FAILED: DownloadPhase.ENDED,
    DownloadStatus.CANCELLED: DownloadPhase.ENDED,
}

_NOTHING_YET: Final = {phase: replace(NO_PROGRESS, phase=phase) for phase in DownloadPhase}


@final
class Download:
    """The state of one download.

    Attributes:
        request: what was submitted, the given options laid over each other.
        function: what runs it.
        context: the submitter's context variables; None once it has ended.
        asked: what was asked of the present run.
        ticket: its place in its lane, while PENDING.
        scope, runner: the cancel scope and the trio task of the present run.
        meter: its counters, from the moment in which its downloader first looks at them.
        rate_limit: how fast it may receive, from the moment in which somebody first looks at it.
        resumes: how often it was queued again after a pause.
        can_resume: what the last run left is worth going on from.
        collected: its failure was asked for.
        is_admitted: it was queued, now or before; one of a batch may wait for that.
        askers: who awaits the end to learn of it.
        stoppers: who awaits the end of the present run, having asked to stop it.
        sequence: the number of its last change.
    """

    __slots__ = (
        "__weakref__",
        "asked",
        "askers",
        "attempts",
        "can_resume",
        "collected",
        "context",
        "correlation_id",
        "created_s",
        "error",
        "finished_s",
        "function",
        "is_admitted",
        "lane",
        "meter",
        "parent_id",
        "rate_limit",
        "reason",
        "request",
        "result",
        "resumes",
        "retry_of",
        "runner",
        "scope",
        "sequence",
        "started_s",
        "status",
        "stoppers",
        "ticket",
    )

    def __init__(
        self,
        request: DownloadRequest,
        function: DownloaderFunction[Any],
        context: Context,
        *,
        correlation_id: str,
        lane: Hashable,
        parent_id: str | None,
        retry_of: str | None,
    ) -> None:
        self.request = request
        self.function = function
        self.context: Context | None = context
        self.correlation_id = correlation_id
        self.lane = lane
        self.parent_id = parent_id
        self.retry_of = retry_of
        self.status = DownloadStatus.PENDING
        self.asked = Asked.NOTHING
        self.attempts = 0
        self.resumes = 0
        self.sequence = 0
        self.can_resume = False
        self.collected = False
        self.is_admitted = False
        self.created_s = time.time()
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.reason: str | None = None
        self.error: Exception | None = None
        self.result: DownloadResult | None = None
        self.ticket: Ticket | None = None
        self.scope: trio.CancelScope | None = None
        self.runner: trio.lowlevel.Task | None = None
        self.meter: ProgressMeter | None = None
        self.rate_limit: RateLimit | None = None
        self.askers: Lot | None = None
        self.stoppers: Lot | None = None

    @property
    def url(self) -> str:
        """The address without its secrets."""
        return redact_url(self.request.url)

    def read_progress(self) -> Progress:
        """How far it is now."""
        phase = _PHASES.get(self.status)
        if phase is None and self.asked is not Asked.NOTHING:
            phase = DownloadPhase.STOPPING
        if self.meter is not None:
            return self.meter.read(phase)
        if self.result is not None:
            size_bytes = self.result.size_bytes
            return Progress(received_bytes=size_bytes, total_bytes=size_bytes, phase=DownloadPhase.ENDED)
        return _NOTHING_YET[phase or DownloadPhase.CONNECTING]

    def drop_run(self) -> None:
        """Let go of everything that belongs to its runs but their figures; called when it has ended."""
        if self.meter is not None:
            self.meter.disconnect()
        self.context = self.scope = self.runner = self.ticket = None

    def snapshot(self) -> TaskSnapshot:
        """Return what it looks like now."""
        return TaskSnapshot(
            correlation_id=self.correlation_id,
            sequence=self.sequence,
            url=self.url,
            status=self.status,
            progress=self.read_progress(),
            lane=self.lane,
            parent_id=self.parent_id,
            retry_of=self.retry_of,
            attempts=self.attempts,
            reason=self.reason,
            error=self.error,
            result=self.result,
            created_at=as_utc(self.created_s),
            started_at=None if self.started_s is None else as_utc(self.started_s),
            finished_at=None if self.finished_s is None else as_utc(self.finished_s),
        )

    def __repr__(self) -> str:
        return f"<{self.status.value} download {self.correlation_id} of {self.url}>"


def as_utc(seconds: float) -> datetime:
    """Turn a time of the system clock into an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)

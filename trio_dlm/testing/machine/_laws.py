"""What holds for every manager: always, when a call that stops something has returned, and at rest.

Rules that hold here:

- a law is looked at from outside: through the public calls of the manager, the downloader's own count, and the model;
- nothing here changes anything, waits, or lets the scheduler tick;
- a law that looks at a feature is left out where the manager has not that feature;
- messages name laws by their numbers, or by the letters of the list in ``docs/schedules.rst``: A for what always holds,
  C for after a cancel, Q for at rest, S for when the block is left.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any, final

from ... import DownloadManager, DownloadResult, DownloadTask, ManagerCrashedError
from .._errors import require
from .._scripted import Gate, ScriptedDownloader
from ._driven import ALL_FEATURES, drive
from ._memory import check_memory
from ._model import CANCELLED, COMPLETED, DOWNLOADING, FAILED, PAUSED, PENDING, UNKNOWN, Model
from ._recorder import Recorder

__all__ = ["Scene"]


@final
class Scene:
    """A manager, and everybody who knows how it should be.

    Attributes:
        manager: what is looked at.  Typed as ours; without the features that take its interface it may be another.
        driven: the same, by the calls that every manager has.
        model: how it should be.
        downloader: who knows what runs.
        recorder: who knows what happened.
        features: what the manager can do.
    """

    __slots__ = ("downloader", "driven", "features", "manager", "model", "recorder")

    def __init__(
        self,
        manager: DownloadManager,
        model: Model,
        downloader: ScriptedDownloader,
        recorder: Recorder,
        features: AbstractSet[str] = ALL_FEATURES,
    ) -> None:
        self.manager = manager
        self.driven: Any = drive(manager, recorder.ids)
        self.model = model
        self.downloader = downloader
        self.recorder = recorder
        self.features = features

    def is_there(self, name: str) -> bool:
        """Whether a download was queued; not so while its submit waits, or for ever if that was given up."""
        return name in self.model.downloads

    def task(self, name: str) -> DownloadTask[DownloadResult]:
        """Return the handle of a download that was queued."""
        return self.manager.get_task(self.recorder.ids[name])

    def gate(self, name: str) -> Gate:
        """Return what tells a download what to do."""
        return self.downloader.gate(self.recorder.ids[name])

    def body_runs(self, name: str) -> bool:
        """Whether code of this download runs."""
        return self.recorder.ids[name] in self.downloader.bodies

    def check(self) -> None:
        """Look at what always holds."""
        self.recorder.check()
        require(not self.downloader.faults, "; ".join(self.downloader.faults))
        self._check_bodies()
        self._check_statuses()
        if "figures" in self.features:
            self._check_figures()
        if "progress" in self.features:
            self._check_progress()

    def check_stopped(self, name: str, verb: str) -> None:
        """Look at what holds when a call that has stopped this download returns (C2, C3)."""
        self.recorder.check()
        require(not self.body_runs(name), f"law 5: {verb}() of {name} returned, and its body runs")
        if "figures" not in self.features:
            return
        taken, expected = self.manager.get_stats().active, self.model.count(DOWNLOADING)
        require(taken == expected, f"law 5: {verb}() of {name} returned, and {taken} slots are taken, not {expected}")

    def check_rest(self) -> None:
        """Look at what holds when nothing can go on without time passing or somebody saying something (Q1 to Q3)."""
        self.check()
        running = self.model.names(DOWNLOADING)
        idle = [name for name in running if not self.body_runs(name)]
        require(not idle, f"Q1: these hold a slot, and no code of theirs runs: {', '.join(idle)}")
        if not self.model.closed:
            next_one = self.model.may_start
            require(next_one is None, f"Q2: {next_one} waits, though it may start")
        overdue = self.model.overdue
        require(not overdue, f"Q2: these should have been admitted or cancelled by now: {', '.join(overdue)}")
        for name in running:
            if self.recorder.ids[name] not in self.downloader.holding_out:
                require(not self.gate(name).is_told_to_end, f"Q3: {name} was told to end, and has not")
                require(not self.model.is_to_stop(name), f"Q3: {name} was asked to stop, and has not")
        if "crash" in self.features:
            self._check_crash()
        if "memory" in self.features:
            check_memory(self.manager, self.model)

    def _check_bodies(self) -> None:
        """A1: code runs only for downloads that hold a slot, and never for more than a limit ever allowed."""
        running = {self.recorder.ids[name] for name in self.model.names(DOWNLOADING)}
        without = [correlation_id for correlation_id in self.downloader.bodies if correlation_id not in running]
        require(not without, f"law 2: these run without a slot: {', '.join(without)}")
        peak, most = self.downloader.peak, self.model.highest_limit
        require(peak <= most, f"law 2: {peak} bodies ran at once, and the limit was never above {most}")

    def _check_statuses(self) -> None:
        """A2 and A3: every download is somewhere.  C8: one that was cancelled says what was said to it first."""
        for name, entry in self.model.downloads.items():
            status = self.driven.status(name)
            require(status is entry.status, f"{name} is {status.value}, expected {entry.status.value}")
            if "reasons" in self.features and status is CANCELLED and entry.reason is not UNKNOWN:
                reason = self.task(name).reason
                require(
                    reason == entry.reason, f"C8: {name} says {reason!r}, and was first cancelled for {entry.reason!r}"
                )

    def _check_figures(self) -> None:
        """A7: the figures are those of the model."""
        model, stats = self.model, self.manager.get_stats()
        shown = {
            PENDING: stats.pending,
            DOWNLOADING: stats.active,
            PAUSED: stats.paused,
            COMPLETED: stats.completed,
            FAILED: stats.failed,
            CANCELLED: stats.cancelled,
        }
        for status, figure in shown.items():
            expected = model.count(status)
            require(figure == expected, f"the figures say that {figure} are {status.value}, expected {expected}")
        amounts = {
            "slots": (stats.max_concurrent, model.limit),
            "free slots": (stats.available_slots, max(0, model.limit - model.count(DOWNLOADING))),
            "bytes": (stats.bytes_received, self.downloader.arrived_bytes),
        }
        for what, (amount, wanted) in amounts.items():
            require(amount == wanted, f"the figures say {amount} {what}, expected {wanted}")
        lanes = {entry.lane for entry in model.downloads.values() if entry.status in {PENDING, DOWNLOADING}}
        require({*stats.lanes} == lanes, f"the figures have the lanes {[*stats.lanes]}, expected {[*lanes]}")
        for lane, figures in stats.lanes.items():
            found = (figures.pending, figures.active, figures.limit)
            right = (model.pending_in(lane), model.running_in(lane), model.limit_of(lane))
            require(found == right, f"the figures of lane {lane!r} are {found}, expected {right}")

    def _check_progress(self) -> None:
        """A5: the bytes are those that the body reported; a pause keeps what a later run can go on from."""
        for name, entry in self.model.downloads.items():
            gate = self.gate(name)
            if entry.status is PAUSED:
                expected = gate.received_bytes if gate.resumable else 0
            elif entry.status is COMPLETED or self.body_runs(name):
                expected = gate.received_bytes
            else:
                continue
            received = self.task(name).progress.received_bytes
            require(received == expected, f"{name} has {received} bytes, expected {expected}")

    def _check_crash(self) -> None:
        """Who was in flight when another crashed says so; the culprit says that it was it."""
        if not self.model.has_crashed:
            return
        for name in self.model.names(FAILED):
            error = self.task(name).error
            if isinstance(error, ManagerCrashedError):
                crashed = name in self.recorder.crashed
                require(error.is_culprit == crashed, f"the outcome table: {name} says {error}, which is not so")

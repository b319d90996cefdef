"""The machine as one call: no class, no test runner.

Rules that hold here:

- without settings of the caller's the same examples are tried in every run, and nothing is kept on disk;
- whatever goes wrong is a :class:`LawBrokenError` with the shortest program that was found as a note, and that program
  runs as it stands;
- what was tried is told, since a search that took no step proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, final

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from ... import DownloadStatus
from .._errors import LawBrokenError
from ._driven import ALL_FEATURES, UnfitManagerError, check_names
from ._manager import DownloadManagerMachine

__all__ = ["DEFAULTS", "ManagerReport", "check_manager"]

# What a test can afford; the same programs in every run, and none kept.
DEFAULTS: Final = settings(
    max_examples=200,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@final
@dataclass(frozen=True, slots=True)
class ManagerReport:
    """What :func:`check_manager` has tried.

    Attributes:
        examples: how many programs.
        steps: how often each step was taken.
        statuses: how many downloads went through each status.
        schedules: how many different orders of the scheduler's choices were played.
    """

    examples: int
    steps: Mapping[str, int]
    statuses: Mapping[DownloadStatus, int]
    schedules: int

    def __str__(self) -> str:
        steps = ", ".join(f"{count} {name}" for name, count in sorted(self.steps.items(), key=lambda each: -each[1]))
        statuses = ", ".join(f"{count} {status.value}" for status, count in self.statuses.items())
        return (
            f"{self.examples} programs on {self.schedules} schedules held all laws; "
            f"{sum(self.steps.values())} steps: {steps}; downloads that were: {statuses}"
        )


def check_manager(
    factory: Callable[..., AbstractAsyncContextManager[Any]],
    *,
    features: AbstractSet[str] = ALL_FEATURES,
    limits: st.SearchStrategy[int] | None = None,
    settings: settings | None = None,
) -> ManagerReport:
    """Try random programs on a manager, and return what was tried if all laws held.

    Blocking, and not to be called from inside a run of trio.

    Args:
        factory: makes the block of a manager: ``factory(limit, downloader=…)``, and with features the options of
            :class:`ManagerOptions` by keyword.  :func:`trio_dlm.open_manager` is one.  The block gives a manager with
            our interface, or a :class:`DrivenManager`.
        features: what the manager can do, of :data:`ALL_FEATURES`; ``frozenset()`` for the least.
        limits: how many downloads it is opened for; from 1 to 3 if None.
        settings: Hypothesis's, instead of 200 programs of up to 30 steps, the same in every run.

    Raises:
        LawBrokenError: a law was broken, a call raised what it should not, or nothing went on.  The shortest program
            that was found to show it is a note of the exception.
        ValueError: there is no such feature.
        UnfitManagerError: a feature takes our interface, and the manager has not that.
    """
    check_names(features)
    counts = _Counts()

    class Checked(DownloadManagerMachine):
        def open_manager(self, limit: int) -> AbstractAsyncContextManager[Any]:
            return factory(limit, downloader=self.downloader, **self.options)

        def teardown(self) -> None:
            try:
                super().teardown()
            finally:
                counts.add(self)

    Checked.__name__ = Checked.__qualname__ = "Manager"
    Checked.features = features
    if limits is not None:
        Checked.limits = limits
    try:
        run_state_machine_as_test(Checked, settings=settings or DEFAULTS)
    except (LawBrokenError, UnfitManagerError):
        raise
    except Exception as exc:
        broken = LawBrokenError(f"{type(exc).__name__}: {exc}")
        for note in getattr(exc, "__notes__", ()):
            broken.add_note(note)
        raise broken from exc
    return counts.report()


@final
class _Counts:
    def __init__(self) -> None:
        self._examples = 0
        self._steps = Counter[str]()
        self._statuses = Counter[DownloadStatus]()
        self._schedules: set[tuple[int, ...]] = set()

    def add(self, machine: DownloadManagerMachine) -> None:
        """Count an example that has ended."""
        self._examples += 1
        self._steps += machine.taken
        self._schedules.add(tuple(machine._tape.numbers[: machine._tape.used]))
        if machine._is_open:
            for history in machine.scene.recorder.history.values():
                self._statuses.update(set(history))

    def report(self) -> ManagerReport:
        """Return what was counted."""
        for name in _NO_STEPS:
            del self._steps[name]
        statuses = {status: self._statuses[status] for status in DownloadStatus if status in self._statuses}
        return ManagerReport(
            examples=self._examples,
            steps=MappingProxyType(dict(self._steps)),
            statuses=MappingProxyType(statuses),
            schedules=len(self._schedules),
        )


# Taken once in every example, or between all steps.
_NO_STEPS: Final = ("check", "open")

"""The machine as one call: no class, no test runner.

Rules that hold here:

- without settings of the caller's the same examples are tried in every run, and nothing is kept on disk;
- whatever goes wrong in a manager is a :class:`LawBrokenError` with the shortest program that was found as a note; its
  steps are methods of :class:`DownloadManagerMachine`;
- what is no manager's fault comes out as it is: what Hypothesis has to say to the caller, and the error of a factory
  that makes no block, or one that cannot be entered;
- what was tried is told, since a search that took no step proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final, final

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException
from hypothesis.stateful import run_state_machine_as_test

from ... import DownloadStatus
from .._errors import LawBrokenError
from .._settings import search_settings
from ._driven import ALL_FEATURES, UnfitManagerError, check_names
from ._manager import DownloadManagerMachine

__all__ = ["DEFAULTS", "ManagerReport", "check_manager"]

# What a test can afford; the same programs in every run, and none kept.
DEFAULTS: Final = settings(search_settings(), max_examples=200, stateful_step_count=30)


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
    features: Collection[str] = ALL_FEATURES,
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
        RuntimeError: this was called from inside a run of trio.
        Exception: what *factory* raised, or the block when it was entered; and the errors of Hypothesis, such as
            ``InvalidArgument`` for limits that are none.
    """
    if trio.lowlevel.in_trio_run():
        # Each program would fail by that, and the manager would be blamed.
        raise RuntimeError(
            "check_manager() has runs of trio of its own: call it from plain code, not from inside a run"
        )
    features = check_names(features)
    counts = _Counts()
    refusals: list[Exception] = []

    class Checked(DownloadManagerMachine):
        def open_manager(self, limit: int) -> AbstractAsyncContextManager[Any]:
            return _Entering(lambda: factory(limit, downloader=self.downloader, **self.options), refusals)

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
        run_state_machine_as_test(Checked, settings=DEFAULTS if settings is None else search_settings(settings))
    except (LawBrokenError, UnfitManagerError):
        raise
    except Exception as exc:
        if refusals and isinstance(exc, Flaky):
            # The factory can do it now and then.
            raise refusals[0] from exc
        is_refusal = any(exc is each for each in refusals)
        if is_refusal or (isinstance(exc, HypothesisException) and not isinstance(exc, Flaky)):
            raise
        broken = LawBrokenError(f"{type(exc).__name__}: {exc}")
        for note in getattr(exc, "__notes__", ()):
            broken.add_note(note)
        raise broken from exc
    return counts.report()


@final
class _Entering(AbstractAsyncContextManager[Any]):
    """The block of a manager, by which the errors of making and entering it are told from all others."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[Any]], refusals: list[Exception]) -> None:
        self._make = make
        self._refusals = refusals

    async def __aenter__(self) -> Any:
        try:
            self._block = self._make()
            return await self._block.__aenter__()
        except Exception as exc:
            self._refusals.append(exc)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # Leaving is the block's own, and as long as it takes is for the example's limit to say.
        return await self._block.__aexit__(exc_type, exc, traceback)  # noqa: ASYNC102


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

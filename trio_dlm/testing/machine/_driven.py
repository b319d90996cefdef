"""What a manager must be able to do to be driven by the machine, and which of our manager's abilities are optional.

Rules that hold here:

- the least is narrow: :class:`DrivenManager` takes a download by name, cancels it and tells its status.  Whatever else
  a manager can do is a feature, with steps and laws of its own, which are left out where the feature is;
- a manager with another interface comes with an adapter that has the methods of :class:`DrivenManager`, and for each of
  :data:`ADAPTABLE_FEATURES` that it claims those of :class:`OwnManager`.  The other features look at too much of our
  own interface for that, so they take a manager that has it;
- an adapter decides nothing and waits for nothing by itself, since the laws are about the very instant of a call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, Protocol, TypeAlias, TypedDict, final, get_args

from ... import DownloadManager, DownloadResult, DownloadStatus, DownloadTask
from ._recorder import Saw

__all__ = [
    "ADAPTABLE_FEATURES",
    "ALL_FEATURES",
    "DrivenManager",
    "Feature",
    "ManagerOptions",
    "OwnManager",
    "UnfitManagerError",
    "check_features",
    "check_names",
    "drive",
    "is_own",
]

Feature: TypeAlias = Literal[
    # An adapter may have these.
    "groups",  # a run may raise a group of an error and Cancelled
    "pause",  # pause() and resume()
    "request",  # request_cancel(), which asks for a cancel and does not wait
    "resize",  # set_limit(), at any time
    "wait",  # wait(), for the end of one
    # These take our interface.
    "admission",  # max_pending: submit() waits, submit_nowait() refuses
    "batches",  # submit_many() and what it returns
    "calls",  # download(), which belongs to its caller
    "crash",  # what is no Exception ends the block
    "events",  # subscriptions
    "failures",  # failures="raise"
    "figures",  # get_stats() and wait_idle()
    "lanes",  # lane=, and limits of lanes
    "leave",  # the block is left early, by an error, or is cancelled
    "memory",  # the queues hold nothing that has ended; looks into our schedule
    "own calls",  # downloads that cancel or pause themselves
    "progress",  # bytes
    "reasons",  # cancel(reason), of which the first stays
    "retry",  # retry()
]

ALL_FEATURES: Final[frozenset[str]] = frozenset(get_args(Feature))
"""What our own manager can do."""

ADAPTABLE_FEATURES: Final[frozenset[str]] = frozenset({"groups", "pause", "request", "resize", "wait"})
"""The features that an adapter may have."""


class UnfitManagerError(TypeError):
    """A manager was said to have features that only one with our interface can have."""


class ManagerOptions(TypedDict, total=False):
    """What an example asks of :func:`trio_dlm.open_manager`; without the features behind them there are none."""

    max_per_lane: int
    max_pending: int
    on_exit: Literal["wait", "cancel"]
    failures: Literal["raise", "keep"]


class DrivenManager(Protocol):
    """The least that a manager, or the adapter in front of it, must be able to do.

    Its downloads start in the order of :meth:`submit`, no more at once than the limit that it was opened with, and each
    runs ``await downloader.run(name)`` of the :class:`ScriptedDownloader` that it was opened with.
    """

    def submit(self, name: str) -> object:
        """Queue a download called *name*, without waiting."""
        ...

    async def cancel(self, name: str) -> bool:
        """Cancel a download and wait until no code of it runs.

        Returns:
            True if it had not ended when this was called and is CANCELLED now.
        """
        ...

    def status(self, name: str) -> DownloadStatus:
        """Tell the status of a download."""
        ...

    def watching(self, saw: Saw) -> AbstractContextManager[object]:
        """Call *saw* with the name and the new status at every change, in the very step of it, until the block ends."""
        ...


@final
class OwnManager:
    """Our own manager, downloads called by name.

    Attributes:
        manager: what is driven.
        ids: the correlation id of each name.
    """

    def __init__(self, manager: DownloadManager, ids: Mapping[str, str]) -> None:
        self.manager = manager
        self.ids = ids

    def submit(self, name: str) -> None:
        """Queue a download."""
        self.manager.submit_nowait(f"memory:{name}", correlation_id=name)

    async def cancel(self, name: str, reason: str | None = None) -> bool:
        """Cancel a download and wait for its end."""
        return await self._task(name).cancel(reason)

    def status(self, name: str) -> DownloadStatus:
        """Tell the status of a download."""
        return self._task(name).status

    def request_cancel(self, name: str) -> None:
        """Ask for a cancel and do not wait, not even for a tick."""
        task = self._task(name)
        task._engine.cancel(task._download, None)

    async def pause(self, name: str) -> bool:
        """Pause a download; False if it has ended instead."""
        return await self._task(name).pause()

    def resume(self, name: str) -> bool:
        """Queue a paused download again; False if it is not paused."""
        return self._task(name).resume()

    def set_limit(self, limit: float) -> None:
        """Let so many run at once."""
        self.manager.max_concurrent = limit

    async def wait(self, name: str) -> DownloadStatus:
        """Wait for the end of a download, and tell it."""
        return await self._task(name).wait()

    def _task(self, name: str) -> DownloadTask[DownloadResult]:
        return self.manager.get_task(self.ids[name])


def is_own(manager: object) -> bool:
    """Whether *manager* has the interface of ours."""
    return callable(getattr(manager, "get_task", None))


def drive(manager: Any, ids: Mapping[str, str]) -> Any:
    """Return what steps and laws call: *manager*, with an adapter in front if it is ours."""
    return OwnManager(manager, ids) if is_own(manager) else manager


def check_names(features: Collection[str]) -> frozenset[str]:
    """Return *features*, if there are such.

    Raises:
        TypeError: one text, where several belong.
        ValueError: there is no such feature.
    """
    if isinstance(features, str):
        raise TypeError(f"features is a collection of names, such as {{{features!r}}}, got one text")
    if unknown := set(features) - ALL_FEATURES:
        known = ", ".join(sorted(ALL_FEATURES))
        raise ValueError(f"there are no features {', '.join(sorted(unknown))}; there are {known}")
    return frozenset(features)


def check_features(features: AbstractSet[str], manager: object) -> None:
    """Refuse features that there are not, or that *manager* cannot have.

    Raises:
        ValueError: there is no such feature.
        UnfitManagerError: the manager has not our interface, and features name more than an adapter may have.
    """
    check_names(features)
    if not is_own(manager) and (too_much := features - ADAPTABLE_FEATURES):
        least = ", ".join(sorted(ADAPTABLE_FEATURES))
        raise UnfitManagerError(
            f"features of {type(manager).__name__} may be {least}; these take the interface of DownloadManager, which "
            f"it has not: {', '.join(sorted(too_much))}"
        )

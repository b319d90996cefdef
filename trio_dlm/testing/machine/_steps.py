"""What all steps of the manager's machine have in common: the state of an example, and how a step names its downloads.

Rules that hold here:

- a download has one name, ``d_0``, ``d_1`` and so on, in the printed program, in the messages and as its correlation id
  (but for retries, whose id the manager draws);
- a step of a feature that the manager has not is never taken, and what it would draw is not drawn either;
- what a background task finds out is kept and raised by the next look, never raised into the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

import trio
from hypothesis import strategies as st

from ... import DownloadManager, DownloadStatus, open_manager
from .._scripted import PlannedError, ScriptedDownloader
from ._driven import ALL_FEATURES, DrivenManager, ManagerOptions, is_own
from ._laws import Scene
from ._model import Model
from ._onlookers import Onlooker, Reader
from ._recorder import Saw, watch_log
from ._runner import Bundle, TrioStateMachine, multiple, precondition, rule

__all__ = ["DOWNLOADS", "LANES", "LANE_NAMES", "NOBODY", "Plan", "Steps", "step", "step_on_one"]

Step: TypeAlias = Callable[..., Any]

Plan: TypeAlias = Literal["wait", "finish", "fail"]
"""What a body does as soon as it runs."""

# What a step returns that has submitted nothing.
NOBODY: Final = multiple(*list[str]())

LANE_NAMES: Final = (None, "a", "b")


def has(feature: str | None) -> Callable[[Any], bool]:
    """Make a condition of having *feature*."""
    return lambda machine: feature is None or feature in machine.features


def if_has(feature: str, strategy: st.SearchStrategy[Any], otherwise: st.SearchStrategy[Any]) -> Any:
    """Draw from *strategy* where the manager has *feature*."""
    return st.runner().flatmap(lambda machine: strategy if feature in machine.features else otherwise)


LANES: Final = if_has("lanes", st.sampled_from(LANE_NAMES), st.none())
# In which lane, and what the body does then.
DOWNLOADS: Final = st.tuples(LANES, st.sampled_from(["wait", "finish", "fail"]))


def step(*features: str, **arguments: Any) -> Callable[[Step], Step]:
    """A rule for managers that have all *features*."""

    def decorate(function: Step) -> Step:
        for feature in features:
            function = precondition(has(feature))(function)
        return rule(**arguments)(function)

    return decorate


def step_on_one(*statuses: DownloadStatus, feature: str | None = None, **arguments: Any) -> Callable[[Step], Step]:
    """A rule for one download, ``d``: in every second step one that is in *statuses*, if there is any.

    If all were taken alike, most steps would be for downloads that have long ended, and two would rarely meet at one.
    """

    def choose(machine: Steps) -> st.SearchStrategy[str]:
        anyone = st.sampled_from(machine.known)
        fitting = [name for name in machine.known if machine.model.status(name) in statuses]
        return st.sampled_from(fitting) | anyone if fitting else anyone

    def is_possible(machine: Steps) -> bool:
        return (feature is None or feature in machine.features) and bool(machine.scene.recorder.ids)

    one = st.runner().flatmap(choose)
    return lambda function: rule(d=one, **arguments)(precondition(is_possible)(function))


class Steps(TrioStateMachine):
    """The state of an example, and the hooks for managers that are configured differently, or are not ours."""

    limits: ClassVar[st.SearchStrategy[int]] = st.integers(1, 3)
    """How many downloads the manager is opened for."""
    features: ClassVar[AbstractSet[str]] = ALL_FEATURES
    """What the manager can do; the names are in :data:`trio_dlm.testing.ALL_FEATURES`."""

    names = Bundle[str]("d")

    model: Model
    downloader: ScriptedDownloader
    manager: DownloadManager
    scene: Scene
    options: ManagerOptions

    def __init__(self) -> None:
        super().__init__()
        self._named = 0
        # In every second example the block may be left before the end.
        self._ends_early = False
        self._left = trio.Event()
        self._readers: list[Reader] = []

    # Hooks.

    def make_downloader(self) -> ScriptedDownloader:
        """Make what runs the downloads of one example."""
        return ScriptedDownloader()

    def open_manager(self, limit: int) -> AbstractAsyncContextManager[Any]:
        """Make the block of a manager that starts *limit* downloads at once, each by :attr:`downloader`.

        What the features of the example ask for besides is in :attr:`options`; a manager without features is asked for
        nothing else.
        """
        return open_manager(limit, downloader=self.downloader, keep_finished=float("inf"), **self.options)

    def watch(self, manager: Any, saw: Saw) -> AbstractContextManager[object]:
        """Tell *saw* of each change of status in *manager*, in the very step of it, until the block ends."""
        if is_own(manager):
            return watch_log(manager, saw)
        return cast("DrivenManager", manager).watching(saw)

    def extra_invariants(self) -> None:
        """Look at what should hold besides, after every step; raise if it does not."""

    # What the steps have in common.

    @property
    def known(self) -> list[str]:
        """All downloads that were ever submitted, or tried to be, newest first."""
        return [*reversed(self.scene.recorder.ids)]

    def _submit(self, lane: Hashable, plan: Plan = "wait", *, resumable: bool = False) -> str:
        # One step may submit several, and an error of the second would hide what the first has shown.
        self.scene.recorder.check()
        name = self._give_name()
        gate = self.scene.gate(name)
        gate.resumable = resumable
        match plan:
            case "wait":
                pass
            case "finish":
                gate.finish()
            case "fail":
                gate.fail(PlannedError("planned"))
        self.model.submit(name, lane)
        if lane is None:
            self.scene.driven.submit(name)
        else:
            self.manager.submit_nowait(f"memory:{name}", lane=lane, correlation_id=name)
        return name

    def _give_name(self) -> str:
        """Return a name for a new download, which will be its id too."""
        name = self._next_name()
        self.scene.recorder.introduce(name, name)
        return name

    def _next_name(self) -> str:
        name = f"d_{self._named}"
        self._named += 1
        return name

    def _start(self, name: str, function: Callable[[], Awaitable[None]]) -> Onlooker:
        onlooker = Onlooker(name)
        self.nursery.start_soon(onlooker.run, self.scene, function)
        return onlooker

    def _read(self, reader: Reader) -> None:
        self._readers.append(reader)
        self._start("all" if reader.only is None else reader.only[0], lambda: reader.run(self.scene))

    def _check_rest(self) -> None:
        """Look at what holds when nothing can go on by itself; each room of steps adds what it has started."""
        self.scene.check_rest()

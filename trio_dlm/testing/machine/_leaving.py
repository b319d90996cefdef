"""The block of the manager: how an example opens it, how it is left, and what must have come out of it.

Rules that hold here:

- the block has a trio task of its own, since it stays open from one step to another;
- the model hears of the end in the very step in which the block does;
- what leaves the block is judged afterwards, at rest.  A failure that was asked for between the end of the block and
  that rest may be in it or not; all others are known.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, TypeAlias, cast

import trio
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ... import ManagerClosedError, UncollectedFailuresError
from .._errors import require
from .._scripted import PlannedCrash, leaves_of
from ._calls import refuse
from ._driven import ManagerOptions, check_features
from ._laws import Scene
from ._model import Model
from ._recorder import Recorder
from ._runner import initialize, multiple, precondition
from ._steps import DOWNLOADS, LANE_NAMES, Plan, Steps, step

__all__ = ["LeavingSteps"]

Way: TypeAlias = Literal["normally", "by an error", "cut off"]

# Longer than all shields of an example together.
_LONG_S: Final = 10_000.0

_OPTIONS: Final[dict[str, tuple[str, st.SearchStrategy[Any]]]] = {
    "max_per_lane": ("lanes", st.integers(1, 2)),
    "max_pending": ("admission", st.integers(1, 3)),
    "on_exit": ("leave", st.just("cancel")),
    "failures": ("failures", st.just("keep")),
}


def _options(machine: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={name: values for name, (feature, values) in _OPTIONS.items() if feature in machine.features}
    )


class BodyError(Exception):
    """What the body of the block raises where it raises something."""


class LeavingSteps(Steps):
    """The steps that open the block and leave it."""

    def __init__(self) -> None:
        super().__init__()
        self._is_open = False
        self._way: Way = "normally"
        self._leave = trio.Event()
        self._surroundings = trio.CancelScope()
        self._is_body_cancelled = False
        self._came_out: BaseException | None = None
        self._then_uncollected: frozenset[str] = frozenset()
        self._is_judged = False

    @initialize(
        target=Steps.names,
        limit=st.runner().flatmap(lambda machine: machine.limits),
        options=st.runner().flatmap(_options),
        ends_early=st.runner().flatmap(
            lambda machine: st.booleans() if machine.features & {"leave", "crash"} else st.just(value=False)
        ),
        first=st.lists(DOWNLOADS, max_size=5),
    )
    async def open(
        self,
        limit: int = 1,
        options: ManagerOptions | None = None,
        first: Iterable[tuple[Hashable, Plan]] = (),
        *,
        ends_early: bool = False,
    ) -> Any:
        """Open the block, and submit the *first*: an example without any download would be wasted."""
        self.options = options or {}
        self._ends_early = ends_early
        self.downloader = self.make_downloader()
        self.model = Model(
            limit=limit,
            per_lane=self.options.get("max_per_lane", math.inf),
            max_pending=self.options.get("max_pending", math.inf),
        )
        self.manager = await self.nursery.start(self._host, limit)
        check_features(self.features, self.manager)
        recorder = Recorder(self.manager, self.model, self.downloader)
        self.at_close.enter_context(self.watch(self.manager, recorder.saw))
        self.scene = Scene(self.manager, self.model, self.downloader, recorder, self.features)
        self._is_open = True
        return multiple(*(self._submit(lane, plan) for lane, plan in first if self.model.has_room))

    async def _host(self, limit: int, *, task_status: trio.TaskStatus[Any]) -> None:
        try:
            with self._surroundings:
                async with self.open_manager(limit) as manager:
                    task_status.started(manager)
                    try:
                        await self._leave.wait()
                    except trio.Cancelled:
                        self._is_body_cancelled = True
                        self.model.close(cancel=True)
                        raise
                    is_error = self._way == "by an error"
                    self.model.close(cancel=is_error or self.options.get("on_exit") == "cancel")
                    if is_error:
                        raise BodyError
        except BodyError as exc:
            self._came_out = exc
        except BaseExceptionGroup as group:
            is_planned = all(isinstance(leaf, (BodyError, PlannedCrash)) for leaf in leaves_of(group))
            # Anything else is for whoever runs the example.
            if not (is_planned or isinstance(group, UncollectedFailuresError)):
                raise
            self._came_out = group
        self._then_uncollected = frozenset(self.model.uncollected)
        self._left.set()

    @step("leave", how=st.sampled_from(["normally", "by an error", "cut off"]))
    @precondition(lambda machine: machine._ends_early and not machine._left.is_set())
    def leave(self, how: Way = "normally") -> None:
        """Let the body of the block end, or cancel what is around it."""
        if how == "cut off":
            self.model.cut_off()
            self._surroundings.cancel(reason="cut off")
        elif not self._leave.is_set():
            self._way = how
            self._leave.set()

    async def ateardown(self) -> None:
        """Leave the block, unless that was done, and look whether anything is left."""
        if not self._is_open:
            return
        self.scene.check()
        self._let_all_go()
        if not self.features & {"leave"}:
            # What leaving means for downloads that have not ended is for such a manager to say.
            await trio.sleep(_LONG_S)
        self._leave.set()
        await self._left.wait()
        await wait_all_tasks_blocked()
        self.scene.check()
        self.model.check_all_ended()
        bodies = self.downloader.bodies
        require(not bodies, f"law 1: the block was left, and these run: {', '.join(bodies)}")
        self._check_rest()
        if "leave" in self.features:
            refuse(
                "law 1: a closed manager took a submit",
                ManagerClosedError,
                lambda: self.manager.submit_nowait("memory:too-late"),
            )

    def _let_all_go(self) -> None:
        """Lift all limits and let every body end: otherwise the block would wait for ever, as it should."""
        if "resize" in self.features:
            self.model.set_limit(math.inf)
            self.scene.driven.set_limit(math.inf)
        if "lanes" in self.features:
            self.model.set_per_lane(math.inf)
            self.manager.max_per_lane = math.inf
            for lane in LANE_NAMES:
                self.model.set_lane_limit(lane, None)
                self.manager.set_lane_limit(lane, None)
        for name in self.known:
            self.scene.gate(name).finish()
        self.scene.check()

    def _check_rest(self) -> None:
        super()._check_rest()
        if self._left.is_set() and not self._is_judged:
            self._is_judged = True
            self._check_what_came_out()

    def _check_what_came_out(self) -> None:
        """S3 and S5, law 10: errors of the body, crashes, and failures that nobody asked for, and nothing else."""
        came_out, crashes = self._came_out, self.downloader.crashes
        keeps = self.options.get("failures") == "keep"
        may = self._then_uncollected
        must = may & self.model.uncollected.keys()
        if isinstance(came_out, UncollectedFailuresError):
            is_right = not (crashes or keeps or self._way == "by an error")
            require(is_right, f"law 10: {came_out!r} left the block, expected {crashes or self._way}")
            self._check_failures(cast("UncollectedFailuresError[Exception]", came_out), must, may)
        elif crashes:
            leaves = [] if came_out is None else [*leaves_of(came_out)]
            missing = [crash for crash in crashes if all(crash is not leaf for leaf in leaves)]
            require(not missing, f"law 10: {missing!r} should have left the block, and {came_out!r} did")
        elif self.model.is_cut_off:
            # The body may have ended before; and where another error leaves the block, Cancelled may give way to it.
            is_heard = came_out is not None or self._surroundings.cancelled_caught
            require(is_heard or not self._is_body_cancelled, "S3: the block has swallowed the Cancelled of its body")
        elif self._way == "by an error":
            require(isinstance(came_out, BodyError), f"law 10: the body raised, and {came_out!r} left the block")
            _check_note(cast("BodyError", came_out), len(must), len(may))
        elif "failures" in self.features:
            require(keeps or not must, f"law 10: nobody asked for the failures of {', '.join(sorted(must))}")

    def _check_failures(
        self, group: UncollectedFailuresError[Exception], must: AbstractSet[str], may: AbstractSet[str]
    ) -> None:
        said = [getattr(failure, "correlation_id", "") for failure in group.exceptions]
        shown = {self.scene.recorder.name_of(each) for each in said}
        names = ", ".join(sorted(shown))
        require(must <= shown <= may, f"law 10: the failures of {names} left the block, expected {_either(must, may)}")
        right = group.total == len(said) == len(shown)
        require(right, f"law 10: the failures of {names} left the block, and it says {group.total}")


def _check_note(error: BodyError, least: int, most: int) -> None:
    notes = getattr(error, "__notes__", [])
    counts = [int(note.rpartition(" ")[2]) for note in notes]
    right = least <= sum(counts) <= most and len(counts) == (1 if sum(counts) else 0)
    require(right, f"law 10: the error of the body has the notes {notes}, expected one that says {least} to {most}")


def _either(must: Iterable[str], may: Iterable[str]) -> str:
    least, most = (", ".join(sorted(names)) or "none" for names in (must, may))
    return least if least == most else f"at least {least} and at most {most}"

"""A download manager under random use: every call in any order, at any instant, against the model.

Rules that hold here:

- the laws are looked at after each step, before the scheduler has ticked; what holds only at rest is looked at by
  ``settle``;
- a call is put to the model and to the manager with no tick in between, the model first;
- a download has one name, ``d_0``, ``d_1`` and so on, in the printed program, in the messages and as its correlation id
  (but for retries, whose id the manager draws).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Final, Literal, TypeAlias

import trio
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ... import DownloadManager, DownloadStatus, ManagerClosedError, NotFinishedError, QueueFullError, open_manager
from .._errors import LawBrokenError, require
from .._scripted import ScriptedDownloader
from ._laws import Scene
from ._model import CANCELLED, COMPLETED, DOWNLOADING, FAILED, FINAL, PAUSED, PENDING, Model
from ._onlookers import Onlooker, Reader
from ._recorder import Recorder
from ._runner import Bundle, TrioStateMachine, initialize, invariant, multiple, precondition, rule

__all__ = ["DownloadManagerMachine"]

Ending: TypeAlias = Literal["wait", "cancel", "cut off"]
Plan: TypeAlias = Literal["wait", "finish", "fail"]

# What a step returns that has submitted nothing.
_NOBODY: Final = multiple(*list[str]())

_LANE_NAMES: Final = (None, "a", "b")
_LANES: Final = st.sampled_from(_LANE_NAMES)
# In which lane, and what the body does as soon as it runs.
_DOWNLOADS: Final = st.tuples(_LANES, st.sampled_from(["wait", "finish", "fail"]))
_LIMITS: Final = st.integers(0, 4) | st.just(math.inf)


def rule_on_one(*statuses: DownloadStatus, **arguments: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A rule for one download, ``d``: in every second step one that is in *statuses*, if there is any.

    If all were taken alike, most steps would be for downloads that have long ended, and two would rarely meet at one.
    """

    def choose(machine: DownloadManagerMachine) -> st.SearchStrategy[str]:
        anyone = st.sampled_from(machine.known)
        fitting = [name for name in machine.known if machine.model.status(name) in statuses]
        return st.sampled_from(fitting) | anyone if fitting else anyone

    one = st.runner().flatmap(choose)
    return lambda step: rule(d=one, **arguments)(precondition(lambda machine: machine.known)(step))


class DownloadManagerMachine(TrioStateMachine):
    """The rules and laws of a manager: order, limits, conservation, cancelling, pausing."""

    names = Bundle[str]("d")

    model: Model
    downloader: ScriptedDownloader
    manager: DownloadManager
    scene: Scene

    def __init__(self) -> None:
        super().__init__()
        self._is_open = False
        self._named = 0
        self._ending: Ending = "wait"
        self._leave = trio.Event()
        self._left = trio.Event()
        self._surroundings = trio.CancelScope()
        self._submitters: dict[str, Onlooker] = {}
        self._waiters: list[Onlooker] = []
        self._stoppers: list[Onlooker] = []
        self._idlers: list[Onlooker] = []
        self._readers: list[Reader] = []

    @property
    def known(self) -> list[str]:
        """All downloads that were ever submitted, or tried to be, newest first."""
        return [*reversed(self.scene.recorder.ids)]

    # The block.

    @initialize(
        target=names,
        limit=st.integers(1, 3),
        per_lane=st.none() | st.integers(1, 2),
        max_pending=st.none() | st.integers(1, 3),
        ending=st.sampled_from(["wait", "cancel", "cut off"]),
        first=st.lists(_DOWNLOADS, max_size=5),
    )
    async def open(
        self,
        limit: int = 1,
        per_lane: int | None = None,
        max_pending: int | None = None,
        ending: Ending = "wait",
        first: Iterable[tuple[Hashable, Plan]] = (),
    ) -> Any:
        """Open the block, and submit the *first*: an example without any download would be wasted."""
        self._ending = ending
        self.downloader = ScriptedDownloader()
        self.model = Model(
            limit=limit,
            per_lane=math.inf if per_lane is None else per_lane,
            max_pending=math.inf if max_pending is None else max_pending,
        )

        async def host(*, task_status: trio.TaskStatus[DownloadManager]) -> None:
            with self._surroundings:
                async with open_manager(
                    limit,
                    downloader=self.downloader,
                    max_per_lane=per_lane,
                    max_pending=max_pending,
                    keep_finished=math.inf,
                    on_exit="cancel" if ending == "cancel" else "wait",
                    failures="keep",
                ) as manager:
                    task_status.started(manager)
                    await self._leave.wait()
                    self.model.close(cancel=ending == "cancel")
            self._left.set()

        # The block has a task of its own, since it stays open from one step to another.
        self.manager = await self.nursery.start(host)
        recorder = Recorder(self.manager, self.model, self.downloader)
        self.at_close.enter_context(recorder.watching())
        self.scene = Scene(self.manager, self.model, self.downloader, recorder)
        self._is_open = True
        return self.submit_some(first)

    async def ateardown(self) -> None:
        """Leave the block, and look whether anything is left."""
        if not self._is_open:
            return
        if self._ending == "wait":
            # Otherwise it would wait for ever, as it should.
            self.resize(math.inf)
            self.resize_lanes(math.inf)
            for lane in _LANE_NAMES:
                self.resize_lane(lane, None)
            for name in self.known:
                self.finish(name)
        self.scene.check()
        if self._ending == "cut off":
            self.model.cut_off()
            self._surroundings.cancel(reason="the example has ended")
        else:
            self._leave.set()
        await self._left.wait()
        await wait_all_tasks_blocked()
        self.scene.check()
        self.model.check_all_ended()
        bodies = self.downloader.bodies
        require(not bodies, f"law 1: the block was left, and these run: {', '.join(bodies)}")
        self._check_rest()
        try:
            self.manager.submit_nowait("memory:too-late")
        except ManagerClosedError:
            return
        raise LawBrokenError("law 1: a closed manager took a submit")

    # Steps: submitting.

    @rule(target=names, lane=_LANES, resumable=st.booleans())
    def submit(self, lane: Hashable = None, resumable: bool = True) -> Any:
        if self.model.has_room:
            return self._submit(lane, resumable=resumable)
        try:
            self.manager.submit_nowait("memory:refused", lane=lane)
        except QueueFullError:
            return _NOBODY
        raise LawBrokenError("admission: submit_nowait() queued a download where there was no room")

    @rule(target=names, these=st.lists(_DOWNLOADS, min_size=2, max_size=5))
    def submit_some(self, these: Iterable[tuple[Hashable, Plan]]) -> Any:
        """Submit several, as long as there is room."""
        return multiple(*(self._submit(lane, plan) for lane, plan in these if self.model.has_room))

    @rule(target=names, lane=_LANES)
    def submit_soon(self, lane: Hashable = None) -> str:
        """Submit in the background, where it may have to wait for room."""
        name = self._give_name()

        async def submit_and_wait() -> None:
            # One that is cancelled before it begins is never put to the model.
            await trio.lowlevel.checkpoint_if_cancelled()
            closed = self.model.closed
            if not closed:
                self.model.submit(name, lane)
            try:
                task = await self.manager.submit(f"memory:{name}", lane=lane, correlation_id=name)
            except ManagerClosedError:
                require(self.model.closed or self.model.is_cut_off, "submit() says closed, and the manager is open")
                require(self.model.status(name) is None, f"admission: submit() refused {name}, and it is queued")
            else:
                require(not closed, "law 1: a closed manager took a submit")
                require(self.model.status(name) is not None, f"admission: submit() of {name} jumped the line")
                require(task.correlation_id == name, f"submit() of {name} returned {task.correlation_id}")

        self._submitters[name] = self._start(name, submit_and_wait)
        return name

    @rule_on_one()
    def give_up(self, d: str) -> None:
        """Cancel the submit, if it is still waiting."""
        if (submitter := self._submitters.get(d)) is not None:
            submitter.scope.cancel(reason="gave up")
            self.model.give_up(d)

    @rule_on_one(COMPLETED, FAILED, CANCELLED, target=names)
    def retry(self, d: str) -> Any:
        if (task := self.scene.find(d)) is None:
            return _NOBODY
        if self.model.status(d) in FINAL and self.model.has_room:
            name = self._give_name(is_retry=True)
            self.model.submit(name, task.lane)
            again = task.retry()
            require(again.retry_of == task.correlation_id, f"retry: {name} does not say what it repeats")
            correlation_id = self.scene.recorder.ids.get(name)
            require(again.correlation_id == correlation_id, f"retry: the handle of {name} is another's")
            return name
        expected = QueueFullError if self.model.status(d) in FINAL else NotFinishedError
        try:
            task.retry()
        except expected:
            return _NOBODY
        raise LawBrokenError(f"retry: expected {expected.__name__} for {d}")

    # Steps: what the outside world does.

    @rule_on_one(DOWNLOADING, size_bytes=st.integers(1, 1000))
    def grant(self, d: str, size_bytes: int = 1) -> None:
        self.scene.gate(d).grant(size_bytes)

    @rule_on_one(DOWNLOADING)
    def finish(self, d: str) -> None:
        self.scene.gate(d).finish()

    @rule_on_one(DOWNLOADING, in_a_group=st.booleans())
    def fail(self, d: str, in_a_group: bool = False) -> None:
        error = OSError("planned")
        self.scene.gate(d).fail(ExceptionGroup("planned", [error]) if in_a_group else error)

    @rule_on_one(DOWNLOADING, seconds=st.integers(1, 5))
    def shield(self, d: str, seconds: int = 1) -> None:
        self.scene.gate(d).shield(seconds)

    @rule(ticks=st.integers(1, 3))
    async def tick(self, ticks: int = 1) -> None:
        """Let the scheduler go on a little, so that the next step meets things half done."""
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()

    @rule(seconds=st.integers(1, 10))
    async def advance(self, seconds: int = 1) -> None:
        await trio.sleep(seconds)

    @rule()
    async def settle(self) -> None:
        """Let everything happen that can without time passing."""
        await wait_all_tasks_blocked()
        self._check_rest()

    # Steps: stopping and going on.

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    def request_cancel(self, d: str) -> None:
        """The synchronous half of cancel(): a tick would let a body that is about to end do so first."""
        if (task := self.scene.find(d)) is not None:
            self.model.cancel(d)
            task._engine.cancel(task._download, None)

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel(self, d: str) -> None:
        await self._cancel(d)

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    def cancel_soon(self, d: str) -> None:
        """Cancel in the background: several may cancel one, and a resume may come in between."""
        self._stoppers.append(self._start(d, lambda: self._cancel(d)))

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel_impatiently(self, d: str) -> None:
        """Whoever calls cancel() is cancelled in it: the request stands (C7)."""
        if (task := self.scene.find(d)) is None:
            return
        self.model.cancel(d)
        with trio.CancelScope() as scope:
            scope.cancel(reason="impatient")
            await task.cancel()
        require(scope.cancelled_caught, "cancel() is not a checkpoint")

    @rule_on_one(PENDING, DOWNLOADING)
    async def pause(self, d: str) -> None:
        await self._pause(d)

    @rule_on_one(PENDING, DOWNLOADING)
    def pause_soon(self, d: str) -> None:
        self._stoppers.append(self._start(d, lambda: self._pause(d)))

    @rule_on_one(PAUSED)
    def resume(self, d: str) -> None:
        if (task := self.scene.find(d)) is not None:
            expected = self.model.resume(d)
            resumed = task.resume()
            require(resumed is expected, f"resume() of {d} said {resumed}, expected {expected}")

    # Steps: limits.

    @rule(limit=_LIMITS)
    def resize(self, limit: float) -> None:
        self.model.set_limit(limit)
        self.manager.max_concurrent = limit

    @rule(lane=_LANES, limit=st.none() | st.integers(0, 2))
    def resize_lane(self, lane: Hashable, limit: int | None) -> None:
        self.model.set_lane_limit(lane, limit)
        self.manager.set_lane_limit(lane, limit)

    @rule(limit=_LIMITS)
    def resize_lanes(self, limit: float) -> None:
        self.model.set_per_lane(limit)
        self.manager.max_per_lane = limit

    # Steps: looking on.

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    def wait(self, d: str) -> None:
        if (task := self.scene.find(d)) is None:
            return

        async def wait_for_the_end() -> None:
            status, expected = await task.wait(), self.model.status(d)
            require(status is expected, f"wait() for {d} said {status.value}, expected {expected and expected.value}")
            require(status in FINAL, f"wait() for {d} returned, and it is {status.value}")

        self._waiters.append(self._start(d, wait_for_the_end))

    @rule()
    def wait_idle(self) -> None:
        async def wait_until_idle() -> None:
            await self.manager.wait_idle()
            busy = self.model.names(PENDING, DOWNLOADING)
            require(not busy, f"wait_idle() returned, and these have not ended: {', '.join(busy)}")

        self._idlers.append(self._start("all", wait_until_idle))

    @rule(min_interval_s=st.sampled_from([0.0, 5.0]))
    def subscribe(self, min_interval_s: float = 0.0) -> None:
        self._read(Reader(min_interval_s=min_interval_s))

    @rule_on_one(PENDING, DOWNLOADING, PAUSED)
    def watch(self, d: str) -> None:
        if self.scene.find(d) is not None:
            self._read(Reader(only=d))

    @invariant()
    def check(self) -> None:
        """Look at what always holds."""
        self.scene.check()

    # What the steps have in common.

    def _submit(self, lane: Hashable, plan: Plan = "wait", *, resumable: bool = True) -> str:
        # One step may submit several, and an error of the second would hide what the first has shown.
        self.scene.recorder.check()
        name = self._give_name()
        self.scene.gate(name).resumable = resumable
        match plan:
            case "wait":
                pass
            case "finish":
                self.finish(name)
            case "fail":
                self.fail(name)
        self.model.submit(name, lane)
        self.manager.submit_nowait(f"memory:{name}", lane=lane, correlation_id=name)
        return name

    def _give_name(self, *, is_retry: bool = False) -> str:
        name = f"d_{self._named}"
        self._named += 1
        if is_retry:
            self.scene.recorder.newcomers.append(name)
        else:
            self.scene.recorder.introduce(name, name)
        return name

    async def _cancel(self, name: str) -> None:
        """C1 to C6."""
        if (task := self.scene.find(name)) is None:
            return
        had_ended = task.status in FINAL
        was_asked = self.model.downloads[name].asked is not None
        began_s = trio.current_time()
        runs = self.scene.body_runs(name)
        self.model.cancel(name)
        cancelled = await task.cancel()
        took_s = trio.current_time() - began_s
        status = task.status
        require(status in FINAL, f"law 5: cancel() of {name} returned, and it is {status.value}")
        self.scene.check_stopped(name, "cancel")
        expected = not had_ended and status is CANCELLED
        require(cancelled is expected, f"law 5: cancel() of {name} said {cancelled}, expected {expected}")
        if runs and not was_asked and status is CANCELLED:
            held_s = self.scene.gate(name).held_s
            right = math.isclose(took_s, held_s, abs_tol=1e-6)
            require(right, f"C6: cancel() of {name} took {took_s:g} s, its body held out for {held_s:g} s")

    async def _pause(self, name: str) -> None:
        if (task := self.scene.find(name)) is None:
            return
        self.model.pause(name)
        paused = await task.pause()
        status = task.status
        require(paused is (status is PAUSED), f"pause() of {name} said {paused}, and it is {status.value}")
        if paused:
            self.scene.check_stopped(name, "pause")

    def _start(self, name: str, function: Callable[[], Awaitable[None]]) -> Onlooker:
        onlooker = Onlooker(name)
        self.nursery.start_soon(onlooker.run, self.scene, function)
        return onlooker

    def _read(self, reader: Reader) -> None:
        self._readers.append(reader)
        self._start(reader.only or "all", lambda: reader.run(self.scene))

    def _check_rest(self) -> None:
        """Q1 to Q4, and A6."""
        self.scene.check_rest()
        model = self.model
        for submitter in self._submitters.values():
            _check_onlooker("admission: submit() of", submitter, submitter.name not in model.line)
        for waiter in self._waiters:
            _check_onlooker("Q4: wait() for", waiter, model.status(waiter.name) in FINAL)
        for stopper in self._stoppers:
            holds_out = self.scene.recorder.ids[stopper.name] in self.downloader.holding_out
            # One that was stopped before may hold out for somebody else.
            _check_onlooker("Q4: a call that stops", stopper, stopper.is_over or not holds_out)
        for idler in self._idlers:
            _check_onlooker("Q4: wait_idle() for", idler, idler.is_over or not model.names(PENDING, DOWNLOADING))
        for reader in self._readers:
            reader.check(self.scene, all_over=self._left.is_set())


def _check_onlooker(call: str, onlooker: Onlooker, expected: bool) -> None:
    said = "has returned, and should not have" if onlooker.is_over else "has not returned, and should have"
    require(onlooker.is_over == expected, f"{call} {onlooker.name} {said}")

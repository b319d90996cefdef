"""Steps that submit: at once, in line, many together, for a caller, and once more.

Rules that hold here:

- a call is put to the model and to the manager with no tick in between, the model first;
- a call that may wait runs in the background, where it can be given up;
- a call that is refused has changed nothing, which the model shows by not having been asked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final, final

import trio
from hypothesis import strategies as st

from ... import (
    DownloadBatch,
    DownloadCancelledError,
    DownloadFailedError,
    DownloadOptions,
    DownloadRequest,
    ManagerClosedError,
    QueueFullError,
    UnknownTaskError,
)
from .._errors import require
from ._calls import refuse, retry
from ._model import CANCELLED, COMPLETED, DOWNLOADING, FAILED, FINAL, PAUSED, PENDING
from ._onlookers import Onlooker, Reader
from ._runner import multiple, precondition
from ._steps import DOWNLOADS, LANES, NOBODY, Plan, Steps, step, step_on_one

__all__ = ["SubmittingSteps"]

_NO_OPTIONS: Final = DownloadOptions()

_LATE: Final = "law 1: a closed manager took a submit"


@final
@dataclass(slots=True)
class _Batch:
    """A batch, and who submits it."""

    parent_id: str
    names: tuple[str, ...]
    submitter: Onlooker
    batch: DownloadBatch | None = None


class SubmittingSteps(Steps):
    """The steps that bring downloads in."""

    def __init__(self) -> None:
        super().__init__()
        self._submitters: dict[str, Onlooker] = {}
        self._callers: dict[str, Onlooker] = {}
        self._batches: dict[str, _Batch] = {}
        self._batch_waiters: list[tuple[Onlooker, _Batch]] = []

    @property
    def _whole_batches(self) -> list[str]:
        return [each.parent_id for each in self._batches.values() if each.batch is not None]

    # One.

    @step(target=Steps.names, lane=LANES, resumable=st.booleans())
    def submit(self, lane: Hashable = None, *, resumable: bool = False) -> Any:
        if self.model.closed or not self.model.has_room:
            error = ManagerClosedError if self.model.closed else QueueFullError
            law = _LATE if self.model.closed else "admission: submit_nowait() took a download for which was no room"
            refuse(law, error, lambda: self.manager.submit_nowait("memory:refused", lane=lane))
            return NOBODY
        return self._submit(lane, resumable=resumable)

    @step(target=Steps.names, these=st.lists(DOWNLOADS, min_size=2, max_size=5))
    def submit_some(self, these: Iterable[tuple[Hashable, Plan]]) -> Any:
        """Submit several, as long as there is room."""
        return multiple(
            *(self._submit(lane, plan) for lane, plan in these if self.model.has_room and not self.model.closed)
        )

    @step("admission", target=Steps.names, lane=LANES)
    def submit_soon(self, lane: Hashable = None) -> str:
        """Submit in the background, where it may have to wait for room."""
        name = self._give_name()

        async def submit_and_wait() -> None:
            closed = await self._begin(name, lane)
            try:
                task = await self.manager.submit(f"memory:{name}", lane=lane, correlation_id=name)
            except ManagerClosedError:
                self._check_refused(name)
            else:
                require(not closed, _LATE)
                require(self.model.status(name) is not None, f"admission: submit() of {name} jumped the line")
                require(task.correlation_id == name, f"submit() of {name} returned {task.correlation_id}")

        self._submitters[name] = self._start(name, submit_and_wait)
        return name

    @step_on_one(feature="admission")
    def give_up(self, d: str) -> None:
        """Cancel the submit, if it is still waiting."""
        if (submitter := self._submitters.get(d)) is not None:
            submitter.scope.cancel(reason="gave up")
            self.model.give_up(d)

    @step_on_one(COMPLETED, FAILED, CANCELLED, feature="retry", target=Steps.names)
    def retry(self, d: str) -> Any:
        return retry(self.scene, d, self._next_name) or NOBODY

    # One, for a caller.

    @step("calls", target=Steps.names, lane=LANES)
    def call(self, lane: Hashable = None) -> str:
        """Await download() in the background."""
        name = self._give_name()

        async def call_and_judge() -> None:
            closed = await self._begin(name, lane)
            try:
                result = await self.manager.download(f"memory:{name}", lane=lane, correlation_id=name)
            except ManagerClosedError:
                self._check_refused(name)
            except DownloadFailedError:
                self.model.collect(name)
                self._check_call(name, "failed", FAILED)
            except DownloadCancelledError:
                self._check_call(name, "was cancelled", CANCELLED)
            except trio.Cancelled:
                status = self.model.status(name)
                has_ended = status is None or status in FINAL
                require(has_ended, f"law 5: the caller of download() of {name} was cancelled, and it has not ended")
                require(not self.scene.body_runs(name), f"law 5: download() of {name} was cancelled, and its body runs")
                raise
            else:
                require(not closed, _LATE)
                self._check_call(name, "was returned", COMPLETED)
                arrived, said = self.scene.gate(name).received_bytes, result.size_bytes
                require(said == arrived, f"A5: the result of {name} has {said} bytes, expected {arrived}")

        self._callers[name] = self._start(name, call_and_judge)
        return name

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="calls")
    def hang_up(self, d: str) -> None:
        """Cancel the caller of download(), and with it the download."""
        if (caller := self._callers.get(d)) is None or caller.is_over:
            return
        caller.scope.cancel(reason="hung up")
        self.model.give_up(d)
        self.model.doom([d])

    def _check_call(self, name: str, how: str, expected: object) -> None:
        status = self.model.status(name)
        require(status is expected, f"download() says that {name} {how}, and it is {status and status.value}")

    # Many.

    @step("batches", target=Steps.names, lanes=st.lists(LANES, min_size=1, max_size=4))
    def submit_many(self, lanes: Iterable[Hashable]) -> Any:
        """Submit a batch in the background, where it may have to wait for room."""
        parent_id = f"b_{len(self._batches)}"
        members = {self._give_name(): lane for lane in lanes}
        requests = [
            DownloadRequest(f"memory:{name}", _NO_OPTIONS, None, lane, correlation_id=name)
            for name, lane in members.items()
        ]

        async def submit_all() -> None:
            await trio.lowlevel.checkpoint_if_cancelled()
            closed = self.model.closed
            if not closed:
                self.model.submit_many(members)
            try:
                batch = await self.manager.submit_many(requests, parent_id=parent_id)
            except (ManagerClosedError, trio.Cancelled) as exc:  # noqa: ASYNC103  (raised again, if it is that)
                is_cancelled = isinstance(exc, trio.Cancelled)
                require(self.model.closed or is_cancelled, "submit_many() says closed, and the manager is open")
                left = [name for name in members if self.model.status(name) not in FINAL and not closed]
                require(not left, f"submit_many() was interrupted, and these have not ended: {', '.join(left)}")
                if is_cancelled:
                    raise
            else:
                require(not closed, _LATE)
                self.model.spare(members)
                self._check_batch(batch, parent_id, [*members])
                self._batches[parent_id].batch = batch

        # Known before it begins, since it may be given up before that.
        self._batches[parent_id] = _Batch(parent_id, tuple(members), self._start(parent_id, submit_all))
        return multiple(*members)

    @step("batches", number=st.integers(0, 3))
    @precondition(lambda machine: machine._batches)
    def give_up_batch(self, number: int = 0) -> None:
        """Cancel submit_many(), if it has not returned."""
        each = [*self._batches.values()][-1 - number % len(self._batches)]
        if not each.submitter.is_over:
            each.submitter.scope.cancel(reason="gave up")
            self.model.doom(each.names)

    @step("batches", number=st.integers(0, 3), by_id=st.booleans())
    @precondition(lambda machine: machine._whole_batches)
    async def cancel_batch(self, number: int = 0, *, by_id: bool = False) -> None:
        names, parent_id, batch = self._choose_batch(number)
        open_ones = [name for name in names if self.model.status(name) not in FINAL]
        self.model.doom(open_ones)
        cancelled = await (self.manager.cancel(parent_id) if by_id else batch.cancel())
        self.scene.recorder.check()
        left = [name for name in names if self.model.status(name) not in FINAL]
        require(not left, f"law 5: cancel() of batch {parent_id} returned, and these go on: {', '.join(left)}")
        expected = any(self.model.status(name) is CANCELLED for name in open_ones)
        require(cancelled is expected, f"law 5: cancel() of batch {parent_id} said {cancelled}, expected {expected}")

    @step("batches", number=st.integers(0, 3))
    @precondition(lambda machine: machine._whole_batches)
    def wait_for_batch(self, number: int = 0) -> None:
        """Await the end of all, in the background."""
        names, parent_id, batch = self._choose_batch(number)

        async def wait_for_all() -> None:
            statuses = await batch.wait()
            expected = tuple(self.model.status(name) for name in names)
            require(statuses == expected, f"wait() for batch {parent_id} said {statuses}, expected {expected}")
            require(FINAL.issuperset(statuses), f"wait() for batch {parent_id} returned, and said {statuses}")
            for name in names:
                self.model.collect(name)

        self._batch_waiters.append((self._start(parent_id, wait_for_all), self._batches[parent_id]))

    @step("batches", "events", number=st.integers(0, 3))
    @precondition(lambda machine: machine._whole_batches)
    def watch_batch(self, number: int = 0) -> None:
        names, parent_id, _ = self._choose_batch(number)
        self._read(Reader(only=names, parent_id=parent_id))

    def _choose_batch(self, number: int) -> tuple[tuple[str, ...], str, DownloadBatch]:
        whole = self._whole_batches
        each = self._batches[whole[-1 - number % len(whole)]]
        assert each.batch is not None
        return each.names, each.parent_id, each.batch

    def _check_batch(self, batch: DownloadBatch, parent_id: str, names: list[str]) -> None:
        require(batch.parent_id == parent_id, f"the batch {parent_id} says that it is {batch.parent_id}")
        found = [task.correlation_id for task in batch]
        require(found == names, f"the batch {parent_id} has {found}, expected {names}")
        parents = {task.parent_id for task in batch}
        require(parents == {parent_id}, f"the downloads of batch {parent_id} say that they are of {parents}")
        refuse(f"get_task() took the parent id {parent_id}", UnknownTaskError, lambda: self.manager.get_task(parent_id))

    # What the steps have in common.

    async def _begin(self, name: str, lane: Hashable) -> bool:
        """Put a submit to the model; return whether it will be refused."""
        # One that is cancelled before it begins is never put to the model.
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.model.closed:
            self.model.submit(name, lane)
        return self.model.closed

    def _check_refused(self, name: str) -> None:
        require(self.model.closed, "submit() says closed, and the manager is open")
        require(self.model.status(name) is None, f"admission: submit() refused {name}, and it is queued")

    def _check_rest(self) -> None:
        super()._check_rest()
        model = self.model
        for submitter in self._submitters.values():
            submitter.check("admission: submit() of", expected=submitter.name not in model.line)
        for name, caller in self._callers.items():
            status = model.status(name)
            waits = name in model.line or not (status is None or status in FINAL)
            caller.check("Q4: download() of", expected=not waits)
        for each in self._batches.values():
            coming = not model.coming.keys().isdisjoint(each.names)
            # One that was interrupted waits for the shields of its downloads.
            held = any(self.scene.recorder.ids[name] in self.downloader.holding_out for name in each.names)
            is_over = each.submitter.is_over
            each.submitter.check("admission: submit_many() of", expected=is_over if held else not coming)
        for waiter, each in self._batch_waiters:
            waiter.check("Q4: wait() for", expected=all(model.status(name) in FINAL for name in each.names))

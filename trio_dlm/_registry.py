"""Which downloads a manager remembers, under which ids.

Rules that hold here:

- every download that has not ended is remembered, and of the ended ones the last ``keep_finished``;
- an id names one thing among all that is remembered: a download, or the parent of a batch;
- a batch is remembered as long as one of its downloads is.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from ._errors import UnknownTaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from ._batch import DownloadBatch
    from ._task import DownloadTask

__all__ = ["Registry"]


@final
class Registry:
    """Tasks and batches by id."""

    def __init__(self, *, keep_finished: float) -> None:
        self._keep_finished = keep_finished
        self._live: dict[str, DownloadTask[Any]] = {}
        self._ended: OrderedDict[str, DownloadTask[Any]] = OrderedDict()
        self._batches: dict[str, DownloadBatch] = {}
        self._remembered_of_batch: Counter[str] = Counter()
        self._reserved: set[str] = set()

    def __contains__(self, correlation_id: str) -> bool:
        return (
            correlation_id in self._live
            or correlation_id in self._ended
            or correlation_id in self._remembered_of_batch
            or correlation_id in self._reserved
        )

    @property
    def live(self) -> Iterator[DownloadTask[Any]]:
        """The tasks that have not ended, in the order in which they were submitted."""
        return iter(self._live.values())

    @property
    def live_count(self) -> int:
        """How many have not ended."""
        return len(self._live)

    def draw_id(self) -> str:
        """Draw an id that nothing has: 8 lower-case hex characters."""
        # Ids are names, not secrets, and the module's generator is the one that test tools make deterministic.
        while (drawn := f"{random.getrandbits(32):08x}") in self:
            pass
        return drawn

    @contextmanager
    def reservation(self) -> Generator[Callable[[str], None]]:
        """Give a function that keeps an id from being given away, until this is left or its download was added."""
        held: set[str] = set()

        def hold(correlation_id: str) -> None:
            held.add(correlation_id)
            self._reserved.add(correlation_id)

        try:
            yield hold
        finally:
            self._reserved -= held

    def add(self, task: DownloadTask[Any]) -> None:
        """Remember a new task; a task of a batch was added with the batch."""
        if task.correlation_id in self._live:
            return
        self._live[task.correlation_id] = task
        if task.parent_id is not None:
            self._remembered_of_batch[task.parent_id] += 1

    def end(self, correlation_id: str) -> None:
        """The task has ended: it moves to the history, and the oldest there may be forgotten."""
        self._ended[correlation_id] = self._live.pop(correlation_id)
        while len(self._ended) > self._keep_finished:
            _, forgotten = self._ended.popitem(last=False)
            if (parent_id := forgotten.parent_id) is not None:
                self._remembered_of_batch[parent_id] -= 1
                if not self._remembered_of_batch[parent_id]:
                    del self._remembered_of_batch[parent_id]
                    del self._batches[parent_id]

    def add_batch(self, batch: DownloadBatch) -> None:
        """Remember a new batch and its tasks."""
        for task in batch:
            self.add(task)
        if batch:
            self._batches[batch.parent_id] = batch

    def find(self, correlation_id: str) -> DownloadTask[Any] | None:
        """Return the task with this id if it has not ended."""
        return self._live.get(correlation_id)

    def get(self, correlation_id: str) -> DownloadTask[Any]:
        """Return the task with this id.

        Raises:
            UnknownTaskError: there is none, or it was forgotten, or the id is a batch's.
        """
        task = self._live.get(correlation_id) or self._ended.get(correlation_id)
        if task is not None:
            return task
        if correlation_id in self._batches:
            raise UnknownTaskError(
                correlation_id=correlation_id,
                advice="it is the parent id of a batch: cancel() and events() take it, and the batch has the tasks",
            )
        raise UnknownTaskError(correlation_id=correlation_id)

    def get_batch(self, parent_id: str) -> DownloadBatch | None:
        """Return the batch with this parent id, or None."""
        return self._batches.get(parent_id)

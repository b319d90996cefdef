"""Who waits for a manager, and who reads its events, while a machine goes on.

Rules that hold here:

- an onlooker is a background task; what it finds out is kept by the recorder and raised by the next look, since an
  exception would end the run, and with it the example, by something else than the law that was broken;
- when it comes back is judged at rest, by the model.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import final

import trio

from ... import TaskSnapshot
from .._errors import require
from ._laws import Scene
from ._model import FAILED, FINAL

__all__ = ["Onlooker", "Reader"]


@final
@dataclass(slots=True)
class Onlooker:
    """A task that awaits something of the manager's.

    Attributes:
        name: the download that it is about.
        scope: cancels it.
        is_over: whether it has come back.
    """

    name: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_over: bool = False

    async def run(self, scene: Scene, function: Callable[[], Awaitable[None]]) -> None:
        """Call *function*."""
        with self.scope:
            try:
                await function()
            # An error that the manager should not have raised goes the same way as a broken law.
            except Exception as exc:  # noqa: BLE001
                scene.recorder.keep(exc)
        self.is_over = True

    def check(self, call: str, *, expected: bool) -> None:
        """Look whether *call* has come back, as it should or should not."""
        said = "has returned, and should not have" if self.is_over else "has not returned, and should have"
        require(self.is_over == expected, f"{call} {self.name} {said}")


@final
@dataclass(slots=True)
class Reader:
    """A subscription in use.

    Attributes:
        only: the downloads that it was opened for, or None for all.
        min_interval_s: how long changes are held back.
        parent_id: what it was opened with, if the downloads are a batch.
        is_over: whether it has come to its end.
    """

    only: tuple[str, ...] | None = None
    min_interval_s: float = 0.0
    parent_id: str | None = None
    is_over: bool = False
    _spared: set[str] = field(default_factory=set[str])
    _seen: dict[str, TaskSnapshot] = field(default_factory=dict[str, TaskSnapshot])

    async def run(self, scene: Scene) -> None:
        """Read to the end."""
        tasks = self.parent_id or (None if self.only is None else [scene.task(name) for name in self.only])
        async with scene.manager.events(tasks=tasks, min_interval_s=self.min_interval_s) as events:
            # What has ended by now it is not given, unless it asked for it by name.
            self._spared = {name for name in scene.model.names(*FINAL) if name not in (self.only or ())}
            async for snapshot in events:
                before = self._seen.get(snapshot.correlation_id)
                require(
                    before is None or before.sequence < snapshot.sequence,
                    f"A6: {snapshot.correlation_id} was delivered again, and its sequence has not risen",
                )
                self._seen[snapshot.correlation_id] = snapshot
                if snapshot.status is FAILED:
                    scene.model.collect(scene.recorder.name_of(snapshot.correlation_id))
        self.is_over = True

    def check(self, scene: Scene, *, all_over: bool) -> None:
        """A6, at rest: who puts together what it was given has the present."""
        model = scene.model
        if self.only is None:
            names = [name for name in model.downloads if name not in self._spared]
        else:
            names = [name for name in self.only if name in model.downloads]
            all_over = all(model.status(name) in FINAL for name in self.only)
        whose = "all" if self.only is None else " and ".join(self.only)
        said = "are over, and should not be" if self.is_over else "are not over, and should be"
        require(self.is_over == all_over, f"A6: the events of {whose} {said}")
        # Those of a batch that is still coming in are there to be seen before their turn.
        wanted = {scene.recorder.ids[name] for name in self.only or (*names, *model.coming)}
        for correlation_id in self._seen:
            require(correlation_id in wanted, f"A6: a reader was given {correlation_id}, which had ended before")
        for name in names:
            present = scene.task(name).snapshot()
            if self.min_interval_s and present.status not in FINAL:
                continue
            seen = self._seen.get(present.correlation_id)
            require(
                seen is not None and (seen.status, seen.sequence) == (present.status, present.sequence),
                f"A6: the last that a reader was given of {name} is {_dated(seen)}, it is {_dated(present)}",
            )


def _dated(snapshot: TaskSnapshot | None) -> str:
    return "nothing" if snapshot is None else f"{snapshot.status.value} at {snapshot.sequence}"

"""What a program can do to a manager: each operation as data, and what becomes of it on a stage.

Rules that hold here:

- an operation is a frozen record whose repr is Python, so that a program that failed can be pasted into a test;
- a download is named by a number: 0 is the newest that there is, 1 the one before it, and so on, round and round.  A
  shorter program then still means something, which is what shrinking lives on; where there is no download the operation
  does nothing;
- a call is put to the model and to the manager with no tick in between, the model first;
- an operation that need not wait takes no tick of the scheduler: two of them in a row happen at the same instant;
- nothing is settled in passing: that is an operation of its own.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import final

import trio
from trio.testing import wait_all_tasks_blocked

from ... import QueueFullError
from ._calls import cancel, check_end, check_stopper, pause, refuse, resume, retry
from ._laws import Scene
from ._model import FINAL
from ._onlookers import Onlooker, Reader

__all__ = [
    "Advance",
    "Cancel",
    "Fail",
    "Finish",
    "Grant",
    "Operation",
    "Pause",
    "Resize",
    "ResizeLane",
    "Resume",
    "Retry",
    "Settle",
    "Shield",
    "Stage",
    "Submit",
    "Subscribe",
    "Tick",
    "Wait",
]


@final
@dataclass(slots=True)
class Stage:
    """Where a program is performed.

    Attributes:
        scene: the manager, and who knows how it should be.
        nursery: where what goes on in the background lives.
        names: all downloads there are, oldest first.
    """

    scene: Scene
    nursery: trio.Nursery
    names: list[str] = field(default_factory=list[str])
    _waiters: list[Onlooker] = field(default_factory=list[Onlooker])
    _stoppers: list[Onlooker] = field(default_factory=list[Onlooker])
    _readers: list[Reader] = field(default_factory=list[Reader])

    def find(self, number: int) -> str | None:
        """Return the name of a download, counted from the newest; None if there is none."""
        return self.names[-1 - number % len(self.names)] if self.names else None

    def new_name(self) -> str:
        """Return a name for the next download."""
        return f"d_{len(self.names)}"

    def wait(self, name: str) -> None:
        """Wait for the end of a download, in the background."""

        async def wait_for_the_end() -> None:
            check_end(self.scene, name, await self.scene.driven.wait(name))

        self._waiters.append(self._start(name, wait_for_the_end))

    def read(self) -> None:
        """Read the events of all downloads, in the background."""
        reader = Reader()
        self._readers.append(reader)
        self._start("all", lambda: reader.run(self.scene))

    def stop(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        """Call *function*, which stops a download, in the background."""
        self._stoppers.append(self._start(name, function))

    def check_rest(self, *, is_left: bool = False) -> None:
        """Look at what holds when nothing can go on without time passing (Q1 to Q4, A6).

        Args:
            is_left: the manager's block has been left.
        """
        self.scene.check_rest()
        for waiter in self._waiters:
            waiter.check("Q4: wait() for", expected=self.scene.model.status(waiter.name) in FINAL)
        for stopper in self._stoppers:
            check_stopper(self.scene, stopper)
        for reader in self._readers:
            reader.check(self.scene, all_over=is_left)

    def _start(self, name: str, function: Callable[[], Awaitable[None]]) -> Onlooker:
        onlooker = Onlooker(name)
        self.nursery.start_soon(onlooker.run, self.scene, function)
        return onlooker


class Operation(ABC):
    """One step of a program."""

    __slots__ = ()

    @abstractmethod
    async def _perform(self, stage: Stage) -> None:
        """Do it; a checkpoint only if it has to wait."""

    def __repr__(self) -> str:
        shown: list[str] = []
        for each in dataclasses.fields(self):  # type: ignore[arg-type]  # all that there are, are dataclasses
            value = getattr(self, each.name)
            text = "math.inf" if value == math.inf else repr(value)
            if each.default is dataclasses.MISSING:
                shown.append(text)
            elif value != each.default:
                shown.append(f"{each.name}={text}")
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, repr=False)
class _OnOne(Operation):
    """An operation on one download: number *d*, counted from the newest."""

    d: int

    async def _perform(self, stage: Stage) -> None:
        if (name := stage.find(self.d)) is not None:
            await self._perform_on(stage, name)

    @abstractmethod
    async def _perform_on(self, stage: Stage, name: str) -> None:
        """Do it to the download called *name*."""


# Submitting.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Submit(Operation):
    """Submit a download, or try to where there is no room.  A *resumable* one goes on from what it has."""

    lane: Hashable = None
    resumable: bool = False

    async def _perform(self, stage: Stage) -> None:
        scene, name = stage.scene, stage.new_name()
        manager, downloader = scene.manager, scene.downloader
        if not scene.model.has_room:
            refuse(
                "admission: submit_nowait() took a download for which was no room",
                QueueFullError,
                lambda: manager.submit_nowait("memory:refused", downloader=downloader, lane=self.lane),
            )
            return
        scene.recorder.introduce(name, name)
        scene.gate(name).resumable = self.resumable
        scene.model.submit(name, self.lane)
        stage.names.append(name)
        manager.submit_nowait(f"memory:{name}", downloader=downloader, lane=self.lane, correlation_id=name)


@final
class Retry(_OnOne):
    """Submit the same once more; refused before its end."""

    __slots__ = ()

    async def _perform_on(self, stage: Stage, name: str) -> None:
        if (new := retry(stage.scene, name, stage.new_name)) is not None:
            stage.names.append(new)


# What the outside world does.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Grant(_OnOne):
    """Let so many more bytes arrive."""

    size_bytes: int

    async def _perform_on(self, stage: Stage, name: str) -> None:
        stage.scene.gate(name).grant(self.size_bytes)


@final
class Finish(_OnOne):
    """Let its body return a result, now or when it runs."""

    __slots__ = ()

    async def _perform_on(self, stage: Stage, name: str) -> None:
        stage.scene.gate(name).finish()


@final
class Fail(_OnOne):
    """Let its body raise, now or when it runs."""

    __slots__ = ()

    async def _perform_on(self, stage: Stage, name: str) -> None:
        stage.scene.gate(name).fail(OSError("planned"))


@final
@dataclass(frozen=True, slots=True, repr=False)
class Shield(_OnOne):
    """Let its body hold out for so many seconds when it is stopped."""

    seconds: int

    async def _perform_on(self, stage: Stage, name: str) -> None:
        stage.scene.gate(name).shield(self.seconds)


# Stopping and going on.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Cancel(_OnOne):
    """Cancel it, and wait for that; *soon* does both in the background, so that others can come in between."""

    soon: bool = False

    async def _perform_on(self, stage: Stage, name: str) -> None:
        if self.soon:
            stage.stop(name, lambda: cancel(stage.scene, name))
        else:
            await cancel(stage.scene, name)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Pause(_OnOne):
    """Pause it, and wait for that; *soon* does both in the background."""

    soon: bool = False

    async def _perform_on(self, stage: Stage, name: str) -> None:
        if self.soon:
            stage.stop(name, lambda: pause(stage.scene, name))
        else:
            await pause(stage.scene, name)


@final
class Resume(_OnOne):
    """Queue it again, if it is paused."""

    __slots__ = ()

    async def _perform_on(self, stage: Stage, name: str) -> None:
        resume(stage.scene, name)


# Limits.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Resize(Operation):
    """Change how many may run at once."""

    limit: float

    async def _perform(self, stage: Stage) -> None:
        stage.scene.model.set_limit(self.limit)
        stage.scene.manager.max_concurrent = self.limit


@final
@dataclass(frozen=True, slots=True, repr=False)
class ResizeLane(Operation):
    """Give a lane a limit of its own, or take it away again."""

    lane: Hashable
    limit: float | None

    async def _perform(self, stage: Stage) -> None:
        stage.scene.model.set_lane_limit(self.lane, self.limit)
        stage.scene.manager.set_lane_limit(self.lane, self.limit)


# Looking on.


@final
class Wait(_OnOne):
    """Wait for its end, in the background."""

    __slots__ = ()

    async def _perform_on(self, stage: Stage, name: str) -> None:
        stage.wait(name)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Subscribe(Operation):
    """Read all events, in the background."""

    async def _perform(self, stage: Stage) -> None:
        stage.read()


# Time.


@final
@dataclass(frozen=True, slots=True, repr=False)
class Tick(Operation):
    """Let the scheduler go on a little, so that what follows meets things half done."""

    ticks: int = 1

    async def _perform(self, stage: Stage) -> None:
        del stage
        for _ in range(self.ticks):
            await trio.lowlevel.checkpoint()


@final
@dataclass(frozen=True, slots=True, repr=False)
class Advance(Operation):
    """Let virtual seconds pass."""

    seconds: int

    async def _perform(self, stage: Stage) -> None:
        del stage
        await trio.sleep(self.seconds)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Settle(Operation):
    """Let everything happen that can without time passing, and look at what holds then."""

    async def _perform(self, stage: Stage) -> None:
        await wait_all_tasks_blocked()
        stage.check_rest()

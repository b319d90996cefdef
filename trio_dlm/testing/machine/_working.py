"""Steps in which something happens outside of the manager: bytes arrive, bodies end, time goes by.

Rules that hold here:

- the manager is not called; what it makes of this is what is looked at;
- time moves in no other step but where a call waits for it, and nothing settles but in ``settle``.
"""

from __future__ import annotations

import trio
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from .._scripted import PlannedCrash, PlannedError, Reaction
from ._model import DOWNLOADING, PENDING
from ._runner import precondition
from ._steps import Steps, if_has, step, step_on_one

__all__ = ["WorkingSteps"]


class WorkingSteps(Steps):
    """The steps of the world around the manager."""

    @step_on_one(DOWNLOADING, feature="progress", size_bytes=st.integers(1, 1000))
    def grant(self, d: str, size_bytes: int = 1) -> None:
        self.scene.gate(d).grant(size_bytes)

    @step_on_one(DOWNLOADING)
    def finish(self, d: str) -> None:
        self.scene.gate(d).finish()

    @step_on_one(DOWNLOADING, in_a_group=st.booleans())
    def fail(self, d: str, *, in_a_group: bool = False) -> None:
        error = PlannedError("planned")
        self.scene.gate(d).fail(ExceptionGroup("planned", [error]) if in_a_group else error)

    @step_on_one(DOWNLOADING, PENDING, feature="crash", in_a_group=st.booleans())
    @precondition(lambda machine: machine._ends_early)
    def crash(self, d: str, *, in_a_group: bool = False) -> None:
        """Let the body raise what is no ``Exception``."""
        crash = PlannedCrash(f"of {d}")
        both = [PlannedError("beside a crash"), crash]
        self.scene.gate(d).fail(BaseExceptionGroup("planned", both) if in_a_group else crash)

    @step_on_one(DOWNLOADING, seconds=st.integers(1, 5))
    def shield(self, d: str, seconds: int = 1) -> None:
        self.scene.gate(d).shield(seconds)

    @step_on_one(
        DOWNLOADING,
        how=if_has("groups", st.sampled_from(["return", "raise", "raise both"]), st.sampled_from(["return", "raise"])),
    )
    def react(self, d: str, how: Reaction = "return") -> None:
        """Say what the body does when it is cancelled, other than to leave."""
        self.scene.gate(d).reaction = how

    @step_on_one(DOWNLOADING, feature="crash")
    @precondition(lambda machine: machine._ends_early)
    def crash_when_cancelled(self, d: str) -> None:
        self.scene.gate(d).reaction = "crash"

    @step(ticks=st.integers(1, 3))
    async def tick(self, ticks: int = 1) -> None:
        """Let the scheduler go on a little, so that the next step meets things half done."""
        for _ in range(ticks):
            await trio.lowlevel.checkpoint()

    @step(seconds=st.integers(1, 10))
    async def advance(self, seconds: int = 1) -> None:
        await trio.sleep(seconds)

    @step()
    async def settle(self) -> None:
        """Let everything happen that can without time passing."""
        await wait_all_tasks_blocked()
        self._check_rest()

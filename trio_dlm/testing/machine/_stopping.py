"""Steps that stop and go on: cancel, pause, resume, from outside and by the download itself.

Rules that hold here:

- each call is taken in its three ways: the request alone, the call to its end, and in the background;
- what holds when a call returns is looked at in the step in which it returns.
"""

from __future__ import annotations

from typing import Literal

import trio
from hypothesis import strategies as st

from .._errors import LawBrokenError, require
from ._calls import can_be_cancelled, cancel, check_stopper, pause, resume
from ._model import DOWNLOADING, PAUSED, PENDING
from ._onlookers import Onlooker
from ._steps import Steps, step_on_one

__all__ = ["StoppingSteps"]


class StoppingSteps(Steps):
    """The steps that stop downloads and let them go on."""

    def __init__(self) -> None:
        super().__init__()
        self._stoppers: list[Onlooker] = []

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="request")
    def request_cancel(self, d: str) -> None:
        """The synchronous half of cancel(): a tick would let a body that is about to end do so first."""
        if can_be_cancelled(self.scene, d):
            self.model.cancel(d, None)
            self.scene.driven.request_cancel(d)

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel(self, d: str) -> None:
        await cancel(self.scene, d)

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    def cancel_soon(self, d: str) -> None:
        """Cancel in the background: several may cancel one, and a resume may come in between."""
        self._stoppers.append(self._start(d, lambda: cancel(self.scene, d)))

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="reasons", reason=st.sampled_from(["one", "another"]))
    def cancel_because(self, d: str, reason: str = "one") -> None:
        """Cancel in the background and say why: of several reasons the first stays."""
        self._stoppers.append(self._start(d, lambda: cancel(self.scene, d, reason)))

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel_impatiently(self, d: str) -> None:
        """Whoever calls cancel() is cancelled in it: the request stands (C7)."""
        if not can_be_cancelled(self.scene, d):
            return
        self.model.cancel(d, None)
        with trio.CancelScope() as scope:
            scope.cancel(reason="impatient")
            await self.scene.driven.cancel(d)
        require(scope.cancelled_caught, "cancel() is not a checkpoint")

    @step_on_one(PENDING, DOWNLOADING, feature="pause")
    async def pause(self, d: str) -> None:
        await pause(self.scene, d)

    @step_on_one(PENDING, DOWNLOADING, feature="pause")
    def pause_soon(self, d: str) -> None:
        self._stoppers.append(self._start(d, lambda: pause(self.scene, d)))

    @step_on_one(PAUSED, feature="pause")
    def resume(self, d: str) -> None:
        resume(self.scene, d)

    @step_on_one(DOWNLOADING, feature="own calls", verb=st.sampled_from(["cancel", "pause"]), shielded=st.booleans())
    def stop_itself(self, d: str, verb: Literal["cancel", "pause"] = "cancel", *, shielded: bool = False) -> None:
        """Let the body cancel or pause its own download, which raises ``Cancelled``, or refuses below a shield."""

        async def stop() -> None:
            if verb == "cancel":
                self.model.cancel(d, None)
            else:
                self.model.pause(d)
            task = self.scene.task(d)
            # Not for ever: below a shield that waits for its own end no example could be closed.
            with trio.CancelScope(shield=shielded, deadline=trio.current_time() + self.step_timeout_s):
                try:
                    await (task.cancel() if verb == "cancel" else task.pause())
                except RuntimeError:
                    if shielded:
                        return
                    raise
            self.scene.recorder.keep(LawBrokenError(f"law 5: {verb}() of {d} by its own body returned"))

        self.scene.gate(d).call(stop)

    def _check_rest(self) -> None:
        super()._check_rest()
        for stopper in self._stoppers:
            check_stopper(self.scene, stopper)

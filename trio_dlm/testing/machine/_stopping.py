"""Steps that stop and go on: cancel, pause, resume, from outside and by the download itself.

Rules that hold here:

- each call is taken in its three ways: the request alone, the call to its end, and in the background;
- what holds when a call returns is looked at in the step in which it returns.
"""

from __future__ import annotations

import math
from typing import Literal

import trio
from hypothesis import strategies as st

from ... import ManagerClosedError
from .._errors import LawBrokenError, require
from ._model import CANCELLED, DOWNLOADING, FINAL, PAUSED, PENDING
from ._onlookers import Onlooker
from ._steps import Steps, check_onlooker, refuse, step_on_one

__all__ = ["StoppingSteps"]


class StoppingSteps(Steps):
    """The steps that stop downloads and let them go on."""

    def __init__(self) -> None:
        super().__init__()
        self._stoppers: list[Onlooker] = []

    @step_on_one(PENDING, DOWNLOADING, PAUSED, feature="request")
    def request_cancel(self, d: str) -> None:
        """The synchronous half of cancel(): a tick would let a body that is about to end do so first."""
        if self._can_be_cancelled(d):
            self.model.cancel(d)
            self.scene.driven.request_cancel(d)

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel(self, d: str) -> None:
        await self._cancel(d)

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    def cancel_soon(self, d: str) -> None:
        """Cancel in the background: several may cancel one, and a resume may come in between."""
        self._stoppers.append(self._start(d, lambda: self._cancel(d)))

    @step_on_one(PENDING, DOWNLOADING, PAUSED)
    async def cancel_impatiently(self, d: str) -> None:
        """Whoever calls cancel() is cancelled in it: the request stands (C7)."""
        if not self._can_be_cancelled(d):
            return
        self.model.cancel(d)
        with trio.CancelScope() as scope:
            scope.cancel(reason="impatient")
            await self.scene.driven.cancel(d)
        require(scope.cancelled_caught, "cancel() is not a checkpoint")

    @step_on_one(PENDING, DOWNLOADING, feature="pause")
    async def pause(self, d: str) -> None:
        await self._pause(d)

    @step_on_one(PENDING, DOWNLOADING, feature="pause")
    def pause_soon(self, d: str) -> None:
        self._stoppers.append(self._start(d, lambda: self._pause(d)))

    @step_on_one(PAUSED, feature="pause")
    def resume(self, d: str) -> None:
        if not self.scene.is_there(d):
            return
        if self.model.closed:
            refuse(f"law 1: a closed manager resumed {d}", ManagerClosedError, lambda: self.scene.driven.resume(d))
            return
        expected = self.model.resume(d)
        resumed = self.scene.driven.resume(d)
        require(resumed is expected, f"resume() of {d} said {resumed}, expected {expected}")

    @step_on_one(DOWNLOADING, feature="own calls", verb=st.sampled_from(["cancel", "pause"]), shielded=st.booleans())
    def stop_itself(self, d: str, verb: Literal["cancel", "pause"] = "cancel", *, shielded: bool = False) -> None:
        """Let the body cancel or pause its own download, which raises ``Cancelled``, or refuses below a shield."""

        async def stop() -> None:
            (self.model.cancel if verb == "cancel" else self.model.pause)(d)
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

    def _can_be_cancelled(self, name: str) -> bool:
        """Also one of a batch whose turn has not come: it is known, though it is not queued."""
        return self.scene.is_there(name) or name in self.model.coming

    async def _cancel(self, name: str) -> None:
        """C1 to C6."""
        if not self._can_be_cancelled(name):
            return
        scene, model = self.scene, self.model
        had_ended = model.status(name) in FINAL
        # What stops it already, and since when, is not this call's.
        undisturbed = scene.body_runs(name) and not (model.is_to_stop(name) or model.is_cut_off)
        began_s = trio.current_time()
        model.cancel(name)
        cancelled = await scene.driven.cancel(name)
        took_s = trio.current_time() - began_s
        status = scene.driven.status(name)
        require(status in FINAL, f"law 5: cancel() of {name} returned, and it is {status.value}")
        scene.check_stopped(name, "cancel")
        expected = not had_ended and status is CANCELLED
        require(cancelled is expected, f"law 5: cancel() of {name} said {cancelled}, expected {expected}")
        if undisturbed and status is CANCELLED:
            held_s = scene.gate(name).held_s
            right = math.isclose(took_s, held_s, abs_tol=1e-6)
            require(right, f"C6: cancel() of {name} took {took_s:g} s, its body held out for {held_s:g} s")

    async def _pause(self, name: str) -> None:
        if not self.scene.is_there(name):
            return
        self.model.pause(name)
        paused = await self.scene.driven.pause(name)
        status = self.scene.driven.status(name)
        require(paused is (status is PAUSED), f"pause() of {name} said {paused}, and it is {status.value}")
        if paused:
            self.scene.check_stopped(name, "pause")

    def _check_rest(self) -> None:
        super()._check_rest()
        for stopper in self._stoppers:
            holds_out = self.scene.recorder.ids[stopper.name] in self.downloader.holding_out
            # One that was stopped before may hold out for somebody else.
            check_onlooker("Q4: a call that stops", stopper, expected=stopper.is_over or not holds_out)

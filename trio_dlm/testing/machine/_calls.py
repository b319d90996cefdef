"""Calls on a manager that is looked at: put to the model, made, and judged when they return.

Rules that hold here:

- steps of the machine and operations of programs make the same calls, and judge them by the same laws;
- the model is asked first, and no tick comes in between;
- a call that is refused has changed nothing, which the model shows by not having been asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio
from trio.testing import MockClock

from ... import DownloadStatus, ManagerClosedError, NotFinishedError, QueueFullError
from .._errors import LawBrokenError, require
from ._laws import Scene
from ._model import CANCELLED, FINAL, PAUSED
from ._onlookers import Onlooker

__all__ = ["can_be_cancelled", "cancel", "check_end", "check_stopper", "pause", "refuse", "resume", "retry"]


def refuse(law: str, error: type[Exception], call: Callable[[], object]) -> None:
    """Raise :class:`LawBrokenError` unless *call* raises *error*."""
    try:
        call()
    except error:
        return
    raise LawBrokenError(f"{law}, expected {error.__name__}")


def can_be_cancelled(scene: Scene, name: str) -> bool:
    """Whether a download is known, as one of a batch is whose turn to be queued has not come."""
    return scene.is_there(name) or name in scene.model.coming


async def cancel(scene: Scene, name: str, reason: str | None = None) -> None:
    """Cancel a download to its end (C1 to C6, C8).

    Args:
        scene: where.
        name: of the download.
        reason: why, for a manager that takes that.
    """
    if not can_be_cancelled(scene, name):
        return
    model = scene.model
    had_ended = model.status(name) in FINAL
    # What stops it already, and since when, is not this call's.
    undisturbed = scene.body_runs(name) and not (model.is_to_stop(name) or model.is_cut_off)
    began_s = trio.current_time()
    model.cancel(name, reason)
    cancelled = await (scene.driven.cancel(name) if reason is None else scene.driven.cancel(name, reason))
    took_s = trio.current_time() - began_s
    status = scene.driven.status(name)
    require(status in FINAL, f"law 5: cancel() of {name} returned, and it is {status.value}")
    scene.check_stopped(name, "cancel")
    expected = not had_ended and status is CANCELLED
    require(cancelled is expected, f"law 5: cancel() of {name} said {cancelled}, expected {expected}")
    # On a real clock everything takes a little.
    if undisturbed and status is CANCELLED and isinstance(trio.lowlevel.current_clock(), MockClock):
        held_s = scene.gate(name).held_s
        right = math.isclose(took_s, held_s, abs_tol=1e-6)
        require(right, f"C6: cancel() of {name} took {took_s:g} s, its body held out for {held_s:g} s")


async def pause(scene: Scene, name: str) -> None:
    """Pause a download to its end."""
    if not scene.is_there(name):
        return
    scene.model.pause(name)
    paused = await scene.driven.pause(name)
    status = scene.driven.status(name)
    require(paused is (status is PAUSED), f"pause() of {name} said {paused}, and it is {status.value}")
    if paused:
        scene.check_stopped(name, "pause")


def resume(scene: Scene, name: str) -> None:
    """Resume a download, if it is paused."""
    if not scene.is_there(name):
        return
    if scene.model.closed:
        refuse(f"law 1: a closed manager resumed {name}", ManagerClosedError, lambda: scene.driven.resume(name))
        return
    expected = scene.model.resume(name)
    resumed = scene.driven.resume(name)
    require(resumed is expected, f"resume() of {name} said {resumed}, expected {expected}")


def retry(scene: Scene, name: str, give_name: Callable[[], str]) -> str | None:
    """Submit the same once more, where that may be done.

    Args:
        scene: where.
        name: of the download that ended.
        give_name: makes a name for the new one.

    Returns:
        What the new one is called, or None if there is none.
    """
    if not scene.is_there(name):
        return None
    task = scene.task(name)
    error: type[Exception] | None = None
    if scene.model.status(name) not in FINAL:
        error = NotFinishedError
    elif scene.model.closed:
        error = ManagerClosedError
    elif not scene.model.has_room:
        error = QueueFullError
    if error is not None:
        refuse(f"retry: of {name}", error, task.retry)
        return None
    new = give_name()
    scene.recorder.newcomers.append(new)
    scene.model.submit(new, task.lane)
    again = task.retry()
    scene.recorder.check()
    require(again.retry_of == task.correlation_id, f"retry: {new} does not say what it repeats")
    require(again.correlation_id == scene.recorder.ids.get(new), f"retry: the handle of {new} is another's")
    return new


def check_end(scene: Scene, name: str, status: DownloadStatus) -> None:
    """Look whether what a wait has returned is how the download ended."""
    expected = scene.model.status(name)
    require(status is expected, f"wait() for {name} said {status.value}, expected {expected and expected.value}")
    require(status in FINAL, f"wait() for {name} returned, and it is {status.value}")


def check_stopper(scene: Scene, stopper: Onlooker) -> None:
    """Look, at rest, whether a call that stops a download has come back."""
    holds_out = scene.recorder.ids[stopper.name] in scene.downloader.holding_out
    # One that was stopped before may hold out for somebody else.
    stopper.check("Q4: a call that stops", expected=stopper.is_over or not holds_out)

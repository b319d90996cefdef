"""One manager, shown by one face, stoppable by a signal.

Rules that hold here:

- the face runs around the manager's block, so that it sees every download end, also when a signal ended it;
- a signal cancels the block at once, and gives the face a moment to show what came of it;
- nothing but this room knows how these three go together: the commands say what to download.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final

import trio

from .._batch import DownloadBatch
from .._manager import DownloadManager
from .._status import DownloadStatus
from ._faces import Face
from ._report import Tally
from ._signals import Interrupts

__all__ = ["LAST_WORDS_S", "exit_code_of", "run_block"]

# What a face may take to show the end after a signal.  It takes milliseconds, unless the reader of its pipe is stuck.
LAST_WORDS_S: Final = 0.3


async def run_block(
    block: AbstractAsyncContextManager[DownloadManager],
    submit: Callable[[DownloadManager], Awaitable[DownloadBatch]],
    then: Callable[[DownloadManager, DownloadBatch], Awaitable[object]] | None = None,
    *,
    face: Face,
    tally: Tally,
    interrupts: Interrupts,
) -> None:
    """Enter *block*, let *submit* queue downloads, and return when all of them have ended and were shown.

    Args:
        block: what ``open_manager`` returned.
        submit: queues the downloads.
        then: does what is to be done besides; the block is left when it returns.
        face: is told everything, and the end.
        tally: counts the ends; its total is how many downloads there will be.
        interrupts: a signal that it catches cancels the block; this returns normally then.
    """
    around, scope = trio.CancelScope(), trio.CancelScope()

    def stop() -> None:
        scope.cancel(reason=_reason(interrupts))
        face.stop()
        around.deadline = trio.current_time() + LAST_WORDS_S

    manager: DownloadManager | None = None
    with around, interrupts.calling(stop):
        async with trio.open_nursery() as watching:
            with scope:
                async with block as manager:
                    submitted = trio.Event()
                    # The watcher sees the manager's end, so it has to be there longer than the manager's block.
                    await watching.start(_watch, face, manager, tally, interrupts, submitted)  # noqa: ASYNC111
                    try:
                        batch = await submit(manager)
                    finally:
                        submitted.set()
                    if then is not None:
                        await then(manager, batch)
        if manager is not None:
            await face.finish(manager.get_stats(), tally.total, exit_code_of(tally, interrupts))


def exit_code_of(tally: Tally, interrupts: Interrupts) -> int:
    """Return what to tell the shell."""
    stopped = interrupts.exit_code
    return tally.exit_code if stopped is None else stopped


async def _watch(  # noqa: ASYNC114
    face: Face,
    manager: DownloadManager,
    tally: Tally,
    interrupts: Interrupts,
    submitted: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Pass on what happens, from before the first download is queued until after the last has ended."""
    async with manager.events(min_interval_s=face.interval_s) as events, face.open(manager, tally.total):
        task_status.started()
        # Whoever looks at once is shown the first one still queued, and held back while the others are shown running.
        await submitted.wait()
        async for snapshot in events:
            tally.note(snapshot)
            if interrupts.received is not None and snapshot.status is DownloadStatus.CANCELLED:
                # The manager only knows that its block was cancelled.
                snapshot = replace(snapshot, reason=_reason(interrupts))  # noqa: PLW2901
            await face.show(snapshot)


def _reason(interrupts: Interrupts) -> str:
    assert interrupts.received is not None
    return f"stopped by {interrupts.received.name}"

"""Q5: the queues of our manager hold nothing that has ended, and not much that is void.

Rules that hold here:

- this looks into the schedule, since what is held on to for nothing cannot be seen from outside; nobody else's manager
  can be judged by it;
- the content of a memory channel is private to trio.  Where it is not found, only the length is looked at; a test of
  ours tells when that is so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import trio

from ... import DownloadManager, _schedule
from .._errors import require
from ._model import DOWNLOADING, PENDING, Model

if TYPE_CHECKING:
    from ..._engine import Engine

__all__ = ["check_memory", "content_of"]


def check_memory(manager: DownloadManager, model: Model) -> None:
    """Look into the lanes of *manager*.

    Raises:
        LawBrokenError: a lane holds too much.
    """
    schedule = cast("Engine", manager._engine).schedule
    for name, lane in schedule._lanes.items():
        held = lane.receive.statistics().current_buffer_used
        queued = model.pending_in(name)
        # While everything is being cancelled nothing is swept any more.
        is_swept = held <= 3 * queued + _schedule._FEW or schedule._halted
        require(is_swept, f"Q5: lane {name!r} holds {held} tickets, {queued} of them live")
        dead = [
            ticket.download.correlation_id
            for ticket in content_of(lane.receive)
            if ticket.download is not None and ticket.download.status is not PENDING
        ]
        require(not dead, f"Q5: lane {name!r} holds on to {', '.join(dead)}, which is not queued")
        idle = [each.correlation_id for each in lane.running if each.status is not DOWNLOADING]
        require(not idle, f"Q5: lane {name!r} counts {', '.join(idle)} as running")


def content_of(channel: trio.MemoryReceiveChannel[Any]) -> Iterable[Any]:
    """Return what was sent into *channel* and has not been received, oldest first; nothing where it is not found."""
    content: Iterable[Any] = getattr(getattr(channel, "_state", None), "data", ())
    return content

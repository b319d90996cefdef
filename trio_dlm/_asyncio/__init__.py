"""A manager beside an asyncio loop: its downloads run in a trio run of their own, in one thread, and are mirrored here.

Rules that hold here:

- ``_block`` opens and leaves; ``_mirror`` is what the manager's faces ask; ``_side`` is what runs in trio; there is one
  way between the two, ``_crossing``; ``_reports`` says what comes back; ``_host_runs`` runs downloaders on this side;
- objects of trio and of asyncio are each used on their own side only; ``trio.Cancelled`` never gets out, asyncio's
  ``CancelledError`` never in;
- this package is imported when a manager is opened on asyncio, and only then.
"""

from __future__ import annotations

from ._block import AsyncioBlock

__all__ = ["AsyncioBlock"]

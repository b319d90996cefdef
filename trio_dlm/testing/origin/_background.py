"""Tasks in the background of a block, which end with it.

Rules that hold here:

- what the block raises leaves it as it is, and so does what a task raises; only when both do, or two tasks, there is
  a group.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["open_background"]


@asynccontextmanager
async def open_background() -> AsyncGenerator[trio.Nursery, None]:
    """Give a nursery that is cancelled when the block is left, and does not wrap what leaves it."""
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel(reason="the origin's block was left")
    except BaseExceptionGroup as group:
        alone, *others = group.exceptions
        if others:
            raise
        context = alone.__context__
        try:
            raise alone
        finally:
            # What it was raised during is the block's business, and the group is not.
            alone.__context__ = context

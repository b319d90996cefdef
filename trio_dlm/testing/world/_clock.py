"""Time that jumps.

Rules that hold here:

- time passes only when every task waits, and then at once, to the next deadline;
- a task that waits for a thread or for a socket of the machine waits for nothing that the clock can see, so that time
  jumps over it: put both out of the way with :func:`~trio_dlm.testing.world.threads_in_line` and
  :func:`~trio_dlm.testing.world.memory_network`.
"""

from __future__ import annotations

from trio.testing import MockClock

__all__ = ["use_virtual_time"]


def use_virtual_time() -> MockClock:
    """Return a clock for one ``trio.run(…, clock=use_virtual_time())``; it begins at 0."""
    return MockClock(autojump_threshold=0)

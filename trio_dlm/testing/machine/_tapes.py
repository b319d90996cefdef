"""The drawing of schedules: tapes of small numbers, which shrink to the empty one.

Rules that hold here:

- a tape is drawn before the first step of an example, and never inside a tick.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

__all__ = ["tapes"]

# More tasks than this in one tick are rare in programs of a few dozen steps, and the number is taken modulo them
# anyway.
_WIDEST_CHOICE: Final = 7

# A program of 40 steps has about as many ticks with a choice in them.
_LONGEST: Final = 40


def tapes() -> st.SearchStrategy[list[int]]:
    """Draw tapes; they shrink to the empty one."""
    choice = st.integers(0, _WIDEST_CHOICE)
    # Lists alone would have five elements on average, and most programs would go oldest first from there on.
    return st.lists(choice, max_size=_LONGEST // 2) | st.lists(choice, min_size=_LONGEST // 2, max_size=_LONGEST)

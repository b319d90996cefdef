"""The operations of a program, for ``from trio_dlm.testing.operations import *`` above one that was printed.

Rules that hold here:

- only names: what an operation does is said in :mod:`.machine._operations`;
- they are not in :mod:`trio_dlm.testing` itself, where names such as ``Wait`` and ``Finish`` would say nothing.
"""

from __future__ import annotations

from .machine._operations import (
    Advance,
    Cancel,
    Fail,
    Finish,
    Grant,
    Operation,
    Pause,
    Resize,
    ResizeLane,
    Resume,
    Retry,
    Settle,
    Shield,
    Submit,
    Subscribe,
    Tick,
    Wait,
)

__all__ = [
    "Advance",
    "Cancel",
    "Fail",
    "Finish",
    "Grant",
    "Operation",
    "Pause",
    "Resize",
    "ResizeLane",
    "Resume",
    "Retry",
    "Settle",
    "Shield",
    "Submit",
    "Subscribe",
    "Tick",
    "Wait",
]

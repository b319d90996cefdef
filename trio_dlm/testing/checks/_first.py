"""The plans that a check begins with: the accidents that happen every day, and each class of fault once.

Rules that hold here:

- they are as simple as a plan can be, the simplest first, so that what breaks at one of them needs no shrinking;
- chance comes afterwards: a class that is one of sixty is easily missed by a hundred draws;
- what is wrong about a range shows only to who asks for one, and most do not before a line broke: so each class of
  fault comes once more as the second step;
- what is wrong about a second connection shows only while the first one delivers: so each class of fault comes a third
  time, beside a reply that takes seconds.
"""

from __future__ import annotations

from typing import Final

from ..origin import faults as f
from ..origin._fault import Fault
from ..origin._plan import FaultPlan
from ..origin.faults._name import HOSTILE_NAMES

__all__ = ["first_plans"]

# As they are by default these wait for seconds, or look for a name or a server that is none.
_NOT_IN_REAL_TIME: Final[frozenset[type[Fault]]] = frozenset(
    {
        f.EndlessHeader,
        f.EndlessHints,
        f.HeaderStops,
        f.RedirectToHost,
        f.RedirectToScheme,
        f.SlowHeader,
        f.Stall,
        f.Trickle,
    }
)


def first_plans(size_bytes: int, *, real_time: bool = False, undetectable: bool = False) -> list[FaultPlan]:
    """Return what to try before anything is drawn.

    Args:
        size_bytes: of the file.
        real_time: leave out what takes seconds.
        undetectable: have also what only a digest reveals.
    """
    half = size_bytes // 2
    kinds = [kind for kind in f.FAULTS if not (real_time and kind in _NOT_IN_REAL_TIME)]
    plans = [
        FaultPlan(),
        # What happens every day: the line breaks, and it is tried again; meanwhile the file may have changed.
        FaultPlan((f.DropAt(half),)),
        FaultPlan((f.DropAt(half), f.Changed())),
        FaultPlan((f.DropAt(half), f.IfRangeIgnored())),
        FaultPlan((f.DropAt(half), f.Changed()), validators="weak"),
        FaultPlan((f.DropAt(half), f.Changed()), validators="none"),
        # The new version is a little longer, or shorter, or shorter than what is there of the old one.
        *(FaultPlan((f.DropAt(half), f.Changed(by=by))) for by in (1, -1, half // 2 - size_bytes)),
        FaultPlan((f.Redirect(), f.DropAt(half))),
        # What was taken for bytes of the file before the framing broke must not be gone on from.
        FaultPlan((f.ChunkSizeWrong(quarter=1),)),
        # The line breaks again while the new version comes, of which there is then less than of the old one.
        FaultPlan((f.DropAt(half), f.Changed(drop_at=half // 2))),
        *(FaultPlan((kind(),)) for kind in kinds),
        *(FaultPlan((f.Named(text),)) for text in HOSTILE_NAMES),
        *(FaultPlan((f.DropAt(half), kind())) for kind in kinds),
        *([] if real_time else [FaultPlan((f.Trickle(), kind())) for kind in kinds]),
        FaultPlan((f.DropAt(half), f.OtherStart(-1))),
        # A weak tag promises nothing about bytes, nor does a date beside it (RFC 9110 section 8.8.2.2).
        FaultPlan((f.DropAt(half), f.ChangedSecretly()), validators="weak"),
        *([] if real_time else [FaultPlan((f.Busy(retry_after=30),)), FaultPlan(then=f.ShorterRange(size_bytes))]),
        # It never ends.
        *(FaultPlan(then=kind()) for kind in (f.RedirectToItself, f.Busy, f.DropAt, f.Changed)),
    ]
    return [plan for plan in plans if undetectable or not plan.is_undetectable]

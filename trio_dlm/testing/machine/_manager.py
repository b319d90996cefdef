"""A download manager under random use: every call in any order, at any instant, against the model.

Rules that hold here:

- the laws are looked at after each step, before the scheduler has ticked; what holds only at rest is looked at by
  ``settle`` and at the end;
- the steps are in rooms of their own, by subject; this is where they come together;
- a manager that is configured differently, can do less, or is not ours takes a subclass that overrides the hooks of
  :class:`Steps`, or :func:`check_manager`, which does that.
"""

from __future__ import annotations

from ._leaving import LeavingSteps
from ._limiting import LimitingSteps
from ._looking import LookingSteps
from ._runner import invariant
from ._stopping import StoppingSteps
from ._submitting import SubmittingSteps
from ._working import WorkingSteps

__all__ = ["DownloadManagerMachine"]


class DownloadManagerMachine(LeavingSteps, SubmittingSteps, LookingSteps, StoppingSteps, LimitingSteps, WorkingSteps):
    """The steps and laws of a manager: order, limits, conservation, cancelling, pausing, leaving.

    ``TestX = MyMachine.TestCase`` makes a test of it.  Override ``limits``, ``features``, ``open_manager``,
    ``make_downloader``, ``watch`` and ``extra_invariants`` for a manager that is not opened as ours is by default.
    """

    @invariant()
    def check(self) -> None:
        """Look at what always holds."""
        self.scene.check()
        self.extra_invariants()

"""Laws 1 to 5 on a real manager in random use.

Rules that hold here:

- how many examples and steps is for the profile to say (``HYPOTHESIS_PROFILE``, see conftest.py);
- a failure prints the program that leads to it, which runs as it stands; ``state.check()`` is what is looked at in
  between.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from trio_dlm import _schedule
from trio_dlm.testing.machine._manager import DownloadManagerMachine


class SweepingMachine(DownloadManagerMachine):
    """With a manager that sweeps its queues for void tickets early: it takes more than an example has otherwise."""

    def __init__(self) -> None:
        super().__init__()
        patch = pytest.MonkeyPatch()
        patch.setattr(_schedule, "_FEW", 0)
        self.at_close.callback(patch.undo)


TestManager = DownloadManagerMachine.TestCase
TestManagerThatSweeps = SweepingMachine.TestCase

# An example of 40 steps takes about 20 ms, no more than a plain property has.
TestManager.settings = settings(
    max_examples=3 * settings().max_examples, deadline=None, suppress_health_check=list(HealthCheck)
)

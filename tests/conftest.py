"""How thoroughly the property tests look, which clock async tests have, and that Ctrl-C means something.

``HYPOTHESIS_PROFILE`` is dev, ci or soak.  No profile has a deadline, since on a shared machine one measures the
neighbours.
"""

from __future__ import annotations

import inspect
import os
import signal

import pytest
from hypothesis import settings

from tests.fakes import run_in_virtual_time

# A shell without job control starts what it puts into the background with Ctrl-C ignored, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dev", max_examples=50, stateful_step_count=20, deadline=None)
# The same examples in every run, so that a red build is red for everybody; the blob replays one elsewhere.
settings.register_profile(
    "ci",
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
)
settings.register_profile("soak", max_examples=20_000, stateful_step_count=80, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the async tests that are marked so, or whose module is, on a virtual clock."""
    for item in items:
        if item.get_closest_marker("virtual_time") and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            # In front of the mark that pytest-trio gives to every async test, since the first one counts.
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)

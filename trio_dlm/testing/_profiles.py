"""How long Hypothesis searches: three profiles, for a developer, for a machine that checks changes, and for a night.

Rules that hold here:

- no profile has a deadline: on a shared machine one measures the neighbours;
- nothing is registered by importing this; whoever wants the profiles says so, in ``conftest.py`` as a rule.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

__all__ = ["register_profiles"]

# What chooses a profile, and what says that nobody has to be waited for.
_CHOICE: Final = "HYPOTHESIS_PROFILE"
_ON_A_CI_MACHINE: Final = "CI"


def register_profiles() -> str:
    """Register the profiles ``dev``, ``ci`` and ``soak``, and load the one that is asked for.

    ``dev``
        50 examples of up to 20 steps.
    ``ci``
        200 examples of up to 40 steps, the same ones in every run, so that a red build is red for everybody.  Nothing
        is kept from one run to the next; what fails prints a blob that replays it elsewhere.
    ``soak``
        20,000 examples of up to 80 steps, with the database, so that what was found is tried first next time.

    The environment variable ``HYPOTHESIS_PROFILE`` names the one to load, which may also be one that was registered
    before; without it that is ``ci`` where ``CI`` is set, and ``dev`` elsewhere.

    Returns:
        The name of the profile that was loaded.

    Raises:
        hypothesis.errors.InvalidArgument: there is no profile of that name.
    """
    # Without a parent a new profile takes what it leaves open from the one that is loaded, and on a CI machine
    # Hypothesis begins with one that keeps nothing.
    plain: Final = settings.get_profile("default")
    settings.register_profile("dev", plain, max_examples=50, stateful_step_count=20, deadline=None)
    settings.register_profile(
        "ci",
        plain,
        max_examples=200,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        print_blob=True,
    )
    settings.register_profile(
        "soak", plain, max_examples=20_000, stateful_step_count=80, deadline=None, print_blob=True
    )
    name = os.environ.get(_CHOICE) or ("ci" if os.environ.get(_ON_A_CI_MACHINE) else "dev")
    # Loading one that is not there raises as well, and leaves Hypothesis unable to load any other.
    settings.get_profile(name)
    settings.load_profile(name)
    return name

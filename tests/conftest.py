"""How thoroughly the property tests look, which clock async tests have, and that signals mean something.

``HYPOTHESIS_PROFILE`` is dev, ci or soak, and trio_dlm/testing/_profiles.py says what they are; or smoke, as short as
dev and as repeatable as ci.
"""

from __future__ import annotations

import inspect
import shutil
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from tests.fakes import run_in_virtual_time
from tests.media import MediaSite, open_site
from trio_dlm.testing._profiles import register_profiles

# A shell without job control starts what it puts into the background with Ctrl-C ignored, nohup what it starts with the
# end of the terminal ignored, and processes inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# For the other interpreters, which need not search where one has searched.
settings.register_profile(
    "smoke",
    settings.get_profile("default"),
    max_examples=50,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
)
register_profiles()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the async tests that are marked so, or whose module is, on a virtual clock."""
    for item in items:
        if item.get_closest_marker("virtual_time") and inspect.iscoroutinefunction(getattr(item, "obj", None)):
            # In front of the mark that pytest-trio gives to every async test, since the first one counts.
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)


@pytest.fixture(autouse=True)
def _retries_do_not_wait() -> Generator[None, None, None]:
    """The wait before another attempt is a random share of some seconds; in tests it is none of them."""
    # A patch of its own: asking for the fixture here would have it end after those of the tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio_dlm.downloaders.http._transfer._draw", lambda: 0.0)
        if "trio_dlm.downloaders.ytdlp" in sys.modules:
            patch.setattr("trio_dlm.downloaders.ytdlp._transfer._draw", lambda: 0.0)
        yield


@pytest.fixture(scope="session")
def media(request: pytest.FixtureRequest) -> Generator[MediaSite, None, None]:
    """A site with real media, for as long as the tests run."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg, which makes the media")
    cache: Any = request.config.cache
    with open_site(cache.mkdir("media")) as site:
        yield site

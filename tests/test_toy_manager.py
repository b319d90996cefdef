"""Another manager under the machine: the bugs planted in it are found, and the programs that show them are short.

Rules that hold here:

- the searches are the same in every run, and others with another version of Hypothesis: nothing here depends on how
  often something was drawn that is drawn rarely;
- a bug that takes about a thousand programs to be met by chance is replayed here; ``HYPOTHESIS_PROFILE=soak`` searches
  for it too.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from tests.toy_manager import Bug, ToyAdapter, open_toy_for
from trio_dlm import DownloadStatus, open_manager
from trio_dlm.testing._errors import LawBrokenError
from trio_dlm.testing._scripted import ScriptedDownloader
from trio_dlm.testing.machine._check import DEFAULTS, check_manager
from trio_dlm.testing.machine._driven import ADAPTABLE_FEATURES, UnfitManagerError
from trio_dlm.testing.machine._manager import DownloadManagerMachine

NOTHING: Final = frozenset[str]()
SOAKS: Final = os.environ.get("HYPOTHESIS_PROFILE") == "soak"


def steps_of(failure: BaseException) -> list[str]:
    """Return the steps of the program in the notes of *failure*."""
    program = "\n".join(failure.__notes__)
    steps = re.findall(r"^(?:.* = )?state\.(\w+)\(", program, re.MULTILINE)
    return [step for step in steps if step not in {"draw_schedule", "check", "teardown"}]


def few(count: int) -> settings:
    return settings(DEFAULTS, max_examples=count)


def test_a_right_one_passes_and_the_report_says_what_was_tried() -> None:
    report = check_manager(open_toy_for("none"), features=NOTHING, settings=few(40))
    assert report.examples >= 40
    assert {"submit", "submit_some", "settle", "cancel", "finish", "fail"} <= report.steps.keys()
    assert sum(report.steps.values()) > report.examples
    assert not report.steps.keys() & {"check", "open", "pause", "resize", "submit_many", "leave"}
    assert report.statuses.keys() == {*DownloadStatus} - {DownloadStatus.PAUSED}
    assert report.schedules > 1
    assert re.match(
        r"\d+ programs on \d+ schedules held all laws; \d+ steps: \d+ \w+, .*; downloads that were: \d+ p", str(report)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("lifo", "^law 2 or 3: d_.+ became downloading, expected that d_.+ became downloading"),
        ("off by one", "^law 2 or 3: d_.+ became downloading, though nothing called for it"),
        pytest.param(
            "leaked slot",
            "^law 2 or 3: it should have happened in this step that d_.+ became downloading",
            marks=pytest.mark.skipif(not SOAKS, reason="may take a thousand programs: set HYPOTHESIS_PROFILE=soak"),
        ),
    ],
)
def test_a_planted_bug_is_found_and_shown_by_a_short_program(bug: Bug, said: str) -> None:
    with pytest.raises(LawBrokenError, match=said) as caught:
        check_manager(open_toy_for(bug), features=NOTHING, settings=few(3000 if SOAKS else 300))
    assert 1 <= len(steps_of(caught.value)) <= 8


class Toy(DownloadManagerMachine):
    features = NOTHING
    bug: Bug = "none"

    def open_manager(self, limit: int) -> AbstractAsyncContextManager[ToyAdapter]:
        return open_toy_for(self.bug)(limit, downloader=self.downloader)


def cancel_one_that_was_just_finished(machine: Toy) -> None:
    try:
        running, _ = machine.open(limit=1, first=[(None, "wait"), (None, "wait")])
        machine.settle()
        machine.finish(running)
        machine.cancel(running)
        machine.check()
    finally:
        machine.teardown()


def test_the_leaked_slot_is_found_where_an_end_and_a_cancel_meet() -> None:
    class Leaking(Toy):
        bug = "leaked slot"

    with pytest.raises(LawBrokenError, match=r"^law 2 or 3: it should have happened in this step that d_1 became down"):
        cancel_one_that_was_just_finished(Leaking())


def test_the_same_program_is_right_without_the_leak() -> None:
    cancel_one_that_was_just_finished(Toy())


TestToy = Toy.TestCase


def test_our_own_manager_passes_with_all_features() -> None:
    # What is rarest is in one program of ten.
    report = check_manager(open_manager, settings=few(80))
    assert report.statuses.keys() == {*DownloadStatus}


def test_what_a_call_raises_that_it_should_not_is_a_broken_law_too() -> None:
    class Clumsy(ToyAdapter):
        async def cancel(self, name: str) -> bool:
            raise KeyError(name)

    with pytest.raises(LawBrokenError, match=r"^KeyError: 'd_\w+'") as caught:
        check_manager(open_toy_for("none", Clumsy), features=NOTHING, settings=few(100))
    assert isinstance(caught.value.__cause__, KeyError)
    assert len(steps_of(caught.value)) <= 3


def test_the_limits_are_those_that_are_asked_for() -> None:
    limits: list[int] = []

    def open_seen(limit: int, *, downloader: ScriptedDownloader) -> AbstractAsyncContextManager[ToyAdapter]:
        limits.append(limit)
        return open_toy_for("none")(limit, downloader=downloader)

    check_manager(open_seen, features=NOTHING, limits=st.sampled_from([5, 7]), settings=few(30))
    assert {*limits} == {5, 7}


def test_a_download_that_nobody_submitted_is_told() -> None:
    class Haunted(ToyAdapter):
        def submit(self, name: str) -> None:
            super().submit(name)
            super().submit(f"the ghost of {name}")

    with pytest.raises(
        LawBrokenError, match=r"^conservation: the ghost of d_0 became pending, and nobody submitted it"
    ):
        check_manager(open_toy_for("none", Haunted), features=NOTHING, settings=few(20))


def test_one_bug_is_told_even_if_the_settings_would_have_several() -> None:
    class Broken(ToyAdapter):
        def submit(self, name: str) -> None:
            if name == "d_2":
                raise LookupError(name)
            super().submit(name)

        async def cancel(self, name: str) -> bool:
            raise KeyError(name)

    with pytest.raises(LawBrokenError, match=r"^(KeyError|LookupError): ") as caught:
        check_manager(
            open_toy_for("none", Broken), features=NOTHING, settings=settings(few(100), report_multiple_bugs=True)
        )
    assert 1 <= len(steps_of(caught.value)) <= 5


@pytest.mark.parametrize("when", ["when it is called", "when its block is entered"])
def test_what_a_factory_raises_comes_out_as_it_is(when: str) -> None:
    def make(limit: int, *, downloader: ScriptedDownloader) -> AbstractAsyncContextManager[object]:
        if when == "when it is called":
            raise TypeError("no such limit")
        return cannot_be_entered()

    @asynccontextmanager
    async def cannot_be_entered() -> AsyncIterator[object]:
        raise TypeError("no such limit")
        yield

    with pytest.raises(TypeError, match=r"^no such limit"):
        check_manager(make, features=NOTHING, settings=few(10))


def test_what_a_factory_raises_now_and_then_comes_out_as_it_is_too() -> None:
    calls = itertools.count()

    def make(limit: int, *, downloader: ScriptedDownloader) -> AbstractAsyncContextManager[object]:
        if next(calls) == 3:
            raise OSError("busy")
        return open_toy_for("none")(limit, downloader=downloader)

    with pytest.raises(OSError, match=r"^busy$"):
        check_manager(make, features=NOTHING, settings=few(10))


def test_what_the_block_raises_when_it_is_left_is_a_broken_law() -> None:
    @asynccontextmanager
    async def open_leaking(limit: int, *, downloader: ScriptedDownloader) -> AsyncIterator[object]:
        async with open_toy_for("none")(limit, downloader=downloader) as toy:
            yield toy
        raise TypeError("at the end")

    with pytest.raises(LawBrokenError, match=r"^TypeError: at the end"):
        check_manager(open_leaking, features=NOTHING, settings=few(10))


def test_what_hypothesis_has_to_say_to_the_caller_is_no_broken_law() -> None:
    with pytest.raises(InvalidArgument):
        check_manager(open_toy_for("none"), features=NOTHING, limits=st.integers(2, 1), settings=few(10))


def test_a_manager_that_is_not_the_same_twice_has_broken_a_law() -> None:
    calls = itertools.count()

    class Moody(ToyAdapter):
        def submit(self, name: str) -> None:
            if next(calls) == 5:
                raise KeyError(name)
            super().submit(name)

    with pytest.raises(LawBrokenError, match=r"^Flaky"):
        check_manager(open_toy_for("none", Moody), features=NOTHING, settings=few(20))


async def test_it_is_not_to_be_called_inside_a_run_and_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"check_manager\(\) has runs of trio of its own"):
        check_manager(open_manager, settings=few(1))


def test_features_that_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="no features flying, running; there are admission, batches"):
        check_manager(open_manager, features={"running", "flying", "pause"})


def test_features_that_take_our_interface_are_refused_to_another() -> None:
    with pytest.raises(UnfitManagerError, match=r"features of ToyAdapter may be groups, pause, .* it has not: lanes"):
        check_manager(open_toy_for("none"), features=ADAPTABLE_FEATURES | {"lanes"}, settings=few(1))


def test_an_invariant_of_the_users_is_looked_at_after_every_step() -> None:
    class Strict(Toy):
        def extra_invariants(self) -> None:
            assert len(self.scene.recorder.history) < 2, "one is enough"

    machine = Strict()
    machine.open(limit=1)
    machine.check()
    machine.submit_some([(None, "wait"), (None, "wait")])
    with pytest.raises(AssertionError, match="one is enough"):
        machine.check()
    machine.teardown()


def test_features_are_a_collection_of_known_names() -> None:
    with pytest.raises(TypeError, match=r"such as \{'pause'\}, got one text"):
        check_manager(open_toy_for("none"), features="pause")
    with pytest.raises(ValueError, match="no features fly"):
        check_manager(open_toy_for("none"), features=["fly"])

"""Hosts that go away without leaving the block: nothing hangs, and the downloads still clean up."""

from __future__ import annotations

import pytest

from tests.embedding.process import Ended, in_each_loop, run_program


@in_each_loop
def test_after_the_loop_was_closed_in_the_block_the_downloads_end_and_another_loop_can_open_a_manager(
    loop: str,
) -> None:
    assert run_program("loop_closed_in_the_block", loop) == Ended(
        code=0,
        host=["closed", "again: d", "over"],
        downloads=["a cleaned up", "b cleaned up"],
        err="",
    )


@in_each_loop
def test_a_block_that_is_left_in_a_closed_loop_waits_for_nothing_and_ends_the_downloads(loop: str) -> None:
    assert run_program("loop_closed_in_the_block", loop, "drop") == Ended(
        code=0,
        host=["closed", "dropped", "again: d", "over"],
        downloads=["a cleaned up", "b cleaned up"],
        err="",
    )


@pytest.mark.parametrize("drop", [(), ("drop",)], ids=["held", "dropped"])
@in_each_loop
def test_a_loop_that_is_closed_in_the_middle_of_a_download_of_its_own_ends_the_others_too(
    loop: str, drop: tuple[str, ...]
) -> None:
    assert run_program("loop_closed_in_the_block", loop, "host", *drop) == Ended(
        code=0,
        host=["closed", *(["dropped"] if drop else []), "again: d", "over"],
        downloads=["a cleaned up", "b cleaned up", "h began in the loop"],
        err="",
    )


@in_each_loop
def test_a_task_that_is_still_in_the_block_when_asyncio_run_ends_is_cancelled_and_waited_for(loop: str) -> None:
    assert run_program("task_left_behind", loop) == Ended(
        code=0,
        host=["main is over", "cancelled: True", "threads: []"],
        downloads=["a cleaned up"],
        err="",
    )


@pytest.mark.parametrize("held", [(), ("held",)], ids=["dropped", "held"])
@in_each_loop
def test_a_block_in_an_async_generator_that_nobody_closes_is_left_before_asyncio_run_returns(
    loop: str, held: tuple[str, ...]
) -> None:
    assert run_program("generator_left_behind", loop, *held) == Ended(
        code=0,
        host=["first", "main is over", "threads: []"],
        downloads=["a cleaned up"],
        err="",
    )


def test_a_download_that_cannot_be_stopped_delays_the_end_of_the_program_by_seconds_only() -> None:
    # One loop is enough: by then there is none.
    assert run_program("loop_closed_in_the_block", "asyncio", "stubborn") == Ended(
        code=0,
        host=["closed", "again: d", "over"],
        downloads=["a cleaned up", "b cleaned up", "s began"],
        err="",
    )

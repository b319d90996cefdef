"""A run in the virtual world ends, and says why if it does not end by itself."""

from __future__ import annotations

import pytest
import trio

from trio_dlm.testing._errors import LivelockError
from trio_dlm.testing.world import run_in_virtual_world, use_virtual_time


async def spin() -> None:
    while True:
        await trio.lowlevel.checkpoint()


def test_it_returns_what_the_function_returns() -> None:
    async def add(first: int, second: int) -> int:
        await trio.sleep(3600)
        assert trio.current_time() == 3600
        return first + second

    assert run_in_virtual_world(add, 1, 2) == 3


def test_it_raises_what_the_function_raises() -> None:
    async def fail() -> None:
        raise KeyError("the test wants it")

    with pytest.raises(KeyError):
        run_in_virtual_world(fail)


def test_a_run_in_which_nobody_can_go_on_is_over_at_once() -> None:
    with pytest.raises(trio.TooSlowError):
        run_in_virtual_world(trio.sleep_forever)


def test_a_run_has_only_so_much_virtual_time() -> None:
    with pytest.raises(trio.TooSlowError):
        run_in_virtual_world(trio.sleep, 11, limit_s=10)
    run_in_virtual_world(trio.sleep, 9, limit_s=10)


def test_a_run_that_spins_is_told_how_far_it_got() -> None:
    async def sleep_and_spin() -> None:
        await trio.sleep(5)
        await spin()

    with pytest.raises(LivelockError, match=r"1000 steps were taken without coming to an end, up to virtual second 5;"):
        run_in_virtual_world(sleep_and_spin, max_steps=1000)


def test_the_steps_of_all_tasks_count() -> None:
    async def spin_in_the_background() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            await trio.sleep_forever()

    with pytest.raises(LivelockError):
        run_in_virtual_world(spin_in_the_background, max_steps=1000)


def test_a_clock_serves_one_run() -> None:
    clock = use_virtual_time()
    trio.run(trio.sleep, 100, clock=clock)
    assert clock.current_time() == 100

"""What the runner of state machines promises: steps run in trio, hangs are errors, and nothing is left behind.

Rules that hold here:

- machines are searched for a few examples only, and the same ones in every run;
- whatever an example ends with, trio must be usable in this process afterwards.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, assume, event, note, settings, target
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from trio.testing import wait_all_tasks_blocked

from trio_dlm.testing._errors import LivelockError, RunEndedError
from trio_dlm.testing.machine._runner import Bundle, TrioStateMachine, initialize, invariant, precondition, rule
from trio_dlm.testing.machine._schedule import Tape

FEW = settings(
    max_examples=10,
    stateful_step_count=5,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def trio_is_left_clean() -> Iterator[None]:
    yield
    trio.run(trio.lowlevel.checkpoint)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "shuffle" not in vars(trio._core._run._r)


def search(machine: type[TrioStateMachine]) -> None:
    run_state_machine_as_test(machine, settings=FEW)


class Nothing(TrioStateMachine):
    @rule()
    def do_nothing(self) -> None:
        pass

    @rule()
    async def settle(self) -> None:
        await wait_all_tasks_blocked()


def test_a_plain_step_takes_no_tick_and_an_async_one_does() -> None:
    class Counting(TrioStateMachine):
        ticks = 0

        @initialize()
        async def start(self) -> None:
            async def count() -> None:
                while True:
                    await trio.lowlevel.checkpoint()
                    self.ticks += 1

            self.nursery.start_soon(count)

        @rule()
        def plain(self) -> None:
            before = self.ticks
            trio.lowlevel.spawn_system_task(trio.lowlevel.checkpoint)
            assert self.ticks == before

        @rule()
        async def asynchronous(self) -> None:
            before = self.ticks
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            assert self.ticks > before

    state = Counting()
    state.start()
    before = state.ticks
    state.plain()
    state.plain()
    assert state.ticks == before
    state.asynchronous()
    assert state.ticks > before
    state.teardown()


def test_steps_of_both_kinds_take_arguments_and_fill_bundles() -> None:
    class Filling(TrioStateMachine):
        words = Bundle[str]("words")
        seen: list[str]

        @initialize(target=words, first=st.just("first"))
        async def start(self, first: str) -> str:
            await trio.sleep(1)
            self.seen = []
            return first

        @rule(targets=(words,), word=words)
        def double(self, word: str) -> str:
            return word * 2

        @rule(word=words)
        async def see(self, word: str) -> None:
            await trio.sleep(1)
            self.seen.append(word)

        @invariant()
        def check(self) -> None:
            assert all(word.startswith("first") for word in self.seen)
            assert trio.current_time() >= len(self.seen)

    search(Filling)


def test_a_rule_has_one_target_or_several() -> None:
    words = Bundle[str]("words")
    with pytest.raises(TypeError, match="not both"):
        rule(target=words, targets=(words,))(lambda machine: "word")


def test_an_async_step_may_have_a_precondition() -> None:
    taken: list[int] = []

    class Careful(TrioStateMachine):
        count = 0

        @rule()
        @precondition(lambda machine: machine.count < 2)
        async def step(self) -> None:
            await trio.lowlevel.checkpoint()
            self.count += 1
            taken.append(self.count)

        @rule()
        def rest(self) -> None:
            pass

    search(Careful)
    assert max(taken) == 2


def test_time_is_virtual() -> None:
    class Sleeping(TrioStateMachine):
        @rule()
        async def sleep(self) -> None:
            before = trio.current_time()
            await trio.sleep(3600)
            assert trio.current_time() == before + 3600
            assert self.clock.current_time() == before + 3600

    search(Sleeping)


def test_settling_does_not_move_time() -> None:
    class Settling(TrioStateMachine):
        @rule()
        async def settle(self) -> None:
            self.nursery.start_soon(trio.sleep, 1)
            before = trio.current_time()
            await wait_all_tasks_blocked()
            assert trio.current_time() == before

    search(Settling)


def test_a_deadlocked_step_is_a_too_slow_error() -> None:
    class Deadlocked(TrioStateMachine):
        @rule()
        async def wait_for_nothing(self) -> None:
            await trio.sleep_forever()

    with pytest.raises(trio.TooSlowError, match="86400 virtual seconds"):
        search(Deadlocked)


def test_a_spinning_step_is_a_livelock() -> None:
    class Spinning(TrioStateMachine):
        max_ticks = 100

        @rule()
        async def spin(self) -> None:
            while True:
                await trio.lowlevel.checkpoint()

    with pytest.raises(LivelockError, match="100 ticks"):
        search(Spinning)


def test_a_run_that_cannot_be_ended_is_let_go_so_that_the_next_example_has_one() -> None:
    class Shielded(TrioStateMachine):
        max_ticks = 100

        @rule()
        async def spin(self) -> None:
            with trio.CancelScope(shield=True):
                while True:
                    await trio.lowlevel.checkpoint()

    with pytest.raises(LivelockError, match="100 ticks"):
        search(Shielded)


def test_a_tick_that_never_comes_is_a_livelock() -> None:
    class Impatient(Nothing):
        wall_timeout_s = 0.01

    state = Impatient()
    state.do_nothing()
    guest = state._opened
    lost = guest._ticks.get()
    with pytest.raises(LivelockError, match=r"0\.01 real seconds"):
        guest.call(trio.lowlevel.checkpoint)
    # It would be abandoned, and with it trio; so it is found again.
    guest._ended = False
    guest._ticks.put(lost)
    state.teardown()


def test_the_error_of_a_background_task_comes_out_as_it_is() -> None:
    class Crashing(TrioStateMachine):
        @rule()
        async def crash(self) -> None:
            async def divide() -> None:
                raise ZeroDivisionError("in the background")

            self.nursery.start_soon(divide)

        @rule()
        async def go_on(self) -> None:
            await wait_all_tasks_blocked()

    with pytest.raises(ZeroDivisionError, match="in the background"):
        search(Crashing)


def test_a_step_on_a_run_that_has_ended_says_so() -> None:
    state = Nothing()
    state.do_nothing()
    state.nursery.cancel_scope.cancel()
    with pytest.raises(RunEndedError):
        state._opened.call(wait_all_tasks_blocked)
    with pytest.raises(RunEndedError):
        state.do_nothing()
    state.teardown()


def test_an_error_of_a_step_wins_over_what_follows_from_it() -> None:
    class Failing(TrioStateMachine):
        @rule()
        async def fail(self) -> None:
            async def fail_at_the_end() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("a consequence")

            self.nursery.start_soon(fail_at_the_end)
            await wait_all_tasks_blocked()
            raise ValueError("the reason")

        async def ateardown(self) -> None:
            raise AssertionError("not called after a failure")

    with pytest.raises(ValueError, match="the reason"):
        search(Failing)


def test_the_teardown_runs_in_trio_and_its_failure_counts() -> None:
    class Checking(Nothing):
        async def ateardown(self) -> None:
            await trio.sleep(1)
            raise ValueError("found at the end")

    with pytest.raises(ValueError, match="found at the end"):
        search(Checking)


def test_an_example_without_steps_has_no_run_to_tear_down() -> None:
    Nothing().teardown()


def test_what_is_left_running_is_cancelled_and_its_shields_are_waited_for() -> None:
    left: list[float] = []

    class Leaving(TrioStateMachine):
        @rule()
        def start(self) -> None:
            async def hold_out() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(10)
                    left.append(trio.current_time())

            self.nursery.start_soon(hold_out)

        @rule()
        async def begin(self) -> None:
            await wait_all_tasks_blocked()

    state = Leaving()
    state.start()
    state.begin()
    state.teardown()
    assert left == [10]


def test_what_hypothesis_offers_works_in_async_steps() -> None:
    class Using(TrioStateMachine):
        @rule(data=st.data(), number=st.integers(0, 10))
        async def use(self, data: Any, number: int) -> None:
            await trio.sleep(1)
            note("noted")
            event("happened")
            target(float(number), label=f"label {data.draw(st.uuids())}")
            assume(number % 2 == 0)

    search(Using)


def test_the_same_choices_give_the_same_run() -> None:
    def trace() -> list[list[int]]:
        runs: list[list[int]] = []

        class Traced(TrioStateMachine):
            @initialize()
            def start(self) -> None:
                self.order: list[int] = []
                runs.append(self.order)

            @rule(count=st.integers(1, 4))
            def spawn(self, count: int) -> None:
                async def step(number: int) -> None:
                    for _ in range(3):
                        self.order.append(number)
                        await trio.lowlevel.checkpoint()

                for number in range(count):
                    self.nursery.start_soon(step, number)

            @rule()
            async def tick(self) -> None:
                await trio.lowlevel.checkpoint()

        run_state_machine_as_test(Traced, settings=settings(FEW, max_examples=30, stateful_step_count=10))
        return runs

    # A class of its own for each search, so that the source decides what is drawn.
    first, second = trace(), trace()
    assert first == second
    assert any(order != sorted(order) for order in first)


class TestTape:
    @staticmethod
    def play(numbers: list[int], count: int = 4) -> list[int]:
        order: list[int] = []

        async def step(number: int) -> None:
            order.append(number)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(count):
                    nursery.start_soon(step, number)
                # The start of a run has choices of its own.
                tape.numbers = numbers

        tape = Tape()
        with tape.playing():
            trio.run(main)
        return order

    def test_an_empty_one_lets_the_oldest_go_first(self) -> None:
        assert self.play([]) == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("number", "order"), [(0, [0, 1, 2, 3]), (1, [1, 0, 2, 3]), (3, [3, 0, 1, 2]), (6, [2, 0, 1, 3])]
    )
    def test_a_number_lets_that_one_go_first(self, number: int, order: list[int]) -> None:
        assert self.play([number]) == order

    def test_a_tick_without_a_choice_takes_no_number(self) -> None:
        async def main() -> None:
            tape.numbers = [1, 1, 1]
            await wait_all_tasks_blocked()

        tape = Tape()
        with tape.playing():
            trio.run(main)
        assert tape.used == 0

    def test_inside_of_another_it_takes_its_place_for_as_long_as_it_lasts(self) -> None:
        with Tape([2]).playing():
            assert self.play([1]) == [1, 0, 2, 3]
            assert self.play([3]) == [3, 0, 1, 2]

    def test_the_last_one_that_was_begun_is_played_whichever_of_them_ended_before(self) -> None:
        shuffle = vars(trio._core._run._r).get("shuffle")
        first, second, third = (Tape([number] * 20) for number in (1, 2, 3))
        playing = [tape.playing() for tape in (first, second, third)]
        for each in playing:
            each.__enter__()
        playing[0].__exit__(None, None, None)
        playing[2].__exit__(None, None, None)
        batch = [0, 1, 2, 3]
        trio._core._run._r.shuffle(batch)
        # Taken from the end.
        assert batch == [3, 1, 0, 2]
        playing[1].__exit__(None, None, None)
        assert vars(trio._core._run._r).get("shuffle") is shuffle

    def test_each_thread_has_its_own(self) -> None:
        with ThreadPoolExecutor(1) as other:
            playing = Tape([2] * 20).playing()
            other.submit(playing.__enter__).result()
            assert self.play([1]) == [1, 0, 2, 3]
            with Tape([1] * 20).playing():
                other.submit(playing.__exit__, None, None, None).result()
                assert other.submit(self.play, [3]).result() == [3, 0, 1, 2]
                assert self.play([]) == [0, 1, 2, 3]

    def test_the_runs_of_a_thread_without_one_are_shuffled_as_ever(self) -> None:
        def shuffled() -> list[int]:
            generator = trio._core._run._r
            generator.seed(7)
            batch = [*range(20)]
            generator.shuffle(batch)
            return batch

        expected = shuffled()
        with ThreadPoolExecutor(1) as other, Tape([1]).playing():
            assert other.submit(shuffled).result() == expected

    def test_it_may_be_ended_in_another_thread_as_an_example_that_is_collected_is(self) -> None:
        with ThreadPoolExecutor(1) as other:
            playing = Tape([1] * 20).playing()
            playing.__enter__()
            other.submit(playing.__exit__, None, None, None).result()
        assert trio._core._run._r.shuffle == Random.shuffle.__get__(trio._core._run._r)

    def test_what_stood_in_the_place_before_is_put_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def shuffle(_batch: list[object]) -> None: ...

        monkeypatch.setattr(trio._core._run._r, "shuffle", shuffle)
        with Tape([1]).playing():
            assert trio._core._run._r.shuffle is not shuffle
        assert trio._core._run._r.shuffle is shuffle

    def test_what_has_taken_the_place_meanwhile_is_left_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def shuffle(_batch: list[object]) -> None: ...

        with Tape([1]).playing():
            # Undone by hand, since what is undone is the tape's.
            vars(trio._core._run._r)["shuffle"] = shuffle
        assert trio._core._run._r.shuffle is shuffle
        del trio._core._run._r.shuffle

    def test_without_the_generator_of_trio_nothing_happens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(trio._core._run, "_r")
        with Tape([1]).playing():
            pass


class TestCtrlC:
    def test_in_a_plain_step_it_leaves_at_once(self) -> None:
        class Interrupted(TrioStateMachine):
            @rule()
            def interrupt(self) -> None:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            search(Interrupted)

    def test_in_an_async_step_it_leaves_at_once(self) -> None:
        class Interrupted(TrioStateMachine):
            @rule()
            async def interrupt(self) -> None:
                await trio.sleep(1)
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            search(Interrupted)

    def test_in_a_background_task_it_ends_the_run(self) -> None:
        class Interrupted(TrioStateMachine):
            @rule()
            async def interrupt(self) -> None:
                async def be_interrupted() -> None:
                    signal.raise_signal(signal.SIGINT)

                self.nursery.start_soon(be_interrupted)
                await wait_all_tasks_blocked()

        with pytest.raises(KeyboardInterrupt):
            search(Interrupted)

    def test_where_it_would_break_the_run_it_waits(self) -> None:
        class Interrupted(TrioStateMachine):
            @rule()
            async def interrupt(self) -> None:
                @trio.lowlevel.enable_ki_protection
                def in_the_middle() -> None:
                    signal.raise_signal(signal.SIGINT)

                in_the_middle()
                await trio.sleep(1)

        with pytest.raises(KeyboardInterrupt):
            search(Interrupted)

    def test_during_the_start_it_waits_for_an_async_step(self, monkeypatch: pytest.MonkeyPatch) -> None:
        start = trio.lowlevel.start_guest_run

        def start_interrupted(*args: Any, **kwargs: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            start(*args, **kwargs)

        monkeypatch.setattr(trio.lowlevel, "start_guest_run", start_interrupted)
        state = Nothing()
        state.do_nothing()
        with pytest.raises(KeyboardInterrupt):
            state.settle()
        monkeypatch.undo()
        state.teardown()

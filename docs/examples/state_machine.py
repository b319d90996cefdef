"""A machine of your own, for an object that has nothing to do with downloads: a value that is loaded once."""

from collections.abc import Awaitable, Callable

import trio
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trio_dlm.testing import TrioStateMachine, initialize, rule


class Once:
    """Loads a value for all who ask; with a bug, which only some orders of events show."""

    def __init__(self) -> None:
        self.value: int | None = None
        self.loaded: trio.Event | None = None

    async def get(self, load: Callable[[], Awaitable[int]]) -> int | None:
        if self.loaded is None:
            self.loaded = trio.Event()
            self.value = await load()  # Whoever is cancelled here leaves the others waiting.
            self.loaded.set()
        await self.loaded.wait()
        return self.value


async def load() -> int:
    await trio.sleep(1)
    return 42


class OnceMachine(TrioStateMachine):
    @initialize()
    def begin(self) -> None:
        self.once = Once()
        self.scopes: list[trio.CancelScope] = []

    @rule()
    def ask_in_background(self) -> None:
        scope = trio.CancelScope()
        self.scopes.append(scope)

        async def ask() -> None:
            with scope:
                await self.once.get(load)

        self.nursery.start_soon(ask)

    @rule()
    def cancel_the_askers(self) -> None:
        for scope in self.scopes:
            scope.cancel()

    # Steps that are plain functions take no tick: without this one the background seldom gets anywhere in between.
    @rule()
    async def tick(self) -> None:
        await trio.lowlevel.checkpoint()

    @rule()
    async def ask(self) -> None:
        assert await self.once.get(load) == 42


SETTINGS = settings(
    # Without the phase that explains, which takes longer than the search.
    phases=[Phase.generate, Phase.shrink],
    stateful_step_count=10,
    database=None,
    derandomize=True,
    deadline=None,
)

# In a test file `TestOnce = OnceMachine.TestCase` is all.
try:
    run_state_machine_as_test(OnceMachine, settings=SETTINGS)
except trio.TooSlowError as exc:
    print(exc, *exc.__notes__, sep="\n")

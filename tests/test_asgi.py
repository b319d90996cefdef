"""A manager that lives as long as an application, what strangers see of it, and a stream of its events.

Rules that hold here:

- no server and no framework: an application is a function, or an object with a ``state``;
- what waits is run on every event loop that the manager can be opened on;
- signals are raised in this process, which has handlers of its own for them meanwhile.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast, get_type_hints

import anyio
import pytest
import trio

from tests.command import snapshot_of
from tests.fakes import instant, saved, url
from trio_dlm import (
    DownloadJob,
    DownloadManager,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    ManagerClosedError,
    UncollectedFailuresError,
    open_manager,
)
from trio_dlm.asgi import EventStream, ManagerArguments, manager_lifespan, snapshot_as_json

LOOPS: Final = ["trio"]
if importlib.util.find_spec("trio_dlm._asyncio"):
    LOOPS.append("asyncio")
    if importlib.util.find_spec("uvloop"):
        LOOPS.append("uvloop")

# No test waits as long for something that will come.
PATIENCE_S: Final = 60.0

Run = Callable[[Callable[[], Awaitable[object]]], None]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Give a function that runs an async one to its end on one of the event loops."""
    backend = "trio" if request.param == "trio" else "asyncio"
    options: dict[str, Any] = {"use_uvloop": request.param == "uvloop"} if backend == "asyncio" else {}

    def run_to_its_end(main: Callable[[], Awaitable[object]]) -> None:
        async def in_time() -> None:
            with anyio.fail_after(PATIENCE_S):
                await main()

        anyio.run(in_time, backend=backend, backend_options=options)

    return run_to_its_end


async def endless(job: DownloadJob) -> DownloadResult:
    job.progress.begin(total_bytes=100)
    await trio.sleep_forever()
    return saved(job)


async def failing(_: DownloadJob) -> DownloadResult:
    await trio.lowlevel.checkpoint()
    raise OSError("no such file")


# The life of the manager.


def test_the_state_has_the_manager_while_the_lifespan_is_entered(run: Run) -> None:
    app = SimpleNamespace(state=SimpleNamespace())

    async def main() -> None:
        async with manager_lifespan(2, downloader=instant)(app) as state:
            assert list(state) == ["manager"]
            assert isinstance(state["manager"], DownloadManager)
            assert app.state.manager is state["manager"]
            assert state["manager"].max_concurrent == 2
            assert await state["manager"].download(url("a"))
        assert not hasattr(app.state, "manager")
        with pytest.raises(ManagerClosedError):
            state["manager"].submit_nowait(url("b"))

    run(main)


def test_an_application_without_a_state_has_none_afterwards_either(run: Run) -> None:
    app = SimpleNamespace()

    async def main() -> None:
        async with manager_lifespan(downloader=instant)(app) as state:
            assert await state["manager"].download(url("a"))

    run(main)
    assert vars(app) == {}


def test_what_somebody_else_has_put_into_the_state_stays(run: Run) -> None:
    app = SimpleNamespace(state=SimpleNamespace())

    async def main() -> None:
        async with manager_lifespan(downloader=instant)(app):
            app.state.manager = "theirs"

    run(main)
    assert app.state.manager == "theirs"


def test_two_managers_have_names_of_their_own(run: Run) -> None:
    app = SimpleNamespace(state=SimpleNamespace())
    outer = manager_lifespan(1, downloader=instant, state_key="slow")
    lifespan = manager_lifespan(9, downloader=instant, state_key="fast", around=outer)

    async def main() -> None:
        async with lifespan(app) as state:
            assert (state["slow"].max_concurrent, state["fast"].max_concurrent) == (1, 9)
            assert set(vars(app.state)) == {"slow", "fast"}

    run(main)


def test_it_can_be_entered_again_after_it_was_left(run: Run) -> None:
    lifespan = manager_lifespan(downloader=instant)
    managers = []

    async def main() -> None:
        for _ in range(2):
            async with lifespan(None) as state:
                await state["manager"].download(url("a"), correlation_id="same")
                managers.append(state["manager"])

    run(main)
    assert managers[0] is not managers[1]


def test_downloads_are_cancelled_at_the_end_unless_told_otherwise(run: Run) -> None:
    async def main() -> None:
        async with manager_lifespan(downloader=endless)(None) as state:
            task = await state["manager"].submit(url("a"))
        assert task.status is DownloadStatus.CANCELLED

    run(main)


def test_on_exit_wait_lets_them_end(run: Run) -> None:
    async def main() -> None:
        async with manager_lifespan(1, downloader=instant, on_exit="wait")(None) as state:
            tasks = [state["manager"].submit_nowait(url(number)) for number in range(5)]
        assert [task.status for task in tasks] == [DownloadStatus.COMPLETED] * 5

    run(main)


def test_failures_stay_on_their_tasks_unless_told_otherwise(run: Run) -> None:
    async def main() -> None:
        async with manager_lifespan(downloader=failing)(None) as state:
            task = await state["manager"].submit(url("a"))
            await state["manager"].wait_idle()
        assert task.status is DownloadStatus.FAILED

    run(main)


def test_failures_that_are_to_be_raised_leave_bare(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(UncollectedFailuresError) as caught:
            async with manager_lifespan(downloader=failing, failures="raise")(None) as state:
                await state["manager"].submit(url("a"))
                await state["manager"].wait_idle()
        assert caught.value.total == 1

    run(main)


def test_an_exception_of_the_body_leaves_bare_and_cancels(run: Run) -> None:
    tasks: list[DownloadTask[DownloadResult]] = []
    raised = KeyError("body")

    async def main() -> None:
        with pytest.raises(KeyError) as caught:
            async with manager_lifespan(downloader=endless, on_exit="wait")(None) as state:
                tasks.append(await state["manager"].submit(url("a")))
                raise raised
        assert caught.value is raised
        assert caught.value.__context__ is None

    run(main)
    assert tasks[0].status is DownloadStatus.CANCELLED


def test_of_two_exceptions_none_is_lost(run: Run) -> None:
    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            raise ConnectionError("on closing")

    async def main() -> None:
        with pytest.RaisesGroup(KeyError, ConnectionError):
            async with manager_lifespan(downloader=instant, setup=setup)(None):
                raise KeyError("body")

    run(main)


def test_what_stands_in_the_way_of_opening_leaves_bare(run: Run) -> None:
    @asynccontextmanager
    async def setup() -> AsyncGenerator[None]:
        raise ConnectionError("no database")
        yield

    async def main() -> None:
        with pytest.raises(ConnectionError, match="no database"):
            async with manager_lifespan(setup=setup)(None):
                raise AssertionError

    run(main)


def test_a_crash_of_the_manager_ends_the_application(run: Run) -> None:
    async def crash(_: DownloadJob) -> DownloadResult:
        await trio.lowlevel.checkpoint()
        raise SystemExit(3)

    async def main() -> None:
        with pytest.RaisesGroup(SystemExit):
            async with manager_lifespan(downloader=crash)(None) as state:
                await state["manager"].submit(url("a"))
                await anyio.sleep_forever()

    run(main)


def test_cancelling_whoever_holds_it_open_ends_it(run: Run) -> None:
    tasks: list[DownloadTask[DownloadResult]] = []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with manager_lifespan(downloader=endless)(None) as state:
                tasks.append(await state["manager"].submit(url("a")))
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    run(main)
    assert tasks[0].status is DownloadStatus.CANCELLED


def test_a_lifespan_around_it_outlives_the_downloads(run: Run) -> None:
    seen: list[str] = []
    app = object()

    @asynccontextmanager
    async def around(got: object) -> AsyncGenerator[dict[str, str]]:
        assert got is app
        seen.append("open")
        try:
            yield {"database": "open"}
        finally:
            seen.append("closed")

    async def use(job: DownloadJob) -> DownloadResult:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("cleaned up")
        return saved(job)

    async def main() -> None:
        async with manager_lifespan(downloader=use, around=around)(app) as state:
            assert (set(state), state["database"]) == ({"database", "manager"}, "open")
            async with state["manager"].events(tasks=await state["manager"].submit(url("a"))) as events:
                async for snapshot in events:
                    if snapshot.status is DownloadStatus.DOWNLOADING:
                        break

    run(main)
    assert seen == ["open", "cleaned up", "closed"]


def test_a_lifespan_around_it_need_not_have_a_state(run: Run) -> None:
    @asynccontextmanager
    async def around(_: object) -> AsyncGenerator[None]:
        yield

    async def main() -> None:
        async with manager_lifespan(downloader=instant, around=around)(None) as state:
            assert set(state) == {"manager"}

    run(main)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"max_concurrent": -1}, ValueError, "max_concurrent"),
        ({"on_exit": "later"}, ValueError, "on_exit"),
        ({"downloader": 3}, TypeError, "downloader"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"around": "me"}, TypeError, "around is a lifespan, a function of the application, got 'me'"),
        ({"close_on": [-1]}, ValueError, "-1 is not a valid Signals"),
    ],
)
def test_wrong_arguments_are_found_before_the_server_starts(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        manager_lifespan(**arguments)


def test_it_takes_what_open_manager_takes() -> None:
    parameters = dict(inspect.signature(open_manager).parameters)
    del parameters["max_concurrent"]
    theirs = {name: hint for name, hint in get_type_hints(open_manager).items() if name in parameters}
    assert get_type_hints(ManagerArguments) == theirs


# Signals.


@pytest.fixture
def heard() -> Generator[list[int]]:
    """Give the list of the signals that the handlers of the server have heard."""
    numbers: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: numbers.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_manager_while_the_server_still_answers(
    run: Run, heard: list[int], number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    async def main() -> None:
        async with manager_lifespan(downloader=endless)(None) as state:
            task = await state["manager"].submit(url("a"))
            async with state["manager"].events() as events:
                signal.raise_signal(number)
                # Of all downloads, so it ends with the manager and not before.
                statuses = [snapshot.status async for snapshot in events]
            assert statuses[-1] is DownloadStatus.CANCELLED
            assert heard == [number]
            with pytest.raises(ManagerClosedError):
                state["manager"].submit_nowait(url("b"))
            assert state["manager"].get_task(task.correlation_id).status is DownloadStatus.CANCELLED
            # The server, which is told to end again and again, hears all of it.
            signal.raise_signal(number)
            assert heard == [number, number]

    run(main)
    assert signal.getsignal(number) is before


def test_ctrl_c_on_trio_ends_the_server_and_not_the_request_that_it_meets() -> None:
    seen: list[str] = []

    async def answer() -> None:
        signal.raise_signal(signal.SIGINT)
        seen.append("answered")

    async def serve() -> None:
        async with trio.open_nursery() as nursery, manager_lifespan(downloader=endless)(None) as state:
            task = await state["manager"].submit(url("a"))
            nursery.start_soon(answer)
            try:
                await trio.sleep_forever()
            except KeyboardInterrupt:
                seen.append("ended")
            await task.wait()
            seen.append(task.status.value)

    trio.run(serve)
    assert seen == ["answered", "ended", "cancelled"]


def test_ctrl_c_on_trio_once_more_ends_code_that_does_not_listen() -> None:
    async def serve() -> None:
        async with manager_lifespan(downloader=endless)(None):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                await trio.lowlevel.checkpoint()

    trio.run(serve)


def test_a_signal_that_is_not_listed_closes_nothing(run: Run, heard: list[int]) -> None:
    async def main() -> None:
        async with manager_lifespan(downloader=instant, close_on=())(None) as state:
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
            assert await state["manager"].download(url("a"))

    run(main)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_signal_that_no_server_listens_to_is_left_alone(run: Run, heard: list[int], handler: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)

    async def main() -> None:
        async with manager_lifespan(downloader=instant)(None):
            assert signal.getsignal(signal.SIGTERM) is handler

    run(main)
    assert heard == []


def test_outside_of_the_main_thread_signals_are_left_alone(run: Run, heard: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    async def main() -> None:
        async with manager_lifespan(downloader=instant)(None) as state:
            found.append(signal.getsignal(signal.SIGTERM))
            await state["manager"].download(url("a"))

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join(PATIENCE_S)
    assert found == [before]
    assert heard == []


def test_a_handler_that_was_put_over_ours_stays_and_may_call_it_late(run: Run, heard: list[int]) -> None:
    theirs: list[Callable[[int, object], None]] = []

    async def main() -> None:
        async with manager_lifespan(downloader=instant)(None):
            theirs.append(partial(cast("Callable[[int, object], None]", signal.getsignal(signal.SIGTERM))))
            signal.signal(signal.SIGTERM, theirs[0])

    run(main)
    assert signal.getsignal(signal.SIGTERM) is theirs[0]
    # The event loop is gone by now.
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


# What strangers see.

STATUSES: Final = sorted(DownloadStatus, key=lambda status: status.value)


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: status.value)
def test_every_snapshot_has_the_same_keys_and_can_be_written(status: DownloadStatus) -> None:
    told = snapshot_as_json(snapshot_of(status, received=7, total=21, rate=3.0))
    assert list(told) == [
        "id",
        "url",
        "name",
        "status",
        "phase",
        "received_bytes",
        "total_bytes",
        "fraction",
        "rate_bytes_per_s",
        "eta_s",
        "retries",
        "attempts",
        "size_bytes",
        "checksum",
        "error",
        "created_at",
        "started_at",
        "finished_at",
    ]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert (told["id"], told["status"]) == ("1a2b3c4d", status.value)
    assert (told["received_bytes"], told["fraction"], told["eta_s"]) == (7, 0.3333, 4.7)
    assert told["created_at"] == "2031-05-06T07:08:09.000+00:00"
    assert (told["finished_at"] is not None) == status.is_final


def test_the_machine_behind_it_is_not_told() -> None:
    done = snapshot_of(DownloadStatus.COMPLETED, received=5, path=Path("/srv/secret/big.iso"))
    failed = snapshot_of(DownloadStatus.FAILED, error=OSError("10.0.0.7 refused"), reason="10.0.0.7 refused")
    assert (snapshot_as_json(done)["name"], snapshot_as_json(done)["size_bytes"]) == ("big.iso", 5)
    assert snapshot_as_json(failed)["error"] == "OSError"
    text = json.dumps([snapshot_as_json(done), snapshot_as_json(failed)])
    assert "secret" not in text
    assert "10.0.0.7" not in text


# The stream.


class Client:
    """What a server is to an application: keeps what it sends, and tells it when the client has gone."""

    def __init__(self, method: str = "GET") -> None:
        self.scope: dict[str, Any] = {"type": "http", "method": method}
        self.sent: list[Any] = []
        self.broken = False
        self._gone = anyio.Event()
        self._requested = False
        self._reached = anyio.Event()
        self._awaited: bytes | None = None

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def snapshots(self) -> list[Any]:
        return [json.loads(line.removeprefix(b"data: ")) for line in self.body.split(b"\n") if line[:5] == b"data:"]

    def leave(self) -> None:
        self._gone.set()

    async def wait_for(self, text: bytes) -> None:
        """Wait until *text* was sent."""
        self._awaited = text
        if text not in self.body:
            await self._reached.wait()

    async def receive(self) -> dict[str, Any]:
        if not self._requested:
            self._requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        if self.broken and self.sent:
            raise OSError("the client has gone")
        self.sent.append(message)
        if self._awaited is not None and self._awaited in self.body:
            self._reached.set()


def test_a_stream_is_events_with_ids_that_rise_and_ends_with_its_download(run: Run) -> None:
    async def main() -> None:
        client = Client()
        async with open_manager(downloader=instant) as manager:
            task = manager.submit_nowait(url("a"))
            await EventStream(manager.events(tasks=task))(client.scope, client.receive, client.send)
        start, *parts, end = client.sent
        assert (start["type"], start["status"]) == ("http.response.start", 200)
        headers = dict(start["headers"])
        assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert headers[b"cache-control"] == b"no-store"
        ids = []
        for part in parts:
            assert part["type"] == "http.response.body"
            assert part["more_body"]
            name, data, *rest = part["body"].split(b"\n")
            assert rest == [b"", b""]
            ids.append(int(name.removeprefix(b"id: ")))
            assert json.loads(data.removeprefix(b"data: "))["id"] == task.correlation_id
        assert ids == sorted(set(ids))
        assert ids[-1] == task.snapshot().sequence
        assert client.snapshots[-1]["status"] == "completed"
        assert end == {"type": "http.response.body", "body": b"", "more_body": False}

    run(main)


def test_names_cannot_break_out_of_their_event(run: Run) -> None:
    async def main() -> None:
        client = Client()
        async with open_manager(downloader=instant) as manager:
            task = manager.submit_nowait(url("a"))
            stream = EventStream(manager.events(tasks=task), as_json=lambda _: "ü\n\ndata: 1\r\u2028")
            await stream(client.scope, client.receive, client.send)
        assert client.body.isascii()
        assert all(each == "ü\n\ndata: 1\r\u2028" for each in client.snapshots)

    run(main)


def test_head_gets_the_headers_alone(run: Run) -> None:
    async def main() -> None:
        client = Client("HEAD")
        async with open_manager(downloader=endless, on_exit="cancel") as manager:
            task = manager.submit_nowait(url("a"))
            await EventStream(manager.events(tasks=task))(client.scope, client.receive, client.send)
        assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
        assert client.body == b""

    run(main)


def test_a_client_that_goes_away_ends_the_subscription(run: Run) -> None:
    async def main() -> None:
        client = Client()
        async with open_manager(downloader=endless, on_exit="cancel") as manager:
            events = manager.events(tasks=manager.submit_nowait(url("a")))
            async with anyio.create_task_group() as group:
                group.start_soon(EventStream(events), client.scope, client.receive, client.send)
                await client.wait_for(b'"downloading"')
                client.leave()
            assert client.sent[-1]["more_body"]
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    run(main)


def test_a_server_that_raises_when_the_client_has_gone_is_understood(run: Run) -> None:
    async def main() -> None:
        client = Client()
        client.broken = True
        async with open_manager(downloader=endless, on_exit="cancel") as manager:
            events = manager.events(tasks=manager.submit_nowait(url("a")))
            await EventStream(events)(client.scope, client.receive, client.send)
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    run(main)


def test_silence_is_broken_by_comments_and_no_event_is_lost_by_that(run: Run) -> None:
    async def main() -> None:
        client = Client()
        async with open_manager(downloader=endless) as manager, anyio.create_task_group() as group:
            task = manager.submit_nowait(url("a"))
            stream = EventStream(manager.events(tasks=task), keep_alive_s=0.001)
            group.start_soon(stream, client.scope, client.receive, client.send)
            await client.wait_for(b": still there\n\n" * 3)
            await task.cancel()
        assert client.snapshots[-1]["status"] == "cancelled"

    run(main)


def test_a_mistake_in_as_json_comes_out_bare(run: Run) -> None:
    def mistaken(_: object) -> object:
        raise LookupError("mine")

    async def main() -> None:
        client = Client()
        async with open_manager(downloader=instant) as manager:
            stream = EventStream(manager.events(tasks=manager.submit_nowait(url("a"))), as_json=mistaken)
            with pytest.raises(LookupError, match="mine"):
                await stream(client.scope, client.receive, client.send)

    run(main)


def test_a_stream_is_for_one_request(run: Run) -> None:
    async def main() -> None:
        async with open_manager(downloader=instant) as manager:
            stream = EventStream(manager.events(tasks=manager.submit_nowait(url("a"))))
            first, second = Client(), Client()
            await stream(first.scope, first.receive, first.send)
            with pytest.raises(RuntimeError, match="entered once"):
                await stream(second.scope, second.receive, second.send)
            assert second.sent == []

    run(main)


@pytest.mark.parametrize(
    ("keep_alive_s", "error"), [(0, ValueError), (-1, ValueError), (math.nan, ValueError), (True, TypeError)]
)
def test_the_time_between_comments_is_a_positive_number(keep_alive_s: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="keep_alive_s is a"):
        EventStream(None, keep_alive_s=keep_alive_s)  # type: ignore[arg-type]


def test_a_stream_may_be_silent_for_any_time(run: Run) -> None:
    async def main() -> None:
        client = Client()
        async with open_manager(downloader=instant) as manager:
            stream = EventStream(manager.events(tasks=manager.submit_nowait(url("a"))), keep_alive_s=math.inf)
            await stream(client.scope, client.receive, client.send)
        assert client.snapshots[-1]["status"] == "completed"

    run(main)

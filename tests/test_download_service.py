"""The example services behind real servers: processes that are spoken to over HTTP and by signals.

Rules that hold here:

- a server listens where the system lets it, and says where; what it downloads is served by the test;
- nobody waits for time, only for what a server sends, writes and for its end, and no wait is endless;
- a server that a test started is gone when the test ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import trio

from tests.command import environment, files_in
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_origin, reply

pytestmark = [
    # A minute in all: each test starts a server, or two.
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send"),
]

EXAMPLES: Final = Path(__file__).parents[1] / "docs" / "examples"

PATIENCE_S: Final = 60.0

HYPERCORN: Final = ("hypercorn", "--bind", "127.0.0.1:0", "--graceful-timeout", "1")
UVICORN: Final = ("uvicorn", "--port", "0", "--no-access-log")

# In one process, and in a worker of another: signals reach that one only.
TRIO: Final = {
    "hypercorn-trio": (*HYPERCORN, "--worker-class", "trio", "--workers", "0"),
    "hypercorn-trio-worker": (*HYPERCORN, "--worker-class", "trio", "--workers", "1"),
}
ASYNCIO: Final = {
    "uvicorn-asyncio": (*UVICORN, "--loop", "asyncio"),
    "uvicorn-uvloop": (*UVICORN, "--loop", "uvloop"),
    "hypercorn-asyncio": (*HYPERCORN, "--worker-class", "asyncio", "--workers", "0"),
}
SERVERS: Final = TRIO | (ASYNCIO if importlib.util.find_spec("trio_dlm._asyncio") else {})

BODY: Final = bytes(range(256)) * 4096


class Server:
    """A server in a process of its own: its address, what it has written, and how it ended."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.said = ""
        self._more = trio.Condition()

    async def read(self) -> None:
        """Collect what it writes, until it has ended."""
        assert self.process.stdout is not None
        while data := await self.process.stdout.receive_some():
            async with self._more:
                self.said += data.decode()
                self._more.notify_all()

    async def wait_for(self, pattern: str, count: int = 1) -> str:
        """Wait until it has written *pattern* so many times, and return the last."""
        async with self._more:
            while len(found := re.findall(pattern, self.said)) < count:
                await self._more.wait()
        return str(found[count - 1])

    async def stop(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return await self.process.wait()


@asynccontextmanager
async def start(
    command: tuple[str, ...], cwd: Path, *, application: str = "download_service:app", **settings: str
) -> AsyncGenerator[tuple[Server, httpx.AsyncClient]]:
    """Start *application*, and give it with a client that knows its address."""
    env = environment(**{"PYTHONUNBUFFERED": "1", "DOWNLOADS_ALLOW_PRIVATE_ADDRESSES": "1"} | settings)
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(EXAMPLES), str(EXAMPLES.parents[1])])
    name, *arguments = command
    process = await trio.lowlevel.open_process(
        [sys.executable, "-X", "dev", "-m", name, *arguments, application],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        env=env,
        # A worker of its own is ended with it.
        start_new_session=True,
    )
    server = Server(process)
    try:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.read)
                address = await server.wait_for(r"[Rr]unning on (http://\S+)")
                async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S, trust_env=False) as client:
                    yield server, client
                if process.returncode is None:
                    await server.stop(signal.SIGTERM)
    finally:
        _kill_all(process)
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


def _kill_all(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


Start = Callable[..., AbstractAsyncContextManager[tuple[Server, httpx.AsyncClient]]]


@pytest.fixture(params=list(SERVERS))
def start_service(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Give a function that starts the service behind one of the servers."""
    return partial(start, SERVERS[request.param], tmp_path)


@pytest.fixture
async def origin() -> AsyncGenerator[Origin]:
    """Give an origin with a whole file, and ``/stall``, which has a part of one and then nothing more."""

    async def stall(connection: Connection, request: Request) -> None:
        asked = request.header("range")
        begin = int((asked or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        lines = ['ETag: "one"', "Accept-Ranges: bytes", f"Content-Length: {len(BODY) - begin}"]
        if asked:
            lines.append(f"Content-Range: bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        await connection.send(head(*lines, status="206 Partial Content" if asked else "200 OK"))
        if begin:
            await connection.send(BODY[begin:])
        else:
            await connection.send(BODY[: len(BODY) // 2])
            await connection.wait_closed()

    async with open_origin() as origin:
        origin.reply("/file.bin", reply(BODY))
        for number in ("", "?1", "?2"):
            origin.on(f"/stall{number}", stall)
        yield origin


async def submit(client: httpx.AsyncClient, url: str) -> str:
    response = await client.post("/downloads", json={"url": url})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


Event = tuple[int, dict[str, Any]]


async def stream(
    client: httpx.AsyncClient, path: str, until: Callable[[dict[str, Any]], object] = lambda _: False
) -> list[Event]:
    """Read server-sent events, ids and data, to their end or to the first of which *until* is true."""
    # In a thread: who leaves the stream of an asynchronous client before its end leaves generators open.
    return await trio.to_thread.run_sync(_stream, str(client.base_url.join(path)), until, abandon_on_cancel=True)


def _stream(url: str, until: Callable[[dict[str, Any]], object]) -> list[Event]:
    events: list[Event] = []
    with (
        httpx.Client(timeout=PATIENCE_S, trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        event_id = 0
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                event_id = int(value)
            elif name == "data":
                events.append((event_id, json.loads(value)))
                if until(events[-1][1]):
                    break
    return events


def is_half_there(told: dict[str, Any]) -> bool:
    return bool(told["received_bytes"] == len(BODY) // 2)


async def test_a_file_is_submitted_watched_and_there(start_service: Start, origin: Origin, tmp_path: Path) -> None:
    async with start_service() as (server, client):
        response = await client.post("/downloads", json={"url": origin.url("/file.bin")})
        assert response.status_code == 202
        told = response.json()
        assert response.headers["location"] == f"/downloads/{told['id']}"
        events = await stream(client, f"{response.headers['location']}/events")
        ids = [event_id for event_id, _ in events]
        assert ids == sorted(set(ids))
        assert events[-1][1]["status"] == "completed"
        shown = await client.get(response.headers["location"])
        assert (shown.status_code, shown.json()) == (200, events[-1][1])
        assert shown.json()["size_bytes"] == len(BODY)
        listed = await client.get("/downloads")
        assert listed.json() == {"downloads": [shown.json()]}
        assert (tmp_path / "downloads" / "file.bin").read_bytes() == BODY
        # A browser that comes again, as they do, is told that there is no more.
        again = await client.get(f"{response.headers['location']}/events", headers={"Last-Event-ID": str(ids[-1])})
        assert (again.status_code, again.content) == (204, b"")
        # For a file that is there it is too late.
        late = await client.delete(response.headers["location"])
        assert (late.status_code, late.json()["status"]) == (409, "completed")
        # The text of a failure is not for strangers.
        task = await submit(client, origin.url("/missing"))
        *_, (_, told) = await stream(client, f"/downloads/{task}/events")
        assert (told["status"], told["error"]) == ("failed", "HttpStatusError")
    assert "Traceback" not in server.said
    assert "Warning: " not in server.said


async def test_what_cannot_be_done_is_refused_with_a_reason(start_service: Start) -> None:
    async with start_service() as (server, client):
        for method, path in [("GET", "/downloads/x"), ("DELETE", "/downloads/x"), ("GET", "/downloads/x/events")]:
            response = await client.request(method, path)
            assert response.status_code == 404
            assert response.json()["error"].startswith("no download with the id 'x' is known")
        for body, status, words in [
            (b'{"url": "gopher://example.org/"}', 422, "not a usable URL: 'gopher://example.org/'"),
            (b'{"url": "http://example.org/a b"}', 422, "holds the character ' '"),
            (b'{"url": 3}', 422, 'the body is not of the form {"url": "https://…"}'),
            (b"[]", 422, "the body is not of the form"),
            (b"url=http://example.org/", 400, "the body is no JSON"),
            (b"\xff", 400, "the body is no JSON"),
            (b"[" * 90_000, 400, "the body is no JSON"),
            (b'"' + b"x" * 200_000 + b'"', 413, "the body is larger than 100000 bytes"),
        ]:
            response = await client.post("/downloads", content=body)
            assert (response.status_code, words in response.json()["error"]) == (status, True), response.text
        assert (await client.get("/downloads")).json() == {"downloads": []}
        assert (await client.put("/downloads")).status_code == 405
    assert "Traceback" not in server.said


async def test_a_full_queue_asks_to_come_back_and_delete_makes_room(start_service: Start, origin: Origin) -> None:
    async with start_service(DOWNLOADS_MAX_CONCURRENT="1", DOWNLOADS_MAX_PENDING="1") as (server, client):
        running = await submit(client, origin.url("/stall"))
        await stream(client, f"/downloads/{running}/events", is_half_there)
        waiting = await submit(client, origin.url("/stall?1"))
        refused = await client.post("/downloads", json={"url": origin.url("/stall?2")})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json() == {"error": "the queue is full; try again later"}
        response = await client.delete(f"/downloads/{waiting}")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
        # Who did not hear the answer may ask again.
        assert (await client.delete(f"/downloads/{waiting}")).status_code == 200
        waiting = await submit(client, origin.url("/stall?2"))
        assert (await client.get(f"/downloads/{waiting}")).json()["status"] == "pending"
        # When the answer is there the slot is free.
        response = await client.delete(f"/downloads/{running}")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
        await stream(client, f"/downloads/{waiting}/events", lambda told: told["status"] == "downloading")
        listed = (await client.get("/downloads")).json()["downloads"]
        assert [told["status"] for told in listed] == ["cancelled", "cancelled", "downloading"]
    assert "Traceback" not in server.said


async def test_addresses_of_ones_own_network_are_not_fetched(start_service: Start, origin: Origin) -> None:
    async with start_service(DOWNLOADS_ALLOW_PRIVATE_ADDRESSES="0") as (_, client):
        task = await submit(client, origin.url("/file.bin"))
        *_, (_, told) = await stream(client, f"/downloads/{task}/events")
    assert (told["status"], told["error"]) == ("failed", "ConnectionFailedError")
    assert origin.requests == []


@pytest.mark.parametrize(
    ("server_name", "name"),
    [
        (server_name, name)
        for server_name in SERVERS
        for name in ("SIGINT", "SIGTERM")
        # Without workers hypercorn does not listen to SIGTERM on trio, and is killed by it.
        if (server_name, name) != ("hypercorn-trio", "SIGTERM")
    ],
)
async def test_a_signal_ends_streams_and_downloads_and_a_restart_goes_on(
    server_name: str, name: str, origin: Origin, tmp_path: Path
) -> None:
    start_service: Start = partial(start, SERVERS[server_name], tmp_path)
    statuses: list[str] = []
    async with start_service() as (server, client):
        task = await submit(client, origin.url("/stall"))

        def signal_once(told: dict[str, Any]) -> None:
            if is_half_there(told) and "signalled" not in statuses:
                # More of them would ask for a forced end.
                server.process.send_signal(signal.Signals[name])
                statuses.append("signalled")
            statuses.append(told["status"])

        try:
            await stream(client, f"/downloads/{task}/events", signal_once)
        except httpx.RemoteProtocolError:
            # A worker of hypercorn hears no signal, only that its requests are at an end.
            assert server_name == "hypercorn-trio-worker"
        else:
            assert statuses[-1] == "cancelled"
        code = await server.process.wait()
    assert code == (-signal.SIGTERM if (server_name[:7], name) == ("uvicorn", "SIGTERM") else 0), server.said
    assert "Traceback" not in server.said
    assert "Warning: " not in server.said
    assert any(file.endswith(".part") for file in files_in(tmp_path / "downloads"))

    async with start_service() as (_, client):
        task = await submit(client, origin.url("/stall"))
        *_, (_, told) = await stream(client, f"/downloads/{task}/events")
        assert told["status"] == "completed"
        assert (tmp_path / "downloads" / "stall").read_bytes() == BODY
        assert files_in(tmp_path / "downloads") == ["stall"]
        assert origin.requests[-1].header("range") is not None


async def test_a_client_that_disconnects_ends_its_subscription(start_service: Start) -> None:
    async with start_service(application="tests.streaming_app:app") as (server, client):
        await stream(client, "/events", lambda told: told["status"] == "downloading")
        await server.wait_for("subscription left")
        assert "Traceback" not in server.said


@pytest.mark.parametrize("server_name", [name for name in SERVERS if not name.endswith("worker")])
async def test_fastapi_has_the_manager_too(server_name: str, origin: Origin, tmp_path: Path) -> None:
    async with start(SERVERS[server_name], tmp_path, application="fastapi_downloads:app") as (server, client):
        assert (await client.get("/downloads/x")).status_code == 404
        assert (await client.get("/downloads/x/events")).status_code == 404
        for wrong in ({"url": "gopher://example.org/"}, {"url": origin.url("/file.bin"), "checksum": "sha1:0"}, {}):
            assert (await client.post("/downloads", json=wrong)).status_code == 422
        task = await submit(client, origin.url("/file.bin"))
        *_, (_, told) = await stream(client, f"/downloads/{task}/events")
        shown = (await client.get(f"/downloads/{task}")).json()
        assert shown == told | {"reason": None}
        assert (tmp_path / "downloads" / "file.bin").read_bytes() == BODY
    assert "Traceback" not in server.said

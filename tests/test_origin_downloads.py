"""Downloads from the origin in memory, in virtual time and with threads in line: whole minutes pass in milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

import trio_dlm
from tests.ways import WAYS, take_way
from trio_dlm import DownloadFailedError, StalledError
from trio_dlm.testing.machine._schedule import Tape
from trio_dlm.testing.origin import Connection, Origin, Request, head, open_memory_origin, reply
from trio_dlm.testing.world import memory_network, run_in_virtual_world

BODY = bytes(range(256)) * 1000


@pytest.fixture(autouse=True, params=WAYS)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    take_way(request.param, monkeypatch)
    return str(request.param)


class Steps(trio.abc.Instrument):
    """Writes down which task of a run goes on, and when."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        # Names will not do: those of downloads are drawn.
        self._numbers: dict[trio.lowlevel.Task, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        number = self._numbers.setdefault(task, len(self._numbers))
        self.seen.append((number, trio.current_time()))


@pytest.mark.parametrize("tls", [False, True])
def test_three_downloads_end_whole_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    async def main() -> None:
        with memory_network() as network:
            async with open_memory_origin(tls=tls, body=BODY) as origin:
                if tls:
                    monkeypatch.setenv("SSL_CERT_FILE", str(origin.ca_file(tmp_path / "ca.pem")))
                urls = [origin.reply(f"/{name}", reply(BODY)) for name in "abc"]
                async with trio_dlm.open_manager(max_concurrent=2, directory=tmp_path) as manager:
                    batch = await manager.submit_many(urls)
                    for task in batch:
                        assert (await task.result()).path.read_bytes() == BODY
                await origin.wait_no_connections()
                assert origin.peak_connections <= 2
            assert (network.open_client_sockets, network.open_server_sockets) == (0, 0)

    run_in_virtual_world(main)


def test_a_stall_is_found_at_its_virtual_second(tmp_path: Path) -> None:
    async def stall(connection: Connection, _: Request) -> None:
        await connection.send(head("Content-Length: 1000"), b"some")
        await connection.wait_closed()

    async def main() -> None:
        with memory_network() as network:
            async with open_memory_origin() as origin:
                url = origin.on("/file", stall)
                async with trio_dlm.open_manager(directory=tmp_path) as manager:
                    with pytest.raises(DownloadFailedError) as caught:
                        await manager.download(url, timeout_s=30, retries=0)
                assert isinstance(caught.value.__cause__, StalledError)
                assert trio.current_time() == pytest.approx(30)
                await origin.wait_no_connections()
            assert network.open_client_sockets == 0

    run_in_virtual_world(main)


def test_the_same_run_twice_is_the_same_to_the_step(tmp_path: Path) -> None:
    async def drop(connection: Connection, request: Request) -> None:
        if request.number % 2:
            await connection.send(reply(BODY))
        else:
            await connection.send(head(f"Content-Length: {len(BODY)}"), BODY[:1000])
            await connection.reset()

    def trace(directory: Path) -> list[object]:
        steps = Steps()

        async def main() -> None:
            trio.lowlevel.add_instrument(steps)
            with memory_network():
                async with open_memory_origin() as origin:
                    urls = [origin.on(f"/{name}", drop) for name in "abcd"]
                    async with trio_dlm.open_manager(max_concurrent=3, directory=directory, failures="keep") as manager:
                        await manager.submit_many(urls)
                        await manager.wait_idle()
                    steps.seen.extend((request.target, request.connection) for request in origin.requests)

        directory.mkdir()
        with Tape().playing():
            run_in_virtual_world(main)
        return steps.seen

    first = trace(tmp_path / "1")
    assert first == trace(tmp_path / "2")
    assert len(first) > 100


def test_an_origin_without_a_network_is_not_found_by_name() -> None:
    async def main() -> Origin:
        async with open_memory_origin() as origin:
            async with await origin.connect() as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 404")
            await origin.wait_no_connections()
        return origin

    assert run_in_virtual_world(main).connections == 1

"""The demonstration: its server does what it says, and the whole ends well."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
import trio

from tests.command import command, environment, files_in, start_command
from trio_dlm import DownloadStatus, IncompleteBodyError, StalledError, open_manager
from trio_dlm.cli import _demo
from trio_dlm.cli._demo import OFFERS
from trio_dlm.cli._demo_server import BLOCK_BYTES, Fault, Offer, content_of, open_server, sha256_of

FAST = 1 << 40
SIZE = 3 * BLOCK_BYTES + 5


def test_a_file_is_as_long_as_it_says_and_the_same_every_time() -> None:
    for size in (0, 1, BLOCK_BYTES, SIZE):
        blocks = list(content_of("a", size))
        assert sum(map(len, blocks)) == size
        assert blocks == list(content_of("a", size))
        assert sha256_of("a", size) == f"sha256:{hashlib.sha256(b''.join(blocks)).hexdigest()}"
    assert sha256_of("a", SIZE) != sha256_of("b", SIZE)


@pytest.fixture
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.usefixtures("_no_proxy")
async def test_the_server_sends_files_and_its_faults_are_what_they_are_called(tmp_path: Path) -> None:
    offers = {f"/{fault.name}": Offer(fault.name, SIZE, FAST, fault) for fault in Fault}
    async with open_server(offers) as address, open_manager(directory=tmp_path, failures="keep") as manager:
        tasks = {fault: await manager.submit(f"{address}/{fault.name}", timeout_s=0.2) for fault in Fault}
        await manager.wait_idle()
        for _ in range(2):
            # Over the same connection, as it may be.
            await manager.download(f"{address}/NONE", overwrite=True, checksum=sha256_of("NONE", SIZE))
    assert tasks[Fault.NONE].status is DownloadStatus.COMPLETED
    assert "404" in str(tasks[Fault.MISSING].error)
    assert isinstance(tasks[Fault.SHORT].error, IncompleteBodyError)
    assert isinstance(tasks[Fault.STALL].error, StalledError)


async def test_the_server_survives_clients_that_are_none() -> None:
    async with open_server({}) as address:
        host, port = address.removeprefix("http://").split(":")
        for nonsense in (b"nonsense\r\n\r\n", b"GET /x HT", b""):
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(nonsense)
            await stream.send_eof()
            assert await stream.receive_some() == b""
            await stream.aclose()
        stream = await trio.open_tcp_stream(host, int(port))
        await stream.send_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 404 ")
        await stream.aclose()


async def test_a_file_comes_no_faster_than_it_is_meant_to(autojump_clock: object) -> None:
    # No socket: what counts is when the blocks are sent.
    from trio_dlm.cli._demo_server import _send_file

    sent: list[tuple[float, int]] = []

    class Stream:
        async def send_all(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            sent.append((trio.current_time(), len(data)))

    began = trio.current_time()
    assert await _send_file(Stream(), Offer("a", 10 * BLOCK_BYTES, BLOCK_BYTES))  # type: ignore[arg-type]
    assert trio.current_time() - began == pytest.approx(10)
    assert [size for _, size in sent[1:]] == [BLOCK_BYTES] * 10


def test_a_dozen_downloads_are_what_is_shown() -> None:
    assert len(OFFERS) == 12
    assert len({offer.name for offer in OFFERS}) == 12
    assert {offer.fault for offer in OFFERS} == set(Fault)


@pytest.mark.slow
async def test_it_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    # A proxy that nobody can reach, and a directory for temporary files that can be looked at.
    env = environment(HTTP_PROXY="http://127.0.0.1:9", TMPDIR=str(tmp_path))
    del env["NO_PROXY"]
    done = await command("demo", cwd=tmp_path, env=env)
    assert (done.code, done.err) == (0, ""), done
    lines = done.out.splitlines()
    assert files_in(tmp_path) == []
    assert lines[-1].startswith("8 files are, byte for byte, what the server meant to send, and nothing else is left")
    assert lines[-2].startswith("8 of 12 done, 3 failed, 1 cancelled; ")
    for words in (
        "/missing.zip: the server answered 404 Not Found",
        "endless.bin: cancelled",
        "lecture-2.mp4: paused",
        "lecture-2.mp4: started again",
        "from now on at most 2 at a time",
    ):
        assert words in done.out


def some_offers(*offers: Offer) -> str:
    """Return what to put in front of the command so that it has only these offers."""
    return (
        "from trio_dlm.cli import _demo\nfrom trio_dlm.cli._demo_server import Fault, Offer\n"
        f"_demo.OFFERS = ({', '.join(map(_source, offers))},)\n"
        "from trio_dlm.cli import main\nmain()"
    )


def _source(offer: Offer) -> str:
    return f"Offer({offer.name!r}, {offer.size_bytes}, {offer.rate_bytes_per_s}, Fault.{offer.fault.name})"


async def test_what_was_not_planned_is_said_and_is_exit_code_1(tmp_path: Path) -> None:
    # The one that is to be cancelled and the one that is to be paused are too fast for that.
    offers = [Offer(_demo.CANCELLED, 100, FAST), Offer(_demo.PAUSED, 100, FAST), Offer("x", 100, FAST, Fault.MISSING)]
    env = environment(TMPDIR=str(tmp_path))
    done = await command("demo", code=some_offers(*offers), cwd=tmp_path, env=env)
    assert done.code == 1
    assert done.err == "trio-dlm: endless.bin is completed, and was meant to be cancelled: None\n"
    assert "1 files are, byte for byte" in done.out
    assert files_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
async def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    env = environment(TMPDIR=str(tmp_path))
    async with start_command("demo", cwd=tmp_path, env=env) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stdout.receive_some()
        process.send_signal(signal.SIGINT)
        said = b"".join([part async for part in process.stderr]).decode()
        assert await process.wait() == 130
    assert said == "trio-dlm: the demonstration was stopped by SIGINT; its files are deleted\n"
    assert files_in(tmp_path) == []


def test_a_setting_about_proxies_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    with _demo._without_proxy():
        assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "127.0.0.1"
    assert os.environ["NO_PROXY"] == "example.org"
    assert "no_proxy" not in os.environ

"""The demonstration: its server does what it says, and the whole ends well."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.command import PATIENCE_S, command, environment, files_in, start_command
from trio_dlm.cli import _demo
from trio_dlm.cli._demo import OFFERS
from trio_dlm.cli._demo_server import (
    BLOCK_BYTES,
    PIECE_S,
    Answer,
    DemoServer,
    Fault,
    Offer,
    content_of,
    open_server,
    sha256_of,
)

FAST = 1 << 40
SIZE = 3 * BLOCK_BYTES + 5


def test_a_file_is_as_long_as_it_says_and_the_same_every_time() -> None:
    for size in (0, 1, BLOCK_BYTES, SIZE):
        blocks = list(content_of("a", size))
        assert sum(map(len, blocks)) == size
        assert blocks == list(content_of("a", size))
        assert sha256_of("a", size) == f"sha256:{hashlib.sha256(b''.join(blocks)).hexdigest()}"
    digests = {sha256_of("a", SIZE), sha256_of("b", SIZE), sha256_of("a", SIZE, 2)}
    assert len(digests) == 3


@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_a_part_of_a_file_is_that_part(start: int, end: int) -> None:
    whole = b"".join(content_of("a", SIZE))
    assert b"".join(content_of("a", end, start=start)) == whole[start:end]


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_whole(self) -> bool:
        return len(self.body) == int(self.headers["content-length"])


async def ask(server: DemoServer, name: str, *headers: str, patience_s: float = PATIENCE_S) -> Reply:
    """Ask on a connection of its own, and read until it is all there, the server hangs up or patience ends."""
    host, port = server.address.removeprefix("http://").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    async with stream:
        lines = (f"GET /{name} HTTP/1.1", "Host: x", *headers)
        await stream.send_all("\r\n".join((*lines, "", "")).encode())
        data = b""
        with trio.move_on_after(patience_s):
            while more := await stream.receive_some():
                data += more
                reply = parse(data)
                if reply is not None and reply.is_whole:
                    break
    reply = parse(data)
    assert reply is not None
    return reply


def parse(data: bytes) -> Reply | None:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int(first.split()[1]), fields, body)


def of(fault: Fault) -> Offer:
    return Offer(fault.name, SIZE, FAST, fault)


WHOLE, SECOND = b"".join(content_of("NONE", SIZE)), b"".join(content_of("CHANGE", SIZE, 2))


async def test_the_server_sends_files_and_their_ranges() -> None:
    async with open_server(of(Fault.NONE)) as server:
        plain = await ask(server, "NONE")
        assert (plain.status, plain.body, plain.headers["accept-ranges"]) == (200, WHOLE, "bytes")
        etag = plain.headers["etag"]
        assert re.fullmatch(r'"[!-~]+"', etag), "a strong validator, without a space"
        for text, part in (
            ("5-", WHOLE[5:]),
            (f"0-{SIZE - 1}", WHOLE),
            ("7-20000", WHOLE[7:20001]),
            ("9-9999999", WHOLE[9:]),
        ):
            ranged = await ask(server, "NONE", f"Range: bytes={text}", f"If-Range: {etag}")
            assert (ranged.status, ranged.body) == (206, part)
            start = int(text.partition("-")[0])
            assert ranged.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/{SIZE}"
        for headers in ((f"Range: bytes={SIZE}-",), ("Range: bytes=-5",), ("Range: bytes=1-", 'If-Range: "other"')):
            assert (await ask(server, "NONE", *headers)).status == 200
        assert server.answers["NONE"][1] == Answer(206, 1, 5)
        assert server.peaks == {"NONE": 1}


async def test_the_faults_of_the_server_are_what_they_are_called() -> None:
    async with open_server(*map(of, Fault)) as server:
        assert (await ask(server, "MISSING")).status == 404
        assert (await ask(server, "else")).status == 404
        stalled = await ask(server, "STALL", patience_s=0.2)
        assert (stalled.status, stalled.is_whole, len(stalled.body) >= SIZE // 2) == (200, False, True)
        wrong = await ask(server, "WRONG")
        assert (wrong.status, wrong.is_whole) == (200, True)
        assert f"sha256:{hashlib.sha256(wrong.body).hexdigest()}" != of(Fault.WRONG).checksum


async def test_a_fault_that_passes_happens_once() -> None:
    async with open_server(*map(of, Fault)) as server:
        broken = await ask(server, "BREAK")
        assert (broken.is_whole, SIZE > len(broken.body) >= SIZE // 2) == (False, True)
        rest = await ask(server, "BREAK", f"Range: bytes={len(broken.body)}-", f"If-Range: {broken.headers['etag']}")
        assert broken.body + rest.body == b"".join(content_of("BREAK", SIZE))

        busy = await ask(server, "BUSY")
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert (await ask(server, "BUSY")).status == 200

        first = await ask(server, "CHANGE")
        assert not first.is_whole
        second = await ask(server, "CHANGE", "Range: bytes=9-", f"If-Range: {first.headers['etag']}")
        assert (second.status, second.body) == (200, SECOND)
        assert of(Fault.CHANGE).checksum == f"sha256:{hashlib.sha256(SECOND).hexdigest()}"
        assert [answer.version for answer in server.answers["CHANGE"]] == [1, 2]


async def test_the_server_survives_clients_that_are_none() -> None:
    async with open_server() as server:
        host, port = server.address.removeprefix("http://").split(":")
        for nonsense in (b"nonsense\r\n\r\n", b"GET /x HT", b""):
            stream = await trio.open_tcp_stream(host, int(port))
            await stream.send_all(nonsense)
            await stream.send_eof()
            assert await stream.receive_some() == b""
            await stream.aclose()
        assert (await ask(server, "x")).status == 404


async def test_one_connection_serves_one_request_after_the_other() -> None:
    async with open_server(of(Fault.NONE)) as server:
        host, port = server.address.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            for _ in range(2):
                await stream.send_all(b"GET /NONE HTTP/1.1\r\nHost: x\r\nRange: bytes=1-4\r\n\r\n")
                data = b""
                while not data.endswith(b"\r\n\r\n" + WHOLE[1:5]):
                    data += await stream.receive_some()


async def test_a_file_comes_no_faster_than_it_is_meant_to(autojump_clock: object) -> None:
    # No socket: what counts is when the blocks are sent.
    from trio_dlm.cli._demo_server import _send_file

    sent: list[tuple[float, int]] = []

    class Stream:
        async def send_all(self, data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            sent.append((trio.current_time(), len(data)))

    began = trio.current_time()
    offer = Offer("a", 10 * BLOCK_BYTES, BLOCK_BYTES)
    assert await _send_file(Stream(), offer, 1, '"a"', None, Fault.NONE)  # type: ignore[arg-type]
    assert trio.current_time() - began == pytest.approx(10)
    # The first is the header.
    assert sum(size for _, size in sent[1:]) == 10 * BLOCK_BYTES
    assert max(size for _, size in sent[1:]) == round(BLOCK_BYTES * PIECE_S)


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
    assert lines[-1].startswith("8 files are there, byte for byte what the server meant to send, and ")
    assert lines[-7].startswith("8 of 12 done, 3 failed, 1 cancelled; ")
    stories = (
        r"atlas\.iso came over [234] connections at a time",
        r"torn\.tar broke off, and went on from [0-9.]+ KiB",
        r"sea-shanties\.flac was asked for again after 503",
        r"seeds\.csv changed in the middle, and began again",
        r"lecture-2\.mp4 went on after its pause from [0-9.]+ KiB",
    )
    for line, story in zip(lines[-6:-1], stories, strict=True):
        assert re.fullmatch(story, line)
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
    assert "1 files are there, byte for byte" in done.out
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

"""A small part of what ``nox -s hardships`` measures, and that what measures it can see.

Rules that hold here:

- a figure that cannot be measured on this machine skips its test, with the reason;
- limits that are shares of a file are wider than the promised ones, as the files are smaller: what one kill may cost
  stays the same.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.hardships._command import PYTHON, Ending, fetch, limited, start
from tests.hardships._descriptors import measure_descriptors
from tests.hardships._figures import Figure, at_most, broken, none_of, skipped, tell_figures
from tests.hardships._files import left_beside, not_whole
from tests.hardships._full_disk import measure_disk_too_small, measure_file_limit, measure_full_disk, measure_room_taken
from tests.hardships._kill_points import SCENES, How, Scene, measure_kill_points
from tests.hardships._mounts import NoMountError, mounted
from tests.hardships._origin import MIB, Framing, make_body, open_counting_origin
from tests.hardships._random_kills import measure_random_kills
from tests.hardships._read_only import measure_directory_of_others, measure_read_only_disk
from tests.hardships._signals import measure_signal
from tests.hardships._silence import SILENCES, measure_silence
from tests.hardships._watching import watched_names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows has none of these signals, limits and file systems"),
]


def keeps(measure: Callable[..., Awaitable[Sequence[Figure]]], *arguments: object, **options: object) -> None:
    """Measure something; fail if a promise was broken, and skip if nothing was measured."""
    figures = trio.run(partial(measure, *arguments, **options))
    assert not broken(figures)
    if all(each.is_kept is None for each in figures):
        pytest.skip(figures[0].found)


# What the command promises.


@pytest.mark.parametrize(("connections", "limit"), [(1, 1.06), (8, 1.12)])
def test_kills_cost_little_and_hurt_nothing(connections: int, limit: float) -> None:
    keeps(measure_random_kills, size_bytes=16 * MIB, kills=3, connections=connections, seed=1, limit=limit)


@pytest.mark.parametrize(
    ("how", "scene"),
    [
        *((How.CALL, scene) for scene in SCENES),
        *((How.TORN, scene) for scene in SCENES[::3]),
        *((How.SYSCALL, scene) for scene in SCENES[:2]),
    ],
    ids=lambda value: value.name,
)
def test_a_kill_at_any_file_operation_hurts_nothing(how: How, scene: Scene) -> None:
    keeps(measure_kill_points, how, scene, most=6)


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_a_second_and_it_goes_on_later(number: signal.Signals, connections: int) -> None:
    keeps(measure_signal, number, connections=connections, size_bytes=32 * MIB)


def test_what_will_not_fit_is_not_begun() -> None:
    keeps(measure_disk_too_small, room_bytes=4 * MIB, size_bytes=8 * MIB)


@pytest.mark.parametrize("has_validator", [True, False])
@pytest.mark.parametrize("framing", [Framing.CHUNKED, Framing.CLOSED])
def test_a_full_disk_is_told_at_once_and_once(framing: Framing, *, has_validator: bool) -> None:
    keeps(measure_full_disk, framing, room_bytes=4 * MIB, size_bytes=8 * MIB, has_validator=has_validator)


@pytest.mark.parametrize("connections", [1, 8])
def test_a_disk_that_others_fill_is_told_at_once_and_once(connections: int) -> None:
    keeps(measure_room_taken, room_bytes=20 * MIB, size_bytes=16 * MIB, connections=connections)


@pytest.mark.parametrize("framing", Framing)
def test_a_limit_on_the_size_of_files_is_told_as_a_full_disk_is(framing: Framing) -> None:
    keeps(measure_file_limit, framing, limit_bytes=4 * MIB, size_bytes=8 * MIB)


def test_nothing_is_fetched_for_a_file_system_that_is_read_only() -> None:
    keeps(measure_read_only_disk)


def test_nothing_is_fetched_for_a_directory_of_somebody_else() -> None:
    keeps(measure_directory_of_others)


def test_few_descriptors_are_enough_or_are_told() -> None:
    keeps(measure_descriptors, limit=32, files=50, size_bytes=MIB // 4)


@pytest.mark.parametrize("name", SILENCES)
def test_a_server_that_leads_nowhere_is_given_up(name: str) -> None:
    keeps(measure_silence, name)


# What measures it.


def test_a_broken_promise_is_told_and_others_are_not() -> None:
    figures = [
        at_most("a", "cost", 1.5, 1.4, unit="s"),
        at_most("b", "cost", 1.4, 1.4),
        at_most("c", "cost", 0.9, 1.4, least=1),
        none_of("d", "all well", ["one", "two", "three", "four", "five"]),
        none_of("e", "all well", [], otherwise="at 7 places"),
        skipped("f", "no such thing here"),
    ]
    assert [each.is_kept for each in figures] == [False, True, False, False, True, None]
    assert broken(figures) == [
        "a: promised is cost ≤ 1.4 s; found: 1.50 s",
        "c: promised is cost ≤ 1.4; found: 0.90",
        "d: promised is all well; found: one; two; three; and 2 more",
    ]
    assert tell_figures(figures).splitlines()[7].split() == ["e", "all", "well", "at", "7", "places", "yes"]


@pytest.mark.parametrize(
    ("ending", "found"),
    [
        (Ending(1, 0, "", "it failed\n"), []),
        (Ending(None, 0, "", ""), ["it did not end within 90 s"]),
        (Ending(0, 0, "", "said\n"), ["exit code 0 instead of 1, saying 'said'"]),
        (Ending(1, 0, "", "Traceback …\nE: no\n"), ["a traceback, ending in 'E: no'"]),
        (Ending(1, 0, "", "no\nno\n"), ["2 lines on stderr instead of 1, the last 'no'"]),
        (Ending(1, 0, "x" * 200, ""), [f"0 lines on stderr instead of 1, the last '{'x' * 160}…'"]),
    ],
)
def test_an_end_that_is_not_in_order_is_seen(ending: Ending, found: list[str]) -> None:
    assert ending.problems(1, lines=1) == found


def test_a_file_that_is_not_whole_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert not_whole(path, b"abc") == ["no file file"]
    path.write_bytes(b"ab")
    assert not_whole(path, b"abc") == ["file has 2 bytes of 3"]
    path.write_bytes(b"abd")
    assert not_whole(path, b"abc") == ["file has the right length and other bytes"]
    path.write_bytes(b"abc")
    assert not_whole(path, b"abc") == left_beside(tmp_path, "file") == []
    assert left_beside(tmp_path) == ["file was left"]


def test_a_name_that_was_there_for_a_moment_is_seen(tmp_path: Path) -> None:
    with watched_names(tmp_path) as names:
        if names._descriptor is None:
            pytest.skip("there is no inotify")
        (tmp_path / "one").touch()
        (tmp_path / "one").rename(tmp_path / "two")
        (tmp_path / "two").unlink()
        assert names.seen() == {"one", "two"}


async def test_the_origin_counts_what_it_hands_over_and_is_no_faster_than_told() -> None:
    body = make_body(MIB)
    async with open_counting_origin(rate_bytes_per_s=10 * MIB) as origin:
        origin.serve("/file", body)
        began_s = trio.current_time()
        stream = await origin.origin.connect()
        await stream.send_all(b"GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=524288-\r\nConnection: close\r\n\r\n")
        reply = b"".join([data async for data in stream])
        await stream.aclose()
        # What it may make up for is not in it.
        assert trio.current_time() - began_s > 0.05 - 0.02
        assert reply.startswith(b"HTTP/1.1 206 ")
        assert reply.endswith(b"\r\n\r\n" + body[MIB // 2 :])
        assert origin.given_bytes == MIB // 2


@pytest.mark.parametrize("framing", [Framing.CHUNKED, Framing.CLOSED])
async def test_the_origin_keeps_quiet_about_the_length_of_the_whole_only(framing: Framing) -> None:
    async with open_counting_origin() as origin:
        origin.serve("/file", b"abcdef", framing)
        replies: list[bytes] = []
        for first in (0, 3):
            stream = await origin.origin.connect()
            await stream.send_all(
                b"GET /file HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-\r\nConnection: close\r\n\r\n" % first
            )
            if framing is Framing.CHUNKED and not first:
                replies.append(await _read_until(stream, b"0\r\n\r\n"))
            else:
                replies.append(b"".join([data async for data in stream]))
            await stream.aclose()
    whole, part = replies
    assert b"Content-Length" not in whole
    assert b"abcdef" in whole
    assert b"Content-Range: bytes 3-5/6" in part
    assert part.endswith(b"\r\n\r\ndef")


async def test_nobody_is_left_when_a_test_fails(tmp_path: Path) -> None:
    started: list[trio.Process] = []
    with pytest.raises(ZeroDivisionError):
        async with start(cwd=tmp_path, program=(PYTHON, "-S", "-c", "import time; time.sleep(600)")) as running:
            started.append(running._process)
            raise ZeroDivisionError
    assert [each.returncode for each in started] == [-signal.SIGKILL]


async def test_who_ends_first_is_not_waited_for(tmp_path: Path) -> None:
    async with start(cwd=tmp_path, program=(PYTHON, "-S", "-c", "print('said')")) as running:
        assert not await running.until(trio.sleep_forever)
        ending = await running.wait()
    assert (ending.code, ending.out, ending.err) == (0, "said\n", "")


async def test_a_limit_is_one_of_the_command(tmp_path: Path) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    ending = await fetch(cwd=tmp_path, program=(PYTHON, "-S", "-c", code), before=limited("RLIMIT_NOFILE", 32))
    assert ending.out == "32\n"


def test_a_disk_of_ones_own_has_the_size_that_it_was_given() -> None:
    try:
        with mounted("size=1m") as disk:
            sizes = [_size(disk.directory)]
            disk.remount("size=2m")
            sizes.append(_size(disk.directory))
    except NoMountError as exc:
        pytest.skip(str(exc))
    assert sizes == [MIB, 2 * MIB]
    assert not disk.directory.exists()


def _size(directory: Path) -> int:
    seen = os.statvfs(directory)
    return seen.f_blocks * seen.f_frsize


async def _read_until(stream: trio.abc.ReceiveStream, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        received += await stream.receive_some()
    return received

"""Several connections for one file: when there are more, what becomes of those that fail, and what is joined."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx  # noqa: ASYNC127  (a user's own client; either library will do)
import pytest
import trio

from tests.transfers import BODY, PART, RECORD, Answer, Scene, open_scene, sha256
from trio_dlm import DownloadTimeoutError, HttpStatusError, PartProgress, StorageError, TooSlowError
from trio_dlm.downloaders.http import HttpDownloader
from trio_dlm.testing.origin import (
    Act,
    Busy,
    ChunkSizeWrong,
    DropAt,
    DropInHeader,
    Fault,
    ForgetfulRange,
    HeaderStops,
    Hold,
    IfRangeIgnored,
    LongerRange,
    Mislabelled,
    NoContentRange,
    OtherStart,
    OtherTotal,
    RangeIgnored,
    Refuse,
    Request,
    Reset,
    Resource,
    Serve,
    ShorterRange,
    Stall,
    Touched,
    Trickle,
    Unsatisfiable,
    Wait,
    honest_reply,
)
from trio_dlm.testing.origin._reply import whole_reply

pytestmark = pytest.mark.virtual_time

LAST = len(BODY) - 1
HALF = len(BODY) // 2

# Each connection brings as much, so that more of them pay: five seconds for one, less than two for all.
SLOW = Trickle(20_000, 1000)
SMALL = 1000


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


def spans(scene: Scene) -> list[tuple[int, int]]:
    """Return first byte and the one behind the last of every request but the first, in the order of the file."""
    return sorted((each.range[0], (each.range[1] or 0) + 1) for each in scene.requests()[1:] if each.range)


# When there are more.


async def test_more_connections_join_while_they_pay(scene: Scene) -> None:
    scene.plan(then=SLOW)
    await scene.delivers(min_segment_size=SMALL)
    assert 1 < scene.origin.peak_connections <= 8
    assert trio.current_time() < 4.0
    first, *others = scene.requests()
    assert first.header("range") == "bytes=0-"
    assert {each.header("if-range") for each in others} == {'"v1"'}
    assert all(each.range is not None and each.range[1] is not None for each in others)


@pytest.mark.parametrize("most", [2, 3, 8, 100])
async def test_there_are_never_more_connections_than_allowed(scene: Scene, most: int) -> None:
    scene.plan(then=SLOW)
    await scene.delivers(connections=most, min_segment_size=SMALL)
    assert 1 < scene.origin.peak_connections <= most


async def test_one_connection_is_one(scene: Scene) -> None:
    scene.plan(then=SLOW)
    await scene.delivers(connections=1, min_segment_size=SMALL)
    assert scene.origin.peak_connections == 1
    assert trio.current_time() == pytest.approx(5)


async def test_a_line_that_is_full_gets_no_more_than_two_connections(scene: Scene) -> None:
    line = trio.CapacityLimiter(1)

    async def serve(connection: Any, request: Request) -> None:
        right = honest_reply(request, scene.origin.resource)
        await connection.send(right.head())
        for start in range(0, len(right.content), 500):
            async with line:
                await trio.sleep(0.05)
            await connection.send(right.content[start : start + 500])

    scene.origin.on("/file.bin", serve)
    await scene.delivers(min_segment_size=SMALL)
    assert scene.origin.peak_connections <= 2


async def test_a_small_file_is_not_split(scene: Scene) -> None:
    scene.plan(then=SLOW)
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]
    scene.plan(then=SLOW)
    await scene.delivers(min_segment_size=HALF + 1, overwrite=True)
    assert scene.asked() == ["bytes=0-"]


@pytest.mark.parametrize("validators", ["weak", "none"])
async def test_what_nothing_proves_is_not_split(scene: Scene, validators: Any) -> None:
    scene.plan(then=SLOW, validators=validators)
    await scene.delivers(min_segment_size=SMALL)
    assert scene.asked() == ["bytes=0-"]
    await scene.delivers(min_segment_size=SMALL, checksum=sha256(BODY), overwrite=True)
    assert scene.origin.peak_connections > 1


async def test_a_server_without_ranges_is_not_asked_for_more(scene: Scene) -> None:
    scene.plan(then=Answer(lambda request, resource: whole_reply(request, resource).acts(chunk_bytes=1000, gap_s=0.05)))
    await scene.delivers(min_segment_size=SMALL)
    assert scene.asked() == ["bytes=0-"]


async def test_what_an_earlier_run_left_in_pieces_is_completed_by_several(scene: Scene) -> None:
    scene.plan(then=SLOW)
    with trio.move_on_at(1.5):
        await scene.fetch(min_segment_size=SMALL)
    assert sorted(scene.files) == [PART, RECORD]
    assert scene.job is not None
    received = scene.job.progress.received_bytes
    assert HALF // 2 < received < len(BODY)
    # Several pieces with gaps between them: the next run is told of every one.
    scene.plan(then=SLOW)
    await scene.delivers(min_segment_size=SMALL)
    assert sum(len(part) for part in _asked_parts(scene)) >= len(BODY) - received
    assert all(each.header("if-range") == '"v1"' for each in scene.requests())
    assert scene.origin.peak_connections > 1


def _asked_parts(scene: Scene) -> list[range]:
    return [range(each.range[0], (each.range[1] or LAST) + 1) for each in scene.requests() if each.range]


async def test_the_ranges_in_flight_are_told(scene: Scene) -> None:
    seen: list[tuple[PartProgress, ...]] = []
    scene.plan(then=SLOW)
    job = scene.job_for(min_segment_size=SMALL, changed=lambda: seen.append(job.progress.parts))
    await scene.downloader.download(job)
    told = [parts for parts in seen if len(parts) > 1]
    assert told
    for parts in told:
        sizes = [part.size_bytes or 0 for part in parts]
        assert all(0 <= part.received_bytes <= size for part, size in zip(parts, sizes, strict=True))
        ends = [(part.start, part.start + size) for part, size in zip(parts, sizes, strict=True)]
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))
    assert job.progress.parts == ()


# Those that fail while others deliver.


@pytest.mark.parametrize(
    "fault",
    [
        *(Refuse(status) for status in (400, 401, 403, 404, 405, 410, 412, 501)),
        *(Busy(status) for status in (408, 425, 429, 500, 502, 503, 504)),
        Busy(503, 10_000),
        Unsatisfiable(),
        DropAt(0),
        RangeIgnored(),
        ForgetfulRange(),
        Mislabelled(),
        OtherStart(),
        LongerRange(),
        OtherTotal(),
        NoContentRange(),
    ],
    ids=repr,
)
async def test_if_all_further_connections_are_refused_the_first_one_fetches_the_file(
    scene: Scene, fault: Fault
) -> None:
    scene.plan(SLOW, then=fault)
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert None not in scene.asked()
    assert 2 <= len(scene.requests()) <= 4
    # As long as one connection takes, and no longer.
    assert trio.current_time() < 6.0


@pytest.mark.parametrize(
    "fault", [DropAt(500), DropAt(500, reset=True), Stall(500), Stall(0), HeaderStops(5), DropInHeader(9)], ids=repr
)
async def test_a_further_connection_that_breaks_or_falls_silent_is_made_up_for(scene: Scene, fault: Fault) -> None:
    scene.plan(SLOW, fault, then=SLOW)
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert None not in scene.asked()
    # The silent one is given five seconds.
    assert trio.current_time() < 12.0


async def test_connections_that_are_refused_at_the_door_cost_nothing_but_themselves(scene: Scene) -> None:
    scene.plan(then=SLOW, most=1)
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert scene.origin.refused_connections >= 1
    assert trio.current_time() < 6.0


@pytest.mark.parametrize("seconds", [0.9, 1.6, 60.0])
async def test_until_a_further_connection_is_answered_the_first_one_reads_on(scene: Scene, seconds: float) -> None:
    def think(request: Request, resource: Resource) -> Iterator[Act]:
        yield Wait(seconds)
        yield from honest_reply(request, resource).acts()

    # All of the file comes on the first connection, within a second and a half.
    scene.plan(Trickle(len(BODY) / 1.5, 1000), then=Answer(think))
    await scene.delivers(min_segment_size=SMALL, retries=0, connections=2)
    assert trio.current_time() < 3.0


async def test_a_least_rate_makes_silence_on_all_connections_too_slow(scene: Scene) -> None:
    scene.plan(then=Stall(HALF))
    error = await scene.fails(
        TooSlowError, min_segment_size=SMALL, retries=0, timeout_s=30.0, min_rate_bytes_per_s=1.0, connections=2
    )
    assert isinstance(error, TooSlowError)
    assert error.min_rate_bytes_per_s == 1.0


async def test_who_asks_to_be_left_alone_is_asked_by_no_other_connection_either(scene: Scene) -> None:
    scene.plan(SLOW, SLOW, Serve(), Busy(retry_after=9), Busy(retry_after=9), then=Serve())
    await scene.delivers(min_segment_size=SMALL, retries=1)
    refused_at, *later = [request.at_s for request in scene.requests()[3:]]
    # What was on its way already was not asked in spite of the reply.
    assert all(at == refused_at or at >= refused_at + 9 for at in later)


async def test_an_exception_of_a_users_own_hook_leaves_alone_and_as_it_came(scene: Scene) -> None:
    replies = 0

    async def hook(_: object) -> None:
        nonlocal replies
        replies += 1
        await trio.lowlevel.checkpoint()
        if replies == 2:
            raise LookupError("mine")

    scene.plan(then=SLOW)
    async with (
        httpx.AsyncClient(event_hooks={"response": [hook]}) as client,
        HttpDownloader(client=client) as downloader,
    ):
        with pytest.raises(LookupError, match="mine"):
            await downloader.download(scene.job_for(min_segment_size=SMALL, retries=0))


async def test_broken_chunks_on_a_further_connection_are_not_believed(scene: Scene) -> None:
    scene.plan(SLOW, ChunkSizeWrong(), then=Serve())
    await scene.delivers(min_segment_size=SMALL, retries=0)


async def test_a_shorter_range_on_a_further_connection_is_asked_on_for(scene: Scene) -> None:
    scene.plan(SLOW, *[ShorterRange(5000)] * 2, then=SLOW)
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert trio.current_time() < 4.0


async def test_if_the_first_connection_breaks_the_others_fetch_what_it_did_not(scene: Scene) -> None:
    scene.plan(Answer(lambda request, resource: _breaking(request, resource, after=90)), then=SLOW)
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert None not in scene.asked()


def _breaking(request: Request, resource: Resource, *, after: int) -> Iterator[Act]:
    acts = honest_reply(request, resource).acts(chunk_bytes=1000, gap_s=0.05)
    yield from itertools.islice(acts, after)
    yield Reset()


async def test_only_if_all_connections_fail_the_attempt_has_failed(scene: Scene) -> None:
    breaking = Answer(lambda request, resource: _breaking(request, resource, after=90))
    scene.plan(breaking, breaking, breaking, then=SLOW)
    await scene.delivers(min_segment_size=SMALL, retries=1)
    scene.plan(breaking, then=Busy())
    await scene.fails(HttpStatusError, "503", "/b", min_segment_size=SMALL, retries=2)
    assert {"b.part", "b.part.json"} < set(scene.files)


async def test_a_silent_first_connection_is_replaced_while_others_deliver(scene: Scene) -> None:
    def falling_silent(request: Request, resource: Resource) -> Iterator[Act]:
        acts = honest_reply(request, resource).acts(chunk_bytes=1000, gap_s=0.05)
        yield from itertools.islice(acts, 90)
        yield Hold()

    scene.plan(Answer(falling_silent), then=Trickle(4000, 200))
    await scene.delivers(min_segment_size=SMALL, retries=0)
    assert trio.current_time() < 20


async def test_if_all_fall_silent_the_attempt_ends_after_its_limit(scene: Scene) -> None:
    def until_two_seconds(request: Request, resource: Resource) -> Iterator[Act]:
        for act in honest_reply(request, resource).acts(chunk_bytes=1000, gap_s=0.05):
            if trio.current_time() > 2:
                yield Hold()
            yield act

    scene.plan(then=Answer(until_two_seconds))
    with pytest.raises(DownloadTimeoutError):
        await scene.fetch(min_segment_size=SMALL, retries=0)
    assert scene.origin.peak_connections > 1
    # At most one further connection was tried after the first silence.
    assert trio.current_time() < 45
    await scene.origin.wait_no_connections()


# What is joined.


@pytest.mark.parametrize(
    "change",
    [lambda resource: resource.change(), lambda resource: resource.change(by=-10), lambda resource: resource.retag()],
)
async def test_another_version_on_a_further_connection_is_not_joined(
    scene: Scene, change: Callable[[Resource], None]
) -> None:
    before = scene.origin.resource.body

    def changed(request: Request, resource: Resource) -> Iterator[Act]:
        change(resource)
        return honest_reply(request, resource).acts()

    scene.plan(SLOW, Answer(changed), then=SLOW)
    # The first reply goes on as it began.
    await scene.delivers(before, min_segment_size=SMALL)


@pytest.mark.parametrize("fault", [Touched(), IfRangeIgnored()], ids=repr)
async def test_a_part_of_another_version_on_a_further_connection_is_not_joined(scene: Scene, fault: Any) -> None:
    before = scene.origin.resource.body
    scene.plan(SLOW, fault, then=SLOW)
    await scene.delivers(before, min_segment_size=SMALL)


async def test_if_the_file_changes_and_the_first_connection_breaks_it_is_fetched_anew(scene: Scene) -> None:
    def changed(request: Request, resource: Resource) -> Iterator[Act]:
        resource.change()
        return honest_reply(request, resource).acts()

    breaking = Answer(lambda request, resource: _breaking(request, resource, after=90))
    scene.plan(breaking, Answer(changed), then=SLOW)
    await scene.delivers(min_segment_size=SMALL)


# The end.


async def test_a_disk_that_fills_up_ends_all_connections_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    scene.plan(then=SLOW)

    def full(fd: int, data: Any, offset: int) -> int:
        if trio.current_time() > 1.0 and len(data) > 500:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    await scene.fails(StorageError, "the disk is full", min_segment_size=SMALL)
    assert trio.current_time() < 1.2
    assert sorted(scene.files) == [PART, RECORD]
    await scene.origin.wait_no_connections()
    monkeypatch.undo()
    scene.plan()
    await scene.delivers()


async def test_a_cancel_closes_all_connections_and_keeps_what_they_brought(scene: Scene) -> None:
    scene.plan(then=SLOW)
    await scene.leaves(HALF, min_segment_size=SMALL)
    assert scene.origin.peak_connections > 1
    await scene.origin.wait_no_connections()
    assert sorted(scene.files) == [PART, RECORD]
    scene.plan()
    await scene.delivers(min_segment_size=SMALL)
    asked = sum(len(part) for part in _asked_parts(scene))
    assert asked <= len(BODY) - HALF


async def test_no_byte_is_asked_for_twice_of_a_server_that_delivers(scene: Scene) -> None:
    scene.plan(then=SLOW)
    await scene.delivers(min_segment_size=SMALL)
    # A later request may take what an earlier one has not read yet, and never what is there already.
    assert scene.job is not None
    assert scene.job.progress.arrived_bytes == len(BODY)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_connections_do_the_file_is_whole_or_the_error_is_told(scene: Scene, seed: int) -> None:
    draw = random.Random(seed)
    kinds: list[Fault] = [
        SLOW,
        Serve(),
        Trickle(5000, 700),
        DropAt(draw.randrange(3000)),
        ShorterRange(draw.randrange(1, 9000)),
        RangeIgnored(),
        Refuse(403),
        Busy(429),
        Stall(draw.randrange(3000)),
    ]
    scene.plan(SLOW, *draw.choices(kinds, k=12), then=SLOW)
    await scene.delivers(min_segment_size=draw.choice([100, 1000, 20_000]), connections=draw.choice([2, 4, 8]))

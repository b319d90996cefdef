"""What is tried again, how long is waited before, and when enough is enough; limits of time and of the rate."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.transfers import BODY, PART, RECORD, Answer, Scene, open_scene
from trio_dlm import (
    ConnectionFailedError,
    DownloadTimeoutError,
    HttpStatusError,
    IncompleteBodyError,
    StalledError,
    TooSlowError,
    UnusableReplyError,
)
from trio_dlm.testing.origin import (
    Act,
    Busy,
    ChunkedCut,
    Close,
    DropAt,
    DropInHeader,
    HeaderStops,
    NotHttp,
    Refuse,
    Request,
    Resource,
    Send,
    Stall,
    Trickle,
    honest_reply,
)

pytestmark = pytest.mark.virtual_time

LAST = len(BODY) - 1
HALF = len(BODY) // 2


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait before another attempt is half of the most that it may be."""
    monkeypatch.setattr("trio_dlm.downloaders.http._transfer._draw", lambda: 0.5)


# What is tried again.


@pytest.mark.parametrize(
    "fault",
    [
        *(Busy(status) for status in (408, 425, 429, 500, 502, 503, 504)),
        *(Refuse(status) for status in range(520, 525)),
        DropInHeader(),
        DropInHeader(20, reset=True),
        DropAt(0),
        DropAt(100, reset=True),
        ChunkedCut(2),
        HeaderStops(10),
        Stall(100),
    ],
    ids=repr,
)
async def test_what_may_pass_is_tried_again_as_often_as_the_user_likes(scene: Scene, fault: Any) -> None:
    scene.plan(fault, fault, fault)
    await scene.delivers(retries=3)
    assert len(scene.requests()) == 4
    assert scene.job is not None
    assert scene.job.progress.retries == 3


@pytest.mark.parametrize("fault", [Busy(), DropInHeader(), DropAt(0)], ids=repr)
async def test_after_the_last_attempt_its_error_is_told(scene: Scene, fault: Any) -> None:
    scene.plan(then=fault)
    with pytest.raises((HttpStatusError, ConnectionFailedError, IncompleteBodyError)):
        await scene.fetch(retries=3)
    assert len(scene.requests()) == 4


@pytest.mark.parametrize("status", [401, 402, 404, 406, 407, 409, 410, 418, 422, 451, 505, 511])
async def test_what_will_not_pass_is_not_tried_again(scene: Scene, status: int) -> None:
    scene.plan(then=Refuse(status))
    await scene.fails(HttpStatusError, str(status))
    assert len(scene.requests()) == 1


async def test_what_is_no_http_may_pass_like_any_broken_framing(scene: Scene) -> None:
    scene.plan(NotHttp(b"220 ready\r\n\r\n"))
    await scene.fetch(retries=1)
    scene.plan(then=NotHttp(b"220 ready\r\n\r\n"))
    await scene.fails(UnusableReplyError, "not HTTP", "/other.bin", retries=1)
    assert len(scene.requests()) == 2


async def test_nobody_who_listens_is_tried_again(scene: Scene) -> None:
    url = "http://origin.test:81/file.bin"
    began = trio.current_time()
    await scene.fails(ConnectionFailedError, "origin.test", url=url, retries=2)
    assert scene.job is not None
    assert scene.job.progress.retries == 2
    assert trio.current_time() == began


async def test_progress_gives_all_attempts_back(scene: Scene) -> None:
    scene.plan(then=DropAt(10_000))
    await scene.delivers(retries=1)
    assert [request.range for request in scene.requests()] == [
        (0, None),
        *((start, LAST) for start in range(10_000, len(BODY), 10_000)),
    ]


async def test_bytes_that_came_before_are_no_progress(scene: Scene) -> None:
    # Nothing proves what it is, so that each attempt begins from zero.
    scene.plan(then=DropAt(HALF), validators="none")
    await scene.fails(IncompleteBodyError, retries=4)
    assert len(scene.requests()) == 5
    assert scene.asked() == ["bytes=0-"] * 5


async def test_a_byte_for_each_attempt_has_an_end(scene: Scene) -> None:
    scene.plan(then=DropAt(1))
    await scene.fails(IncompleteBodyError)
    assert len(scene.requests()) == 101
    assert scene.files[PART] == BODY[:101]


# Waits.


@pytest.mark.usefixtures("waits")
async def test_waits_grow_and_are_told_as_such(scene: Scene) -> None:
    seen: list[tuple[str, float]] = []
    scene.plan(then=Busy())
    job = scene.job_for(retries=7, changed=lambda: seen.append((job.progress.phase.value, trio.current_time() - began)))
    began = trio.current_time()
    with pytest.raises(HttpStatusError):
        await scene.downloader.download(job)
    at = [request.at_s - began for request in scene.requests()]
    assert at == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 45.5]
    assert {phase for phase, _ in seen} >= {"waiting to retry", "connecting"}


@pytest.mark.usefixtures("waits")
async def test_before_the_plain_request_there_is_a_wait_too(scene: Scene) -> None:
    scene.plan(Refuse(403))
    await scene.delivers()
    first, second = scene.requests()
    assert second.at_s - first.at_s == 0.5


@pytest.mark.parametrize(("busy", "waited_s"), [(Busy(503, 7), 7), (Busy(429, 0), 0), (Busy(503, -5, as_date=True), 0)])
async def test_retry_after_is_kept(scene: Scene, busy: Busy, waited_s: float) -> None:
    scene.plan(busy, busy)
    await scene.delivers()
    assert [request.at_s for request in scene.requests()] == [0, waited_s, 2 * waited_s]


async def test_a_retry_after_that_nobody_understands_is_none(scene: Scene) -> None:
    scene.plan(Busy(503, "soon"))
    await scene.delivers()
    assert [request.at_s for request in scene.requests()] == [0, 0]


async def test_a_retry_after_that_is_too_long_is_told_at_once(scene: Scene) -> None:
    scene.plan(Busy(503, 61))
    error = await scene.fails(HttpStatusError, "left alone for 61 s, and retry_after_limit_s=60")
    assert isinstance(error.__cause__, HttpStatusError)
    assert trio.current_time() == 0
    scene.plan(Busy(503, 61))
    await scene.delivers(retry_after_limit_s=61)
    assert trio.current_time() == 61


async def test_a_wait_can_be_cancelled(scene: Scene) -> None:
    scene.plan(DropAt(HALF), Busy(503, 50))
    with trio.move_on_at(20):
        await scene.fetch()
    assert trio.current_time() == 20
    assert sorted(scene.files) == [PART, RECORD]
    await scene.origin.wait_no_connections()


# Many downloads from one host.


async def test_a_dead_host_is_not_hammered_by_many_downloads(scene: Scene) -> None:
    scene.plan(then=Busy())
    notes: list[str] = []

    async def one(number: int) -> None:
        error = await scene.fails(HttpStatusError, "503", f"/{number}")
        notes.extend(getattr(error, "__notes__", []))

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)
    # Each has one attempt, and all together have the 99 retries of one host.
    assert len(scene.requests()) == 200 + 99
    assert any("too much has failed at origin.test" in note for note in notes)
    scene.plan()
    await scene.fetch()


async def test_a_host_that_delivers_has_its_retries_back(scene: Scene) -> None:
    for number in range(60):
        scene.plan(Busy(), Busy(), Busy())
        await scene.fetch(f"/{number}", retries=3)


# Limits of time and rate.


@pytest.mark.parametrize("options", [{}, {"connections": 1}, {"min_segment_size": 1000}])
async def test_silence_ends_after_its_limit(scene: Scene, options: Any) -> None:
    scene.plan(then=Stall(HALF))
    await scene.fails(StalledError, "30 s", retries=0, **options)
    assert trio.current_time() == pytest.approx(30, abs=6)
    assert scene.files[PART] == BODY[:HALF]


async def test_a_header_that_does_not_come_ends_after_its_limit(scene: Scene) -> None:
    scene.plan(then=HeaderStops())
    await scene.fails(DownloadTimeoutError, "header", retries=1, timeout_s=10)
    assert trio.current_time() == 20


async def test_steady_but_slow_is_no_silence(scene: Scene) -> None:
    scene.plan(then=Trickle(100, 500))
    await scene.delivers(connections=1)
    assert trio.current_time() == 1000


async def test_slower_than_the_user_likes_is_an_error_that_may_pass(scene: Scene) -> None:
    scene.plan(Trickle(500, 500))
    await scene.delivers(connections=1, min_rate_bytes_per_s=1000)
    first, second = scene.requests()
    assert first.range is None
    # It was given up within the window, and what it brought was kept.
    assert second.range is not None
    assert 10_000 <= second.range[0] <= 20_000
    assert second.at_s <= 31


@pytest.mark.parametrize("connections", [1, 8])
async def test_slow_attempts_are_counted_although_they_bring_bytes(scene: Scene, connections: int) -> None:
    scene.plan(then=Trickle(100, 100), most=1)
    await scene.fails(TooSlowError, "1000", connections=connections, min_rate_bytes_per_s=1000, retries=2)
    assert trio.current_time() < 200
    assert sorted(scene.files) == [PART, RECORD]


@pytest.mark.parametrize("options", [{"connections": 1}, {"min_segment_size": 1000}, {"min_rate_bytes_per_s": 9000}])
async def test_the_rate_is_limited_however_many_connections_there_are(scene: Scene, options: Any) -> None:
    scene.plan(then=Trickle(20_000, 1000))
    await scene.delivers(rate_limit_bytes_per_s=10_000, **options)
    assert 9.5 <= trio.current_time() <= 10.5


async def test_a_failure_of_the_last_byte_costs_no_more_than_that_byte(scene: Scene) -> None:
    scene.plan(Answer(_all_but_one))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={LAST}-{LAST}"]


def _all_but_one(request: Request, resource: Resource) -> Iterator[Act]:
    right = honest_reply(request, resource)
    yield Send(right.head() + right.content[:-1])
    yield Close()


async def test_all_connections_together_have_to_be_fast_enough_and_none_of_them_alone(scene: Scene) -> None:
    # Eight of them bring 2400 bytes a second.
    scene.plan(then=Trickle(300, 100))
    await scene.delivers(min_segment_size=1000, min_rate_bytes_per_s=1000, retries=0)
    assert scene.origin.peak_connections > 4


async def test_if_all_connections_together_are_too_slow_the_attempt_ends(scene: Scene) -> None:
    scene.plan(then=Trickle(100, 100))
    await scene.fails(TooSlowError, "1000", min_segment_size=1000, min_rate_bytes_per_s=1000, retries=0)
    assert trio.current_time() == pytest.approx(30, abs=2)
    assert sorted(scene.files) == [PART, RECORD]
    await scene.origin.wait_no_connections()

"""Several sources of one file: in turn when nothing proves that they have the same, at once when something does."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.transfers import BODY, PART, RECORD, Answer, Scene, open_scene, sha256
from trio_dlm import (
    ChecksumMismatchError,
    HttpStatusError,
    IncompleteBodyError,
    InvalidUrlError,
    TargetExistsError,
    TooLargeError,
    TransferError,
)
from trio_dlm.testing.origin import (
    Busy,
    Close,
    CorruptedBody,
    DropAt,
    Fault,
    FaultPlan,
    Origin,
    RangeIgnored,
    Refuse,
    Request,
    Reset,
    Resource,
    Send,
    Serve,
    Stall,
    Trickle,
    honest_reply,
    open_memory_origin,
)

pytestmark = pytest.mark.virtual_time

LAST = len(BODY) - 1
HALF = len(BODY) // 2
OTHER = bytes(byte ^ 0xFF for byte in BODY)
SLOW = Trickle(20_000, 1000)
SMALL = 1000


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


@pytest.fixture
async def mirror(scene: Scene) -> AsyncGenerator[Origin, None]:
    """Another host, which has the same file under the same validators until told otherwise."""
    async with open_memory_origin(FaultPlan(), body=BODY, host="mirror.test") as opened:
        yield opened


def field_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def claiming(data: bytes, fault: Trickle = SLOW) -> Answer:
    """Serve slowly, with the digest of *data*."""

    def answer(request: Request, resource: Resource) -> Any:
        said = honest_reply(request, resource).saying(("Repr-Digest", field_of(data)))
        return said.acts(chunk_bytes=fault.chunk_bytes, gap_s=fault.chunk_bytes / fault.bytes_per_s)

    return Answer(answer)


# In turn.


async def test_while_the_first_source_delivers_no_other_is_asked(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=SLOW)
    await scene.delivers(mirrors=[mirror.url()], min_segment_size=SMALL)
    assert mirror.requests == []


@pytest.mark.parametrize("fault", [Refuse(404), Busy(), DropAt(0), Busy(503, 10_000), Stall(0)], ids=repr)
async def test_if_the_first_source_fails_the_next_one_is_asked(
    scene: Scene, mirror: Origin, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    scene.plan(then=fault)
    with caplog.at_level(logging.WARNING):
        await scene.delivers(mirrors=[mirror.url()], retries=1)
    assert [request.header("range") for request in mirror.requests] == ["bytes=0-"]
    assert "the next mirror is tried" in caplog.text


async def test_what_one_source_brought_is_not_joined_to_what_another_one_has(scene: Scene, mirror: Origin) -> None:
    # Both call it by the same ETag, which is a word of each host's own.
    mirror.resource.body = OTHER
    scene.plan(DropAt(HALF), then=Refuse(404))
    result = await scene.fetch(mirrors=[mirror.url()])
    assert scene.files == {result.path.name: OTHER}
    assert [request.header("range") for request in mirror.requests] == ["bytes=0-"]


async def test_equal_digests_let_a_mirror_go_on_from_what_another_source_brought(scene: Scene, mirror: Origin) -> None:
    digest = ("Repr-Digest", field_of(BODY))
    scene.plan(_dropping(digest), then=Refuse(404))
    mirror.resource.retag()
    mirror.plan = FaultPlan(then=claiming(BODY))
    await scene.delivers(mirrors=[mirror.url()])
    asked = [(request.header("range"), request.header("if-range")) for request in mirror.requests]
    assert asked[0] == ("bytes=0-", None)
    assert asked[-1] == (f"bytes={HALF}-{LAST}", '"v2"')


def _dropping(field: tuple[str, str]) -> Answer:
    def answer(request: Request, resource: Resource) -> Any:
        right = honest_reply(request, resource).saying(field)
        yield Send(right.head() + right.content[:HALF])
        yield Close()

    return Answer(answer)


async def test_with_the_users_digest_a_mirror_goes_on_from_what_another_source_brought(
    scene: Scene, mirror: Origin
) -> None:
    scene.plan(DropAt(HALF), then=Refuse(404))
    mirror.resource.retag()
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY))
    assert mirror.requests[-1].range == (HALF, LAST)


async def test_with_the_users_digest_a_wrong_mirror_is_found_out(scene: Scene, mirror: Origin) -> None:
    mirror.resource.body = OTHER
    scene.plan(DropAt(HALF), Refuse(404), then=Refuse(404))
    await scene.fails(HttpStatusError, "404", mirrors=[mirror.url()], checksum=sha256(BODY))
    assert scene.files == {}


async def test_the_digest_is_asked_of_each_source(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=CorruptedBody(9))
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY))
    assert len(mirror.requests) == 1


async def test_if_no_source_has_it_the_first_ones_error_is_told_with_those_of_the_others(
    scene: Scene, mirror: Origin
) -> None:
    scene.plan(then=Refuse(404))
    mirror.plan = FaultPlan(then=Refuse(410))
    error = await scene.fails(HttpStatusError, "404", mirrors=[mirror.url()])
    assert [note for note in error.__notes__ if "mirror.test" in note and "410" in note]


async def test_what_no_other_source_would_mend_is_told_at_once(scene: Scene, mirror: Origin) -> None:
    scene.directory.mkdir()
    (scene.directory / "file.bin").write_bytes(b"somebody's own")
    await scene.fails(TargetExistsError, None, mirrors=[mirror.url()])
    await scene.fails(TooLargeError, None, "/b", mirrors=[mirror.url()], max_bytes=10)
    assert mirror.requests == []


async def test_each_source_has_all_the_attempts(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=Busy())
    mirror.plan = FaultPlan((Busy(),) * 2)
    await scene.delivers(mirrors=[mirror.url()], retries=2)
    assert (len(scene.requests()), len(mirror.requests)) == (3, 3)


async def test_a_later_run_goes_on_with_the_first_source_from_what_a_mirror_brought_only_if_that_is_proven(
    scene: Scene, mirror: Origin
) -> None:
    mirror.resource.body = OTHER
    mirror.plan = FaultPlan(then=DropAt(HALF))
    scene.plan(then=Refuse(404))
    with pytest.raises(TransferError):
        await scene.fetch(mirrors=[mirror.url()], retries=0)
    assert sorted(scene.files) == [PART, RECORD]
    assert scene.files[PART] == OTHER[:HALF]
    scene.plan()
    await scene.delivers(BODY, mirrors=[mirror.url()])


async def test_a_mirror_that_is_no_url_is_refused_before_anything_is_asked(scene: Scene) -> None:
    with pytest.raises(InvalidUrlError):
        await scene.fetch(mirrors=["ftp://mirror.test/file.bin"])
    assert scene.requests() == []


async def test_headers_and_credentials_go_to_every_source_that_the_user_named(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=Refuse(404))
    await scene.delivers(mirrors=[mirror.url(userinfo="me:secret")], headers={"X-Key": "1"})
    assert scene.requests()[0].header("x-key") == mirror.requests[0].header("x-key") == "1"
    assert scene.requests()[0].header("authorization") is None
    assert mirror.requests[0].header("authorization") is not None


# At once.


async def test_with_the_users_digest_all_sources_deliver_at_once(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=SLOW)
    mirror.resource.retag()
    mirror.plan = FaultPlan(then=SLOW)
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY), min_segment_size=SMALL)
    assert mirror.peak_connections >= 1
    assert trio.current_time() < 4.0


async def test_equal_digests_let_all_sources_deliver_at_once(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=claiming(BODY))
    mirror.resource.retag()
    mirror.plan = FaultPlan(then=claiming(BODY))
    await scene.delivers(mirrors=[mirror.url()], min_segment_size=SMALL)
    assert len(mirror.requests) >= 1
    first, *others = mirror.requests
    assert first.header("if-range") is None
    assert {request.header("if-range") for request in others} <= {'"v2"'}


@pytest.mark.parametrize("plan", [SLOW, claiming(OTHER)], ids=["no digest", "another digest"])
async def test_a_mirror_that_does_not_prove_to_have_the_same_is_left_out(
    scene: Scene, mirror: Origin, plan: Fault
) -> None:
    mirror.resource.body = OTHER
    mirror.plan = FaultPlan(then=plan)
    scene.plan(then=claiming(BODY))
    await scene.delivers(mirrors=[mirror.url()], min_segment_size=SMALL, retries=0)
    assert len(mirror.requests) == 1


@pytest.mark.parametrize(
    "fault", [Refuse(404), Refuse(403), Busy(), DropAt(0), DropAt(700), RangeIgnored(), Stall(0)], ids=repr
)
async def test_a_mirror_that_fails_costs_nothing_but_itself(scene: Scene, mirror: Origin, fault: Fault) -> None:
    mirror.plan = FaultPlan(then=fault)
    scene.plan(then=SLOW)
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY), min_segment_size=SMALL, retries=0)
    assert None not in scene.asked()
    # Whose header has come has its half until it is let go; what is left of so small a file is not worth splitting.
    assert scene.origin.peak_connections > 1 or isinstance(fault, Stall)
    assert trio.current_time() < 12.0


async def test_a_mirror_of_another_length_is_left_out(scene: Scene, mirror: Origin) -> None:
    mirror.resource.change(by=10)
    mirror.plan = FaultPlan(then=SLOW)
    scene.plan(then=SLOW)
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY), min_segment_size=SMALL, retries=0)
    assert len(mirror.requests) == 1


async def test_a_mirror_with_other_bytes_is_found_out_by_the_users_digest(scene: Scene, mirror: Origin) -> None:
    mirror.resource.body = OTHER
    mirror.plan = FaultPlan(then=SLOW)
    scene.plan(then=SLOW)
    # What was joined is dropped, and the first source is asked for the whole in one stream.
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY), min_segment_size=SMALL)
    assert scene.asked()[-1] is None
    assert mirror.requests


async def test_if_the_first_source_breaks_off_a_mirror_that_delivers_brings_the_rest(
    scene: Scene, mirror: Origin
) -> None:
    scene.plan(Trickle(20_000, 1000), then=Refuse(404))
    scene.origin.plan = FaultPlan((_for_a_while(2.0),), then=Refuse(404))
    mirror.plan = FaultPlan(then=SLOW)
    await scene.delivers(mirrors=[mirror.url()], checksum=sha256(BODY), min_segment_size=SMALL, retries=0)


def _for_a_while(seconds: float) -> Answer:
    def answer(request: Request, resource: Resource) -> Any:
        for act in honest_reply(request, resource).acts(chunk_bytes=1000, gap_s=0.05):
            if trio.current_time() > seconds:
                yield Reset()
            yield act

    return Answer(answer)


async def test_many_mirrors_share_the_connections(scene: Scene) -> None:
    async with AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(
                open_memory_origin(FaultPlan(then=SLOW), body=BODY, host=f"mirror{number}.test")
            )
            for number in range(3)
        ]
        scene.plan(then=SLOW)
        await scene.delivers(
            mirrors=[other.url() for other in others], checksum=sha256(BODY), min_segment_size=SMALL, connections=4
        )
        assert all(other.requests for other in others)
        assert sum(other.peak_connections for other in others) <= 4


async def test_two_that_fail_in_turn_leave_what_can_be_gone_on_from(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=DropAt(HALF))
    mirror.plan = FaultPlan(then=Refuse(404))
    await scene.fails(IncompleteBodyError, None, mirrors=[mirror.url()], retries=0)
    assert scene.files[PART] == BODY[:HALF]
    scene.plan()
    await scene.delivers(mirrors=[mirror.url()])
    assert scene.asked() == [f"bytes={HALF}-{LAST}"]


async def test_a_mirror_with_the_wrong_digest_twice_is_the_end(scene: Scene, mirror: Origin) -> None:
    scene.plan(then=CorruptedBody(3))
    mirror.plan = FaultPlan(then=CorruptedBody(4))
    await scene.fails(ChecksumMismatchError, None, mirrors=[mirror.url()], checksum=sha256(BODY))
    assert scene.files == {}


async def test_serving_rightly_again_is_enough(scene: Scene, mirror: Origin) -> None:
    mirror.plan = FaultPlan((Busy(),), then=Serve())
    scene.plan(then=Refuse(404))
    await scene.delivers(mirrors=[mirror.url()])

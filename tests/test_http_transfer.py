"""One run against one server: what is asked, which replies are believed, and what one plain request settles."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.transfers import BODY, PART, RECORD, Answer, Scene, open_scene, said_too, sha256
from trio_dlm import HttpStatusError, IncompleteBodyError, TooLargeError, UnusableReplyError
from trio_dlm._options import FileOptionsFields
from trio_dlm.downloaders.http._asker import Source
from trio_dlm.downloaders.http.rules._address import parse_address
from trio_dlm.testing.origin import (
    Act,
    Close,
    DropAt,
    Fault,
    ForgetfulRange,
    JunkContentRange,
    Mislabelled,
    MultipartRange,
    NoContentRange,
    OddSuccess,
    OtherStart,
    OtherTotal,
    OtherUnit,
    PartUnasked,
    RangeIgnored,
    Redirect,
    Refuse,
    Request,
    Resource,
    Send,
    Serve,
    ServeUntilClose,
    ShorterRange,
    TwoContentRanges,
    UnknownTotal,
    Unsatisfiable,
    WholeWithContentRange,
    honest_reply,
)
from trio_dlm.testing.origin._reply import part_reply, selected_range, whole_reply

pytestmark = pytest.mark.virtual_time

MIB = 1024 * 1024
LAST = len(BODY) - 1
HALF = len(BODY) // 2


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


# Asking.


async def test_the_first_request_is_an_open_range_of_the_bytes_as_they_are(scene: Scene) -> None:
    await scene.delivers()
    (request,) = scene.requests()
    assert request.method == "GET"
    assert request.header("range") == "bytes=0-"
    assert request.header("if-range") is None
    assert request.header("accept-encoding") == "identity"


async def test_with_one_connection_no_range_is_asked_for(scene: Scene) -> None:
    await scene.delivers(connections=1)
    assert scene.asked() == [None]


async def test_a_206_with_all_of_it_is_as_good_as_a_200(scene: Scene) -> None:
    # Nothing proves what a later reply would be of, and nothing is to be joined.
    scene.plan(validators="none")
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]


async def test_a_server_that_knows_no_ranges_is_asked_once(scene: Scene) -> None:
    scene.plan(then=RangeIgnored())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]


async def test_later_requests_go_where_the_redirects_ended(scene: Scene) -> None:
    scene.plan(Redirect(), DropAt(HALF))
    await scene.delivers()
    first, second, third = scene.requests()
    assert first.path == "/file.bin"
    assert second.path == third.path != first.path
    assert third.range == (HALF, LAST)
    assert third.header("if-range") == '"v1"'


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_where_the_redirects_ended_before_is_no_longer_asked_when_it_says_no(scene: Scene, status: int) -> None:
    scene.plan(Redirect(), DropAt(HALF), Refuse(status), Redirect())
    await scene.delivers()
    paths = [request.path for request in scene.requests()]
    assert len(paths) == 5
    assert paths[1] == paths[2] != paths[0] == paths[3]
    assert paths[4] not in paths[:4]
    assert [request.range for request in scene.requests()][2:] == [(HALF, LAST)] * 3


async def test_an_expired_address_behind_a_redirect_is_an_error_if_the_way_there_leads_to_it_again(
    scene: Scene,
) -> None:
    scene.plan(Redirect(), DropAt(HALF), then=Refuse(404))
    await scene.fails(HttpStatusError, "404")
    # The last known address, then the user's own, and no more.
    assert len(scene.requests()) == 4


async def test_a_new_run_begins_at_the_address_that_the_user_gave(scene: Scene) -> None:
    scene.plan(Redirect(), DropAt(HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    scene.plan(Redirect())
    await scene.delivers()
    assert [request.path == "/file.bin" for request in scene.requests()] == [True, False]
    assert scene.asked() == [f"bytes={HALF}-{LAST}"] * 2


# Pieces.


async def test_the_rest_of_a_shorter_range_is_asked_for(scene: Scene) -> None:
    scene.plan(ShorterRange(40_000), ShorterRange(20_000))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes=60000-{LAST}", f"bytes=80000-{LAST}"]
    assert [request.header("if-range") for request in scene.requests()] == [None, '"v1"', '"v1"']
    assert scene.job is not None
    assert scene.job.progress.retries == 0


def pieces_of(size_bytes: int) -> Answer:
    """Serve no more than *size_bytes* of a range at a time."""

    def answer(request: Request, resource: Resource) -> Iterator[Act]:
        found = selected_range(request, resource)
        if found is None:
            return honest_reply(request, resource).acts()
        return part_reply(request, resource, found[0], min(found[1], found[0] + size_bytes - 1)).acts()

    return Answer(answer)


@pytest.mark.parametrize("connections", [2, 8])
async def test_a_server_that_sends_tiny_pieces_is_asked_for_the_whole(scene: Scene, connections: int) -> None:
    scene.plan(then=pieces_of(100))
    await scene.delivers(connections=connections, min_segment_size=1000)
    asked = scene.asked()
    assert asked[-1] is None
    assert asked.count(None) == 1
    assert len(asked) < 150


async def test_pieces_that_are_large_enough_are_taken_for_ever(tmp_path: Path) -> None:
    body = bytes(2) * 70_000 * 64
    async with open_scene(tmp_path, body=body) as scene:
        scene.plan(then=pieces_of(70_000))
        await scene.delivers()
        assert None not in scene.asked()
        assert len(scene.asked()) == 128


@pytest.mark.parametrize("resume", [True, False])
async def test_every_piece_counts_whether_or_not_it_is_kept_for_a_later_run(tmp_path: Path, resume: bool) -> None:
    body = bytes(2) * 70_000 * 64
    async with open_scene(tmp_path, body=body) as scene:
        scene.plan(then=pieces_of(70_000))
        await scene.delivers(resume=resume)
        scene.plan(then=DropAt(1_000_000))
        await scene.delivers(resume=resume, retries=1, overwrite=True)
        assert len(scene.requests()) == 9


async def test_a_total_that_is_not_told_is_taken_from_an_earlier_reply(scene: Scene) -> None:
    scene.plan(DropAt(HALF), UnknownTotal())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}"]


async def test_a_total_that_nobody_told_proves_no_end(scene: Scene) -> None:
    scene.plan(UnknownTotal())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", None]


# What is in doubt is asked for once more, plainly.


def stated(fault: Fault) -> str:
    # A function has no name of its own that is the same in every process.
    return repr(fault).partition(" at 0x")[0]


@pytest.mark.parametrize(
    "fault",
    [
        OtherStart(),
        Mislabelled(),
        OtherTotal(),
        OtherTotal(-1),
        OtherUnit(),
        NoContentRange(),
        JunkContentRange(),
        TwoContentRanges(),
        MultipartRange(),
        WholeWithContentRange(),
        ForgetfulRange(),
    ],
    ids=stated,
)
async def test_a_ranged_reply_that_contradicts_itself_the_request_or_the_version_is_not_used(
    scene: Scene, fault: Any
) -> None:
    scene.plan(DropAt(HALF), fault)
    await scene.delivers()
    asked = [(request.header("range"), request.header("if-range")) for request in scene.requests()]
    assert asked == [("bytes=0-", None), (f"bytes={HALF}-{LAST}", '"v1"'), (None, None)]


@pytest.mark.parametrize(
    "fault",
    [
        OtherUnit(),
        NoContentRange(),
        JunkContentRange(),
        TwoContentRanges(),
        MultipartRange(),
        OtherStart(),
        OtherTotal(-1),
        said_too(("Content-Length", "5")),
        *(Refuse(status) for status in (400, 403, 405, 412, 501)),
        Unsatisfiable(),
    ],
    ids=stated,
)
async def test_where_the_first_ranged_request_goes_wrong_the_whole_is_asked_for(scene: Scene, fault: Any) -> None:
    scene.plan(fault)
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", None]
    assert scene.requests()[1].header("if-range") is None


async def test_one_plain_request_is_all_there_is_in_a_run(scene: Scene) -> None:
    scene.plan(then=Refuse(403))
    await scene.fails(HttpStatusError, "403")
    assert scene.asked() == ["bytes=0-", None]


async def test_the_plain_request_is_tried_again_like_any_other(scene: Scene) -> None:
    scene.plan(Refuse(403), DropAt(HALF), then=Serve())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", None, None]


async def test_a_part_that_nobody_asked_for_is_refused(scene: Scene) -> None:
    scene.plan(then=PartUnasked(10))
    await scene.fails(UnusableReplyError, "206", connections=1)
    assert scene.asked() == [None]
    assert scene.files == {}


async def test_with_one_connection_a_403_is_about_the_file(scene: Scene) -> None:
    scene.plan(Refuse(403))
    await scene.fails(HttpStatusError, "403", connections=1)
    assert scene.asked() == [None]


async def test_an_empty_file_is_one(scene: Scene) -> None:
    scene.origin.resource.change(by=-len(BODY))
    scene.plan()
    # To an empty file there is no range: an honest server says 416, and 200 to a plain request.
    await scene.delivers(b"")
    assert scene.asked() == ["bytes=0-", None]


async def test_a_416_is_never_taken_for_the_file(scene: Scene) -> None:
    scene.plan(then=Unsatisfiable())
    await scene.fails(HttpStatusError, "416")
    assert scene.files == {}
    assert scene.asked() == ["bytes=0-", None]


@pytest.mark.parametrize("status", [201, 202, 204, 205])
async def test_other_successes_deliver_nothing(scene: Scene, status: int) -> None:
    scene.plan(then=OddSuccess(status))
    await scene.fails(HttpStatusError, str(status))
    assert scene.files == {}
    assert len(scene.asked()) == 1


async def test_a_203_is_the_file_and_is_not_gone_on_from(scene: Scene) -> None:
    scene.plan(
        Answer(lambda request, resource: _proxied(request, resource, stop_at=HALF)),
        Answer(_proxied),
    )
    await scene.fails(IncompleteBodyError, retries=0)
    assert scene.files == {}
    await scene.delivers()


def _proxied(request: Request, resource: Resource, *, stop_at: int | None = None) -> Iterator[Act]:
    right = honest_reply(request, resource).without("Content-Range")
    said = right.head().replace(b"206 Partial Content", b"203 Non-Authoritative Information")
    yield Send(said + right.content[:stop_at])
    yield Close()


async def test_a_file_of_unknown_length_over_plain_http_ends_with_its_connection(scene: Scene) -> None:
    scene.plan(then=ServeUntilClose())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]


def chunked(*, stop_at: int | None = None) -> Answer:
    """Serve all of it in chunks, so that its length shows at the end only, or break off after *stop_at* bytes."""

    def answer(request: Request, resource: Resource) -> Iterator[Act]:
        right = whole_reply(request, resource)
        data = right.content[:stop_at]
        yield Send(right.without("Content-Length").saying(("Transfer-Encoding", "chunked")).head())
        yield Send(b"%x\r\n%b\r\n" % (len(data), data))
        yield Close() if stop_at is not None else Send(b"0\r\n\r\n")

    return Answer(answer)


async def test_a_file_of_unknown_length_is_gone_on_from(scene: Scene) -> None:
    scene.plan(chunked(stop_at=HALF))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-"]
    assert scene.requests()[1].header("if-range") == '"v1"'


async def test_a_file_of_unknown_length_may_tell_its_length_later(scene: Scene) -> None:
    scene.plan(chunked(stop_at=1000), DropAt(1000))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", "bytes=1000-", f"bytes=2000-{LAST}"]


@pytest.mark.parametrize("again", [RangeIgnored(), chunked()], ids=["with its length", "in chunks"])
async def test_a_file_that_is_shorter_than_what_came_of_the_same_version_is_fetched_anew(
    scene: Scene, again: Any
) -> None:
    scene.plan(chunked(stop_at=HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    scene.origin.resource.change(by=10 - HALF - HALF // 2, tell=False)
    scene.plan(again)
    await scene.delivers()


# The very version again, whole, although much of it is held.


@pytest.fixture
async def large(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads", body=bytes(range(256)) * 4 * 1024 * 20) as opened:
        opened.plan(DropAt(17 * MIB))
        await opened.fails(IncompleteBodyError, retries=0)
        assert sorted(opened.files) == [PART, RECORD]
        yield opened


async def test_when_much_is_held_and_all_comes_again_the_rest_is_asked_for_once_with_if_match(large: Scene) -> None:
    large.plan(RangeIgnored())
    await large.delivers()
    first, second = large.requests()
    assert (first.header("if-range"), first.header("if-match")) == ('"v1"', None)
    assert (second.header("if-range"), second.header("if-match")) == (None, '"v1"')
    assert first.range == second.range == (17 * MIB, 20 * MIB - 1)


async def test_if_all_comes_again_also_then_it_is_taken(large: Scene) -> None:
    large.plan(RangeIgnored(), RangeIgnored())
    await large.delivers()
    assert len(large.requests()) == 2


async def test_a_412_to_if_match_is_settled_by_the_plain_request(large: Scene) -> None:
    large.plan(RangeIgnored(), Refuse(412))
    await large.delivers()
    assert [request.header("range") for request in large.requests()][2] is None


async def test_another_version_is_taken_at_once_however_much_is_held(large: Scene) -> None:
    large.origin.resource.change(by=1)
    large.plan()
    await large.delivers()
    assert len(large.requests()) == 1


# Limits.


async def test_more_than_max_bytes_is_refused_whatever_delivers_it(scene: Scene) -> None:
    variants: list[FileOptionsFields] = [
        {"max_bytes": LAST},
        {"max_bytes": LAST, "connections": 1},
        {"max_bytes": LAST, "min_segment_size": 1000},
    ]
    for options in variants:
        scene.plan()
        await scene.fails(TooLargeError, "announced 100000", **options)
        assert len(scene.asked()) == 1
        assert scene.files == {}
    await scene.delivers(max_bytes=len(BODY))


async def test_what_is_received_again_and_again_has_an_end(tmp_path: Path) -> None:
    body = bytes(5 * MIB)
    async with open_scene(tmp_path, body=body) as scene:
        # Every reply is of another version, so that nothing can be joined, and none comes to its end.
        scene.plan(then=Answer(_another_version))
        await scene.fails(UnusableReplyError, "were received for a file of", retries=1000)
        received = len(scene.requests()) * (5 * MIB - 1)
        assert (64 + 5) * MIB < received < (64 + 15) * MIB
        assert scene.job is not None
        assert scene.job.progress.retries == len(scene.requests()) - 1


def _another_version(request: Request, resource: Resource) -> Iterator[Act]:
    resource.retag()
    right = honest_reply(request, resource)
    yield Send(right.head() + right.content[:-1])
    yield Close()


async def test_the_users_digest_joins_what_has_no_validator(scene: Scene) -> None:
    scene.plan(DropAt(HALF), validators="none")
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}"]


async def test_a_source_shows_no_secrets() -> None:
    source = Source(parse_address("http://user:hunter2@origin.test/file.bin?token=hunter2"))
    assert "origin.test/file.bin" in repr(source)
    assert "hunter2" not in repr(source)

"""Digests, the user's and the server's, and bodies that come in a coded form, from the first request to the file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.transfers import BODY, NAME, PART, RECORD, Answer, Scene, open_scene, said_too, sha256
from trio_dlm import (
    ChecksumMismatchError,
    DownloadPhase,
    IncompleteBodyError,
    TargetExistsError,
    TooLargeError,
    UnusableReplyError,
)
from trio_dlm.testing.origin import (
    Close,
    CorruptedBody,
    DropAt,
    GzipCorrupt,
    GzipCut,
    Gzipped,
    JunkDigest,
    OtherBytes,
    Refuse,
    Reply,
    Request,
    Resource,
    RightDigest,
    Send,
    Serve,
    Trickle,
    UnknownCoding,
    WrongDigest,
    honest_reply,
)

pytestmark = pytest.mark.virtual_time

LAST = len(BODY) - 1
HALF = len(BODY) // 2


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


def field_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


WRONG = field_of(b"something else")


# The user's.


async def test_the_users_digest_is_compared_and_told(scene: Scene) -> None:
    result = await scene.delivers(checksum=sha256(BODY).upper().replace("SHA256", "sha256"))
    assert result.checksum is not None
    assert result.checksum.lower() == sha256(BODY)


async def test_bytes_without_the_users_digest_are_not_kept_and_not_gone_on_from(scene: Scene) -> None:
    scene.plan(then=CorruptedBody(5))
    await scene.fails(ChecksumMismatchError, "expected", checksum=sha256(BODY))
    assert scene.files == {}
    # It came in one response, so that asking again would bring the same.
    assert scene.asked() == ["bytes=0-"]


async def test_what_was_joined_from_several_replies_and_is_wrong_is_fetched_once_more_in_one_stream(
    scene: Scene,
) -> None:
    scene.plan(DropAt(HALF), OtherBytes())
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}", None]


async def test_what_an_earlier_run_left_and_is_wrong_is_fetched_once_more_in_one_stream(scene: Scene) -> None:
    scene.plan(DropAt(HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    with (scene.directory / PART).open("r+b") as part:
        part.write(b"flipped")
    scene.plan()
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == [f"bytes={HALF}-{LAST}", None]


async def test_a_second_mismatch_is_the_end_and_leaves_nothing_to_go_on_from(scene: Scene) -> None:
    scene.plan(DropAt(HALF), OtherBytes(), CorruptedBody(7))
    await scene.fails(ChecksumMismatchError, checksum=sha256(BODY))
    assert len(scene.asked()) == 3
    assert scene.files == {}
    scene.plan()
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == ["bytes=0-"]


async def test_a_whole_part_of_an_earlier_run_is_verified_too(scene: Scene) -> None:
    def take_its_name() -> None:
        assert scene.job is not None
        if scene.job.progress.received_bytes == len(BODY):
            (scene.directory / NAME).write_bytes(b"somebody's own")

    with pytest.raises(TargetExistsError):
        await scene.downloader.download(scene.job_for(changed=take_its_name))
    (scene.directory / NAME).unlink()
    with (scene.directory / PART).open("r+b") as part:
        part.write(b"flipped")
    scene.plan()
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == [None]


async def test_every_connection_feeds_the_users_digest(scene: Scene) -> None:
    scene.plan(then=Trickle(20_000, 1000))
    await scene.delivers(checksum=sha256(BODY), min_segment_size=1000)
    assert len(scene.asked()) > 3
    scene.plan(*[Trickle(20_000, 1000)] * 3, OtherBytes(), then=Trickle(20_000, 1000))
    await scene.fails(ChecksumMismatchError, checksum=sha256(b""), overwrite=True, min_segment_size=1000)
    assert scene.asked().count(None) == 1


# The server's, of the whole.


@pytest.mark.parametrize("field", ["Repr-Digest", "Digest", "Content-Digest", "Content-MD5"])
async def test_a_right_digest_of_the_servers_changes_nothing(scene: Scene, field: Any) -> None:
    scene.plan(RightDigest(field), DropAt(HALF))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]


@pytest.mark.parametrize("field", ["Repr-Digest", "Digest", "Content-Digest", "Content-MD5"])
async def test_a_wrong_digest_of_the_servers_is_final_for_a_single_reply(scene: Scene, field: Any) -> None:
    scene.plan(then=WrongDigest(field))
    await scene.fails(ChecksumMismatchError)
    assert scene.asked() == ["bytes=0-"]
    assert scene.files == {}


@pytest.mark.parametrize("text", ["sha-256=?", "unheard-of=:YWJj:", "sha-256=:YWJj:, sha-256=:", ""])
async def test_a_digest_that_cannot_be_read_is_none(scene: Scene, text: str) -> None:
    scene.plan(then=JunkDigest("Repr-Digest", text))
    await scene.delivers()


async def test_a_wrong_digest_of_the_whole_of_several_replies_is_settled_by_one_stream(scene: Scene) -> None:
    scene.plan(repr_digest(WRONG, stop_at=HALF), repr_digest(WRONG))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}", None]


async def test_a_wrong_digest_of_the_whole_also_in_one_stream_is_the_end(scene: Scene) -> None:
    scene.plan(repr_digest(WRONG, stop_at=HALF), then=repr_digest(WRONG))
    await scene.fails(ChecksumMismatchError)
    assert len(scene.asked()) == 3
    assert scene.files == {}


async def test_a_digest_of_the_whole_is_remembered_from_run_to_run(scene: Scene) -> None:
    scene.plan(repr_digest(field_of(BODY), stop_at=HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    with (scene.directory / PART).open("r+b") as part:
        part.write(b"flipped")
    scene.plan()
    await scene.delivers()
    assert scene.asked() == [f"bytes={HALF}-{LAST}", None]


async def test_a_digest_of_the_whole_that_differs_from_the_one_before_joins_nothing(scene: Scene) -> None:
    scene.plan(repr_digest(field_of(BODY), stop_at=HALF), repr_digest(WRONG))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}", None]


@pytest.mark.parametrize("field", ["Repr-Digest", "Content-Digest"])
async def test_if_the_users_digest_holds_the_servers_is_only_warned_of(
    scene: Scene, caplog: pytest.LogCaptureFixture, field: Any
) -> None:
    scene.plan(then=WrongDigest(field))
    with caplog.at_level(logging.WARNING):
        await scene.delivers(checksum=sha256(BODY))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the checksum that was given holds" in caplog.text
    assert scene.asked() == ["bytes=0-"]


def repr_digest(value: str, *, stop_at: int | None = None) -> Answer:
    return stopping(lambda reply: reply.saying(("Repr-Digest", value)), stop_at=stop_at)


def stopping(change: Callable[[Reply], Reply], *, stop_at: int | None = None) -> Answer:
    """Serve what *change* makes of the right reply, and break off after *stop_at* bytes."""

    def answer(request: Request, resource: Resource) -> Any:
        changed = change(honest_reply(request, resource))
        yield Send(changed.head() + changed.content[:stop_at])
        if stop_at is not None:
            yield Close()

    return Answer(answer)


# The server's, of one message.


async def test_a_wrong_digest_of_one_segments_content_is_settled_by_one_stream(scene: Scene) -> None:
    scene.plan(DropAt(HALF), WrongDigest("Content-Digest"))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}", None]


async def test_a_digest_of_content_is_of_that_message_and_not_of_the_file(scene: Scene) -> None:
    scene.plan(DropAt(HALF), RightDigest("Content-Digest"))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", f"bytes={HALF}-{LAST}"]


async def test_the_digest_of_a_part_that_was_not_read_to_its_end_says_nothing(scene: Scene) -> None:
    scene.plan(DropAt(1000))
    await scene.fails(IncompleteBodyError, retries=0)
    # The reply is of all the rest, and others fetch most of that.
    scene.plan(slowly(lambda reply: reply.saying(("Content-Digest", WRONG))), then=Trickle(20_000, 1000))
    await scene.delivers(min_segment_size=1000)
    assert None not in scene.asked()
    assert len(scene.asked()) > 2


async def test_the_digest_of_the_content_of_a_whole_reply_is_one_of_the_file(scene: Scene) -> None:
    # Others fetch most of this one too, and bring what it would have brought.
    said = slowly(lambda reply: reply.saying(("Content-Digest", field_of(reply.body))))
    scene.plan(said, then=Trickle(20_000, 1000))
    await scene.delivers(min_segment_size=1000)
    assert None not in scene.asked()
    said = slowly(lambda reply: reply.saying(("Content-Digest", WRONG)))
    scene.plan(said, then=Trickle(20_000, 1000))
    await scene.delivers(path="/file.bin", min_segment_size=1000, overwrite=True)
    assert scene.asked()[-1] is None


def slowly(change: Callable[[Reply], Reply]) -> Answer:
    """Serve what *change* makes of the right reply, 20 000 bytes a second."""
    return Answer(lambda request, resource: change(honest_reply(request, resource)).acts(chunk_bytes=1000, gap_s=0.05))


async def test_a_wrong_digest_on_a_further_connection_is_settled_by_one_stream(scene: Scene) -> None:
    slow = Trickle(20_000, 1000)
    scene.plan(slow, WrongDigest("Content-Digest"), then=slow)
    await scene.delivers(min_segment_size=1000)
    assert scene.asked().count(None) == 1
    assert scene.asked()[-1] is None


# Codings.


@pytest.mark.parametrize("options", [{}, {"connections": 1}, {"max_bytes": len(BODY)}, {"checksum": sha256(BODY)}])
async def test_a_body_that_comes_compressed_is_decoded(scene: Scene, options: Any) -> None:
    scene.plan(then=Gzipped())
    await scene.delivers(**options)
    assert len(scene.asked()) == 1


async def test_what_was_decoded_by_an_earlier_run_is_not_gone_on_from(scene: Scene) -> None:
    def take_its_name() -> None:
        assert scene.job is not None
        if scene.job.progress.phase is DownloadPhase.VERIFYING:
            (scene.directory / NAME).write_bytes(b"somebody's own")

    scene.plan(then=Gzipped())
    with pytest.raises(TargetExistsError):
        await scene.downloader.download(scene.job_for(changed=take_its_name, checksum=sha256(BODY)))
    (scene.directory / NAME).unlink()
    scene.plan()
    await scene.delivers(checksum=sha256(BODY))
    assert scene.asked() == ["bytes=0-"]


async def test_max_bytes_holds_for_what_is_decoded(scene: Scene) -> None:
    scene.plan(then=Gzipped())
    await scene.fails(TooLargeError, "more has arrived", max_bytes=LAST)
    assert scene.files == {}
    assert len(scene.asked()) == 1


async def test_a_small_body_that_stands_for_a_very_large_one_is_stopped_in_time(tmp_path: Path) -> None:
    async with open_scene(tmp_path, body=bytes(50_000_000)) as scene:
        scene.plan(then=Gzipped())
        await scene.fails(TooLargeError, None, max_bytes=2_000_000)
        assert scene.files == {}


@pytest.mark.parametrize("fault", [GzipCut(), GzipCut(20), GzipCorrupt(), GzipCorrupt(100)], ids=repr)
async def test_a_compressed_body_counts_only_if_its_own_end_is_right(scene: Scene, fault: Any) -> None:
    scene.plan(fault)
    await scene.delivers(retries=1)
    assert len(scene.asked()) == 2
    scene.plan(then=fault)
    await scene.fails(IncompleteBodyError, "cannot be decoded", "/b", retries=2)
    assert len(scene.asked()) == 3
    assert sorted(scene.files) == [NAME]


async def test_a_compressed_body_that_breaks_off_leaves_nothing(scene: Scene) -> None:
    scene.plan(stopping(gzipped, stop_at=50))
    await scene.fails(IncompleteBodyError, retries=0)
    assert scene.files == {}
    scene.plan(stopping(gzipped, stop_at=50), stopping(gzipped))
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", "bytes=0-"]


def gzipped(reply: Reply) -> Reply:
    """Make of a right reply with all of the file one with its coded form, as a server does that compresses."""
    coded = reply.without("Content-Range", "ETag").carrying(gzip.compress(reply.body, mtime=0))
    return replace(coded.saying(("Content-Encoding", "gzip"), ("ETag", '"gz"')), status=200, phrase="OK")


async def test_a_coding_that_nobody_knows_is_refused(scene: Scene) -> None:
    scene.plan(then=UnknownCoding())
    await scene.fails(UnusableReplyError, "Content-Encoding 'turned'")
    assert scene.files == {}


async def test_a_file_that_is_compressed_itself_is_kept_as_it_came(scene: Scene) -> None:
    packed = gzip.compress(BODY, mtime=0)
    scene.origin.resource.body = packed
    scene.plan(then=said_too(("Content-Encoding", "gzip")))
    await scene.delivers(packed, path="/file.tar.gz")


async def test_a_file_that_is_compressed_itself_is_gone_on_from(scene: Scene) -> None:
    packed = gzip.compress(BODY, mtime=0)
    scene.origin.resource.body = packed
    coded = said_too(("Content-Encoding", "gzip"))
    scene.plan(stopping(lambda reply: reply.saying(("Content-Encoding", "gzip")), stop_at=100), then=coded)
    await scene.delivers(packed, path="/file.tar.gz")
    assert scene.asked() == ["bytes=0-", f"bytes=100-{len(packed) - 1}"]


async def test_what_is_left_of_the_file_is_not_joined_to_a_coded_reply(scene: Scene) -> None:
    scene.plan(DropAt(HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    assert sorted(scene.files) == [PART, RECORD]
    # As a server that compresses on its way out does: the range is of the coded form.
    scene.plan(said_too(("Content-Encoding", "gzip")))
    await scene.delivers()
    assert scene.asked() == [f"bytes={HALF}-{LAST}", None]


async def test_the_servers_digest_of_a_coded_body_is_of_the_coded_bytes(scene: Scene) -> None:
    packed = gzip.compress(BODY, mtime=0)
    for value, is_right in ((field_of(packed), True), (field_of(BODY), False)):
        scene.plan(then=stopping(lambda reply, value=value: gzipped(reply).saying(("Repr-Digest", value))))  # type: ignore[misc]
        if is_right:
            await scene.delivers()
        else:
            await scene.fails(ChecksumMismatchError, None, "/b")
            await scene.fetch("/c", checksum=sha256(BODY))


async def test_refusals_of_a_coded_file_are_those_of_any_other(scene: Scene) -> None:
    scene.plan(Refuse(403), Gzipped(), then=Serve())
    await scene.delivers()
    assert scene.asked() == ["bytes=0-", None]

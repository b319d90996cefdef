"""Runs in a row in one directory: what a later one takes from an earlier one, and what it must not take."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.transfers import BODY, NAME, PART, RECORD, Answer, Scene, open_scene, sha256
from trio_dlm import HttpStatusError, IncompleteBodyError, TargetExistsError
from trio_dlm.testing.origin import (
    Act,
    Close,
    DropAt,
    ForgetfulRange,
    RangeIgnored,
    Refuse,
    Request,
    Resource,
    Send,
    Stall,
    Unsatisfiable,
    honest_reply,
)

pytestmark = pytest.mark.virtual_time

HALF = len(BODY) // 2
REST = f"bytes={HALF}-{len(BODY) - 1}"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with open_scene(tmp_path / "downloads") as opened:
        yield opened


async def stop_halfway(scene: Scene, **options: Any) -> None:
    """Have a run end halfway, and look at what it leaves."""
    scene.plan(DropAt(HALF))
    await scene.fails(IncompleteBodyError, retries=0, **options)
    assert sorted(scene.files) == [PART, RECORD]
    assert scene.files[PART] == BODY[:HALF]


@pytest.mark.parametrize("options", [{}, {"filename": NAME}, {"connections": 1}, {"durability": "power"}])
async def test_a_later_run_asks_for_what_is_missing_only(scene: Scene, options: Any) -> None:
    await stop_halfway(scene, **options)
    scene.plan()
    await scene.delivers(BODY, **options)
    assert scene.asked() == [REST]
    assert scene.requests()[0].header("if-range") == '"v1"'
    assert scene.job is not None
    assert scene.job.progress.received_bytes == len(BODY)


async def test_a_run_that_is_cancelled_leaves_what_arrived(scene: Scene) -> None:
    scene.plan(Stall(HALF))
    await scene.leaves(HALF)
    assert scene.files[PART] == BODY[:HALF]
    assert scene.job is not None
    assert scene.job.can_resume
    scene.plan()
    await scene.delivers(BODY)
    assert scene.asked() == [REST]


async def test_many_runs_of_which_each_brings_a_little_bring_the_file(scene: Scene) -> None:
    scene.plan(then=DropAt(30_000))
    for _ in range(3):
        await scene.fails(IncompleteBodyError, retries=0)
    await scene.delivers(BODY, retries=0)
    assert [request.range for request in scene.requests()] == [
        (0, None),
        (30_000, 99_999),
        (60_000, 99_999),
        (90_000, 99_999),
    ]


async def test_a_last_modified_that_is_strong_will_do(scene: Scene) -> None:
    scene.plan(validators="date")
    await stop_halfway(scene)
    scene.plan()
    await scene.delivers(BODY)
    assert scene.asked() == [REST]
    assert scene.requests()[0].header("if-range") == scene.origin.resource.last_modified


@pytest.mark.parametrize("validators", ["weak", "none"])
async def test_what_nothing_proves_is_not_kept(scene: Scene, validators: Any) -> None:
    scene.plan(DropAt(HALF), validators=validators)
    await scene.fails(IncompleteBodyError, retries=0)
    assert scene.files == {}
    assert scene.job is not None
    assert not scene.job.can_resume


async def test_with_the_users_digest_no_validator_is_needed(scene: Scene) -> None:
    scene.plan(validators="none")
    await stop_halfway(scene, checksum=sha256(BODY))
    scene.plan()
    await scene.delivers(BODY, checksum=sha256(BODY))
    assert scene.asked() == [REST]
    assert scene.requests()[0].header("if-range") is None


async def test_without_resume_nothing_is_kept_and_nothing_is_gone_on_from(scene: Scene) -> None:
    scene.plan(DropAt(HALF))
    await scene.fails(IncompleteBodyError, retries=0, resume=False)
    assert scene.files == {}
    await stop_halfway(scene)
    scene.plan()
    await scene.delivers(BODY, resume=False)
    assert scene.asked() == ["bytes=0-"]


async def test_a_file_that_has_changed_in_between_is_fetched_from_its_beginning(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.origin.resource.change(by=10)
    scene.plan()
    await scene.delivers()
    # The reply to the ranged request is the new version, whole; it is not asked for again.
    assert scene.asked() == [REST]


async def test_a_file_that_has_changed_in_between_and_no_longer_has_a_validator_is_fetched_anew(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.origin.resource.change(by=-10)
    scene.plan(validators="none")
    await scene.delivers()
    assert len(scene.asked()) == 1


async def test_a_part_without_its_validator_is_not_joined(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.plan(ForgetfulRange())
    await scene.delivers(BODY)
    assert scene.asked() == [REST, None]


async def test_a_part_under_the_old_validator_of_another_length_is_not_joined(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.origin.resource.change(by=10, tell=False)
    scene.plan()
    await scene.delivers()
    assert scene.asked() == [REST, None]


async def test_the_whole_under_the_old_validator_of_another_length_is_not_believed(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.origin.resource.change(by=10, tell=False)
    scene.plan(RangeIgnored())
    await scene.delivers()
    assert scene.asked() == [REST, None]


async def test_the_whole_instead_of_the_rest_is_taken(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.plan(RangeIgnored())
    await scene.delivers(BODY)
    assert scene.asked() == [REST]


@pytest.mark.parametrize("status", [400, 403, 405, 412, 416, 501])
async def test_where_the_rest_is_refused_the_whole_is_asked_for(scene: Scene, status: int) -> None:
    await stop_halfway(scene)
    scene.plan(Unsatisfiable() if status == 416 else Refuse(status))
    await scene.delivers(BODY)
    assert scene.asked() == [REST, None]


async def test_a_file_that_has_shrunk_to_nothing_is_empty(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.origin.resource.change(by=-len(BODY))
    # A server that looks at the range before it looks at If-Range.
    scene.plan(Unsatisfiable())
    await scene.delivers(b"")
    assert scene.asked() == [REST, None]


@pytest.mark.parametrize("status", [401, 404, 410, 500])
async def test_a_refusal_that_is_not_about_the_range_leaves_the_part(scene: Scene, status: int) -> None:
    await stop_halfway(scene)
    before = scene.files
    scene.plan(then=Refuse(status))
    await scene.fails(HttpStatusError, str(status), retries=1)
    assert scene.files == before
    scene.plan()
    await scene.delivers(BODY)
    assert scene.asked() == [REST]


async def test_the_part_of_another_url_is_neither_used_nor_destroyed(scene: Scene) -> None:
    await stop_halfway(scene)
    before = scene.files
    scene.plan()
    with pytest.raises(TargetExistsError):
        await scene.fetch("/other/file.bin")
    assert scene.files == before
    result = await scene.fetch("/other/file.bin", overwrite="unique")
    assert result.path.name == "file (1).bin"
    assert scene.files == {**before, "file (1).bin": BODY}
    assert scene.asked()[-1] == "bytes=0-"


async def test_overwrite_replaces_the_part_of_another_url(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.plan()
    result = await scene.fetch("/other/file.bin", overwrite=True)
    assert scene.files == {result.path.name: BODY}
    assert scene.asked() == ["bytes=0-"]


async def test_another_query_is_another_url(scene: Scene) -> None:
    await stop_halfway(scene)
    scene.plan()
    with pytest.raises(TargetExistsError):
        await scene.fetch(url=scene.origin.url(query="a=1"))


@pytest.mark.parametrize("filename", [None, NAME])
async def test_a_part_without_a_record_is_never_written_to(scene: Scene, filename: str | None) -> None:
    scene.directory.mkdir()
    (scene.directory / PART).write_bytes(b"somebody's own")
    scene.plan()
    await scene.fails(TargetExistsError, "file.bin.part", filename=filename)
    assert scene.files == {PART: b"somebody's own"}


@pytest.mark.parametrize(
    "damaged",
    [
        lambda raw: raw[:100],
        lambda raw: raw.replace(b"origin.test", b"origin.tset"),
        lambda _: b"",
        lambda _: b"{}\n",
    ],
)
async def test_a_part_whose_record_is_damaged_is_never_written_to(scene: Scene, damaged: Any) -> None:
    await stop_halfway(scene)
    record = scene.directory / RECORD
    record.write_bytes(damaged(record.read_bytes()))
    scene.plan()
    await scene.fails(TargetExistsError, "record")
    assert scene.files[PART] == BODY[:HALF]


@pytest.mark.parametrize(
    "damaged",
    [
        lambda raw: raw.replace(b"v1", b"v2"),
        lambda raw: raw.replace(b" 0 50000", b" 0 49999"),
        lambda raw: raw[: raw.index(b"\n") + 50],
        lambda raw: raw[:-1],
    ],
)
async def test_what_the_record_does_not_prove_is_fetched_again(scene: Scene, damaged: Any) -> None:
    await stop_halfway(scene)
    record = scene.directory / RECORD
    raw = record.read_bytes()
    assert damaged(raw) != raw
    record.write_bytes(damaged(raw))
    scene.origin.resource.change()
    scene.plan()
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]


async def test_a_part_that_is_shorter_than_its_record_says_is_not_believed(scene: Scene) -> None:
    await stop_halfway(scene)
    (scene.directory / PART).write_bytes(BODY[: HALF - 1])
    scene.plan()
    with pytest.raises(TargetExistsError, match="record says"):
        await scene.fetch()


async def test_a_part_that_is_longer_than_its_record_says_loses_what_is_too_much(scene: Scene) -> None:
    await stop_halfway(scene)
    with (scene.directory / PART).open("ab") as part:
        part.write(b"of a hop whose record was lost")
    scene.plan()
    await scene.delivers(BODY)
    assert scene.asked() == [REST]


@pytest.mark.parametrize("options", [{}, {"filename": NAME}, {"checksum": sha256(BODY)}])
async def test_a_part_that_is_whole_is_published_without_a_request(scene: Scene, options: Any) -> None:
    def take_its_name() -> None:
        assert scene.job is not None
        if scene.job.progress.received_bytes == len(BODY):
            (scene.directory / NAME).write_bytes(b"somebody's own")

    with pytest.raises(TargetExistsError):
        await scene.downloader.download(scene.job_for(changed=take_its_name, **options))
    assert sorted(scene.files) == [NAME, PART, RECORD]
    (scene.directory / NAME).unlink()
    scene.plan()
    await scene.delivers(BODY, **options)
    assert scene.asked() == []


@pytest.mark.parametrize("filename", [None, NAME])
async def test_two_runs_for_one_name_do_not_mix(scene: Scene, filename: str | None) -> None:
    scene.plan(Stall(HALF))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.leaves, len(BODY) + 1)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TargetExistsError, match="another download"):
            await scene.downloader.download(scene.job_for(filename=filename))
        nursery.cancel_scope.cancel()
    assert scene.files[PART] == BODY[:HALF]
    scene.plan()
    await scene.delivers(BODY)


def named(name: str, *, stop_at: int | None = None) -> Answer:
    """Serve under *name*, and break off after *stop_at* bytes."""

    def answer(request: Request, resource: Resource) -> Iterator[Act]:
        right = honest_reply(request, resource).saying(("Content-Disposition", f'attachment; filename="{name}"'))
        yield Send(right.head() + right.content[:stop_at])
        if stop_at is not None:
            yield Close()

    return Answer(answer)


async def test_the_part_of_a_name_that_the_server_gives_is_found_with_the_first_header(scene: Scene) -> None:
    scene.plan(named("named.iso", stop_at=HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    assert sorted(scene.files) == ["named.iso.part", "named.iso.part.json"]
    scene.plan(then=named("named.iso"))
    assert (await scene.delivers(BODY)).path.name == "named.iso"
    assert scene.asked() == ["bytes=0-", REST]


async def test_what_lies_under_the_name_of_the_url_is_left_alone_if_the_server_gives_another(scene: Scene) -> None:
    await stop_halfway(scene)
    before = scene.files
    scene.plan(then=named("named.iso"))
    result = await scene.fetch()
    assert scene.files == {**before, "named.iso": BODY}
    assert result.path.name == "named.iso"


async def test_a_new_version_under_another_name_leaves_the_part_of_the_old_one_alone(scene: Scene) -> None:
    await stop_halfway(scene)
    before = scene.files
    scene.origin.resource.change()
    scene.plan(then=named("named.iso"))
    await scene.fetch()
    assert scene.files == {**before, "named.iso": scene.origin.resource.body}
    assert scene.asked() == [REST]


async def test_the_part_of_a_name_that_the_server_gives_is_not_joined_to_what_has_no_validator(scene: Scene) -> None:
    scene.plan(named("named.iso", stop_at=HALF))
    await scene.fails(IncompleteBodyError, retries=0)
    scene.origin.resource.change()
    scene.plan(then=named("named.iso"), validators="none")
    await scene.delivers()
    assert scene.asked() == ["bytes=0-"]

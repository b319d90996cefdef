"""The file on disk: a part while it grows, the final name when it is whole, nothing otherwise."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.parts import (
    BODY,
    OLD,
    URL,
    VERSION,
    contents,
    digest_of,
    everything,
    fail,
    finish,
    leave_a_part,
    put,
    save,
    target,
)
from trio_dlm._errors import StorageError, TargetExistsError, TransferError
from trio_dlm._options import Checksum, Durability, Overwrite
from trio_dlm.downloaders.disk import _publish
from trio_dlm.downloaders.disk._hops import Hops
from trio_dlm.downloaders.disk._lock import NameLock
from trio_dlm.downloaders.http.files import _hashing, _part
from trio_dlm.downloaders.http.files._partfile import ExistingFile, PartFile, look_ahead
from trio_dlm.downloaders.http.files._record_file import RecordFile
from trio_dlm.downloaders.http.rules._record import Header, decode, encode_header
from trio_dlm.downloaders.http.rules._spans import Spans
from trio_dlm.downloaders.http.rules._version import Validator, Version

# The way of a file.


async def test_a_file_grows_as_a_part_and_then_has_its_name(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert contents(tmp_path) == {"a.iso.part": b""}
        await put(part, b"ab", b"", b"c")
        await put(part, b"d")
        assert contents(tmp_path) == {"a.iso.part": b"abcd"}
        assert await finish(part, b"e", b"f") == tmp_path / "a.iso"
        assert contents(tmp_path) == {"a.iso": b"abcdef"}
    assert contents(tmp_path) == {"a.iso": b"abcdef"}


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert await finish(part) == tmp_path / "a.iso"
    assert contents(tmp_path) == {"a.iso": b""}


async def test_a_small_file_takes_three_hops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hops = 0
    run_sync = trio.to_thread.run_sync

    async def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal hops
        hops += 1
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", count)
    await save(tmp_path)
    assert hops == 3


async def test_a_part_that_nobody_could_go_on_from_is_deleted(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        await put(part, BODY)
    assert everything(tmp_path) == {}


async def test_an_exception_deletes_the_part_and_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with target(tmp_path):
            raise ZeroDivisionError
    assert everything(tmp_path) == {}


async def test_a_cancellation_deletes_the_part_even_if_every_thread_is_taken(tmp_path: Path) -> None:
    limiter = trio.CapacityLimiter(1)
    with trio.CancelScope() as scope:
        async with target(tmp_path, limiter=limiter) as part:
            await put(part, BODY)
            limiter.acquire_on_behalf_of_nowait("another download on a slow disk")
            scope.cancel()
            await put(part, BODY)
    assert scope.cancelled_caught
    assert everything(tmp_path) == {}


async def test_what_is_cancelled_before_it_starts_makes_nothing(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with target(tmp_path / "new"):
            pass
    assert everything(tmp_path) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
async def test_only_the_owner_reads_the_part_and_the_umask_decides_about_the_file(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        async with target(tmp_path) as part:
            assert stat.S_IMODE((tmp_path / "a.iso.part").stat().st_mode) == 0o600
            path = await finish(part, BODY)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


async def test_a_write_that_takes_only_some_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    path = await save(tmp_path)
    assert path.read_bytes() == BODY


async def test_a_part_that_grows_while_another_thread_looks_at_it_was_not_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await put(part, b"ab")
        inner, fstat, asked = part._part, os.fstat, list[int]()

        def late(fd: int) -> os.stat_result:
            found = fstat(fd)
            if not asked:
                asked.append(fd)
                inner.write(4, [b"ef"])
            return found

        monkeypatch.setattr(os, "fstat", late)
        await part.write(2, [b"cd"])
        assert asked
        assert await part.publish(6) == tmp_path / "a.iso"
    assert contents(tmp_path) == {"a.iso": b"abcdef"}


async def test_where_files_have_no_modes_all_works_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fchmod", raising=False)
    await save(tmp_path)
    assert contents(tmp_path) == {"a.iso": BODY}


# The digests.


async def test_digests_are_those_of_all_bytes(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(), {"sha256", "md5"})
        await part.write(0, [BODY[:5]])
        await part.write(5, [BODY[5:]])
        assert await part.digests() == {
            "sha256": hashlib.sha256(BODY).digest(),
            "md5": hashlib.md5(BODY).digest(),
        }


async def test_what_was_written_in_order_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", fail(errno.EIO))
    async with target(tmp_path) as part:
        await put(part, BODY[:5])
        await put(part, BODY[5:])
        assert isinstance(part, PartFile)
        assert await part.digests() == {"sha256": hashlib.sha256(BODY).digest()}


async def test_what_was_written_out_of_order_is_read_back(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(), {"sha256"})
        await part.write(5, [BODY[5:]])
        await part.write(0, [BODY[:5]])
        assert await part.digests() == {"sha256": hashlib.sha256(BODY).digest()}


async def test_the_digest_of_nothing_is_known(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(), {"sha256"})
        assert await part.digests() == {"sha256": hashlib.sha256().digest()}


async def test_a_part_that_is_cut_short_while_it_is_read_back_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process changed"):
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            await part.begin(VERSION, {"sha256"})
            await part.write(5, [BODY[5:]])
            await part.write(0, [BODY[:5]])
            os.truncate(tmp_path / "a.iso.part", 3)
            await part.digests()
    assert everything(tmp_path) == {}


async def test_the_digest_of_a_file_with_gaps_is_not_asked_for(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(), {"sha256"})
        await part.write(5, [BODY[5:]])
        with pytest.raises(AssertionError, match="with gaps"):
            await part.digests()
        with pytest.raises(AssertionError, match="with only"):
            await part.publish(len(BODY))


# What is there already.


async def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="overwrite=True"):
        await save(tmp_path)
    assert contents(tmp_path) == {"a.iso": OLD}


async def test_an_existing_file_is_replaced_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, overwrite=True) as part:
        await put(part, BODY)
        assert contents(tmp_path) == {"a.iso": OLD, "a.iso.part": BODY}
        await finish(part)
    assert contents(tmp_path) == {"a.iso": BODY}


async def test_an_existing_file_is_kept_beside_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    (tmp_path / "a (1).iso.part").write_bytes(OLD)
    (tmp_path / "a (2).iso").symlink_to("nowhere")
    assert await save(tmp_path, overwrite="unique") == tmp_path / "a (3).iso"
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso.part": OLD, "a (2).iso": None, "a (3).iso": BODY}


async def test_numbers_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_publish, "_MOST_NUMBERS", 1)
    for name in ("a.iso", "a (1).iso"):
        (tmp_path / name).write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="numbers 1 to 1"):
        await save(tmp_path, overwrite="unique")


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_part_of_somebody_is_never_touched(tmp_path: Path, overwrite: Overwrite) -> None:
    (tmp_path / "a.iso.part").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match=r"a\.iso\.part: it is there, and its record is missing.*delete it"):
        await save(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"a.iso.part": OLD}


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_part_that_is_a_link_is_not_followed(tmp_path: Path, overwrite: Overwrite) -> None:
    (tmp_path / "a.iso.part").symlink_to(tmp_path / "victim")
    with pytest.raises(TargetExistsError):
        await save(tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"a.iso.part": None}


def make_link(path: Path) -> None:
    (path.parent / "victim").write_bytes(OLD)
    path.symlink_to("victim")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


SPECIAL = pytest.mark.parametrize(
    ("make", "word"),
    [
        (make_link, "symbolic link"),
        (make_dangling_link, "symbolic link"),
        (Path.mkdir, "directory"),
        pytest.param(make_pipe, "named pipe", marks=pytest.mark.skipif(os.name == "nt", reason="no pipes on disk")),
    ],
)


@SPECIAL
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("checksum", [None, digest_of(OLD)])
async def test_what_is_no_file_is_refused(
    tmp_path: Path, make: Callable[[Path], None], word: str, overwrite: Overwrite, checksum: Checksum | None
) -> None:
    make(tmp_path / "a.iso")
    before = contents(tmp_path)
    with pytest.raises(TargetExistsError, match=f"a {word} is there"):
        await save(tmp_path, overwrite=overwrite, checksum=checksum)
    assert contents(tmp_path) == before


@SPECIAL
async def test_what_is_no_file_is_refused_also_at_the_end(
    tmp_path: Path, make: Callable[[Path], None], word: str
) -> None:
    with pytest.raises(TargetExistsError, match=f"a {word} is there"):
        async with target(tmp_path, overwrite=True) as part:
            make(tmp_path / "a.iso")
            await finish(part, BODY)
    assert "a.iso.part" not in contents(tmp_path)
    assert contents(tmp_path)["a.iso"] is None


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_file_that_appears_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", fail(errno.EPERM))
    with pytest.raises(TargetExistsError, match="was taken while"):
        async with target(tmp_path) as part:
            (tmp_path / "a.iso").write_bytes(OLD)
            await finish(part, BODY)
    assert contents(tmp_path) == {"a.iso": OLD}


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_file_that_appears_meanwhile_is_kept_beside_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", fail(errno.EPERM))
    async with target(tmp_path, overwrite="unique") as part:
        (tmp_path / "a.iso").write_bytes(OLD)
        (tmp_path / "a (1).iso.part").write_bytes(OLD)
        path = await finish(part, BODY)
    assert path == tmp_path / "a (2).iso"
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso.part": OLD, "a (2).iso": BODY}


async def test_a_number_that_was_taken_meanwhile_gives_way_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, overwrite="unique") as part:
        (tmp_path / "a (1).iso").write_bytes(OLD)
        assert await finish(part, BODY) == tmp_path / "a (2).iso"
    assert everything(tmp_path) == {"a.iso": OLD, "a (1).iso": OLD, "a (2).iso": BODY}


async def test_numbers_end_somewhere_also_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_publish, "_MOST_NUMBERS", 1)
    with pytest.raises(TargetExistsError, match="numbers 1 to 1"):
        async with target(tmp_path, overwrite="unique") as part:
            for name in ("a.iso", "a (1).iso"):
                (tmp_path / name).write_bytes(OLD)
            await finish(part, BODY)
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso": OLD}


async def test_who_loses_a_race_for_the_name_finds_it_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other download publishes between our look at the name and our taking of the lock."""
    take = NameLock.take

    def publish_first(path: Path) -> NameLock | None:
        path.with_name(path.name.removesuffix(".part.lock")).write_bytes(OLD)
        return take(path)

    monkeypatch.setattr(NameLock, "take", publish_first)
    with pytest.raises(TargetExistsError, match="the file exists"):
        await save(tmp_path)
    assert everything(tmp_path) == {"a.iso": OLD}

    async with target(tmp_path, "b", checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
    assert everything(tmp_path) == {"a.iso": OLD, "b": OLD}

    monkeypatch.setattr(_publish, "_MOST_NUMBERS", 2)
    with pytest.raises(TargetExistsError, match="numbers 1 to 2"):
        await save(tmp_path, "c", overwrite="unique")


async def test_two_downloads_of_one_name_do_not_mix(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        await put(part, BODY)
        with pytest.raises(TargetExistsError, match="another download, of this program or another, is writing it"):
            await save(tmp_path, body=OLD)
        await finish(part)
    assert contents(tmp_path) == {"a.iso": BODY}


async def test_many_downloads_of_one_name_get_a_number_each(tmp_path: Path) -> None:
    paths: list[Path] = []

    async def one(number: int) -> None:
        paths.append(await save(tmp_path, overwrite="unique", body=b"%d" % number))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert len(set(paths)) == 20
    assert sorted(contents(tmp_path).values(), key=str) == sorted((b"%d" % n for n in range(20)), key=str)


async def test_a_part_that_was_replaced_is_not_published_and_not_deleted(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process"):
        async with target(tmp_path) as part:
            (tmp_path / "a.iso.part").unlink()
            (tmp_path / "a.iso.part").write_bytes(OLD)
            await finish(part, BODY)
    assert contents(tmp_path) == {"a.iso.part": OLD}


async def test_a_part_that_was_written_to_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process"):
        async with target(tmp_path) as part:
            await put(part, BODY)
            (tmp_path / "a.iso.part").write_bytes(BODY + OLD)
            await finish(part)
    assert everything(tmp_path) == {}


async def test_a_part_that_was_deleted_is_an_error_and_no_more(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        async with target(tmp_path) as part:
            (tmp_path / "a.iso.part").unlink()
            await finish(part, BODY)
    assert everything(tmp_path) == {}


# A file that is there and may be the right one.


async def test_an_existing_file_with_the_digest_is_what_was_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
        assert await existing.verify() == len(OLD)
        assert existing.path == tmp_path / "a.iso"
    assert contents(tmp_path) == {"a.iso": OLD}


async def test_an_existing_file_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="expected"):
        async with target(tmp_path, checksum=digest_of(BODY)) as existing:
            assert isinstance(existing, ExistingFile)
            await existing.verify()
    assert contents(tmp_path) == {"a.iso": OLD}


async def test_a_long_file_is_hashed_in_hops_that_can_be_cancelled_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_hashing, "_HASHED_PER_HOP", 1)
    monkeypatch.setattr(_hashing, "_READ_BYTES", 4)
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
        assert await existing.verify() == len(OLD)

    hops = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal hops
        hops += 1
        if hops == 2:
            trio.from_thread.run_sync(scope.cancel)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    with trio.CancelScope() as scope:
        async with target(tmp_path, checksum=digest_of(OLD)) as existing:
            assert isinstance(existing, ExistingFile)
            await existing.verify()
    assert scope.cancelled_caught
    assert hops == 2


async def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
        (tmp_path / "a.iso").unlink()
        with pytest.raises(StorageError, match="No such file"):
            await existing.verify()
        (tmp_path / "a.iso").mkdir()
        with pytest.raises(StorageError, match="directory"):
            await existing.verify()


# The directory.


async def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    assert await save(tmp_path / "new" / "er") == tmp_path / "new" / "er" / "a.iso"


async def test_a_link_to_a_directory_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    await save(tmp_path / "link")
    assert contents(tmp_path / "real") == {"a.iso": BODY}


@pytest.mark.parametrize("below", ["file", "file/sub", "file/sub/sub"])
async def test_a_directory_that_is_a_file_says_so(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(StorageError, match=r"Not a directory.*choose another directory"):
        await save(tmp_path / below)


@pytest.fixture
def read_only(tmp_path: Path) -> Generator[Path, None, None]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_read_only_directory_says_so(read_only: Path) -> None:
    with pytest.raises(StorageError, match="change its permissions"):
        await save(read_only)
    with pytest.raises(StorageError, match="may not make that directory"):
        await save(read_only / "new")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOENT, "no directory can be made there: choose another"),
        (errno.EACCES, "may not make that directory"),
        (errno.EROFS, "read-only"),
    ],
)
async def test_a_directory_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(os, "mkdir", fail(number))
    with pytest.raises(StorageError, match=advice):
        await save(tmp_path / "new")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOENT, "removed meanwhile: try again"), (errno.EACCES, "may not read it"), (errno.EIO, "disk")],
)
async def test_an_existing_file_that_cannot_be_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
        monkeypatch.setattr(os, "open", fail(number))
        with pytest.raises(StorageError, match=advice):
            await existing.verify()
    assert contents(tmp_path) == {"a.iso": OLD}


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "change its permissions"),
        (errno.EROFS, "read-only"),
        (errno.EMFILE, "max_concurrent"),
        (errno.ENOSPC, "make room"),
        (errno.ENODEV, "check the directory"),
    ],
)
async def test_a_part_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(os, "open", fail(number, when=lambda path, *_: str(path).endswith(".part"), then=os.open))
    with pytest.raises(StorageError, match=advice) as caught:
        await save(tmp_path)
    assert isinstance(caught.value.__cause__, OSError)
    assert everything(tmp_path) == {}


async def test_a_part_that_cannot_be_made_private_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", fail(errno.EIO))
    with pytest.raises(StorageError):
        await save(tmp_path)
    assert everything(tmp_path) == {}


async def test_a_name_that_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="shorter filename="):
        await save(tmp_path, "a" * 255)


# The disk.


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "of that size"),
        (errno.EIO, "the disk or the network file system fails"),
    ],
)
async def test_a_disk_that_refuses_says_why_and_what_was_written_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    with pytest.raises(StorageError, match=advice) as caught:
        async with target(tmp_path) as part:
            await put(part, BODY[:5], version=VERSION)
            monkeypatch.setattr(os, "pwrite", fail(number))
            await put(part, BODY[5:])
    assert caught.value.errno == number
    monkeypatch.undo()
    assert contents(tmp_path) == {"a.iso.part": BODY[:5]}
    async with target(tmp_path) as part:
        assert await finish(part, BODY[5:]) == tmp_path / "a.iso"
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_disk_that_refuses_at_once_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", fail(errno.ENOSPC))
    with pytest.raises(StorageError, match="the disk is full"):
        async with target(tmp_path):
            pass
    assert everything(tmp_path) == {}


async def test_a_disk_that_refuses_only_when_the_file_is_closed_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close
    refused: list[int] = []

    def refuse_once(fd: int) -> None:
        close(fd)
        if not refused:
            refused.append(fd)
            raise OSError(errno.EDQUOT, "Quota exceeded")

    with pytest.raises(StorageError, match="quota"):
        async with target(tmp_path) as part:
            monkeypatch.setattr(os, "close", refuse_once)
            await finish(part, BODY)
    assert refused
    assert everything(tmp_path) == {}


async def test_a_size_for_which_there_is_no_room_is_refused_before_a_byte_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    await save(tmp_path, size_bytes=10, body=b"x" * 10)
    with pytest.raises(StorageError, match="11 bytes are needed and 10 are free"):
        await save(tmp_path, "b", size_bytes=11)
    async with target(tmp_path, "c") as part:
        assert isinstance(part, PartFile)
        await part.check_room(10)
        with pytest.raises(StorageError, match="11 bytes"):
            await part.check_room(11)
    assert contents(tmp_path) == {"a.iso": b"x" * 10}


@pytest.mark.parametrize("usage", [lambda _: shutil._ntuple_diskusage(0, 0, 0), fail(errno.ENOSYS)])
async def test_a_file_system_that_does_not_tell_its_size_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usage: Any
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", usage)
    await save(tmp_path, size_bytes=10**15)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
async def test_without_links_the_part_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "link", fail(number))
    await save(tmp_path)
    assert contents(tmp_path) == {"a.iso": BODY}


async def test_a_rename_that_finds_the_name_taken_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    monkeypatch.setattr(os, "rename", fail(errno.EEXIST))
    with pytest.raises(TargetExistsError, match="was taken while"):
        await save(tmp_path)
    assert everything(tmp_path) == {}


async def test_a_link_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EIO))
    with pytest.raises(StorageError):
        await save(tmp_path)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("is_published", [True, False])
async def test_a_part_that_cannot_be_deleted_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_published: bool
) -> None:
    async with target(tmp_path) as part:
        monkeypatch.setattr(os, "unlink", fail(errno.EROFS))
        if is_published:
            await finish(part, BODY)
    monkeypatch.undo()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "a.iso.part could not be deleted" in caplog.text
    assert contents(tmp_path) == ({"a.iso.part": BODY, "a.iso": BODY} if is_published else {"a.iso.part": b""})


async def test_a_part_that_could_not_be_deleted_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with target(tmp_path):
        monkeypatch.setattr(os, "unlink", fail(errno.EIO))
    monkeypatch.undo()
    assert set(everything(tmp_path)) == {"a.iso.part", "a.iso.part.json", "a.iso.part.lock"}
    await save(tmp_path)
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_errors_are_ours(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    with pytest.raises(TransferError):
        await save(tmp_path)
    with pytest.raises(FileExistsError):
        await save(tmp_path)


async def test_where_no_thread_can_be_started_the_part_is_deleted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_thread(*args: object, **kwargs: object) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(ValueError, match="broke"):
        async with target(tmp_path):
            monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
            raise ValueError("broke")
    assert everything(tmp_path) == {}


async def test_a_name_that_the_locale_cannot_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_ascii(path: object, *args: object, **kwargs: object) -> int:
        str(path).encode("ascii")
        raise AssertionError("the name is not ASCII")

    monkeypatch.setattr(os, "open", in_ascii)
    with pytest.raises(StorageError, match="UTF-8 locale"):
        async with target(tmp_path, "é"):
            pass


def look_fails_at(monkeypatch: pytest.MonkeyPatch, path: Path, look: int) -> None:
    """Let the *look*-th look at *path* fail, counted from 1, as on a network file system that is away for a moment."""
    looks = 0
    lstat = os.lstat

    def count(at: str | Path, *, dir_fd: int | None = None) -> os.stat_result:
        nonlocal looks
        looks += at == path
        if at == path and looks == look:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(at, dir_fd=dir_fd)

    monkeypatch.setattr(os, "lstat", count)


@pytest.mark.parametrize("look", [1, 2])
async def test_who_cannot_look_whether_a_name_is_free_takes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    look_fails_at(monkeypatch, tmp_path / "a.iso", look)
    with pytest.raises(StorageError, match="the disk or the network file system fails"):
        await save(tmp_path)
    assert everything(tmp_path) == {}


async def test_without_hard_links_a_name_that_cannot_be_looked_at_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    async with target(tmp_path) as part:
        (tmp_path / "a.iso").write_bytes(OLD)
        look_fails_at(monkeypatch, tmp_path / "a.iso", 1)
        with pytest.raises(StorageError, match="the disk or the network file system fails"):
            await finish(part, BODY)
    assert (tmp_path / "a.iso").read_bytes() == OLD


# Going on.


async def test_what_can_be_proven_later_is_kept_and_gone_on_from(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.version is None
        assert not part.can_resume
        await part.begin(VERSION, {"sha256"})
        assert not part.can_resume
        await part.write(2, [BODY[2:5]])
        assert part.can_resume
        assert part.held == Spans(((2, 5),))
    assert set(everything(tmp_path)) == {"a.iso.part", "a.iso.part.json"}

    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.path == tmp_path / "a.iso"
        assert part.can_resume
        assert part.version == VERSION
        assert part.held == Spans(((2, 5),))
        await part.go_on(VERSION, {"sha256"})
        for start, stop in part.held.missing(len(BODY)):
            await part.write(start, [BODY[start:stop]])
        assert await part.digests() == {"sha256": hashlib.sha256(BODY).digest()}
        await part.publish(len(BODY))
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_what_is_claimed_of_a_part_is_computed_whether_it_is_asked_for_or_not(tmp_path: Path) -> None:
    claims = replace(VERSION, digests=("sha512:00", "md5:00", "crc32c:00", "shake_128:00", "nonsense"))
    await leave_a_part(tmp_path, chunks=(BODY,), version=claims)
    async with target(tmp_path, checksum=digest_of(BODY)) as part:
        assert isinstance(part, PartFile)
        digests = await part.digests()
        assert digests.keys() == {"sha256", "sha512", "md5"}
        assert digests["sha256"] == hashlib.sha256(BODY).digest()
        await part.go_on(VERSION, {"sha1"})
        assert (await part.digests()).keys() == {"sha256", "sha1"}
        await part.begin(VERSION, set())
        await part.write(0, [BODY])
        assert await part.digests() == {"sha256": hashlib.sha256(BODY).digest()}


@pytest.mark.parametrize("torn", [b"", b"0123", b"01234567 5 9\n", b"\n\n\n"])
async def test_what_every_run_adds_is_there_for_the_next_also_behind_a_torn_line(tmp_path: Path, torn: bytes) -> None:
    await leave_a_part(tmp_path)
    for stop in range(6, 10):
        with (tmp_path / "a.iso.part.json").open("ab") as file:
            file.write(torn)
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            assert part.held == Spans(((0, stop - 1),))
            await part.write(stop - 1, [BODY[stop - 1 : stop]])
    assert contents(tmp_path) == {"a.iso.part": BODY[:9]}


async def test_a_whole_part_is_published_without_being_written_to(tmp_path: Path) -> None:
    await leave_a_part(tmp_path, chunks=(BODY,))
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert not part.held.missing(len(BODY))
        assert await part.publish(len(BODY)) == tmp_path / "a.iso"
    assert everything(tmp_path) == {"a.iso": BODY}


@pytest.mark.parametrize(
    ("version", "checksum", "is_kept"),
    [
        (Version(total=16), None, False),
        (Version(Validator("date", "yesterday")), None, True),
        (Version(digests=("sha256:00",)), None, False),
        (Version(), digest_of(BODY), True),
    ],
)
async def test_only_what_can_be_proven_is_kept(
    tmp_path: Path, version: Version, checksum: Checksum | None, is_kept: bool
) -> None:
    await leave_a_part(tmp_path, version=version, checksum=checksum)
    assert everything(tmp_path).keys() == ({"a.iso.part", "a.iso.part.json"} if is_kept else set())
    async with target(tmp_path, checksum=checksum) as part:
        assert isinstance(part, PartFile)
        assert part.held == (Spans(((0, 5),)) if is_kept else Spans())
        assert part.version == (version if is_kept else None)


async def test_a_part_that_a_kill_left_without_a_proof_is_started_over(tmp_path: Path) -> None:
    await leave_a_part(tmp_path, checksum=digest_of(BODY), version=Version())
    # Without the digest nothing proves what is there any more, and neither does another one.
    for checksum in (None, digest_of(OLD)):
        async with target(tmp_path, checksum=checksum) as part:
            assert isinstance(part, PartFile)
            assert part.held == Spans()
            assert part.version is None
        await leave_a_part(tmp_path, checksum=digest_of(BODY), version=Version())


async def test_without_resume_nothing_is_kept_and_nothing_is_gone_on_from(tmp_path: Path) -> None:
    await leave_a_part(tmp_path, resume=False)
    assert everything(tmp_path) == {}
    await leave_a_part(tmp_path)
    async with target(tmp_path, resume=False) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans()
        await put(part, BODY, version=VERSION)
        assert not part.can_resume
        await part.publish(len(BODY))
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_beginning_throws_away_what_is_there(tmp_path: Path) -> None:
    await leave_a_part(tmp_path, chunks=(OLD + OLD,))
    other = Version(Validator("etag", '"2"'), total=len(BODY))
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(other, {"sha256"})
        assert part.held == Spans()
        assert part.version == other
        await part.write(0, [BODY[:3]])
    assert contents(tmp_path) == {"a.iso.part": BODY[:3]}
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.version == other
        assert part.held == Spans(((0, 3),))


async def test_a_beginning_without_a_byte_leaves_nothing(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(VERSION, set())
    assert everything(tmp_path) == {}


async def test_an_empty_file_replaces_what_was_there_of_another_version(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(Validator("etag", '"2"'), total=0), set())
        await part.publish(0)
    assert everything(tmp_path) == {"a.iso": b""}


async def test_what_was_forgotten_is_not_gone_on_from_even_if_the_process_ends_at_once(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.forget()
        assert part.version is None
        assert part.held == Spans()
        assert not part.can_resume
        assert contents(tmp_path) == {"a.iso.part": b""}
        record = decode((tmp_path / "a.iso.part.json").read_bytes())
        assert record is not None
        assert not record.held
        await finish(part, BODY, version=VERSION)
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_what_was_forgotten_leaves_nothing(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await put(part, BODY, version=VERSION)
        await part.forget()
    assert everything(tmp_path) == {}


async def test_what_is_learned_of_the_version_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await leave_a_part(tmp_path)
    known = replace(VERSION, digests=("sha256:00",))
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.go_on(VERSION, set())
        await part.go_on(known, set())
        assert part.version == known
        monkeypatch.setattr(os, "open", fail(errno.EIO))
        await part.go_on(known, set())
        monkeypatch.undo()
        await part.write(5, [BODY[5:7]])
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.version == known
        assert part.held == Spans(((0, 7),))


async def test_a_proof_that_comes_late_proves_what_is_there_already(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await put(part, BODY[:5])
        assert not part.can_resume
        await part.go_on(VERSION, set())
        assert part.can_resume
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 5),))


async def test_what_is_known_before_the_first_byte_is_recorded_with_it(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.begin(Version(), set())
        await part.go_on(VERSION, set())
        await part.write(0, [BODY[:5]])
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.version == VERSION
        assert part.held == Spans(((0, 5),))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
async def test_a_file_that_was_gone_on_with_has_the_mode_that_it_would_have_had(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        await leave_a_part(tmp_path)
        os.umask(0o077)
        for name in everything(tmp_path):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        async with target(tmp_path) as part:
            path = await finish(part, BODY[5:])
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)


async def test_bytes_that_nobody_has_recorded_are_cut_off(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    with (tmp_path / "a.iso.part").open("ab") as file:
        file.write(b"more than the whole file would have")
    async with target(tmp_path) as part:
        await finish(part, BODY[5:])
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_several_tasks_write_at_once(tmp_path: Path) -> None:
    size = 64
    data = os.urandom(32 * size)
    async with target(tmp_path, limiter=trio.CapacityLimiter(8)) as part:
        assert isinstance(part, PartFile)
        await part.begin(replace(VERSION, total=len(data)), {"sha256"})
        async with trio.open_nursery() as nursery:
            for start in range(0, len(data), size):
                nursery.start_soon(part.write, start, [data[start : start + size]])
        assert part.held == Spans(((0, len(data)),))
        assert await part.digests() == {"sha256": hashlib.sha256(data).digest()}
        record = decode((tmp_path / "a.iso.part.json").read_bytes())
        assert record is not None
        assert record.held == part.held
        await part.publish(len(data))
    assert everything(tmp_path) == {"a.iso": data}


async def test_room_is_asked_for_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await leave_a_part(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    async with target(tmp_path, size_bytes=15) as part:
        assert isinstance(part, PartFile)
        await part.check_room(15)
        with pytest.raises(StorageError, match="11 bytes are needed and 10 are free") as caught:
            await part.check_room(16)
        assert caught.value.errno == errno.ENOSPC
    with pytest.raises(StorageError, match="11 bytes"):
        async with target(tmp_path, size_bytes=16):
            pass
    assert contents(tmp_path) == {"a.iso.part": BODY[:5]}


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_a_name_that_is_taken_in_the_end_loses_nothing_that_was_fetched(
    tmp_path: Path, durability: Durability
) -> None:
    with pytest.raises(TargetExistsError, match="was taken while"):
        async with target(tmp_path, durability=durability) as part:
            (tmp_path / "a.iso").write_bytes(OLD)
            await finish(part, BODY, version=VERSION)
    assert contents(tmp_path) == {"a.iso": OLD, "a.iso.part": BODY}
    async with target(tmp_path, overwrite=True) as part:
        assert isinstance(part, PartFile)
        await part.publish(len(BODY))
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_part_that_cannot_be_closed_well_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    close = os.close

    def refuse(fd: int) -> None:
        close(fd)
        raise OSError(errno.EDQUOT, "Quota exceeded")

    async with target(tmp_path) as part:
        await put(part, BODY, version=VERSION)
        monkeypatch.setattr(os, "close", refuse)
    assert "could not be closed (Quota exceeded), and is not kept" in caplog.text
    assert everything(tmp_path) == {}


async def test_a_record_does_not_grow_with_every_beginning(tmp_path: Path) -> None:
    source = "https://example.org/" + "a" * 30_000
    async with target(tmp_path, source=source) as part:
        assert isinstance(part, PartFile)
        for number in range(20):
            await part.begin(Version(Validator("etag", f'"{number}"')), set())
            await part.write(0, [BODY[:5]])
            assert (tmp_path / "a.iso.part.json").stat().st_size < 200_000
    async with target(tmp_path, source=source) as part:
        assert isinstance(part, PartFile)
        assert part.version == Version(Validator("etag", '"19"'))
        assert part.held == Spans(((0, 5),))


# What is left of others.


async def test_a_part_of_another_source_is_told_and_goes_away_only_if_asked(tmp_path: Path) -> None:
    other = "https://example.org/other?token=secret"
    await leave_a_part(tmp_path, source=other, chunks=(OLD,))
    before = everything(tmp_path)
    with pytest.raises(
        TargetExistsError, match=r"of a download of https://example\.org/other\?token=…, not of"
    ) as told:
        await save(tmp_path)
    assert "secret" not in str(told.value)
    assert everything(tmp_path) == before
    assert await save(tmp_path, overwrite="unique") == tmp_path / "a (1).iso"
    await save(tmp_path, overwrite=True)
    assert everything(tmp_path) == {"a.iso": BODY, "a (1).iso": BODY}


async def test_a_part_of_another_source_that_the_digest_proves_is_gone_on_from(tmp_path: Path) -> None:
    mirror = "https://mirror.example/a"
    await leave_a_part(tmp_path, source=mirror, checksum=digest_of(BODY))
    async with target(tmp_path, checksum=digest_of(BODY)) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 5),))
        # What the mirror knows it by says nothing here.
        assert part.version == replace(VERSION, validator=None)
        await part.write(5, [BODY[5:6]])
    # From here on it is ours, and no longer one that the mirror's validator proves.
    with pytest.raises(TargetExistsError, match="of a download of"):
        await save(tmp_path, source=mirror)
    async with target(tmp_path, checksum=digest_of(BODY)) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 6),))


def remove_the_record(directory: Path) -> None:
    (directory / "a.iso.part.json").unlink()


def damage_the_record(directory: Path) -> None:
    raw = bytearray((directory / "a.iso.part.json").read_bytes())
    raw[30] ^= 1
    (directory / "a.iso.part.json").write_bytes(raw)


def empty_the_record(directory: Path) -> None:
    (directory / "a.iso.part.json").write_bytes(b"")


def make_the_record_endless(directory: Path) -> None:
    with (directory / "a.iso.part.json").open("ab") as file:
        file.truncate(2 * 1024 * 1024)


def link_the_record(directory: Path) -> None:
    (directory / "a.iso.part.json").rename(directory / "elsewhere")
    (directory / "a.iso.part.json").symlink_to("elsewhere")


def give_the_record_two_names(directory: Path) -> None:
    (directory / "elsewhere").hardlink_to(directory / "a.iso.part.json")


def make_the_record_a_pipe(directory: Path) -> None:
    (directory / "a.iso.part.json").unlink()
    os.mkfifo(directory / "a.iso.part.json")


def link_the_part(directory: Path) -> None:
    (directory / "a.iso.part").rename(directory / "elsewhere")
    (directory / "a.iso.part").symlink_to("elsewhere")


def give_the_part_two_names(directory: Path) -> None:
    (directory / "elsewhere").hardlink_to(directory / "a.iso.part")


def make_the_part_a_directory(directory: Path) -> None:
    (directory / "a.iso.part").unlink()
    (directory / "a.iso.part").mkdir()


def shorten_the_part(directory: Path) -> None:
    os.truncate(directory / "a.iso.part", 4)


UNFIT = pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (remove_the_record, "its record is missing"),
        (damage_the_record, "its record is damaged"),
        (empty_the_record, "its record is damaged"),
        (make_the_record_endless, "its record is damaged"),
        (link_the_record, "its record is no regular file"),
        (give_the_record_two_names, "its record has 2 names"),
        (make_the_record_a_pipe, "its record is no regular file"),
        (link_the_part, "it is no regular file"),
        (give_the_part_two_names, "it has 2 names"),
        (make_the_part_a_directory, "it is no regular file"),
        (shorten_the_part, "it has 4 bytes, where its record says 5"),
    ],
)


@pytest.mark.skipif(os.name == "nt", reason="Windows makes no links and pipes for everybody")
@UNFIT
@pytest.mark.parametrize("overwrite", [False, True])
async def test_what_is_no_part_of_ours_is_never_written_to(
    tmp_path: Path, spoil: Callable[[Path], None], problem: str, overwrite: Overwrite
) -> None:
    await leave_a_part(tmp_path)
    spoil(tmp_path)
    before = everything(tmp_path)
    assert await look_ahead(tmp_path, "a.iso", hops=Hops(trio.CapacityLimiter(1))) is None
    with pytest.raises(TargetExistsError, match=rf"a\.iso\.part: .*{problem}.*delete it if no download needs it"):
        await save(tmp_path, overwrite=overwrite)
    assert everything(tmp_path) == before
    assert await save(tmp_path, overwrite="unique") == tmp_path / "a (1).iso"
    assert everything(tmp_path) == before | {"a (1).iso": BODY}


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no users")
async def test_what_another_user_has_left_is_not_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever may write to a shared directory could choose what is in the file."""
    await leave_a_part(tmp_path)
    (tmp_path / "a.iso.part.lock").touch()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "a.iso.part").stat().st_uid + 1)
    assert await look_ahead(tmp_path, "a.iso", hops=Hops(trio.CapacityLimiter(1))) is None
    with pytest.raises(TargetExistsError, match="belongs to another user"):
        await save(tmp_path)


async def test_where_files_have_one_owner_whoever_makes_them_that_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_a_part(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "a.iso.part").stat().st_uid + 1, raising=False)
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 5),))


@pytest.mark.parametrize("left", [b"", b"0123", b"01234567 {", encode_header(Header("https://example.org/other"))])
async def test_a_record_without_a_part_is_in_nobodys_way(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.iso.part.json").write_bytes(left)
    await save(tmp_path)
    assert everything(tmp_path) == {"a.iso": BODY}


def write_something(path: Path) -> None:
    path.write_bytes(b'{"name": "of another program"}')


def link_to_a_record(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [write_something, link_to_a_record, Path.mkdir])
async def test_a_file_of_another_program_under_the_name_of_a_record_is_not_touched(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a.iso.part.json")
    before = everything(tmp_path)
    with pytest.raises(
        TargetExistsError, match=r"a\.iso\.part\.json: it is there, and nothing that a download has left"
    ):
        await save(tmp_path)
    assert everything(tmp_path) == before


async def test_what_a_kill_left_of_a_new_record_goes_away(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    (tmp_path / "a.iso.part.tmp").write_bytes(b"01234567 {")
    async with target(tmp_path) as part:
        await finish(part, BODY[5:])
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_file_of_another_program_under_the_name_of_a_new_record_is_not_touched(tmp_path: Path) -> None:
    await leave_a_part(tmp_path)
    (tmp_path / "a.iso.part.tmp").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match=r"a\.iso\.part\.tmp: it is there, and nothing that a download"):
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            await part.go_on(replace(VERSION, digests=("sha256:00",)), set())
    assert contents(tmp_path) == {"a.iso.part": BODY[:5], "a.iso.part.tmp": OLD}


async def test_a_part_that_somebody_makes_at_the_same_time_is_his(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = RecordFile.create

    def make_the_part(*args: Any, **kwargs: Any) -> RecordFile:
        record = create(*args, **kwargs)
        (tmp_path / "a.iso.part").write_bytes(OLD)
        return record

    monkeypatch.setattr(RecordFile, "create", make_the_part)
    with pytest.raises(TargetExistsError, match="somebody made it just now"):
        await save(tmp_path)
    assert everything(tmp_path) == {"a.iso.part": OLD}


# What was published by a run that could not say so.


async def leave_it_published(directory: Path, **options: Any) -> None:
    await leave_a_part(directory, chunks=(BODY,), **options)
    (directory / "a.iso").hardlink_to(directory / "a.iso.part")


@pytest.mark.parametrize("overwrite", [False, True, "unique"])
async def test_a_part_that_has_the_final_name_is_finished(tmp_path: Path, overwrite: Overwrite) -> None:
    await leave_it_published(tmp_path)
    async with target(tmp_path, overwrite=overwrite) as existing:
        assert isinstance(existing, ExistingFile)
        assert existing.path == tmp_path / "a.iso"
        assert existing.checksum is None
        assert await existing.verify() == len(BODY)
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_finished_file_is_checked_against_the_digest(tmp_path: Path) -> None:
    await leave_it_published(tmp_path)
    with pytest.raises(TargetExistsError, match="expected"):
        async with target(tmp_path, checksum=digest_of(OLD)) as existing:
            assert isinstance(existing, ExistingFile)
            await existing.verify()
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_finished_file_of_another_source_is_a_file_like_any_other(tmp_path: Path) -> None:
    await leave_it_published(tmp_path, source="https://example.org/other")
    with pytest.raises(TargetExistsError, match="the file exists"):
        await save(tmp_path)
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_finished_file_without_a_record_is_a_file_like_any_other(tmp_path: Path) -> None:
    await leave_it_published(tmp_path)
    remove_the_record(tmp_path)
    with pytest.raises(TargetExistsError, match="the file exists"):
        await save(tmp_path)
    assert everything(tmp_path) == {"a.iso": BODY}


# A look without the lock.


async def test_a_look_tells_what_there_is_to_go_on_from_while_somebody_writes(tmp_path: Path) -> None:
    limiter = trio.CapacityLimiter(1)
    assert await look_ahead(tmp_path, "a.iso", hops=Hops(limiter)) is None
    async with target(tmp_path, checksum=digest_of(BODY)) as part:
        await put(part, version=VERSION)
        assert await look_ahead(tmp_path, "a.iso", hops=Hops(limiter)) is None
        await put(part, BODY[:5])
        before = everything(tmp_path)
        kept = await look_ahead(tmp_path, "a.iso", hops=Hops(limiter))
        assert kept == (URL, str(digest_of(BODY)), VERSION, Spans(((0, 5),)))
        assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["a.iso", "a" * 255, "\udcff\ud800"])
async def test_a_look_at_what_cannot_be_seen_finds_nothing(tmp_path: Path, name: str) -> None:
    assert await look_ahead(tmp_path / "missing", name, hops=Hops(trio.CapacityLimiter(1))) is None


# The loss of power.


async def test_what_is_to_survive_a_loss_of_power_is_waited_for_before_it_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_part, "_SYNC_EVERY_BYTES", 4)
    waited: list[bytes] = []
    fdatasync = os.fdatasync

    def wait(fd: int) -> None:
        waited.append((tmp_path / "a.iso.part.json").read_bytes())
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", wait)
    async with target(tmp_path, durability="power") as part:
        assert isinstance(part, PartFile)
        await part.begin(VERSION, set())
        await part.write(0, [BODY[:3]])
        record = decode((tmp_path / "a.iso.part.json").read_bytes())
        assert record is not None
        assert not record.held
        assert part.held == Spans(((0, 3),))
        del waited[:]
        await part.write(3, [BODY[3:5]])
        record = decode((tmp_path / "a.iso.part.json").read_bytes())
        assert record is not None
        assert record.held == Spans(((0, 5),))
        before, after = (decode(raw) for raw in waited)
        assert before is not None
        assert not before.held
        assert after == record
        # The end of the block waits for the rest.
        await part.write(5, [BODY[5:6]])
    async with target(tmp_path, durability="power") as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 6),))
        await finish(part, BODY[6:])
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_second_of_writing_is_the_most_that_a_loss_of_power_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_part, "_SYNC_EVERY_S", 0.0)
    async with target(tmp_path, durability="power") as part:
        await put(part, BODY[:3], version=VERSION)
        record = decode((tmp_path / "a.iso.part.json").read_bytes())
        assert record is not None
        assert record.held == Spans(((0, 3),))


async def test_what_could_not_be_waited_for_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with target(tmp_path, durability="power") as part:
        assert isinstance(part, PartFile)
        await put(part, BODY[:5], version=VERSION)
        await part.go_on(replace(VERSION, digests=("sha256:00",)), set())
        await put(part, BODY[5:7])
        monkeypatch.setattr(os, "fdatasync", fail(errno.EIO))
    assert "the last of what was fetched is not kept" in caplog.text
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert part.held == Spans(((0, 5),))


async def test_the_file_and_its_name_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[tuple[bool, bool]] = []
    fsync = os.fsync

    def wait(fd: int) -> None:
        waited.append((stat.S_ISDIR(os.fstat(fd).st_mode), (tmp_path / "a.iso").exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", wait)
    await save(tmp_path, durability="power")
    assert waited[-2:] == [(False, False), (True, True)]
    del waited[:]
    await save(tmp_path, "b")
    assert waited == []


async def test_a_directory_that_cannot_be_waited_for_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_part, "sync_directory", fail(errno.EIO))
    await save(tmp_path, durability="power")
    assert "may not survive a loss of power" in caplog.text
    assert everything(tmp_path) == {"a.iso": BODY}


async def test_a_file_that_cannot_be_waited_for_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="the disk or the network file system fails"):
        async with target(tmp_path, durability="power") as part:
            await put(part, BODY, version=VERSION)
            monkeypatch.setattr(os, "fsync", fail(errno.EIO))
            await finish(part)
    assert everything(tmp_path) == {}


# Nothing is left open.


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nobody counts descriptors here")
@pytest.mark.parametrize("durability", ["process", "power"])
async def test_an_open_part_has_three_descriptors_and_a_closed_one_none(tmp_path: Path, durability: Durability) -> None:
    def count() -> int:
        # Reading the directory takes one for itself, each time.
        return len(list(Path("/proc/self/fd").iterdir()))

    async def measure() -> int:
        async with target(tmp_path, durability=durability) as part:
            assert isinstance(part, PartFile)
            if part.version is None:
                await part.begin(VERSION, set())
            await part.write(part.held.end, [b"x"])
            await part.go_on(replace(VERSION, digests=(f"sha256:{part.held.end:02}",)), set())
            return count()

    # The first hop of all starts a thread, and the run of trio has descriptors of its own.
    await measure()
    before = count()
    for _ in range(3):
        assert await measure() == before + 3
        assert count() == before

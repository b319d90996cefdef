"""The file on disk: a part while it grows, the final name when it is whole, nothing otherwise."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_dlm._errors import ChecksumMismatchError, StorageError, TargetExistsError, TransferError
from trio_dlm._options import Checksum, Overwrite
from trio_dlm.downloaders.http import _disk
from trio_dlm.downloaders.http._partfile import ExistingFile, PartFile, open_target

URL = "https://example.org/a"
BODY = b"what was fetched"
OLD = b"what was there"


def digest_of(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest())


def target(
    directory: Path,
    name: str = "a.iso",
    *,
    overwrite: Overwrite = False,
    checksum: Checksum | None = None,
    size_bytes: int | None = None,
    limiter: trio.CapacityLimiter | None = None,
) -> AbstractAsyncContextManager[PartFile | ExistingFile]:
    return open_target(
        directory,
        name,
        overwrite=overwrite,
        checksum=checksum,
        size_bytes=size_bytes,
        url=URL,
        limiter=limiter or trio.CapacityLimiter(4),
    )


async def save(directory: Path, name: str = "a.iso", *, body: bytes = BODY, **kwargs: Any) -> Path:
    async with target(directory, name, **kwargs) as part:
        assert isinstance(part, PartFile)
        path, size_bytes = await part.publish([body])
        assert size_bytes == len(body)
        return path


def contents(directory: Path) -> dict[str, bytes | None]:
    """Return what is in *directory*; None stands for what is no regular file."""
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in directory.iterdir()
    }


def fail(
    number: int, *, when: Callable[..., bool] = lambda *_, **__: True, then: Callable[..., Any] | None = None
) -> Any:
    """Return a stand-in for a call of the system that fails with an errno, for some arguments only."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            raise OSError(number, os.strerror(number))
        assert then is not None
        return then(*args, **kwargs)

    return call


# The way of a file.


async def test_a_file_grows_as_a_part_and_then_has_its_name(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert contents(tmp_path) == {"a.iso.part": b""}
        await part.write([b"ab", b"", b"c"])
        await part.write([b"d"])
        assert contents(tmp_path) == {"a.iso.part": b"abcd"}
        assert await part.publish([b"e", b"f"]) == (tmp_path / "a.iso", 6)
        assert contents(tmp_path) == {"a.iso": b"abcdef"}
    assert contents(tmp_path) == {"a.iso": b"abcdef"}


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        assert await part.publish([]) == (tmp_path / "a.iso", 0)
    assert contents(tmp_path) == {"a.iso": b""}


async def test_a_small_file_takes_two_hops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hops = 0
    run_sync = trio.to_thread.run_sync

    async def count(*args: Any, **kwargs: Any) -> Any:
        nonlocal hops
        hops += 1
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", count)
    await save(tmp_path)
    assert hops == 2


async def test_a_part_that_is_not_published_is_deleted(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.write([BODY])
    assert contents(tmp_path) == {}


async def test_an_exception_deletes_the_part_and_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with target(tmp_path):
            raise ZeroDivisionError
    assert contents(tmp_path) == {}


async def test_a_cancellation_deletes_the_part_even_if_every_thread_is_taken(tmp_path: Path) -> None:
    limiter = trio.CapacityLimiter(1)
    with trio.CancelScope() as scope:
        async with target(tmp_path, limiter=limiter) as part:
            assert isinstance(part, PartFile)
            await part.write([BODY])
            limiter.acquire_on_behalf_of_nowait("another download on a slow disk")
            scope.cancel()
            await part.write([BODY])
    assert scope.cancelled_caught
    assert contents(tmp_path) == {}


async def test_what_is_cancelled_before_it_starts_makes_nothing(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with target(tmp_path / "new"):
            pass
    assert contents(tmp_path) == {}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
async def test_only_the_owner_reads_the_part_and_the_umask_decides_about_the_file(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            assert stat.S_IMODE((tmp_path / "a.iso.part").stat().st_mode) == 0o600
            path, _ = await part.publish([BODY])
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


async def test_a_write_that_takes_only_some_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    path = await save(tmp_path)
    assert path.read_bytes() == BODY


async def test_where_files_have_no_modes_all_works_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fchmod", raising=False)
    await save(tmp_path)
    assert contents(tmp_path) == {"a.iso": BODY}


# The digest.


async def test_the_right_digest_publishes(tmp_path: Path) -> None:
    async with target(tmp_path, checksum=digest_of(BODY)) as part:
        assert isinstance(part, PartFile)
        await part.write([BODY[:5]])
        await part.publish([BODY[5:]])
    assert contents(tmp_path) == {"a.iso": BODY}


async def test_a_wrong_digest_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatchError) as caught:
        await save(tmp_path, checksum=digest_of(OLD))
    assert caught.value.expected == digest_of(OLD).hex_digest
    assert caught.value.got == digest_of(BODY).hex_digest
    assert contents(tmp_path) == {}


# What is there already.


async def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="overwrite=True"):
        await save(tmp_path)
    assert contents(tmp_path) == {"a.iso": OLD}


async def test_an_existing_file_is_replaced_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, overwrite=True) as part:
        assert isinstance(part, PartFile)
        await part.write([BODY])
        assert contents(tmp_path) == {"a.iso": OLD, "a.iso.part": BODY}
        await part.publish([])
    assert contents(tmp_path) == {"a.iso": BODY}


async def test_an_existing_file_is_kept_beside_if_asked(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(OLD)
    (tmp_path / "a (1).iso.part").write_bytes(OLD)
    (tmp_path / "a (2).iso").symlink_to("nowhere")
    assert await save(tmp_path, overwrite="unique") == tmp_path / "a (3).iso"
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso.part": OLD, "a (2).iso": None, "a (3).iso": BODY}


async def test_numbers_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk, "_MOST_NUMBERS", 1)
    for name in ("a.iso", "a (1).iso"):
        (tmp_path / name).write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="numbers 1 to 1"):
        await save(tmp_path, overwrite="unique")


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_part_of_somebody_is_never_touched(tmp_path: Path, overwrite: Overwrite) -> None:
    (tmp_path / "a.iso.part").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match=r"a\.iso\.part: it exists.*delete it"):
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
            assert isinstance(part, PartFile)
            make(tmp_path / "a.iso")
            await part.publish([BODY])
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
            assert isinstance(part, PartFile)
            (tmp_path / "a.iso").write_bytes(OLD)
            await part.publish([BODY])
    assert contents(tmp_path) == {"a.iso": OLD}


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_file_that_appears_meanwhile_is_kept_beside_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", fail(errno.EPERM))
    async with target(tmp_path, overwrite="unique") as part:
        assert isinstance(part, PartFile)
        (tmp_path / "a.iso").write_bytes(OLD)
        (tmp_path / "a (1).iso.part").write_bytes(OLD)
        path, _ = await part.publish([BODY])
    assert path == tmp_path / "a (2).iso"
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso.part": OLD, "a (2).iso": BODY}


async def test_numbers_end_somewhere_also_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_disk, "_MOST_NUMBERS", 1)
    with pytest.raises(TargetExistsError, match="numbers 1 to 1"):
        async with target(tmp_path, overwrite="unique") as part:
            assert isinstance(part, PartFile)
            for name in ("a.iso", "a (1).iso"):
                (tmp_path / name).write_bytes(OLD)
            await part.publish([BODY])
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso": OLD}


async def test_who_loses_a_race_for_the_name_finds_it_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other download publishes between our look at the name and the creation of our part."""
    is_taken = _disk._is_taken
    looks = iter([False])
    monkeypatch.setattr(_disk, "_is_taken", lambda path: next(looks, None) is not False and is_taken(path))
    (tmp_path / "a.iso").write_bytes(OLD)
    with pytest.raises(TargetExistsError, match="the file exists"):
        await save(tmp_path)
    assert next(looks, None) is None, "it has not looked"
    assert contents(tmp_path) == {"a.iso": OLD}

    looks = iter([False])
    assert await save(tmp_path, overwrite="unique") == tmp_path / "a (1).iso"

    looks = iter([False])
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
    assert contents(tmp_path) == {"a.iso": OLD, "a (1).iso": BODY}


async def test_two_downloads_of_one_name_do_not_mix(tmp_path: Path) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        await part.write([BODY])
        with pytest.raises(TargetExistsError, match="another download, of this program or another, may be writing it"):
            await save(tmp_path, body=OLD)
        await part.publish([])
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
            assert isinstance(part, PartFile)
            (tmp_path / "a.iso.part").unlink()
            (tmp_path / "a.iso.part").write_bytes(OLD)
            await part.publish([BODY])
    assert contents(tmp_path) == {"a.iso.part": OLD}


async def test_a_part_that_was_written_to_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="another process"):
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            await part.write([BODY])
            (tmp_path / "a.iso.part").write_bytes(BODY + OLD)
            await part.publish([])
    assert contents(tmp_path) == {}


async def test_a_part_that_was_deleted_is_an_error_and_no_more(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            (tmp_path / "a.iso.part").unlink()
            await part.publish([BODY])
    assert contents(tmp_path) == {}


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
    monkeypatch.setattr(_disk, "_HASHED_PER_HOP", 1)
    monkeypatch.setattr(_disk, "_READ_BYTES", 4)
    (tmp_path / "a.iso").write_bytes(OLD)
    async with target(tmp_path, checksum=digest_of(OLD)) as existing:
        assert isinstance(existing, ExistingFile)
        assert await existing.verify() == len(OLD)

    hops = 0
    read = os.read

    def counted(fd: int, size: int) -> bytes:
        nonlocal hops
        hops += 1
        if hops == 2:
            trio.from_thread.run_sync(scope.cancel)
        return read(fd, size)

    monkeypatch.setattr(os, "read", counted)
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
    assert contents(tmp_path) == {}


async def test_a_part_that_cannot_be_made_private_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", fail(errno.EIO))
    with pytest.raises(StorageError):
        await save(tmp_path)
    assert contents(tmp_path) == {}


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
async def test_a_disk_that_refuses_says_why_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    monkeypatch.setattr(os, "write", fail(number))
    with pytest.raises(StorageError, match=advice):
        async with target(tmp_path) as part:
            assert isinstance(part, PartFile)
            await part.write([BODY])
    assert contents(tmp_path) == {}


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
            assert isinstance(part, PartFile)
            monkeypatch.setattr(os, "close", refuse_once)
            await part.publish([BODY])
    assert refused
    assert contents(tmp_path) == {}


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
    assert contents(tmp_path) == {}


async def test_a_link_that_fails_otherwise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EIO))
    with pytest.raises(StorageError):
        await save(tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("is_published", [True, False])
async def test_a_part_that_cannot_be_deleted_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_published: bool
) -> None:
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        monkeypatch.setattr(os, "unlink", fail(errno.EROFS))
        if is_published:
            await part.publish([BODY])
    monkeypatch.undo()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "a.iso.part" in caplog.text
    assert contents(tmp_path) == {"a.iso.part": BODY, "a.iso": BODY} if is_published else {"a.iso.part": b""}


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
    assert contents(tmp_path) == {}


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
    lstat = Path.lstat

    def count(self: Path) -> os.stat_result:
        nonlocal looks
        looks += self == path
        if self == path and looks == look:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(self)

    monkeypatch.setattr(Path, "lstat", count)


@pytest.mark.parametrize("look", [1, 2])
async def test_who_cannot_look_whether_a_name_is_free_takes_nothing_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    look_fails_at(monkeypatch, tmp_path / "a.iso", look)
    with pytest.raises(StorageError, match="the disk or the network file system fails"):
        await save(tmp_path)
    assert contents(tmp_path) == {}


async def test_without_hard_links_a_name_that_cannot_be_looked_at_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fail(errno.EPERM))
    async with target(tmp_path) as part:
        assert isinstance(part, PartFile)
        (tmp_path / "a.iso").write_bytes(OLD)
        look_fails_at(monkeypatch, tmp_path / "a.iso", 1)
        with pytest.raises(StorageError, match="the disk or the network file system fails"):
            await part.publish([BODY])
    assert (tmp_path / "a.iso").read_bytes() == OLD

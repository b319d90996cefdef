# The functions of os and open() are the subject here, each looked up in the block that replaces it.
# ruff: noqa: PLW0108, PTH101, PTH102, PTH104, PTH105, PTH106, PTH107, PTH108, PTH115, PTH116, PTH123, PTH208, PTH211, SIM115
"""Files that fail: every operation is seen, what is told to fail did not happen, and others are left alone."""

from __future__ import annotations

import builtins
import errno
import io
import os
import pathlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trio_dlm.testing.world._files import WatchedFiles, failing_files

BODY = b"what is in the file"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a file, an empty directory and a link."""
    directory = tmp_path / "here"
    directory.mkdir()
    directory.joinpath("file").write_bytes(BODY)
    directory.joinpath("sub").mkdir()
    directory.joinpath("link").symlink_to("file")
    return directory


def state_of(directory: Path) -> dict[str, object]:
    """Return what a failed operation must not have changed."""
    return {
        str(path.relative_to(directory)): (
            path.lstat().st_mode,
            int(path.lstat().st_mtime),
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in directory.rglob("*")
    }


def seen(watched: WatchedFiles) -> list[str]:
    return [str(operation) for operation in watched.operations]


# Each a function of its own: what was looked up in os before the block is not watched.
BY_PATH: list[tuple[str, Callable[[Path], object]]] = [
    ("stat file", lambda at: os.stat(at / "file")),
    ("lstat link", lambda at: os.lstat(at / "link")),
    ("stat .", lambda at: os.stat(at)),
    ("chmod file", lambda at: os.chmod(at / "file", 0o600)),
    ("truncate file", lambda at: os.truncate(at / "file", 3)),
    ("utime file", lambda at: os.utime(at / "file", (1, 1))),
    ("mkdir new", lambda at: os.mkdir(at / "new")),
    ("mkdir new", lambda at: (at / "new").mkdir()),
    ("rmdir sub", lambda at: os.rmdir(at / "sub")),
    ("listdir .", lambda at: os.listdir(at)),
    ("scandir .", lambda at: list(os.scandir(at))),
    ("readlink link", lambda at: os.readlink(at / "link")),
    ("symlink new", lambda at: os.symlink("file", at / "new")),
    ("link file -> new", lambda at: os.link(at / "file", at / "new")),
    ("link file -> new", lambda at: (at / "new").hardlink_to(at / "file")),
    ("rename file -> new", lambda at: os.rename(at / "file", at / "new")),
    ("rename file -> new", lambda at: (at / "file").rename(at / "new")),
    ("replace file -> new", lambda at: os.replace(at / "file", at / "new")),
    ("unlink file", lambda at: os.unlink(at / "file")),
    ("unlink file", lambda at: (at / "file").unlink()),
    ("remove file", lambda at: os.remove(at / "file")),
    ("statvfs .", lambda at: shutil.disk_usage(at)),
    ("open file", lambda at: os.close(os.open(at / "file", os.O_RDONLY))),
    ("open new", lambda at: os.close(os.open(at / "new", os.O_WRONLY | os.O_CREAT))),
    ("open file", lambda at: (at / "file").read_bytes()),
]


@pytest.mark.parametrize(("name", "operate"), BY_PATH)
def test_an_operation_on_a_path_is_counted(name: str, operate: Callable[[Path], object], here: Path) -> None:
    with failing_files(here) as watched:
        operate(here)
    assert seen(watched)[0] == name
    assert watched.failed is None
    assert watched.open_descriptors() == []


@pytest.mark.parametrize(("name", "operate"), BY_PATH)
def test_an_operation_on_a_path_that_fails_has_not_happened(
    name: str, operate: Callable[[Path], object], here: Path
) -> None:
    before = state_of(here)
    with failing_files(here, 1, error=errno.EIO) as watched:
        with pytest.raises(OSError, match=r"Input/output error") as caught:
            operate(here)
    assert caught.value.errno == errno.EIO
    assert str(caught.value.filename).startswith(str(here))
    assert str(watched.failed) == name
    assert watched.failed_at is not None
    assert watched.failed_at.startswith("tests/test_world_files.py:")
    assert state_of(here) == before


BY_DESCRIPTOR: list[tuple[str, Callable[[int], object]]] = [
    ("write file", lambda fd: os.write(fd, b"more")),
    ("pwrite file", lambda fd: os.pwrite(fd, b"more", 2)),
    ("writev file", lambda fd: os.writev(fd, [b"more", b"and more"])),
    ("read file", lambda fd: os.read(fd, 3)),
    ("pread file", lambda fd: os.pread(fd, 3, 1)),
    ("readv file", lambda fd: os.readv(fd, [bytearray(3)])),
    ("fsync file", lambda fd: os.fsync(fd)),
    ("fdatasync file", lambda fd: os.fdatasync(fd)),
    ("ftruncate file", lambda fd: os.ftruncate(fd, 2)),
    ("truncate file", lambda fd: os.truncate(fd, 2)),
    ("fchmod file", lambda fd: os.fchmod(fd, 0o600)),
    ("fstat file", lambda fd: os.fstat(fd)),
    ("stat file", lambda fd: os.stat(fd)),
    ("lseek file", lambda fd: os.lseek(fd, 4, os.SEEK_SET)),
    ("posix_fallocate file", lambda fd: os.posix_fallocate(fd, 0, 100)),
]


@pytest.mark.parametrize(("name", "operate"), BY_DESCRIPTOR)
def test_an_operation_on_a_descriptor_is_counted_and_can_fail(
    name: str, operate: Callable[[int], object], here: Path
) -> None:
    for fail_at in (None, 2):
        before = state_of(here)
        with failing_files(here, fail_at) as watched:
            fd = os.open(here / "file", os.O_RDWR)
            if fail_at is None:
                operate(fd)
            else:
                with pytest.raises(OSError, match=r"No space left"):
                    operate(fd)
                assert state_of(here) == before
                assert os.lseek(fd, 0, os.SEEK_CUR) == 0
            os.close(fd)
        assert seen(watched)[:2] == ["open file", name]
        assert watched.open_descriptors() == []
        here.joinpath("file").write_bytes(BODY)


def test_a_copy_within_the_kernel_counts_with_both_ends(here: Path) -> None:
    with failing_files(here) as watched:
        source, target = os.open(here / "file", os.O_RDONLY), os.open(here / "new", os.O_WRONLY | os.O_CREAT)
        os.sendfile(target, source, 0, 4)
        os.copy_file_range(source, target, 4)
        os.close(source)
        os.close(target)
    assert seen(watched)[2:4] == ["sendfile new -> file", "copy_file_range file -> new"]
    assert here.joinpath("new").read_bytes() == BODY[:4] * 2


def test_a_close_that_fails_has_closed(here: Path) -> None:
    with failing_files(here, 2) as watched:
        fd = os.open(here / "file", os.O_RDONLY)
        with pytest.raises(OSError, match=r"No space left"):
            os.close(fd)
        with pytest.raises(OSError, match=r"Bad file descriptor"):
            os.fstat(fd)
    assert watched.open_descriptors() == []
    with failing_files(here, 2) as watched:
        file = open(here / "file", "rb")
        with pytest.raises(OSError, match=r"No space left"):
            file.close()
        assert file.closed
    assert watched.open_descriptors() == []


# A disk that becomes full.


def test_a_cut_write_takes_half_and_then_the_disk_is_full(here: Path) -> None:
    with failing_files(here, 2, cut=True) as watched:
        fd = os.open(here / "new", os.O_RDWR | os.O_CREAT)
        assert os.write(fd, b"12345678") == 4
        with pytest.raises(OSError, match=r"No space left"):
            os.write(fd, b"5678")
        with pytest.raises(OSError, match=r"No space left"):
            os.pwrite(fd, b"5", 4)
        with pytest.raises(OSError, match=r"No space left"):
            os.writev(fd, [b"5"])
        assert os.pread(fd, 10, 0) == b"1234"
        os.close(fd)
        os.unlink(here / "new")
    assert str(watched.failed) == "write new"


def test_a_write_of_one_byte_cannot_be_cut_and_is_refused(here: Path) -> None:
    with failing_files(here, 2, cut=True):
        fd = os.open(here / "new", os.O_RDWR | os.O_CREAT)
        with pytest.raises(OSError, match=r"No space left"):
            os.write(fd, b"1")
        os.close(fd)


def test_a_disk_that_becomes_full_at_another_operation_refuses_the_next_write(here: Path) -> None:
    with failing_files(here, 1, cut=True):
        fd = os.open(here / "new", os.O_RDWR | os.O_CREAT)
        os.fsync(fd)
        with pytest.raises(OSError, match=r"No space left"):
            os.write(fd, b"12")
        os.close(fd)


def test_a_cut_write_of_a_raw_file_says_how_much_it_took(here: Path) -> None:
    with failing_files(here, 2, cut=True):
        with open(here / "new", "wb", buffering=0) as file:
            assert file.write(b"12345678") == 4
            with pytest.raises(OSError, match=r"No space left"):
                file.write(b"5678")
    assert here.joinpath("new").read_bytes() == b"1234"


def test_a_buffered_file_does_not_lose_silently_what_was_cut(here: Path) -> None:
    with failing_files(here, 2, cut=True):
        with pytest.raises(OSError, match=r"No space left"):
            here.joinpath("new").write_bytes(b"12345678")
    assert here.joinpath("new").read_bytes() == b"1234"


# Files of open().

MODES = ["r", "w", "a", "r+", "w+", "a+", "rt", "rb", "wb", "ab", "r+b", "w+b", "ab+", "xb", "x"]


@pytest.mark.parametrize("buffering", [-1, 0, 1, 16])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:line buffering:RuntimeWarning")
def test_a_file_is_what_open_gives_without_being_watched(mode: str, buffering: int, tmp_path: Path) -> None:
    """The fake and the real thing, through the same calls."""

    def use(directory: Path) -> list[object]:
        path = directory / "file"
        if "x" not in mode:
            path.write_bytes(b"one\r\ntwo\n")
        told: list[object] = []
        try:
            with open(path, mode, buffering) as file:
                told += [file.mode, file.readable(), file.writable(), Path(file.name).name, file.tell()]
                if file.readable():
                    told += [file.readline(), file.seek(0), file.read()]
                if file.writable():
                    told += [file.write("né\n" if "b" not in mode else b"n\n"), file.flush(), file.seek(1)]
                    told += [file.truncate(), file.fileno() >= 0]
                told.append(type(file) if buffering or "b" not in mode else io.FileIO)
        except (ValueError, OSError) as exc:
            told += [type(exc), str(exc)]
        return [*told, path.read_bytes() if path.exists() else None]

    tmp_path.joinpath("a").mkdir()
    tmp_path.joinpath("b").mkdir()
    with failing_files(tmp_path / "a") as watched:
        told = use(tmp_path / "a")
    assert told == use(tmp_path / "b")
    assert watched.open_descriptors() == []
    assert "close file" in seen(watched)


@pytest.mark.parametrize("mode", ["", "rw", "q", "r++"])
def test_a_mode_that_is_none_is_refused_as_by_open(mode: str, here: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        open(here / "file", mode)
    with failing_files(here) as watched:
        with pytest.raises(ValueError, match=r"."):
            open(here / "file", mode)
    assert watched.open_descriptors() == []


def test_a_file_that_cannot_be_wrapped_is_closed(here: Path) -> None:
    with failing_files(here) as watched:
        with pytest.raises(LookupError):
            open(here / "file", encoding="no such encoding")
    assert watched.open_descriptors() == []


CALLS = ["open", "read", "read", "read", "lseek", "write", "ftruncate", "close"]


def test_every_call_of_a_file_can_fail(here: Path) -> None:
    def use() -> None:
        with here.joinpath("file").open("r+b", buffering=0) as file:
            file.read(3)
            file.readinto(bytearray(2))
            file.read()
            file.seek(2)
            file.write(b"x")
            file.truncate()

    with failing_files(here) as watched:
        use()
    assert seen(watched) == [f"{call} file" for call in CALLS]
    for number in range(1, 9):
        with failing_files(here, number) as watched:
            with pytest.raises(OSError, match=r"No space left"):
                use()
        assert watched.failed == watched.operations[number - 1]
        assert watched.open_descriptors() == []


def test_an_opener_and_a_descriptor_lead_to_a_watched_file(here: Path) -> None:
    with failing_files(here) as watched:
        directory = os.open(here, os.O_RDONLY)
        with open("file", "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=directory)) as file:
            assert file.read() == BODY
        os.close(directory)
        with os.fdopen(os.open(here / "file", os.O_RDONLY), "rb") as file:
            assert file.read(4) == BODY[:4]
        fd = os.open(here / "file", os.O_RDONLY)
        with open(fd, closefd=False) as text:
            text.read()
        os.close(fd)
    assert watched.open_descriptors() == []
    assert seen(watched).count("open file") == 3


def test_what_a_file_writes_to_disk_can_be_asked_for_by_its_descriptor(here: Path) -> None:
    with failing_files(here) as watched:
        with open(here / "new", "wb") as file:
            file.write(b"1")
            file.flush()
            os.fsync(file.fileno())
    assert seen(watched) == ["open new", "write new", "fsync new", "close new"]


def test_a_forgotten_file_is_told_of_by_the_interpreter_as_ever(here: Path) -> None:
    with failing_files(here) as watched:
        with pytest.warns(ResourceWarning, match=r"unclosed file"):
            open(here / "file")
    assert watched.open_descriptors() == []


# What is elsewhere.


def test_what_is_elsewhere_is_left_alone(here: Path, tmp_path: Path) -> None:
    other = tmp_path / "hereabouts"
    with failing_files(here, 1) as watched:
        other.mkdir()
        other.joinpath("a").write_bytes(BODY)
        os.rename(other / "a", other / "b")
        fd = os.open(other / "b", os.O_RDONLY)
        assert os.read(fd, 4) == BODY[:4]
        os.close(fd)
        reader, writer = os.pipe()
        os.write(writer, b"x")
        os.close(reader)
        os.close(writer)
        shutil.rmtree(other)
        with pytest.raises(TypeError):
            os.stat(None)  # type: ignore[arg-type]
    assert watched.operations == []


def test_a_move_into_the_directory_counts(here: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("other").write_bytes(BODY)
    with failing_files(here) as watched:
        os.replace(tmp_path / "other", here / "new")
    assert seen(watched) == [f"replace {tmp_path / 'other'} -> new"]


def test_the_directory_is_found_by_every_way_that_leads_there(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("way").symlink_to(here)
    monkeypatch.chdir(here)
    with failing_files(tmp_path / "way") as watched:
        os.stat("file")
        os.stat(b"file")
        os.stat(here / "sub" / ".." / "file")
        os.stat(tmp_path / "way" / "file")
        os.listdir()
        at = os.open(tmp_path / "way" / "sub", os.O_RDONLY)
        os.mkdir("new", dir_fd=at)
        os.close(at)
        with open(tmp_path / "other", "wb") as elsewhere:
            with pytest.raises(NotADirectoryError):
                os.stat("new", dir_fd=elsewhere.fileno())
    assert seen(watched) == [*["stat file"] * 4, "listdir .", "open sub", "mkdir sub/new", "close sub"]


def test_an_open_descriptor_is_named(here: Path) -> None:
    with failing_files(here) as watched:
        fd = os.open(here / "file", os.O_RDONLY)
        again = os.dup(fd)
    assert watched.open_descriptors() == ["file", "file"]
    os.close(fd)
    os.close(again)
    assert watched.open_descriptors() == []


def test_a_number_that_is_used_again_is_no_leak(here: Path, tmp_path: Path) -> None:
    with failing_files(here) as watched:
        fd = os.open(here / "file", os.O_RDONLY)
        os.closerange(fd, fd + 1)
        with open(tmp_path / "other", "wb") as other:
            assert other.fileno() == fd
            os.fsync(fd)
            assert watched.open_descriptors() == []
    assert seen(watched) == ["open file"]


# The block.


def test_everything_is_put_back(here: Path) -> None:
    def functions() -> list[Any]:
        return [*vars(os).values(), io.open, builtins.open, pathlib.Path.open]

    before, abilities = functions(), set(os.supports_dir_fd)
    with pytest.raises(ZeroDivisionError):
        with failing_files(here):
            assert os.open in os.supports_dir_fd
            assert io.open is builtins.open is not before[-2]
            raise ZeroDivisionError
    assert all(one is other for one, other in zip(functions(), before, strict=True))
    assert os.supports_dir_fd == abilities


def test_blocks_for_two_directories_count_for_themselves(here: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with failing_files(here) as outer, failing_files(other, 1) as inner:
        here.joinpath("file").read_bytes()
        with pytest.raises(OSError, match=r"No space left"):
            other.joinpath("file").write_bytes(BODY)
        os.stat(here)
    assert seen(outer) == ["open file", "read file", "close file", "stat ."]
    assert seen(inner) == ["open file"]


def test_access_says_no_where_others_raise(here: Path) -> None:
    with failing_files(here, 2) as watched:
        assert [os.access(here / "file", os.R_OK) for _ in range(3)] == [True, False, True]
        assert not os.access(here / "nothing", os.F_OK)
    assert seen(watched) == ["access file"] * 3 + ["access nothing"]
    assert watched.failed is not None
    assert watched.failed.is_look


def test_what_other_threads_do_counts(here: Path) -> None:
    with failing_files(here) as watched:
        thread = threading.Thread(target=lambda: here.joinpath("file").stat())
        thread.start()
        thread.join()
    assert seen(watched) == ["stat file"]


def test_the_library_s_own_tools_work_while_they_are_watched(here: Path) -> None:
    with failing_files(here) as watched:
        shutil.copytree(here, here / "copy", symlinks=True)
        shutil.move(here / "copy", here / "moved")
        shutil.rmtree(here / "moved")
        assert sorted(path.name for path in here.iterdir()) == ["file", "link", "sub"]
        assert list(here.glob("f*"))
        assert [names for _, _, names in os.walk(here)]
    assert len(watched.operations) > 20
    assert watched.open_descriptors() == []

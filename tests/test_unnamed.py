"""A small file gets its name in one step, or nothing is done at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from trio_dlm import StorageError
from trio_dlm.downloaders.disk import _unnamed
from trio_dlm.downloaders.disk._unnamed import can_be_unnamed, save_whole

pytestmark = pytest.mark.skipif(not can_be_unnamed(), reason="this system has no unnamed files")

BODY = [b"some ", b"", b"bytes"]


def fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_has_its_name_and_all_its_bytes(tmp_path: Path) -> None:
    before = fds()

    assert save_whole(tmp_path / "a", "a", BODY, overwrite=False) == tmp_path / "a"

    assert (tmp_path / "a").read_bytes() == b"some bytes"
    assert names_in(tmp_path) == ["a"]
    assert fds() == before


def test_it_has_the_mode_that_any_new_file_has(tmp_path: Path) -> None:
    (tmp_path / "other").touch()

    save_whole(tmp_path / "a", "a", BODY, overwrite=False)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_that_is_taken_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a").write_bytes(b"there")
    (tmp_path / "b").symlink_to("nowhere")

    for name in "ab":
        assert save_whole(tmp_path / name, name, BODY, overwrite=overwrite) is None

    assert (tmp_path / "a").read_bytes() == b"there"
    assert names_in(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("suffix", [".part", ".part.lock"])
def test_a_name_that_another_download_wants_is_left_to_it(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()

    assert save_whole(tmp_path / "a", "a", BODY, overwrite=False) is None
    assert save_whole(tmp_path / "a", "a", BODY, overwrite="unique") == tmp_path / "a (1)"


def test_a_number_is_found_for_it(tmp_path: Path) -> None:
    for name in ("a.bin", "a (1).bin"):
        (tmp_path / name).touch()

    assert save_whole(tmp_path / "a.bin", "a.bin", BODY, overwrite="unique") == tmp_path / "a (2).bin"


def test_a_directory_that_is_not_there_is_for_the_long_way(tmp_path: Path) -> None:
    assert save_whole(tmp_path / "missing" / "a", "a", BODY, overwrite=False) is None


@pytest.mark.parametrize("call", ["open", "link"])
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EPERM])
def test_a_system_without_unnamed_files_is_for_the_long_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    real = getattr(os, call)

    def refuse(*args: object, **kwargs: object) -> object:
        if call == "link" or args[0] == ".":
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    before = fds()
    monkeypatch.setattr(os, call, refuse)

    assert save_whole(tmp_path / "a", "a", BODY, overwrite=False) is None

    assert fds() == before
    assert names_in(tmp_path) == []


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = fds()
    monkeypatch.setattr(os, "write", full)

    with pytest.raises(StorageError, match="the disk is full: make room"):
        save_whole(tmp_path / "a", "a", BODY, overwrite=False)

    assert fds() == before
    assert names_in(tmp_path) == []


def test_a_disk_that_takes_a_byte_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:1]))

    save_whole(tmp_path / "a", "a", BODY, overwrite=False)

    assert (tmp_path / "a").read_bytes() == b"some bytes"


def test_windows_and_macos_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unnamed, "_UNNAMED", 0)
    assert not can_be_unnamed()

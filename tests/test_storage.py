"""What rooms that touch files have in common, where test_partfile.py does not get there."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from tests.parts import fail
from trio_dlm._errors import StorageError, TargetExistsError
from trio_dlm.downloaders.disk import _storage
from trio_dlm.downloaders.disk._names import AUXILIARY_SUFFIXES
from trio_dlm.downloaders.disk._storage import Places, check_room, open_regular, read_at, storage_errors, write_at
from trio_dlm.downloaders.http.files import _kept


def test_what_stands_beside_a_file_has_names_that_no_file_gets(tmp_path: Path) -> None:
    places = Places.of(tmp_path / "a.tar.gz")
    beside = (places.part, places.record, places.lock, places.spare)
    assert {path.name.removeprefix("a.tar.gz") for path in beside} == set(AUXILIARY_SUFFIXES)


@pytest.mark.parametrize("has_offsets", [True, False])
def test_threads_write_and_read_where_they_mean_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_offsets: bool
) -> None:
    monkeypatch.setattr(_storage, "_has_offsets", has_offsets)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    def work(number: int) -> None:
        for offset in range(number * 100, (number + 1) * 100, 10):
            write_at(fd, b"%010d" % offset, offset)
            assert read_at(fd, 10, offset) == b"%010d" % offset

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_at(fd, 1000, 0) == b"".join(b"%010d" % offset for offset in range(0, 400, 10))
    assert read_at(fd, 10, 400) == b""
    os.close(fd)


def test_an_error_has_the_number_of_the_systems_own(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the disk is full") as caught, storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC


def test_room_that_is_there_already_is_not_needed(tmp_path: Path) -> None:
    check_room(tmp_path, -5)


def test_a_file_that_cannot_be_looked_at_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    closed: list[int] = []
    close = os.close

    def note(fd: int) -> None:
        closed.append(fd)
        close(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail(errno.EIO))
        patch.setattr(os, "close", note)
        with pytest.raises(StorageError, match="the disk or the network file system fails"):
            open_regular(tmp_path / "file")
    assert len(closed) == 1


def test_a_part_that_changes_hands_between_look_and_opening_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places.of(tmp_path / "a")
    places.part.touch()
    (tmp_path / "elsewhere").hardlink_to(places.part)
    (tmp_path / "decent").touch()
    monkeypatch.setattr(_kept, "look", lambda path: (tmp_path / "decent").stat())
    with pytest.raises(TargetExistsError, match="was replaced meanwhile: what is there now has 2 names"):
        _kept.open_kept(places, None)

"""The directory of one item: taken by one, looked at before anything leaves, kept or not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trio_dlm._errors import StorageError, TargetExistsError
from trio_dlm._options import Checksum
from trio_dlm.downloaders.disk._lock import NameLock
from trio_dlm.downloaders.ytdlp._job_directory import JobDirectory, directory_key, existing_file, hex_digest

KEY = directory_key({"url": "u"})


def take(directory: Path, **options: object) -> JobDirectory:
    given = {"resume": True, "overwrite": False, **options}
    return JobDirectory.take(directory, KEY, **given)  # type: ignore[arg-type]


def test_the_name_follows_from_the_facts_and_shows_none_of_them() -> None:
    secret = directory_key({"url": "https://u:secret@example.org/"})
    assert secret.startswith("ytdlp-")
    assert "secret" not in secret
    assert directory_key({"a": 1, "b": 2}) == directory_key({"b": 2, "a": 1})
    assert directory_key({"a": 1}) != directory_key({"a": 2})


def test_nobody_else_may_look_inside_and_nothing_stays(tmp_path: Path) -> None:
    place = take(tmp_path / "new" / "folder")
    assert place.is_new
    assert place.path.stat().st_mode & 0o777 == 0o700
    assert place.path.parent.stat().st_mode & 0o777 == 0o700
    place.leave(keep=True)
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_who_comes_while_the_last_one_leaves_makes_the_folder_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = NameLock.take
    vanishing = [True, True]

    def take_lock(path: Path) -> NameLock | None:
        if vanishing:
            vanishing.pop()
            path.parent.rmdir()
        return real(path)

    monkeypatch.setattr(NameLock, "take", take_lock)
    place = take(tmp_path)
    assert not vanishing
    place.leave(keep=False)
    assert list(tmp_path.iterdir()) == []
    vanishing += [True] * 1000
    with pytest.raises(StorageError, match="it or its directory was removed meanwhile"):
        take(tmp_path)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    place = take(tmp_path)
    (place.path / "part").write_bytes(b"12345")
    assert place.size_bytes == 5
    place.leave(keep=True)
    again = take(tmp_path)
    assert not again.is_new
    assert again.size_bytes == 5
    again.clear()
    assert again.size_bytes == 0
    again.leave(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_without_resume_it_begins_empty(tmp_path: Path) -> None:
    place = take(tmp_path)
    (place.path / "part").write_bytes(b"12345")
    place.leave(keep=True)
    again = take(tmp_path, resume=False)
    assert again.is_new
    assert again.size_bytes == 0
    again.leave(keep=False)


def test_one_download_at_a_time(tmp_path: Path) -> None:
    place = take(tmp_path)
    with pytest.raises(TargetExistsError, match="another download"):
        take(tmp_path)
    beside = take(tmp_path, overwrite="unique")
    assert beside.path != place.path
    beside.leave(keep=False)
    place.leave(keep=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".trio_dlm", f".trio_dlm/{KEY}"])
def test_a_link_in_its_place_is_refused(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".trio_dlm").mkdir() if "/" in name else None
    (tmp_path / name).symlink_to(elsewhere)
    with pytest.raises(TargetExistsError, match="no directory of yours"):
        take(tmp_path)
    assert list(elsewhere.iterdir()) == []


def test_a_file_of_the_worker_is_looked_at(tmp_path: Path) -> None:
    place = take(tmp_path)
    inside = place.path / "media.mp4"
    inside.write_bytes(b"123")
    assert place.check(str(inside)).size_bytes == 3
    outside = tmp_path / "outside"
    outside.write_bytes(b"123")
    link, hard, pipe = (place.path / name for name in ("link", "hard", "pipe"))
    link.symlink_to(outside)
    os.link(outside, hard)
    os.mkfifo(pipe)
    bad = (outside, link, hard, pipe, place.path, place.path / "nothing", place.path / ".." / ".." / "outside")
    for path in bad:
        with pytest.raises(StorageError, match=r"no regular file in the directory|No such file"):
            place.check(str(path))
    place.leave(keep=False)


def test_a_file_gets_its_name_and_replaces_nothing(tmp_path: Path) -> None:
    place = take(tmp_path)
    for number, overwrite in enumerate((False, "unique", True)):
        file = place.path / f"media{number}"
        file.write_bytes(b"%d" % number)
        final = tmp_path / "a.mp4"
        path = place.publish(place.check(str(file)), final, overwrite=overwrite, durability="power")  # type: ignore[arg-type]
        assert path.read_bytes() == b"%d" % number
        assert path.name == ("a (1).mp4" if overwrite == "unique" else "a.mp4")
        assert not file.exists()
    file = place.path / "last"
    file.write_bytes(b"x")
    with pytest.raises(TargetExistsError):
        place.publish(place.check(str(file)), tmp_path / "a.mp4", overwrite=False, durability="process")
    place.leave(keep=False)


def test_a_file_that_is_exchanged_after_the_look_is_not_published(tmp_path: Path) -> None:
    place = take(tmp_path)
    file = place.path / "media"
    file.write_bytes(b"x")
    taken = place.check(str(file))
    os.link(file, place.path / "other")
    with pytest.raises(StorageError):
        place.publish(taken, tmp_path / "a", overwrite=False, durability="process")
    place.leave(keep=False)


def test_what_cannot_be_deleted_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = take(tmp_path)

    def refuse(path: object) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr("shutil.rmtree", refuse)
    place.leave(keep=False)
    assert "could not be deleted (not permitted)" in caplog.text


def test_a_file_that_is_there_already(tmp_path: Path) -> None:
    final = tmp_path / "a"
    right = Checksum.parse("sha256:" + "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")
    wrong = Checksum.parse("md5:" + "0" * 32)
    assert existing_file(final, overwrite=False, checksum=None) is None
    final.write_bytes(b"x")
    assert existing_file(final, overwrite=True, checksum=None) is None
    assert existing_file(final, overwrite="unique", checksum=None) is None
    assert existing_file(final, overwrite=False, checksum=right) == 1
    with pytest.raises(TargetExistsError, match="the file exists; nothing was overwritten"):
        existing_file(final, overwrite=False, checksum=None)
    with pytest.raises(TargetExistsError, match="its md5 is 9dd4e461268c8034f5c8564e155c67a6, not 000"):
        existing_file(final, overwrite=False, checksum=wrong)


def test_a_digest_can_be_given_up(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def stop() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        hex_digest(tmp_path / "a", "sha256", stop)

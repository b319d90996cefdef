"""One download per name: whoever has the lock has it alone, and nothing that was left behind locks anybody out."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.parts import everything, fail
from trio_dlm._errors import StorageError, TargetExistsError
from trio_dlm.downloaders.disk import _lock
from trio_dlm.downloaders.disk._lock import NameLock

fcntl = pytest.importorskip("fcntl", reason="Windows locks in another way")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.part.lock"


def take(path: Path) -> NameLock:
    lock = NameLock.take(path)
    assert lock is not None
    return lock


def no_locks(number: int = errno.ENOLCK) -> Callable[..., None]:
    refuse: Callable[..., None] = fail(number)
    return refuse


@pytest.fixture(params=[None, errno.ENOLCK, errno.ENOTSUP])
def _with_and_without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(fcntl, "flock", no_locks(request.param))


@pytest.mark.usefixtures("_with_and_without_locks")
def test_a_name_is_had_by_one_at_a_time(path: Path) -> None:
    first = take(path)
    assert NameLock.take(path) is None
    assert path.exists()
    first.release()
    assert not path.exists()
    second = take(path)
    first.release()
    assert NameLock.take(path) is None, "who has released it has nothing to release"
    second.release()
    assert everything(path.parent) == {}


@pytest.mark.usefixtures("_with_and_without_locks")
def test_a_file_that_was_left_behind_is_simply_locked(path: Path) -> None:
    path.write_bytes(b"left")
    take(path).release()
    assert not path.exists()


@pytest.mark.usefixtures("_with_and_without_locks")
def test_names_do_not_get_into_each_others_way(path: Path) -> None:
    locks = [take(path), take(path.with_name("b.part.lock"))]
    for lock in locks:
        lock.release()


def test_another_process_has_it_until_it_ends(path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from trio_dlm.downloaders.disk._lock import NameLock
lock = NameLock.take(Path({str(path)!r}))
print("taken" if lock else "not taken", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "taken\n"
        assert NameLock.take(path) is None
        other.kill()
    assert path.exists()
    take(path).release()


def test_who_locks_a_file_that_was_deleted_meanwhile_locks_the_one_that_is_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    left = iter(range(3))

    def replace_first(fd: int, flags: int) -> None:
        if next(left, None) is not None:
            path.unlink()
            path.touch()
        flock(fd, flags)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    lock = take(path)
    assert next(left, None) is None
    assert NameLock.take(path) is None
    lock.release()
    assert not path.exists()


def test_a_file_that_is_replaced_for_ever_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(fd: int, flags: int) -> None:
        path.unlink()
        path.touch()

    monkeypatch.setattr(_lock, "_MOST_TRIES", 3)
    monkeypatch.setattr(fcntl, "flock", replace)
    with pytest.raises(StorageError, match="replaced again and again"):
        NameLock.take(path)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("victim"), Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_stays(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    with pytest.raises(TargetExistsError, match="no regular file"):
        NameLock.take(path)
    assert everything(path.parent) == {"a.part.lock": None}


def test_a_lock_that_fails_otherwise_is_an_error_and_leaves_the_file_to_who_may_have_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", fail(errno.EIO))
    with pytest.raises(StorageError, match="the disk or the network file system fails"):
        NameLock.take(path)
    assert path.exists()


def test_a_file_that_cannot_be_deleted_is_logged_and_locks_nobody_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lock = take(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail(errno.EROFS))
        lock.release()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "could not be deleted (Read-only file system); it does no harm" in caplog.text
    take(path).release()


def test_what_others_see_of_us_is_who_owns_a_file_that_we_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: -5)
    lock = take(path)
    assert lock.owner == path.stat().st_uid
    lock.release()
    path.touch()
    lock = take(path)
    assert lock.owner == -5, "a file that was there may be anybody's"
    lock.release()
    monkeypatch.delattr(os, "geteuid")
    lock = take(path)
    assert lock.owner is None
    lock.release()


def test_of_many_threads_one_at_a_time_has_it(path: Path) -> None:
    inside = 0
    most = 0
    had = threading.Semaphore(0)

    def compete() -> None:
        nonlocal inside, most
        while True:
            lock = NameLock.take(path)
            if lock is not None:
                inside += 1
                most = max(most, inside)
                inside -= 1
                lock.release()
                had.release()
                return

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
        assert had.acquire(blocking=False)
    assert most == 1
    assert not path.exists()

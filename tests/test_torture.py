"""Torture finds what is planted, says where, and finds nothing in our own HTTP downloader.

Rules that hold here:

- what is planted is a mistake that somebody could make, in a scenario of a few lines or in the downloader itself;
- each is told by the injection that met it and by the promise that it broke, and by nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import trio
import trio.lowlevel
import trustme

import trio_dlm
from tests.ways import WAYS, take_way
from trio_dlm import DownloadFailedError, DownloadOptions, DownloadRequest, DownloadStatus
from trio_dlm.downloaders.disk._storage import Places
from trio_dlm.downloaders.http import _downloader
from trio_dlm.downloaders.http.client import _client
from trio_dlm.downloaders.http.files import _part
from trio_dlm.testing._errors import PromiseBrokenError
from trio_dlm.testing._places import innermost
from trio_dlm.testing.checks import _checkpoints
from trio_dlm.testing.checks._torture import Stage, torture
from trio_dlm.testing.origin._connection import Connection
from trio_dlm.testing.origin._plan import FaultPlan
from trio_dlm.testing.origin._raw import head
from trio_dlm.testing.origin._request import Request
from trio_dlm.testing.origin.faults import DropAt, Redirect, Stall, Touched, Trickle

Scenario: TypeAlias = Callable[[Stage], Awaitable[object]]

BODY: Final = hashlib.shake_128(b"what is fetched").digest(3000)
OLD: Final = b"what was there"
DIGEST: Final = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
NAME: Final = "file.bin"


# A downloader of a few lines that keeps every promise, and what can be wrong with it.


async def fetch(stage: Stage) -> bytes:
    async with await stage.origin.connect() as stream:
        await stream.send_all(b"GET /file.bin HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
        reply = b""
        async for chunk in stream:
            reply += chunk
    return reply.partition(b"\r\n\r\n")[2]


async def save(stage: Stage) -> None:
    part = stage.directory / f"{NAME}.part"
    try:
        with part.open("wb") as file:
            file.write(await fetch(stage))
        part.replace(stage.directory / NAME)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def save_quickly(stage: Stage, body: bytes) -> None:
    part = stage.directory / f"{NAME}.part"
    try:
        part.write_bytes(body)
        part.replace(stage.directory / NAME)
    except OSError:
        part.unlink(missing_ok=True)
        raise


async def leave_the_part_when_cancelled(stage: Stage) -> None:
    part = stage.directory / f"{NAME}.part"
    try:
        with part.open("wb") as file:
            file.write(await fetch(stage))
        part.replace(stage.directory / NAME)
    except OSError:
        part.unlink(missing_ok=True)
        raise


async def write_under_the_final_name(stage: Stage) -> None:
    with stage.directory.joinpath(NAME).open("wb") as file:
        file.write(await fetch(stage))


async def forget_the_descriptor_on_errors(stage: Stage) -> None:
    body = await fetch(stage)
    part = stage.directory / f"{NAME}.part"
    fd = os.open(part, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while body:
            body = body[os.write(fd, body) :]
    except OSError:
        part.unlink()
        raise
    try:
        os.close(fd)
        part.replace(stage.directory / NAME)
    except OSError:
        part.unlink()
        raise


kept: list[Any] = []


async def forget_the_file(stage: Stage) -> None:
    body = await fetch(stage)
    part = stage.directory / f"{NAME}.part"
    # A circle, so that it is the collector that finds the file.
    circle: list[Any] = [part.open("wb", buffering=0)]
    circle.append(circle)
    circle[0].write(body)
    part.replace(stage.directory / NAME)
    if kept:
        circle[0].close()


async def believe_that_a_write_takes_all(stage: Stage) -> None:
    body = await fetch(stage)
    part = stage.directory / f"{NAME}.part"
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(fd, body)
        finally:
            os.close(fd)
        part.replace(stage.directory / NAME)
    except OSError:
        part.unlink(missing_ok=True)
        raise


async def swallow_the_cancel(stage: Stage) -> None:
    with contextlib.suppress(trio.Cancelled):
        await save(stage)


async def ignore_errors(stage: Stage) -> None:
    with contextlib.suppress(OSError):
        await save(stage)


async def leave_a_task(stage: Stage) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep_forever)
    await save(stage)


async def leave_a_task_when_cancelled(stage: Stage) -> None:
    try:
        await save(stage)
    except trio.Cancelled:
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
        raise


async def leave_the_connection_when_cancelled(stage: Stage) -> None:
    stream = await stage.origin.connect()
    kept.append(stream)
    await stream.send_all(b"GET /file.bin HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
    reply = b""
    async for chunk in stream:
        reply += chunk
    await stream.aclose()
    save_quickly(stage, reply.partition(b"\r\n\r\n")[2])


async def leave_a_thread_on_errors(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        stop = threading.Event()
        kept.append(stop)
        threading.Thread(target=stop.wait, name="who waits", daemon=True).start()
        raise


async def raise_something_else(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError as exc:
        raise LookupError("no errno for you") from exc


async def raise_something_else_in_a_group(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError as exc:
        raise ExceptionGroup("both", [exc, LookupError("no errno for you")]) from exc


async def raise_an_old_cancelled(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                kept.append(exc)
                raise
        raise kept.pop() from None


async def hold_out_when_cancelled(stage: Stage) -> None:
    try:
        await save(stage)
    except trio.Cancelled:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
        raise


async def hold_out_twice_when_cancelled(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_out_when_cancelled, stage)
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            with trio.CancelScope(shield=True):
                try:
                    await trio.sleep_forever()
                finally:
                    await trio.sleep_forever()
            raise


async def hold_out_whatever_comes(stage: Stage) -> None:
    try:
        await save(stage)
    except trio.Cancelled:
        while True:
            with trio.CancelScope(shield=True), contextlib.suppress(BaseException):
                await trio.sleep_forever()


async def let_the_world_spin(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:

        async def spin() -> None:
            while True:
                await trio.lowlevel.checkpoint()

        trio.lowlevel.spawn_system_task(spin)
        await trio.sleep(1)
        raise


async def wait_for_what_never_comes(stage: Stage) -> None:
    done = trio.Event()

    async def work() -> None:
        with contextlib.suppress(OSError):
            await save(stage)
            done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        await done.wait()


async def try_again_for_ever(stage: Stage) -> None:
    while True:
        try:
            if not stage.directory.joinpath("tried").exists():
                await save(stage)
            return
        except OSError:
            stage.directory.joinpath("tried").touch()
            while True:
                await trio.lowlevel.checkpoint()


async def swallow_everything_and_try_again(stage: Stage) -> None:
    while True:
        try:
            await save(stage)
            return
        except BaseException:
            continue


async def swallow_everything_in_a_child(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(swallow_everything_and_try_again, stage)
        nursery.start_soon(trio.sleep, 1)


async def refuse_what_is_left(stage: Stage) -> None:
    part = stage.directory / f"{NAME}.part"
    with part.open("xb") as file:
        file.write(await fetch(stage))
    part.replace(stage.directory / NAME)


async def remove_the_old_file_first(stage: Stage) -> None:
    body = await fetch(stage)
    stage.directory.joinpath(NAME).unlink(missing_ok=True)
    save_quickly(stage, body)


async def keep_a_log(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        stage.directory.joinpath("log").write_bytes(b"it failed")
        raise


async def remove_another_file(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        stage.directory.joinpath("other").unlink()
        raise


async def change_another_file(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        stage.directory.joinpath("other").write_bytes(b"another")
        raise


async def make_a_link_of_it(stage: Stage) -> None:
    try:
        await save(stage)
    except OSError:
        stage.directory.joinpath(NAME).symlink_to("nowhere")
        raise


@dataclass(frozen=True)
class Bug:
    """A scenario that breaks a promise, and what is said about it."""

    scenario: Scenario
    injected: str
    said: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.scenario.__name__


CANCELLED: Final = r"Cancelled at checkpoint \d+, in the scenario at tests/test_torture\.py:\d+ \w+"
PART: Final = re.escape(f"{NAME}.part")

BUGS: Final = [
    Bug(leave_the_part_when_cancelled, CANCELLED, rf"it left {PART}, \d+ bytes"),
    Bug(write_under_the_final_name, CANCELLED, r"file\.bin is there, and not whole: 0 bytes, the first of 3000"),
    Bug(
        forget_the_descriptor_on_errors,
        rf"OSError ENOSPC at file operation 2: write {PART}, in tests/test_torture\.py:\d+ forget_\w+",
        rf"it left a descriptor of {PART}",
    ),
    Bug(forget_the_file, r"without any injection", r"it left something for the collector of garbage: unclosed file .*"),
    Bug(
        believe_that_a_write_takes_all,
        rf"a full disk from file operation 2: write {PART}, in tests/test_torture\.py:\d+ believe_\w+",
        r"file\.bin is there, and not whole: 1500 bytes, the first of 3000",
    ),
    Bug(swallow_the_cancel, CANCELLED, r"it returned without having delivered file\.bin"),
    Bug(ignore_errors, r"OSError ENOSPC at file operation 1: .*", r"it returned without having delivered file\.bin"),
    Bug(leave_a_task, r"without any injection", r"it left a task, trio\.sleep_forever at .*"),
    Bug(leave_a_task_when_cancelled, CANCELLED, r"it left a task, trio\.sleep_forever at .*"),
    Bug(leave_the_connection_when_cancelled, CANCELLED, r"it left open connections: 1"),
    Bug(leave_a_thread_on_errors, r"OSError ENOSPC at file operation 1: .*", r"it left a thread, who waits"),
    Bug(
        raise_something_else,
        r"OSError ENOSPC at file operation 1: .*",
        r"it raised what is none of its errors \(OSError\): LookupError: no errno for you",
    ),
    Bug(
        raise_something_else_in_a_group,
        r"OSError ENOSPC at file operation 1: .*",
        r"it raised what is none of its errors \(OSError\): ExceptionGroup: both \(2 sub-exceptions\)",
    ),
    Bug(
        raise_an_old_cancelled,
        r"OSError ENOSPC at file operation 1: .*",
        r"it raised what is none of its errors \(OSError\): Cancelled: .*",
    ),
    Bug(
        hold_out_when_cancelled,
        CANCELLED,
        r"it did not end: after 3600 virtual seconds there waits .*hold_out_when_cancelled",
    ),
    Bug(hold_out_twice_when_cancelled, CANCELLED, r"it did not end: .*hold_out_when_cancelled"),
    Bug(hold_out_whatever_comes, CANCELLED, r"it did not end: after 3600 virtual seconds there waits .*"),
    Bug(
        let_the_world_spin,
        r"OSError ENOSPC at file operation 1: .*",
        r"it did not end: 200000 steps were taken .*",
    ),
    Bug(
        wait_for_what_never_comes,
        r"OSError ENOSPC at file operation 1: .*",
        r"it did not end: after 3600 virtual seconds there waits .*wait_for_what_never_comes",
    ),
    Bug(
        try_again_for_ever,
        r"OSError ENOSPC at file operation 1: .*",
        r"it did not end: after 10000 checkpoints there runs the scenario at .* try_again_for_ever",
        {"leftovers": ["tried"]},
    ),
    Bug(
        swallow_everything_and_try_again,
        CANCELLED,
        r"it did not end: after 10000 checkpoints there runs the scenario at .*",
    ),
    Bug(
        swallow_everything_in_a_child,
        CANCELLED,
        r"it did not end: after 10000 checkpoints there runs .*swallow_everything_and_try_again at .*",
    ),
    Bug(
        refuse_what_is_left,
        CANCELLED + r"; then run again in the same directory",
        r"it did not end well: FileExistsError: .*",
        {"leftovers": ["*.part"]},
    ),
    Bug(
        remove_the_old_file_first,
        r"OSError ENOSPC at file operation 2: .*",
        r"file\.bin was there before and is gone",
        {"before": {NAME: OLD}},
    ),
    Bug(
        write_under_the_final_name,
        CANCELLED,
        r"file\.bin is there, and not whole: 0 bytes, the first of 3000",
        {"before": {NAME: OLD}},
    ),
    Bug(keep_a_log, r"OSError ENOSPC at file operation 1: .*", r"it left log, 9 bytes"),
    Bug(
        remove_another_file,
        r"OSError ENOSPC at file operation 1: .*",
        r"other was there before and is gone",
        {"before": {"other": OLD}},
    ),
    Bug(
        change_another_file,
        r"OSError ENOSPC at file operation 1: .*",
        r"other was there before and has been changed",
        {"before": {"other": OLD}},
    ),
    Bug(make_a_link_of_it, r"OSError ENOSPC at file operation 1: .*", r"file\.bin is no regular file"),
]


@pytest.fixture(autouse=True)
def _let_go() -> Any:
    yield
    for each in kept:
        if isinstance(each, threading.Event):
            each.set()
    kept.clear()


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_found_and_told_by_the_injection_that_met_it(bug: Bug) -> None:
    with pytest.raises(PromiseBrokenError) as caught:
        torture(bug.scenario, body=BODY, errors=(OSError,), **bug.options)
    where, *problems = str(caught.value).splitlines()
    assert re.fullmatch(f"{bug.injected}:", where), where
    assert any(re.fullmatch(f"- {bug.said}", problem) for problem in problems), problems


def test_what_keeps_its_promises_is_told_in_figures() -> None:
    report = torture(save, body=BODY, errors=(OSError,))
    assert report.checkpoints >= 4
    assert report.file_operations == 4
    assert report.runs > 2 * (report.checkpoints + 2 * report.file_operations)
    assert str(report) == (
        f"every promise was kept, with a cancel at each of {report.checkpoints} checkpoints and with an error in each "
        f"of 4 file operations: {report.runs} runs"
    )


def test_the_same_scenario_gives_the_same_report() -> None:
    async def several(stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(trio.lowlevel.checkpoint)
        await save(stage)

    assert torture(several, body=BODY, errors=(OSError,)) == torture(several, body=BODY, errors=(OSError,))


# What may be left, and what is done with it.


async def leave_a_part_and_go_on_with_it(stage: Stage) -> None:
    part = stage.directory / f"{NAME}.part"
    with part.open("ab") as file:
        body = await fetch(stage)
        file.write(body[file.tell() :])
    part.replace(stage.directory / NAME)


def test_leftovers_may_be_left_by_what_did_not_deliver() -> None:
    torture(leave_a_part_and_go_on_with_it, body=BODY, errors=(OSError,), leftovers=["*.part"])
    with pytest.raises(PromiseBrokenError, match=r"it left file\.bin\.part"):
        torture(leave_a_part_and_go_on_with_it, body=BODY, errors=(OSError,))


def test_leftovers_may_not_be_left_by_what_delivered() -> None:
    async def leave_a_copy(stage: Stage) -> None:
        await save(stage)
        stage.directory.joinpath("copy.part").write_bytes(b"")

    with pytest.raises(PromiseBrokenError, match=r"without any injection:\n- it left copy\.part, 0 bytes"):
        torture(leave_a_copy, body=BODY, errors=(OSError,), leftovers=["*.part"])


def test_what_need_not_be_resumable_is_not_run_again() -> None:
    report = torture(refuse_what_is_left, body=BODY, errors=(OSError,), leftovers=["*.part"], resumable=False)
    # A last run of each kind finds that there is nothing left to inject.
    writes = 1
    assert report.runs == 1 + (report.checkpoints + 1) + 2 * (report.file_operations + 1) + writes


def test_a_file_whose_deletion_fails_may_stay_and_is_deleted_before_the_next_run() -> None:
    async def make_a_lock_file(stage: Stage) -> None:
        body = await fetch(stage)
        lock = stage.directory / "lock"
        try:
            with lock.open("xb"):
                pass
        except FileExistsError:
            raise
        except OSError:
            lock.unlink(missing_ok=True)
            raise
        lock.unlink()
        save_quickly(stage, body)

    torture(make_a_lock_file, body=BODY, errors=(OSError,))


def test_a_wanted_file_may_be_as_it_was_before_and_others_stay_as_they_were() -> None:
    before = {NAME: OLD, "sub/other": OLD}
    torture(save, body=BODY, errors=(OSError,), before=before)


def test_what_is_wanted_can_be_named() -> None:
    async def save_two(stage: Stage) -> None:
        for name in ("one", "sub/two"):
            path = stage.directory / name
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                await save(stage)
                stage.directory.joinpath(NAME).replace(path)

    wants = {"one": BODY, "sub/two": BODY}
    with pytest.raises(PromiseBrokenError, match=r"it left file\.bin, 3000 bytes"):
        torture(save_two, body=BODY, errors=(OSError,), wants=wants)
    with pytest.raises(PromiseBrokenError, match=r"it returned without having delivered three"):
        torture(save_two, body=BODY, errors=(OSError,), wants=wants | {"three": BODY})


def test_a_scenario_that_does_not_deliver_by_itself_is_refused_with_its_error() -> None:
    async def fail(stage: Stage) -> None:
        await fetch(stage)
        raise OSError("never")

    with pytest.raises(
        PromiseBrokenError, match=r"without any injection:\n- it did not end well: OSError: never"
    ) as caught:
        torture(fail, body=BODY, errors=(OSError,))
    assert isinstance(caught.value.__cause__, OSError)


def test_wrong_bytes_are_told_by_the_first_of_them() -> None:
    async def save_wrong_bytes(stage: Stage) -> None:
        save_quickly(stage, (await fetch(stage))[:7] + b"?" * 100)

    with pytest.raises(PromiseBrokenError, match=r"107 bytes, other than the 3000 wanted from byte 7 on"):
        torture(save_wrong_bytes, body=BODY, errors=(OSError,))

    async def save_too_much(stage: Stage) -> None:
        save_quickly(stage, await fetch(stage) + b"?")

    with pytest.raises(PromiseBrokenError, match=r"3001 bytes, other than the 3000 wanted from byte 3000 on"):
        torture(save_too_much, body=BODY, errors=(OSError,))


def test_ctrl_c_leaves_at_once() -> None:
    async def interrupt(stage: Stage) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torture(interrupt)

    async def interrupt_in_a_child(stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(interrupt, stage)

    with pytest.raises(KeyboardInterrupt):
        torture(interrupt_in_a_child)


def test_what_a_script_of_the_origin_raises_comes_out_as_it_is() -> None:
    async def ask(stage: Stage) -> None:
        async def script(connection: Connection, request: Request) -> None:
            raise ZeroDivisionError

        stage.origin.on("/file.bin", script)
        await save(stage)

    with pytest.raises(ZeroDivisionError):
        torture(ask)


def test_hypothesis_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    torture(save, body=BODY, errors=(OSError,))


def test_a_counter_that_trio_takes_off_the_run_does_not_let_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(_checkpoints, "describe_task", fail)
    with pytest.raises(RuntimeError, match=r"not counted to the end.* bug of the harness"):
        torture(save, body=BODY, errors=(OSError,))


def test_garbage_that_somebody_else_has_set_aside_stays_there() -> None:
    gc.freeze()
    try:
        torture(save, body=BODY, errors=(OSError,))
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_a_warning_is_passed_on() -> None:
    async def warn(stage: Stage) -> None:
        warnings.warn("the scenario is old", UserWarning, stacklevel=1)
        await save(stage)

    with pytest.warns(UserWarning, match=r"the scenario is old"):
        torture(warn, body=BODY, errors=(OSError,))


def test_a_place_that_is_nobody_s_own_is_said_to_be_elsewhere() -> None:
    assert innermost([]) == "a place outside of the code that was looked at"


# Our own downloader.


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def small(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of which a small file has two, and one certificate instead of all, which take long to load."""
    monkeypatch.setattr(_client, "BATCH_BYTES", 2000)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))


# Three pieces, each on its own: one batch that is written, and one with which the file is published.
PIECES: Final = FaultPlan(then=Trickle(100_000, 1000))

# What is kept of a download that did not deliver, for the next run.
KEPT: Final = ("*.part", "*.part.json")

# So slow that others join before the first connection has fetched all.
SLOW: Final = Trickle(1000, 250)
SEGMENTS: Final[dict[str, Any]] = {"connections": 3, "min_segment_size": 256}


def downloading(**options: Any) -> Scenario:
    async def download(stage: Stage) -> None:
        async with trio_dlm.open_manager(directory=stage.directory) as manager:
            await manager.download(stage.url, **options)

    return download


async def download_after_a_wrong_digest(stage: Stage) -> None:
    async with trio_dlm.open_manager(directory=stage.directory) as manager:
        with contextlib.suppress(DownloadFailedError):
            await manager.download(stage.url, checksum="sha256:" + "0" * 64)
        await manager.download(stage.url)


async def download_what_the_server_names(stage: Stage) -> None:
    async def name(connection: Connection, _: Request) -> None:
        fields = ('Content-Disposition: attachment; filename="given.bin"', f"Content-Length: {len(BODY)}")
        await connection.send(head(*fields), BODY[:2000], BODY[2000:])

    url = stage.origin.on("/named", name)
    async with trio_dlm.open_manager(directory=stage.directory) as manager:
        await manager.download(url)


async def download_and_retry(stage: Stage) -> None:
    async with trio_dlm.open_manager(directory=stage.directory, failures="keep") as manager:
        task = await manager.submit(stage.url)
        for _ in range(3):
            if await task.wait() is not DownloadStatus.FAILED:
                break
            task = task.retry()
        await task.result()


async def download_two(stage: Stage) -> None:
    urls = [stage.url, stage.origin.url("/other.bin")]
    requests = [DownloadRequest(url, DownloadOptions(checksum=DIGEST)) for url in urls]
    async with trio_dlm.open_manager(1, directory=stage.directory) as manager:
        batch = await manager.submit_many(requests)
        for task in batch:
            await task.result()


async def download_with_a_pause(stage: Stage) -> None:
    async with trio_dlm.open_manager(directory=stage.directory) as manager:
        task = await manager.submit(stage.url)
        async with manager.events(tasks=[task]) as events:
            async for snapshot in events:
                if snapshot.progress.received_bytes:
                    break
        if await task.pause():
            task.resume()
        await task.result()


async def download_in_two_runs(stage: Stage) -> None:
    async with trio_dlm.open_manager(directory=stage.directory, failures="keep") as manager:
        task = await manager.submit(stage.url, retries=0)
        if await task.wait() is DownloadStatus.FAILED:
            await manager.download(stage.url)


async def download_into_a_new_directory(stage: Stage) -> None:
    await trio_dlm.download(stage.url, stage.directory / "new" / "deep")


OURS: Final[list[tuple[str, Scenario, dict[str, Any]]]] = [
    ("plain", downloading(), {}),
    ("named by the caller", downloading(filename="x.bin"), {"wants": {"x.bin": BODY}}),
    ("named by the server", download_what_the_server_names, {"wants": {"given.bin": BODY}}),
    ("with a digest", downloading(checksum=DIGEST), {}),
    ("with a wrong digest first", download_after_a_wrong_digest, {}),
    ("already there", downloading(checksum=DIGEST), {"before": {NAME: BODY}}),
    ("over an old file", downloading(overwrite=True), {"before": {NAME: OLD}}),
    (
        "beside old files",
        downloading(overwrite="unique"),
        {"before": {NAME: OLD, "file (1).bin.part": OLD}, "wants": {"file (2).bin": BODY}},
    ),
    ("into a new directory", download_into_a_new_directory, {"wants": {"new/deep/file.bin": BODY}}),
    ("two in a queue", download_two, {"wants": {NAME: BODY, "other.bin": BODY}}),
    ("with a pause", download_with_a_pause, {}),
    ("redirected", downloading(filename=NAME), {"plan": FaultPlan((Redirect(),))}),
    ("dropped", download_and_retry, {"plan": FaultPlan((DropAt(1500),))}),
    ("dropped by a reset", download_and_retry, {"plan": FaultPlan((DropAt(1500, reset=True),))}),
    ("stalled", download_and_retry, {"plan": FaultPlan((Stall(1500),))}),
    ("without keeping anything", downloading(resume=False), {"leftovers": ()}),
    ("safe from a loss of power", downloading(durability="power"), {}),
    ("gone on with by a second run", download_in_two_runs, {"plan": FaultPlan((DropAt(1500),))}),
    ("in segments", downloading(**SEGMENTS), {"plan": FaultPlan(then=SLOW)}),
    ("in segments with a digest", downloading(checksum=DIGEST, **SEGMENTS), {"plan": FaultPlan(then=SLOW)}),
    ("in segments that break off", downloading(**SEGMENTS), {"plan": FaultPlan((SLOW, DropAt(100)), then=SLOW)}),
    ("in segments of another version", downloading(**SEGMENTS), {"plan": FaultPlan((SLOW, Touched()), then=SLOW)}),
]


@pytest.mark.usefixtures("small")
@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "options"), [each[1:] for each in OURS], ids=[each[0] for each in OURS])
def test_a_download_of_ours_keeps_every_promise(scenario: Scenario, options: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"body": BODY, "plan": PIECES, "leftovers": KEPT} | options
    report = torture(scenario, **settings)
    assert report.checkpoints > 20
    assert report.file_operations > 5


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_what_is_fetched_in_segments_there_is_fetched_by_several_connections() -> None:
    asked: list[int] = []

    async def download(stage: Stage) -> None:
        await downloading(**SEGMENTS)(stage)
        asked.append(len(stage.origin.requests))

    torture(download, body=BODY, plan=FaultPlan(then=SLOW), leftovers=KEPT)
    assert asked[0] > 1


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("library", WAYS)
def test_both_client_libraries_keep_every_promise(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_way(library, monkeypatch)
    torture(downloading(), body=BODY, leftovers=KEPT)


@pytest.mark.usefixtures("small")
def test_where_there_are_no_hard_links_every_promise_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    torture(downloading(), body=BODY, leftovers=KEPT)


# What could be wrong in it.


def keep_the_part(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_part.Part, "_discard", lambda part: None)


def keep_the_descriptor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_part.Part, "_close_for_good", lambda part, **_: None)


def name_it_before_it_is_whole(patch: pytest.MonkeyPatch) -> None:
    write = _part.Part.write

    def hasty(part: _part.Part, offset: int, chunks: Sequence[bytes]) -> None:
        os.link(part._places.part, part._places.final)
        write(part, offset, chunks)
        part._places.final.unlink()

    patch.setattr(_part.Part, "write", hasty)


def replace_what_is_there_in_two_steps(patch: pytest.MonkeyPatch) -> None:
    def give_name(places: Places, name: str, overwrite: object) -> Path:
        places.final.unlink(missing_ok=True)
        places.part.rename(places.final)
        return places.final

    patch.setattr(_part, "give_name", give_name)


def write_once_and_verify_nothing(patch: pytest.MonkeyPatch) -> None:
    def write_once(fd: int, data: bytes, offset: int) -> None:
        os.pwrite(fd, data, offset)

    patch.setattr(_part, "write_at", write_once)
    patch.setattr(_part.Part, "_verify", lambda part, total: None)


def keep_the_connection(patch: pytest.MonkeyPatch) -> None:
    async def leave(client: object, response: Any, body: Any) -> None:
        kept.append((response, body))
        await trio.lowlevel.checkpoint()

    patch.setattr(_client.Client, "_close", leave)
    patch.setattr(_downloader, "open_client", _keep_the_client)


@contextlib.asynccontextmanager
async def _keep_the_client(client: Any, settings: Any) -> Any:
    library, made = await trio.to_thread.run_sync(_client.make_clients, settings)
    kept.append(made)
    yield _client.Client(made[0], library)


PLANTED: Final[list[tuple[Callable[[pytest.MonkeyPatch], None], str, str, dict[str, Any]]]] = [
    (
        keep_the_part,
        r"Cancelled at checkpoint \d+, in [0-9a-f]{8} at files/_partfile\.py:\d+ open_target",
        rf"it left {PART}, 0 bytes",
        {},
    ),
    (keep_the_descriptor, r"without any injection", rf"it left a descriptor of {PART}", {}),
    (
        name_it_before_it_is_whole,
        r"OSError ENOSPC at file operation \d+: fstat file\.bin\.part, in files/_part\.py:\d+ _check_length",
        r"file\.bin is there, and not whole: 0 bytes, the first of 3000",
        {},
    ),
    (
        replace_what_is_there_in_two_steps,
        r"OSError ENOSPC at file operation \d+: rename file\.bin\.part -> file\.bin, in tests/test_torture\.py:.*",
        r"file\.bin was there before and is gone",
        {"before": {NAME: OLD}},
    ),
    (
        write_once_and_verify_nothing,
        r"a full disk from file operation \d+: pwrite file\.bin\.part, in .*",
        r"file\.bin is there, and not whole: \d+ bytes, the first of 3000",
        {},
    ),
    (
        keep_the_connection,
        r"Cancelled at checkpoint \d+, in [0-9a-f]{8} at files/_partfile\.py:\d+ open_target",
        r"it left open connections: 1",
        {},
    ),
]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("plant", "injected", "said", "options"), PLANTED, ids=[each[0].__name__ for each in PLANTED])
def test_a_bug_planted_in_our_downloader_is_found(
    plant: Callable[[pytest.MonkeyPatch], None],
    injected: str,
    said: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(PromiseBrokenError) as caught:
        torture(downloading(overwrite=bool(options), resume=False), body=BODY, plan=PIECES, **options)
    where, *problems = str(caught.value).splitlines()
    assert re.fullmatch(f"{injected}:", where), where
    assert any(re.fullmatch(f"- {said}", problem) for problem in problems), problems


@pytest.mark.usefixtures("small")
def test_a_log_that_was_set_up_is_written_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        torture(downloading(), body=BODY, leftovers=KEPT)
    assert "No space left on device" in caplog.text


def test_a_process_that_has_abandoned_a_scenario_still_ends() -> None:
    code = """
import trio
from trio_dlm.testing import PromiseBrokenError, torture

async def swallow_everything(stage):
    while True:
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            continue

try:
    torture(swallow_everything)
except PromiseBrokenError:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "told\n"

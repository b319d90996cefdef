"""What a manager remembers: all that has not ended, the last that have, and one thing for each id."""

from __future__ import annotations

import gc
import math
import random
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.fakes import FakeDownloader, engine_of, queue, queue_one, saved, settle, url
from trio_dlm import (
    DownloadJob,
    DownloadManager,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DuplicateTaskError,
    TransferError,
    UnknownTaskError,
    open_manager,
)

pytestmark = pytest.mark.virtual_time


async def end_all(manager: DownloadManager, fake: FakeDownloader, *names: str) -> None:
    for name in names:
        fake.finish(name)
        await queue_one(manager, name).wait()


def remembered(manager: DownloadManager, names: str) -> str:
    found = ""
    for name in names:
        try:
            assert manager.get_task(name).correlation_id == name
            found += name
        except UnknownTaskError:
            pass
    return found


# The history.


@pytest.mark.parametrize(
    ("keep_finished", "kept"), [(0, ""), (1, "e"), (3, "cde"), (5, "abcde"), (1000, "abcde"), (math.inf, "abcde")]
)
async def test_of_the_ended_downloads_the_last_keep_finished_are_remembered(keep_finished: float, kept: str) -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, keep_finished=keep_finished) as manager:
        await end_all(manager, fake, *"abcde")
        assert remembered(manager, "abcde") == kept
        # What was forgotten is still counted.
        assert manager.get_stats().completed == 5


async def test_what_has_not_ended_is_always_remembered() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, keep_finished=0, on_exit="cancel") as manager:
        _, _, c = queue(manager, *"abc")
        await c.pause()
        assert remembered(manager, "abc") == "abc"


async def test_only_batches_are_remembered_as_batches() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, on_exit="cancel") as manager:
        queue(manager, "a")
        await manager.submit_many([url("b"), url("c")], parent_id="p")
        assert engine_of(manager).registry._remembered_of_batch == {"p": 2}


async def test_the_order_of_forgetting_is_that_of_the_ends() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, keep_finished=2) as manager:
        tasks = {task.correlation_id: task for task in queue(manager, *"abcd")}
        for name in "cadb":
            fake.finish(name)
            await tasks[name].wait()
        assert remembered(manager, "abcd") == "bd"


async def test_the_same_handle_is_returned_every_time() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        a = queue_one(manager, "a")
        assert manager.get_task("a") is a
        fake.finish("a")
        await a.wait()
        assert manager.get_task("a") is a


async def test_a_handle_stays_good_when_its_download_was_forgotten() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, keep_finished=0) as manager:
        a = queue_one(manager, "a")
        fake.finish("a")
        assert await a.wait() is DownloadStatus.COMPLETED
        assert (await a.result()).path.name == "a"
        assert await a.cancel() is False
        with pytest.raises(UnknownTaskError) as caught:
            manager.get_task("a")
        assert str(caught.value) == (
            "no download with the id 'a' is known; ended downloads are forgotten after the last keep_finished"
        )
        assert caught.value.correlation_id == "a"


async def test_an_id_that_nobody_ever_had_is_unknown() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(LookupError, match=r"^no download with the id 'zzz' is known"):
            manager.get_task("zzz")


# Ids.


async def test_an_id_that_nobody_brought_is_eight_lower_case_hex_characters() -> None:
    fake = FakeDownloader()
    async with open_manager(0, downloader=fake, on_exit="cancel") as manager:
        ids = {manager.submit_nowait(url(n)).correlation_id for n in range(200)}
        assert len(ids) == 200
        assert all(len(drawn) == 8 and set(drawn) <= set("0123456789abcdef") for drawn in ids)


async def test_an_id_is_drawn_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: Iterator[int] = iter([1, 1, 1, 0xFFFFFFFF, 2, 2, 3, 3, 4, 4, 5, 1, 6])
    monkeypatch.setattr(random, "getrandbits", lambda bits: next(draws))
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake, max_pending=1) as manager:
        assert manager.submit_nowait(url("a")).correlation_id == "00000001"
        assert manager.submit_nowait(url("b")).correlation_id == "ffffffff"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(manager.submit, url("c"))
            await settle()
            nursery.start_soon(manager.submit, url("d"))
            await settle()
            # The two that wait for room have their ids already.
            assert {*engine_of(manager).line._waiters} == {"00000002", "00000003"}
            fake.finish(*"abcd")
        batch = await manager.submit_many([url("e"), url("f")])
        fake.finish("e", "f")
        # The parent id is drawn like the others, and from the same names.
        assert [batch.parent_id, *(task.correlation_id for task in batch)] == ["00000004", "00000005", "00000006"]


async def test_an_id_of_the_callers_own_is_used_as_it_is() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake) as manager:
        for name in ("a", "Ünï-cödé", "x" * 200, "with space", "../../etc"):
            task = await manager.submit(url("u"), correlation_id=name)
            assert task.correlation_id == name
            assert manager.get_task(name) is task
        fake.finish("u")


@pytest.mark.parametrize("value", ["", "x" * 201, "a\nb", "\0", "tab\t", "\ud800", "\u202e"], ids=ascii)
async def test_what_cannot_be_an_id_is_refused_and_nothing_is_queued(value: str) -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(ValueError, match=r"^an id has 1 to 200 printable characters, got ") as caught:
            await manager.submit(url("a"), correlation_id=value)
        assert str(caught.value).isprintable()
        with pytest.raises(ValueError, match=r"^an id has 1 to 200 printable characters, got "):
            await manager.submit_many([url("a")], parent_id=value)
        assert manager.get_stats().active == 0


@pytest.mark.parametrize("value", [7, b"a", ["a"], object(), Path("a")], ids=lambda value: type(value).__name__)
async def test_an_id_that_is_no_string_is_refused_and_nothing_is_queued(value: object) -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(TypeError) as caught:
            await manager.submit(url("a"), correlation_id=value)  # type: ignore[call-overload]
        assert str(caught.value) == f"an id is a str, got {value!r}"
        with pytest.raises(TypeError, match=r"^an id is a str, got "):
            await manager.submit_many([url("a")], parent_id=value)  # type: ignore[arg-type]
        assert manager.get_stats().active == 0


@pytest.mark.parametrize("taken_by", ["running", "pending", "paused", "ended", "waiting", "parent"])
async def test_an_id_is_unique_among_what_is_remembered(taken_by: str) -> None:
    fake = FakeDownloader()
    async with (
        open_manager(1, downloader=fake, max_pending=1, on_exit="cancel") as manager,
        trio.open_nursery() as nursery,
    ):
        if taken_by == "parent":
            await manager.submit_many([url("x")], parent_id="a")
        elif taken_by in {"pending", "waiting"}:
            queue(manager, "x")
            if taken_by == "waiting":
                queue(manager, "y")
            nursery.start_soon(lambda: manager.submit(url("a"), correlation_id="a"))
            await settle()
        else:
            a = queue_one(manager, "a")
            if taken_by == "paused":
                await a.pause()
            elif taken_by == "ended":
                await a.cancel()
        known = manager.get_stats()
        for call in (
            lambda: manager.submit(url("b"), correlation_id="a"),
            lambda: manager.submit_many([url("b")], parent_id="a"),
            lambda: manager.submit_many([url("b"), DownloadRequest(url("c"), correlation_id="a")]),
        ):
            with pytest.raises(DuplicateTaskError) as caught:
                await call()
            assert caught.value.correlation_id == "a"
            assert str(caught.value) == (
                "the id 'a' belongs to another download that the manager remembers; nothing was queued: "
                "bring another id, or none to have one drawn"
            )
        assert manager.get_stats() == known
        nursery.cancel_scope.cancel(reason="seen enough")


async def test_the_id_of_a_forgotten_download_is_free_again() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, keep_finished=1) as manager:
        await end_all(manager, fake, "a", "b", "a")
        assert remembered(manager, "ab") == "a"


async def test_ids_within_one_batch_are_unique_too() -> None:
    async with open_manager(downloader=FakeDownloader()) as manager:
        with pytest.raises(DuplicateTaskError):
            await manager.submit_many(
                [DownloadRequest(url("a"), correlation_id="x"), DownloadRequest(url("b"), correlation_id="x")]
            )
        with pytest.raises(DuplicateTaskError):
            await manager.submit_many([DownloadRequest(url("a"), correlation_id="p")], parent_id="p")
        assert manager.get_stats().active == 0


# Batches.


async def test_get_task_refuses_a_parent_id_and_says_what_it_is() -> None:
    fake = FakeDownloader()
    async with open_manager(downloader=fake, on_exit="cancel") as manager:
        await manager.submit_many([url("a")], parent_id="p")
        with pytest.raises(
            UnknownTaskError, match=r"^no download with the id 'p' is known; it is the parent id of a batch"
        ):
            manager.get_task("p")
        for call in (manager.pause, manager.resume, manager.retry):
            with pytest.raises(UnknownTaskError, match="it is the parent id of a batch"):
                answer = call("p")
                if hasattr(answer, "__await__"):
                    await answer


async def test_a_batch_is_remembered_as_long_as_one_of_its_downloads_is() -> None:
    fake = FakeDownloader()
    async with open_manager(9, downloader=fake, keep_finished=1) as manager:
        batch = await manager.submit_many([url("a"), url("b")], parent_id="p")
        fake.finish("a")
        await batch[0].wait()
        fake.finish("b")
        await batch[1].wait()
        assert await manager.cancel("p") is False
        fake.finish("c")
        await queue_one(manager, "c").wait()
        with pytest.raises(UnknownTaskError):
            await manager.cancel("p")
        # And its id is free again.
        fake.finish("d")
        await manager.submit_many([url("d")], parent_id="p")


async def test_a_batch_whose_first_downloads_were_forgotten_before_its_last_was_queued_is_remembered() -> None:
    fake = FakeDownloader()
    async with (
        open_manager(1, downloader=fake, max_pending=1, keep_finished=0, on_exit="cancel") as manager,
        trio.open_nursery() as nursery,
    ):
        queue(manager, "running", "queued")
        nursery.start_soon(lambda: manager.submit_many([url("first"), url("last")], parent_id="p"))
        await settle()
        for name in "xy":
            nursery.start_soon(manager.submit, url(name))
            await settle()
        # "last" stands behind the others in the line: when its turn comes, "first" has ended and is forgotten.
        for name in ("running", "queued", "first", "x", "y"):
            fake.finish(name)
            await settle()
        assert fake.running == ["last"]
        assert await manager.cancel("p") is True


# What is not kept alive.


class Owned:
    """A downloader that can be referred to weakly; what holds the download holds it."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.error: Exception | None = None

    async def download(self, job: DownloadJob) -> DownloadResult:
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        return saved(job)


@pytest.mark.parametrize("state", ["finished", "cancelled running", "cancelled pending", "cancelled paused", "failed"])
async def test_an_ended_download_that_nobody_remembers_is_not_kept_alive(state: str) -> None:
    async with open_manager(1, downloader=FakeDownloader(), keep_finished=0, failures="keep") as manager:
        owned = Owned()
        alive = weakref.ref(owned)
        if state == "cancelled pending":
            manager.max_concurrent = 0
        task = manager.submit_nowait(url("a"), downloader=owned)
        # Somebody behind it in the lane, so that its ticket stays in the queue.
        other = manager.submit_nowait(url("b"))
        await settle()
        if state == "finished":
            owned.opened.set()
        elif state == "failed":
            # One of ours is logged without its traceback, so that no log record holds on to it.
            owned.error = TransferError("odd")
            owned.opened.set()
        elif state == "cancelled paused":
            await task.pause()
            await task.cancel()
        else:
            await task.cancel()
        await task.wait()
        del owned, task
        gc.collect()
        assert alive() is None
        await other.cancel()


async def test_the_context_of_an_ended_download_is_dropped() -> None:
    from contextvars import ContextVar

    class Value:
        pass

    variable: ContextVar[Value | None] = ContextVar("variable", default=None)
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        value = Value()
        alive = weakref.ref(value)
        token = variable.set(value)
        a, b = queue(manager, "a", "b")
        await settle()
        variable.reset(token)
        del value, token
        gc.collect()
        assert alive() is not None
        await b.cancel()
        fake.finish("a")
        await a.wait()
        await settle()
        gc.collect()
        assert alive() is None
        # Both are remembered all the same.
        assert manager.get_task("a") is a


async def test_a_manager_that_was_left_is_not_kept_alive() -> None:
    fake = FakeDownloader()
    async with open_manager(1, downloader=fake) as manager:
        a = queue_one(manager, "a")
        fake.finish("a")
        await a.wait()
    alive = weakref.ref(manager)
    del manager, a
    await settle()
    gc.collect()
    assert alive() is None

"""The owner of downloads: checks what it is given, asks the engine, and waits.

Rules that hold here:

- everything is checked before anything waits or is queued, so a refused call has changed nothing;
- every public async method is a checkpoint on every path;
- calls by id are the same calls as those of the handle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, Unpack, cast, final, overload

import trio

from ._batch import DownloadBatch
from ._core import Core
from ._download import Download
from ._errors import DuplicateTaskError, QueueFullError, UnknownTaskError
from ._events import Subscription
from ._options import DownloadOptions, DownloadOptionsFields, check_rate
from ._plan import LaneOf
from ._records import DownloadRequest, DownloadResult, ManagerStats
from ._schedule import check_limit
from ._status import DownloadStatus
from ._task import DownloadTask, make_task
from ._urls import check_url
from .downloaders._protocol import Downloader, DownloaderFunction

__all__ = ["DownloadManager", "TaskReference", "make_manager"]

_ResultT = TypeVar("_ResultT", bound=DownloadResult)

TaskReference: TypeAlias = "str | DownloadTask[Any]"
"""A handle, or a correlation id."""

# Long enough for a path-like name or two UUIDs, short enough for a log line.
MAX_ID_LENGTH: Final = 200

# Queueing one takes some ten microseconds.  After this many the other tasks of the program get a turn.
BATCH: Final = 1000

_NO_OPTIONS: Final = DownloadOptions()


@final
class DownloadManager:
    """Runs downloads inside its block: a bounded number at once, first come first served.

    Made by :func:`trio_dlm.open_manager`.  All of it belongs to the thread and the loop that opened it.
    """

    __slots__ = ("__weakref__", "_check_request", "_engine", "_function", "_lane_of")
    _engine: Core
    _function: DownloaderFunction[Any]
    _check_request: Callable[[DownloadRequest], None] | None
    _lane_of: LaneOf | None

    def __init__(self) -> None:
        raise TypeError("a DownloadManager is made by `async with trio_dlm.open_manager(…) as manager`")

    @overload
    async def submit(
        self,
        url: str,
        *,
        downloader: None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[DownloadResult]: ...
    @overload
    async def submit(
        self,
        url: str,
        *,
        downloader: Downloader[_ResultT] | DownloaderFunction[_ResultT],
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[_ResultT]: ...
    @trio.lowlevel.enable_ki_protection
    async def submit(
        self,
        url: str,
        *,
        downloader: Downloader[Any] | DownloaderFunction[Any] | None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[Any]:
        """Queue a download, and return its handle.

        Waits only while ``max_pending`` downloads are queued; those that wait are admitted in the order of their
        coming.  Always a checkpoint.  A cancelled ``submit`` has queued nothing.

        Args:
            url: what to fetch; which schemes there are is for the downloader to say.
            downloader: who fetches it, instead of the manager's.  One that is an async context manager is opened by its
                owner, around the manager.
            options: what is asked of it; a directory left alone is the manager's.
            lane: the queue that it waits in, any hashable; wins over the manager's ``lane_of``.
            correlation_id: an id of the caller's own, unique among the downloads that the manager remembers.
            **fields: single options, laid over ``options``; see :class:`DownloadOptions`.

        Raises:
            ManagerClosedError: the manager's block is being left, also while this waits.
            InvalidUrlError: *url* cannot be one, or the downloader does not understand it.
            InvalidNameError: ``filename`` cannot be one.
            DuplicateTaskError: the id is in use.
            TypeError, ValueError: another argument is wrong, or *lane* is not hashable.
        """
        task = self._prepare("submit", self._make_request(url, downloader, options, lane, correlation_id, fields))
        await self._engine.submit(task)
        return task

    @overload
    def submit_nowait(
        self,
        url: str,
        *,
        downloader: None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[DownloadResult]: ...
    @overload
    def submit_nowait(
        self,
        url: str,
        *,
        downloader: Downloader[_ResultT] | DownloaderFunction[_ResultT],
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[_ResultT]: ...
    @trio.lowlevel.enable_ki_protection
    def submit_nowait(
        self,
        url: str,
        *,
        downloader: Downloader[Any] | DownloaderFunction[Any] | None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadTask[Any]:
        """Queue a download like :meth:`submit`, but never wait.  Synchronous.

        Raises:
            QueueFullError: ``max_pending`` downloads are queued, or somebody waits for room already.
        """
        return self._queue_nowait(
            self._prepare("submit", self._make_request(url, downloader, options, lane, correlation_id, fields))
        )

    @trio.lowlevel.enable_ki_protection
    async def submit_many(
        self,
        requests: Iterable[str | DownloadRequest],
        *,
        lane: Hashable = None,
        parent_id: str | None = None,
    ) -> DownloadBatch:
        """Queue many downloads under one parent id.

        All are checked before the first is queued.  Waits like :meth:`submit` where ``max_pending`` is reached;
        always a checkpoint.  A cancelled ``submit_many`` has cancelled all of them, and awaited their end.

        Args:
            requests: URLs, or :class:`DownloadRequest` records for those that need more.
            lane: the lane of every request that names none.
            parent_id: an id of the caller's own; no download has it, and ``get_task`` refuses it.

        Raises:
            ManagerClosedError, InvalidUrlError, DuplicateTaskError, TypeError, ValueError: as :meth:`submit`.
        """
        engine = self._engine
        if isinstance(requests, str):
            raise TypeError("submit_many takes an iterable of URLs, got one str; submit() takes one URL")
        if parent_id is None:
            parent_id = engine.registry.draw_id()
        else:
            self._check_id(parent_id)
        with engine.registry.reservation() as hold:
            hold(parent_id)
            tasks: list[DownloadTask[Any]] = []
            for each in requests:
                tasks.append(self._prepare("submit", self._as_request(each, lane), parent_id=parent_id))
                hold(tasks[-1].correlation_id)
            await engine.loop.checkpoint_if_cancelled()
        batch = DownloadBatch(parent_id, tasks, engine.loop)
        await self._queue_all(batch)
        await engine.loop.cancel_shielded_checkpoint()
        return batch

    @overload
    async def download(
        self,
        url: str,
        *,
        downloader: None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> DownloadResult: ...
    @overload
    async def download(
        self,
        url: str,
        *,
        downloader: Downloader[_ResultT] | DownloaderFunction[_ResultT],
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> _ResultT: ...
    async def download(
        self,
        url: str,
        *,
        downloader: Downloader[Any] | DownloaderFunction[Any] | None = None,
        options: DownloadOptions | None = None,
        lane: Hashable = None,
        correlation_id: str | None = None,
        **fields: Unpack[DownloadOptionsFields],
    ) -> Any:
        """Queue a download and wait for its result: :meth:`submit` and :meth:`DownloadTask.result` in one.

        If the caller is cancelled so is the download, and its end is awaited.  The arguments are those of
        :meth:`submit`.

        Raises:
            DownloadFailedError: it failed; ``__cause__`` is the reason.
            DownloadCancelledError: somebody else cancelled it.
            ManagerClosedError, InvalidUrlError, DuplicateTaskError, TypeError, ValueError: as :meth:`submit`.
        """
        task: DownloadTask[Any] = await self.submit(
            url,
            downloader=downloader,
            options=options,
            lane=lane,
            correlation_id=correlation_id,
            **fields,
        )
        try:
            return await task.result()
        except self._engine.loop.cancelled:
            # That no code of the download runs any more is what the caller is promised (law 5).
            await self._engine.loop.shielded(lambda: task.cancel("the caller of download() was cancelled"))  # noqa: ASYNC120
            raise

    def get_task(self, correlation_id: str) -> DownloadTask[DownloadResult]:
        """Return the handle of a download that has not ended, or is among the last ``keep_finished`` that have.

        Raises:
            UnknownTaskError: no such download is remembered, or the id is a batch's.
        """
        return self._engine.registry.get(correlation_id)

    async def cancel(self, reference: TaskReference | DownloadBatch, reason: str | None = None) -> bool:
        """Cancel one download, or all of a batch; see :meth:`DownloadTask.cancel` and :meth:`DownloadBatch.cancel`.

        Args:
            reference: a correlation id, a parent id, a handle, or a batch.
            reason: why, for ``task.reason`` and the error that ``result()`` raises.

        Raises:
            UnknownTaskError: nothing that is remembered has this id.
        """
        batch = self._engine.registry.get_batch(reference) if isinstance(reference, str) else reference
        if isinstance(batch, DownloadBatch):
            return await batch.cancel(reason)
        return await self._resolve(cast("TaskReference", reference)).cancel(reason)

    async def pause(self, reference: TaskReference, reason: str | None = None) -> bool:
        """Take a download off its slot or out of the queue; see :meth:`DownloadTask.pause`."""
        return await self._resolve(reference).pause(reason)

    def resume(self, reference: TaskReference) -> bool:
        """Queue a PAUSED download again, at the tail of its lane; see :meth:`DownloadTask.resume`."""
        return self._resolve(reference).resume()

    def retry(self, reference: TaskReference) -> DownloadTask[DownloadResult]:
        """Submit the request of an ended download once more; see :meth:`DownloadTask.retry`."""
        return self._resolve(reference).retry()

    async def wait_idle(self) -> None:
        """Wait until nothing is pending or running.  Paused downloads do not count.  A checkpoint.

        This is how a crawler, whose downloads submit more, stays in the manager's block.

        Raises:
            RuntimeError: called by one of the downloads, which would wait for itself.
        """
        self._engine.check_thread("wait_idle")
        if self._engine.runs_me():
            raise RuntimeError("wait_idle() was called by a download of this manager, so it could never become true")
        await self._engine.wait_idle()

    def get_stats(self) -> ManagerStats:
        """Return the figures of this moment; costs time in proportion to the running downloads and the lanes."""
        return self._engine.read_stats()

    @property
    def max_concurrent(self) -> float:
        """How many downloads may run at once.  Set it at any time; lowering interrupts nobody, 0 starts nothing new."""
        return self._engine.max_concurrent

    @max_concurrent.setter
    @trio.lowlevel.enable_ki_protection
    def max_concurrent(self, limit: float) -> None:
        self._engine.check_thread("set max_concurrent")
        self._engine.max_concurrent = check_limit("max_concurrent", limit)

    @property
    def max_per_lane(self) -> float:
        """How many downloads of one lane may run at once, in lanes without a limit of their own.  Live."""
        return self._engine.max_per_lane

    @max_per_lane.setter
    @trio.lowlevel.enable_ki_protection
    def max_per_lane(self, limit: float) -> None:
        self._engine.check_thread("set max_per_lane")
        self._engine.max_per_lane = check_limit("max_per_lane", limit)

    @trio.lowlevel.enable_ki_protection
    def set_lane_limit(self, lane: Hashable, limit: float | None) -> None:
        """Let at most *limit* downloads of *lane* run at once; None goes back to ``max_per_lane``.

        Remembered while the manager lives, whether the lane is in use or not.
        """
        if limit is not None:
            check_limit("the limit of a lane", limit)
        self._engine.check_thread("set_lane_limit")
        self._engine.set_lane_limit(_check_lane(lane), limit)

    @property
    def rate_limit_bytes_per_s(self) -> float:
        """What all downloads together may receive in a second.  Live, also for those that are running.

        They share it equally: what one does not use is for the others.  It is kept by downloaders that ask
        ``job.rate_limit`` before they read, such as :class:`HttpDownloader`.  0 is refused; to stop downloads for a
        while, pause them.
        """
        return self._engine.rate_limit_bytes_per_s

    @rate_limit_bytes_per_s.setter
    def rate_limit_bytes_per_s(self, limit: float) -> None:
        self._engine.check_thread("set rate_limit_bytes_per_s")
        self._engine.rate_limit_bytes_per_s = check_rate("rate_limit_bytes_per_s", limit)

    @property
    def directory(self) -> Path:
        """Where files go unless a request says otherwise; absolute."""
        return self._engine.directory

    def events(
        self,
        *,
        tasks: Iterable[TaskReference] | TaskReference | None = None,
        min_interval_s: float = 0.0,
    ) -> Subscription:
        """Watch downloads: an async context manager that gives an async iterator of :class:`TaskSnapshot`.

        It begins with the present snapshot of every download that has not ended, and of every one named in *tasks*
        even if it has.  Each download then shows up again when it has changed: at most one undelivered change per
        download is kept, states in between may be merged, every final state is delivered.  With *tasks* it ends after
        the last of them has ended, otherwise when the manager has closed: such a reader runs in a nursery around the
        manager's block, or is cancelled before the block ends.

        Args:
            tasks: handles, ids, parent ids, or a batch; None means all downloads, those to come included.
            min_interval_s: the shortest time between two snapshots of one download; it holds back all but final states.

        Raises:
            UnknownTaskError: an id in *tasks* is not remembered.
            RuntimeError: from the iterator, if two tasks iterate it.
        """
        self._engine.check_thread("watch")
        if isinstance(min_interval_s, bool) or not isinstance(min_interval_s, (int, float)):
            raise TypeError(f"min_interval_s is a number of seconds, got {min_interval_s!r}")
        if not 0 <= min_interval_s < math.inf:
            raise ValueError(f"min_interval_s is a number of seconds from 0 up, got {min_interval_s}")
        if tasks is None:
            return Subscription(
                self._engine.hub,
                only=None,
                present=lambda: [task._download for task in self._engine.registry.live],
                min_interval_s=min_interval_s,
            )
        # In the order in which they were named, each once.
        named = dict.fromkeys(self._resolve_all(tasks))
        return Subscription(
            self._engine.hub, only=frozenset(named), present=lambda: named, min_interval_s=min_interval_s
        )

    @staticmethod
    def _make_request(
        url: str,
        downloader: Downloader[Any] | DownloaderFunction[Any] | None,
        options: DownloadOptions | None,
        lane: Hashable,
        correlation_id: str | None,
        fields: Mapping[str, Any],
    ) -> DownloadRequest:
        """Lay single fields over the options."""
        if options is None:
            options = DownloadOptions(**fields) if fields else _NO_OPTIONS
        elif not isinstance(options, DownloadOptions):
            raise TypeError(f"options is a DownloadOptions, got {options!r}")
        elif fields:
            options = DownloadOptions(**fields).over(options)
        return DownloadRequest(url, options, downloader, lane, correlation_id)

    def _prepare(
        self,
        action: str,
        request: DownloadRequest,
        *,
        parent_id: str | None = None,
        retry_of: Download | None = None,
    ) -> DownloadTask[Any]:
        """Check a request, and make the task that is to be queued."""
        engine = self._engine
        engine.check_door(action)
        check_url(request.url)
        if request.downloader is None:
            function, check = self._function, self._check_request
        else:
            function, check = engine.as_function(request.downloader), getattr(request.downloader, "check_request", None)
        if check is not None:
            check(request)
        lane = request.lane
        if retry_of is not None:
            lane = retry_of.lane
        elif lane is None and self._lane_of is not None:
            lane = self._lane_of(request)
        _check_lane(lane)
        correlation_id = request.correlation_id
        if correlation_id is None:
            correlation_id = engine.registry.draw_id()
        else:
            self._check_id(correlation_id)
        return make_task(
            Download(
                request,
                function,
                copy_context(),
                correlation_id=correlation_id,
                lane=lane,
                parent_id=parent_id,
                retry_of=None if retry_of is None else retry_of.correlation_id,
            ),
            self,
        )

    @staticmethod
    def _as_request(each: object, lane: Hashable) -> DownloadRequest:
        if isinstance(each, str):
            return DownloadRequest(each, _NO_OPTIONS, None, lane)
        if not isinstance(each, DownloadRequest):
            raise TypeError(f"submit_many takes URLs and DownloadRequests, got {each!r}")
        return each if each.lane is not None or lane is None else replace(each, lane=lane)

    async def _queue_all(self, batch: DownloadBatch) -> None:
        """Queue the tasks of *batch* one after the other; if that is interrupted, all are cancelled.

        Meanwhile they are known: whoever has an id of one, or of the batch, may cancel, pause and watch it.
        """
        engine = self._engine
        engine.check_door("submit")
        engine.registry.add_batch(batch)
        engine.queueing.add(batch.parent_id)
        try:
            # A second time for those that were paused when their turn came, and resumed since.
            while waiting := [task for task in batch if _waits_for_its_turn(task._download)]:
                for index, task in enumerate(waiting, start=1):
                    if not _waits_for_its_turn(task._download):
                        continue
                    # Not before: a batch of which nothing is left to be queued is whole, and goes on like any other.
                    engine.check_door("submit")
                    if engine.has_room:
                        engine.queue(task)
                    else:
                        await engine.wait_for_room(task)
                    if index % BATCH == 0:
                        await engine.loop.checkpoint()
        except BaseException:
            await engine.loop.shielded(lambda: batch.cancel("submit_many was interrupted"))  # noqa: ASYNC102  (shielded)
            raise
        finally:
            engine.queueing.discard(batch.parent_id)
            engine.step()

    def _queue_nowait(self, task: DownloadTask[Any]) -> DownloadTask[Any]:
        engine = self._engine
        if not engine.has_room:
            raise QueueFullError(max_pending=engine.max_pending, waiting=engine.waiting)
        engine.queue(task)
        return task

    def _retry(self, download: Download) -> DownloadTask[Any]:
        request = replace(download.request, correlation_id=None)
        return self._queue_nowait(self._prepare("retry", request, retry_of=download))

    def _check_id(self, correlation_id: object) -> None:
        if not isinstance(correlation_id, str):
            raise TypeError(f"an id is a str, got {correlation_id!r}")
        if not correlation_id or len(correlation_id) > MAX_ID_LENGTH or not correlation_id.isprintable():
            raise ValueError(f"an id has 1 to {MAX_ID_LENGTH} printable characters, got {correlation_id!r}")
        if correlation_id in self._engine.registry:
            raise DuplicateTaskError(correlation_id=correlation_id)

    def _resolve(self, reference: TaskReference) -> DownloadTask[Any]:
        if isinstance(reference, str):
            return self._engine.registry.get(reference)
        if not isinstance(reference, DownloadTask):
            raise TypeError(f"expected a correlation id or a DownloadTask, got {reference!r}")
        if reference._manager is not self:
            raise UnknownTaskError(correlation_id=reference.correlation_id, advice="it belongs to another manager")
        return reference

    def _resolve_all(self, references: Iterable[TaskReference] | TaskReference) -> Iterable[Download]:
        if isinstance(references, (str, DownloadTask)):
            references = [references]
        for reference in references:
            batch = self._engine.registry.get_batch(reference) if isinstance(reference, str) else None
            for task in batch or [self._resolve(reference)]:
                yield task._download

    def __repr__(self) -> str:
        stats = self._engine.read_stats()
        return f"<DownloadManager {stats.active} of {stats.max_concurrent} running, {stats.pending} pending>"


def make_manager(
    engine: Core, *, downloader: Downloader[Any] | DownloaderFunction[Any], lane_of: LaneOf | None
) -> DownloadManager:
    """Make the manager of *engine*."""
    manager = object.__new__(DownloadManager)
    manager._engine = engine
    manager._function = engine.as_function(downloader)
    manager._check_request = getattr(downloader, "check_request", None)
    manager._lane_of = lane_of
    return manager


def _waits_for_its_turn(download: Download) -> bool:
    return download.status is DownloadStatus.PENDING and not download.is_admitted


def _check_lane(lane: Hashable) -> Hashable:
    try:
        hash(lane)
    except TypeError:
        raise TypeError(f"a lane is hashable, got {lane!r}") from None
    return lane

"""One worker, from its request to its last word.

Rules that hold here:

- whatever ends it, nothing of the worker's group runs afterwards; that cannot be cancelled;
- a worker that ends without a last word has crashed, and its standard error says why, as far as anything does;
- what is waited for has a limit: the plan after the start, and growth (bytes of a file, or files in its directory)
  after that.  Time that the worker waits for its share of a rate does not count, nor does work on whole files;
- what the worker says is heard in the order in which it says it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias, final

import anyio

from ..._context import logger
from ..._errors import DownloadTimeoutError, StalledError
from ..._urls import redact_text
from ._group import ProcessGroup
from ._wire import Failure, FileProgress, Finished, Found, Lines, LogLine, Plan, Processing, Record, Request, go, parse
from ._wire import set_toll as toll_line

__all__ = ["Conversation", "LastWord", "Limits", "Toll", "open_conversation"]

LastWord: TypeAlias = Finished | Found | Failure

# What is kept of the standard error.
_TAIL_BYTES: Final = 8 * 1024

# How long the end of the standard error is waited for once nobody writes there any more.
_DRAIN_S: Final = 0.1

# How often the files of a worker are looked at that says nothing.
_LOOK_EVERY_S: Final = 1.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is waited.

    Attributes:
        url: for messages, without secrets.
        extract_s: for the plan, or the answer of a worker that downloads nothing.
        stall_s: for the next byte.
        size_bytes: looks how much is in the worker's directory at this instant, and raises if that is too much; ffmpeg
            does not tell how far it is.
    """

    url: str
    extract_s: float
    stall_s: float = math.inf
    size_bytes: Callable[[], Awaitable[int]] | None = None


@final
@dataclass(frozen=True, slots=True)
class Toll:
    """What a worker has to wait for before it goes on receiving.

    Attributes:
        is_due: whether there is a limit at present.
        pay: waits until so many bytes are paid for.
    """

    is_due: Callable[[], bool]
    pay: Callable[[int], Awaitable[object]]


@final
@dataclass(slots=True)
class _Clock:
    """When patience ends."""

    limits: Limits
    deadline: float = math.inf
    has_plan: bool = False
    seen_bytes: int = 0
    file_marks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def wait_for(self, seconds: float) -> None:
        self.deadline = anyio.current_time() + seconds

    def next_look(self) -> float:
        """Return when to look at the files, if nothing is said until then."""
        # Of a program that fetches there is no other news; one that works on whole files may have them twice.
        is_fetching = self.has_plan and self.deadline < math.inf
        return min(self.deadline, anyio.current_time() + _LOOK_EVERY_S) if is_fetching else self.deadline

    def hear(self, record: Record) -> None:
        match record:
            case Plan():
                self.has_plan = True
                self.wait_for(self.limits.stall_s)
            case Processing():
                # ffmpeg on whole files: how long that takes depends on them, and nothing tells how far it is.
                self.wait_for(math.inf)
            case FileProgress() if self._has_grown(record):
                self.wait_for(self.limits.stall_s)
            case _:
                pass

    def _has_grown(self, record: FileProgress) -> bool:
        # A file that begins anew has moved as well.
        mark = record.downloaded_bytes or 0, record.fragment_index or 0
        before = self.file_marks.get(record.file)
        self.file_marks[record.file] = mark
        return mark != before


@final
class Conversation:
    """A worker that runs.  Given by :func:`open_conversation`.

    Attributes:
        process_group: its number.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.process_group = group.pid
        self._group = group
        self._lines = Lines()
        self._waiting: list[bytes] = []
        self._tail = b""
        self._is_drained = anyio.Event()

    @property
    def log_tail(self) -> str:
        """The end of what the worker has written to its standard error, for whoever looks after the machine."""
        return self._tail.decode("utf-8", "backslashreplace")

    @property
    def is_silent(self) -> bool:
        """Whether nobody reads the standard error any more, so that all of the tail there will be is there."""
        return self._is_drained.is_set()

    async def drain(self) -> None:
        """Read the standard error until it ends, so that nobody waits to write there; the last of it is kept."""
        try:
            while data := await self._group.receive_log():
                self._tail = (self._tail + data)[-_TAIL_BYTES:]
        finally:
            # Nobody reads any more, be it that there is nothing or that this was cancelled.
            self._is_drained.set()

    async def end(self) -> bool:
        """End the worker's group, and say whether nothing of it is left; read the last of its standard error.

        Cannot be cancelled.
        """
        is_over = False
        with anyio.CancelScope(shield=True):
            is_over = await self._group.kill()
            # Nobody has the other end any more, unless somebody has left the group.
            with anyio.move_on_after(_DRAIN_S):
                await self._is_drained.wait()
        return is_over

    async def next_record(self) -> Record | None:
        """Return what the worker says next; None when it has ended.  Cancelling it loses nothing."""
        while True:
            while self._waiting:
                record = parse(self._waiting.pop(0))
                if record is not None:
                    return record
            data = await self._group.receive()
            if not data:
                return None
            self._waiting += self._lines.feed(data)

    async def ask(self, request: Request) -> None:
        """Send a request."""
        await self._group.send(request.line())

    async def follow(
        self, limits: Limits, hear: Callable[[Record], Awaitable[object]], toll: Toll | None = None
    ) -> LastWord:
        """Hear the worker out, and return its last word.

        Args:
            limits: how long is waited.
            hear: is told everything but the last word; what it raises ends the conversation.
            toll: what the worker has to wait for.

        Raises:
            DownloadTimeoutError: nothing came in time.
        """
        is_told = False
        clock = _Clock(limits)
        clock.wait_for(limits.extract_s)
        while True:
            record: Record | None = None
            with anyio.CancelScope(deadline=clock.next_look()) as scope:
                record = await self.next_record()
            if scope.cancelled_caught:
                await self._look(clock)
                continue
            match record:
                case None:
                    return await self._crash()
                case Finished() | Found() | Failure():
                    return record
                case LogLine():
                    logger.debug("yt-dlp: %s", redact_text(record.message))
                    continue
                case _:
                    pass
            deadline = clock.deadline
            clock.hear(record)
            await hear(record)
            if toll is None or not isinstance(record, FileProgress):
                continue
            if toll.is_due() is not is_told:
                is_told = not is_told
                await self._group.send(toll_line(is_told))
            if record.new_bytes is not None:
                before = anyio.current_time()
                await toll.pay(record.new_bytes)
                await self._group.send(go())
                clock.deadline = max(clock.deadline, deadline) + anyio.current_time() - before

    async def _look(self, clock: _Clock) -> None:
        """Look at the files of a worker that says nothing, and go on after a limit of time if they have grown.

        Raises:
            DownloadTimeoutError: nothing has, and the time is over.
        """
        limits = clock.limits
        size = 0 if limits.size_bytes is None else await limits.size_bytes()
        if anyio.current_time() < clock.deadline:
            return
        if not clock.has_plan:
            raise DownloadTimeoutError(
                url=limits.url,
                waited_for="plan of what to download",
                limit_s=limits.extract_s,
                option="extract_timeout_s",
            )
        if size <= clock.seen_bytes:
            raise StalledError(
                url=limits.url, waited_for="byte of the media", limit_s=limits.stall_s, option="stall_timeout_s"
            )
        clock.seen_bytes = size
        clock.wait_for(limits.stall_s)

    async def _crash(self) -> Failure:
        await self.end()
        code = self._group.returncode
        how = "ended" if code is None else f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return Failure(kind="worker_crashed", message=f"the yt-dlp process {how} without an answer")


@asynccontextmanager
async def open_conversation(start: Callable[[], Awaitable[ProcessGroup]]) -> AsyncGenerator[Conversation, None]:
    """Talk to the worker that *start* gives, and end it with the block.  What leaves the block leaves it as it is."""
    group = await start()
    conversation = Conversation(group)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(conversation.drain)
            try:
                yield conversation
            finally:
                await conversation.end()  # noqa: ASYNC102  (it shields itself, and has limits)
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as raised:
        # The other task only reads, and fails in no way of its own.
        alone, *others = raised.exceptions
        if others:
            raise
        context = alone.__context__
        try:
            raise alone
        finally:
            # What it was raised for stays its own, and the group is nobody's business.
            alone.__context__ = context
    finally:
        group.close()

"""A manager that is not ours, and what is wrong with it: it starts the newest download first."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

import trio

from trio_dlm import DownloadStatus
from trio_dlm.testing import LawBrokenError, ScriptedDownloader, check_manager


class Stack:
    def __init__(self, limit: int, downloader: ScriptedDownloader, nursery: trio.Nursery) -> None:
        self.limit, self.downloader, self.nursery = limit, downloader, nursery
        self.waiting: list[str] = []
        self.scopes: dict[str, trio.CancelScope] = {}
        self.ended: dict[str, trio.Event] = {}
        self.statuses: dict[str, DownloadStatus] = {}
        self.watchers: list[Callable[[str, DownloadStatus], None]] = []

    def submit(self, name: str) -> None:
        self.ended[name] = trio.Event()
        self.waiting.append(name)
        self.become(name, DownloadStatus.PENDING)
        self.start_waiting()

    def start_waiting(self) -> None:
        while self.waiting and len(self.scopes) < self.limit:
            name = self.waiting.pop()  # The bug: pop(0) is right.
            self.scopes[name] = trio.CancelScope()
            self.become(name, DownloadStatus.DOWNLOADING)
            self.nursery.start_soon(self.run, name)

    async def run(self, name: str) -> None:
        status = DownloadStatus.CANCELLED
        try:
            with self.scopes[name]:
                await self.downloader.run(name)
                status = DownloadStatus.COMPLETED
        except Exception:  # noqa: BLE001  (whatever a downloader raises)
            status = DownloadStatus.FAILED
        finally:
            del self.scopes[name]
            self.become(name, status)
            self.start_waiting()

    async def cancel(self, name: str) -> bool:
        had_ended = self.ended[name].is_set()
        if name in self.waiting:
            self.waiting.remove(name)
            self.become(name, DownloadStatus.CANCELLED)
        elif name in self.scopes:
            self.scopes[name].cancel()
        await self.ended[name].wait()
        return not had_ended and self.statuses[name] is DownloadStatus.CANCELLED

    def status(self, name: str) -> DownloadStatus:
        return self.statuses[name]

    def become(self, name: str, status: DownloadStatus) -> None:
        self.statuses[name] = status
        for saw in self.watchers:
            saw(name, status)
        if status.is_final:
            self.ended[name].set()

    @contextmanager
    def watching(self, saw: Callable[[str, DownloadStatus], None]) -> Generator[None]:
        self.watchers.append(saw)
        try:
            yield
        finally:
            self.watchers.remove(saw)


@asynccontextmanager
async def open_stack(limit: int, *, downloader: ScriptedDownloader) -> AsyncGenerator[Stack]:
    async with trio.open_nursery() as nursery:
        yield Stack(limit, downloader, nursery)


try:
    print(check_manager(open_stack, features=frozenset()))
except LawBrokenError as exc:
    print(exc, *exc.__notes__, sep="\n")

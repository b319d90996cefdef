"""``trio-dlm demo``: a dozen downloads from a server of its own, with everything that can happen to them.

Rules that hold here:

- no network but the loopback, and nothing is left behind: the files go into a directory that is deleted;
- what happens is what the library does; the script waits for conditions and then asks for things, and never sleeps;
- every file is compared with what the server meant to send; if anything but the planned accidents happened, that is
  said and the exit code is 1.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import click
import trio

from .._batch import DownloadBatch
from .._block import open_manager
from .._manager import DownloadManager
from .._options import DownloadOptions
from .._records import DownloadRequest, DownloadResult, TaskSnapshot
from .._status import DownloadStatus
from .._task import DownloadTask
from ..downloaders.http import HttpDownloader
from ..formatting import format_size
from ._choose import choose_face
from ._demo_server import DemoServer, Fault, Offer, open_server
from ._faces import Face
from ._logs import logging_to
from ._output import Output
from ._report import Tally
from ._run import LAST_WORDS_S, run_block
from ._signals import Interrupts

__all__ = ["demo"]

_KIB: Final = 1024

# Sizes and rates are such that the whole takes about ten seconds: long enough to watch, too short to be bored.
OFFERS: Final = (
    Offer("atlas.iso", 6000 * _KIB, 250 * _KIB, connections=4),
    Offer("missing.zip", 0, 1, Fault.MISSING),
    Offer("lecture-1.mp4", 1400 * _KIB, 500 * _KIB),
    Offer("torn.tar", 1000 * _KIB, 450 * _KIB, Fault.BREAK),
    Offer("endless.bin", 65_536 * _KIB, 900 * _KIB),
    Offer("sea-shanties.flac", 1200 * _KIB, 500 * _KIB, Fault.BUSY),
    Offer("seeds.csv", 500 * _KIB, 300 * _KIB, Fault.CHANGE),
    Offer("lecture-2.mp4", 1600 * _KIB, 500 * _KIB),
    Offer("silent.img", 800 * _KIB, 400 * _KIB, Fault.STALL),
    Offer("star-chart.pdf", 600 * _KIB, 300 * _KIB),
    Offer("poems.txt", 90 * _KIB, 200 * _KIB, Fault.WRONG),
    Offer("map-tiles.tar", 1000 * _KIB, 500 * _KIB),
)
CANCELLED: Final = "endless.bin"
PAUSED: Final = "lecture-2.mp4"

# What no attempt can mend.
_FATAL: Final = frozenset({Fault.MISSING, Fault.STALL, Fault.WRONG})

# Small enough that a file of a demonstration is worth several connections.
_MIN_SEGMENT_BYTES: Final = 256 * _KIB

LIMIT: Final = 5
LOWER_LIMIT: Final = 2

# How long a silent server is waited for.  A user's default is half a minute, which nobody would watch.
_TIMEOUT_S: Final = 1.5


@click.command(short_help="Show it at work, without a network.")
def demo() -> int:
    """Download a dozen files from a server that this command brings along, which takes about ten seconds.

    The server breaks off, is busy, changes a file in the middle, falls silent and sends a wrong file. Three downloads
    fail, as planned; one is cancelled, one paused and resumed, and the limit is changed in between. No network is
    needed, and nothing is left behind.
    """
    out, err = Output(sys.stdout), Output(sys.stderr)
    # What fails here is part of the show.
    face = choose_face(out, out, as_json=False, quiet=False, repeat_failures=False)
    with (
        logging_to("error"),
        _without_proxy(),
        tempfile.TemporaryDirectory(prefix="trio-dlm-demo-") as directory,
        Interrupts() as interrupts,
    ):
        return trio.run(_Demo(Path(directory), face, err, interrupts).run)


@contextmanager
def _without_proxy() -> Generator[None]:
    """Keep a proxy out of it, which could not reach this machine's loopback."""
    before = os.environ.copy()
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = "127.0.0.1"
    try:
        yield
    finally:
        for name in ("NO_PROXY", "no_proxy"):
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@final
@dataclass(frozen=True)
class _Demo:
    """One run of it."""

    directory: Path
    face: Face
    err: Output
    interrupts: Interrupts

    async def run(self) -> int:
        """Run it, and return the exit code."""
        async with open_server(*OFFERS) as server:
            batches: list[DownloadBatch] = []

            async def submit(manager: DownloadManager) -> DownloadBatch:
                batches.append(await self._submit(manager, server.address))
                return batches[0]

            await run_block(
                open_manager(LIMIT, directory=self.directory, downloader=HttpDownloader(), failures="keep"),
                submit,
                self._interfere,
                face=self.face,
                tally=Tally(len(OFFERS)),
                interrupts=self.interrupts,
            )
        if self.interrupts.received is not None:
            with trio.move_on_after(LAST_WORDS_S):
                name = self.interrupts.received.name
                await self.err.line(f"trio-dlm: the demonstration was stopped by {name}; its files are deleted")
            return 128 + self.interrupts.received
        return await self._judge(batches[0], server)

    async def _submit(self, manager: DownloadManager, address: str) -> DownloadBatch:
        await self.face.say(
            f"{len(OFFERS)} downloads from {address}, at most {LIMIT} at a time; three will fail, and one is cancelled"
        )
        return await manager.submit_many(
            DownloadRequest(
                f"{address}/{offer.name}",
                DownloadOptions(
                    checksum=offer.checksum,
                    connections=offer.connections,
                    min_segment_size=_MIN_SEGMENT_BYTES,
                    # What is fatal here would be tried again elsewhere, which takes longer than anybody would watch.
                    retries=0 if offer.fault in _FATAL else 3,
                    timeout_s=_TIMEOUT_S,
                ),
            )
            for offer in OFFERS
        )

    async def _interfere(self, manager: DownloadManager, batch: DownloadBatch) -> None:
        """Do what a user might do meanwhile; returns when all downloads have ended."""
        tasks = dict(zip((offer.name for offer in OFFERS), batch, strict=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel, manager, tasks[CANCELLED])
            nursery.start_soon(self._pause, manager, tasks[PAUSED], batch)
            nursery.start_soon(self._change_limit, manager, batch)
            await batch.wait()

    async def _cancel(self, manager: DownloadManager, task: DownloadTask[DownloadResult]) -> None:
        await _until(manager, task, lambda snapshot: snapshot.progress.received_bytes >= 1500 * _KIB)
        await task.cancel("enough of it was seen")

    async def _pause(self, manager: DownloadManager, task: DownloadTask[DownloadResult], batch: DownloadBatch) -> None:
        await _until(manager, task, lambda snapshot: (snapshot.progress.fraction or 0) >= 0.25)
        if not await task.pause("to let another one go first"):
            return
        ended = sum(each.status.is_final for each in batch)
        await _until_ended(manager, batch, ended + 2)
        if task.resume():
            await self.face.say(f"{PAUSED} is resumed, at the end of the queue")

    async def _change_limit(self, manager: DownloadManager, batch: DownloadBatch) -> None:
        await _until_ended(manager, batch, 4)
        manager.max_concurrent = LOWER_LIMIT
        await self.face.say(f"from now on at most {LOWER_LIMIT} at a time; what runs is not interrupted")
        await _until_ended(manager, batch, 7)
        manager.max_concurrent = LIMIT
        await self.face.say(f"from now on {LIMIT} again")

    async def _judge(self, batch: DownloadBatch, server: DemoServer) -> int:
        """Compare what happened with what was meant to, and the files with what the server sent."""
        problems: list[str] = []
        whole: set[str] = set()
        for offer, task in zip(OFFERS, batch, strict=True):
            expected = _expected(offer)
            if task.status is not expected:
                problems.append(
                    f"{offer.name} is {task.status.value}, and was meant to be {expected.value}: {task.reason}"
                )
            elif expected is DownloadStatus.COMPLETED:
                digest = await trio.to_thread.run_sync(_digest_of_file, self.directory / offer.name)
                if digest == offer.checksum:
                    whole.add(offer.name)
                else:
                    problems.append(f"{offer.name} is {digest}, which is not what the server sent")
        complete = {
            offer.name for offer, task in zip(OFFERS, batch, strict=True) if task.status is DownloadStatus.COMPLETED
        }
        parts = tuple(f"{offer.name}.part" for offer in OFFERS if offer.name not in complete)
        found = sorted(path.name for path in self.directory.iterdir() if path.name not in complete)
        if left := [name for name in found if not name.startswith(parts)]:
            problems.append(f"left behind: {', '.join(left)}")
        for problem in problems:
            await self.err.line(f"trio-dlm: {problem}")
        for words in filter(None, (_story(offer, server) for offer in OFFERS if offer.name in whole)):
            await self.face.say(words)
        kept = "of the others only what a later run could go on from" if found else "nothing of the others"
        await self.face.say(
            f"{len(whole)} files are there, byte for byte what the server meant to send, and {kept}; now all is deleted"
        )
        return 1 if problems else 0


def _expected(offer: Offer) -> DownloadStatus:
    if offer.name == CANCELLED:
        return DownloadStatus.CANCELLED
    return DownloadStatus.FAILED if offer.fault in _FATAL else DownloadStatus.COMPLETED


def _story(offer: Offer, server: DemoServer) -> str:
    """Say what the server saw of a download that had more to overcome than its rate, or nothing."""
    answers = server.answers[offer.name]
    resumed_at = next((answer.start for answer in answers if answer.start), None)
    if offer.fault is Fault.BREAK and resumed_at is not None:
        return f"{offer.name} broke off, and went on from {format_size(resumed_at)}"
    if offer.fault is Fault.BUSY and answers[-1].status != answers[0].status:
        return f"{offer.name} was asked for again after {answers[0].status}"
    if offer.fault is Fault.CHANGE and answers[-1].version != answers[0].version and not answers[-1].start:
        return f"{offer.name} changed in the middle, and began again"
    if offer.name == PAUSED and resumed_at is not None:
        return f"{offer.name} went on after its pause from {format_size(resumed_at)}"
    if offer.connections > 1 and server.peaks[offer.name] > 1:
        return f"{offer.name} came over {server.peaks[offer.name]} connections at a time"
    return ""


async def _until(
    manager: DownloadManager, task: DownloadTask[DownloadResult], condition: Callable[[TaskSnapshot], bool]
) -> None:
    """Wait until *condition* holds for *task*, or it has ended."""
    async with manager.events(tasks=[task], min_interval_s=0.05) as events:
        async for snapshot in events:
            if condition(snapshot):
                return


async def _until_ended(manager: DownloadManager, batch: DownloadBatch, count: int) -> None:
    """Wait until *count* downloads of *batch* have ended, however they ended."""
    ended = 0
    async with manager.events(tasks=batch, min_interval_s=1.0) as events:
        async for snapshot in events:
            ended += snapshot.status.is_final
            if ended >= count:
                return


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

"""Downloads over HTTP in a world in memory, for the tests of what one run, or several in a row, make of a server.

Rules that hold here:

- time is virtual, threads run in line and the network is in memory; only the files are real;
- a run is looked at from outside: what was asked, what came out, what lies on the disk afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Unpack, final

import pytest
import trio

from trio_dlm import DownloadJob, DownloadOptions, DownloadRequest, DownloadResult, HttpDownloader, TransferError
from trio_dlm._meter import ProgressMeter
from trio_dlm._options import FileOptionsFields
from trio_dlm._rate import RateLimit
from trio_dlm.testing.origin import (
    Act,
    Fault,
    FaultPlan,
    Origin,
    Reply,
    Request,
    Resource,
    Serve,
    Validators,
    honest_reply,
    open_memory_origin,
)
from trio_dlm.testing.world import memory_network, threads_in_line

__all__ = ["BODY", "NAME", "PART", "RECORD", "Answer", "Scene", "everything", "open_scene", "said_too", "sha256"]

NAME: Final = "file.bin"
PART: Final = "file.bin.part"
RECORD: Final = "file.bin.part.json"

# Four bytes in a row say where they stand, so that bytes in another's place show.
BODY: Final = b"".join(number.to_bytes(4, "big") for number in range(25_000))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def everything(directory: Path) -> dict[str, bytes]:
    """Return all that is in *directory*."""
    return {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """A fault of a test's own: a function of the request and the resource."""

    function: Callable[[Request, Resource], Iterable[Act]]

    def answer(self, request: Request, resource: Resource) -> Iterable[Act]:
        return self.function(request, resource)


def said_too(*fields: tuple[str, str], change: Callable[[Reply], Reply] = lambda reply: reply) -> Answer:
    """Serve rightly, with *fields* in the header, and with what *change* makes of the reply."""
    return Answer(lambda request, resource: change(honest_reply(request, resource).saying(*fields)).acts())


@final
class Scene:
    """A server, a directory and a downloader.

    Attributes:
        origin: the server.
        directory: where files go.
        downloader: shared by all runs, as a manager would.
        job: the last run.
    """

    def __init__(self, origin: Origin, directory: Path, downloader: HttpDownloader) -> None:
        self.origin = origin
        self.directory = directory
        self.downloader = downloader
        self.job: DownloadJob | None = None
        self._since = 0

    def plan(
        self, *steps: Fault, then: Fault | None = None, validators: Validators | None = None, most: int | None = None
    ) -> None:
        """Answer the next requests by *steps*, and all after them by *then*; rightly if there is none."""
        self._since = len(self.origin.requests)
        if validators is not None:
            self.origin.resource.validators = validators
        before = (Serve(),) * self._since
        self.origin.plan = FaultPlan((*before, *steps), then or Serve(), max_connections=most)

    def requests(self) -> list[Request]:
        """Return the requests since the last plan."""
        return self.origin.requests[self._since :]

    def asked(self) -> list[str | None]:
        """Return the Range of each request since the last plan."""
        return [request.header("range") for request in self.requests()]

    @property
    def files(self) -> dict[str, bytes]:
        return everything(self.directory)

    def job_for(
        self,
        path: str = f"/{NAME}",
        *,
        url: str | None = None,
        changed: Callable[[], None] = lambda: None,
        **options: Unpack[FileOptionsFields],
    ) -> DownloadJob:
        meter = ProgressMeter(clock=trio.current_time, changed=changed)
        meter.open_run(keep_received=False)
        self.job = DownloadJob(
            request=DownloadRequest(url or self.origin.url(path), DownloadOptions(**options)),
            directory=self.directory,
            correlation_id="0badc0de",
            attempt=1,
            progress=meter,
            resources=None,
            rate_limit=RateLimit(),
        )
        return self.job

    async def fetch(
        self, path: str = f"/{NAME}", *, url: str | None = None, **options: Unpack[FileOptionsFields]
    ) -> DownloadResult:
        return await self.downloader.download(self.job_for(path, url=url, **options))

    async def fails(
        self,
        kind: type[TransferError],
        match: str | None = None,
        path: str = f"/{NAME}",
        *,
        url: str | None = None,
        **options: Unpack[FileOptionsFields],
    ) -> TransferError:
        """Expect an error of exactly *kind*."""
        with pytest.raises(kind, match=match) as caught:
            await self.fetch(path, url=url, **options)
        assert type(caught.value) is kind
        return caught.value

    async def delivers(
        self, body: bytes | None = None, *, path: str = f"/{NAME}", **options: Unpack[FileOptionsFields]
    ) -> DownloadResult:
        """Expect the file, by default the server's present one, and nothing else in the directory."""
        result = await self.fetch(path, **options)
        expected = self.origin.resource.body if body is None else body
        assert self.files == {result.path.name: expected}
        assert result.size_bytes == len(expected)
        return result

    async def leaves(self, size_bytes: int, **options: Unpack[FileOptionsFields]) -> None:
        """Begin a download that is cancelled when *size_bytes* of it are there."""
        with trio.CancelScope() as scope:
            job = self.job_for(
                changed=lambda: scope.cancel() if job.progress.received_bytes >= size_bytes else None, **options
            )
            await self.downloader.download(job)
        assert scope.cancelled_caught


@asynccontextmanager
async def open_scene(directory: Path, *, body: bytes = BODY) -> AsyncGenerator[Scene, None]:
    """Set a scene, for a run of trio in virtual time."""
    with threads_in_line(), memory_network():
        async with open_memory_origin(FaultPlan(), body=body) as origin, HttpDownloader() as downloader:
            yield Scene(origin, directory, downloader)

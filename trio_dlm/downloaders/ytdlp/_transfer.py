"""One download with yt-dlp: attempts, each with a worker of its own, until there is a file or a reason.

Rules that hold here:

- one media item, one directory, one final name for each of its files;
- a file that is there already is looked for as soon as its name is known, before a byte of the media is fetched;
- every attempt goes on from what the last one has left in the directory;
- what is published was named by a worker that has ended, was looked at, and has the digest that the user asked for;
- the directory is kept if a later run can go on from it and is wanted to, and goes otherwise.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar, final

import anyio
import anyio.from_thread
import anyio.to_thread

from ..._errors import (
    ChecksumMismatchError,
    ConnectionFailedError,
    DownloadTimeoutError,
    StorageError,
    TooLargeError,
    TransferError,
)
from ..._options import Checksum, DownloadOptions
from ..._status import DownloadPhase
from ..._urls import redact_url
from .._protocol import DownloadJob
from ..disk._names import safe_name
from ._conversation import Toll
from ._errors import MediaError, MissingRequirementError, ProcessLeakError
from ._job_directory import JobDirectory, Taken, directory_key, existing_file, hex_digest
from ._params import identity_of, request_of
from ._progress import MediaProgress
from ._records import MediaInfo, MediaResult
from ._retrying import Patience
from ._setting import Setting
from ._wire import FileProgress, Finished, MediaFile, Plan, Record

__all__ = ["transfer"]

_T = TypeVar("_T")

# The share of a wait that is taken; tests take none.
_draw: Final = random.random

# Bytes of UTF-8 of a title in a name, so that its id and extension are kept whole.
_MAX_TITLE_BYTES: Final = 150

# What may be in the directory beside the media; the file is looked at again before it is published.
_ROOM_BYTES: Final = 128 * 1024

# What somebody can mend, and then go on from what is there.
_MENDABLE: Final = (
    ConnectionFailedError,
    DownloadTimeoutError,
    MissingRequirementError,
    ProcessLeakError,
    StorageError,
)


async def transfer(
    setting: Setting,
    job: DownloadJob,
    *,
    url: str,
    info: Mapping[str, Any] | None,
    options: DownloadOptions,
    directory: Path,
) -> MediaResult:
    """Fetch one media item into *directory*.

    Cancelling it ends the worker and waits for that.

    Args:
        setting: the downloader.
        job: the run.
        url: of the item.
        info: what a playlist knows of it, or None.
        options: all layers together.
        directory: where the files go, absolute.

    Raises:
        TransferError: it could not be had; the class says why.
    """
    job.progress.phase = DownloadPhase.EXTRACTING
    key = directory_key(identity_of(setting.options, url=url, info=info, filename=options.filename))
    async with _open_directory(directory, key, options) as place:
        job.can_resume = options.resume
        transfer = _Transfer(setting, job, place, url=url, info=info, options=options, directory=directory)
        try:
            return await transfer.run()
        except _AlreadyThereError as found:
            return found.result


@asynccontextmanager
async def _open_directory(directory: Path, key: str, options: DownloadOptions) -> AsyncGenerator[JobDirectory, None]:
    place = await _in_thread(JobDirectory.take, directory, key, resume=options.resume, overwrite=options.overwrite)
    keep = options.resume
    try:
        yield place
        keep = False
    except (TransferError, _AlreadyThereError) as error:
        keep = keep and _may_go_on(error)
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await _in_thread(place.leave, keep=keep)


def _may_go_on(error: Exception) -> bool:
    """Whether what was fetched is of any use after *error*."""
    return isinstance(error, _MENDABLE) or (isinstance(error, MediaError) and error.may_pass)


async def _in_thread(function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


class _AlreadyThereError(Exception):
    """The file is there already, and is what was asked for."""

    def __init__(self, result: MediaResult) -> None:
        super().__init__(result)
        self.result = result


@final
class _Transfer:
    """What one download learns."""

    def __init__(
        self,
        setting: Setting,
        job: DownloadJob,
        place: JobDirectory,
        *,
        url: str,
        info: Mapping[str, Any] | None,
        options: DownloadOptions,
        directory: Path,
    ) -> None:
        self._setting = setting
        self._job = job
        self._place = place
        self._url = url
        self._info = info
        self._options = options
        self._directory = directory
        self._checksum = None if options.checksum is None else Checksum.parse(options.checksum)
        self._progress = MediaProgress()
        self._has_begun = False

    async def run(self) -> MediaResult:
        if self._options.filename is not None:
            await self._look(self._options.filename, None)
        patience = Patience(self._options.retries, self._options.retry_after_limit_s)
        while True:
            try:
                finished = await self._attempt()
            except TransferError as error:
                # A function of its own decides; here is only waited.
                wait_s = patience.after(error, received_bytes=self._job.progress.received_bytes, draw=_draw())
                self._job.progress.retries += 1
                self._job.progress.phase = DownloadPhase.RETRYING
                await anyio.sleep(wait_s)
            else:
                return await self._publish(finished)

    async def _attempt(self) -> Finished:
        self._progress = MediaProgress()
        self._job.progress.phase = DownloadPhase.EXTRACTING
        request = request_of(
            self._setting.options,
            self._options,
            url=self._url,
            info=self._info,
            job_directory=str(self._place.path),
            ffmpeg=self._setting.ffmpeg,
            guard=self._setting.guard(self._options),
            toll=not self._job.rate_limit.is_unlimited,
        )
        word = await self._setting.ask(
            request,
            self._url,
            hear=self._hear,
            size_bytes=self._measure,
            toll=Toll(lambda: not self._job.rate_limit.is_unlimited, self._job.rate_limit.pay),
            max_bytes=self._options.max_bytes,
        )
        assert isinstance(word, Finished), "a worker answers what it was asked"
        return word

    async def _hear(self, record: Record) -> None:
        self._progress.feed(record)
        meter = self._job.progress
        if isinstance(record, Plan):
            await self._hear_plan(record)
        if isinstance(record, FileProgress):
            if not self._has_begun:
                # What an earlier run has left was not received in this one.
                self._has_begun = True
                kept = 0 if self._place.is_new else self._progress.received_bytes
                meter.begin(max(kept, meter.received_bytes), self._progress.total_bytes)
            meter.advance(max(0, self._progress.received_bytes - meter.received_bytes))
            meter.total_bytes = self._progress.total_bytes
            self._check_size(self._progress.received_bytes, None)
        meter.phase = self._progress.phase

    async def _hear_plan(self, plan: Plan) -> None:
        self._check_size(0, plan.size_bytes)
        if self._options.filename is None and plan.ext and not self._setting.options.audio_only:
            await self._look(_name_of(plan.info.title, plan.info.id, plan.ext), plan)

    async def _measure(self) -> int:
        size = await _in_thread(lambda: self._place.size_bytes)
        # A fragment may be there twice for an instant, and there are notes of ours.
        self._check_size(size - _ROOM_BYTES, None)
        return size

    def _check_size(self, received_bytes: int, announced_bytes: int | None) -> None:
        limit = self._options.max_bytes
        if limit is not None and max(received_bytes, announced_bytes or 0) > limit:
            raise TooLargeError(url=redact_url(self._url), max_bytes=limit, size_bytes=announced_bytes)

    async def _look(self, name: str, plan: Plan | None) -> None:
        """End the download if its file is there already.

        Raises:
            TargetExistsError: and it is not known to be what is wanted.
            _AlreadyThereError: and it is.
        """
        final = self._directory / name
        size = await _in_thread(existing_file, final, overwrite=self._options.overwrite, checksum=self._checksum)
        if size is not None:
            media = MediaInfo() if plan is None else plan.info
            raise _AlreadyThereError(
                MediaResult(path=final, size_bytes=size, checksum=self._options.checksum, reused=True, media=media)
            )

    async def _publish(self, finished: Finished) -> MediaResult:
        self._job.progress.phase = DownloadPhase.VERIFYING
        files = [(file, await _in_thread(self._place.check, file.path)) for file in finished.files]
        media = [(file, taken) for file, taken in files if file.kind == "media"]
        if len(media) != 1:
            raise StorageError(
                path=str(self._place.path),
                problem=f"yt-dlp has left {len(media)} media files where one was expected",
                advice="ask for a format that it can merge into one file, for which ffmpeg has to be installed",
            )
        ((file, taken),) = media
        self._check_size(taken.size_bytes, None)
        checksum = await self._verify(taken)
        name = self._options.filename or _name_of(finished.info.title, finished.info.id, Path(file.path).suffix[1:])
        path = await self._give_name(taken, name)
        subtitles = [
            await self._give_name(taken, _name_beside(path.name, file))
            for file, taken in files
            if file.kind == "subtitles"
        ]
        return MediaResult(
            path=path,
            size_bytes=taken.size_bytes,
            checksum=checksum,
            media=finished.info,
            subtitles=tuple(subtitles),
        )

    async def _verify(self, taken: Taken) -> str | None:
        checksum = self._checksum
        if checksum is None:
            return None
        got, _ = await _in_thread(hex_digest, taken.path, checksum.algorithm, anyio.from_thread.check_cancelled)
        if got != checksum.hex_digest:
            raise ChecksumMismatchError(
                url=redact_url(self._url), algorithm=checksum.algorithm, expected=checksum.hex_digest, got=got
            )
        return str(checksum)

    async def _give_name(self, taken: Taken, name: str) -> Path:
        return await _in_thread(
            self._place.publish,
            taken,
            self._directory / name,
            overwrite=self._options.overwrite,
            durability=self._options.durability,
        )


def _name_of(title: str | None, media_id: str | None, ext: str) -> str:
    """Return the name that users of yt-dlp know, ``TITLE [ID].EXT``, made safe."""
    short = (title or "").encode()[:_MAX_TITLE_BYTES].decode(errors="ignore")
    stem = f"{short} [{media_id}]" if media_id else short
    # A slash in a title is no directory.
    plain = stem.replace("/", "_").replace("\\", "_")
    return safe_name(f"{plain}.{ext}" if ext else plain, fallback=f"media.{ext}")


def _name_beside(name: str, file: MediaFile) -> str:
    """Return the name of what belongs to the media file *name*: ``TITLE [ID].en.vtt``."""
    stem, _, _ = name.rpartition(".")
    language = f".{file.language}" if file.language else ""
    return safe_name(f"{stem or name}{language}{Path(file.path).suffix}")

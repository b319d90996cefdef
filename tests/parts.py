"""What the tests of part files have in common: taking a name, filling a part, looking at a directory, failing calls."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import trio

from trio_dlm._options import Checksum, Durability, Overwrite
from trio_dlm.downloaders.http.files._claim import Wanted
from trio_dlm.downloaders.http.files._partfile import ExistingFile, PartFile, open_target
from trio_dlm.downloaders.http.rules._version import Validator, Version

URL = "https://example.org/a"
BODY = b"what was fetched"
OLD = b"what was there"

# What a server said that sends BODY, with something that proves it.
VERSION = Version(Validator("etag", '"1"'), total=len(BODY))


def digest_of(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest())


def target(
    directory: Path,
    name: str = "a.iso",
    *,
    overwrite: Overwrite = False,
    checksum: Checksum | None = None,
    resume: bool = True,
    durability: Durability = "process",
    source: str = URL,
    size_bytes: int | None = None,
    limiter: trio.CapacityLimiter | None = None,
) -> AbstractAsyncContextManager[PartFile | ExistingFile]:
    return open_target(
        directory,
        name,
        overwrite=overwrite,
        checksum=checksum,
        resume=resume,
        durability=durability,
        source=source,
        url=source,
        size_bytes=size_bytes,
        limiter=limiter or trio.CapacityLimiter(4),
    )


def wanted(directory: Path, name: str = "a.iso", **changes: Any) -> Wanted:
    facts: dict[str, Any] = {
        "overwrite": False,
        "checksum": None,
        "resume": True,
        "durability": "process",
        "source": URL,
        "url": URL,
        "size_bytes": None,
    }
    return Wanted(directory=directory, name=name, **(facts | changes))


async def put(part: PartFile | ExistingFile, *chunks: bytes, version: Version | None = None) -> None:
    """Write *chunks* behind what is there, of nothing that could be proven if no *version* is given."""
    assert isinstance(part, PartFile)
    if part.version is None:
        await part.begin(version or Version(), {"sha256"})
    await part.write(part.held.end, chunks)


async def finish(part: PartFile | ExistingFile, *chunks: bytes, version: Version | None = None) -> Path:
    """Write *chunks* behind what is there, and publish all of it."""
    await put(part, *chunks, version=version)
    assert isinstance(part, PartFile)
    return await part.publish(part.held.end)


async def save(directory: Path, name: str = "a.iso", *, body: bytes = BODY, **options: Any) -> Path:
    async with target(directory, name, **options) as part:
        return await finish(part, body)


async def leave_a_part(
    directory: Path, name: str = "a.iso", *, chunks: tuple[bytes, ...] = (BODY[:5],), **options: Any
) -> None:
    """Begin a download of BODY and end it early."""
    version = options.pop("version", VERSION)
    async with target(directory, name, **options) as part:
        await put(part, *chunks, version=version)


def contents(directory: Path) -> dict[str, bytes | None]:
    """Return what is in *directory* without what only stands beside a part; None stands for what is no regular file."""
    return {
        name: data for name, data in everything(directory).items() if not name.endswith((".part.json", ".part.lock"))
    }


def everything(directory: Path) -> dict[str, bytes | None]:
    """Return all that is in *directory*; None stands for what is no regular file."""
    return {
        path.name: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in directory.iterdir()
    }


def fail(
    number: int, *, when: Callable[..., bool] = lambda *_, **__: True, then: Callable[..., Any] | None = None
) -> Any:
    """Return a stand-in for a call of the system that fails with an errno, for some arguments only."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            raise OSError(number, os.strerror(number))
        assert then is not None
        return then(*args, **kwargs)

    return call

"""A disk that is full, from the beginning or in the middle, and a limit on the size of files.

Rules that hold here:

- the disk is a file system of its own, so that nobody else's is filled;
- its being full is known from what the origin has handed over, so that nobody looks at a clock for it;
- afterwards there is room, and the same command goes on.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from ._command import Ending, fetch, limited, start
from ._figures import Figure, at_most, none_of, skipped
from ._files import NAME, left_beside, not_whole
from ._mounts import NoMountError, mounted
from ._origin import MIB, CountingOrigin, Framing, make_body, open_counting_origin

__all__ = ["measure_disk_too_small", "measure_file_limit", "measure_full_disk", "measure_room_taken"]

ENDS_WITHIN_S: Final = 2.0

# What a client that asks for no body reads of it all the same: what the kernel had taken for it.
UNREAD_BYTES: Final = MIB

ROOM_LATER: Final = "size=1g"


async def measure_disk_too_small(*, room_bytes: int, size_bytes: int) -> list[Figure]:
    """Fetch a file whose length is known, and is more than there is room for."""
    hardship = f"{size_bytes / MIB:g} MiB to a disk with {room_bytes / MIB:g} MiB"
    try:
        with mounted(f"size={room_bytes}") as disk:
            async with open_counting_origin() as origin:
                url = origin.serve(f"/{NAME}", make_body(size_bytes))
                ending = await fetch("get", "-q", url, cwd=disk.directory)
                problems = [*ending.problems(1, lines=1), *left_beside(disk.directory), *_more_requests(origin, 1)]
                given_bytes = origin.given_bytes
    except NoMountError as exc:
        return [skipped(hardship, str(exc))]
    return [
        at_most(hardship, "handed over, unread", given_bytes / MIB, UNREAD_BYTES / MIB, unit="MiB"),
        none_of(hardship, "one line, exit code 1, nothing written", problems),
    ]


async def measure_full_disk(
    framing: Framing, *, room_bytes: int, size_bytes: int, has_validator: bool = True
) -> list[Figure]:
    """Fetch a file whose length nobody knows, and that turns out to be more than there is room for."""
    kind = "" if has_validator else ", no validator"
    hardship = f"{size_bytes / MIB:g} MiB, {framing.value}{kind}, to a disk with {room_bytes / MIB:g} MiB"
    body = make_body(size_bytes, seed=1)
    try:
        with mounted(f"size={room_bytes}") as disk:
            async with _served(body, framing, has_validator=has_validator) as (origin, url):
                return await _run_out_of_room(
                    hardship,
                    origin,
                    ["get", "-q", "-x", "1", url],
                    disk.directory,
                    body,
                    is_full=lambda: origin.wait_given(room_bytes),
                    make_room=lambda: disk.remount(ROOM_LATER),
                    is_kept=has_validator,
                )
    except NoMountError as exc:
        return [skipped(hardship, str(exc))]


async def measure_room_taken(*, room_bytes: int, size_bytes: int, connections: int) -> list[Figure]:
    """Fetch a file for which there was room when it began, until somebody else took it."""
    hardship = f"{size_bytes / MIB:g} MiB to a disk with {room_bytes / MIB:g} MiB that others fill, -x {connections}"
    body = make_body(size_bytes, seed=2)
    try:
        with mounted(f"size={room_bytes}") as disk:
            other = disk.directory / "somebody else's"

            async def take_room(origin: CountingOrigin) -> None:
                await origin.wait_given(size_bytes / 4)
                _fill(other)

            async with _served(body, Framing.LENGTH, connections=connections) as (origin, url):
                return await _run_out_of_room(
                    hardship,
                    origin,
                    ["get", "-q", "-x", str(connections), url],
                    disk.directory,
                    body,
                    is_full=lambda: take_room(origin),
                    make_room=other.unlink,
                )
    except NoMountError as exc:
        return [skipped(hardship, str(exc))]


async def measure_file_limit(framing: Framing, *, limit_bytes: int, size_bytes: int) -> list[Figure]:
    """Fetch a file that is larger than files may be (``ulimit -f``)."""
    hardship = f"{size_bytes / MIB:g} MiB, {framing.value}, where files have {limit_bytes / MIB:g} MiB at most"
    body = make_body(size_bytes, seed=3)
    with tempfile.TemporaryDirectory(prefix="hardships-") as made:
        async with _served(body, framing) as (origin, url):
            return await _run_out_of_room(
                hardship,
                origin,
                # In segments the file ends at once where it may not: the second one begins behind the limit.
                ["get", "-q", "-x", "1", url],
                Path(made),
                body,
                is_full=lambda: origin.wait_given(limit_bytes),
                make_room=lambda: None,
                before=limited("RLIMIT_FSIZE", limit_bytes),
            )


@asynccontextmanager
async def _served(
    body: bytes, framing: Framing, *, has_validator: bool = True, connections: int = 1
) -> AsyncGenerator[tuple[CountingOrigin, str]]:
    async with open_counting_origin(connections=connections) as origin:
        yield origin, origin.serve(f"/{NAME}", body, framing, has_validator=has_validator)


async def _run_out_of_room(
    hardship: str,
    origin: CountingOrigin,
    arguments: Sequence[str],
    directory: Path,
    body: bytes,
    *,
    is_full: Callable[[], Awaitable[object]],
    make_room: Callable[[], object],
    is_kept: bool = True,
    before: Sequence[str] = (),
) -> list[Figure]:
    """Run the command until there is no more room, make room, and run it again."""
    async with start(*arguments, cwd=directory, before=before) as running:
        # If it ended before, it noticed at once.
        await running.until(is_full)
        full_at_s = trio.current_time()
        ending = await running.wait()
    kept_bytes = _part_bytes(directory)
    problems = [*ending.problems(1, lines=1), *_early(directory)]
    # Several connections are several requests.
    if "1" in arguments:
        problems += _more_requests(origin, 1)
    if is_kept and not kept_bytes:
        problems.append("nothing was kept")
    if not is_kept and kept_bytes:
        problems.append("what cannot be gone on with was kept")
    make_room()
    again: Ending = await fetch(*arguments, cwd=directory)
    wrong = again.problems(0, lines=0) or [*not_whole(directory / NAME, body), *left_beside(directory, NAME)]
    again_bytes = origin.given_bytes - len(body)
    figures = [
        at_most(hardship, "seconds to the end", max(0.0, ending.at_s - full_at_s), ENDS_WITHIN_S, unit="s"),
        none_of(hardship, _promise(is_kept=is_kept), [*problems, *wrong]),
    ]
    if is_kept:
        figures.insert(1, at_most(hardship, "fetched again", again_bytes / MIB, UNREAD_BYTES / MIB, unit="MiB"))
    return figures


def _promise(*, is_kept: bool) -> str:
    what = "the part kept" if is_kept else "no part left"
    return f"one line, exit code 1, no retry, {what}; with room it delivers"


def _part_bytes(directory: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return (directory / f"{NAME}.part").stat().st_size
    return 0


def _early(directory: Path) -> list[str]:
    return [f"{NAME} was there"] if (directory / NAME).exists() else []


def _more_requests(origin: CountingOrigin, expected: int) -> list[str]:
    came = len(origin.origin.requests)
    return [] if came <= expected else [f"{came} requests instead of {expected}"]


def _fill(path: Path) -> None:
    """Take what room there is, to the last byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(os.sysconf("SC_PAGE_SIZE")))

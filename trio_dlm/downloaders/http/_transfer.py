"""One download over HTTP, from the request to the published file.

Rules that hold here:

- nothing is decided here: what to ask and what to believe is :mod:`._plan`, what the file is called :mod:`._names`,
  when a name may be taken :mod:`._partfile`, what an exception of the client means :mod:`._client`;
- a name that is known before the request is taken before the request;
- progress is reported for every read, and only for bytes of the file.

One stream for now; what resumes, retries and splits will call :func:`_follow` for each request of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import trio

from ..._meter import ProgressMeter
from ..._options import Checksum, DownloadOptions
from ..._records import DownloadResult
from ..._status import DownloadPhase
from . import _plan
from ._address import Address
from ._client import BATCH_BYTES, Client, Exchange
from ._names import choose_name
from ._partfile import ExistingFile, PartFile, open_target

__all__ = ["transfer"]


async def transfer(
    address: Address,
    *,
    url: str,
    options: DownloadOptions,
    directory: Path,
    progress: ProgressMeter,
    client: Client,
    limiter: trio.CapacityLimiter,
) -> DownloadResult:
    """Fetch *address* into *directory*.

    Cancelling it deletes the part file and closes the connection.  If it is cancelled while the file gets its name, it
    returns all the same.

    Args:
        address: what *url* says.
        url: as the user wrote it; a name may be taken from it.
        options: the user's, all layers together.
        directory: absolute; made if it is missing.
        progress: where to report to.
        client: what to ask with.
        limiter: counts the threads that touch files.

    Raises:
        TransferError: the file could not be had; the class says why.
    """
    checksum = None if options.checksum is None else Checksum.parse(options.checksum)

    def target(name: str, size_bytes: int | None) -> contextlib.AbstractAsyncContextManager[PartFile | ExistingFile]:
        return open_target(
            directory,
            name,
            overwrite=options.overwrite,
            checksum=checksum,
            size_bytes=size_bytes,
            url=address.shown,
            limiter=limiter,
        )

    if options.filename is not None:
        async with target(options.filename, None) as taken:
            if isinstance(taken, ExistingFile):
                return await _reuse(taken, checksum, progress)
            async with _follow(address, options, client) as (exchange, length):
                # A small file that does not fit is refused by the first write.
                if length is not None and length > BATCH_BYTES:
                    await taken.check_room(length)
                return await _pour(exchange, length, taken, options, progress)
    async with _follow(address, options, client) as (exchange, length):
        name = choose_name(
            filename=None,
            disposition=exchange.head.first("content-disposition"),
            url=url,
            final_url=exchange.head.address.url,
        )
        async with target(name, length) as taken:
            if isinstance(taken, PartFile):
                return await _pour(exchange, length, taken, options, progress)
    # The connection is closed by now: the answer is on disk.
    return await _reuse(taken, checksum, progress)


@contextlib.asynccontextmanager
async def _follow(
    address: Address, options: DownloadOptions, client: Client
) -> AsyncGenerator[tuple[Exchange, int | None], None]:
    """Ask for *address*, go where it redirects to, and give the reply that delivers, with the length of its body."""
    named: Final = frozenset({address.origin})
    hops = [address]
    while True:
        to = hops[-1]
        async with client.exchange(
            to,
            headers=_plan.request_headers(to, named=named, basic=address.basic, headers=options.headers),
            is_named=to.origin in named,
            connect_timeout_s=options.connect_timeout_s,
            timeout_s=options.timeout_s,
        ) as exchange:
            head = exchange.head
            following = _plan.next_hop(head, hops=hops, allow_http_downgrade=options.allow_http_downgrade)
            if following is None:
                _plan.check_delivers(head)
                _plan.check_coding(head)
                length = _plan.promised_length(head, has_digest=options.checksum is not None)
                _plan.check_length(head, length, max_bytes=options.max_bytes)
                yield exchange, length
                return
        hops.append(following)


async def _pour(
    exchange: Exchange, length: int | None, part: PartFile, options: DownloadOptions, progress: ProgressMeter
) -> DownloadResult:
    """Write the body into *part*, in batches, and publish it with the last one."""
    progress.begin(total_bytes=length)
    while True:
        chunks, has_ended = await exchange.read_batch(progress.advance, length=length)
        _plan.check_received(
            exchange.head, exchange.received_bytes, length=length, max_bytes=options.max_bytes, ended=has_ended
        )
        if has_ended:
            break
        await part.write(chunks)
    progress.phase = DownloadPhase.VERIFYING
    path, size_bytes = await part.publish(chunks)
    return DownloadResult(path=path, size_bytes=size_bytes, checksum=options.checksum)


async def _reuse(existing: ExistingFile, checksum: Checksum | None, progress: ProgressMeter) -> DownloadResult:
    progress.phase = DownloadPhase.VERIFYING
    size_bytes = await existing.verify()
    return DownloadResult(path=existing.path, size_bytes=size_bytes, checksum=str(checksum), reused=True)

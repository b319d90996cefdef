"""A small file whose body comes in one read: verified in memory, and given its name in one step.

Rules that hold here:

- it is the short way to what the long one does: nothing is decided here, and whatever is not plain (a part that lies
  there, a name that is taken, a digest that does not fit) goes the long way, with the bytes that came;
- what was read of a body that did not come at once is not lost: it is read again by whoever goes on.

Source:
    RFC 9530 for the digests of a message and of a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from ..._options import Overwrite
from ..._records import DownloadResult
from ..._status import DownloadPhase
from ..disk._storage import look, make_directory, storage_errors
from ..disk._unnamed import can_be_unnamed, save_whole
from ._errand import Errand
from ._target import Target
from .client._exchange import Exchange
from .rules._believing import Delivery
from .rules._digests import Digest, algorithms, content_digests, mismatch

__all__ = ["take_at_once"]

# What is worth keeping in memory for a moment.
_SMALL_BYTES: Final = 256 * 1024


async def take_at_once(
    errand: Errand, target: Target, exchange: Exchange, delivery: Delivery, name: str
) -> DownloadResult | None:
    """Read a small file and publish it; None if it has to go the long way, for which nothing has changed.

    Cancelling it while the file gets its name waits for that, and it returns all the same.

    Raises:
        TransferError: the body did not come, or the disk refused; the class says why.
    """
    total = delivery.version.total
    if not target.is_untouched or total is None or not _is_plain(errand, delivery, total):
        return None
    body = await exchange.read_at_once(total)
    if body is None:
        return None
    claims = [*map(Digest.parse, delivery.version.digests), *content_digests(exchange.head)]
    if errand.checksum is not None:
        claims.append(Digest(errand.checksum.algorithm, bytes.fromhex(errand.checksum.hex_digest)))
    path = await errand.hops.run(
        partial(_save, errand.directory / name, name, body, claims, overwrite=errand.options.overwrite)
    )
    if path is None:
        exchange.put_back(body)
        return None
    progress = errand.job.progress
    progress.begin(0, total)
    progress.advance(total)
    progress.phase = DownloadPhase.VERIFYING
    return DownloadResult(path=path, size_bytes=total, checksum=errand.options.checksum)


def _is_plain(errand: Errand, delivery: Delivery, total: int) -> bool:
    options = errand.options
    return (
        total <= _SMALL_BYTES
        and delivery.is_new
        and delivery.start == 0
        and delivery.length == total
        and delivery.coding.new_decoder is None
        and options.durability == "process"
        and options.overwrite is not True
        and can_be_unnamed()
    )


def _save(path: Path, name: str, body: bytes, claims: Sequence[Digest], *, overwrite: Overwrite) -> Path | None:
    """Runs in a thread."""
    found = {name: hashlib.new(name, body, usedforsecurity=False).digest() for name in algorithms(claims)}
    if mismatch(claims, found) is not None:
        return None
    saved = save_whole(path, name, [body], overwrite)
    if saved is None:
        with storage_errors(path):
            is_missing = look(path.parent) is None
        if is_missing:
            make_directory(path.parent)
            saved = save_whole(path, name, [body], overwrite)
    return saved

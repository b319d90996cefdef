"""From a complete part to the file: its digests are compared, and it gets its name.

Rules that hold here:

- the user's digest decides; the server's decides where there is none, and is only warned of where there is;
- an existing file that the user's digest proves is as good as a fetched one.

Source:
    RFC 9530 section 3 (Repr-Digest).
"""

from __future__ import annotations

from ..._context import logger
from ..._errors import ChecksumMismatchError
from ..._records import DownloadResult
from ..._status import DownloadPhase
from ._asker import Source
from ._errand import Errand
from ._receiving import Receiver
from ._target import Target
from .files._partfile import ExistingFile
from .rules._digests import Digest, mismatch

__all__ = ["finish", "reuse"]


async def finish(errand: Errand, target: Target, receiver: Receiver, source: Source) -> DownloadResult:
    """Verify the complete part of *target* and give it its final name.

    Cancelling it before the name is given leaves the part as it is.

    Raises:
        ChecksumMismatchError: the bytes are not those that a digest names.
        TargetExistsError: the name was taken meanwhile.
        StorageError: the disk refused, or somebody else changed the part.
    """
    part, version = target.part, target.part.version
    assert version is not None
    assert version.total is not None
    errand.job.progress.phase = DownloadPhase.VERIFYING
    errand.job.progress.total_bytes = version.total
    found = await part.digests()
    url = (source.final or source.address).shown

    def differs(claim: Digest) -> ChecksumMismatchError:
        got = found[claim.algorithm].hex()
        return ChecksumMismatchError(url=url, algorithm=claim.algorithm, expected=claim.value.hex(), got=got)

    if errand.checksum is not None:
        wrong = mismatch([Digest(errand.checksum.algorithm, bytes.fromhex(errand.checksum.hex_digest))], found)
        if wrong is not None:
            raise differs(wrong)
    wrong = mismatch([Digest.parse(text) for text in version.digests], found)
    if wrong is not None:
        receiver.doubted(differs(wrong))
    for doubt in receiver.doubts:
        logger.warning("the checksum that was given holds, although the server's own does not: %s", doubt)
    path = await part.publish(version.total)
    return DownloadResult(path=path, size_bytes=version.total, checksum=errand.options.checksum)


async def reuse(errand: Errand, existing: ExistingFile) -> DownloadResult:
    """Verify a file that was there before.

    Raises:
        TargetExistsError: it has another digest.
        StorageError: it cannot be read.
    """
    errand.job.progress.phase = DownloadPhase.VERIFYING
    size_bytes = await existing.verify()
    return DownloadResult(path=existing.path, size_bytes=size_bytes, checksum=errand.options.checksum, reused=True)

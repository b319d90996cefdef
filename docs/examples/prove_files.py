"""A digest that the user knows, two mirrors, and one of them has another file.  In memory and in virtual time."""

import hashlib
import tempfile

import trio_dlm
from trio_dlm import ChecksumMismatchError, DownloadFailedError
from trio_dlm.testing import FaultPlan, open_memory_origin, run_in_virtual_world
from trio_dlm.testing.world import memory_network

RIGHT = bytes(range(256)) * 16
DIGEST = f"sha256:{hashlib.sha256(RIGHT).hexdigest()}"


async def fetch(wrong_url: str, right_url: str, directory: str) -> None:
    async with trio_dlm.open_manager(directory=directory) as manager:
        try:
            await manager.download(wrong_url, checksum=DIGEST)
        except DownloadFailedError as exc:
            if not isinstance(exc.__cause__, ChecksumMismatchError):
                raise
            print("expected", exc.__cause__.expected[:8], "got", exc.__cause__.got[:8])

        saved = await manager.download(wrong_url, checksum=DIGEST, mirrors=[right_url])
        print(saved.path.name, saved.size_bytes, saved.checksum == DIGEST)


async def main() -> None:
    plan = FaultPlan()
    with memory_network(), tempfile.TemporaryDirectory() as directory:
        async with (
            open_memory_origin(plan, body=RIGHT[::-1], host="wrong.test") as wrong,
            open_memory_origin(plan, body=RIGHT, host="right.test") as right,
        ):
            await fetch(wrong.url(), right.url(), directory)


run_in_virtual_world(main)

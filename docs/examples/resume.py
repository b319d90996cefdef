"""A download that fails half-way, and the next one, which goes on from there.  In memory and in virtual time."""

import tempfile

import trio

import trio_dlm
from trio_dlm import DownloadFailedError
from trio_dlm.testing import FaultPlan, open_memory_origin, run_in_virtual_world
from trio_dlm.testing.origin import DropAt
from trio_dlm.testing.world import memory_network


async def fetch_in_two_runs(url: str, directory: str) -> None:
    async with trio_dlm.open_manager(directory=directory) as manager:
        try:
            await manager.download(url, retries=0)
        except DownloadFailedError as exc:
            print(exc.__cause__)

    print(sorted(path.name for path in await trio.Path(directory).iterdir()))

    # An hour later, or after a crash, in another process: the same URL, the same directory.
    async with trio_dlm.open_manager(directory=directory) as manager:
        saved = await manager.download(url)
        print(saved.path.name, saved.size_bytes)


async def main() -> None:
    # The first connection breaks after 3000 bytes.
    with memory_network(), tempfile.TemporaryDirectory() as directory:
        async with open_memory_origin(FaultPlan(steps=(DropAt(3000),))) as origin:
            await fetch_in_two_runs(origin.url(), directory)
            for request in origin.requests:
                print(request.header("range"), request.header("if-range"))


run_in_virtual_world(main)

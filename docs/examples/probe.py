"""What would be downloaded, without downloading it.  In memory and in virtual time."""

from trio_dlm import HttpDownloader
from trio_dlm.testing import FaultPlan, open_memory_origin, run_in_virtual_world
from trio_dlm.testing.world import memory_network


async def look(url: str) -> None:
    async with HttpDownloader() as http:
        file = await http.probe(url)
        print(file.name, file.size_bytes, file.etag, "resumable" if file.is_resumable else "not resumable")


async def main() -> None:
    with memory_network():
        async with open_memory_origin(FaultPlan()) as origin:
            await look(origin.url())


run_in_virtual_world(main)

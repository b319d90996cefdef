"""A server that drops its first connection, in memory and in virtual time."""

import trio_dlm
from trio_dlm.testing import FaultPlan, open_memory_origin, run_in_virtual_world
from trio_dlm.testing.origin import DropAt
from trio_dlm.testing.world import memory_network


async def main() -> None:
    plan = FaultPlan(steps=(DropAt(1000),))
    with memory_network():
        async with open_memory_origin(plan, body=bytes(4096)) as origin:
            async with trio_dlm.open_manager(directory="fetched") as manager:
                task = await manager.submit(origin.url())
                print(await task.wait(), task.progress.retries)
            print([request.header("range") for request in origin.requests])


run_in_virtual_world(main)

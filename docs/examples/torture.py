"""A scenario, cancelled at each checkpoint and with an error in each file operation in turn."""

import trio_dlm
from trio_dlm.testing import Stage, torture


async def fetch(stage: Stage) -> None:
    async with trio_dlm.open_manager(directory=stage.directory) as manager:
        await manager.download(stage.url)


# What has arrived may stay, for the next run to go on from.
print(torture(fetch, leftovers=["*.part", "*.part.json"]))

"""Every log record carries the id of its download, those of other libraries too."""

import logging
import sys

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadResult

# It knows nothing of downloads.
library = logging.getLogger("some_library")


def parse(text: str) -> None:
    library.info("parsing %s in a thread", text)


async def fetch(job: DownloadJob) -> DownloadResult:
    library.info("connecting")
    await trio.to_thread.run_sync(parse, job.url)
    return DownloadResult(path=job.directory / "file", size_bytes=0)


async def main() -> None:
    handler = logging.StreamHandler(sys.stdout)
    # On the handler: a filter on a logger does not see the records of the loggers below.
    handler.addFilter(trio_dlm.CorrelationIdFilter())
    form = "%(correlation_id)-8s %(levelname)-5s %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("trio_dlm").setLevel(logging.DEBUG)

    library.info("outside of any download")
    async with trio_dlm.open_manager(2, downloader=fetch) as manager:
        await manager.submit("https://example.org/a")
        await manager.submit("https://example.org/b", correlation_id="order-4711")


trio.run(main)

"""Downloads that submit more: every page that is fetched queues those that it links to."""

from urllib.parse import urljoin

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadManager, DownloadResult

# Stands for a site: the links of each page.
SITE = {
    "/": ["a", "b", "c"],
    "/a": ["b", "d"],
    "/b": ["/"],
    "/c": ["d", "e"],
    "/d": [],
    "/e": ["a"],
}


class Crawler:
    """Fetches pages, and queues each page that they link to once."""

    manager: DownloadManager  # set before the first page is queued

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def queue(self, url: str) -> None:
        if url not in self.seen:
            self.seen.add(url)
            # It never waits.  A download that waits for room keeps its slot from the queue.
            self.manager.submit_nowait(url)

    async def download(self, job: DownloadJob) -> DownloadResult:
        await trio.sleep(0.05)
        for link in SITE[job.url.removeprefix("https://example.org")]:
            self.queue(urljoin(job.url, link))
        return DownloadResult(path=job.directory / "page", size_bytes=0)


async def main() -> None:
    crawler = Crawler()
    async with trio_dlm.open_manager(3, downloader=crawler) as manager:
        crawler.manager = manager
        crawler.queue("https://example.org/")
        # Leaving the body closes the door for downloads too: stay until nothing is left.
        await manager.wait_idle()
    print(f"{manager.get_stats().completed} pages: {', '.join(sorted(crawler.seen))}")


trio.run(main)

"""A downloader in ten lines, and what is wrong with it."""

import httpx
from hypothesis import settings

from trio_dlm import DownloadJob, DownloadResult
from trio_dlm.testing import PromiseBrokenError, check_downloader


async def fetch(job: DownloadJob) -> DownloadResult:
    job.directory.mkdir(parents=True, exist_ok=True)
    path = job.directory / "file.bin"
    async with httpx.AsyncClient(follow_redirects=True) as client, client.stream("GET", job.url) as response:
        response.raise_for_status()
        with path.open("wb") as file:
            async for data in response.aiter_bytes():
                file.write(data)
    return DownloadResult(path=path, size_bytes=path.stat().st_size)


try:
    report = check_downloader(lambda: fetch, errors=(httpx.HTTPError,))
except PromiseBrokenError as exc:
    print(exc)

# The one that comes along keeps its promises.
print(check_downloader(settings=settings(max_examples=20, database=None, derandomize=True, deadline=None)))

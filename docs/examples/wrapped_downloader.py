"""A class around HttpDownloader: it fetches from certain hosts only, and makes each file read-only."""

import sys
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult, HttpDownloader, InvalidUrlError
from trio_dlm.formatting import format_url


class Archive:
    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.http = HttpDownloader(timeout_s=60)

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.__aexit__(exc_type, exc, traceback)

    def check_request(self, request: DownloadRequest) -> None:
        self.http.check_request(request)
        if urlsplit(request.url).hostname not in self.hosts:
            advice = f"fetch from {', '.join(self.hosts)}"
            raise InvalidUrlError(url=format_url(request.url), problem="its host is not allowed", advice=advice)

    async def download(self, job: DownloadJob) -> DownloadResult:
        saved = await self.http.download(job)
        await trio.Path(saved.path).chmod(0o444)
        return saved


async def main(urls: list[str]) -> None:
    archive = Archive("127.0.0.1", "example.org")
    async with trio_dlm.open_manager(directory="archive", downloader=archive) as manager:
        for url in urls:
            saved = await manager.download(url)
            print(f"{saved.path.name}: {saved.size_bytes} bytes, read-only")

        try:
            await manager.submit("https://example.com/")
        except InvalidUrlError as exc:
            print("refused:", exc, file=sys.stderr)


trio.run(main, sys.argv[1:])

"""A class that copies local files, and a function that wraps it and returns more."""

import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadRequest, DownloadResult, InvalidUrlError


class FileCopier:
    def check_request(self, request: DownloadRequest) -> None:
        if urlsplit(request.url).scheme != "file":
            advice = "pass file:///…"
            raise InvalidUrlError(url=request.url, problem="no file: URL", advice=advice)

    async def download(self, job: DownloadJob) -> DownloadResult:
        source = trio.Path(url2pathname(urlsplit(job.url).path))
        target = trio.Path(job.directory, job.options.filename or source.name)
        part = target.with_name(f"{target.name}.part")
        await target.parent.mkdir(parents=True, exist_ok=True)
        # A part that is there already is being written by somebody else.
        await part.touch(exist_ok=False)
        try:
            async with await source.open("rb") as reading, await part.open("wb") as writing:
                job.progress.begin(total_bytes=(await source.stat()).st_size)
                while data := await reading.read(256 * 1024):
                    await writing.write(data)
                    job.progress.advance(len(data))
            # A link refuses a name that is taken; a rename would replace that file.
            await target.hardlink_to(part)
        finally:
            with trio.move_on_after(5, shield=True):
                await part.unlink(missing_ok=True)
        return DownloadResult(path=Path(target), size_bytes=job.progress.received_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedResult(DownloadResult):
    lines: int


async def copy_and_count(job: DownloadJob) -> CountedResult:
    copied = await FileCopier().download(job)
    lines = len((await trio.Path(copied.path).read_text("utf-8")).splitlines())
    return CountedResult(path=copied.path, size_bytes=copied.size_bytes, lines=lines)


THIS_FILE = Path(__file__).resolve().as_uri()


async def main() -> None:
    block = trio_dlm.open_manager(directory="copies", downloader=FileCopier())
    async with block as manager:
        saved = await manager.download(THIS_FILE)
        print(f"{saved.path.name}: {saved.size_bytes} bytes")

        # One request with another downloader; its result is what that returns.
        task = await manager.submit(THIS_FILE, downloader=copy_and_count, filename="copy.py")
        counted = await task.result()
        print(f"{counted.path.name}: {counted.lines} lines")

        try:
            await manager.submit("https://example.org/")
        except InvalidUrlError as exc:
            print("refused:", exc, file=sys.stderr)


trio.run(main)

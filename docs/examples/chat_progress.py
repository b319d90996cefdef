"""A chat bot: one message per download, edited once a second at most, right in the end."""

import trio

import trio_dlm
from trio_dlm import DownloadJob, DownloadManager, DownloadResult
from trio_dlm.formatting import format_block


class Chat:
    """Stands for the client of a chat; its calls take time, as those of a real one do."""

    def __init__(self) -> None:
        self.messages: dict[int, str] = {}

    async def send(self, text: str) -> int:
        await trio.sleep(0.1)
        message_id = len(self.messages) + 1
        self.messages[message_id] = text
        return message_id

    async def edit(self, message_id: int, text: str) -> None:
        await trio.sleep(0.1)
        self.messages[message_id] = text
        print(f"message {message_id} is edited")


async def on_command(chat: Chat, manager: DownloadManager, url: str) -> None:
    task = await manager.submit(url)
    shown = format_block(task.snapshot())
    message_id = await chat.send(shown)
    # While edit() waits for the chat nothing piles up: the next snapshot is up to date.
    async with manager.events(tasks=[task], min_interval_s=1) as events:
        async for snapshot in events:
            if (text := format_block(snapshot)) != shown:
                shown = text
                await chat.edit(message_id, text)


async def fetch(job: DownloadJob) -> DownloadResult:
    job.progress.begin(total_bytes=40_000_000)
    for _ in range(40):
        await trio.sleep(0.05)
        job.progress.advance(1_000_000)
        if job.url.endswith("broken.iso") and job.progress.received_bytes > 25_000_000:
            raise ConnectionResetError("the server went away")
    name = job.url.rpartition("/")[2]
    return DownloadResult(path=job.directory / name, size_bytes=40_000_000)


async def main() -> None:
    chat = Chat()
    block = trio_dlm.open_manager(5, downloader=fetch)
    async with block as manager, trio.open_nursery() as nursery:
        for name in ("whole.iso", "broken.iso"):
            nursery.start_soon(on_command, chat, manager, f"https://example.org/{name}")
    for text in chat.messages.values():
        print(f"\n{text}")


trio.run(main)

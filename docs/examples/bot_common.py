"""What the two chat bots have in common: commands, texts, and messages that are edited.

bot_trio.py and bot_asyncio.py bring the client of the chat.  Nothing here knows which loop
runs: anyio works on both.
"""

import argparse
import logging
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import anyio
from anyio.abc import TaskGroup

import trio_dlm
from trio_dlm import (
    DownloadBatch,
    DownloadManager,
    DownloadOptions,
    DownloadOptionsFields,
    DownloadPhase,
    DownloadRequest,
    DownloadResult,
    DownloadStatus,
    DownloadTask,
    TaskSnapshot,
)
from trio_dlm.formatting import (
    format_batch,
    format_block,
    format_eta,
    format_line,
    format_rate,
    format_size,
    progress_bar,
)

LOG = logging.getLogger("bot")

COMMANDS = {
    "get": "URL … – download a file, several, or a playlist (.m3u, .txt)",
    "list": "– what you have running and waiting",
    "cancel": "ID – end a download, or all of a list",
    "pause": "ID – stop for now",
    "resume": "ID – go on",
}
HELP = "\n".join(f"/{name} {what}" for name, what in COMMANDS.items())

# Strangers choose the addresses: see "Download what strangers ask for".
CAREFUL: DownloadOptionsFields = {
    "allow_private_addresses": False,
    "max_bytes": 500_000_000,
    "overwrite": "unique",
    "connections": 2,
    "retries": 2,
    "timeout_s": 20,
    "min_rate_bytes_per_s": 1_000,
    "retry_after_limit_s": 30,
    "total_timeout_s": 3600,
}
PLAYLIST_BYTES = 1_000_000

# A lane keeps one chat from holding up another; these keep it from filling the memory.
MAX_OF_ONE_CHAT = 100
MAX_OF_ALL = 5000
MAX_UNANSWERED = 200

# Telegram takes 4096 UTF-16 units, and an emoji is two of them.
MESSAGE_LENGTH = 2000
LISTED = 15

EDIT_EVERY_S = 1.0
UNREACHABLE_S = 1.0
LAST_WORDS_S = 5.0

BY_USER = "you cancelled it"

What: TypeAlias = DownloadTask[DownloadResult] | DownloadBatch
T = TypeVar("T")


# What a client has to do, and what can go wrong.


class TryLaterError(Exception):
    """The chat asks to be left alone for so many seconds, or cannot be reached."""

    def __init__(self, after_s: float = UNREACHABLE_S) -> None:
        super().__init__(f"to be tried again in {after_s:g} s")
        self.after_s = after_s


class RefusedError(Exception):
    """The chat will never take this: the message was deleted, or the bot was blocked."""


class Client(Protocol):
    async def send(self, chat_id: int, text: str) -> int: ...
    async def edit(self, chat_id: int, message_id: int, text: str) -> None: ...


# One chat, and the messages in it.


class Chat:
    """A chat: what it has asked for, and its calls, one after the other."""

    def __init__(self, client: Client, chat_id: int) -> None:
        self.client = client
        self.chat_id = chat_id
        self.asked_for: dict[str, What] = {}
        # Whoever was told to wait keeps the turn, so nobody else calls in the meantime.
        self.turn = anyio.Lock()
        self._claimed = 0

    def open_tasks(self) -> list[DownloadTask[DownloadResult]]:
        return [task for what in self.asked_for.values() for task in tasks_of(what) if not task.status.is_final]

    @contextmanager
    def claim(self, count: int) -> Iterator[None]:
        """Keep room for so many downloads that are about to be queued."""
        if len(self.open_tasks()) + self._claimed + count > MAX_OF_ONE_CHAT:
            raise ValueError(f"You may have {MAX_OF_ONE_CHAT} downloads at once; nothing was queued.")
        self._claimed += count
        try:
            yield
        finally:
            self._claimed -= count

    async def send(self, render: Callable[[], str]) -> "Message":
        async def call() -> Message:
            text = render()
            return Message(self, await self.client.send(self.chat_id, text), text)

        async with self.turn:
            return await insist(call)


class Message:
    """A message of the bot, edited once a second at most; its last text is never lost."""

    def __init__(self, chat: Chat, message_id: int, text: str) -> None:
        self._chat = chat
        self._id = message_id
        self._text = text
        self._not_before = anyio.current_time() + EDIT_EVERY_S

    async def show(self, render: Callable[[], str], *, is_last: bool = False) -> None:
        """Make *render()* the text, as it is when the chat takes it, however late that is."""

        async def call() -> None:
            # Chats refuse an edit that changes nothing.
            if (text := render()) != self._text:
                try:
                    await self._chat.client.edit(self._chat.chat_id, self._id, text)
                except RefusedError as exc:
                    # It was taken the last time, and the answer got lost.
                    if "message is not modified" not in str(exc).lower():
                        raise
                self._text = text
                self._not_before = anyio.current_time() + EDIT_EVERY_S

        if not is_last:
            await anyio.sleep_until(self._not_before)
        async with self._chat.turn:
            await insist(call)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except TryLaterError as exc:
            LOG.info("a call is %s", exc)
            await anyio.sleep(exc.after_s)


# The texts.


def tasks_of(what: What) -> Sequence[DownloadTask[DownloadResult]]:
    return what if isinstance(what, DownloadBatch) else [what]


def id_of(what: What) -> str:
    return what.parent_id if isinstance(what, DownloadBatch) else what.correlation_id


def for_strangers(task: DownloadTask[DownloadResult]) -> TaskSnapshot:
    """Leave out what reasons tell of this machine and its network; that is in the log."""
    snapshot = task.snapshot()
    match snapshot.error:
        case None if snapshot.status is DownloadStatus.CANCELLED and snapshot.reason != BY_USER:
            words = "the bot was stopped"
        case None:
            return snapshot
        case trio_dlm.HttpStatusError(status=status):
            words = f"the server answered {status}"
        case trio_dlm.TooLargeError(max_bytes=max_bytes):
            words = f"it is larger than {format_size(max_bytes)}"
        case trio_dlm.DownloadTimeoutError():
            words = "the server took too long"
        case _:
            words = "it cannot be fetched"
    return replace(snapshot, reason=words)


def text_of(what: What) -> str:
    if not isinstance(what, DownloadBatch):
        return format_block(for_strangers(what))
    facts = [f"id {what.parent_id}"]
    progress = what.progress
    if progress.phase is not DownloadPhase.ENDED:
        # All bytes may be there before the last file is verified.
        fraction = None if progress.fraction is None else min(progress.fraction, 0.99)
        amount = f"{progress_bar(fraction)} {format_size(progress.received_bytes)}"
        if progress.total_bytes is not None:
            amount += f" of {format_size(progress.total_bytes)}"
        facts.append(f"{amount}, {format_rate(progress.rate_bytes_per_s)}")
        if progress.eta_s is not None:
            facts.append(f"{format_eta(progress.eta_s)} left")
    facts.append(format_batch(map(for_strangers, what), max_length=MESSAGE_LENGTH))
    return "\n".join(facts)


def list_of(chat: Chat) -> str:
    # What has ended may still wait for its last edit.
    whats = [what for what in chat.asked_for.values() if not all(task.status.is_final for task in tasks_of(what))]
    if not whats:
        return "Nothing is running or waiting. /get URL downloads a file."
    lines: list[str] = []
    for what in whats[:LISTED]:
        if isinstance(what, DownloadBatch):
            line = format_batch(map(for_strangers, what)).partition("\n")[0]
        else:
            line = format_line(for_strangers(what), width=100)
        lines.append(f"{id_of(what)} {line}")
    if (more := len(whats) - LISTED) > 0:
        lines.append(f"… and {more} more")
    return "\n".join(lines)


def parse_command(text: str) -> tuple[str, list[str]]:
    """Split ``"/get@some_bot URL URL"`` into a name and its words; no command has the name ""."""
    name, *words = text.split() or [""]
    return (name[1:].partition("@")[0].lower() if name.startswith("/") else ""), words


def is_playlist(url: str) -> bool:
    return url.partition("?")[0].lower().endswith((".m3u", ".m3u8", ".txt"))


def read_playlist(text: str, url: str) -> list[str]:
    """Return the addresses in a playlist that came from *url*: one a line, # before comments.

    Raises:
        ValueError: they are the pieces of one stream, there is none, or one is none at all.
    """
    if "#EXT-X-" in text:
        raise ValueError("this is a stream, not a list of files")
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    urls = [urljoin(url, line) for line in lines if line and not line.startswith("#")]
    if not urls:
        raise ValueError("there is no address in it")
    return urls


# The bot.


class DownloadBot:
    """Does what messages ask for.  Each chat is a lane of the manager."""

    def __init__(
        self,
        manager: DownloadManager,
        client: Client,
        tasks: TaskGroup,
        settings: "Settings",
        signals: AsyncIterator[signal.Signals],
    ) -> None:
        self._manager = manager
        self._client = client
        self._tasks = tasks
        self._settings = settings
        self._signals = signals
        # A chat is kept while something of it runs, or it has to be told something.
        self._chats: WeakValueDictionary[int, Chat] = WeakValueDictionary()

    async def on_message(self, chat_id: int, text: str) -> None:
        """Do what a message asks for.

        This waits neither for the chat nor for a download: what takes time runs in the group.
        So no chat waits for another, and downloads are queued in the order of the messages.
        """
        chat = self._chats.setdefault(chat_id, Chat(self._client, chat_id))
        if chat.turn.statistics().tasks_waiting > MAX_UNANSWERED:
            return
        match parse_command(text):
            case "get", [url] if is_playlist(url):
                self._tasks.start_soon(self._get_playlist, chat, url)
            case "get", [_, *_] as urls:
                try:
                    what = await self._submit(chat, urls)
                except ValueError as exc:
                    self._say(chat, str(exc))
                else:
                    self._tasks.start_soon(self._follow, chat, what)
            case "list", _:
                self._say(chat, lambda: list_of(chat))
            case "cancel" | "pause" | "resume" as verb, [download_id]:
                # Only what this chat has asked for: others' downloads do not exist for it.
                if found := chat.asked_for.get(download_id):
                    self._tasks.start_soon(self._change, chat, verb, found)
                else:
                    self._say(chat, "You have no download of that id. /list shows all.")
            case name, _ if name in {*COMMANDS, "start", "help"}:
                self._say(chat, HELP)
            case _:
                pass  # plain talk, or for another bot of the group

    async def wait_for_signal(self) -> None:
        """Wait until somebody wants the bot to end."""
        number = await anext(self._signals)
        LOG.info("%s: the bot ends", number.name)

    def _say(self, chat: Chat, render: str | Callable[[], str]) -> None:
        self._tasks.start_soon(self._tell, chat, render)

    async def _tell(self, chat: Chat, render: str | Callable[[], str]) -> None:
        try:
            await chat.send(render if callable(render) else lambda: render)
        except RefusedError as exc:
            LOG.info("chat %d took no answer: %s", chat.chat_id, exc)

    async def _submit(self, chat: Chat, urls: list[str]) -> What:
        """Queue one download, or a batch.

        Raises:
            ValueError: one is no address, or there are too many.
        """
        if len(urls) + self._manager.get_stats().pending > MAX_OF_ALL:
            raise ValueError("There is too much to do; try again later.")
        options = self._options(chat)
        what: What
        with chat.claim(len(urls)):
            if len(urls) == 1:
                what = await self._manager.submit(urls[0], lane=chat.chat_id, options=options)
            else:
                requests = [DownloadRequest(url, options) for url in urls]
                what = await self._manager.submit_many(requests, lane=chat.chat_id)
            chat.asked_for[id_of(what)] = what
        return what

    def _options(self, chat: Chat) -> DownloadOptions:
        # A directory for each chat, too.
        mine: DownloadOptionsFields = {"directory": self._settings.directory / str(chat.chat_id)}
        return DownloadOptions(**(CAREFUL | self._settings.fields | mine))

    async def _follow(self, chat: Chat, what: What, message: Message | None = None) -> None:
        """Show a download, or a batch, in one message, until it has ended."""
        tasks = tasks_of(what)
        try:
            if message is None:
                message = await chat.send(lambda: text_of(what))
            # While the chat takes its time nothing piles up: there is one change per download.
            async with self._manager.events(tasks=tasks, min_interval_s=EDIT_EVERY_S) as events:
                async for _ in events:
                    is_last = all(task.status.is_final for task in tasks)
                    await message.show(lambda: text_of(what), is_last=is_last)
        except RefusedError as exc:
            LOG.info("chat %d has no place for %s: %s", chat.chat_id, id_of(what), exc)
            await what.wait()
        finally:
            del chat.asked_for[id_of(what)]

    async def _get_playlist(self, chat: Chat, url: str) -> None:
        """Fetch a playlist like any other file, in the lane of its chat, then what it names."""
        try:
            message = await chat.send(lambda: "Reading the playlist …")
            try:
                with chat.claim(1):
                    urls = await self._fetch_playlist(chat, url)
                what = await self._submit(chat, urls)
            except (ValueError, trio_dlm.TrioDlmError) as exc:
                words = str(exc) if isinstance(exc, ValueError) else "The playlist cannot be fetched."
                await message.show(lambda: words, is_last=True)
                return
        except RefusedError as exc:
            LOG.info("chat %d has no place for a playlist: %s", chat.chat_id, exc)
            return
        await self._follow(chat, what, message)

    async def _fetch_playlist(self, chat: Chat, url: str) -> list[str]:
        with tempfile.TemporaryDirectory() as directory:
            saved = await self._manager.download(
                url,
                lane=chat.chat_id,
                options=self._options(chat),
                directory=directory,
                max_bytes=PLAYLIST_BYTES,
                resume=False,
            )
            text = await anyio.Path(saved.path).read_text("utf-8", errors="replace")
        return read_playlist(text, url)

    async def _change(self, chat: Chat, verb: str, what: What) -> None:
        tasks = tasks_of(what)
        if verb == "cancel":
            done = [await what.cancel(BY_USER)]
        elif verb == "pause":
            # From the end, or each that stops would let another start.
            done = [await task.pause() for task in reversed(tasks)]
        else:
            done = [task.resume() for task in tasks]
        # What has changed is to be seen in its own message.
        if not any(done):
            await self._tell(chat, f"There was nothing to {verb}.")


# How it starts and ends.


@dataclass(frozen=True, kw_only=True)
class Settings:
    token: str
    api_url: str
    directory: Path
    max_concurrent: int
    max_per_chat: int
    fields: DownloadOptionsFields


def read_settings() -> Settings:
    """Read the command line and the environment.

    The token comes from the environment, since everybody on a machine can see command lines.
    """
    parser = argparse.ArgumentParser(epilog="The token is read from TELEGRAM_TOKEN.")
    default_url = os.environ.get("TELEGRAM_API_URL", "https://api.telegram.org")
    parser.add_argument("--api-url", default=default_url)
    parser.add_argument("--directory", type=Path, default=Path("inbox"))
    parser.add_argument("--max-concurrent", type=int, default=6)
    parser.add_argument("--max-per-chat", type=int, default=2)
    parser.add_argument("--allow-private-addresses", action="store_true")
    arguments = parser.parse_args()
    if not (token := os.environ.get("TELEGRAM_TOKEN")):
        parser.error("set TELEGRAM_TOKEN to the token that @BotFather gave you")
    # Not INFO: httpx logs every address there, and a bot's token is part of its own.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    LOG.setLevel(logging.INFO)
    return Settings(
        token=token,
        api_url=arguments.api_url,
        directory=arguments.directory.absolute(),
        max_concurrent=arguments.max_concurrent,
        max_per_chat=arguments.max_per_chat,
        fields={"allow_private_addresses": True} if arguments.allow_private_addresses else {},
    )


@asynccontextmanager
async def open_bot(client: Client, settings: Settings) -> AsyncGenerator[DownloadBot]:
    """Run a bot.  In the end its downloads are cancelled, and the chats are told."""
    # Ctrl-C, and the signal that services are ended with.
    receiver = anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
    with receiver as signals:
        async with anyio.create_task_group() as tasks:
            async with trio_dlm.open_manager(
                settings.max_concurrent,
                directory=settings.directory,
                max_per_lane=settings.max_per_chat,
                on_exit="cancel",
                failures="keep",
            ) as manager:
                yield DownloadBot(manager, client, tasks, settings, signals)
            tasks.cancel_scope.deadline = anyio.current_time() + LAST_WORDS_S

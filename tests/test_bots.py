"""The chat bots of the documentation, as processes of their own, against a Bot API and a file server on loopback.

Rules that hold here:

- every promise is kept by each bot: what differs between them is the client of the chat and the loop;
- files are held by the server until a test lets go of them, so nothing is a matter of luck;
- the Bot API's own clock and records say what a bot did; the first call that came too early fails a test.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import anyio
import pytest
import trio
import trio.testing

import trio_dlm
from tests.bot_api import PATIENCE_S, BotApi, Message, open_bot_api
from tests.test_examples import ROOT, environment

BOTS: Final = ["bot_trio", "bot_asyncio"]

ALICE: Final = 1001
BOB: Final = 1002

CONTENT: Final = bytes(range(256)) * 1024


class FileServer(ThreadingHTTPServer):
    """Serves files of one content, playlists, and those that wait in the middle until they are let go.

    ``/file/…`` is whole at once, ``/held/…`` after :meth:`let_go`, ``/list/…`` has what :attr:`lists` says.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.lists: dict[str, str] = {}
        self.started: list[str] = []
        self._released: set[str] = set()
        self._sent: dict[str, int] = {}
        self._changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _FileHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self, name: str) -> None:
        with self._changed:
            self.started.append(name)
            self._changed.notify_all()

    def hold(self, name: str, wanted: int) -> bool:
        """Wait until *wanted* kibibytes of *name* may go out."""
        with self._changed:
            return self._changed.wait_for(
                lambda: name in self._released or self._sent.get(name, 0) >= wanted, PATIENCE_S
            )

    def let_go(self, name: str) -> None:
        with self._changed:
            self._released.add(name)
            self._changed.notify_all()

    def send(self, name: str, kibibytes: int) -> None:
        """Let so many more kibibytes of *name* go out."""
        with self._changed:
            self._sent[name] = self._sent.get(name, 0) + kibibytes
            self._changed.notify_all()

    def wait_until_started(self, *names: str) -> None:
        """Wait until all *names* have been asked for."""
        self.wait_for(lambda: set(names) <= set(self.started))

    def wait_for(self, found: Callable[[], object]) -> None:
        with self._changed:
            assert self._changed.wait_for(found, PATIENCE_S), f"started were {self.started}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what cancelling looks like."""


class _FileHandler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        _, kind, name = self.path.split("/", 2)
        self.server.start(name)
        if kind == "missing":
            self.send_error(404)
            return
        content = self.server.lists[name].encode() if kind == "list" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind != "held":
            self.wfile.write(content)
            return
        for kibibyte in range(len(content) // 1024):
            if not self.server.hold(name, kibibyte):
                return
            self.wfile.write(content[1024 * kibibyte : 1024 * (kibibyte + 1)])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass


class RunningBot:
    """A bot's process, and what it saved."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self.directory = directory
        self.said = ""
        self.has_ended = False

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Send it a signal, wait for its end, and return its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        if not self.has_ended:
            self.said = self.process.communicate(timeout=PATIENCE_S)[0]
            self.has_ended = True
        return self.process.returncode

    def files_of(self, chat_id: int) -> list[str]:
        return sorted(path.name for path in (self.directory / "inbox" / str(chat_id)).glob("*"))


@contextmanager
def run_bot(name: str, api: BotApi, directory: Path, *options: str, trusting: bool = True) -> Iterator[RunningBot]:
    arguments = ["--directory", "inbox", *options, *(["--allow-private-addresses"] if trusting else [])]
    settings = {"TELEGRAM_TOKEN": api.token, "TELEGRAM_API_URL": api.url}
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", str(ROOT / "docs" / "examples" / f"{name}.py"), *arguments],
        cwd=directory,
        env={**environment(), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    bot = RunningBot(process, directory)
    try:
        # Before it asks for updates a bot starts, and a signal ends it as it ends any other program.
        api.wait_for(lambda: api.is_polled)
        yield bot
        if not bot.has_ended:
            assert bot.interrupt() == 0, bot.said
        assert "Warning: " not in bot.said
        assert "Traceback" not in bot.said, bot.said
        assert api.token not in bot.said
    except BaseException as exc:
        process.kill()
        bot.wait()
        exc.add_note(f"what the bot said:\n{bot.said}")
        raise
    assert not api.early_calls, api.story()


@pytest.fixture(params=BOTS)
def bot_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def api() -> Iterator[BotApi]:
    with open_bot_api() as api:
        yield api


@pytest.fixture
def files() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="file server")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def id_in(message: Message) -> str:
    """Return the id that a message shows."""
    return next(line.split()[1].rstrip(",") for line in message.text.splitlines() if line.startswith("id "))


def wait_for_edits(api: BotApi, message: Message, count: int) -> None:
    """Wait until *message* has been edited so many times."""
    api.wait_for(lambda: len(api.edits_of(message)) >= count)


class SlowChat:
    """A client of a chat in memory, which answers when it is let."""

    def __init__(self) -> None:
        self.goes_on = trio.Event()
        self.asked: Counter[int] = Counter()
        self.texts: list[str] = []

    async def send(self, chat_id: int, text: str) -> int:
        self.asked[chat_id] += 1
        self.texts.append(text)
        await self.goes_on.wait()
        return len(self.texts)

    async def edit(self, chat_id: int, message_id: int, text: str) -> None:
        await self.goes_on.wait()


@pytest.fixture(scope="module")
def common() -> ModuleType:
    """What the bots share, as a module of its own."""
    spec = importlib.util.spec_from_file_location("bot_common", ROOT / "docs" / "examples" / "bot_common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def held(files: FileServer, who: str, count: int) -> list[str]:
    return [f"{files.url}/held/{who}{number}" for number in range(count)]


def test_a_bot_downloads_what_it_is_asked_for_and_says_so_in_one_message(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.write(ALICE, f"/get {files.url}/file/a.bin")
        message = api.wait_for_text(ALICE, "a.bin", "completed", "100 %")
        assert bot.files_of(ALICE) == ["a.bin"]
        assert (tmp_path / "inbox" / str(ALICE) / "a.bin").read_bytes() == CONTENT
        assert api.messages_to(ALICE) == [message]


def test_a_bot_tells_the_service_of_its_commands(bot_name: str, api: BotApi, tmp_path: Path) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.wait_for(lambda: [call for call in api.calls if call.method == "setmycommands" and call.status == 200])


def test_a_word_that_is_no_command_gets_the_help_and_plain_talk_gets_nothing(
    bot_name: str, api: BotApi, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, "good morning")
        api.write(ALICE, "/unheard_of")
        api.write(ALICE, "/get")
        api.wait_for_text(ALICE, "/cancel ID")
        assert len(api.messages_to(ALICE)) == 1


def test_the_list_has_what_the_chat_asked_for_and_nothing_of_others(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/alices")
        shown = api.wait_for_text(ALICE, "alices")
        api.write(BOB, f"/get {files.url}/held/bobs")
        api.wait_for_text(BOB, "bobs")
        api.write(ALICE, "/list")
        listed = api.wait_for(lambda: api.messages_to(ALICE)[1:])[0]
        assert listed.text.startswith(f"{id_in(shown)} alices: ")
        assert "bobs" not in listed.text


def test_an_empty_list_says_so(bot_name: str, api: BotApi, tmp_path: Path) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, "/list")
        api.wait_for_text(ALICE, "Nothing is running")


def test_a_cancelled_download_says_so_in_its_message(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        files.wait_for(lambda: "a" in files.started)
        api.write(ALICE, f"/cancel {id_in(shown)}")
        assert api.wait_for_text(ALICE, "cancelled", "you cancelled it") is shown
        assert "a" not in bot.files_of(ALICE)


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_download_of_another_chat_cannot_be_touched(
    bot_name: str, verb: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        api.write(BOB, f"/{verb} {id_in(shown)}")
        answer = api.wait_for_text(BOB, "no download of that id")
        # An id that nobody has gets the same answer: it cannot be found out whether it exists.
        api.write(BOB, f"/{verb} 00000000")
        other = api.wait_for(lambda: api.messages_to(BOB)[1:])[0]
        assert other.text == answer.text
        files.let_go("a")
        api.wait_for_text(ALICE, "completed")


def test_a_paused_download_goes_on_when_it_is_resumed(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        files.wait_for(lambda: "a" in files.started)
        api.write(ALICE, f"/pause {id_in(shown)}")
        api.wait_for_text(ALICE, "paused")
        files.let_go("a")
        api.write(ALICE, f"/resume {id_in(shown)}")
        assert api.wait_for_text(ALICE, "completed") is shown
        assert bot.files_of(ALICE) == ["a"]


@pytest.mark.parametrize("how", ["words", "m3u", "txt"])
def test_several_files_have_one_message_with_the_progress_of_all(
    bot_name: str, how: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    names = ["one", "two", "three"]
    if how == "words":
        asked = " ".join(f"{files.url}/held/{name}" for name in names)
    else:
        # A relative address is one beside the playlist.
        lines = ["#EXTM3U", "#EXTINF:-1,A title", "../held/one", "", f"{files.url}/held/two", "/held/three"]
        files.lists[f"some.{how}"] = "\r\n".join(lines)
        asked = f"{files.url}/list/some.{how}"
    with run_bot(bot_name, api, tmp_path, "--max-per-chat", "3") as bot:
        api.write(ALICE, f"/get {asked}")
        shown = api.wait_for_text(ALICE, "3 downloads: 3 downloading")
        files.let_go("one")
        api.wait_for_text(ALICE, "3 downloads: 2 downloading, 1 completed")
        for name in names:
            files.let_go(name)
        assert api.wait_for_text(ALICE, "3 downloads: 3 completed") is shown
        assert bot.files_of(ALICE) == sorted(names)
        assert api.messages_to(ALICE) == [shown]
        assert any("768.0 KiB, " in text and " left" in text for text in shown.texts), shown.texts


def test_a_batch_is_cancelled_by_its_one_id(bot_name: str, api: BotApi, files: FileServer, tmp_path: Path) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {' '.join(held(files, 'a', 5))}")
        shown = api.wait_for_text(ALICE, "5 downloads: 2 downloading, 3 pending")
        api.write(ALICE, "/list")
        api.wait_for_text(ALICE, f"{id_in(shown)} 5 downloads")
        api.write(ALICE, f"/cancel {id_in(shown)}")
        api.wait_for_text(ALICE, "5 downloads: 5 cancelled")
        assert len(files.started) == 2


def test_a_batch_is_paused_and_resumed_as_a_whole(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {' '.join(held(files, 'a', 5))}")
        shown = api.wait_for_text(ALICE, "5 downloads: 2 downloading, 3 pending")
        files.wait_until_started("a0", "a1")
        api.write(ALICE, f"/pause {id_in(shown)}")
        api.wait_for_text(ALICE, "5 downloads: 5 paused")
        # None took the slot of one that was paused before it.
        assert sorted(files.started) == ["a0", "a1"]
        for number in range(5):
            files.let_go(f"a{number}")
        api.write(ALICE, f"/resume {id_in(shown)}")
        api.wait_for_text(ALICE, "5 downloads: 5 completed")


def test_a_playlist_that_is_a_stream_is_refused_in_words(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    files.lists["live.m3u8"] = "#EXTM3U\n#EXT-X-TARGETDURATION:10\npiece0.ts\n"
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/list/live.m3u8")
        api.wait_for_text(ALICE, "a stream, not a list")


def test_a_playlist_that_is_not_there_is_refused_in_words(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/missing/some.m3u")
        api.wait_for_text(ALICE, "playlist cannot be fetched")


def test_more_than_one_chat_may_have_is_refused_whole(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    files.lists["long.txt"] = "\n".join(held(files, "a", 101))
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/list/long.txt")
        api.wait_for_text(ALICE, "100 downloads at once; nothing was queued")
        assert files.started == ["long.txt"]


@pytest.mark.parametrize("how", ["in one message", "one by one"])
def test_a_user_with_fifty_downloads_does_not_keep_another_waiting(
    bot_name: str, how: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path, "--max-concurrent", "4"):
        for who, prefix, count in [(ALICE, "a", 50), (BOB, "b", 3)]:
            urls = held(files, prefix, count)
            for asked in [" ".join(urls)] if how == "in one message" else urls:
                api.write(who, f"/get {asked}")
            # Before any of hers has ended.
            files.wait_until_started(f"{prefix}0", f"{prefix}1")
        assert sorted(files.started) == ["a0", "a1", "b0", "b1"]
        files.let_go("b0")
        files.wait_for(lambda: "b2" in files.started)


def test_lanes_take_turns_where_no_slot_is_free(bot_name: str, api: BotApi, files: FileServer, tmp_path: Path) -> None:
    with run_bot(bot_name, api, tmp_path, "--max-concurrent", "1", "--max-per-chat", "1"):
        api.write(ALICE, f"/get {' '.join(held(files, 'a', 50))}")
        files.wait_for(lambda: files.started == ["a0"])
        api.write(BOB, f"/get {files.url}/held/b0")
        api.wait_for_text(BOB, "pending")
        for name in ("a0", "a1", "b0"):
            files.let_go(name)
        # Hers had the turn when he came.
        files.wait_for(lambda: files.started[:3] == ["a0", "a1", "b0"])
        api.wait_for_text(BOB, "completed")


@pytest.mark.slow
def test_a_message_is_edited_once_a_second_at_most_and_not_where_nothing_changes(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path, "--max-per-chat", "1"):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "/held/a")
        api.write(ALICE, f"/get {files.url}/held/waits")
        waiting = api.wait_for_text(ALICE, "/held/waits")
        for number in range(1, 4):
            # Every kibibyte is a change that could be shown.
            files.send("a", 16)
            wait_for_edits(api, shown, number)
        files.let_go("a")
        api.wait_for_text(ALICE, "completed")
        *edits, last = api.edits_of(shown)
        assert "completed" in last.text
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(edits)]
        assert len(gaps) >= 2
        assert min(gaps) >= 1.0, api.story()
        assert waiting.texts[0].splitlines()[1] == "pending"
        assert not [call for call in api.calls if call.status == 400]


@pytest.mark.slow
def test_the_message_of_a_batch_is_edited_once_a_second_at_most(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {' '.join(held(files, 'a', 8))}")
        shown = api.wait_for_text(ALICE, "8 downloads: 2 downloading")
        for number in range(8):
            if number in {2, 4}:
                wait_for_edits(api, shown, len(api.edits_of(shown)) + 1)
            files.let_go(f"a{number}")
        api.wait_for_text(ALICE, "8 downloads: 8 completed")
        *edits, _ = api.edits_of(shown)
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(edits)]
        assert len(gaps) >= 1
        assert min(gaps) >= 1.0, api.story()
        assert not [call for call in api.calls if call.status == 400]


@pytest.mark.slow
def test_a_429_is_obeyed_and_then_the_newest_state_is_shown(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        files.wait_for(lambda: "a" in files.started)
        api.answer_429(ALICE, retry_after=2)
        files.send("a", 16)
        refused = api.wait_for(lambda: [call for call in api.calls_of(ALICE) if call.status == 429])[0]
        # While the bot waits the download ends, another one asks for a message, and the end is what it shows.
        files.let_go("a")
        api.write(ALICE, "/list")
        api.wait_for_text(ALICE, "completed", "100 %")
        api.wait_for_text(ALICE, "Nothing is running")
        following = [call for call in api.calls_of(ALICE) if call.at_s > refused.at_s]
        assert following[0].at_s >= refused.at_s + 2.0
        assert following[0].text == shown.text
        assert len(api.edits_of(shown)) == len({call.text for call in api.edits_of(shown)})


@pytest.mark.slow
def test_a_last_edit_that_is_refused_with_429_is_made_later(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "downloading")
        api.answer_429(ALICE, retry_after=1, times=2)
        files.let_go("a")
        assert api.wait_for_text(ALICE, "completed", "100 %") is shown
        assert len([call for call in api.calls_of(ALICE) if call.status == 429]) == 2


@pytest.mark.slow
def test_a_service_that_counts_edits_has_nothing_to_refuse_but_last_ones(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    api.min_edit_interval_s = 1.0
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        for number in range(1, 4):
            files.send("a", 16)
            wait_for_edits(api, shown, number)
        files.let_go("a")
        api.wait_for_text(ALICE, "completed")
        refused = [call for call in api.calls if call.status == 429]
        assert len(refused) <= 1
        assert all("completed" in call.text for call in refused), api.story()


@pytest.mark.slow
def test_one_chat_that_is_held_off_holds_off_no_other(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.answer_429(ALICE, retry_after=3600)
        api.write(ALICE, f"/get {files.url}/file/a")
        api.wait_for(lambda: [call for call in api.calls_of(ALICE) if call.status == 429])
        api.write(BOB, f"/get {files.url}/file/b")
        api.wait_for_text(BOB, "completed")
        # The last words have a limit, since she could not be told for an hour.
        assert bot.interrupt() == 0
        assert bot.files_of(ALICE) == ["a"]
        assert not api.messages_to(ALICE)


@pytest.mark.parametrize("trouble", ["hung up", "502"])
def test_a_call_that_got_no_answer_is_made_again(
    bot_name: str, trouble: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        if trouble == "502":
            api.answer(ALICE, 502, "Bad Gateway")
        else:
            api.hang_up(ALICE)
        files.let_go("a")
        assert api.wait_for_text(ALICE, "completed") is shown


def test_an_edit_whose_answer_got_lost_is_not_the_last(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "downloading")
        api.hang_up(ALICE, after=True)
        api.write(ALICE, f"/pause {id_in(shown)}")
        # The same text again is what the service refuses.
        api.wait_for(lambda: [call for call in api.calls_of(ALICE) if call.status == 400 and "paused" in call.text])
        files.let_go("a")
        api.write(ALICE, f"/resume {id_in(shown)}")
        assert api.wait_for_text(ALICE, "completed") is shown


@pytest.mark.parametrize("trouble", ["deleted", "blocked"])
def test_a_message_that_can_no_longer_be_edited_ends_nothing(
    bot_name: str, trouble: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.write(ALICE, f"/get {files.url}/held/a")
        shown = api.wait_for_text(ALICE, "id ")
        if trouble == "deleted":
            api.delete_message(shown)
        else:
            api.block(ALICE)
        files.let_go("a")
        api.wait_for(lambda: [call for call in api.calls_of(ALICE) if call.status in {400, 403}])
        api.write(BOB, f"/get {files.url}/file/b")
        api.wait_for_text(BOB, "completed")
        assert bot.files_of(ALICE) == ["a"]


def test_an_address_of_the_bots_own_network_is_refused_in_words_that_tell_nothing(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path, trusting=False) as bot:
        api.write(ALICE, f"/get {files.url}/file/a")
        shown = api.wait_for_text(ALICE, "failed", "it cannot be fetched")
        assert "private" not in shown.text
        assert "loopback" not in shown.text
        assert not files.started
        assert bot.files_of(ALICE) == []


def test_a_failure_says_what_the_server_answered(bot_name: str, api: BotApi, files: FileServer, tmp_path: Path) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/missing/a")
        api.wait_for_text(ALICE, "failed", "the server answered 404")


def test_what_is_no_address_is_refused_and_nothing_is_queued(
    bot_name: str, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path):
        api.write(ALICE, f"/get {files.url}/file/a ftp://example.org/b")
        api.wait_for_text(ALICE, "not a usable URL", "ftp")
        api.write(ALICE, "/list")
        api.wait_for_text(ALICE, "Nothing is running")
        assert not files.started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_bot_cleanly_and_the_chats_are_told(
    bot_name: str, number: signal.Signals, api: BotApi, files: FileServer, tmp_path: Path
) -> None:
    with run_bot(bot_name, api, tmp_path) as bot:
        api.write(ALICE, f"/get {files.url}/held/a")
        api.write(BOB, f"/get {' '.join(held(files, 'b', 5))}")
        api.wait_for_text(ALICE, "downloading")
        api.wait_for_text(BOB, "5 downloads: 2 downloading")
        assert bot.interrupt(number) == 0, bot.said
        api.wait_for_text(ALICE, "cancelled", "the bot was stopped")
        api.wait_for_text(BOB, "5 downloads: 5 cancelled")


async def test_a_chat_that_floods_the_bot_is_not_answered_for_ever(common: ModuleType) -> None:
    chat = SlowChat()
    async with anyio.create_task_group() as tasks, trio_dlm.open_manager() as manager:
        bot = common.DownloadBot(manager, chat, tasks, None, None)
        for _ in range(common.MAX_UNANSWERED + 100):
            await bot.on_message(ALICE, "/list")
            await trio.testing.wait_all_tasks_blocked()
        await bot.on_message(BOB, "/list")
        chat.goes_on.set()
    # One is being sent while the others wait for it.
    assert chat.asked == {ALICE: common.MAX_UNANSWERED + 2, BOB: 1}


async def test_a_queue_that_is_long_enough_takes_no_more(common: ModuleType, tmp_path: Path) -> None:
    chat = SlowChat()
    chat.goes_on.set()
    async with anyio.create_task_group() as tasks:
        async with trio_dlm.open_manager(0, on_exit="cancel") as manager:
            settings = SimpleNamespace(directory=tmp_path, fields={})
            bot = common.DownloadBot(manager, chat, tasks, settings, None)
            asked = " https://example.org/a.iso"
            for chat_id in range(common.MAX_OF_ALL // common.MAX_OF_ONE_CHAT):
                await bot.on_message(chat_id, "/get" + asked * common.MAX_OF_ONE_CHAT)
            await bot.on_message(BOB, "/get" + asked)
            assert manager.get_stats().pending == common.MAX_OF_ALL
            await trio.testing.wait_all_tasks_blocked()
            assert "There is too much to do; try again later." in chat.texts


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/get a b", ("get", ["a", "b"])),
        ("/Get@fetch_test_bot\n a", ("get", ["a"])),
        ("/", ("", [])),
        ("", ("", [])),
        ("get a", ("", ["a"])),
    ],
)
def test_a_command_is_a_name_and_words(common: ModuleType, text: str, command: object) -> None:
    assert common.parse_command(text) == command


@pytest.mark.parametrize("name", ["a.m3u", "a.M3U8", "a.txt?key=value"])
def test_a_playlist_is_known_by_its_ending(common: ModuleType, name: str) -> None:
    assert common.is_playlist(f"https://example.org/{name}")


@pytest.mark.parametrize("name", ["a.iso", "txt", "a.iso?name=a.txt"])
def test_other_files_are_no_playlists(common: ModuleType, name: str) -> None:
    assert not common.is_playlist(f"https://example.org/{name}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "no address"), ("# nothing\n\n", "no address"), ("https://[::1/a", "IPv6"), ("#EXT-X-KEY:\na", "a stream")],
)
def test_a_playlist_without_addresses_is_an_error(common: ModuleType, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        common.read_playlist(text, "https://example.org/lists/a.m3u")


def test_a_mark_of_the_byte_order_is_no_part_of_an_address(common: ModuleType) -> None:
    assert common.read_playlist("\ufeffb.iso", "https://example.org/lists/a.m3u") == ["https://example.org/lists/b.iso"]


def test_a_bot_without_a_token_says_where_it_is_from(bot_name: str, tmp_path: Path) -> None:
    settings = {name: value for name, value in os.environ.items() if name != "TELEGRAM_TOKEN"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / f"{bot_name}.py")],
        cwd=tmp_path,
        env={**settings, "PYTHONPATH": environment()["PYTHONPATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert "@BotFather" in done.stderr

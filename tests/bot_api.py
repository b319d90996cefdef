"""A Bot API of a chat service, on loopback, over real HTTP: what bots are tested against.

Rules that hold here:

- it speaks as Telegram's does (https://core.telegram.org/bots/api): ``/bot<token>/<method>``, names of methods in any
  case, parameters from the query, a form or JSON, and its errors to the letter where clients read them;
- every call is recorded with the server's time before it is answered;
- a chat that was answered 429 is closed for ``retry_after`` seconds: a call before that is refused again, and
  remembered as early;
- who waits, waits for a condition: for the bot's next call, not for time.
"""

from __future__ import annotations

import enum
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

__all__ = ["BotApi", "Call", "Message", "open_bot_api"]

# What @BotFather gives out looks like this, and clients check it.
TOKEN: Final = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BOT_NAME: Final = "fetch_test_bot"

# Telegram's own.
MAX_TEXT_LENGTH: Final = 4096

# For a machine that is busy with something else.
PATIENCE_S: Final = 60.0

PATH: Final = re.compile(r"/bot(?P<token>[^/]+)/(?P<method>[A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a method: what was asked, when, and the status that answered it, or 0."""

    method: str
    parameters: dict[str, Any]
    at_s: float
    status: int
    is_early: bool = False
    """Made before the ``retry_after`` of its chat was over."""

    @property
    def chat_id(self) -> int | None:
        return int(self.parameters["chat_id"]) if "chat_id" in self.parameters else None

    @property
    def message_id(self) -> int | None:
        return int(self.parameters["message_id"]) if "message_id" in self.parameters else None

    @property
    def text(self) -> str:
        return str(self.parameters.get("text", ""))


@dataclass(slots=True)
class Message:
    """One message of the bot: every text that it has had, and when its present one came."""

    chat_id: int
    message_id: int
    texts: list[str]
    edited_at_s: float = -math.inf

    @property
    def text(self) -> str:
        return self.texts[-1]


class RefusedError(Exception):
    """What the service answers in place of a result."""

    def __init__(self, status: int, description: str, *, retry_after: int | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.reply: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
        if retry_after is not None:
            self.reply["parameters"] = {"retry_after": retry_after}


class HangUp(enum.Enum):
    """When a connection is closed in place of an answer."""

    BEFORE = enum.auto()
    AFTER = enum.auto()


@dataclass(slots=True)
class BotApi:
    """The state of the service.  Tests write and read it in their thread, handlers in theirs, both under one lock."""

    url: str = ""
    token: str = TOKEN
    calls: list[Call] = field(default_factory=list[Call])
    messages: list[Message] = field(default_factory=list[Message])
    min_edit_interval_s: float = 0.0
    """Flood control by rule: an edit that follows the last one of its message sooner than this is answered 429."""

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _updates: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _next_update: int = 1
    _poll: int = 0
    _closed: bool = False
    _blocked: set[int] = field(default_factory=set[int])
    # What the next calls for a chat are answered, whatever they are.
    _script: dict[int, list[RefusedError | HangUp]] = field(default_factory=dict[int, list["RefusedError | HangUp"]])
    _closed_until_s: dict[int, float] = field(default_factory=dict[int, float])

    def write(self, chat_id: int, text: str) -> None:
        """A user writes *text* to the bot."""
        with self._changed:
            message: dict[str, Any] = {
                "message_id": 100_000 + self._next_update,
                "date": 1_700_000_000,
                "chat": {"id": chat_id, "type": "private", "first_name": "User"},
                "from": {"id": chat_id, "is_bot": False, "first_name": "User"},
                "text": text,
            }
            if text.startswith("/"):
                length = len(text.split(maxsplit=1)[0])
                message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
            self._updates.append({"update_id": self._next_update, "message": message})
            self._next_update += 1
            self._changed.notify_all()

    def answer_429(self, chat_id: int, *, retry_after: int, times: int = 1) -> None:
        """Answer the next calls for *chat_id* with 429, and close the chat for so many seconds each time."""
        refusal = RefusedError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
        with self._changed:
            self._script.setdefault(chat_id, []).extend([refusal] * times)

    def answer(self, chat_id: int, status: int, description: str) -> None:
        """Answer the next call for *chat_id* with an error."""
        with self._changed:
            self._script.setdefault(chat_id, []).append(RefusedError(status, description))

    def hang_up(self, chat_id: int, *, after: bool = False) -> None:
        """Close the connection of the next call for *chat_id* without an answer, before or *after* it was obeyed."""
        with self._changed:
            self._script.setdefault(chat_id, []).append(HangUp.AFTER if after else HangUp.BEFORE)

    def block(self, chat_id: int) -> None:
        """The user blocks the bot."""
        with self._changed:
            self._blocked.add(chat_id)

    def delete_message(self, message: Message) -> None:
        """The user deletes a message of the bot."""
        with self._changed:
            self.messages.remove(message)

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """Wait until *found* returns something true, and return that; it is asked again after every call."""
        with self._changed:
            result = self._changed.wait_for(found, PATIENCE_S)
            assert result, f"not seen within {PATIENCE_S:g} s; the calls were:\n{self.story()}"
            return result

    def wait_for_text(self, chat_id: int, *parts: str) -> Message:
        """Wait for a message of *chat_id* whose present text has all *parts*."""

        def found() -> Message | None:
            return next((each for each in self.messages_to(chat_id) if all(part in each.text for part in parts)), None)

        message: Message = self.wait_for(found)
        return message

    def messages_to(self, chat_id: int) -> list[Message]:
        """Return the messages of the bot in *chat_id*."""
        return [message for message in self.messages if message.chat_id == chat_id]

    def calls_of(self, chat_id: int) -> list[Call]:
        """Return the calls for *chat_id*, in the order of their coming."""
        return [call for call in self.calls if call.chat_id == chat_id]

    def edits_of(self, message: Message) -> list[Call]:
        """Return the edits of *message* that were taken, in the order of their coming."""
        return [
            call
            for call in self.calls_of(message.chat_id)
            if call.method == "editmessagetext" and call.message_id == message.message_id and call.status == 200
        ]

    @property
    def is_polled(self) -> bool:
        """Whether somebody has asked for updates."""
        return self._poll > 0

    @property
    def early_calls(self) -> list[Call]:
        """The calls that came before the ``retry_after`` of their chat was over."""
        return [call for call in self.calls if call.is_early]

    def story(self) -> str:
        """Return the calls as lines, for the message of an assertion."""
        return "\n".join(f"{call.at_s:.3f} {call.status} {call.method} {call.parameters}" for call in self.calls)

    def serve(self, path: str, parameters: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Answer one call with a status and a reply, or with None: hang up."""
        with self._changed:
            at_s = time.monotonic()
            match = PATH.fullmatch(path)
            method = match["method"].lower() if match else ""
            chat_id = int(parameters["chat_id"]) if "chat_id" in parameters else None
            is_early = chat_id is not None and at_s < self._closed_until_s.get(chat_id, -math.inf)
            status, reply, hang_up = 200, {}, None
            try:
                if match is None or match["token"] != self.token:
                    raise RefusedError(401, "Unauthorized")
                if chat_id is not None:
                    hang_up = self._guard(chat_id, at_s)
                if hang_up is not HangUp.BEFORE:
                    reply = {"ok": True, "result": self._run(method, parameters, at_s)}
            except RefusedError as exc:
                status, reply = exc.status, exc.reply
                if chat_id is not None and "parameters" in reply and not is_early:
                    self._closed_until_s[chat_id] = at_s + reply["parameters"]["retry_after"]
            self.calls.append(Call(method, parameters, at_s, 0 if hang_up else status, is_early))
            self._changed.notify_all()
            return None if hang_up else (status, reply)

    def close(self) -> None:
        """Let those go that wait for updates."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _guard(self, chat_id: int, at_s: float) -> HangUp | None:
        """Refuse what may not be done in *chat_id* now, or say when to hang up."""
        left_s = self._closed_until_s.get(chat_id, -math.inf) - at_s
        if left_s > 0:
            retry_after = math.ceil(left_s)
            raise RefusedError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
        if chat_id in self._blocked:
            raise RefusedError(403, "Forbidden: bot was blocked by the user")
        if script := self._script.get(chat_id):
            scripted = script.pop(0)
            if isinstance(scripted, HangUp):
                return scripted
            raise scripted
        return None

    def _run(self, method: str, parameters: dict[str, Any], at_s: float) -> Any:
        match method:
            case "getme":
                return {"id": 110201543, "is_bot": True, "first_name": "Fetch", "username": BOT_NAME}
            case "getupdates":
                return self._get_updates(parameters)
            case "sendmessage":
                text = _checked_text(parameters)
                self.messages.append(Message(int(parameters["chat_id"]), len(self.calls) + 1, [text]))
                return self._show(self.messages[-1])
            case "editmessagetext":
                return self._edit(parameters, at_s)
            case "deletewebhook" | "setmycommands" | "answercallbackquery" | "deletemycommands" | "logout" | "close":
                return True
            case _:
                raise RefusedError(404, "Not Found: method not found")

    def _get_updates(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        offset = int(parameters.get("offset") or 0)
        self._updates = [update for update in self._updates if update["update_id"] >= offset]
        self._poll += 1
        mine = self._poll
        self._changed.notify_all()
        self._changed.wait_for(
            lambda: self._updates or self._closed or self._poll != mine, float(parameters.get("timeout") or 0)
        )
        if self._poll != mine:
            raise RefusedError(409, "Conflict: terminated by other getUpdates request")
        return self._updates[: int(parameters.get("limit") or 100)]

    def _edit(self, parameters: dict[str, Any], at_s: float) -> dict[str, Any]:
        chat_id, message_id = int(parameters["chat_id"]), int(parameters["message_id"])
        message = next((each for each in self.messages_to(chat_id) if each.message_id == message_id), None)
        if message is None:
            raise RefusedError(400, "Bad Request: message to edit not found")
        text = _checked_text(parameters)
        if at_s - message.edited_at_s < self.min_edit_interval_s:
            retry_after = math.ceil(self.min_edit_interval_s)
            raise RefusedError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)
        if text == message.text:
            raise RefusedError(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly "
                "the same as a current content and reply markup of the message",
            )
        message.texts.append(text)
        message.edited_at_s = at_s
        return self._show(message)

    def _show(self, message: Message) -> dict[str, Any]:
        return {
            "message_id": message.message_id,
            "date": 1_700_000_000,
            "chat": {"id": message.chat_id, "type": "private", "first_name": "User"},
            "from": {"id": 110201543, "is_bot": True, "first_name": "Fetch", "username": BOT_NAME},
            "text": message.text,
        }


def _checked_text(parameters: dict[str, Any]) -> str:
    text = str(parameters.get("text", ""))
    if not text.strip():
        raise RefusedError(400, "Bad Request: message text is empty")
    # UTF-16 code units are what the service counts.
    if len(text.encode("utf-16-le")) // 2 > MAX_TEXT_LENGTH:
        raise RefusedError(400, "Bad Request: message is too long")
    return text


class _Server(ThreadingHTTPServer):
    """Ends the connections that clients keep open, so that its threads end with it."""

    daemon_threads = False

    def __init__(self, api: BotApi) -> None:
        self.api = api
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def hang_up_all(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of a reply is none of the server's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small replies on a connection that stays open: Nagle's algorithm would hold them for 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        parameters: dict[str, Any] = dict(parse_qsl(parts.query))
        if self.headers.get_content_type() == "application/json":
            parameters.update(json.loads(body or b"{}"))
        else:
            parameters.update(parse_qsl(body.decode()))
        answer = self.server.api.serve(parts.path, parameters)
        if answer is None:
            self.close_connection = True
            return
        status, reply = answer
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass


@contextmanager
def open_bot_api() -> Iterator[BotApi]:
    """Serve a Bot API on a free port of loopback."""
    api = BotApi()
    with _Server(api) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="Bot API")
        thread.start()
        try:
            yield api
        finally:
            api.close()
            server.shutdown()
            thread.join()
            server.hang_up_all()

"""A Telegram bot that downloads what its users ask for, on trio, with triogram."""

import logging
import re
from typing import Any

import bot_common
import httpx
import trio
import triogram
from bot_common import DownloadBot, RefusedError, Settings, TryLaterError

LOG = logging.getLogger("bot")

# triogram's errors have Telegram's words and nothing else.
RETRY_AFTER = re.compile(r"Too Many Requests: retry after (\d+)")
FOR_GOOD = ("Bad Request", "Forbidden", "Not Found")


class Client:
    """The two calls that bot_common makes."""

    def __init__(self, api: triogram.Api) -> None:
        self._api = api

    async def send(self, chat_id: int, text: str) -> int:
        sent = await self._call("send_message", chat_id=chat_id, text=text)
        return int(sent["message_id"])

    async def edit(self, chat_id: int, message_id: int, text: str) -> None:
        await self._call("edit_message_text", chat_id=chat_id, message_id=message_id, text=text)

    async def _call(self, method: str, **parameters: Any) -> Any:
        parameters["link_preview_options"] = {"is_disabled": True}
        try:
            return await getattr(self._api, method)(json=parameters)
        except triogram.AuthError:
            raise
        except triogram.ApiError as exc:
            words = str(exc)
            if match := RETRY_AFTER.match(words):
                raise TryLaterError(int(match[1])) from exc
            if words.startswith(FOR_GOOD):
                raise RefusedError(words) from exc
            raise TryLaterError from exc
        except (httpx.TransportError, ValueError) as exc:  # no answer, or one that is no JSON
            raise TryLaterError from exc


async def poll(telegram: triogram.Bot) -> None:
    while True:
        try:
            await telegram.run()
        except (httpx.TransportError, ValueError) as exc:
            # triogram asks again after most failures, but not after these.
            LOG.warning("no updates: %r", exc)
            await trio.sleep(1)


async def listen(telegram: triogram.Bot, bot: DownloadBot, *, task_status: trio.TaskStatus[None]) -> None:
    def has_text(update: dict[str, Any]) -> bool:
        return "text" in update.get("message", ())

    async with telegram.sub(has_text, task_status=task_status) as updates:
        async for update in updates:
            message = update["message"]
            await bot.on_message(message["chat"]["id"], message["text"])


async def main(settings: Settings) -> None:
    async with triogram.make_bot(settings.token, telegram_api_url=settings.api_url) as telegram:
        await telegram.api.delete_webhook()
        commands = [{"command": name, "description": text} for name, text in bot_common.COMMANDS.items()]
        await telegram.api.set_my_commands(json={"commands": commands})
        client = Client(telegram.api)
        async with bot_common.open_bot(client, settings) as bot, trio.open_nursery() as nursery:
            # It listens before the first update can come.
            await nursery.start(listen, telegram, bot)
            nursery.start_soon(poll, telegram)
            await bot.wait_for_signal()
            nursery.cancel_scope.cancel(reason="the bot ends")


if __name__ == "__main__":
    trio.run(main, bot_common.read_settings())

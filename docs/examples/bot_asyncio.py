"""A Telegram bot that downloads what its users ask for, on asyncio, with python-telegram-bot."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import bot_common
from bot_common import RefusedError, Settings, TryLaterError
from telegram import Bot, LinkPreviewOptions, Update
from telegram.error import BadRequest, ChatMigrated, Forbidden, RetryAfter, TelegramError
from telegram.ext import ApplicationBuilder, ContextTypes, MessageHandler, filters

# What python-telegram-bot will do by itself one day: durations are timedeltas.
os.environ["PTB_TIMEDELTA"] = "true"

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class Client:
    """The two calls that bot_common makes."""

    def __init__(self, telegram: Bot) -> None:
        self._telegram = telegram

    async def send(self, chat_id: int, text: str) -> int:
        with telegrams_errors():
            sent = await self._telegram.send_message(chat_id, text, link_preview_options=NO_PREVIEW)
        return sent.message_id

    async def edit(self, chat_id: int, message_id: int, text: str) -> None:
        with telegrams_errors():
            await self._telegram.edit_message_text(
                text, chat_id=chat_id, message_id=message_id, link_preview_options=NO_PREVIEW
            )


@contextmanager
def telegrams_errors() -> Iterator[None]:
    try:
        yield
    except RetryAfter as exc:
        after = exc.retry_after
        raise TryLaterError(after.total_seconds() if isinstance(after, timedelta) else after) from exc
    except (BadRequest, Forbidden, ChatMigrated) as exc:
        raise RefusedError(str(exc)) from exc
    except TelegramError as exc:  # no answer, or one that is no JSON
        raise TryLaterError from exc


async def main(settings: Settings) -> None:
    application = ApplicationBuilder().token(settings.token).base_url(f"{settings.api_url}/bot").build()
    # This is what application.run_polling() does, inside of another block.
    async with application, bot_common.open_bot(Client(application.bot), settings) as bot:

        async def on_command(update: Update, _: ContextTypes.DEFAULT_TYPE) -> None:
            message = update.effective_message
            if message is not None and message.text is not None:
                await bot.on_message(message.chat_id, message.text)

        # Not edited messages: they would be done a second time.
        commands = filters.COMMAND & filters.UpdateType.MESSAGE
        application.add_handler(MessageHandler(commands, on_command))
        await application.bot.set_my_commands(list(bot_common.COMMANDS.items()))
        assert application.updater is not None
        await application.updater.start_polling()
        await application.start()
        try:
            await bot.wait_for_signal()
        finally:
            await application.updater.stop()
            await application.stop()


if __name__ == "__main__":
    asyncio.run(main(bot_common.read_settings()))

"""Talking to the bot without a command: a mention, a reply, a direct message work as `/ask`."""

from __future__ import annotations

import logging
import re
from typing import Any

import discord

from bot.adapters.discord.catalog import attached
from bot.adapters.discord.desk import Desk
from bot.adapters.discord.faults import EXPECTED, fault_of
from bot.adapters.discord.menus import image_option
from bot.adapters.discord.people import of_message
from bot.adapters.discord.render import pages, words_for
from bot.core.command import Handle, Invocation
from bot.core.refusal import translated
from bot.core.reply import Reply, Tone
from bot.core.texts import pick_locale

log = logging.getLogger(__name__)

_ASK = "ask"
_PERSONAL = frozenset({"Refused", "LimitReached", "NotAllowed"})
"""Kinds of a no that say something of a person: their words, credits, standing."""
_HAN = re.compile(r"[\u4e00-\u9fff]")


class Talk:
    """Hears messages, asks the core."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def hear(self, message: discord.Message, me: discord.ClientUser) -> None:
        """Answer a message that is meant for us; leave every other one alone."""
        if message.author.bot or message.webhook_id is not None or not _is_ours(message, me):
            return
        text = without_mention(message.content, me.id)
        files = [f for f in message.attachments if (f.content_type or "").startswith("image/")]
        if not text and not files:
            return
        scene = of_message(message, me)
        own = written_in(text, scene.locale)
        public = message.guild is not None
        locale = await self._desk.core.spoken(scene.who, own) if public else own
        if files and self._picture_option() is None:
            # Answering as if there were no picture would answer another question.
            await self._say(message, Reply(text=words_for(own)("talk.no_eyes"), tone=Tone.WARN))
            return
        reply = await self._desk.core.dispatch(
            Invocation(
                command=_ASK, values=self._values(text, files), who=scene.who,
                address=scene.address, locale=locale, key=f"discord-message-{message.id}",
                venue=scene.venue, handle=Handle(),
            )
        )  # fmt: skip
        words = words_for(own)
        if reply.job_id is not None:
            await self._say(message, reply)
        elif public and reply.data.get("kind") in _PERSONAL:
            await self._refuse(message, translated(reply, words).model_copy(update={"locale": own}))
        else:
            await self._say(message, reply.model_copy(update={"locale": own}))

    async def _refuse(self, message: discord.Message, reply: Reply) -> None:
        """A no is for who asked: by direct message, since a message has no private answer. Who
        takes none is told where to ask, and the channel does not read why. A button works on its
        server only."""
        words = words_for(reply.locale)
        if reply.buttons:
            text = f"{reply.text}\n\n{words('talk.appeal')}"
            reply = reply.model_copy(update={"buttons": (), "text": text})
        if await self._desk.presenter.send_direct(str(message.author.id), reply):
            return
        await self._say(
            message, Reply(text=words("talk.refused"), tone=Tone.WARN, locale=reply.locale)
        )

    def _picture_option(self) -> str | None:
        info = next((i for i in self._desk.core.catalog("en") if i.name == _ASK), None)
        return image_option(info)

    async def _say(self, message: discord.Message, reply: Reply) -> None:
        try:
            await self._show(message, reply, reply.locale)
        except EXPECTED as error:
            log.info("a message was not answered (%s)", fault_of(error))

    def _values(self, text: str, files: list[discord.Attachment]) -> dict[str, Any]:
        values: dict[str, Any] = {"prompt": text}
        option = self._picture_option()
        if files and option is not None:
            values[option] = attached(files[0])
        return values

    async def _show(self, message: discord.Message, reply: Reply, locale: str) -> None:
        if reply.job_id is not None:
            await self._desk.presenter.publish(reply, reply_to=message.id)
            return
        for page in pages(reply, words_for(locale)):
            await self._desk.presenter.hands.send(message.channel.id, page, reply_to=message.id)


def _is_ours(message: discord.Message, me: discord.ClientUser) -> bool:
    """Direct, or naming us, or answering us. Mentions of everyone or of roles are not."""
    if message.guild is None:
        return True
    if any(person.id == me.id for person in message.mentions):
        return True
    answered = message.reference.resolved if message.reference is not None else None
    return isinstance(answered, discord.Message) and answered.author.id == me.id


def without_mention(text: str, me: int) -> str:
    """What was said, without our name in it."""
    return re.sub(rf"<@!?{me}>", " ", text).strip()


def written_in(text: str, fallback: str) -> str:
    """The language to answer in: a message carries no locale of its own, but its words do."""
    return "zh" if _HAN.search(text) else pick_locale(fallback)

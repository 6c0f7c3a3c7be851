"""Between Slack and the core: events become invocations and presses, replies become messages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.adapters.slack import events, views
from bot.adapters.slack.calls import Closed, Refusal, asked
from bot.adapters.slack.cards import Cards, is_direct
from bot.adapters.slack.events import Scene
from bot.adapters.slack.people import People, Person
from bot.adapters.slack.presenter import SlackPresenter
from bot.adapters.slack.render import Message, message, words_for
from bot.adapters.slack.sessions import Sessions
from bot.adapters.slack.views import Ticket
from bot.core.command import (
    CommandInfo,
    Core,
    Handle,
    Invocation,
    Press,
    Venue,
    error_reply,
)
from bot.core.parse import Line, parse_line
from bot.core.quiet import for_one, is_delicate
from bot.core.refusal import translated
from bot.core.reply import EFFECTS, Effect, Reply, Tone, Verb, Visibility, makes_card
from storage.errors import AtelierError, BadInput, MemberError, RetryLater
from storage.schema import Address, Platform, new_id

log = logging.getLogger(__name__)

FILE_LIMIT = 1 << 30
"""Largest file Slack takes, in bytes; nothing of ours comes near it."""


class TooLate(AtelierError):
    """A dialogue was not opened: what would have opened it was too long ago."""


@dataclass(frozen=True)
class Desk:
    """The parts the listeners share."""

    core: Core
    client: AsyncWebClient
    people: People
    cards: Cards
    presenter: SlackPresenter
    sessions: Sessions
    workspace: str
    """Slack's id of it."""

    # -- in ------------------------------------------------------------------------------------

    async def first_sight(self, *ids: str, message: bool = False) -> str | None:
        """The key of an event that was not taken before; None for a repeated one.

        A key says that it came with a chat ``message``: nothing is ever learnt from those.
        """
        key = events.key_of(*ids)
        if message:
            key = key.replace("slack-", "slack-message-", 1)
        return key if await self.core.services.wire.first_sight(key) else None

    def info(self, name: str, locale: str) -> CommandInfo | None:
        """A command as the catalogue describes it."""
        return next((info for info in self.core.catalog(locale) if info.name == name), None)

    async def typed(self, scene: Scene, line: str, key: str, files: list[Any] | None) -> None:
        """What somebody wrote to us: a command with a slash, or a question."""
        person = await self.people.find(scene.member, scene.name)
        catalog = self.core.catalog(person.locale)
        picture = events.first_picture(files)
        if not line and picture is not None and self.info("describe", person.locale) is not None:
            parsed = Line("describe", {})
        elif not line:
            await self.say(scene, Message(text=words_for(person.locale)("slack.nothing_asked")))
            return
        else:
            parsed = parse_line(events.spoken(line, [info.name for info in catalog]), catalog)
        values: dict[str, Any] = dict(parsed.values)
        info = self.info(parsed.command, person.locale)
        option = image_option(info)
        if picture is not None and option is not None:
            values[option] = await self.file(picture)
        elif files and (option := file_option(info)) is not None:
            values[option] = await self.file(files[0])
        await self.invoke(scene, person, parsed.command, values, key)

    async def file(self, file: Mapping[str, Any]) -> Any:
        """An attachment; asked again from Slack where the event holds only its id.

        Raises ``BadInput('upload_gone')`` for a file that Slack does not show us, and
        ``MemberError('busy')`` when it does not answer.
        """
        if file.get("file_access") == "check_file_info" or not file.get("url_private"):
            try:
                answer = await asked(self.client.files_info(file=str(file.get("id", ""))))
            except (Closed, Refusal) as error:
                raise BadInput("upload_gone") from error
            except RetryLater as error:
                raise MemberError("busy") from error
            file = answer.get("file", {})
        return events.attachment(file)

    async def open(self, scene: Scene, view: dict[str, Any]) -> str:
        """Open a dialogue; its id. Raises ``TooLate`` when the trigger's three seconds are over."""
        try:
            opened = await asked(self.client.views_open(trigger_id=scene.trigger, view=view))
        except Refusal as error:
            raise TooLate(error.code) from error
        return str(opened["view"]["id"])

    async def sorry(self, scene: Scene, error: Exception) -> None:
        """Say what became of something that was acknowledged and could then not be done.

        Only what is known to have changed nothing is said: a card that is late comes by itself.
        """
        texts = words_for(self.people.locale(scene.member) or "en")
        if isinstance(error, MemberError):
            reply = error_reply(error, texts)
        elif isinstance(error, TooLate):
            reply = Reply(text=texts("slack.slow"), tone=Tone.WARN)
        elif isinstance(error, AtelierError):
            return
        else:
            reference = new_id()[-8:]
            log.error("the bug above is %s", reference)
            reply = Reply(text=texts("error.lost", reference=reference), tone=Tone.BAD)
        await self.whisper(scene, await self.people.find(scene.member, scene.name), reply)

    async def invoke(
        self, scene: Scene, person: Person, command: str, values: dict[str, Any], key: str
    ) -> None:
        """Use a command, and show what comes of it."""
        info = self.info(command, person.locale)
        making = info is not None and info.group == "make"
        private = info is not None and info.visibility is Visibility.PRIVATE
        private = private or str(values.get("private", "")).lower() in ("true", "yes", "1", "on")
        reply = await self.core.dispatch(
            Invocation(
                command=command, values=values, who=person.who, address=self.address(scene),
                locale=await self._spoken(scene, person, making and not private), key=key,
                venue=self.venue(scene),
                handle=Handle(visibility=Visibility.PRIVATE if private else Visibility.PUBLIC),
            )
        )  # fmt: skip
        reply = translated(reply, words_for(person.locale))
        if reply.job_id is None or making:
            await self.show(scene, person, reply)
        elif private:  # something was done to a job: seen on its card, and said
            await self.presenter.show(reply)
            await self.whisper(scene, person, Reply(text=reply.title, tone=reply.tone))
        else:
            await self._again(scene, person, reply)

    async def press(
        self,
        scene: Scene,
        verb: str,
        target: str,
        key: str,
        values: dict[str, Any] | None = None,
    ) -> None:
        """Press a button; a dialogue is opened at once, because its trigger lives three seconds."""
        locale = self.people.locale(scene.member) or "en"
        view = ""
        form = verb in set(Verb) and EFFECTS.get(Verb(verb)) is Effect.FORM and values is None
        if form:
            ticket = Ticket(channel=scene.channel, thread=scene.thread)
            view = await self.open(scene, views.opening(words_for(locale), ticket))
        person = await self.people.find(scene.member, scene.name)
        reply = await self.core.press(
            Press(
                verb=verb, target=target, who=person.who, address=self.address(scene),
                locale=await self._spoken(scene, person, makes_card(verb, values)), key=key,
                venue=self.venue(scene), values=values or {},
            )
        )  # fmt: skip
        reply = translated(reply, words_for(person.locale))
        if view:
            await self._fill(view, scene, person, reply)
        elif verb == Verb.SHOW and reply.job_id is not None:
            if await self._is_left_behind(scene):
                await self.presenter.redraw_copy(reply, scene.channel, scene.message)
            else:
                await self._again(scene, person, reply)
        else:
            await self.show(scene, person, reply)
            if reply.job_id is not None and EFFECTS.get(Verb(verb)) is Effect.CARD:
                await self.presenter.redraw_copy(reply, scene.channel, scene.message)

    async def _is_left_behind(self, scene: Scene) -> bool:
        """Whether the message pressed is a placeholder whose time-out came after Slack had it."""
        # A list of jobs in direct messages lasts too, and has a button for each of them.
        if scene.message is None or not scene.lasting or not scene.alone:
            return False
        posts = self.core.services.posts
        return await posts.at(Platform.SLACK, scene.channel, scene.message) is None

    async def _fill(self, view: str, scene: Scene, person: Person, reply: Reply) -> None:
        texts = words_for(person.locale)
        ticket = Ticket(channel=scene.channel, thread=scene.thread)
        if reply.form is not None:
            shown = views.reply_form(reply.form, texts, ticket)
        else:
            note = message(reply, texts)
            shown = views.closing(note.blocks, reply.title or texts("slack.close"), texts)
        await asked(self.client.views_update(view_id=view, view=shown))

    # -- out -----------------------------------------------------------------------------------

    async def show(self, scene: Scene, person: Person, reply: Reply) -> None:
        """A card to its place, a copy to direct messages, anything else to one person."""
        if reply.direct:
            channel = await self.cards.direct(scene.member)
            answer = reply.data.get("answer")
            words = answer if isinstance(answer, str) else ""
            await self.cards.copy(reply.model_copy(update={"text": words}), channel, None)
            if channel != scene.channel:
                text = reply.text or words_for(person.locale)("slack.sent")
                await self.whisper(scene, person, Reply(text=text))
        elif reply.job_id is not None:
            await self.presenter.show(reply)
        else:
            await self.whisper(scene, person, reply)
        if reply.document is not None:
            channel = await self.cards.direct(scene.member)
            await self.cards.hand_over(reply.document, channel)

    async def _again(self, scene: Scene, person: Person, reply: Reply) -> None:
        """A card somebody asked to see once more: here, or in their direct messages. Why something
        is not shown goes to them alone."""
        channel, thread = scene.channel, scene.thread
        if not channel:
            channel, thread = await self.cards.direct(scene.member), None
        try:
            await self.cards.copy(reply, channel, thread)
        except Closed:
            channel = await self.cards.direct(scene.member)
            await self.cards.copy(reply, channel, None)
        if is_delicate(reply) and not is_direct(channel):
            await self.whisper(scene, person, for_one(reply))

    async def whisper(self, scene: Scene, person: Person, reply: Reply) -> None:
        """Say something to one person: beside what they did, else in their direct messages.

        Only short notes go this way: an ephemeral message is gone when Slack is loaded again.
        """
        note = message(reply, words_for(person.locale))
        if scene.response_url and await self._respond(scene.response_url, note):
            return
        await self.say(scene, note)

    async def _respond(self, url: str, note: Message) -> bool:
        if not self.answers_at(url):
            return False
        try:
            # The library's own logger would write the URL, which lets anybody answer for us, and
            # its own retry would say the note twice.
            hook = AsyncWebhookClient(
                url, session=self.client.session, logger=self.client.logger, retry_handlers=[]
            )
            answer = await hook.send(
                text=note.text, blocks=note.blocks or None, response_type="ephemeral",
                replace_original=False, unfurl_links=False, unfurl_media=False,
            )  # fmt: skip
        except (SlackClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("a response URL did not work: %s", type(error).__name__)
            return False
        return answer.status_code == 200

    def answers_at(self, url: str) -> bool:
        """Whether a ``response_url`` is Slack's: it is handed to us, and gets what members see."""
        return url.startswith(("https://hooks.slack.com/", self.client.base_url.rstrip("/") + "/"))

    async def say(self, scene: Scene, note: Message) -> None:
        """As :meth:`whisper`, without a ``response_url``."""
        if scene.channel and not is_direct(scene.channel):
            try:
                await asked(
                    self.client.chat_postEphemeral(
                        channel=scene.channel, user=scene.member, text=note.text,
                        blocks=note.blocks or None, thread_ts=scene.thread, link_names=False,
                    )
                )  # fmt: skip
                return
            except AtelierError as error:
                log.info("no note in the channel: %s", error)
        direct = is_direct(scene.channel)
        channel = scene.channel if direct else await self.cards.direct(scene.member)
        await self.cards.send(channel, scene.thread if direct else None, note)

    # -- parts ---------------------------------------------------------------------------------

    async def _spoken(self, scene: Scene, person: Person, public: bool) -> str:
        """The language of a reply: a card in a channel is in the one its workspace has chosen."""
        if not public or not scene.channel or is_direct(scene.channel):
            return person.locale
        return await self.core.spoken(person.who, person.locale)

    def address(self, scene: Scene) -> Address:
        """Where a job's card goes."""
        return Address(
            platform=Platform.SLACK, workspace=self.workspace, channel=scene.channel,
            thread=scene.thread,
        )  # fmt: skip

    def venue(self, scene: Scene) -> Venue:
        """What we know of the place."""
        return Venue(private=is_direct(scene.channel), file_limit=FILE_LIMIT)


def image_option(info: CommandInfo | None) -> str | None:
    """The option of a command that takes a picture, if it has one."""
    options = info.options if info is not None else ()
    return next((option.name for option in options if option.kind == "image"), None)


def file_option(info: CommandInfo | None) -> str | None:
    """The option of a command that takes a text file, if it has one."""
    options = info.options if info is not None else ()
    return next((option.name for option in options if option.kind == "file"), None)


def elsewhere(scene: Scene, ticket: Ticket) -> Scene:
    """The scene of a submitted dialogue: where the dialogue was opened."""
    return replace(scene, channel=ticket.channel, thread=ticket.thread, response_url="")

"""What answering one Discord event needs: acknowledge, ask the core, show what it says.

The acknowledgement comes before anything else that could take time, and it is always private:
Discord shows everybody the full text of a command that was acknowledged in public, judged or not.
What may be seen by all is posted afterwards as a message of its own.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import discord
from pydantic import SecretStr

from bot.adapters.discord.faults import EXPECTED, Fault, fault_of
from bot.adapters.discord.people import Scene
from bot.adapters.discord.placing import is_fresh
from bot.adapters.discord.presenter import DiscordPresenter
from bot.adapters.discord.render import Page, pages, words_for
from bot.adapters.discord.wire import ANSWER, SILENT, laid_out
from bot.core.command import Core, Handle, Invocation, Press
from bot.core.refusal import translated
from bot.core.reply import Document, Reply, Tone, Visibility, makes_card
from bot.core.texts import Texts, pick_locale
from storage.schema import new_id

log = logging.getLogger(__name__)

_ANSWER = "answer"
TOKEN_MS = 15 * 60_000
"""How long Discord takes answers to an interaction."""


@dataclass(frozen=True)
class Desk:
    """The parts that answering shares."""

    core: Core
    presenter: DiscordPresenter

    async def acknowledge(
        self, interaction: discord.Interaction[Any], *, quiet: bool = False
    ) -> bool:
        """Say "I heard you" within 3 s. False when there is nobody to answer any more.

        ``quiet`` is for presses: no "thinking" message appears, the card itself is the answer.
        """
        try:
            if quiet:
                await interaction.response.defer()
            else:
                said = await interaction.response.defer(ephemeral=True, thinking=True)
                interaction.extras[_ANSWER] = said.message_id if said is not None else None
        except EXPECTED as error:
            fault = fault_of(error)
            # Late: the member was told that nothing happened, so nothing must. Answered: the same
            # event reached us twice, and whoever was first is at it.
            log.info("interaction %s not acknowledged (%s)", interaction.id, fault)
            return False
        return True

    async def invoke(
        self,
        interaction: discord.Interaction[Any],
        scene: Scene,
        command: str,
        values: dict[str, Any],
    ) -> None:
        """Dispatch a command that was acknowledged, and show the reply."""
        public = self.is_public(command, values) and scene.can_post
        reply = await self.core.dispatch(
            Invocation(
                command=command, values=values, who=scene.who, address=scene.address,
                locale=await self._spoken(interaction, scene, public),
                key=f"discord-{interaction.id}", venue=scene.venue,
                handle=self._handle(interaction, public),
            )
        )  # fmt: skip
        await self.answer(interaction, scene, reply)

    async def press(
        self,
        interaction: discord.Interaction[Any],
        scene: Scene,
        verb: str,
        target: str,
        values: dict[str, Any] | None = None,
    ) -> Reply:
        """Ask the core what a press does. The caller shows the reply."""
        public = scene.can_post and makes_card(verb, values)
        return await self.core.press(
            Press(
                verb=verb, target=target, who=scene.who, address=scene.address,
                locale=await self._spoken(interaction, scene, public), values=values or {},
                key=f"discord-{interaction.id}", venue=scene.venue,
                handle=self._handle(interaction, scene.can_post),
            )
        )  # fmt: skip

    async def answer(
        self, interaction: discord.Interaction[Any], scene: Scene, reply: Reply
    ) -> None:
        """Show a reply to an event that was acknowledged: a fresh job's card where all can see
        it, everything else to who asked. Raises nothing that Discord says."""
        try:
            await self._answer(interaction, scene, reply)
        except EXPECTED as error:
            fault = fault_of(error)
            if fault is Fault.BROKEN:
                log.exception("an answer was refused")
            else:
                log.info("an answer was not taken (%s)", fault)

    async def _answer(
        self, interaction: discord.Interaction[Any], scene: Scene, reply: Reply
    ) -> None:
        if reply.direct:
            sent = await self.presenter.send_direct(scene.who.member, reply)
            words = words_for(pick_locale(scene.locale))
            said = reply.text if sent else words("direct.closed")
            await self.say(interaction, Reply(text=said, tone=Tone.GOOD if sent else Tone.WARN))
            return
        if reply.job_id is not None and await self._is_fresh(reply.job_id):
            up = await self.presenter.publish(reply)
            if await self._is_posted(reply.job_id):
                await interaction.delete_original_response()
            if up:
                return
            # Discord is unwell: delivery puts the card up when it is done; meanwhile say so here.
        await self.say(interaction, translated(reply, words_for(pick_locale(scene.locale))))

    async def sorry(self, interaction: discord.Interaction[Any]) -> None:
        """One calm sentence to who waits for an answer that a bug has swallowed. Never raises."""
        if not interaction.response.is_done():
            return  # Discord itself says that nothing came
        words = words_for(pick_locale(str(interaction.locale)))
        reference = new_id()[-8:]
        log.error("the bug above is %s", reference)
        text = words("error.lost", reference=reference)
        page = pages(Reply(text=text, tone=Tone.BAD), words)[0]
        try:
            if _ANSWER in interaction.extras:
                await self.show(interaction, page)
            else:  # what a press has acknowledged is the card itself
                await self.follow(interaction, page)
        except EXPECTED as error:
            log.info("nor was that taken (%s)", fault_of(error))

    async def say(self, interaction: discord.Interaction[Any], reply: Reply) -> None:
        """Make the private acknowledgement say this; what does not fit follows it."""
        drawn = pages(reply, words_for(reply.locale))
        await self.show(interaction, drawn[0])
        for page in drawn[1:5]:
            await self.follow(interaction, page)
        if reply.document is not None:
            await self._hand_over(interaction, reply.document, words_for(reply.locale))

    async def _hand_over(
        self, interaction: discord.Interaction[Any], document: Document, words: Texts
    ) -> None:
        """A file for who asked, seen by nobody else; a sentence when it is too large."""
        if len(document.content) > interaction.filesize_limit:
            await interaction.followup.send(
                words("document.large"), ephemeral=True, allowed_mentions=SILENT
            )
            return
        file = discord.File(io.BytesIO(document.content), filename=document.name)
        await interaction.followup.send(file=file, ephemeral=True, allowed_mentions=SILENT)

    async def show(self, interaction: discord.Interaction[Any], page: Page) -> None:
        """Make the answer to this interaction show a page."""
        fitted = await self.presenter.hands.fit(page, interaction.filesize_limit)
        await interaction.edit_original_response(
            view=laid_out(page, fitted),
            attachments=[one.upload() for one in fitted],
            allowed_mentions=SILENT,
        )

    async def follow(self, interaction: discord.Interaction[Any], page: Page) -> None:
        """A further private message to who pressed or asked."""
        fitted = await self.presenter.hands.fit(page, interaction.filesize_limit)
        await interaction.followup.send(
            view=laid_out(page, fitted),
            files=[one.upload() for one in fitted],
            ephemeral=True,
            allowed_mentions=SILENT,
        )

    def is_public(self, command: str, values: dict[str, Any]) -> bool:
        """Whether everybody may see what a command makes."""
        known = self.core.commands.get(command)
        return (
            known is not None
            and known.visibility is Visibility.PUBLIC
            and values.get("private") is not True
        )

    async def _spoken(
        self, interaction: discord.Interaction[Any], scene: Scene, public: bool
    ) -> str:
        """The language of a reply: a public card is in the one its workspace has chosen."""
        own = spoken(interaction, scene, public)
        if public and scene.venue.installed:
            return await self.core.spoken(scene.who, own)
        return own

    def _handle(self, interaction: discord.Interaction[Any], public: bool) -> Handle:
        answer = interaction.extras.get(_ANSWER)
        return Handle(
            message=f"{ANSWER}{answer}" if answer is not None else None,
            visibility=Visibility.PUBLIC if public else Visibility.PRIVATE,
            token=SecretStr(interaction.token),
            until=self.core.services.clock() + TOKEN_MS,
        )

    async def _is_fresh(self, job_id: str) -> bool:
        post = await self.core.services.posts.get(job_id)
        return post is not None and is_fresh(post)

    async def _is_posted(self, job_id: str) -> bool:
        """Whether the card is a message of its own (or will be): the acknowledgement may go."""
        post = await self.core.services.posts.get(job_id)
        return post is not None and (post.address.message or "").isdecimal()


def spoken(interaction: discord.Interaction[Any], scene: Scene, public: bool) -> str:
    """The language of a reply: the asker's own; a public card of a server that has set itself a
    language other than Discord's default is in that one."""
    ours = interaction.guild_locale
    if public and ours is not None and pick_locale(str(ours)) != "en":
        return str(ours)
    return scene.locale

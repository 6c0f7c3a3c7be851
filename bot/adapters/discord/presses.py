"""Presses: each button acknowledged in the way its effect needs, then decided by the core.

Nothing about who may press is decided here.
"""

from __future__ import annotations

import asyncio
from typing import Any

import discord

from bot.adapters.discord.desk import Desk
from bot.adapters.discord.faults import EXPECTED, Fault, fault_of
from bot.adapters.discord.forms import modal
from bot.adapters.discord.people import of_interaction
from bot.adapters.discord.render import pages, question, words_for
from bot.adapters.discord.wire import SILENT
from bot.core.refusal import translated
from bot.core.reply import EFFECTS, Effect, Reply, Tone, Verb
from bot.core.texts import pick_locale

FORM_S = 2.0
"""A dialogue must be Discord's first answer: its values are looked up before it, in this long."""


async def press(
    desk: Desk, interaction: discord.Interaction[Any], verb: str, target: str, *, ask: bool
) -> None:
    """One press, from acknowledgement to answer."""
    known = Verb(verb) if verb in set(Verb) else None
    effect = EFFECTS.get(known, Effect.PRIVATE) if known is not None else Effect.PRIVATE
    if ask and known is not None:
        await _ask(interaction, known, target)
        return
    scene = of_interaction(interaction)
    if effect is Effect.FORM:
        await _open(desk, interaction, verb, target)
        return
    ours = interaction.message is not None and interaction.message.flags.ephemeral
    quiet = effect is Effect.CARD or (ours and effect is Effect.PRIVATE)
    if not await desk.acknowledge(interaction, quiet=quiet):
        return
    reply = await desk.press(interaction, scene, verb, target)
    if not quiet:
        await desk.answer(interaction, scene, reply)
        return
    await _in_place(desk, interaction, reply, private=ours, asked=ours and effect is Effect.CARD)


async def _in_place(
    desk: Desk, interaction: discord.Interaction[Any], reply: Reply, *, private: bool, asked: bool
) -> None:
    """Answer a press that made no message of its own."""
    locale = pick_locale(str(interaction.locale))
    if reply.job_id is None:
        words = words_for(locale)
        page = pages(translated(reply, words), words)[0]
        if private:
            await desk.show(interaction, page)
        else:
            await desk.follow(interaction, page)
        return
    if asked:
        # The card is elsewhere and is redrawn from the event; the question has been answered.
        words = words_for(locale)
        done = Reply(text=words("press.done"), tone=Tone.GOOD, locale=locale)
        await desk.show(interaction, pages(done, words)[0])
        return
    await desk.presenter.update_now(reply)


async def _ask(interaction: discord.Interaction[Any], verb: Verb, target: str) -> None:
    words = words_for(pick_locale(str(interaction.locale)))
    asked = f"confirm.{verb}" if words.has(f"confirm.{verb}") else "press.sure"
    label = f"button.{verb}" if words.has(f"button.{verb}") else "press.yes"
    page = question(words(asked), str(verb), target, words(label))
    await interaction.response.send_message(view=page.view, ephemeral=True, allowed_mentions=SILENT)


async def _open(desk: Desk, interaction: discord.Interaction[Any], verb: str, target: str) -> None:
    """Open the dialogue a press asks for; the values come from the database first, in bounds."""
    scene = of_interaction(interaction)
    locale = pick_locale(scene.locale)
    words = words_for(locale)
    try:
        async with asyncio.timeout(FORM_S):
            reply = await desk.press(interaction, scene, verb, target)
    except TimeoutError:
        reply = Reply(text=words("press.slow"), tone=Tone.WARN)
    try:
        if reply.form is not None:
            await interaction.response.send_modal(modal(reply.form, words))
            return
        page = pages(translated(reply, words), words)[0]
        await interaction.response.send_message(
            view=page.view, ephemeral=True, allowed_mentions=SILENT
        )
    except EXPECTED as error:
        if fault_of(error) not in (Fault.LATE, Fault.ANSWERED):
            raise

"""Buttons on a card: every press is checked again here, whatever the drawing said."""

from __future__ import annotations

import asyncio

from bot.commands import remakes
from bot.commands.again import remake
from bot.core.cards import job_reply, kept_copy
from bot.core.command import Context, PressHandler
from bot.core.guards import may_see, own_job
from bot.core.reply import Reply, Tone, Verb, Visibility
from storage import cases, favourites, jobs
from storage.errors import NotAllowed, NotFound
from storage.models import Generation
from storage.schema import Event, EventType, GenerationStatus, JobStatus, Platform


async def _card(context: Context, job_id: str) -> Reply:
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


async def show(context: Context, target: str) -> Reply:
    """Bring a job's card back; a private one only where nobody else reads along."""
    await own_job(context, target)
    post = await context.services.posts.get(target)
    alone = context.venue.private or context.handle.visibility is Visibility.PRIVATE
    if post is not None and post.private and not alone:
        raise NotAllowed("card_private")
    return await _card(context, target)


async def cancel(context: Context, target: str) -> Reply:
    """Stop a job: at once while queued, within one step while running."""
    status = await context.services.database.run(
        jobs.cancel, target, actor=context.actor, now=context.services.clock()
    )
    if status is JobStatus.RUNNING:
        # The worker reads the request with its next renewal; the nudge makes that now.
        await context.services.wire.wake()
    await context.services.wire.publish(Event(type=EventType.STATE, job_id=target))
    return await _card(context, target)


async def delete(context: Context, target: str) -> Reply:
    """Take a generation away, for its owner or a moderator; its bytes go too."""
    services = context.services
    blob = await services.database.run(
        cases.remove, target, actor=context.actor, now=services.clock()
    )
    if blob is not None:
        await asyncio.to_thread(services.blobs.delete, blob)
    made = await services.database.look(
        cases.generation, target, workspace_id=context.actor.workspace.id
    )
    await services.wire.publish(Event(type=EventType.STATE, job_id=made.job_id))
    return await _card(context, made.job_id)


_SHOWN = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


async def _seen(context: Context, generation_id: str) -> Generation:
    """A generation that this member may see. Raises ``NotFound``."""
    made = await context.services.database.look(
        cases.generation, generation_id, workspace_id=context.actor.workspace.id
    )
    if made.status not in _SHOWN:
        raise NotFound("generation_unknown")
    await may_see(context, made.job_id)
    return made


async def favourite(context: Context, target: str) -> Reply:
    """Keep a picture, and send a copy where only who pressed reads it. Anyone who sees it may."""
    services = context.services
    made = await _seen(context, target)
    fresh = await services.database.run(
        favourites.keep, context.actor.member.id, made.id, now=services.clock()
    )
    if context.who.platform is Platform.LOCAL:  # one person, one page: it is there already
        if not fresh:
            await services.database.run(favourites.drop, context.actor.member.id, made.id)
        word = "favourite.kept" if fresh else "favourite.dropped"
        return Reply(text=context.texts(word), tone=Tone.GOOD, visibility=Visibility.PRIVATE)
    return await kept_copy(
        services, made, context.texts.locale, workspace_id=context.actor.workspace.id
    )


PRESSES: dict[Verb, PressHandler] = {
    Verb.SHOW: show,
    Verb.CANCEL: cancel,
    Verb.REROLL: remakes.reroll,
    Verb.REGENERATE: remakes.regenerate,
    Verb.EDIT: remakes.edit,
    Verb.VARY_SUBTLE: remakes.vary_subtle,
    Verb.VARY_STRONG: remakes.vary_strong,
    Verb.UPSCALE: remakes.upscale,
    Verb.FINISH: remakes.finish,
    Verb.AGAIN: remake,
    Verb.FAVOURITE: favourite,
    Verb.DELETE: delete,
}

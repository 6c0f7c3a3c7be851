"""May this be done now: the prompt gate, and the one way a job is submitted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.core import trace
from bot.core.files import preflight
from bot.core.limits import check_job, check_pace, check_private, max_wait_ms
from bot.core.quotes import quote
from bot.core.reply import Visibility
from bot.core.striking import Striking
from moderation.build import rewritten
from moderation.lists import Lists, lists_of
from moderation.pipeline import Content, Surface
from moderation.policy import counted, reasons, wants_help
from moderation.record import About
from moderation.settings import policy_of
from storage import jobs, prices
from storage.errors import NotAllowed, NotFound, Refused, RetryLater
from storage.models import Job
from storage.posts import Draft, WriteWithJob
from storage.queue import flush_outbox
from storage.schema import (
    AnySpec,
    Category,
    Event,
    EventType,
    JobKind,
    Outcome,
    Platform,
    Role,
    Verdict,
    harshest,
    role_at_least,
)

if TYPE_CHECKING:
    from bot.core.command import Context

log = logging.getLogger(__name__)


async def own_job(context: Context, job_id: str) -> Job:
    """The job, for who asked for it or a moderator. Raises ``NotFound`` or ``NotAllowed``."""
    job = await context.services.database.look(
        jobs.find, job_id, workspace_id=context.actor.workspace.id
    )
    member = context.actor.member
    if job.member_id != member.id and not role_at_least(member.role, Role.MODERATOR):
        raise NotAllowed("not_yours")
    return job


async def may_see(context: Context, job_id: str) -> None:
    """Raises ``NotFound`` when a job's card is private and neither theirs nor theirs to moderate:
    foreign private things look the same as missing ones."""
    post = await context.services.posts.get(job_id)
    if post is None or not post.private:
        return
    try:
        await own_job(context, job_id)
    except NotAllowed as error:
        raise NotFound("generation_unknown") from error


async def judge_texts(context: Context, texts: Mapping[Surface, str]) -> Verdict:
    """Judge what a member typed; what comes back may be stored and run.

    Each text is judged beside the others and beside what the member typed last, since a minor in
    one prompt and nudity in the next are one wish. Raises ``LimitReached('too_fast')`` before
    anything is judged, or ``Refused``: ``prompt_refused`` with the category in words
    (``prompt_struck`` and others when a fixed rule struck for it, :mod:`bot.core.striking`),
    ``ip_refused`` with another way to say it, or ``self_harm_help`` when
    what was typed calls for help, not for rules. A verdict of *hold* passes: what is made from
    it is held for a moderator.
    """
    await check_pace(context)
    # Brought along by a person, we are no guest of this workspace: the strict defaults apply.
    settings = context.actor.workspace.settings if context.venue.installed else {}
    policy = policy_of(settings, adult=context.address.age_restricted)
    lists = lists_of(settings)
    member, recorder = context.actor.member, context.services.recorder
    about = About(context.actor.workspace.id, member.id, key=context.key)
    earlier = await recorder.recent_prompts(about.workspace_id, member.id)
    striking = Striking(context, policy)
    verdicts = []
    for surface, text in texts.items():
        if not text:
            continue
        beside = tuple(other for where, other in texts.items() if where != surface and other)
        content = Content(
            surface=surface, text=text, context=beside + earlier, lists=lists,
            # A guest workspace's own heads do not judge for it, nor its lists.
            workspace_id=about.workspace_id if context.venue.installed else "",
        )  # fmt: skip
        with trace.moment("judged"):
            found_here = await recorder.judge(
                context.services.prompt_gate, content, policy, about,
                then=striking.on(surface),
            )  # fmt: skip
        verdicts.append(counted(found_here, surface))
    verdict = harshest(verdicts)
    if wants_help(verdict):
        raise Refused("self_harm_help", verdict=verdict.public(), lines=help_lines(context, lists))
    if verdict.outcome is Outcome.BLOCK:
        found = reasons(verdict, policy)
        code = found[0] if found else Category.FAULT
        if code is Category.IP and striking.struck is None:  # a strike has to be told
            offer = rewritten(texts.get(Surface.PROMPT, ""), lists)
            if offer:
                raise Refused("ip_refused", verdict=verdict.public(), rewrite=offer)
        raise striking.refusal(verdict, code)
    return verdict


def help_lines(context: Context, lists: Lists) -> str:
    """The help lines of the workspace's region, or of every region we know, in words."""
    region = lists.help_region.upper()
    key = f"help_line.{region}"
    if region and context.texts.has(key):
        return context.texts(key)
    return context.texts("help_line.ALL")


async def _post_of(context: Context, parent_id: str | None) -> WriteWithJob | None:
    """Writes the job's post; the local page needs none, it draws every card itself.

    What is made from something private is private too, wherever the button was pressed.
    """
    if context.address.platform is Platform.LOCAL:
        return None
    handle, posts = context.handle, context.services.posts
    before = await posts.get(parent_id) if parent_id is not None else None
    if before is not None and before.private and handle.visibility is Visibility.PUBLIC:
        check_private(context, True)
    return posts.writer(
        Draft(
            private=handle.visibility is Visibility.PRIVATE
            or (before is not None and before.private),
            message=handle.message,
            token=handle.token.get_secret_value() if handle.token is not None else None,
            until=handle.until,
        )
    )


async def submit_job(
    context: Context,
    spec: AnySpec,
    *,
    verdict: Verdict,
    parent_id: str | None = None,
    again_of: str | None = None,
) -> str:
    """Price, reserve and queue a job, wake a worker; returns the job's id.

    What the recipe cache holds is free and waits in no line. ``again_of`` is a generation to make
    anew for comparison, which the cache never answers.

    Raises ``NotAllowed`` when a rule of the workspace refuses, ``LimitReached`` when the member is
    too fast, the tier does not include it, the queue is full, the wait too long or credits short.
    """
    services = context.services
    preflight(spec, context.venue.file_limit)
    await check_job(context, spec)
    card = services.registry.find(spec.model, JobKind(spec.kind))
    asked = await quote(context, spec, again=again_of is not None)
    post = await _post_of(context, parent_id)
    with trace.moment("reserved"):
        job, fresh = await services.database.run(
            jobs.submit,
            context.actor,
            spec,
            key=context.key,
            address=context.address,
            locale=context.texts.locale,
            price=asked.price,
            rate=asked.rate,
            estimate_ms=asked.estimate_ms,
            deadline_ms=prices.deadline_ms(spec, card),
            now=services.clock(),
            max_wait_ms=max_wait_ms(context),
            parent_id=parent_id,
            verdict=verdict,
            also=post,
            cached=asked.cached,
            again_of=again_of,
        )
    if not fresh:
        # The same invocation again: its pictures are stored already.
        for source in context.taken:
            await asyncio.to_thread(services.blobs.delete, source.blob)
    context.taken.clear()
    if fresh:
        services.metrics.submitted(str(spec.kind), cached=asked.cached)
        try:
            with trace.moment("ticket"):
                await flush_outbox(
                    services.database, services.wire, now=services.clock(), queued=True
                )
            await services.wire.publish(Event(type=EventType.STATE, job_id=job.id))
            await services.wire.note(job.id, trace.taken())
        except RetryLater:
            # The job is in; whoever looks next sends its ticket.
            log.warning("job %s is queued, its ticket waits", job.id)
    return job.id

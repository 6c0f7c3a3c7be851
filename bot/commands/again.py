"""`/again`: a picture made anew from its recipe, to see whether it comes out the same."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field as Option
from pydantic import ValidationError

from bot.core.cards import job_reply
from bot.core.command import Command, Context
from bot.core.guards import judge_texts, may_see, submit_job
from bot.core.inputs import Input, Phrase
from bot.core.limits import check_rules
from bot.core.quotes import quote_reply
from bot.core.reply import Reply, Visibility
from moderation.pipeline import Surface
from storage import cases
from storage.errors import BadInput, NotFound
from storage.models import Generation
from storage.recipes import spec_of
from storage.schema import GenerationStatus, ImageSpec

_SHOWN = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


class AgainInput(Input):
    """A picture, or the job that made it."""

    id: Phrase = Option(json_schema_extra={"kind": "text"})
    dry_run: bool = Option(default=False, json_schema_extra={"kind": "flag"})


async def remake(context: Context, target: str, *, dry_run: bool = False) -> Reply:
    """Queue the recipe of a generation (or of a job's first one) once more; the new job's card.

    The words are judged by today's policy and the price is the usual one: the engine does the
    work. The recipe cache is not asked, of course. Raises ``NotFound`` and ``BadInput``.
    """
    made = await _found(context, target)
    await may_see(context, made.job_id)
    if made.status not in _SHOWN:
        raise BadInput("generation_hidden")
    spec = _spec(made)
    if dry_run:
        return await quote_reply(context, spec, again=True)
    await check_rules(context, "imagine")
    verdict = await judge_texts(
        replace(context, typed=False),
        {Surface.PROMPT: spec.prompt, Surface.NEGATIVE: spec.negative},
    )
    job_id = await submit_job(
        context, spec, verdict=verdict, parent_id=made.job_id, again_of=made.id
    )
    return await job_reply(
        context.services, job_id, context.texts.locale, workspace_id=context.actor.workspace.id
    )


async def _found(context: Context, target: str) -> Generation:
    look, workspace_id = context.services.database.look, context.actor.workspace.id
    try:
        return await look(cases.generation, target, workspace_id=workspace_id)
    except NotFound:
        made = await look(cases.generations, target, workspace_id=workspace_id)
        if not made:
            raise
        return made[0]


def _spec(made: Generation) -> ImageSpec:
    try:
        return spec_of(made.recipe)
    except ValidationError as error:  # an answer, or a recipe of another version of us
        raise BadInput("no_recipe") from error


async def again(context: Context, values: AgainInput) -> Reply:
    """Make a picture anew by its id."""
    return await remake(context, values.id, dry_run=values.dry_run)


AGAIN = Command(
    name="again", input=AgainInput, handler=again, group="make", visibility=Visibility.PUBLIC
)

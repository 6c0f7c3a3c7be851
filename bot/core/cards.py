"""Jobs looked up and drawn: one card per job, in the reader's language."""

from __future__ import annotations

from bot.core.job_card import card, facts_of, masked, picture_of, ruled_of
from bot.core.reply import Picture, Reply, Tone, Visibility
from bot.core.services import Services
from storage import favourites, ledger, views
from storage.ledger import Balance
from storage.models import Generation
from storage.schema import ImageSpec, JobStatus, parse_spec
from storage.workspaces import Actor, account_of


async def job_reply(services: Services, job_id: str, locale: str, *, workspace_id: str) -> Reply:
    """The current card of a job, live progress included. Raises ``NotFound``."""
    seen = await services.database.look(
        views.view, job_id, workspace_id=workspace_id, now=services.clock()
    )
    live = None
    if seen.job.status == JobStatus.RUNNING:
        live = await services.wire.live(job_id)
    return card(seen, services.texts(locale), live, now=services.clock())


async def timeline(
    services: Services,
    actor: Actor,
    *,
    locale: str,
    limit: int = 30,
    before: str | None = None,
) -> list[Reply]:
    """The member's newest cards, newest last; ``before`` is the oldest job id already shown."""
    seen = await services.database.look(
        views.history,
        workspace_id=actor.workspace.id,
        member_id=actor.member.id,
        limit=limit,
        before=before,
        now=services.clock(),
    )
    texts = services.texts(locale)
    cards = []
    for item in reversed(seen):
        live = None
        if item.job.status == JobStatus.RUNNING:
            live = await services.wire.live(item.job.id)
        cards.append(card(item, texts, live, now=services.clock()))
    return cards


async def kept(services: Services, actor: Actor, *, locale: str, limit: int = 30) -> list[Reply]:
    """The cards of what the member keeps and may still see, the newest kept first."""
    ids = await services.database.look(
        favourites.kept, actor.member.id, workspace_id=actor.workspace.id, limit=limit
    )
    return [await job_reply(services, i, locale, workspace_id=actor.workspace.id) for i in ids]


async def balance(services: Services, actor: Actor) -> Balance:
    """The member's credits."""
    return await services.database.look(ledger.balance, account_of(actor.member))


async def visible_blob(services: Services, workspace_id: str, key: str) -> bool:
    """Whether a picture or preview was judged and may be shown now in this workspace."""
    if await services.wire.preview_allowed(key, workspace_id):
        return True
    return await services.database.look(views.visible_blob, workspace_id=workspace_id, key=key)


async def kept_copy(
    services: Services, made: Generation, locale: str, *, workspace_id: str
) -> Reply:
    """One generation for a member's private messages: what it is, without buttons."""
    seen = await services.database.look(
        views.view, made.job_id, workspace_id=workspace_id, now=services.clock()
    )
    texts = services.texts(locale)
    spec = masked(parse_spec(seen.job.spec), seen.job.verdict, texts, ruled=ruled_of(seen))
    pictures: tuple[Picture, ...] = ()
    if isinstance(spec, ImageSpec):
        pictures = (picture_of(made, spec, texts).model_copy(update={"buttons": ()}),)
    return Reply(
        title=texts("favourite.title"),
        text=texts("favourite.sent"),
        tone=Tone.GOOD,
        visibility=Visibility.PRIVATE,
        direct=True,
        prompt=spec.prompt,
        pictures=pictures,
        fields=facts_of(spec, seen.job.cost, texts) if isinstance(spec, ImageSpec) else (),
        data={"generation_id": made.id, "answer": made.text, "kept_of": made.job_id},
    )

"""What a moderator's front end asks of the core besides presses: queue, card, reveal, figures."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.case_card import case_card
from bot.core.reply import Reply
from bot.core.services import Services
from bot.core.texts import Texts
from storage import audit, cases, credits, review, review_views
from storage.allowance import DAY_MS
from storage.errors import LimitReached, NotAllowed, NotFound
from storage.models import Act, Case, Decision, Entry
from storage.review_views import Line, RoomMetrics, slider
from storage.review_words import Ruling
from storage.schema import CaseStatus, Role, role_at_least
from storage.workspaces import Actor, account_of

WINDOW_DAYS = 30


def may_review(actor: Actor) -> None:
    """Raises ``NotAllowed('moderators_only')``."""
    if not role_at_least(actor.member.role, Role.MODERATOR):
        raise NotAllowed("moderators_only")


async def waiting(
    services: Services,
    actor: Actor,
    *,
    code: str = "",
    statuses: Sequence[CaseStatus] = review_views.WAITING,
    limit: int = 100,
) -> list[Case]:
    """The queue, most urgent first."""
    may_review(actor)
    return await services.database.look(
        review_views.queue, actor.workspace.id, code=code, statuses=statuses, limit=limit
    )


async def show_case(services: Services, actor: Actor, case_id: str, texts: Texts) -> Reply:
    """A case's card as it is now; claims nothing."""
    may_review(actor)
    now = services.clock()
    seen = await services.database.look(
        review_views.view, case_id[:64], workspace_id=actor.workspace.id, now=now
    )
    return case_card(seen, texts, now=now)


async def reveal(services: Services, actor: Actor, case_id: str, texts: Texts) -> str | None:
    """The blob of a held picture, and a line in the audit log; None when it is sealed or gone."""
    card = await show_case(services, actor, case_id, texts)
    if not card.pictures or card.pictures[0].blob is None:
        return None
    await services.database.run(
        audit.write, actor.workspace.id, actor_id=actor.member.id, verb="reveal",
        target=case_id, now=services.clock(),
    )  # fmt: skip
    return card.pictures[0].blob


async def twins(services: Services, actor: Actor, case_id: str) -> list[Case]:
    """Waiting cases about exactly the same pixels."""
    may_review(actor)
    case = await services.database.look(review.find, case_id[:64], workspace_id=actor.workspace.id)
    return await services.database.look(review_views.twins, case)


async def digest_of_file(services: Services, actor: Actor, case_id: str) -> str:
    """SHA-256 of the stored file a case is about; empty for an answer, or when it is gone."""
    case = await services.database.look(review.find, case_id[:64], workspace_id=actor.workspace.id)
    made = await services.database.look(
        cases.generation, case.generation_id, workspace_id=actor.workspace.id
    )
    if made.blob is None:
        return ""
    try:
        data = await asyncio.to_thread(services.blobs.get, made.blob)
    except NotFound:
        return ""
    return hashlib.sha256(data).hexdigest()


async def decide_alike(
    services: Services, actor: Actor, case_id: str, ruling: Ruling, *, code: str, note: str
) -> list[Decision]:
    """One ruling for a case and every waiting case about the same pixels; undone for 10 minutes.

    Cases that somebody else looks at are left to them.
    """
    made = []
    alike = await twins(services, actor, case_id)
    for one in (case_id, *(case.id for case in alike)):
        try:
            made.append(
                await services.database.run(
                    review.decide, actor, one, ruling, now=services.clock(), code=code,
                    note=note, bulk=True,
                    file_sha256=await digest_of_file(services, actor, one),
                )
            )  # fmt: skip
        except LimitReached:
            continue
    return made


@dataclass(frozen=True)
class Figures:
    """How well the room works, and how tiring it is."""

    room: RoomMetrics
    exposure: int
    """Pictures this moderator revealed in the last 24 hours."""


async def figures(services: Services, actor: Actor) -> Figures:
    """The last 30 days."""
    may_review(actor)
    now = services.clock()
    room = await services.database.look(
        review_views.metrics, actor.workspace.id, since=now - WINDOW_DAYS * DAY_MS, now=now
    )
    seen = await services.database.look(
        review_views.exposure, actor.workspace.id, actor.member.id, now - DAY_MS
    )
    return Figures(room=room, exposure=seen)


async def thresholds(services: Services, actor: Actor, stage: str, code: str) -> list[Line]:
    """What each threshold would have done to the decided findings of one stage and code."""
    may_review(actor)
    now = services.clock()
    decided = await services.database.look(
        review_views.outcomes, actor.workspace.id, now - WINDOW_DAYS * DAY_MS, now + 1
    )
    return slider([(case.verdict, right) for case, _, right in decided], stage, code)


async def acts(services: Services, actor: Actor, *, limit: int = 200) -> list[Act]:
    """The newest lines of the audit log."""
    may_review(actor)
    return await services.database.look(audit.lines, actor.workspace.id, limit=limit)


async def ledger_lines(
    services: Services, actor: Actor, *, kind: str = "", limit: int = 10_000
) -> tuple[str, list[Entry]]:
    """A member's account and all its lines, newest first."""
    account = account_of(actor.member)
    return account, await services.database.look(credits.entries, account, kind=kind, limit=limit)

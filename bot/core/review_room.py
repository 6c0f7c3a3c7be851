"""What a moderator's front end asks of the core besides presses: queue, card, reveal, figures."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from bot.core.case_card import Mark, case_card, shown_prompt, wants_translation
from bot.core.reply import Reply
from bot.core.services import Services
from bot.core.texts import Texts
from moderation.build import listed_words
from moderation.lists import lists_of
from storage import (
    audit,
    credits,
    review_blind,
    review_figures,
    review_queue,
    review_views,
    translations,
)
from storage.allowance import DAY_MS
from storage.errors import NotAllowed, NotFound
from storage.models import Act, Case, Entry
from storage.precision import Line, slider
from storage.review_figures import RoomMetrics
from storage.review_queue import QueueFilter, Waiting
from storage.review_views import CaseView
from storage.review_words import HOUR_MS, ReviewRules, is_sealed, ruled_sealed
from storage.rules import rules_of
from storage.schema import JobKind, Role, role_at_least
from storage.workspaces import Actor, account_of

WINDOW_DAYS = 30


def may_review(actor: Actor) -> None:
    """Raises ``NotAllowed('moderators_only')``."""
    if not role_at_least(actor.member.role, Role.MODERATOR):
        raise NotAllowed("moderators_only")


async def waiting(
    services: Services, actor: Actor, *, wanted: QueueFilter = QueueFilter(), limit: int = 100
) -> list[Waiting]:
    """The queue, most urgent first."""
    may_review(actor)
    return await services.database.look(
        review_queue.queue, actor.workspace.id, wanted=wanted, now=services.clock(), limit=limit
    )


async def second_looks(services: Services, actor: Actor) -> list[Case]:
    """Decided cases that wait for this moderator's blind second look."""
    may_review(actor)
    return await services.database.look(review_blind.waiting, actor, now=services.clock())


async def show_case(
    services: Services, actor: Actor, case_id: str, texts: Texts, *, blind: bool = False
) -> Reply:
    """A case's card as it is now; claims nothing, and asks for a translation where one helps."""
    may_review(actor)
    seen = await _seen(services, actor, case_id)
    if not blind and translates(services) and wants_translation(seen, texts.locale):
        await services.database.run(
            translations.want, seen.case.id, texts.locale, workspace_id=actor.workspace.id,
            now=services.clock(),
        )  # fmt: skip
    return await drawn(
        services, seen, texts, lists_in=actor.workspace.settings, blind=blind,
        steal=bool(seen.holder) and seen.case.claimed_by != actor.member.id and may_steal(actor),
    )  # fmt: skip


def may_steal(actor: Actor) -> bool:
    """Whether somebody may take a lock over: admins."""
    return role_at_least(actor.member.role, Role.ADMIN)


async def _seen(services: Services, actor: Actor, case_id: str) -> CaseView:
    return await services.database.look(
        review_views.view, case_id[:64], workspace_id=actor.workspace.id, now=services.clock(),
        file_sha256=await digest_of_file(services, actor.workspace.id, case_id),
    )  # fmt: skip


async def drawn(
    services: Services,
    seen: CaseView,
    texts: Texts,
    *,
    lists_in: dict[str, object],
    blind: bool = False,
    steal: bool = False,
) -> Reply:
    """The card of what was read, with the listed words of its prompt marked."""
    marks: list[Mark] = []
    if not is_sealed(seen.case.verdict):
        found = await asyncio.to_thread(listed_words, shown_prompt(seen), lists_of(lists_in))
        marks = [Mark(start, end) for start, end in found]
    return case_card(
        seen, texts, now=services.clock(), marks=marks, blind=blind, steal=steal,
        translates=translates(services),
    )  # fmt: skip


def translates(services: Services) -> bool:
    """Whether the chat model reads more than one language. What one that does not would write
    under the label of a translation is made up, and a moderator would decide by it."""
    return len(services.registry.default(JobKind.CHAT).languages) > 1


async def reveal(services: Services, actor: Actor, case_id: str) -> str | None:
    """The blob of a held picture, and a line in the audit log; None when it is sealed or gone."""
    may_review(actor)
    case, blob = await _picture(services, actor, case_id)
    if blob is None:
        return None
    await services.database.run(
        audit.write, actor.workspace.id, actor_id=actor.member.id, verb="reveal",
        target=case.id, now=services.clock(),
    )  # fmt: skip
    return blob


async def veiled(services: Services, actor: Actor, case_id: str) -> str | None:
    """The blob of a case's picture, to be veiled by whoever shows it; None as :func:`reveal`."""
    may_review(actor)
    return (await _picture(services, actor, case_id))[1]


async def _picture(services: Services, actor: Actor, case_id: str) -> tuple[Case, str | None]:
    case, made = await services.database.look(
        review_views.subject, case_id[:64], workspace_id=actor.workspace.id
    )
    if made.blob is None or is_sealed(case.verdict):
        return case, None
    ruled = await services.database.look(review_views.ruled_about, made)
    return case, None if ruled_sealed(ruled) else made.blob


async def digest_of_file(services: Services, workspace_id: str, case_id: str) -> str:
    """SHA-256 of the stored file a case is about; empty for an answer, or when it is gone."""
    _, made = await services.database.look(
        review_views.subject, case_id[:64], workspace_id=workspace_id
    )
    blob = made.blob
    if blob is None:
        return ""
    known = _digests.get(blob)
    if known is None:
        try:
            data = await asyncio.to_thread(services.blobs.get, blob)
        except NotFound:
            return ""
        known = hashlib.sha256(data).hexdigest()
        while len(_digests) >= _DIGESTS_KEPT:
            _digests.pop(next(iter(_digests)))
        _digests[blob] = known
    return known


_digests: dict[str, str] = {}
"""Blob to digest: a blob's content never changes, and a case is looked at before it is decided."""
_DIGESTS_KEPT = 2000


@dataclass(frozen=True)
class Exposure:
    """How many held pictures a moderator revealed, and whether a break would be good."""

    hour: int
    day: int
    rest: bool


async def exposure(services: Services, actor: Actor) -> Exposure:
    """A moderator's own, now."""
    may_review(actor)
    rules: ReviewRules = rules_of(actor.workspace.settings).review
    now = services.clock()
    hour, day = [
        await services.database.look(
            review_figures.exposure, actor.workspace.id, actor.member.id, now - length
        )
        for length in (HOUR_MS, DAY_MS)
    ]
    return Exposure(hour, day, hour >= rules.rest_hourly or day >= rules.rest_daily)


@dataclass(frozen=True)
class Figures:
    """How well the room works, and how tiring it is."""

    room: RoomMetrics
    exposure: Exposure


async def figures(services: Services, actor: Actor) -> Figures:
    """The last 30 days."""
    may_review(actor)
    now = services.clock()
    room = await services.database.look(
        review_figures.metrics, actor.workspace.id, since=now - WINDOW_DAYS * DAY_MS, now=now
    )
    return Figures(room=room, exposure=await exposure(services, actor))


async def thresholds(services: Services, actor: Actor, stage: str, code: str) -> list[Line]:
    """What each threshold would have done to the decided findings of one stage and code."""
    may_review(actor)
    now = services.clock()
    decided = await services.database.look(
        review_figures.outcomes, actor.workspace.id, now - WINDOW_DAYS * DAY_MS, now + 1
    )
    return slider([outcome.findings() for outcome in decided], stage, code)


async def acts(services: Services, actor: Actor, *, limit: int = 200) -> list[Act]:
    """The newest lines of the audit log."""
    may_review(actor)
    return await services.database.look(audit.lines, actor.workspace.id, limit=limit)


async def names(services: Services, actor: Actor, lines: list[Act]) -> dict[str, str]:
    """What those who act in some lines are called, by member id."""
    may_review(actor)
    people = {line.actor_id for line in lines if line.actor_id}
    return await services.database.look(audit.names, actor.workspace.id, people)


async def ledger_lines(
    services: Services, actor: Actor, *, kind: str = "", limit: int = 10_000
) -> tuple[str, list[Entry]]:
    """A member's account and all its lines, newest first."""
    account = account_of(actor.member)
    return account, await services.database.look(credits.entries, account, kind=kind, limit=limit)

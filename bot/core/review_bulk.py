"""One ruling for many cases: what was shown to the moderator, nothing more, undone for ten minutes.

Left to be decided one by one: sealed and intimate reports, appeals, escalated cases for who is no
admin, and whatever somebody else looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bot.core.review_room import digest_of_file, may_review
from bot.core.services import Services
from storage import review, review_queue, review_undo
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.models import Case
from storage.review_queue import QueueFilter
from storage.review_words import FINAL, FIRST, Ruling, is_sealed
from storage.schema import CaseStatus, Role, Verdict, new_id, role_at_least
from storage.workspaces import Actor

MOST = 200
"""Cases of one bulk act."""
RULINGS = frozenset(FINAL - {Ruling.BAN})
"""What may be done to many at once: nobody is banned in passing."""


@dataclass(frozen=True)
class Preview:
    """What a bulk act would decide, before it is confirmed."""

    ids: tuple[str, ...]
    codes: tuple[tuple[str, int], ...]
    """How many of each code, most first; an empty code for reports without findings."""
    members: int
    left_out: int
    """Waiting under this filter, but not to be decided in bulk."""


async def preview(services: Services, actor: Actor, wanted: QueueFilter) -> Preview:
    """The cases under a filter that one ruling could serve."""
    may_review(actor)
    found = await services.database.look(
        review_queue.queue, actor.workspace.id, wanted=wanted, now=services.clock(), limit=MOST
    )
    fit = [one.case for one in found if not one.holder and _fits(one.case, actor)]
    return _preview(fit, len(found) - len(fit))


async def preview_alike(services: Services, actor: Actor, case_id: str) -> Preview:
    """A case and the waiting ones about exactly the same pixels."""
    may_review(actor)
    case = await services.database.look(review.find, case_id[:64], workspace_id=actor.workspace.id)
    found = [case, *await services.database.look(review_queue.twins, case)]
    fit = [one for one in found[:MOST] if _fits(one, actor)]
    return _preview(fit, len(found) - len(fit))


def _preview(fit: Sequence[Case], left_out: int) -> Preview:
    codes: Counter[str] = Counter()
    for case in fit:
        found = Verdict.parse(case.verdict).categories()
        codes[str(found[0]) if found else ""] += 1
    return Preview(
        ids=tuple(case.id for case in fit), codes=tuple(codes.most_common()),
        members=len({case.member_id for case in fit}), left_out=left_out,
    )  # fmt: skip


def _fits(case: Case, actor: Actor) -> bool:
    return (
        case.status in (CaseStatus.OPEN, CaseStatus.CLAIMED)
        and case.severity < FIRST
        and not is_sealed(case.verdict)
        and (not case.escalated or role_at_least(actor.member.role, Role.ADMIN))
    )


@dataclass(frozen=True)
class Bulk:
    """What a bulk act did."""

    batch: str
    """Names it, to take it back."""
    decided: int
    skipped: int
    """Held by somebody else, or decided meanwhile."""


async def decide_many(
    services: Services,
    actor: Actor,
    case_ids: Sequence[str],
    ruling: Ruling,
    *,
    code: str,
    note: str = "",
) -> Bulk:
    """Decide exactly these cases alike, each in a transaction of its own.

    ``code`` is the policy code of a ruling against somebody. Raises ``BadInput`` for a ruling that
    no bulk act makes, for too many cases, and what :func:`storage.review.decide` raises for a
    missing code; a case that cannot be decided is left and counted.
    """
    may_review(actor)
    if ruling not in RULINGS:
        raise BadInput("bulk_ruling")
    if not 0 < len(case_ids) <= MOST:
        raise BadInput("bulk_many", limit=MOST)
    batch, decided, skipped = new_id(), 0, 0
    for case_id in dict.fromkeys(case_ids):
        try:
            case = await services.database.look(
                review.find, case_id[:64], workspace_id=actor.workspace.id
            )
            if not _fits(case, actor):
                skipped += 1
                continue
            await services.database.run(
                review.decide, actor, case.id, ruling, now=services.clock(), code=code, note=note,
                batch=batch,
                file_sha256=await digest_of_file(services, actor.workspace.id, case.id),
            )  # fmt: skip
            decided += 1
        except (LimitReached, NotAllowed, NotFound):
            skipped += 1
    await services.wire.wake()
    return Bulk(batch=batch, decided=decided, skipped=skipped)


async def undo_many(services: Services, actor: Actor, batch: str) -> int:
    """Take one's own bulk act back within ten minutes; returns how many cases wait again."""
    may_review(actor)
    back = await services.database.run(
        review_undo.undo_batch, actor, batch[:64], now=services.clock()
    )
    await services.wire.wake()
    return back

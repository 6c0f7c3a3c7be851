"""Credits between people and by hand: gifts, an admin's corrections, codes. All through the ledger.

Every act has a key of its own (the invocation that asked for it), so that the same invocation
delivered twice moves credits once. Refusals raise before anything is written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import func, update
from sqlalchemy import select as select_columns
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage import ledger
from storage.allowance import day_of, next_month, pots_of
from storage.errors import BadInput, LimitReached, NotAllowed, NotFound
from storage.ledger import Balance, changed
from storage.linking import identities
from storage.models import Entry, Member, PromoCode, Tier, TierGrant, Workspace
from storage.pots import Pots
from storage.rules import Rules, rules_of
from storage.schema import Millis, Role, role_at_least
from storage.tenant import Across, across
from storage.tiers import tailored
from storage.workspaces import Actor, account_of, holder_id

_CODE = re.compile(r"[A-Z0-9-]{4,32}")


@dataclass(frozen=True)
class Statement:
    """What `/credits` shows: balance, what it is made of, when more comes, the last entries."""

    balance: Balance
    pots: Pots
    next_grant_at: Millis
    monthly: int
    """What comes then, by the tier of whoever holds the account."""
    entries: tuple[Entry, ...]
    account: str


def statement(session: Session, actor: Actor, *, now: Millis, last: int = 20) -> Statement:
    """A member's account as of now, with the ``last`` entries, newest first."""
    account = account_of(actor.member)
    zone, monthly = _calendar(session, actor)
    return Statement(
        balance=ledger.balance(session, account),
        pots=pots_of(session, account),
        next_grant_at=next_month(now, zone),
        monthly=monthly,
        entries=tuple(entries(session, account, limit=last)),
        account=account,
    )


@across(Across.PERSON)
def _calendar(session: Session, actor: Actor) -> tuple[str, int]:
    """The time zone and the tier's credits that an account follows: those of the place where it
    is, which for joined accounts is another one (as :func:`storage.workspaces.enrol` grants)."""
    if actor.member.linked_to is None:
        return rules_of(actor.workspace.settings).credits.timezone, actor.tier.monthly_credits
    holder = session.get_one(Member, actor.member.linked_to)
    rules = rules_of(session.get_one(Workspace, holder.workspace_id).settings)
    tier = tailored(session.get_one(Tier, holder.tier_id), rules)
    return rules.credits.timezone, tier.monthly_credits


def entries(
    session: Session, account: str, *, kind: str = "", limit: int = 100, before: str | None = None
) -> list[Entry]:
    """An account's ledger lines, newest first; of one ``kind``; older than entry ``before``."""
    query = (
        select(Entry)
        .where((col(Entry.debit) == account) | (col(Entry.credit) == account))
        .order_by(col(Entry.at).desc(), col(Entry.id).desc())
        .limit(limit)
    )
    if kind:
        query = query.where(Entry.kind == kind)
    if before is not None:
        query = query.where(col(Entry.id) < before)
    return list(session.exec(query))


def find_member(session: Session, workspace_id: str, wanted: str) -> Member:
    """A member of this workspace by the platform's id, our id, a mention or the exact name.

    Raises ``NotFound('member_unknown')``, and ``BadInput('member_ambiguous')`` when several have
    that name.
    """
    match = re.fullmatch(r"<@!?([A-Za-z0-9]+)(?:\|[^>]*)?>", wanted.strip())
    name = match[1] if match else wanted.strip().removeprefix("@")
    for column in (Member.external_id, Member.id):
        found = session.exec(
            select(Member).where(Member.workspace_id == workspace_id, column == name)
        ).first()
        if found is not None:
            return found
    named = session.exec(
        select(Member).where(Member.workspace_id == workspace_id, Member.name == name).limit(2)
    ).all()
    if len(named) > 1:
        raise BadInput("member_ambiguous", name=name[:40])
    if not named:
        raise NotFound("member_unknown", name=name[:40])
    return named[0]


def given_today(session: Session, account: str, rules: Rules, now: Millis) -> int:
    """Credits an account gave away since the workspace's last midnight."""
    zone = rules.credits.timezone
    rows = session.exec(
        select(Entry).where(
            Entry.debit == account, Entry.kind == "gift", col(Entry.at) > now - 2 * 86_400_000
        )
    )
    return sum(row.amount for row in rows if day_of(row.at, zone) == day_of(now, zone))


@across(Across.PERSON)
def _lock_person(session: Session, member: Member) -> None:
    """Whatever else this person does with credits, in whichever place, comes before or after."""
    session.exec(select(Member.id).where(Member.id == holder_id(member)).with_for_update())


def gift(
    session: Session, actor: Actor, target: Member, amount: int, *, key: str, now: Millis
) -> bool:
    """Give ``amount`` of one's own credits to another member, once per ``key``.

    Raises ``BadInput`` (``gift_self``, ``gift_amount``), ``LimitReached`` (``gift_off``,
    ``gift_day`` over the day's cap, ``credits_short``).
    """
    rules = rules_of(actor.workspace.settings)
    source, account = account_of(actor.member), account_of(target)
    if source == account:
        raise BadInput("gift_self")
    if amount < 1:
        raise BadInput("gift_amount")
    cap = rules.limits.gift_per_day
    if cap == 0:
        raise LimitReached("gift_off")
    # Before the day's sum is read: two gifts at once count each other.
    _lock_person(session, actor.member)
    full = f"gift:{actor.workspace.id}:{key}"
    given = given_today(session, source, rules, now)
    if not ledger.has_entry(session, full) and given + amount > cap:
        raise LimitReached("gift_day", limit=cap, left=max(0, cap - given))
    return ledger.transfer(
        session, source, account, amount, key=full, kind="gift", now=now,
        reason=f"{actor.member.id} to {target.id}",
    )  # fmt: skip


def adjust(
    session: Session, actor: Actor, target: Member, amount: int, *, reason: str, key: str,
    now: Millis,
) -> bool:  # fmt: skip
    """An admin gives (``amount`` > 0) or takes (< 0) credits, with a reason, once per ``key``.

    Raises ``NotAllowed('admins_only')``, ``BadInput('reason_missing')`` or
    ``LimitReached('credits_short')`` when the member has less to take.
    """
    if not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    if not reason.strip():
        raise BadInput("reason_missing")
    if amount == 0:
        raise BadInput("gift_amount")
    account, full = account_of(target), f"adjust:{actor.workspace.id}:{key}"
    said = f"{reason.strip()[:200]} (by {actor.member.id})"
    if amount > 0:
        return ledger.grant(session, account, amount, key=full, now=now, reason=said)
    return ledger.transfer(
        session, account, ledger.REVENUE, -amount, key=full, kind="deduct", now=now, reason=said
    )


def give_tier(
    session: Session, actor: Actor, target: Member, tier: str, *, reason: str, now: Millis,
    until: Millis | None = None,
) -> None:  # fmt: skip
    """An admin's grant of a tier; an empty name takes the last one back.

    Raises ``NotAllowed('admins_only')`` or ``NotFound('tier_unknown')``.
    """
    if not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    if tier and session.get(Tier, tier) is None:
        known = ", ".join(sorted(session.exec(select(Tier.id))))
        raise NotFound("tier_unknown", tier=tier[:40], known=known)
    session.execute(
        update(TierGrant)
        .where(col(TierGrant.member_id) == target.id, col(TierGrant.ended_at).is_(None))
        .values(ended_at=now)
    )
    if tier:
        session.add(
            TierGrant(
                workspace_id=target.workspace_id, member_id=target.id, tier_id=tier,
                by=actor.member.id, reason=reason[:200], until=until, created_at=now,
            )
        )  # fmt: skip
    session.flush()


def make_code(
    session: Session, actor: Actor, code: str, credits: int, *, uses: int, now: Millis,
    expires_at: Millis | None = None,
) -> PromoCode:  # fmt: skip
    """An admin's new code. Raises ``NotAllowed``, ``BadInput('code_shape' | 'code_taken')``."""
    if not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    code = code.strip().upper()
    if not _CODE.fullmatch(code) or credits < 1 or uses < 1:
        raise BadInput("code_shape")
    taken = session.exec(
        select(PromoCode.id).where(
            PromoCode.workspace_id == actor.workspace.id, PromoCode.code == code
        )
    ).first()
    if taken is not None:
        raise BadInput("code_taken", name=code)
    made = PromoCode(
        workspace_id=actor.workspace.id, code=code, credits=credits, max_uses=uses,
        expires_at=expires_at, by=actor.member.id, created_at=now,
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(made)
            session.flush()
    except IntegrityError as error:  # another admin made it in the same instant
        raise BadInput("code_taken", name=code) from error
    return made


def redeem(session: Session, actor: Actor, code: str, *, now: Millis) -> int:
    """Credits for a code, once per member and person; returns how many.

    The entry's key names the member and not the account: whoever joins another account, or goes
    separate ways again, has used the code all the same.

    Raises ``NotFound('code_unknown')`` (never made, expired, of another workspace: all the same)
    and ``LimitReached`` (``code_used`` by this member, ``code_empty``).
    """
    found = session.exec(
        select(PromoCode).where(
            PromoCode.workspace_id == actor.workspace.id, PromoCode.code == code.strip().upper()
        )
    ).first()
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        raise NotFound("code_unknown")
    _lock_person(session, actor.member)
    people = {actor.member.id, *(person.id for person in identities(session, actor.member))}
    if any(ledger.has_entry(session, f"promo:{found.id}:{person}") for person in people):
        raise LimitReached("code_used")
    used = changed(
        session,
        update(PromoCode)
        .where(col(PromoCode.id) == found.id, col(PromoCode.uses) < col(PromoCode.max_uses))
        .values(uses=col(PromoCode.uses) + 1)
        .execution_options(synchronize_session=False),
    )
    if not used:
        raise LimitReached("code_empty")
    given = ledger.grant(
        session, account_of(actor.member), found.credits,
        key=f"promo:{found.id}:{actor.member.id}", now=now, reason=f"code {found.code}",
        kind="promo",
    )  # fmt: skip
    if not given:
        # The same member twice in one instant: the other one has it, and this use goes back.
        raise LimitReached("code_used")
    return found.credits


def total_by_kind(session: Session) -> dict[str, int]:
    """Credits ever moved, by kind of entry."""
    rows = session.execute(
        select_columns(col(Entry.kind), func.sum(col(Entry.amount))).group_by(col(Entry.kind))
    )
    return {kind: int(total) for kind, total in rows}

"""One person, several platforms: accounts joined by a one-time code.

Whoever enters the code says: I am also the one who asked for it. The two members keep their
workspaces, roles and limits; balance and history become one. The code is shown once, lives ten
minutes, works once, and only its hash is stored.
"""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage import ledger
from storage.allowance import pots_of
from storage.errors import BadInput, LimitReached, NotFound, RetryLater
from storage.ledger import changed
from storage.models import LinkCode, Member, Reservation
from storage.schema import Millis
from storage.tenant import Across, across
from storage.workspaces import Actor, holder_id

LIFE_MS = 600_000
_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without what looks alike on a phone (I, L, O, 0, 1)."""


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def ask_code(session: Session, actor: Actor, *, now: Millis) -> str:
    """A fresh code for this member, ``XXXX-XXXX``: about 39 bits, good for ten minutes."""
    raw = "".join(secrets.choice(_LETTERS) for _ in range(8))
    session.add(LinkCode(id=_hash(raw), member_id=actor.member.id, expires_at=now + LIFE_MS))
    session.flush()
    return f"{raw[:4]}-{raw[4:]}"


@across(Across.PERSON)
def enter_code(session: Session, actor: Actor, code: str, *, now: Millis) -> Member:
    """Join this member to whoever asked for the code; returns the member whose account it is.

    Raises ``NotFound('link_code_unknown')`` (wrong, used or too old: all the same),
    ``BadInput('link_self')`` and ``LimitReached('link_busy')`` while jobs hold credits.
    """
    cleaned = "".join(ch for ch in code.upper() if ch.isalnum())
    used = changed(
        session,
        update(LinkCode)
        .where(
            col(LinkCode.id) == _hash(cleaned),
            col(LinkCode.used_at).is_(None),
            col(LinkCode.expires_at) > now,
        )
        .values(used_at=now)
        .execution_options(synchronize_session=False),
    )
    if not used:
        raise NotFound("link_code_unknown")
    asked = session.get_one(LinkCode, _hash(cleaned), populate_existing=True)
    holder, joining = _locked(session, asked.member_id, actor.member.id)
    if holder.id == joining.id:
        raise BadInput("link_self")
    source, target = ledger.member_account(joining.id), ledger.member_account(holder.id)
    held = session.exec(
        select(Reservation.job_id).where(
            Reservation.account_id == source, Reservation.state == "held"
        )
    ).first()
    if held is not None:
        raise LimitReached("link_busy")
    _bring(session, source, target, f"{joining.id}:{asked.id[:16]}", now)
    # Everyone already joined to the one who joins comes along: links never form a chain.
    session.execute(
        update(Member)
        .where((col(Member.id) == joining.id) | (col(Member.linked_to) == joining.id))
        .values(linked_to=holder.id)
    )
    session.flush()
    return holder


def _bring(session: Session, source: str, target: str, key: str, now: Millis) -> None:
    """Move what can be spent, each part as what it is: a month's credits do not last longer
    because accounts are joined."""
    left, held = ledger.balance(session, source).available, pots_of(session, source)
    for prefix, amount in (("day:", held.daily), ("month:", held.monthly), ("", held.lasting)):
        amount = min(amount, left)
        left -= amount
        if amount > 0:
            ledger.transfer(
                session, source, target, amount, key=f"link:{prefix}{key}", kind="link", now=now,
                reason="accounts joined",
            )  # fmt: skip


def _locked(session: Session, asked: str, enters: str) -> tuple[Member, Member]:
    """The account's holder and the one who joins, with everybody who comes along, all locked.

    Two who enter each other's code at once would else join in a ring, and a job of somebody who
    comes along could still reserve from the account that is left. Raises ``RetryLater`` when the
    links changed while we waited.
    """

    def holders() -> tuple[str, str]:
        first, second = (
            holder_id(session.get_one(Member, one, populate_existing=True))
            for one in (asked, enters)
        )
        return first, second

    before = holders()
    session.exec(
        select(Member.id)
        .where(col(Member.id).in_(before) | (col(Member.linked_to) == before[1]))
        .order_by(col(Member.id))
        .with_for_update(key_share=True)
    ).all()
    if holders() != before:
        raise RetryLater("accounts were joined or parted meanwhile")
    holder, joining = (session.get_one(Member, one, populate_existing=True) for one in before)
    return holder, joining


@across(Across.PERSON)
def unlink(session: Session, actor: Actor) -> bool:
    """Go separate ways; the balance stays where the account is. False when nothing was linked.

    Said by the account's holder, everybody who joined goes: whoever entered a code that was not
    meant for them can be shown the door.
    """
    me = col(Member.id) == actor.member.id
    return bool(
        changed(
            session,
            update(Member)
            .where(
                me & col(Member.linked_to).is_not(None) | (col(Member.linked_to) == actor.member.id)
            )
            .values(linked_to=None)
            .execution_options(synchronize_session=False),
        )
    )


@across(Across.PERSON)
def identities(session: Session, member: Member) -> list[Member]:
    """Every member that is this same person, the account's holder first."""
    holder = holder_id(member)
    rows = session.exec(
        select(Member)
        .where((col(Member.id) == holder) | (col(Member.linked_to) == holder))
        .order_by(col(Member.id))
    ).all()
    return sorted(rows, key=lambda row: row.id != holder)

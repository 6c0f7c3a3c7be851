"""The audit log: who did what to what, in order, in a chain that shows a missing or changed line.

Append-only by trigger, hash-chained by content: a line's digest covers the line before it, so
that whoever edits the database directly has to rewrite everything after, and the last digest,
kept elsewhere (an export, a moderator's note), gives them away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlmodel import Session, col, select

from storage.models import Act, Member, Workspace
from storage.schema import Millis

ROOT = "0" * 64
"""What the first line of a workspace points to."""


def digest_of(act: Act) -> str:
    """The digest a line must have: SHA-256 of its canonical JSON."""
    content = {
        "workspace": act.workspace_id, "number": act.number, "actor": act.actor_id,
        "verb": act.verb, "target": act.target, "before": act.before, "after": act.after,
        "at": act.at, "previous": act.previous,
    }  # fmt: skip
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def write(
    session: Session,
    workspace_id: str,
    *,
    actor_id: str | None,
    verb: str,
    target: str,
    now: Millis,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Act:
    """Add a line in the caller's transaction, next to the change it tells of.

    Locks the workspace's row, so that two lines never get one number. Its key is left to others:
    rows that point to it, as the one this line tells of may, hold that already, and two such
    transactions would wait for each other.
    """
    session.exec(
        select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    ).one()
    last = session.exec(
        select(Act)
        .where(Act.workspace_id == workspace_id)
        .order_by(col(Act.number).desc())
        .limit(1)
    ).first()
    act = Act(
        workspace_id=workspace_id, number=last.number + 1 if last else 1, actor_id=actor_id,
        verb=verb, target=target, before=dict(before or {}), after=dict(after or {}), at=now,
        previous=last.digest if last else ROOT, digest="",
    )  # fmt: skip
    act.digest = digest_of(act)
    session.add(act)
    session.flush()
    return act


def names(session: Session, workspace_id: str, members: Collection[str]) -> dict[str, str]:
    """What the people of some lines are called now, by member id."""
    found = session.exec(
        select(Member).where(
            col(Member.workspace_id) == workspace_id, col(Member.id).in_(set(members))
        )
    )
    return {member.id: member.name or member.external_id for member in found}


def lines(
    session: Session, workspace_id: str, *, limit: int = 100, before: int | None = None
) -> list[Act]:
    """The newest lines, newest first; ``before`` is the lowest number already shown."""
    query = (
        select(Act)
        .where(Act.workspace_id == workspace_id)
        .order_by(col(Act.number).desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(col(Act.number) < before)
    return list(session.exec(query))


def verify(session: Session, workspace_id: str | None = None) -> list[str]:
    """What is wrong with the chain, in words; empty when every line is where and what it was."""
    wrong: list[str] = []
    query = select(Act).order_by(col(Act.workspace_id), col(Act.number))
    if workspace_id is not None:
        query = query.where(Act.workspace_id == workspace_id)
    space, number, previous = "", 0, ROOT
    for act in session.exec(query):
        if act.workspace_id != space:
            space, number, previous = act.workspace_id, 0, ROOT
        number += 1
        where = f"{space} line {act.number}"
        if act.number != number:
            wrong.append(f"{where}: line {number} is missing")
            number = act.number
        if act.previous != previous:
            wrong.append(f"{where}: does not follow the line before")
        if act.digest != digest_of(act):
            wrong.append(f"{where}: was changed")
        previous = act.digest
    return wrong


def last_digests(session: Session) -> dict[str, str]:
    """The newest digest of each workspace's log, by workspace."""
    newest: dict[str, str] = {}
    for act in session.exec(select(Act).order_by(col(Act.workspace_id), col(Act.number))):
        newest[act.workspace_id] = act.digest
    return newest

"""Decision records and picture hashes: written when judging, read by rules and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from storage import audit
from storage.errors import NotFound
from storage.ledger import changed
from storage.models import DecisionRecord, Member, PictureHash, Workspace
from storage.schema import Millis, new_id
from storage.tenant import Across, across

DAY_MS = 86_400_000

KEPT_DAYS: Mapping[str, int] = {"allow": 7, "blur": 30, "hold": 30, "block": 90, "sealed": 365}
"""How long a record is kept; sealed ones as long as US law (the REPORT Act) asks."""

PROMPTS = ("prompt", "negative")
LOOK_BACK_MS = DAY_MS
"""How far back a member's earlier prompts count for the rules that look across them."""


def keep(session: Session, record: DecisionRecord) -> str:
    """Write a record; returns its id. ``expires_at`` follows from its outcome when it is zero.

    That something was sealed is a line in the workspace's audit log: never what, nor whose.
    """
    if not record.expires_at:
        kind = "sealed" if record.sealed else record.outcome
        record.expires_at = record.created_at + KEPT_DAYS.get(kind, 90) * DAY_MS
    session.add(record)
    session.flush()
    if record.sealed is not None:
        audit.write(
            session, record.workspace_id, actor_id=None, verb="seal", target=record.id,
            now=record.created_at, after={"surface": record.surface},
        )  # fmt: skip
    return record.id


def recent_prompts(
    session: Session, *, workspace_id: str, member_id: str, now: Millis, most: int = 3
) -> list[str]:
    """The texts of a member's last prompts and negative prompts in this workspace, newest first.

    ``most`` invocations: a prompt and its negative prompt count as one.
    """
    rows = session.exec(
        select(DecisionRecord)
        .where(
            DecisionRecord.member_id == member_id,
            DecisionRecord.workspace_id == workspace_id,
            col(DecisionRecord.surface).in_(PROMPTS),
            DecisionRecord.created_at >= now - LOOK_BACK_MS,
        )
        .order_by(col(DecisionRecord.id).desc())
        .limit(most * 2)
    ).all()
    keys: list[str] = []
    texts = []
    for row in rows:
        if row.key not in keys:
            keys.append(row.key)
        if len(keys) > most:
            break
        if row.text:
            texts.append(row.text)
    return texts


def last_decisions(
    session: Session, *, workspace_id: str, most: int = 1000
) -> list[DecisionRecord]:
    """The newest records of a workspace: for metrics and the back-test of a threshold."""
    return list(
        session.exec(
            select(DecisionRecord)
            .where(DecisionRecord.workspace_id == workspace_id)
            .order_by(col(DecisionRecord.id).desc())
            .limit(most)
        )
    )


def of_job(session: Session, *, workspace_id: str, job_id: str, key: str) -> list[DecisionRecord]:
    """Everything that was judged for a job: its prompts (by the invocation's key) and outputs."""
    return list(
        session.exec(
            select(DecisionRecord)
            .where(
                DecisionRecord.workspace_id == workspace_id,
                (col(DecisionRecord.job_id) == job_id) | (col(DecisionRecord.key) == key),
            )
            .order_by(col(DecisionRecord.id))
        )
    )


def sealed(session: Session) -> list[dict[str, Any]]:
    """What was sealed, oldest first, for the operator's duty to report: never the words."""
    rows = session.execute(
        select(DecisionRecord, Workspace, Member)
        .join(Workspace, col(Workspace.id) == col(DecisionRecord.workspace_id))
        .outerjoin(Member, col(Member.id) == col(DecisionRecord.member_id))
        .where(col(DecisionRecord.sealed).is_not(None))
        .order_by(col(DecisionRecord.id))
    ).all()
    return [
        {
            "id": record.id, "at": record.created_at, "until": record.expires_at,
            "surface": record.surface, "platform": str(space.platform),
            "workspace": space.external_id,
            "member": member.external_id if member is not None else None,
            "sha256": record.image_sha256, "pdq": record.image_hash,
        }
        for record, space, member in rows
    ]  # fmt: skip


def open_sealed(session: Session, record_id: str, *, now: Millis) -> str:
    """The encrypted words of one record, and a line in its workspace's audit log.

    Raises ``NotFound('record_unknown')``.
    """
    record = session.get(DecisionRecord, record_id)
    if record is None or record.sealed is None:
        raise NotFound("record_unknown")
    audit.write(
        session, record.workspace_id, actor_id=None, verb="open_sealed", target=record.id, now=now
    )
    return record.sealed


def purge(session: Session, *, now: Millis) -> int:
    """Delete what is past its time; returns how many records."""
    return changed(session, delete(DecisionRecord).where(col(DecisionRecord.expires_at) <= now))


def forget_member(session: Session, *, member_id: str) -> int:
    """Delete a member's records on request, except sealed ones, which the law wants kept."""
    return changed(
        session,
        delete(DecisionRecord).where(
            col(DecisionRecord.member_id) == member_id, col(DecisionRecord.sealed).is_(None)
        ),
    )


# -- Hashes ------------------------------------------------------------------------------------


def add_hash(
    session: Session,
    *,
    bank: str,
    pdq: str,
    quality: int,
    now: Millis,
    workspace_id: str | None = None,
    file_sha256: str | None = None,
    category: str = "",
) -> str:
    """Put a picture's hash into a bank (``made``, ``deny``, ``allow``); returns the row's id."""
    row = PictureHash(
        id=new_id(), workspace_id=workspace_id, bank=bank, pdq=pdq, quality=quality,
        created_at=now, file_sha256=file_sha256, category=category,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def bank(
    session: Session, banks: Sequence[str], *, workspace_id: str | None = None
) -> list[PictureHash]:
    """The hashes of these banks that apply to a workspace: its own and the studio's."""
    query = select(PictureHash).where(col(PictureHash.bank).in_(banks))
    if workspace_id is None:
        with across(Across.MADE):
            return list(session.exec(query))
    query = query.where(
        col(PictureHash.workspace_id).is_(None) | (col(PictureHash.workspace_id) == workspace_id)
    )
    return list(session.exec(query))


@across(Across.MADE)
def known_file(session: Session, file_sha256: str) -> bool:
    """Whether a file with these very bytes was made here."""
    return (
        session.exec(
            select(PictureHash.id).where(
                PictureHash.file_sha256 == file_sha256, PictureHash.bank == "made"
            )
        ).first()
        is not None
    )

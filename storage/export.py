"""Everything we hold about a person, as plain data they may take along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import or_
from sqlmodel import Session, col, select

from storage.linking import identities
from storage.models import (
    Appeal,
    Case,
    Decision,
    DecisionRecord,
    Entry,
    Favourite,
    Generation,
    Job,
    Member,
    Message,
    Report,
    SavedView,
    Strike,
    TierGrant,
    Workspace,
)
from storage.review_words import DISABLED
from storage.schema import CaseOrigin, GenerationStatus, JobKind, JobStatus, Millis
from storage.tenant import Across, across
from storage.workspaces import account_of

Row = TypeVar("Row", Strike, Appeal, Report, SavedView, DecisionRecord)
FORGOTTEN = "[forgotten]"
"""Stands where a person's words were, once they asked to be forgotten."""


@dataclass(frozen=True)
class Everything:
    """All we hold about a person, as plain data, and the blobs of their pictures."""

    data: dict[str, Any]
    blobs: tuple[str, ...]


@across(Across.PERSON)
def export(session: Session, member: Member, *, now: Millis) -> Everything:
    """Collect it, over all linked identities."""
    people = identities(session, member)
    ids = [person.id for person in people]
    jobs = session.exec(select(Job).where(col(Job.member_id).in_(ids)).order_by(col(Job.id))).all()
    made = made_by(session, ids)
    account = account_of(member)
    places = {
        row.id: row
        for row in session.exec(
            select(Workspace).where(col(Workspace.id).in_({p.workspace_id for p in people}))
        )
    }
    job_ids = [job.id for job in jobs]
    # An answer that a report hid, or that was denied, is in its conversation still.
    unseen = {item.job_id for item in made if item.status not in SHOWN}
    given = _given(jobs)
    return Everything(
        data={
            "exported_at": now,
            "identities": [
                {
                    "platform": str(places[person.workspace_id].platform),
                    "workspace": places[person.workspace_id].name,
                    "id": person.external_id, "name": person.name, "role": person.role,
                    "tier": person.tier_id, "since": person.created_at,
                    "timed_out_until": None
                    if person.banned_until == DISABLED else person.banned_until,
                    "disabled": person.banned_until == DISABLED,
                }
                for person in people
            ],
            "jobs": [
                {
                    "id": job.id, "kind": str(job.kind), "status": str(job.status),
                    "spec": _own(job.spec), "created_at": job.created_at,
                    "finished_at": job.finished_at, "credits": job.cost,
                }
                for job in jobs
            ],
            "generations": [
                {
                    "id": item.id, "job": item.job_id, "status": str(item.status),
                    "seed": item.seed,
                    # What is held is not handed out before a moderator has looked, and what was
                    # denied not at all; the recipe of an answer repeats it.
                    "recipe": item.recipe
                    if item.status in SHOWN or item.kind == JobKind.IMAGE else {},
                    "text": item.text if item.status in SHOWN else None,
                    "file": item.blob if item.status in SHOWN else None,
                    "sha256": item.sha256, "created_at": item.created_at,
                }
                for item in made
            ],
            "conversations": [
                {"thread": row.thread, "role": row.role, "text": row.text, "at": row.created_at}
                for row in messages_of(session, job_ids)
                if row.role == "user" or row.job_id not in unseen
            ],
            "favourites": list(
                session.exec(
                    select(Favourite.generation_id).where(col(Favourite.member_id).in_(ids))
                )
            ),
            "ledger": [
                {
                    "at": entry.at, "kind": entry.kind, "job": entry.job_id,
                    "credits": entry.amount if entry.credit == account else -entry.amount,
                    "reason": entry.reason if entry.kind != "gift" else "",
                }
                for entry in session.exec(
                    select(Entry)
                    .where(or_(col(Entry.debit) == account, col(Entry.credit) == account))
                    .order_by(col(Entry.at), col(Entry.id))
                )
            ],
            "tier_grants": [
                {"tier": row.tier_id, "at": row.created_at, "until": row.until}
                for row in session.exec(select(TierGrant).where(col(TierGrant.member_id).in_(ids)))
            ],
            "uploads": given,
            **_standing(session, ids),
        },
        blobs=(*(item.blob for item in made if item.blob and item.status in SHOWN), *given),
    )  # fmt: skip


def _own(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without what was said before: a question carries along answers, some of them held
    meanwhile, and in a shared thread what others asked."""
    return spec | {"turns": spec["turns"][-1:]} if "turns" in spec else spec


def _given(jobs: Sequence[Job]) -> list[str]:
    """Files of the pictures a person gave us, of jobs that went through: what was kept back by a
    filter is handed to nobody."""
    return sorted(
        {
            source["blob"]
            for job in jobs
            if job.status == JobStatus.SUCCEEDED
            for source in sources_of(job.spec)
            if not source.get("generation_id")
        }
    )


def _standing(session: Session, ids: Sequence[str]) -> dict[str, Any]:
    """What the review room holds about a person, what they said to it and what they reported: no
    scores, which tell how to pass, no words that are sealed, and not who reviewed."""

    def of(table: type[Row]) -> Sequence[Row]:
        rows = select(table).where(col(table.member_id).in_(ids)).order_by(col(table.id))
        return session.exec(rows).all()

    rulings = session.execute(
        select(Case, Decision)
        .join(Decision, col(Decision.case_id) == col(Case.id))
        .where(
            col(Case.member_id).in_(ids), col(Decision.blind).is_(False),
            col(Decision.proposed).is_(False), col(Decision.undone_at).is_(None),
        )
        .order_by(col(Decision.id))
    ).all()  # fmt: skip
    return {
        "strikes": [
            {"code": row.code, "weight": row.weight, "at": row.created_at,
             "until": row.expires_at, "taken_back_at": row.voided_at}
            for row in of(Strike)
        ],
        "rulings": [
            {"generation": case.generation_id, "action": ruling.action, "code": ruling.code,
             "note": ruling.note, "at": ruling.created_at,
             "by": "rule" if case.origin == CaseOrigin.REFUSED else "person",
             "policy": ruling.before.get("policy"), "case": case.id}
            for case, ruling in rulings
        ],
        "appeals": [
            {"case": row.case_id, "text": row.text, "at": row.created_at, "upheld": row.upheld,
             "answer": row.note, "decided_at": row.decided_at}
            for row in of(Appeal)
        ],
        "reports": [{"kind": row.kind or "rules", "at": row.created_at} for row in of(Report)],
        "judged": [
            {"surface": row.surface, "text": row.text, "outcome": row.outcome,
             "statement": row.statement, "at": row.created_at, "until": row.expires_at}
            for row in of(DecisionRecord)
            if row.surface in _TYPED
        ],
        "saved_views": [{"name": row.name, "filters": row.filters} for row in of(SavedView)],
    }  # fmt: skip


_TYPED = ("prompt", "negative", "name")
SHOWN = (GenerationStatus.VISIBLE, GenerationStatus.BLURRED)


def made_by(session: Session, member_ids: Sequence[str]) -> list[Generation]:
    """Every generation of these members, oldest first."""
    return list(
        session.exec(
            select(Generation)
            .join(Job, col(Job.id) == col(Generation.job_id))
            .where(col(Job.member_id).in_(member_ids))
            .order_by(col(Generation.id))
        )
    )


def messages_of(session: Session, job_ids: Sequence[str]) -> list[Message]:
    """What conversations remember of these jobs, oldest first."""
    found: list[Message] = []
    for start in range(0, len(job_ids), 500):
        found += session.exec(
            select(Message)
            .where(col(Message.job_id).in_(job_ids[start : start + 500]))
            .order_by(col(Message.id))
        )
    return found


def sources_of(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pictures a stored spec starts from and still points to."""
    control = spec.get("control") or {}
    places = [spec.get("start"), spec.get("mask"), spec.get("reference"), control.get("source")]
    return [
        source
        for source in (*places, *(spec.get("blend") or ()), *(spec.get("images") or ()))
        if isinstance(source, dict) and source.get("blob") not in (None, FORGOTTEN)
    ]

"""What moderators decided about words, kept as labels, and the heads a workspace learnt from them.

Labels are made only where a workspace switched learning on, only of what was typed into a command
and of our own answers (never of a chat message, which Discord's developer policy keeps from
training), and never of sealed content. Everything here is the workspace's own: its rows are fenced
like all others, end when it switches learning off, and a member who asks to be forgotten takes
their labels and every head that learnt from them along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from storage import decisions
from storage.ledger import changed
from storage.models import (
    Appeal,
    Case,
    Decision,
    DecisionRecord,
    Job,
    LearnedHead,
    LearnedLabel,
    Workspace,
)
from storage.review_words import AGAINST, BULK_UNDO_MS, FINAL, Ruling
from storage.rules import rules_of
from storage.schema import CaseOrigin, CaseStatus, Category, Millis, Outcome

KEPT_MS = 365 * decisions.DAY_MS
"""How long a label counts: what moderators thought a year ago may not be what they think now."""
MOST = 20_000
"""Labels of one workspace that are kept, the newest ones."""
_NEVER = frozenset({Category.CSAE, Category.FAULT})
_TYPED = ("prompt", "answer")
_OVER = (CaseStatus.DECIDED, CaseStatus.CLOSED)


def wanting(session: Session) -> list[Workspace]:
    """The workspaces that switched learning on."""
    return [w for w in session.exec(select(Workspace)) if rules_of(w.settings).learning.on]


def gather(session: Session, *, workspace_id: str, now: Millis) -> int:
    """Bring the labels in line with what is decided now; returns how many there are.

    A ruling that may still be undone waits; one that was taken back or overturned changes its
    labels. Text comes from decision records, so what has expired there is not found any more, and
    labels made before it expired stay.
    """
    cases = session.exec(
        select(Case)
        .where(Case.workspace_id == workspace_id, col(Case.created_at) >= now - KEPT_MS)
        .order_by(col(Case.id))
    ).all()
    known = {
        row.record_id: row
        for row in session.exec(
            select(LearnedLabel).where(LearnedLabel.workspace_id == workspace_id)
        )
    }
    spoken: dict[str, dict[str, int]] = {}
    for case in cases:
        said = _said(session, case, now=now)
        mine = [row for row in known.values() if row.case_id == case.id]
        if said is None or said.code in _NEVER:
            for row in mine:
                session.delete(row)
                del known[row.record_id]
            continue
        found = _texts(session, case, said)
        for record, codes in found:
            spoken[record.id] = {**spoken.get(record.id, {}), **codes}
            if record.id not in known:
                known[record.id] = LearnedLabel(
                    workspace_id=workspace_id, member_id=case.member_id, case_id=case.id,
                    record_id=record.id, surface=record.surface, text=record.text, codes=codes,
                    created_at=record.created_at,
                )  # fmt: skip
        gone = {row.record_id for row in mine} - {record.id for record, _ in found}
        for row in mine:
            if row.record_id in gone:
                # Its record has expired; what is said about the case now counts all the same.
                spoken.setdefault(row.record_id, _again(row.codes, said))
    for record_id, codes in spoken.items():
        label = known.get(record_id)
        if label is not None:
            if label.codes != codes:
                label.codes = codes
            session.add(label)
    session.flush()
    _expire(session, workspace_id=workspace_id, now=now)
    return count(session, workspace_id=workspace_id)


def _expire(session: Session, *, workspace_id: str, now: Millis) -> None:
    session.execute(
        delete(LearnedLabel).where(
            col(LearnedLabel.workspace_id) == workspace_id,
            col(LearnedLabel.created_at) < now - KEPT_MS,
        )
    )
    over = count(session, workspace_id=workspace_id) - MOST
    if over > 0:
        oldest = session.exec(
            select(LearnedLabel.id)
            .where(LearnedLabel.workspace_id == workspace_id)
            .order_by(col(LearnedLabel.created_at))
            .limit(over)
        ).all()
        session.execute(
            delete(LearnedLabel).where(
                col(LearnedLabel.workspace_id) == workspace_id, col(LearnedLabel.id).in_(oldest)
            )
        )


def _again(codes: dict[str, int], said: _Said) -> dict[str, int]:
    """What a label says when only the ruling is left to ask."""
    if said.code is None:
        return dict.fromkeys(codes, 0)
    return codes if codes.get(said.code) == 1 else {said.code: 1}


@dataclass(frozen=True)
class _Said:
    """What stands about a case: the code it violates, or that it violates nothing."""

    code: str | None


def _said(session: Session, case: Case, *, now: Millis) -> _Said | None:
    """None while nothing final stands, and where a ruling says nothing about words (veiled)."""
    if case.status not in _OVER:
        return None
    ruling = session.exec(
        select(Decision)
        .where(
            Decision.case_id == case.id, Decision.workspace_id == case.workspace_id,
            col(Decision.undone_at).is_(None), col(Decision.proposed).is_(False),
            col(Decision.blind).is_(False),
            col(Decision.action).in_([str(final) for final in FINAL]),
        )
        .order_by(col(Decision.id).desc())
    ).first()  # fmt: skip
    if ruling is None or now - ruling.created_at < BULK_UNDO_MS:
        return None
    if ruling.action == Ruling.APPROVE:
        return _Said(None)
    if ruling.action not in AGAINST:
        return None
    overturned = session.exec(
        select(Appeal.id).where(
            Appeal.decision_id == ruling.id, Appeal.workspace_id == case.workspace_id,
            col(Appeal.upheld).is_(False),
        )
    ).first()  # fmt: skip
    if overturned is None and case.origin == CaseOrigin.REFUSED:
        return None  # a rule said so: heads learn from people
    return _Said(None if overturned is not None else ruling.code)


def _texts(
    session: Session, case: Case, said: _Said
) -> list[tuple[DecisionRecord, dict[str, int]]]:
    """The texts a ruling speaks about, with what it says per code.

    A machine's hold speaks about the texts that text filters held (a picture that was denied says
    nothing about harmless words); a report speaks about the answer that was reported.
    """
    if said.code in _NEVER or Category.CSAE in _codes(case.verdict.get("flags", [])):
        return []
    job = session.get_one(Job, case.job_id)
    records = decisions.of_job(session, workspace_id=case.workspace_id, job_id=job.id, key=job.key)
    found = []
    for record in records:
        if record.sealed is not None or not record.text or record.surface not in _TYPED:
            continue
        if record.surface == "prompt" and "-message-" in job.key:
            continue  # typed as a chat message, not into a command
        flagged = _codes(record.flags, "text.") - _NEVER
        held = record.outcome in (Outcome.HOLD.word, Outcome.BLOCK.word)
        reported = case.origin == CaseOrigin.REPORTED and record.surface == "answer"
        if said.code is not None and ((held and flagged) or reported):
            found.append((record, {said.code: 1}))
        elif said.code is None and held and flagged:
            found.append((record, dict.fromkeys(sorted(flagged), 0)))
    return found


def _codes(flags: list[dict[str, object]], stage: str = "") -> frozenset[str]:
    return frozenset(
        str(flag.get("category")) for flag in flags if str(flag.get("stage", "")).startswith(stage)
    )


def labels(session: Session, *, workspace_id: str) -> list[LearnedLabel]:
    """Every label of a workspace, oldest first."""
    return list(
        session.exec(
            select(LearnedLabel)
            .where(LearnedLabel.workspace_id == workspace_id)
            .order_by(col(LearnedLabel.created_at), col(LearnedLabel.id))
        )
    )


def count(session: Session, *, workspace_id: str) -> int:
    """How many labels a workspace has."""
    return int(
        session.exec(
            select(func.count(col(LearnedLabel.id))).where(
                LearnedLabel.workspace_id == workspace_id
            )
        ).one()
    )


# -- Heads -------------------------------------------------------------------------------------


def active(session: Session, *, workspace_id: str) -> LearnedHead | None:
    """The head in force in a workspace."""
    return session.exec(
        select(LearnedHead).where(
            LearnedHead.workspace_id == workspace_id, col(LearnedHead.active).is_(True)
        )
    ).first()


def in_force(session: Session, *, base: str) -> list[LearnedHead]:
    """Every workspace's head that fits the shipped heads of this version."""
    return list(
        session.exec(
            select(LearnedHead).where(
                col(LearnedHead.active).is_(True), LearnedHead.base == base,
                col(LearnedHead.weights).is_not(None),
            )
        )
    )  # fmt: skip


def last(session: Session, *, workspace_id: str) -> LearnedHead | None:
    """The newest attempt, promoted or not."""
    return session.exec(
        select(LearnedHead)
        .where(LearnedHead.workspace_id == workspace_id)
        .order_by(col(LearnedHead.number).desc())
    ).first()


def record(
    session: Session,
    *,
    workspace_id: str,
    base: str,
    report: Mapping[str, object],
    now: Millis,
    used: Sequence[str],
    weights: bytes | None = None,
    version: str = "",
) -> LearnedHead | None:
    """Write down an attempt; with ``weights`` it takes the place of the one in force.

    ``used`` are the labels it learnt from. None when learning was switched off meanwhile, when one
    of the labels is gone (somebody was forgotten), or when another worker's attempt of this moment
    came first: then nothing is written.
    """
    space = session.exec(
        select(Workspace).where(Workspace.id == workspace_id).with_for_update()
    ).first()
    if space is None or not rules_of(space.settings).learning.on:
        return None
    there = session.exec(
        select(LearnedLabel.id).where(LearnedLabel.workspace_id == workspace_id)
    ).all()
    if not set(used) <= set(there):
        return None
    before = last(session, workspace_id=workspace_id)
    row = LearnedHead(
        workspace_id=workspace_id, number=before.number + 1 if before else 1, base=base,
        version=version, report=dict(report), created_at=now,
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(row)
            session.flush()
    except IntegrityError:
        return None
    if weights is not None:
        retire(session, workspace_id=workspace_id)
        row.active, row.weights = True, weights
        session.add(row)
        session.flush()
    return row


def retire(session: Session, *, workspace_id: str) -> int:
    """Take the head in force out of force and its weights away: the shipped ones apply again."""
    return changed(
        session,
        update(LearnedHead)
        .where(col(LearnedHead.workspace_id) == workspace_id, col(LearnedHead.active).is_(True))
        .values(active=False, weights=None)
        .execution_options(synchronize_session=False),
    )


def erase(session: Session, *, workspace_id: str) -> int:
    """Delete all a workspace learnt, labels and heads; returns how many rows. Learning was
    switched off, or the workspace is to be deleted."""
    gone = 0
    for table in (LearnedLabel, LearnedHead):
        gone += changed(session, delete(table).where(col(table.workspace_id) == workspace_id))
    return gone


def unwanted(session: Session) -> list[str]:
    """Workspaces that switched learning off and still have something."""
    held = {
        *session.exec(select(LearnedLabel.workspace_id).distinct()),
        *session.exec(select(LearnedHead.workspace_id).distinct()),
    }
    return sorted(held - {space.id for space in wanting(session)})


def forget_member(session: Session, *, member_id: str) -> int:
    """Delete a member's labels, and every head of a workspace that learnt from one of them.

    What the head was made of cannot be taken out of it, so it goes whole; the next attempt learns
    from what is left.
    """
    touched = set(
        session.exec(
            select(LearnedLabel.workspace_id).where(LearnedLabel.member_id == member_id).distinct()
        )
    )
    for workspace_id in sorted(touched):
        # An attempt that is being written down waits, and then misses the labels.
        session.exec(
            select(Workspace.id).where(Workspace.id == workspace_id).with_for_update()
        ).first()
        retire(session, workspace_id=workspace_id)
    return changed(session, delete(LearnedLabel).where(col(LearnedLabel.member_id) == member_id))

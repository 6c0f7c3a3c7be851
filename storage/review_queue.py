"""The queue: what waits, by which filters, under which names a moderator keeps them.

Sealed content is never in it. A reported intimate picture is before everything else, then the
graver case, then the one that is due sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError
from sqlalchemy import ColumnElement, Text, and_, cast, delete, func, or_
from sqlalchemy import select as select_columns
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from storage.errors import BadInput, LimitReached
from storage.models import Case, Generation, Member, SavedView
from storage.review_claims import UNDECIDED
from storage.review_words import FIRST, SEALED
from storage.schema import CaseOrigin, CaseStatus, Category, Frozen, JobKind, Millis
from storage.workspaces import Actor

NAME_MAX = 40
MOST_VIEWS = 20
"""Views one moderator may keep."""


class QueueFilter(Frozen):
    """Which waiting cases; everything left out means all."""

    code: Category | Literal[""] = ""
    """Findings of this code."""
    severity: int = Field(default=0, ge=0, le=FIRST)
    """At least so grave."""
    origin: Literal["", "held", "reported", "appealed"] = ""
    kind: JobKind | Literal[""] = ""
    member: str = Field(default="", max_length=26)
    """Whose work: a member's id."""
    late: bool = False
    """Past its due time."""
    free: bool = False
    """Nobody looks at it."""

    def chosen(self) -> dict[str, Any]:
        """What differs from "all", for a link or a saved view."""
        return self.model_dump(mode="json", exclude_defaults=True)


def filter_of(values: dict[str, Any]) -> QueueFilter:
    """A filter from outside. Raises ``BadInput('filter_unknown')``."""
    try:
        return QueueFilter.model_validate({k: v for k, v in values.items() if v not in ("", None)})
    except ValidationError as error:
        raise BadInput("filter_unknown") from error


@dataclass(frozen=True)
class Waiting:
    """One line of the queue."""

    case: Case
    holder: str
    """Who has the lock now; empty when it is free."""
    member: str
    """Whose work it is."""


def names_code(code: str) -> ColumnElement[bool]:
    """Whether a verdict has a finding of this code, as it is written in JSON."""
    return cast(col(Case.verdict), Text).contains(f'"category": "{code}"', autoescape=True)


def _where(
    workspace_id: str, wanted: QueueFilter, now: Millis, statuses: Sequence[CaseStatus]
) -> list[Any]:
    found: list[Any] = [
        col(Case.workspace_id) == workspace_id,
        col(Case.status).in_(statuses),
        *(~names_code(str(code)) for code in SEALED),
    ]
    if wanted.code:
        found.append(names_code(str(wanted.code)))
    if wanted.severity:
        found.append(col(Case.severity) >= wanted.severity)
    if wanted.origin == "appealed":
        found.append(col(Case.status) == CaseStatus.APPEALED)
    elif wanted.origin:
        found.append(col(Case.origin) == CaseOrigin(wanted.origin))
    if wanted.kind:
        found.append(col(Generation.kind) == wanted.kind)
    if wanted.member:
        found.append(col(Case.member_id) == wanted.member)
    if wanted.late:
        found.append(and_(col(Case.due_at).is_not(None), col(Case.due_at) < now))
    if wanted.free:
        found.append(or_(col(Case.claimed_until).is_(None), col(Case.claimed_until) <= now))
    return found


def queue(
    session: Session,
    workspace_id: str,
    *,
    wanted: QueueFilter = QueueFilter(),
    now: Millis,
    statuses: Sequence[CaseStatus] = UNDECIDED,
    limit: int = 50,
) -> list[Waiting]:
    """Cases, most severe and then soonest due first."""
    holder = select_columns(col(Member.id), col(Member.name)).subquery("holder")
    rows = session.execute(
        select(Case, col(Member.name), holder.c.name)
        .join(Generation, col(Generation.id) == col(Case.generation_id))
        .join(Member, col(Member.id) == col(Case.member_id))
        .outerjoin(holder, and_(holder.c.id == col(Case.claimed_by), col(Case.claimed_until) > now))
        .where(*_where(workspace_id, wanted, now, statuses))
        .order_by(col(Case.severity).desc(), col(Case.due_at), col(Case.id))
        .limit(limit)
    ).all()
    return [Waiting(case=case, holder=held or "", member=name) for case, name, held in rows]


def count(session: Session, workspace_id: str, wanted: QueueFilter, *, now: Millis) -> int:
    """How many wait."""
    return int(
        session.execute(
            select_columns(func.count(col(Case.id)))
            .join(Generation, col(Generation.id) == col(Case.generation_id))
            .where(*_where(workspace_id, wanted, now, UNDECIDED))
        ).scalar_one()
    )


def twins(session: Session, case: Case) -> list[Case]:
    """Waiting cases of this workspace about exactly the same pixels: one ruling may serve all."""
    return list(
        session.exec(
            select(Case)
            .join(Generation, col(Generation.id) == col(Case.generation_id))
            .where(
                Case.workspace_id == case.workspace_id, Case.id != case.id,
                col(Case.status).in_(UNDECIDED),
                col(Generation.sha256).in_(
                    select(Generation.sha256).where(
                        Generation.id == case.generation_id,
                        Generation.workspace_id == case.workspace_id,
                        col(Generation.sha256).is_not(None),
                    )
                ),
            )
            .order_by(col(Case.id))
        )
    )  # fmt: skip


# -- saved views -------------------------------------------------------------------------------


def views(session: Session, actor: Actor) -> list[SavedView]:
    """A moderator's own, by name."""
    return list(
        session.exec(
            select(SavedView)
            .where(
                SavedView.workspace_id == actor.workspace.id,
                SavedView.member_id == actor.member.id,
            )
            .order_by(col(SavedView.name))
        )
    )


def keep_view(
    session: Session, actor: Actor, name: str, wanted: QueueFilter, *, now: Millis
) -> SavedView:
    """Keep a filter under a name; the same name again replaces it.

    Raises ``BadInput('view_name')`` for an empty name and ``LimitReached('view_many')``.
    """
    name = " ".join(name.split())[:NAME_MAX]
    if not name:
        raise BadInput("view_name")
    mine = views(session, actor)
    known = next((view for view in mine if view.name == name), None)
    if known is None and len(mine) >= MOST_VIEWS:
        raise LimitReached("view_many", limit=MOST_VIEWS)
    if known is None:
        known = SavedView(
            workspace_id=actor.workspace.id, member_id=actor.member.id, name=name, created_at=now
        )
        try:
            with session.begin_nested():
                session.add(known)
                session.flush()
        except IntegrityError:  # saved in the same instant in another tab
            known = next(view for view in views(session, actor) if view.name == name)
    known.filters = wanted.chosen()
    session.add(known)
    session.flush()
    return known


def drop_view(session: Session, actor: Actor, view_id: str) -> bool:
    """Forget one of one's own views; False when there is none."""
    mine = next((view for view in views(session, actor) if view.id == view_id), None)
    if mine is None:
        return False
    session.execute(
        delete(SavedView).where(
            col(SavedView.id) == view_id, col(SavedView.workspace_id) == actor.workspace.id
        )
    )
    return True

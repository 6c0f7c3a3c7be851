"""The duty of whoever runs a studio, acknowledged once by an admin of each workspace.

Who lets people make pictures is a provider: what looks like child abuse has to be reported and
kept (18 USC 2258A, the REPORT Act), and an intimate picture without consent has to be gone within
48 hours (the TAKE IT DOWN Act). Nobody can say later that the software had not told them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import audit
from storage.errors import NotAllowed
from storage.models import Act, DecisionRecord, Member, Workspace
from storage.schema import Millis, Role, role_at_least
from storage.workspaces import Actor

VERB = "acknowledge_duty"
VERSION = 1
"""Of the text: a new one is shown again."""


@dataclass(frozen=True)
class Acknowledged:
    """Who took note, and when."""

    name: str
    at: Millis


def acknowledged(session: Session, workspace_id: str) -> Acknowledged | None:
    """The last acknowledgement of the text in force; None before anybody has given it."""
    row = session.execute(
        select(Act, Member)
        .join(Member, col(Member.id) == col(Act.actor_id))
        .where(
            Act.workspace_id == workspace_id, Member.workspace_id == workspace_id,
            Act.verb == VERB, Act.target == f"duty-{VERSION}",
        )
        .order_by(col(Act.number).desc())
    ).first()  # fmt: skip
    return None if row is None else Acknowledged(name=row[1].name, at=row[0].at)


def acknowledge(session: Session, actor: Actor, *, now: Millis) -> Acknowledged:
    """An admin takes note; a line in the audit log. Doing it again changes nothing.

    Raises ``NotAllowed('admins_only')``.
    """
    if not role_at_least(actor.member.role, Role.ADMIN):
        raise NotAllowed("admins_only")
    known = acknowledged(session, actor.workspace.id)
    if known is not None:
        return known
    audit.write(
        session, actor.workspace.id, actor_id=actor.member.id, verb=VERB,
        target=f"duty-{VERSION}", now=now,
    )  # fmt: skip
    return Acknowledged(name=actor.member.name, at=now)


def unacknowledged(session: Session) -> list[str]:
    """Names of workspaces where no admin has taken note yet, for the operator."""
    return [
        f"{space.platform}: {space.name or space.external_id}"
        for space in session.exec(select(Workspace).order_by(col(Workspace.id)))
        if not space.external_id.startswith("forgotten:")  # deleted: nobody is there
        and acknowledged(session, space.id) is None
    ]


def unread(session: Session) -> int:
    """How many sealed records the operator has not opened yet: each has to be reported."""
    opened = select(Act.target).where(Act.verb == "open_sealed")
    return int(
        session.execute(
            select_columns(func.count(col(DecisionRecord.id))).where(
                col(DecisionRecord.sealed).is_not(None), col(DecisionRecord.id).not_in(opened)
            )
        ).scalar_one()
    )

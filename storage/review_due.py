"""Due times: which cases are late, and telling each workspace's moderators so, once a case."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import update
from sqlmodel import Session, col, select

from storage.ledger import changed
from storage.models import Case, Workspace
from storage.review_claims import UNDECIDED
from storage.review_queue import names_code
from storage.review_words import SEALED
from storage.rules import rules_of
from storage.schema import Millis, Platform


def overdue(session: Session, *, workspace_id: str, now: Millis) -> list[Case]:
    """Cases of one workspace past their due time, most severe first."""
    return list(
        session.exec(
            select(Case)
            .where(
                Case.workspace_id == workspace_id, col(Case.status).in_(UNDECIDED),
                col(Case.due_at).is_not(None), col(Case.due_at) < now,
            )
            .order_by(col(Case.severity).desc(), col(Case.due_at))
        )
    )  # fmt: skip


def take_breaches(
    session: Session,
    *,
    platforms: Sequence[Platform],
    now: Millis,
    limit: int = 50,
    without: Collection[str] = (),
) -> list[tuple[Workspace, str, list[Case]]]:
    """Late cases that nobody was told of, by workspace, with its review channel; taken by this.

    Whoever takes one tells of it: noted before it is said, so that two processes, or one that was
    restarted, never say it twice. :func:`give_back` is for a platform that is unwell, and
    ``without`` for the workspaces it was unwell for, so that they hold up no other.
    """
    spaces: dict[str, tuple[Workspace, str]] = {}
    for space in session.exec(
        select(Workspace).where(col(Workspace.platform).in_(list(platforms)))
    ):
        channel = rules_of(space.settings).review_channel
        if channel and space.id not in without:
            spaces[space.id] = (space, channel)
    rows = session.exec(
        select(Case)
        .where(
            col(Case.breached_at).is_(None), col(Case.status).in_(UNDECIDED),
            col(Case.due_at).is_not(None), col(Case.due_at) < now,
            col(Case.workspace_id).in_(spaces),
            *(~names_code(str(code)) for code in SEALED),
        )
        .order_by(col(Case.severity).desc(), col(Case.due_at))
        .limit(limit)
    ).all()  # fmt: skip
    found: dict[str, tuple[Workspace, str, list[Case]]] = {}
    for case in rows:
        mine = changed(
            session,
            update(Case)
            .where(col(Case.id) == case.id, col(Case.breached_at).is_(None))
            .values(breached_at=now)
            .execution_options(synchronize_session=False),
        )
        if mine:
            space, channel = spaces[case.workspace_id]
            found.setdefault(space.id, (space, channel, []))[2].append(case)
    return list(found.values())


def give_back(session: Session, case_ids: Sequence[str]) -> None:
    """It could not be said just now: the next sweep tries again."""
    session.execute(
        update(Case)
        .where(col(Case.id).in_(case_ids))
        .values(breached_at=None)
        .execution_options(synchronize_session=False)
    )

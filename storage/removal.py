"""A whole workspace taken away: what its people wrote and made, what its filters learnt, its files.

What must stay is what :mod:`storage.privacy` keeps of a person, under the same pseudonyms: the
ledger, the audit log, strikes and rulings, sealed records for the operator's duty to report. So a
workspace that comes back by the same platform id finds its ledger, and its people theirs, and no
fresh grant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from storage import audit, jobs, learning, privacy
from storage.errors import NotAllowed
from storage.export import FORGOTTEN
from storage.models import (
    Act,
    Appeal,
    Case,
    CaseTranslation,
    DecisionRecord,
    Favourite,
    Generation,
    Intent,
    Job,
    LinkCode,
    Member,
    Message,
    Passage,
    PictureHash,
    Post,
    PromoCode,
    SavedView,
    SettingChange,
    StoredDocument,
    ThreadMemory,
    Workspace,
)
from storage.schema import (
    OPEN_STATUSES,
    Address,
    CaseStatus,
    GenerationStatus,
    Millis,
    Platform,
    Role,
)
from storage.workspaces import Actor, forgotten_id, forgotten_workspace

VERB = "delete_workspace"
LEFT, BACK = "app_removed", "app_added"
"""The audit log's words for a platform that took us out of a workspace, and put us in again."""


@dataclass
class Removed:
    """What was taken away."""

    jobs: int = 0
    generations: int = 0
    members: int = 0
    learnt: int = 0
    """Labels and heads, weights included."""
    documents: int = 0
    open_jobs: int = 0
    """Still running: they were asked to stop, and nothing was removed yet."""
    blobs: list[str] = field(default_factory=list)
    """Files to delete once the transaction is through."""


def check_owner(actor: Actor) -> None:
    """Raises ``NotAllowed('owners_only')``."""
    if actor.member.role != Role.OWNER:
        raise NotAllowed("owners_only")


def remove_as_owner(session: Session, actor: Actor, *, now: Millis) -> Removed:
    """See :func:`remove`; for the workspace's owner alone."""
    check_owner(actor)
    return remove(session, actor.workspace.id, now=now, actor_id=actor.member.id)


def remove(
    session: Session, workspace_id: str, *, now: Millis, actor_id: str | None = None
) -> Removed:
    """Take a workspace away, in the caller's one transaction. Doing it twice is fine.

    Queued jobs are cancelled and their credits released; while some are running (``open_jobs``)
    nothing else happens, and it is asked for again. ``actor_id`` None: the operator did it.
    """
    space = session.exec(
        select(Workspace).where(Workspace.id == workspace_id).with_for_update()
    ).one()
    done = Removed()
    every = session.exec(select(Job).where(Job.workspace_id == space.id)).all()
    for job in every:
        if job.status in OPEN_STATUSES and jobs.stop(session, job, now=now) in OPEN_STATUSES:
            done.open_jobs += 1
    if done.open_jobs:
        return done
    _clear(session, space, done)
    _blank(session, space, done, now)
    people = session.exec(select(Member).where(Member.workspace_id == space.id)).all()
    for person in people:
        if not person.external_id.startswith("forgotten:"):
            person.external_id = forgotten_id(space.id, person.external_id)
        person.name, person.roles, person.role = "", [], str(Role.MEMBER)
        person.account_created_at = None
        session.add(person)
    done.members = len(people)
    fresh = space.external_id == forgotten_workspace(space.platform, space.external_id)
    space.external_id = forgotten_workspace(space.platform, space.external_id)
    space.name, space.settings = "", {}
    session.add(space)
    session.flush()
    if not fresh:
        audit.write(
            session, space.id, actor_id=actor_id, verb=VERB, target=space.id, now=now,
            after={
                "jobs": done.jobs, "generations": done.generations, "members": done.members,
                "learnt": done.learnt, "documents": done.documents,
            },
        )  # fmt: skip
    return done


def _clear(session: Session, space: Workspace, done: Removed) -> None:
    """Rows that nothing has to keep."""
    done.learnt = learning.erase(session, workspace_id=space.id)
    done.documents = int(
        session.execute(
            select_columns(func.count(col(StoredDocument.id))).where(
                col(StoredDocument.workspace_id) == space.id
            )
        ).scalar_one()
    )
    inside: tuple[Any, ...] = (
        Passage, StoredDocument, Message, ThreadMemory, SavedView, CaseTranslation, PictureHash,
        Intent, SettingChange, PromoCode,
    )  # fmt: skip
    for table in inside:
        session.execute(delete(table).where(col(table.workspace_id) == space.id))
    session.execute(
        delete(DecisionRecord).where(
            col(DecisionRecord.workspace_id) == space.id, col(DecisionRecord.sealed).is_(None)
        )
    )
    members = select(Member.id).where(Member.workspace_id == space.id)
    own_jobs = select(Job.id).where(Job.workspace_id == space.id)
    session.execute(delete(Favourite).where(col(Favourite.member_id).in_(members)))
    session.execute(delete(LinkCode).where(col(LinkCode.member_id).in_(members)))
    session.execute(delete(Post).where(col(Post.job_id).in_(own_jobs)))


def _blank(session: Session, space: Workspace, done: Removed, now: Millis) -> None:
    """Words and pictures out of the rows that the ledger and the moderation record point to."""
    nowhere = Address(platform=Platform(space.platform), workspace="", channel=FORGOTTEN)
    for job in session.exec(select(Job).where(Job.workspace_id == space.id)):
        privacy.blank_spec(job, done.blobs)
        job.address = nowhere.model_dump(mode="json")
        job.delivered_at = job.delivered_at or now  # there is nowhere to put it any more
        session.add(job)
        done.jobs += 1
    for made in session.exec(select(Generation).where(Generation.workspace_id == space.id)):
        if made.blob:
            done.blobs.append(made.blob)
        if made.status != GenerationStatus.REMOVED or made.blob or made.text or made.recipe:
            done.generations += 1
        made.status, made.blob, made.text = GenerationStatus.REMOVED, None, None
        made.recipe = {}
        session.add(made)
    session.flush()
    session.execute(
        update(Case)
        .where(col(Case.workspace_id) == space.id, col(Case.status) != CaseStatus.CLOSED)
        .values(status=CaseStatus.CLOSED, claimed_by=None, claimed_until=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Appeal)
        .where(col(Appeal.workspace_id) == space.id)
        .values(text=FORGOTTEN)
        .execution_options(synchronize_session=False)
    )


def note_app(
    session: Session, *, platform: Platform, workspace: str, there: bool, now: Millis
) -> bool:
    """A platform took us out of a workspace, or put us in: a line of its audit log.

    Nothing is removed by it: an app taken out by mistake comes back to what was there. False when
    nobody had used us there, or the log's last such line says so already.
    """
    space = session.exec(
        select(Workspace).where(Workspace.platform == platform, Workspace.external_id == workspace)
    ).first()
    if space is None or left(session, space.id) == (not there):
        return False
    audit.write(
        session, space.id, actor_id=None, verb=BACK if there else LEFT, target=space.id, now=now
    )
    return True


def left(session: Session, workspace_id: str) -> bool:
    """Whether the platform has taken us out of a workspace."""
    last = session.exec(
        select(Act)
        .where(Act.workspace_id == workspace_id, col(Act.verb).in_((LEFT, BACK)))
        .order_by(col(Act.number).desc())
    ).first()
    return last is not None and last.verb == LEFT


def listed(session: Session) -> list[dict[str, Any]]:
    """Every workspace as plain data, with whether its platform took us out and whether it was
    deleted; for the operator."""
    return [
        {
            "id": space.id, "platform": str(space.platform), "external_id": space.external_id,
            "name": space.name, "left": left(session, space.id),
            "deleted": space.external_id.startswith("forgotten:"),
        }
        for space in session.exec(select(Workspace).order_by(col(Workspace.id)))
    ]  # fmt: skip

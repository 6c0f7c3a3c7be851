"""A workspace deleted whole: nothing of its words, pictures and weights is left, the ledger is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from storage import (
    audit,
    decisions,
    duty,
    favourites,
    jobs,
    learning,
    ledger,
    removal,
    reports,
    tenant,
)
from storage.database import Database
from storage.errors import NotAllowed
from storage.models import (
    Act,
    Case,
    DecisionRecord,
    LearnedHead,
    LearnedLabel,
    Member,
    Passage,
    PictureHash,
    PromoCode,
    StoredDocument,
    Workspace,
)
from storage.review_words import Ruling
from storage.schema import JobStatus, Platform
from storage.workspaces import Actor, account_of
from tests.conftest import START, actor, chat_spec, image_spec, row, sound, submitted
from tests.storage.reviewing import decide, held, put
from tests.storage.test_privacy import made

CANARY = "zanzibarium"
"""Stands in everything that has to go."""


def furnished(database: Database, workspace: str = "studio") -> tuple[Actor, Actor, Case]:
    """A workspace with something in every table, all of it with the canary in it."""
    ann = actor(database, "ann", workspace=workspace, credits=50)
    boss = actor(database, "boss", workspace=workspace, role="owner")
    mod = actor(database, "mod", workspace=workspace, role="moderator")
    item = made(database, ann, chat_spec(f"{CANARY}?"))
    drawn = made(database, ann, image_spec(f"a {CANARY}"))
    database.write(reports.report, drawn, actor=boss, now=START)
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY_STRIKE, now=START)
    database.write(favourites.keep, ann.member.id, item, now=START)
    space = ann.workspace.id

    def write(session: Session) -> None:
        record = {"workspace_id": space, "member_id": ann.member.id, "surface": "prompt",
                  "created_at": START, "expires_at": 0}  # fmt: skip
        decisions.keep(session, DecisionRecord(**record, text=CANARY, outcome="allow"))
        decisions.keep(session, DecisionRecord(**record, outcome="block", sealed="sealed"))
        decisions.add_hash(
            session, bank="deny", pdq="0" * 64, quality=90, now=START, workspace_id=space
        )
        document = StoredDocument(
            workspace_id=space, name=CANARY, sha256="s", size=1, passages=1, updated_at=START
        )
        session.add(document)
        session.flush()
        session.add(
            Passage(workspace_id=space, document_id=document.id, place=0, text=CANARY, vector=b"v")
        )
        session.add(
            LearnedLabel(
                workspace_id=space, member_id=ann.member.id, case_id=case.id, record_id="r",
                surface="prompt", text=CANARY, codes={"ILL": 1}, created_at=START,
            )
        )  # fmt: skip
        session.add(
            LearnedHead(
                workspace_id=space, number=1, base="b", active=True, weights=b"w", created_at=START
            )
        )
        session.add(
            PromoCode(workspace_id=space, code=CANARY.upper(), credits=1, max_uses=1,
                      by=boss.member.id, created_at=START)
        )  # fmt: skip

    database.write(write)
    put(database, workspace=workspace, persona=CANARY)
    return ann, boss, case


def everything(database: Database) -> str:
    """Every row of every table, as text."""
    found: list[Any] = []
    with database.transaction(read_only=True) as session:
        for name in tenant.SQLModel.metadata.tables:
            found += [dict(r._mapping) for r in session.execute(text(f'SELECT * FROM "{name}"'))]
    return json.dumps(found, default=str).casefold()


def test_nothing_is_left_but_what_has_to_stay(database: Database) -> None:
    ann, boss, case = furnished(database)
    other, _, _ = furnished(database, "elsewhere")
    before = database.read(ledger.balance, account_of(ann.member)).posted
    with tenant.within(boss.workspace.id):  # as the command does it
        done = database.write(removal.remove_as_owner, boss, now=START + 5000)
    assert (done.open_jobs, done.members, done.documents, done.learnt) == (0, 3, 1, 2)
    assert done.jobs == 3 and done.generations == 3 and len(done.blobs) == 2
    space = ann.workspace.id

    def rows(session: Session) -> dict[str, int]:
        tables = (StoredDocument, Passage, LearnedLabel, LearnedHead, PictureHash, PromoCode)
        return {
            table.__name__: len(
                session.exec(select(table).where(table.workspace_id == space)).all()
            )
            for table in tables
        }

    assert set(database.read(rows).values()) == {0}
    kept = database.read(
        lambda s: s.exec(select(DecisionRecord).where(DecisionRecord.workspace_id == space)).all()
    )
    assert [record.sealed for record in kept] == ["sealed"], "the operator's duty stays"
    assert database.read(lambda s: s.get_one(Case, case.id)).status == "closed"
    assert database.read(ledger.balance, account_of(ann.member)).posted == before
    assert sound(database) and database.read(audit.verify) == []
    # The other workspace keeps all of its own.
    theirs = everything(database).count(CANARY)
    with tenant.within(other.workspace.id):
        assert database.read(learning.count, workspace_id=other.workspace.id) == 1
    database.write(removal.remove, other.workspace.id, now=START + 6000)
    assert theirs > 0 and CANARY not in everything(database)
    again = database.write(removal.remove, space, now=START + 7000)
    assert again.generations == 0 and again.blobs == []
    assert database.read(duty.unacknowledged) == [], "a deleted workspace owes nothing"
    verbs = database.read(lambda s: [a.verb for a in s.exec(select(Act)) if a.verb == removal.VERB])
    assert len(verbs) == 2, "once for each, and not for a second time"


def test_who_comes_back_finds_their_ledger_and_no_fresh_grant(database: Database) -> None:
    ann, boss, _ = furnished(database)
    before = database.read(ledger.balance, account_of(ann.member)).posted
    database.write(removal.remove_as_owner, boss, now=START)
    names = database.read(lambda s: [(m.name, m.external_id) for m in s.exec(select(Member))])
    assert all(not name and told.startswith("forgotten:") for name, told in names)
    back = actor(database, "ann")
    assert back.workspace.id == ann.workspace.id and back.member.id == ann.member.id
    assert back.workspace.settings == {} and back.workspace.name == "studio"
    assert database.read(ledger.balance, account_of(back.member)).posted == before


def test_only_the_owner_and_never_beside_a_running_job(database: Database) -> None:
    ann, boss = actor(database, "ann"), actor(database, "boss", role="owner")
    admin = actor(database, "adm", role="admin")
    with pytest.raises(NotAllowed, match="owners_only"):
        database.write(removal.remove_as_owner, admin, now=START)
    running, queued = submitted(database, ann), submitted(database, ann)

    def claim(session: Session) -> None:
        got = jobs.claim(session, worker="w", room={running.kind: 1}, now=START)
        assert got is not None and got.job_id == running.id

    database.write(claim)
    assert database.write(removal.remove_as_owner, boss, now=START).open_jobs == 1
    assert row(database, queued.id).status == JobStatus.CANCELLED, "and its credits are back"
    assert row(database, running.id).cancel_requested_at == START
    assert database.read(lambda s: s.exec(select(Workspace)).one()).name == "studio"
    assert row(database, queued.id).spec["prompt"] == "a red apple"


def test_that_a_platform_took_us_out_is_noted_once(database: Database) -> None:
    ann, _, _ = furnished(database)
    where: dict[str, Any] = {"platform": Platform.FAKE, "workspace": "studio", "now": START}
    assert not database.write(removal.note_app, there=True, **where), "nobody had taken us out"
    assert database.write(removal.note_app, there=False, **where)
    assert not database.write(removal.note_app, there=False, **where)
    assert database.read(removal.left, ann.workspace.id)
    assert CANARY in everything(database), "an app taken out by mistake finds all of it again"
    assert database.write(removal.note_app, there=True, **where)
    assert not database.read(removal.left, ann.workspace.id)
    assert not database.write(removal.note_app, there=False, **(where | {"workspace": "nobody"}))
    assert database.read(audit.verify) == []

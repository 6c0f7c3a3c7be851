"""The audit log: append-only, and a forged one is found."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from storage import audit
from storage.database import Database
from storage.models import Act
from storage.review_words import Ruling
from tests.storage.reviewing import Room, decide, held


def test_the_audit_log_cannot_be_changed_and_shows_it_when_it_was(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY)
    assert database.read(audit.verify) == []
    for statement in ("UPDATE act SET verb = 'x'", "DELETE FROM act"):
        with pytest.raises(DBAPIError):
            database.write(lambda s, q=statement: s.execute(text(q)))
    rows = database.read(lambda s: s.exec(select(Act).order_by(Act.number)).all())
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert audit.digest_of(rows[0]) == rows[0].digest
    rows[0].after = {"code": "forged"}
    assert audit.digest_of(rows[0]) != rows[0].digest


def test_a_forged_chain_is_found(database: Database, room: Room) -> None:
    """What somebody with the database in hands could do: drop the triggers, then edit."""
    ann, mod, _, _ = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY)

    def forge(session: Session, *statements: str) -> list[str]:
        sqlite = session.get_bind().dialect.name == "sqlite"
        for trigger in ("act_no_update", "act_no_delete") if sqlite else ():
            session.execute(text(f"DROP TRIGGER {trigger}"))
        if not sqlite:
            session.execute(text("DROP TRIGGER act_append_only ON act"))
        for statement in statements:
            session.execute(text(statement))
        session.expire_all()
        found = audit.verify(session)
        session.rollback()
        return found

    edited = database.write(forge, "UPDATE act SET verb = 'approve' WHERE verb = 'deny'")
    assert len(edited) == 1 and "was changed" in edited[0]
    cut = database.write(forge, "DELETE FROM act WHERE number = 1")
    assert any("missing" in line for line in cut)

"""What a conversation remembers: bounded, folded, begun afresh, and gone when it is deleted."""

from __future__ import annotations

from sqlmodel import Session, select

from storage import threads
from storage.database import Database
from storage.models import Job, ThreadMemory
from tests.conftest import START, actor, chat_spec, set_limits, submitted


def talk(database: Database, count: int, *, words: int = 100) -> tuple[str, list[Job]]:
    """``count`` exchanges of a thread; the workspace and the jobs, oldest first."""
    set_limits(database)
    person = actor(database, credits=500)
    jobs = []
    for number in range(count):
        job = submitted(database, person, chat_spec(f"q{number}", thread="t"))
        database.write(
            threads.remember, job.id, thread="t", question=f"q{number}",
            answer=f"a{number} " + "word " * words, now=START,
        )  # fmt: skip
        jobs.append(job)
    jobs.sort(key=lambda job: job.id)
    return person.workspace.id, jobs


def recalled(database: Database, space: str, tokens: int) -> threads.Recollection:
    return database.read(threads.recall, workspace_id=space, thread="t", tokens=tokens)


def folded(database: Database, space: str, tokens: int = 300, summary: str = "they spoke") -> bool:
    made = database.read(threads.foldable, workspace_id=space, thread="t", tokens=tokens)
    assert made is not None
    return database.write(
        threads.fold, workspace_id=space, thread="t", made=made, summary=summary, now=START
    )


def test_only_whole_exchanges_that_fit_go_along(database: Database) -> None:
    space, _ = talk(database, 5)
    for tokens in (0, 50, 140, 300, 5000):
        kept = recalled(database, space, tokens).messages
        assert sum(threads.tokens_of(m.text) for m in kept) <= tokens
        assert [m.role for m in kept] == ["user", "assistant"] * (len(kept) // 2)
    assert len(recalled(database, space, 5000).messages) == 10


def test_the_oldest_are_folded_and_the_summary_goes_along(database: Database) -> None:
    space, jobs = talk(database, 5)
    assert database.read(threads.foldable, workspace_id=space, thread="t", tokens=5000) is None
    assert folded(database, space)
    found = recalled(database, space, 5000)
    assert found.summary == "they spoke"
    assert 0 < len(found.messages) < 10
    assert {m.job_id for m in found.messages} < {job.id for job in jobs}
    more = database.read(threads.foldable, workspace_id=space, thread="t", tokens=10)
    assert more is not None and more.before == "they spoke"


def test_two_folds_at_once_keep_one(database: Database) -> None:
    space, _ = talk(database, 5)
    made = database.read(threads.foldable, workspace_id=space, thread="t", tokens=300)
    assert made is not None
    kept = [
        database.write(
            threads.fold, workspace_id=space, thread="t", made=made, summary=name, now=START
        )
        for name in ("one", "two")
    ]
    assert kept == [True, False]
    assert recalled(database, space, 5000).summary == "one"


def test_what_is_deleted_leaves_the_summary_too(database: Database) -> None:
    space, jobs = talk(database, 5)
    assert folded(database, space)
    database.write(lambda s: threads.forget(s, s.get_one(Job, jobs[0].id), "a0"))
    found = recalled(database, space, 5000)
    assert found.summary == "" and len(found.messages) == 8

    def summary(session: Session) -> ThreadMemory:
        return session.exec(select(ThreadMemory)).one()

    assert folded(database, space)
    database.write(lambda s: threads.forget(s, s.get_one(Job, jobs[4].id), "a4"))
    assert database.read(summary).summary == "they spoke", "it was not in there"


def test_a_deleted_message_is_not_folded_in_meanwhile(database: Database) -> None:
    space, jobs = talk(database, 5)
    made = database.read(threads.foldable, workspace_id=space, thread="t", tokens=300)
    assert made is not None
    database.write(lambda s: threads.forget(s, s.get_one(Job, jobs[0].id), "a0"))
    assert not database.write(
        threads.fold, workspace_id=space, thread="t", made=made, summary="x", now=START
    )


def test_begun_afresh_nothing_before_is_remembered(database: Database) -> None:
    space, _ = talk(database, 3)
    again = [
        database.write(threads.reset, workspace_id=space, thread="t", now=START) for _ in range(2)
    ]
    assert again == [True, False]
    assert recalled(database, space, 5000).messages == []
    assert not database.write(threads.reset, workspace_id=space, thread="other", now=START)

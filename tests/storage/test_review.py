"""The review room on both databases: locks, two moderators at once, what each ruling does."""

from __future__ import annotations

import threading

import pytest
from sqlmodel import select

from storage import audit, cases, ledger, review
from storage import review_due as due
from storage.database import Database
from storage.errors import AtelierError, BadInput, LimitReached, NotAllowed, NotFound
from storage.models import Act, Job, Member, Outbox, Strike
from storage.review_words import CLAIM_MS, Ruling
from storage.schema import Platform
from storage.workspaces import Actor, account_of
from tests.conftest import START, actor, sound
from tests.storage.reviewing import Room, decide, held, pro, put, status


def test_a_case_knows_how_urgent_it_is(database: Database, room: Room) -> None:
    [case] = held(database, room[0])
    assert (case.severity, case.due_at) == (2, START + 24 * 3_600_000)
    assert database.read(due.overdue, workspace_id=case.workspace_id, now=START) == []
    late = database.read(due.overdue, workspace_id=case.workspace_id, now=START + 25 * 3_600_000)
    assert [row.id for row in late] == [case.id]


def test_a_lock_holds_ten_minutes_shows_its_holder_and_ends(database: Database, room: Room) -> None:
    _, mod, mia, boss = room
    [case] = held(database, room[0])
    database.write(review.claim, mod, case.id, now=START)
    with pytest.raises(LimitReached, match="case_claimed") as caught:
        database.write(review.claim, mia, case.id, now=START + CLAIM_MS - 1)
    assert caught.value.params["name"] == "mod"
    with pytest.raises(LimitReached):
        database.write(review.decide, mia, case.id, Ruling.APPROVE, now=START)
    database.write(review.claim, mia, case.id, now=START + CLAIM_MS)
    with pytest.raises(LimitReached):
        database.write(review.claim, mod, case.id, now=START + CLAIM_MS, steal=True)
    database.write(review.claim, boss, case.id, now=START + CLAIM_MS, steal=True)
    assert database.read(lambda s: [a.verb for a in audit.lines(s, case.workspace_id)])[0] == (
        "steal"
    )
    assert database.write(review.release, boss, case.id, now=START)
    assert not database.write(review.release, boss, case.id, now=START)
    assert status(database, case)[0] == "open"


def test_members_owners_of_the_work_and_strangers_decide_nothing(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    stranger = actor(database, "x", workspace="other", role="owner")
    for who, kind in ((ann, NotAllowed), (stranger, NotFound)):
        with pytest.raises(kind):
            database.write(review.claim, who, case.id, now=START)
    [own] = held(database, mod)
    with pytest.raises(NotAllowed, match="case_own"):
        database.write(review.claim, mod, own.id, now=START)


def test_two_moderators_never_both_decide(database: Database, room: Room) -> None:
    """Both press at once, many times over: one ruling each, one audit line, no lost case."""
    ann, mod, mia, _ = room
    pro(database, ann)
    cases = [held(database, ann)[0] for _ in range(8)]
    won: list[tuple[str, str]] = []
    gate = threading.Barrier(2)

    def press(who: Actor, ruling: Ruling) -> None:
        for case in cases:
            gate.wait()
            try:
                decide(database, who, case, ruling)
            except AtelierError:
                continue
            won.append((case.id, who.member.name))

    threads = [
        threading.Thread(target=press, args=(mod, Ruling.APPROVE)),
        threading.Thread(target=press, args=(mia, Ruling.DENY)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(case_id for case_id, _ in won) == sorted(case.id for case in cases)
    rows = database.read(lambda s: s.exec(select(Act).where(Act.verb != "claim")).all())
    assert len([row for row in rows if row.verb in ("approve", "deny")]) == len(cases)
    assert database.read(audit.verify) == []
    assert sound(database)


@pytest.mark.parametrize(
    ("ruling", "case_status", "shown", "spent"),
    [
        (Ruling.APPROVE, "decided", "visible", 2),
        (Ruling.APPROVE_BLURRED, "decided", "blurred", 2),
        (Ruling.DENY, "decided", "removed", 0),
        (Ruling.DENY_STRIKE, "decided", "removed", 0),
        (Ruling.BAN, "decided", "removed", 0),
        (Ruling.ESCALATE, "open", "held", 2),
        (Ruling.ASK, "open", "held", 2),
    ],
)
def test_each_ruling_does_what_it_says(
    database: Database, room: Room, ruling: Ruling, case_status: str, shown: str, spent: int
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    decide(database, mod, case, ruling, note="Is this you?")
    assert status(database, case) == (case_status, shown)
    assert 50 - database.read(ledger.balance, account_of(ann.member)).posted == spent
    member = database.read(lambda s: s.get_one(Member, ann.member.id))
    marks = database.read(lambda s: s.exec(select(Strike)).all())
    assert (member.banned_until is not None) == (ruling is Ruling.BAN)
    assert len(marks) == (ruling is Ruling.DENY_STRIKE)
    if case_status == "decided":
        job = database.read(lambda s: s.get_one(Job, case.job_id))
        topics = database.read(lambda s: [o.topic for o in s.exec(select(Outbox))])
        assert job.delivered_at is None and "announce" in topics, "the card is put in place again"
        with pytest.raises(NotFound, match="case_over"):
            decide(database, mod, case, Ruling.APPROVE)
    assert database.read(audit.verify) == []
    assert sound(database)


def test_a_ruling_against_somebody_needs_its_rule_and_a_question_its_words(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    for ruling, more in ((Ruling.DENY, {"code": ""}), (Ruling.BAN, {"code": "NONSENSE"}),
                         (Ruling.ASK, {"note": " "})):  # fmt: skip
        with pytest.raises(BadInput):
            decide(database, mod, case, ruling, **more)
    assert status(database, case) == ("open", "held"), "a refused ruling leaves no lock behind"


def test_what_was_paid_comes_back_when_nothing_is_left_of_the_job(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    first, second = held(database, ann, count=2)
    decide(database, mod, first, Ruling.DENY)
    assert database.read(ledger.balance, account_of(ann.member)).posted == 48
    decide(database, mod, second, Ruling.DENY)
    assert database.read(ledger.balance, account_of(ann.member)).posted == 50
    assert sound(database)


def test_escalated_cases_are_the_admins(database: Database, room: Room) -> None:
    ann, mod, mia, boss = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.ESCALATE)
    with pytest.raises(NotAllowed, match="case_escalated"):
        database.write(review.claim, mia, case.id, now=START)
    decide(database, boss, case, Ruling.APPROVE)


def test_a_ban_may_need_a_second_pair_of_eyes(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    put(database, review={"two_for_bans": True})
    mod, mia = actor(database, "mod", role="moderator"), actor(database, "mia", role="moderator")
    [case] = held(database, ann)
    proposed = decide(database, mod, case, Ruling.BAN, hours=48)
    assert status(database, case) == ("open", "held")
    with pytest.raises(NotAllowed, match="second_eyes"):
        database.write(review.confirm, mod, proposed.id, now=START + 2000)
    database.write(review.release, mod, case.id, now=START + 2000)
    database.write(review.confirm, mia, proposed.id, now=START + 2000)
    member = database.read(lambda s: s.get_one(Member, ann.member.id))
    assert member.banned_until == START + 2000 + 48 * 3_600_000
    with pytest.raises(NotFound):
        database.write(review.confirm, mia, proposed.id, now=START + 3000)


def test_pictures_that_were_had_and_deleted_are_not_paid_back(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    first, second = held(database, ann, count=2)
    decide(database, mod, first, Ruling.APPROVE)
    database.write(cases.remove, first.generation_id, actor=ann, now=START + 2000)
    decide(database, mod, second, Ruling.DENY)
    assert database.read(ledger.balance, account_of(ann.member)).posted == 48
    assert sound(database)


def test_a_leap_over_the_ladder_counts_every_step_of_it(database: Database, room: Room) -> None:
    """Ten at once reach the step that only proposes a ban: a week's time-out all the same."""
    ann, mod, _, _ = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY_STRIKE, code="CSAE", now=START + 1000)
    member = database.read(lambda s: s.get_one(Member, ann.member.id))
    assert member.banned_until == START + 1000 + 168 * 3_600_000


def test_what_a_moderator_takes_away_is_written_down(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    first, second = held(database, ann, count=2)
    for case in (first, second):
        decide(database, mod, case, Ruling.APPROVE)
    database.write(cases.remove, first.generation_id, actor=ann, now=START + 2000)
    database.write(cases.remove, second.generation_id, actor=mod, now=START + 3000)
    [act] = database.read(lambda s: s.exec(select(Act).where(Act.verb == "remove")).all())
    assert (act.actor_id, act.target) == (mod.member.id, second.generation_id)
    assert act.before == {"generation": "visible"}
    assert act.after == {"generation": "removed", "member": ann.member.id}
    assert database.read(audit.verify) == []


def test_a_workspace_without_a_channel_keeps_no_other_waiting(
    database: Database, room: Room
) -> None:
    ann, _, _, _ = room
    for _ in range(5):
        held(database, ann, count=10)
    zoe = actor(database, "zoe", workspace="other")
    [case] = held(database, zoe)
    put(database, workspace="other", review_channel="mods")
    late = START + 30 * 24 * 3_600_000
    told = database.read(cases.unannounced, platforms=[Platform.FAKE], limit=2)
    assert [(found.id, channel) for found, _, channel in told] == [(case.id, "mods")]
    taken = database.write(due.take_breaches, platforms=[Platform.FAKE], now=late, limit=2)
    assert [[one.id for one in found] for _, _, found in taken] == [[case.id]]
    left_out = {"without": frozenset({zoe.workspace.id})}
    assert database.read(cases.unannounced, platforms=[Platform.FAKE], **left_out) == []

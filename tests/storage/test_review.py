"""The review room on both databases: locks, rulings, undo, appeals, strikes, the chain, figures."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, select

from storage import audit, ledger, reports, review, strikes
from storage import review_views as views
from storage.database import Database
from storage.endings import Ending, end_job
from storage.errors import AtelierError, BadInput, LimitReached, NotAllowed, NotFound
from storage.jobs import Made, claim
from storage.models import Act, Case, Generation, Job, Member, Outbox, Strike, Workspace
from storage.review_words import (
    CLAIM_MS,
    DEFAULT_LADDER,
    STRIKE_MS,
    WEIGHTS,
    Ruling,
    Step,
    step_for,
)
from storage.schema import (
    CaseStatus,
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Verdict,
    new_id,
)
from storage.workspaces import Actor, account_of
from tests.conftest import START, actor, sound, submitted

HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet")}),
)


def held(database: Database, owner: Actor, *, score: float = 0.6, count: int = 1) -> list[Case]:
    """A finished job of ``owner`` whose pictures are all held; their cases."""
    job = submitted(database, owner, price=2)
    verdict = Verdict(
        outcome=Outcome.HOLD,
        flags=frozenset({Flag(category=Category.SEX, score=score, stage="image.nudenet")}),
    )
    made = tuple(
        Made(index=i, status=GenerationStatus.HELD, seed=i, recipe={}, verdict=verdict.dump(),
             blob=f"ab/{job.id.lower().rjust(32, '0')[-31:]}{i}.png", sha256="s" * 64)
        for i in range(count)
    )  # fmt: skip

    def act(session: Session) -> None:
        got = claim(session, worker="w", room={JobKind.IMAGE: 9}, now=START)
        assert got is not None and got.job_id == job.id
        ending = Ending(status=JobStatus.SUCCEEDED, made=made, cost=2, verdict=verdict)
        assert end_job(session, job.id, got.fence, ending, now=START)

    database.write(act)
    return database.read(
        lambda s: list(s.exec(select(Case).where(Case.job_id == job.id).order_by(Case.id)))
    )


@pytest.fixture
def room(database: Database) -> tuple[Actor, Actor, Actor, Actor]:
    """Ann, two moderators and an admin of one workspace."""
    return (
        actor(database, "ann"), actor(database, "mod", role="moderator"),
        actor(database, "mia", role="moderator"), actor(database, "boss", role="admin"),
    )  # fmt: skip


def status(database: Database, case: Case) -> tuple[str, str]:
    def read(session: Session) -> tuple[str, str]:
        row = session.get_one(Case, case.id)
        return str(row.status), str(session.get_one(Generation, row.generation_id).status)

    return database.read(read)


def decide(database: Database, who: Actor, case: Case, ruling: Ruling, **more: Any) -> Any:
    return database.write(
        review.decide, who, case.id, ruling, **({"now": START + 1000, "code": "SEX"} | more)
    )


Room = tuple[Actor, Actor, Actor, Actor]

# -- locks -------------------------------------------------------------------------------------


def test_a_case_knows_how_urgent_it_is(database: Database, room: Room) -> None:
    [case] = held(database, room[0])
    assert (case.severity, case.due_at) == (2, START + 24 * 3_600_000)
    assert database.read(review.overdue, workspace_id=case.workspace_id, now=START) == []
    late = database.read(review.overdue, workspace_id=case.workspace_id, now=START + 25 * 3_600_000)
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


def pro(database: Database, who: Actor) -> None:
    def lift(session: Session) -> None:
        from storage.models import Tier

        tier = session.get_one(Tier, "free")
        tier.max_queued, tier.max_running = 50, 50
        session.add(tier)

    database.write(lift)
    assert who.member.id


# -- rulings -----------------------------------------------------------------------------------


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


def put(database: Database, **values: Any) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.external_id == "studio")).one()
        row.settings = row.settings | values
        session.add(row)

    database.write(write)


# -- taking back -------------------------------------------------------------------------------


def test_undo_within_a_minute_puts_everything_back_but_the_refund(
    database: Database, room: Room
) -> None:
    ann, mod, mia, _ = room
    [case] = held(database, ann)
    ruling = decide(database, mod, case, Ruling.DENY_STRIKE, code="SEXC")
    with pytest.raises(NotAllowed, match="undo_other"):
        database.write(review.undo, mia, ruling.id, now=START + 2000)
    database.write(review.undo, mod, ruling.id, now=START + 61_000)
    assert status(database, case) == ("claimed", "held")
    rules = database.read(lambda s: strikes.standing(s, ann.member.id, _rules(), now=START))
    assert rules.weight == 0
    with pytest.raises(NotFound, match="undo_late"):
        database.write(review.undo, mod, ruling.id, now=START + 61_000)
    again = decide(database, mod, case, Ruling.APPROVE, now=START + 62_000)
    with pytest.raises(NotFound, match="undo_late"):
        database.write(review.undo, mod, again.id, now=START + 62_000 + 60_001)
    assert database.read(audit.verify) == []
    assert sound(database)


def _rules() -> Any:
    from storage.review_words import ReviewRules

    return ReviewRules()


def test_a_bulk_ruling_can_be_taken_back_for_ten_minutes(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    [one], [two] = held(database, ann), held(database, ann)
    assert [c.id for c in database.read(views.twins, one)] == [two.id]
    rulings = [decide(database, mod, case, Ruling.DENY, bulk=True) for case in (one, two)]
    for ruling in rulings:
        database.write(review.undo, mod, ruling.id, now=START + 500_000)
    assert status(database, two) == ("claimed", "held")


# -- appeals -----------------------------------------------------------------------------------


def test_an_overturned_appeal_posts_refunds_and_voids_at_once(
    database: Database, room: Room
) -> None:
    ann, mod, mia, _ = room
    other, denied = held(database, ann, count=2)
    decide(database, mod, other, Ruling.APPROVE)
    decide(database, mod, denied, Ruling.DENY_STRIKE, code="REAL")
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is not None
    ann = actor(database, "ann")
    with pytest.raises(NotAllowed):
        database.write(review.appeal, mia, denied.id, "not mine", now=START + 5000)
    with pytest.raises(BadInput):
        database.write(review.appeal, ann, denied.id, "  ", now=START + 5000)
    with pytest.raises(NotFound, match="appeal_nothing"):
        database.write(review.appeal, ann, other.id, "approved", now=START + 5000)
    database.write(review.appeal, ann, denied.id, "It is a statue.", now=START + 5000)
    assert status(database, denied) == ("appealed", "removed")
    with pytest.raises(LimitReached, match="appeal_twice"):
        database.write(review.appeal, ann, denied.id, "again", now=START + 6000)
    with pytest.raises(NotAllowed, match="appeal_other"):
        database.write(review.decide_appeal, mod, denied.id, upheld=False, now=START + 7000)
    with pytest.raises(NotFound, match="case_appealed"):
        decide(database, mia, denied, Ruling.DENY)
    database.write(review.decide_appeal, mia, denied.id, upheld=False, now=START + 8000)
    assert status(database, denied) == ("closed", "visible")
    assert database.read(ledger.balance, account_of(ann.member)).posted == 50
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is None
    assert database.read(lambda s: s.exec(select(Strike)).one()).voided_at == START + 8000
    with pytest.raises(NotFound, match="case_over"):
        database.write(review.decide_appeal, mia, denied.id, upheld=True, now=START + 9000)
    assert database.read(audit.verify) == []
    assert sound(database)


def test_an_upheld_appeal_changes_nothing_shown(database: Database, room: Room) -> None:
    ann, mod, _, boss = room
    [case] = held(database, ann)
    decide(database, mod, case, Ruling.DENY)
    database.write(review.appeal, ann, case.id, "please", now=START + 5000)
    database.write(review.decide_appeal, boss, case.id, upheld=True, note="No.", now=START + 6000)
    assert status(database, case) == ("closed", "removed")
    with pytest.raises(LimitReached, match="appeal_twice"):
        database.write(review.appeal, ann, case.id, "please", now=START + 7000)


def test_an_appeal_comes_within_six_months_and_not_after_an_undo(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    [case] = held(database, ann)
    ruling = decide(database, mod, case, Ruling.DENY)
    with pytest.raises(NotFound, match="appeal_late"):
        database.write(review.appeal, ann, case.id, "late", now=START + 183 * 86_400_000)
    database.write(review.undo, mod, ruling.id, now=START + 2000)
    with pytest.raises(NotFound, match="appeal_nothing"):
        database.write(review.appeal, ann, case.id, "what for", now=START + 3000)


def test_a_lifted_ban_leaves_a_later_one_alone(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [one], [two] = held(database, ann), held(database, ann)
    decide(database, mod, one, Ruling.BAN, hours=1)
    decide(database, mod, two, Ruling.BAN, hours=100)
    database.write(review.appeal, ann, one.id, "sorry", now=START + 5000)
    database.write(review.decide_appeal, mia, one.id, upheld=False, now=START + 6000)
    until = database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until
    assert until == START + 1000 + 100 * 3_600_000


# -- strikes and reports -----------------------------------------------------------------------


def test_the_ladder_times_out_by_itself_and_marks_expire(database: Database, room: Room) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    for index, until in ((0, None), (1, START + 1000 + 24 * 3_600_000)):
        [case] = held(database, ann)
        decide(database, mod, case, Ruling.DENY_STRIKE, code="VIO")
        member = database.read(lambda s: s.get_one(Member, ann.member.id))
        assert member.banned_until == until, index
    later = START + 1000 + STRIKE_MS
    gone = database.read(lambda s: strikes.standing(s, ann.member.id, _rules(), now=later))
    assert (gone.weight, gone.step) == (0, None)


@given(st.integers(0, 40), st.integers(0, 40))
def test_more_points_never_mean_a_lower_step(a: int, b: int) -> None:
    low, high = (step_for(DEFAULT_LADDER, weight) for weight in sorted((a, b)))
    assert (low.weight if low else 0) <= (high.weight if high else 0)
    assert WEIGHTS.keys() == set(Category)
    assert step_for((Step(weight=3, hours=1),), 2) is None


def test_many_reports_are_one_case_and_crying_wolf_is_slowed(
    database: Database, room: Room
) -> None:
    ann, mod, _, _ = room
    pro(database, ann)
    put(database, review={"reports_per_day": 6})
    shown = []
    for _ in range(7):
        [case] = held(database, ann)
        decide(database, mod, case, Ruling.APPROVE)
        shown.append(case.generation_id)
    bob, eve = actor(database, "bob"), actor(database, "eve")
    assert database.write(reports.report, shown[0], actor=bob, now=START)
    assert not database.write(reports.report, shown[0], actor=bob, now=START)
    assert database.write(reports.report, shown[0], actor=eve, now=START)
    cases = database.read(lambda s: s.exec(select(Case).where(Case.origin == "reported")).all())
    assert len(cases) == 1
    for item in shown[1:6]:
        database.write(reports.report, item, actor=bob, now=START)
    with pytest.raises(LimitReached, match="reports_day"):
        database.write(reports.report, shown[6], actor=bob, now=START)
    assert database.write(reports.report, shown[6], actor=bob, now=START, kind=reports.NCII)
    for case in database.read(lambda s: s.exec(
        select(Case).where(Case.origin == "reported", Case.status != CaseStatus.DECIDED)).all()
    )[:5]:  # fmt: skip
        decide(database, mod, case, Ruling.APPROVE)
    assert database.read(reports.precision, bob.member.id)[0] == 0
    assert database.read(reports.allowed_today, bob.member.id, 6) == 2
    first = database.read(views.queue, ann.workspace.id)[0]
    assert (first.severity, first.generation_id) == (4, shown[6]), "intimate pictures come first"


# -- the chain ---------------------------------------------------------------------------------


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


# -- figures -----------------------------------------------------------------------------------


def test_the_room_s_figures_come_from_its_rulings(database: Database, room: Room) -> None:
    ann, mod, mia, boss = room
    pro(database, ann)
    cases = [held(database, ann, score=score)[0] for score in (0.5, 0.6, 0.8, 0.9)]
    decide(database, mod, cases[0], Ruling.APPROVE, now=START + 10_000)
    decide(database, mod, cases[1], Ruling.DENY, now=START + 20_000)
    decide(database, mia, cases[2], Ruling.DENY, now=START + 30_000)
    database.write(review.appeal, ann, cases[1].id, "no", now=START + 40_000)
    database.write(review.decide_appeal, boss, cases[1].id, upheld=False, now=START + 50_000)
    seen = database.read(views.metrics, ann.workspace.id, since=START, now=START + 60_000)
    assert (seen.waiting, seen.decided, seen.appeals, seen.overturned) == (1, 3, 1, 1)
    assert seen.first_decision_ms_p50 == 20_000
    assert seen.load == {mod.member.id: 2, mia.member.id: 1}
    [line] = seen.precision
    assert (line.stage, line.code, line.right, line.total) == ("image.nudenet", "SEX", 1, 3)
    assert line.low < 1 / 3 < line.high
    decided = database.read(views.outcomes, ann.workspace.id, START, START + 60_000)
    lines = views.slider(
        [(case.verdict, right) for case, _, right in decided], "image.nudenet", "SEX"
    )
    at = next(row for row in lines if row.threshold == pytest.approx(0.7))
    assert (at.caught, at.missed, at.false) == (1, 0, 0)


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_share_and_narrows(right: int, wrong: int) -> None:
    total = right + wrong
    low, high = views.wilson(right, total)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= right / total <= high + 1e-12
        wider = views.wilson(right * 10, total * 10)
        assert wider[1] - wider[0] <= high - low


def test_wilson_s_published_example() -> None:
    """Ten successes in ten tries: 72 % to 100 % (Newcombe 1998, table)."""
    low, high = views.wilson(10, 10)
    assert (round(low, 3), round(high, 3)) == (0.722, 1.0)


def test_a_blind_second_look_measures_agreement(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [case] = held(database, ann)
    chosen = next(i for i in iter(new_id, "") if review.wants_blind_look(i))

    def rename(session: Session) -> Case:
        session.execute(
            text("UPDATE review_case SET id = :new WHERE id = :old"),
            {"new": chosen, "old": case.id},
        )
        return session.get_one(Case, chosen)

    case = database.write(rename)
    decide(database, mod, case, Ruling.DENY)
    with pytest.raises(NotAllowed):
        database.write(review.decide_blind, mod, case.id, Ruling.DENY, now=START + 2000)
    database.write(review.decide_blind, mia, case.id, Ruling.APPROVE, now=START + 2000)
    seen = database.read(views.metrics, ann.workspace.id, since=START, now=START + 9000)
    assert seen.agreement == (0, 1)
    assert status(database, case) == ("decided", "removed")


def test_the_view_has_what_a_moderator_needs(database: Database, room: Room) -> None:
    ann, mod, mia, _ = room
    pro(database, ann)
    [first], [second] = held(database, ann), held(database, ann)
    decide(database, mod, first, Ruling.DENY_STRIKE)
    database.write(review.claim, mia, second.id, now=START + 5000)
    seen = database.read(views.view, second.id, workspace_id=ann.workspace.id, now=START + 6000)
    assert seen.holder == "mia"
    assert [(case.id, ruling) for case, ruling in seen.similar] == [(first.id, "deny_strike")]
    assert [job.id for job in seen.before] == [first.job_id]
    assert seen.standing.weight == 1
    with pytest.raises(NotFound):
        database.read(views.view, second.id, workspace_id="elsewhere", now=START)

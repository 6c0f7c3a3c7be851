"""Export, forget, export again; retention; who comes back is the same person to the ledger."""

from __future__ import annotations

import json
import re
from typing import Any

from sqlmodel import Session, select

from storage import (
    cases,
    intents,
    jobs,
    ledger,
    linking,
    privacy,
    retention,
    review,
    review_appeals,
)
from storage.database import Database
from storage.jobs import Made
from storage.models import (
    Appeal,
    Case,
    Decision,
    Generation,
    Intent,
    Job,
    Member,
    Message,
    Report,
    Tier,
    Workspace,
)
from storage.review_words import APPEAL_MS, BULK_UNDO_MS, Ruling
from storage.schema import (
    CaseOrigin,
    CaseStatus,
    Control,
    ControlKind,
    GenerationStatus,
    JobKind,
    JobStatus,
    Mode,
    Source,
    Turn,
)
from storage.workspaces import Actor, account_of
from tests.conftest import START, actor, chat_spec, image_spec, sound, submitted

DAY = 86_400_000


def made(database: Database, person: Actor, spec: Any, *, status: str = "visible") -> str:
    """A finished job with one generation; returns the generation's id."""
    job = submitted(database, person, spec)
    item = Made(
        index=0, status=GenerationStatus(status), seed=7, recipe={"prompt": spec.prompt},
        verdict={"outcome": "allow", "flags": []},
        blob="ab/" + "0" * 32 + ".png" if spec.kind is JobKind.IMAGE else None,
        text="Paris." if spec.kind is JobKind.CHAT else None,
    )  # fmt: skip

    def act(session: Session) -> None:
        claim = jobs.claim(session, worker="w", room={JobKind(spec.kind): 9}, now=START)
        assert claim is not None and claim.job_id == job.id
        jobs.finish(session, job.id, claim.fence, status=JobStatus.SUCCEEDED, now=START,
                    made=[item], cost=1)  # fmt: skip
        if spec.kind is JobKind.CHAT:
            jobs.remember(
                session, job.id, thread="t1", question=spec.prompt, answer="Paris.", now=START
            )

    database.write(act)
    return item.id


def swept(database: Database, **more: Any) -> list[str]:
    """The files that one go of the retention sweep asks to delete."""
    return database.write(retention.sweep, **more).blobs


def everything(database: Database, person: Actor) -> str:
    found = database.read(privacy.export, person.member, now=START)
    return json.dumps(found.data)


def test_export_then_forget_then_export(database: Database) -> None:
    ann, bob = actor(database, "ann"), actor(database, "bob")
    made(database, ann, image_spec("my secret garden", negative="my weeds"))
    made(database, ann, chat_spec("my secret question"))
    made(database, bob, image_spec("bob's own"))
    before = everything(database, ann)
    for word in ("secret garden", "weeds", "secret question", "Paris.", '"ann"'):
        assert word in before
    assert "bob" not in before
    done = database.write(privacy.forget, ann.member, now=START)
    assert (done.jobs, done.generations, done.messages, len(done.blobs)) == (2, 2, 2, 1)
    after = everything(database, ann)
    for word in ("secret", "weeds", "Paris", '"ann"'):
        assert word not in after
    assert '"credits": -1' in after, "the ledger stays"
    assert sound(database)
    tables = (Job, Generation, Member)
    whole = json.dumps(
        [database.read(lambda s, t=t: [str(vars(r)) for r in s.exec(select(t))]) for t in tables]
    )
    assert "secret" not in whole and "s own" in whole
    again = database.write(privacy.forget, ann.member, now=START)
    assert (again.generations, again.messages) == (0, 0)


def test_who_comes_back_finds_the_ledger_and_no_fresh_grant(database: Database) -> None:
    ann = actor(database, "ann")
    made(database, ann, image_spec())
    database.write(privacy.forget, ann.member, now=START)
    back = actor(database, "ann")
    assert back.member.id == ann.member.id
    assert database.read(ledger.balance, account_of(back.member)).posted == 49
    assert actor(database, "ann", workspace="other").member.id != ann.member.id


def test_forgetting_reaches_every_linked_identity(database: Database) -> None:
    ann, anna = actor(database, "ann", workspace="a"), actor(database, "anna", workspace="b")
    made(database, anna, image_spec("over there"))
    code = database.write(linking.ask_code, ann, now=START)
    database.write(linking.enter_code, anna, code, now=START)
    assert "over there" in everything(database, actor(database, "ann", workspace="a"))
    database.write(privacy.forget, actor(database, "ann", workspace="a").member, now=START)
    names = database.read(lambda s: [m.external_id[:9] for m in s.exec(select(Member))])
    assert names == ["forgotten", "forgotten"]


def test_what_is_under_review_stays_until_it_is_decided(database: Database) -> None:
    ann = actor(database, "ann")
    item = made(database, ann, image_spec("disputed"), status="held")

    def open_case(session: Session) -> None:
        row = session.get_one(Generation, item)
        cases.open_case(session, row, origin=CaseOrigin.HELD, verdict=row.verdict, now=START)

    database.write(open_case)
    assert "disputed" in everything(database, ann)
    done = database.write(privacy.forget, ann.member, now=START)
    assert (done.kept_for_review, done.blobs) == (1, [])
    kept = database.read(lambda s: s.get_one(Generation, item))
    assert (kept.status, kept.blob is not None) == (GenerationStatus.HELD, True)


def test_a_held_picture_is_not_handed_out_by_an_export(database: Database) -> None:
    ann = actor(database, "ann")
    made(database, ann, image_spec(), status="held")
    assert database.read(privacy.export, ann.member, now=START).blobs == ()


def test_open_jobs_are_not_pulled_away(database: Database) -> None:
    ann = actor(database, "ann")
    submitted(database, ann)
    done = database.write(privacy.forget, ann.member, now=START)
    assert (done.open_jobs, done.jobs) == (1, 0)
    assert "red apple" in everything(database, ann)


def test_retention_follows_each_workspace_s_own_rule(database: Database) -> None:
    ann, bob = actor(database, "ann", workspace="a"), actor(database, "bob", workspace="b")
    for person in (ann, bob):
        made(database, person, image_spec())
        made(database, person, chat_spec())

    def keep(session: Session) -> None:
        row = session.get_one(Workspace, ann.workspace.id)
        row.settings = {"keeping": {"generations_days": 30, "conversations_days": 1}}
        session.add(row)

    database.write(keep)
    later = database.read(lambda s: s.exec(select(Generation.created_at)).first()) or START
    assert swept(database, now=later + 29 * DAY) == []
    assert len(swept(database, now=later + 31 * DAY)) == 1
    assert swept(database, now=later + 31 * DAY) == []
    left = database.read(lambda s: [g.workspace_id for g in s.exec(
        select(Generation).where(Generation.status == GenerationStatus.VISIBLE))])  # fmt: skip
    assert left == [bob.workspace.id] * 2
    assert "Paris" not in json.dumps(
        database.read(privacy.export, ann.member, now=later).data["conversations"]
    )


def upload(number: int, **more: Any) -> Source:
    return Source(blob=f"cd/{number:032d}.png", sha256="0" * 64, width=8, height=8, **more)


def uploads_in(database: Database) -> list[str]:
    """Blobs of uploads that jobs still name."""
    specs = database.read(lambda s: [json.dumps(job.spec) for job in s.exec(select(Job))])
    return sorted(set(re.findall(r"cd/\d{32}\.png", " ".join(specs))))


def finished(database: Database, person: Actor, spec: Any, *, now: int) -> Job:
    job = submitted(database, person, spec, now=now)

    def act(session: Session) -> None:
        claim = jobs.claim(session, worker="w", room={JobKind(spec.kind): 9}, now=now)
        assert claim is not None and claim.job_id == job.id
        jobs.finish(session, job.id, claim.fence, status=JobStatus.FAILED, now=now, made=[],
                    cost=0)  # fmt: skip

    database.write(act)
    return job


def test_uploads_go_after_a_week_unless_something_still_starts_from_them(
    database: Database,
) -> None:
    ann = actor(database, "ann")
    control = Control(kind=ControlKind.CANNY, source=upload(2))
    first = image_spec(start=upload(1), mode=Mode.IMAGE, control=control, reference=upload(3))
    finished(database, ann, first, now=START)
    finished(database, ann, chat_spec(images=(upload(4),)), now=START)
    again = image_spec(start=upload(1), mode=Mode.IMAGE, seed=8)
    finished(database, ann, again, now=START + 5 * DAY)
    ours = upload(5, generation_id="01" + "0" * 24)
    finished(database, ann, image_spec(start=ours, mode=Mode.IMAGE), now=START)
    names = [upload(number).blob for number in range(6)]
    assert swept(database, now=START + 6 * DAY) == []
    assert swept(database, now=START + 8 * DAY) == [names[4]]
    assert uploads_in(database) == [names[1], names[2], names[3], names[5]]
    assert swept(database, now=START + 13 * DAY) == names[1:4]
    assert uploads_in(database) == [names[5]], "what we made goes with its generation"
    assert swept(database, now=START + 13 * DAY) == []


def test_forgetting_takes_every_upload_along(database: Database) -> None:
    ann = actor(database, "ann")
    control = Control(kind=ControlKind.CANNY, source=upload(2))
    spec = image_spec(start=upload(1), mode=Mode.IMAGE, control=control, reference=upload(3))
    finished(database, ann, spec, now=START)
    finished(database, ann, chat_spec(images=(upload(4),)), now=START)
    done = database.write(privacy.forget, ann.member, now=START)
    assert sorted(done.blobs) == [upload(number).blob for number in range(1, 5)]
    assert uploads_in(database) == []


def test_results_go_by_the_tightest_of_workspace_and_tier(database: Database) -> None:
    """ann is free, bob is pro; the workspace keeps 60 days, its free tier 10, the operator's
    pro tier 30."""
    ann, bob = actor(database, "ann"), actor(database, "bob", tier="pro")
    hers = [made(database, ann, image_spec(f"apple {n}")) for n in range(2)]
    his = made(database, bob, image_spec("pear"))

    def keep(session: Session) -> None:
        space = session.get_one(Workspace, ann.workspace.id)
        space.settings = {"keeping": {"generations_days": 60, "uploads_days": 0},
                          "tiers": {"retention_days": {"free": 10, "pro": 50}}}  # fmt: skip
        session.get_one(Tier, "pro").retention_days = 30
        session.flush()

    def left() -> set[str]:
        shown = select(Generation.id).where(Generation.status == GenerationStatus.VISIBLE)
        return database.read(lambda s: set(s.exec(shown)))

    database.write(keep)
    assert left() == {*hers, his}
    assert swept(database, now=START + 9 * DAY) == []
    one = swept(database, now=START + 11 * DAY, limit=1)
    assert len(one) == 1 and his in left()
    assert len(swept(database, now=START + 11 * DAY, limit=1)) == 1
    assert left() == {his}
    assert swept(database, now=START + 29 * DAY) == []
    assert len(swept(database, now=START + 31 * DAY)) == 1
    assert left() == set()


def test_what_is_held_or_denied_is_not_handed_out_by_an_export(database: Database) -> None:
    """Neither a picture's file nor an answer's words, which its recipe repeats."""
    ann, mod, mia = (
        actor(database, "ann"), actor(database, "mod", role="moderator"),
        actor(database, "mia", role="moderator"),
    )  # fmt: skip
    item = made(database, ann, chat_spec("Tell me."), status="held")
    made(database, ann, image_spec("a lake"), status="held")

    def note(session: Session) -> str:
        row = session.get_one(Generation, item)
        row.recipe = {"data": {"secret": "Paris again"}}
        session.add(row)
        case, _ = cases.open_case(
            session, row, origin=CaseOrigin.HELD, verdict=row.verdict, now=START
        )
        return case.id

    case_id = database.write(note)
    for what in ("held", "denied", "appealed", "upheld"):
        if what == "denied":
            database.write(
                review.decide, mod, case_id, Ruling.DENY_STRIKE, now=START, code="HAR", note="No."
            )
        if what == "appealed":
            database.write(review_appeals.appeal, ann, case_id, "It was a poem.", now=START)
        if what == "upheld":
            database.write(review_appeals.decide_appeal, mia, case_id, upheld=True, now=START)
        told = everything(database, ann)
        assert "Paris" not in told and ".png" not in told, what
    data = database.read(privacy.export, ann.member, now=START).data
    assert [row["code"] for row in data["strikes"]] == ["HAR"]
    assert [(row["action"], row["note"]) for row in data["rulings"]] == [("deny_strike", "No.")]
    assert [(row["text"], row["upheld"]) for row in data["appeals"]] == [("It was a poem.", True)]
    assert mod.member.id not in told and '"score' not in told
    # Forgotten, the words of an appeal go too; that there was one stays.
    database.write(privacy.forget, ann.member, now=START)
    data = database.read(privacy.export, ann.member, now=START).data
    assert [row["text"] for row in data["appeals"]] == [privacy.FORGOTTEN]


def test_what_was_denied_goes_when_it_can_be_appealed_no_more(database: Database) -> None:
    ann, mod = actor(database, "ann"), actor(database, "mod", role="moderator")
    item = made(database, ann, image_spec("a lake"), status="held")

    def hold(session: Session) -> str:
        row = session.get_one(Generation, item)
        case, _ = cases.open_case(
            session, row, origin=CaseOrigin.HELD, verdict=row.verdict, now=START
        )
        return case.id

    case_id = database.write(hold)
    assert swept(database, now=START + 400 * DAY) == [], "nobody decided yet"
    database.write(review.decide, mod, case_id, Ruling.DENY, now=START, code="SEX")
    assert swept(database, now=START + APPEAL_MS) == []
    assert len(swept(database, now=START + APPEAL_MS + 1)) == 1
    assert swept(database, now=START + APPEAL_MS + 2) == []
    assert database.read(lambda s: s.get_one(Generation, item)).blob is None


def test_what_a_moderator_took_for_child_abuse_goes_when_that_cannot_be_undone(
    database: Database,
) -> None:
    ann, mod, mia = (
        actor(database, "ann"), actor(database, "mod", role="moderator"),
        actor(database, "mia", role="moderator"),
    )  # fmt: skip
    item = made(database, ann, image_spec("a lake"), status="held")

    def hold(session: Session) -> str:
        row = session.get_one(Generation, item)
        case, _ = cases.open_case(
            session, row, origin=CaseOrigin.HELD, verdict=row.verdict, now=START
        )
        return case.id

    case_id = database.write(hold)
    ruling = database.write(review.decide, mod, case_id, Ruling.DENY_STRIKE, now=START, code="CSAE")
    assert swept(database, now=START + BULK_UNDO_MS) == []
    assert len(swept(database, now=START + BULK_UNDO_MS + 1)) == 1
    # An appeal is heard all the same; what is gone is not shown again.
    database.write(review_appeals.appeal, ann, case_id, "It was a lake.", now=START)
    database.write(review_appeals.decide_appeal, mia, case_id, upheld=False, now=START)
    row = database.read(lambda s: s.get_one(Generation, item))
    assert (row.status, row.blob) == ("removed", None) and ruling.code == "CSAE"
    assert database.read(lambda s: s.get_one(Member, ann.member.id)).banned_until is None


def ruled(database: Database, item: str, status: CaseStatus, *, upheld: bool | None = None) -> None:
    """A case about a generation, as moderators and an appeal left it."""

    def write(session: Session) -> None:
        row = session.get_one(Generation, item)
        case = session.exec(select(Case).where(Case.generation_id == item)).first()
        if case is None:
            case, _ = cases.open_case(
                session, row, origin=CaseOrigin.HELD, verdict=row.verdict, now=START
            )
        case.status = status
        session.add(case)
        session.flush()
        if status is CaseStatus.APPEALED:
            said = Decision(
                case_id=case.id, workspace_id=case.workspace_id, moderator_id=case.member_id,
                action="deny", code="SEX", created_at=START,
            )  # fmt: skip
            session.add(said)
            session.flush()
            session.add(
                Appeal(
                    case_id=case.id, decision_id=said.id, workspace_id=case.workspace_id,
                    member_id=case.member_id, text="I am Ann and it is art", created_at=START,
                )
            )  # fmt: skip
        for appeal in session.exec(select(Appeal)) if upheld is not None else ():
            appeal.upheld = upheld
            session.add(appeal)

    database.write(write)


def test_what_forgetting_left_for_a_moderator_goes_once_it_is_decided(database: Database) -> None:
    ann, bob = actor(database, "ann"), actor(database, "bob")
    item = made(database, ann, image_spec("disputed"), status="held")
    other = made(database, bob, image_spec("bob's own"), status="held")
    ruled(database, item, CaseStatus.APPEALED)
    ruled(database, other, CaseStatus.DECIDED)
    done = database.write(privacy.forget, ann.member, now=START)
    assert (done.kept_for_review, done.blobs) == (1, [])
    assert swept(database, now=START + 1) == [], "the appeal waits for somebody"
    ruled(database, item, CaseStatus.CLOSED, upheld=True)
    assert len(swept(database, now=START + 2)) == 1
    words = json.dumps(database.read(
        lambda s: [str(vars(r)) for t in (Job, Generation, Appeal) for r in s.exec(select(t))]
    ))  # fmt: skip
    assert "disputed" not in words and "I am Ann" not in words and "s own" in words
    assert database.write(retention.sweep, now=START + 3).rows == 0
    assert sound(database)


def test_an_export_has_uploads_strikes_appeals_and_reports(database: Database) -> None:
    ann, eve = actor(database, "ann"), actor(database, "eve")
    spec = image_spec(start=upload(1), mode=Mode.IMAGE)
    item = made(database, ann, spec, status="held")
    ruled(database, item, CaseStatus.APPEALED)
    held_back = image_spec(start=upload(2), mode=Mode.IMAGE)
    finished(database, ann, held_back, now=START)

    def report(session: Session) -> None:
        case = session.exec(select(Case)).one()
        session.add(Report(case_id=case.id, workspace_id=case.workspace_id, kind="ncii",
                           member_id=ann.member.id, created_at=START))  # fmt: skip

    database.write(report)
    found = database.read(privacy.export, ann.member, now=START)
    assert found.data["uploads"] == [upload(1).blob], "not what a filter kept back"
    assert upload(1).blob in found.blobs
    assert found.data["appeals"][0]["text"] == "I am Ann and it is art"
    assert [line["kind"] for line in found.data["reports"]] == ["ncii"]
    empty = database.read(privacy.export, eve.member, now=START).data
    assert [empty[name] for name in ("uploads", "appeals", "reports", "strikes")] == [[]] * 4


def test_forgetting_reaches_the_questions_that_carry_the_words_along(database: Database) -> None:
    ann, bob = actor(database, "ann"), actor(database, "bob")
    made(database, ann, chat_spec("my secret question"))
    later = chat_spec().model_copy(
        update={
            "turns": (
                Turn(role="system", text="Be kind."),
                Turn(role="user", text="my secret question"),
                Turn(role="assistant", text="Paris."),
                Turn(role="user", text="bob asks on"),
            )
        }
    )
    his = submitted(database, bob, later)
    apart = submitted(database, bob, later.model_copy(update={"thread": "another"}))
    database.write(intents.ask, ann, "gift", {"member": bob.member.id}, now=START)
    database.write(privacy.forget, ann.member, now=START)
    kept = database.read(lambda s: s.get_one(Job, his.id)).spec["turns"]
    assert [turn["text"] for turn in kept] == [
        "Be kind.", "[forgotten]", "[forgotten]", "bob asks on",
    ]  # fmt: skip
    assert database.read(lambda s: s.get_one(Job, apart.id)).spec["turns"][1]["text"] != kept[1]
    assert database.read(lambda s: s.exec(select(Intent)).all()) == []
    mine = database.read(lambda s: s.exec(select(Job).where(Job.member_id == ann.member.id)).one())
    assert mine.address["channel"] == "[forgotten]" and mine.delivered_at is not None


def test_a_sweep_goes_on_until_nothing_old_is_left(database: Database) -> None:
    ann = actor(database, "ann")
    said = chat_spec("and then?").model_copy(
        update={
            "turns": (
                Turn(role="system", text="Earlier: a secret"),
                Turn(role="user", text="and then?"),
            )
        }
    )
    old = finished(database, ann, said, now=START)
    job = submitted(database, ann, chat_spec())

    def talk(session: Session) -> None:
        space = session.get_one(Workspace, ann.workspace.id)
        space.settings = {"keeping": {"conversations_days": 1}}
        session.add_all(
            Message(workspace_id=space.id, thread="t1", job_id=job.id, role="user",
                    text=f"line {n}", created_at=START)
            for n in range(25)
        )  # fmt: skip

    database.write(talk)
    gone = []
    while rows := database.write(retention.sweep, now=START + 2 * DAY, limit=10).rows:
        gone.append(rows)
    assert sum(gone) == 26 and len(gone) == 3
    assert database.read(lambda s: s.exec(select(Message)).all()) == []
    turns = database.read(lambda s: s.get_one(Job, old.id)).spec["turns"]
    assert [turn["text"] for turn in turns] == ["and then?"]

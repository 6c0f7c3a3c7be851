"""From held to posted, as people do it: two moderators, a denial, an appeal, an overturn."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core.delivery import Delivery
from bot.core.reply import EFFECTS, Effect, Reply, Verb
from bot.core.review_room import reveal, show_case
from bot.core.services import Services
from storage import audit
from storage.database import Database
from storage.endings import Ending, end_job
from storage.errors import NotAllowed
from storage.jobs import Made, claim
from storage.models import Act, Case, Workspace
from storage.schema import (
    Category,
    Flag,
    GenerationStatus,
    JobKind,
    JobStatus,
    Outcome,
    Platform,
    Verdict,
)
from tests.conftest import HandClock, sound
from tests.fakes import FakeAdapter

MOD: dict[str, Any] = {"name": "mod", "role": "moderator"}
MIA: dict[str, Any] = {"name": "mia", "role": "moderator"}


def hold(
    database: Database, services: Services, job_id: str, code: Category,
    stage: str = "image.nudenet",
) -> Case:  # fmt: skip
    """The worker holds what a job made; its case."""
    return hold_all(database, services, job_id, code, stage=stage)[0]


def hold_all(
    database: Database, services: Services, job_id: str, code: Category, count: int = 1,
    stage: str = "image.nudenet",
) -> list[Case]:  # fmt: skip
    """The worker holds every picture of a job; its cases."""
    verdict = Verdict(
        outcome=Outcome.HOLD,
        flags=frozenset({Flag(category=code, score=0.62, stage=stage, detail="BREAST")}),
    )
    made = tuple(
        Made(index=i, status=GenerationStatus.HELD, seed=7, recipe={}, verdict=verdict.dump(),
             blob=services.blobs.put(b"\x89PNG pixels", "png"), width=128, height=128,
             sha256="5" * 64)
        for i in range(count)
    )  # fmt: skip

    def act(session: Session) -> None:
        got = claim(session, worker="w", room={JobKind.IMAGE: 9}, now=services.clock())
        assert got is not None and got.job_id == job_id
        ending = Ending(status=JobStatus.SUCCEEDED, made=made, cost=1, verdict=verdict)
        assert end_job(session, job_id, got.fence, ending, now=services.clock())

    database.write(act)
    return database.read(
        lambda s: list(s.exec(select(Case).where(Case.job_id == job_id).order_by(Case.id)))
    )


@pytest.fixture
def delivery(fake: FakeAdapter, services: Services) -> Delivery:
    return Delivery(services, {Platform.FAKE: fake}, {Platform.FAKE: fake})


async def told(fake: FakeAdapter, delivery: Delivery, job_id: str) -> Reply:
    """The card as the owner sees it after delivery."""
    await delivery.sweep()
    return fake.cards[job_id]


def button(reply: Reply, verb: Verb) -> str:
    return next(b.target for b in reply.buttons if b.verb is verb)


async def test_hold_claim_deny_tell_appeal_overturn_post(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    job = (await fake.say("imagine", prompt="a marble statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    card = await told(fake, delivery, job)
    assert card.title == "Held for review" and "SEX" in card.text
    assert all(picture.blob is None for picture in card.pictures)

    # Two moderators: one is quicker, the other is told who.
    queue = await fake.say("review", **MOD)
    assert queue.data["cases"] == [case.id]
    opened = await fake.press(Verb.CASE, case.id, **MOD)
    assert opened.pictures[0].blurred and opened.pictures[0].blob is not None
    assert "BREAST" in str(opened.fields) and "marble statue" in opened.text
    second = await fake.press(Verb.CASE, case.id, **MIA)
    assert second.code == "case_claimed" and "mod" in second.text

    # Deny asks for the rule first, then does it.
    asked = await fake.press(Verb.DENY, case.id, **MOD)
    assert asked.form is not None and [f.name for f in asked.form.fields] == ["code", "note"]
    done = await fake.press(Verb.DENY, case.id, **MOD, code="SEX", note="Not in this channel.")
    assert done.code is None and done.buttons[0].verb is Verb.UNDO

    # The member is told what, why, by whom, at what cost, and how to appeal.
    card = await told(fake, delivery, job)
    for part in ("sexual content (SEX)", "Not in this channel.", "A person decided",
                 "cost you nothing", "appeal"):  # fmt: skip
        assert part in card.text, part
    assert (await fake.say("credits")).data["available"] == 50
    target = button(card, Verb.APPEAL)

    # Only the owner appeals; only once; somebody else decides.
    assert (await fake.press(Verb.APPEAL, target, "eve")).code == "not_yours"
    assert (await fake.press(Verb.APPEAL, target)).form is not None
    assert (await fake.press(Verb.APPEAL, target, text="It is art.")).code is None
    assert (await fake.press(Verb.APPEAL, target, text="Again.")).code == "appeal_twice"
    assert "waits" in (await told(fake, delivery, job)).text
    seen = await fake.press(Verb.CASE, case.id, **MIA)
    assert "It is art." in seen.text
    assert {b.verb for b in seen.buttons} == {Verb.UPHOLD, Verb.OVERTURN}
    clock.advance(11 * 60_000)  # mia's lock ends
    assert (await fake.press(Verb.OVERTURN, case.id, **MOD)).code == "appeal_other"
    clock.advance(11 * 60_000)
    assert (await fake.press(Verb.OVERTURN, case.id, **MIA)).code is None

    card = await told(fake, delivery, job)
    assert card.pictures[0].blob is not None and "appeal was right" in card.text
    verbs = database.read(lambda s: [a.verb for a in s.exec(select(Act).order_by(Act.number))])
    assert [v for v in verbs if v != "claim"] == ["deny", "appeal", "overturn"]
    assert database.read(audit.verify) == []
    assert sound(database)


async def test_of_a_job_that_was_shown_in_part_the_price_is_named(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    """ "It cost you nothing" is said where that is so, and nowhere else."""
    job = (await fake.say("imagine", prompt="two statues", count=2)).job_id or ""
    cases = hold_all(database, services, job, Category.SEX, count=2)
    await fake.press(Verb.APPROVE, cases[0].id, **MOD)
    await fake.press(Verb.DENY, cases[1].id, **MOD, code="SEX")
    card = await told(fake, delivery, job)
    assert "cost you nothing" not in card.text and "1 credits stay paid" in card.text
    assert (await fake.say("credits")).data["available"] == 49


async def test_the_owner_reads_it_in_their_language(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    fake.locale = "zh"
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.STRIKE, case.id, **MOD, code="SEX")
    card = await told(fake, delivery, job)
    assert "由人工裁定" in card.text and "警告" in card.text
    assert (await fake.say("strikes")).data["weight"] == 1


async def test_undo_and_questions_reach_the_card(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.ASK, case.id, **MOD, note="Is this your own sculpture?")
    assert "your own sculpture" in (await told(fake, delivery, job)).text
    done = await fake.press(Verb.APPROVE, case.id, **MOD)
    assert (await told(fake, delivery, job)).pictures[0].blob is not None
    await fake.press(Verb.UNDO, done.buttons[0].target, **MOD)
    card = await told(fake, delivery, job)
    assert card.pictures[0].blob is None and card.title == "Held for review"


async def test_a_new_case_goes_into_the_review_channel_once(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    hold(database, services, job, Category.SEX)
    assert await delivery.announcer.announce_cases() == 0, "no review channel was chosen"

    def choose(session: Session) -> None:
        row = session.exec(select(Workspace)).one()
        row.settings = row.settings | {"review_channel": "mods", "locale": "zh"}
        session.add(row)

    database.write(choose)
    fake.fail_before = 1
    assert await delivery.announcer.announce_cases() == 0
    clock.advance(2_000)  # an unwell platform is left alone for a moment
    assert await delivery.announcer.announce_cases() == 1
    assert await delivery.announcer.announce_cases() == 0
    [(address, card)] = fake.notices
    assert address.channel == "mods" and "案件" in card.title
    assert card.pictures[0].blurred


async def test_sealed_content_is_shown_to_nobody(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="the beach")).job_id or ""
    case = hold(database, services, job, Category.CSAE)
    assert (await fake.say("review", **MOD)).data["cases"] == []
    for verb in (Verb.CASE, Verb.APPROVE, Verb.DENY):
        assert (await fake.press(verb, case.id, **MOD, code="SEX")).code == "case_unknown"
    mod = await services.actor(fake.who("mod", "moderator"))
    card = await show_case(services, mod, case.id, services.texts("en"))
    assert card.title == "Sealed" and not card.pictures and not card.buttons
    assert "beach" not in card.model_dump_json()
    assert await reveal(services, mod, case.id) is None
    assert database.read(lambda s: s.exec(select(Act)).all()) == []


async def test_revealing_is_a_moderator_s_and_is_written_down(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    with pytest.raises(NotAllowed):
        await reveal(services, await services.actor(fake.who("ann")), case.id)
    mod = await services.actor(fake.who("mod", "moderator"))
    assert await reveal(services, mod, case.id) is not None
    assert database.read(lambda s: audit.lines(s, case.workspace_id))[0].verb == "reveal"


@pytest.mark.parametrize(
    "verb",
    [
        v
        for v in Verb
        if v in EFFECTS
        and v.value
        in {
            "case",
            "approve",
            "blur",
            "deny",
            "strike",
            "ban",
            "escalate",
            "ask",
            "uphold",
            "overturn",
        }
    ],
)
async def test_members_press_no_moderator_s_button(
    fake: FakeAdapter, services: Services, database: Database, verb: Verb
) -> None:  # fmt: skip
    job = (await fake.say("imagine", "bob", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    said = await fake.press(verb, case.id, code="SEX", note="x")
    assert said.code == "moderators_only"
    assert (await fake.press(verb, "0" * 26, **MOD, code="SEX", note="x")).code == "case_unknown"
    assert EFFECTS[verb] in (Effect.PRIVATE, Effect.FORM)


async def test_what_is_older_than_the_workspace_keeps_it_goes_with_its_file(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.APPROVE, case.id, **MOD)
    blob = (await told(fake, delivery, job)).pictures[0].blob or ""

    def choose(session: Session) -> None:
        row = session.exec(select(Workspace)).one()
        row.settings = row.settings | {"keeping": {"generations_days": 7}}
        session.add(row)

    database.write(choose)
    assert await delivery.keep_house() == 0
    clock.advance(8 * 86_400_000)
    assert await delivery.keep_house() == 1
    assert not services.blobs.path(blob).exists()
    assert await delivery.keep_house() == 0


async def test_an_admin_takes_a_lock_over_by_a_button_nobody_else_has(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    boss: dict[str, Any] = {"name": "boss", "role": "admin"}
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.CASE, case.id, **MOD)
    for who in (MIA, boss):
        seen = await fake.press(Verb.CASE, case.id, **who)
        assert seen.code == "case_claimed" and "mod" in seen.text
        assert [b.verb for b in seen.buttons] == ([Verb.STEAL] if who is boss else [])
    assert (await fake.press(Verb.STEAL, case.id, **MIA)).code == "admins_only"
    card = await fake.press(Verb.STEAL, case.id, **boss)
    assert card.code is None and Verb.STEAL not in {b.verb for b in card.buttons}
    assert next(f.value for f in card.fields if f.label == "Looked at by") == "boss"
    late = await fake.press(Verb.APPROVE, case.id, **MOD)
    assert late.code == "case_claimed" and "boss" in late.text
    assert database.read(lambda s: [a.verb for a in s.exec(select(Act))]) == ["claim", "steal"]


async def test_a_card_offers_the_take_over_to_admins_only(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    people = {}
    for name, role in (("mod", "moderator"), ("mia", "moderator"), ("boss", "admin")):
        await fake.say("help", name, role=role)
        people[name] = await services.actor(fake.who(name, role))
    texts = services.texts("en")

    async def offered(name: str) -> bool:
        card = await show_case(services, people[name], case.id, texts)
        return Verb.STEAL in {b.verb for b in card.buttons}

    assert not await offered("boss"), "nobody looks at it"
    await fake.press(Verb.CASE, case.id, **MOD)
    assert [await offered(name) for name in people] == [False, False, True]


async def test_what_a_moderator_took_for_child_abuse_is_shown_to_nobody(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    assert (await fake.press(Verb.REVEAL, case.id, **MOD)).pictures[0].blob is not None
    done = await fake.press(Verb.DENY, case.id, **MOD, code="CSAE")
    boss = await services.actor(fake.who("boss", "owner"))
    assert await reveal(services, boss, case.id) is None
    card = await show_case(services, boss, case.id, services.texts("en"))
    assert [picture.blob for picture in card.pictures] == [None]
    # A slip of the hand is undone as any other.
    back = await fake.press(Verb.UNDO, done.buttons[0].target, **MOD)
    assert back.pictures[0].blob is not None

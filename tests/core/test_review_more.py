"""Reports of intimate pictures, late cases, second looks, the duty, translations, many at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core import review_bulk, review_room
from bot.core.delivery import Delivery
from bot.core.reply import Reply, Verb
from bot.core.services import Services
from storage import audit, review_blind, translations
from storage.database import Database
from storage.models import Act, Case, CaseTranslation, Generation, Workspace
from storage.registry import load_registry
from storage.review_queue import QueueFilter
from storage.review_words import FIRST, Ruling
from storage.schema import Category, Platform, new_id
from tests.conftest import HandClock, set_limits, sound
from tests.core.test_review_walk import MIA, MOD, hold, told
from tests.fakes import FakeAdapter

HOUR = 3_600_000


@pytest.fixture
def delivery(fake: FakeAdapter, services: Services) -> Delivery:
    return Delivery(services, {Platform.FAKE: fake}, {Platform.FAKE: fake})


def choose(database: Database, **values: Any) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace)).one()
        row.settings = row.settings | values
        session.add(row)

    database.write(write)


async def shown(fake: FakeAdapter, services: Services, database: Database) -> tuple[str, str]:
    """A picture that everybody sees: its job and generation."""
    job = (await fake.say("imagine", prompt="a woman on the beach")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.APPROVE, case.id, **MOD)
    return job, case.generation_id


# -- intimate pictures -------------------------------------------------------------------------


async def test_an_intimate_picture_is_hidden_at_once_and_comes_first(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    job, made = await shown(fake, services, database)
    other = (await fake.say("imagine", "zoe", prompt="a man")).job_id or ""
    grave = hold(database, services, other, Category.SEXC)
    first = await fake.press(Verb.REPORT, made, "eve")
    assert [b.verb for b in first.buttons] == [Verb.REPORT_NCII]
    said = await fake.press(Verb.REPORT_NCII, made, "eve")
    for part in ("hidden from everybody", "in 24 h", "need not prove", "stopncii.org"):
        assert part in said.text, part
    card = await told(fake, delivery, job)
    assert card.pictures[0].blob is None and "within 48 hours" in card.text
    assert card.title == "Held for review"
    queue = await fake.say("review", **MOD)
    case = database.read(lambda s: s.exec(select(Case).where(Case.origin == "reported")).one())
    assert queue.data["cases"] == [case.id, grave.id], "before what is due in an hour"
    assert (case.severity, case.due_at) == (FIRST, clock() + 24 * HOUR), "never later than before"
    opened = await fake.press(Verb.CASE, case.id, **MOD)
    assert "intimate, without consent" in opened.title

    # A second person may say the same of what is hidden; the reporter reads what became of it.
    assert (await fake.press(Verb.REPORT_NCII, made, "zoe")).code is None
    assert "waits, to be decided in 24 h" in (await fake.say("report", "eve")).text
    await fake.press(Verb.DENY, case.id, **MOD, code="REAL")
    assert "a moderator agreed, and it was removed" in (await fake.say("report", "eve")).text
    assert "real people (REAL)" in (await told(fake, delivery, job)).text
    assert database.read(audit.verify) == []
    assert sound(database)


async def test_what_a_moderator_approves_is_again_what_it_was(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    job, made = await shown(fake, services, database)
    assert (await fake.say("report", "eve", about=f"ncii {made}")).data["hidden"]
    case = database.read(lambda s: s.exec(select(Case).where(Case.origin == "reported")).one())
    await fake.press(Verb.APPROVE, case.id, **MOD)
    assert (await told(fake, delivery, job)).pictures[0].blob is not None
    # Decided: eve's word stands as answered; somebody else's opens it again.
    again = await fake.say("report", "eve", about=made, kind="ncii")
    assert "a moderator has decided" in again.text
    assert (await fake.press(Verb.REPORT_NCII, made, "zoe")).title == "Thank you for telling us"
    assert (await told(fake, delivery, job)).pictures[0].blob is None
    fresh = database.read(lambda s: s.get_one(Case, case.id))
    assert (fresh.status, fresh.severity) == ("open", FIRST)


async def test_a_command_without_an_id_says_how(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    assert "/report ncii ID" in (await fake.say("report", about="ncii")).text
    assert (await fake.say("report", about="that one")).code == "report_unknown"
    assert (await fake.say("report", about=new_id())).code == "generation_unknown"
    fake.locale = "zh"
    assert "私密图片" in (await fake.say("report", kind="ncii")).text


# -- late --------------------------------------------------------------------------------------


async def test_the_channel_is_told_once_that_a_case_is_late(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery,
    clock: HandClock,
) -> None:  # fmt: skip
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    choose(database, review_channel="mods")
    clock.advance(23 * HOUR)
    assert await delivery.announcer.announce_breaches() == 0
    clock.advance(2 * HOUR)
    fake.fail_before = 1
    assert await delivery.announcer.announce_breaches() == 0, "the platform was unwell"
    # A restart in between: another process finds what nobody was told of.
    again = Delivery(services, {Platform.FAKE: fake}, {Platform.FAKE: fake})
    assert await again.announcer.announce_breaches() == 1
    assert await delivery.announcer.announce_breaches() == 0
    [(address, said)] = fake.notices
    assert address.channel == "mods" and said.title == "A case is late"
    assert "60 min ago" in said.text and said.buttons[0].target == case.id
    card = await fake.press(Verb.CASE, case.id, **MOD)
    assert card.data["late"] and "ago" in next(f.value for f in card.fields if f.label == "Due")
    # Denied and appealed: a new time, and a new message when that is over.
    await fake.press(Verb.DENY, case.id, **MOD, code="SEX")
    await fake.press(Verb.APPEAL, case.id, text="It is art.")
    clock.advance(HOUR)
    assert await delivery.announcer.announce_breaches() == 0
    clock.advance(24 * HOUR)
    assert await delivery.announcer.announce_breaches() == 1


async def test_the_queue_in_chat_takes_filters(
    fake: FakeAdapter, services: Services, database: Database, clock: HandClock
) -> None:
    set_limits(database)
    cases = []
    for code in (Category.SEX, Category.VIO):
        job = (await fake.say("imagine", prompt="a statue")).job_id or ""
        cases.append(hold(database, services, job, code))
    clock.advance(5 * HOUR)
    assert (await fake.say("review", **MOD, only="late")).data["cases"] == [cases[1].id]
    assert (await fake.say("review", **MOD, code="sex")).data["cases"] == [cases[0].id]
    await fake.press(Verb.CASE, cases[1].id, **MIA)
    assert (await fake.say("review", **MOD, only="free")).data["cases"] == [cases[0].id]
    assert "mia looks at it" in (await fake.say("review", **MOD)).text
    assert (await fake.say("review", **MOD, code="nonsense")).code == "filter_unknown"


# -- second looks, the duty --------------------------------------------------------------------


async def test_a_second_look_sees_no_ruling_and_changes_nothing(
    fake: FakeAdapter, services: Services, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    monkeypatch.setattr(review_blind, "BLIND_EVERY", 1)
    await fake.press(Verb.DENY, case.id, **MOD, code="SEX", note="No.")
    assert (await fake.say("review", **MOD)).data["second"] == [], "not one's own"
    queue = await fake.say("review", **MIA)
    assert queue.data["second"] == [case.id]
    assert [b.verb for b in queue.buttons if b.target == case.id] == [Verb.SECOND_LOOK]
    card = await fake.press(Verb.SECOND_LOOK, case.id, **MIA)
    assert "Denied" not in card.model_dump_json() and card.title == "Second look"
    assert [b.verb for b in card.buttons] == [Verb.LOOK_APPROVE, Verb.LOOK_DENY, Verb.REVEAL]
    form = (await fake.press(Verb.LOOK_DENY, case.id, **MIA)).form
    assert form is not None and [f.name for f in form.fields] == ["code"]
    assert (await fake.press(Verb.LOOK_DENY, case.id, "eve", code="SEX")).code == "moderators_only"
    assert (await fake.press(Verb.LOOK_DENY, case.id, **MIA, code="SEX")).code is None
    assert (await fake.press(Verb.LOOK_APPROVE, case.id, **MIA)).code == "case_over"
    mia = await services.actor(fake.who("mia", "moderator"))
    assert (await review_room.figures(services, mia)).room.agreement == (1, 1)
    assert database.read(lambda s: s.get_one(Case, case.id)).status == "decided"


async def test_an_admin_takes_note_of_the_duty_once(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    queue = await fake.say("review", **MOD)
    assert "CyberTipline" in queue.text
    [button] = [b for b in queue.buttons if b.verb is Verb.DUTY]
    assert (await fake.press(Verb.DUTY, button.target, **MOD)).code == "admins_only"
    done = await fake.press(Verb.DUTY, button.target, "boss", role="admin")
    assert "boss has taken note" in done.text
    again = await fake.say("review", **MOD)
    assert "CyberTipline" not in again.text and not again.buttons
    assert [a.verb for a in database.read(lambda s: s.exec(select(Act)).all())] == [
        "acknowledge_duty"
    ]


# -- language, marks, similar ------------------------------------------------------------------


async def test_the_starter_reads_english_only_and_is_asked_for_no_translation(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="沙滩上的女人")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    card = await fake.press(Verb.CASE, case.id, **MOD)
    assert not card.data["translating"] and "translation" not in card.text
    assert any(field.value == "Chinese" for field in card.fields)
    assert database.read(translations.next_wanted) is None


async def test_a_foreign_prompt_asks_for_a_translation_and_shows_it_under_its_label(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    assert fake.core is not None
    more = load_registry(chat_model="someone/reads-both@" + "a" * 40)
    fake.core.services = replace(services, registry=more)
    job = (await fake.say("imagine", prompt="沙滩上的女人")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    card = await fake.press(Verb.CASE, case.id, **MOD)
    assert card.data["translating"] and "Chinese; a machine translation is made" in card.text
    fake.locale = "zh"
    assert not (await fake.press(Verb.CASE, case.id, **MOD)).data["translating"]
    fake.locale = "en"
    [row] = database.read(lambda s: s.exec(select(CaseTranslation)).all())
    wanted = database.read(translations.next_wanted)
    assert wanted is not None and (wanted.id, wanted.locale) == (row.id, "en")
    database.write(translations.keep, row.id, "a woman on the beach", "tiny", now=services.clock())
    card = await fake.press(Verb.CASE, case.id, **MOD)
    assert "*Machine translation from Chinese:* a woman on the beach" in card.text
    assert not card.data["translating"]
    assert database.read(translations.next_wanted) is None


async def test_a_card_masks_personal_data_and_marks_listed_words(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="Mickey Mouse at a party, mail ann@gmail.com")).job_id
    case = hold(database, services, job or "", Category.IP)
    card = await fake.press(Verb.CASE, case.id, **MOD)
    assert "**Mickey Mouse**" in card.text and "ann@gmail.com" not in card.text


# -- many at once ------------------------------------------------------------------------------


async def test_one_ruling_for_a_filter_leaves_out_what_needs_a_look(
    fake: FakeAdapter, services: Services, database: Database, clock: HandClock
) -> None:
    set_limits(database)
    cases = []
    for name in ("ann", "bob", "cid", "dan"):
        job = (await fake.say("imagine", name, prompt="a statue")).job_id or ""
        cases.append(hold(database, services, job, Category.SEX))
    await fake.press(Verb.CASE, cases[0].id, **MIA)
    mod = await services.actor(fake.who("mod", "moderator"))
    seen = await review_bulk.preview(services, mod, QueueFilter(code=Category.SEX))
    assert set(seen.ids) == {case.id for case in cases[1:]}
    assert (seen.codes, seen.members, seen.left_out) == ((("SEX", 3),), 3, 1)
    everything = [case.id for case in cases]
    done = await review_bulk.decide_many(services, mod, everything, Ruling.DENY, code="SEX")
    assert (done.decided, done.skipped) == (3, 1)
    clock.advance(9 * 60_000)
    assert await review_bulk.undo_many(services, mod, done.batch) == 3
    rows = database.read(lambda s: s.exec(select(Case)).all())
    assert sorted(str(row.status) for row in rows) == ["claimed", "open", "open", "open"]
    assert {g.status for g in database.read(lambda s: s.exec(select(Generation)).all())} == {"held"}
    assert database.read(audit.verify) == []
    assert sound(database)


async def test_a_break_is_proposed_to_who_has_seen_much(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    choose(database, review={"rest_hourly": 2})

    async def look() -> Reply:
        return await fake.press(Verb.REVEAL, case.id, **MOD)

    assert "break" not in (await look()).text
    assert "Take a break" in (await look()).text

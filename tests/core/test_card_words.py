"""What stands on a card besides the result: the workspace's own words, what moderators decided."""

from __future__ import annotations

from bot.adapters.web.render import Look, Renderer
from bot.core.delivery import Delivery
from bot.core.reply import Reply, Verb
from bot.core.services import Services
from storage.database import Database
from storage.schema import Category, Verdict
from tests.core.test_commands import finish, picture
from tests.core.test_muse import Studio, studio
from tests.core.test_review_walk import MIA, MOD, button, delivery, hold, told
from tests.fakes import FakeAdapter

__all__ = ["delivery", "studio"]  # fixtures


def on_the_page(reply: Reply) -> str:
    return Renderer().card(reply, Look())


async def test_the_workspaces_words_stand_under_every_picture(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    said = {"action": "set", "path": "disclosure", "value": "Made in class 4b."}
    assert (await fake.say("config", role="admin", **said)).code is None
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    finish(database, (picture(services.blobs.put(b"png", "png"), Verdict()),))
    card = await fake.press(Verb.SHOW, job)
    assert card.text == "Made by AI Made in class 4b."
    assert on_the_page(card).count("Made in class 4b.") == 1


async def test_what_a_moderator_approved_says_so(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    job = (await fake.say("imagine", prompt="a statue")).job_id or ""
    case = hold(database, services, job, Category.SEX)
    await fake.press(Verb.APPROVE, case.id, **MOD)
    assert "A moderator has looked at this" in on_the_page(await told(fake, delivery, job))


async def test_the_workspaces_words_stand_under_every_answer(studio: Studio) -> None:
    studio.speaker.answers = ["Paris."]
    await studio.fake.say("help")
    said = {"action": "set", "path": "disclosure", "value": "Ask a teacher too."}
    assert (await studio.fake.say("config", role="admin", **said)).code is None
    card = await studio.ask(prompt="the capital of France?")
    assert [field.value for field in card.fields if field.label == "Note"] == ["Ask a teacher too."]
    assert card.text == "Paris." and "Ask a teacher too." in on_the_page(card)


async def test_a_decided_prompt_no_longer_waits(
    fake: FakeAdapter, services: Services, database: Database, delivery: Delivery
) -> None:
    job = (await fake.say("imagine", prompt="a marble statue")).job_id or ""
    case = hold(database, services, job, Category.SEX, "text.terms")
    assert (await told(fake, delivery, job)).prompt == "(waiting for a moderator)"
    await fake.press(Verb.DENY, case.id, **MOD, code="SEX")
    card = await told(fake, delivery, job)
    assert card.prompt == "(not shown)"
    await fake.press(Verb.APPEAL, button(card, Verb.APPEAL), text="It is art.")
    assert (await told(fake, delivery, job)).prompt == "(waiting for a moderator)"
    await fake.press(Verb.OVERTURN, case.id, **MIA)
    card = await told(fake, delivery, job)
    assert card.prompt == "a marble statue"
    assert "Your appeal was right" in on_the_page(card)

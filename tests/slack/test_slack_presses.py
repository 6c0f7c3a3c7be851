"""Buttons: a verb and an id, checked by the core at press time, whoever drew them."""

from __future__ import annotations

import pytest
from sqlmodel import select

from storage.models import Case, Generation, Job
from storage.schema import GenerationStatus, JobStatus, parse_spec
from tests.conftest import row, sound
from tests.core.test_commands import answer, picture
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in
from tests.slack.world import Stored


async def finished(
    studio: Studio, ann: Person, line: str = "/imagine a red apple seed:7"
) -> Stored:
    await ann.slash(line)
    card = await card_in(studio)
    made = answer("Paris.") if line.startswith("/ask") else picture(studio.put())
    await studio.finish(made)
    await until(lambda: buttons(card.blocks, "reroll") or buttons(card.blocks, "regenerate"))
    return card


def jobs_of(studio: Studio) -> list[Job]:
    return list(studio.database.read(lambda s: s.exec(select(Job).order_by(Job.id)).all()))  # type: ignore[arg-type]


async def test_cancel_by_its_owner(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a house")
    card = await card_in(studio)
    await ann.press(card, "cancel")
    await until(lambda: "Cancelled" in card.shown())
    assert not buttons(card.blocks, "cancel")
    assert sound(studio.database)


async def test_cancel_by_somebody_else_gets_a_private_sentence(
    studio: Studio, ann: Person, bob: Person
) -> None:
    await ann.slash("/imagine a house")
    card = await card_in(studio)
    await bob.press(card, "cancel")
    assert "or a moderator" in (await until(bob.notes))[-1]
    assert jobs_of(studio)[0].status == JobStatus.QUEUED
    assert buttons(card.blocks, "cancel")


async def test_an_admin_of_the_workspace_may_cancel(
    studio: Studio, ann: Person, bob: Person
) -> None:
    studio.server.people["UBOB"] = {"is_admin": True}
    await ann.slash("/imagine a house")
    card = await card_in(studio)
    await bob.press(card, "cancel")
    await until(lambda: "Cancelled" in card.shown())


async def test_reroll_posts_a_new_card(studio: Studio, ann: Person) -> None:
    card = await finished(studio, ann)
    await ann.press(card, "reroll")
    again = await card_in(studio, nth=1)
    assert "a red apple" in again.shown()
    first, second = jobs_of(studio)
    assert second.parent_id == first.id
    assert parse_spec(second.spec).seed != 7
    assert buttons(card.blocks, "reroll"), "the first card stays"


async def test_regenerate_posts_a_new_answer(studio: Studio, ann: Person) -> None:
    card = await finished(studio, ann, "/ask What is the capital of France?")
    await ann.press(card, "regenerate")
    again = await card_in(studio, nth=1)
    assert "capital of France" in again.shown()


async def test_edit_opens_at_once_and_is_filled_after(studio: Studio, ann: Person) -> None:
    """A trigger lives three seconds: first the dialogue, then what is in it."""
    card = await finished(studio, ann)
    await ann.press(card, "edit")
    await until(lambda: studio.server.of("views.update"))
    (view,) = studio.server.views.values()
    inputs = [b for b in view["blocks"] if b["type"] == "input"]
    assert len(inputs) <= 5
    given = {b["block_id"]: b["element"].get("initial_value") for b in inputs}
    assert given["option.prompt"] == "a red apple"
    assert given["option.seed"] == "7"
    await ann.submit(view, prompt="a green apple")
    again = await card_in(studio, nth=1)
    assert "a green apple" in again.shown()
    assert parse_spec(jobs_of(studio)[1].spec).seed == 7


async def test_edit_by_somebody_else_says_why_in_the_dialogue(
    studio: Studio, ann: Person, bob: Person
) -> None:
    card = await finished(studio, ann)
    await bob.press(card, "edit")
    await until(lambda: studio.server.of("views.update"))
    (view,) = studio.server.views.values()
    assert not [b for b in view["blocks"] if b["type"] == "input"]
    assert "moderator" in str(view)


@pytest.mark.parametrize("verb", ["vary_subtle", "vary_strong", "upscale"])
async def test_what_is_made_from_a_picture(studio: Studio, ann: Person, verb: str) -> None:
    card = await finished(studio, ann)
    await ann.press(card, verb)
    await until(lambda: len(studio.server.in_channel("C1")) > 1 or ann.notes())
    if ann.notes():  # a mode that this studio's model does not have: said in words
        assert "nothing was charged" in ann.notes()[-1].lower() or "model" in ann.notes()[-1]
    else:
        assert len(jobs_of(studio)) == 2


async def test_delete_takes_the_bytes_from_slack_too(studio: Studio, ann: Person) -> None:
    card = await finished(studio, ann)
    (file,) = studio.server.files
    await ann.press(card, "delete")
    await until(lambda: not any(b["type"] == "image" for b in card.blocks))
    await until(lambda: file not in studio.server.files)
    assert "Deleted" in card.shown()


async def test_report_opens_a_case(studio: Studio, ann: Person, bob: Person) -> None:
    card = await finished(studio, ann)
    await bob.press(card, "report")
    assert "Thank you" in (await until(bob.notes))[-1]
    assert len(studio.database.read(lambda s: s.exec(select(Case)).all())) == 1


async def test_favourite_sends_a_copy_as_a_direct_message(
    studio: Studio, ann: Person, bob: Person
) -> None:
    card = await finished(studio, ann)
    await bob.press(card, "favourite")
    copy = await card_in(studio, bob.direct)
    assert any(b["type"] == "image" for b in copy.blocks)
    assert not [b for b in copy.blocks if b["type"] == "actions"]
    assert (await until(bob.notes))[-1]


async def test_a_button_from_before_the_restart_works(studio: Studio, ann: Person) -> None:
    card = await finished(studio, ann)
    await studio.die()
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        await ann.press(card, "reroll")
        again = await card_in(second, nth=1)
        assert "a red apple" in again.shown()
        await ann.press(card, "delete")
        await until(lambda: not any(b["type"] == "image" for b in card.blocks))
        await until(lambda: studio.server.files == {})


@pytest.mark.parametrize(
    ("action_id", "value"),
    [
        ("press.delete.0", "0" * 26), ("press.delete.0", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("press.cancel.0", "' OR 1=1 --"), ("press.explode.0", "x"), ("press.delete.0", "x" * 2000),
        ("press.cancel", "\x00"), ("PRESS.cancel.0", "x"), ("press.delete.0.0", "x"),
        ("press.award.0", "1000000"), ("press.edit.0", "../../etc/passwd"),
    ],
)  # fmt: skip
async def test_tampered_buttons_change_nothing(
    studio: Studio, ann: Person, bob: Person, action_id: str, value: str
) -> None:
    card = await finished(studio, ann)
    left = {"delivered_at"}  # delivery's own business
    before = [job.model_dump(exclude=left) for job in jobs_of(studio)]
    action = {"type": "button", "action_id": action_id, "value": value}
    await bob.act(action, card)
    await bob.act(action | {"value": None}, card)
    await bob.act(action | {"value": {"job": 1}}, card)
    await bob.slash("/credits")  # whatever was done is done before this is answered
    await until(lambda: any("spend" in note for note in bob.notes()))
    assert [job.model_dump(exclude=left) for job in jobs_of(studio)] == before
    made = studio.database.read(lambda s: s.exec(select(Generation)).one())
    assert made.status == GenerationStatus.VISIBLE
    assert sound(studio.database)


async def test_a_job_of_another_workspace_is_no_job(studio: Studio, ann: Person) -> None:
    from tests.conftest import actor, submitted

    card = await finished(studio, ann)
    stranger = actor(studio.database, "eve", workspace="elsewhere")
    foreign = submitted(studio.database, stranger)
    action = {"type": "button", "action_id": "press.cancel.0", "value": foreign.id}
    await ann.act(action, card)
    assert "no such job" in (await until(ann.notes))[-1]
    assert row(studio.database, foreign.id).status == JobStatus.QUEUED


async def test_five_presses_at_once_are_one_job(studio: Studio, ann: Person) -> None:
    import asyncio

    card = await finished(studio, ann)
    payload = await ann.press(card, "reroll")
    await asyncio.gather(*(studio.server.push("interactive", payload) for _ in range(4)))
    await card_in(studio, nth=1)
    await ann.slash("/credits")
    await until(ann.notes)
    assert len(jobs_of(studio)) == 2
    assert len(studio.server.in_channel("C1")) == 2

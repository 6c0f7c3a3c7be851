"""Presses: who may, what a changed id does, dialogues, menus, copies, questions first."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from bot.adapters.discord.ids import press_id
from storage.models import Case, Job
from storage.schema import GenerationStatus, JobStatus
from tests.conftest import actor, sound, submitted
from tests.discord.stage import Stage, answer, apple, labels_of, texts_of


async def made(stage: Stage, **options: Any) -> str:
    """Ann's finished picture; the job's id."""
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple", **options)
    job = stage.finish(*(stage.picture(i) for i in range(options.get("count", 1))))
    await stage.deliver()
    return job


@pytest.mark.parametrize("label", ["Reroll", "Same seed and edit", "Vary a little"])
async def test_a_strangers_press_gets_a_private_sentence(stage: Stage, label: str) -> None:
    await made(stage)
    result = await stage.eve.click(stage.shown(stage.cards()[0]), label=label)
    assert result.modal is None
    assert "Only who asked for it" in stage.private(result)
    assert len(stage.jobs()) == 1
    assert len(stage.cards()) == 1


async def forge(stage: Stage, custom_id: str, who: Any = None) -> Any:
    """A press with an id that Discord never drew: the client was changed."""
    (card,) = stage.cards()
    node = next(n for n in card.components[0]["components"] if n["type"] == 1)
    node["components"][0]["custom_id"] = custom_id
    return await (who or stage.ann).click(stage.shown(card), custom_id=custom_id)


@pytest.mark.parametrize(
    ("verb", "target"),
    [
        ("reroll", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("cancel", ""),
        ("delete", "' OR 1=1 --"),
        ("explode", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("reroll", "../../etc/passwd"),
        ("report", "\u202e\u200b"),
        ("edit", "x" * 50),
    ],
)
async def test_a_tampered_id_changes_nothing_and_is_answered(
    stage: Stage, verb: str, target: str
) -> None:
    await made(stage)
    before = stage.database.read(lambda s: [j.model_dump() for j in s.exec(select(Job))])
    result = await forge(stage, press_id(verb, target))
    assert stage.private(result), "a sentence, not silence"
    after = stage.database.read(lambda s: [j.model_dump() for j in s.exec(select(Job))])
    assert after == before
    assert sound(stage.database)


async def test_an_id_of_another_server_changes_nothing(stage: Stage) -> None:
    stranger = actor(stage.database, workspace="elsewhere", credits=50, now=stage.services.clock())
    await made(stage)
    theirs = submitted(stage.database, stranger, now=stage.services.clock())
    for verb in ("cancel", "reroll", "show"):
        result = await forge(stage, press_id(verb, theirs.id))
        assert "no such job here" in stage.private(result)
    rows = {job.id: job.status for job in stage.jobs()}
    assert rows[theirs.id] == JobStatus.QUEUED


async def test_edit_opens_a_dialogue_with_the_jobs_own_values_and_makes_a_new_job(
    stage: Stage,
) -> None:
    await made(stage, seed="7")
    opened = await stage.ann.click(stage.shown(stage.cards()[0]), label="Same seed and edit")
    assert opened.modal is not None
    labels = opened.modal["components"]
    assert len(labels) == 5
    assert all(node["type"] == 18 for node in labels), "each input has a label"
    values = {n["component"]["custom_id"]: n["component"].get("value") for n in labels}
    assert values["prompt"] == "a red apple"
    assert values["seed"] == "7"
    await stage.ann.submit_modal(opened, {"prompt": "a green apple", "seed": "7"})
    assert len(stage.jobs()) == 2
    assert stage.jobs()[1].spec["prompt"] == "a green apple"
    assert stage.jobs()[1].spec["seed"] == 7
    assert "a green apple" in texts_of(stage.cards()[1])


async def test_a_dialogue_that_was_open_during_a_restart_still_works(stage: Stage) -> None:
    await made(stage, seed="7")
    opened = await stage.ann.click(stage.shown(stage.cards()[0]), label="Same seed and edit")
    await stage.restart()
    result = await stage.ann.submit_modal(opened, {"prompt": "a green apple", "seed": "7"})
    assert result.acknowledged
    assert stage.jobs()[-1].spec["prompt"] == "a green apple"


async def test_a_refused_word_in_a_dialogue_is_answered_privately(stage: Stage) -> None:
    await made(stage)
    opened = await stage.ann.click(stage.shown(stage.cards()[0]), label="Same seed and edit")
    result = await stage.ann.submit_modal(opened, {"prompt": "hardcore porn, blowjob"})
    said = stage.private(result)
    assert "do not allow" in said
    assert "porn" not in said
    assert len(stage.jobs()) == 1


async def test_delete_asks_first_and_then_the_picture_is_gone(stage: Stage) -> None:
    await made(stage)
    (card,) = stage.cards()
    asked = await stage.ann.click(stage.shown(card), label="Delete")
    assert "for good" in stage.private(asked)
    assert stage.cards()[0].attachments, "nothing happened yet"
    assert asked.response is not None
    result = await stage.ann.click(asked.response, label="Delete")
    assert "Done" in texts_of(result.response)
    job = stage.jobs()[0]
    from bot.core.cards import job_reply

    reply = await job_reply(stage.services, job.id, "en", workspace_id=job.workspace_id)
    await stage.client.presenter.update_now(reply)
    assert stage.cards()[0].attachments == []
    assert "Deleted" in texts_of(stage.cards()[0])


async def test_report_asks_first_and_opens_one_case(stage: Stage) -> None:
    await made(stage)
    (card,) = stage.cards()
    for _ in range(2):
        asked = await stage.eve.click(stage.shown(card), label="Report")
        assert asked.response is not None
        result = await stage.eve.click(asked.response, label="Report")
        assert "moderator will look" in texts_of(result.response)
    assert len(stage.database.read(lambda s: s.exec(select(Case)).all())) == 1


async def test_a_kept_copy_arrives_as_a_direct_message(stage: Stage) -> None:
    await made(stage)
    result = await stage.ann.click(stage.shown(stage.cards()[0]), label="Keep a copy")
    assert "private messages" in stage.private(result)
    channel = stage.env.backend.dm_channels[stage.ann.id]
    (copy,) = stage.env.backend.messages[channel].values()
    assert copy.attachments


async def test_use_as_start_image_asks_for_words_and_starts_from_that_picture(
    stage: Stage,
) -> None:
    theirs = await stage.eve.send(stage.channel, "look", attachments=[("cat.png", apple())])
    opened = await stage.ann.context_menu(stage.channel, "Use as start image", theirs)
    assert opened.modal is not None
    seen = stage.overheard()
    await stage.ann.submit_modal(opened, {"prompt": "as a watercolour"})
    assert seen[0].command == "imagine"
    assert seen[0].values["prompt"] == "as a watercolour"
    assert seen[0].values["image"].url == theirs.attachments[0].url
    again = await stage.ann.context_menu(
        stage.channel, "Use as start image", await stage.eve.send(stage.channel, "no picture")
    )
    assert "no picture" in stage.private(again)


async def test_a_start_image_chosen_before_a_restart_is_asked_for_again(stage: Stage) -> None:
    theirs = await stage.eve.send(stage.channel, "look", attachments=[("cat.png", apple())])
    opened = await stage.ann.context_menu(stage.channel, "Use as start image", theirs)
    await stage.restart()
    result = await stage.ann.submit_modal(opened, {"prompt": "as a watercolour"})
    assert "choose the picture again" in stage.private(result)
    assert stage.jobs() == []


async def test_the_describe_menu_puts_that_picture_into_words(stage: Stage) -> None:
    theirs = await stage.eve.send(stage.channel, "look", attachments=[("cat.png", apple())])
    seen: list[Any] = []

    async def spied(invocation: Any) -> Any:
        from bot.core.reply import Reply

        seen.append(invocation)
        return Reply(text="A red apple.")

    stage.client.core.dispatch = spied  # type: ignore[method-assign]
    result = await stage.ann.context_menu(stage.channel, "Describe", theirs)
    assert seen[0].command == "describe"
    assert [v.url for v in seen[0].values.values()] == [theirs.attachments[0].url]
    assert "A red apple." in stage.private(result)


async def test_a_held_picture_is_reviewed_in_chat_and_then_posted_where_it_was_asked_for(
    stage: Stage,
) -> None:
    from bot.core.cards import job_reply
    from tests.discord.stage import held

    await stage.ann.slash(stage.channel, "imagine", prompt="a knight")
    stage.finish(stage.picture(verdict=held()))
    await stage.deliver()
    desk = (await stage.mod.slash(stage.channel, "review")).response
    assert desk is not None
    opened = await stage.mod.click(desk, label=labels_of(desk)[0])
    shown = opened.followups[0] if opened.followups else opened.response
    assert shown is not None
    assert shown.ephemeral
    assert [a for a in labels_of(shown) if "Approve" in a]
    assert all(f.filename.startswith("SPOILER_") for f in shown.attachments)
    await stage.mod.click(shown, label=next(a for a in labels_of(shown) if a == "Approve"))
    job = stage.jobs()[0]
    reply = await job_reply(stage.services, job.id, "en", workspace_id=job.workspace_id)
    await stage.client.presenter.update_now(reply)
    assert stage.cards()[0].attachments, "everybody sees it now"
    assert "Held" not in texts_of(stage.cards()[0])


async def test_closed_direct_messages_are_said(stage: Stage) -> None:
    await made(stage)
    stage.env.inject_error("POST", "/channels/*/messages", status=403, code=50007)
    result = await stage.ann.click(stage.shown(stage.cards()[0]), label="Keep a copy")
    assert "direct messages" in stage.private(result)


async def test_show_brings_a_job_and_its_buttons_back_privately(stage: Stage) -> None:
    job = await made(stage)
    result = await stage.ann.slash(stage.channel, "job", job=job)
    assert result.ephemeral
    assert result.response is not None
    assert result.response.attachments
    assert "Reroll" in labels_of(result.response)
    assert len(stage.cards()) == 1
    stranger = await stage.eve.slash(stage.channel, "job", job=job)
    assert "Only who asked for it" in stage.private(stranger)


async def test_four_pictures_have_numbered_buttons_within_discords_limits(stage: Stage) -> None:
    await made(stage, count=4)
    (card,) = stage.cards()
    assert len(card.attachments) == 4
    assert labels_of(card).count("4") == 5, "a line of small buttons for each picture"
    assert "🔍 Upscale" in texts_of(card), "and a legend of their signs"

    def count(nodes: Any) -> int:
        return sum(1 + count(n.get("components")) for n in nodes or ())

    assert count(card.components) <= 40


async def test_regenerate_and_stop_on_an_answer(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "ask", prompt="What is the capital of France?")
    assert labels_of(stage.cards()[0]) == ["Stop"]
    stage.finish(answer("Paris."))
    await stage.deliver()
    assert "Paris." in texts_of(stage.cards()[0])
    await stage.ann.click(stage.shown(stage.cards()[0]), label="Regenerate")
    assert len(stage.jobs()) == 2
    await stage.ann.click(stage.shown(stage.cards()[1]), label="Stop")
    assert stage.jobs()[1].status == JobStatus.CANCELLED


async def test_the_report_menu_reports_what_we_made_and_nothing_else(stage: Stage) -> None:
    await made(stage)
    (card,) = stage.cards()
    result = await stage.eve.context_menu(stage.channel, "Report", stage.shown(card))
    assert "moderator will look" in stage.private(result)
    theirs = await stage.ann.send(stage.channel, "hello")
    result = await stage.eve.context_menu(stage.channel, "Report", theirs)
    assert "only report what I made" in stage.private(result)
    assert len(stage.database.read(lambda s: s.exec(select(Case)).all())) == 1


async def test_blurred_pictures_are_spoilers(stage: Stage) -> None:
    from storage.schema import Category, Outcome
    from tests.discord.stage import held

    await stage.ann.slash(stage.channel, "imagine", prompt="a battle")
    picture = stage.picture(verdict=held(Category.GORE, Outcome.BLUR), data=apple())
    assert picture.status is GenerationStatus.BLURRED
    stage.finish(picture)
    await stage.deliver()
    (card,) = stage.cards()
    assert card.attachments[0]["filename"].startswith("SPOILER_")
    gallery = next(n for n in card.components[0]["components"] if n["type"] == 12)
    assert gallery["items"][0]["spoiler"] is True

"""What members of other bots complain of most (shared/FIELD.md, section 2), one test a line.

The number in a test's name is the line's. Lines that no front end can answer are tested in their
own rooms (fairness in storage, filters in moderation); Slack's own are tested with Slack.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from sqlmodel import select

from bot.adapters.discord.render import pages, words_for
from bot.core.cards import job_reply
from storage.models import Job, Reservation
from storage.schema import Event, EventType, JobStatus, Platform
from tests.conftest import actor, set_limits, sound, submitted
from tests.discord.stage import Stage, answer, held, labels_of, noise, texts_of, until


async def imagine(stage: Stage, prompt: str = "a red apple", **options: Any) -> str:
    """Ann asks for a picture; the job's id."""
    await stage.ann.slash(stage.channel, "imagine", prompt=prompt, **options)
    return stage.jobs()[-1].id


async def test_01_buttons_work_after_a_restart_and_forever(stage: Stage) -> None:
    await imagine(stage)
    stage.finish(stage.picture())
    await stage.deliver()
    await stage.restart()
    await stage.env.advance_time(40 * 86_400)
    (card,) = stage.cards()
    result = await stage.ann.click(stage.shown(card), label="Reroll")
    assert result.acknowledged
    assert len(stage.jobs()) == 2, "the button made its job"
    assert len(stage.cards()) == 2, "the new job has its own card"


async def test_02_a_personal_limit_is_said_privately_and_costs_nothing(stage: Stage) -> None:
    set_limits(stage.database, max_queued=1)
    await imagine(stage)
    result = await stage.ann.slash(stage.channel, "imagine", prompt="another")
    assert "in line" in stage.private(result)
    assert len(stage.jobs()) == 1
    assert len(stage.cards()) == 1
    assert sound(stage.database)


async def test_04_place_and_eta_are_on_the_card_and_the_bar_is_its_owners(stage: Stage) -> None:
    job = await imagine(stage)
    (card,) = stage.cards()
    assert "Place 1 of 1" in texts_of(card)
    assert "<t:" in texts_of(card)
    assert "asked by Ann" in texts_of(card)
    claim = stage.claim()
    await stage.progress(claim.job_id, step=5, steps=20)
    reply = await job_reply(stage.services, job, "en", workspace_id=stage.jobs()[0].workspace_id)
    running = pages(reply, words_for("en"))[0]
    shown = json.dumps(running.view.to_components(), ensure_ascii=False)
    assert "25 %" in shown
    assert "▰▰▰▱" in shown
    assert "asked by Ann" in shown, "whose bar it is"


async def test_05_the_place_counts_what_other_servers_wait_for(stage: Stage) -> None:
    stranger = actor(stage.database, workspace="elsewhere", credits=50, now=stage.services.clock())
    for _ in range(3):
        submitted(stage.database, stranger, now=stage.services.clock())
    await imagine(stage)
    (card,) = stage.cards()
    assert "of 4" in texts_of(card)


async def test_06_cancel_stops_my_job_only_mine_and_really(stage: Stage) -> None:
    mine = await imagine(stage)
    (card,) = stage.cards()
    stranger = await stage.eve.click(stage.shown(card), label="Cancel")
    assert "Only who asked for it" in stage.private(stranger)
    assert stage.jobs()[0].status == JobStatus.QUEUED, "a stranger's press changed nothing"
    result = await stage.ann.click(stage.shown(card), label="Cancel")
    assert result.acknowledged
    assert stage.jobs()[0].status == JobStatus.CANCELLED
    (card,) = stage.cards()
    assert "Cancelled" in texts_of(card)
    assert "Nothing was charged" in texts_of(card)
    assert stage.database.write(lambda s: s.get_one(Reservation, mine)).state == "released"
    # A moderator may, and a running job is asked to stop within a step.
    await imagine(stage)
    claim = stage.claim()
    await stage.mod.click(stage.shown(stage.cards()[-1]), label="Cancel")
    assert stage.jobs()[-1].cancel_requested_at is not None
    assert claim.job_id == stage.jobs()[-1].id


async def test_08_what_is_held_is_seen_by_nobody_before_a_moderator(stage: Stage) -> None:
    await imagine(stage)
    stage.finish(stage.picture(verdict=held()))
    await stage.deliver()
    (card,) = stage.cards()
    assert card.attachments == []
    assert "Held for review" in texts_of(card)


async def test_09_a_hold_says_why_in_words(stage: Stage) -> None:
    await imagine(stage)
    stage.finish(stage.picture(verdict=held()))
    await stage.deliver()
    (card,) = stage.cards()
    assert "threats and violence" not in texts_of(card), "why is not for the whole channel"
    assert "was told why" in texts_of(card)
    (note,) = stage.direct_messages()
    assert "threats and violence" in texts_of(note)
    assert stage.jobs()[0].id in texts_of(note), "and where its buttons are"
    assert labels_of(note) == [], "a server's buttons are dead in direct messages"
    await stage.deliver()
    assert len(stage.direct_messages()) == 1


async def test_10_a_result_is_posted_although_the_token_has_ended(stage: Stage) -> None:
    await imagine(stage)
    await stage.env.advance_time(16 * 60)
    stage.finish(stage.picture())
    await stage.deliver()
    (card,) = stage.cards()
    assert len(card.attachments) == 1
    assert stage.jobs()[0].delivered_at is not None


async def test_11_every_event_is_acknowledged_before_database_queue_or_model(stage: Stage) -> None:
    asked: list[bool] = []
    calls: Any = stage.env.backend.http_requests
    seen = 0

    def spy(call: Any) -> Any:
        async def spied(*args: Any, **kwargs: Any) -> Any:
            asked.append(any(c.path.endswith("/callback") for c in calls[seen:]))
            return await call(*args, **kwargs)

        return spied

    for name in ("run", "look"):
        setattr(stage.services.database, name, spy(getattr(stage.services.database, name)))
    for act in (
        lambda: stage.ann.slash(stage.channel, "imagine", prompt="a"),
        lambda: stage.ann.slash(stage.channel, "ask", prompt="a"),
        lambda: stage.ann.slash(stage.channel, "credits"),
        lambda: stage.ann.click(stage.shown(stage.cards()[0]), label="Cancel"),
    ):
        asked.clear()
        seen = len(calls)
        result = await act()
        assert result.acknowledged
        assert asked, "the database was asked"
        assert all(asked), "and only after Discord had its acknowledgement"


async def test_12_a_long_answer_is_split_and_never_cut(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "ask", prompt="Tell me everything")
    paragraphs = [f"Paragraph {n}. " + "All of it matters. " * 25 for n in range(20)]
    code = "```python\n" + "\n".join(f"line_{n} = {n}" for n in range(300)) + "\n```"
    stage.finish(answer("\n\n".join([*paragraphs, code])))
    await stage.deliver()
    cards = stage.cards()
    assert len(cards) > 2
    whole = "\n".join(texts_of(card) for card in cards)
    assert all(f"Paragraph {n}." in whole for n in range(20))
    assert all(f"line_{n} = {n}\n" in whole for n in range(300))
    for card in cards:
        text = texts_of(card)
        assert len(text) <= 4000
        assert text.count("```") % 2 == 0, "a code block is closed and opened again"
    assert labels_of(cards[0]) == []
    assert "Regenerate" in labels_of(cards[-1])


async def test_16_the_same_event_five_times_at_once_is_one_job(stage: Stage) -> None:
    emit: Any = stage.env.backend.emit

    def fivefold(name: str, payload: Any, *args: Any, **kwargs: Any) -> Any:
        times = 5 if name == "INTERACTION_CREATE" else 1
        for _ in range(times):
            emit(name, payload, *args, **kwargs)

    stage.env.backend.emit = fivefold  # type: ignore[method-assign]
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert len(stage.jobs()) == 1
    assert len(stage.cards()) == 1
    assert sound(stage.database)


async def test_17_a_hundred_updates_are_a_few_edits(stage: Stage) -> None:
    job = await imagine(stage)
    stage.claim()
    editor = stage.client.presenter.editor
    editor.gap_s = editor.channel_gap_s = 0.3
    running = asyncio.create_task(editor.run())
    place = stage.jobs()[0]
    before, began = len(stage.env.http_requests), time.monotonic()
    for step in range(100):
        await stage.progress(job, step=step % 20 + 1, steps=20)
        reply = await job_reply(stage.services, job, "en", workspace_id=place.workspace_id)
        await stage.client.presenter.update(_address(place), reply)
    await until(lambda: "100 %" in texts_of(stage.cards()[0]))
    running.cancel()
    edits = [c for c in stage.env.http_requests[before:] if c.method == "PATCH"]
    took = time.monotonic() - began
    assert 1 <= len(edits) <= 3 + took / 0.3, "one a gap, not one an update"
    assert "100 %" in texts_of(stage.cards()[0]), "the newest state is the one that is shown"


async def test_18_a_picture_too_large_is_refitted_not_lost(stage: Stage) -> None:
    await imagine(stage)
    big = noise(1900)
    assert len(big) > 10 * 2**20
    stage.finish(stage.picture(data=big))
    await stage.deliver()
    (card,) = stage.cards()
    (file,) = card.attachments
    assert file["filename"].endswith((".webp", ".jpg"))
    assert file["size"] <= 10 * 2**20


async def test_20_members_create_only_where_the_admins_say(stage: Stage) -> None:
    quiet = stage.guild.create_text_channel("quiet")
    boss = stage.boss
    opened = await boss.slash(stage.channel, "setup")
    assert opened.response is not None
    await boss.select(opened.response, [stage.channel], custom_id="at1setup:channels")
    result = await stage.ann.slash(quiet, "imagine", prompt="a red apple")
    assert "channel" in stage.private(result)
    assert stage.jobs() == []
    await imagine(stage)
    assert len(stage.jobs()) == 1


async def test_21_a_busy_machine_queues_instead_of_refusing(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        await imagine(stage, name)
    places = [texts_of(card) for card in stage.cards()]
    assert all(f"Place {n} of {n}" in text for n, text in enumerate(places, start=1))


async def test_22_parameters_and_seed_are_shown_and_a_reroll_keeps_them(stage: Stage) -> None:
    await imagine(stage, seed="7", steps=12)
    stage.finish(stage.picture())
    await stage.deliver()
    (card,) = stage.cards()
    text = texts_of(card)
    assert "Seed `7`" in text
    assert "Steps 12" in text
    assert "128x128" in text
    assert "starter-icons" in text
    await stage.ann.click(stage.shown(card), label="Reroll")
    assert stage.jobs()[1].spec["steps"] == 12
    assert stage.jobs()[1].spec["seed"] != 7


async def test_23_no_output_pings_anybody_on_send_or_on_edit(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "ask", prompt="@everyone <@&1> what is new?")
    stage.finish(answer(f"@everyone @here <@{stage.eve.id}> wake up"))
    await stage.deliver()
    writes = [
        call for call in stage.env.http_requests
        if call.method in ("POST", "PATCH") and isinstance(call.json, dict)
        and ("components" in call.json or "content" in call.json)
    ]  # fmt: skip
    assert len(writes) >= 2
    for call in writes:
        assert call.json["allowed_mentions"] == {"parse": []}, call.path
    assert all(m.ping_user_ids == [] and not m.mention_everyone for m in stage.cards())


async def test_24_no_address_can_be_typed_that_the_bot_fetches(stage: Stage) -> None:
    for info in stage.client.core.catalog("en"):
        for option in info.options:
            assert "url" not in option.name
    command = stage.client.tree.get_command("imagine")
    assert command is not None
    files = [p for p in command.parameters if p.type.name == "attachment"]
    kinds = {o.name for i in stage.client.core.catalog("en") if i.name == "imagine"
             for o in i.options if o.kind == "image"}  # fmt: skip
    assert {p.name for p in files} == kinds, "pictures come as Discord's own attachments only"


async def test_25_the_price_is_said_and_a_failure_says_that_nothing_was_charged(
    stage: Stage,
) -> None:
    await imagine(stage)
    stage.finish(stage.picture())
    await stage.deliver()
    assert "Cost 1 credit" in texts_of(stage.cards()[0])
    await imagine(stage)
    stage.finish(status=JobStatus.FAILED, error_code="bad_picture", cost=0)
    await stage.deliver()
    assert "Nothing was charged" in texts_of(stage.cards()[1])
    assert sound(stage.database)


def _address(job: Job) -> Any:
    from storage.schema import Address

    return Address.model_validate(job.address)


async def test_the_stage_is_real(stage: Stage) -> None:
    """These tests would prove nothing over a core that does not store."""
    await imagine(stage)
    row = stage.database.read(lambda s: s.exec(select(Job)).one())
    assert row.address["platform"] == Platform.DISCORD
    await stage.services.wire.publish(Event(type=EventType.STATE, job_id=row.id))

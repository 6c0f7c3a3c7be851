"""The review room on Discord: announced, decided in dialogues, appealed, posted; settings."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core.delivery import Delivery
from storage import audit
from storage.errors import NotFound
from storage.models import Act, Case, Workspace
from storage.schema import Category, Flag, Outcome, Platform, Role, Verdict
from tests.conftest import sound
from tests.discord.stage import Stage, labels_of, texts_of

HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet")}),
)


def delivery(stage: Stage) -> Delivery:
    shown = stage.client.presenter
    return Delivery(stage.services, {Platform.DISCORD: shown}, {Platform.DISCORD: shown})


def choose(stage: Stage, channel: int) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.platform == Platform.DISCORD)).one()
        row.settings = row.settings | {"review_channel": str(channel)}
        session.add(row)

    stage.database.write(write)


def free(session: Session, case_id: str) -> None:
    """The lock of whoever looked last ends."""
    case = session.get_one(Case, case_id)
    case.claimed_by = case.claimed_until = None
    session.add(case)


async def fill(who: Any, opened: Any, **values: Any) -> Any:
    assert opened.modal is not None
    return await who.submit_modal(opened, values)


async def test_from_held_to_posted_on_discord(stage: Stage) -> None:
    room = stage.guild.create_text_channel("mods")
    await stage.ann.slash(stage.channel, "imagine", prompt="a marble statue")
    stage.finish(stage.picture(verdict=HELD))
    choose(stage, room.id)
    await stage.deliver()
    (card,) = stage.cards()
    assert "Held for review" in texts_of(card)
    assert await delivery(stage).announcer.announce_cases() == 1
    assert await delivery(stage).announcer.announce_cases() == 0
    (notice,) = stage.cards(room)
    assert "Case: SEX" in texts_of(notice) and "marble statue" in texts_of(notice)
    assert {"Approve", "Deny", "Escalate"} <= set(labels_of(notice))

    # A member's press on the moderators' card is refused; the moderator's asks for the rule.
    said = await stage.eve.click(stage.shown(notice), label="Approve")
    assert "Only a moderator" in stage.private(said)
    opened = await stage.mod.click(stage.shown(notice), label="Deny")
    done = await fill(stage.mod, opened, code=["SEX"], note="Not in this channel.")
    assert "the member is told" in stage.private(done)

    # The owner alone is told why; the very same card has an Appeal button.
    await stage.deliver()
    (card,) = stage.cards()
    assert "SEX" not in texts_of(card) and "Appeal" in labels_of(card)
    assert "A person decided this" in texts_of(stage.direct_messages()[-1])
    opened = await stage.ann.click(stage.shown(card), label="Appeal")
    await fill(stage.ann, opened, text="It is art.")
    case = stage.database.read(lambda s: s.exec(select(Case)).one())
    assert case.status == "appealed"
    assert await delivery(stage).announcer.announce_cases() == 1
    again = stage.cards(room)[-1]
    assert "It is art." in texts_of(again)
    said = await stage.mod.click(stage.shown(again), label="Overturn")
    assert "Someone else" in stage.private(said)
    stage.database.write(free, case.id)
    await stage.boss.click(stage.shown(again), label="Overturn")
    await stage.deliver()
    (card,) = stage.cards()
    assert "Your appeal was right" in texts_of(card)
    assert card.attachments, "the picture is there now, on the same message"
    verbs = stage.database.read(
        lambda s: [a.verb for a in s.exec(select(Act).order_by(Act.number))]
    )
    assert [v for v in verbs if v not in ("claim",)] == ["deny", "appeal", "overturn"]
    assert stage.database.read(audit.verify) == []
    assert sound(stage.database)


async def test_a_review_channel_that_is_gone_costs_nothing(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "imagine", prompt="a statue")
    stage.finish(stage.picture(verdict=HELD))
    choose(stage, 1)
    assert await delivery(stage).announcer.announce_cases() == 1
    assert await delivery(stage).announcer.announce_cases() == 0


async def test_an_export_comes_as_a_file_that_only_one_sees(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    result = await stage.ann.slash(stage.channel, "privacy", action="export")
    assert all(message.ephemeral for message in result.followups)
    names = [a.filename for m in result.followups for a in m.attachments]
    assert names == ["atelier-export.zip"]


async def test_settings_open_as_a_dialogue_and_are_saved(stage: Stage) -> None:
    shown = await stage.boss.slash(stage.channel, "config")
    assert "Limits" in labels_of(shown.response)
    opened = await stage.boss.click(shown.response, label="Limits")
    done = await fill(stage.boss, opened, **{"limits.per_minute": "7"})
    assert "Saved" in stage.private(done)
    rows = stage.database.read(lambda s: s.exec(select(Workspace)).all())
    assert [r.settings for r in rows if r.settings] == [{"limits": {"per_minute": 7}}]


async def test_discord_is_asked_what_a_visitor_of_the_page_is_now(stage: Stage) -> None:
    """A role that was taken away counts before its bearer says anything in the chat."""
    ask, server = stage.services.standings[Platform.DISCORD], str(stage.guild.id)
    mo: Any = stage.mod
    found = await ask(server, str(mo.id))
    assert found is not None and found.role is Role.MODERATOR and len(found.roles) == 1
    await stage.client.http.remove_role(stage.guild.id, mo.id, int(found.roles[0]))
    found = await ask(server, str(mo.id))
    assert found is not None and found.role is Role.MEMBER
    assert await ask(server, "123456789") is None
    for elsewhere in ("987654321", "person:1"):
        with pytest.raises(NotFound):
            await ask(elsewhere, str(mo.id))


async def test_that_a_server_took_us_out_is_noted(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "credits")
    guild = stage.client.get_guild(stage.guild.id)
    assert guild is not None
    for turn in (stage.client.on_guild_remove, stage.client.on_guild_remove,
                 stage.client.on_guild_join):  # fmt: skip
        await turn(guild)
    acts = stage.database.read(lambda s: [act.verb for act in s.exec(select(Act))])
    assert acts == ["app_removed", "app_added"]


async def test_a_rules_strike_is_told_and_appealed_where_it_was_refused(stage: Stage) -> None:
    room = stage.guild.create_text_channel("mods")
    said = await stage.ann.slash(stage.channel, "imagine", prompt="leaked nudes of a neighbour")
    assert "strike of weight 5" in stage.private(said) and stage.cards() == []
    choose(stage, room.id)
    opened = await stage.ann.click(said.response or said.followups[0], label="Appeal")
    await fill(stage.ann, opened, text="It is a painting.")
    case = stage.database.read(lambda s: s.exec(select(Case)).one())
    assert case.status == "appealed"
    assert await delivery(stage).announcer.announce_cases() == 1
    (notice,) = stage.cards(room)
    assert "It is a painting." in texts_of(notice)
    await stage.mod.click(stage.shown(notice), label="Overturn")
    await stage.deliver()
    assert stage.cards() == [], "what came of it goes to the member alone"
    channel = stage.env.backend.dm_channels[stage.ann.id]
    texts = [texts_of(m) for m in stage.env.backend.messages[channel].values()]
    assert any("the rule was wrong" in text for text in texts)
    assert sound(stage.database)


async def test_of_a_strike_for_a_mention_the_channel_reads_nothing(stage: Stage) -> None:
    me = f"<@{stage.env.backend.bot_user.id}>"
    await stage.ann.send(stage.channel, f"{me} leaked nudes of a neighbour")
    assert stage.cards() == []
    channel = stage.env.backend.dm_channels[stage.ann.id]
    (note,) = stage.env.backend.messages[channel].values()
    assert "strike of weight 5" in texts_of(note) and labels_of(note) == []
    assert "/strikes" in texts_of(note)
    said = await stage.ann.slash(stage.channel, "strikes")
    opened = await stage.ann.click(said.response or said.followups[0], label="Appeal")
    await fill(stage.ann, opened, text="It is a painting.")
    case = stage.database.read(lambda s: s.exec(select(Case)).one())
    assert case.status == "appealed"

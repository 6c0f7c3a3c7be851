"""The review room on Discord: announced, decided in dialogues, appealed, posted; settings."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, select

from bot.core.delivery import Delivery
from storage import audit
from storage.models import Act, Case, Workspace
from storage.schema import Category, Flag, Outcome, Platform, Verdict
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

"""`/setup` on a fresh server: saved as chosen, undone by choosing nothing, by admins only."""

from __future__ import annotations

from typing import Any

import discord
import pytest
from sqlmodel import select

from bot.adapters.discord.render import words_for
from bot.adapters.discord.setup import PACES, draw, missing, pace_of
from storage.models import SettingChange, Workspace
from storage.rules import Rules, rules_of
from tests.discord.stage import Stage, texts_of


@pytest.fixture
def boss(stage: Stage) -> Any:
    return stage.boss


def rules(stage: Stage) -> Rules:
    row = stage.database.read(
        lambda s: s.exec(
            select(Workspace).where(Workspace.external_id == str(stage.guild.id))
        ).one()
    )
    return rules_of(row.settings)


async def test_each_control_is_saved_and_shows_what_is_stored(stage: Stage, boss: Any) -> None:
    keeper = stage.guild.create_role("Gardeners")
    desk = stage.guild.create_text_channel("desk")
    opened = (await boss.slash(stage.channel, "setup")).response
    assert opened is not None
    await boss.select(opened, [stage.channel], custom_id="at1setup:channels")
    await boss.select(opened, [keeper], custom_id="at1setup:moderators")
    await boss.select(opened, [desk], custom_id="at1setup:review")
    await boss.select(opened, ["calm"], custom_id="at1setup:pace")
    await boss.select(opened, ["zh"], custom_id="at1setup:locale")
    now = rules(stage)
    assert now.commands["imagine"].only_channels == (str(stage.channel.id),)
    assert now.commands["ask"].only_channels == (str(stage.channel.id),)
    assert now.mod_roles == (str(keeper.id),)
    assert now.review_channel == str(desk.id)
    assert pace_of(now) == "calm"
    assert now.locale == "zh"
    written = stage.database.read(lambda s: s.exec(select(SettingChange)).all())
    assert len(written) >= 6, "every change is in the settings book, with who made it"
    again = (await boss.slash(stage.channel, "setup")).response
    drawn = str(again.components)
    assert str(desk.id) in drawn
    assert str(keeper.id) in drawn


async def test_choosing_nothing_is_the_default_again(stage: Stage, boss: Any) -> None:
    opened = (await boss.slash(stage.channel, "setup")).response
    await boss.select(opened, [stage.channel], custom_id="at1setup:channels")
    await boss.select(opened, [], custom_id="at1setup:channels")
    assert rules(stage).commands == {}


async def test_it_works_after_a_restart(stage: Stage, boss: Any) -> None:
    opened = (await boss.slash(stage.channel, "setup")).response
    await stage.restart()
    await boss.select(opened, ["busy"], custom_id="at1setup:pace")
    assert pace_of(rules(stage)) == "busy"


async def test_members_are_refused_on_our_side_whatever_discord_shows_them(stage: Stage) -> None:
    boss = stage.boss
    opened = (await boss.slash(stage.channel, "setup")).response
    stage.guild._guild.members[boss.id].role_ids.clear()  # no admin any more
    used = await boss.select(opened, ["calm"], custom_id="at1setup:pace")
    assert "Only an admin" in texts_of(used.response)
    assert pace_of(rules(stage)) == "standard"


async def test_a_test_picture_goes_the_members_way(stage: Stage, boss: Any) -> None:
    opened = (await boss.slash(stage.channel, "setup")).response
    result = await boss.click(opened, custom_id="at1setup:test")
    assert "On its way" in stage.private(result)
    assert len(stage.cards()) == 1
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.cards()[0].attachments


async def test_a_mapped_role_moderates(stage: Stage, boss: Any) -> None:
    gardeners = stage.guild.create_role("Gardeners")
    opened = (await boss.slash(stage.channel, "setup")).response
    await boss.select(opened, [gardeners], custom_id="at1setup:moderators")
    rose = stage.guild.add_member(stage.env.create_user("rose"), roles=[gardeners])
    await stage.ann.slash(stage.channel, "imagine", prompt="a")
    await rose.click(stage.shown(stage.cards()[0]), label="Cancel")
    assert stage.jobs()[0].status == "cancelled"


def test_lacking_rights_are_named() -> None:
    class Event:
        app_permissions = discord.Permissions(view_channel=True, send_messages=True)

    event: Any = Event()
    assert "attach_files" in missing(event)
    view = draw(Rules(), words_for("en"), missing(event))
    assert "Attach Files" in str(view.to_components())
    assert view.content_length() < 4000


def test_every_pace_is_a_valid_setting() -> None:
    for numbers in PACES.values():
        Rules.model_validate({"limits": dict(numbers)})

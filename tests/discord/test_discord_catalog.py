"""Commands come from the core's one catalog, within Discord's limits, in both languages."""

from __future__ import annotations

from typing import Any

import discord
import pytest

from bot.adapters.discord.app import DiscordClient, intents
from bot.adapters.discord.catalog import guessed
from bot.core.texts import load_words
from storage.schema import Platform, Role
from tests.conftest import actor, image_spec, submitted
from tests.discord.stage import Stage, apple, texts_of


async def payloads(client: DiscordClient) -> dict[tuple[str, int], dict[str, Any]]:
    """Every command as Discord is told it."""
    translator = client.tree.translator
    assert translator is not None
    told = [
        await command.get_translated_payload(client.tree, translator)
        for command in client.tree.get_commands()
    ]
    return {(payload["name"], int(payload.get("type", 1))): payload for payload in told}


async def test_every_command_and_option_of_the_core_is_there_and_no_other(stage: Stage) -> None:
    told = await payloads(stage.client)
    slash = {name for name, kind in told if kind == 1}
    infos = {info.name: info for info in stage.client.core.catalog("en")}
    assert slash == {*infos, "setup"}
    for name, info in infos.items():
        names = {option["name"] for option in told[name, 1].get("options", [])}
        assert names == {option.name for option in info.options}


async def test_everything_is_within_discords_limits(stage: Stage) -> None:
    told = await payloads(stage.client)
    assert len([k for k in told if k[1] == 1]) <= 100
    assert len([k for k in told if k[1] == 3]) <= 5
    for payload in told.values():
        options = payload.get("options", [])
        assert len(options) <= 25
        required = [bool(option.get("required")) for option in options]
        assert required == sorted(required, reverse=True), "required options come first"
        for thing in [payload, *options]:
            if payload.get("type", 1) == 1:
                assert 1 <= len(thing["description"]) <= 100
            for text in (thing.get("description_localizations") or {}).values():
                assert 1 <= len(text) <= 100
        for option in options:
            assert len(option.get("choices") or []) <= 25
            assert not (option.get("choices") and option.get("autocomplete"))
            if option["type"] == 4:
                for bound in ("min_value", "max_value"):
                    assert abs(option.get(bound, 0)) < 2**53, "Discord's numbers are exact to there"


async def test_help_and_options_are_in_chinese_too(stage: Stage) -> None:
    told = await payloads(stage.client)
    for info in stage.client.core.catalog("zh"):
        payload = told[info.name, 1]
        assert payload["description_localizations"]["zh-CN"] == info.help[:100]
        for option in info.options:
            drawn = next(o for o in payload["options"] if o["name"] == option.name)
            assert drawn["description_localizations"]["zh-CN"]
    prompt = next(o for o in told["imagine", 1]["options"] if o["name"] == "prompt")
    assert prompt["name_localizations"]["zh-CN"] == "提示词"


async def test_both_languages_say_everything() -> None:
    from bot.adapters.discord.render import WORDS

    english, chinese = load_words(WORDS, "en"), load_words(WORDS, "zh")
    assert english.keys() == chinese.keys()
    for key, text in chinese.items():
        assert text.strip()
        assert {*_blanks(text)} == {*_blanks(english[key])}, key


def _blanks(text: str) -> list[str]:
    from string import Formatter

    return [name for _, name, _, _ in Formatter().parse(text) if name is not None]


async def test_installs_contexts_and_hints_follow_the_role(stage: Stage) -> None:
    told = await payloads(stage.client)
    for info in stage.client.core.catalog("en"):
        payload = told[info.name, 1]
        if info.role is Role.MEMBER:
            assert sorted(payload["integration_types"]) == [0, 1], "for servers and for people"
            assert sorted(payload["contexts"]) == [0, 1, 2]
        else:
            assert payload["integration_types"] == [0]
            assert payload["default_member_permissions"] is not None
        assert not payload.get("nsfw"), "an age-restricted command could not be listed"


async def test_no_privileged_intent_is_asked_for() -> None:
    wanted = intents()
    assert not wanted.message_content
    assert not wanted.members
    assert not wanted.presences


async def test_a_seed_beyond_discords_numbers_arrives_unchanged(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "imagine", prompt="a", seed=str(2**63 - 1))
    assert stage.jobs()[0].spec["seed"] == 2**63 - 1


async def test_a_question_may_be_as_long_as_the_core_takes(stage: Stage) -> None:
    told = await payloads(stage.client)
    prompt = next(o for o in told["ask", 1]["options"] if o["name"] == "prompt")
    assert prompt["max_length"] == 4000
    await stage.ann.slash(stage.channel, "ask", prompt="word " * 700)
    assert len(stage.jobs()) == 1


async def test_completing_a_model_tells_how_busy_it_is(stage: Stage) -> None:
    stranger = actor(stage.database, workspace="elsewhere", credits=50, now=stage.services.clock())
    for _ in range(3):
        submitted(stage.database, stranger, image_spec(), estimate_ms=4_000,
                  now=stage.services.clock())  # fmt: skip
    offered = await stage.ann.autocomplete(stage.channel, "imagine", "model", "start", prompt="a")
    assert offered
    assert offered[0]["value"] == "starter-icons"
    assert "3 in line, about 12 s" in offered[0]["name"]


async def test_completing_a_style_finds_it_by_either_languages_name(stage: Stage) -> None:
    info = next(i for i in stage.client.core.catalog("en") if i.name == "imagine")
    style = next(o for o in info.options if o.name == "style")
    assert guessed(style)
    wanted = style.choices[-1]
    found = await stage.ann.autocomplete(stage.channel, "imagine", "style", wanted[:4], prompt="a")
    assert wanted in [choice["value"] for choice in found]
    assert len(found) <= 25
    if "flat" in style.choices:
        stage.locale = "zh-CN"
        found = await stage.ann.autocomplete(stage.channel, "imagine", "style", "扁平", prompt="a")
        assert [choice["value"] for choice in found] == ["flat"]


async def test_completion_answers_although_the_database_is_away(stage: Stage) -> None:
    async def away(*args: Any, **kwargs: Any) -> Any:
        raise TimeoutError

    stage.services.database.look = away  # type: ignore[method-assign]
    offered = await stage.ann.autocomplete(stage.channel, "imagine", "model", "", prompt="a")
    assert [choice["value"] for choice in offered]


async def test_a_refusal_is_in_the_readers_language_and_a_card_in_the_servers(
    stage: Stage,
) -> None:
    stage.locale = "zh-CN"
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a", size="7x7")
    assert "必须" in stage.private(result)
    await stage.ann.slash(stage.channel, "imagine", prompt="红苹果")
    assert "排队" in texts_of(stage.cards()[0]) or "位" in texts_of(stage.cards()[0])
    stage.locale, stage.guild_locale = "en-US", "zh-CN"
    await stage.ann.slash(stage.channel, "imagine", prompt="an apple")
    assert "预计完成" in texts_of(stage.cards()[1]), "this server has chosen Chinese"


@pytest.mark.parametrize("restricted", [False, True])
async def test_age_restriction_is_discords_word_and_reaches_the_core(
    stage: Stage, restricted: bool
) -> None:
    channel: Any = stage.client.get_channel(stage.channel.id)
    channel.nsfw = restricted
    seen = stage.overheard()
    await stage.ann.slash(stage.channel, "imagine", prompt="a")
    assert seen[0].venue.age_restricted is restricted
    assert seen[0].address.age_restricted is restricted
    assert stage.claim().age_restricted is restricted, "the worker judges by the same word"
    assert seen[0].venue.installed
    assert seen[0].who.platform is Platform.DISCORD
    assert seen[0].venue.file_limit == 26214400, "as the interaction says"


async def test_a_picture_option_is_discords_own_attachment(stage: Stage) -> None:
    info = next(i for i in stage.client.core.catalog("en") if i.name == "imagine")
    images = [o.name for o in info.options if o.kind == "image"]
    command = stage.client.tree.get_command("imagine")
    assert command is not None
    kinds = {p.name: p.type for p in command.parameters}
    for name in images:
        assert kinds[name] is discord.AppCommandOptionType.attachment
    seen: list[Any] = []

    async def spied(invocation: Any) -> Any:
        from bot.core.reply import Reply

        seen.append(invocation.values)
        return Reply(text="seen")

    stage.client.core.dispatch = spied  # type: ignore[method-assign]
    for name in images:
        await stage.ann.slash(
            stage.channel, "imagine", prompt="a", **{name: ("../../evil.png", apple())}
        )
        assert seen[-1][name].platform is Platform.DISCORD
        told = stage.events[-1]["data"]["resolved"]["attachments"]
        assert seen[-1][name].url == next(iter(told.values()))["url"], "Discord's own address"


async def test_people_are_picked_not_typed(stage: Stage) -> None:
    await stage.eve.slash(stage.channel, "credits")
    await stage.ann.slash(stage.channel, "credits")
    seen = stage.overheard()
    await stage.ann.slash(stage.channel, "gift", member=stage.eve, amount=1)
    assert seen[0].values["member"] == str(stage.eve.id)


async def test_roles_are_discords_permissions_and_entitlements_are_handed_on(stage: Stage) -> None:
    seen = stage.overheard()
    boss = stage.boss
    sku = stage.env.create_sku("Pro")
    await stage.env.grant_entitlement(sku, user=stage.ann)
    for person in (stage.ann, stage.mod, boss):
        await person.slash(stage.channel, "credits")
    assert [one.who.role for one in seen] == [Role.MEMBER, Role.MODERATOR, Role.ADMIN]
    assert seen[0].who.entitlements == (str(sku.id),)
    assert seen[1].who.entitlements == ()
    assert seen[2].who.roles == (str(stage.admins.id),)

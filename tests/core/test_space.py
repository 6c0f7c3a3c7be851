"""Credits, settings, limits and privacy through the front door, on both databases."""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.commands import COMMANDS
from bot.commands.privacy import ledger_csv, pack
from bot.core import config
from bot.core.limits import MAKES
from bot.core.reply import Reply, Verb
from bot.core.services import Services
from bot.core.sums import sums
from bot.core.texts import texts_for
from storage import jobs, switches
from storage.blobs import Blobs
from storage.database import Database
from storage.errors import BadInput, NotFound
from storage.export import Everything
from storage.models import DecisionRecord, Job, Member, SettingChange, Workspace
from storage.registry import AdapterCard
from storage.schema import JobKind, JobStatus
from tests.conftest import HandClock, sound
from tests.fakes import FakeAdapter

ADMIN: dict[str, Any] = {"name": "boss", "role": "admin"}


def settings(database: Database) -> dict[str, Any]:
    return database.read(lambda s: dict(s.exec(select(Workspace)).one().settings))


# -- credits -----------------------------------------------------------------------------------


async def test_credits_say_what_there_is_when_more_comes_and_what_things_cost(
    fake: FakeAdapter, clock: HandClock
) -> None:
    job = await fake.say("imagine", prompt="a red apple")
    card = await fake.say("credits")
    assert card.data["pots"] == {"daily": 0, "monthly": 50, "lasting": 0}
    assert card.data["next_grant_at"] > clock.now
    assert [line["kind"] for line in card.data["entries"]] == ["grant"]
    assert "128x128" in card.text and "+50" in card.text
    assert job.job_id is not None


async def test_a_gift_is_shown_first_and_moves_once(fake: FakeAdapter, database: Database) -> None:
    await fake.say("credits", "bob")
    asked = await fake.say("gift", member="@bob", amount=20)
    assert (await fake.say("credits")).data["available"] == 50, "nothing moved yet"
    [button] = asked.buttons
    assert button.verb is Verb.CONFIRM
    other = await fake.press(Verb.CONFIRM, button.target, "bob")
    assert other.code == "intent_unknown"
    done = await fake.press(Verb.CONFIRM, button.target)
    assert done.code is None and "bob" in done.text
    assert (await fake.press(Verb.CONFIRM, button.target)).code == "intent_unknown"
    assert (await fake.say("credits", "bob")).data["available"] == 70
    assert sound(database)


async def test_a_refused_gift_may_be_confirmed_later(fake: FakeAdapter, clock: HandClock) -> None:
    await fake.say("credits", "bob")
    first = await fake.say("gift", member="bob", amount=50)
    second = await fake.say("gift", member="bob", amount=10)
    await fake.press(Verb.CONFIRM, first.buttons[0].target)
    late = await fake.press(Verb.CONFIRM, second.buttons[0].target)
    assert late.code == "gift_day"
    assert (await fake.press(Verb.CONFIRM, second.buttons[0].target)).code == "gift_day"
    clock.advance(11 * 60_000)
    assert (await fake.press(Verb.CONFIRM, second.buttons[0].target)).code == "intent_unknown"


async def test_codes_and_corrections_are_an_admin_s(fake: FakeAdapter) -> None:
    await fake.say("credits")
    for command, values in (
        ("grant", {"member": "ann", "amount": 5, "reason": "x"}),
        ("tier", {"member": "ann", "tier": "pro"}),
        ("code", {"code": "HELLO", "amount": 5}),
        ("config", {}),
    ):
        assert (await fake.say(command, **values)).code == "role_needed", command
        assert (await fake.say(command, "mod", role="moderator", **values)).code == "role_needed"
    assert (await fake.say("grant", **ADMIN, member="ann", amount=25, reason="prize")).code is None
    assert (await fake.say("code", **ADMIN, code="hello", amount=5, uses=1)).code is None
    assert (await fake.say("redeem", code="HELLO")).code is None
    assert (await fake.say("credits")).data["available"] == 80
    assert (await fake.say("tier", **ADMIN, member="ann", tier="pro", days=3)).code is None
    assert (await fake.say("credits")).data["tier"] == "pro"


async def test_the_same_grant_delivered_twice_is_one(fake: FakeAdapter) -> None:
    await fake.say("credits")
    for _ in range(3):
        await fake.say("grant", **ADMIN, key="k", member="ann", amount=25, reason="prize")
    assert (await fake.say("credits")).data["available"] == 75


async def test_linking_from_another_workspace(fake: FakeAdapter) -> None:
    code = (await fake.say("link")).data["code"]
    fake.workspace = "elsewhere"
    assert (await fake.say("link", "anna", code=code)).code is None
    assert (await fake.say("credits", "anna")).data["available"] == 100
    assert (await fake.say("history", "anna")).data["elsewhere"] == []
    fake.workspace = "guild-1"
    await fake.say("imagine", prompt="a red apple")
    fake.workspace = "elsewhere"
    both = await fake.say("history", "anna")
    assert "a red apple" in both.text and both.buttons == (), "its buttons are where it was asked"
    assert both.data["jobs"] == [] and len(both.data["elsewhere"]) == 1
    assert "a red apple" not in (await fake.say("history", "eve")).text
    assert (await fake.say("link", "anna", undo=True)).code is None
    assert "a red apple" not in (await fake.say("history", "anna")).text


async def test_codes_are_not_guessed_by_the_thousand(fake: FakeAdapter, database: Database) -> None:
    await fake.say("credits")
    change(database, limits={"burst": 2, "per_minute": 1})
    codes = [(await fake.say("redeem", code=f"CODE-{n}")).code for n in range(3)]
    assert codes == ["code_unknown", "code_unknown", "too_fast"]
    assert (await fake.say("link", code="ABCD-EFGH")).code == "too_fast"


# -- limits ------------------------------------------------------------------------------------


def change(database: Database, **values: Any) -> None:
    def write(session: Session) -> None:
        row = session.exec(select(Workspace)).one()
        row.settings = row.settings | values
        session.add(row)

    database.write(write)


async def test_the_operator_s_stop_switch_stops_everything_new(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    job = await fake.say("imagine", prompt="a red apple")
    database.write(switches.turn, switches.STOP, True, now=clock.now)
    for name, role in (("ann", "member"), ("boss", "admin")):
        said = await fake.say("imagine", name, role=role, prompt="a red apple")
        assert said.code == "rule_stopped"
    assert (await fake.press(Verb.REROLL, job.job_id or "")).code == "rule_stopped"
    for command in ("credits", "help", "privacy", "queue", "history"):
        assert (await fake.say(command)).code is None, command
    assert (await fake.say("cancel", job=job.job_id)).status is JobStatus.CANCELLED
    database.write(switches.turn, switches.STOP, False, now=clock.now)
    assert (await fake.say("imagine", prompt="a red apple")).code is None


async def test_a_pause_and_a_time_out_refuse_in_words(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    job = await fake.say("imagine", prompt="a red apple")
    change(database, paused=True)
    assert (await fake.say("ask", prompt="hello")).code == "rule_paused"
    change(database, paused=False)
    records = database.read(lambda s: len(s.exec(select(DecisionRecord)).all()))

    def ban(session: Session) -> None:
        row = session.exec(select(Member)).one()
        row.banned_until = clock.now + 90_000
        session.add(row)

    database.write(ban)
    said = await fake.say("ask", prompt="hello")
    assert said.code == "rule_timed_out" and "2 minutes" in said.text
    assert (await fake.press(Verb.REROLL, job.job_id or "")).code == "rule_timed_out"
    assert len(database.read(lambda s: s.exec(select(DecisionRecord)).all())) == records, (
        "nothing is judged that no rule lets pass"
    )
    clock.advance(90_000)
    assert (await fake.say("ask", prompt="hello")).code is None


async def test_channel_and_role_rules_hold_for_buttons_too(
    fake: FakeAdapter, database: Database
) -> None:
    job = await fake.say("imagine", prompt="a red apple")
    change(database, commands={"imagine": {"only_channels": ["art"]}})
    assert (await fake.say("imagine", prompt="a red apple")).code == "rule_only_channels"
    assert (await fake.press(Verb.REROLL, job.job_id or "")).code == "rule_only_channels"
    fake.channel = "art"
    assert (await fake.press(Verb.REROLL, job.job_id or "")).code is None


async def test_a_flood_is_slowed_and_costs_nothing(fake: FakeAdapter, database: Database) -> None:
    await fake.say("credits")
    change(database, limits={"burst": 2, "per_minute": 6})
    codes = [(await fake.say("imagine", prompt="a red apple")).code for _ in range(4)]
    assert codes == [None, None, "too_fast", "too_fast"]
    assert (await fake.say("credits")).data["pending"] == 2
    assert sound(database)


async def test_a_thousand_commands_give_the_tier_s_jobs_and_no_more(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    """The flood of RELIABILITY.md 5, row 15, one command every 10 ms."""
    accepted = 0
    for _ in range(120):
        accepted += (await fake.say("imagine", prompt="a red apple")).code is None
        clock.advance(10)
    assert accepted == 3, "the free tier's queue"
    rows = database.read(lambda s: s.exec(select(Job)).all())
    assert len(rows) == 3
    assert (await fake.say("imagine", "bob", prompt="a red apple")).code is None
    assert sound(database)


async def test_a_tier_s_limits_are_said_before_anything_is_held(
    fake: FakeAdapter, database: Database
) -> None:
    def narrow(session: Session) -> None:
        from storage.models import Tier

        row = session.get_one(Tier, "free")
        row.max_side, row.max_steps, row.max_count = 128, 20, 2
        session.add(row)

    database.write(narrow)
    for values, code in (
        ({"size": "256x256"}, "tier_side"), ({"steps": 40}, "tier_steps"),
        ({"count": 4}, "tier_count"),
    ):  # fmt: skip
        assert (await fake.say("imagine", prompt="a red apple", **values)).code == code
    assert (await fake.say("credits")).data["pending"] == 0


async def test_a_tier_without_loras_is_told_so_and_one_with_them_is_served(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    ink = AdapterCard(name="ink", kind="lora", file="ink.safetensors", sha256="0" * 64)
    services.registry.adapters["ink"] = ink
    for values in ({"prompt": "a boat", "lora": "ink:0.8"}, {"prompt": "a boat <lora:ink:0.8>"}):
        said = await fake.say("imagine", **values)
        assert said.code == "tier_adapters" and "free" in said.text
    assert (await fake.say("credits")).data["pending"] == 0
    assert (await fake.say("tier", **ADMIN, member="ann", tier="pro")).code is None
    job = await fake.say("imagine", prompt="a boat", lora="ink")
    assert job.code is None
    # A workspace may take them away from a tier, and allow only some.
    change(database, tiers={"adapters": {"pro": False}})
    assert (await fake.say("imagine", prompt="a boat", lora="ink")).code == "tier_adapters"
    change(database, tiers={}, models={"adapters": ["snow"]})
    refused = await fake.say("imagine", prompt="a boat", lora="ink")
    assert refused.code == "adapter_not_here" and "snow" in refused.text
    press = await fake.press(Verb.REROLL, job.job_id or "")
    assert press.code == "adapter_not_here", "a button is no way around"


async def test_no_more_of_a_member_s_jobs_run_at_once_than_the_tier_says(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    """free runs one at a time, pro two; whoever else waits goes on meanwhile."""

    def run() -> str | None:
        claim = database.write(jobs.claim, worker="w", room={JobKind.IMAGE: 9}, now=clock.now)
        return None if claim is None else claim.member_id

    await fake.say("credits", "pia")
    await fake.say("tier", **ADMIN, member="pia", tier="pro")
    for name in ("ann", "ann", "ann", "pia", "pia", "pia"):
        assert (await fake.say("imagine", name, prompt="a red apple")).code is None
    named = database.read(lambda s: {m.id: m.name for m in s.exec(select(Member))})
    ran = [named[found] for _ in range(6) if (found := run()) is not None]
    assert sorted(ran) == ["ann", "pia", "pia"]
    mine = database.read(lambda s: s.exec(select(Job).where(Job.status == JobStatus.RUNNING)).all())
    done = next(job for job in mine if named[job.member_id] == "ann")
    database.write(
        jobs.finish, done.id, done.fence, status=JobStatus.FAILED, now=clock.now, error_code="x"
    )
    assert named[run() or ""] == "ann" and run() is None


def test_every_rule_has_its_sentence_in_both_languages() -> None:
    refusals = ["stopped", "paused", "timed_out", "least", "not_role", "only_roles",
                "not_channel", "only_channels"]  # fmt: skip
    passes = ["running", "not_paused", "not_timed_out", "no_rule_command", "rule_command",
              "no_rule_all", "rule_all", "no_rule_kind", "rule_kind"]  # fmt: skip
    for locale in ("en", "zh"):
        texts = texts_for(locale)
        for code in refusals:
            assert texts.has(f"error.rule_{code}") and texts.has(f"trail.{code}")
        assert all(texts.has(f"trail.{code}") for code in passes)
    assert {command.name for command in COMMANDS} >= MAKES & {"imagine", "ask"}


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("group", list(config.GROUPS))
async def test_every_group_opens_saves_unchanged_and_says_so(
    fake: FakeAdapter, database: Database, group: str
) -> None:
    assert (await fake.press(Verb.CONFIG, group)).code == "admins_only"
    opened = await fake.press(Verb.CONFIG, group, **ADMIN)
    assert opened.form is not None and 1 <= len(opened.form.fields) <= 5
    values = {field.name: field.value for field in opened.form.fields}
    saved = await fake.press(Verb.CONFIG, group, **ADMIN, **values)
    assert saved.code is None
    assert settings(database) == {}, "saving what is there changes nothing"


async def test_a_group_is_saved_from_its_form(fake: FakeAdapter, database: Database) -> None:
    saved = await fake.press(
        Verb.CONFIG, "limits", **ADMIN,
        **{"paused": "false", "limits.per_minute": "7", "limits.max_queued": "30",
           "limits.max_wait_minutes": "10", "limits.account_age_days": "7"},
    )  # fmt: skip
    assert saved.code is None
    assert settings(database) == {"limits": {"per_minute": 7}}
    await fake.press(
        Verb.CONFIG, "credits", **ADMIN, **{"credits.role_tiers": "<@&77>=pro, 88=team"}
    )
    assert settings(database)["credits"] == {"role_tiers": {"77": "pro", "88": "team"}}


async def test_set_undo_history_export_import(fake: FakeAdapter, database: Database) -> None:
    async def admin(**values: Any) -> Any:
        return await fake.say("config", **ADMIN, **values)

    assert (await admin(action="set", path="limits.burst", value="0")).code == "setting_invalid"
    assert (await admin(action="set", path="nonsense", value="1")).code == "setting_unknown"
    assert (await admin(action="set", path="policy.thresholds.CSAE.block", value="0.9")).code
    await admin(action="set", path="limits.burst", value="5")
    tried = await admin(action="set", path="policy.thresholds.HATE.hold", value="0.3")
    assert "policy" not in settings(database), "a filter is tried out before it is saved"
    assert tried.data["n"] == 0
    saved = await fake.press(Verb.CONFIRM, tried.buttons[0].target, **ADMIN)
    assert saved.code is None
    exported = await admin(action="export")
    assert exported.document is not None and exported.document.name.endswith(".toml")
    text = exported.data["toml"]
    assert settings(database) == {
        "limits": {"burst": 5}, "policy": {"thresholds": {"HATE": {"hold": 0.3}}},
    }  # fmt: skip
    await admin(action="undo")
    assert "policy" not in settings(database)
    broken = text.replace("burst = 5", "burst = -5")
    refused = await admin(action="import", value=broken)
    assert refused.code == "setting_invalid_line"
    assert refused.data["params"]["path"] == "limits.burst"
    before = settings(database)
    assert settings(database) == before
    tried = await admin(action="import", value=text)
    assert settings(database) == before, "a file that changes a filter is tried out first"
    await fake.press(Verb.CONFIRM, tried.buttons[0].target, **ADMIN)
    assert settings(database)["policy"] == {"thresholds": {"HATE": {"hold": 0.3}}}
    kept = await admin(action="history")
    assert len(kept.data["changes"]) == 4
    tried = await admin(action="preset", value="family")
    await fake.press(Verb.CONFIRM, tried.buttons[0].target, **ADMIN)
    assert settings(database)["limits"] == {"account_age_days": 30, "burst": 5}
    assert (await admin(action="preset", value="pirates")).code == "preset_unknown"
    assert len(database.read(lambda s: s.exec(select(SettingChange)).all())) == 5


async def test_settings_of_other_rooms_are_settings_too(
    fake: FakeAdapter, database: Database
) -> None:
    """A channel's persona is stored beside the rules: what is set after it must not refuse it."""
    assert (await fake.say("persona", **ADMIN, persona="teacher")).code is None
    for path, value in (
        ("limits.per_minute", "20"), ("persona", "brief"), ("lists.ip_mode", "block"),
        ("lists.deny", '[{terms = ["frumpy"], category = "HAR"}]'), ("label_profile", "cn"),
    ):  # fmt: skip
        said = await fake.say("config", **ADMIN, action="set", path=path, value=value)
        assert said.code is None, said.text
        for button in said.buttons:  # a filter: shown first
            assert (await fake.press(button.verb, button.target, **ADMIN)).code is None
    assert settings(database)["lists"]["ip_mode"] == "block"
    before = settings(database)
    for path, value, code in (
        ("lists.ip_mode", "perhaps", "setting_invalid"),
        ("lists.patterns", '[{pattern = "(a+)+b"}]', "pattern_bad"),
        ("lists.deny", '[{terms = ["x"], category = "CSAE"}]', "term_category"),
    ):
        said = await fake.say("config", **ADMIN, action="set", path=path, value=value)
        assert said.code == code
    assert settings(database) == before


async def test_why_names_the_rule_that_decides(fake: FakeAdapter, database: Database) -> None:
    await fake.say("credits")
    change(database, commands={"imagine": {"only_channels": ["art"]}})
    said = await fake.say("config", **ADMIN, action="why", member="<@ann>", channel="<#general>",
                          what="/imagine")  # fmt: skip
    assert said.data == {
        "allowed": False, "rule": "only_channels",
        "trail": ["running", "not_paused", "only_channels"],
    }  # fmt: skip
    said = await fake.say("config", **ADMIN, action="why", member="ann", channel="art",
                          what="imagine")  # fmt: skip
    assert said.data["allowed"] is True


async def test_why_knows_roles_and_what_a_command_makes(
    fake: FakeAdapter, database: Database
) -> None:
    await fake.say("credits")
    change(database, commands={"imagine": {"only_channels": ["art"]}})

    async def why(command: str, channel: str) -> dict[str, Any]:
        said = await fake.say("config", **ADMIN, action="why", member="ann", channel=channel,
                              what=command)  # fmt: skip
        assert said.code is None, said.text
        return said.data

    real = await fake.say("upscale")
    assert real.code == "rule_only_channels" and real.channels == ("art",)
    assert (await why("upscale", "general"))["rule"] == "only_channels"
    assert (await why("upscale", "art"))["trail"][2:] == [
        "no_rule_command", "rule_kind", "no_rule_all", "not_timed_out",
    ]  # fmt: skip
    assert (await why("enhance", "general"))["allowed"] is True
    for command in ("grant", "review"):
        assert (await fake.say(command, member="ann", amount=1, reason="x")).code == "role_needed"
        assert await why(command, "general") == {
            "allowed": False, "rule": "role", "trail": ["role"]
        }  # fmt: skip
    unknown = await fake.say("config", **ADMIN, action="why", what="dance")
    assert unknown.code == "command_unknown"


JUNK = [
    "styles = 5", "styles = [5]", '[[styles]]\nname = "x"\ntemplate = "no place"',
    "personas = 5", "[personas]\nteacher = 5", '[personas.sly]\nsystem = ""',
    '[personas.sly]\nsystem = "x"\ntools = ["shell"]', "channel_personas = 5",
    "[channel_personas]\ngeneral = []", "persona = []", "label_profile = []", "help = 3",
    "disclosure = 2026-01-01", "policy = 5", "lists = 5",
    '[[styles]]\nname = "x"\ntemplate = "{prompt}"\nnegative = 2026-01-01',
    '[personas.sly]\nsystem = "x"\ntemperature = nan', "[limits]\nburst = nan",
]  # fmt: skip


async def test_a_file_of_junk_is_refused_with_its_path(
    fake: FakeAdapter, database: Database
) -> None:
    await fake.say("credits")
    for text in JUNK:
        said = await fake.say("config", **ADMIN, action="import", value=text)
        assert said.code in ("setting_invalid_line", "setting_unknown"), (text, said.text)
        assert said.data["params"]["path"], text
    for path, value in (("limits.per_minute", "²"), ("limits.per_minute", "--5"), ("styles", "5")):
        said = await fake.say("config", **ADMIN, action="set", path=path, value=value)
        assert said.code == "setting_invalid", (path, value, said.text)
    assert settings(database) == {}
    assert (await fake.say("imagine", prompt="a red apple")).code is None


async def test_a_word_list_is_tried_on_what_was_judged_before_it_is_saved(
    fake: FakeAdapter, database: Database
) -> None:
    for prompt in ("a frumpy teapot", "a quiet lake", "my frumpy hat"):
        assert (await fake.say("imagine", prompt=prompt)).code is None

    async def tried(path: str, value: str) -> Reply:
        return await fake.say("config", **ADMIN, action="set", path=path, value=value)

    listed = '[{terms = ["frumpy"], category = "HAR"}]'
    shown = await tried("lists.deny", listed)
    assert (shown.data["n"], shown.data["moves"]) == (3, {"allow>hold": 2})
    assert "2 more" in shown.text and "frumpy" not in shown.text, "examples are veiled"
    assert settings(database) == {}
    assert (await fake.press(Verb.CONFIRM, shown.buttons[0].target, **ADMIN)).code is None
    held = await fake.say("imagine", "bob", prompt="one frumpy boat")
    assert held.code is None, "held for a moderator, not refused"
    # The other way round: what the list had held would pass.
    freed = await tried("lists.deny", "")
    assert freed.data["moves"] == {"hold>allow": 3} and "3 fewer" in freed.text
    pattern = await tried("lists.patterns", '[{pattern = "qu[a-z]+t", category = "HAR"}]')
    assert pattern.data["moves"] == {"allow>hold": 1}
    # The same from a file, from a form, and from AutoMod's rules.
    words = '[[lists.deny]]\nterms = ["teapot"]\ncategory = "HAR"\n'
    whole = await fake.say("config", **ADMIN, action="import", value=words)
    assert whole.data["moves"] == {"hold>allow": 2}, "the teapot is held by either"
    names = await fake.press(Verb.CONFIG, "marks", **ADMIN, **{"lists.ip_mode": "block"})
    assert names.data["n"] == 4 and names.buttons[0].verb is Verb.CONFIRM
    helped = await fake.press(Verb.CONFIG, "marks", **ADMIN, **{"lists.help_region": "DE"})
    assert helped.buttons == (), "filters nothing"
    rules = [{"trigger_type": 1, "trigger_metadata": {"keyword_filter": ["lake"]}}]
    automod = await fake.say("mod", **ADMIN, action="import", text=json.dumps(rules))
    assert automod.data["would_hold"] == 1


async def test_what_was_tried_is_saved_only_on_what_it_was_tried_with(
    fake: FakeAdapter, database: Database
) -> None:
    async def admin(**values: Any) -> Reply:
        return await fake.say("config", **ADMIN, **values)

    first = await admin(action="set", path="lists.allow", value='["assassin"]')
    second = await admin(action="set", path="lists.allow", value='["scunthorpe"]')
    preset = await admin(action="preset", value="family")
    assert (await fake.press(Verb.CONFIRM, second.buttons[0].target, **ADMIN)).code is None
    for late in (first, preset):
        said = await fake.press(Verb.CONFIRM, late.buttons[0].target, **ADMIN)
        assert said.code == "settings_moved", said.text
    assert settings(database) == {"lists": {"allow": ["scunthorpe"]}}
    other = await admin(action="set", path="policy.thresholds.HATE.hold", value="0.3")
    await admin(action="set", path="limits.burst", value="5")
    assert (await fake.press(Verb.CONFIRM, other.buttons[0].target, **ADMIN)).code is None
    assert settings(database)["limits"] == {"burst": 5}


async def test_a_dialogue_does_not_put_back_what_somebody_else_saved(
    fake: FakeAdapter, database: Database
) -> None:
    opened = (await fake.press(Verb.CONFIG, "limits", **ADMIN)).form
    assert opened is not None
    values = {field.name: field.value for field in opened.fields} | {"limits.max_queued": "9"}
    await fake.say("config", "mia", role="admin", action="set", path="paused", value="true")
    late = await fake.press(Verb.CONFIG, opened.target, **ADMIN, **values)
    assert late.code == "settings_moved"
    assert settings(database) == {"paused": True}
    again = (await fake.press(Verb.CONFIG, "limits", **ADMIN)).form
    assert again is not None
    values = {field.name: field.value for field in again.fields} | {"limits.max_queued": "9"}
    assert (await fake.press(Verb.CONFIG, again.target, **ADMIN, **values)).code is None
    assert settings(database) == {"paused": True, "limits": {"max_queued": 9}}


async def test_one_channel_s_persona_leaves_the_others_alone(
    fake: FakeAdapter, database: Database
) -> None:
    await fake.say("persona", **ADMIN, persona="teacher")
    fake.channel = "art"
    await fake.say("persona", **ADMIN, persona="brief")
    assert settings(database)["channel_personas"] == {"general": "teacher", "art": "brief"}
    paths = database.read(lambda s: [row.path for row in s.exec(select(SettingChange))])
    assert sorted(paths) == ["channel_personas.art", "channel_personas.general"]


def test_what_is_typed_for_a_setting() -> None:
    assert config.typed("mod_roles", "<@&1>, 2 <@&3>") == ["1", "2", "3"]
    assert config.typed("commands.*.not_channels", "<#C1|art> <#2>") == ["C1", "2"]
    assert config.typed("paused", "Yes") is True
    assert config.typed("limits.burst", "7") == 7
    assert config.typed("defaults.negative", " blurry ") == "blurry"
    assert config.typed("policy.thresholds.SEX.hold", "0.4") == 0.4
    assert config.typed("paused", "  ") is None
    for path, raw in (("paused", "perhaps"), ("limits.per_minute", "many"),
                      ("credits.role_tiers", "pro"), ("nothing.here", "1")):  # fmt: skip
        with pytest.raises(BadInput):
            config.typed(path, raw)


# -- privacy -----------------------------------------------------------------------------------


async def test_export_forget_export(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    job = await fake.say("imagine", prompt="my secret garden")
    packed = await fake.say("privacy", action="export")
    assert packed.document is not None
    with zipfile.ZipFile(io.BytesIO(packed.document.content)) as archive:
        data = json.loads(archive.read("data.json"))
        assert archive.read("ledger.csv").startswith(b"at,kind,credits")
    assert data["jobs"][0]["spec"]["prompt"] == "my secret garden"
    asked = await fake.say("privacy", action="forget")
    busy = await fake.press(Verb.CONFIRM, asked.buttons[0].target)
    assert busy.code == "forget_busy"
    await fake.say("cancel", job=job.job_id)
    asked = await fake.say("privacy", action="forget")
    done = await fake.press(Verb.CONFIRM, asked.buttons[0].target)
    assert done.code is None
    assert (await fake.say("history")).data["jobs"] == [], "no row of empty cards"
    later = (await fake.say("imagine", prompt="a new day")).job_id
    assert [one["job_id"] for one in (await fake.say("history")).data["jobs"]] == [later]
    again = await fake.say("privacy", action="export")
    assert again.document is not None
    with zipfile.ZipFile(io.BytesIO(again.document.content)) as archive:
        assert b"secret" not in archive.read("data.json")
    shown = {fact.label: fact.value for fact in (await fake.say("privacy")).fields}
    assert "/docs" in shown["The space's documents"] and "nothing" in shown["Filters"]
    change(database, learning={"on": True})
    shown = {fact.label: fact.value for fact in (await fake.say("privacy")).fields}
    assert "moderators decide" in shown["Filters"]
    assert sound(database)


async def test_a_workspace_is_deleted_by_its_owner_after_a_second_thought(
    fake: FakeAdapter, services: Services, database: Database
) -> None:
    blob = services.blobs.put(b"\x89PNG pixels", "png")
    job = (await fake.say("imagine", prompt="my secret garden")).job_id or ""
    boss: dict[str, Any] = {"name": "boss", "role": "owner"}
    refused = await fake.say("privacy", "adm", action="workspace", role="admin")
    assert refused.code == "owners_only" and not refused.buttons
    asked = await fake.say("privacy", action="workspace", **boss)
    assert "for good" in asked.text and asked.visibility == "private"
    # The button proves nothing: who lost the office meanwhile, and whoever else, presses in vain.
    for name, role, code in (("adm", "admin", "intent_unknown"), ("boss", "admin", "owners_only")):
        said = await fake.press(Verb.CONFIRM, asked.buttons[0].target, name, role=role)
        assert said.code == code
    assert database.read(lambda s: s.get_one(Job, job)).spec["prompt"] == "my secret garden"

    def keep(session: Session) -> None:
        row = session.get_one(Job, job)
        row.spec = row.spec | {
            "start": {"blob": blob, "sha256": "0", "width": 1, "height": 1}, "mode": "image",
        }  # fmt: skip
        session.add(row)

    database.write(keep)
    asked = await fake.say("privacy", action="workspace", **boss)
    done = await fake.press(Verb.CONFIRM, asked.buttons[0].target, **boss)
    assert done.code is None and "are gone" in done.text
    assert database.read(lambda s: s.get_one(Job, job)).status == "cancelled"
    assert "secret" not in json.dumps(database.read(lambda s: s.get_one(Job, job)).spec)
    with pytest.raises(NotFound):
        services.blobs.get(blob)
    assert sound(database)


def test_an_export_comes_in_parts_that_the_platform_takes(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    keys = tuple(blobs.put(random.Random(n).randbytes(4_000), "png") for n in range(7))
    huge = blobs.put(random.Random(9).randbytes(30_000), "png")
    found = Everything({"ledger": [], "jobs": []}, (*keys[:3], huge, *keys[3:], "ab/gone.png"))
    room, seen = 10_000, []
    parts = pack(found, blobs, room=room)[1]
    for part in range(1, parts + 1):
        packed, again = pack(found, blobs, room=room, part=part)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            names = archive.namelist()
            assert archive.testzip() is None and again == parts
        assert ("data.json" in names) == ("ledger.csv" in names) == (part == 1)
        assert len(packed) <= room or len(names) == 1, "one that is too large stands alone"
        seen += [name for name in names if name.startswith("pictures/")]
    assert sorted(seen) == sorted(f"pictures/{key.replace('/', '-')}" for key in (*keys, huge))
    assert pack(found, blobs, room=room, part=parts + 1) == (b"", parts)
    assert pack(found, blobs, room=1 << 20)[1] == 1


async def test_a_part_that_is_not_there_is_a_clear_no(fake: FakeAdapter) -> None:
    whole = await fake.say("privacy", action="export")
    assert whole.data["parts"] == 1 and "part" not in whole.text
    refused = await fake.say("privacy", action="export", part=2)
    assert refused.code == "option_range" and refused.document is None


def test_a_csv_cell_never_runs_in_a_spreadsheet() -> None:
    lines = [{"at": 1, "kind": "deduct", "credits": -5, "job": None, "reason": "=HYPERLINK(1)"}]
    rows = list(csv.reader(io.StringIO(ledger_csv(lines))))
    assert rows[1] == ["1", "deduct", "-5", "", "'=HYPERLINK(1)"]


async def test_a_dry_run_says_the_price_and_stores_nothing(
    fake: FakeAdapter, database: Database
) -> None:
    for command, values, price in (
        ("imagine", {"prompt": "a red apple", "count": 4}, 4),
        ("ask", {"prompt": "hello", "max_tokens": 600}, 2),
    ):
        said = await fake.say(command, **values, dry_run=True)
        assert said.code is None and said.data["price"] == price
        real = await fake.say(command, **values)
        assert real.job_id is not None
        await fake.say("cancel", job=real.job_id)
    assert len(database.read(lambda s: s.exec(select(Job)).all())) == 2
    short = await fake.say("imagine", prompt="a red apple", size="256x256", count=4, steps=100,
                           dry_run=True)  # fmt: skip
    assert short.data["price"] > short.data["available"] and "more than you have" in short.text
    change(database, paused=True)
    assert (await fake.say("imagine", prompt="x", dry_run=True)).code == "rule_paused"


async def test_a_filter_is_tried_on_what_was_judged_before_it_is_saved(
    fake: FakeAdapter, database: Database
) -> None:
    for prompt in ("a red apple", "a gory zombie with guts", "a quiet lake"):
        await fake.say("imagine", prompt=prompt)
    tried = await fake.say("config", **ADMIN, action="set",
                           path="policy.thresholds.VIO.hold", value="0.05")  # fmt: skip
    assert tried.data["n"] >= 1
    assert "gory zombie" not in tried.text, "examples are veiled"
    assert (await fake.press(Verb.CONFIRM, tried.buttons[0].target)).code == "intent_unknown"
    assert settings(database) == {}
    assert (await fake.press(Verb.CONFIRM, tried.buttons[0].target, **ADMIN)).code is None
    assert settings(database) == {"policy": {"thresholds": {"VIO": {"hold": 0.05}}}}


async def test_sums_with_numbers_beyond_reason_name_the_input(services: Services) -> None:
    for name, value in (("cost_per_member_cents", "inf"), ("members", "1" + "0" * 400),
                        ("watts", "nan"), ("growth", "99"), ("days", "many")):  # fmt: skip
        with pytest.raises(BadInput) as caught:
            await sums(services, {name: value})
        assert caught.value.params["option"] == name
    assert (await sums(services, {"members": "5"})).months[0].members == 5


async def test_the_queue_says_how_long_at_most_and_whose_the_last_hour_was(
    fake: FakeAdapter, database: Database, clock: HandClock
) -> None:
    idle = await fake.say("queue")
    assert (idle.data["share_of_hour"], idle.data["total"]) == (None, 0)
    job = await fake.say("imagine", prompt="a red apple")
    fake.workspace = "elsewhere"
    other = await fake.say("imagine", prompt="a red apple")

    def used(session: Session) -> None:
        for job_id, ms in ((job.job_id, 3_000), (other.job_id, 1_000)):
            row = session.get_one(Job, job_id)
            row.status, row.finished_at, row.charged_ms = JobStatus.FAILED, clock.now, ms
            session.add(row)

    database.write(used)
    said = await fake.say("queue")
    assert said.data["share_of_hour"] == 0.25 and "25 %" in said.text
    clock.advance(3_600_001)
    assert (await fake.say("queue")).data["share_of_hour"] is None

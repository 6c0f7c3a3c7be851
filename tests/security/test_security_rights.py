"""Rows 9, 12 and 13: the core decides who may do what, whatever the drawing or the id says."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlmodel import Session, select

from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core
from bot.core.reply import Reply, Verb
from storage.database import Database
from storage.models import Account, Case, Entry, Favourite, Generation, Job, Reservation
from storage.schema import Role, new_id, role_at_least
from tests.conftest import sound
from tests.core.test_commands import finish, picture
from tests.fakes import FakeAdapter

ROLES = list(Role)
_TABLES: tuple[Any, ...] = (Account, Case, Entry, Favourite, Generation, Job, Reservation)


def everything(database: Database) -> list[str]:
    """All rows of value, as text: a press that may do nothing leaves this as it was."""

    def read(session: Session) -> list[str]:
        return sorted(repr(row) for table in _TABLES for row in session.exec(select(table)))

    return database.read(read)


async def enrolled(fake: FakeAdapter, *names: str) -> None:
    """First sight of a person grants credits: done before anything is compared."""
    for name in names:
        await fake.say("help", name)


async def one_of_each(fake: FakeAdapter, database: Database) -> dict[str, str]:
    """A finished picture of ann's and a job of hers that waits."""
    assert fake.core is not None
    done = await fake.say("imagine", prompt="a red apple", seed=1)
    blob = fake.core.services.blobs.put(b"p", "png")
    finish(database, (picture(blob),))
    made = database.read(lambda s: s.exec(select(Generation.id)).one())
    waiting = await fake.say("imagine", prompt="a pear")
    return {"done": done.job_id or "", "made": made, "waiting": waiting.job_id or ""}


# -- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("role", ROLES)
async def test_every_command_by_every_role(
    fake: FakeAdapter, database: Database, command: Any, role: Role
) -> None:
    """Below its role a command says who may, before it reads a single value."""
    await fake.say("help", "sam", role=role)
    before = everything(database)
    reply = await fake.say(command.name, "sam", role=role, junk="x")
    if role_at_least(role, command.role):
        assert reply.code != "role_needed"
    else:
        assert reply.code == "role_needed"
        assert reply.visibility == "private"
    assert everything(database) == before, "an option that is not there changes nothing"


async def test_a_role_that_is_not_one_is_a_members(fake: FakeAdapter) -> None:
    assert not role_at_least("root", Role.MODERATOR)
    assert not role_at_least("", Role.MODERATOR)
    assert role_at_least("owner", Role.ADMIN)


# -- buttons -------------------------------------------------------------------------------------

OWNERS = (
    Verb.CANCEL, Verb.REROLL, Verb.EDIT, Verb.DELETE, Verb.SHOW, Verb.UPSCALE, Verb.VARY_SUBTLE,
    Verb.VARY_STRONG, Verb.FINISH,
)  # fmt: skip


def target_of(verb: Verb, ids: dict[str, str]) -> str:
    pictures = (
        Verb.DELETE, Verb.UPSCALE, Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.FINISH, Verb.FAVOURITE,
        Verb.REPORT, Verb.AGAIN,
    )  # fmt: skip
    if verb in pictures:
        return ids["made"]
    return ids["waiting" if verb is Verb.CANCEL else "done"]


@pytest.mark.parametrize("verb", OWNERS)
async def test_anyone_elses_click_is_a_private_sentence(
    fake: FakeAdapter, database: Database, verb: Verb
) -> None:
    ids = await one_of_each(fake, database)
    await enrolled(fake, "eve")
    before = everything(database)
    reply = await fake.press(verb, target_of(verb, ids), "eve")
    assert reply.code == "not_yours"
    assert reply.visibility == "private"
    assert reply.job_id is None
    assert everything(database) == before


@pytest.mark.parametrize("verb", list(PRESSES))
async def test_another_workspace_presses_in_vain(
    fake: FakeAdapter, database: Database, verb: Verb
) -> None:
    ids = await one_of_each(fake, database)
    stranger = FakeAdapter(core=fake.core, workspace="guild-2")
    await enrolled(stranger, "ann", "boss")
    before = everything(database)
    for name, role in (("ann", "member"), ("boss", "owner")):
        for target in ids.values():
            reply = await stranger.press(verb, target, name, role=role)
            assert reply.job_id is None, (verb, reply.code)
            assert reply.visibility == "private"
    assert everything(database) == before


@pytest.mark.parametrize("verb", [*PRESSES, "root", "", "CANCEL", "cancel ", "delete;drop"])
async def test_a_tampered_id_changes_nothing(
    fake: FakeAdapter, database: Database, verb: str
) -> None:
    ids = await one_of_each(fake, database)
    dice = random.Random(str(verb))
    real = target_of(Verb(verb), ids) if verb in set(Verb) else ids["made"]
    forged = ["", "*", "%", "../" + real, real + real, real.lower(), "\x00" * 26, new_id(),
              "é" * 26, "' OR 1=1 --", "0" * 26, "Z" * 26]  # fmt: skip
    for _ in range(8):
        at = dice.randrange(26)
        other = dice.choice([c for c in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" if c != real[at]])
        forged.append(real[:at] + other + real[at + 1 :])
    before = everything(database)
    for target in forged:
        reply = await fake.press(verb, target)
        assert reply.job_id is None, (verb, target, reply.code)
        assert reply.visibility == "private"
    assert everything(database) == before


async def test_a_button_pressed_ten_times_at_once_is_each_its_own_event(
    fake: FakeAdapter, database: Database
) -> None:
    """Pressing Delete twice, or Cancel after the end: the second press finds it done."""
    ids = await one_of_each(fake, database)
    for _ in range(3):
        await fake.press(Verb.CANCEL, ids["waiting"])
        await fake.press(Verb.DELETE, ids["made"])
    assert sound(database)


# -- mentions ------------------------------------------------------------------------------------

PINGS = (
    "@everyone", "@here", "<@123456789012345678>", "<@&123456789012345678>", "<!channel>",
    "<!here>", "<!everyone>", "<!subteam^S012AB3CD>", "<@U012AB3CD>", "<#C012AB3CD>",
    "<http://evil.example|click>", "@\u200beveryone", "＠everyone",
)  # fmt: skip


@pytest.mark.parametrize("ping", PINGS)
async def test_what_was_typed_comes_back_as_typed_for_adapters_to_disarm(
    fake: FakeAdapter, database: Database, ping: str
) -> None:
    """The core gives words, not markup; tests/test_adapters.py proves that they stay words."""
    card = await fake.say("imagine", prompt=f"a cat {ping}")
    assert isinstance(card, Reply)
    assert ping in card.prompt
    listed = await fake.say("history")
    assert "**" not in listed.text.replace(f"**{card.title}**", "")


def test_every_command_says_its_role_and_group(fake: FakeAdapter) -> None:
    assert isinstance(fake.core, Core)
    for info in fake.core.catalog("en"):
        assert info.role in ROLES
        assert info.group in ("make", "mine", "review", "space", "more")

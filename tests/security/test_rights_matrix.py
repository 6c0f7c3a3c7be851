"""Role x command x platform, against one table (``rights.toml``): the core decides everywhere.

The people are as each adapter makes them: Discord's from permissions, Slack's from its facts
about a person or a mapped group, the page's from the machine it stands on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import pytest
import pytest_asyncio
from sqlmodel import Session, select

from bot.adapters.discord import people as discord_people
from bot.adapters.slack import people as slack_people
from bot.adapters.web.reader import OWNER
from bot.commands import COMMANDS, PRESSES
from bot.core.command import Core, Invocation, Press, Who
from bot.core.reply import Reply
from storage.database import Database
from storage.models import Case, Generation, Intent, Workspace
from storage.queue import Wire
from storage.schema import Address, Category, Flag, Outcome, Platform, Role, Verdict, new_id
from tests.conftest import HandClock
from tests.core.test_commands import answer, finish, picture
from tests.fakes import make_services
from tests.security.test_two_tenants import rows_of

TABLE = tomllib.loads(Path(__file__).with_name("rights.toml").read_text(encoding="utf-8"))
NOBODY = "nobody"
REFUSALS = frozenset(row["no"] for part in TABLE.values() for row in part.values() if "no" in row)
MODS = "S0MODS"
"""A Slack user group whose members the workspace made moderators."""


def by_fake(name: str, role: Role) -> Who:
    return Who(platform=Platform.FAKE, workspace="w", member=name, member_name=name, role=role)


def by_local(name: str, role: Role) -> Who:
    return OWNER.model_copy(update={"member": name, "member_name": name, "role": role})


def by_discord(name: str, role: Role) -> Who:
    number = int.from_bytes(name.encode(), "big") + 2**40
    allowed = {
        Role.MODERATOR: discord.Permissions(moderate_members=True),
        Role.ADMIN: discord.Permissions(manage_guild=True),
    }.get(role, discord.Permissions(send_messages=True))
    guild: Any = SimpleNamespace(id=77, name="w", owner_id=number if role is Role.OWNER else 1)
    person: Any = SimpleNamespace(
        id=number, display_name=name, created_at=discord.utils.snowflake_time(0)
    )
    return discord_people._who(person, guild, allowed)


def by_slack(name: str, role: Role) -> Who:
    facts = {
        Role.ADMIN: {"is_admin": True},
        Role.OWNER: {"is_admin": True, "is_owner": True},
    }.get(role, {})
    return Who(
        platform=Platform.SLACK,
        workspace="T1",
        member=f"U{name}",
        member_name=name,
        role=slack_people.role_of(facts, "T1"),
        roles=(MODS,) if role is Role.MODERATOR else (),
    )


PLATFORMS: dict[str, Callable[[str, Role], Who]] = {
    "fake": by_fake,
    "local": by_local,
    "discord": by_discord,
    "slack": by_slack,
}


class Place:
    """One workspace with something of everything that Ann owns."""

    def __init__(self, core: Core, database: Database, who: Callable[[str, Role], Who]) -> None:
        self.core, self.database, self.who = core, database, who
        self.targets: dict[str, str] = {"group": "limits"}

    def _address(self, who: Who) -> Address:
        return Address(platform=who.platform, workspace=who.workspace, channel="c")

    async def say(self, command: str, name: str, role: Role, **values: Any) -> Reply:
        who = self.who(name, role)
        return await self.core.dispatch(
            Invocation(
                command=command, values=values, who=who, address=self._address(who), key=new_id()
            )
        )

    async def press(self, verb: str, target: str, name: str, role: Role) -> Reply:
        who = self.who(name, role)
        return await self.core.press(
            Press(verb=verb, target=target, who=who, address=self._address(who), key=new_id())
        )

    async def furnish(self) -> None:
        """Ann's picture, answer, words, held picture (a case), waiting job and open question."""
        say, targets, database = self.say, self.targets, self.database
        blobs = self.core.services.blobs
        await say("help", "ann", Role.MEMBER)
        database.write(self._arrange)
        flag = Flag(category=Category.SEX, score=0.9, stage="test", detail="")
        held = Verdict(outcome=Outcome.HOLD, flags=frozenset({flag}))
        await say("imagine", "ann", Role.MEMBER, prompt="a red apple", seed=1)
        targets["done"] = finish(database, (picture(blobs.put(b"p", "png")),))
        await say("ask", "ann", Role.MEMBER, prompt="what is a pear?")
        targets["answered"] = finish(database, (answer("A fruit."),))
        await say("enhance", "ann", Role.MEMBER, prompt="a pear")
        wordy = finish(database, (answer("A golden pear in the evening sun."),))
        await say("imagine", "ann", Role.MEMBER, prompt="a green apple", seed=2)
        judged = finish(database, (picture(blobs.put(b"q", "png"), held),), verdict=held)
        targets["waiting"] = str(
            (await say("imagine", "ann", Role.MEMBER, prompt="a plum", seed=3)).job_id
        )
        await say("privacy", "ann", Role.MEMBER, action="forget")

        def find(session: Session) -> dict[str, str]:
            def of(job: str) -> str:
                return session.exec(select(Generation.id).where(Generation.job_id == job)).one()

            return {
                "made": of(targets["done"]),
                "written": of(wordy),
                "case": session.exec(select(Case.id).where(Case.job_id == judged)).one(),
                "intent": session.exec(select(Intent.id)).one(),
            }

        targets.update(database.read(find))
        # A decision that stands: Eve reported the picture, Boss looked and let it be.
        await self.press("report", targets["made"], "eve", Role.MEMBER)
        reported = database.read(
            lambda s: s.exec(select(Case.id).where(Case.generation_id == targets["made"])).one()
        )
        looked = await self.press("approve", reported, "boss", Role.ADMIN)
        targets["decision"] = looked.data["decision_id"]
        for role in Role:
            await say("help", f"sam-{role}", role)

    @staticmethod
    def _arrange(session: Session) -> None:
        for space in session.exec(select(Workspace)):
            space.max_queued = 1_000
            space.settings = space.settings | {
                "mod_roles": [MODS],
                "limits": {"burst": 60, "per_minute": 60, "account_age_days": 0},
            }
            session.add(space)

    def rows(self) -> dict[str, set[str]]:
        """Every row of the workspace and its members' ledgers, as text."""
        return self.database.read(lambda s: rows_of(s, s.exec(select(Workspace.id)).one()))


def lets_through(role: Role, least: str) -> bool:
    return least != NOBODY and role.rank >= Role(least).rank


async def verdict_of(place: Place, row: dict[str, Any], role: Role, act: Any) -> str:
    """What is wrong with the answer, in words; empty when it is as written."""
    before = place.rows()
    reply: Reply = await act()
    if lets_through(role, row["least"]):
        if reply.code in REFUSALS or reply.code in ("bug", "operator"):
            return f"{role} should be let through, got {reply.code}: {reply.text}"
        return ""
    if reply.code != row["no"] or reply.visibility != "private" or reply.job_id is not None:
        return f"{role} should hear {row['no']}, got {reply.code}: {reply.text}"
    return "" if place.rows() == before else f"{role} was refused and still changed something"


@pytest_asyncio.fixture
async def core(sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock) -> Core:
    services = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await services.prompt_gate.load()
    return Core(services, COMMANDS, PRESSES)


def test_the_table_names_every_command_and_every_button() -> None:
    assert set(TABLE["commands"]) == {command.name for command in COMMANDS}
    assert set(TABLE["presses"]) == {str(verb) for verb in PRESSES}
    for part in TABLE.values():
        for name, row in part.items():
            assert ("no" in row) == (row["least"] != "member"), name
    for command in COMMANDS:
        assert Role(TABLE["commands"][command.name]["least"]).rank >= command.role.rank


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_makes_the_four_roles(platform: str) -> None:
    for role in Role:
        who = PLATFORMS[platform]("sam", role)
        assert who.role is role or (platform == "slack" and who.roles == (MODS,))


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_every_command_by_every_role(
    core: Core, sqlite_database: Database, platform: str
) -> None:
    place = Place(core, sqlite_database, PLATFORMS[platform])
    await place.furnish()
    wrong = []
    for name, row in TABLE["commands"].items():
        values = {
            key: place.targets[value[1:]] if value.startswith("@") else value
            for key, value in row.get("with", {}).items()
        }
        for role in Role:
            said = await verdict_of(
                place,
                row,
                role,
                lambda n=name, r=role, v=values: place.say(n, f"sam-{r}", r, **v),
            )
            if said:
                wrong.append(f"/{name}: {said}")
    assert wrong == []


@pytest.mark.parametrize("platform", PLATFORMS)
async def test_every_button_by_every_role(
    core: Core, sqlite_database: Database, platform: str
) -> None:
    place = Place(core, sqlite_database, PLATFORMS[platform])
    await place.furnish()
    wrong = []
    for role in Role:  # from the least: what a moderator does to a thing comes after the refusals
        for verb, row in TABLE["presses"].items():
            target = place.targets[row["on"]]
            said = await verdict_of(
                place, row, role, lambda v=verb, t=target, r=role: place.press(v, t, f"sam-{r}", r)
            )
            if said:
                wrong.append(f"{verb}: {said}")
    assert wrong == []

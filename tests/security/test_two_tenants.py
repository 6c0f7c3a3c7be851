"""Two workspaces, one that pokes around: nothing of the other one ever comes back or changes."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select as select_columns
from sqlmodel import Session, SQLModel, col, select

from bot.commands import COMMANDS, PRESSES
from bot.core.attachment import Attachment
from bot.core.command import CommandInfo, Core
from bot.core.reply import Reply, Verb
from storage import decisions, tenant
from storage.database import Database
from storage.models import Case, Generation, Job, Workspace
from storage.queue import Wire
from storage.schema import Category, Flag, Outcome, Platform, Verdict
from tests.conftest import HandClock
from tests.core.test_commands import answer, finish, picture
from tests.fakes import FakeAdapter, make_services

CANARY = "quetzalcoatlus"
"""A word that only the south ever wrote."""
BYTES = b"only the south has these bytes"
ROLES = ("member", "moderator", "admin", "owner")
FREE_TEXT = ("prompt", "negative", "text", "value", "reason", "path", "what")
"""Options whose words are kept and shown again: nobody puts the south's ids there."""


def rows_of(session: Session, workspace_id: str) -> dict[str, set[str]]:
    """Every row of one workspace, as text, by table; keyed tables by the rows they point to."""
    found: dict[str, set[str]] = {}
    tables = SQLModel.metadata.tables
    for name, table in tables.items():
        if name in tenant.SHARED:
            continue
        if name == "workspace":
            mine: Any = table.c.id == workspace_id
        elif "workspace_id" in table.c:
            mine = table.c.workspace_id == workspace_id
        else:
            key, owner = ("job_id", "job") if "job_id" in table.c else ("member_id", "member")
            ids = select_columns(tables[owner].c.id).where(
                tables[owner].c.workspace_id == workspace_id
            )
            mine = table.c[key].in_(ids)
        query = select_columns(*table.c).where(mine)
        found[name] = {repr(tuple(row)) for row in session.execute(query)}
    ids = [row.id for row in session.execute(select_columns(tables["member"].c.id).where(
        tables["member"].c.workspace_id == workspace_id))]  # fmt: skip
    for account in ids:
        entry = tables["entry"]
        lines = session.execute(
            select_columns(*entry.c).where(
                (entry.c.debit == f"member:{account}") | (entry.c.credit == f"member:{account}")
            )
        )
        found[f"ledger of {account}"] = {repr(tuple(row)) for row in lines}
    return found


def ids_of(session: Session, workspace_id: str) -> set[str]:
    """The ids of every row of a workspace, its own included."""
    found = {workspace_id}
    for table in SQLModel.metadata.tables.values():
        if "workspace_id" in table.c and "id" in table.c:
            query = select_columns(table.c.id).where(table.c.workspace_id == workspace_id)
            found.update(session.execute(query).scalars())
    return found


def attached(text: str, name: str) -> Attachment:
    """A text file as the local front end gives it."""
    data = text.encode()
    return Attachment(platform=Platform.LOCAL, name=name, size=len(data), data=data)


class Town:
    """The north and the south: the same names, threads, channels and wishes, other contents."""

    def __init__(self, core: Core, database: Database) -> None:
        self.core, self.database = core, database
        self.north = FakeAdapter(core=core, workspace="north")
        self.south = FakeAdapter(core=core, workspace="south")

    async def settle(self) -> None:
        blobs = self.core.services.blobs
        flag = Flag(category=Category.SEX, score=0.9, stage="test", detail="test")
        held = Verdict(outcome=Outcome.HOLD, flags=(flag,))
        for space, words, data in ((self.south, CANARY, BYTES), (self.north, "lighthouse", b"n")):
            await space.say("imagine", prompt=f"a {words} at sea", seed=1)
            finish(self.database, (picture(blobs.put(data + b"1", "png")),))
            await space.say("imagine", prompt="a red apple", seed=1)
            finish(self.database, (picture(blobs.put(data + b"2", "png"), held),), verdict=held)
            await space.say("ask", prompt=f"what is a {words}?", thread="t1")
            finish(self.database, (answer(f"The {words} is large."),))
            await space.say("persona", "boss", role="owner", persona=f"You are a {words}.")
            await space.say(
                "config", "boss", role="owner", action="set", path="disclosure",
                value=f"We love the {words}",
            )  # fmt: skip
            await space.say("code", "boss", role="owner", code=f"{words[:6]}-1", amount=5, uses=9)
            await space.say(
                "docs", "boss", role="owner", action="add",
                file=attached(f"The {words} opens at nine.", f"{words}.md"),
            )  # fmt: skip
            await space.say("link")
            await space.say("gift", member="boss", amount=1)
            made = self.database.read(self._visible, space.workspace)
            await space.press(Verb.REPORT, made, "boss")
            await space.press(Verb.FAVOURITE, made)
        waits = await self.south.say("imagine", prompt=f"a {CANARY} waits", seed=3)
        assert waits.job_id is not None
        self.south_id, self.north_id = self.database.read(self._spaces)
        self.ids = self.database.read(ids_of, self.south_id)
        self.own = sorted(self.database.read(ids_of, self.north_id))
        self.before = self.database.read(rows_of, self.south_id)
        assert self.database.read(lambda s: s.exec(select(Case)).all())
        self.blobs = set(
            self.database.read(
                lambda s: s.exec(
                    select(Generation.blob).where(Generation.workspace_id == self.south_id)
                ).all()
            )
        ) - {None}
        assert len(self.ids) > 20 and len(self.blobs) == 2

    @staticmethod
    def _spaces(session: Session) -> tuple[str, str]:
        found = {row.external_id: row.id for row in session.exec(select(Workspace))}
        return found["south"], found["north"]

    @staticmethod
    def _visible(session: Session, name: str) -> str:
        return (
            session.exec(
                select(Generation.id)
                .join(Workspace, col(Workspace.id) == col(Generation.workspace_id))
                .where(Workspace.external_id == name, col(Generation.status) == "visible")
                .order_by(col(Generation.id))
            ).first()
            or ""
        )

    def leaks(self, reply: Reply, said: set[str]) -> list[str]:
        """What of the south is in a reply, beyond the ids that were put in just now."""
        shown = reply.model_dump_json(exclude={"document"})
        if reply.document is not None:
            shown += "".join(_unpacked(reply.document.content))
        found = [word for word in self.ids - said if word in shown]
        found += [key for key in self.blobs if str(key) in shown]
        return found + [word for word in (CANARY, BYTES.decode()) if word in shown.lower()]


def _unpacked(data: bytes) -> Iterator[str]:
    if not data.startswith(b"PK"):
        yield data.decode("utf-8", "replace")
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            yield name
            yield archive.read(name).decode("utf-8", "replace")


def values_for(command: CommandInfo, dice: random.Random, town: Town) -> dict[str, Any]:
    """Some of a command's options, filled with what a curious person would try."""
    foreign = sorted(town.ids)
    tries: list[Any] = [
        *dice.sample(foreign, 3), dice.choice(town.own), "ann", "boss", "t1", "general", "south",
        "1", "%", "' OR 1=1 --",
    ]  # fmt: skip
    values: dict[str, Any] = {}
    for option in command.options:
        if option.kind in ("image", "file") or (not option.required and dice.random() < 0.5):
            continue
        if option.choices:
            values[option.name] = dice.choice(option.choices)
        elif option.kind == "flag":
            values[option.name] = dice.random() < 0.5
        elif option.kind in ("integer", "number"):
            values[option.name] = dice.choice([1, 2, 7])
        elif option.name in FREE_TEXT:
            values[option.name] = dice.choice(["a red apple", "what is a lighthouse?", "x" * 9])
        else:
            values[option.name] = dice.choice(tries)
    return values


async def poke(town: Town, seed: int, times: int) -> dict[str, int]:
    """Every command ``times`` times and every button on ids of the south, in a random order."""
    dice = random.Random(seed)
    said_no: dict[str, int] = {}
    catalog = town.core.catalog("en")
    acts: list[CommandInfo | Verb] = [*catalog, *PRESSES] * times
    dice.shuffle(acts)
    for act in acts:
        name, role = dice.choice(["ann", "boss", "eve"]), dice.choice([*ROLES, "owner", "owner"])
        if isinstance(act, CommandInfo):
            values = values_for(act, dice, town)
            said = {str(value) for value in values.values()}
            reply = await town.north.say(act.name, name, role=role, **values)
            what = f"/{act.name} {values}"
        else:
            target = dice.choice(sorted(town.ids if dice.random() < 0.8 else set(town.own)))
            form = {"text": "please", "note": "no", "code": "A1", "hours": "1", "prompt": "a pear"}
            said, what = {target}, f"{act} {target}"
            reply = await town.north.press(
                act, target, name, role=role, **(form if dice.random() < 0.5 else {})
            )
        assert town.leaks(reply, said) == [], f"seed {seed}: {what} by {name} ({role})"
        assert reply.code not in ("bug", "operator"), f"seed {seed}: {what}: {reply.text}"
        said_no[str(reply.code)] = said_no.get(str(reply.code), 0) + 1
    after = town.database.read(rows_of, town.south_id)
    for table, before in town.before.items():
        assert after[table] == before, f"seed {seed}: rows of the south changed: {table}"
    return said_no


async def town_on(database: Database, wire: Wire, home: Path, clock: HandClock) -> Town:
    services = make_services(database, wire, home, clock=clock)
    await services.prompt_gate.load()
    town = Town(Core(services, COMMANDS, PRESSES), database)
    await town.settle()
    return town


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_of_another_workspace_comes_back_or_changes(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock, seed: int
) -> None:
    town = await town_on(sqlite_database, wire, tmp_path, clock)
    said = await poke(town, seed, times=3)
    assert said["None"] > 30, "much of it is answered, not refused at the door"
    assert len(said) > 8


async def test_nor_on_postgres(
    postgres_url: str, wire: Wire, tmp_path: Path, clock: HandClock
) -> None:
    database = Database(postgres_url)
    try:
        town = await town_on(database, wire, tmp_path, clock)
        assert (await poke(town, 3, times=1))["None"] > 8
    finally:
        database.close()


async def test_the_same_search_would_find_the_souths_own_things(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> None:
    """The net has no hole: what the south sees of itself is caught in it."""
    town = await town_on(sqlite_database, wire, tmp_path, clock)
    shown = await town.south.say("history")
    export = await town.south.say("privacy", action="export")
    assert {CANARY} <= set(town.leaks(shown, set()))
    assert {CANARY, BYTES.decode()} <= set(town.leaks(export, set()))


async def test_a_planted_hole_ends_as_a_calm_sentence(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A handler that asks a table without the workspace: refused, logged, and nothing is shown."""
    town = await town_on(sqlite_database, wire, tmp_path, clock)

    def hole(session: Session, **_: Any) -> Any:
        job = SQLModel.metadata.tables["job"]
        return session.execute(select_columns(job.c.spec).order_by(job.c.id)).first()

    monkeypatch.setattr("storage.jobs.find", hole)
    reply = await town.north.press(Verb.REROLL, sorted(town.ids)[0])
    assert reply.code == "bug"
    assert town.leaks(reply, set()) == []


async def test_embeddings_and_hashes_stay_at_home(
    sqlite_database: Database, wire: Wire, tmp_path: Path, clock: HandClock
) -> None:
    """What a picture looks like is a row as well: a bank asked for the north has none of it."""
    town = await town_on(sqlite_database, wire, tmp_path, clock)
    for space in (town.south_id, town.north_id):
        sqlite_database.write(
            decisions.add_hash, bank="made", pdq="f" * 64, quality=100, now=clock(),
            workspace_id=space,
        )  # fmt: skip
    with tenant.within(town.north_id):
        for asked in (town.north_id, town.south_id):
            found = sqlite_database.read(decisions.bank, ("made",), workspace_id=asked)
            assert {row.workspace_id for row in found} <= {town.north_id}
        gone = sqlite_database.read(lambda s: s.get(Job, sorted(town.ids)[0]))
        assert gone is None

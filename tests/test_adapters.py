"""One contract for every face: Discord, Slack, the page and the fake platform."""

from __future__ import annotations

import importlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlmodel import select

from bot.commands import COMMANDS, PRESSES
from bot.core.reply import Verb
from storage.database import Database
from storage.models import Case, Job, Workspace
from storage.queue import Wire
from storage.schema import Category, Flag, JobStatus, Outcome, Verdict, new_id
from tests.conftest import HandClock, set_limits, sound
from tests.drivers import Driver, finish, make_picture
from tests.fakes import make_services

FACES = ("fake", "web", "discord", "slack")
TABLE = Path(__file__).resolve().parents[1] / "bot" / "adapters" / "README.md"
ON_A_PICTURE = {
    str(verb)
    for verb in (
        Verb.CANCEL, Verb.REROLL, Verb.EDIT, Verb.VARY_SUBTLE, Verb.VARY_STRONG, Verb.UPSCALE,
        Verb.FAVOURITE, Verb.DELETE, Verb.REPORT, Verb.AGAIN,
    )
}  # fmt: skip
HELD = Verdict(
    outcome=Outcome.HOLD, flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.x")})
)


@pytest_asyncio.fixture(params=FACES)
async def face(
    request: pytest.FixtureRequest, sqlite_database: Database, wire: Wire, tmp_path: Path,
    clock: HandClock,
) -> AsyncIterator[Driver]:  # fmt: skip
    services = make_services(sqlite_database, wire, tmp_path, clock=clock)
    await services.prompt_gate.load()
    set_limits(sqlite_database)
    module = importlib.import_module(f"tests.drivers.{request.param}_driver")
    async with module.driving(services) as driver:
        yield driver


def jobs_of(face: Driver) -> list[Job]:
    return face.services.database.read(lambda s: list(s.exec(select(Job).order_by(Job.id))))  # type: ignore[arg-type]


def everything(face: Driver) -> list[Any]:
    return [(j.id, j.status, j.cancel_requested_at, j.delivered_at) for j in jobs_of(face)]


async def drawn(face: Driver, count: int = 1, verdict: Verdict | None = None, **values: Any) -> Any:
    """A finished picture of ann's, delivered; its card."""
    await face.use("imagine", prompt="a red apple", seed=7, count=count, **values)
    finish(face.services, *(make_picture(face.services, i, verdict) for i in range(count)))
    await face.deliver()
    return (await face.cards())[-1]


def table(title: str) -> dict[str, dict[str, str]]:
    """The face's rows of one table of the document: what is named, and why."""
    text = TABLE.read_text(encoding="utf-8").split(f"| Face | {title} |", 1)[1].split("\n\n", 1)[0]
    rows: dict[str, dict[str, str]] = {face: {} for face in FACES}
    for line in text.splitlines()[2:]:
        name, what, why = (cell.strip() for cell in line.strip("|").split("|"))
        for item in re.findall(r"`/?([a-z_ ]+)`", what):
            assert why, f"{name} lacks {item} without a reason"
            rows[name][item] = why
    return rows


async def test_every_command_is_there_or_has_its_line(face: Driver) -> None:
    # What no model here could serve is offered by none, or (Slack's manifest) refused in words.
    unserved = {command.name for command in COMMANDS if command.needs}
    core = {command.name for command in COMMANDS} - unserved
    lacks, more = table("Lacks")[face.name], table("Has besides")[face.name]
    assert core - face.offered() == lacks.keys() & core
    assert face.offered() - core - unserved == more.keys()


async def test_every_button_is_drawn_or_has_its_line(face: Driver) -> None:
    single = await drawn(face)
    await face.use("imagine", prompt="a pear")
    queued = (await face.cards())[-1]
    verbs = {verb for card in (single, queued) for verb, _ in card.buttons}
    wanted = {str(verb) for verb in PRESSES} & ON_A_PICTURE
    assert wanted - verbs == table("Lacks")[face.name].keys() & wanted


async def test_the_queued_card_says_what_and_where(face: Driver) -> None:
    await face.use("imagine", prompt="a red apple", seed=7)
    (card,) = await face.cards()
    assert "a red apple" in card.words
    assert [verb for verb, _ in card.buttons] == ["cancel"]
    assert card.buttons[0][1] == jobs_of(face)[0].id


async def test_one_command_delivered_five_times_is_one_job_and_one_card(face: Driver) -> None:
    await face.use("imagine", prompt="a red apple", seed=7)
    for _ in range(4):
        await face.repeat()
    assert len(jobs_of(face)) == 1
    assert len(await face.cards()) == 1
    assert sound(face.services.database)


async def test_the_result_card_is_the_same_message_and_there_is_one(face: Driver) -> None:
    card = await drawn(face)
    assert card.pictures == 1
    assert "a red apple" in card.words
    assert "starter-icons" in card.words
    await face.deliver(2)
    assert len(await face.cards()) == 1
    assert jobs_of(face)[0].delivered_at is not None


async def test_a_delivery_whose_note_was_lost_shows_no_second_card(face: Driver) -> None:
    """The platform took the card and the bot died before it noted that."""
    await drawn(face)

    def forget(session: Any) -> None:
        session.exec(select(Job)).one().delivered_at = None

    face.services.database.write(forget)
    await face.restart()
    await face.deliver()
    assert len(await face.cards()) == 1


async def test_buttons_work_after_a_restart(face: Driver) -> None:
    card = await drawn(face)
    await face.restart()
    await face.press(card, "reroll")
    assert len(jobs_of(face)) == 2
    assert jobs_of(face)[1].parent_id == jobs_of(face)[0].id


async def test_what_waited_when_the_bot_died_is_delivered_by_the_next(face: Driver) -> None:
    await face.use("imagine", prompt="a red apple", seed=7)
    await face.restart()
    finish(face.services, make_picture(face.services))
    await face.deliver()
    (card,) = await face.cards()
    assert card.pictures == 1


@pytest.mark.parametrize("verb", ["cancel", "reroll", "delete", "upscale", "edit"])
async def test_anyone_elses_click_gets_a_private_sentence(face: Driver, verb: str) -> None:
    card = await drawn(face)
    if verb == "cancel":
        await face.use("imagine", prompt="a pear")
        card = (await face.cards())[-1]
    before, shown = everything(face), await face.cards()
    heard = len(await face.notes("eve"))
    target = next(t for v, t in card.buttons if v == verb)
    if verb == "delete":  # a question comes first on some faces: press what lies behind it
        await face.forge(card, verb, target, "eve")
    else:
        await face.press(card, verb, "eve")
    assert everything(face) == before
    assert await face.cards() == shown, "nobody else sees that it was tried"
    assert len(await face.notes("eve")) > heard


async def test_a_tampered_button_changes_nothing(face: Driver) -> None:
    card = await drawn(face)
    before, shown = everything(face), await face.cards()
    real = jobs_of(face)[0].id
    forged = (
        ("cancel", new_id()), ("reroll", real[:-1] + ("0" if real[-1] != "0" else "1")),
        ("vary_subtle", real), ("upscale", "' OR 1=1 --"), ("nonsense", real), ("delete", ""),
        ("report", "../" + real),
    )  # fmt: skip
    for verb, target in forged:
        await face.forge(card, verb, target)
    assert everything(face) == before
    assert await face.cards() == shown
    assert face.services.database.read(lambda s: s.exec(select(Case)).all()) == []


async def test_what_is_held_is_not_shown(face: Driver) -> None:
    card = await drawn(face, verdict=HELD)
    assert card.pictures == 0
    assert "Held for review" in card.words
    # On the card, or in a note that only who asked sees.
    told = " ".join([card.words, *await face.notes("ann")])
    assert "SEX" in told, "the reason's code"
    assert jobs_of(face)[0].id in told, "what to name in an appeal"
    assert not {"upscale", "vary_subtle", "favourite"} & {verb for verb, _ in card.buttons}


async def test_a_refused_prompt_is_a_private_sentence_without_its_words(face: Driver) -> None:
    await face.use("imagine", prompt="naked child")
    assert await face.cards() == []
    assert jobs_of(face) == []
    (note,) = (await face.notes("ann"))[-1:]
    assert "naked" not in note
    assert "rules" in note


async def test_cancel_stops_it_and_says_so(face: Driver) -> None:
    await face.use("imagine", prompt="a red apple")
    (card,) = await face.cards()
    await face.press(card, "cancel")
    await face.deliver()
    (card,) = await face.cards()
    assert jobs_of(face)[0].status == JobStatus.CANCELLED
    assert "Cancelled" in card.words
    assert sound(face.services.database)


@pytest.mark.parametrize(
    "ping",
    [
        "@everyone", "@here", "<@123456789012345678>", "<@&1>", "<!channel>", "<!here|x>",
        "<!subteam^S012AB3CD>", "<@U012AB3CD>", "<http://evil.example|click>",
    ],
)  # fmt: skip
async def test_no_word_of_a_member_pings_or_links(face: Driver, ping: str) -> None:
    await face.use("imagine", prompt=f"a cat {ping} in a hat")
    (card,) = await face.cards()
    assert "in a hat" in card.words
    assert not face.pings(card)


async def test_a_grid_has_buttons_for_each_picture_within_the_platforms_limits(
    face: Driver,
) -> None:
    card = await drawn(face, count=4)
    assert card.pictures == 4
    varied = [target for verb, target in card.buttons if verb == "vary_subtle"]
    assert len(set(varied)) == 4
    await face.press(card, "report")
    reported = face.services.database.read(lambda s: s.exec(select(Case)).all())
    assert len(reported) in (1, 4), "one picture, or each of them with one button"


async def said(face: Driver, who: str, command: str, **values: Any) -> str:
    """What somebody alone reads after a command."""
    heard = len(await face.notes(who))
    await face.use(command, who, **values)
    return " ".join((await face.notes(who))[heard:])


async def test_an_admin_reads_why_and_what_is_wrong_with_a_file(face: Driver) -> None:
    await face.use("help")
    boss, rule = face.boss, {"action": "set", "path": "commands.imagine.only_channels"}
    assert "Saved" in await said(face, boss, "config", **rule, value="C22222222")
    about = {} if boss == "ann" else {"member": "ann"}
    why = await said(face, boss, "config", action="why", what="upscale", **about)
    assert ("in certain channels only" in why) == bool(about), "admins pass"
    assert ("may not use /upscale" in why) == bool(about)
    if about:
        refused = await said(face, "ann", "imagine", prompt="a red apple")
        assert "C22222222" in refused and "certain channels" in refused
    before = face.services.database.read(lambda s: s.exec(select(Workspace)).one().settings)
    for text, words in (
        ("paused = maybe", "Line 1 of the file is not valid TOML"),
        ("limits.burst = 0", "Line 1: limits.burst cannot be set like that"),
        ("coffee = 3", "There is no setting called coffee"),
    ):
        assert words in await said(face, boss, "config", action="import", value=text)
    tried = await said(face, boss, "config", action="preset", value="family")
    assert "Before it is saved" in tried
    nope = await said(face, boss, "config", action="preset", value="pirates")
    assert "There is no preset called pirates" in nope
    assert before == face.services.database.read(lambda s: s.exec(select(Workspace)).one().settings)


async def test_private_affairs_stay_private(face: Driver) -> None:
    for command in ("credits", "queue", "history", "help", "docs"):
        heard = len(await face.notes("ann"))
        await face.use(command)
        assert len(await face.notes("ann")) > heard, command
    assert await face.cards() == []

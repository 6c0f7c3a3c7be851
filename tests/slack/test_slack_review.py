"""The review room on Slack: announced, decided in dialogues, appealed, posted; files by DM."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import Session, select

from bot.core.delivery import Delivery
from storage import audit
from storage.errors import NotFound
from storage.models import Act, Case, Workspace
from storage.schema import (
    Category,
    Flag,
    GenerationStatus,
    Outcome,
    Platform,
    Role,
    Verdict,
)
from tests.conftest import sound
from tests.core.test_commands import picture
from tests.slack.conftest import Studio
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in
from tests.slack.world import WORKSPACE, Stored

HELD = Verdict(
    outcome=Outcome.HOLD,
    flags=frozenset({Flag(category=Category.SEX, score=0.6, stage="image.nudenet")}),
)


def held(studio: Studio) -> Any:
    """What a worker hands over when the gate holds a picture."""
    from dataclasses import replace

    made = picture(studio.put())
    return replace(made, status=GenerationStatus.HELD, verdict=HELD.dump())


async def dialogue(studio: Studio, before: int) -> dict[str, Any]:
    """The dialogue that was opened last, filled in by the core."""
    await until(lambda: len(studio.server.of("views.update")) > before)
    return list(studio.server.views.values())[-1]


async def test_from_held_to_posted_on_slack(studio: Studio, ann: Person, bob: Person) -> None:
    server = studio.server
    server.people["UBOB"] = {"is_admin": True}
    server.people["UCYD"] = {"is_admin": True}
    cyd = studio.person("UCYD")
    await ann.slash("/imagine a marble statue")
    card = await card_in(studio)
    await studio.finish(held(studio))
    await until(lambda: "Held for review" in card.shown())
    # The channel reads that it is held, who asked reads why.
    assert "SEX" not in card.shown() and "Whoever asked was told why" in card.shown()
    assert "(SEX)" in (await until(ann.notes))[-1]
    before = len(ann.notes())

    def choose(session: Session) -> None:
        row = session.exec(select(Workspace).where(Workspace.platform == Platform.SLACK)).one()
        row.settings = row.settings | {"review_channel": "C2"}
        session.add(row)

    studio.database.write(choose)
    server.channels.add("C2")
    delivery = Delivery(studio.services, {}, {Platform.SLACK: studio.part})
    assert await delivery.announcer.announce_cases() == 1
    assert await delivery.announcer.announce_cases() == 0

    def in_room() -> list[Stored]:
        return [m for m in server.messages.values() if m.channel == "C2"]

    (notice,) = in_room()
    assert "Case: SEX" in notice.shown() and "marble statue" in notice.shown()
    await ann.press(notice, "approve")
    await until(lambda: any("Only a moderator" in note for note in ann.notes()))

    seen = len(server.of("views.update"))
    await bob.press(notice, "deny")
    view = await dialogue(studio, seen)
    await bob.submit(view, code="SEX", note="Not in this channel.")
    await until(lambda: any("A person decided this" in note for note in ann.notes()))
    assert "SEX" not in card.shown() and len(ann.notes()) > before
    assert buttons(card.blocks, "appeal")

    seen = len(server.of("views.update"))
    await ann.press(card, "appeal")
    view = await dialogue(studio, seen)
    await ann.submit(view, text="It is art.")
    await until(
        lambda: studio.database.read(lambda s: s.exec(select(Case)).one()).status == "appealed"
    )
    case = studio.database.read(lambda s: s.exec(select(Case)).one())
    assert case.status == "appealed"
    assert await delivery.announcer.announce_cases() == 1
    again = in_room()[-1]
    assert "It is art." in again.shown()
    await cyd.press(again, "overturn")
    await until(lambda: "Your appeal was right" in card.shown())
    acts = studio.database.read(lambda s: s.exec(select(Act).order_by(Act.number)).all())
    assert [act.verb for act in acts if act.verb != "claim"] == ["deny", "appeal", "overturn"]
    assert studio.database.read(audit.verify) == []
    assert sound(studio.database)


async def test_an_export_comes_by_direct_message(studio: Studio, ann: Person) -> None:
    await ann.slash("/privacy action:export")
    await until(lambda: studio.server.of("files.completeUploadExternal"))
    assert "atelier-export.zip" in str(studio.server.of("files.getUploadURLExternal"))


async def test_slack_is_asked_what_a_visitor_of_the_page_is_now(
    studio: Studio, ann: Person
) -> None:
    """Not what was kept of them for ten minutes: groups may make moderators too."""
    server, ask = studio.server, studio.services.standings[Platform.SLACK]
    server.people["UANN"] = {"is_admin": True}
    server.groups = [{"id": "S1", "users": ["UANN"]}]
    await ann.slash("/credits")
    found = await ask(WORKSPACE, "UANN")
    assert found is not None and (found.role, found.roles) == (Role.ADMIN, ("S1",))
    server.people["UANN"], server.groups = {}, []
    found = await ask(WORKSPACE, "UANN")
    assert found is not None and (found.role, found.roles) == (Role.MEMBER, ())
    server.people["UANN"] = {"deleted": True}
    assert await ask(WORKSPACE, "UANN") is None
    with pytest.raises(NotFound):
        await ask("T0ELSEWHERE", "UANN")


async def test_that_a_team_took_the_app_out_is_noted(studio: Studio, ann: Person) -> None:
    await ann.slash("/credits")
    await ann.event({"type": "app_uninstalled"})

    def acts() -> list[str]:
        return studio.database.read(lambda s: [act.verb for act in s.exec(select(Act))])

    await until(lambda: "app_removed" in acts())
    assert acts() == ["app_removed"]


async def test_a_rules_strike_is_told_and_appealed_on_slack(studio: Studio, ann: Person) -> None:
    server = studio.server
    await ann.slash("/imagine leaked nudes of a neighbour")
    notes = await until(ann.notes)
    assert "strike of weight 5" in notes[-1]
    (note,) = [n for n in server.ephemeral if buttons(n.get("blocks") or [], "appeal")]
    seen = len(server.of("views.update"))
    await ann.act(buttons(note["blocks"], "appeal")[0], None)
    view = await dialogue(studio, seen)
    await ann.submit(view, text="It is a painting.")
    await until(
        lambda: studio.database.read(lambda s: s.exec(select(Case)).one()).status == "appealed"
    )
    assert not [m for m in server.messages.values() if m.channel == "C1"]

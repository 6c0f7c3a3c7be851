"""A job from the command to the result, as people on Slack see it."""

from __future__ import annotations

from tests.core.test_commands import picture
from tests.slack.conftest import Studio
from tests.slack.person import Person, buttons, until


async def test_imagine_from_the_command_to_the_picture(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine a red apple seed:7")
    card = await until(lambda: studio.server.in_channel("C1"))
    card = card[0]
    assert "a red apple" in card.shown()
    assert "In line" in card.shown()
    assert buttons(card.blocks, "cancel")
    await studio.finish(picture(studio.put()))
    await until(lambda: card.edits and buttons(card.blocks, "reroll"))
    images = [b for b in card.blocks if b["type"] == "image"]
    assert len(images) == 1
    assert "a red apple" in images[0]["alt_text"]
    assert "`7`" in card.shown()
    assert len(studio.server.in_channel("C1")) == 1

"""A member's way from a command to a result on Discord, through the real core."""

from __future__ import annotations

from storage.schema import JobStatus
from tests.discord.stage import Stage, labels_of, texts_of


async def test_imagine_is_acknowledged_privately_and_posted_where_all_can_see_it(
    stage: Stage,
) -> None:
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple", seed="7")
    assert result.acknowledged
    assert result.ephemeral, "Discord shows everybody the words of a public acknowledgement"
    assert result.response is None, "the private acknowledgement goes when the card is up"
    (card,) = stage.cards()
    assert "a red apple" in texts_of(card)
    assert labels_of(card) == ["Cancel"]
    assert "<t:" in texts_of(card), "the wait counts down without an edit"

    job = stage.finish(stage.picture())
    assert await stage.deliver() == 1
    (card,) = stage.cards()
    assert stage.jobs()[0].delivered_at is not None
    assert stage.jobs()[0].status == JobStatus.SUCCEEDED
    assert "Reroll" in labels_of(card)
    assert [a["filename"] for a in card.attachments] == ["atelier-7-1.png"]
    assert "a red apple" in card.attachments[0]["description"]
    assert job == stage.jobs()[0].id

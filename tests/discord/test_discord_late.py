"""Late is not lost: deaths, refusals and silences between the acknowledgement and the result."""

from __future__ import annotations

import asyncio
from typing import Any

import discord
import pytest

from bot.adapters.discord.editor import Editor
from bot.core.command import Core
from bot.core.reply import Reply
from storage.errors import RetryLater
from storage.schema import JobStatus
from tests.conftest import sound
from tests.discord.stage import Stage, answer, labels_of, texts_of

Slash = Any


async def imagine(stage: Stage, prompt: str = "a red apple") -> str:
    await stage.ann.slash(stage.channel, "imagine", prompt=prompt)
    return stage.jobs()[-1].id


class Died(BaseException):
    """The process is gone: nothing catches this."""


def finals(stage: Stage, job: str) -> list[Any]:
    """Every message that shows a job's finished picture."""
    return [m for m in stage.cards() if m.attachments and job in str(m.components)]


# -- The bot dies and comes back --------------------------------------------------------------


async def test_dying_after_the_acknowledgement_charges_nothing(stage: Stage) -> None:
    core: Core = stage.client.core

    async def die(*args: Any, **kwargs: Any) -> Reply:
        raise asyncio.CancelledError

    dispatch = core.dispatch
    core.dispatch = die  # type: ignore[method-assign]
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    core.dispatch = dispatch  # type: ignore[method-assign]
    await stage.restart()
    assert stage.jobs() == []
    assert sound(stage.database)
    await imagine(stage)
    assert len(stage.cards()) == 1, "asking again works"


async def test_dying_before_the_card_is_up_still_gives_one_result(stage: Stage) -> None:
    async def die(*args: Any, **kwargs: Any) -> bool:
        raise asyncio.CancelledError

    stage.client.presenter.publish = die  # type: ignore[method-assign]
    job = await imagine(stage)
    assert stage.cards() == []
    await stage.restart()
    stage.finish(stage.picture())
    await stage.deliver()
    await stage.deliver()
    assert len(finals(stage, job)) == len(stage.cards()) == 1


async def test_dying_after_discord_took_the_card_but_before_it_was_noted(stage: Stage) -> None:
    posts = stage.services.posts

    async def die(*args: Any, **kwargs: Any) -> None:
        raise asyncio.CancelledError

    shown = posts.shown
    posts.shown = die  # type: ignore[method-assign]
    job = await imagine(stage)
    posts.shown = shown  # type: ignore[method-assign]
    assert len(stage.cards()) == 1
    await stage.restart()
    stage.finish(stage.picture())
    await stage.deliver()
    assert len(finals(stage, job)) == len(stage.cards()) == 1, "the card that was up is used"


async def test_a_long_absence_finds_the_lost_card_by_its_buttons(stage: Stage) -> None:
    posts = stage.services.posts

    async def die(*args: Any, **kwargs: Any) -> None:
        raise asyncio.CancelledError

    shown = posts.shown
    posts.shown = die  # type: ignore[method-assign]
    job = await imagine(stage)
    posts.shown = shown  # type: ignore[method-assign]
    await stage.env.advance_time(3600)  # Discord has forgotten the nonce
    await stage.restart()
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.repeated == 0
    assert len(finals(stage, job)) == len(stage.cards()) == 1


async def test_dying_after_the_result_was_shown_but_before_it_was_noted(stage: Stage) -> None:
    job = await imagine(stage)
    stage.finish(stage.picture())
    finished = stage.services.posts.finished

    async def die(*args: Any, **kwargs: Any) -> bool:
        raise Died

    stage.services.posts.finished = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        await stage.deliver()
    stage.services.posts.finished = finished  # type: ignore[method-assign]
    await stage.restart()
    await stage.deliver()
    assert stage.jobs()[0].delivered_at is not None
    assert len(finals(stage, job)) == len(stage.cards()) == 1


async def test_what_ended_while_the_bot_was_away_is_delivered_when_it_is_back(
    stage: Stage,
) -> None:
    job = await imagine(stage)
    stage.finish(stage.picture())
    await stage.env.advance_time(3 * 3600)
    await stage.restart()
    assert await stage.deliver() == 1
    assert len(finals(stage, job)) == 1


# -- Discord is unwell ------------------------------------------------------------------------


async def test_accepted_then_timed_out_is_one_message(stage: Stage) -> None:
    stage.lose_answers = 1
    job = await imagine(stage)
    stage.finish(stage.picture())
    await stage.deliver()
    assert len(finals(stage, job)) == len(stage.cards()) == 1


async def test_accepted_then_timed_out_where_we_may_not_look_back_is_one_message(
    stage: Stage,
) -> None:
    stage.lose_answers = 1
    stage.env.inject_error("GET", "/channels/*/messages", status=403, code=50001, times=None)
    job = await imagine(stage)
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.repeated == 1, "the second sending was recognised by its nonce"
    assert len(finals(stage, job)) == len(stage.cards()) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_refusing_discord_is_tried_again_until_it_takes_the_result(
    stage: Stage, status: int
) -> None:
    job = await imagine(stage)
    stage.finish(stage.picture())
    stage.env.inject_error("PATCH", "/channels/*/messages/*", status=status, times=3)
    for _ in range(3):
        await stage.deliver()
        assert stage.jobs()[0].delivered_at is None
    await stage.deliver()
    assert stage.jobs()[0].delivered_at is not None
    assert len(finals(stage, job)) == len(stage.cards()) == 1


async def test_in_a_storm_of_429_the_editor_leaves_the_channel_alone() -> None:
    now = [0.0]
    tries: list[float] = []

    async def refuse(reply: Reply) -> bool:
        tries.append(now[0])
        raise RetryLater("429")

    editor = Editor(refuse, gap_s=1.6, channel_gap_s=1.1, clock=lambda: now[0])
    for n in range(20):
        editor.put("studio", Reply(job_id=f"job-{n}", status=JobStatus.RUNNING))
    async with asyncio.TaskGroup() as edits:
        while now[0] < 600:
            editor._start(edits)
            for _ in range(3):
                await asyncio.sleep(0)
            now[0] += 0.5
    assert len(tries) < 20, "ten minutes of refusals are a handful of calls, not thousands"
    assert tries[-1] - tries[-2] >= 55


async def test_an_edit_stops_at_the_first_404(stage: Stage) -> None:
    job = await imagine(stage)
    (card,) = stage.cards()
    await stage.mod.delete(stage.shown(card))
    stage.claim()
    presenter = stage.client.presenter
    calls = len(stage.env.http_requests)
    for step in range(3):
        reply = Reply(job_id=job, status=JobStatus.RUNNING, prompt=f"p{step}")
        assert await presenter._refresh(reply) is False
        presenter.editor._dead.add(job)
        presenter.editor.put("x", reply)
        assert presenter.editor._waiting == {}, "a message that is gone is not tried again"
    assert len(stage.env.http_requests) - calls == 3


async def test_a_card_that_was_deleted_is_not_put_back_but_its_owner_gets_the_result(
    stage: Stage,
) -> None:
    await imagine(stage)
    (card,) = stage.cards()
    await stage.mod.delete(stage.shown(card))
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.cards() == []
    (direct,) = stage.direct_messages()
    assert direct.attachments
    assert stage.jobs()[0].delivered_at is not None


async def test_a_message_too_large_for_discord_is_made_smaller(stage: Stage) -> None:
    await imagine(stage)
    stage.finish(stage.picture())
    stage.env.inject_error("PATCH", "/channels/*/messages/*", status=413, code=40005, times=1)
    await stage.deliver()
    assert len(stage.cards()[0].attachments) == 1
    assert stage.jobs()[0].delivered_at is not None


async def test_words_that_automod_refuses_are_left_out_and_the_picture_stays(stage: Stage) -> None:
    await imagine(stage, "a heron")
    stage.finish(stage.picture())
    stage.env.inject_error("PATCH", "/channels/*/messages/*", status=400, code=200000, times=1)
    await stage.deliver()
    (card,) = stage.cards()
    assert "heron" not in texts_of(card)
    assert "AutoMod" in texts_of(card)
    assert card.attachments


@pytest.mark.parametrize("code", [10062, 40060])
async def test_an_event_nobody_waits_for_makes_no_job(stage: Stage, code: int) -> None:
    stage.env.inject_error("POST", "/interactions/*/*/callback", status=404, code=code)
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert stage.jobs() == [], "the member was told that it failed, so it must not be charged"


# -- Where we may not post ---------------------------------------------------------------------


async def test_where_nobody_installed_us_the_strict_default_rules_and_nothing_is_public(
    stage: Stage,
) -> None:
    """A member brought us along: this server is not in our gateway."""
    stage.client._connection._guilds.pop(stage.guild.id)
    stage.event = {"authorizing_integration_owners": {"1": str(stage.ann.id)}}
    seen: list[Any] = []
    dispatch = stage.client.core.dispatch

    async def spied(invocation: Any) -> Reply:
        seen.append(invocation)
        return await dispatch(invocation)

    stage.client.core.dispatch = spied  # type: ignore[method-assign]
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert seen[0].venue.installed is False
    assert seen[0].who.workspace == f"person:{stage.ann.id}"
    assert seen[0].who.role == "member"
    assert stage.cards() == []
    assert "In line" in stage.private(result)
    await stage.env.advance_time(14 * 60)
    stage.finish(stage.picture())
    await stage.deliver()
    (direct,) = stage.direct_messages()
    assert direct.attachments


async def test_without_the_right_to_post_the_card_is_the_private_answer_then_a_dm(
    stage: Stage,
) -> None:
    stage.event = {"app_permissions": str(discord.Permissions(view_channel=True).value)}
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert "In line" in stage.private(result)
    assert "comes as a direct message" in stage.private(result), "and it is said beforehand"
    assert stage.cards() == [], "nothing public where we may not post"
    stage.finish(stage.picture())
    await stage.deliver()
    assert result.response is not None
    assert result.response.attachments, "in time, the answer itself becomes the result"
    assert stage.direct_messages() == []


async def test_after_13_minutes_a_private_card_moves_to_a_direct_message(stage: Stage) -> None:
    stage.event = {"app_permissions": str(discord.Permissions(view_channel=True).value)}
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    await stage.env.advance_time(13 * 60 + 1)
    stage.finish(stage.picture())
    await stage.deliver()
    (direct,) = stage.direct_messages()
    assert direct.attachments
    assert labels_of(direct) == [], "a server's buttons are dead in direct messages"
    assert f"use /job there with {stage.jobs()[0].id}" in texts_of(direct)
    assert stage.jobs()[0].delivered_at is not None
    await stage.deliver()
    assert len(stage.direct_messages()) == 1


async def test_a_private_result_is_never_in_the_channel(stage: Stage) -> None:
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple", private=True)
    assert "In line" in stage.private(result)
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.cards() == []
    assert stage.jobs()[0].delivered_at is not None


async def test_a_public_card_that_had_to_be_private_moves_to_the_channel_when_it_opens(
    stage: Stage,
) -> None:
    stage.env.inject_error("POST", "/channels/*/messages", status=403, code=50013, times=1)
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert "In line" in stage.private(result), "the private answer holds the card meanwhile"
    await stage.env.advance_time(13 * 60 + 1)
    stage.finish(stage.picture())
    await stage.deliver()
    assert len(stage.cards()) == 1
    assert stage.direct_messages() == []


async def test_a_token_that_discord_refuses_is_not_used_again(stage: Stage) -> None:
    stage.event = {"app_permissions": str(discord.Permissions(view_channel=True).value)}
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    stage.env.inject_error("PATCH", "/webhooks/*/*/messages/*", status=401, code=50027, times=None)
    stage.finish(stage.picture())
    await stage.deliver()
    assert len(stage.direct_messages()) == 1


async def test_with_every_way_closed_the_job_ends_in_the_history(stage: Stage) -> None:
    stage.event = {"app_permissions": str(discord.Permissions(view_channel=True).value)}
    await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    await stage.env.advance_time(14 * 60)
    stage.env.inject_error("POST", "/channels/*/messages", status=403, code=50007, times=None)
    stage.finish(stage.picture())
    await stage.deliver()
    assert stage.jobs()[0].delivered_at is not None, "it is not tried for ever"
    assert stage.direct_messages() == []


async def test_a_long_private_answer_goes_along_as_a_file(stage: Stage) -> None:
    stage.event = {"app_permissions": str(discord.Permissions(view_channel=True).value)}
    result = await stage.ann.slash(stage.channel, "ask", prompt="Tell me everything")
    text = "\n\n".join(f"Paragraph {n}. " + "All of it. " * 40 for n in range(20))
    stage.finish(answer(text))
    await stage.deliver()
    assert result.response is not None
    assert [a.filename for a in result.response.attachments] == ["answer.md"]


async def test_deleting_a_long_answer_takes_every_part_of_it_away(stage: Stage) -> None:
    await stage.ann.slash(stage.channel, "ask", prompt="Tell me everything")
    text = "\n\n".join(f"Paragraph {n}. " + "All of it. " * 40 for n in range(20))
    stage.finish(answer(text))
    await stage.deliver()
    assert len(stage.cards()) > 1
    asked = await stage.ann.click(stage.shown(stage.cards()[-1]), label="Delete")
    assert asked.response is not None
    await stage.ann.click(asked.response, label="Delete")
    reply = await stage.client.core.services.posts.get(stage.jobs()[0].id)
    assert reply is not None
    from bot.core.cards import job_reply

    job = stage.jobs()[0]
    card = await job_reply(stage.services, job.id, "en", workspace_id=job.workspace_id)
    await stage.client.presenter.update_now(card)
    assert len(stage.cards()) == 1
    assert "Paragraph" not in texts_of(stage.cards()[0])


async def test_a_card_that_could_not_go_up_is_shown_privately_until_it_is_done(
    stage: Stage,
) -> None:
    stage.env.inject_error("POST", "/channels/*/messages", status=500, times=1)
    result = await stage.ann.slash(stage.channel, "imagine", prompt="a red apple")
    assert "In line" in stage.private(result), "not an endless 'thinking'"
    stage.finish(stage.picture())
    await stage.deliver()
    assert len(finals(stage, stage.jobs()[0].id)) == len(stage.cards()) == 1

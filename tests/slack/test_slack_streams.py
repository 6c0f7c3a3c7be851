"""Answers while they are written: in direct messages as streams, in channels as edits for all."""

from __future__ import annotations

from sqlmodel import select

from storage.models import Job
from storage.schema import JobStatus
from tests.conftest import row
from tests.core.test_commands import answer
from tests.slack.conftest import Studio, run_bot
from tests.slack.person import Person, buttons, until
from tests.slack.test_slack_cards import card_in
from tests.slack.world import STREAM_LIFE_S, Stored

LONG = "One sentence. Two <sentences> & more. "


async def asked(studio: Studio, ann: Person) -> str:
    ts = await ann.write("Tell me a story")
    await until(lambda: studio.database.read(lambda s: s.exec(select(Job)).first()))
    return ts


async def streaming(studio: Studio, ann: Person) -> tuple[str, Stored]:
    """An answer that has begun to stream: its job and message."""
    ts = await asked(studio, ann)
    await until(lambda: studio.server.sessions[ann.direct, ts])
    claim = await studio.begin()
    studio.presenter._budget._per_job = studio.presenter._stream_budget._per_job = 0.01
    await studio.say(claim.job_id, LONG, lambda: studio.server.in_channel(ann.direct))
    stream = await card_in(studio, ann.direct)
    assert stream.streaming
    await until(lambda: not studio.presenter._locks)
    return claim.job_id, stream


async def end(studio: Studio, job_id: str, text: str) -> None:
    from storage.jobs import Claim

    fence = row(studio.database, job_id).fence
    claim = Claim(job_id=job_id, fence=fence, **_rest(studio, job_id))
    await studio.end(claim, answer(text))


def _rest(studio: Studio, job_id: str) -> dict[str, object]:
    import dataclasses

    from storage.jobs import Claim

    known = {f.name for f in dataclasses.fields(Claim)} - {"job_id", "fence"}
    job = row(studio.database, job_id)
    return {name: getattr(job, name, None) for name in known}


async def test_an_answer_streams_and_ends_as_one_card(studio: Studio, ann: Person) -> None:
    job_id, stream = await streaming(studio, ann)
    assert stream.text == LONG.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    await studio.say(job_id, LONG + "Three. ", lambda: stream.text.endswith("Three. "))
    await end(studio, job_id, LONG + "Three. Done.")
    await until(lambda: buttons(stream.blocks, "regenerate"))
    assert not stream.streaming
    assert "Done." in stream.shown()
    assert len(studio.server.in_channel(ann.direct)) == 1
    states = studio.server.sessions[ann.direct, stream.thread or ""]
    await until(lambda: states == ["processing", "active"])


async def test_nothing_streams_while_it_waits_in_line(studio: Studio, ann: Person) -> None:
    await ann.slash("/imagine first")
    await card_in(studio)
    await ann.write("And a question")
    card = await card_in(studio, ann.direct)
    assert "place 2 of 2" in card.shown()
    assert studio.server.of("chat.startStream") == []


async def test_slack_closes_the_stream_at_five_minutes(studio: Studio, ann: Person) -> None:
    job_id, stream = await streaming(studio, ann)
    began = stream.started
    studio.server.clock = lambda: began + STREAM_LIFE_S + 1
    studio.server.unlimited = True
    said = LONG + "After five minutes. "
    await studio.say(job_id, said, lambda: stream.edits and said.strip()[-20:] in stream.shown())
    await studio.say(job_id, said + "And six. ", lambda: "And six." in stream.shown())
    await end(studio, job_id, LONG + "After five minutes. And six. The end.")
    await until(lambda: buttons(stream.blocks, "regenerate"))
    assert "The end." in stream.shown()
    assert len(studio.server.in_channel(ann.direct)) == 1


async def test_in_a_channel_everybody_sees_it_grow(studio: Studio, ann: Person) -> None:
    """A stream in a channel would move for who asked, and stand still for all others."""
    await ann.mention("Tell me a story")
    card = await card_in(studio)
    claim = await studio.begin()
    studio.presenter._budget._per_job = 0.01
    await studio.say(claim.job_id, LONG, lambda: "Two <sentences>" in card.shown())
    assert studio.server.of("chat.startStream") == []
    await end(studio, claim.job_id, LONG + "End.")
    await until(lambda: buttons(card.blocks, "regenerate"))


async def test_slacks_own_stop_button_cancels_the_job(studio: Studio, ann: Person) -> None:
    job_id, stream = await streaming(studio, ann)
    stream.streaming = False  # Slack stops the stream by itself
    await ann.event(
        {"type": "agent_session_stopped", "channel": ann.direct, "user": "UANN",
         "thread_ts": stream.thread, "streaming_message_ts": [stream.ts], "event_ts": "1.1"}
    )  # fmt: skip
    await until(lambda: row(studio.database, job_id).cancel_requested_at)
    states = studio.server.sessions[ann.direct, stream.thread or ""]
    await until(lambda: states and states[-1] == "active")


async def test_stop_before_the_first_word_cancels_too(studio: Studio, ann: Person) -> None:
    ts = await asked(studio, ann)
    (job,) = studio.database.read(lambda s: s.exec(select(Job)).all())
    await ann.event(
        {"type": "agent_session_stopped", "channel": ann.direct, "user": "UANN", "thread_ts": ts,
         "streaming_message_ts": [], "event_ts": "1.1"}
    )  # fmt: skip
    await until(lambda: row(studio.database, job.id).status == JobStatus.CANCELLED)
    card = await card_in(studio, ann.direct)
    await until(lambda: "Cancelled" in card.shown())


async def test_somebody_elses_stop_stops_nothing(studio: Studio, ann: Person, bob: Person) -> None:
    await ann.mention("Tell me a story")
    card = await card_in(studio)
    (job,) = studio.database.read(lambda s: s.exec(select(Job)).all())
    await bob.event(
        {"type": "agent_session_stopped", "channel": "C1", "user": "UBOB",
         "thread_ts": card.thread, "streaming_message_ts": [], "event_ts": "1.1"}
    )  # fmt: skip
    await until(bob.notes)
    assert row(studio.database, job.id).status == JobStatus.QUEUED


async def test_a_restart_in_the_middle_of_a_stream(studio: Studio, ann: Person) -> None:
    job_id, stream = await streaming(studio, ann)
    await studio.die()
    async with run_bot(studio.server, studio.services, f"{studio.server.url}/api/") as second:
        second.presenter._budget._per_job = 0.01
        said = LONG + "More. "
        await second.say(job_id, said, lambda: stream.edits and "More." in stream.shown())
        await end(second, job_id, LONG + "More. End.")
        await until(lambda: buttons(stream.blocks, "regenerate"))
        assert len(second.server.in_channel(ann.direct)) == 1


async def test_an_app_that_is_no_agent_has_cards_with_our_own_stop(
    studio: Studio, ann: Person
) -> None:
    studio.server.break_next("agents.sessions.setStatus", "error:not_authorized", times=99)
    await ann.write("Tell me a story")
    card = await card_in(studio, ann.direct)
    assert buttons(card.blocks, "cancel")
    await ann.write("And another")
    await card_in(studio, ann.direct, nth=1)
    assert studio.server.trouble["agents.sessions.setStatus"].times == 98, "asked once"


async def test_a_workspace_without_streams_has_edits(studio: Studio, ann: Person) -> None:
    studio.server.break_next("chat.startStream", "error:feature_not_enabled", times=99)
    await asked(studio, ann)
    claim = await studio.begin()
    studio.presenter._budget._per_job = 0.01
    await studio.say(claim.job_id, LONG, lambda: studio.server.in_channel(ann.direct))
    card = await card_in(studio, ann.direct)
    await studio.say(claim.job_id, LONG + "Three. ", lambda: "Three." in card.shown())
    await end(studio, claim.job_id, LONG + "Three. End.")
    await until(lambda: buttons(card.blocks, "regenerate"))


async def test_a_stream_we_died_before_noting_is_closed_by_its_edit(
    studio: Studio, ann: Person
) -> None:
    job_id, stream = await streaming(studio, ann)
    studio.presenter._streams._sent.clear()
    await studio.services.posts.note(job_id, stream=None)
    await end(studio, job_id, LONG + "End.")
    await until(lambda: buttons(stream.blocks, "regenerate"))
    assert not stream.streaming
    assert len(studio.server.in_channel(ann.direct)) == 1
